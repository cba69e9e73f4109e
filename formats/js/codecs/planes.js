/** The codec planes: values as planes of bytes, the highest bytes first. */

import { flatStream } from "./stream.js";
import { readRans } from "./rans.js";

/** An unsigned array of words of 1, 2, 4 or 8 bytes over the same memory, which begins at an array's start. */
export function wordsOf(bytes, width) {
  const Words = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array }[width];
  return new Words(bytes.buffer, bytes.byteOffset, bytes.length / width);
}

/** Decode `total` words of `width` bytes; rotated: they are floats, whose sign stands lowest. Returns bytes. */
export function readPlanes(input, total, width, rotated, options) {
  const bytes = new Uint8Array(total * width);
  for (let position = width - 1; position >= 0; position--) {
    const plane = readPlane(input, total, options);
    for (let i = 0, at = position; i < total; i++, at += width) bytes[at] = plane[i];
  }
  input.end();
  if (rotated) rotate(bytes, width);
  return bytes;
}

function readPlane(input, total, options) {
  const form = input.uint(2);
  if (form === 0) return input.take(total);
  const part = input.sized();
  return form === 1 ? readRans(part, [flatStream(total, 256)])[0] : options.zstd(part, total);
}

/** The planes of words, the highest bytes first: the inverse of readPlanes. */
export function splitPlanes(bytes, width, rotated) {
  const turned = bytes.slice();
  if (rotated) rotateBack(turned, width);
  const planes = [];
  for (let position = width - 1; position >= 0; position--) {
    const plane = new Uint8Array(bytes.length / width);
    for (let i = 0, at = position; i < plane.length; i++, at += width) plane[i] = turned[at];
    planes.push(plane);
  }
  return planes;
}

function rotateBack(bytes, width) {
  const words = wordsOf(bytes, width);
  if (width === 8) {
    for (let i = 0; i < words.length; i++) words[i] = (words[i] << 1n) | (words[i] >> 63n);
    return;
  }
  const top = 8 * width - 1;
  for (let i = 0; i < words.length; i++) words[i] = (words[i] << 1) | (words[i] >>> top);
}

function rotate(bytes, width) {
  const words = wordsOf(bytes, width);
  if (width === 8) {
    for (let i = 0; i < words.length; i++) words[i] = (words[i] >> 1n) | ((words[i] & 1n) << 63n);
    return;
  }
  const top = 8 * width - 1;
  for (let i = 0; i < words.length; i++) words[i] = (words[i] >>> 1) | ((words[i] & 1) << top);
}
