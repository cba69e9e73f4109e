/** The codec context: adaptive frequencies in contexts of magnitude (SPEC.md, 6.5). Decodes, and encodes for deltas. */

import { ceiling, concat } from "../bytes.js";
import { LimitExceededError } from "../errors.js";
import { MAX_CONTEXT_CELLS, MAX_LANES, MAX_STEPS } from "../limits.js";
import { Lane, refinementMeans, StreamMeans } from "./context_means.js";
import { magnitude, nextState, SETTINGS, TAPS } from "./context_settings.js";
import { ContextTables } from "./context_tables.js";
import { encodeLanes, Lanes, packTail, tailOf } from "./lanes.js";
import { symbolsOf, totals } from "./stream.js";

const MOST_VALUES = 2 ** 30; // no chunk has more
const WIDEST = 256;

export function readContext(input, streams, options) {
  if (!totals(streams).count) {
    input.end();
    return streams.map(symbolsOf);
  }
  return decode(input, begin(input, streams, options.spend));
}

/** Decode what stands after the parameters that `begin` has read: the symbols of each stream. */
export function decode(input, walk) {
  const { streams } = walk;
  const found = streams.map(symbolsOf);
  const lanes = new Lanes(input, walk.laneCount);
  const tail = walk.run(new Decoder(walk, lanes, found));
  lanes.finish(tail.limit);
  const left = lanes.states;
  walk.tails(tail.length, (i, { stream, at }) => {
    const symbol = left[i] % walk.width;
    left[i] = Math.floor(left[i] / walk.width);
    if (symbol >= streams[stream].alphabet) input.fail("an index is outside its codebook");
    found[stream][at] = symbol;
  });
  return found;
}

/**
 * Make the payload that decodes to these symbols again. choices: what stands in it before the states; parts: the
 * symbols of each stream; spend: as of readContext.
 */
export function rebuildContext(choices, streams, parts, spend) {
  const { count } = totals(streams);
  if (!count) {
    choices.end();
    return new Uint8Array(0);
  }
  const walk = begin(choices, streams, spend);
  choices.end();
  if (walk.laneCount > count) choices.fail("it has more lanes than symbols");
  return concat([choices.bytes, encode(walk, parts)]);
}

/** Return the states and words of a walk through these symbols of each stream. */
export function encode(walk, parts) {
  const encoder = new Recorder(walk, walk.count, parts);
  const tail = walk.run(encoder);
  const tails = Array.from({ length: walk.laneCount }, () => []);
  walk.tails(tail.length, (i, { stream, at }) => tails[i].push(parts[stream][at]));
  const states = Uint32Array.from(tails, (symbols) => packTail(symbols, walk.width));
  return encodeLanes(states, encoder, walk.tables.bits);
}

/**
 * Read what stands before the states. readWay: of the codec trellis; gets a stream and the index of zero, returns how
 * it follows the trellis: its way, the stream of its symbols, and the symbol of zero.
 */
export function begin(input, given, spend, readWay) {
  const { count } = totals(given);
  const bits = input.uint(14);
  const taps = TAPS[input.uint(3)];
  const laneCount = input.uint(MAX_LANES);
  const chosen = given.map((stream) => {
    if (!stream.count) return { stream };
    const centre = input.uint(stream.alphabet - 1);
    const setting = SETTINGS[input.uint(SETTINGS.length - 1)];
    return { stream, setting, centre, way: 0, ...readWay?.(stream, centre) };
  });
  const streams = chosen.map(({ stream }) => stream);
  const { alphabet: width } = totals(streams);
  if (bits < 9 || !laneCount || ceiling(count, laneCount) > MAX_STEPS || width > WIDEST) {
    input.fail("it has a wrong number of bits or lanes");
  }
  if (count > MOST_VALUES) throw new LimitExceededError(`a section has over ${MOST_VALUES} values`);
  const plan = planOf(input, chosen, width);
  const tables = new ContextTables(input, plan.contexts, plan.valid.length, { width, bits, spend });
  return new Walk({ streams, plan, tables, taps, laneCount, count });
}

/**
 * Find how each stream is modelled: its means, where its contexts and priors begin, and how much higher its contexts are
 * in the second quantizer.
 */
function planOf(input, chosen, width) {
  const plan = { means: [], firstContext: [], firstPrior: [], valid: [], second: [], contexts: 0 };
  const contextsOf = ({ stream, setting, way }) =>
    (16 >> setting.coarse) * (stream.children ? stream.children.length : setting.sides ? 3 : 1) * (way ? 2 : 1);
  let contexts = 0;
  for (const one of chosen) {
    if (one.setting) contexts += contextsOf(one);
    if (contexts * width > MAX_CONTEXT_CELLS) input.fail("it has too many contexts");
  }
  for (const one of chosen) {
    const { stream, centre, setting, way } = one;
    plan.firstContext.push(plan.contexts);
    plan.firstPrior.push(plan.valid.length);
    if (!stream.count) {
      plan.means.push(null);
      plan.second.push(0);
      continue;
    }
    const { children } = stream;
    plan.means.push(children ? refinementMeans(stream, setting) : new StreamMeans(stream, setting, centre, way));
    plan.second.push(way ? contextsOf(one) / 2 : 0);
    plan.contexts += contextsOf(one);
    for (const valid of children ?? [stream.alphabet]) plan.valid.push(valid);
  }
  return plan;
}

/** Decodes the symbols of a walk from the words. */
class Decoder {
  constructor(walk, lanes, found) {
    this.tables = walk.tables;
    this.words = lanes;
    this.found = found;
  }

