/** The codec rans: static frequencies, symbols in groups, many lanes (SPEC.md, 6.4). Decodes, and encodes for deltas. */

import { ceiling, concat } from "../bytes.js";
import { MAX_CODER_ALPHABET, MAX_LANES, MAX_STEPS, MAX_TABLE_SLOTS } from "../limits.js";
import { squared, TableReader } from "./frequencies.js";
import { encodeLanes, Lanes, packTail, tailOf } from "./lanes.js";
import { symbolsOf, totals } from "./stream.js";

const PAIRED_BITS = 20; // to which tables are scaled before they are doubled again

export function readRans(input, streams) {
  if (!totals(streams).count) {
    input.end();
    return streams.map(symbolsOf);
  }
  const { alphabet, bits, frequencies, group, groups, laneCount } = begin(input, streams);
  const lanes = new Lanes(input, laneCount);
  const tail = tailOf(alphabet, groups, laneCount);
  const sequence = new Sequence(lanes, bits, groups - tail.length * laneCount, { tail, alphabet });
  const found = streams.map((stream, i) => {
    const symbols = symbolsOf(stream);
    if (stream.count) spread(input, sequence.read(frequencies[i], ceiling(stream.count, group)), stream, group, symbols);
    return symbols;
  });
  sequence.end();
  return found;
}

/**
 * Make the payload that decodes to these symbols again. choices: what stands in it before the states; parts: the
 * symbols of each stream.
 */
export function rebuildRans(choices, streams, parts) {
  if (!totals(streams).count) {
    choices.end();
    return new Uint8Array(0);
  }
  const { alphabet, bits, frequencies, group, groups, laneCount } = begin(choices, streams);
  choices.end();
  if (laneCount > groups) choices.fail("it has more lanes than groups");
  const tail = tailOf(alphabet, groups, laneCount);
  const coded = { length: groups - tail.length * laneCount, frequencies: new Uint16Array(groups), first: new Uint16Array(groups) };
  const numbers = new Uint16Array(groups);
  let at = 0;
  streams.forEach((stream, i) => {
    if (!stream.count) return;
    const share = frequencies[i];
    const before = new Uint32Array(share.length);
    for (let k = 1; k < share.length; k++) before[k] = before[k - 1] + share[k - 1];
    for (const number of joined(parts[i], stream.alphabet, group)) {
      if (!share[number]) choices.fail("a symbol isn't in its table");
      numbers[at] = number;
      coded.frequencies[at] = share[number];
      coded.first[at++] = before[number];
    }
  });
  const states = new Uint32Array(laneCount);
  for (let lane = 0; lane < laneCount; lane++) {
    const last = Array.from({ length: tail.length }, (_, k) => numbers[coded.length + k * laneCount + lane]);
    states[lane] = packTail(last, alphabet);
  }
  return concat([choices.bytes, encodeLanes(states, coded, bits)]);
}

/** Yield the numbers of the groups of symbols; the last group is filled up with the last symbol. */
function* joined(symbols, alphabet, group) {
  const last = symbols.length - 1;
  for (let start = 0; start <= last; start += group) {
    let number = 0;
    for (let k = group - 1; k >= 0; k--) number = number * alphabet + symbols[Math.min(start + k, last)];
    yield number;
  }
}

/** Read what stands before the states. frequencies: of the groups of each stream; alphabet: of the groups. */
function begin(input, streams) {
  const { alphabet: largest, used } = totals(streams);
  if (largest > MAX_CODER_ALPHABET) input.fail("its alphabet is too large");
  const log2Group = input.uint(3);
  const bits = input.uint(15);
  const mantissa = input.uint(12);
  const laneCount = input.uint(MAX_LANES);
  const tables = new TableReader(input.sized(), mantissa);
  const group = 2 ** log2Group;
  const alphabet = largest ** group;
  const groups = streams.reduce((sum, stream) => sum + ceiling(stream.count, group), 0);
  if (alphabet > MAX_CODER_ALPHABET) input.fail("its groups are too large");
  if (!laneCount || ceiling(groups, laneCount) > MAX_STEPS || used * 2 ** bits > MAX_TABLE_SLOTS) {
    input.fail("it has a wrong number of lanes or of slots");
  }
  const scale = { log2Group, bits };
  const frequencies = streams.map((stream) => (stream.count ? readTable(input, tables, stream.alphabet, scale) : null));
  return { alphabet, bits, frequencies, group, groups, laneCount };
}

