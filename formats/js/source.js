/** Where the bytes of a file come from: memory, a stream, or a URL. They may still be arriving. */

import { ArgumentError, HeaderError, QacError, ReadFailedError, TruncatedError } from "./errors.js";
import { MAX_NAME_BYTES } from "./limits.js";

const LEAST = 1 << 16; // bytes of memory to begin with

/** The bytes that have arrived so far. */
export class Arriving {
  constructor() {
    this.buffer = new Uint8Array(0);
    this.length = 0;
    this.size = Infinity; // of the whole file, once its prefix has told
    this.error = null;
    this.ended = false;
    this.waiting = []; // [bytes, resolve, reject]
    this.heard = () => {};
  }

  /** Return bytes that are there, not copied. */
  slice(offset, bytes) {
    return this.buffer.subarray(offset, offset + bytes);
  }

  /** Wait until so many bytes are there, or fewer if the file ends before. Raises the error that ended the stream. */
  reach(bytes) {
    if (this.error) return Promise.reject(this.error);
    if (this.length >= bytes || this.ended) return Promise.resolve();
    return new Promise((resolve, reject) => this.waiting.push([bytes, resolve, reject]));
  }

  add(chunk) {
    const length = this.length + chunk.length;
    if (length > this.size) throw new HeaderError("is longer than its header says; the file is damaged");
    if (length > this.buffer.length) {
      const grown = new Uint8Array(Math.min(Math.max(2 * this.buffer.length, length, LEAST), Math.max(this.size, length)));
      grown.set(this.buffer.subarray(0, this.length));
      this.buffer = grown;
    }
    this.buffer.set(chunk, this.length);
    this.length = length;
    this.#tell();
  }

  end(error = null) {
    this.ended = true;
    this.error = error;
    this.#tell();
  }

  #tell() {
    this.heard();
    const still = [];
    for (const entry of this.waiting) {
      if (this.error) entry[2](this.error);
      else if (this.length >= entry[0] || this.ended) entry[1]();
      else still.push(entry);
    }
    this.waiting = still;
  }
}

/** Begin to read a source: a URL or its text, a Response, a Blob, a ReadableStream, an ArrayBuffer or a view of one. */
export async function arrive(source, signal) {
  const data = new Arriving();
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) {
    const isView = ArrayBuffer.isView(source);
    data.buffer = isView ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength) : new Uint8Array(source);
    data.length = data.buffer.length;
    data.end();
    return data;
  }
  const stream = await streamOf(source, signal);
  pump(stream, data, signal).catch((error) => data.end(named(error)));
  return data;
}

function named(error) {
  if (error instanceof QacError || error?.name === "AbortError") return error;
  return new ReadFailedError(`reading stopped (${error?.message ?? error}); fetch it again`);
}

async function streamOf(source, signal) {
  if (typeof source === "string" || source instanceof URL) {
    let response;
    try {
      response = await fetch(source, { signal });
    } catch (error) {
      if (error?.name === "AbortError") throw error;
      throw new ReadFailedError(`can't be fetched (${error.cause?.message ?? error.message}); is the address right?`);
    }
    return bodyOf(response);
  }
  if (typeof Response !== "undefined" && source instanceof Response) return bodyOf(source);
  if (typeof Blob !== "undefined" && source instanceof Blob) return source.stream();
  if (typeof source?.getReader === "function") return source;
  throw new ArgumentError("a source is a URL, a Response, a Blob, a ReadableStream, an ArrayBuffer or a view of one");
}

function bodyOf(response) {
  if (!response.ok) throw new ReadFailedError(`the server answered ${response.status}; is the address right?`);
  if (!response.body) throw new ReadFailedError("the server answered without a body; fetch it again");
  return response.body;
}

async function pump(stream, data, signal) {
  const reader = stream.getReader();
  try {
    for (;;) {
      signal?.throwIfAborted();
      const { done, value } = await reader.read();
      if (done) break;
      if (!ArrayBuffer.isView(value)) throw new ReadFailedError("the stream's parts aren't bytes");
      data.add(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
    }
  } catch (error) {
    reader.cancel(error).catch(() => {});
    throw error;
  }
  const cut = Number.isFinite(data.size) && data.length < data.size;
  data.end(cut ? new TruncatedError(`is cut off after ${data.length} of ${data.size} bytes; fetch it again`) : null);
}

/** Return what stands for a source in messages: its address or its name. */
export function nameOf(source, other = "the file") {
  const text = source instanceof URL ? source.href : source?.name ?? source?.url ?? source;
  return typeof text === "string" && text ? text.slice(0, MAX_NAME_BYTES) : other;
}
