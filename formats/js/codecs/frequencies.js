/** Frequency tables (SPEC.md, 6.2): weights, their sum scaled to a power of two. Weights are exact below 2^53. */

import { Integer, RangeDecoder } from "./range_coder.js";

const WEIGHT_BITS = 26; // of the largest weight, after a shift

/** Reads the tables of a payload; the models serve all of them, without a reset. */
export class TableReader {
  constructor(input, mantissa) {
    this.input = input;
    this.mantissa = mantissa;
    this.decoder = new RangeDecoder(input);
    this.zero = RangeDecoder.bits(2);
    this.first = new Integer();
    this.step = new Integer();
  }

  /** Read the frequencies of an alphabet, with the sum 2^bits. */
  read(alphabet, bits) {
    const steps = 2 ** this.mantissa;
    const weights = new Float64Array(alphabet);
    let last = -1;
    let occurs = 1;
    for (let i = 0; i < alphabet; i++) {
      occurs = 1 - this.decoder.bit(this.zero, occurs);
      if (!occurs) continue;
      last = last < 0 ? this.decoder.uint(this.first) : last + this.decoder.sint(this.step);
      if (last <= 0 || last > 31 * steps) this.input.fail("a frequency is out of range");
      weights[i] = (steps + ((last - 1) % steps)) * 2 ** Math.floor((last - 1) / steps);
    }
    return scaled(this.input, weights, bits);
  }
}

/** Return weights as frequencies with the sum 2^bits: integers below 2^26 first, if they are larger. */
export function scaled(input, weights, bits) {
  const largest = weights.reduce((a, b) => Math.max(a, b), 0);
  const excess = bitLength(largest) - WEIGHT_BITS;
  if (excess > 0) {
    const divisor = 2 ** excess;
    for (let i = 0; i < weights.length; i++) {
      if (weights[i]) weights[i] = Math.max(Math.floor(weights[i] / divisor), 1);
    }
  }
  const frequencies = new Uint32Array(weights.length);
  if (!normalise(weights, weights.length, bits, frequencies, 0)) input.fail("a frequency table has no place for its symbols");
  return frequencies;
}

/** The frequencies of pairs of symbols. */
export function squared(input, frequencies, bits) {
  const size = frequencies.length;
  const weights = new Float64Array(size * size);
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) weights[i * size + j] = frequencies[i] * frequencies[j];
  }
  return scaled(input, weights, bits);
}

/** Scale n weights (below 2^26) to frequencies with the sum 2^bits, into[at...]; false if there are too many, or none. */
export function normalise(weights, n, bits, into, at) {
  const space = 2 ** bits;
  let total = 0;
  let present = 0;
  for (let i = 0; i < n; i++) {
    total += weights[i];
    if (weights[i]) present += 1;
  }
  if (!total || present > space) return false;
  const half = Math.floor(total / 2);
  let missing = space;
  for (let i = 0; i < n; i++) {
    const weight = weights[i];
    const found = weight ? Math.floor((weight * space + half) / total) || 1 : 0;
    into[at + i] = found;
    missing -= found;
  }
  while (missing) {
    let largest = at;
    for (let i = at + 1; i < at + n; i++) if (into[i] > into[largest]) largest = i;
    const change = Math.max(missing, -Math.max(into[largest] >>> 1, 1));
    into[largest] += change;
    missing -= change;
  }
  return true;
}

/** How many bits a whole number below 2^53 has. */
export function bitLength(value) {
  return value < 2 ** 32 ? 32 - Math.clz32(value) : 64 - Math.clz32(Math.floor(value / 2 ** 32));
}
