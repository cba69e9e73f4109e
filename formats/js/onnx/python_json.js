/** JSON as Python's json.dumps writes it, so that a model has the bytes that `qacomp decode` gives it. */

const TOKEN = /[ \t\n\r]*("(?:[^"\\]|\\.)*"|[{}[\]:,]|[^\s{}[\]:,"]+)/y;

/** Return valid JSON with Python's spaces and with escapes for all that isn't ASCII; numbers stay as they are spelled. */
export function pythonJson(text) {
  let out = "";
  TOKEN.lastIndex = 0;
  for (let match = TOKEN.exec(text); match; match = TOKEN.exec(text)) {
    const token = match[1];
    if (token === ",") out += ", ";
    else if (token === ":") out += ": ";
    else out += token[0] === '"' ? ascii(JSON.parse(token)) : token;
  }
  return out;
}

function ascii(text) {
  return JSON.stringify(text).replace(/[^ -~]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
