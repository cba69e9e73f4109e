/** The tensors of a container and their bytes, as bars. */

import { bar, byId, bytesText, fill, make, plain, shapeText } from "./element.js";

const MOST_ROWS = 400;

/** Show the tensors, the largest scale being the tensor with the most stored bytes. */
export function showLayers({ tensors, size }) {
  const most = tensors.reduce((largest, tensor) => Math.max(largest, tensor.storedBytes), 1);
  const dense = tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  byId("layers-lead").textContent =
    `${tensors.length} tensors, ${bytesText(dense)} decoded, in a file of ${bytesText(size)}. Bars show stored bytes.`;
  const shown = tensors.length > MOST_ROWS ? [...tensors].sort((a, b) => b.storedBytes - a.storedBytes) : tensors;
  const rows = shown.slice(0, MOST_ROWS).map((tensor) => rowOf(tensor, most));
  if (shown.length > MOST_ROWS) {
    const left = (shown.length - MOST_ROWS).toLocaleString("en");
    rows.push(make("p", { className: "note", textContent: `The ${MOST_ROWS} largest; ${left} more are in the file.` }));
  }
  fill("layer-rows", ...rows);
}

function rowOf(tensor, most) {
  const times = tensor.storedBytes ? `${(tensor.bytes / tensor.storedBytes).toFixed(1)}×` : "";
  return make("div", { className: "stage" },
    make("span", { className: "what", textContent: plain(tensor.name, 80) }),
    bar(tensor.storedBytes / most),
    make("span", { className: "bytes" }, `${tensor.storedBytes.toLocaleString("en")} B `,
      make("span", { className: "times", textContent: times })),
    make("span", { className: "detail", textContent: detailOf(tensor) }));
}

function detailOf({ dtype, shape, kind, levels, blocks, sameAs }) {
  const what = [dtype, shapeText(shape)];
  if (sameAs !== null) return `${what.join(" ")}, the same as ${plain(sameAs, 80)}`;
  if (kind === "shared") what.push(`· ${levels.join(", ")} shared values${blocks ? `, in blocks of ${shapeText(blocks)}` : ""}`);
  return what.join(" ");
}
