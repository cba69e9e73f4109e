/**
 * The codec mixing: bits, each under a mix of the predictions of several contexts (SPEC.md, 6.8). Decodes, and encodes
 * for deltas.
 */

import { concat } from "../bytes.js";
import { LimitExceededError } from "../errors.js";
import { EXPANSION, MAX_LANES, SECTION_FLOOR } from "../limits.js";
import { ALONG_FIRST, FROM_SECOND, FROM_THIRD, nextState, NO_PATH } from "./context_settings.js";
import { Lanes } from "./lanes.js";
import { BitLanes } from "./mixing_bits.js";
import { BitRecorder, lead } from "./mixing_encode.js";
import { MixingWalk } from "./mixing_walk.js";
import { symbolsOf, totals } from "./stream.js";
import { pathOf } from "./trellis.js";

const WIDEST = 256;
const FOOTPRINT = 121; // bytes of memory for each value, as the Python reader estimates it; here it is less

export function readMixing(input, streams, options) {
  const { count } = totals(streams);
  if (!count) {
    input.end();
    return streams.map(symbolsOf);
  }
  if (count * FOOTPRINT > Math.max(SECTION_FLOOR, input.bytes.length * EXPANSION)) {
    throw new LimitExceededError(`decoding ${count} values would take too much memory; the file is hostile`);
  }
  const { laneCount, paths } = begin(input, streams);
  const bits = new BitLanes(new Lanes(input, laneCount), options.spend);
  const walk = new MixingWalk(paths.length, bits);
  const found = paths.map(({ symbols, centre }, number) => walk.stream(number, symbols, centre));
  bits.finish();
  let number = 0;
  return streams.map((stream) => (stream.count ? indicesOf(input, paths[number], found[number++]) : symbolsOf(stream)));
}

/**
 * Make the payload that decodes to these indices again. choices: what stands in it before the states; parts: the
 * indices of each stream; spend: as of readMixing.
 */
export function rebuildMixing(choices, streams, parts, spend) {
  const { count } = totals(streams);
  if (!count) {
    choices.end();
    return new Uint8Array(0);
  }
  const { laneCount, paths } = begin(choices, streams);
  choices.end();
  if (laneCount > count) choices.fail("it has more lanes than symbols");
  const recorder = new BitRecorder(count, spend);
  const walk = new MixingWalk(paths.length, recorder);
  const used = parts.filter((_, i) => streams[i].count);
  paths.forEach((path, number) => walk.stream(number, path.symbols, path.centre, lead(choices, path, used[number])));
  return concat([choices.bytes, recorder.coded(laneCount)]);
}

/** Read what stands before the states: the number of lanes, and the paths of the streams that have values. */
function begin(input, streams) {
  const laneCount = input.uint(MAX_LANES);
  const paths = streams.filter((stream) => stream.count).map((stream) => readPath(input, stream));
  if (!laneCount || paths.some(({ symbols }) => symbols.alphabet > WIDEST)) {
    input.fail("it has no lanes, or an alphabet that is too large");
  }
  return { laneCount, paths };
}

/** Read the centre and the way of a stream, and the state of the trellis where it starts within a row. */
function readPath(input, stream) {
  const told = input.uint(4 * Math.max(stream.alphabet, 1) - 1);
  const path = pathOf(input, stream, told >> 2, told & FROM_THIRD);
  path.state = path.way >= FROM_SECOND && path.start % path.row ? input.uint(7) : 0;
  return path;
}

/** Turn the values of a stream, distances from the centre, into its indices. */
function indicesOf(input, path, values) {
  const { stream, way, centre } = path;
  const { alphabet } = path.symbols;
  const indices = symbolsOf(stream);
  for (let i = 0; i < values.length; i++) {
    const symbol = values[i] + centre;
    if (symbol < 0 || symbol >= alphabet) input.fail("an index is outside its codebook");
    indices[i] = symbol;
  }
  if (way !== NO_PATH) follow(input, path, values, indices);
  return indices;
}

/** Follow the trellis along the rows of a stream, from the distances of symbols to indices. */
function follow(input, { stream, way, zero, row, start, state: first }, values, indices) {
  const { alphabet, count } = stream;
  const columns = count / row;
  let state = first;
  let left = row - (start % row); // of the row
  for (let i = 0; i < count; i++) {
    const away = values[i];
    const index = zero + 2 * away - Math.sign(away) * (state & 1);
    if (index < 0 || index >= alphabet) input.fail("an index is outside its codebook");
    indices[way === ALONG_FIRST ? (i % row) * columns + Math.floor(i / row) : i] = index;
    state = nextState(state, away);
    left -= 1;
    if (!left) {
      left = row;
      state = 0;
    }
  }
}
