/** What a section holds: which part of which tensor each of its streams is. */

import { indexStream } from "../codecs/stream.js";
import { INDEX_CHUNK, INDICES, META, SHARED, VALUES } from "../header.js";
import { bookValues, storedLevels } from "../places.js";

/**
 * A stream of a section.
 * @typedef {object} Part
 * @property {object} tensor the record of its tensor
 * @property {number} number of the tensor
 * @property {number} level of its indices or of its codebook; -1 for the values of a dense tensor
 * @property {number} target the level whose codebook its indices refer to
 * @property {number} start of its values among those of the tensor at that level
 * @property {number} stop
 * @property {object | null} stream of indices; null for values
 */

/** Return the streams of a section that aren't empty, in order; none for graph and metadata. */
export function partsOf(section, places) {
  return listed(section, places).filter((part) => part.stop > part.start);
}

function listed({ kind, level, owner, chunk }, places) {
  const { tensors } = places;
  if (kind <= META) return [];
  if (kind === INDICES) {
    const members = (places.members[INDICES].get(owner) ?? []).filter((number) => storedLevels(tensors[number]) > level);
    return members.map((number) => ofIndices(tensors[number], number, level, 0, tensors[number].count));
  }
  if (kind === VALUES) {
    return (places.members[VALUES].get(owner) ?? []).flatMap((number) => {
      const tensor = tensors[number];
      if (tensor.kind !== SHARED) return [ofValues(tensor, number, -1, 0, tensor.count)];
      return tensor.levels.map((k, book) => ofValues(tensor, number, book, 0, tensor.books * k));
    });
  }
  const tensor = tensors[owner];
  const total = kind === INDEX_CHUNK || tensor.kind !== SHARED ? tensor.count : bookValues(tensor);
  const start = chunk * places.chunk;
  const stop = Math.min(start + places.chunk, total);
  if (kind === INDEX_CHUNK) return [ofIndices(tensor, owner, level, start, stop)];
  return [ofValues(tensor, owner, tensor.kind === SHARED ? 0 : -1, start, stop)];
}

function ofIndices(tensor, number, level, start, stop) {
  const target = tensor.atOnce ? tensor.levels.length - 1 : level;
  return { tensor, number, level, target, start, stop, stream: indexStream(tensor, level, start, stop) };
}

function ofValues(tensor, number, level, start, stop) {
  return { tensor, number, level, target: level, start, stop, stream: null };
}
