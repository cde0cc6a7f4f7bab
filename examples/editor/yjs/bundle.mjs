// Makes `page/yjs.js`: what the pages use of Yjs and of lib0 below it, as one module with their licences. Pages have no
// build step, and a browser would need an import map and some thirty files. `npm ci && npm run bundle` makes it anew;
// `--check` looks whether it is as these packages have it.

import { readFile, writeFile } from "node:fs/promises";
import { build } from "esbuild";

const path = new URL("../page/yjs.js", import.meta.url);
const read = (name) => readFile(new URL(`node_modules/${name}`, import.meta.url), "utf8");

const { outputFiles: [{ text }], metafile } = await build({
  entryPoints: ["exports.js"],
  absWorkingDir: import.meta.dirname,
  bundle: true,
  format: "esm",
  minify: true,
  legalComments: "none",
  metafile: true,
  target: "es2022",
  write: false,
});
const names = new Set(Object.keys(metafile.inputs).flatMap((file) => file.match(/^node_modules\/([^/]+)/)?.[1] ?? []));
const about = await Promise.all([...names].sort().map(async (name) => {
  const { version } = JSON.parse(await read(`${name}/package.json`));
  return `${name} ${version}\n\n${(await read(`${name}/LICENSE`)).trim()}`;
}));
const made = `/*! ${about.join("\n\n\n")}\n*/\n${text}`;
if (!process.argv.includes("--check")) await writeFile(path, made);
else if (made !== await readFile(path, "utf8")) throw new Error("page/yjs.js is not what these packages make: npm run bundle");
