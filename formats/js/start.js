/** How a container begins: its prefix and its header, and what follows from them. */

import { crc32, Input } from "./bytes.js";
import { readValues } from "./codecs/index.js";
import { ChecksumError, HeaderError, TruncatedError } from "./errors.js";
import { readHeader } from "./header.js";
import { leafHash } from "./merkle.js";
import { Places } from "./places.js";
import { PREFIX_BYTES, readPrefix } from "./prefix.js";
import { Sections } from "./sections.js";
import { UINT8 } from "./types.js";

/** Wait for the prefix and the header of a container, and read them. data: as of source.js. */
export async function readStart(data, zstd) {
  await data.reach(PREFIX_BYTES);
  const prefix = readPrefix(data.slice(0, Math.min(PREFIX_BYTES, data.length)));
  const start = PREFIX_BYTES + prefix.stored;
  data.size = prefix.size;
  if (data.length > prefix.size) throw new HeaderError("is longer than its header says; the file is damaged");
  await data.reach(start);
  if (data.length < start) throw new TruncatedError("is cut off in its header; fetch it again");
  const decoded = decodedHeader(prefix, data.slice(PREFIX_BYTES, prefix.stored), zstd);
  const header = readHeader(new Input(decoded, HeaderError), prefix.flags, prefix.newer);
  const places = new Places(header, start, prefix.size);
  const head = leafHash(data.slice(0, start));
  return { prefix, header, places, head, sections: new Sections(data, places, start, prefix.size, zstd) };
}

/** Check and decode the stored header that a prefix announces: of a container, or of a delta. */
export function decodedHeader(prefix, stored, zstd) {
  if (crc32(stored) !== prefix.crc) throw new ChecksumError("has a damaged header; fetch it again");
  const streams = [{ count: prefix.decoded, start: 0, k: 0 }];
  return readValues(new Input(stored), prefix.codec, streams, UINT8, { zstd });
}
