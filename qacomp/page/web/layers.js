/** The tensors of a container and their bytes, as bars. */

import { bar, byId, bytesText, fill, make, plain, shapeText } from "./element.js";

const MOST_ROWS = 400;
const OF_GROUP = "the tensors below; the header tells their bytes only together";

/** Show the tensors; the longest bar is that of the tensor, or of the group, with the most stored bytes. */
export function showLayers({ tensors, groups, size }) {
  const items = itemsOf(tensors, groups);
  const most = items.reduce((largest, item) => Math.max(largest, item.storedBytes), 1);
  const dense = tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  const together = groups.length ? " Small tensors are coded together, and have one bar." : "";
  byId("layers-lead").textContent =
    `${tensors.length} tensors, ${bytesText(dense)} decoded, in a file of ${bytesText(size)}. Bars show stored bytes.${together}`;
  if (tensors.length > MOST_ROWS) items.sort((a, b) => b.storedBytes - a.storedBytes);
  const rows = [];
  let left = tensors.length;
  for (const item of items) {
    const members = item.tensors.slice(0, left + MOST_ROWS - tensors.length);
    if (!members.length) break;
    left -= members.length;
    rows.push(rowOf(item, most));
    if (item.isGroup) rows.push(...members.map(memberOf));
  }
  if (left) {
    const text = `The first ${MOST_ROWS}, of the most bytes; ${left.toLocaleString("en")} more are in the file.`;
    rows.push(make("p", { className: "note", textContent: text }));
  }
  fill("layer-rows", ...rows);
}

/** Each tensor by itself, and each group where its first tensor is: { storedBytes, isGroup, tensors }. */
function itemsOf(tensors, groups) {
  const groupOf = new Map(groups.flatMap((group) => group.names.map((name) => [name, group])));
  const made = new Map();
  const items = [];
  for (const tensor of tensors) {
    const group = groupOf.get(tensor.name);
    if (made.has(group)) made.get(group).tensors.push(tensor);
    else {
      const item = { storedBytes: (group ?? tensor).storedBytes, isGroup: Boolean(group), tensors: [tensor] };
      items.push(item);
      if (group) made.set(group, item);
    }
  }
  return items;
}

function rowOf({ storedBytes, isGroup, tensors }, most) {
  const dense = tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  const times = storedBytes ? `${(dense / storedBytes).toFixed(1)}×` : "";
  const what = isGroup ? `${tensors.length} tensors, coded together` : plain(tensors[0].name, 80);
  return make("div", { className: "stage" },
    make("span", { className: "what", textContent: what }),
    bar(storedBytes / most),
    make("span", { className: "bytes" }, `${storedBytes.toLocaleString("en")} B `,
      make("span", { className: "times", textContent: times })),
    make("span", { className: "detail", textContent: isGroup ? OF_GROUP : detailOf(tensors[0]) }));
}

function memberOf(tensor) {
  return make("div", { className: "stage" },
    make("span", { className: "what", textContent: plain(tensor.name, 80) }),
    make("span", { className: "detail", textContent: detailOf(tensor) }));
}

function detailOf({ dtype, shape, kind, levels, blocks, sameAs }) {
  const what = [dtype, shapeText(shape)];
  if (sameAs !== null) return `${what.join(" ")}, the same as ${plain(sameAs, 80)}`;
  if (kind === "shared") what.push(`· ${levels.join(", ")} shared values${blocks ? `, in blocks of ${shapeText(blocks)}` : ""}`);
  return what.join(" ");
}
