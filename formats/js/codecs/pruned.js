/** The codec pruned: rows and columns that hold nothing but one index are left out. */

import { flatStream, symbolsOf } from "./stream.js";

/** readInner: reads streams under one of the codecs whose ids are in `allowed`. */
export function readPruned(input, streams, readInner, allowed) {
  const plans = streams.map((stream) => planOf(input, stream));
  const [marks, left] = [plans.map((plan) => plan.marks), plans.map((plan) => plan.left)].map((parts) => {
    const codec = input.uint(255);
    if (!allowed.includes(codec)) input.fail("it has an unknown codec inside");
    return { codec, part: input.sized(), parts };
  });
  input.end();
  const marked = readInner(marks.part, marks.codec, marks.parts);
  const kept = readInner(left.part, left.codec, left.parts);
  return streams.map((stream, i) => restore(input, stream, plans[i], marked[i], kept[i]));
}

/** Read which index is left out, and how many rows and columns are left. */
function planOf(input, stream) {
  const { count, start, alphabet, dims, axis1, deep, children } = stream;
  const row = axis1 * deep;
  if (dims < 2 || children || !row || !count || count % row || start % row) input.fail("it holds no whole rows");
  const common = input.uint(alphabet - 1);
  const allRows = count / row;
  const rows = input.uint(allRows);
  const columns = input.uint(axis1);
  return {
    common,
    allRows,
    rows,
    columns,
    marks: flatStream(allRows + axis1, 2),
    left: { ...stream, count: rows * columns * deep, start: 0, axis1: columns },
  };
}

function restore(input, stream, { common, allRows, rows, columns }, marks, kept) {
  const { axis1, deep } = stream;
  const ones = (part) => part.reduce((a, b) => a + b, 0);
  if (ones(marks.subarray(0, allRows)) !== rows || ones(marks.subarray(allRows)) !== columns) {
    input.fail("its marks don't fit the rows and columns that are left");
  }
  const symbols = symbolsOf(stream).fill(common);
  let from = 0;
  for (let r = 0; r < allRows; r++) {
    if (!marks[r]) continue;
    for (let c = 0; c < axis1; c++) {
      if (!marks[allRows + c]) continue;
      symbols.set(kept.subarray(from, from + deep), (r * axis1 + c) * deep);
      from += deep;
    }
  }
  return symbols;
}
