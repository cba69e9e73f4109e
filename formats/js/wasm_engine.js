/** Decode tensors with the C reader, compiled to WebAssembly. What it leaves out, plain JavaScript decodes. */

import { Input } from "./bytes.js";
import {
  ChecksumError, EngineError, HeaderError, NotAContainerError, PayloadError, ReadFailedError, TruncatedError,
} from "./errors.js";
import { INDICES, SAME, VALUES } from "./header.js";
import { bookValues } from "./places.js";
import { widthOf } from "./types.js";
import { readerOf } from "./wasm_reader.js";

const [UNSUPPORTED, LIMIT] = [2, 6]; // of qac.h
const MANY = 4; // plain JavaScript takes about so many times as long as the C reader for the codec context
/** Errors of qac.h that speak of the file. */
const ERRORS = {
  1: [NotAContainerError, "isn't a .qac container"],
  3: [TruncatedError, "it is cut off; fetch it again"],
  4: [ChecksumError, "a section is damaged; fetch the file again"],
  5: [HeaderError, "its header is malformed; the file is damaged"],
  7: [PayloadError, "a section can't be decoded to what the header says; the file is damaged"],
  11: [ReadFailedError, "its bytes can't be read; fetch it again"],
};

export class WasmEngine {
  name = "wasm";
  #data;
  #tensors;
  #groups; // of indices: the numbers of their tensors
  #plain;
  #zstd;
  #reader;
  #refused = null; // what decoding Zstandard has raised

  #sections;

  /** data: the arriving file; plain: the engine of plain JavaScript, for what the module leaves out. */
  constructor(module, { data, places, zstd, plain, sections }) {
    this.#sections = sections;
    this.#data = data;
    this.#tensors = places.tensors;
    this.#groups = places.members[INDICES];
    this.#plain = plain;
    this.#zstd = zstd;
    this.#reader = readerOf(module);
    this.groupBytes = groupBytesOf(places);
  }

  get received() {
    return this.#data.length;
  }

  /** The bytes of a tensor's values at a level, in memory of their own, or in `into`. */
  values(number, level, into) {
    const tensor = this.#tensors[number];
    if (tensor.kind === SAME) return this.values(tensor.sameAs, level, into);
    if (level > 0 && this.#shares(tensor)) return this.#plain.values(number, level, into);
    const { count, type } = tensor;
    this.#refused = null;
    if (this.#sections.strict) this.#sections.checkArrived(); // the module knows no leaf hashes
    const { error, values } = this.#reader.values(this, number, level, count * widthOf(type));
    if (this.#refused) throw this.#refused;
    if (error === UNSUPPORTED || error === LIMIT) return this.#plain.values(number, level, into);
    if (!error && !into) return values.slice();
    if (!error) {
      into.set(values);
      return into;
    }
    const [Class, message] = ERRORS[error] ?? [EngineError, `the module answered ${error}; use engine "js"`];
    throw new Class(message);
  }

  /** Whether a tensor's refinements are in a group with many others: the C reader decodes it again for each of them. */
  #shares({ group, atOnce }) {
    return group && !atOnce && (this.#groups.get(group - 1)?.length ?? 0) >= MANY;
  }

  /** The bytes of the graph or of the metadata: text, which plain JavaScript decodes as well. */
  blob(kind) {
    return this.#plain.blob(kind);
  }

  /** Called by the module: write bytes of the file; returns 0 if they are there. */
  give(offset, into) {
    if (offset + into.length > this.#data.length) return 1;
    into.set(this.#data.slice(offset, into.length));
    return 0;
  }

  /** Called by the module: decode a Zstandard frame; returns 0 if that worked. */
  unpack(frame, into) {
    try {
      into.set(this.#zstd(new Input(frame), into.length));
      return 0;
    } catch (error) {
      this.#refused = error;
      return 1;
    }
  }
}

/** The bytes of the largest group of values and of the largest group of indices, decoded. */
function groupBytesOf({ tensors, members }) {
  const largest = (kind, bytesOf) => {
    let most = 0;
    for (const numbers of members[kind].values()) {
      most = Math.max(most, numbers.reduce((sum, number) => sum + bytesOf(tensors[number]), 0));
    }
    return most + 64;
  };
  const values = (t) => (t.levels.length ? bookValues(t) : t.count) * widthOf(t.stored);
  return largest(VALUES, values) + largest(INDICES, (t) => 2 * t.count);
}
