/**
 * The WebAssembly module of the C reader and its memory: a qac_file, the arena, then the output.
 *
 * All files share one of these for each module, since fresh memory takes time. It holds the file that was read last, its
 * owner; another one is opened in it anew.
 */

import { LimitExceededError } from "./errors.js";

const PAGE = 1 << 16;
const FIRST_ARENA = 1 << 18; // bytes; the reader tells where it needs more
const TRIES = 64; // each asks for more, so a few are enough
export const ARENA_TOO_SMALL = 9; // an error of qac.h

const readers = new WeakMap(); // module -> its reader

/** The reader of a compiled module. */
export function readerOf(module) {
  if (!readers.has(module)) readers.set(module, new WasmReader(module));
  return readers.get(module);
}

class WasmReader {
  #qac;
  #file;
  #at; // where the arena begins
  #bytes = FIRST_ARENA; // of the arena
  #owner = null;

  constructor(module) {
    const qac = {
      read: (offset, into, bytes) => this.#owner.give(offset >>> 0, this.bytes(into >>> 0, bytes >>> 0)),
      zstd: (frame, frameBytes, into, bytes) =>
        this.#owner.unpack(this.bytes(frame >>> 0, frameBytes >>> 0), this.bytes(into >>> 0, bytes >>> 0)),
    };
    this.#qac = new WebAssembly.Instance(module, { qac }).exports;
    this.#file = this.#qac.start() >>> 0;
    this.#at = aligned(this.#file + this.#qac.file_bytes());
  }

  /** A view of memory, valid until the next call. */
  bytes(at, length) {
    return new Uint8Array(this.#qac.memory.buffer, at, length);
  }

  /**
   * Read a tensor's values: { error } of qac.h, or { values }, a view.
   * owner: has `received`, bytes that are there, `groupBytes`, those of its decoded groups, give() and unpack().
   */
  values(owner, number, level, bytes) {
    let error = this.#own(owner);
    for (let tries = 0; !error && tries < TRIES; tries++) {
      const out = aligned(this.#at + this.#bytes);
      this.#grow(out + bytes);
      error = this.#qac.values(this.#file, number, level, out, bytes);
      if (!error) return { error, values: this.bytes(out, bytes) };
      if (error !== ARENA_TOO_SMALL) break;
      this.#enlarge(owner);
      error = this.#open(owner);
    }
    return { error, values: null };
  }

  #own(owner) {
    if (this.#owner !== owner) return this.#open(owner);
    this.#qac.arrived(this.#file, owner.received);
    return 0;
  }

  #open(owner) {
    let error = ARENA_TOO_SMALL;
    this.#owner = owner;
    for (let tries = 0; error === ARENA_TOO_SMALL && tries < TRIES; tries++) {
      this.#grow(this.#at + this.#bytes);
      error = this.#qac.open(this.#file, owner.received, this.#at, this.#bytes);
      if (error === ARENA_TOO_SMALL) this.#enlarge(owner);
    }
    if (error) this.#owner = null;
    return error;
  }

  /** Make the arena as large as the reader has asked for, and let it keep groups that it has decoded. */
  #enlarge({ groupBytes }) {
    this.#bytes = Math.max((this.#qac.need(this.#file) >>> 0) + groupBytes, this.#bytes + PAGE);
  }

  #grow(end) {
    const { memory } = this.#qac;
    const pages = Math.ceil((end - memory.buffer.byteLength) / PAGE);
    if (pages <= 0) return;
    try {
      memory.grow(pages);
    } catch {
      this.#owner = null;
      throw new LimitExceededError(`WebAssembly gives no ${end} bytes of memory for it; use engine "js"`);
    }
  }
}

function aligned(place) {
  return Math.ceil(place / 16) * 16;
}
