/** Turn values as they are stored into the type of the array, exactly. */

import { PayloadError } from "./errors.js";
import { BFLOAT16, BOOL, FLOAT16, FLOAT32, FLOAT64, arrayOf, typed, widthOf } from "./types.js";

/** Return the bytes of an array of `type`, in memory of their own, given the bytes of values of type `stored`. */
export function convert(bytes, stored, type) {
  if (stored === type) {
    if (type === BOOL && bytes.some((byte) => byte > 1)) {
      throw new PayloadError("a truth value is neither 0 nor 1; the file is damaged");
    }
    return bytes.slice();
  }
  const from = typed(stored, bytes);
  if (stored === FLOAT16) return halves(from, type);
  if (stored === FLOAT32) return widened(new Uint32Array(from.buffer), from);
  const to = arrayOf(type, bytes.length / widthOf(stored));
  const number = to instanceof BigUint64Array || to instanceof BigInt64Array ? BigInt : Number;
  if (type === FLOAT16) for (let i = 0; i < to.length; i++) to[i] = halfOf(from[i]);
  else for (let i = 0; i < to.length; i++) to[i] = number(from[i]);
  return new Uint8Array(to.buffer);
}

/** Return values of a type as numbers; those of 64 bits are rounded to the nearest. */
export function doubles(bytes, type) {
  if (type === FLOAT16) return typed(FLOAT64, convert(bytes, FLOAT16, FLOAT64), true);
  const values = typed(type, bytes);
  if (type === FLOAT64) return values;
  if (type === BFLOAT16) return Float64Array.from(new Float32Array(Uint32Array.from(values, (bits) => bits << 16).buffer));
  return Float64Array.from(values, Number);
}

/** float16 to float32 or float64: by their bits, so NaNs keep theirs. */
function halves(from, type) {
  const bits = new Uint32Array(from.length);
  for (let i = 0; i < bits.length; i++) bits[i] = floatBitsOf(from[i]);
  return type === FLOAT64 ? widened(bits, new Float32Array(bits.buffer)) : new Uint8Array(bits.buffer);
}

function floatBitsOf(half) {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >> 10) & 31;
  const mantissa = half & 0x3ff;
  if (exponent === 31) return sign | 0x7f800000 | (mantissa << 13);
  if (exponent) return sign | ((exponent + 112) << 23) | (mantissa << 13);
  if (!mantissa) return sign;
  const shift = Math.clz32(mantissa) - 21; // to the leading one's place
  return sign | ((113 - shift) << 23) | (((mantissa << shift) & 0x3ff) << 13);
}

function widened(bits, floats) {
  const to = new Float64Array(floats.length);
  const words = new Uint32Array(to.buffer);
  for (let i = 0; i < to.length; i++) {
    to[i] = floats[i];
    if (!Number.isNaN(to[i])) continue;
    words[2 * i] = bits[i] << 29;
    words[2 * i + 1] = (bits[i] & 0x80000000) | 0x7ff80000 | ((bits[i] & 0x7fffff) >> 3);
  }
  return new Uint8Array(to.buffer);
}

/** The float16 of a whole number from -128 to 255: these are exact. */
function halfOf(value) {
  if (!value) return 0;
  const size = Math.abs(value);
  const exponent = 31 - Math.clz32(size);
  return (value < 0 ? 0x8000 : 0) | ((exponent + 15) << 10) | ((size << (10 - exponent)) & 0x3ff);
}
