/** The shared test vectors, and what a reader must find in them. */

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";

const FOLDER = new URL("../../../tests/vectors/v1/", import.meta.url);

export const NAMES = readdirSync(FOLDER).filter((name) => name.endsWith(".qac")).map((name) => name.slice(0, -4));

/** The bytes of a vector. */
export function bytesOf(name) {
  return new Uint8Array(readFileSync(new URL(`${name}.qac`, FOLDER)));
}

/** What its JSON says. */
export function told(name) {
  return JSON.parse(readFileSync(new URL(`${name}.json`, FOLDER), "utf8"));
}

export function sha256({ buffer, byteOffset, byteLength }) {
  return createHash("sha256").update(new Uint8Array(buffer, byteOffset, byteLength)).digest("hex");
}

/** Whether Zstandard can be decoded here. */
export async function hasZstd() {
  const { findZstd } = await import("../zstd.js");
  return (await findZstd()) !== null;
}
