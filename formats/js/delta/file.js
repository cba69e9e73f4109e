/** A delta: which file it starts from and which it makes, and how each section of that comes (SPEC.md, section 12). */

import { crc32, Input, load32 } from "../bytes.js";
import { ChecksumError, HeaderError, TruncatedError } from "../errors.js";
import { MAX_SECTIONS } from "../limits.js";
import { equal } from "../merkle.js";
import { DELTA, PREFIX_BYTES, readPrefix } from "../prefix.js";
import { decodedHeader } from "../start.js";
import { blake2b } from "./blake2b.js";

/** How a section comes: it is one of the base, it is in the delta, or its difference is. */
export const REFERRED = 0;
export const WHOLE = 1;
export const DIFFERENCE = 2;
const DIGEST_BYTES = 32;

/** The size and the digest of a file that comes in parts. */
export function identityOf(parts) {
  return { size: parts.reduce((sum, part) => sum + part.length, 0), digest: blake2b(parts) };
}

/** Whether two files are the same. */
export function same(one, other) {
  return one.size === other.size && equal(one.digest, other.digest);
}

/**
 * Read a delta and check all of its checksums. Returns { from, to, head, steps }: the identities of both files, prefix
 * and stored header of the new one, and for each of its sections { method, number, payload }.
 */
export function readDelta(bytes, zstd) {
  const prefix = readPrefix(bytes.subarray(0, PREFIX_BYTES), DELTA);
  if (bytes.length < prefix.size) {
    throw new TruncatedError(`is cut off after ${bytes.length} of ${prefix.size} bytes; fetch it again`);
  }
  if (bytes.length > prefix.size) throw new HeaderError("is longer than its header says; the file is damaged");
  const end = PREFIX_BYTES + prefix.stored;
  const input = new Input(decodedHeader(prefix, bytes.subarray(PREFIX_BYTES, end), zstd), HeaderError);
  const from = readIdentity(input);
  const to = readIdentity(input);
  const sizes = [input.uint(bytes.length)]; // of the head
  const count = input.uint(Math.min(MAX_SECTIONS, input.rest));
  const steps = Array.from({ length: count }, () => ({ method: input.uint(DIFFERENCE), number: -1, payload: null }));
  for (const step of steps) if (step.method === REFERRED) step.number = input.uint(MAX_SECTIONS - 1);
  const own = steps.filter((step) => step.method !== REFERRED);
  for (let i = 0; i < own.length; i++) sizes.push(input.uint(bytes.length));
  const sums = input.take(4 * sizes.length);
  input.end();
  if (sizes.reduce((sum, size) => sum + size, end) !== bytes.length) input.fail("its payloads don't end where it does");
  let at = end;
  const payloads = sizes.map((size, i) => {
    const payload = bytes.subarray(at, (at += size));
    if (crc32(payload) !== load32(sums, 4 * i)) throw new ChecksumError(`payload ${i} is damaged; fetch the file again`);
    return payload;
  });
  own.forEach((step, i) => (step.payload = payloads[i + 1]));
  return { from, to, head: payloads[0], steps };
}

function readIdentity(input) {
  return { size: input.uint(Number.MAX_SAFE_INTEGER), digest: input.take(DIGEST_BYTES) };
}
