/** Decode indices as their differences from what the base predicts (SPEC.md, section 12, "Indices"). */

import { Integer, RangeDecoder } from "../codecs/range_coder.js";
import { symbolsOf } from "../codecs/stream.js";

export const MOST_SETTING = 7;
const SLOWEST = 255; // decisions after which a probability adapts no slower
const FAR = 4;
const ROUGH = 3;
const NEAR = 3;

/** Decodes the streams of a section, one after the other, with the same statistics. */
export class ChangeDecoder {
  constructor(input, setting) {
    this.input = input;
    this.setting = setting;
    this.decoder = new RangeDecoder(input, SLOWEST);
    this.changed = RangeDecoder.bits(FAR * ROUGH * NEAR);
    this.up = RangeDecoder.bits(3);
    this.far = new Integer();
    this.trees = new Map(); // bits of a symbol -> decisions at the nodes of its tree
  }

  /** Decode the symbols of a stream, given what is predicted of it. */
  next(stream, { symbols: expected, most, above }) {
    const { decoder } = this;
    const { known, sides } = this.#classes(expected);
    const nearby = (this.setting & 2) !== 0;
    const changed = new Uint8Array(expected.length);
    const symbols = symbolsOf(stream);
    for (let i = 0; i < symbols.length; i++) {
      const guess = expected[i];
      symbols[i] = guess;
      if (!most[i]) continue;
      let context = known[i];
      if (nearby && i) context += changed[i - 1] + (above && above <= i ? changed[i - above] : 0);
      if (!decoder.bit(this.changed, context)) continue;
      changed[i] = 1;
      const up = guess > 0 && guess < most[i] ? decoder.bit(this.up, sides[i]) : guess === 0;
      const symbol = guess + (up ? 1 : -1) * (decoder.uint(this.far) + 1);
      if (symbol < 0 || symbol > most[i]) this.input.fail("an index is outside its codebook");
      symbols[i] = symbol;
    }
    return symbols;
  }

  /** Decode the symbols of a stream that nothing predicts. */
  nextAlone(stream) {
    const bits = 32 - Math.clz32(stream.alphabet - 1);
    if (!this.trees.has(bits)) this.trees.set(bits, RangeDecoder.bits(2 ** bits));
    const tree = this.trees.get(bits);
    const symbols = symbolsOf(stream);
    for (let i = 0; i < symbols.length; i++) {
      let node = 1;
      for (let bit = 0; bit < bits; bit++) node = 2 * node + this.decoder.bit(tree, node);
      const symbol = node - 2 ** bits;
      if (symbol >= stream.alphabet) this.input.fail("an index is outside its codebook");
      symbols[i] = symbol;
    }
    return symbols;
  }

  /** The part of each context that is known beforehand, and the side of the middle, 0 to 2. */
  #classes(expected) {
    const middle = commonest(expected);
    const known = new Uint8Array(expected.length);
    const sides = new Uint8Array(expected.length);
    for (let i = 0; i < expected.length; i++) {
      const away = expected[i] - middle;
      sides[i] = Math.sign(away) + 1;
      if (this.setting & 1) known[i] = Math.min(Math.abs(away), FAR - 1) * ROUGH;
      if (this.setting & 4) {
        let around = i ? Math.abs(expected[i] - expected[i - 1]) : 0;
        if (i + 1 < expected.length) around += Math.abs(expected[i + 1] - expected[i]);
        known[i] += around === 0 ? 0 : around < 3 ? 1 : 2;
      }
      known[i] *= NEAR;
    }
    return { known, sides };
  }
}

/** The commonest symbol; of equally common ones the smallest. */
function commonest(symbols) {
  const counts = new Uint32Array(65536);
  let middle = 0;
  for (const symbol of symbols) counts[symbol] += 1;
  for (let i = 1; i < counts.length; i++) if (counts[i] > counts[middle]) middle = i;
  return middle;
}
