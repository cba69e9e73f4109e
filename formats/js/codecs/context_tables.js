/** The codec context: counts of the symbols in each context, and the frequencies that follow from them. */

import { bitLength, normalise } from "./frequencies.js";

const PRIOR_BITS = 12;
const WEIGHT_BITS = 26;

/** Counts and frequencies of all contexts, each of which belongs to a prior; width: the largest alphabet. */
export class ContextTables {
  constructor(input, contexts, priors, { width, bits, spend }) {
    this.input = input;
    this.width = width;
    this.bits = bits;
    this.spend = spend; // a function that is told of each cell that is calculated
    this.epoch = 0;
    this.counts = new Uint32Array(contexts * width);
    this.first = new Uint16Array(contexts * (width + 1)); // first slots, and their sum
    this.fresh = new Uint32Array(contexts); // the epoch of these
    this.priorCounts = new Uint32Array(priors * width);
    this.prior = new Uint16Array(priors * width);
    this.weights = new Float64Array(width);
    this.scratch = new Uint32Array(width);
  }

  /** Begin an epoch: calculate the priors. valid: for each prior, how many symbols may occur. */
  begin(valid) {
    const { width, weights } = this;
    this.epoch += 1;
    this.spend(this.prior.length);
    for (let prior = 0; prior < valid.length; prior++) {
      const from = prior * width;
      for (let i = 0; i < valid[prior]; i++) weights[i] = 2 * this.priorCounts[from + i] + 1;
      shift(weights, valid[prior]);
      if (!normalise(weights, valid[prior], PRIOR_BITS, this.prior, from)) this.input.fail("a prior has no symbols");
    }
  }

  /** Return where the first slots of a context begin, calculated in this epoch. */
  slotsOf(context, prior) {
    const { width, weights, scratch } = this;
    const at = context * (width + 1);
    if (this.fresh[context] === this.epoch) return at;
    this.spend(width);
    for (let i = 0; i < width; i++) {
      weights[i] = 384 * this.counts[context * width + i] + this.prior[prior * width + i];
    }
    shift(weights, width);
    if (!normalise(weights, width, this.bits, scratch, 0)) this.input.fail("a context has no symbols");
    let sum = 0;
    for (let i = 0; i < width; i++) {
      this.first[at + i] = sum;
      sum += scratch[i];
    }
    this.first[at + width] = sum;
    this.fresh[context] = this.epoch;
    return at;
  }

  note(context, prior, symbol) {
    this.counts[context * this.width + symbol] += 1;
    this.priorCounts[prior * this.width + symbol] += 1;
  }
}

/** Shift n weights so that the largest has 26 bits at most; those above zero stay so. */
function shift(weights, n) {
  let largest = 0;
  for (let i = 0; i < n; i++) if (weights[i] > largest) largest = weights[i];
  const excess = bitLength(largest) - WEIGHT_BITS;
  if (excess <= 0) return;
  for (let i = 0; i < n; i++) if (weights[i]) weights[i] = Math.max(Math.floor(weights[i] / 2 ** excess), 1);
}
