/* qac.h: read containers of the format .qac (SPEC.md, versions 1.0 to 1.6) on a device.
 *
 * C99, without a library, without allocation and without recursion. All memory is an arena that the caller gives.
 * A file is hostile until it is checked: every size in it is bounded before it is used, and every function returns an
 * error that says what is wrong. If a function returns an error, what it has written to its output is invalid.
 *
 * What a device doesn't need can be left out of the code: QAC_NO_LZMA, QAC_NO_DEFLATE, QAC_NO_TRELLIS, QAC_NO_MIXING
 * (defined when qac.c is compiled).
 * Files that use it are then refused; `qacomp compress --codec no-lzma,no-deflate,no-zstd` writes files that don't.
 * QAC_SMALL=1 chooses small loops instead of fast ones; it is the default where the compiler optimises for size (-Os).
 *
 *     qac_source source = {0};
 *     source.data = container;                      // or source.read, for a file or a flash chip
 *     source.size = sizeof container;
 *     qac_file file;
 *     qac_error error = qac_open(&file, &source, QAC_STRICT, arena, sizeof arena);
 *     for (uint32_t i = 0; !error && i < file.tensors; i++) {
 *         qac_tensor tensor;
 *         error = qac_tensor_info(&file, i, &tensor);
 *         if (!error) error = qac_read(&file, i, QAC_FINEST, buffer, sizeof buffer);   // tensor.bytes of it are used
 *     }
 *     if (error) puts(qac_error_text(error));
 */
#ifndef QAC_H
#define QAC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QAC_FINEST UINT32_MAX /* as a level: the finest one that the file has completely */
#define QAC_MAX_DIMS 32

#ifndef QAC_CRC_TABLES
#define QAC_CRC_TABLES 1 /* 8: checksums in a fourth of the time, for 7 KiB more in each qac_file */
#endif

typedef enum qac_error {
    QAC_OK = 0,
    QAC_NOT_A_CONTAINER,     /* the first bytes are those of something else */
    QAC_UNSUPPORTED_VERSION, /* a newer version of the format, or a codec or an element type of one */
    QAC_TRUNCATED,           /* the file is shorter than its header says */
    QAC_CHECKSUM_MISMATCH,   /* bytes don't match their checksum, or a tensor its digest */
    QAC_BAD_HEADER,          /* a field of the header is malformed or contradicts another */
    QAC_LIMIT_EXCEEDED,      /* a size in the file is above what a reader accepts */
    QAC_BAD_PAYLOAD,         /* a section can't be decoded to what the header says */
    QAC_TENSOR_NOT_FOUND,    /* no tensor has this name or number */
    QAC_ARENA_TOO_SMALL,     /* file->need tells how many bytes the arena needs */
    QAC_BUFFER_TOO_SMALL,    /* the output needs the bytes that qac_tensor.bytes (or the blob's size) tells */
    QAC_READ_FAILED,         /* the caller's read function failed */
    QAC_NO_ZSTD,             /* a section is stored with zstd, and the source has no function for it */
    QAC_BAD_ARGUMENT,        /* rows or a level outside the tensor, or a null pointer */

    QAC_WRONG_BASE = 32,     /* qac_delta.h: the delta was made from another file */
    QAC_ALREADY_APPLIED,     /* the base is what the delta makes */
    QAC_UNSUPPORTED_DELTA,   /* a section can only be made again by a newer program, or one with more codecs */
    QAC_WRITE_FAILED,        /* the caller's write function failed */
    QAC_WRONG_RESULT         /* what was read back isn't the file that the delta promises */
} qac_error;

typedef enum qac_type {
    QAC_BOOL, QAC_UINT8, QAC_INT8, QAC_UINT16, QAC_INT16, QAC_UINT32, QAC_INT32, QAC_UINT64, QAC_INT64,
    QAC_FLOAT16, QAC_BFLOAT16, QAC_FLOAT32, QAC_FLOAT64
} qac_type;

typedef enum qac_strictness {
    QAC_STRICT,         /* the whole file must be there */
    QAC_ALLOW_TRUNCATED /* a file that is cut off after a complete level is read at that level */
} qac_strictness;

typedef enum qac_speed {
    QAC_LEAN, /* as little memory as possible: a group of small tensors is decoded again for each of them */
    QAC_FAST  /* a decoded group is kept in the arena, and rANS uses tables of all slots */
} qac_speed;

typedef enum qac_blob { QAC_GRAPH, QAC_METADATA } qac_blob;