/** Read a stream's table, of groups of 2^log2Group symbols. */
function readTable(input, tables, alphabet, { log2Group, bits }) {
  let frequencies = tables.read(alphabet, bits);
  for (let step = 1; step <= log2Group; step++) {
    frequencies = squared(input, frequencies, step === log2Group ? bits : PAIRED_BITS);
  }
  return frequencies;
}

/** The groups of all streams, one after the other: coded ones first, then those that the last states hold. */
class Sequence {
  constructor(lanes, bits, coded, { tail, alphabet }) {
    this.lanes = lanes;
    this.bits = bits;
    this.coded = coded;
    this.tail = tail;
    this.alphabet = alphabet;
    this.done = 0;
    this.slots = new Uint16Array(2 ** bits);
    this.finished = false;
  }

  /** Decode the next n groups under one table. */
  read(frequencies, n) {
    const found = new Uint16Array(n);
    const now = Math.min(n, Math.max(this.coded - this.done, 0));
    if (now) this.#decode(frequencies, found, now);
    this.done += now;
    const { states } = this.lanes;
    for (let i = now; i < n; i++, this.done++) {
      this.end();
      const lane = (this.done - this.coded) % states.length;
      found[i] = states[lane] % this.alphabet;
      states[lane] = Math.floor(states[lane] / this.alphabet);
    }
    return found;
  }

  #decode(frequencies, found, n) {
    const { bits, slots, lanes } = this;
    const { states, words, input } = lanes;
    const first = new Uint32Array(frequencies.length);
    let sum = 0;
    for (let i = 0; i < frequencies.length; i++) {
      first[i] = sum;
      slots.fill(i, sum, sum + frequencies[i]);
      sum += frequencies[i];
    }
    const mask = 2 ** bits - 1;
    const count = states.length;
    let lane = this.done % count;
    let at = lanes.at;
    for (let i = 0; i < n; i++) {
      const state = states[lane];
      const slot = state & mask;
      const symbol = slots[slot];
      let x = (Math.imul(frequencies[symbol], state >>> bits) + slot - first[symbol]) >>> 0;
      if (x < 65536) {
        if (at === words.length) input.fail("it ends too early");
        x = ((x << 16) | words[at] | (words[at + 1] << 8)) >>> 0;
        at += 2;
      }
      states[lane] = x;
      found[i] = symbol;
      lane = lane + 1 === count ? 0 : lane + 1;
    }
    lanes.at = at;
  }

  /** Check the states after the last step. */
  end() {
    if (this.finished) return;
    this.lanes.finish(this.tail.limit);
    this.finished = true;
  }
}

/** Write the symbols of groups, the first symbol of each as its lowest digit; those beyond the count are dropped. */
function spread(input, groups, { count, alphabet }, group, symbols) {
  const size = alphabet ** group;
  for (const number of groups) if (number >= size) input.fail("an index is outside its codebook");
  if (group === 1) {
    symbols.set(groups);
    return;
  }
  const digits = new Uint8Array(size * group);
  for (let number = 0; number < size; number++) {
    for (let k = 0, left = number; k < group; k++, left = Math.floor(left / alphabet)) {
      digits[number * group + k] = left % alphabet;
    }
  }
  for (let i = 0, at = 0; i < groups.length; i++) {
    for (let k = 0; k < group && at < count; k++) symbols[at++] = digits[groups[i] * group + k];
  }
}
