/** The codecs raw and bitpack. Bitpack encodes too, for deltas. */

import { symbolsOf } from "./stream.js";

/** One byte for each index, or two for an alphabet above 256. */
export function readRaw(input, streams) {
  const found = streams.map((stream) => {
    const bytes = input.take(stream.count * (stream.alphabet <= 256 ? 1 : 2));
    const symbols = symbolsOf(stream);
    if (symbols.BYTES_PER_ELEMENT === 1) symbols.set(bytes);
    else for (let i = 0; i < stream.count; i++) symbols[i] = bytes[2 * i] | (bytes[2 * i + 1] << 8);
    checkSymbols(input, symbols, stream.alphabet);
    return symbols;
  });
  input.end();
  return found;
}

/** Raise an error for a symbol outside the alphabet. */
export function checkSymbols(input, symbols, alphabet) {
  for (let i = 0; i < symbols.length; i++) if (symbols[i] >= alphabet) input.fail("an index is outside its codebook");
}

/** As many bits for each index as the largest one needs, the least significant first. */
export function readBitpack(input, streams) {
  const found = streams.map((stream) => {
    const { count, alphabet } = stream;
    const bits = 32 - Math.clz32(alphabet - 1);
    const mask = (1 << bits) - 1;
    const bytes = input.take(Math.ceil((count * bits) / 8));
    const symbols = symbolsOf(stream);
    let window = 0;
    let have = 0;
    let at = 0;
    for (let i = 0; i < count; i++) {
      for (; have < bits; have += 8) window |= bytes[at++] << have;
      const symbol = window & mask;
      if (symbol >= alphabet) input.fail("an index is outside its codebook");
      symbols[i] = symbol;
      window >>>= bits;
      have -= bits;
    }
    if (window) input.fail("padding bits aren't zero");
    return symbols;
  });
  input.end();
  return found;
}

/** Pack symbols again. */
export function packBits(symbols, alphabet) {
  const bits = 32 - Math.clz32(alphabet - 1);
  const out = new Uint8Array(Math.ceil((symbols.length * bits) / 8));
  let window = 0;
  let have = 0;
  let at = 0;
  for (let i = 0; i < symbols.length; i++) {
    window |= symbols[i] << have;
    for (have += bits; have >= 8; have -= 8) {
      out[at++] = window;
      window >>>= 8;
    }
  }
  if (have) out[at] = window;
  return out;
}
