/* Apply a delta of any bytes to a base of any bytes with qac_delta.c, in every way, in memory of exactly the size that it
 * asks for; and with flash that fails.
 *
 * For libFuzzer:  clang -g -O1 -fsanitize=fuzzer,address,undefined -DLIBFUZZER -Iformats/c tests/fuzz/fuzz_delta.c formats/c/qac_delta.c
 * Without it:     cc -g -fsanitize=address,undefined -Iformats/c tests/fuzz/fuzz_delta.c formats/c/qac_delta.c
 * An input is the size of the base (four bytes, little-endian), the base, and the delta. The program without libFuzzer reads
 * a file of inputs, each behind its size, and writes a line for each: "error:CRC-32:bytes of the result", for a second
 * region (in memory, then by functions) and in place; then the arena, lean and fast, and the buffer that is needed.
 * Under libFuzzer the checksums of the three headers are made right first.
 */
#include "qac_delta.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST ((size_t)64 << 20) /* bytes of an arena or of a file that a delta gets; more is refused */

static uint32_t crc32_of(const uint8_t *data, size_t bytes) {
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

static uint32_t load32(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }

static int read_data(void *user, uint64_t offset, void *into, size_t bytes) {
    const qac_source *all = user;
    if (offset > all->size || bytes > all->size - offset) abort(); /* it must not ask for what isn't there */
    memcpy(into, all->data + (size_t)offset, bytes);
    return 0;
}

/* A region of flash: what was written, in ascending order and once. */
typedef struct region {
    uint8_t *data;
    uint64_t size, written;
} region;

static int write_region(void *user, uint64_t offset, const void *from, size_t bytes) {
    region *r = user;
    if (offset != r->written || bytes > r->size - offset) abort();
    memcpy(r->data + (size_t)offset, from, bytes);
    r->written += bytes;
    return 0;
}

static int read_region(void *user, uint64_t offset, void *into, size_t bytes) {
    const region *r = user;
    if (offset > r->written || bytes > r->written - offset) abort();
    memcpy(into, r->data + (size_t)offset, bytes);
    return 0;
}

/* Open with as much memory as it asks for, at least `bytes`. */
static qac_error open_with(qac_delta *delta, const qac_source *base, const qac_source *update, uint8_t **arena, size_t bytes) {
    for (;;) {
        free(*arena);
        *arena = malloc(bytes ? bytes : 1);
        qac_error error = qac_delta_open(delta, base, update, *arena, bytes);
        if (error != QAC_ARENA_TOO_SMALL) return error;
        if (delta->need <= bytes) abort();
        if (delta->need > MOST) return error;
        bytes = (size_t)delta->need;
    }
}

enum { IN_MEMORY, BY_FUNCTIONS, IN_PLACE };

static qac_error apply(const uint8_t *base, size_t base_bytes, const uint8_t *update, size_t bytes, int way, FILE *told) {
    uint8_t *arena = NULL, *buffer = NULL;
    uint64_t need[2] = {0, 0}, room = 0;
    qac_source old = {base, base_bytes, NULL, NULL, NULL}, new = {update, bytes, NULL, NULL, NULL};
    qac_source from = old, by = new;
    qac_delta delta;
    if (way == IN_PLACE) {
        buffer = malloc(base_bytes + 1);
        memcpy(buffer, base, base_bytes);
        from.data = buffer;
    }
    if (way == BY_FUNCTIONS) {
        from.data = by.data = NULL;
        from.read = by.read = read_data;
        from.user = &old;
        by.user = &new;
    }
    qac_error error = open_with(&delta, &from, &by, &arena, 0);
    for (int speed = QAC_LEAN; speed <= QAC_FAST && !error; speed++) error = qac_delta_arena_bytes(&delta, (qac_speed)speed, &need[speed]);
    if (!error && (need[1] > MOST || delta.to.bytes > MOST)) error = QAC_LIMIT_EXCEEDED;
    if (!error) error = qac_delta_in_place_bytes(&delta, &room);
    if (!error && way == IN_PLACE) { /* a buffer of exactly the size that is needed */
        if (room < base_bytes || room > MOST) abort();
        buffer = realloc(buffer, (size_t)room + 1);
        from.data = buffer;
    }
    if (!error) error = open_with(&delta, &from, &by, &arena, (size_t)need[way == IN_MEMORY]);
    region made = {NULL, delta.to.bytes, 0};
    if (!error && way == IN_PLACE) {
        error = qac_delta_apply_in_place(&delta, buffer, (size_t)room);
        if (error == QAC_ARENA_TOO_SMALL || error == QAC_BUFFER_TOO_SMALL) abort();
        made.data = buffer;
    } else if (!error) {
        qac_delta_target target = {write_region, read_region, &made};
        made.data = malloc((size_t)made.size + 1);
        error = qac_delta_apply(&delta, &target);
        if (error == QAC_ARENA_TOO_SMALL) abort();
    }
    if (told) {
        unsigned crc = error ? 0 : (unsigned)crc32_of(made.data, (size_t)made.size);
        fprintf(told, "%d:%08x:%lu ", (int)error, crc, (unsigned long)(error ? 0 : made.size));
        if (way == IN_PLACE) fprintf(told, "%lu %lu %lu\n", (unsigned long)need[0], (unsigned long)need[1], (unsigned long)room);
    }
    if (way == IN_PLACE) free(buffer);
    else free(made.data);
    free(arena);
    return error;
}

/* Flash that fails: writing does from `fails_at` on, and the byte at `flipped` is read back as another one. */
typedef struct worn_region {
    region r;
    uint64_t fails_at, flipped;
} worn_region;

static int write_worn(void *user, uint64_t offset, const void *from, size_t bytes) {
    worn_region *worn = user;
    return offset + bytes > worn->fails_at ? 1 : write_region(&worn->r, offset, from, bytes);
}

static int read_worn(void *user, uint64_t offset, void *into, size_t bytes) {
    worn_region *worn = user;
    if (read_region(&worn->r, offset, into, bytes)) return 1;
    if (worn->flipped >= offset && worn->flipped - offset < bytes) ((uint8_t *)into)[worn->flipped - offset] ^= 4;
    return 0;
}

/* Where applying succeeds: see that it tells of flash that fails, and succeeds again with the same base after that. */
static void with_worn_flash(const uint8_t *base, size_t base_bytes, const uint8_t *update, size_t bytes) {
    uint8_t *arena = NULL;
    qac_source old = {base, base_bytes, NULL, NULL, NULL}, new = {update, bytes, NULL, NULL, NULL};
    qac_delta delta;
    uint64_t need;
    if (open_with(&delta, &old, &new, &arena, 0) || qac_delta_arena_bytes(&delta, QAC_LEAN, &need)) abort();
    if (open_with(&delta, &old, &new, &arena, (size_t)need)) abort();
    uint8_t *data = malloc((size_t)delta.to.bytes);
    for (uint64_t part = 0; part <= 4; part++) {
        uint64_t at = part * (delta.to.bytes - 1) / 4, all = delta.to.bytes;
        worn_region failing = {{data, all, 0}, at, UINT64_MAX}, flipping = {{data, all, 0}, UINT64_MAX, at};
        qac_delta_target target = {write_worn, read_worn, &failing};
        if (qac_delta_apply(&delta, &target) != QAC_WRITE_FAILED || failing.r.written > at) abort();
        target.user = &flipping;
        if (qac_delta_apply(&delta, &target) == QAC_OK) abort();
    }
    worn_region sound = {{data, delta.to.bytes, 0}, UINT64_MAX, UINT64_MAX};
    qac_delta_target target = {write_worn, read_worn, &sound};
    if (qac_delta_apply(&delta, &target) != QAC_OK) abort();
    free(data);
    free(arena);
}

static void each_way(const uint8_t *data, size_t size, FILE *told) {
    if (size < 4 || load32(data) > size - 4) return;
    size_t base_bytes = load32(data);
    const uint8_t *update = data + 4 + base_bytes;
    qac_error first = QAC_OK;
    for (int way = IN_MEMORY; way <= IN_PLACE; way++) {
        qac_error error = apply(data + 4, base_bytes, update, size - 4 - base_bytes, way, told);
        if (way == IN_MEMORY) first = error;
        else if (!error != !first) abort(); /* all ways agree */
    }
#ifndef LIBFUZZER /* which has no digests, so that nobody would notice */
    if (!first) with_worn_flash(data + 4, base_bytes, update, size - 4 - base_bytes);
#endif
}

#ifdef LIBFUZZER
static void store32(uint8_t *p, uint32_t value) {
    for (int i = 0; i < 4; i++, value >>= 8) p[i] = (uint8_t)value;
}

/* Make a prefix and its checksums right; returns the bytes of the stored header. */
static uint32_t mend(uint8_t *prefix, size_t bytes, size_t file_bytes, const char *magic) {
    uint32_t stored = (uint32_t)prefix[8] | (uint32_t)prefix[9] << 8;
    memcpy(prefix, magic, 5);
    if (stored > bytes - 32) stored = (uint32_t)(bytes - 32);
    store32(prefix + 8, stored);
    if (prefix[6] == 0) store32(prefix + 12, stored);
    if (file_bytes) {
        store32(prefix + 16, (uint32_t)file_bytes);
        store32(prefix + 20, 0);
    }
    store32(prefix + 24, crc32_of(prefix + 32, stored));
    store32(prefix + 28, crc32_of(prefix, 28));
    return stored;
}

/* Find the end of an unsigned LEB128 integer, and its value. */
static uint8_t *skip(uint8_t *p, const uint8_t *end, uint64_t *value) {
    *value = 0;
    for (int shift = 0; p < end && shift < 63; shift += 7) {
        *value |= (uint64_t)(*p & 127) << shift;
        if (!(*p++ & 128)) break;
    }
    return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, data, size);
    if (size >= 4 && load32(data) <= size - 4 && size - 4 - load32(data) >= 32) {
        uint8_t *prefix = copy + 4 + load32(data), *end = copy + size, *p;
        size_t bytes = (size_t)(end - prefix);
        if (load32(data) >= 32) mend(copy + 4, load32(data), load32(data), "\x93QAC\x01");
        uint32_t stored = mend(prefix, bytes, bytes, "\x93QAD\x01");
        uint64_t number;
        p = prefix + 32;
        for (int i = 0; i < 2; i++) { /* the identities; then the bytes of the head, the first payload */
            p = skip(p, prefix + 32 + stored, &number);
            p += (size_t)(prefix + 32 + stored - p) < 32 ? 0 : 32;
        }
        skip(p, prefix + 32 + stored, &number);
        size_t left = (size_t)(end - prefix) - 32 - stored;
        if (prefix[6] == 0 && number >= 32 && number <= left) {
            mend(prefix + 32 + stored, (size_t)number, 0, "\x93QAC\x01");
            store32(prefix + 24, crc32_of(prefix + 32, stored));
        }
        store32(prefix + 28, crc32_of(prefix, 28));
    }
    each_way(copy, size, NULL); /* FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION skips checksums and digests of the rest */
    free(copy);
    return 0;
}
#else
int main(int count, char **arguments) {
    FILE *packed = count == 2 ? fopen(arguments[1], "rb") : NULL;
    uint8_t size[4];
    if (!packed) return 2;
    while (fread(size, 1, 4, packed) == 4) {
        size_t bytes = load32(size);
        uint8_t *data = malloc(bytes ? bytes : 1);
        if (fread(data, 1, bytes, packed) != bytes) return 2;
        each_way(data, bytes, stdout);
        free(data);
    }
    return fclose(packed);
}
#endif
