/** Read containers of the format .qac (SPEC.md) in a browser or in node. `open` is where to begin. */

import { ArgumentError, ChecksumError, QacError } from "./errors.js";
import { QacFile } from "./file.js";
import { arrive, nameOf } from "./source.js";
import { readStart } from "./start.js";
import { Tensors } from "./tensors.js";
import { WasmEngine } from "./wasm_engine.js";
import { wasmModule } from "./wasm_module.js";
import { findZstd, zstdWith } from "./zstd.js";

export { applyDelta } from "./delta/apply.js";
export * from "./errors.js";
export { QacFile };

/**
 * Open a container: a URL, a Response, a Blob, a ReadableStream, an ArrayBuffer or a view of one.
 *
 * It resolves when the whole file is there; with `progressive` as soon as its header is, and the rest goes on arriving:
 * see file.level and file.ready(level). Options: progressive; onProgress({received, size, level}), called whenever bytes
 * arrive; zstd, a function (frame, bytes) => Uint8Array that decodes Zstandard; signal, which ends the download; name,
 * which stands for the file in messages; engine: "js", or "wasm" for the C reader as a WebAssembly module; wasm: that
 * module, its bytes or its address; root: the root that the file must have, in hex: then all bytes that are used are
 * checked against it. Raises a QacError.
 */
export async function open(source, options = {}) {
  const { progressive = false, onProgress = null, signal, name = nameOf(source), engine = "js" } = options;
  try {
    if (engine !== "js" && engine !== "wasm") throw new ArgumentError(`no engine ${engine}; there are "js" and "wasm"`);
    const module = engine === "wasm" ? await wasmModule(options.wasm) : null;
    const zstd = zstdWith(options.zstd ?? (await findZstd()));
    const data = await arrive(source, signal);
    const { prefix, header, sections, places, head } = await readStart(data, zstd);
    const plain = plainEngine(sections, places);
    const chosen = module ? new WasmEngine(module, { data, places, zstd, plain, sections }) : plain;
    const file = new QacFile({ name, data, prefix, header, sections, head, engine: chosen });
    if (onProgress) {
      data.heard = () => onProgress({ received: data.length, size: file.size, level: file.level });
      data.heard();
    }
    if (options.root !== undefined) await holdTo(file, options.root, sections);
    if (!progressive) await file.ready();
    else if (data.ended && file.level < 0) await file.ready(0);
    return file;
  } catch (error) {
    if (!(error instanceof QacError) || error.message.startsWith(`${name}: `)) throw error;
    throw new error.constructor(`${name}: ${error.message}`);
  }
}

/** Refuse a file that doesn't have the root which is asked for. Without leaf hashes in its header that takes all of it. */
async function holdTo(file, root, sections) {
  if (!/^[0-9a-f]{64}$/i.test(root)) throw new ArgumentError(`${root} is no root, which has 64 hex digits`);
  if (!sections.hasLeaves) await file.ready();
  sections.strict = true;
  if (file.root !== root.toLowerCase()) {
    throw new ChecksumError(`has the root ${file.root}, not ${root}: it isn't the file that you expect, or it was changed`);
  }
}

function plainEngine(sections, places) {
  const tensors = new Tensors(sections, places);
  const values = (number, level, into) => {
    const found = tensors.values(number, level);
    into?.set(found);
    return into ?? found;
  };
  return { name: "js", values, blob: (kind) => sections.blob(kind) };
}
