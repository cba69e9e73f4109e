/** The codec mixing: encode bits for deltas, the last one first, once all probabilities are known (SPEC.md, 6.8). */

import { LimitExceededError } from "../errors.js";
import { ALONG_FIRST, nextState, NO_PATH } from "./context_settings.js";
import { STATE_LOW } from "./lanes.js";
import { CELLS_BATCH, CELLS_EACH } from "./mixing_bits.js";

const ONE = 32768; // probabilities are in 1/32768
const MOST = 2 ** 26; // numbers that are kept, whatever the number of values, and for each value
const MOST_EACH = 16;

/** Keeps batches of bits with their probabilities, given by a Mixer, until all can be encoded. */
export class BitRecorder {
  /** count: of the values; spend: a function that is told of the work of each batch. */
  constructor(count, spend) {
    this.spend = spend;
    this.most = Math.max(MOST, MOST_EACH * count);
    this.kept = new Uint16Array(4096); // of each bit: 2 * probability + bit; after a batch its length, below 2^16
    this.at = 0;
    this.states = new Int32Array(0); // nothing is decoded
    this.words = new Uint8Array(0);
  }

  /** Before a batch of n bits. */
  begin(n) {
    this.spend(CELLS_EACH * n + CELLS_BATCH);
    const end = this.at + n + 1;
    if (end > this.most) throw new LimitExceededError(`${end} bits would take too much memory; the file is hostile`);
    if (end <= this.kept.length) return;
    const { kept } = this;
    this.kept = new Uint16Array(Math.min(Math.max(2 * kept.length, end), this.most));
    this.kept.set(kept.subarray(0, this.at));
  }

  /** After it. */
  end(n) {
    this.kept[this.at++] = n;
  }

  /** Return the bytes of the lanes' states and of the words. Words take the places of bits that are encoded. */
  coded(lanes) {
    const { kept } = this;
    const states = new Uint32Array(lanes).fill(STATE_LOW);
    let to = this.at; // where the words begin
    for (let end = this.at - 1; end > 0; ) {
      const start = end - kept[end];
      for (let i = end - 1, lane = (end - start) % lanes; i >= start; i--) {
        lane = (lane || lanes) - 1;
        const one = kept[i] >>> 1;
        const bit = kept[i] & 1;
        const frequency = bit ? one : ONE - one;
        let x = states[lane];
        if (x >= frequency * 131072) {
          kept[--to] = x; // its low 16 bits
          x >>>= 16;
        }
        const rest = x % frequency;
        states[lane] = ((x - rest) / frequency) * ONE + rest + (bit ? 0 : one);
      }
      end = start - 1;
    }
    const out = new Uint8Array(4 * lanes + 2 * (this.at - to));
    for (let i = 0; i < lanes; i++) for (let k = 0; k < 4; k++) out[4 * i + k] = states[i] >>> (8 * k);
    for (let i = to, at = 4 * lanes; i < this.at; i++) {
      out[at++] = kept[i];
      out[at++] = kept[i] >>> 8;
    }
    return out;
  }
}

/** Turn the indices of a stream into values: the distances of its symbols from the centre. path: as of pathOf. */
export function lead(input, { stream, way, zero, row, start, state: first }, indices) {
  const { count } = stream;
  const values = new Int16Array(count);
  const columns = count / row;
  let state = first;
  let left = row - (start % row); // of the row
  for (let i = 0; i < count; i++) {
    const away = indices[way === ALONG_FIRST ? (i % row) * columns + Math.floor(i / row) : i] - zero;
    values[i] = away;
    if (way === NO_PATH) continue;
    const doubled = away + Math.sign(away) * (state & 1);
    if (doubled & 1) input.fail("an index isn't on the trellis");
    values[i] = doubled / 2;
    state = nextState(state, doubled / 2);
    left -= 1;
    if (!left) {
      left = row;
      state = 0;
    }
  }
  return values;
}
