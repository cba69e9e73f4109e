/** The C reader as a WebAssembly module finds what plain JavaScript finds. QAC_WASM: the module, else wasm/qac.wasm. */

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { ArgumentError, EngineError, open, QacError, TruncatedError } from "../index.js";
import { bytesOf, hasZstd, NAMES, sha256, told } from "./vectors.js";

const path = process.env.QAC_WASM ?? new URL("../wasm/qac.wasm", import.meta.url);
const bytes = existsSync(path) ? readFileSync(path) : null;
const module = bytes && new WebAssembly.Module(bytes);
const options = { skip: module ? false : "the module isn't built: make wasm" };
const zstd = await hasZstd();

test("the module is small", options, () => {
  assert.ok(bytes.length <= 40 << 10, `${bytes.length} bytes`);
  assert.ok(gzipSync(bytes, { level: 9 }).length <= 20 << 10);
});

for (const name of NAMES) {
  test(`${name} is read as it is told`, options, async () => {
    const file = await open(bytesOf(name), { engine: "wasm", wasm: module });
    assert.equal(file.engine, "wasm");
    for (const { name: tensor, sha256: digests } of told(name).tensors) {
      digests.forEach((digest, level) => {
        let found;
        try {
          found = file.tensor(tensor, { level });
        } catch (error) {
          if (zstd) throw error;
          assert.match(error.message, /fzstd/);
          return;
        }
        assert.equal(sha256(found.data), digest, `${tensor} at level ${level}`);
      });
    }
  });
}

test("damaged sections are refused", options, async () => {
  for (const name of ["refined_context", "indices_rans", "grids", "texts"]) {
    const data = bytesOf(name);
    const whole = await open(data, { engine: "wasm", wasm: module });
    const start = 32 + new DataView(data.buffer).getUint32(8, true);
    for (let place = start; place < data.length; place += 5) {
      const damaged = data.slice();
      damaged[place] ^= 1 << place % 8;
      const file = await open(damaged, { engine: "wasm", wasm: module });
      const read = () => file.names.forEach((tensor) => file.tensor(tensor));
      assert.throws(() => (read(), file.graph(), file.metadata, assert.fail("it is read")), QacError, `${name} ${place}`);
    }
    assert.equal(whole.names.length, told(name).tensors.length);
  }
});

test("a tensor is read into an array that is there", options, async () => {
  for (const engine of ["js", "wasm"]) {
    const file = await open(bytesOf("types"), { engine, wasm: module });
    for (const { name, data } of file.names.map((name) => file.tensor(name))) {
      const into = new data.constructor(data.length);
      assert.equal(file.tensor(name, { into }).data, into);
      assert.deepEqual(into, data, name);
      assert.throws(() => file.tensor(name, { into: new data.constructor(data.length + 1) }), ArgumentError);
      assert.throws(() => file.tensor(name, { into: new DataView(data.buffer) }), ArgumentError);
      assert.throws(() => file.tensor(name, { into: [] }), ArgumentError);
    }
  }
});

test("a level is read as soon as its bytes are there", options, async () => {
  const data = bytesOf("refined_rans");
  let give;
  const stream = new ReadableStream({ start: (controller) => (give = (part) => controller.enqueue(part)) });
  const opening = open(stream, { progressive: true, engine: "wasm", wasm: module });
  give(data.slice(0, 400));
  const file = await opening;
  assert.throws(() => file.tensor("a"), TruncatedError);
  let at = 400;
  for (let level = 0; level < file.levels; level++) {
    give(data.slice(at, file.bytesUpTo(level)));
    at = file.bytesUpTo(level);
    await file.ready(level);
    for (const { name, sha256: digests } of told("refined_rans").tensors) {
      assert.equal(sha256(file.tensor(name).data), digests[Math.min(level, digests.length - 1)]);
    }
  }
});

test("a module that is missing, or none, is one clear line", async () => {
  const data = bytesOf("names");
  await assert.rejects(open(data, { engine: "wasm", wasm: new URL("none.wasm", import.meta.url) }), EngineError);
  await assert.rejects(open(data, { engine: "wasm", wasm: "http://127.0.0.1:1/qac.wasm" }), /make wasm/);
  await assert.rejects(open(data, { engine: "wasm", wasm: new Uint8Array(8) }), /wasm-unsafe-eval/);
});