  /** Return the next symbol of a lane, given where the first slots of its context begin. */
  next(lane, i, at) {
    const { first, bits, width } = this.tables;
    const state = this.words.states[i];
    const slot = state & ((1 << bits) - 1);
    const symbol = symbolAt(first, at, width, slot);
    const base = first[at + symbol];
    const frequency = first[at + symbol + 1] - base;
    this.words.put(i, (Math.imul(frequency, state >>> bits) + slot - base) >>> 0);
    this.found[lane.stream][lane.at] = symbol;
    return symbol;
  }
}

/** Notes the frequencies and first slots of known symbols, in the order of decoding. */
class Recorder {
  constructor(walk, count, parts) {
    this.tables = walk.tables;
    this.parts = parts;
    this.length = 0;
    this.frequencies = new Uint16Array(count);
    this.first = new Uint16Array(count);
  }

  next(lane, i, at) {
    const { first } = this.tables;
    const symbol = this.parts[lane.stream][lane.at];
    const frequency = first[at + symbol + 1] - first[at + symbol];
    if (!frequency) this.tables.input.fail("a symbol can't stand where it does");
    this.frequencies[this.length] = frequency;
    this.first[this.length++] = first[at + symbol];
    return symbol;
  }
}

/** The way of all lanes through the symbols, with the statistics that follow from those so far. */
class Walk {
  constructor({ streams, plan, tables, taps, laneCount, count }) {
    Object.assign(this, { streams, plan, tables, taps, laneCount, count });
    this.width = tables.width;
    this.lanes = [];
    this.trails = null; // of the codec trellis: the states of the lanes at their first symbols
  }

  /** Take all symbols from a coder but those that the last states hold; returns the length and the limit of these. */
  run(coder) {
    const run = Math.floor(this.count / this.laneCount);
    const longer = this.count % this.laneCount;
    this.#start(run, longer, this.count);
    const tail = tailOf(this.width, this.count, this.laneCount);
    this.#steps(coder, run - tail.length + (longer ? 1 : 0), longer);
    return tail;
  }

  /** After `run`: call each(i, lane) for the last symbols of each lane, in order. */
  tails(length, each) {
    this.lanes.forEach((lane, i) => {
      for (let k = 0; k < length; k++) {
        each(i, lane);
        lane.step(this.streams, this.plan.means);
      }
    });
  }

  /** Place each lane at the start of its run. */
  #start(run, longer, count) {
    const { streams, plan } = this;
    let place = 0; // of the lane among all symbols
    let before = 0; // of the stream
    let number = 0;
    for (let i = 0; i < this.laneCount; i++) {
      const lane = new Lane();
      this.lanes.push(lane);
      if (place < count) {
        while (place >= before + streams[number].count) before += streams[number++].count;
        lane.moveTo(number, plan.means[number], streams[number], place - before);
        if (this.trails) lane.trail = this.trails[i];
      }
      place += run + (i < longer ? 1 : 0);
    }
  }

  #steps(coder, steps, longer) {
    const { streams, plan, lanes } = this;
    let length = 4; // of the epoch
    for (let step = 0; step < steps; ) {
      const stop = Math.min(step + length, steps);
      streams.forEach((stream, i) => {
        if (stream.count && !stream.children) plan.means[i].refresh(stream.alphabet);
      });
      this.tables.begin(plan.valid);
      for (; step < stop; step++) {
        const active = longer && step === steps - 1 ? longer : lanes.length;
        for (let i = 0; i < active; i++) {
          this.#symbol(coder, lanes[i], i);
          lanes[i].step(streams, plan.means);
        }
      }
      length = Math.min(Math.floor((3 * length) / 2), Math.max(64, step >> 4));
    }
  }

  /** Take the next symbol of a lane. */
  #symbol(coder, lane, i) {
    const { tables, plan } = this;
    const stream = this.streams[lane.stream];
    const means = plan.means[lane.stream];
    const { context, prior } = stream.children ? this.#refined(lane, stream, means) : this.#plain(lane, means);
    const symbol = coder.next(lane, i, tables.slotsOf(context, prior));
    tables.note(context, prior, symbol);
    if (stream.children) return;
    const size = magnitude(symbol, means.centre);
    means.add(lane, size);
    lane.note(symbol, size, means, stream.alphabet);
    if (means.way) lane.trail = nextState(lane.trail, symbol - means.centre);
  }

  #plain(lane, means) {
    const { sides } = means.setting;
    const cell = means.cell(lane, means.setting.recent ? 8 * lane.recent(this.taps) + means.mean : 0);
    let place = this.plan.firstContext[lane.stream] + (sides ? cell * 3 + lane.side : cell);
    if (lane.trail & 1) place += this.plan.second[lane.stream];
    return { context: place, prior: this.plan.firstPrior[lane.stream] };
  }

  #refined(lane, { parents, count }, means) {
    const { at } = lane;
    const beyond = means.mean >> 4;
    const before = at ? magnitude(parents[at - 1], means.centre) : beyond;
    const after = at + 1 < count ? magnitude(parents[at + 1], means.centre) : beyond;
    const cell = means.cell(lane, 64 * (before + after) + means.mean);
    return {
      context: this.plan.firstContext[lane.stream] + parents[at] * (16 >> means.setting.coarse) + cell,
      prior: this.plan.firstPrior[lane.stream] + parents[at],
    };
  }
}

/** The last of n symbols whose first slot isn't above `slot`. */
function symbolAt(first, at, n, slot) {
  let low = 0;
  for (let size = n; size > 1; ) {
    const half = size >> 1;
    if (first[at + low + half] <= slot) low += half;
    size -= half;
  }
  return low;
}
