/** Fill a TensorProto of ONNX with values. */

import { HeaderError, shown } from "../errors.js";
import { bytesOf, integersOf, Message, stringOf, varintBytes } from "./protobuf.js";

export const EXTERNAL = 13;
const LOCATION = 14;
const DIMS = 1;
const TYPE = 2;
const NAME = 8;
const RAW = 9;
/** Fields that hold values, by their names. */
const FIELDS = {
  float_data: 4, int32_data: 5, string_data: 6, int64_data: 7, raw_data: RAW, double_data: 10, uint64_data: 11,
};
/** Element types of ONNX that a container has, by their numbers. */
const TYPES = {
  1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
  11: "float64", 12: "uint32", 13: "uint64", 16: "bfloat16",
};

export const nameOf = (fields) => stringOf(fields, NAME);
export const dimsOf = (fields) => integersOf(fields, DIMS);

/** Whether a tensor has no values. */
export function isEmpty(fields) {
  const data = Object.values(FIELDS);
  return !fields.some(({ number, value, wire }) => data.includes(number) && (wire !== 2 || value.length || number === 6));
}

/** Whether a tensor's values are elsewhere. */
export function isExternal(fields) {
  const location = integersOf(fields, LOCATION).at(-1);
  return location === 1 || fields.some(({ number }) => number === EXTERNAL);
}

/** Return the tensor as a message with the values of `array`, a tensor of the container, in a field. */
export function filled(fields, array, field = "raw_data", spelled = false) {
  const number = FIELDS[field];
  if (number === undefined || number === FIELDS.string_data) throw new HeaderError("a tensor of the graph has no field");
  check(fields, array);
  const out = new Message();
  let pending = fieldBytes(number, array);
  for (const old of fields) {
    if (old.number === EXTERNAL || old.number === LOCATION || Object.values(FIELDS).includes(old.number)) continue;
    if (pending && old.number > number) {
      pending(out);
      pending = null;
    }
    if (spelled && old.number > LOCATION) {
      out.integer(LOCATION, 0);
      spelled = false;
    }
    out.raw(old.bytes);
  }
  pending?.(out);
  if (spelled) out.integer(LOCATION, 0);
  return out;
}

function check(fields, { name, dtype, shape }) {
  const type = integersOf(fields, TYPE).at(-1) ?? 0;
  const wanted = TYPES[type];
  const dims = dimsOf(fields);
  const bytesOnly = wanted === undefined && type !== 0; // a type that the container lacks is stored as bytes
  const fits = bytesOnly ? dtype === "uint8" && shape.length === 1 : dtype === wanted && shape.join() === dims.join();
  if (fits) return;
  throw new HeaderError(
    `tensor ${shown(name)} is ${dtype}[${shape}], but the graph declares ${wanted}[${dims}]; the file is damaged`,
  );
}

/** Return a function that writes the field with the values, as protobuf packs them. */
function fieldBytes(number, { data }) {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  if (number === RAW) return (out) => out.bytes(RAW, bytes);
  if (!data.length) return () => {};
  if (number === FIELDS.float_data || number === FIELDS.double_data) return (out) => out.bytes(number, bytes);
  const packed = [];
  for (const value of data) packed.push(...varintBytes(value < 0 ? BigInt(value) : value));
  return (out) => out.bytes(number, Uint8Array.from(packed));
}

/** The entries of a tensor's external_data, a Map. */
export function entriesOf(fields, fieldsOf) {
  const entries = new Map();
  for (const { number, value } of fields) {
    if (number !== EXTERNAL) continue;
    const entry = fieldsOf(value);
    entries.set(stringOf(entry, 1), stringOf(entry, 2));
  }
  return entries;
}

export { bytesOf };
