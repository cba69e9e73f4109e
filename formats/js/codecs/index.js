/** The codecs by their ids (SPEC.md, section 6): of indices, and of values. */

import { HeaderError, UnsupportedVersionError } from "../errors.js";
import { UINT8, isFloat, widthOf } from "../types.js";
import { Input } from "../bytes.js";
import { readCodebooks } from "./codebooks.js";
import { readContext } from "./context.js";
import { inflate } from "./deflate.js";
import { readGrids } from "./grids.js";
import { readHuffman } from "./huffman.js";
import { unpackLzma } from "./lzma.js";
import { readMixing } from "./mixing.js";
import { readBitpack, readRaw } from "./plain.js";
import { readPlanes } from "./planes.js";
import { readPruned } from "./pruned.js";
import { readRans } from "./rans.js";
import { readTrellis } from "./trellis.js";
import { readTwobyte } from "./twobyte.js";

export const [
  RAW, BITPACK, HUFFMAN, RANS, CONTEXT, PLANES, ZSTD, LZMA, TWOBYTE, CODEBOOKS, GRIDS, DEFLATE, PRUNED, TRELLIS,
  MIXING,
] = Array(15).keys();
const INNER = [RAW, BITPACK, HUFFMAN, RANS, CONTEXT, ZSTD, LZMA];
const OF_VALUES = [PLANES, CODEBOOKS, GRIDS, DEFLATE];

function unknown(codec) {
  const why = codec >= 192 ? "which somebody defined for themselves" : "of a newer version of the format";
  return new UnsupportedVersionError(`it is stored with codec ${codec}, ${why}; update this reader`);
}

/**
 * Read the streams of a section with indices, one array of symbols each.
 * options.zstd(input, bytes) decodes a Zstandard frame; options.spend(cells) bounds the work of the codecs context,
 * trellis and mixing.
 */
export function readIndices(input, codec, streams, options) {
  const inner = (part, id, parts) => readInner(part, id, parts, options);
  if (codec === TWOBYTE) return readTwobyte(input, streams, inner, [RAW, RANS, CONTEXT]);
  if (codec === PRUNED) return readPruned(input, streams, inner, INNER);
  if (codec === TRELLIS) return readTrellis(input, streams, options);
  if (codec === MIXING) return readMixing(input, streams, options);
  if (OF_VALUES.includes(codec)) throw new HeaderError(`indices can't have codec ${codec}; the file is damaged`);
  if (codec > MIXING) throw unknown(codec);
  return inner(input, codec, streams);
}

function readInner(input, codec, streams, options) {
  if (codec === RAW) return readRaw(input, streams);
  if (codec === BITPACK) return readBitpack(input, streams);
  if (codec === HUFFMAN) return readHuffman(input, streams);
  if (codec === RANS) return readRans(input, streams);
  if (codec === CONTEXT) return readContext(input, streams, options);
  const bytes = streams.reduce((sum, s) => sum + s.count * (s.alphabet <= 256 ? 1 : 2), 0);
  const raw = codec === ZSTD ? options.zstd(input, bytes) : unpackLzma(input, bytes);
  return readRaw(new Input(raw), streams);
}

/** Read the bytes of all streams of a section with values of one stored type: little-endian words. */
export function readValues(input, codec, streams, type, options) {
  const width = widthOf(type);
  const total = streams.reduce((sum, stream) => sum + stream.count, 0);
  if (codec === RAW) {
    const bytes = input.take(total * width);
    input.end();
    return bytes;
  }
  if (codec === PLANES) return readPlanes(input, total, width, isFloat(type), options);
  if (codec === CODEBOOKS) return readCodebooks(input, streams, type, options);
  if (codec === GRIDS) return readGrids(input, streams, type, options);
  if (codec === ZSTD) return options.zstd(input, total * width);
  if (codec === LZMA) return unpackLzma(input, total * width);
  if (codec === DEFLATE && type === UINT8) return inflate(input, total);
  if (codec > MIXING) throw unknown(codec);
  throw new HeaderError(`these values can't have codec ${codec}; the file is damaged`);
}
