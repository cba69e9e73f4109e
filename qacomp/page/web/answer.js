/** The answer of the network: the likeliest classes, or the values of its outputs. */

import { bar, byId, fill, make, plain, shapeText } from "./element.js";
import { className } from "./classes.js";

const MOST_CLASSES = 5;
const MOST_OUTPUTS = 8;
const MOST_VALUES = 12;

/** Show the outputs; returns a few words for the table of levels. */
export function showAnswer(outputs, metadata) {
  byId("answer").classList.remove("stale");
  const [first] = outputs;
  if (outputs.length === 1 && isClasses(first, metadata)) return showClasses(first, metadata);
  fill("answer", ...outputs.slice(0, MOST_OUTPUTS).map(outputOf));
  return `${outputs.length} output${outputs.length > 1 ? "s" : ""}`;
}

function isClasses({ dims, dtype }, metadata) {
  return dtype === "float32" && dims.length === 2 && dims[0] === 1 && dims[1] > 1 && Boolean(metadata?.preprocessing);
}

function showClasses({ data }, metadata) {
  const sum = data.reduce((a, b) => a + b, 0);
  const already = Math.abs(sum - 1) < 1e-3 && data.every((value) => value >= 0);
  const shares = already ? Array.from(data) : softmax(data);
  const order = shares.map((_, i) => i).sort((a, b) => shares[b] - shares[a]);
  const rows = order.slice(0, MOST_CLASSES).map((place) =>
    make("div", { className: "class" },
      make("span", { className: "what", textContent: className(place, metadata) }),
      bar(shares[place]),
      make("span", { className: "bytes", textContent: `${(100 * shares[place]).toFixed(1)} %` })),
  );
  const how = already ? "The model's own probabilities" : "Softmax of the model's output";
  fill("answer", make("p", { className: "note", textContent: `${how}, ${data.length} classes` }), ...rows);
  return `${className(order[0], metadata)}, ${(100 * shares[order[0]]).toFixed(1)} %`;
}

function softmax(data) {
  const most = data.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = Array.from(data, (value) => Math.exp(value - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

function outputOf({ name, dtype, dims, data }) {
  const values = Array.from(data.slice(0, MOST_VALUES), (value) => (typeof value === "number" ? Number(value.toPrecision(5)) : String(value)));
  const more = data.length > MOST_VALUES ? `, … (${data.length.toLocaleString("en")} values)` : "";
  return make("div", {},
    make("h3", { textContent: `${plain(name)}: ${dtype} ${shapeText(dims)}` }),
    make("pre", { textContent: plain(values.join(", "), 400) + more }),
    make("p", { className: "note", textContent: summary(data) }));
}

function summary(data) {
  if (!data.length || typeof data[0] === "string") return "";
  let [least, most, sum] = [Infinity, -Infinity, 0];
  for (const entry of data) {
    const value = Number(entry);
    least = Math.min(least, value);
    most = Math.max(most, value);
    sum += value;
  }
  const short = (value) => Number(value.toPrecision(5));
  return `from ${short(least)} to ${short(most)}, mean ${short(sum / data.length)}`;
}
