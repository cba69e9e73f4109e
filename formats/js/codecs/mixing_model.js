/** The codec mixing: the contexts of a block, which follow from the values of the blocks before (SPEC.md, 6.8). */

import { logarithm } from "./context_settings.js";
import { INPUTS } from "./mixing_bits.js";
import { PLACES } from "./mixing_blocks.js";

export const FLAGS = 18;
const FLOOR = 15; // added to a mean magnitude in 1/256, so that its logarithm exists
const [FINE, COARSE, RATIO, LEVEL] = [64, 32, 24, 16]; // numbers of cells
export const MAGNITUDE_SLOTS = FINE + 9 * RATIO + RATIO * LEVEL; // of all streams, for each flag
export const OWN_MAGNITUDE = 1 + COARSE; // of each stream
const SIGN_PLACES = 8 * 4 + 8 * 4 + 9 * 3;
export const SIGN_SLOTS = SIGN_PLACES + 8 * PLACES;
export const OWN_SIGN = 8;

/** For each number from 0 to the last bound, how many bounds are at most that. */
const counted = (...bounds) =>
  Uint8Array.from({ length: bounds[bounds.length - 1] + 1 }, (_, i) => bounds.filter((bound) => bound <= i).length);
const SMOOTH = counted(2, 5, 8, 13, 19, 26, 35, 48);
const SIGNED = counted(1, 2, 6, 13, 21, 32, 48);
const ABSOLUTE = counted(1, 2, 3, 5, 7, 9, 13);

/** The places before that may be near one: down, right, weights of magnitude and of value, whether at distance 1. */
const NEAR = [
  [-2, 0, 2, -1, 0], [-1, -1, 2, -1, 0], [-1, 0, 4, 4, 1], [-1, 1, 2, -1, 0], [0, -2, 2, -1, 0], [0, -1, 4, 4, 1],
];

const cell = (number, cells) => (number < 0 ? 0 : number < cells ? number : cells - 1);

/** What is known of a stream: its values so far, and the sums of their magnitudes. */
export class Surroundings {
  /** streams: number of streams of the section; number: of this one. */
  constructor(table, streams, number) {
    const { rows, columns, places, kernels, largest } = table;
    this.table = table;
    this.constant = MAGNITUDE_SLOTS + number;
    this.coarse = MAGNITUDE_SLOTS + streams + number * COARSE;
    this.ownSign = SIGN_SLOTS + number * OWN_SIGN;
    this.values = new Int16Array(places * kernels); // place by place
    this.total = new Sums(1);
    this.rows = new Sums(rows);
    this.firstColumn = kernels < columns ? table.first % columns : 0; // the first one in the sums below
    this.columns = new Sums(Math.min(columns, kernels));
    this.columnLogs = new Int16Array(this.columns.sums.length);
    this.columnBlock = new Int32Array(this.columns.sums.length); // for which block that logarithm was calculated
    this.places = new Sums(places);
    this.kernels = new Sums(kernels);
    this.nearOf = Array.from({ length: places }, (_, place) => nearOf(place, table));
    this.block = 0;
    this.kernelOf = new Int32Array(largest); // of each value of the block
    this.rowOf = new Int32Array(largest);
    this.columnOf = new Int32Array(largest);
    this.expected = new Uint8Array(largest); // the bit of a positive value's sign
    this.steep = new Uint8Array(largest); // a cell of q, for signs
    this.size = new Uint8Array(largest); // a cell of |G|
    this.sides = new Uint8Array(largest);
  }

  /** Begin a block: set the slots of the first flag of its values. Returns how many values it has. */
  begin(top, bottom, left, right, place, slots) {
    const { table } = this;
    this.block += 1;
    this.place = place;
    this.count = 0;
    this.mean = Math.floor((256 * this.total.sums[0] + 128) / (this.total.counts[0] + 1));
    this.level = logarithm(this.mean + FLOOR);
    this.placeLog = this.#ratio(this.places, place, 4);
    this.near = this.nearOf[place];
    const least = table.kernelFrom(0, place);
    const most = table.kernelFrom(table.count, place);
    for (let row = top; row < bottom; row++) {
      const before = row * table.columns - table.first;
      const from = Math.max(before + left, least);
      const to = Math.min(before + right, most);
      const column = (from - before - this.firstColumn + table.columns) % table.columns;
      if (from < to) this.#row(row, from, to, column, slots);
    }
    return this.count;
  }

