/** Where the sections are, and whether the file has exactly those that its tensors need (SPEC.md, sections 4 and 5). */

import { HeaderError, LimitExceededError } from "./errors.js";
import { DENSE, GRAPH, INDEX_CHUNK, INDICES, META, SAME, SHARED, VALUE_CHUNK, VALUES } from "./header.js";
import { ALIGNED_FROM, ALIGNMENT, DECODED_FLOOR, EXPANSION, MAX_GROUP_TENSORS } from "./limits.js";
import { widthOf } from "./types.js";

const RAW = 0;
const damaged = (why) => new HeaderError(`${why}; the file is damaged`);

/** How many levels of a tensor have sections. */
export function storedLevels(tensor) {
  return tensor.kind === SHARED && !tensor.atOnce ? tensor.levels.length : 1;
}

/** The values of all codebooks of all levels of a shared tensor. */
export function bookValues(tensor) {
  return tensor.books * tensor.levels.reduce((a, b) => a + b, 0);
}

/** The places of all sections of a file, by kind, level and owner. */
export class Places {
  constructor(header, start, fileBytes) {
    this.tensors = header.tensors;
    this.sections = header.sections;
    this.chunk = 2 ** header.chunkLog2;
    this.byKey = new Map();
    this.members = { [VALUES]: new Map(), [INDICES]: new Map() }; // group -> numbers of its tensors
    this.wanted = 0;
    this.seen = new Set(); // group sections that some tensor needs
    this.#place(start, fileBytes);
    let decoded = 0;
    this.tensors.forEach((tensor, number) => {
      decoded += tensor.count * widthOf(tensor.type);
      if (tensor.kind === SHARED) decoded += bookValues(tensor) * widthOf(tensor.type);
      if (tensor.kind !== SAME) this.#want(tensor, number);
    });
    if (this.wanted !== this.sections.length) throw damaged("it has a section that no tensor needs");
    if (decoded > Math.max(DECODED_FLOOR, fileBytes * EXPANSION)) {
      throw new LimitExceededError(`its tensors would grow to ${decoded} bytes; the file is hostile`);
    }
  }

  /** Return the section of a kind, level and owner; chunk: its number among them. */
  find(kind, level, owner, chunk = 0) {
    return this.byKey.get(key(kind, level, owner))[chunk];
  }

  /** Set the sections' offsets, and check their order. */
  #place(start, fileBytes) {
    let at = start;
    this.sections.forEach((s, i) => {
      const aligned = (s.kind === VALUES || s.kind === VALUE_CHUNK) && s.codec === RAW && s.bytes >= ALIGNED_FROM;
      if (aligned) at = Math.ceil(at / ALIGNMENT) * ALIGNMENT;
      if (s.bytes > fileBytes - at) throw damaged("its sections are longer than the file");
      s.offset = at;
      at += s.bytes;
      if (i && s.level < this.sections[i - 1].level) throw damaged("its sections aren't sorted by level");
      const place = key(s.kind, s.level, s.owner);
      if (!this.byKey.has(place)) this.byKey.set(place, []);
      s.chunk = this.byKey.get(place).push(s) - 1;
      if (s.kind > META) return;
      const first = i === 0 || (i === 1 && this.sections[0].kind === GRAPH && s.kind === META);
      if (s.level || s.owner || !first) throw damaged("its graph or metadata stands at a wrong place");
      this.wanted += 1;
    });
    if (at !== fileBytes) throw damaged("it doesn't end with its last section");
  }

  #want(tensor, number) {
    if (tensor.kind === SHARED) {
      if (tensor.bookGroup) this.#wantGroup(VALUES, 0, tensor.bookGroup - 1, number);
      else this.#wantChunks(VALUE_CHUNK, 0, number, bookValues(tensor));
    }
    const [grouped, chunked] = tensor.kind === DENSE ? [VALUES, VALUE_CHUNK] : [INDICES, INDEX_CHUNK];
    for (let level = 0; level < storedLevels(tensor); level++) {
      if (tensor.group) this.#wantGroup(grouped, level, tensor.group - 1, number);
      else this.#wantChunks(chunked, level, number, tensor.count);
    }
  }

  #wantGroup(kind, level, group, number) {
    const found = this.byKey.get(key(kind, level, group));
    if (found?.length !== 1) throw damaged("a group of tensors has no section, or several");
    if (!this.seen.has(found[0])) {
      this.seen.add(found[0]);
      this.wanted += 1;
    }
    if (level) return;
    if (!this.members[kind].has(group)) this.members[kind].set(group, []);
    const members = this.members[kind].get(group);
    if (members.at(-1) !== number) members.push(number);
    if (kind === VALUES && this.tensors[members[0]].stored !== this.tensors[number].stored) {
      throw damaged("a group of values has several element types");
    }
    if (kind === INDICES && members.length > MAX_GROUP_TENSORS) {
      throw new LimitExceededError(`a group has over ${MAX_GROUP_TENSORS} tensors; the file is hostile`);
    }
  }

  #wantChunks(kind, level, number, values) {
    const count = this.byKey.get(key(kind, level, number))?.length ?? 0;
    if (count !== Math.ceil(values / this.chunk)) throw damaged("a tensor has too many chunks, or too few");
    this.wanted += count;
  }
}

function key(kind, level, owner) {
  return (kind * 16 + level) * 2 ** 22 + owner; // exact: owners are below 2^22
}
