// The types in `tidings.d.ts`: what they allow, what they do not, and that they name what there is.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { test } from "node:test";
import ts from "typescript";
import { Room } from "../js/room.js";
import * as script from "../js/tidings.js";

test("rooms, events and calls can be declared, and are checked", () => {
  const options = { strict: true, noEmit: true, target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext, types: [], lib: ["lib.es2022.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"] };
  const program = ts.createProgram([path.join(import.meta.dirname, "types.ts")], options);
  const said = ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) => {
    const line = file ? file.getLineAndCharacterOfPosition(start).line + 1 : 0;
    return `${path.basename(file?.fileName ?? "")}:${line}: ${ts.flattenDiagnosticMessageText(messageText, " ")}`;
  });
  assert.deepEqual(said, []);
});

test("what is declared is there", async () => {
  const text = await readFile(new URL("../tidings.d.ts", import.meta.url), "utf8");
  for (const name of [...text.matchAll(/^export class (\w+)/gm)].map(([, name]) => name)) {
    assert.equal(typeof script[name], "function", name);
  }
  for (const [declaration, made] of [["interface Room<", Room], ["class Tidings<", script.Tidings]]) {
    const body = text.slice(text.indexOf(declaration)).split(/^}/m)[0];
    const methods = new Set([...body.matchAll(/^ {2}(\w+)(?:<[^]*?>)?\(/gm)].map(([, name]) => name));
    methods.delete("constructor");
    assert.ok(methods.size >= 3, declaration);
    for (const method of methods) assert.equal(typeof made.prototype[method], "function", `${declaration} ${method}`);
  }
});
