/** What the file says of itself. */

import { byId, bytesText, fill, make, plain } from "./element.js";

const WANTED = { arch: "architecture", data: "data", qacomp: "written by qacomp" };

/** Show the name, what the network is, and a list of facts. */
export function showFacts({ name, version, size, levels, metadata }) {
  const said = [metadata.arch, metadata.data].filter((text) => typeof text === "string").map((text) => plain(text, 60));
  byId("name").textContent = plain(name, 80);
  byId("sub").textContent = said.join(" on ");
  document.title = `${plain(name, 80)}: qacomp page`;
  const facts = [["format", version.join(".")], ["bytes", bytesText(size)], ["levels", String(levels)]];
  for (const [key, label] of Object.entries(WANTED)) {
    if (typeof metadata[key] === "string") facts.push([label, plain(metadata[key], 200)]);
  }
  for (const [key, value] of Object.entries(metadata.accuracy ?? {})) {
    if (Number.isFinite(value)) facts.push([`accuracy, ${plain(key, 40)}`, `${value.toFixed(2)} %`]);
  }
  fill("facts", ...facts.map(([label, value]) => make("div", {}, make("dt", { textContent: label }), make("dd", { textContent: value }))));
}
