/* Read a container of any bytes with the C decoder, in every way, in memory of exactly the size that it asks for.
 *
 * For libFuzzer:  clang -g -O1 -fsanitize=fuzzer,address,undefined -DLIBFUZZER -Iformats/c tests/fuzz/fuzz_c.c formats/c/qac.c
 * Without it:     cc -g -fsanitize=address,undefined -Iformats/c tests/fuzz/fuzz_c.c formats/c/qac.c
 * The latter reads a file of containers, each behind its size (four bytes, little-endian), and writes a line for each:
 * the error of qac_open, else for each tensor "error:CRC-32 of its values", then the error of qac_check.
 * Under libFuzzer checksums are made right first, as far as the prefix and the header go.
 */
#include "qac.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef LIBFUZZER
#define MOST ((size_t)1 << 18) /* bytes of an arena or an output that a file gets; more is refused, since it takes time */
#else
#define MOST ((size_t)64 << 20)
#endif

static uint32_t crc32_of(const uint8_t *data, size_t bytes) {
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

static int read_data(void *user, uint64_t offset, void *into, size_t bytes) {
    const qac_source *all = user;
    if (offset > all->size || bytes > all->size - offset) abort(); /* the decoder must not ask for what isn't there */
    memcpy(into, all->data + (size_t)offset, bytes);
    return 0;
}

/* Open with as much memory as it asks for. */
static qac_error open_with(qac_file *file, const qac_source *source, qac_strictness strictness, uint8_t **arena, size_t bytes) {
    for (;;) {
        free(*arena);
        *arena = malloc(bytes ? bytes : 1);
        qac_error error = qac_open(file, source, strictness, *arena, bytes);
        if (error != QAC_ARENA_TOO_SMALL) return error;
        if (file->need <= bytes) abort();
        if (file->need > MOST) return error;
        bytes = (size_t)file->need;
    }
}

/* Read a tensor at a level; start < stop: those rows. */
static qac_error read_one(qac_file *file, uint32_t number, uint32_t level, uint64_t start, uint64_t stop, FILE *told) {
    qac_tensor tensor;
    qac_error error = qac_tensor_info(file, number, &tensor);
    if (error) return error;
    uint64_t bytes = tensor.bytes;
    if (start < stop) {
        if (!tensor.dims || tensor.shape[0] < stop || !tensor.count) return QAC_OK;
        bytes = tensor.bytes / tensor.shape[0] * (stop - start);
    }
    if (bytes > MOST) {
        if (told) fprintf(told, "%d:0 ", (int)QAC_LIMIT_EXCEEDED);
        return QAC_LIMIT_EXCEEDED;
    }
    uint8_t *out = malloc(bytes ? (size_t)bytes : 1);
    error = start < stop ? qac_read_rows(file, number, start, stop, level, out, (size_t)bytes)
                         : qac_read(file, number, level, out, (size_t)bytes);
    if (told) fprintf(told, "%d:%08x ", (int)error, error ? 0 : (unsigned)crc32_of(out, (size_t)bytes));
    free(out);
    return error;
}

static void read_all(const uint8_t *data, size_t size, qac_speed speed, int by_function, qac_strictness strictness, FILE *told) {
    uint8_t *arena = NULL;
    uint64_t need = 0, blob;
    qac_file file;
    qac_source all = {data, size, NULL, NULL, NULL}, source = all;
    if (by_function) {
        source.data = NULL;
        source.read = read_data;
        source.user = &all;
    }
    qac_error error = open_with(&file, &source, strictness, &arena, 0);
    if (told) fprintf(told, "%d ", (int)error);
    while (!error) {
        error = qac_arena_bytes(&file, speed, QAC_FINEST, &need);
        if (error != QAC_ARENA_TOO_SMALL || file.need > MOST) break;
        error = open_with(&file, &source, strictness, &arena, (size_t)file.need);
    }
    if (!error && need <= MOST) error = open_with(&file, &source, strictness, &arena, (size_t)need);
    int sure = !error; /* measuring went well, so there must be memory enough */
    if (file.tensors && (!error || file.need == 0)) {
        for (uint32_t i = 0; i < file.tensors && i < 64; i++) {
            qac_error found = read_one(&file, i, QAC_FINEST, 0, 0, told);
            if (found == QAC_ARENA_TOO_SMALL && sure && need <= MOST) abort();
            for (uint32_t level = 0; level < file.levels && file.levels > 1; level++) read_one(&file, i, level, 0, 0, NULL);
            read_one(&file, i, QAC_FINEST, 1, 2, NULL);
        }
        for (int kind = QAC_GRAPH; kind <= QAC_METADATA; kind++) {
            if (qac_blob_bytes(&file, (qac_blob)kind, &blob) || blob > MOST) continue;
            uint8_t *out = malloc(blob ? (size_t)blob : 1);
            qac_read_blob(&file, (qac_blob)kind, out, (size_t)blob);
            free(out);
        }
        error = qac_check(&file);
        if (told) fprintf(told, "%d", (int)error);
    }
    if (told) fprintf(told, "\n");
    free(arena);
}

static void each_way(const uint8_t *data, size_t size, FILE *told) {
    read_all(data, size, QAC_FAST, 0, QAC_STRICT, told);
    read_all(data, size, QAC_LEAN, 0, QAC_ALLOW_TRUNCATED, NULL);
    read_all(data, size, QAC_LEAN, 1, QAC_STRICT, NULL);
}

#ifdef LIBFUZZER
static void store32(uint8_t *p, uint32_t value) {
    for (int i = 0; i < 4; i++, value >>= 8) p[i] = (uint8_t)value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, data, size);
    if (size >= 32) {
        uint32_t stored = (uint32_t)copy[8] | (uint32_t)copy[9] << 8;
        memcpy(copy, "\x93QAC\x01", 5);
        copy[5] &= 3;
        if (stored > size - 32) stored = (uint32_t)(size - 32);
        store32(copy + 8, stored);
        if (copy[6] == 0) store32(copy + 12, stored);
        store32(copy + 16, (uint32_t)size);
        store32(copy + 20, 0);
        store32(copy + 24, crc32_of(copy + 32, stored));
        store32(copy + 28, crc32_of(copy, 28));
    }
    each_way(copy, size, NULL); /* build with FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION, which skips those of sections */
    free(copy);
    return 0;
}
#else
int main(int count, char **arguments) {
    FILE *packed = count == 2 ? fopen(arguments[1], "rb") : NULL;
    uint8_t size[4];
    if (!packed) return 2;
    while (fread(size, 1, 4, packed) == 4) {
        size_t bytes = (size_t)size[0] | (size_t)size[1] << 8 | (size_t)size[2] << 16 | (size_t)size[3] << 24;
        uint8_t *data = malloc(bytes ? bytes : 1);
        if (fread(data, 1, bytes, packed) != bytes) return 2;
        each_way(data, bytes, stdout);
        free(data);
    }
    return fclose(packed);
}
#endif
