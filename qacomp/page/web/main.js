/** The page: opens a file in a worker, and shows what the worker tells. Opening another one begins anew. */

import { showAnswer } from "./answer.js";
import { byId, fill, plain, secondsText } from "./element.js";
import { showFacts } from "./facts.js";
import { showArriving, showFirst, showLevels } from "./figures.js";
import { showInputs } from "./inputs.js";
import { showLayers } from "./layers.js";

const NO_RUNTIME =
  "This page came without onnxruntime-web, so it can't run the model: npm install onnxruntime-web, then write the page again.";
let worker = null;
let config = { runtime: false, zstd: false };

async function begin() {
  dropping();
  byId("open").onchange = ({ target }) => {
    if (target.files[0]) open(target.files[0], target.files[0].name);
    target.value = "";
  };
  try {
    config = await (await fetch("config.json")).json();
  } catch {
    problem("The page's folder is incomplete: config.json is missing. Write the page again.");
    return;
  }
  open(new URL(config.file, location.href).href, config.name);
}

/** Open a file: its address, or a File of the user's. */
function open(source, name) {
  worker?.terminate();
  clear();
  byId("name").textContent = plain(name, 80);
  const view = { file: null, answers: [], asked: 0, complete: false, stopped: !config.runtime };
  const mine = new Worker("worker.js", { type: "module" });
  worker = mine;
  mine.onmessage = ({ data }) => tell(view, data);
  mine.onerror = (event) => {
    event.preventDefault();
    problem("The page's worker couldn't be started. Is the folder complete, and the browser up to date?");
  };
  mine.postMessage({ type: "open", source, name, zstd: config.zstd, runtime: config.runtime });
}

function tell(view, said) {
  if (said.type === "opened") opened(view, said.file);
  if (said.type === "progress") {
    view.progress = said;
    if (view.file) showArriving(said, view.file.ends);
  }
  if (said.type === "inputs") showInputs(said.inputs, view.file.metadata, (feeds) => ask(view, feeds));
  if (said.type === "answer") answered(view, said);
  if (said.type === "failed") failed(view, said);
  if (said.type === "complete") view.complete = true;
  if (view.complete && (view.stopped || view.answers.at(-1)?.level === view.file.levels - 1)) document.body.dataset.state = "complete";
}

function opened(view, file) {
  view.file = file;
  showFacts(file);
  showLayers(file);
  showArriving(view.progress, file.ends);
  byId("shown").hidden = false;
  byId("run-columns").hidden = !config.runtime;
  byId("run-lead").textContent = config.runtime ? "Everything runs in this browser. Waiting for the first level …" : NO_RUNTIME;
}

function ask(view, feeds) {
  view.asked += 1;
  byId("answer").classList.add("stale");
  worker.postMessage({ type: "input", id: view.asked, feeds });
}

function answered(view, said) {
  const { ends, levels, metadata, size } = view.file;
  const words = showAnswer(said.outputs, metadata);
  if (!view.answers.length) showFirst(said, size);
  byId("run-time").textContent = secondsText(said.ms);
  if (view.answers.at(-1)?.level !== said.level) view.answers.push({ ...said, outputs: null, words });
  else Object.assign(view.answers.at(-1), { words });
  showLevels(view.answers, ends);
  const finest = said.level + 1 === levels;
  byId("run-lead").textContent = finest
    ? "Everything runs in this browser."
    : `Everything runs in this browser. This is level ${said.level + 1} of ${levels}; finer ones follow as they arrive.`;
  document.body.dataset.answered = String(view.answers.length);
}

function failed(view, { what, message }) {
  if (what === "file") {
    worker?.terminate();
    clear();
    problem(plain(message, 400));
    return;
  }
  byId("answer").classList.remove("stale");
  if (what === "run") {
    byId("run-columns").hidden = true;
    view.stopped = true;
  }
  byId(what === "run" ? "run-lead" : "input-note").textContent = `This can't be run: ${plain(message, 400)}`;
}

function problem(text) {
  const line = byId("problem");
  line.textContent = text;
  line.hidden = false;
  document.body.dataset.state = "failed";
}

/** Show nothing of the file before. */
function clear() {
  byId("problem").hidden = true;
  byId("shown").hidden = true;
  byId("sub").textContent = "";
  for (const id of ["arriving", "tabs", "input", "answer", "levels", "layer-rows", "facts"]) fill(id);
  for (const id of ["first", "run-time"]) byId(id).textContent = "–";
  for (const id of ["first-of", "input-note", "layers-lead"]) byId(id).textContent = "";
  document.title = "qacomp page";
  delete document.body.dataset.state;
  delete document.body.dataset.answered;
}

function dropping() {
  const mark = (on) => document.body.classList.toggle("dropping", on);
  addEventListener("dragover", (event) => (event.preventDefault(), mark(true)));
  addEventListener("dragleave", () => mark(false));
  addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    const [file] = event.dataTransfer.files;
    if (file) open(file, file.name);
  });
}

begin();
