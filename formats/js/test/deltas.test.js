/** Every vector of deltas is applied exactly, and refused when it is damaged or starts from another file. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { applyDelta, NotAContainerError, NoZstdError, open, QacError, TruncatedError, WrongBaseError } from "../index.js";
import { hasZstd } from "./vectors.js";

const FOLDERS = ["vectors", "golden"].map((kind) => new URL(`../../../tests/${kind}/deltas_v1/`, import.meta.url));
const SMALL = 450; // bytes of a delta of which every byte is flipped, and which is cut off at every place
const zstd = await hasZstd();

const bytesOf = (name, folder = FOLDERS[0]) => new Uint8Array(readFileSync(new URL(name, folder)));
const NAMES = readdirSync(FOLDERS[0]).filter((name) => /^[^.]+\.qacd$/.test(name)).map((name) => name.slice(0, -5));

/** The old file, the new one and the delta of a vector. */
const vector = (name) => [`${name}.old.qac`, `${name}.new.qac`, `${name}.qacd`].map((file) => bytesOf(file));

test("there are vectors", () => assert.ok(NAMES.length >= 18));

for (const name of NAMES) {
  test(`${name} makes the new file`, async () => {
    const [old, made, delta] = vector(name);
    try {
      assert.deepEqual(await applyDelta(old, delta), made);
    } catch (error) {
      if (zstd || !(error instanceof NoZstdError)) throw error;
      assert.match(error.message, /fzstd/);
    }
  });

  test(`${name} is refused when it is damaged or cut off`, async () => {
    const [old, , delta] = vector(name);
    for (let place = 0; place < delta.length; place += delta.length <= SMALL ? 1 : 97) {
      const damaged = delta.slice();
      damaged[place] ^= 1 << place % 8;
      await assert.rejects(applyDelta(old, damaged), QacError);
      await assert.rejects(applyDelta(old, delta.slice(0, place)), place ? TruncatedError : NotAContainerError);
    }
    await assert.rejects(applyDelta(old, Uint8Array.of(...delta, 0)), QacError);
  });
}

test("the golden delta makes the new file", async () => {
  const [old, made, delta] = ["old.qac", "new.qac", "update.qacd"].map((file) => bytesOf(file, FOLDERS[1]));
  assert.deepEqual(await applyDelta(old, delta), made);
});

test("a chain is applied in its order alone", async () => {
  const updates = [0, 1, 2].map((number) => bytesOf(`chain.${number}.qacd`));
  const files = [bytesOf("chain.old.qac")];
  for (const update of updates) files.push(await applyDelta(files.at(-1), update));
  assert.deepEqual(files.at(-1), bytesOf("chain.new.qac"));
  assert.ok((await open(files.at(-1))).names.length);
  for (const [i, file] of files.entries()) {
    for (const [j, update] of updates.entries()) {
      if (i === j) continue;
      const wrong = { name: "WrongBaseError", message: i === j + 1 ? /already is the file that/ : /isn't what the delta was made from/ };
      await assert.rejects(applyDelta(file, update), wrong);
    }
  }
});

test("a wrong base says so in one line", async () => {
  const [old, made, delta] = vector("tuned_rans");
  const file = (bytes, name) => new File([bytes], name);
  const told = (...given) => applyDelta(...given).then(() => assert.fail(), (error) => error);
  const again = await told(file(made, "new.qac"), file(delta, "update.qacd"));
  assert.ok(again instanceof WrongBaseError);
  assert.equal(again.message, "new.qac: already is the file that update.qacd makes; there is nothing to apply");
  const changed = old.slice();
  changed[changed.length - 1] ^= 1;
  const other = await told(file(changed, "old.qac"), file(delta, "update.qacd"));
  assert.ok(other instanceof WrongBaseError);
  assert.equal(other.message, "old.qac: isn't what update.qacd was made from; give that file, and deltas in their order");
  const cut = await told(file(old.slice(0, -1), "old.qac"), file(delta, "update.qacd"));
  assert.ok(cut instanceof TruncatedError && cut.message.startsWith("old.qac: "));
  const swapped = await told(file(delta, "update.qacd"), file(old, "old.qac"));
  assert.ok(swapped instanceof NotAContainerError && swapped.message.startsWith("old.qac: isn't a .qacd delta"));
});
