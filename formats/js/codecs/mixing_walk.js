/** The codec mixing: the way through the values of streams, block by block, bit by bit. */

import { INPUTS, Mixer } from "./mixing_bits.js";
import { Table } from "./mixing_blocks.js";
import { FLAGS, MAGNITUDE_SLOTS, OWN_MAGNITUDE, OWN_SIGN, SIGN_SLOTS, Surroundings } from "./mixing_model.js";

const SETS = 7; // of weights of flags: for above 0, above 1, ..., above 6 or more
const CELLS_STREAM = 250; // work of a stream, in cells of frequency tables

/** Decodes or encodes the streams of a section, one after the other; all of them teach the same contexts. */
export class MixingWalk {
  /** streams: how many come; coder: a BitLanes, or a BitRecorder to encode. */
  constructor(streams, coder) {
    coder.spend(streams * CELLS_STREAM);
    this.streams = streams;
    this.magnitudes = new Mixer(FLAGS * (MAGNITUDE_SLOTS + streams * OWN_MAGNITUDE), SETS, coder);
    this.signs = new Mixer(SIGN_SLOTS + streams * OWN_SIGN, 1, coder);
    this.#room(64);
  }

  /** Return the values of stream `number`: the distances of its symbols from the centre. known: to encode, the same. */
  stream(number, stream, centre, known = null) {
    const table = new Table(stream);
    const around = new Surroundings(table, this.streams, number);
    const most = Math.max(centre, stream.alphabet - 1 - centre);
    const values = new Int16Array(stream.count);
    if (table.largest > this.sizes.length) this.#room(table.largest);
    table.blocks((top, bottom, left, right, place) => {
      const n = around.begin(top, bottom, left, right, place, this.slots);
      if (!n) return;
      if (known) around.take(known, this.given);
      this.#sizes(n, most, known !== null);
      this.#signs(n, around, known !== null);
      around.end(this.sizes, values);
    });
    return values;
  }

  /** Take memory for blocks of n values. */
  #room(n) {
    this.slots = new Int32Array(INPUTS * n); // of the contexts of each bit of a batch
    this.sizes = new Int16Array(n); // magnitudes, then values
    this.alive = new Int32Array(n); // the numbers, in the block, of the values that a batch has a bit of
    this.bits = new Uint8Array(n);
    this.given = new Int16Array(n); // values of the block, to encode
  }

  /** Decode the magnitudes of a block, or encode those given; slots: those of the first flag. */
  #sizes(n, most, encodes) {
    const { slots, sizes, alive, bits, magnitudes, given } = this;
    sizes.fill(0, 0, n);
    for (let i = 0; i < n; i++) alive[i] = i;
    let left = n;
    for (let flag = 0; flag < most && left; flag++) {
      if (encodes) for (let i = 0; i < left; i++) bits[i] = Math.abs(given[alive[i]]) > flag ? 1 : 0;
      magnitudes.batch(slots, left, Math.min(flag, SETS - 1), bits);
      const next = flag + 1 < FLAGS ? 1 : 0; // later flags have the last context
      let kept = 0;
      let at = 0; // of the slots of those
      for (let i = 0; i < left; i++) {
        if (!bits[i]) continue;
        const value = alive[i];
        sizes[value] = flag + 1;
        alive[kept++] = value;
        for (let k = INPUTS * i; k < INPUTS * (i + 1); k++) slots[at++] = slots[k] + next;
      }
      left = kept;
    }
  }

  /** Decode the signs of a block, or encode those given, and apply them to the magnitudes. */
  #signs(n, around, encodes) {
    const { slots, sizes, alive, bits, given } = this;
    const { expected } = around;
    let count = 0;
    for (let i = 0; i < n; i++) {
      if (!sizes[i]) continue;
      alive[count] = i;
      around.sign(i, sizes[i], slots, INPUTS * count);
      count += 1;
    }
    if (!count) return;
    if (encodes) for (let i = 0; i < count; i++) bits[i] = expected[alive[i]] ^ (given[alive[i]] < 0 ? 1 : 0);
    this.signs.batch(slots, count, 0, bits);
    for (let i = 0; i < count; i++) if (bits[i] !== expected[alive[i]]) sizes[alive[i]] *= -1;
  }
}
