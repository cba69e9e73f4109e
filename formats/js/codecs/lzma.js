/** The codec lzma: one LZMA1 stream without a header, lc = 3, lp = 0, pb = 0, with the end marker. */

const MOST = 4 << 20; // decoded bytes
const END = 0xffffffff; // the distance that marks the end

/** Decode exactly `size` bytes. */
export function unpackLzma(input, size) {
  if (size > MOST) input.fail("it is too long for this codec");
  return new Unpacker(input, size).all();
}

const odds = (count) => new Uint16Array(count).fill(1024);

/** Probabilities of a length. */
class Length {
  constructor() {
    this.choice = odds(2);
    this.low = odds(8);
    this.middle = odds(8);
    this.high = odds(256);
  }
}

class Unpacker {
  constructor(input, size) {
    this.input = input;
    this.out = new Uint8Array(size);
    this.at = 0;
    this.state = 0;
    this.far = [0, 0, 0, 0]; // the last distances, less one
    for (const name of ["match", "rep", "rep0", "rep1", "rep2", "rep0Long"]) this[name] = odds(12);
    this.slots = [odds(64), odds(64), odds(64), odds(64)];
    this.special = odds(128);
    this.align = odds(16);
    this.literals = odds(8 * 0x300);
    this.lengths = new Length();
    this.repLengths = new Length();
    this.range = 0xffffffff;
    this.code = 0;
    if (input.byte()) input.fail("it doesn't begin with a zero");
    for (let i = 0; i < 4; i++) this.code = ((this.code << 8) | input.byte()) >>> 0;
  }

  all() {
    const { out, input } = this;
    for (;;) {
      if (!this.bit(this.match, this.state)) {
        if (this.at >= out.length) input.fail("it has too many bytes");
        this.literal();
        continue;
      }
      let length;
      if (this.bit(this.rep, this.state)) {
        if (this.repeated()) continue;
        length = this.length(this.repLengths);
        this.state = this.state < 7 ? 8 : 11;
      } else {
        this.far.copyWithin(1, 0, 3);
        length = this.length(this.lengths);
        this.state = this.state < 7 ? 7 : 10;
        this.far[0] = this.distance(length);
        if (this.far[0] === END) break;
      }
      if (this.far[0] >= this.at || length > out.length - this.at) input.fail("it refers to no byte");
      for (const from = this.far[0] + 1; length > 0; length--, this.at++) out[this.at] = out[this.at - from];
    }
    this.refill();
    if (this.code !== 0 || this.at !== out.length) input.fail("it doesn't end where it must");
    input.end();
    return out;
  }

  refill() {
    if (this.range >= 0x1000000) return;
    this.range = (this.range << 8) >>> 0;
    this.code = ((this.code << 8) | this.input.byte()) >>> 0;
  }

  bit(table, i) {
    this.refill();
    const bound = (this.range >>> 11) * table[i];
    if (this.code < bound) {
      this.range = bound;
      table[i] += (2048 - table[i]) >> 5;
      return 0;
    }
    this.range -= bound;
    this.code -= bound;
    table[i] -= table[i] >> 5;
    return 1;
  }

  tree(table, bits) {
    let node = 1;
    for (let i = 0; i < bits; i++) node = (node << 1) | this.bit(table, node);
    return node - (1 << bits);
  }

  /** The same with the least significant bit first, at an offset of the table. */
  reverse(table, offset, bits) {
    let node = 1;
    let found = 0;
    for (let i = 0; i < bits; i++) {
      const bit = this.bit(table, offset + node);
      node = (node << 1) | bit;
      found |= bit << i;
    }
    return found;
  }

  length(m) {
    if (!this.bit(m.choice, 0)) return 2 + this.tree(m.low, 3);
    if (!this.bit(m.choice, 1)) return 10 + this.tree(m.middle, 3);
    return 18 + this.tree(m.high, 8);
  }

  /** Read a distance, less one. */
  distance(length) {
    const slot = this.tree(this.slots[Math.min(length - 2, 3)], 6);
    if (slot < 4) return slot;
    const direct = (slot >> 1) - 1;
    let found = 2 | (slot & 1);
    if (slot < 14) {
      found <<= direct;
      return found + this.reverse(this.special, found - slot, direct);
    }
    for (let i = 4; i < direct; i++) {
      this.refill();
      this.range >>>= 1;
      const one = this.code >= this.range;
      if (one) this.code -= this.range;
      found = found * 2 + (one ? 1 : 0);
    }
    return found * 16 + this.reverse(this.align, 0, 4);
  }

  literal() {
    const { out, state } = this;
    const offset = 0x300 * ((this.at ? out[this.at - 1] : 0) >> 5);
    let node = 1;
    if (state >= 7) {
      // after a match: the byte that the match would have had next guides the decoder
      let match = out[this.at - this.far[0] - 1];
      while (node < 0x100) {
        match <<= 1;
        const guide = match & 0x100;
        const bit = this.bit(this.literals, offset + 0x100 + guide + node);
        node = (node << 1) | bit;
        if (guide >> 8 !== bit) break;
      }
    }
    while (node < 0x100) node = (node << 1) | this.bit(this.literals, offset + node);
    out[this.at++] = node & 0xff;
    this.state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
  }

  /** Choose one of the last distances; true if that copied a single byte. */
  repeated() {
    const { far, out } = this;
    if (this.bit(this.rep0, this.state)) {
      let which = 1 + this.bit(this.rep1, this.state);
      if (which === 2) which += this.bit(this.rep2, this.state);
      const distance = far[which];
      far.copyWithin(1, 0, which);
      far[0] = distance;
      return false;
    }
    if (this.bit(this.rep0Long, this.state)) return false;
    this.state = this.state < 7 ? 9 : 11;
    if (far[0] >= this.at || this.at >= out.length) this.input.fail("it refers to no byte");
    out[this.at] = out[this.at - far[0] - 1];
    this.at += 1;
    return true;
  }
}
