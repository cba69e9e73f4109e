/** Decode tensors with the C reader, compiled to WebAssembly. What it leaves out, plain JavaScript decodes. */

import {
  ChecksumError, EngineError, HeaderError, LimitExceededError, NotAContainerError, PayloadError, ReadFailedError,
  TruncatedError,
} from "./errors.js";
import { widthOf } from "./types.js";
import { Input } from "./bytes.js";

const PAGE = 1 << 16;
const FIRST_ARENA = 1 << 16; // bytes to begin with; the reader tells how many it needs
const TRIES = 64; // each asks for more, so a few are enough
const [UNSUPPORTED, LIMIT, ARENA_TOO_SMALL] = [2, 6, 9]; // of qac.h
/** Errors of qac.h that speak of the file. */
const ERRORS = {
  1: [NotAContainerError, "isn't a .qac container"],
  3: [TruncatedError, "it is cut off; fetch it again"],
  4: [ChecksumError, "a section is damaged; fetch the file again"],
  5: [HeaderError, "its header is malformed; the file is damaged"],
  7: [PayloadError, "a section can't be decoded to what the header says; the file is damaged"],
  11: [ReadFailedError, "its bytes can't be read; fetch it again"],
};

export class WasmEngine {
  #data;
  #places;
  #plain;
  #zstd;
  #reader;
  #arena = { at: 0, bytes: 0 };
  #measured = -1; // the level that the arena is known to be large enough for
  #refused = null; // what decoding Zstandard has raised

  /** data: the arriving file; plain: the engine of plain JavaScript, for what the module leaves out. */
  constructor(module, { data, places, zstd, plain }) {
    this.name = "wasm";
    this.#data = data;
    this.#places = places;
    this.#plain = plain;
    this.#zstd = zstd;
    const qac = {
      read: (offset, into, bytes) => this.#give(offset >>> 0, into >>> 0, bytes >>> 0),
      zstd: (frame, frameBytes, into, bytes) => this.#unpack(frame >>> 0, frameBytes >>> 0, into >>> 0, bytes >>> 0),
    };
    this.#reader = new WebAssembly.Instance(module, { qac }).exports;
    this.#arena.at = aligned((this.#reader.start() >>> 0) + this.#reader.file_bytes());
  }

  /** The bytes of a tensor's values at a level, in memory of their own. */
  values(number, level) {
    const tensor = this.#places.tensors[number];
    const bytes = tensor.count * widthOf(tensor.type);
    this.#refused = null;
    let error = this.#ready(level);
    let out = 0;
    for (let tries = 0; !error && tries < TRIES; tries++) {
      out = aligned(this.#arena.at + this.#arena.bytes);
      this.#grow(out + bytes);
      error = this.#reader.values(this.#reader.start(), number, level, out, bytes);
      if (error !== ARENA_TOO_SMALL) break;
      error = this.#open(Math.max(this.#reader.need(this.#reader.start()) >>> 0, 2 * this.#arena.bytes));
    }
    if (this.#refused) throw this.#refused;
    if (error === UNSUPPORTED || error === LIMIT) return this.#plain.values(number, level);
    if (error) this.#fail(error);
    return new Uint8Array(this.#reader.memory.buffer, out, bytes).slice();
  }

  /** The bytes of the graph or of the metadata: text, which plain JavaScript decodes as well. */
  blob(kind) {
    return this.#plain.blob(kind);
  }

  /** Open the file in the module, with an arena for what is read at a level. */
  #ready(level) {
    const file = this.#reader.start();
    if (this.#measured >= 0) this.#reader.arrived(file, this.#data.length);
    if (this.#measured >= level) return 0;
    let error = this.#open(Math.max(this.#arena.bytes, FIRST_ARENA));
    for (let tries = 0; !error && tries < TRIES; tries++) {
      const bytes = this.#reader.arena_bytes(file, level) >>> 0;
      if (bytes && bytes <= this.#arena.bytes) break;
      error = this.#open(bytes || Math.max(this.#reader.need(file) >>> 0, 2 * this.#arena.bytes));
    }
    if (!error) this.#measured = level;
    return error;
  }

  #open(bytes) {
    const file = this.#reader.start();
    let error = ARENA_TOO_SMALL;
    this.#arena.bytes = bytes;
    for (let tries = 0; error === ARENA_TOO_SMALL && tries < TRIES; tries++) {
      this.#grow(this.#arena.at + this.#arena.bytes);
      error = this.#reader.open(file, this.#data.length, this.#arena.at, this.#arena.bytes);
      if (error === ARENA_TOO_SMALL) this.#arena.bytes = Math.max(this.#reader.need(file) >>> 0, this.#arena.bytes + PAGE);
    }
    return error;
  }

  #grow(end) {
    const { memory } = this.#reader;
    const pages = Math.ceil((end - memory.buffer.byteLength) / PAGE);
    if (pages <= 0) return;
    try {
      memory.grow(pages);
    } catch {
      throw new LimitExceededError(`WebAssembly gives no ${end} bytes of memory for it; use engine "js"`);
    }
  }

  #give(offset, into, bytes) {
    if (offset + bytes > this.#data.length) return 1;
    new Uint8Array(this.#reader.memory.buffer, into, bytes).set(this.#data.slice(offset, bytes));
    return 0;
  }

  #unpack(frame, frameBytes, into, bytes) {
    const { buffer } = this.#reader.memory;
    try {
      const found = this.#zstd(new Input(new Uint8Array(buffer, frame, frameBytes)), bytes);
      new Uint8Array(buffer, into, bytes).set(found);
      return 0;
    } catch (error) {
      this.#refused = error;
      return 1;
    }
  }

  #fail(error) {
    const [Class, message] = ERRORS[error] ?? [EngineError, `the module answered ${error}; use engine "js"`];
    throw new Class(message);
  }
}

function aligned(place) {
  return Math.ceil(place / 16) * 16;
}
