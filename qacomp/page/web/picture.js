/** A picture that the user opens: its pixels, and the same on the page. */

import { make } from "./element.js";

const MOST_SIDE = 4096; // pixels that are kept of a larger picture
const MOST_BYTES = 1 << 26;

/** Return the elements of the pane; chosen(imageData) is called for a picture, refused(text) for what isn't one. */
export function picturePane(chosen, refused) {
  const canvas = make("canvas", { className: "picture", hidden: true });
  const input = make("input", { type: "file", accept: "image/png,image/jpeg,image/webp,image/gif,image/bmp" });
  input.onchange = async () => {
    const [file] = input.files;
    if (!file) return;
    try {
      const pixels = await pixelsOf(file, canvas);
      canvas.hidden = false;
      chosen(pixels);
    } catch {
      refused("The file is no picture that this browser can read.");
    }
    input.value = "";
  };
  const button = make("label", { className: "button" }, "Open a picture", input);
  return { elements: [canvas, make("div", { className: "row" }, button)], begin: null };
}

async function pixelsOf(file, canvas) {
  if (file.size > MOST_BYTES) throw new Error("too large");
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, MOST_SIDE / Math.max(bitmap.width, bitmap.height));
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.classList.toggle("sharp", canvas.width < 140);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return pen.getImageData(0, 0, canvas.width, canvas.height);
}
