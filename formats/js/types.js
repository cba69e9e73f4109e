/** Element types: their names, widths and arrays, and which stored type converts exactly to which. */

export const NAMES = [
  "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
  "float16", "bfloat16", "float32", "float64",
];
const ARRAYS = [
  Uint8Array, Uint8Array, Int8Array, Uint16Array, Int16Array, Uint32Array, Int32Array, BigUint64Array, BigInt64Array,
  Uint16Array, Uint16Array, Float32Array, Float64Array,
];
export const BOOL = 0;
export const UINT8 = 1;
export const FLOAT16 = 9;
export const BFLOAT16 = 10;
export const FLOAT32 = 11;
export const FLOAT64 = 12;

/** For each stored type, a bit for each type of the array that holds all its values. */
const CONVERTS = [
  0x0001, 0x1bfa, 0x1b54, 0x19e8, 0x1950, 0x11a0, 0x1140, 0x0080, 0x0100, 0x1a00, 0x0400, 0x1800, 0x1000,
];

export function isKnown(type) {
  return type < NAMES.length;
}

/** Bytes of a value; 1 for a type that this reader doesn't know. */
export function widthOf(type) {
  return isKnown(type) ? ARRAYS[type].BYTES_PER_ELEMENT : 1;
}

export function isFloat(type) {
  return type >= FLOAT16 && type <= FLOAT64;
}

export function convertsExactly(stored, type) {
  return ((CONVERTS[stored] >> type) & 1) === 1;
}

/** A new array of `count` zeros of a type; float16 and bfloat16 are arrays of their bits. */
export function arrayOf(type, count) {
  return new ARRAYS[type](count);
}

/** Whether something is an array for values of a type. */
export function isArrayOf(type, array) {
  return array instanceof ARRAYS[type];
}

/** Bytes of little-endian values as an array of their type, in memory of its own; own: the bytes are that memory. */
export function typed(type, bytes, own = false) {
  return new ARRAYS[type]((own ? bytes : bytes.slice()).buffer);
}
