/** Predict indices by those, or by the values, of the tensor of the same name in the base. */

import { SHARED } from "../header.js";
import { levelOf } from "./base.js";

/** The forms of a stream: not predicted; by the nearest value; from here on by the index, shifted. */
export const NO_BASE = 0;
export const BY_VALUE = 1;
export const SHIFTED = 2;
export const MOST_FORM = SHIFTED + 2 * 65536;

/** Return the signed number of 0, 1, 2, ... for 0, -1, 1, ... */
export function unfolded(number) {
  return number % 2 ? -(number + 1) / 2 : number / 2;
}

/**
 * Return what a form tells of a part with indices: { symbols, most, above }, the predicted symbols, the largest
 * possible ones, and how many places back the same place of the filter before is (0: there are no filters).
 * base, made: Contents; number: of the base's tensor.
 */
export function predict(input, part, form, { base, made, number }) {
  const { tensor, stream, start, stop } = part;
  const own = base.places.tensors[number];
  const size = tensor.levels[part.target];
  const level = levelOf(part, own);
  const symbols = new Uint16Array(stop - start);
  if (form === BY_VALUE) {
    if (tensor.blocks) input.fail("codebooks in blocks aren't compared by value");
    nearest(input, base.values(number, level, start, stop), made.book(part.number, part.target), symbols);
  } else {
    if (own.kind !== SHARED) input.fail("the base has no indices of a tensor");
    const indices = base.indices(number, level).subarray(start, stop);
    const shift = unfolded(form - SHIFTED);
    for (let i = 0; i < symbols.length; i++) symbols[i] = Math.min(Math.max(indices[i] + shift, 0), size - 1);
  }
  const most = new Uint16Array(symbols.length).fill(size - 1);
  if (stream.parents) {
    const { parents, children } = stream;
    const first = firstChildren(children);
    for (let i = 0; i < symbols.length; i++) {
      most[i] = children[parents[i]] - 1;
      symbols[i] = Math.min(Math.max(symbols[i] - first[parents[i]], 0), most[i]);
    }
  }
  return { symbols, most, above: tensor.shape.length > 1 ? stream.axis1 * stream.deep : 0 };
}

/** The number of the first child of each entry of a coarser codebook. */
function firstChildren(children) {
  const first = new Uint32Array(children.length);
  for (let i = 1; i < children.length; i++) first[i] = first[i - 1] + children[i - 1];
  return first;
}

/** Write for each value the index of the nearest entry: of two the smaller one, of equal entries the first. */
function nearest(input, values, book, into) {
  const finite = (numbers) => numbers.every(Number.isFinite);
  if (!finite(values) || !finite(book)) input.fail("values that aren't finite aren't compared");
  const order = Array.from(book.keys()).sort((i, j) => book[i] - book[j] || i - j);
  const entries = order.filter((index, i) => i === 0 || book[index] !== book[order[i - 1]]);
  const sorted = Float64Array.from(entries, (index) => book[index]);
  for (let i = 0; i < values.length; i++) {
    let right = 0;
    for (let high = sorted.length - 1; right < high; ) {
      const middle = (right + high) >> 1;
      if (sorted[middle] < values[i]) right = middle + 1;
      else high = middle;
    }
    const left = Math.max(right - 1, 0);
    into[i] = entries[Math.abs(values[i] - sorted[left]) <= Math.abs(sorted[right] - values[i]) ? left : right];
  }
}