/* Where the container is: in memory (data), or behind a function (read, if data is NULL). */
typedef struct qac_source {
    const uint8_t *data; /* all bytes, or NULL */
    uint64_t size;       /* bytes that there are */
    int (*read)(void *user, uint64_t offset, void *into, size_t bytes); /* returns 0 if all bytes were read */
    /* Decompresses one Zstandard frame without magic number to exactly `bytes` bytes; returns 0 if it did. May be NULL:
     * then sections with zstd are refused. With libzstd: ZSTD_DCtx_setParameter(d, ZSTD_d_format, 1), magicless. */
    int (*zstd)(void *user, const uint8_t *frame, size_t frame_bytes, uint8_t *into, size_t bytes);
    void *user; /* given to both functions */
} qac_source;

/* What the header says about a tensor. */
typedef struct qac_tensor {
    const char *name;      /* UTF-8, ends with a zero byte */
    uint32_t name_bytes;   /* without that */
    qac_type type;         /* element type of what qac_read writes, little-endian on every machine with that order */
    uint32_t dims;         /* number of axes, 0 to QAC_MAX_DIMS */
    const uint64_t *shape; /* their sizes */
    uint64_t count;        /* number of values */
    uint64_t bytes;        /* of all values */
    uint32_t levels;       /* 0: stored dense; else at how many levels the tensor can be read, 0 is the coarsest */
    uint32_t entries;      /* of the finest codebook; 0 for a dense tensor */
} qac_tensor;

/* An open file. Read the fields up to `need`; the others belong to qac.c. */
typedef struct qac_file {
    uint32_t tensors;      /* number of tensors */
    uint32_t levels;       /* number of levels of the file, 1 without nested codebooks */
    uint32_t level;        /* the finest complete level */
    uint8_t version[2];    /* of the format: major, minor */
    uint64_t need;         /* after QAC_ARENA_TOO_SMALL: bytes of the arena to try again with */

    qac_source source;
    int error; /* the first one of the call that is under way, a qac_error */
    int measuring, keep_none;
    uint8_t *arena;
    size_t arena_bytes, all_bytes, top, kept, peak, open_peak;
    void *tensor_records, *section_records;
    uint32_t *by_key, sections, chunk_log2;
    size_t first_section, group_bytes[2];
    uint32_t group_places[2];
    uint8_t *groups[2];
    uint32_t crc_tables[QAC_CRC_TABLES][256];
} qac_file;

/* Open a container: check its first bytes and its header. The arena must stay until the file isn't used any more; there
 * is nothing to close. If it is too small, file->need is set: try again with so many bytes, until it is enough. */
qac_error qac_open(qac_file *file, const qac_source *source, qac_strictness strictness, void *arena, size_t bytes);

/* Tell how many bytes of arena qac_open and every function below need, at the level `level` or QAC_FINEST. Nothing is
 * decoded; the first bytes of each section are read. Open the file again with an arena of that size. (It may return
 * QAC_ARENA_TOO_SMALL itself, for which file->need tells the remedy.) */
qac_error qac_arena_bytes(qac_file *file, qac_speed speed, uint32_t level, uint64_t *bytes);

/* Describe the tensor `number` (below file->tensors), without decoding anything. */
qac_error qac_tensor_info(const qac_file *file, uint32_t number, qac_tensor *tensor);

/* Find a tensor by its name. */
qac_error qac_find(const qac_file *file, const char *name, uint32_t *number);

/* Write all values of a tensor to `out`, which has `bytes` bytes. `out` may be the same for each tensor. level: 0 is the
 * coarsest; a tensor with fewer levels, or a dense one, is read at its finest. */
qac_error qac_read(qac_file *file, uint32_t number, uint32_t level, void *out, size_t bytes);

/* Write the rows [start, stop) of the first axis. Of a tensor above the size of a chunk only those chunks are decoded. */
qac_error qac_read_rows(qac_file *file, uint32_t number, uint64_t start, uint64_t stop, uint32_t level, void *out,
                        size_t bytes);

/* Tell the size of the graph or of the metadata, 0 if the file has none; write them. */
qac_error qac_blob_bytes(const qac_file *file, qac_blob blob, uint64_t *bytes);
qac_error qac_read_blob(qac_file *file, qac_blob blob, void *out, size_t bytes);

/* Check the checksums of all sections and the padding between them. */
qac_error qac_check(qac_file *file);

/* Return the bytes of a qac_file, for callers in other languages. */
size_t qac_file_bytes(void);

/* Return one line that says what an error means and what to do next. */
const char *qac_error_text(qac_error error);

#ifdef __cplusplus
}
#endif
#endif
