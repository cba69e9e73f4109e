/**
 * The codec mixing: counts of bits in contexts, and the weights with which their predictions are mixed (SPEC.md, 6.8).
 * Sums of products are below 2^53, so numbers hold them exactly.
 */

import { STATE_LOW } from "./lanes.js";
import { logarithm } from "./context_settings.js";

export const INPUTS = 5;
const ONE = 32768; // probabilities are in 1/32768
const COUNTS = 512; // a context counts fewer bits
const FIRST_WEIGHT = 20971; // floor(1.6 * 65536 / 5)
const HEAVIEST = 2 ** 20;
const MOST = 768; // odds of a mixed prediction, in 1/64 octaves
const DAMPING = 2_000_000_000;
export const CELLS_EACH = 16; // work of a bit and of a batch, in cells of frequency tables
export const CELLS_BATCH = 64;

const LOGS = Int16Array.from({ length: COUNTS }, (_, i) => logarithm(5 * i + 2));

/** Probabilities of a one, by the odds from -MOST to MOST. */
const ONES = Uint16Array.from({ length: 2 * MOST + 1 }, (_, i) => {
  const size = Math.abs(i - MOST);
  const small = Math.floor(2 ** 31 / (65536 + Math.round(65536 * 2 ** ((size & 63) / 64)) * 2 ** (size >> 6)));
  return Math.min(Math.max(i < MOST ? small : ONE - small, 8), ONE - 8);
});

/** The lanes of a payload, from which a Mixer decodes; bit i of a batch belongs to lane i % lanes. */
export class BitLanes {
  /** spend: a function that is told of the work of each batch. */
  constructor(lanes, spend) {
    this.lanes = lanes;
    this.spend = spend;
    this.states = new Int32Array(lanes.states.buffer); // integer arithmetic on these is faster
    this.words = lanes.words;
    this.at = lanes.at; // the place of the next word
    this.kept = null; // nothing is encoded
  }

  /** Before a batch of n bits. */
  begin(n) {
    this.spend(CELLS_EACH * n + CELLS_BATCH);
  }

  /** After it. */
  end() {}

  fail(why) {
    this.lanes.input.fail(why);
  }

  /** All words are used, and every lane ends where the encoder started it. */
  finish() {
    this.lanes.at = this.at;
    this.lanes.finish(1);
  }
}

/** The counts of all contexts, and a set of weights for each kind of bit. */
export class Mixer {
  /** coder: a BitLanes, or a BitRecorder to encode. */
  constructor(slots, sets, coder) {
    this.coder = coder;
    this.zeros = new Uint16Array(slots);
    this.ones = new Uint16Array(slots);
    this.odds = new Int16Array(slots);
    this.weights = new Float64Array(sets * INPUTS).fill(FIRST_WEIGHT);
    this.gradients = new Float64Array(INPUTS);
    this.curvatures = new Float64Array(INPUTS);
  }

  /**
   * Decode n bits into `bits`, or encode those that are there, and learn from them. slots: of the inputs of each bit;
   * set: that of the weights.
   */
  batch(slots, n, set, bits) {
    this.coder.begin(n);
    this.#code(slots, n, INPUTS * set, bits);
    this.coder.end(n);
    this.#weigh(INPUTS * set);
    this.#refresh(slots, INPUTS * n);
  }

  /** Decode or encode the bits, count them, and sum the gradients. Predictions stay as they are. */
  #code(slots, n, at, bits) {
    const { zeros, ones, odds, weights, gradients, curvatures } = this;
    const { coder } = this;
    const { states, words, kept } = coder;
    const w0 = weights[at], w1 = weights[at + 1], w2 = weights[at + 2], w3 = weights[at + 3], w4 = weights[at + 4];
    let g0 = 0, g1 = 0, g2 = 0, g3 = 0, g4 = 0;
    let h0 = 0, h1 = 0, h2 = 0, h3 = 0, h4 = 0;
    let from = coder.at;
    for (let i = 0, k = 0, lane = 0; i < n; i++, k += INPUTS) {
      const a = slots[k], b = slots[k + 1], c = slots[k + 2], d = slots[k + 3], e = slots[k + 4];
      const t0 = odds[a], t1 = odds[b], t2 = odds[c], t3 = odds[d], t4 = odds[e];
      const mixed = Math.floor((w0 * t0 + w1 * t1 + w2 * t2 + w3 * t3 + w4 * t4) / 65536);
      const one = ONES[mixed < -MOST ? 0 : mixed > MOST ? 2 * MOST : mixed + MOST];
      let bit = bits[i];
      if (kept) kept[from++] = 2 * one + bit;
      else {
        const state = states[lane];
        const slot = state & (ONE - 1);
        bit = slot < one ? 1 : 0;
        let x = bit ? Math.imul(one, state >>> 15) + slot | 0 : Math.imul(ONE - one, state >>> 15) + slot - one | 0;
        if (x >>> 0 < STATE_LOW) {
          if (from === words.length) coder.fail("it ends too early");
          x = (x << 16) | words[from] | (words[from + 1] << 8);
          from += 2;
        }
        states[lane] = x;
        lane = lane + 1 === states.length ? 0 : lane + 1;
        bits[i] = bit;
      }
      const error = (bit ? ONE : 0) - one;
      const wide = (one * (ONE - one)) >> 15;
      g0 += t0 * error;
      g1 += t1 * error;
      g2 += t2 * error;
      g3 += t3 * error;
      g4 += t4 * error;
      h0 += t0 * t0 * wide;
      h1 += t1 * t1 * wide;
      h2 += t2 * t2 * wide;
      h3 += t3 * t3 * wide;
      h4 += t4 * t4 * wide;
      const counts = bit ? ones : zeros;
      counts[a] += 1;
      counts[b] += 1;
      counts[c] += 1;
      counts[d] += 1;
      counts[e] += 1;
    }
    coder.at = from;
    gradients[0] = g0;
    gradients[1] = g1;
    gradients[2] = g2;
    gradients[3] = g3;
    gradients[4] = g4;
    curvatures[0] = h0;
    curvatures[1] = h1;
    curvatures[2] = h2;
    curvatures[3] = h3;
    curvatures[4] = h4;
  }

  /** Change the weights by their gradients. */
  #weigh(at) {
    const { weights, gradients, curvatures } = this;
    for (let j = 0; j < INPUTS; j++) {
      const step = Math.sign(gradients[j]) * ratio(Math.abs(gradients[j]), curvatures[j] + DAMPING);
      weights[at + j] = Math.min(Math.max(weights[at + j] + step, -HEAVIEST), HEAVIEST);
    }
  }

  /** Calculate the predictions of the contexts whose counts have changed, some of them more than once. */
  #refresh(slots, length) {
    const { zeros, ones, odds } = this;
    for (let k = 0; k < length; k++) {
      const slot = slots[k];
      const total = zeros[slot] + ones[slot];
      if (total >= COUNTS) {
        const shift = 23 - Math.clz32(total); // to nine bits
        zeros[slot] >>= shift;
        ones[slot] >>= shift;
      }
      odds[slot] = LOGS[ones[slot]] - LOGS[zeros[slot]];
    }
  }
}

/** floor(a * 2^18 / b) for a below 2^42 and b below 2^47. */
function ratio(a, b) {
  if (a < 2 ** 35) return Math.floor((a * 2 ** 18) / b);
  let found = Math.floor(a / b);
  let rest = a % b;
  for (let step = 0; step < 3; step++) {
    rest *= 64;
    found = found * 64 + Math.floor(rest / b);
    rest %= b;
  }
  return found;
}
