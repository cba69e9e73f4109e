/** Write the values of indices: from one codebook, or from codebooks in blocks. Bits are copied, so NaNs stay as they are. */

const WORDS = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: Uint32Array };

const wordsOf = (bytes, width) =>
  new WORDS[width](bytes.buffer, bytes.byteOffset, bytes.length / WORDS[width].BYTES_PER_ELEMENT);

/** Write the values of all indices to `out`; both `out` and `book` are bytes of values of `width` bytes. */
export function lookUp(out, book, indices, width) {
  copy(wordsOf(out, width), wordsOf(book, width), indices, { from: 0, to: indices.length, base: 0, width });
}

function copy(out, book, indices, { from, to, base, width }) {
  if (width < 8) {
    for (let i = from; i < to; i++) out[i] = book[base + indices[i]];
    return;
  }
  for (let i = from; i < to; i++) {
    const at = 2 * (base + indices[i]);
    out[2 * i] = book[at];
    out[2 * i + 1] = book[at + 1];
  }
}

/** The same with codebooks in blocks, one after the other in `books`; start: position of the first index in the tensor. */
export function lookUpBlocks({ shape, blocks, levels, count }, out, books, indices, start) {
  if (!count) return;
  const width = out.length / indices.length;
  const [target, source] = [wordsOf(out, width), wordsOf(books, width)];
  const grid = shape.map((size, axis) => Math.ceil(size / blocks[axis]));
  const last = shape.length - 1;
  const at = coordinates(shape, start);
  for (let from = 0; from < indices.length; ) {
    const inBlock = blocks[last] - (at[last] % blocks[last]);
    const run = Math.min(inBlock, shape[last] - at[last], indices.length - from);
    const number = at.reduce((sum, place, axis) => sum * grid[axis] + Math.floor(place / blocks[axis]), 0);
    copy(target, source, indices, { from, to: from + run, base: number * levels[0], width });
    from += run;
    at[last] += run;
    for (let axis = last; axis > 0 && at[axis] === shape[axis]; axis--) {
      at[axis] = 0;
      at[axis - 1] += 1;
    }
  }
}

function coordinates(shape, position) {
  const at = new Array(shape.length);
  let left = position;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    at[axis] = left % shape[axis];
    left = Math.floor(left / shape[axis]);
  }
  return at;
}
