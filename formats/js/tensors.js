/** Decode tensors: values, codebooks and indices, from the groups and chunks that hold them. */

import { indexStream } from "./codecs/stream.js";
import { convert } from "./convert.js";
import { UnsupportedVersionError } from "./errors.js";
import { Groups } from "./groups.js";
import { DENSE, INDEX_CHUNK, SAME, SHARED, VALUE_CHUNK } from "./header.js";
import { coarsen, join } from "./levels.js";
import { lookUp, lookUpBlocks } from "./look_up.js";
import { bookValues, storedLevels } from "./places.js";
import { isKnown, widthOf } from "./types.js";

export class Tensors {
  constructor(sections, places) {
    this.sections = sections;
    this.places = places;
    this.groups = new Groups(sections, places);
  }

  /** Decode all values of tensor `number` at a level: the bytes of an array of its type, in memory of their own. */
  values(number, level) {
    let tensor = this.places.tensors[number];
    if (tensor.kind === SAME) return this.values(tensor.sameAs, level);
    if (!isKnown(tensor.type) || !isKnown(tensor.stored)) {
      throw new UnsupportedVersionError("its element type is of a newer version of the format; update this reader");
    }
    if (tensor.kind === DENSE) return convert(this.stored(number, 0), tensor.stored, tensor.type);
    const top = Math.min(level, tensor.levels.length - 1);
    const book = this.book(number, top);
    const width = widthOf(tensor.type);
    const out = new Uint8Array(tensor.count * width);
    const write = (indices, start) => {
      const part = out.subarray(start * width, (start + indices.length) * width);
      if (tensor.blocks) lookUpBlocks(tensor, part, book, indices, start);
      else lookUp(part, book, indices, width);
    };
    if (tensor.group) write(this.#coarse(tensor, top, this.groups.indices(number, tensor.atOnce ? 0 : top)), 0);
    else this.#indexChunks(tensor, number, top, write);
    return out;
  }

  /** The bytes of the codebook of a level, or of all codebooks in blocks, in the type of the tensor. */
  book(number, level) {
    const tensor = this.places.tensors[number];
    return convert(this.stored(number, level), tensor.stored, tensor.type);
  }

  /** The stored bytes of a dense tensor, or of a shared one's codebook of a level: not copied. */
  stored(number, level) {
    const tensor = this.places.tensors[number];
    const shared = tensor.kind === SHARED;
    const group = shared ? tensor.bookGroup : tensor.group;
    if (group) return this.groups.values(group - 1, number, level);
    return this.#valueChunks(tensor, number, shared ? tensor.levels[0] : 0);
  }

  /** The indices of a shared tensor at a level, or at its finest level if that is coarser. */
  indices(number, level) {
    const tensor = this.places.tensors[number];
    const top = Math.min(level, tensor.levels.length - 1);
    if (tensor.group) return this.#coarse(tensor, top, this.groups.indices(number, tensor.atOnce ? 0 : top));
    const out = tensor.levels[top] <= 256 ? new Uint8Array(tensor.count) : new Uint16Array(tensor.count);
    this.#indexChunks(tensor, number, top, (indices, start) => out.set(indices, start));
    return out;
  }

  /** The stored bytes of values in chunks; k: entries of a codebook, 0 for a dense tensor. */
  #valueChunks(tensor, number, k) {
    const total = k ? bookValues(tensor) : tensor.count;
    const width = widthOf(tensor.stored);
    const out = new Uint8Array(total * width);
    for (let start = 0, chunk = 0; start < total; start += this.places.chunk, chunk++) {
      const count = Math.min(this.places.chunk, total - start);
      const section = this.places.find(VALUE_CHUNK, 0, number, chunk);
      out.set(this.sections.values(section, [{ count, start, k }], tensor.stored), start * width);
    }
    return out;
  }

  /** Decode the indices at level `top`, and give each chunk to write(indices, start). */
  #indexChunks(tensor, number, top, write) {
    for (let start = 0, chunk = 0; start < tensor.count; start += this.places.chunk, chunk++) {
      const stop = Math.min(start + this.places.chunk, tensor.count);
      let indices = null;
      for (let level = 0; level < Math.min(top + 1, storedLevels(tensor)); level++) {
        const stream = indexStream(tensor, level, start, stop, indices);
        const section = this.places.find(INDEX_CHUNK, level, number, chunk);
        indices = join(this.sections.indices(section, [stream])[0], stream);
      }
      write(this.#coarse(tensor, top, indices), start);
    }
  }

  #coarse(tensor, top, indices) {
    return tensor.atOnce ? coarsen(tensor, top, indices) : indices;
  }
}
