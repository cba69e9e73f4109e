/** Opens a container, decodes each level as it arrives, and runs it: beside the page, so that the page stays quick. */

import { open } from "./reader/index.js";
import { Runner } from "./runner.js";

let runner = null;
let newest = null; // the input to answer
let chain = Promise.resolve();

self.onmessage = ({ data }) => {
  if (data.type === "open") start(data).catch((error) => failed(error, "file"));
  else {
    newest = data;
    chain = chain.then(() => answer(data));
  }
};

async function start({ source, name, zstd, runtime }) {
  const began = performance.now();
  const since = () => performance.now() - began;
  const options = { name, progressive: true, onProgress: (progress) => self.postMessage({ type: "progress", ...progress }) };
  if (zstd) options.zstd = await zstdDecoder();
  // The runtime comes first: a level can only answer with it, and on a slow line both would share the bandwidth.
  const loaded = runtime ? await Runner.load().catch((error) => error) : null;
  const file = await open(source, options);
  self.postMessage({ type: "opened", file: described(file) });
  if (loaded instanceof Error) failed(loaded, "run");
  else if (loaded) await runLevels(file, loaded, since);
  await file.ready();
  file.check();
  self.postMessage({ type: "complete", ms: since(), received: file.received });
}

/** Decode and load one level after the other; those that have been overtaken by a finer one are left out. */
async function runLevels(file, loaded, since) {
  for (let level = 0; level < file.levels; level++) {
    await file.ready(level);
    level = Math.max(level, file.level);
    const arrived = since();
    const model = decoded(file, level);
    if (!model) return;
    try {
      const next = await loaded.withModel(model);
      chain = chain.then(() => use({ file, level, arrived, since, next }));
      await chain;
    } catch (error) {
      failed(error, "run");
      return;
    }
  }
}

/** Return the ONNX bytes; null if the file has no graph that can be run, which is told. */
function decoded(file, level) {
  try {
    return file.onnx({ level });
  } catch (error) {
    if (error.name !== "NoGraphError") throw error;
    failed(error, "run");
    return null;
  }
}

async function use({ next, ...about }) {
  const before = runner;
  runner = Object.assign(next, { about });
  await before?.release();
  if (!before) self.postMessage({ type: "inputs", inputs: runner.inputs });
  if (newest) await answer(newest);
}

async function answer(asked) {
  if (!runner || asked !== newest) return; // a newer input waits
  const { file, level, arrived, since } = runner.about;
  try {
    const { outputs, ms } = await runner.run(asked.feeds);
    const at = since();
    await new Promise((resolve) => setTimeout(resolve)); // bytes that came meanwhile count as arrived
    const about = { id: asked.id, level, arrived, at, ms, received: file.received };
    self.postMessage({ type: "answer", outputs, ...about }, outputs.map(({ data }) => data.buffer).filter(Boolean));
  } catch (error) {
    failed(error, "input");
  }
}

function failed(error, what) {
  self.postMessage({ type: "failed", what, message: String(error?.message ?? error).replace(/\s+/g, " ").slice(0, 500) });
}

function described(file) {
  const { name, version, size, levels, tensors, groups, metadata } = file;
  const ends = Array.from({ length: levels }, (_, level) => file.bytesUpTo(level));
  return { name, version, size, levels, ends, metadata, groups, tensors: tensors.map((tensor) => ({ ...tensor })) };
}

/** Decode Zstandard frames with fzstd, into no more memory than the file tells. */
async function zstdDecoder() {
  const { Decompress } = await import("./fzstd/index.mjs");
  return (frame, bytes) => {
    const out = new Uint8Array(bytes);
    let at = 0;
    new Decompress((piece) => {
      out.set(piece, at);
      at += piece.length;
    }).push(frame, true);
    return out.subarray(0, at);
  };
}
