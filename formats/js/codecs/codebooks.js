/** The codec codebooks: codebooks in blocks, as differences from a prediction by their neighbours. */

import { FLOAT16, FLOAT32, isFloat, widthOf } from "../types.js";
import { numberOf, wordOf } from "./floats.js";
import { readPlanes, wordsOf } from "./planes.js";

const LINE = 4; // the last prediction method
const MOST_ENTRIES = 256; // of a codebook with it

/** Decode streams of codebooks in blocks, all of one type; returns the bytes of all values. */
export function readCodebooks(input, streams, type, options) {
  const width = widthOf(type);
  const methods = streams.map(({ k, start }) => {
    if (width < 2 || !k || start % k) input.fail("it holds something else than codebooks in blocks");
    const method = input.uint(LINE);
    if (method === LINE && k > MOST_ENTRIES) input.fail("a codebook is too large for its prediction");
    return method;
  });
  const total = streams.reduce((sum, stream) => sum + stream.count, 0);
  const bytes = readPlanes(input, total, width, false, options);
  const words = wordsOf(bytes, width);
  let at = 0;
  streams.forEach(({ count, k }, i) => {
    const table = words.subarray(at, at + count);
    restore(table, k, methods[i], arithmeticOf(type, width));
    at += count;
  });
  return bytes;
}

/**
 * How words of a type are calculated with: numbers of up to 32 bits, or BigInt; arrays take them modulo their size.
 * ascend maps words of floats to integers in the order of their values, descend back; null for other types.
 */
export function arithmeticOf(type, width) {
  const sign = width === 8 ? 1n << 63n : 2 ** (8 * width - 1);
  const descend = (word) => (word & sign ? word ^ sign : ~word);
  const ascend = (word) => (word & sign ? ~word : word | sign);
  const plain = !isFloat(type);
  if (width === 8) {
    const unfold = (folded) => (folded >> 1n) ^ -(folded & 1n);
    const line = (before, earlier) => 2n * before - earlier;
    return { zero: 0n, unfold, descend: plain ? null : descend, ascend: plain ? null : ascend, line };
  }
  const unfold = (folded) => (folded >>> 1) ^ -(folded & 1);
  let line = (before, earlier) => 2 * before - earlier;
  if (type === FLOAT16 || type === FLOAT32) {
    const mask = type === FLOAT16 ? 0xffff : 0xffffffff;
    const infinite = type === FLOAT16 ? 0x7c00 : 0x7f800000;
    const number = (word) => numberOf((descend(word) & mask) >>> 0, type);
    line = (before, earlier) => {
      const word = wordOf(2 * number(before) - number(earlier), type);
      return ascend((word & infinite) === infinite ? 0 : word);
    };
  }
  return { zero: 0, unfold, descend: plain ? null : descend, ascend: plain ? null : ascend, line };
}

/** Turn folded differences into values, in place; k: entries of a codebook. */
function restore(table, k, method, { zero, unfold, descend, line }) {
  for (let i = 0; i < table.length; i++) {
    const column = i % k;
    const left = column ? table[i - 1] : zero;
    const above = i >= k ? table[i - k] : zero;
    let guess = zero;
    if (method === 1) guess = column ? left : above;
    else if (method === 2) guess = above;
    else if (method === 3) guess = above + left - (column && i >= k ? table[i - k - 1] : zero);
    else if (method === LINE) guess = column === 0 ? above : column === 1 ? left : line(left, table[i - 2]);
    table[i] = unfold(table[i]) + guess;
  }
  if (descend) for (let i = 0; i < table.length; i++) table[i] = descend(table[i]);
}
