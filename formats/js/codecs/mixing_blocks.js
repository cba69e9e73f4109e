/** The codec mixing: the table in which the values of a stream lie, and its blocks (SPEC.md, 6.8). */

import { ceiling } from "../bytes.js";

export const PLACES = 64; // of a kernel; a longer one counts as columns
const FEW_KERNELS = 32;
const [BLOCK, LEAST_BLOCK, BLOCKS] = [4096, 64, 64];

/** The table of a stream: rows and columns of kernels. Only the kernels from `first` to `end` have values. */
export class Table {
  constructor(stream) {
    const { count, start, dims, axis0, axis1, deep, width } = stream;
    this.columns = dims > 1 ? axis1 : 1;
    this.places = dims > 1 ? deep : 1;
    this.width = width;
    if (this.places > PLACES || (this.places > 1 && axis0 * this.columns < FEW_KERNELS)) {
      this.columns *= this.places;
      this.places = 1;
      this.width = 1;
    }
    const inner = this.columns * this.places;
    const above = Math.floor(start / inner);
    this.rows = ceiling(start + count, inner) - above;
    this.skipped = start - above * inner;
    this.count = count;
    this.first = Math.floor(this.skipped / this.places);
    this.end = ceiling(this.skipped + count, this.places);
    const [high, wide] = this.#parts();
    this.tall = ceiling(this.rows, high);
    this.broad = ceiling(this.columns, wide);
  }

  /** The number of kernels with values. */
  get kernels() {
    return this.end - this.first;
  }

  /** No block has more values. */
  get largest() {
    return Math.min(this.tall * this.broad, this.kernels);
  }

  /** Return into how many parts rows and columns are divided. */
  #parts() {
    const { rows, columns, places } = this;
    let high = 1;
    let wide = 1;
    for (;;) {
      const block = Math.floor((rows * columns) / (high * wide));
      if (block <= BLOCK && (high * wide * places >= BLOCKS || block < 2 * LEAST_BLOCK)) return [high, wide];
      const tall = Math.floor(rows / high);
      if (tall > 1 && (places > 1 || tall >= Math.floor(columns / wide))) high *= 2;
      else wide *= 2;
    }
  }

  /** Call each(top, bottom, left, right, place) for all blocks in their order; some of them may have no values. */
  blocks(each) {
    const { rows, columns, places, tall, broad } = this;
    for (let top = 0; top < rows; top += tall) {
      const bottom = Math.min(top + tall, rows);
      for (let left = this.#next(top, bottom, 0); left < columns; left = this.#next(top, bottom, left + broad)) {
        left -= left % broad;
        const right = Math.min(left + broad, columns);
        for (let place = 0; place < places; place++) each(top, bottom, left, right, place);
      }
    }
  }

  /** The first column from `column` on that has values in these rows: a small chunk of long rows leaves many out. */
  #next(top, bottom, column) {
    if (bottom - top > 2) return column;
    let found = Infinity;
    for (let row = top; row < bottom; row++) {
      const from = Math.max(this.first - row * this.columns, column);
      if (from < Math.min(this.end - row * this.columns, this.columns)) found = Math.min(found, from);
    }
    return found;
  }

  /** The first kernel that has its value of a place at a position or after it, counted from `first`. */
  kernelFrom(position, place) {
    return ceiling(position + this.skipped - place, this.places) - this.first;
  }
}
