/** What the base of a delta, and the part of the new file that is made, tell of a stream. */

import { doubles } from "../convert.js";
import { UnsupportedVersionError } from "../errors.js";
import { DENSE, SAME, SHARED } from "../header.js";
import { Tensors } from "../tensors.js";
import { isKnown } from "../types.js";

/** The tensors of an open container by name; what was read last is kept. */
export class Contents {
  constructor({ sections, places }) {
    this.sections = sections;
    this.places = places;
    this.numbers = new Map(places.tensors.map((tensor, number) => [tensor.name, number]));
    this.tensors = new Tensors(sections, places);
    this.kept = new Map();
  }

  /** Return the number of the tensor that can predict a part; -1 if there is none. */
  baseOf({ tensor, stream, level }) {
    let number = this.numbers.get(tensor.name) ?? -1;
    if (number < 0) return -1;
    if (this.places.tensors[number].kind === SAME) number = this.places.tensors[number].sameAs;
    const own = this.places.tensors[number];
    let fits;
    if (stream) fits = equal(own.shape, tensor.shape);
    else if (own.stored !== tensor.stored || !equal(own.blocks, tensor.blocks)) fits = false;
    else if (level < 0) fits = own.kind === DENSE && own.count === tensor.count;
    else if (own.kind !== SHARED || own.levels.length !== tensor.levels.length) fits = false;
    else fits = !own.blocks || (own.books === tensor.books && equal(own.levels, tensor.levels));
    return fits ? number : -1;
  }

  /** The indices of a shared tensor at a level. */
  indices(number, level) {
    return this.#last("indices", number, level, () => this.tensors.indices(number, level));
  }

  /** The stored bytes of a codebook, or of a dense tensor, in memory of their own. */
  stored(number, level) {
    checkType(this.places.tensors[number]);
    return this.#last("stored", number, level, () => this.tensors.stored(number, Math.max(level, 0)).slice());
  }

  /** The values [start, stop) of a tensor at a level, as numbers. */
  values(number, level, start, stop) {
    const { type, count } = this.places.tensors[number];
    const bytes = this.#last("values", number, level, () => this.tensors.values(number, Math.max(level, 0)));
    const width = bytes.length / count;
    return doubles(bytes.subarray(start * width, stop * width), type);
  }

  /** The codebook of a level, as numbers. */
  book(number, level) {
    checkType(this.places.tensors[number]);
    return doubles(this.tensors.book(number, level), this.places.tensors[number].type);
  }

  #last(what, number, level, make) {
    const key = `${number} ${level}`;
    if (this.kept.get(what)?.key !== key) this.kept.set(what, { key, value: make() });
    return this.kept.get(what).value;
  }
}

/** Refuse a tensor of a newer version of the format, the width of whose values isn't known. */
export function checkType({ type, stored }) {
  if (isKnown(type) && isKnown(stored)) return;
  throw new UnsupportedVersionError("an element type is of a newer version of the format; update this reader");
}

/** The level of the base's tensor that predicts indices; -1 if it has none. */
export function levelOf({ tensor, target }, own) {
  const finest = own.kind === SHARED ? own.levels.length - 1 : -1;
  return tensor.atOnce || tensor.levels.length === 1 ? finest : Math.min(target, finest);
}

function equal(one, other) {
  return one === other || (one !== null && other !== null && one.join() === other.join());
}
