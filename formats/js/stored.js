/**
 * How many stored bytes each tensor has, as far as the header tells. The bytes of a section of values are divided among
 * its tensors by their numbers of values. Those of a section of indices could be divided by entropies only, which take
 * decoded indices; so its tensors are a group, which has its bytes together.
 */

import { indexStream } from "./codecs/stream.js";
import { INDICES, META, SHARED, VALUES } from "./header.js";
import { bookValues, storedLevels } from "./places.js";

const [RAW, BITPACK, GRIDS] = [0, 1, 10]; // ids of codecs

/**
 * Return { bytes, groups }: the bytes of each tensor, null for one of a group and 0 for one with the content of another;
 * and for each group the numbers of its tensors, and the bytes that they have together.
 */
export function storedBytes(places) {
  const bytes = places.tensors.map(() => 0);
  const found = new Map(); // group of indices -> bytes of sections that aren't divided
  const together = new Set(); // tensors of such sections
  for (const section of places.sections) {
    if (section.kind <= META) continue;
    const numbers = tensorsOf(section, places);
    const parts = divided(section, numbers, places.tensors);
    numbers.forEach((number, i) => (parts ? (bytes[number] += parts[i]) : together.add(number)));
    if (!parts) found.set(section.owner, (found.get(section.owner) ?? 0) + section.bytes);
  }
  const groups = [...found].map(([owner, shared]) => {
    const numbers = places.members[INDICES].get(owner).filter((number) => together.has(number));
    return { numbers, bytes: numbers.reduce((sum, number) => sum + bytes[number], shared) };
  });
  for (const number of together) bytes[number] = null;
  return { bytes, groups };
}

function tensorsOf(section, { tensors, members }) {
  if (section.kind !== VALUES && section.kind !== INDICES) return [section.owner]; // a chunk is of one tensor
  const all = members[section.kind].get(section.owner) ?? [];
  return section.kind === VALUES ? all : all.filter((number) => storedLevels(tensors[number]) > section.level);
}

/** Return the bytes of each of a section's tensors, together all; null if the header doesn't tell. */
function divided(section, numbers, tensors) {
  if (numbers.length === 1) return [section.bytes];
  if (section.kind === INDICES && section.codec !== RAW && section.codec !== BITPACK) return null;
  let shares = numbers.map((number) => BigInt(shareOf(section, tensors[number])));
  if (!shares.some((share) => share)) shares = shares.map(() => 1n);
  const total = shares.reduce((sum, share) => sum + share, 0n);
  let done = 0n;
  let before = 0;
  return shares.map((share) => {
    done += share;
    const after = Number((2n * BigInt(section.bytes) * done + total) / (2n * total)); // rounded, so that no byte is lost
    const part = after - before;
    before = after;
    return part;
  });
}

/** In what proportion a section's bytes belong to a tensor: a grid takes a scale and a zero point, however long it is. */
function shareOf({ kind, codec, level }, tensor) {
  if (kind === VALUES && tensor.kind !== SHARED) return tensor.count;
  if (kind === VALUES) return codec === GRIDS && tensor.blocks ? tensor.books : bookValues(tensor);
  const { count, alphabet } = indexStream(tensor, level, 0, tensor.count);
  if (codec === RAW) return count * (alphabet <= 256 ? 1 : 2);
  return Math.ceil((count * (32 - Math.clz32(alphabet - 1))) / 8);
}
