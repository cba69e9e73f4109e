/** Reads containers of the format .qac in browsers and in node. */

/** A Zstandard decoder: returns the `bytes` decoded bytes of a frame. */
export type ZstdDecoder = (frame: Uint8Array, bytes: number) => Uint8Array;

export interface Progress {
  /** Bytes that have arrived. */
  received: number;
  /** Bytes of the whole file. */
  size: number;
  /** The finest level that has arrived completely; -1 before the first one has. */
  level: number;
}

export interface OpenOptions {
  /** Resolve as soon as the header is there, while the rest goes on arriving; see `level` and `ready`. */
  progressive?: boolean;
  /** Called whenever bytes arrive, once the header is there. */
  onProgress?: (progress: Progress) => void;
  /** Decodes sections that are stored with Zstandard; by default the package fzstd or node's own decoder, if there. */
  zstd?: ZstdDecoder;
  /** Ends the download. */
  signal?: AbortSignal;
  /** Stands for the file in messages; by default its address. */
  name?: string;
  /** What decodes: "js" (the default) is plain JavaScript, "wasm" the C reader as a WebAssembly module. */
  engine?: "js" | "wasm";
  /** The WebAssembly module, its bytes or its address; by default wasm/qac.wasm of the package. */
  wasm?: WebAssembly.Module | ArrayBuffer | ArrayBufferView | string | URL;
  /** The root that the file must have, in hex: all bytes that are used are then checked against it. */
  root?: string;
}

export type Source = string | URL | Response | Blob | ReadableStream<Uint8Array> | ArrayBuffer | ArrayBufferView;

export type DType =
  | "bool" | "uint8" | "int8" | "uint16" | "int16" | "uint32" | "int32" | "uint64" | "int64"
  | "float16" | "bfloat16" | "float32" | "float64";

export type TensorData =
  | Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Int32Array | BigUint64Array | BigInt64Array
  | Float32Array | Float64Array;

export interface Tensor {
  name: string;
  dtype: DType;
  shape: number[];
  /** The level that was read. */
  level: number;
  /** The values in row-major order; those of float16 and bfloat16 as their bits, those of bool as 0 and 1. */
  data: TensorData;
}

export interface TensorInfo {
  readonly name: string;
  /** A DType, or "unknown-13" for the unknown type 13 of a newer version. */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Number of values. */
  readonly count: number;
  /** Bytes of all values, decoded. */
  readonly bytes: number;
  /**
   * Bytes in the file, with its part of values that are coded with those of others; 0 for a tensor with the content of
   * another. Null for a tensor of a group (`QacFile.groups`): its part depends on the indices, which aren't decoded.
   */
  readonly storedBytes: number | null;
  readonly kind: "dense" | "shared";
  /** Sizes of the codebooks, the coarsest first; empty for a dense tensor. */
  readonly levels: readonly number[];
  /** Sizes of the blocks that have a codebook each, or null for one codebook. */
  readonly blocks: readonly number[] | null;
  /** The earlier tensor with the same content, or null. */
  readonly sameAs: string | null;
}

/** Tensors whose indices are coded together, and the bytes that they have together in the file, codebooks included. */
export interface TensorGroup {
  readonly names: readonly string[];
  readonly storedBytes: number;
}

export class QacFile {
  private constructor();
  readonly name: string;
  /** Of the format: major, minor. */
  readonly version: readonly [number, number];
  /** Bytes of the whole file. */
  readonly size: number;
  /** Bytes that have arrived. */
  readonly received: number;
  /** How many levels the file has; 1 without nested codebooks. */
  readonly levels: number;
  /** The finest level that has arrived completely; -1 before the first one has. */
  readonly level: number;
  /** What decodes. */
  readonly engine: "js" | "wasm";
  /** What the header says of each tensor, in order. */
  readonly tensors: TensorInfo[];
  /** The tensors without storedBytes of their own. */
  readonly groups: TensorGroup[];
  readonly names: string[];
  /** A copy of the metadata. */
  readonly metadata: Record<string, any>;
  /** The hash that binds all bytes, in hex. The whole file must be there, or leaf hashes in its header. */
  readonly root: string;
  info(name: string): TensorInfo;
  /** Bytes from the start of the file to the end of a level: what must arrive to read it. */
  bytesUpTo(level: number): number;
  /** Wait until a level has arrived, by default the finest one. Raises TruncatedError if the file is cut off before. */
  ready(level?: number): Promise<this>;
  /**
   * Decode a tensor; level: 0 is the coarsest, by default the finest level that has arrived. into: an array of the type and
   * the length of its values, which gets them, so that no new memory is taken. Undefined after an error.
   */
  tensor(name: string, options?: { level?: number; into?: TensorData }): Tensor;
  /** The bytes of the graph as it is stored, without its tensors; null if there is none. */
  graph(): Uint8Array | null;
  /** The dense ONNX model with the tensors of a level: the bytes that `qacomp decode` writes. */
  onnx(options?: { level?: number }): Uint8Array;
  /** Check the checksums of all sections. */
  check(): this;
}

/** Open a container. It resolves when all bytes are there, or with `progressive` when its header is. */
export function open(source: Source, options?: OpenOptions): Promise<QacFile>;

export interface DeltaOptions {
  /** Decodes sections that are stored with Zstandard, as that of OpenOptions. */
  zstd?: ZstdDecoder;
  /** Ends the downloads. */
  signal?: AbortSignal;
}

/**
 * Make the new file that a delta (`qacomp delta`) makes of the old one, its base: exactly its bytes, and only if they have
 * the digest that the delta promises. Apply the deltas of a chain in their order, each to what the one before made.
 * Raises a WrongBaseError if the delta starts from another file or was applied already.
 */
export function applyDelta(base: Source, delta: Source, options?: DeltaOptions): Promise<Uint8Array>;

/** What open(), applyDelta() and all methods raise for a bad file. The message is one line that says what to do next. */
export class QacError extends Error {}
export class NotAContainerError extends QacError {}
export class UnsupportedVersionError extends QacError {}
export class TruncatedError extends QacError {}
export class ChecksumError extends QacError {}
export class HeaderError extends QacError {}
export class LimitExceededError extends QacError {}
export class PayloadError extends QacError {}
export class TensorNotFoundError extends QacError {}
export class ReadFailedError extends QacError {}
export class NoZstdError extends QacError {}
export class NoGraphError extends QacError {}
export class WrongBaseError extends QacError {}
export class ArgumentError extends QacError {}
export class EngineError extends QacError {}

/** Text from a file, fit to be shown: on one line, in quotes, at most 80 characters. */
export function shown(text: string): string;
