/** Decode groups of small tensors, and keep those that were decoded last. */

import { indexStream } from "./codecs/stream.js";
import { INDICES, SHARED, VALUES } from "./header.js";
import { join } from "./levels.js";
import { MAX_CACHED_BYTES } from "./limits.js";
import { storedLevels } from "./places.js";
import { widthOf } from "./types.js";

export class Groups {
  constructor(sections, places) {
    this.sections = sections;
    this.places = places;
    this.kept = new Map(); // section -> what it decodes to, the one used last at the end
    this.bytes = 0;
  }

  /** The stored bytes of a dense tensor, or of a shared one's codebook of a level. */
  values(group, number, level) {
    const members = this.places.members[VALUES].get(group);
    const type = this.places.tensors[number].stored;
    const streams = [];
    const owners = [];
    for (const member of members) {
      const tensor = this.places.tensors[member];
      if (tensor.kind === SHARED) {
        tensor.levels.forEach((k, place) => {
          streams.push({ count: tensor.books * k, start: 0, k: tensor.blocks ? k : 0 });
          owners.push(member === number && place === level);
        });
      } else {
        streams.push({ count: tensor.count, start: 0, k: 0 });
        owners.push(member === number);
      }
    }
    const section = this.places.find(VALUES, 0, group);
    const bytes = this.#keep(section, () => this.sections.values(section, streams, type), (found) => found.length);
    const position = owners.indexOf(true);
    const start = streams.slice(0, position).reduce((sum, s) => sum + s.count, 0) * widthOf(type);
    return bytes.subarray(start, start + streams[position].count * widthOf(type));
  }

  /** The indices of a tensor at a level, or at its finest level if that is coarser. */
  indices(number, top) {
    const tensor = this.places.tensors[number];
    const group = tensor.group - 1;
    const members = this.places.members[INDICES].get(group);
    let parts = [];
    for (let level = 0; level <= Math.min(top, storedLevels(tensor) - 1); level++) {
      const section = this.places.find(INDICES, level, group);
      const above = parts;
      const size = (found) => found.reduce((sum, part) => sum + part.byteLength, 0);
      parts = this.#keep(section, () => this.#level(section, members, level, above), size);
    }
    return parts[members.indexOf(number)];
  }

  /** Decode one level of a group; the tensors that don't have it keep their indices of the level above. */
  #level(section, members, level, above) {
    const { tensors } = this.places;
    const here = members.map((member, i) => ({ tensor: tensors[member], i })).filter(({ tensor }) => storedLevels(tensor) > level);
    const streams = here.map(({ tensor, i }) => indexStream(tensor, level, 0, tensor.count, level ? above[i] : null));
    const parts = above.slice();
    this.sections.indices(section, streams).forEach((part, i) => (parts[here[i].i] = join(part, streams[i])));
    return parts;
  }

  #keep(section, decode, sizeOf) {
    let found = this.kept.get(section);
    if (found) this.kept.delete(section);
    else {
      found = { value: decode(), bytes: 0 };
      found.bytes = sizeOf(found.value);
      this.bytes += found.bytes;
    }
    this.kept.set(section, found);
    for (const [oldest, { bytes }] of this.kept) {
      if (this.bytes <= MAX_CACHED_BYTES || oldest === section) break;
      this.kept.delete(oldest);
      this.bytes -= bytes;
    }
    return found.value;
  }
}
