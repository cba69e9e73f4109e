/** The limits of the format (SPEC.md, section 7), and those of this reader. */

export const MAX_NAME_BYTES = 65535;
export const MAX_DIMS = 32;
export const MAX_ALPHABET = 65536;
export const MAX_LEVELS = 16;
export const MAX_LANES = 65536;
export const MAX_STEPS = 65536;
export const MAX_CONTEXT_CELLS = 1 << 20;
export const MAX_TABLE_SLOTS = 1 << 22;
export const MAX_GROUP_TENSORS = 4096;
export const MAX_TENSORS = 1 << 20;
export const MAX_SECTIONS = 1 << 21;
export const MAX_DIGEST_BYTES = 32;
export const MAX_CHUNK_LOG2 = 30;
export const MAX_SPREAD = 1n << 59n;
export const MAX_CODER_ALPHABET = 4096; // of huffman and rans

export const HEADER_FLOOR = 1 << 18;
export const HEADER_EXPANSION = 16;
export const GRAPH_FLOOR = 1 << 24;
export const GRAPH_EXPANSION = 256;
export const META_FLOOR = 1 << 20;
export const META_EXPANSION = 64;
export const SECTION_FLOOR = 1 << 28;
export const DECODED_FLOOR = 1 << 29;
export const EXPANSION = 4096;

export const ALIGNMENT = 64;
export const ALIGNED_FROM = 4096;

export const MAX_HEADER_BYTES = 64 * 2 ** 20;
export const MAX_BLOB_BYTES = 2 ** 30;
/** Bytes of one tensor, and of a file: every engine of JavaScript has arrays of that size. */
export const MAX_TENSOR_BYTES = 2 ** 31 - 1;
export const MAX_FILE_BYTES = 2 ** 31 - 1;

export const MAX_AXIS = 2 ** 48;
/** Bytes of decoded groups of small tensors that an open file keeps. */
export const MAX_CACHED_BYTES = 1 << 28;
