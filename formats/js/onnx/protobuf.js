/** Read the fields of a protobuf message, and write messages again. */

import { HeaderError } from "../errors.js";

export const VARINT = 0;
export const FIXED64 = 1;
export const BYTES = 2;
export const FIXED32 = 5;

const damaged = () => new HeaderError("the ONNX graph can't be parsed; the file is damaged");

/** Return the fields of a message in order: { number, wire, value, bytes }; bytes: the whole field, with its tag. */
export function fieldsOf(message) {
  const fields = [];
  for (let at = 0; at < message.length; ) {
    const start = at;
    const tag = varint(message, at);
    at = tag.end;
    const wire = tag.value % 8;
    const number = Math.floor(tag.value / 8);
    let value;
    if (!number || number > 2 ** 29) throw damaged();
    if (wire === VARINT) ({ value, end: at } = varint(message, at));
    else if (wire === FIXED64 || wire === FIXED32) at += wire === FIXED64 ? 8 : 4;
    else if (wire === BYTES) {
      const length = varint(message, at);
      at = length.end + length.value;
      value = message.subarray(length.end, at);
    } else throw damaged();
    if (at > message.length) throw damaged();
    fields.push({ number, wire, value, bytes: message.subarray(start, at) });
  }
  return fields;
}

/** Read a varint; negative numbers, which have 64 bits, become huge ones. */
function varint(message, start) {
  let value = 0;
  let scale = 1;
  for (let at = start; at < start + 10; at++) {
    if (at >= message.length) throw damaged();
    value += (message[at] & 127) * scale;
    if (message[at] < 128) return { value, end: at + 1 };
    scale *= 128;
  }
  throw damaged();
}

/** The numbers of a repeated integer field, packed or not. */
export function integersOf(fields, number) {
  const found = [];
  for (const field of fields) {
    if (field.number !== number) continue;
    if (field.wire === VARINT) found.push(field.value);
    else if (field.wire !== BYTES) throw damaged();
    else for (let at = 0; at < field.value.length; ) {
      const next = varint(field.value, at);
      found.push(next.value);
      at = next.end;
    }
  }
  return found;
}

/** The bytes of a field that occurs once (of several, the last counts), or null. */
export function bytesOf(fields, number) {
  const found = fields.findLast((field) => field.number === number);
  if (found && found.wire !== BYTES) throw damaged();
  return found ? found.value : null;
}

export function stringOf(fields, number) {
  const bytes = bytesOf(fields, number);
  return bytes ? new TextDecoder().decode(bytes) : "";
}

/** The bytes of an unsigned integer, or of a BigInt taken modulo 2^64. */
export function varintBytes(value) {
  const bytes = [];
  if (typeof value === "bigint") {
    let left = BigInt.asUintN(64, value);
    for (; left > 127n; left >>= 7n) bytes.push(Number(left & 127n) | 128);
    bytes.push(Number(left));
    return bytes;
  }
  let left = value;
  for (; left > 127; left = Math.floor(left / 128)) bytes.push((left % 128) | 128);
  bytes.push(left);
  return bytes;
}

/** Pieces of a message that is being written: whole fields, joined once at the end. */
export class Message {
  constructor() {
    this.pieces = [];
    this.length = 0;
  }

  raw(bytes) {
    this.pieces.push(bytes);
    this.length += bytes.length;
    return this;
  }

  integer(number, value) {
    return this.raw(Uint8Array.from([...varintBytes(number * 8 + VARINT), ...varintBytes(value)]));
  }

  /** Write a field of bytes: an array of them, or another message. */
  bytes(number, value) {
    this.raw(Uint8Array.from([...varintBytes(number * 8 + BYTES), ...varintBytes(value.length)]));
    if (!(value instanceof Message)) return this.raw(value);
    for (const piece of value.pieces) this.raw(piece);
    return this;
  }

  join() {
    const out = new Uint8Array(this.length);
    let at = 0;
    for (const piece of this.pieces) {
      out.set(piece, at);
      at += piece.length;
    }
    return out;
  }
}
