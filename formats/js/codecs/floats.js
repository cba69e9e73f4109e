/** Numbers of floating point: bits to numbers, and numbers rounded to bits (to nearest, ties to even). */

import { BFLOAT16, FLOAT16, FLOAT32 } from "../types.js";

const view = new DataView(new ArrayBuffer(8));

function bitsOfFloat(value) {
  view.setFloat32(0, value);
  return view.getUint32(0);
}

function floatOfBits(bits) {
  view.setUint32(0, bits);
  return view.getFloat32(0);
}

/** The number of a float16's bits. */
export function halfToNumber(half) {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const mantissa = half & 0x3ff;
  if (exponent === 31) return mantissa ? NaN : sign * Infinity;
  return sign * (exponent ? (1024 + mantissa) * 2 ** (exponent - 25) : mantissa * 2 ** -24);
}

/** The bits of the float16 nearest to a number. */
export function numberToHalf(value) {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size >= 65520) return sign | 0x7c00;
  if (size < 2 ** -14) return sign | toEven(size * 2 ** 24); // 1024 is the smallest normal number
  const exponent = Math.floor(Math.log2(size));
  const e = size < 2 ** exponent ? exponent - 1 : size >= 2 ** (exponent + 1) ? exponent + 1 : exponent;
  return sign | (toEven(size * 2 ** (10 - e)) + ((e + 14) << 10)); // a carry counts one exponent, as it must
}

function toEven(value) {
  const whole = Math.floor(value);
  const rest = value - whole;
  return rest > 0.5 || (rest === 0.5 && whole % 2) ? whole + 1 : whole;
}

/** The number of a word of a float type; the words of float64 are BigInt. */
export function numberOf(word, type) {
  if (type === FLOAT16) return halfToNumber(word);
  if (type === BFLOAT16) return floatOfBits((word << 16) >>> 0);
  if (type === FLOAT32) return floatOfBits(word);
  view.setBigUint64(0, word);
  return view.getFloat64(0);
}

/** Round a number to a word of a float type; bfloat16: from the nearest float32. */
export function wordOf(value, type) {
  if (type === FLOAT16) return numberToHalf(value);
  if (type === FLOAT32) return bitsOfFloat(value);
  if (type === BFLOAT16) return Math.floor((bitsOfFloat(value) + 0x7fff + ((bitsOfFloat(value) >>> 16) & 1)) / 65536);
  view.setFloat64(0, value);
  return view.getBigUint64(0);
}
