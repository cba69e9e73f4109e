/** The codec twobyte: high and low bytes of large indices, each under a codec of its own. */

import { checkSymbols } from "./plain.js";

/** readInner: reads streams under raw, rans or context, whose ids are in `allowed`. */
export function readTwobyte(input, streams, readInner, allowed) {
  if (streams.some(({ alphabet, children }) => alphabet <= 256 || children)) {
    input.fail("it is used for indices of one byte");
  }
  const halves = [true, false].map((high) => {
    const codec = input.uint(255);
    if (!allowed.includes(codec)) input.fail("it has an unknown codec inside");
    const parts = streams.map((s) => ({ ...s, alphabet: high ? ((s.alphabet - 1) >> 8) + 1 : 256 }));
    return readInner(input.sized(), codec, parts);
  });
  input.end();
  return streams.map(({ count, alphabet }, i) => {
    const symbols = new Uint16Array(count);
    for (let j = 0; j < count; j++) symbols[j] = (halves[0][i][j] << 8) | halves[1][i][j];
    checkSymbols(input, symbols, alphabet);
    return symbols;
  });
}
