/** Indices of nested codebooks: from a level to the next finer one, and from the finest to a coarser one. */

import { PayloadError } from "./errors.js";

const indicesOf = (entries, count) => (entries <= 256 ? new Uint8Array(count) : new Uint16Array(count));

/** Return the indices of a level, given the stream's symbols, which number the children of its parents. */
export function join(symbols, { children, parents }) {
  if (!children) return symbols;
  const first = new Uint32Array(children.length);
  let sum = 0;
  children.forEach((count, parent) => {
    first[parent] = sum;
    sum += count;
  });
  const indices = indicesOf(sum, symbols.length);
  for (let i = 0; i < symbols.length; i++) {
    const parent = parents[i];
    if (symbols[i] >= children[parent]) {
      throw new PayloadError("an index refers to a child that its coarser entry doesn't have; the file is damaged");
    }
    indices[i] = first[parent] + symbols[i];
  }
  return indices;
}

/** Return the indices of level `top`, given the finest ones of a tensor whose levels are stored at once. */
export function coarsen({ levels, children }, top, finest) {
  let ancestors = Array.from({ length: levels.at(-1) }, (_, i) => i);
  for (let level = levels.length - 2; level >= top; level--) {
    const parents = children[level].flatMap((count, parent) => Array(count).fill(parent));
    ancestors = ancestors.map((entry) => parents[entry]);
  }
  const indices = indicesOf(levels[top], finest.length);
  for (let i = 0; i < finest.length; i++) indices[i] = ancestors[finest[i]];
  return indices;
}
