/** Every vector is read as its JSON says, and refused when it is damaged. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { NoZstdError, open, QacError, TruncatedError } from "../index.js";
import { bytesOf, hasZstd, NAMES, sha256, told } from "./vectors.js";

const SMALL = 450; // bytes of a file of which every byte is flipped
const zstd = await hasZstd();

/** Compare a file with what is told; raises NoZstdError where that is missing. */
function compare(file, expected) {
  assert.deepEqual(file.version, expected.version);
  if (expected.root) assert.equal(file.root, expected.root);
  assert.deepEqual(file.names, expected.tensors.map(({ name }) => name));
  for (const { name, dtype, shape, sha256: digests } of expected.tensors) {
    digests.forEach((digest, level) => {
      const tensor = file.tensor(name, { level });
      assert.deepEqual([tensor.dtype, tensor.shape], [dtype, shape]);
      assert.equal(sha256(tensor.data), digest, `${name} at level ${level}`);
    });
  }
  const graph = file.graph();
  assert.equal(graph && sha256(graph), expected.graph);
  file.check();
}

test("there are vectors", () => assert.ok(NAMES.length >= 41));

for (const name of NAMES) {
  test(`${name} is read as it is told`, async () => {
    const file = await open(bytesOf(name));
    try {
      compare(file, told(name));
    } catch (error) {
      if (zstd || !(error instanceof NoZstdError)) throw error;
      assert.match(error.message, /fzstd/);
    }
  });

  test(`${name} is refused when it is damaged or cut off`, async () => {
    const data = bytesOf(name);
    for (let place = 0; place < data.length; place += data.length <= SMALL ? 1 : 97) {
      const damaged = data.slice();
      damaged[place] ^= 1 << place % 8;
      await assert.rejects(open(damaged).then((file) => file.check()), QacError);
      await assert.rejects(open(data.slice(0, place)), QacError);
      if (place >= 32) await assert.rejects(open(data.slice(0, place)), TruncatedError);
    }
    await assert.rejects(open(Uint8Array.of(...data, 0)), QacError);
  });
}
