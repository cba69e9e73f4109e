/** Elements of the page. Texts from files become text nodes only, never markup. */

export const byId = (id) => document.getElementById(id);

/** Make an element: properties such as className and textContent, then its children. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Replace what an element holds. */
export function fill(id, ...children) {
  byId(id).replaceChildren(...children);
}

/** Make a bar whose parts take shares of its width, each between 0 and 1. */
export function bar(...shares) {
  const parts = shares.map((share, i) => {
    const part = make("span", { className: i ? `part p${i}` : "part" });
    part.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
    return part;
  });
  return make("div", { className: "bar" }, ...parts);
}

/** Text from a file, fit to be shown: no control or direction characters, and its middle left out if it is long. */
export function plain(text, most = 120) {
  const line = Array.from(String(text).slice(0, 4 * most), (c) => (/[\p{C}\p{Zl}\p{Zp}]/u.test(c) ? "\ufffd" : c));
  if (line.length <= most) return line.join("");
  return `${line.slice(0, most / 2).join("")}…${line.slice(most / 2 - most).join("")}`;
}

export const bytesText = (bytes) => `${bytes.toLocaleString("en")} B`;
export const secondsText = (ms) => (ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(2)} s`);
export const shapeText = (shape) => shape.join("×") || "scalar";
