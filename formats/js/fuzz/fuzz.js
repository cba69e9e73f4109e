/**
 * Fuzz the reader: node fuzz/fuzz.js [--runs N] [--first N] [--seconds S] [--wasm FILE] [--keep FOLDER] [SEED.qac ...]
 *
 * A finding is a mutant that raises something else than a QacError, takes too long, or, with --wasm, is read otherwise
 * by the C reader. Mutant number N is the same on every machine. Prints one JSON object; exit code 1 with findings.
 */

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { crc32 } from "../bytes.js";
import { open, QacError } from "../index.js";
import { LEAVES } from "../prefix.js";
import { findZstd } from "../zstd.js";
import { apart, Dice, mutant } from "./mutants.js";

const VECTORS = new URL("../../../tests/vectors/v1/", import.meta.url);
const SLOW = 10_000; // milliseconds of CPU time: seconds are allowed to a file of any size
const MOST_KEPT = 20;

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: "string", default: "10000" },
    first: { type: "string", default: "0" },
    seconds: { type: "string", default: "Infinity" },
    wasm: { type: "string" },
    keep: { type: "string" },
  },
});

/** What reading a whole file gives: the checksum of each thing in it, or the error's class. */
async function outcome(bytes, options) {
  try {
    const file = await open(bytes, options);
    const sums = file.names.map((name) => {
      try {
        const { data } = file.tensor(name);
        return crc32(new Uint8Array(data.buffer));
      } catch (error) {
        return refusal(error);
      }
    });
    for (const read of [() => file.graph(), () => file.metadata, () => file.onnx()]) {
      try {
        read();
      } catch (error) {
        refusal(error);
      }
    }
    return sums;
  } catch (error) {
    return [refusal(error)];
  }
}

function refusal(error) {
  if (error instanceof QacError && !error.message.includes("\n")) return "refused";
  throw error;
}

Error.stackTraceLimit = 3; // most mutants are refused, and long traces take time
const decoder = await findZstd();
const plain = { zstd: decoder ?? (() => { throw new Error("no decoder"); }) };
const wasm = given.wasm ? { ...plain, engine: "wasm", wasm: new WebAssembly.Module(readFileSync(given.wasm)) } : null;
const paths = positionals.length
  ? positionals
  : readdirSync(VECTORS).filter((name) => name.endsWith(".qac")).map((name) => new URL(name, VECTORS));
const seeds = paths.map((path) => apart(new Uint8Array(readFileSync(path)), plain.zstd));
const findings = [];
const begun = Date.now();
let runs = 0;
let read = 0;
if (given.keep) mkdirSync(given.keep, { recursive: true });
for (const first = Number(given.first); runs < Number(given.runs); runs++) {
  if (Date.now() - begun > 1000 * Number(given.seconds)) break;
  const number = first + runs;
  const dice = new Dice(number);
  const bytes = mutant(seeds[dice.below(seeds.length)], dice);
  const start = process.cpuUsage();
  let why = null;
  try {
    const found = await outcome(bytes, plain);
    if (!found.includes("refused")) read += 1;
    const other = wasm ? await outcome(bytes, wasm) : found;
    const leaves = bytes[7] & LEAVES; // which the C reader doesn't check
    const agree = found.length === other.length && found.every((sum, i) => sum === other[i] || (leaves && sum === "refused"));
    if (!agree) why = `JavaScript finds ${found}, C ${other}`;
  } catch (error) {
    why = String(error.stack ?? error).split("\n").slice(0, 3).join(" | ");
  }
  const took = process.cpuUsage(start);
  if (!why && took.user + took.system > 1000 * SLOW) why = `takes ${(took.user + took.system) / 1000} ms`;
  if (!why) continue;
  findings.push({ number, why });
  if (given.keep && findings.length <= MOST_KEPT) writeFileSync(`${given.keep}/${number}.qac`, bytes);
}
const seconds = (Date.now() - begun) / 1000;
console.log(JSON.stringify({ runs, first: Number(given.first), read, seconds, findings: findings.length, kept: findings.slice(0, MOST_KEPT) }));
process.exitCode = findings.length ? 1 : 0;
