/** How many stored bytes each tensor has: a section's bytes are divided in proportion to its tensors' numbers of values. */

import { INDICES, META, SHARED, VALUES } from "./header.js";
import { bookValues, storedLevels } from "./places.js";

/** Return the bytes of each tensor, not rounded; 0 for one with the content of another. */
export function storedBytes(places) {
  const { tensors, sections, members } = places;
  const bytes = new Float64Array(tensors.length);
  for (const section of sections) {
    if (section.kind <= META) continue;
    if (section.kind !== VALUES && section.kind !== INDICES) {
      bytes[section.owner] += section.bytes; // a chunk is of one tensor
      continue;
    }
    const owners = members[section.kind].get(section.owner) ?? [];
    const here = section.kind === VALUES ? owners : owners.filter((number) => storedLevels(tensors[number]) > section.level);
    const counts = here.map((number) => valuesIn(section, tensors[number]));
    const total = Math.max(1, counts.reduce((a, b) => a + b, 0));
    here.forEach((number, i) => (bytes[number] += (section.bytes * counts[i]) / total));
  }
  return bytes;
}

function valuesIn(section, tensor) {
  return section.kind === VALUES && tensor.kind === SHARED ? bookValues(tensor) : tensor.count;
}
