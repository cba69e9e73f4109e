/** The root of a container: one hash that binds all its bytes, over a leaf for each part (SPEC.md, section 13). */

import { sha256 } from "./sha256.js";

export const HASH_BYTES = 32;
const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);

/** The leaf hash of an entry, which comes in parts. */
export const leafHash = (...parts) => sha256(LEAF, ...parts);

/** The root over one leaf hash or more, in hex. */
export function rootOf(leaves) {
  let nodes = leaves;
  while (nodes.length > 1) {
    const joined = [];
    for (let i = 0; i + 1 < nodes.length; i += 2) joined.push(sha256(NODE, nodes[i], nodes[i + 1]));
    nodes = joined.concat(nodes.slice(2 * joined.length)); // a last one without a neighbour moves up
  }
  return Array.from(nodes[0], (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Whether two hashes are equal. */
export const equal = (one, other) => one.every((byte, i) => byte === other[i]);
