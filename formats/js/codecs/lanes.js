/** Lanes of rANS: states of 32 bits that share one sequence of 16-bit words (SPEC.md, 6.3). */

import { load32 } from "../bytes.js";

export const STATE_LOW = 65536;

/** Return how many symbols a lane's last state holds, and the number below which those are. */
export function tailOf(alphabet, count, lanes) {
  let length = 0;
  let limit = 1;
  while (length < 16 && limit * alphabet <= STATE_LOW && length + 1 <= Math.floor(count / lanes)) {
    limit *= alphabet;
    length += 1;
  }
  return { length, limit };
}

/** Return a lane's first state of encoding, which holds its last symbols: the first one as the lowest digit. */
export function packTail(symbols, alphabet) {
  return symbols.reduceRight((state, symbol) => state * alphabet + symbol, 0) + STATE_LOW;
}

/**
 * Encode symbols backwards: number i belongs to lane i % lanes. states: of the lanes before the last symbol;
 * frequencies, first: of `length` symbols, in the order of decoding. Returns the bytes of the states and of the words.
 */
export function encodeLanes(states, { length, frequencies, first }, bits) {
  const lanes = states.length;
  const space = 2 ** bits;
  const top = 2 ** (32 - bits);
  const words = new Uint8Array(2 * length);
  let at = words.length;
  for (let i = length, lane = length % lanes; i-- > 0; ) {
    lane = (lane || lanes) - 1;
    const frequency = frequencies[i];
    let x = states[lane];
    if (x >= frequency * top) {
      words[--at] = x >>> 8;
      words[--at] = x;
      x >>>= 16;
    }
    const rest = x % frequency;
    states[lane] = ((x - rest) / frequency) * space + rest + first[i];
  }
  const out = new Uint8Array(4 * lanes + words.length - at);
  for (let i = 0; i < lanes; i++) for (let k = 0; k < 4; k++) out[4 * i + k] = states[i] >>> (8 * k);
  out.set(words.subarray(at), 4 * lanes);
  return out;
}

export class Lanes {
  /** Read the states; the words follow, up to the end of the input. */
  constructor(input, count) {
    const bytes = input.take(4 * count);
    this.input = input;
    this.states = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      this.states[i] = load32(bytes, 4 * i);
      if (this.states[i] < STATE_LOW) input.fail("a state is too small");
    }
    this.words = input.take(input.rest);
    this.at = 0;
    if (this.words.length % 2) input.fail("half a word is left over");
  }

  /** Set a lane's state, and refill it with a word where it needs one. */
  put(lane, state) {
    let x = state;
    if (x < STATE_LOW) {
      if (this.at === this.words.length) this.input.fail("it ends too early");
      x = ((x << 16) | this.words[this.at] | (this.words[this.at + 1] << 8)) >>> 0;
      this.at += 2;
    }
    this.states[lane] = x;
  }

  /** After the last step: all words are used, and each state holds a number below `limit`. */
  finish(limit) {
    if (this.at !== this.words.length) this.input.fail("words are left over");
    for (let i = 0; i < this.states.length; i++) {
      this.states[i] -= STATE_LOW; // wraps to a large number if it is below
      if (this.states[i] >= limit) this.input.fail("a lane doesn't end where it must");
    }
  }
}
