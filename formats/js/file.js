/** An open container: what its header says, and its tensors, graph and metadata, as far as its bytes have arrived. */

import { ArgumentError, NoGraphError, QacError, shown, TensorNotFoundError, TruncatedError } from "./errors.js";
import { GRAPH, META, SAME, SHARED } from "./header.js";
import { rootOf } from "./merkle.js";
import { readMetadata } from "./metadata.js";
import { modelOf } from "./onnx/model.js";
import { storedBytes } from "./stored.js";
import { isArrayOf, isKnown, NAMES, typed, widthOf } from "./types.js";

export class QacFile {
  #data;
  #sections;
  #engine;
  #infos;
  #groups;
  #numbers;
  #metadata = null;
  #head;

  /** engine: has values(number, level, into), the bytes of a tensor, and blob(kind). */
  constructor({ name, data, prefix, header, sections, head, engine }) {
    this.name = name;
    this.version = prefix.version;
    this.size = prefix.size;
    this.levels = sections.levels;
    this.engine = engine.name;
    this.#data = data;
    this.#head = head;
    this.#sections = sections;
    this.#engine = engine;
    const stored = storedBytes(sections.places);
    this.#infos = header.tensors.map((tensor, number) => infoOf(tensor, header.tensors, stored.bytes[number]));
    this.#groups = stored.groups.map(({ numbers, bytes }) => {
      return Object.freeze({ names: Object.freeze(numbers.map((number) => header.tensors[number].name)), storedBytes: bytes });
    });
    this.#numbers = new Map(this.#infos.map((info, number) => [info.name, number]));
  }

  /** What the header says of each tensor, in order. */
  get tensors() {
    return this.#infos.slice();
  }

  /** The tensors whose indices are coded together, so that the header tells only the bytes of all of them. */
  get groups() {
    return this.#groups.slice();
  }

  get names() {
    return this.#infos.map((info) => info.name);
  }

  /** Bytes that have arrived. */
  get received() {
    return this.#data.length;
  }

  /** The finest level that has arrived completely; -1 before the first one has. */
  get level() {
    return this.#sections.completeLevels() - 1;
  }

  /** The hash that binds all bytes of the file, in hex. The whole file must be there, or leaf hashes in its header. */
  get root() {
    return this.#read("", () => rootOf([this.#head, ...this.#sections.leaves()]));
  }

  /** Bytes from the start of the file to the end of a level: what must arrive to read it. */
  bytesUpTo(level) {
    return this.#sections.bytesUpTo(this.#known(level));
  }

  /** Wait until a level (the finest by default) has arrived; resolves to the file. */
  async ready(level = this.levels - 1) {
    const end = this.bytesUpTo(level);
    await this.#naming("", () => this.#data.reach(end));
    if (this.received < end) throw this.#cut(`level ${level} needs ${end} bytes`);
    return this;
  }

  /** What the header says of one tensor. */
  info(name) {
    return this.#infos[this.#number(name)];
  }

  /**
   * Decode a tensor. level: 0 is the coarsest; without it the finest level that has arrived; into: an array of the type
   * and the length of its values, which gets them, so that no new memory is taken. It is undefined after an error.
   */
  tensor(name, { level, into } = {}) {
    const number = this.#number(name);
    const top = this.#arrived(level);
    const { dtype, shape, type, count } = this.#infos[number];
    if (into !== undefined && !(isKnown(type) && isArrayOf(type, into) && into.length === count)) {
      throw new ArgumentError(`${this.name}: into must be an array of the type ${dtype} and of ${count} values`);
    }
    const given = into && new Uint8Array(into.buffer, into.byteOffset, into.byteLength);
    const bytes = this.#read(`tensor ${shown(name)}`, () => this.#engine.values(number, top, given));
    return { name, dtype, shape: shape.slice(), level: top, data: into ?? typed(type, bytes, true) };
  }

  /** The bytes of the graph, without the tensors that the file holds; null if there is none. */
  graph() {
    return this.#read("the graph", () => this.#engine.blob(GRAPH));
  }

  /** The metadata, an object. */
  get metadata() {
    return structuredClone(this.#meta().value);
  }

  /** The dense ONNX model with the tensors of a level, as `qacomp decode` writes it. */
  onnx({ level } = {}) {
    const top = this.#arrived(level);
    const graph = this.graph();
    if (!graph) throw new NoGraphError(`${this.name}: has tensors, but no graph; read them with tensor()`);
    const { value, bytes } = this.#meta();
    const model = { graph, meta: value, metaBytes: bytes, levels: this.levels, level: top, file: this };
    return this.#read("the graph", () => modelOf(model));
  }

  /** Check the checksums of all sections; raises ChecksumError. The whole file must be there. */
  check() {
    if (this.received < this.size) throw this.#cut("to check it");
    this.#read("", () => this.#sections.check());
    return this;
  }

  #meta() {
    if (!this.#metadata) {
      const bytes = this.#read("the metadata", () => this.#engine.blob(META));
      this.#metadata = { bytes, value: this.#read("", () => readMetadata(bytes)) };
    }
    return this.#metadata;
  }

  #number(name) {
    const number = this.#numbers.get(name);
    if (number === undefined) throw new TensorNotFoundError(`${this.name}: no tensor ${shown(String(name))}; see names`);
    return number;
  }

  #known(level) {
    if (Number.isInteger(level) && level >= 0 && level < this.levels) return level;
    throw new ArgumentError(`${this.name}: no level ${level}; it has 0 to ${this.levels - 1}`);
  }

  /** Return the level to read, or raise TruncatedError if it isn't there yet. */
  #arrived(level) {
    const top = level === undefined ? Math.max(this.level, 0) : this.#known(level);
    if (top > this.level) throw this.#cut(`level ${top} isn't complete`);
    return top;
  }

  #cut(why) {
    return new TruncatedError(`${this.name}: ${this.received} of ${this.size} bytes have arrived, ${why}; wait for ready()`);
  }

  #read(what, read) {
    try {
      return read();
    } catch (error) {
      throw this.#named(error, what);
    }
  }

  async #naming(what, wait) {
    try {
      return await wait();
    } catch (error) {
      throw this.#named(error, what);
    }
  }

  #named(error, what) {
    if (!(error instanceof QacError) || error.message.startsWith(`${this.name}: `)) return error;
    return new error.constructor(`${this.name}: ${what ? `${what}: ` : ""}${error.message}`);
  }
}

function infoOf(tensor, tensors, storedBytes) {
  const content = tensor.kind === SAME ? tensors[tensor.sameAs] : tensor;
  const shared = content.kind === SHARED;
  return Object.freeze({
    name: tensor.name,
    dtype: NAMES[tensor.type] ?? `unknown-${tensor.type}`,
    type: tensor.type,
    shape: Object.freeze(tensor.shape.slice()),
    count: tensor.count,
    bytes: tensor.count * widthOf(tensor.type),
    storedBytes,
    kind: shared ? "shared" : "dense",
    levels: Object.freeze(shared ? content.levels.slice() : []),
    blocks: shared && content.blocks ? Object.freeze(content.blocks.slice()) : null,
    sameAs: tensor.kind === SAME ? content.name : null,
  });
}
