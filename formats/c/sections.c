/* sections.c: decode one section of indices, for a reader that checks the rest of a file itself (native_sections.py). */
#include "qac_root.c"

#define FIELDS 8

size_t qac_indices(uint32_t codec, const uint8_t *payload, size_t bytes, const uint64_t *fields, uint32_t n, uint8_t *out,
                   uint8_t *arena, size_t arena_bytes);

/* Write the indices of n streams at level 0 to `out`, one stream after the other, a byte each, or two for an alphabet
 * above 256. fields: for each stream its number of indices, the place of the first one, the number of axes, the size of
 * the second one and of all later ones together, the alphabet, the size of the tensor without those later axes, and the
 * size of the last axis (1 with two axes or fewer). The caller bounds them: 2^28 indices in all. Returns 0, or 1 if the
 * section is damaged or isn't decoded here, or above that the bytes of arena to try again with. */
size_t qac_indices(uint32_t codec, const uint8_t *payload, size_t bytes, const uint64_t *fields, uint32_t n, uint8_t *out,
                   uint8_t *arena, size_t arena_bytes) {
    qac_file file;
    memset(&file, 0, sizeof file);
    file.arena = arena;
    file.arena_bytes = arena_bytes;
    stream *s = take(&file, (amount)n * sizeof *s);
    qac_error error = s ? QAC_OK : too_small(&file);
    for (uint32_t i = 0; s && i < n; i++) {
        const uint64_t *of = fields + (size_t)i * FIELDS;
        memset(&s[i], 0, sizeof s[i]);
        s[i].count = s[i].wanted = (amount)of[0];
        s[i].start = (amount)of[1];
        s[i].dims = (uint32_t)of[2];
        s[i].axis1 = (amount)of[3];
        s[i].deep = (amount)of[4];
        s[i].alphabet = (uint32_t)of[5];
        s[i].kernels = (amount)of[6];
        s[i].last = (amount)of[7];
        s[i].width = s[i].stride = word_of(&s[i]);
        s[i].out = out;
        out += (size_t)(s[i].count * s[i].width);
    }
    input in = memory(&file, payload, bytes);
    if (!error) error = read_indices(&in, codec, s, n);
    if (error == QAC_ARENA_TOO_SMALL) return (size_t)greater(greater(file.need, file.peak), arena_bytes + 4096);
    return error != QAC_OK;
}
