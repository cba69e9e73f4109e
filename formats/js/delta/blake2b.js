/** BLAKE2b (RFC 7693), unkeyed, of 32 bytes. A word of 64 bits is two of 32: the low one first. */

const START = Uint32Array.of(
  0xf3bcc908, 0x6a09e667, 0x84caa73b, 0xbb67ae85, 0xfe94f82b, 0x3c6ef372, 0x5f1d36f1, 0xa54ff53a,
  0xade682d1, 0x510e527f, 0x2b3e6c1f, 0x9b05688c, 0xfb41bd6b, 0x1f83d9ab, 0x137e2179, 0x5be0cd19,
);
const SIGMA = [
  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
  [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4], [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
  [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13], [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
  [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11], [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
  [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5], [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];
/** For each of the eight mixes of a round, the places of its four words: four columns, then four diagonals. */
const MIXES = Array.from({ length: 8 }, (_, i) =>
  [0, 1, 2, 3].map((row) => 8 * row + 2 * ((i + (i < 4 ? 0 : row)) % 4)));
const BLOCK = 128;
const BYTES = 32;

const V = new Uint32Array(32);
const M = new Uint32Array(32);

/** The digest, 32 bytes, of some runs of bytes, one after the other. */
export function blake2b(parts) {
  const state = START.slice();
  state[0] ^= 0x01010000 | BYTES;
  const block = new Uint8Array(BLOCK);
  const view = new DataView(block.buffer);
  let filled = 0;
  let total = 0;
  for (const part of parts) {
    for (let at = 0; at < part.length; ) {
      if (filled === BLOCK) {
        mixBlock(state, view, (total += BLOCK), false); // more follows, so it isn't the last one
        filled = 0;
      }
      const piece = part.subarray(at, at + BLOCK - filled);
      block.set(piece, filled);
      at += piece.length;
      filled += piece.length;
    }
  }
  block.fill(0, filled);
  mixBlock(state, view, total + filled, true);
  const out = new DataView(new ArrayBuffer(BYTES));
  for (let i = 0; i < BYTES / 4; i++) out.setUint32(4 * i, state[i], true);
  return new Uint8Array(out.buffer);
}

function mixBlock(state, view, total, last) {
  for (let i = 0; i < 32; i++) M[i] = view.getUint32(4 * i, true);
  V.set(state);
  V.set(START, 16);
  V[24] ^= total % 2 ** 32;
  V[25] ^= Math.floor(total / 2 ** 32);
  if (last) {
    V[28] = ~V[28];
    V[29] = ~V[29];
  }
  for (let round = 0; round < 12; round++) {
    const order = SIGMA[round % 10];
    for (let i = 0; i < 8; i++) {
      const [a, b, c, d] = MIXES[i];
      half(a, b, c, d, 2 * order[2 * i], true);
      half(a, b, c, d, 2 * order[2 * i + 1], false);
    }
  }
  for (let i = 0; i < 16; i++) state[i] ^= V[i] ^ V[i + 16];
}

/** Half of a mix: the first one turns by 32 and 24 bits, the second one by 16 and 63. */
function half(a, b, c, d, word, first) {
  const low = V[a] + V[b] + M[word];
  V[a + 1] = V[a + 1] + V[b + 1] + M[word + 1] + Math.floor(low / 2 ** 32);
  V[a] = low;
  let x = V[d] ^ V[a];
  let y = V[d + 1] ^ V[a + 1];
  V[d] = first ? y : (x >>> 16) | (y << 16);
  V[d + 1] = first ? x : (y >>> 16) | (x << 16);
  const sum = V[c] + V[d];
  V[c + 1] = V[c + 1] + V[d + 1] + Math.floor(sum / 2 ** 32);
  V[c] = sum;
  x = V[b] ^ V[c];
  y = V[b + 1] ^ V[c + 1];
  V[b] = first ? (x >>> 24) | (y << 8) : (x << 1) | (y >>> 31);
  V[b + 1] = first ? (y >>> 24) | (x << 8) : (y << 1) | (x >>> 31);
}
