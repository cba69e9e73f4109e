/** What the network is run on: a drawing, a picture, or a tensor. */

import { drawingPane } from "./drawing.js";
import { byId, fill, make, shapeText } from "./element.js";
import { picturePane } from "./picture.js";
import { preprocess, readPreprocessing } from "./preprocessing.js";
import { randomFeeds, readFeeds } from "./values.js";

/** Show the tabs that fit the model, and begin with the first; give(feeds) is called with each new input. */
export function showInputs(inputs, metadata, give) {
  const told = readPreprocessing(metadata);
  const [only] = inputs;
  const sides = told ? [told.channels, ...told.size] : [];
  const takesImages =
    told && inputs.length === 1 && only.dtype === "float32" && only.shape.length === 4 &&
    sides.every((side, i) => only.shape[i + 1] === null || only.shape[i + 1] === side);
  const say = (text) => (byId("input-note").textContent = text);
  const giveImage = (pixels) => {
    say(imageNote(told));
    give([{ name: only.name, dtype: "float32", ...preprocess(pixels, told) }]);
  };
  const panes = {
    Draw: takesImages && told.channels === 1 ? () => drawingPane(giveImage) : null,
    Picture: takesImages ? () => picturePane(giveImage, say) : null,
    Tensor: () => tensorPane(inputs, give, say),
  };
  const names = Object.keys(panes).filter((name) => panes[name]);
  const buttons = names.map((name) => make("button", { type: "button", textContent: name, onclick: () => show(name) }));
  const made = {};
  const show = (name) => {
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.textContent === name)));
    made[name] ??= panes[name]();
    fill("input", ...made[name].elements);
    say("");
    if (made[name].begin) made[name].begin();
    else say("Until you open a picture, the answer is to random values, seed 1.");
  };
  fill("tabs", ...buttons);
  if (names[0] === "Picture") give(randomFeeds(inputs, 1));
  show(names[0]);
}

function imageNote({ size, channels, mean, std }) {
  const how = channels === 1 ? "grey" : "RGB";
  const list = (values) => values.map((value) => Number(value.toPrecision(4))).join(", ");
  return `Resized to ${size[1]} × ${size[0]} pixels, ${how}, minus ${list(mean)}, divided by ${list(std)}.`;
}

function tensorPane(inputs, give, say) {
  const seed = make("input", { type: "number", value: "1", min: "0", max: "4294967295", step: "1", id: "seed" });
  const random = () => {
    const value = Math.min(Math.max(Math.trunc(Number(seed.value)) || 0, 0), 2 ** 32 - 1);
    try {
      give(randomFeeds(inputs, value));
      say(`Random values, seed ${value}.`);
    } catch (error) {
      say(error.message);
    }
  };
  const file = make("input", { type: "file", accept: ".npy,.json" });
  file.onchange = async () => {
    const [chosen] = file.files;
    if (!chosen) return;
    try {
      const { feeds, note } = await readFeeds(chosen, inputs);
      give(feeds);
      say(`From a file${note && `; ${note}`}.`);
    } catch (error) {
      say(`The file ${error.message}.`);
    }
    file.value = "";
  };
  const takes = inputs.map(({ dtype, shape }) => `${dtype} ${shapeText(shape.map((side) => side ?? "any"))}`).join("; ");
  const elements = [
    make("p", { className: "note", textContent: `The model takes ${takes}.` }),
    make("div", { className: "row" }, make("label", { htmlFor: "seed", textContent: "Seed" }), seed,
      make("button", { type: "button", textContent: "Random", onclick: random })),
    make("div", { className: "row" }, make("label", { className: "button" }, "Open .npy or JSON", file)),
  ];
  return { elements, begin: random };
}
