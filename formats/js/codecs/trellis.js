/**
 * The codec trellis: indices that follow a trellis, with contexts for each of two quantizers (SPEC.md, 6.7). Decodes, and
 * encodes for deltas.
 */

import { concat } from "../bytes.js";
import { begin, decode, encode } from "./context.js";
import { ALONG_FIRST, FROM_THIRD, nextState, NO_PATH } from "./context_settings.js";
import { symbolsOf, totals } from "./stream.js";

export function readTrellis(input, streams, options) {
  const { count } = totals(streams);
  if (!count) {
    input.end();
    return streams.map(symbolsOf);
  }
  const { walk, paths } = beginPaths(input, streams, options.spend);
  const trails = input.take(walk.laneCount);
  if (trails.some((state) => state > 7)) input.fail("a lane has a wrong state");
  walk.trails = trails;
  const symbols = decode(input, walk);
  const follow = new Follower(input, trails, count);
  const used = paths.values();
  return streams.map((stream, i) => (stream.count ? follow.stream(used.next().value, symbols[i]) : symbolsOf(stream)));
}

/**
 * Make the payload that decodes to these indices again. choices: what stands in it before the second trellis state; parts:
 * the indices of each stream; spend: as of readContext.
 */
export function rebuildTrellis(choices, streams, parts, spend) {
  const { count } = totals(streams);
  if (!count) {
    choices.end();
    return new Uint8Array(0);
  }
  const { walk, paths } = beginPaths(choices, streams, spend);
  const [first] = choices.take(1);
  choices.end();
  if (walk.laneCount > count || first > 7) choices.fail("it has a wrong number of lanes or a wrong state");
  const leader = new Leader(choices, walk, first);
  const used = paths.values();
  const symbols = streams.map((stream, i) => (stream.count ? leader.stream(used.next().value, parts[i]) : parts[i]));
  walk.trails = leader.trails;
  if (walk.trails[0] !== first) choices.fail("it begins in a wrong state");
  return concat([choices.bytes, walk.trails.subarray(1), encode(walk, symbols)]);
}

/** Read what stands before the trellis states: how the lanes walk through the symbols, and the paths of the streams. */
function beginPaths(input, streams, spend) {
  const paths = [];
  const walk = begin(input, streams, spend, (stream, zero) => {
    const path = pathOf(input, stream, zero, input.uint(FROM_THIRD));
    paths.push(path);
    return { stream: path.symbols, centre: path.centre, way: path.way };
  });
  return { walk, paths };
}

/** Return how a stream follows the trellis: its symbols' stream, the symbol of zero, and the length of a row. */
export function pathOf(input, stream, zero, way) {
  const whole = stream.axis1 * stream.deep;
  if (stream.children || (way && stream.dims < 2)) input.fail("it is used for indices that it can't hold");
  const path = { stream, way, zero, centre: zero, symbols: stream, row: 1, start: stream.start };
  if (way === NO_PATH) return path;
  path.centre = (zero + 1) >> 1;
  path.row = way === FROM_THIRD ? stream.deep : whole;
  path.symbols = { ...stream, alphabet: path.centre + ((stream.alphabet - zero) >> 1) + 1 };
  if (way === ALONG_FIRST) {
    if (stream.start % whole || stream.count % whole) input.fail("it is used for a part of a row");
    path.row = stream.count / whole;
    path.start = 0;
    Object.assign(path.symbols, { start: 0, dims: 2, axis0: whole, axis1: path.row, deep: 1, width: 1 });
  }
  return path;
}

/** Follows the streams of a payload, one after the other, and checks the states that lanes begin with. */
class Follower {
  constructor(input, trails, count) {
    Object.assign(this, { input, trails, count });
    this.place = 0; // among the symbols of all streams
    this.lane = 0;
    this.first = 0; // place of the lane
  }

  /** Return the indices of a stream. */
  stream({ stream, way, zero, centre, row, start }, symbols) {
    const indices = symbolsOf(stream);
    const columns = stream.count / row;
    let state = 0;
    let left = row - (start % row); // of the row
    for (let i = 0; i < stream.count; i++) {
      if (this.place === 0 && left < row) state = this.trails[0];
      if (this.place === this.first) this.#begin(state);
      this.place += 1;
      const away = symbols[i] - centre;
      let index = symbols[i];
      if (way !== NO_PATH) {
        index = zero + 2 * away - Math.sign(away) * (state & 1);
        state = nextState(state, away);
      }
      if (index < 0 || index >= stream.alphabet) this.input.fail("an index is outside its codebook");
      indices[way === ALONG_FIRST ? (i % row) * columns + Math.floor(i / row) : i] = index;
      left -= 1;
      if (!left) {
        left = row;
        state = 0;
      }
    }
    return indices;
  }

  /** Check the state of the lane that begins here, and find where the next one does. */
  #begin(state) {
    const { trails, count } = this;
    if (state !== trails[this.lane]) this.input.fail("a lane has a wrong state");
    const longer = count % trails.length;
    this.first += Math.floor(count / trails.length) + (this.lane < longer ? 1 : 0);
    this.lane += 1;
    if (this.first === count) for (const other of trails.subarray(this.lane)) if (other) this.#begin(-1);
  }
}

/** Turns the indices of a payload's streams, one after the other, into symbols, and notes the states that lanes begin with. */
class Leader {
  constructor(input, { laneCount, count }, first) {
    Object.assign(this, { input, count, first });
    this.trails = new Uint8Array(laneCount);
    this.place = 0; // among the symbols of all streams
    this.lane = 0;
    this.next = 0; // place of the lane
  }

  /** Return the symbols of a stream. */
  stream({ stream, way, zero, centre, row, start, symbols: own }, indices) {
    const symbols = symbolsOf(own);
    const columns = stream.count / row;
    let left = row - (start % row); // of the row
    let state = way !== NO_PATH && this.place === 0 && left < row ? this.first : 0;
    for (let i = 0; i < stream.count; i++) {
      if (this.place === this.next) this.#begin(state);
      this.place += 1;
      const index = indices[way === ALONG_FIRST ? (i % row) * columns + Math.floor(i / row) : i];
      symbols[i] = index;
      if (way !== NO_PATH) {
        const doubled = index - zero + Math.sign(index - zero) * (state & 1);
        if (doubled & 1) this.input.fail("an index isn't on the trellis");
        symbols[i] = centre + doubled / 2;
        state = nextState(state, doubled / 2);
      }
      left -= 1;
      if (!left) {
        left = row;
        state = 0;
      }
    }
    return symbols;
  }

  /** Note the state of the lane that begins here, and find where the next one does. */
  #begin(state) {
    const { trails, count } = this;
    trails[this.lane] = state;
    this.next += Math.floor(count / trails.length) + (this.lane < count % trails.length ? 1 : 0);
    this.lane += 1;
  }
}
