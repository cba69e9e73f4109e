/**
 * The errors of the reader: QacError, and a class for each way in which a file can be bad. `message` is one line that
 * says which file and tensor it is about, and what to do next.
 */

export class QacError extends Error {
  constructor(message) {
    super(message);
    this.name = this.constructor.name;
  }
}

/** The first bytes are those of something else. */
export class NotAContainerError extends QacError {}
/** The file needs a newer reader, or one with more codecs or element types. */
export class UnsupportedVersionError extends QacError {}
/** The file is shorter than its header says, or a level of it hasn't arrived yet. */
export class TruncatedError extends QacError {}
/** Bytes don't match their checksum, or a tensor its digest. */
export class ChecksumError extends QacError {}
/** A field of the header, of the metadata or of the graph is malformed, or contradicts another. */
export class HeaderError extends QacError {}
/** A size in the file is above what the reader accepts. */
export class LimitExceededError extends QacError {}
/** A section can't be decoded to what the header says. */
export class PayloadError extends QacError {}
/** No tensor has this name. */
export class TensorNotFoundError extends QacError {}
/** The file couldn't be fetched or read. */
export class ReadFailedError extends QacError {}
/** A section is stored with Zstandard, and there is no decoder for it. */
export class NoZstdError extends QacError {}
/** The file has no graph, or one that this reader doesn't turn into a model. */
export class NoGraphError extends QacError {}
/** A delta starts from another file, or was applied already. */
export class WrongBaseError extends QacError {}
/** A level, an option or a source that doesn't exist. */
export class ArgumentError extends QacError {}
/** The requested engine isn't there: no WebAssembly, or its module is missing. */
export class EngineError extends QacError {}

/** Text from a file, fit to be shown: on one line, without control characters, at most 80 characters. */
export function shown(text) {
  const line = Array.from(text, (c) => (/[\p{C}\p{Zl}\p{Zp}]/u.test(c) ? "\ufffd" : c));
  return JSON.stringify(line.length > 80 ? `${line.slice(0, 79).join("")}…` : line.join(""));
}
