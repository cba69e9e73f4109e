/** Tensors for an input: out of .npy and JSON files, or random; checked against what the input takes. */

import { readNpy } from "./npy.js";

const MOST_VALUES = 1 << 26;
const MOST_BYTES = 1 << 29;
const ARRAYS = {
  float32: Float32Array, float64: Float64Array, int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array,
  int32: Int32Array, uint32: Uint32Array, int64: BigInt64Array, uint64: BigUint64Array, bool: Uint8Array,
  float16: globalThis.Float16Array,
};

/** Read a file for `inputs`: .npy for the only input, or JSON. Returns {feeds, note}; raises an Error of one line. */
export async function readFeeds(file, inputs) {
  if (file.size > MOST_BYTES) throw new Error(`has ${file.size} bytes, more than ${MOST_BYTES}`);
  const buffer = await file.arrayBuffer();
  if (new Uint8Array(buffer, 0, Math.min(1, buffer.byteLength))[0] === 0x93) return fit(inputs, only(inputs, readNpy(buffer)));
  let told;
  try {
    told = JSON.parse(new TextDecoder().decode(buffer));
  } catch {
    throw new Error("is neither .npy nor JSON");
  }
  const named = told && typeof told === "object" && !Array.isArray(told) && !("data" in told);
  return fit(inputs, named ? Object.fromEntries(inputs.map(({ name }) => [name, nested(told[name])])) : only(inputs, nested(told)));
}

function only(inputs, tensor) {
  if (inputs.length !== 1) throw new Error(`is one tensor, but the model has ${inputs.length} inputs: give JSON, {"NAME": [...], ...}`);
  return { [inputs[0].name]: tensor };
}

/** Nested lists, or {"dims": [...], "data": [...]}. */
function nested(told) {
  if (told === undefined) throw new Error("lacks one of the model's inputs");
  if (!Array.isArray(told) && told?.data) return { dims: told.dims ?? [told.data.length], data: told.data };
  const dims = [];
  for (let list = told; Array.isArray(list); list = list[0]) dims.push(list.length);
  return { dims, data: Array.isArray(told) ? told.flat(dims.length) : [told] };
}

/** Check tensors against the inputs, and convert their values; a leading side of 1 that is missing is added. */
function fit(inputs, tensors) {
  const notes = [];
  const feeds = inputs.map(({ name, dtype, shape }) => {
    let { dims, data } = tensors[name];
    if (!Array.isArray(dims) || !dims.every((side) => Number.isInteger(side) && side >= 0)) throw new Error("has a malformed shape");
    if (dims.length === shape.length - 1) dims = [1, ...dims];
    const fits = dims.length === shape.length && dims.every((side, i) => shape[i] === null || shape[i] === side);
    const wanted = shape.map((side) => side ?? "any").join(" × ");
    if (!fits) throw new Error(`has the shape ${dims.join(" × ")}, but the model takes ${wanted}`);
    if (data.length !== dims.reduce((a, b) => a * b, 1)) throw new Error("has lists of unequal lengths");
    const converted = convert(data, dtype);
    if (ArrayBuffer.isView(data) && converted.constructor !== data.constructor) notes.push(`its values were converted to ${dtype}`);
    return { name, dtype, dims, data: converted };
  });
  return { feeds, note: notes[0] ?? "" };
}

function convert(data, dtype) {
  const kind = arrayOf(dtype);
  if (data.constructor === kind) return data;
  const big = kind === BigInt64Array || kind === BigUint64Array;
  const values = Array.from(data, (value) => {
    if (!["number", "bigint", "boolean"].includes(typeof value) || Number.isNaN(value)) throw new Error("has a value that isn't a number");
    if (big && !Number.isInteger(Number(value))) throw new Error(`has a value that isn't of ${dtype}`);
    return big ? BigInt(value) : Number(value);
  });
  return kind.from(values);
}

function arrayOf(dtype) {
  if (!ARRAYS[dtype]) throw new Error(`the model takes ${dtype}, which this page can't give it`);
  return ARRAYS[dtype];
}

/** Random values for all inputs: standard normal floats, or small integers. The same seed gives the same values. */
export function randomFeeds(inputs, seed) {
  const next = mulberry32(seed);
  return inputs.map(({ name, dtype, shape }) => {
    const dims = shape.map((side) => side ?? 1);
    const count = dims.reduce((a, b) => a * b, 1);
    if (count > MOST_VALUES) throw new Error("the model's input is too large for this page");
    const data = new (arrayOf(dtype))(count);
    const big = typeof data[0] === "bigint";
    for (let i = 0; i < count; i++) {
      if (dtype.startsWith("float")) data[i] = Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
      else data[i] = big ? BigInt(Math.floor(2 * next())) : Math.floor(2 * next());
    }
    return { name, dtype, dims, data };
  });
}

/** Mulberry32: a generator of 32 bits of state, numbers in [0, 1). */
function mulberry32(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
