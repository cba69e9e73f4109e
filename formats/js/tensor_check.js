/** Check what the header says of a tensor, before anything is decoded. */

import { HeaderError, LimitExceededError, shown } from "./errors.js";
import { MAX_SPREAD, MAX_TENSOR_BYTES } from "./limits.js";
import { convertsExactly, isKnown, widthOf } from "./types.js";

const SHARED = 1; // header.js, which imports this file

/** Set the tensor's number of values, and of codebooks. Raises HeaderError and LimitExceededError. */
export function checkTensor(tensor) {
  const width = widthOf(tensor.type);
  const bad = (why) => new HeaderError(`tensor ${shown(tensor.name)} ${why}; the file is damaged`);
  tensor.count = product(tensor, tensor.shape, 1, width);
  if (isKnown(tensor.type) && isKnown(tensor.stored) && !convertsExactly(tensor.stored, tensor.type)) {
    throw bad("is stored in an element type that its own can't hold exactly");
  }
  if (tensor.kind !== SHARED) return;
  const { levels, children, blocks, shape } = tensor;
  if (!levels.length || levels.includes(0) || !(tensor.bookGroup || blocks)) throw bad("is shared but has no codebook");
  children.forEach((split, level) => {
    const sum = split.reduce((a, b) => a + b, 0);
    if (split.includes(0) || sum !== levels[level + 1]) throw bad("has levels that don't nest");
  });
  tensor.books = 1;
  if (!blocks) return;
  if (!blocks.length || levels.length !== 1 || blocks.some((b, i) => b < 1 || b > Math.max(shape[i], 1))) {
    throw bad("has blocks that don't fit its shape and levels");
  }
  tensor.books = product(tensor, shape.map((size, i) => Math.ceil(size / blocks[i])), levels[0], width);
}

/** Multiply sizes. The product of those above zero with `factor` is bounded: it bounds the axes of empty arrays too. */
function product(tensor, sizes, factor, width) {
  let spread = BigInt(factor);
  for (const size of sizes) if (size) spread *= BigInt(size);
  if (spread > MAX_SPREAD) throw new LimitExceededError(`tensor ${shown(tensor.name)} has axes too long for any array`);
  if (sizes.includes(0)) return 0;
  const bytes = Number(spread) * width;
  if (bytes > MAX_TENSOR_BYTES) {
    throw new LimitExceededError(`tensor ${shown(tensor.name)} has ${bytes} bytes, above ${MAX_TENSOR_BYTES}`);
  }
  return Number(spread) / factor;
}
