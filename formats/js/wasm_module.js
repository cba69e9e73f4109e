/** Find and compile the WebAssembly module of the C reader. */

import { EngineError } from "./errors.js";

const BESIDE = new URL("./wasm/qac.wasm", import.meta.url);
const INSTEAD = 'or use engine "js"';

/** Return the compiled module. given: one, its bytes, or its address; by default wasm/qac.wasm beside this file. */
export async function wasmModule(given = BESIDE) {
  if (typeof WebAssembly === "undefined") {
    throw new EngineError('there is no WebAssembly here; use engine "js"');
  }
  if (given instanceof WebAssembly.Module) return given;
  const bytes = given instanceof ArrayBuffer || ArrayBuffer.isView(given) ? given : await fetched(new URL(given, BESIDE));
  try {
    return await WebAssembly.compile(bytes);
  } catch (error) {
    throw new EngineError(
      `the WebAssembly module can't be compiled (${error.message}); a content security policy must have ` +
        `'wasm-unsafe-eval' in script-src, ${INSTEAD}`,
    );
  }
}

async function fetched(address) {
  try {
    if (address.protocol === "file:") return await (await import("node:fs/promises")).readFile(address);
    const response = await fetch(address);
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    return await response.arrayBuffer();
  } catch (error) {
    throw new EngineError(`the WebAssembly module isn't there (${error.message}): build it with \`make wasm\`, ${INSTEAD}`);
  }
}
