/** The header: records of all tensors and sections, stored as columns (SPEC.md, section 3). */

import { load32 } from "./bytes.js";
import { HeaderError, LimitExceededError, shown } from "./errors.js";
import * as limits from "./limits.js";
import { HASH_BYTES } from "./merkle.js";
import { AT_ONCE, IN_BLOCKS, LEAVES } from "./prefix.js";
import { checkTensor } from "./tensor_check.js";
import { isKnown, NAMES } from "./types.js";

export const DENSE = 0;
export const SHARED = 1;
export const SAME = 2;

export const GRAPH = 0;
export const META = 1;
export const VALUES = 2;
export const INDICES = 3;
export const VALUE_CHUNK = 4;
export const INDEX_CHUNK = 5;

/** Read the decoded header. newer: the file's minor version is newer, so types may be unknown. */
export function readHeader(input, flags, newer) {
  const length = input.rest;
  const tensorCount = input.uint(Math.min(limits.MAX_TENSORS, length));
  const sectionCount = input.uint(Math.min(limits.MAX_SECTIONS, length));
  const digestBytes = input.uint(limits.MAX_DIGEST_BYTES);
  const chunkLog2 = input.uint(limits.MAX_CHUNK_LOG2);
  const tensors = readNames(input, tensorCount).map((name) => ({
    name, kind: DENSE, type: 0, stored: 0, shape: [], count: 0, group: 0, bookGroup: 0, levels: [], children: [],
    blocks: null, atOnce: false, sameAs: -1, digest: new Uint8Array(0),
  }));
  readTensorColumns(input, tensors, sectionCount, flags, newer);
  const sections = readSectionColumns(input, sectionCount, Math.max(tensorCount, sectionCount));
  if (flags & LEAVES) for (const section of sections) section.leaf = input.take(HASH_BYTES).slice();
  tensors.forEach((tensor, number) => {
    if (tensor.kind === SAME) resolve(tensors, number);
    else tensor.digest = input.take(digestBytes).slice();
    checkTensor(tensor);
  });
  input.end();
  return { tensors, sections, chunkLog2 };
}

function column(input, records, limit, set) {
  for (const record of records) set(record, input.uint(limit));
}

function sizes(input, count, limit) {
  if (count > input.rest) input.fail("it ends too early"); // each takes a byte or more
  return Array.from({ length: count }, () => input.uint(limit));
}

function readNames(input, count) {
  const common = sizes(input, count, limits.MAX_NAME_BYTES);
  const rests = sizes(input, count, limits.MAX_NAME_BYTES);
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let total = 0;
  let before = new Uint8Array(0);
  const names = common.map((start, i) => {
    const length = start + rests[i];
    if (start > before.length || length > limits.MAX_NAME_BYTES) input.fail("a tensor's name is too long");
    total += length;
    if (total > limits.MAX_HEADER_BYTES) throw new LimitExceededError("the tensors' names take too much memory");
    const name = new Uint8Array(length);
    name.set(before.subarray(0, start));
    name.set(input.take(rests[i]), start);
    before = name;
    try {
      return decoder.decode(name);
    } catch {
      return input.fail("a tensor's name isn't UTF-8");
    }
  });
  if (new Set(names).size < count) input.fail("two tensors have the same name");
  return names;
}

function readTensorColumns(input, tensors, sectionCount, flags, newer) {
  column(input, tensors, (SAME << 4) | 15, (t, number) => {
    t.kind = number >> 4;
    t.type = number & 15;
  });
  column(input, tensors, 15, (t, type) => (t.stored = type));
  if (!newer && !tensors.every((t) => isKnown(t.type) && isKnown(t.stored))) {
    input.fail(`its version has element types up to ${NAMES.length - 1} only`);
  }
  column(input, tensors, limits.MAX_DIMS, (t, dims) => (t.shape = dims));
  for (const t of tensors) t.shape = sizes(input, t.shape, limits.MAX_AXIS);
  const content = tensors.filter((t) => t.kind !== SAME);
  const shared = tensors.filter((t) => t.kind === SHARED);
  column(input, content, sectionCount, (t, group) => (t.group = group));
  column(input, shared, sectionCount, (t, group) => (t.bookGroup = group));
  column(input, shared, limits.MAX_LEVELS, (t, count) => (t.levels = count));
  for (const t of shared) t.levels = sizes(input, t.levels, limits.MAX_ALPHABET);
  for (const t of shared) t.children = t.levels.slice(0, -1).map((size) => sizes(input, size, limits.MAX_ALPHABET));
  if (flags & IN_BLOCKS) {
    column(input, shared, 1, (t, inBlocks) => (t.blocks = inBlocks ? [] : null));
    for (const t of shared) if (t.blocks) t.blocks = sizes(input, t.shape.length, limits.MAX_AXIS);
  }
  if (flags & AT_ONCE) {
    column(input, shared.filter((t) => t.levels.length > 1), 1, (t, atOnce) => (t.atOnce = atOnce === 1));
  }
  column(input, tensors.filter((t) => t.kind === SAME), tensors.length, (t, other) => (t.sameAs = other));
}

function readSectionColumns(input, count, most) {
  const sections = sizes(input, count, INDEX_CHUNK).map((kind) => ({
    kind, codec: 0, level: 0, owner: 0, bytes: 0, decoded: 0, crc: 0, leaf: null, offset: 0, chunk: 0, checked: false,
  }));
  column(input, sections, 255, (s, codec) => (s.codec = codec));
  column(input, sections, limits.MAX_LEVELS - 1, (s, level) => (s.level = level));
  column(input, sections, most, (s, owner) => (s.owner = owner));
  column(input, sections, Number.MAX_SAFE_INTEGER, (s, bytes) => (s.bytes = bytes));
  column(input, sections.filter((s) => s.kind <= META), limits.MAX_BLOB_BYTES, (s, bytes) => (s.decoded = bytes));
  const crcs = input.take(4 * count);
  sections.forEach((s, i) => (s.crc = load32(crcs, 4 * i)));
  return sections;
}

/** Give a tensor that repeats another the content of that one. */
function resolve(tensors, number) {
  const tensor = tensors[number];
  const other = tensors[tensor.sameAs];
  if (tensor.sameAs >= number || other.kind === SAME) {
    throw new HeaderError(`tensor ${shown(tensor.name)} repeats one that doesn't come before it; the file is damaged`);
  }
  const equal = other.type === tensor.type && other.stored === tensor.stored;
  if (!equal || other.shape.join() !== tensor.shape.join()) {
    throw new HeaderError(`tensor ${shown(tensor.name)} differs from the one that it repeats; the file is damaged`);
  }
  tensor.levels = other.levels;
  tensor.digest = other.digest;
}
