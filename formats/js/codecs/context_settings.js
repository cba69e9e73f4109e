/** What the codec context chooses from (SPEC.md, 6.5): settings, taps, and logarithms in 1/64 octaves. */

import { bitLength } from "./frequencies.js";

/** For each setting: weights of filter, channel and recent, the shift `coarse`, and whether there are sides. */
export const SETTINGS = [
  [0, 0, 0, 4, false], [0, 0, 0, 4, true], [0, 0, 13, 0, true], [0, 0, 13, 1, true],
  [10, 10, 8, 1, true], [13, 13, 6, 1, true], [10, 10, 8, 2, false], [0, 16, 7, 1, true],
  [16, 0, 7, 1, true], [13, 13, 6, 0, false], [8, 8, 10, 0, true], [10, 10, 13, 1, true],
].map(([filter, channel, recent, coarse, sides]) => ({ filter, channel, recent, coarse, sides }));

/** Weights of the magnitudes 1, 2, ... steps back. */
export const TAPS = [[10, 6], [8, 5, 3], [6, 5, 3, 2], [5, 4, 3, 2, 1, 1]];

const LOGS = Uint8Array.from({ length: 256 }, (_, i) => Math.round(64 * Math.log2(1 + i / 256)));

/** The logarithm of a whole number from 1 to 2^52, in 1/64 octaves. */
export function logarithm(value) {
  const e = bitLength(value) - 1;
  const scaled = value < 2 ** 24 ? (e >= 8 ? value >>> (e - 8) : value << (8 - e)) : Math.floor(value / 2 ** (e - 8));
  return 64 * e + LOGS[scaled & 255];
}

/** Ways of a stream on a trellis: where its rows are (SPEC.md, 6.7). */
export const [NO_PATH, ALONG_FIRST, FROM_SECOND, FROM_THIRD] = [0, 1, 2, 3];

/** The state of a trellis after a symbol. away: how far the symbol is from that of zero. */
export function nextState(state, away) {
  return ((0x73426150 >> (4 * state)) & 7) ^ ((away & 1) << 1);
}

export const LOG_9 = logarithm(9);

/** How far a symbol lies from the centre. */
export function magnitude(symbol, centre) {
  return 4 * Math.abs(symbol - centre) + 1;
}
