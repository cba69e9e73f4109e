/** Apply a delta: make the bytes of the new file from those of the old one. */

import { concat, crc32 } from "../bytes.js";
import { ChecksumError, HeaderError, QacError, TruncatedError, WrongBaseError } from "../errors.js";
import { VALUE_CHUNK, VALUES } from "../header.js";
import { arrive, nameOf } from "../source.js";
import { readStart } from "../start.js";
import { findZstd, zstdWith } from "../zstd.js";
import { Contents } from "./base.js";
import { DIFFERENCE, identityOf, readDelta, REFERRED, same } from "./file.js";
import { restore } from "./restore.js";

/** The new file as far as it is made, as what sections are read from: its head, and its sections by offset. */
class Made {
  constructor(head, size) {
    this.head = head;
    this.length = size;
    this.parts = new Map();
  }

  async reach() {} // all that can be read is there

  slice(offset, bytes) {
    if (offset < this.head.length) return this.head.subarray(offset, offset + bytes);
    const found = this.parts.get(offset) ?? new Uint8Array(0);
    if (found.length < bytes) throw new HeaderError("a section is needed before it is made; the file is damaged");
    return found.subarray(0, bytes);
  }
}

/**
 * Make the new file that a delta (`qacomp delta`) makes of its base, the old file: exactly its bytes.
 *
 * base, delta: sources as those of open(). Options: zstd and signal, as those of open(). Nothing of the new file is
 * returned before all of it has the promised digest. Raises a WrongBaseError if the delta starts from another file or
 * was applied already, and another QacError for a file that is damaged, cut off or hostile.
 */
export async function applyDelta(base, delta, { zstd: given, signal } = {}) {
  const names = { base: nameOf(base, "the base"), delta: nameOf(delta, "the delta") };
  const zstd = zstdWith(given ?? (await findZstd()));
  const told = await naming(names.delta, async () => readDelta(await wholeOf(delta, signal), zstd));
  const old = await naming(names.base, async () => {
    const data = await wholeOf(base, signal);
    const opened = await readStart(arrived(data), zstd);
    if (data.length < opened.prefix.size) {
      throw new TruncatedError(`is cut off after ${data.length} of ${opened.prefix.size} bytes; fetch it again`);
    }
    checkBase(told, identityOf([data]), names.delta);
    return opened;
  });
  return naming(names.delta, async () => make(told, old, zstd));
}

/** Refuse a base that the delta doesn't start from. */
function checkBase(told, found, delta) {
  if (same(found, told.from)) return;
  if (same(found, told.to)) throw new WrongBaseError(`already is the file that ${delta} makes; there is nothing to apply`);
  throw new WrongBaseError(`isn't what ${delta} was made from; give that file, and deltas in their order`);
}

async function make(told, old, zstd) {
  const data = new Made(told.head, told.to.size);
  const opened = await readStart(data, zstd);
  const { sections } = opened.places;
  if (opened.prefix.size !== told.to.size || opened.sections.start !== told.head.length || sections.length !== told.steps.length) {
    throw new HeaderError("its parts aren't those of the file that it makes; the file is damaged");
  }
  const [base, made] = [new Contents(old), new Contents(opened)];
  const used = new Set();
  const isValues = ({ kind }) => kind === VALUES || kind === VALUE_CHUNK;
  const places = sections.keys();
  const valuesFirst = Array.from(places).sort((i, j) => isValues(sections[j]) - isValues(sections[i]) || i - j);
  for (const place of valuesFirst) {
    const section = sections[place];
    const bytes = await naming(`section ${place}`, async () => sectionOf(told.steps[place], section, { base, made, used }));
    if (bytes.length !== section.bytes || crc32(bytes) !== section.crc) {
      throw new ChecksumError(`section ${place} isn't the one that the new file has; the file is damaged`);
    }
    if (bytes.length) data.parts.set(section.offset, bytes);
  }
  return whole(told, data, sections);
}

/** Return the bytes of a section of the new file. */
function sectionOf({ method, number, payload }, section, { base, made, used }) {
  if (method === DIFFERENCE) return restore(payload, section, base, made);
  if (method !== REFERRED) return payload;
  const other = base.places.sections[number];
  if (!other || used.has(number)) throw new HeaderError("it refers to none of the base, or to one again; the file is damaged");
  used.add(number);
  return base.sections.stored(other);
}

/** Join the sections, with zeros between them, and check the digest. */
function whole(told, data, sections) {
  const parts = [data.head];
  let end = data.head.length;
  for (const { offset, bytes } of sections) {
    parts.push(new Uint8Array(offset - end), data.slice(offset, bytes));
    end = offset + bytes;
  }
  if (!same(identityOf(parts), told.to)) {
    throw new ChecksumError("doesn't make the file that it promises; the file is damaged");
  }
  return concat(parts);
}

/** The bytes of a source, once all of them have arrived. */
async function wholeOf(source, signal) {
  const data = await arrive(source, signal);
  await data.reach(Infinity);
  return data.slice(0, data.length);
}

/** Bytes that are there, as what a container is read from. */
function arrived(bytes) {
  return { length: bytes.length, slice: (offset, count) => bytes.subarray(offset, offset + count), reach: async () => {} };
}

/** Name what an error is about. */
async function naming(name, work) {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof QacError)) throw error;
    throw new error.constructor(`${name}: ${error.message}`);
  }
}
