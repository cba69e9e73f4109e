/** The codec context: adaptive frequencies in contexts of magnitude (SPEC.md, 6.5). */

import { ceiling } from "../bytes.js";
import { LimitExceededError } from "../errors.js";
import { MAX_CONTEXT_CELLS, MAX_LANES, MAX_STEPS } from "../limits.js";
import { Lane, refinementMeans, StreamMeans } from "./context_means.js";
import { magnitude, SETTINGS, TAPS } from "./context_settings.js";
import { ContextTables } from "./context_tables.js";
import { Lanes, tailOf } from "./lanes.js";
import { symbolsOf, totals } from "./stream.js";

const MOST_VALUES = 2 ** 30; // no chunk has more
const WIDEST = 256;

export function readContext(input, streams, options) {
  const { count, alphabet: width } = totals(streams);
  if (!count) {
    input.end();
    return streams.map(symbolsOf);
  }
  const bits = input.uint(14);
  const taps = TAPS[input.uint(3)];
  const laneCount = input.uint(MAX_LANES);
  if (bits < 9 || !laneCount || ceiling(count, laneCount) > MAX_STEPS || width > WIDEST) {
    input.fail("it has a wrong number of bits or lanes");
  }
  if (count > MOST_VALUES) throw new LimitExceededError(`a section has over ${MOST_VALUES} values`);
  const plan = planOf(input, streams, width);
  const tables = new ContextTables(input, plan.contexts, plan.valid.length, { width, bits, spend: options.spend });
  const lanes = new Lanes(input, laneCount);
  return new Decoder({ streams, plan, tables, lanes, taps, bits }).decode(count);
}

/** Read how each stream is modelled: its means, and where its contexts and priors begin. */
function planOf(input, streams, width) {
  const plan = { means: [], firstContext: [], firstPrior: [], valid: [], contexts: 0 };
  const chosen = streams.map((stream) => {
    if (!stream.count) return null;
    const centre = input.uint(stream.alphabet - 1);
    const setting = SETTINGS[input.uint(SETTINGS.length - 1)];
    const cells = 16 >> setting.coarse;
    plan.contexts += cells * (stream.children ? stream.children.length : setting.sides ? 3 : 1);
    if (plan.contexts * width > MAX_CONTEXT_CELLS) input.fail("it has too many contexts");
    return { centre, setting };
  });
  plan.contexts = 0;
  streams.forEach((stream, i) => {
    plan.firstContext.push(plan.contexts);
    plan.firstPrior.push(plan.valid.length);
    if (!stream.count) {
      plan.means.push(null);
      return;
    }
    const { centre, setting } = chosen[i];
    const { children } = stream;
    plan.means.push(children ? refinementMeans(stream, setting) : new StreamMeans(stream, setting, centre));
    plan.contexts += (16 >> setting.coarse) * (children ? children.length : setting.sides ? 3 : 1);
    for (const valid of children ?? [stream.alphabet]) plan.valid.push(valid);
  });
  return plan;
}

class Decoder {
  constructor({ streams, plan, tables, lanes, taps, bits }) {
    Object.assign(this, { streams, plan, tables, taps, bits });
    this.words = lanes;
    this.lanes = [];
    this.found = streams.map(symbolsOf);
  }

  decode(count) {
    const laneCount = this.words.states.length;
    const run = Math.floor(count / laneCount);
    const longer = count % laneCount;
    this.#start(run, longer, count);
    const tail = tailOf(this.tables.width, count, laneCount);
    this.#steps(run - tail.length + (longer ? 1 : 0), longer);
    this.words.finish(tail.limit);
    this.lanes.forEach((lane, i) => this.#tail(lane, this.words.states[i], tail.length));
    return this.found;
  }

  /** Place each lane at the start of its run. */
  #start(run, longer, count) {
    const { streams, plan } = this;
    let place = 0; // of the lane among all symbols
    let before = 0; // of the stream
    let number = 0;
    for (let i = 0; i < this.words.states.length; i++) {
      const lane = new Lane();
      this.lanes.push(lane);
      if (place < count) {
        while (place >= before + streams[number].count) before += streams[number++].count;
        lane.moveTo(number, plan.means[number], streams[number], place - before);
      }
      place += run + (i < longer ? 1 : 0);
    }
  }

  #steps(steps, longer) {
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
          this.#symbol(lanes[i], i);
          lanes[i].step(streams, plan.means);
        }
      }
      length = Math.min(Math.floor((3 * length) / 2), Math.max(64, step >> 4));
    }
  }

  /** Decode the next symbol of a lane. */
  #symbol(lane, i) {
    const { tables, plan, bits } = this;
    const stream = this.streams[lane.stream];
    const means = plan.means[lane.stream];
    const { context, prior } = stream.children ? this.#refined(lane, stream, means) : this.#plain(lane, means);
    const at = tables.slotsOf(context, prior);
    const state = this.words.states[i];
    const slot = state & ((1 << bits) - 1);
    const symbol = symbolAt(tables.first, at, tables.width, slot);
    const base = tables.first[at + symbol];
    const frequency = tables.first[at + symbol + 1] - base;
    this.words.put(i, (Math.imul(frequency, state >>> bits) + slot - base) >>> 0);
    tables.note(context, prior, symbol);
    this.found[lane.stream][lane.at] = symbol;
    if (stream.children) return;
    const size = magnitude(symbol, means.centre);
    means.add(lane, size);
    lane.note(symbol, size, means, stream.alphabet);
  }

  #plain(lane, means) {
    const { sides } = means.setting;
    const cell = means.cell(lane, means.setting.recent ? 8 * lane.recent(this.taps) + means.mean : 0);
    const place = sides ? cell * 3 + lane.side : cell;
    return { context: this.plan.firstContext[lane.stream] + place, prior: this.plan.firstPrior[lane.stream] };
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

  /** Write the last symbols of a lane, which its state holds. */
  #tail(lane, packed, length) {
    const { width } = this.tables;
    let left = packed;
    for (let i = 0; i < length; i++) {
      const symbol = left % width;
      left = Math.floor(left / width);
      if (symbol >= this.streams[lane.stream].alphabet) this.words.input.fail("an index is outside its codebook");
      this.found[lane.stream][lane.at] = symbol;
      lane.step(this.streams, this.plan.means);
    }
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
