/** A hostile frame of Zstandard, which decoders read for ever, is refused before one gets it. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Input } from "../bytes.js";
import { NoZstdError, PayloadError } from "../errors.js";
import { zstdWith } from "../zstd.js";

// no options, a window of 1 KiB; a last block of 13 bytes: compressed literals, whose weights have a table of one symbol
const HOSTILE = [0x00, 0x00, 0x6d, 0x00, 0x00, 0x52, 0x80, 0x01, 0x05, 0xf0, 0x03, 0xff, 0xff, 0x01, 0x01, 0x00, 0x00, 0x00];

test("a table of one symbol is refused, at the first symbol and at a later one", () => {
  const refuse = zstdWith(() => assert.fail("a decoder has got it"));
  assert.throws(() => refuse(new Input(Uint8Array.from(HOSTILE)), 5), /never ends/);
  const later = HOSTILE.slice(); // value 1: the first symbol doesn't occur; then the second has all states
  [later[9], later[10], later[11]] = [0x10, 0xf8, 0x01];
  assert.throws(() => refuse(new Input(Uint8Array.from(later)), 5), /never ends/);
});

test("other frames go to the decoder, and what it raises is a PayloadError", () => {
  const fine = HOSTILE.slice();
  fine[9] = 0x80;
  const failing = zstdWith(() => { throw new Error("no"); });
  assert.throws(() => failing(new Input(Uint8Array.from(fine)), 5), PayloadError);
  assert.throws(() => zstdWith(null)(new Input(Uint8Array.from(fine)), 5), NoZstdError);
  assert.throws(() => zstdWith(() => new Uint8Array(4))(new Input(Uint8Array.from(fine)), 5), /wrong length/);
});
