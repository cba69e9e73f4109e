/** What a section holds: streams of indices and of values. */

/**
 * A stream of indices.
 * @typedef {object} IndexStream
 * @property {number} count
 * @property {number} start row-major position of the first one in the tensor
 * @property {number} alphabet
 * @property {number} dims number of axes of the tensor
 * @property {number} axis0 size of the first axis
 * @property {number} axis1 size of the second axis
 * @property {number} deep sizes of all later axes, multiplied
 * @property {number} width size of the last of those, 1 if there are none
 * @property {number[] | null} children of a refinement: how many children each entry of the coarser codebook has
 * @property {Uint16Array | Uint8Array | null} parents of a refinement: the indices of the coarser level
 */

/** Describe the indices [start, stop) of a tensor at a level. */
export function indexStream(tensor, level, start, stop, parents = null) {
  const { shape, levels, children, atOnce, count } = tensor;
  const split = level > 0 ? children[level - 1] : null;
  return {
    count: stop - start,
    start,
    alphabet: split ? split.reduce((a, b) => Math.max(a, b), 0) : levels[atOnce ? levels.length - 1 : 0],
    dims: shape.length,
    axis0: count && shape.length ? shape[0] : 1,
    axis1: count && shape.length > 1 ? shape[1] : 1,
    deep: count ? shape.slice(shape.length > 1 ? 2 : 0).reduce((a, b) => a * b, 1) : 1,
    width: count && shape.length > 2 ? shape[shape.length - 1] : 1,
    children: split,
    parents,
  };
}

/** A stream that stands alone, of one axis. */
export function flatStream(count, alphabet) {
  const shape = { dims: 1, axis0: count, axis1: 1, deep: count, width: 1 };
  return { count, start: 0, alphabet, ...shape, children: null, parents: null };
}

/** Zeros for the symbols of a stream: a byte each, or two for an alphabet above 256. */
export function symbolsOf(stream) {
  return stream.alphabet <= 256 ? new Uint8Array(stream.count) : new Uint16Array(stream.count);
}

/** The sum of the streams' counts, the largest alphabet of those that aren't empty, and how many those are. */
export function totals(streams) {
  let count = 0;
  let alphabet = 0;
  let used = 0;
  for (const stream of streams) {
    if (!stream.count) continue;
    count += stream.count;
    used += 1;
    alphabet = Math.max(alphabet, stream.alphabet);
  }
  return { count, alphabet, used };
}
