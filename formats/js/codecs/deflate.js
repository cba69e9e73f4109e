/** The codec deflate: a stream of RFC 1951 that may refer to the dictionary, which stands before the first byte. */

import { DICTIONARY } from "./dictionary.js";

const MOST = 1 << 20; // decoded bytes
const LONGEST = 15; // bits of a code
const ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
const LENGTHS = [
  3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258,
];

/** Decode exactly `size` bytes. */
export function inflate(input, size) {
  if (size > MOST) input.fail("it is too long for this codec");
  return new Inflater(input, size).all();
}

/** The codes of one block: numbers of codes by length, and the symbols in the order of their codes. */
class Codes {
  constructor(input, lengths, mayBeLone) {
    this.counts = new Uint16Array(LONGEST + 1);
    for (const length of lengths) this.counts[length] += 1;
    this.counts[0] = 0;
    const next = [0];
    let kinds = 0;
    let left = 1;
    for (let length = 1; length <= LONGEST; length++) {
      left = left * 2 - this.counts[length];
      if (left < 0) input.fail("a code has too many symbols");
      next.push(kinds);
      kinds += this.counts[length];
    }
    const lone = mayBeLone && kinds <= 1 && kinds === this.counts[1];
    if (left > 0 && !lone) input.fail("a code has gaps");
    this.symbols = new Uint16Array(kinds);
    lengths.forEach((length, symbol) => {
      if (length) this.symbols[next[length]++] = symbol;
    });
  }
}

class Inflater {
  constructor(input, size) {
    this.input = input;
    this.out = new Uint8Array(size);
    this.at = 0;
    this.window = 0;
    this.have = 0;
  }

  all() {
    let last;
    do {
      last = this.bits(1);
      const kind = this.bits(2);
      if (kind === 0) this.stored();
      else if (kind === 1) this.block(...this.fixedCodes());
      else if (kind === 2) this.block(...this.ownCodes());
      else this.input.fail("a block has an unknown kind");
    } while (!last);
    if (this.at !== this.out.length) this.input.fail("it has too few bytes");
    this.input.end();
    return this.out;
  }

  bits(count) {
    for (; this.have < count; this.have += 8) this.window |= this.input.byte() << this.have;
    const found = this.window & ((1 << count) - 1);
    this.window >>>= count;
    this.have -= count;
    return found;
  }

  /** Read a symbol; codes begin with their most significant bit. */
  symbol({ counts, symbols }) {
    let code = 0;
    let first = 0;
    let base = 0;
    for (let length = 1; length <= LONGEST; length++) {
      code |= this.bits(1);
      if (code - first < counts[length]) return symbols[base + code - first];
      base += counts[length];
      first = (first + counts[length]) << 1;
      code <<= 1;
    }
    return this.input.fail("its bits are no code");
  }

  stored() {
    this.window = 0;
    this.have = 0;
    const length = this.bits(16);
    if ((length ^ this.bits(16)) !== 0xffff || length > this.out.length - this.at) {
      this.input.fail("a stored block has a wrong length");
    }
    this.out.set(this.input.take(length), this.at);
    this.at += length;
  }

  fixedCodes() {
    const lengths = Uint8Array.from({ length: 288 }, (_, i) => (i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8));
    return [new Codes(this.input, lengths, false), new Codes(this.input, new Uint8Array(32).fill(5), false)];
  }

  ownCodes() {
    const literals = this.bits(5) + 257;
    const distances = this.bits(5) + 1;
    const count = this.bits(4) + 4;
    if (literals > 286 || distances > 30) this.input.fail("a block has too many codes");
    const first = new Uint8Array(19);
    for (let i = 0; i < count; i++) first[ORDER[i]] = this.bits(3);
    const codes = new Codes(this.input, first, false);
    const lengths = new Uint8Array(literals + distances);
    for (let n = 0; n < lengths.length; ) {
      const symbol = this.symbol(codes);
      if (symbol < 16) {
        lengths[n++] = symbol;
        continue;
      }
      if (symbol === 16 && n === 0) this.input.fail("a code repeats nothing");
      const again = symbol === 16 ? 3 + this.bits(2) : symbol === 17 ? 3 + this.bits(3) : 11 + this.bits(7);
      if (again > lengths.length - n) this.input.fail("a block has too many codes");
      lengths.fill(symbol === 16 ? lengths[n - 1] : 0, n, n + again);
      n += again;
    }
    if (!lengths[256]) this.input.fail("a block has no end");
    const literalCodes = new Codes(this.input, lengths.subarray(0, literals), true);
    return [literalCodes, new Codes(this.input, lengths.subarray(literals), true)];
  }

  block(literals, distances) {
    const { out, input } = this;
    for (;;) {
      const symbol = this.symbol(literals);
      if (symbol === 256) return;
      if (symbol > 285) input.fail("a block has an unknown symbol");
      if (symbol < 256) {
        if (this.at >= out.length) input.fail("it has too many bytes");
        out[this.at++] = symbol;
        continue;
      }
      const length = LENGTHS[symbol - 257] + this.bits(symbol < 265 || symbol === 285 ? 0 : (symbol - 261) >> 2);
      const far = this.distance(this.symbol(distances));
      if (far > this.at + DICTIONARY.length || length > out.length - this.at) input.fail("it refers to no byte");
      for (let i = 0; i < length; i++, this.at++) {
        const from = this.at - far;
        out[this.at] = from < 0 ? DICTIONARY[DICTIONARY.length + from] : out[from];
      }
    }
  }

  distance(symbol) {
    if (symbol > 29) this.input.fail("a block has an unknown symbol");
    if (symbol < 2) return symbol + 1;
    const extra = (symbol >> 1) - 1;
    return ((2 + (symbol & 1)) << extra) + 1 + this.bits(extra);
  }
}
