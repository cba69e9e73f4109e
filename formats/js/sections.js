/** Read the sections of an open file: their bytes, their checksums, and what they decode to, within the limits. */

import { crc32, Input } from "./bytes.js";
import { readIndices, readValues } from "./codecs/index.js";
import { ChecksumError, HeaderError, LimitExceededError, QacError, TruncatedError } from "./errors.js";
import { GRAPH } from "./header.js";
import * as limits from "./limits.js";
import { equal, leafHash } from "./merkle.js";
import { UINT8, widthOf } from "./types.js";

const PRIVATE = 192; // ids of codecs that the format doesn't define begin here
/** Cells of frequency tables that a file may have calculated, whatever its size, and for each of its bytes: seconds. */
const CELLS_FLOOR = 2 ** 28;
const CELLS_EACH = 10_000;

export class Sections {
  /** data: an object with `length`, the bytes that have arrived, and `slice(offset, bytes)`. */
  constructor(data, places, start, size, zstd) {
    this.data = data;
    this.places = places;
    this.hasLeaves = places.sections.some((section) => section.leaf);
    this.strict = false; // whether the file is held against a root, so that no section is used unchecked
    this.start = start;
    this.cells = Math.max(CELLS_FLOOR, size * CELLS_EACH);
    this.options = { zstd, spend: () => {} };
  }

  /** How many levels the file has: those of the tensor with the most of them. */
  get levels() {
    return this.places.tensors.reduce((most, t) => Math.max(most, t.levels.length), 1);
  }

  /** How many levels have arrived completely. */
  completeLevels() {
    const missing = this.places.sections.find((s) => s.offset + s.bytes > this.data.length);
    return missing ? missing.level : this.levels; // sections are sorted by level
  }

  /** The bytes from the start of the file to the end of a level. */
  bytesUpTo(level) {
    return this.places.sections.reduce((end, s) => (s.level <= level ? Math.max(end, s.offset + s.bytes) : end), this.start);
  }

  /** Return a section's stored bytes; checksum and leaf hash are checked the first time, or each time with `always`. */
  stored(section, always = false) {
    if (section.offset + section.bytes > this.data.length) {
      throw new TruncatedError(`${this.data.length} bytes are there, but this needs ${section.offset + section.bytes}`);
    }
    const bytes = this.data.slice(section.offset, section.bytes);
    if (always || !section.checked) {
      if (crc32(bytes) !== section.crc) throw new ChecksumError(`${this.#name(section)} is damaged; fetch the file again`);
      if (section.leaf && !equal(leafHash(bytes), section.leaf)) {
        throw new ChecksumError(`${this.#name(section)} isn't the one that its leaf hash is of; fetch the file where you trust`);
      }
      section.checked = true;
    }
    return bytes;
  }

  /** Decode a section of indices to an array for each stream. */
  indices(section, streams) {
    const decoded = streams.reduce((sum, s) => sum + s.count * (s.alphabet <= 256 ? 1 : 2), 0);
    return this.#decode(section, decoded, (input) => readIndices(input, section.codec, streams, this.options));
  }

  /** Decode a section of values to the bytes of all its streams, of one stored type. */
  values(section, streams, type) {
    const decoded = streams.reduce((sum, s) => sum + s.count, 0) * widthOf(type);
    return this.#decode(section, decoded, (input) => readValues(input, section.codec, streams, type, this.options));
  }

  /** Return the bytes of the graph or of the metadata; null if the file has none. */
  blob(kind) {
    const section = this.places.sections.slice(0, 2).find((s) => s.kind === kind);
    if (!section) return null;
    const [floor, expansion] =
      kind === GRAPH ? [limits.GRAPH_FLOOR, limits.GRAPH_EXPANSION] : [limits.META_FLOOR, limits.META_EXPANSION];
    if (section.codec >= PRIVATE) throw new HeaderError(`${this.#name(section)} has a codec that it can't have`);
    if (section.decoded > Math.max(floor, section.bytes * expansion)) {
      throw new LimitExceededError(`${this.#name(section)} would grow to ${section.decoded} bytes; the file is hostile`);
    }
    return this.values(section, [{ count: section.decoded, start: 0, k: 0 }], UINT8).slice();
  }

  /** Check the checksums of all sections, and that the bytes between them are zero. */
  check() {
    let end = this.start;
    for (const section of this.places.sections) {
      this.stored(section, true);
      if (this.data.slice(end, section.offset - end).some((byte) => byte)) {
        throw new HeaderError(`the padding at byte ${end} isn't zero; the file is damaged`);
      }
      end = section.offset + section.bytes;
    }
  }

  /** Check all sections that have arrived against their leaf hashes, each once. */
  checkArrived() {
    for (const s of this.places.sections) if (!s.checked && s.offset + s.bytes <= this.data.length) this.stored(s);
  }

  /** Return the leaf hashes of all sections. A file without them must be there whole. */
  leaves() {
    for (const section of this.places.sections) section.leaf ??= leafHash(this.stored(section));
    return this.places.sections.map((section) => section.leaf);
  }

  /** Return what counts the work of making a section's payload again. */
  spender(section) {
    return (cells) => this.#spend(section, cells);
  }

  #name(section) {
    return `section ${this.places.sections.indexOf(section)}`;
  }

  #decode(section, decoded, read) {
    const input = new Input(this.stored(section));
    if (decoded > Math.max(limits.SECTION_FLOOR, section.bytes * limits.EXPANSION)) {
      throw new LimitExceededError(`${this.#name(section)} would grow to ${decoded} bytes; the file is hostile`);
    }
    this.options.spend = this.spender(section);
    try {
      const found = read(input);
      section.paid = true;
      return found;
    } catch (error) {
      if (!(error instanceof QacError)) throw error;
      throw new error.constructor(`${this.#name(section)}: ${error.message}`);
    }
  }

  /** Count the work of a section that is decoded for the first time. */
  #spend(section, cells) {
    if (section.paid) return;
    this.cells -= cells;
    if (this.cells < 0) throw new LimitExceededError("decoding would take too long for a file of this size; it is hostile");
  }
}
