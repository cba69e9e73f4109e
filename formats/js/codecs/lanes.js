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
