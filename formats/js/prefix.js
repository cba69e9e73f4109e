/** The first 32 bytes of a file (SPEC.md, section 2). */

import { crc32, load32 } from "./bytes.js";
import {
  ChecksumError, HeaderError, LimitExceededError, NotAContainerError, TruncatedError, UnsupportedVersionError,
} from "./errors.js";
import { HEADER_EXPANSION, HEADER_FLOOR, MAX_FILE_BYTES, MAX_HEADER_BYTES } from "./limits.js";

export const PREFIX_BYTES = 32;
export const IN_BLOCKS = 1;
export const AT_ONCE = 2;
export const LEAVES = 4;

/** The kinds of files that begin so. minor: the newest minor version that is known; flags: those that are. */
export const CONTAINER = {
  name: ".qac container", magic: [0x93, 0x51, 0x41, 0x43], minor: 6, flags: IN_BLOCKS | AT_ONCE | LEAVES,
};
export const DELTA = { name: ".qacd delta", magic: [0x93, 0x51, 0x41, 0x44], minor: 2, flags: 0 };

/** Read the prefix. `bytes` has its 32 bytes, or fewer if the file ends there. */
export function readPrefix(bytes, kind = CONTAINER) {
  for (let i = 0; i < 4; i++) {
    if (i < bytes.length ? bytes[i] !== kind.magic[i] : i === 0) {
      throw new NotAContainerError(`isn't a ${kind.name}; its first bytes are those of something else`);
    }
  }
  if (bytes.length > 4 && bytes[4] !== 1) {
    throw new UnsupportedVersionError(`has version ${bytes[4]} of the format; update this reader`);
  }
  if (bytes.length < PREFIX_BYTES) throw new TruncatedError("is cut off in its first bytes; fetch it again");
  if (crc32(bytes.subarray(0, 28)) !== load32(bytes, 28)) {
    throw new ChecksumError("has a wrong checksum in its first bytes; it is damaged, fetch it again");
  }
  const [minor, codec, flags] = bytes.subarray(5, 8);
  if (flags & ~kind.flags) {
    throw new UnsupportedVersionError("uses a feature of a newer version of the format; update this reader");
  }
  const stored = load32(bytes, 8);
  const decoded = load32(bytes, 12);
  const size = load32(bytes, 16) + load32(bytes, 20) * 2 ** 32;
  if (stored > MAX_HEADER_BYTES || decoded > MAX_HEADER_BYTES) {
    throw new LimitExceededError(`has a header above the limit of ${MAX_HEADER_BYTES} bytes; the file is hostile`);
  }
  if (size < PREFIX_BYTES + stored) throw new HeaderError("is smaller than its header; the file is damaged");
  if (size > MAX_FILE_BYTES) {
    throw new LimitExceededError(`has ${size} bytes, above the limit of ${MAX_FILE_BYTES}; use shards`);
  }
  if (decoded > HEADER_FLOOR && decoded > HEADER_EXPANSION * stored) {
    throw new LimitExceededError("has a header that would grow too much; the file is hostile");
  }
  const version = [1, minor];
  return { version, newer: minor > kind.minor, codec, flags, stored, decoded, size, crc: load32(bytes, 24) };
}
