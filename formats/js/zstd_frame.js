/** Look through a Zstandard frame (RFC 8878) before a decoder from outside gets it: one that is hostile may never end. */

const COMPRESSED = 2; // a kind of block, and of literals
const MOST_ACCURACY = 6; // of a table of Huffman weights

/** Whether a block has Huffman weights under a table with one symbol: it takes no bits, so weights would never end. */
export function neverEnds(frame, start) {
  for (let at = start; at + 3 <= frame.length; ) {
    const header = frame[at] | (frame[at + 1] << 8) | (frame[at + 2] << 16);
    const kind = (header >> 1) & 3;
    at += 3;
    if (kind === COMPRESSED && hasLoneWeight(frame, at)) return true;
    if (header & 1) return false;
    at += kind === 1 ? 1 : header >> 3;
  }
  return false;
}

function hasLoneWeight(frame, at) {
  if ((frame[at] & 3) !== COMPRESSED) return false;
  const format = (frame[at] >> 2) & 3;
  const tree = at + (format < 2 ? 3 : format + 2); // after the literals' sizes
  return frame[tree] < 128 && isLone(frame, tree + 1);
}

/** Whether a table's first symbol that occurs has all of its states (RFC 8878, 4.1.1). */
function isLone(frame, at) {
  const accuracy = (frame[at] & 15) + 5;
  if (accuracy > MOST_ACCURACY) return false; // refused by any decoder
  const most = 1 << accuracy;
  let bit = at * 8 + 4;
  const peek = (count) => ((frame[bit >> 3] | (frame[(bit >> 3) + 1] << 8)) >> (bit & 7)) & ((1 << count) - 1);
  while (bit < frame.length * 8) {
    const spare = most - 2; // values that take a bit less: 2 * most - 1 - (most + 1)
    let value = peek(accuracy);
    if (value < spare) bit += accuracy;
    else {
      value = peek(accuracy + 1);
      if (value >= most) value -= spare;
      bit += accuracy + 1;
    }
    if (value !== 1) return value - 1 === most;
    let more;
    do {
      more = peek(2); // how many further symbols don't occur either
      bit += 2;
    } while (more === 3 && bit < frame.length * 8);
  }
  return false;
}
