/* qac_delta.h: make a new .qac out of an old one and a delta (.qacd; SPEC.md, section 12), on a device.
 *
 * C99, without a library, without allocation and without recursion, as qac.h. Compile qac_delta.c in place of qac.c, which
 * it includes. The base is the old file, the update is the delta; each is in memory or behind a function.
 *
 * Into a second region (two slots of flash, as firmware is updated): the new file is written once, from its first byte to
 * its last, and read back. The base isn't touched. If anything fails, or power does, the base is still what the device
 * runs, and the update is applied again from the start. Only after QAC_OK, which means that the bytes that were read back
 * have the promised digest, switch to the new region.
 *
 *     qac_delta delta;                                          // some 4 KiB: static, where stacks are small
 *     qac_error error = qac_delta_open(&delta, &old, &update, arena, sizeof arena);
 *     qac_delta_target target = {write_flash, read_flash, &slot};
 *     if (!error) error = qac_delta_apply(&delta, &target);     // checks its memory before it writes anything
 *     if (error) puts(qac_delta_error_text(error));
 *
 * In place (one buffer in RAM that holds the base): `qac_delta_in_place_bytes` tells the size that the buffer needs, which
 * is little above the larger file. The base is moved to its end, and the new file grows from its start behind what is
 * still needed. The base is gone after that: if an error comes then (`delta.touched` isn't 0) the buffer holds
 * neither file, and what it was loaded from is still the old one. So use it for a copy, not for the only one.
 *
 * Several deltas are applied one after the other. QAC_ALREADY_APPLIED tells that the base is what a delta makes.
 */
#ifndef QAC_DELTA_H
#define QAC_DELTA_H

#include "qac.h"

#ifdef __cplusplus
extern "C" {
#endif

#define QAC_DELTA_DIGEST_BYTES 32

/* Where the new file goes. Bytes are written in ascending order, each of them once. Both functions return 0 if they did all. */
typedef struct qac_delta_target {
    int (*write)(void *user, uint64_t offset, const void *from, size_t bytes);
    int (*read)(void *user, uint64_t offset, void *into, size_t bytes); /* only of what was written */
    void *user;
} qac_delta_target;

/* The size of a file and its BLAKE2b digest. */
typedef struct qac_delta_identity {
    uint64_t bytes;
    uint8_t digest[QAC_DELTA_DIGEST_BYTES];
} qac_delta_identity;

/* An open delta. Read the fields up to `touched`; the others belong to qac_delta.c. */
typedef struct qac_delta {
    qac_delta_identity from, to; /* the files that it starts from and makes: known as soon as the update's header was read */
    uint64_t need;               /* after QAC_ARENA_TOO_SMALL: bytes of the arena to try again with */
    int touched;                 /* whether anything was written, or the buffer changed */

    qac_file base, update, made;
    void *steps;
    uint32_t *by_name;
    uint64_t head_offset, head_bytes, written;
    const qac_delta_target *target;
    const uint8_t *early;
    uint32_t early_place;
} qac_delta;

/* Open a delta for its base: check all of its checksums, that the base is the file that it was made from (by its digest),
 * and that everything it needs is there. Nothing is written. The arena must stay until the delta isn't used any more. If
 * it is too small, delta->need is set: try again with so many bytes, until it is enough. zstd: the function of
 * `base` is for its sections, that of `update` for the delta's and the new file's. The qac_delta must stay where it is. */
qac_error qac_delta_open(qac_delta *delta, const qac_source *base, const qac_source *update, void *arena, size_t bytes);

/* Tell how many bytes of arena applying needs; nothing is decoded. QAC_FAST: with room to decode groups of the base once. */
qac_error qac_delta_arena_bytes(qac_delta *delta, qac_speed speed, uint64_t *bytes);

/* Write the new file. QAC_ARENA_TOO_SMALL comes before anything is written; delta->need tells the remedy. */
qac_error qac_delta_apply(qac_delta *delta, const qac_delta_target *target);

/* Tell how many bytes a buffer needs that holds the base and then the new file. */
qac_error qac_delta_in_place_bytes(qac_delta *delta, uint64_t *bytes);

/* Turn the base, which is the first bytes of `buffer` (and was given as base.data), into the new file, there too. */
qac_error qac_delta_apply_in_place(qac_delta *delta, uint8_t *buffer, size_t bytes);

/* Return the bytes of a qac_delta, for callers in other languages. */
size_t qac_delta_bytes(void);

/* Return one line that says what an error of these functions means and what to do next. */
const char *qac_delta_error_text(qac_error error);

#ifdef __cplusplus
}
#endif
#endif
