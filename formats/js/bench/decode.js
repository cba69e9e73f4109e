/**
 * CPU seconds of opening a container and decoding all its tensors, by engine: node bench/decode.js FILE.qac FILE.wasm.
 * Into arrays that are there, and with "_new" into new ones.
 */

import { readFileSync } from "node:fs";
import { open } from "../index.js";

const [path, wasm] = process.argv.slice(2);
const data = readFileSync(path);
const module = new WebAssembly.Module(readFileSync(wasm));
const WARM = 4; // rounds until the engine has compiled everything for good
const ROUNDS = 10;

const times = { wasm: [], wasm_new: [], js: [] };
const arrays = {};
for (const task of Object.keys(times)) {
  const [engine, fresh] = task.split("_");
  for (let round = 0; round < WARM + ROUNDS; round++) {
    const before = process.cpuUsage();
    const file = await open(data, { engine, wasm: module });
    for (const name of file.names) arrays[name] = file.tensor(name, { into: fresh ? undefined : arrays[name] }).data;
    const { user, system } = process.cpuUsage(before);
    if (round >= WARM) times[task].push((user + system) / 1e6);
  }
}
console.log(JSON.stringify(times));
