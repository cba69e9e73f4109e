/* qac_wasm.c: the C reader as a WebAssembly module. wasm_reader.js calls it and lays out its memory: a qac_file where
 * `qac_wasm_start` says, the arena, then the output. Bytes of the container come from the imported function `read`. */
#include "../../c/qac.h"

#include <string.h>

#define EXPORT(name) __attribute__((export_name(#name)))
#define IMPORT(name) __attribute__((import_module("qac"), import_name(#name)))

IMPORT(read) int js_read(uint32_t offset, void *into, size_t bytes);
IMPORT(zstd) int js_zstd(const uint8_t *frame, size_t frame_bytes, uint8_t *into, size_t bytes);

extern uint8_t __heap_base;

static int read_bytes(void *user, uint64_t offset, void *into, size_t bytes) {
    (void)user;
    return js_read((uint32_t)offset, into, bytes);
}

static int read_frame(void *user, const uint8_t *frame, size_t frame_bytes, uint8_t *into, size_t bytes) {
    (void)user;
    return js_zstd(frame, frame_bytes, into, bytes);
}

/* Where memory that JavaScript may use begins; the qac_file stands there. */
EXPORT(start) uint32_t start(void) { return ((uint32_t)&__heap_base + 15) & ~15u; }

EXPORT(file_bytes) uint32_t file_bytes(void) { return (uint32_t)qac_file_bytes(); }

EXPORT(open) qac_error open(qac_file *file, uint32_t received, void *arena, size_t bytes) {
    qac_source source;
    memset(&source, 0, sizeof source);
    source.size = received;
    source.read = read_bytes;
    source.zstd = read_frame;
    return qac_open(file, &source, QAC_ALLOW_TRUNCATED, arena, bytes);
}

/* Tell the open file that more of its bytes have arrived. */
EXPORT(arrived) void arrived(qac_file *file, uint32_t received) { file->source.size = received; }

/* Bytes of the arena to try again with, after QAC_ARENA_TOO_SMALL. */
EXPORT(need) uint32_t need(const qac_file *file) { return file->need > UINT32_MAX ? UINT32_MAX : (uint32_t)file->need; }

EXPORT(values) qac_error values(qac_file *file, uint32_t number, uint32_t level, void *out, size_t bytes) {
    return qac_read(file, number, level, out, bytes);
}

void *memcpy(void *into, const void *from, size_t bytes) { return __builtin_memcpy(into, from, bytes); }

void *memset(void *into, int byte, size_t bytes) { return __builtin_memset(into, byte, bytes); }

int memcmp(const void *a, const void *b, size_t bytes) {
    const uint8_t *x = a, *y = b;
    for (; bytes > 0; bytes--, x++, y++) {
        if (*x != *y) return *x < *y ? -1 : 1;
    }
    return 0;
}

size_t strlen(const char *text) {
    size_t length = 0;
    while (text[length]) length++;
    return length;
}
