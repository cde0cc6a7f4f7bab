// Makes `tidings.js`, the one file that a server embeds, from the modules in `js/`. It is committed, so that neither cargo
// nor a page needs this; a test looks whether it is current. esbuild, because the file must be small.

import { writeFile } from "node:fs/promises";
import path from "node:path";
import { build } from "esbuild";

/** The bundle's text. */
export async function bundle() {
  const { outputFiles } = await build({
    entryPoints: [path.join(import.meta.dirname, "js/tidings.js")],
    banner: { js: "// Tidings, MIT OR Apache-2.0" },
    bundle: true,
    format: "esm",
    minify: true,
    target: "es2022",
    write: false,
  });
  return outputFiles[0].text;
}

if (process.argv[1] === import.meta.filename) {
  await writeFile(path.join(import.meta.dirname, "tidings.js"), await bundle());
}
