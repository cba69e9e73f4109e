/** The adaptive binary range coder of the frequency tables (SPEC.md, 6.1). All numbers are unsigned 32-bit ones. */

const SLOWEST = 30; // decisions after which a probability adapts no slower, but in deltas
const LONGEST = 24; // bits of an adaptive integer that can stand anywhere

/** Probabilities of a zero, in 1/65,536, and how many decisions each has seen. */
class Bits {
  constructor(count) {
    this.zero = new Uint16Array(count).fill(32768);
    this.seen = new Uint8Array(count);
  }
}

/** The probabilities of an adaptive integer. */
export class Integer {
  constructor() {
    this.length = new Bits(40);
    this.second = new Bits(40);
  }
}

export class RangeDecoder {
  constructor(input, slowest = SLOWEST) {
    this.input = input;
    this.slowest = slowest;
    this.bytes = input.bytes;
    this.at = 0;
    this.range = 0xffffffff;
    this.code = 0;
    for (let i = 0; i < 4; i++) this.code = ((this.code << 8) | this.#byte()) >>> 0;
  }

  /** Bits that are decided as a probability says. */
  static bits(count) {
    return new Bits(count);
  }

  #byte() {
    return this.at < this.bytes.length ? this.bytes[this.at++] : 0;
  }

  #refill() {
    while (this.range < 0x1000000) {
      this.range = (this.range << 8) >>> 0;
      this.code = ((this.code << 8) | this.#byte()) >>> 0;
    }
  }

  /** Take decision number `i` of some bits. */
  bit(bits, i) {
    const zero = bits.zero[i];
    const bound = (this.range >>> 16) * zero;
    const one = this.code >= bound;
    if (bits.seen[i] < this.slowest) bits.seen[i] += 1;
    if (one) {
      this.code -= bound;
      this.range -= bound;
      bits.zero[i] = zero - Math.floor((zero - 32) / (bits.seen[i] + 1));
    } else {
      this.range = bound;
      bits.zero[i] = zero + Math.floor((65536 - 32 - zero) / (bits.seen[i] + 1));
    }
    this.#refill();
    return one ? 1 : 0;
  }

  /** Read an adaptive integer of at most 24 bits. */
  uint(model) {
    let length = 0;
    while (this.bit(model.length, length)) {
      length += 1;
      if (length > LONGEST) this.input.fail("a number of a table is too large");
    }
    let found = length ? 2 + this.bit(model.second, length) : 1;
    for (let i = 1; i < length; i++) {
      this.range >>>= 1;
      const one = this.code >= this.range;
      if (one) this.code -= this.range;
      found = found * 2 + (one ? 1 : 0);
      this.#refill();
    }
    return found - 1;
  }

  /** Read a signed adaptive integer. */
  sint(model) {
    const folded = this.uint(model);
    return folded % 2 ? -(folded + 1) / 2 : folded / 2;
  }
}