  /** The logarithm of a mean, less that of the stream's. */
  #ratio(means, number, prior) {
    const mean = Math.floor((256 * means.sums[number] + prior * this.mean) / (means.counts[number] + prior));
    return logarithm(mean + FLOOR) - this.level;
  }

  /** Set the slots of the kernels [from, to) of a row; column: that of the first one among the sums. */
  #row(row, from, to, column, slots) {
    const { mean, level, kernels, columnLogs, columnBlock, block } = this;
    const rowLog = this.#ratio(this.rows, row, 3);
    const height = cell((level >> 5) - 6, LEVEL);
    const fixed = 16 * level + 13 * rowLog + 10 * this.placeLog;
    const fixedShort = 16 * level + 12 * rowLog + 14 * this.placeLog;
    let i = this.count;
    let c = column;
    for (let kernel = from; kernel < to; kernel++, c++, i++) {
      if (columnBlock[c] !== block) {
        columnBlock[c] = block;
        columnLogs[c] = this.#ratio(this.columns, c, 3);
      }
      const kernelMean = (512 * kernels.sums[kernel] + 3 * mean) / (2 * kernels.counts[kernel] + 3);
      const kernelLog = logarithm(Math.floor(kernelMean) + FLOOR) - level;
      const nearLog = this.#neighbours(kernel, i);
      const long = fixed + 13 * columnLogs[c] + 7 * kernelLog;
      const short = fixedShort + 12 * columnLogs[c] + 6 * nearLog;
      const at = INPUTS * i;
      slots[at] = FLAGS * cell((short >> 7) - 24, FINE);
      slots[at + 1] = FLAGS * (FINE + cell((long >> 8) - 12, RATIO) + RATIO * this.smooth);
      slots[at + 2] = FLAGS * (FINE + 9 * RATIO + cell((nearLog >> 4) + 12, RATIO) + RATIO * height);
      slots[at + 3] = FLAGS * this.constant;
      slots[at + 4] = FLAGS * (this.coarse + cell(((short + 5 * kernelLog) >> 8) - 12, COARSE));
      this.kernelOf[i] = kernel;
      this.rowOf[i] = row;
      this.columnOf[i] = c;
    }
    this.count = i;
  }

  /** Look at the neighbours of value i, for its sign too. Returns the logarithm of their mean, less the stream's. */
  #neighbours(kernel, i) {
    const { values, mean } = this;
    const { count, offsets, much, signs, close, weight } = this.near;
    let around = 0;
    let signed = 0;
    let sides = 0;
    for (let j = 0; j < count; j++) {
      const value = values[offsets[j] + kernel];
      around += much[j] * Math.abs(value);
      signed += signs[j] * value;
      if (close[j]) sides = 3 * sides + Math.sign(value);
    }
    const size = Math.abs(signed);
    const steep = Math.min(Math.floor((1024 * size) / (mean + 77)), 48);
    this.smooth = SMOOTH[steep];
    this.steep[i] = SIGNED[steep];
    this.size[i] = ABSOLUTE[Math.min(size, 13)];
    this.expected[i] = signed < 0 ? 0 : 1;
    this.sides[i] = (signed < 0 ? -sides : sides) + 4;
    return logarithm(Math.floor((256 * around + 8 * mean) / (weight + 8)) + FLOOR) - this.level;
  }

  /** Set the slots of the sign of value i, whose magnitude is known. */
  sign(i, magnitude, slots, at) {
    const height = Math.min(magnitude, 3);
    const steep = this.steep[i];
    slots[at] = steep + 8 * height;
    slots[at + 1] = 32 + this.size[i] + 8 * height;
    slots[at + 2] = 64 + this.sides[i] + 9 * Math.min(height, 2);
    slots[at + 3] = SIGN_PLACES + steep + 8 * this.place;
    slots[at + 4] = this.ownSign + steep;
  }

  /** Where the value of kernel 0 at the place of the block would be in the stream. */
  #shift() {
    const { table, place } = this;
    return table.first * table.places + place - table.skipped;
  }

  /** Fetch the values of a block from all values of the stream. */
  take(all, found) {
    const { table, count, kernelOf } = this;
    const shift = this.#shift();
    for (let i = 0; i < count; i++) found[i] = all[kernelOf[i] * table.places + shift];
  }

  /** End a block, whose values are known: note them here, and in `all` values of the stream. */
  end(found, all) {
    const { table, place, count, kernelOf, rowOf, columnOf, total, rows, columns, places, kernels } = this;
    const shift = this.#shift();
    for (let i = 0; i < count; i++) {
      const kernel = kernelOf[i];
      const size = Math.abs(found[i]);
      this.values[place * table.kernels + kernel] = found[i];
      all[kernel * table.places + shift] = found[i];
      kernels.add(kernel, size);
      rows.add(rowOf[i], size);
      columns.add(columnOf[i], size);
      places.add(place, size);
      total.add(0, size);
    }
  }
}

/** The neighbours of a place: where their values begin, their weights, and which are at distance 1. */
function nearOf(place, { width, kernels }) {
  const column = place % width;
  const inside = (at) => at >= 0 && at < width;
  const near = NEAR.filter(([down, right]) => place + down * width >= column && inside(column + right));
  return {
    count: near.length,
    offsets: Int32Array.from(near, ([down, right]) => (place + down * width + right) * kernels),
    much: Int32Array.from(near, ([, , much]) => much),
    signs: Int32Array.from(near, ([, , , sign]) => sign),
    close: Int32Array.from(near, ([, , , , close]) => close),
    weight: near.reduce((sum, [, , much]) => sum + much, 0),
  };
}

/** Sums of magnitudes, and how many of them there are. */
class Sums {
  constructor(length) {
    this.sums = new Float64Array(length);
    this.counts = new Uint32Array(length);
  }

  add(number, size) {
    this.sums[number] += size;
    this.counts[number] += 1;
  }
}
