/* qac_root.c: computes the root of a container; see qac_root.h. SHA-256 is that of FIPS 180-4. */

#ifndef QAC_DELTA_H /* else qac_delta.c has brought it */
#include "qac.c"
#endif
#include "qac_root.h"

enum { SHA_BLOCK = 64, ROOT_LEVELS = 24 }; /* 2^21 sections and the head have 22 levels, and a leaf more is on the stack */

typedef struct sha256 {
    uint32_t state[8];
    uint64_t bytes;
    uint8_t block[SHA_BLOCK];
} sha256;

static uint32_t sha_turn(uint32_t word, int bits) { return word >> bits | word << (32 - bits); }

static uint32_t sha_load(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void sha_store(uint8_t *p, uint32_t word) {
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(word >> (24 - 8 * i));
}

static void sha_mix(sha256 *h) {
    static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
        0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
        0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
        0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
        0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
        0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    uint32_t s[8], w[16];
    memcpy(s, h->state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t *word = &w[i & 15];
        if (i < 16) {
            *word = sha_load(h->block + 4 * i);
        } else {
            uint32_t early = w[(i + 1) & 15], late = w[(i + 14) & 15];
            *word += (sha_turn(early, 7) ^ sha_turn(early, 18) ^ early >> 3) + w[(i + 9) & 15] +
                     (sha_turn(late, 17) ^ sha_turn(late, 19) ^ late >> 10);
        }
        uint32_t e = s[4], a = s[0];
        uint32_t one = s[7] + (sha_turn(e, 6) ^ sha_turn(e, 11) ^ sha_turn(e, 25)) + ((e & s[5]) ^ (~e & s[6])) + k[i] + *word;
        uint32_t two = (sha_turn(a, 2) ^ sha_turn(a, 13) ^ sha_turn(a, 22)) + ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += one;
        s[0] = one + two;
    }
    for (int i = 0; i < 8; i++) h->state[i] += s[i];
}

static void sha_add(sha256 *h, const uint8_t *data, amount bytes) {
    for (amount at = 0; at < bytes;) {
        amount filled = (amount)(h->bytes % SHA_BLOCK), part = lesser(SHA_BLOCK - filled, bytes - at);
        memcpy(h->block + filled, data + at, part);
        h->bytes += part;
        at += part;
        if (filled + part == SHA_BLOCK) sha_mix(h);
    }
}

/* Begin a hash with the byte that tells leaves (0) from nodes (1). */
static void sha_start(sha256 *h, uint8_t kind) {
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(h->state, start, sizeof start);
    h->bytes = 0;
    sha_add(h, &kind, 1);
}

static void sha_end(sha256 *h, uint8_t out[QAC_ROOT_BYTES]) {
    static const uint8_t padding[SHA_BLOCK] = {0x80};
    uint8_t length[8];
    sha_store(length, (uint32_t)(h->bytes >> 29));
    sha_store(length + 4, (uint32_t)(h->bytes << 3));
    sha_add(h, padding, 1 + (amount)((119 - h->bytes % SHA_BLOCK) % SHA_BLOCK));
    sha_add(h, length, 8);
    for (int i = 0; i < 8; i++) sha_store(out + 4 * i, h->state[i]);
}

static qac_error hash_entry(const qac_file *f, uint64_t offset, uint64_t bytes, uint8_t out[QAC_ROOT_BYTES]) {
    uint8_t piece[128];
    sha256 h;
    if (bytes > f->source.size || offset > f->source.size - bytes) return QAC_TRUNCATED;
    sha_start(&h, 0);
    for (uint64_t at = 0; at < bytes; at += sizeof piece) {
        amount part = (amount)(bytes - at < sizeof piece ? bytes - at : sizeof piece);
        TRY(fetch(f, offset + at, piece, part));
        sha_add(&h, piece, part);
    }
    sha_end(&h, out);
    return QAC_OK;
}

/* Replace the two hashes from `pair` on by that of the node above them. */
static void join_hashes(uint8_t *pair) {
    sha256 h;
    sha_start(&h, 1);
    sha_add(&h, pair, 2 * QAC_ROOT_BYTES);
    sha_end(&h, pair);
}

qac_error qac_root(const qac_file *f, uint8_t root[QAC_ROOT_BYTES]) {
    uint8_t stack[ROOT_LEVELS * QAC_ROOT_BYTES], *top = stack;
    if (!f || !root) return QAC_BAD_ARGUMENT;
    for (uint32_t i = 0; i <= f->sections; i++) {
        const section_record *s = i ? section_of(f, i - 1) : NULL;
        TRY(hash_entry(f, s ? s->offset : 0, s ? s->stored_bytes : f->first_section, top));
        top += QAC_ROOT_BYTES;
        for (uint32_t n = i + 1; !(n & 1); n >>= 1) { /* as many full subtrees of equal size end here */
            top -= QAC_ROOT_BYTES;
            join_hashes(top - QAC_ROOT_BYTES);
        }
    }
    while (top - stack > QAC_ROOT_BYTES) { /* the smallest subtree is the last one */
        top -= QAC_ROOT_BYTES;
        join_hashes(top - QAC_ROOT_BYTES);
    }
    memcpy(root, stack, QAC_ROOT_BYTES);
    return QAC_OK;
}
