// What TypeScript says of static/chat.js and its types, as one JSON object.

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { SOURCE } from "./chat.mjs";

const COMMON = {
  noEmit: true,
  types: [],
  target: ts.ScriptTarget.ES2020,
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  lib: ["lib.es2020.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"],
};
const NEEDS_A_YOUNGER_LIBRARY = [2550, 2583];

const complaints = (path, options) => ts.getPreEmitDiagnostics(ts.createProgram([path], { ...COMMON, ...options }));
const inWords = ({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n");

// A host's code, which imports the module from where it is.
const sample = fileURLToPath(new URL("chat_sample.ts", import.meta.url));

// Syntax younger than a target is written in the target's own words.
const source = await readFile(SOURCE, "utf8");
const written = (target) => ts.transpileModule(source, { compilerOptions: { ...COMMON, target } }).outputText;

console.log(
  JSON.stringify({
    sample: complaints(sample, { strict: true }).map(inWords),
    sampleExactly: complaints(sample, { strict: true, exactOptionalPropertyTypes: true }).map(inWords),
    youngNames: complaints(fileURLToPath(SOURCE), { allowJs: true, checkJs: true })
      .filter(({ code }) => NEEDS_A_YOUNGER_LIBRARY.includes(code))
      .map(inWords),
    youngSyntax: written(ts.ScriptTarget.ES2020) !== written(ts.ScriptTarget.ESNext),
  }),
);
