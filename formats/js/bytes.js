/** Read bytes, integers and parts of a buffer; the checksum of a buffer. */

import { PayloadError } from "./errors.js";

/** A run of bytes that is read from its start. Malformed data raises an error of the class `Bad`. */
export class Input {
  constructor(bytes, Bad = PayloadError) {
    this.bytes = bytes;
    this.at = 0;
    this.Bad = Bad;
  }

  get rest() {
    return this.bytes.length - this.at;
  }

  fail(why) {
    throw new this.Bad(`${why}; the file is damaged`);
  }

  byte() {
    if (this.at >= this.bytes.length) this.fail("it ends too early");
    return this.bytes[this.at++];
  }

  /** Read an unsigned LEB128 integer of at most `limit`, which is a safe integer. */
  uint(limit) {
    let found = 0;
    let scale = 1;
    let length = 0;
    let byte;
    do {
      byte = this.byte();
      length += 1;
      if (length > 10 || (length === 10 && byte & 0xfe)) this.fail("an integer has over 64 bits");
      found += (byte & 127) * scale; // above 2^53 it isn't exact, but above every limit
      scale *= 128;
    } while (byte & 128);
    if (byte === 0 && length > 1) this.fail("an integer has more bytes than it needs");
    if (found > limit) this.fail(`an integer is above ${limit}`);
    return found;
  }

  /** Return the next `length` bytes, not copied. */
  take(length) {
    if (length > this.rest) this.fail("it ends too early");
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  /** Cut off the next `length` bytes as an input of their own. */
  part(length) {
    return new Input(this.take(length), this.Bad);
  }

  /** The same, where a number says how many. */
  sized() {
    return this.part(this.uint(this.rest));
  }

  end() {
    if (this.rest) this.fail("bytes are left over");
  }
}

/** An unsigned integer as LEB128. */
export function uintBytes(value) {
  const out = [];
  let left = value;
  for (; left > 127; left = Math.floor(left / 128)) out.push((left % 128) | 128);
  out.push(left);
  return Uint8Array.from(out);
}

/** Runs of bytes as one. */
export function concat(parts) {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

export function load16(bytes, at) {
  return bytes[at] | (bytes[at + 1] << 8);
}

export function load32(bytes, at) {
  return (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;
}

const CRC = new Uint32Array(256).map((_, i) => {
  let crc = i;
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  return crc;
});

/** CRC-32 as zlib has it. */
export function crc32(bytes) {
  let crc = -1;
  for (let i = 0; i < bytes.length; i++) crc = (crc >>> 8) ^ CRC[(crc ^ bytes[i]) & 255];
  return ~crc >>> 0;
}

export function ceiling(a, b) {
  return Math.ceil(a / b); // exact below 2^53
}
