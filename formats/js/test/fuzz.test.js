/** A few mutants are refused or read; `node fuzz/fuzz.js` tries any number of them. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "node:test";

test("no mutant raises another error than a QacError, and both engines agree", () => {
  const fuzz = fileURLToPath(new URL("../fuzz/fuzz.js", import.meta.url));
  const module = process.env.QAC_WASM;
  const wasm = module && existsSync(module) ? ["--wasm", module] : [];
  const told = JSON.parse(execFileSync(process.execPath, [fuzz, "--runs", "400", ...wasm], { encoding: "utf8" }));
  assert.deepEqual([told.runs, told.findings], [400, 0], JSON.stringify(told.kept));
  assert.ok(told.read > 40);
});
