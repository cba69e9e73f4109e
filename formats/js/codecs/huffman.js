/** The codec huffman: canonical codes of at most 15 bits, in lanes. */

import { ceiling } from "../bytes.js";
import { MAX_CODER_ALPHABET, MAX_LANES, MAX_STEPS } from "../limits.js";
import { symbolsOf } from "./stream.js";

const LONGEST = 15;

export function readHuffman(input, streams) {
  const found = streams.map((stream) => (stream.count ? readStream(input, stream) : symbolsOf(stream)));
  input.end();
  return found;
}

function readStream(input, stream) {
  const { count, alphabet } = stream;
  if (alphabet > MAX_CODER_ALPHABET) input.fail("its alphabet is too large");
  const lanes = input.uint(Math.min(MAX_LANES, count));
  const packed = input.take(ceiling(alphabet, 2));
  const run = ceiling(count, Math.max(lanes, 1));
  if (lanes === 0 || run > MAX_STEPS || run * (lanes - 1) >= count) input.fail("it has a wrong number of lanes");
  const sizes = [];
  let total = 0;
  for (let lane = 0; lane < lanes; lane++) {
    sizes.push(input.uint(count * LONGEST));
    total += sizes[lane];
    if (total > 8 * input.rest) input.fail("it ends too early");
  }
  const bits = input.take(ceiling(total, 8));
  const lengths = Uint8Array.from({ length: alphabet }, (_, i) => (packed[i >> 1] >> ((i & 1) * 4)) & 15);
  return decode(input, bits, codesOf(input, lengths), { sizes, run, symbols: symbolsOf(stream) });
}

/** Return the number of codes of each length, and the symbols in the order of their codes. */
function codesOf(input, lengths) {
  const counts = new Uint16Array(LONGEST + 1);
  for (const length of lengths) counts[length] += 1;
  counts[0] = 0;
  const next = new Uint16Array(LONGEST + 1);
  let kinds = 0;
  let space = 0;
  for (let length = 1; length <= LONGEST; length++) {
    next[length] = kinds;
    kinds += counts[length];
    space += counts[length] << (LONGEST - length);
  }
  const lone = kinds === 1 && counts[1] === 1; // one symbol, with the code 0
  if (space !== 1 << LONGEST && !lone) input.fail("its code doesn't fill the code space");
  const symbols = new Uint16Array(kinds);
  lengths.forEach((length, symbol) => {
    if (length) symbols[next[length]++] = symbol;
  });
  return { counts, symbols };
}

function decode(input, bits, codes, { sizes, run, symbols }) {
  let place = 0;
  let done = 0;
  for (const size of sizes) {
    const end = place + size;
    const stop = Math.min(done + run, symbols.length);
    for (; done < stop; done++) {
      let code = 0;
      let first = 0;
      let base = 0;
      let length = 1;
      for (; ; length++) {
        if (length > LONGEST || place >= end) input.fail("its bits are no code");
        code |= (bits[place >> 3] >> (7 - (place & 7))) & 1;
        place += 1;
        const kinds = codes.counts[length];
        if (code - first < kinds) break;
        base += kinds;
        first = (first + kinds) << 1;
        code <<= 1;
      }
      symbols[done] = codes.symbols[base + code - first];
    }
    if (place !== end) input.fail("a lane has bits left over");
  }
  for (; place & 7; place++) if ((bits[place >> 3] >> (7 - (place & 7))) & 1) input.fail("padding bits aren't zero");
  return symbols;
}
