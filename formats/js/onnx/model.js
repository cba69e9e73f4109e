/** Make the dense ONNX model of a container: its graph with its tensors, byte for byte what `qacomp decode` writes. */

import { HeaderError, LimitExceededError, NoGraphError, shown } from "../errors.js";
import { membersOf, textOf } from "../metadata.js";
import { fieldsOf, Message } from "./protobuf.js";
import { pythonJson } from "./python_json.js";
import { dimsOf, entriesOf, filled, isEmpty, isExternal, nameOf } from "./tensor.js";
import { rewrite } from "./walk.js";

const LARGEST = 2 ** 31 - 1; // bytes of a protobuf message
const METADATA_PROPS = 14; // a field of ModelProto
const GRAPH = 7;
const OUTPUT = 12; // a field of GraphProto
const REFERENCE = "qacomp"; // the key under which a tensor of the graph names one of the container
const FED = ["data", "input_shape", "num_classes", "preprocessing"]; // of the metadata: how to prepare inputs

/** Return the model's bytes. source: { graph, meta, metaBytes, levels, level, file }; file.tensor reads a tensor. */
export function modelOf(source) {
  const model = source.meta.graph === "original" ? originalOf(source) : networkOf(source);
  if (model.length > LARGEST) {
    throw new LimitExceededError("the model would be above the 2 GiB of an ONNX file; use `qacomp decode`");
  }
  return model.join();
}

/** The original model: each tensor that was taken out is a reference to one of the container. */
function originalOf({ graph, level, file }) {
  const seen = new Set();
  return rewrite(graph, (fields) => {
    if (!isExternal(fields)) return null;
    const entries = entriesOf(fields, fieldsOf);
    const name = entries.get(REFERENCE);
    if (name === undefined) {
      throw new HeaderError(`tensor ${shown(nameOf(fields))} refers to data in another file; it is damaged`);
    }
    if (seen.has(name)) throw new HeaderError(`tensor ${shown(name)} is in the graph twice; the file is damaged`);
    seen.add(name);
    return filled(fields, file.tensor(name, { level }), entries.get("field") ?? "raw_data", entries.has("location"));
  });
}

/** The graph of a network: its initializers without values have the names of tensors. */
function networkOf({ graph, meta, metaBytes, levels, level, file }) {
  if (outputs(graph) > 1 && meta.graph !== "together") {
    throw new NoGraphError("its graph holds several networks; `qacomp decode` writes one of them");
  }
  const names = namesAt(meta, file, levels, level);
  const filledOnce = new Set();
  const model = rewrite(graph, (fields, initializer) => {
    const name = nameOf(fields);
    if (isExternal(fields)) throw new HeaderError(`tensor ${shown(name)} refers to data in another file; it is damaged`);
    if (!initializer || !isEmpty(fields)) return null;
    if (filledOnce.has(name)) throw new HeaderError(`initializer ${shown(name)} is there twice; the file is damaged`);
    filledOnce.add(name);
    if (names.has(name)) return filled(fields, file.tensor(names.get(name), { level }));
    if (dimsOf(fields).includes(0)) return null;
    throw new HeaderError(`its graph needs a tensor ${shown(name)}, which the file lacks; the file is damaged`);
  });
  return withProperty(model, "qacomp", feedOf(metaBytes));
}

function outputs(graph) {
  const inner = fieldsOf(graph).findLast((field) => field.number === GRAPH);
  return inner?.value ? fieldsOf(inner.value).filter((field) => field.number === OUTPUT).length : 0;
}

/** Map the network's names of a level's tensors to their names in the file: some have one for each level. */
function namesAt(meta, file, levels, level) {
  const names = file.names.filter((name) => !name.startsWith("file/"));
  const stated = meta.levels;
  const known = Array.isArray(stated) && stated.length === levels && stated.every(Number.isInteger);
  const sizes = known ? stated : Array.from({ length: levels }, (_, i) => largest(file, i));
  const all = new Set(names);
  const own = new Set();
  for (const size of sizes) for (const name of names) if (all.has(`level${size}:${name}`)) own.add(`level${size}:${name}`);
  const found = new Map();
  for (const name of names) {
    if (own.has(name)) continue;
    const here = `level${sizes[level]}:${name}`;
    found.set(name, own.has(here) ? here : name);
  }
  return found;
}

function largest(file, level) {
  return file.tensors.reduce((most, info) => Math.max(most, info.levels[level] ?? 0), 0);
}

/** What a network says of its inputs, as JSON. */
function feedOf(metaBytes) {
  const members = membersOf(metaBytes ? textOf(metaBytes) : "{}");
  return pythonJson(`{${FED.map((key) => `"${key}":${members.get(key) ?? "null"}`).join(",")}}`);
}

/** Add an entry to a model's properties, at its place in the order of the fields. */
function withProperty(model, key, value) {
  const encoder = new TextEncoder();
  const entry = new Message().bytes(1, encoder.encode(key)).bytes(2, encoder.encode(value));
  const out = new Message();
  let written = false;
  for (const field of fieldsOf(model.join())) {
    if (!written && field.number > METADATA_PROPS) {
      out.bytes(METADATA_PROPS, entry);
      written = true;
    }
    out.raw(field.bytes);
  }
  return written ? out : out.bytes(METADATA_PROPS, entry);
}
