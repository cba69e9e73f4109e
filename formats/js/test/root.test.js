/** The root of a file: what isn't bound by it is refused, also while the file arrives. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { ArgumentError, ChecksumError, open } from "../index.js";
import { sha256 } from "../sha256.js";
import { bytesOf, told } from "./vectors.js";

const NAME = "leaves_levels";
const SAME_CRC = [0x41, 0x06, 0x71, 0xdb, 0x01]; // the polynomial of CRC-32: bytes changed by it keep their checksum

/** The file with bytes of its last section changed that keep its checksum. */
function forged(data) {
  const changed = data.slice();
  SAME_CRC.forEach((byte, i) => (changed[data.length - 300 + i] ^= byte));
  return changed;
}

test("SHA-256 is that of node", () => {
  for (let length = 0; length < 200; length++) {
    const bytes = Uint8Array.from({ length }, (_, i) => (7 * i + length) & 255);
    const wanted = createHash("sha256").update(bytes).digest("hex");
    assert.equal(Buffer.from(sha256(bytes.subarray(0, length >> 1), bytes.subarray(length >> 1))).toString("hex"), wanted);
  }
});

test("a file is held against its root", async () => {
  const { root } = told(NAME);
  assert.equal((await open(bytesOf(NAME), { root: root.toUpperCase() })).check().root, root);
  await assert.rejects(open(bytesOf("leaves"), { root }), ChecksumError);
  await assert.rejects(open(bytesOf(NAME), { root: "12" }), ArgumentError);
});

test("a section whose CRC-32 is right isn't enough", async () => {
  await assert.rejects(open(forged(bytesOf(NAME))).then((file) => file.check()), /leaf hash/);
  const { root } = await open(bytesOf("chunks"));
  await assert.rejects(open(forged(bytesOf("chunks")), { root }), /root/);
});

test("the root is known before the sections are there", async () => {
  const data = bytesOf(NAME);
  const arriving = new ReadableStream({
    start(controller) {
      controller.enqueue(data.slice(0, 2000));
    },
  });
  const file = await open(arriving, { root: told(NAME).root, progressive: true });
  assert.equal(file.root, told(NAME).root);
  assert.ok(file.received < file.size);
});
