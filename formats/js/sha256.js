/** SHA-256 (FIPS 180-4). Browsers have it only as a promise, and only on pages that came over https. */

const PRIMES = [];
for (let n = 2; PRIMES.length < 64; n++) if (PRIMES.every((prime) => n % prime)) PRIMES.push(n);
/** The first 32 bits after the point of a root. */
const fraction = (root) => Math.floor((root % 1) * 2 ** 32);
const START = PRIMES.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)));
const K = Int32Array.from(PRIMES, (prime) => fraction(Math.cbrt(prime)));
const BLOCK = 64;
const right = (word, bits) => (word >>> bits) | (word << (32 - bits));

/** The hash, 32 bytes, of some runs of bytes, one after the other. */
export function sha256(...parts) {
  const state = Int32Array.from(START);
  const block = new Uint8Array(BLOCK);
  let filled = 0;
  let total = 0;
  for (const part of parts) {
    let at = 0;
    total += part.length;
    while (at < part.length) {
      const piece = part.subarray(at, at + BLOCK - filled);
      block.set(piece, filled);
      at += piece.length;
      filled += piece.length;
      if (filled === BLOCK) {
        mix(state, block);
        filled = 0;
      }
    }
  }
  block.fill(0, filled);
  block[filled] = 0x80;
  if (filled >= BLOCK - 8) {
    mix(state, block);
    block.fill(0);
  }
  const view = new DataView(block.buffer);
  view.setUint32(BLOCK - 8, Math.floor(total / 2 ** 29));
  view.setUint32(BLOCK - 4, (total * 8) % 2 ** 32);
  mix(state, block);
  const out = new Uint8Array(32);
  const words = new DataView(out.buffer);
  state.forEach((word, i) => words.setInt32(4 * i, word));
  return out;
}

const W = new Int32Array(64);

function mix(state, block) {
  for (let i = 0, at = 0; i < 16; i++, at += 4) {
    W[i] = (block[at] << 24) | (block[at + 1] << 16) | (block[at + 2] << 8) | block[at + 3];
  }
  for (let i = 16; i < 64; i++) {
    const early = W[i - 15];
    const late = W[i - 2];
    const low = right(early, 7) ^ right(early, 18) ^ (early >>> 3);
    const high = right(late, 17) ^ right(late, 19) ^ (late >>> 10);
    W[i] = (W[i - 16] + low + W[i - 7] + high) | 0;
  }
  let a = state[0];
  let b = state[1];
  let c = state[2];
  let d = state[3];
  let e = state[4];
  let f = state[5];
  let g = state[6];
  let h = state[7];
  for (let i = 0; i < 64; i++) {
    const one = (h + (right(e, 6) ^ right(e, 11) ^ right(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + W[i]) | 0;
    const two = ((right(a, 2) ^ right(a, 13) ^ right(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + one) | 0;
    d = c;
    c = b;
    b = a;
    a = (one + two) | 0;
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
  state[4] += e;
  state[5] += f;
  state[6] += g;
  state[7] += h;
}
