/** Visit every tensor of an ONNX model, and write the model again with other tensors. */

import { HeaderError } from "../errors.js";
import { BYTES, fieldsOf, Message } from "./protobuf.js";

const MOST_DEPTH = 100; // of messages, as in other readers of protobuf

/** For each kind of message, the fields that lead to tensors, and the kinds of message that these are. */
const INNER = {
  model: { 7: "graph", 20: "training", 25: "function" },
  training: { 1: "graph", 2: "graph" },
  graph: { 1: "node", 5: "tensor", 15: "sparse" },
  node: { 5: "attribute" },
  attribute: { 5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse" },
  sparse: { 1: "tensor", 2: "tensor" },
  function: { 7: "node", 11: "attribute" },
};

/**
 * Return a model's message with each tensor replaced by replace(fields, initializer): a Message, or null to keep it.
 * initializer: whether it is an initializer of the main graph.
 */
export function rewrite(model, replace, kind = "model", depth = 0) {
  if (depth > MOST_DEPTH) throw new HeaderError("the ONNX graph is nested too deep; the file is hostile");
  const out = new Message();
  for (const field of fieldsOf(model)) {
    const inner = field.wire === BYTES ? INNER[kind][field.number] : undefined;
    if (!inner) out.raw(field.bytes);
    else if (inner === "tensor") {
      const made = replace(fieldsOf(field.value), kind === "graph" && depth === 1);
      if (made) out.bytes(field.number, made);
      else out.raw(field.bytes);
    } else out.bytes(field.number, rewrite(field.value, replace, inner, depth + 1));
  }
  return out;
}
