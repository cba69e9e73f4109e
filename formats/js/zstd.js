/** Zstandard frames, by a decoder from outside: the caller's, the package fzstd's, or the one of node 22.15 and later. */

import { NoZstdError, PayloadError } from "./errors.js";
import { neverEnds } from "./zstd_frame.js";

const MAGIC = [0x28, 0xb5, 0x2f, 0xfd];
const MOST_WINDOW = 2 ** 27;

/** Find a decoder: a function (frame, bytes) -> Uint8Array, or null. Nothing is fetched but the package, if it is there. */
export async function findZstd() {
  try {
    const { Decompress } = await import("fzstd");
    return (frame, bytes) => pieces(Decompress, frame, bytes);
  } catch {
    // not installed: perhaps node has one itself
  }
  if (typeof process === "undefined" || !process.versions?.node) return null;
  const zlib = await import("node:zlib");
  if (!zlib.zstdDecompressSync) return null;
  return (frame, bytes) => zlib.zstdDecompressSync(frame, { maxOutputLength: Math.max(bytes, 1) });
}

/** Decode a frame piece by piece, so that memory grows no further than to the size that the file tells. */
function pieces(Decompress, frame, bytes) {
  const out = new Uint8Array(bytes);
  let at = 0;
  const decoder = new Decompress((piece) => {
    out.set(piece, at); // raises a RangeError if there are too many
    at += piece.length;
  });
  decoder.push(frame, true);
  return out.subarray(0, at);
}

/** Return what codecs call: zstd(input, bytes) decodes one frame without its magic number to exactly `bytes` bytes. */
export function zstdWith(decoder) {
  return (input, bytes) => {
    if (!decoder) {
      throw new NoZstdError("it is stored with Zstandard: install the package fzstd or give open() the option zstd");
    }
    const frame = new Uint8Array(4 + input.rest);
    frame.set(MAGIC);
    frame.set(input.take(input.rest), 4);
    checkWindow(input, frame);
    let found;
    try {
      found = decoder(frame, bytes);
    } catch (error) {
      throw new PayloadError(`its Zstandard frame can't be decoded (${error.message}); the file is damaged`);
    }
    if (!(found instanceof Uint8Array) || found.length !== bytes) input.fail("its Zstandard frame has a wrong length");
    return found;
  };
}

/** Refuse a frame that would need a large window, or that another writer made (RFC 8878, 3.1.1.1). */
function checkWindow(input, frame) {
  const descriptor = frame[4];
  if (frame.length < 6 || descriptor & 0xef) input.fail("its Zstandard frame begins in an unknown way");
  const window = 2 ** (10 + (frame[5] >> 3));
  if (window + (window / 8) * (frame[5] & 7) > MOST_WINDOW) input.fail("its Zstandard frame has too large a window");
  if (neverEnds(frame, 6)) input.fail("its Zstandard frame never ends");
}
