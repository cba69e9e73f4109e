/** Read the metadata, a JSON object, strictly (SPEC.md, section 7). */

import { HeaderError } from "./errors.js";

const MOST_DEPTH = 100;
const MOST_DIGITS = 4300;
const damaged = (why) => new HeaderError(`the metadata isn't valid JSON (${why}); the file is damaged`);

/** Return the object. Raises HeaderError for JSON that no writer produces: repeated keys, numbers that aren't finite. */
export function readMetadata(bytes) {
  if (!bytes) return {};
  const text = textOf(bytes);
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw damaged(error.message);
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw damaged("it isn't an object");
  new Checker(text).all();
  return value;
}

export function textOf(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw damaged("it isn't UTF-8");
  }
}

const TOKEN = /[ \t\n\r]*("(?:[^"\\]|\\.)*"|[{}[\]:,]|[^\s{}[\]:,"]+)/y;

/** Return the members of a JSON object that is valid, as the texts of their values: numbers stay as they are spelled. */
export function membersOf(text) {
  const members = new Map();
  let depth = 0;
  let key = null;
  let start = 0;
  TOKEN.lastIndex = 0;
  for (let match = TOKEN.exec(text); match; match = TOKEN.exec(text)) {
    const token = match[1];
    const end = TOKEN.lastIndex;
    const closes = token === "}" || token === "]";
    if (depth === 1 && (token === "," || token === "}") && key !== null) {
      members.set(key, text.slice(start, end - 1));
      key = null;
    } else if (depth === 1 && token === ":") start = end;
    else if (depth === 1 && key === null && token[0] === '"') key = JSON.parse(token);
    if (token === "{" || token === "[") depth += 1;
    if (closes) depth -= 1;
  }
  return members;
}

/** Checks what JSON.parse accepts, and the format doesn't. */
class Checker {
  constructor(text) {
    this.text = text;
    this.open = []; // for each object that is open, the set of its keys; for an array, null
  }

  all() {
    let before = "";
    TOKEN.lastIndex = 0;
    for (let match = TOKEN.exec(this.text); match; match = TOKEN.exec(this.text)) {
      this.#token(match[1], before);
      before = match[1];
    }
  }

  #token(token, before) {
    if (!/^[{}[\]:,]/.test(token) && this.open.length >= MOST_DEPTH) throw damaged("it is nested too deep");
    if (token === "{" || token === "[") this.open.push(token === "{" ? new Set() : null);
    else if (token === "}" || token === "]") this.open.pop();
    else if (token[0] === '"') this.#string(token, before);
    else if (/^[-\d]/.test(token)) this.#number(token);
    if (this.open.length > MOST_DEPTH) throw damaged("it is nested too deep");
  }

  #string(token, before) {
    const text = JSON.parse(token);
    if (/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(text)) {
      throw damaged("it has a lone surrogate");
    }
    const keys = this.open.at(-1);
    if (!keys || (before !== "{" && before !== ",")) return;
    if (keys.has(text)) throw damaged("a key is repeated");
    keys.add(text);
  }

  #number(token) {
    const digits = /^-?(\d+)$/.exec(token)?.[1].length ?? 0;
    if (digits > MOST_DIGITS) throw damaged("a number has too many digits");
    if (!digits && !Number.isFinite(Number(token))) throw damaged("a number isn't finite");
  }
}
