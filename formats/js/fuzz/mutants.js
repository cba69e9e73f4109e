/** Mutants of containers whose checksums are right, so that a reader has to look at what they say. */

import { crc32, Input } from "../bytes.js";
import { readValues } from "../codecs/index.js";
import { readHeader } from "../header.js";
import { HASH_BYTES, leafHash } from "../merkle.js";
import { Places } from "../places.js";
import { LEAVES, PREFIX_BYTES, readPrefix } from "../prefix.js";
import { zstdWith } from "../zstd.js";

const UINT8 = 1;
const EDGES = [0, 1, 2, 127, 128, 254, 255];

/** Numbers that are the same for the same seed (xorshift32). */
export class Dice {
  constructor(seed) {
    this.state = (Math.imul(seed + 1, 2654435761) ^ 0x9e3779b9) >>> 0 || 1;
    for (let i = 0; i < 4; i++) this.below(2);
  }

  below(limit) {
    let x = this.state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.state = x >>> 0;
    return this.state % limit;
  }
}

/** Take a container apart: its prefix, its decoded header, and the stored bytes of its sections. */
export function apart(bytes, zstd) {
  const prefix = readPrefix(bytes.subarray(0, PREFIX_BYTES));
  const start = PREFIX_BYTES + prefix.stored;
  const stored = new Input(bytes.subarray(PREFIX_BYTES, start));
  const streams = [{ count: prefix.decoded, start: 0, k: 0 }];
  const header = readValues(stored, prefix.codec, streams, UINT8, { zstd: zstdWith(zstd) }).slice();
  const records = readHeader(new Input(header), prefix.flags, prefix.newer);
  const places = new Places(records, start, prefix.size);
  const digests = records.tensors.filter((t) => t.sameAs < 0).reduce((sum, t) => sum + t.digest.length, 0);
  const leaves = header.length - digests - (prefix.flags & LEAVES ? HASH_BYTES * places.sections.length : 0);
  const crcs = leaves - 4 * places.sections.length;
  const sections = places.sections.map((s) => bytes.slice(s.offset, s.offset + s.bytes));
  const aligned = places.sections.map((s) => (s.kind === 2 || s.kind === 4) && s.codec === 0 && s.bytes >= 4096);
  return { minor: bytes[5], flags: prefix.flags, header, crcs, leaves, sections, aligned };
}

/** Put a container together again, with a raw header and right checksums. */
export function together({ minor, flags, header, sections, aligned }) {
  const pieces = [];
  let at = PREFIX_BYTES + header.length;
  sections.forEach((section, i) => {
    const start = aligned[i] ? Math.ceil(at / 64) * 64 : at;
    pieces.push([start, section]);
    at = start + section.length;
  });
  const bytes = new Uint8Array(at);
  const view = new DataView(bytes.buffer);
  bytes.set([0x93, 0x51, 0x41, 0x43, 1, minor, 0, flags]);
  view.setUint32(8, header.length, true);
  view.setUint32(12, header.length, true);
  view.setUint32(16, at, true);
  bytes.set(header, PREFIX_BYTES);
  for (const [start, section] of pieces) bytes.set(section, start);
  view.setUint32(24, crc32(header), true);
  view.setUint32(28, crc32(bytes.subarray(0, 28)), true);
  return bytes;
}

/** Return a mutant of parts: of the header, of a section whose checksum is set anew, or of the finished bytes. */
export function mutant(parts, dice) {
  const what = dice.below(16);
  if (what === 0) return edited(together(parts), dice);
  if (what < 7) return together({ ...parts, header: edited(parts.header, dice) });
  const i = dice.below(parts.sections.length || 1);
  if (!parts.sections[i]) return together({ ...parts, header: edited(parts.header, dice) });
  const sections = parts.sections.slice();
  const length = sections[i].length;
  sections[i] = edited(sections[i], dice).subarray(0, length); // as long as the header says
  if (sections[i].length < length) sections[i] = Uint8Array.from({ length }, (_, at) => sections[i][at] ?? 0);
  const header = parts.header.slice();
  new DataView(header.buffer).setUint32(parts.crcs + 4 * i, crc32(sections[i]), true);
  if (parts.flags & LEAVES) header.set(leafHash(sections[i]), parts.leaves + HASH_BYTES * i);
  return together({ ...parts, header: dice.below(8) ? header : edited(header, dice), sections });
}

/** Change a few bytes: flipped bits, edges, random bytes, a run that is left out, doubled, or copied elsewhere. */
function edited(bytes, dice) {
  let out = bytes.slice();
  for (let times = 1 + dice.below(3); times > 0 && out.length; times--) {
    const at = dice.below(out.length);
    const kind = dice.below(8);
    if (kind < 3) out[at] ^= 1 << dice.below(8);
    else if (kind === 3) out[at] = EDGES[dice.below(EDGES.length)];
    else if (kind === 4) out[at] = dice.below(256);
    else if (kind === 5) out[at] += dice.below(2) ? 1 : 255;
    else {
      const run = 1 + dice.below(Math.min(8, out.length - at));
      const part = out.slice(at, at + run);
      if (kind === 6) out.set(part, dice.below(out.length - run + 1));
      else out = dice.below(2) ? joined(out.slice(0, at), out.slice(at + run)) : joined(out.slice(0, at), part, out.slice(at));
    }
  }
  return out;
}

function joined(...parts) {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
