/** A canvas to draw on, white on black as in MNIST. It begins with a digit, so that there is something to answer. */

import { make } from "./element.js";

const SIDE = 280; // pixels: ten times those of MNIST
const PEN = 20; // about two pixels of MNIST
const SEVEN = [[80, 80], [200, 80], [165, 145], [125, 215]];

/** Return the elements of the pane; drawn(imageData) is called after every stroke. */
export function drawingPane(drawn) {
  const canvas = make("canvas", { className: "drawing", width: SIDE, height: SIDE, tabIndex: 0 });
  canvas.setAttribute("aria-label", "Draw here; the network answers after each stroke");
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const clear = () => {
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, SIDE, SIDE);
  };
  const tell = () => drawn(pen.getImageData(0, 0, SIDE, SIDE));
  const place = (event) => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    return [((event.clientX - left) / width) * SIDE, ((event.clientY - top) / height) * SIDE];
  };
  let last = null;
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = place(event);
    stroke(pen, [last, last]);
  };
  canvas.onpointermove = (event) => {
    if (!last) return;
    const next = place(event);
    stroke(pen, [last, next]);
    last = next;
  };
  canvas.onpointerup = canvas.onpointercancel = () => {
    if (last) tell();
    last = null;
  };
  const button = make("button", { type: "button", textContent: "Clear", onclick: () => (clear(), tell()) });
  clear();
  stroke(pen, SEVEN);
  return { elements: [canvas, make("div", { className: "row" }, button)], begin: tell };
}

function stroke(pen, points) {
  pen.strokeStyle = "#fff";
  pen.lineWidth = PEN;
  pen.lineCap = pen.lineJoin = "round";
  pen.beginPath();
  points.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
}
