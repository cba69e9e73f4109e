/**
 * Make the stored bytes of a section again: they follow from its symbols and from the choices of its encoder, which
 * are what a payload begins with.
 */

import { concat, uintBytes } from "../bytes.js";
import { BITPACK, CONTEXT, MIXING, PLANES, RANS, RAW, TRELLIS } from "../codecs/index.js";
import { rebuildContext } from "../codecs/context.js";
import { rebuildMixing } from "../codecs/mixing.js";
import { packBits } from "../codecs/plain.js";
import { splitPlanes } from "../codecs/planes.js";
import { rebuildRans } from "../codecs/rans.js";
import { flatStream } from "../codecs/stream.js";
import { rebuildTrellis } from "../codecs/trellis.js";
import { UnsupportedVersionError } from "../errors.js";

const bytesOf = ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength);

/** Make a section of indices again. choices: an Input; parts: the symbols of each stream; spend: counts cells of tables. */
export function rebuildIndices(choices, codec, streams, parts, spend) {
  if (codec === RANS) return rebuildRans(choices, streams, parts);
  if (codec === CONTEXT) return rebuildContext(choices, streams, parts, spend);
  if (codec === TRELLIS) return rebuildTrellis(choices, streams, parts, spend);
  if (codec === MIXING) return rebuildMixing(choices, streams, parts, spend);
  if (codec !== RAW && codec !== BITPACK) throw unknown(codec);
  choices.end();
  return concat(parts.map((part, i) => (codec === RAW ? bytesOf(part) : packBits(part, streams[i].alphabet))));
}

/** Make a section of values again. bytes: all its words; width: of a word; float: whether they are floats. */
export function rebuildValues(choices, codec, bytes, width, float) {
  if (codec !== RAW && codec !== PLANES) throw unknown(codec);
  if (codec === RAW) {
    choices.end();
    return bytes;
  }
  const out = [];
  for (const plane of splitPlanes(bytes, width, float)) {
    const form = choices.uint(2);
    out.push(uintBytes(form));
    if (form === 0) out.push(plane);
    else {
      const told = choices.sized();
      const coded = form === 1 ? rebuildRans(told, [flatStream(plane.length, 256)], [plane]) : told.bytes;
      out.push(uintBytes(coded.length), coded);
    }
  }
  choices.end();
  return concat(out);
}

function unknown(codec) {
  return new UnsupportedVersionError(`a difference of a section with codec ${codec} is unknown; update this reader`);
}
