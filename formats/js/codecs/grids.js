/** The codec grids: codebooks in blocks that are affine grids, x[k] = (k - zero point) * scale. */

import { ceiling } from "../bytes.js";
import { BFLOAT16, FLOAT16, FLOAT32, isFloat, widthOf } from "../types.js";
import { numberOf, wordOf } from "./floats.js";
import { readPlanes, wordsOf } from "./planes.js";

const MOST_ENTRIES = 256; // a zero point is stored in a byte

/** Decode streams of codebooks in blocks, all of one float type; returns the bytes of all values. */
export function readGrids(input, streams, type, options) {
  const fits = streams.every(({ k, start }) => k >= 2 && k <= MOST_ENTRIES && start % k === 0);
  if (!isFloat(type) || !fits) input.fail("it holds something else than codebooks of floats");
  const width = widthOf(type);
  const books = streams.reduce((sum, { count, k }) => sum + ceiling(count, k), 0);
  const zeros = readPlanes(input.sized(), books, 1, false, options);
  const scales = wordsOf(readPlanes(input, books, width, true, options), width);
  const total = streams.reduce((sum, stream) => sum + stream.count, 0);
  const bytes = new Uint8Array(total * width);
  const words = wordsOf(bytes, width);
  const infinite = infinityOf(type);
  let place = 0;
  let book = 0;
  for (const { count, k } of streams) {
    for (let at = 0; at < count; at += k, book++) {
      if (!scales[book] || scales[book] >= infinite) input.fail("a scale isn't finite and above zero");
      if (zeros[book] >= k) input.fail("a zero point is outside its codebook");
      const scale = numberOf(scales[book], type);
      for (let entry = 0; entry < k && at + entry < count; entry++, place++) {
        words[place] = wordOf((entry - zeros[book]) * scale, type);
      }
    }
  }
  return bytes;
}

/** The word of infinity; words of negative numbers and of NaN are above it. */
function infinityOf(type) {
  if (type === FLOAT16) return 0x7c00;
  if (type === BFLOAT16) return 0x7f80;
  return type === FLOAT32 ? 0x7f800000 : 0x7ffn << 52n;
}
