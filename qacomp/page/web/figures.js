/** What is known while a file arrives: bytes, levels, times; and a table of the levels' answers. */

import { byId, bytesText, fill, make, secondsText } from "./element.js";

/** Show how many bytes have arrived; ends: where each level ends in the file. */
export function showArriving({ received, size, level }, ends) {
  const share = Math.min(1, received / Math.max(1, size));
  const bar = byId("arriving");
  if (!bar.firstChild) {
    const marks = ends.slice(0, -1).map((end) => {
      const mark = make("i", { title: `a level ends at ${bytesText(end)}` });
      mark.style.left = `${(100 * end) / size}%`;
      return mark;
    });
    bar.append(make("span"), ...marks);
  }
  bar.firstChild.style.width = `${100 * share}%`;
  bar.setAttribute("aria-valuenow", received);
  bar.setAttribute("aria-valuemax", size);
  byId("received").textContent = `${(100 * share).toFixed(share < 1 ? 1 : 0)} %`;
  byId("received-of").textContent = `${received.toLocaleString("en")} of ${bytesText(size)}`;
  byId("level").textContent = `${level + 1} of ${ends.length}`;
  byId("level-of").textContent = ends.length > 1 ? "levels arrived" : "level, the whole file";
}

/** Show when the first answer came. */
export function showFirst({ at, received }, size) {
  byId("first").textContent = secondsText(at);
  byId("first-of").textContent = `${((100 * received) / size).toFixed(1)} % of the file had arrived`;
}

/** Show a table with a row for each level that has answered. */
export function showLevels(answers, ends) {
  if (ends.length === 1) return;
  const head = ["level", "bytes", "arrived after", "answer after", "answer"].map((text, i) =>
    make("th", { textContent: text, className: i === 4 ? "words" : "" }));
  const rows = answers.map(({ level, arrived, at, words }) =>
    make("tr", {},
      make("th", { scope: "row", textContent: String(level + 1) }),
      ...[bytesText(ends[level]), secondsText(arrived), secondsText(at)].map((text) => make("td", { textContent: text })),
      make("td", { className: "words", textContent: words })));
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
  fill("levels", make("div", { className: "scroll" }, table));
}
