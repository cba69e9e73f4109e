/* qac.c: read containers of the format .qac. qac.h describes the functions, SPEC.md the format.
 *
 * Read it from top to bottom: memory and input; streams; the codecs of indices (raw, bitpack, huffman, rans, context,
 * twobyte, pruned, trellis, mixing) and of bytes (deflate, lzma, zstd) and of values (planes, codebooks, grids); the
 * header; the places of sections; tensors; the functions of qac.h.
 *
 * Two rules hold everywhere. Memory comes from `take`. If the file is being measured, most of it is only counted: so a
 * function first reads its parameters, then takes its memory, then has `ALLOCATED(file, mark)`, which ends it there.
 * (Descriptions of streams are needed to measure too; a function checks their memory at once.) And a number from the file is a amount that `get_uint` has bounded before anything is done
 * with it; products of two bounded numbers fit in 64 bits, and only `take` and `here` turn them into a size_t.
 */
#if defined(__OPTIMIZE_SIZE__) && defined(__GNUC__) && !defined(__clang__)
/* What makes this code larger under GCC's -Os; other compilers and levels aren't concerned. */
#pragma GCC optimize("no-tree-coalesce-vars", "no-tree-loop-im", "no-move-loop-invariants", "no-tree-dominator-opts")
#pragma GCC optimize("no-schedule-insns2", "no-forward-propagate", "no-if-conversion", "no-thread-jumps")
#pragma GCC optimize("no-caller-saves", "no-strict-aliasing")
#endif

#include "qac.h"

#include <string.h>

#ifndef QAC_SMALL
#ifdef __OPTIMIZE_SIZE__
#define QAC_SMALL 1
#else
#define QAC_SMALL 0
#endif
#endif

/* A function that costs less code when it is called than when it stands at each call: GCC guesses these wrongly. */
#if QAC_SMALL && defined(__GNUC__)
#define APART static __attribute__((noinline))
#else
#define APART static
#endif

#define TRY(call)                          \
    do {                                   \
        qac_error error_ = (call);         \
        if (error_ != QAC_OK) return error_; \
    } while (0)

#define ALLOCATED(f, mark)            \
    do {                              \
        TRY(enough(f));               \
        if ((f)->measuring) {         \
            (f)->top = (mark);        \
            return QAC_OK;            \
        }                             \
    } while (0)

enum { DENSE, SHARED, SAME };
enum { GRAPH, META, VALUES, INDICES, VALUE_CHUNK, INDEX_CHUNK };
enum { RAW, BITPACK, HUFFMAN, RANS, CONTEXT, PLANES, ZSTD, LZMA, TWOBYTE, CODEBOOKS, GRIDS, DEFLATE, PRUNED, TRELLIS };
enum { MIXING = TRELLIS + 1, CODECS };

#ifdef QAC_NO_TRELLIS
#define HAS_TRELLIS 0
#else
#define HAS_TRELLIS 1
#endif
#ifdef QAC_NO_MIXING
#define HAS_MIXING 0
#else
#define HAS_MIXING 1
#endif
#ifndef KEEPS_BITS
#define KEEPS_BITS 0 /* mixing: whether the bits of known symbols are kept, to encode them; qac_delta.c sets it */
#endif
#define KNOWN(m) (KEEPS_BITS && (m)->kept)
enum { MEASURE_LEAN = 1, MEASURE_FAST = 2 };

#define MINOR_VERSION 6 /* of the format */

#define MAX_NAME_BYTES 65535u
#define MAX_ALPHABET 65536u
#define MAX_LEVELS 16u
#define MAX_LANES 65536u
#define MAX_STEPS 65536u
#define MAX_CONTEXT_CELLS 1048576u
#define MAX_TABLE_SLOTS 4194304u
#define MAX_GROUP_TENSORS 4096u
#define MAX_TENSORS 1048576u
#define MAX_SECTIONS 2097152u
#define MAX_CODER_ALPHABET 4096u /* of huffman and rans */
#define MAX_HEADER_BYTES ((uint64_t)64 << 20)
#define MAX_BLOB_BYTES ((uint64_t)1 << 30)
#define MAX_TENSOR_BYTES ((uint64_t)1 << 40)
#define MAX_AXIS ((uint64_t)1 << 48)
#define STATE_LOW 65536u


/* Counts and sizes of what is in memory. A file is refused if a tensor, a section, or all tensors together have more
 * than MOST bytes, MOST / 8 bytes, or 8 * MOST bytes: so the products below (a count times 16 bits, say) can't overflow,
 * also where a size_t has 32 bits. */
typedef size_t amount;
#define MOST (SIZE_MAX >> 6)
#define MAX_SPREAD (MOST << 1) /* 2^59 with 64 bits */

typedef struct tensor_record {
    uint32_t kind, type, stored, dims, group, book_group, level_count, in_blocks, at_once, same_as;
    uint32_t name_bytes, common_bytes;  /* of the name, and how many of them the name before has too */
    const char *name;
    const uint64_t *shape, *blocks;     /* blocks: NULL unless the codebooks are in blocks */
    const uint32_t *levels, *children;  /* sizes of the codebooks; for each level but the last, numbers of children */
    amount count;
} tensor_record;

typedef struct section_record {
    uint32_t kind;
    uint16_t members;
    uint8_t type, wanted, checked;
    uint32_t codec, level, owner, count, crc, first_member, last_member;
    amount stored_bytes, offset;
} section_record;

static const uint8_t type_bytes[13] = {1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 4, 8};

static uint32_t width_of(uint32_t type) { return type < 13 ? type_bytes[type] : 1; }
static int is_float(uint32_t type) { return type >= QAC_FLOAT16 && type <= QAC_FLOAT64; }
static amount lesser(amount a, amount b) { return a < b ? a : b; }
static amount greater(amount a, amount b) { return a > b ? a : b; }
APART amount ceiling(amount a, amount b) { return a / b + (a % b != 0); }
static uint32_t load16(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t load32(const uint8_t *p) { return load16(p) | load16(p + 2) << 16; }

static void store16(uint8_t *p, uint32_t value) {
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
}

static uint64_t load(const uint8_t *p, uint32_t width) {
    uint64_t value = 0;
    for (uint32_t i = width; i-- > 0;) value = value << 8 | p[i];
    return value;
}

APART void store(uint8_t *p, uint64_t value, uint32_t width) {
    for (uint32_t i = 0; i < width; i++, value >>= 8) p[i] = (uint8_t)value;
}

/* ---- Memory: a stack of blocks from the start of the arena. Kept groups stand at its end. ---- */

static qac_error too_small(qac_file *f) {
    if (f->peak > f->need) f->need = f->peak;
    return QAC_ARENA_TOO_SMALL;
}

/* Take bytes from the arena; the result is NULL if there aren't so many. */
static void *take(qac_file *f, amount bytes) {
    amount start = f->top, most = SIZE_MAX >> 1;
    f->top = bytes > most - 8 - start ? most & ~(amount)7 : start + ((bytes + 7) & ~(amount)7);
    f->peak = greater(f->peak, f->top);
    return f->top > f->arena_bytes ? NULL : f->arena + start;
}

static void *take_zeros(qac_file *f, amount bytes) {
    void *p = take(f, bytes);
    if (p) memset(p, 0, bytes);
    return p;
}

/* Whether the memory taken so far is there; it needn't be if the file is measured. */
static qac_error enough(qac_file *f) { return f->error || f->measuring || f->top <= f->arena_bytes ? (qac_error)f->error : too_small(f); }

/* ---- Input: bytes in memory ---- */

typedef struct input {
    qac_file *file;
    const uint8_t *at, *end;
    qac_error bad; /* the error for malformed data */
} input;

static amount rest(const input *in) { return (amount)(in->end - in->at); }

static input memory(qac_file *f, const uint8_t *data, amount bytes) {
    input in = {f, data, data + bytes, QAC_BAD_PAYLOAD};
    return in;
}

/* Note an error; the first one stays. Numbers that can't be read are 0, and `enough`, `keep` and `get_part` tell why. */
static qac_error fail(input *in) {
    if (!in->file->error) in->file->error = in->bad;
    in->at = in->end;
    return in->file->error;
}

static uint32_t get_byte(input *in) {
    if (in->at != in->end) return *in->at++;
    fail(in);
    return 0;
}

/* Read an unsigned LEB128 integer of at most `limit`. */
static uint64_t get_uint(input *in, uint64_t limit) {
    uint64_t found = 0;
    uint32_t shift = 0, byte;
    do {
        byte = get_byte(in);
        found |= (uint64_t)(byte & 0x7F) << shift;
        shift += 7;
    } while (byte & 0x80 && shift < 64);
    if ((shift > 63 && byte > 1) || (byte == 0 && shift > 7) || found > limit) {
        fail(in);
        return 0;
    }
    return found;
}

static uint32_t get_u32(input *in, uint32_t limit) { return (uint32_t)get_uint(in, limit); }
static amount get_amount(input *in, amount limit) { return (amount)get_uint(in, limit); }

/* Cut off the next `bytes` bytes as an input of their own. */
static qac_error get_part(input *in, amount bytes, input *part) {
    *part = *in;
    if (bytes > rest(in)) return fail(in);
    part->end = in->at += bytes;
    return in->file->error;
}

/* The same, where a number says how many. */
static qac_error get_sized(input *in, input *part) {
    amount bytes = get_amount(in, rest(in));
    return get_part(in, bytes, part);
}

static qac_error at_end(input *in) { return in->at == in->end ? (qac_error)in->file->error : fail(in); }

static uint32_t crc_step(const qac_file *f, uint32_t crc, const uint8_t *data, amount bytes) {
#if QAC_CRC_TABLES == 8
    for (; bytes >= 8; bytes -= 8, data += 8) { /* eight bytes at once, each by a table of its own */
        uint32_t low = load32(data) ^ crc, high = load32(data + 4);
        crc = f->crc_tables[7][low & 255] ^ f->crc_tables[6][low >> 8 & 255] ^ f->crc_tables[5][low >> 16 & 255] ^
              f->crc_tables[4][low >> 24] ^ f->crc_tables[3][high & 255] ^ f->crc_tables[2][high >> 8 & 255] ^
              f->crc_tables[1][high >> 16 & 255] ^ f->crc_tables[0][high >> 24];
    }
#endif
    while (bytes--) crc = crc >> 8 ^ f->crc_tables[0][(crc ^ *data++) & 255];
    return crc;
}

static void make_crc_tables(qac_file *f) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
        f->crc_tables[0][i] = crc;
    }
    for (uint32_t i = 256; i < 256 * QAC_CRC_TABLES; i++) {
        uint32_t before = f->crc_tables[i / 256 - 1][i % 256];
        f->crc_tables[i / 256][i % 256] = before >> 8 ^ f->crc_tables[0][before & 255];
    }
}

static qac_error fetch(const qac_file *f, amount offset, void *into, amount bytes) {
    if (f->source.data) {
        memcpy(into, f->source.data + offset, bytes);
        return QAC_OK;
    }
    return bytes == 0 || f->source.read(f->source.user, offset, into, bytes) == 0 ? QAC_OK : QAC_READ_FAILED;
}

/* ---- Streams: what a section holds, and where its symbols go. ---- */

typedef struct stream {
    amount count, start;      /* symbols; row-major position of the first one in the tensor */
    amount axis1, deep;       /* sizes of the second axis and of all later ones together */
    amount kernels, last;     /* of the whole tensor: its size without those later axes; the size of the last axis */
    const uint32_t *children;   /* of a refinement: how many children each entry of the coarser codebook has */
    const uint8_t *parents;     /* of a refinement: indices of the coarser level, two bytes each */
    uint8_t *out;               /* where the wanted symbols go, one every `stride` bytes, in `width` bytes each */
    amount from, wanted;      /* the wanted symbols: [from, from + wanted) */
    uint32_t alphabet, entries; /* entries: of the coarser codebook */
    uint32_t dims, number, stride, width;
} stream;

static uint32_t word_of(const stream *s) { return s->alphabet <= 256 ? 1 : 2; }

static void put(const stream *s, amount i, uint32_t symbol) {
    amount at = i - s->from;
    if (at < s->wanted) {
        uint8_t *p = s->out + (size_t)(at * s->stride);
        p[0] = (uint8_t)symbol;
        if (s->width > 1) p[1] = (uint8_t)(symbol >> 8);
    }
}

static uint32_t got(const stream *s, amount at) {
    const uint8_t *p = s->out + (size_t)(at * s->stride);
    return s->width > 1 ? load16(p) : p[0];
}

/* A stream of one axis, whose symbols all go to bytes one after the other. */
static stream plain_stream(amount count, uint32_t alphabet) {
    stream s;
    memset(&s, 0, sizeof s);
    s.count = s.wanted = s.deep = count;
    s.axis1 = s.dims = s.stride = s.width = 1;
    s.alphabet = alphabet;
    return s;
}

/* Sum the counts of the streams, and find the largest alphabet of those that aren't empty. */
static amount total_of(const stream *s, uint32_t n, uint32_t *largest, uint32_t *used) {
    amount total = 0;
    *largest = *used = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!s[i].count) continue;
        total += s[i].count;
        *used += 1;
        if (s[i].alphabet > *largest) *largest = s[i].alphabet;
    }
    return total;
}

/* ---- raw and bitpack ---- */

static qac_error read_raw(input *in, const stream *s, uint32_t n) {
    if (in->file->measuring) return QAC_OK;
    for (; n > 0; n--, s++) {
        uint32_t word = word_of(s), largest = 0;
        input part;
        TRY(get_part(in, s->count * word, &part));
        for (amount i = 0; i < s->count; i++) {
            uint32_t symbol = (uint32_t)load(part.at, word);
            part.at += word;
            if (symbol > largest) largest = symbol;
            put(s, i, symbol);
        }
        if (s->count && largest >= s->alphabet) return QAC_BAD_PAYLOAD;
    }
    return at_end(in);
}

static uint32_t bit_length(uint64_t value) {
#ifdef __GNUC__
    if (value >> 32) return 64 - (uint32_t)__builtin_clz((uint32_t)(value >> 32));
    return value ? 32 - (uint32_t)__builtin_clz((uint32_t)value) : 0;
#else
    uint32_t bits = 0;
    for (; value >> 8; value >>= 8) bits += 8;
    for (; value; value >>= 1) bits++;
    return bits;
#endif
}

typedef struct bit_reader {
    const uint8_t *data;
    amount place, end; /* bits */
    uint32_t flip;     /* 7: the first bit of a byte is its highest one */
    int bad;           /* a bit behind the end, or a code of no symbol was read */
} bit_reader;

static uint32_t get_bit(bit_reader *b) {
    amount place = b->place;
    if (place >= b->end) {
        b->bad = 1;
        return 0;
    }
    b->place = place + 1;
    return b->data[place >> 3] >> ((place & 7) ^ b->flip) & 1u;
}

/* Read a number of at most 16 bits, the lowest first. */
static uint32_t get_bits(bit_reader *b, uint32_t n) {
    uint32_t value = 0, shift = b->place & 7;
    const uint8_t *p = b->data + (b->place >> 3);
    if (n > b->end - b->place) {
        b->bad = 1;
        return 0;
    }
    for (uint32_t have = 0; have < shift + n; have += 8) value |= (uint32_t)*p++ << have;
    b->place += n;
    return value >> shift & ((1u << n) - 1);
}

static qac_error read_bitpack(input *in, const stream *s, uint32_t n) {
    if (in->file->measuring) return QAC_OK;
    for (; n > 0; n--, s++) {
        uint32_t width = bit_length(s->alphabet - 1u);
        input part;
        TRY(get_part(in, (s->count * width + 7) / 8, &part));
        bit_reader b = {part.at, 0, 8 * rest(&part), 0, 0};
        for (amount i = 0; i < s->count; i++) {
            uint32_t symbol = get_bits(&b, width);
            if (symbol >= s->alphabet) return QAC_BAD_PAYLOAD;
            put(s, i, symbol);
        }
        if (get_bits(&b, (uint32_t)(b.end - b.place))) return QAC_BAD_PAYLOAD; /* padding bits */
    }
    return at_end(in);
}

/* ---- Canonical codes of at most 15 bits: huffman and deflate ---- */

typedef struct codes {
    uint16_t counts[16], *symbols;
} codes;

static uint32_t get_code(bit_reader *b, const codes *c) {
    uint32_t code = 0, first = 0, base = 0;
    for (uint32_t length = 1; length < 16; length++) {
        uint32_t count = c->counts[length];
        code |= get_bit(b);
        if (code - first < count) return c->symbols[base + code - first];
        base += count;
        first = (first + count) << 1;
        code <<= 1;
    }
    b->bad = 1;
    return 0;
}

/* Make a code of lengths (n); a code with gaps is allowed only if it has one symbol of one bit, or none. */
static qac_error make_codes(codes *c, const uint8_t *lengths, uint32_t n, int lone) {
    uint16_t next[16];
    uint32_t kinds = 0;
    int32_t left = 1;
    memset(c->counts, 0, sizeof c->counts);
    for (uint32_t i = 0; i < n; i++) c->counts[lengths[i]]++;
    c->counts[0] = 0;
    for (uint32_t length = 1; length < 16; length++) {
        left = left * 2 - c->counts[length];
        if (left < 0) return QAC_BAD_PAYLOAD;
        next[length] = (uint16_t)kinds;
        kinds += c->counts[length];
    }
    if (left > 0 && !(lone && kinds <= 1 && kinds == c->counts[1])) return QAC_BAD_PAYLOAD;
    for (uint32_t i = 0; i < n; i++) {
        if (lengths[i]) c->symbols[next[lengths[i]]++] = (uint16_t)i;
    }
    return QAC_OK;
}

static qac_error read_huffman_stream(input *in, const stream *s) {
    qac_file *f = in->file;
    amount mark = f->top, lanes, total = 0, done = 0;
    uint32_t alphabet = s->alphabet;
    codes c;
    bit_reader b = {NULL, 0, 0, 7, 0};
    input lengths, sizes, bits;
    if (alphabet > MAX_CODER_ALPHABET) return QAC_BAD_PAYLOAD;
    lanes = get_amount(in, lesser(MAX_LANES, s->count));
    TRY(get_part(in, (alphabet + 1) / 2, &lengths));
    amount run = ceiling(s->count, greater(lanes, 1));
    if (lanes == 0 || run > MAX_STEPS || run * (lanes - 1) >= s->count) return QAC_BAD_PAYLOAD;
    sizes = *in;
    for (amount lane = 0; lane < lanes; lane++) {
        total += get_amount(in, lesser(s->count * 15, 8 * rest(in))); /* more bits can't follow */
        if (total > 8 * rest(in)) return QAC_BAD_PAYLOAD;
    }
    TRY(get_part(in, ceiling(total, 8), &bits));
    c.symbols = take(f, 2 * (amount)alphabet);
    uint8_t *each = take(f, alphabet);
    ALLOCATED(f, mark);
    for (uint32_t i = 0; i < alphabet; i++) each[i] = lengths.at[i / 2] >> (i % 2 * 4) & 15;
    TRY(make_codes(&c, each, alphabet, 1));
    b.data = bits.at;
    for (amount lane = 0; lane < lanes; lane++) {
        amount stop = lesser(done + run, s->count);
        b.end = b.place + get_amount(&sizes, s->count * 15);
        for (; done < stop && !b.bad; done++) put(s, done, get_code(&b, &c));
        if (b.bad || b.place != b.end) return QAC_BAD_PAYLOAD;
    }
    if (b.place & 7 && (uint8_t)(b.data[b.place >> 3] << (b.place & 7))) return QAC_BAD_PAYLOAD;
    f->top = mark;
    return QAC_OK;
}

static qac_error read_huffman(input *in, const stream *s, uint32_t n) {
    for (; n > 0; n--, s++) {
        if (s->count) TRY(read_huffman_stream(in, s));
    }
    return at_end(in);
}

/* ---- Frequencies, and the range coder of their tables ---- */

typedef struct bit_model {
    uint16_t zero, seen; /* probability of a zero in 1/65,536; decisions so far, at most 30 */
} bit_model;

typedef struct range_decoder {
    const uint8_t *at, *end;
    uint32_t range, code;
    int lacking; /* bytes were read behind the end: they are 0 */
} range_decoder;

static void range_byte(range_decoder *d) {
    uint32_t byte = 0;
    if (d->at < d->end) byte = *d->at++;
    else d->lacking = 1;
    d->code = d->code << 8 | byte;
}

static void range_refill(range_decoder *d) {
    for (; d->range < 1u << 24; d->range <<= 8) range_byte(d);
}

APART void range_start(range_decoder *d, const input *in) {
    d->at = in->at;
    d->end = in->end;
    d->range = UINT32_MAX;
    d->code = 0;
    d->lacking = 0;
    for (int i = 0; i < 4; i++) range_byte(d);
}

/* Append a bit to a number, whose two values are alike probable. */
static uint32_t range_half(range_decoder *d, uint32_t number) {
    range_refill(d);
    d->range >>= 1;
    uint32_t bit = d->code >= d->range;
    if (bit) d->code -= d->range;
    return number << 1 | bit;
}

static uint32_t range_bit(range_decoder *d, bit_model *m) {
    range_refill(d);
    uint32_t bound = (d->range >> 16) * m->zero, bit = d->code >= bound;
    if (m->seen < 30) m->seen++;
    if (bit) {
        d->code -= bound;
        d->range -= bound;
        m->zero = (uint16_t)(m->zero - (m->zero - 32u) / (m->seen + 1u));
    } else {
        d->range = bound;
        m->zero = (uint16_t)(m->zero + (65536u - 32u - m->zero) / (m->seen + 1u));
    }
    return bit;
}

#define INT_MODELS 80 /* of an adaptive integer: 40 for its length, 40 for its second bit */

/* Read an adaptive integer; UINT32_MAX: of more than 24 bits, which is out of range wherever it stands. */
static uint32_t range_uint(range_decoder *d, bit_model *m) {
    uint32_t length = 0, found = 1;
    while (range_bit(d, &m[length])) {
        if (++length > 24) return UINT32_MAX;
    }
    if (length) found = 2 | range_bit(d, &m[40 + length]);
    for (uint32_t i = 1; i < length; i++) found = range_half(d, found);
    return found - 1;
}

typedef struct table_model {
    range_decoder decoder;
    bit_model bits[2 + 2 * INT_MODELS]; /* whether a symbol occurs, the first code, steps between codes */
} table_model;

static void start_tables(table_model *m, const input *in) {
    for (uint32_t i = 0; i < sizeof m->bits / sizeof *m->bits; i++) m->bits[i] = (bit_model){32768, 0};
    range_start(&m->decoder, in);
}

/* Read the codes of one frequency table. */
static qac_error read_table(table_model *m, uint32_t *codes, uint32_t alphabet, uint32_t mantissa) {
    int32_t last = -1;
    uint32_t occurs = 1, number;
    for (uint32_t i = 0; i < alphabet; i++) {
        codes[i] = 0;
        occurs = 1 - range_bit(&m->decoder, &m->bits[occurs]);
        if (!occurs) continue;
        number = range_uint(&m->decoder, &m->bits[last < 0 ? 2 : 2 + INT_MODELS]);
        if (last < 0) last = (int32_t)number;
        else last += number & 1 ? -(int32_t)(number / 2) - 1 : (int32_t)(number / 2);
        if (last <= 0 || last > (int32_t)31 << mantissa) return QAC_BAD_PAYLOAD;
        codes[i] = (uint32_t)last;
    }
    return QAC_OK;
}

/* By how many bits weights are shifted, so that the largest one has 26 bits at most. */
static uint32_t excess(uint64_t largest) {
    uint32_t bits = bit_length(largest);
    return bits > 26 ? bits - 26 : 0;
}

APART uint32_t shifted(uint64_t weight, uint32_t shift) {
    uint32_t less = (uint32_t)(weight >> shift);
    return weight && !less ? 1 : less;
}

/* Scale weights (shifted already) to frequencies with the sum 2^bits; returns 0 if there are too many, or none. */
static int normalise(uint32_t *w, uint32_t n, uint32_t bits) {
    uint64_t total = 0;
    int32_t missing = (int32_t)1 << bits;
    uint32_t present = 0;
    for (uint32_t i = 0; i < n; i++) {
        total += w[i];
        present += w[i] != 0;
    }
    if (!total || present > 1u << bits) return 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t scaled = ((uint64_t)w[i] << bits) + total / 2;
        if (!w[i]) continue;
        w[i] = (uint32_t)(total >> 32 ? scaled / total : scaled / (uint32_t)total);
        if (!w[i]) w[i] = 1;
        missing -= (int32_t)w[i];
    }
    while (missing) {
        uint32_t largest = 0;
        for (uint32_t i = 1; i < n; i++) {
            if (w[i] > w[largest]) largest = i;
        }
        int32_t give = w[largest] > 3 ? (int32_t)(w[largest] / 2) : 1, change = missing < -give ? -give : missing;
        w[largest] += (uint32_t)change;
        missing -= change;
    }
    return 1;
}

/* Turn the codes of a table into frequencies with the sum 2^bits. */
static int frequencies(uint32_t *codes, uint32_t n, uint32_t mantissa, uint32_t bits) {
    uint32_t largest = 0, shift, steps = 1u << mantissa;
    for (uint32_t i = 0; i < n; i++) {
        if (codes[i] > largest) largest = codes[i];
    }
    if (!largest) return 0;
    shift = mantissa + 1 + ((largest - 1) >> mantissa); /* bits of the largest weight */
    shift = shift > 26 ? shift - 26 : 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t code = codes[i] - 1;
        if (codes[i]) codes[i] = shifted((uint64_t)(steps + (code & (steps - 1))) << (code >> mantissa), shift);
    }
    return normalise(codes, n, bits);
}

/* Set `pairs` (n * n) to the frequencies of pairs of symbols with the frequencies f (n). */
static int squared(const uint32_t *f, uint32_t n, uint32_t *pairs, uint32_t bits) {
    uint32_t largest = 0, shift;
    for (uint32_t i = 0; i < n; i++) largest = f[i] > largest ? f[i] : largest;
    shift = excess((uint64_t)largest * largest);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = 0; j < n; j++) pairs[i * n + j] = shifted((uint64_t)f[i] * f[j], shift);
    }
    return normalise(pairs, n * n, bits);
}

/* ---- Lanes of rANS ---- */

typedef struct lanes {
    uint32_t *states, count, next, bits;
    const uint8_t *words;
    amount left; /* words that are left */
} lanes;

/* The symbol of a slot: the last one of n whose first slot isn't above it. */
APART uint32_t symbol_at(const uint16_t *first, uint32_t n, uint32_t slot) {
    uint32_t low = 0;
    while (n > 1) {
        uint32_t half = n / 2;
        low += first[low + half] <= slot ? half : 0;
        n -= half;
    }
    return low;
}

/* How many symbols a lane's last state holds. */
static uint32_t tail_length(uint32_t alphabet, amount count, uint32_t lane_count, amount *limit) {
    uint32_t length = 0;
    for (*limit = 1; length < 16 && *limit * alphabet <= STATE_LOW && (length + 1) <= count / lane_count; length++) {
        *limit *= alphabet;
    }
    return length;
}

static qac_error read_states(input *in, lanes *l, uint32_t *states, uint32_t stride) {
    input part;
    TRY(get_part(in, 4 * (amount)l->count, &part));
    for (uint32_t i = 0; i < l->count; i++) {
        states[(size_t)i * stride] = load32(part.at + 4 * (size_t)i);
        if (states[(size_t)i * stride] < STATE_LOW) return QAC_BAD_PAYLOAD;
    }
    l->words = in->at;
    l->left = rest(in) / 2;
    return rest(in) % 2 ? QAC_BAD_PAYLOAD : QAC_OK;
}

/* Decode n symbols under one table; slots: the symbol of each slot, or NULL. */
static qac_error decode_run(lanes *l, const uint16_t *first, uint32_t alphabet, const uint16_t *slots, uint16_t *into,
                            uint32_t n) {
    uint32_t bits = l->bits, mask = (1u << bits) - 1;
    while (n) {
        const uint8_t *words = l->words;
        uint32_t *states = l->states + l->next, i = 0;
#if QAC_SMALL
        uint32_t safe = 1;
        (void)slots;
#else
        uint32_t safe = (uint32_t)lesser(lesser(l->left, n), l->count - l->next); /* none of these can lack a word */
        for (; slots && i < safe; i++) { /* without a branch, so that lanes don't wait for one another */
            uint32_t x = states[i], slot = x & mask, s = slots[slot], base = first[s];
            x = (first[s + 1] - base) * (x >> bits) + slot - base;
            uint32_t need = x < STATE_LOW, word = load16(words) & (0 - need);
            x = x << (need << 4) | word;
            words += need << 1;
            states[i] = x;
            into[i] = (uint16_t)s;
        }
        if (!safe) safe = 1; /* a symbol that must do without a word */
#endif
        for (; i < safe; i++) {
            uint32_t x = states[i], slot = x & mask, s = symbol_at(first, alphabet, slot), base = first[s];
            x = (first[s + 1] - base) * (x >> bits) + slot - base;
            if (x < STATE_LOW) {
                if (l->left == 0) return QAC_BAD_PAYLOAD;
                x = x << 16 | load16(words);
                words += 2;
            }
            states[i] = x;
            into[i] = (uint16_t)s;
        }
        into += safe;
        n -= safe;
        l->next = l->next + safe == l->count ? 0 : l->next + safe;
        l->left -= (amount)(words - l->words) / 2;
        l->words = words;
    }
    return QAC_OK;
}

/* ---- rans ---- */

/* Write n groups of `group` symbols each, the first of which is symbol `at` of the stream. digits: of all groups; limit:
 * numbers of groups must be below it; checked: whether they may not be. */
static qac_error put_groups(const stream *s, amount at, const uint16_t *groups, uint32_t n, uint32_t group,
                            const uint8_t *digits, uint32_t limit, int checked) {
    for (uint32_t i = 0; checked && i < n; i++) {
        if (groups[i] >= limit) return QAC_BAD_PAYLOAD;
    }
#if !QAC_SMALL
    amount first = at - s->from;
    if (s->width == 1 && s->stride == 1 && first < s->wanted && (amount)n * group <= s->wanted - first) {
        uint8_t *out = s->out + (size_t)first;
        if (group == 1) {
            for (uint32_t i = 0; i < n; i++) out[i] = (uint8_t)groups[i];
        } else if (group == 2) {
            for (uint32_t i = 0; i < n; i++) memcpy(out + 2 * i, digits + 2 * (size_t)groups[i], 2);
        } else {
            for (uint32_t i = 0; i < n; i++, out += group) memcpy(out, digits + (size_t)groups[i] * group, group);
        }
        return QAC_OK;
    }
#endif
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = 0; j < group && at < s->count; j++, at++) {
            put(s, at, group == 1 ? groups[i] : digits[(size_t)groups[i] * group + j]);
        }
    }
    return QAC_OK;
}

static qac_error read_rans(input *in, const stream *s, uint32_t n) {
    qac_file *f = in->file;
    amount mark = f->top, groups = 0, limit, done = 0, coded;
    uint32_t largest, used, group, log2_group, bits, mantissa, alphabet = 1, tail, width;
    amount slot_bytes;
    uint16_t run[256], *rows, *slots = NULL;
    uint32_t *one, *two;
    uint8_t *digits = NULL;
    table_model model;
    lanes l;
    input tables;
    if (!total_of(s, n, &largest, &used)) return at_end(in);
    if (largest > MAX_CODER_ALPHABET) return QAC_BAD_PAYLOAD;
    log2_group = get_u32(in, 3);
    bits = get_u32(in, 15);
    mantissa = get_u32(in, 12);
    l.count = get_u32(in, MAX_LANES);
    TRY(get_sized(in, &tables));
    group = 1u << log2_group;
    for (uint32_t i = 0; i < group; i++) {
        alphabet *= largest;
        if (alphabet > MAX_CODER_ALPHABET) return QAC_BAD_PAYLOAD;
    }
    for (uint32_t i = 0; i < n; i++) groups += ceiling(s[i].count, group);
    if (!l.count || ceiling(groups, l.count) > MAX_STEPS || (amount)used << bits > MAX_TABLE_SLOTS) {
        return QAC_BAD_PAYLOAD;
    }
    tail = tail_length(alphabet, groups, l.count, &limit);
    coded = groups - (amount)tail * l.count;
    width = alphabet + 1;
    rows = take(f, 2 * (amount)used * width);
    l.states = take(f, 4 * (amount)l.count);
    if (group > 1) digits = take(f, (amount)alphabet * group);
    one = take(f, 4 * (amount)alphabet);
    two = take(f, 4 * (amount)alphabet);
    slot_bytes = (amount)2 << bits; /* a table of all slots, if there are enough groups and there is room */
    if (!QAC_SMALL && groups >= (amount)1 << bits && f->measuring != MEASURE_LEAN &&
        (f->measuring || f->top + slot_bytes <= f->arena_bytes)) {
        slots = take(f, slot_bytes);
    }
    ALLOCATED(f, mark);
    start_tables(&model, &tables);
    uint16_t *row = rows;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t size = s[i].alphabet, first = 0, *from = one, *into = two;
        if (!s[i].count) continue;
        TRY(read_table(&model, from, size, mantissa));
        if (!frequencies(from, size, mantissa, bits)) return QAC_BAD_PAYLOAD;
        for (uint32_t step = 0; step < log2_group; step++) {
            uint32_t *swap = from;
            if (!squared(from, size, into, step + 1 == log2_group ? bits : 20)) return QAC_BAD_PAYLOAD;
            from = into;
            into = swap;
            size *= size;
        }
        for (uint32_t j = 0; j < width; j++) {
            row[j] = (uint16_t)first;
            if (j < size) first += from[j];
        }
        row += width;
    }
    TRY(read_states(in, &l, l.states, 1));
    l.next = 0;
    l.bits = bits;
    row = rows;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t size = 1;
        amount all = ceiling(s[i].count, group);
        if (!s[i].count) continue;
        for (uint32_t j = 0; j < group; j++) size *= s[i].alphabet;
        for (uint32_t j = 0; group > 1 && j < size; j++) {
            for (uint32_t k = 0, number = j; k < group; k++, number /= s[i].alphabet) {
                digits[(size_t)j * group + k] = (uint8_t)(number % s[i].alphabet);
            }
        }
        if (slots && all >= (amount)1 << bits >> 2) {
            for (uint32_t j = 0; j < size; j++) {
                for (uint32_t slot = row[j]; slot < row[j + 1]; slot++) slots[slot] = (uint16_t)j;
            }
        }
        for (amount at = 0; at < all;) {
            uint32_t length = (uint32_t)lesser(all - at, 256);
            if (done < coded) {
                length = (uint32_t)lesser(length, coded - done);
                TRY(decode_run(&l, row, alphabet, all >= (amount)1 << bits >> 2 ? slots : NULL, run, length));
            } else {
                for (uint32_t j = 0; j < length; j++) {
                    amount number = done + j - coded;
                    uint32_t *state = &l.states[(size_t)(number % l.count)];
                    if (number < l.count) {
                        if (l.left || *state - STATE_LOW >= limit) return QAC_BAD_PAYLOAD;
                        *state -= STATE_LOW;
                    }
                    run[j] = (uint16_t)(*state % alphabet);
                    *state /= alphabet;
                }
            }
            TRY(put_groups(&s[i], at * group, run, length, group, digits, size, size != alphabet));
            at += length;
            done += length;
        }
        row += width;
    }
    for (uint32_t i = 0; tail == 0 && i < l.count; i++) {
        if (l.left || l.states[i] != STATE_LOW) return QAC_BAD_PAYLOAD;
    }
    f->top = mark;
    return QAC_OK;
}

/* ---- context: adaptive frequencies in contexts of magnitude (SPEC.md, 6.5) ---- */

/* Where round(64 * log2(1 + i / 256)) is one more than before: a bit for each i. */
static const uint32_t log_steps[8] = {0x92492524, 0x22489244, 0x22444891, 0x22112222, 0x88442222,
                                      0x08422110, 0x42084221, 0x41082108};

static const uint8_t tap_weights[4][6] = {{10, 6}, {8, 5, 3}, {6, 5, 3, 2}, {5, 4, 3, 2, 1, 1}};

typedef struct setting {
    uint8_t filter, channel, recent, coarse, sides;
} setting;

static const setting settings[12] = {{0, 0, 0, 4, 0},   {0, 0, 0, 4, 1},  {0, 0, 13, 0, 1},   {0, 0, 13, 1, 1},
                                     {10, 10, 8, 1, 1}, {13, 13, 6, 1, 1}, {10, 10, 8, 2, 0},  {0, 16, 7, 1, 1},
                                     {16, 0, 7, 1, 1},  {13, 13, 6, 0, 0}, {8, 8, 10, 0, 1},   {10, 10, 13, 1, 1}};

#define LOG_9 203 /* log of 9 */

enum { NO_PATH, ALONG_FIRST, FROM_SECOND, FROM_THIRD }; /* ways of a stream under trellis */

/* log2 in 1/64 octaves. */
static int32_t logarithm(const uint8_t *logs, uint32_t value) {
    uint32_t e = bit_length(value) - 1;
    return (int32_t)(64 * e + logs[value << (31 - e) >> 23 & 255]);
}

/* The magnitudes of a filter or of an input channel that were decoded so far. */
typedef struct mean {
    uint32_t sum, count; /* `high` holds the bits of the sum above the 32nd */
    uint16_t high;
    int16_t log; /* of the mean, minus that of the stream; as of the start of the epoch */
} mean;

typedef struct context_stream {
    mean *filters, *channels; /* NULL if the setting doesn't use them */
    amount channel_count, filter_count, size, inner;
    uint32_t mean;
    int32_t log;
    uint32_t first_context, first_prior, per_prior, rows; /* per_prior: contexts of each prior; rows: its priors */
    uint32_t sides, side_mask, coarse;              /* of the setting; coarse: also for bits below cells */
    uint32_t way, zero, most, second; /* of trellis: its way (SPEC.md), zero's index, the alphabet of indices, and how
                                         much higher contexts are in the second quantizer */
    uint32_t centre, slack;                         /* slack: symbols at most so far from the centre have no side */
    int32_t recent;
    uint8_t *out; /* where its symbols go, if all of them go to bytes one after the other */
    const setting *setting;
} context_stream;

/* A lane. `from` and `sum`: since when, and the distances to the centre since then, its filter and channel lack. */
typedef struct lane {
#if QAC_SMALL
    uint8_t history[6]; /* the last distances to the centre, the last one first */
#else
    uint64_t history; /* the last six distances to the centre, a byte each, the last one lowest */
#endif
    uint16_t stream;
    uint8_t side, trail; /* trail: the state on a trellis */
    uint32_t state, at, turn, from, sum; /* turn: where its channel or stream ends */
    uint32_t filter, channel, context;
#if !QAC_SMALL
    uint32_t channels_left;
#endif
    int32_t base; /* of z: all but the symbols before */
} lane;

typedef struct context_model {
    context_stream *streams;
    const stream *s;
    uint8_t *logs; /* round(64 * log2(1 + i / 256)) */
    lane *lanes;
    uint32_t *seen;          /* counts (contexts, width) */
    uint16_t *first, *prior; /* first slots (contexts, stride), frequencies (priors, width) */
    uint8_t *fresh;          /* number of the epoch for which first slots of a context were calculated */
#if QAC_SMALL
    const uint8_t *weights;  /* of the last six distances */
#else
    uint64_t even, odd;      /* weights of the distances 2, 4, 6 steps back and 1, 3, 5, the last one highest */
#endif
    uint32_t n, width, stride, contexts, priors, bits;
    uint8_t epoch;
    uint32_t lane_count, *histogram;
    amount total; /* of symbols */
    int settled, beyond; /* whether the means are final; whether an index was outside its codebook */
} context_model;

static uint32_t magnitude(uint32_t symbol, uint32_t centre) {
    return 4 * (symbol > centre ? symbol - centre : centre - symbol) + 1;
}

/* Calculate what the cells of a lane depend on besides the last symbols. */
static void lane_base(const context_stream *c, lane *l) {
    const setting *chosen = c->setting;
    l->base = 2048 - chosen->recent * (c->log + LOG_9);
    if (c->filters) l->base += chosen->filter * c->filters[l->filter].log;
    if (c->channels) l->base += chosen->channel * c->channels[l->channel].log;
}

/* Move a lane to a position in its stream: find the filter and the channel there. */
static void lane_to(const context_model *m, lane *l, amount at) {
    const context_stream *c = &m->streams[l->stream];
    const stream *s = &m->s[l->stream];
    amount place = s->start + at, channel = place / c->inner;
    l->at = l->from = (uint32_t)at;
    l->filter = (uint32_t)(place / c->size - s->start / c->size);
    l->channel = (uint32_t)((channel - s->start / c->inner) % c->channel_count);
    l->turn = (uint32_t)lesser(s->count, at + c->inner - place % c->inner);
#if !QAC_SMALL
    l->channels_left = (uint32_t)lesser(s->axis1 - channel % s->axis1, UINT32_MAX);
#endif
    if (!c->way || place % (c->way == FROM_THIRD ? c->inner : c->size) == 0) l->trail = 0;
    lane_base(c, l);
}

static void add_to(mean *m, uint32_t sum, uint32_t count) {
    m->sum += sum;
    m->high = (uint16_t)(m->high + (m->sum < sum));
    m->count += count;
}

/* Add the last distances of a lane to its filter and its channel. */
static void lane_tell(const context_model *m, lane *l) {
    const context_stream *c = &m->streams[l->stream];
    uint32_t count = l->at - l->from, sum = 4 * l->sum + count; /* a lane has 2^16 steps, and a distance is below 2^8 */
    if (c->filters) add_to(&c->filters[l->filter], sum, count);
    if (c->channels) add_to(&c->channels[l->channel], sum, count);
    l->from = l->at;
    l->sum = 0;
}

/* Move a lane past the end of its channel, perhaps into the next stream. */
static void lane_turn(const context_model *m, lane *l) {
    const stream *s = &m->s[l->stream];
    if (!m->settled) lane_tell(m, l);
    if (l->at == s->count) {
        do l->stream++;
        while (l->stream < m->n && m->s[l->stream].count == 0);
        l->trail = 0;
        if (l->stream < m->n) lane_to(m, l, 0);
        return;
    }
#if QAC_SMALL
    lane_to(m, l, l->at);
#else
    const context_stream *c = &m->streams[l->stream];
    if (++l->channel == c->channel_count) l->channel = 0;
    if (--l->channels_left == 0) {
        l->channels_left = (uint32_t)lesser(s->axis1, UINT32_MAX);
        l->filter++;
        l->trail = 0;
    }
    if (c->way == FROM_THIRD) l->trail = 0;
    l->turn = (uint32_t)lesser(s->count, l->at + c->inner);
    lane_base(c, l);
#endif
}

static void refresh_means(const context_model *m, const context_stream *c, mean *sums, amount n) {
    for (amount i = 0; sums && i < n; i++) {
        uint64_t sum = (uint64_t)sums[i].high << 32 | sums[i].sum;
        sum = (16 * sum + 4 * (uint64_t)c->mean) / (sums[i].count + 4);
        sums[i].log = (int16_t)(logarithm(m->logs, (uint32_t)sum) - c->log);
    }
}

/* Calculate the means anew. sum: of the magnitudes, and the size of the alphabet. */
static void refresh_stream(const context_model *m, context_stream *c, uint64_t sum, amount count) {
    c->mean = (uint32_t)(16 * sum / (count + 1));
    c->log = logarithm(m->logs, c->mean);
    refresh_means(m, c, c->filters, c->filter_count);
    refresh_means(m, c, c->channels, c->channel_count);
}

/* Start an epoch: calculate the means and the frequencies of all priors. */
static qac_error refresh(context_model *m, uint32_t lane_count) {
    uint32_t w[256];
    m->epoch++;
    for (uint32_t i = 0; !m->settled && i < lane_count; i++) {
        if (m->lanes[i].stream < m->n) lane_tell(m, &m->lanes[i]);
    }
    for (uint32_t i = 0; i < m->n; i++) {
        const stream *s = &m->s[i];
        context_stream *c = &m->streams[i];
        for (uint32_t r = 0; r < c->rows; r++) {
            const uint32_t *seen = m->seen + (size_t)(c->first_context + r * c->per_prior) * m->width;
            uint32_t valid = s->children ? s->children[r] : s->alphabet;
            uint32_t largest = 0, count = 0, shift; /* counts are at most 2^30 */
            uint64_t sum = s->alphabet;
            memset(w, 0, sizeof w);
            for (uint32_t j = 0; j < c->per_prior; j++, seen += m->width) {
                for (uint32_t k = 0; k < m->width; k++) w[k] += seen[k];
            }
            for (uint32_t j = 0; j < valid; j++) {
                count += w[j];
                sum += (uint64_t)w[j] * magnitude(j, c->centre);
                w[j] = 2 * w[j] + 1;
                largest = w[j] > largest ? w[j] : largest;
            }
            if (!m->settled) refresh_stream(m, c, sum, count);
            shift = excess(largest);
            for (uint32_t j = 0; j < valid; j++) w[j] = shifted(w[j], shift);
            if (!normalise(w, valid, 12)) return QAC_BAD_PAYLOAD;
            for (uint32_t j = 0; j < valid; j++) m->prior[(size_t)(c->first_prior + r) * m->width + j] = (uint16_t)w[j];
        }
    }
    for (uint32_t i = 0; i < lane_count; i++) {
        if (m->lanes[i].stream < m->n) lane_base(&m->streams[m->lanes[i].stream], &m->lanes[i]);
    }
    return QAC_OK;
}

/* Calculate the first slots of a context, from its counts and its prior. */
static qac_error refresh_context(context_model *m, const context_stream *c, uint32_t context) {
    uint32_t w[256], first = 0, width = m->width, prior = c->first_prior + (context - c->first_context) / c->per_prior;
    const uint32_t *seen = m->seen + (size_t)context * width;
    const uint16_t *from = m->prior + (size_t)prior * width;
    uint16_t *into = m->first + (size_t)context * m->stride;
    uint64_t largest = 0;
    for (uint32_t i = 0; i < width; i++) {
        uint64_t weight = 384 * (uint64_t)seen[i] + from[i];
        largest = weight > largest ? weight : largest;
    }
    uint32_t shift = excess(largest);
    for (uint32_t i = 0; i < width; i++) w[i] = shifted(384 * (uint64_t)seen[i] + from[i], shift);
    if (!normalise(w, width, m->bits)) return QAC_BAD_PAYLOAD;
    for (uint32_t i = 0; i < m->stride; i++) {
        into[i] = (uint16_t)first;
        if (i < width) first += w[i];
    }
    m->fresh[context] = m->epoch;
    return QAC_OK;
}

#if SIZE_MAX > UINT32_MAX

/* How many of four first slots aren't above a slot, in fields of 16 bits that are still to be added. */
static uint64_t not_above(const uint16_t *first, uint64_t slots) {
    uint64_t four;
    memcpy(&four, first, 8);
    return (slots - four) >> 15 & 0x0001000100010001u;
}

/* The symbol of a slot in a row of `stride` first slots: without a branch, and sooner than by halves. */
static uint32_t symbol_in(const uint16_t *first, uint32_t stride, uint32_t slot) {
    const uint64_t each = 0x0001000100010001u, slots = (slot | 0x8000u) * each;
    uint64_t found = 0;
    uint32_t low = 0;
    for (; stride > 16; stride -= stride / 8 * 4) {
        if (first[low + stride / 8 * 4] <= slot) low += stride / 8 * 4;
    }
    first += low;
    if (stride == 16) {
        found = not_above(first, slots) + not_above(first + 4, slots);
        found += not_above(first + 8, slots) + not_above(first + 12, slots);
    } else {
        for (uint32_t i = 0; i < stride; i += 4) found += not_above(first + i, slots);
    }
    return low + (uint32_t)(found * each >> 48) - 1;
}

#else
#define symbol_in symbol_at
#endif

/* Sum up the weighted distances of the last symbols of a lane. */
static uint32_t recent_of(const context_model *m, const lane *l) {
#if QAC_SMALL
    uint32_t sum = 0;
    for (uint32_t i = 0; i < 6; i++) sum += m->weights[i] * (uint32_t)l->history[i];
    return sum;
#else
    const uint64_t bytes = 0x00FF00FF00FF00FFu; /* two products whose highest fields are the sums of four products */
    return (uint32_t)(((l->history & bytes) * m->odd + (l->history >> 8 & bytes) * m->even) >> 48);
#endif
}

/* Find the contexts of the next symbols of lanes. */
static void find_contexts(const context_model *m, lane *l, uint32_t n) {
    for (; n > 0; n--, l++) {
        const context_stream *c = &m->streams[l->stream];
        uint32_t context = c->first_context, recent;
        if (m->settled) {
            const stream *s = &m->s[l->stream];
            const uint8_t *p = s->parents + 2 * (size_t)l->at;
            uint32_t a = l->at ? magnitude(load16(p - 2), c->centre) : c->mean >> 4;
            uint32_t b = l->at + 1u < s->count ? magnitude(load16(p + 2), c->centre) : c->mean >> 4;
            recent = 64 * (a + b) + c->mean;
            context += load16(p) * c->per_prior;
        } else { /* a magnitude is 4 distances and 1, and the weights have the sum 16 */
            recent = 32 * recent_of(m, l) + 128 + c->mean;
        }
        int32_t z = l->base + c->recent * logarithm(m->logs, recent);
        z = z < 0 ? 0 : z > 4095 ? 4095 : z;
        l->context = context + ((uint32_t)z >> c->coarse) * c->sides + (l->side & c->side_mask);
        if (HAS_TRELLIS && l->trail & 1) l->context += c->second;
    }
}

/* The state of a trellis after a symbol that is so far from that of zero. */
static uint32_t trail_after(uint32_t trail, uint32_t away) {
    return (0x73426150u >> 4 * trail & 7) ^ (away & 1) << 1;
}

/* Move on along a trellis; returns the index that a symbol stands for. centre, zero: symbol and index of zero. */
static uint32_t index_along(uint8_t *trail, uint32_t symbol, uint32_t centre, uint32_t zero) {
    uint32_t away = symbol - centre, odd = *trail & 1;
    *trail = (uint8_t)trail_after(*trail, away);
    if (symbol <= centre) odd = away ? 0 - odd : 0;
    return zero + 2 * away - odd;
}

/* Put the index that a symbol stands for, and move on, also along a trellis. */
static void pass_symbol(context_model *m, lane *l, uint32_t symbol) {
    const context_stream *c = &m->streams[l->stream];
    const stream *s = &m->s[l->stream];
    amount at = l->at;
    if (HAS_TRELLIS && c->way) {
        symbol = index_along(&l->trail, symbol, c->centre, c->zero);
        m->beyond |= symbol >= c->most;
        if (c->way == ALONG_FIRST) at = l->channel * c->filter_count + l->filter; /* transposed back */
    }
    put(s, at, symbol);
    if (++l->at == l->turn) lane_turn(m, l);
}

/* Note a symbol of a lane, as one that others follow; returns its distance to the centre. */
static uint32_t lane_note(const context_stream *c, lane *l, uint32_t symbol) {
    uint32_t above = symbol > c->centre, far = above ? symbol - c->centre : c->centre - symbol;
#if QAC_SMALL
    memmove(l->history + 1, l->history, 5);
    l->history[0] = (uint8_t)far;
#else
    l->history = l->history << 8 | far;
#endif
    l->side = (uint8_t)((far > c->slack) << above);
    return far;
}

/* Decode a symbol of each lane. */
static qac_error context_step(context_model *m, lanes *words, uint32_t active) {
    const uint8_t *next = words->words, *end = next + 2 * (size_t)words->left;
    uint32_t bits = m->bits, mask = (1u << bits) - 1;
    find_contexts(m, m->lanes, active);
    for (lane *l = m->lanes; active > 0; active--, l++) {
        const context_stream *c = &m->streams[l->stream];
        uint32_t context = l->context;
        if (m->fresh[context] != m->epoch) TRY(refresh_context(m, c, context));
        const uint16_t *first = m->first + (size_t)context * m->stride;
        uint32_t x = l->state, slot = x & mask, symbol = symbol_in(first, m->stride, slot);
        first += symbol; /* behind the last row there is a zero; 2^bits stands for itself or is 0 */
        x = (((first[1] - (uint32_t)first[0] - 1) & mask) + 1) * (x >> bits) + slot - first[0];
        if (next != end) { /* without a branch on the state, which can't be predicted */
            uint32_t need = x < STATE_LOW;
            x = x << (need << 4) | (load16(next) & (0 - need));
            next += need << 1;
        } else if (x < STATE_LOW) {
            return QAC_BAD_PAYLOAD;
        }
        l->state = x;
        m->seen[(size_t)context * m->width + symbol]++;
        l->sum += lane_note(c, l, symbol);
        if (QAC_SMALL || !c->out) {
            pass_symbol(m, l, symbol);
        } else {
            c->out[l->at] = (uint8_t)symbol;
            if (++l->at == l->turn) lane_turn(m, l);
        }
    }
    words->left = (amount)(end - next) / 2;
    words->words = next;
    return QAC_OK;
}

/* Set the means of a refinement, which follow from all its parents. */
static void refinement_means(const context_model *m, uint32_t number, uint32_t *histogram) {
    context_stream *c = &m->streams[number];
    const stream *s = &m->s[number];
    amount below = 0;
    uint64_t sum = s->entries;
    lane l;
    memset(histogram, 0, 4 * (size_t)s->entries);
    for (amount i = 0; i < s->count; i++) histogram[load16(s->parents + 2 * (size_t)i)]++;
    for (c->centre = 0; c->centre + 1 < s->entries; c->centre++) {
        below += histogram[c->centre];
        if (2 * below >= s->count) break;
    }
    memset(&l, 0, sizeof l);
    l.stream = (uint16_t)number;
    lane_to(m, &l, 0);
    for (amount i = 0; i < s->count; i++) {
        uint32_t size = magnitude(load16(s->parents + 2 * (size_t)i), c->centre);
        sum += size;
        l.sum = size >> 2;
        l.at++;
        lane_tell(m, &l);
        if (l.at == l.turn) lane_turn(m, &l);
    }
    refresh_stream(m, c, sum, s->count);
}

/* Make a stream that follows a trellis one of symbols. centre: the index of zero, which becomes its symbol. */
static qac_error make_symbols(stream *s, uint32_t way, uint32_t *centre) {
    amount row = s->axis1 * s->deep;
    uint32_t above = (s->alphabet - *centre) / 2;
    if (!way) return QAC_OK;
    if (s->dims < 2) return QAC_BAD_PAYLOAD;
    *centre = (*centre + 1) / 2;
    s->alphabet = *centre + above + 1;
    if (way == ALONG_FIRST) {
        if (s->start % row || s->count % row) return QAC_BAD_PAYLOAD;
        s->start = 0;
        s->axis1 = s->count / row;
        s->deep = 1;
    }
    return QAC_OK;
}

/* Read how a stream follows a trellis, and make it the stream of symbols. */
static qac_error read_way(input *in, context_stream *c, stream *s) {
    c->way = get_u32(in, FROM_THIRD);
    if (s->children) return QAC_BAD_PAYLOAD;
    c->most = s->alphabet;
    c->zero = c->centre;
    return make_symbols(s, c->way, &c->centre);
}

/* Read the parameters of a payload, and take the model's memory. Without symbols there is nothing of either.
 * trellis: it is of this codec, and its streams become those of its symbols. */
static qac_error start_context(input *in, stream *s, int trellis, uint32_t n, context_model *m) {
    qac_file *f = in->file;
    uint32_t used, taps, most_entries = 0;
    memset(m, 0, sizeof *m);
    m->total = total_of(s, n, &m->width, &used);
    if (!m->total) return at_end(in);
    m->bits = get_u32(in, 14);
    taps = get_u32(in, 3);
    m->lane_count = get_u32(in, MAX_LANES);
    m->streams = take_zeros(f, (amount)n * sizeof *m->streams);
    m->logs = take(f, 256);
    if (!m->logs) return too_small(f);
    for (uint32_t i = 0; i < n; i++) {
        context_stream *c = &m->streams[i];
        if (!s[i].count) continue;
        c->centre = get_u32(in, s[i].alphabet - 1);
        c->setting = &settings[get_u32(in, 11)];
        if (HAS_TRELLIS && trellis) TRY(read_way(in, c, &s[i]));
    }
    total_of(s, n, &m->width, &used);
    if (m->bits < 9 || !m->lane_count || ceiling(m->total, m->lane_count) > MAX_STEPS || m->width > 256) {
        return QAC_BAD_PAYLOAD;
    }
    if (m->total > 1u << 30) return QAC_LIMIT_EXCEEDED; /* more than any chunk has; so a sum of magnitudes has 48 bits */
#if QAC_SMALL
    m->weights = tap_weights[taps];
#else
    for (uint32_t i = 0; i < 6; i++) {
        uint64_t weight = (uint64_t)tap_weights[taps][i] << (48 - i / 2 * 16);
        if (i % 2) m->even |= weight;
        else m->odd |= weight;
    }
#endif
    m->stride = (m->width + 3) & ~3u;
    m->s = s;
    m->n = n;
    for (uint32_t i = 0; i < n; i++) {
        context_stream *c = &m->streams[i];
        amount first;
        if (!s[i].count) continue;
        c->inner = s[i].deep;
        c->size = s[i].axis1 * s[i].deep;
        first = s[i].start / c->size;
        c->filter_count = (s[i].start + s[i].count - 1) / c->size - first + 1;
        c->channel_count = lesser(s[i].axis1, (s[i].count - 1) / c->inner + 2);
        c->first_context = m->contexts;
        c->first_prior = m->priors;
        c->sides = c->setting->sides && !s[i].children ? 3 : 1;
        c->side_mask = c->sides > 1 ? 3 : 0;
        c->coarse = 8u + c->setting->coarse;
        c->recent = c->setting->recent;
        c->slack = c->sides > 1 ? s[i].alphabet >> 4 : 255;
        int plain = s[i].width == 1 && s[i].stride == 1 && !s[i].from && s[i].wanted == s[i].count;
        if (!QAC_SMALL && plain && !c->way) c->out = s[i].out;
        c->per_prior = (16u >> c->setting->coarse) * c->sides;
        if (c->way) {
            c->second = c->per_prior;
            c->per_prior *= 2;
        }
        if (s[i].children) m->settled = 1; /* then all streams are refinements */
        /* each addend is at most 2^20, and the sum is checked after each */
        c->rows = s[i].children ? s[i].entries : 1;
        m->contexts += c->per_prior * c->rows;
        m->priors += c->rows;
        if (m->contexts * m->width > MAX_CONTEXT_CELLS) return QAC_BAD_PAYLOAD;
        if (c->setting->filter) c->filters = take_zeros(f, c->filter_count * sizeof(mean));
        if (c->setting->channel) c->channels = take_zeros(f, c->channel_count * sizeof(mean));
        if (s[i].children && s[i].entries > most_entries) most_entries = s[i].entries;
    }
    m->histogram = take(f, 4 * (amount)most_entries);
    m->lanes = take_zeros(f, (amount)m->lane_count * sizeof *m->lanes);
    m->seen = take_zeros(f, 4 * (amount)m->contexts * m->width);
    m->first = take_zeros(f, 2 * (amount)m->contexts * m->stride + 2);
    m->prior = take_zeros(f, 2 * (amount)m->priors * m->width);
    m->fresh = take_zeros(f, m->contexts);
    return QAC_OK;
}

static void make_logs(uint8_t *logs) {
    for (uint32_t i = 0, log = 0; i < 256; i++) {
        log += log_steps[i / 32] >> (i % 32) & 1;
        logs[i] = (uint8_t)log;
    }
}

/* Set what doesn't change: logarithms, and the means of refinements. */
static void prepare_context(const context_model *m) {
    make_logs(m->logs);
    for (uint32_t i = 0; i < m->n; i++) {
        if (m->s[i].count && m->s[i].children) refinement_means(m, i, m->histogram);
    }
}

static qac_error read_context(input *in, uint32_t codec, const stream *s, uint32_t n) {
    qac_file *f = in->file;
    amount mark = f->top, limit;
    context_model m;
    lanes words;
    uint32_t tail;
    int trellis = HAS_TRELLIS && codec == TRELLIS;
    stream *own = take(f, (amount)n * sizeof *own);
    if (!own) return too_small(f);
    memcpy(own, s, n * sizeof *own);
    s = own;
    TRY(start_context(in, own, trellis, n, &m));
    if (!m.total) return QAC_OK;
    ALLOCATED(f, mark);
    const uint8_t *begins = in->at; /* the states of the lanes at their first symbols */
    for (uint32_t i = 0; trellis && i < m.lane_count; i++) {
        if ((m.lanes[i].trail = (uint8_t)get_byte(in)) > 7) return QAC_BAD_PAYLOAD;
    }
    prepare_context(&m);
    words.count = m.lane_count;
    TRY(read_states(in, &words, &m.lanes[0].state, sizeof(lane) / sizeof(uint32_t)));
    uint32_t run = (uint32_t)(m.total / m.lane_count), longer = (uint32_t)(m.total % m.lane_count), number = 0;
    amount place = 0, before = 0; /* of the lane, and of the stream, among all symbols */
    for (uint32_t i = 0; i < m.lane_count; i++) {
        lane *l = &m.lanes[i];
        while (number < n && place >= before + s[number].count) before += s[number++].count;
        l->stream = (uint16_t)number;
        if (number < n) lane_to(&m, l, place - before);
        place += run + (i < longer);
    }
    uint32_t trail = m.lanes[0].trail; /* where the lane before ends */
    tail = tail_length(m.width, m.total, m.lane_count, &limit);
    uint32_t steps = run - tail + (longer > 0), length = 4;
    for (uint32_t step = 0; step < steps;) {
        uint32_t stop = (uint32_t)lesser(step + length, steps);
        TRY(refresh(&m, m.lane_count));
        for (; step < stop; step++) {
            TRY(context_step(&m, &words, longer && step == steps - 1 ? longer : m.lane_count));
        }
        length = (uint32_t)lesser(length * 3 / 2, greater(64, step >> 4));
    }
    for (uint32_t i = 0; i < m.lane_count; i++) {
        lane *l = &m.lanes[i];
        uint32_t packed = l->state - STATE_LOW;
        if (words.left || packed >= limit || (trellis && trail != begins[i])) return QAC_BAD_PAYLOAD;
        for (uint32_t j = 0; j < tail; j++, packed /= m.width) {
            uint32_t symbol = packed % m.width;
            if (symbol >= s[l->stream].alphabet) return QAC_BAD_PAYLOAD;
            pass_symbol(&m, l, symbol);
        }
        trail = l->trail;
    }
    f->top = mark;
    return m.beyond ? QAC_BAD_PAYLOAD : QAC_OK;
}

/* ---- mixing: bits under a mix of the predictions of several contexts (SPEC.md, 6.8) ---- */

enum { INPUTS = 5, SHARED_CELLS = 664, OWN_CELLS = 33, FLAGS = 18, SIGN_CELLS = 603, OWN_SIGNS = 8, MOST_PLACES = 64 };
enum { FLAG_SETS = 7, SIGN = 256, CHANCES = 769, COUNTS = 512 }; /* SIGN: number of the bit, behind those of flags */

/* 65536 * (2^(i / 64) - 1), rounded. */
static const uint16_t powers[64] = {
    0,     714,   1435,  2164,  2902,  3647,  4400,  5162,  5932,  6710,  7496,  8292,  9096,  9908,  10730, 11560,
    12400, 13249, 14106, 14974, 15850, 16737, 17633, 18538, 19454, 20379, 21315, 22260, 23216, 24183, 25160, 26148,
    27146, 28155, 29175, 30207, 31249, 32303, 33369, 34446, 35534, 36635, 37747, 38872, 40009, 41158, 42320, 43495,
    44682, 45882, 47095, 48322, 49562, 50815, 52082, 53363, 54658, 55966, 57289, 58627, 59979, 61346, 62727, 64124};

/* The zeros and the ones that a context has seen. */
typedef struct tally {
    uint16_t seen[2];
} tally;

/* How a stream is coded: its way, the state of its trellis before it, the index of zero. */
typedef struct route {
    uint16_t zero;
    uint8_t way, trail;
} route;

/* How the values of a stream lie: rows and columns of kernels, and those of a part. */
typedef struct grid {
    amount rows, columns, tall, broad;
    amount skipped, count; /* values that are missing before the first one; values */
    amount first, slots;   /* the first kernel with values; columns with values */
    uint32_t places, width;
} grid;

typedef struct mixer {
    lanes words;
    grid grid;
    amount top, bottom, left, right, low, high; /* of a block: rows, columns, and the kernels that have its place */
    uint8_t *steps;                       /* of logarithms */
    uint16_t *logs, *chances;             /* logarithm of a count; probability of the rarer bit, by its odds' size */
    tally *flags, *own, *signs, *own_signs; /* shared contexts, and those of the stream */
    uint32_t *cells;                      /* of a block: cells of the four inputs that have any, 6, 8, 9 and 5 bits */
    uint16_t *around;                     /* what signs depend on, in 3, 3 and 4 bits; is minus expected; is it known */
    uint16_t *list;                       /* values of which a bit follows; the highest bit is that bit */
    uint8_t *sizes, *symbols;             /* magnitudes of a block, symbols of the stream */
    mean *rows, *columns, *by_place, all;
    route *routes;
    amount total, tallies;                /* how many symbols and contexts there are */
    uint32_t mean, place, centre, used;   /* used: how many streams have symbols */
    int32_t level, weights[FLAG_SETS + 1][INPUTS];
    uint16_t *kept;         /* of known symbols: a ring of bits with their probabilities; behind a batch its length */
    amount room, next;      /* the size of the ring, and where the next entry goes */
    uint64_t entries, stop; /* how many entries there were, and after how many there are enough */
} mixer;

static void lay_out(grid *t, const stream *s) {
    amount columns = s->dims < 2 ? 1 : s->axis1, places = s->dims < 2 ? 1 : s->deep, high = 1, wide = 1;
    if (places > MOST_PLACES || (places > 1 && s->kernels < 32)) {
        columns *= places;
        places = 1;
    }
    t->places = (uint32_t)places;
    t->width = places > 1 ? (uint32_t)s->last : 1;
    t->columns = columns;
    t->skipped = s->start % (columns * places);
    t->count = s->count;
    t->rows = (t->skipped + t->count - 1) / (columns * places) + 1;
    t->first = t->skipped / places;
    t->slots = lesser(columns, (t->count - 1) / places + 2);
    for (;;) { /* parts hold a value at least, on average, so a product of what they are and `places` is small enough */
        amount block = t->rows * columns / (high * wide), tall = t->rows / high;
        if (block <= 4096 && (high * wide * places >= 64 || block < 128)) break;
        if (tall > 1 && (places > 1 || tall >= columns / wide)) high *= 2;
        else wide *= 2;
    }
    t->tall = ceiling(t->rows, high);
    t->broad = ceiling(columns, wide);
}

/* Find the values of a block in a row: returns how many, and where the first one and its kernel are in the stream. */
static uint32_t span(const mixer *m, amount row, amount *at, amount *kernel) {
    amount before = row * m->grid.columns, first = greater(before + m->left, m->low);
    amount last = lesser(before + m->right, m->high);
    if (first >= last) return 0;
    *at = first * m->grid.places + m->place - m->grid.skipped;
    *kernel = first - m->grid.first;
    return (uint32_t)(last - first);
}

/* The mean magnitude in 1/256, with `weight` times a mean that is expected. */
static uint32_t mean_of(const mean *of, uint32_t weight, uint32_t expected) {
    uint64_t sum = (uint64_t)of->high << 32 | of->sum;
    return (uint32_t)((256 * sum + weight * expected) / (of->count + weight));
}

/* The logarithm of a mean, minus that of the stream. */
static int32_t above_level(const mixer *m, uint32_t of) { return logarithm(m->steps, of + 15) - m->level; }

static int32_t ratio_of(const mixer *m, const mean *of, uint32_t weight) {
    return above_level(m, mean_of(of, weight, m->mean));
}

/* Bring a number into cells of size 2^shift. */
static uint32_t cell(int32_t number, uint32_t shift, uint32_t cells) {
    return number < 0 ? 0 : (uint32_t)lesser((uint32_t)number >> shift, cells - 1);
}

/* Count which of the ascending numbers `steps`, up to a zero, are at most `number`. */
static uint32_t reached(const uint8_t *steps, uint32_t number) {
    uint32_t found = 0;
    while (steps[found] && steps[found] <= number) found++;
    return found;
}

/* Find the contexts of a block's values; returns how many values it has. */
static uint32_t survey(mixer *m) {
    static const int8_t beside[6][3] = {{2, 0, -1}, {1, 1, -1}, {1, 0, 4}, {1, -1, -1}, {0, 2, -1}, {0, 1, 4}};
    static const uint8_t smooth[] = {2, 5, 8, 13, 19, 26, 35, 48, 0}, ratios[] = {1, 2, 6, 13, 21, 32, 48, 0};
    static const uint8_t sums[] = {1, 2, 3, 5, 7, 9, 13, 0};
    const grid *t = &m->grid;
    uint32_t backs[6], neighbours = 0, weight = 8, n = 0;
    int32_t signs[6], column = (int32_t)(m->place % t->width);
    amount at = 0, kernel = 0;
    m->mean = mean_of(&m->all, 1, 128);
    m->level = logarithm(m->steps, m->mean + 15);
    for (uint32_t i = 0; i < 6; i++) { /* the values before, in the order of places */
        int32_t down = beside[i][0], right = beside[i][1], there = column - right;
        if (there < 0 || there >= (int32_t)t->width || m->place / t->width < (uint32_t)down) continue;
        backs[neighbours] = (uint32_t)(down * (int32_t)t->width + right);
        signs[neighbours] = beside[i][2];
        weight += beside[i][2] > 0 ? 4 : 2;
        neighbours++;
    }
    int32_t place = ratio_of(m, &m->by_place[m->place], 4);
    uint32_t level = cell(m->level - 192, 5, 16);
    for (amount row = m->top; row < m->bottom; row++) {
        uint32_t values = span(m, row, &at, &kernel);
        amount slot = values ? kernel % t->slots : 0;
        int32_t of_row = ratio_of(m, &m->rows[row], 3);
        for (; values > 0; values--, at += t->places) {
            mean *of = &m->columns[slot];
            const uint8_t *here = m->symbols + (size_t)at;
            uint32_t before = (uint32_t)lesser(m->place, at), sum = 0, near = 0;
            int32_t side = 0, away = 0;
            if (++slot == t->slots) slot = 0;
            if (row == m->top || row == 1) of->log = (int16_t)ratio_of(m, of, 3); /* the first row may have gaps */
            for (uint32_t i = 1; i <= before; i++) {
                int32_t value = (int32_t)here[-(int32_t)i] - (int32_t)m->centre;
                sum += (uint32_t)(value < 0 ? -value : value);
            }
            for (uint32_t i = 0; i < neighbours; i++) {
                int32_t value = backs[i] <= before ? (int32_t)here[-(int32_t)backs[i]] - (int32_t)m->centre : 0;
                near += (signs[i] > 0 ? 4u : 2u) * (uint32_t)(value < 0 ? -value : value);
                away += signs[i] * value;
                if (signs[i] > 0) side = 3 * side + (value > 0) - (value < 0);
            }
            uint32_t far = (uint32_t)(away < 0 ? -away : away), smoothness = 1024 * far / (m->mean + 77);
            int32_t of_kernel = above_level(m, (512 * sum + 3 * m->mean) / (2 * before + 3));
            int32_t beside_it = above_level(m, (256 * near + 8 * m->mean) / weight);
            int32_t longer = 16 * m->level + 13 * (of_row + of->log) + 10 * place + 7 * of_kernel - 3072;
            int32_t brief = 16 * m->level + 12 * (of_row + of->log) + 14 * place + 6 * beside_it - 3072;
            uint32_t shared = cell(beside_it + 192, 4, 24) + 24 * level;
            m->cells[n] = cell(brief, 7, 64) | (cell(longer, 8, 24) + 24 * reached(smooth, smoothness)) << 6 |
                          shared << 14 | cell(brief + 5 * of_kernel, 8, 32) << 23;
            side = away < 0 ? 4 - side : 4 + side;
            m->around[n] = (uint16_t)(reached(ratios, smoothness) | reached(sums, far) << 3 | (uint32_t)side << 6 |
                                      (uint32_t)(away < 0) << 10);
            m->sizes[n] = 0;
            if (KNOWN(m)) {
                m->sizes[n] = (uint8_t)(*here > m->centre ? *here - m->centre : m->centre - *here);
                m->around[n] = (uint16_t)(m->around[n] | (uint32_t)(*here < m->centre) << 11);
            }
            m->list[n] = (uint16_t)n;
            n++;
        }
    }
    return n;
}

/* Find the contexts of a bit of a block's value i. */
static void find_tallies(const mixer *m, uint32_t i, uint32_t bit, tally **found) {
    if (bit == SIGN) {
        uint32_t around = m->around[i], a = around & 7, high = m->sizes[i] < 3 ? m->sizes[i] : 3;
        found[0] = m->signs + a + 8 * high;
        found[1] = m->signs + 32 + (around >> 3 & 7) + 8 * high;
        found[2] = m->signs + 64 + (around >> 6 & 15) + 9 * (high < 2 ? high : 2);
        found[3] = m->signs + 91 + a + 8 * m->place;
        found[4] = m->own_signs + a;
    } else {
        uint32_t cells = m->cells[i], flag = bit < FLAGS ? bit : FLAGS - 1;
        found[0] = m->flags + FLAGS * (cells & 63) + flag;
        found[1] = m->flags + FLAGS * (64 + (cells >> 6 & 255)) + flag;
        found[2] = m->flags + FLAGS * (280 + (cells >> 14 & 511)) + flag;
        found[3] = m->own + flag;
        found[4] = m->own + FLAGS * (1 + (cells >> 23)) + flag;
    }
}

/* Keep a bit, or the length of a batch; returns whether there weren't enough before. */
static int keep_bit(mixer *m, uint32_t entry) {
    if (m->entries == m->stop) return 0;
    m->kept[m->next] = (uint16_t)entry;
    m->entries++;
    if (++m->next == m->room) m->next = 0;
    return 1;
}

/* Decode a bit of each value of the list, then learn them. Known bits are kept; QAC_BAD_PAYLOAD if there are enough. */
static qac_error decode_bits(mixer *m, uint32_t n, uint32_t bit) {
    int32_t *weights = m->weights[bit == SIGN ? FLAG_SETS : bit < FLAG_SETS ? bit : FLAG_SETS - 1], odds[INPUTS];
    int64_t gradient[INPUTS] = {0};
    uint64_t curvature[INPUTS] = {0};
    tally *found[INPUTS];
    lanes *l = &m->words;
    uint32_t number = 0;
    for (uint32_t k = 0; k < n; k++) {
        int64_t mixed = (int64_t)1 << 40; /* so that it isn't negative */
        find_tallies(m, m->list[k], bit, found);
        for (uint32_t i = 0; i < INPUTS; i++) {
            odds[i] = (int32_t)m->logs[found[i]->seen[1]] - (int32_t)m->logs[found[i]->seen[0]];
            mixed += (int64_t)weights[i] * odds[i];
        }
        int32_t x = (int32_t)(mixed >> 16) - (1 << 24);
        uint32_t chance = m->chances[lesser((uint32_t)(x < 0 ? -x : x), CHANCES - 1)];
        if (x >= 0) chance = 32768 - chance;
        uint32_t one;
        if (KNOWN(m)) {
            uint32_t value = m->list[k], around = m->around[value];
            one = bit == SIGN ? (around >> 11 & 1) == (around >> 10 & 1) : m->sizes[value] > bit;
            if (!keep_bit(m, chance << 1 | one)) return QAC_BAD_PAYLOAD;
        } else {
            uint32_t state = l->states[number], slot = state & 32767;
            one = slot < chance;
            state = (one ? chance : 32768 - chance) * (state >> 15) + slot - (one ? 0 : chance);
            if (state < STATE_LOW) {
                if (!l->left) return QAC_BAD_PAYLOAD;
                state = state << 16 | load16(l->words);
                l->words += 2;
                l->left--;
            }
            l->states[number] = state;
            if (++number == l->count) number = 0;
        }
        m->list[k] = (uint16_t)(m->list[k] | one << 15);
        int32_t error = (int32_t)(one << 15) - (int32_t)chance;
        uint32_t spread = chance * (32768 - chance) >> 15; /* odds are below 700: their squares times this fit */
        for (uint32_t i = 0; i < INPUTS; i++) {
            gradient[i] += odds[i] * error;
            curvature[i] += (uint32_t)(odds[i] * odds[i]) * spread;
        }
    }
    if (KNOWN(m) && !keep_bit(m, n)) return QAC_BAD_PAYLOAD;
    for (uint32_t i = 0; i < INPUTS; i++) { /* a block has at most 2^14 values, so a gradient is below 2^40 */
        const int64_t heaviest = 1 << 20, slope = gradient[i];
        int64_t step = (int64_t)(((uint64_t)(slope < 0 ? -slope : slope) << 18) / (curvature[i] + 2000000000u));
        int64_t weight = weights[i] + (slope < 0 ? -step : step);
        weights[i] = (int32_t)(weight < -heaviest ? -heaviest : weight > heaviest ? heaviest : weight);
    }
    for (uint32_t k = 0; k < n; k++) {
        find_tallies(m, m->list[k] & 32767, bit, found);
        for (uint32_t i = 0; i < INPUTS; i++) found[i]->seen[m->list[k] >> 15]++;
    }
    for (uint32_t k = 0; k < n; k++) {
        find_tallies(m, m->list[k] & 32767, bit, found);
        for (uint32_t i = 0; i < INPUTS; i++) {
            uint16_t *seen = found[i]->seen;
            uint32_t total = (uint32_t)seen[0] + seen[1];
            if (total < COUNTS) continue;
            uint32_t shift = bit_length(total) - 9;
            seen[0] = (uint16_t)(seen[0] >> shift);
            seen[1] = (uint16_t)(seen[1] >> shift);
        }
    }
    return QAC_OK;
}

/* Decode a block, whose values are at most `most` from the centre. */
static qac_error mixing_block(mixer *m, uint32_t alphabet, uint32_t most) {
    const grid *t = &m->grid;
    uint32_t n = survey(m), left = n, next = 0;
    amount at = 0, kernel = 0;
    for (uint32_t flag = 0; flag < most && left > 0; flag++) {
        TRY(decode_bits(m, left, flag));
        uint32_t stay = 0;
        for (uint32_t k = 0; k < left; k++) {
            uint32_t i = m->list[k] & 32767;
            if (m->list[k] == i) continue;
            if (!KNOWN(m)) m->sizes[i]++;
            m->list[stay++] = (uint16_t)i;
        }
        left = stay;
    }
    left = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (m->sizes[i]) m->list[left++] = (uint16_t)i;
    }
    if (left) TRY(decode_bits(m, left, SIGN));
    const uint16_t *sign = m->list;
    for (amount row = m->top; row < m->bottom; row++) {
        uint32_t values = span(m, row, &at, &kernel), stop = next + values, in_row = 0;
        amount slot = values ? kernel % t->slots : 0;
        for (; next < stop; at += t->places, next++) {
            uint32_t size = m->sizes[next], symbol = m->centre + size;
            if (size && *sign++ >> 15 == (m->around[next] >> 10 & 1)) symbol = m->centre - size;
            if (symbol >= alphabet) return QAC_BAD_PAYLOAD;
            m->symbols[(size_t)at] = (uint8_t)symbol;
            in_row += size;
            add_to(&m->columns[slot], size, 1);
            if (++slot == t->slots) slot = 0;
        }
        add_to(&m->rows[row], in_row, values);
        add_to(&m->by_place[m->place], in_row, values);
        add_to(&m->all, in_row, values);
    }
    return QAC_OK;
}

/* Give the first part of columns, from `left` on, that has values in the rows of a block; the end if there is none. */
static amount next_part(const mixer *m, amount left) {
    const grid *t = &m->grid;
    amount found = t->columns, end = (t->skipped + t->count - 1) / t->places + 1;
    for (amount row = m->top; row < m->bottom && found > left; row++) { /* all but the first and the last are whole */
        amount before = row * t->columns, first = greater(before + left, t->first);
        if (first < lesser(before + t->columns, end)) found = lesser(found, first - before);
    }
    return found < t->columns ? found - found % t->broad : found;
}

/* Decode the symbols of a stream. */
static qac_error mixing_symbols(mixer *m, const stream *s) {
    const grid *t = &m->grid;
    uint32_t most = (uint32_t)greater(m->centre, s->alphabet - 1 - m->centre);
    memset(&m->all, 0, sizeof m->all);
    memset(m->rows, 0, t->rows * sizeof(mean));
    memset(m->columns, 0, t->slots * sizeof(mean));
    memset(m->by_place, 0, t->places * sizeof(mean));
    for (m->top = 0; m->top < t->rows; m->top = m->bottom) {
        m->bottom = lesser(m->top + t->tall, t->rows);
        for (m->left = next_part(m, 0); m->left < t->columns; m->left = next_part(m, m->right)) {
            m->right = lesser(m->left + t->broad, t->columns);
            for (m->place = 0; m->place < t->places; m->place++) {
                amount first = t->skipped, end = t->skipped + t->count;
                m->low = first > m->place ? ceiling(first - m->place, t->places) : 0;
                m->high = end > m->place ? ceiling(end - m->place, t->places) : 0;
                TRY(mixing_block(m, s->alphabet, most));
            }
        }
    }
    return QAC_OK;
}

/* Put the indices that symbols stand for. s: the stream as it is coded; whole: as it is. */
static qac_error put_along(const mixer *m, const stream *s, const stream *whole, const route *r) {
    amount row = r->way == FROM_THIRD ? s->deep : s->axis1 * s->deep, rows = s->count / row, at = 0;
    amount in_row = s->start % row;
    uint8_t trail = r->trail;
    for (amount i = 0; i < s->count; i++) {
        uint32_t symbol = m->symbols[(size_t)i];
        amount place = i;
        if (r->way) {
            if (in_row == 0) trail = 0;
            symbol = index_along(&trail, symbol, m->centre, r->zero);
            if (symbol >= whole->alphabet) return QAC_BAD_PAYLOAD;
            if (r->way == ALONG_FIRST) place = in_row * rows + at;
            if (++in_row == row) {
                in_row = 0;
                at++;
            }
        }
        put(whole, place, symbol);
    }
    return QAC_OK;
}

/* Read the parameters of a payload, and take the model's memory. all: whether the symbols of all streams stay. */
static qac_error start_mixing(input *in, const stream *s, uint32_t n, int all, mixer *m) {
    qac_file *f = in->file;
    amount longest = 0, rows = 0, columns = 0, block = 0;
    uint32_t largest, used, number = 0, centre;
    memset(m, 0, sizeof *m);
    m->total = total_of(s, n, &largest, &used);
    if (!m->total) return at_end(in);
    if (m->total > 1u << 30) return QAC_LIMIT_EXCEEDED; /* as under context */
    m->words.count = get_u32(in, MAX_LANES);
    m->used = used;
    m->routes = take(f, used * sizeof *m->routes);
    if (!m->routes) return too_small(f);
    for (uint32_t i = 0; i < n; i++) {
        stream own = s[i];
        route *r = &m->routes[number];
        if (!own.count) continue;
        centre = get_u32(in, 4 * own.alphabet - 1);
        r->way = centre & 3;
        r->zero = (uint16_t)(centre >>= 2);
        amount row = r->way == FROM_THIRD ? own.deep : own.axis1 * own.deep;
        if (own.children) return QAC_BAD_PAYLOAD;
        TRY(make_symbols(&own, r->way, &centre));
        if (own.alphabet > 256) return QAC_BAD_PAYLOAD;
        r->trail = (uint8_t)(r->way > ALONG_FIRST && own.start % row ? get_u32(in, 7) : 0);
        lay_out(&m->grid, &own);
        longest = greater(longest, own.count);
        rows = greater(rows, m->grid.rows);
        columns = greater(columns, m->grid.slots);
        block = greater(block, lesser(own.count, m->grid.tall * m->grid.broad));
        number++;
    }
    if (!m->words.count) return QAC_BAD_PAYLOAD;
    m->tallies = SIGN_CELLS + (amount)used * OWN_SIGNS + FLAGS * (SHARED_CELLS + (amount)used * OWN_CELLS);
    m->signs = take(f, m->tallies * sizeof *m->signs); /* those of signs come first */
    m->words.states = take(f, 4 * (amount)m->words.count);
    m->steps = take(f, 256);
    m->logs = take(f, 2 * COUNTS);
    m->chances = take(f, 2 * CHANCES);
    m->by_place = take(f, MOST_PLACES * sizeof(mean));
    m->rows = take(f, rows * sizeof(mean));
    m->columns = take(f, columns * sizeof(mean));
    m->symbols = take(f, all ? m->total : longest);
    m->cells = take(f, 4 * block);
    m->around = take(f, 2 * block);
    m->list = take(f, 2 * block);
    m->sizes = take(f, block);
    return QAC_OK;
}

/* Set what doesn't change. */
static void prepare_mixing(mixer *m) {
    m->flags = m->signs + SIGN_CELLS + (size_t)m->used * OWN_SIGNS;
    make_logs(m->steps);
    for (uint32_t i = 0; i < COUNTS; i++) m->logs[i] = (uint16_t)logarithm(m->steps, 5 * i + 2);
    for (uint32_t i = 0; i < CHANCES; i++) {
        uint32_t chance = (1u << 31) / (65536 + ((65536u + powers[i & 63]) << (i >> 6)));
        m->chances[i] = (uint16_t)(chance < 8 ? 8 : chance);
    }
}

/* Decode all streams, or keep the bits of their symbols, which stand one stream after the other. */
static qac_error mixing_streams(mixer *m, const stream *s, uint32_t n) {
    memset(m->signs, 0, m->tallies * sizeof *m->signs);
    for (uint32_t i = 0; i < (FLAG_SETS + 1) * INPUTS; i++) m->weights[i / INPUTS][i % INPUTS] = 20971;
    const route *r = m->routes;
    m->own_signs = m->signs + SIGN_CELLS;
    m->own = m->flags + FLAGS * SHARED_CELLS;
    for (uint32_t i = 0; i < n; i++) {
        stream own = s[i];
        if (!own.count) continue;
        m->centre = r->zero;
        TRY(make_symbols(&own, r->way, &m->centre));
        lay_out(&m->grid, &own);
        TRY(mixing_symbols(m, &own));
        if (KNOWN(m)) m->symbols += own.count;
        else TRY(put_along(m, &own, &s[i], r));
        m->own += FLAGS * OWN_CELLS;
        m->own_signs += OWN_SIGNS;
        r++;
    }
    return QAC_OK;
}

static qac_error read_mixing(input *in, const stream *s, uint32_t n) {
    qac_file *f = in->file;
    amount mark = f->top;
    mixer m;
    TRY(start_mixing(in, s, n, 0, &m));
    if (!m.total) return QAC_OK;
    ALLOCATED(f, mark);
    prepare_mixing(&m);
    TRY(read_states(in, &m.words, m.words.states, 1));
    TRY(mixing_streams(&m, s, n));
    for (uint32_t i = 0; i < m.words.count; i++) {
        if (m.words.left || m.words.states[i] != STATE_LOW) return QAC_BAD_PAYLOAD;
    }
    f->top = mark;
    return QAC_OK;
}

/* ---- deflate, lzma and zstd: bytes ---- */

#ifndef QAC_NO_DEFLATE

#define DICTIONARY_BYTES 3412u

/* The dictionary (SPEC.md, 6.6) as a DEFLATE stream, made once with zopfli. */
static const uint8_t packed_dictionary[] = {
    76, 82, 197, 154, 220, 48, 12, 126, 35, 47, 28, 123, 90, 102, 134, 115, 62, 197, 254, 39, 81, 199, 150, 178, 182,
    156, 129, 167, 111, 146, 45, 25, 197, 28, 56, 146, 177, 74, 233, 178, 214, 97, 141, 44, 136, 77, 233, 105, 192, 64,
    161, 20, 203, 28, 80, 60, 56, 54, 73, 3, 188, 86, 177, 134, 197, 199, 26, 208, 76, 18, 84, 77, 151, 127, 203, 101,
    13, 12, 129, 83, 193, 80, 56, 170, 36, 77, 16, 171, 137, 226, 208, 83, 11, 35, 203, 36, 229, 116, 121, 207, 6, 228,
    100, 58, 82, 172, 152, 237, 246, 28, 2, 164, 41, 188, 71, 224, 12, 63, 71, 68, 211, 59, 126, 199, 118, 174, 50, 206,
    247, 99, 214, 29, 180, 224, 145, 236, 177, 198, 107, 164, 244, 240, 254, 241, 120, 253, 246, 57, 113, 139, 145, 216,
    53, 89, 143, 252, 30, 217, 99, 34, 121, 178, 55, 44, 201, 252, 213, 252, 148, 242, 85, 129, 61, 222, 127, 127, 186,
    178, 68, 219, 119, 238, 146, 114, 248, 32, 233, 39, 195, 23, 60, 190, 215, 246, 52, 132, 23, 10, 231, 145, 135, 55,
    132, 234, 241, 8, 146, 71, 218, 190, 168, 198, 211, 17, 153, 58, 204, 224, 117, 212, 150, 254, 39, 92, 69, 50, 131,
    188, 33, 214, 51, 50, 223, 63, 105, 78, 20, 121, 79, 75, 82, 236, 84, 100, 203, 50, 84, 219, 106, 181, 233, 219, 69,
    237, 216, 202, 92, 134, 232, 86, 32, 171, 25, 197, 29, 186, 13, 184, 235, 205, 71, 42, 133, 87, 140, 236, 90, 57,
    250, 77, 116, 185, 138, 176, 116, 77, 2, 201, 95, 100, 164, 236, 164, 166, 166, 157, 189, 162, 52, 150, 201, 175,
    17, 34, 237, 144, 143, 220, 161, 243, 42, 227, 145, 91, 208, 99, 23, 116, 35, 133, 210, 16, 225, 74, 175, 217, 124,
    53, 23, 89, 64, 217, 177, 52, 67, 214, 159, 141, 211, 106, 11, 228, 144, 90, 132, 192, 210, 21, 183, 228, 54, 103,
    226, 10, 226, 202, 125, 85, 228, 157, 91, 99, 231, 2, 164, 192, 61, 204, 214, 231, 140, 29, 196, 107, 64, 254, 246,
    231, 190, 7, 235, 199, 97, 211, 50, 149, 95, 141, 86, 7, 178, 227, 54, 12, 189, 10, 134, 233, 137, 172, 85, 249,
    246, 90, 78, 207, 21, 50, 245, 151, 241, 208, 18, 101, 107, 44, 83, 90, 146, 202, 246, 187, 231, 1, 114, 253, 189,
    217, 228, 3, 8, 128, 168, 196, 87, 93, 166, 113, 93, 102, 248, 207, 197, 174, 195, 205, 120, 157, 197, 204, 244, 89,
    233, 178, 28, 112, 133, 143, 106, 241, 249, 107, 116, 190, 83, 149, 97, 217, 149, 90, 20, 243, 56, 157, 70, 170,
    115, 205, 186, 177, 186, 5, 240, 54, 158, 167, 145, 234, 225, 19, 161, 39, 113, 18, 41, 100, 128, 195, 142, 137,
    145, 10, 76, 145, 53, 11, 93, 59, 99, 56, 77, 89, 106, 137, 111, 225, 75, 226, 162, 136, 84, 217, 121, 248, 227,
    176, 147, 136, 121, 181, 80, 115, 90, 27, 139, 96, 7, 83, 209, 8, 70, 228, 13, 54, 201, 130, 126, 180, 18, 235, 159,
    34, 210, 182, 162, 52, 155, 131, 131, 222, 111, 144, 118, 228, 3, 202, 130, 26, 79, 165, 118, 174, 1, 123, 103, 85,
    164, 144, 121, 75, 189, 242, 75, 227, 92, 231, 88, 21, 108, 151, 172, 96, 85, 55, 151, 38, 221, 183, 200, 188, 27,
    248, 198, 118, 104, 219, 7, 130, 82, 92, 212, 234, 29, 120, 213, 152, 93, 10, 251, 46, 44, 235, 198, 54, 129, 37,
    64, 13, 23, 202, 88, 233, 178, 239, 33, 92, 138, 77, 118, 14, 30, 59, 200, 14, 93, 159, 66, 100, 34, 190, 28, 44,
    114, 206, 15, 108, 148, 144, 191, 222, 129, 121, 224, 83, 243, 3, 167, 192, 240, 173, 43, 55, 208, 143, 100, 182,
    38, 164, 115, 117, 68, 254, 133, 229, 156, 67, 186, 5, 38, 201, 186, 100, 191, 121, 142, 193, 49, 89, 87, 150, 117,
    154, 73, 50, 133, 168, 18, 245, 179, 114, 82, 64, 56, 63, 77, 179, 189, 231, 169, 171, 201, 246, 159, 22, 244, 190,
    9, 27, 248, 141, 112, 167, 198, 81, 139, 118, 211, 30, 195, 162, 238, 159, 207, 166, 51, 106, 118, 168, 86, 79, 59,
    93, 25, 170, 93, 183, 195, 73, 142, 17, 88, 124, 104, 74, 17, 220, 64, 190, 88, 71, 108, 221, 211, 226, 242, 249,
    213, 51, 41, 1, 246, 74, 7, 61, 122, 229, 176, 86, 101, 83, 107, 151, 38, 11, 117, 68, 248, 26, 59, 11, 237, 49, 86,
    128, 215, 78, 247, 112, 214, 41, 181, 247, 41, 120, 136, 216, 77, 30, 229, 25, 254, 238, 238, 227, 105, 148, 205,
    241, 7, 156, 123, 129, 180, 15, 227, 57, 124, 92, 21, 6, 229, 92, 26, 239, 81, 202, 146, 241, 27, 109, 81, 150, 32,
    231, 145, 226, 94, 130, 243, 73, 124, 53, 159, 70, 248, 156, 206, 248, 51, 153, 65, 18, 247, 101, 144, 178, 236, 42,
    194, 63, 3, 161, 18, 214, 44, 43, 192, 4, 76, 62, 167, 119, 95, 95, 175, 164, 72, 113, 8, 186, 178, 140, 191, 174,
    102, 211, 147, 30, 185, 216, 185, 150, 36, 203, 193, 148, 22, 133, 232, 73, 210, 23, 244, 164, 103, 122, 210, 60,
    121, 123, 146, 44, 174, 57, 147, 156, 39, 243, 189, 176, 193, 238, 197, 108, 77, 47, 206, 116, 82, 104, 44, 9, 169,
    5, 110, 197, 33, 94, 127, 84, 96, 214, 78, 3, 53, 78, 220, 154, 156, 3, 75, 62, 13, 244, 18, 108, 77, 189, 7, 161,
    5, 43, 85, 55, 45, 8, 10, 138, 223, 233, 178, 219, 245, 128, 96, 105, 204, 185, 229, 77, 8, 220, 104, 1, 109, 233,
    119, 74, 103, 183, 118, 215, 140, 147, 145, 183, 183, 214, 151, 93, 207, 203, 91, 165, 219, 246, 86, 1, 128, 173,
    56, 33, 16, 231, 224, 125, 204, 7, 167, 185, 181, 78, 194, 6, 35, 126, 189, 185, 79, 215, 53, 108, 97, 16, 84, 91,
    29, 80, 204, 52, 109, 75, 83, 61, 32, 240, 136, 48, 62, 136, 148, 208, 57, 83, 97, 68, 152, 178, 241, 40, 6, 161,
    155, 15, 186, 20, 42, 183, 167, 38, 124, 124, 32, 45, 104, 183, 54, 65, 110, 36, 180, 217, 44, 73, 18, 38, 156, 149,
    149, 16, 184, 36, 222, 136, 126, 179, 222, 139, 238, 121, 91, 113, 141, 182, 173, 64, 219, 234, 33, 178, 8, 102,
    215, 27, 39, 131, 244, 247, 44, 26, 7, 203, 239, 104, 154, 247, 89, 109, 103, 13, 99, 166, 239, 202, 141, 7, 148,
    192, 186, 193, 154, 229, 211, 0, 2, 32, 61, 225, 96, 254, 236, 234, 214, 182, 142, 57, 227, 36, 1, 81, 15, 107, 30,
    39, 34, 190, 116, 93, 63, 169, 219, 6, 70, 95, 18, 14, 122, 165, 71, 136, 204, 75, 23, 214, 125, 158, 49, 157, 251,
    165, 0, 99, 15, 205, 146, 11, 176, 53, 192, 242, 228, 17, 112, 202, 16, 247, 21, 129, 170, 134, 7, 192, 5, 36, 158,
    229, 221, 155, 99, 203, 97, 250, 173, 189, 217, 46, 165, 3, 251, 187, 91, 203, 201, 216, 13, 174, 52, 92, 21, 171,
    143, 225, 208, 69, 216, 186, 229, 217, 126, 219, 88, 46, 15, 110, 158, 102, 89, 53, 101, 80, 71, 12, 111, 154, 161,
    53, 167, 125, 255, 49, 116, 176, 244, 4, 120, 93, 155, 96, 172, 239, 156, 63, 129, 252, 64, 58, 238, 14, 21, 34, 83,
    28, 157, 27, 8, 214, 227, 153, 147, 21, 95, 65, 30, 86, 242, 132, 146, 49, 130, 255, 179, 7, 67, 33, 117, 172, 75,
    97, 189, 44, 216, 17, 249, 138, 243, 92, 37, 242, 50, 64, 120, 22, 52, 14, 97, 226, 108, 225, 196, 37, 148, 103,
    150, 230, 36, 76, 50, 188, 9, 77, 239, 216, 236, 87, 31, 41, 207, 72, 38, 42, 118, 72, 133, 98, 150, 209, 96, 15,
    34, 35, 133, 215, 33, 123, 70, 132, 7, 58, 76, 208, 11, 66, 213, 13, 171, 80, 15, 237, 5, 184, 238, 186, 51, 174,
    165, 174, 254, 107, 74, 3, 124, 50, 145, 88, 242, 216, 59, 27, 133, 31, 17, 46, 194, 187, 238, 177, 19, 154, 90,
    174, 59, 71, 147, 201, 88, 128, 19, 201, 224, 142, 1, 243, 65, 222, 243, 244, 184, 166, 45, 154, 208, 203, 124, 103,
    152, 195, 245, 228, 29, 113, 131, 219, 238, 61, 233, 233, 189, 113, 134, 56, 148, 122, 188, 185, 152, 227, 3, 201,
    139, 133, 173, 215, 36, 81, 133, 162, 180, 136, 11, 170, 254, 161, 31, 27, 57, 199, 229, 235, 127, 224, 139, 69, 20,
    143, 219, 159, 212, 221, 163, 250, 198, 199, 206, 130, 198, 151, 18, 75, 221, 191, 160, 142, 102, 240, 219, 137, 19,
    104, 3, 170, 52, 137, 206, 65, 182, 24, 225, 73, 87, 21, 13, 61, 133, 14, 54, 204, 226, 183, 176, 65, 221, 125, 125,
    252, 102, 135, 236, 162, 162, 136, 211, 148, 38, 127, 240, 34, 201, 232, 59, 156, 248, 31,
};

typedef struct inflater {
    bit_reader bits;
    const uint8_t *before; /* bytes that matches may refer to, before the first one of `out` */
    amount before_bytes;
    uint8_t *out;
    amount at, size;
    codes literals, distances;
} inflater;

/* Read the two codes of a block with codes of its own. */
static qac_error inflate_codes(inflater *d) {
    static const uint8_t order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    uint8_t lengths[320] = {0};
    uint32_t literals = get_bits(&d->bits, 5) + 257, all = literals + get_bits(&d->bits, 5) + 1, n = get_bits(&d->bits, 4) + 4;
    if (literals > 286 || all - literals > 30) return QAC_BAD_PAYLOAD;
    for (uint32_t i = 0; i < n; i++) lengths[order[i]] = (uint8_t)get_bits(&d->bits, 3);
    TRY(make_codes(&d->literals, lengths, 19, 0));
    memset(lengths, 0, sizeof lengths);
    for (n = 0; n < all;) {
        uint32_t symbol = get_code(&d->bits, &d->literals), again = 1;
        uint8_t length = (uint8_t)symbol;
        if (symbol >= 16) {
            again = symbol == 18 ? 11 + get_bits(&d->bits, 7) : 3 + get_bits(&d->bits, symbol - 14);
            if (symbol == 16 && n == 0) return QAC_BAD_PAYLOAD;
            length = symbol == 16 ? lengths[n - 1] : 0;
        }
        if (again > all - n) return QAC_BAD_PAYLOAD;
        while (again--) lengths[n++] = length;
    }
    if (!lengths[256]) return QAC_BAD_PAYLOAD; /* a block could not end */
    TRY(make_codes(&d->literals, lengths, literals, 1));
    return make_codes(&d->distances, lengths + literals, all - literals, 1);
}

static qac_error inflate_block(inflater *d) {
    static const uint8_t bases[29] = {0,  1,  2,  3,  4,  5,  6,  7,  8,   10,  12,  14,  16,  20, 24,
                                      28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 255};
    for (;;) {
        uint32_t symbol = get_code(&d->bits, &d->literals), length, extra, far;
        if (symbol == 256) return QAC_OK;
        if (symbol > 285 || d->bits.bad || d->at >= d->size) return QAC_BAD_PAYLOAD;
        if (symbol < 256) {
            d->out[d->at++] = (uint8_t)symbol;
            continue;
        }
        extra = symbol < 265 || symbol == 285 ? 0 : (symbol - 261) / 4;
        length = 3u + bases[symbol - 257] + get_bits(&d->bits, extra);
        symbol = get_code(&d->bits, &d->distances);
        if (symbol > 29) return QAC_BAD_PAYLOAD;
        extra = symbol < 2 ? 0 : symbol / 2 - 1;
        far = (symbol < 2 ? symbol : (2 + (symbol & 1)) << extra) + 1 + get_bits(&d->bits, extra);
        if (d->bits.bad || far > d->at + d->before_bytes || length > d->size - d->at) return QAC_BAD_PAYLOAD;
        for (; length > 0; length--, d->at++) {
            d->out[d->at] = far > d->at ? d->before[d->before_bytes - (far - d->at)] : d->out[d->at - far];
        }
    }
}

/* Inflate all bytes of an input to exactly `size` bytes. */
static qac_error inflate(inflater *d, const input *in, uint8_t *out, amount size) {
    uint32_t last, kind, length;
    d->bits.data = in->at;
    d->bits.place = 0;
    d->bits.end = 8 * rest(in);
    d->out = out;
    d->at = 0;
    d->size = size;
    do {
        last = get_bits(&d->bits, 1);
        kind = get_bits(&d->bits, 2);
        if (kind == 0) {
            d->bits.place = (d->bits.place + 7) & ~(amount)7;
            length = get_bits(&d->bits, 16);
            if ((length ^ get_bits(&d->bits, 16)) != 0xFFFF || length > d->size - d->at) return QAC_BAD_PAYLOAD;
            for (; length > 0; length--) d->out[d->at++] = (uint8_t)get_bits(&d->bits, 8);
        } else if (kind == 1) {
            uint8_t lengths[288];
            for (uint32_t i = 0; i < 288; i++) lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
            TRY(make_codes(&d->literals, lengths, 288, 0));
            memset(lengths, 5, 32);
            TRY(make_codes(&d->distances, lengths, 32, 0));
        } else if (kind == 2) {
            TRY(inflate_codes(d));
        }
        if (kind == 3 || d->bits.bad) return QAC_BAD_PAYLOAD;
        if (kind) TRY(inflate_block(d));
    } while (!last);
    return d->at == size && !d->bits.bad && d->bits.end - d->bits.place < 8 ? QAC_OK : QAC_BAD_PAYLOAD;
}

static qac_error read_deflate(input *in, uint8_t *out, amount size) {
    qac_file *f = in->file;
    amount mark = f->top;
    if (size > (amount)1 << 20) return QAC_BAD_PAYLOAD;
    inflater *d = take_zeros(f, sizeof *d);
    uint8_t *dictionary = take(f, DICTIONARY_BYTES);
    uint16_t *symbols = take(f, 2 * 320);
    ALLOCATED(f, mark);
    d->literals.symbols = symbols;
    d->distances.symbols = symbols + 288;
    input packed = memory(f, packed_dictionary, sizeof packed_dictionary);
    TRY(inflate(d, &packed, dictionary, DICTIONARY_BYTES));
    d->before = dictionary;
    d->before_bytes = DICTIONARY_BYTES;
    f->top = mark;
    return inflate(d, in, out, size);
}

#endif /* QAC_NO_DEFLATE */

#ifndef QAC_NO_LZMA

/* Probabilities of LZMA1, with lc = 3, lp = 0, pb = 0. */
typedef struct length_model {
    uint16_t choice[2], low[8], middle[8], high[256];
} length_model;

typedef struct lzma_model {
    uint16_t match[12], rep[12], rep0[12], rep1[12], rep2[12], rep0_long[12];
    uint16_t slot[4][64], special[128], align[16], literal[8 * 0x300];
    length_model length, rep_length;
} lzma_model;

static uint32_t lzma_bit(range_decoder *d, uint16_t *probability) {
    range_refill(d);
    uint32_t bound = (d->range >> 11) * *probability;
    if (d->code < bound) {
        d->range = bound;
        *probability = (uint16_t)(*probability + ((2048u - *probability) >> 5));
        return 0;
    }
    d->range -= bound;
    d->code -= bound;
    *probability = (uint16_t)(*probability - (*probability >> 5));
    return 1;
}

/* Decode a number of `bits` bits along a tree of probabilities, the most significant bit first. */
static uint32_t lzma_tree(range_decoder *d, uint16_t *tree, uint32_t bits) {
    uint32_t node = 1;
    for (uint32_t i = 0; i < bits; i++) node = node << 1 | lzma_bit(d, &tree[node]);
    return node - (1u << bits);
}

/* The same with the least significant bit first. */
static uint32_t lzma_reverse(range_decoder *d, uint16_t *tree, uint32_t bits) {
    uint32_t node = 1, value = 0;
    for (uint32_t i = 0; i < bits; i++) {
        uint32_t bit = lzma_bit(d, &tree[node]);
        node = node << 1 | bit;
        value |= bit << i;
    }
    return value;
}

static uint32_t lzma_length(range_decoder *d, length_model *m) {
    if (!lzma_bit(d, &m->choice[0])) return 2 + lzma_tree(d, m->low, 3);
    if (!lzma_bit(d, &m->choice[1])) return 10 + lzma_tree(d, m->middle, 3);
    return 18 + lzma_tree(d, m->high, 8);
}

/* Decode the distance of a match, minus 1; UINT32_MAX is the end marker. */
static uint32_t lzma_distance(range_decoder *d, lzma_model *m, uint32_t length) {
    uint32_t slot = lzma_tree(d, m->slot[length < 6 ? length - 2 : 3], 6), direct, distance;
    if (slot < 4) return slot;
    direct = (slot >> 1) - 1;
    distance = 2 | (slot & 1);
    if (slot < 14) return (distance << direct) + lzma_reverse(d, &m->special[(distance << direct) - slot], direct);
    for (uint32_t i = 4; i < direct; i++) distance = range_half(d, distance);
    return (distance << 4) + lzma_reverse(d, m->align, 4);
}

static uint32_t lzma_literal(range_decoder *d, uint16_t *tree, uint32_t state, uint32_t match) {
    uint32_t node = 1;
    if (state >= 7) { /* after a match: the byte that the match would have had next guides the decoder */
        while (node < 0x100) {
            uint32_t guide = (match <<= 1) & 0x100, bit = lzma_bit(d, &tree[0x100 + guide + node]);
            node = node << 1 | bit;
            if ((guide >> 8) != bit) break;
        }
    }
    while (node < 0x100) node = node << 1 | lzma_bit(d, &tree[node]);
    return node & 0xFF;
}

static qac_error read_lzma(input *in, uint8_t *out, amount size) {
    qac_file *f = in->file;
    amount mark = f->top, at = 0;
    uint32_t state = 0, far[4] = {0, 0, 0, 0}, length;
    range_decoder d;
    if (size > (amount)4 << 20) return QAC_BAD_PAYLOAD;
    lzma_model *m = take(f, sizeof *m);
    ALLOCATED(f, mark);
    for (uint16_t *p = (uint16_t *)m; p < (uint16_t *)(m + 1); p++) *p = 1024;
    if (get_byte(in)) return QAC_BAD_PAYLOAD;
    range_start(&d, in);
    for (;;) {
        if (d.lacking) return QAC_BAD_PAYLOAD;
        if (!lzma_bit(&d, &m->match[state])) {
            uint32_t before = at ? out[(size_t)at - 1] : 0, match = 0;
            if (at >= size) return QAC_BAD_PAYLOAD;
            if (state >= 7) match = out[(size_t)(at - far[0] - 1)];
            out[(size_t)at++] = (uint8_t)lzma_literal(&d, &m->literal[0x300 * (before >> 5)], state, match);
            state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
            continue;
        }
        if (lzma_bit(&d, &m->rep[state])) {
            uint32_t distance = far[0], brief = 0;
            if (!lzma_bit(&d, &m->rep0[state])) {
                brief = !lzma_bit(&d, &m->rep0_long[state]);
            } else {
                uint32_t which = 1 + lzma_bit(&d, &m->rep1[state]);
                if (which == 2) which += lzma_bit(&d, &m->rep2[state]);
                distance = far[which];
                for (; which > 0; which--) far[which] = far[which - 1];
                far[0] = distance;
            }
            length = brief ? 1 : lzma_length(&d, &m->rep_length);
            state = state < 7 ? 8 + brief : 11;
        } else {
            for (int i = 3; i > 0; i--) far[i] = far[i - 1];
            length = lzma_length(&d, &m->length);
            state = state < 7 ? 7 : 10;
            far[0] = lzma_distance(&d, m, length);
            if (far[0] == UINT32_MAX) break;
        }
        if (far[0] >= at || length > size - at) return QAC_BAD_PAYLOAD;
        for (; length > 0; length--, at++) out[(size_t)at] = out[(size_t)(at - far[0] - 1)];
    }
    range_refill(&d);
    f->top = mark;
    return d.code == 0 && at == size && d.at == d.end && !d.lacking ? QAC_OK : QAC_BAD_PAYLOAD;
}

#endif /* QAC_NO_LZMA */

static qac_error read_zstd(input *in, uint8_t *out, amount size) {
    const qac_source *source = &in->file->source;
    if (!source->zstd) return QAC_NO_ZSTD;
    if (in->file->measuring) return QAC_OK;
    return source->zstd(source->user, in->at, (size_t)rest(in), out, (size_t)size) == 0 ? QAC_OK : QAC_BAD_PAYLOAD;
}

/* Decompress exactly `size` bytes. */
static qac_error read_bytes(input *in, uint32_t codec, uint8_t *out, amount size) {
    if (codec == ZSTD) return read_zstd(in, out, size);
#ifndef QAC_NO_LZMA
    if (codec == LZMA) return read_lzma(in, out, size);
#endif
#ifndef QAC_NO_DEFLATE
    if (codec == DEFLATE) return read_deflate(in, out, size);
#endif
    return QAC_UNSUPPORTED_VERSION;
}

/* ---- Codecs of indices ---- */

static qac_error read_packed(input *in, uint32_t codec, const stream *s, uint32_t n) {
    qac_file *f = in->file;
    amount mark = f->top, bytes = 0;
    for (uint32_t i = 0; i < n; i++) bytes += s[i].count * word_of(&s[i]);
    uint8_t *words = take(f, bytes);
    TRY(enough(f));
    TRY(read_bytes(in, codec, words, bytes));
    f->top = mark;
    if (f->measuring) return QAC_OK;
    input all = memory(f, words, bytes);
    return read_raw(&all, s, n);
}

/* The codecs that other codecs may use too. */
static qac_error read_inner(input *in, uint32_t codec, const stream *s, uint32_t n) {
    switch (codec) {
        case RAW: return read_raw(in, s, n);
        case BITPACK: return read_bitpack(in, s, n);
        case HUFFMAN: return read_huffman(in, s, n);
        case RANS: return read_rans(in, s, n);
        case CONTEXT: return read_context(in, codec, s, n);
        case ZSTD:
        case LZMA: return read_packed(in, codec, s, n);
        default: return QAC_BAD_PAYLOAD;
    }
}

static qac_error read_twobyte(input *in, const stream *s, uint32_t n) {
    qac_file *f = in->file;
    amount mark = f->top;
    for (uint32_t i = 0; i < n; i++) {
        if (s[i].alphabet <= 256 || s[i].children) return QAC_BAD_PAYLOAD;
    }
    stream *halves = take(f, (amount)n * sizeof *halves);
    if (!halves) return too_small(f);
    for (uint32_t half = 0; half < 2; half++) {
        uint32_t codec;
        input part;
        codec = get_u32(in, 255);
        if (codec != RAW && codec != RANS && codec != CONTEXT) return QAC_BAD_PAYLOAD;
        TRY(get_sized(in, &part));
        for (uint32_t i = 0; i < n; i++) {
            stream *h = &halves[i];
            *h = s[i];
            h->alphabet = half ? 256 : ((s[i].alphabet - 1) >> 8) + 1;
            h->width = 1;
            if (h->out && !half) h->out++;
        }
        TRY(read_inner(&part, codec, halves, n));
    }
    f->top = mark;
    if (f->measuring) return at_end(in);
    for (uint32_t i = 0; i < n; i++) {
        for (amount j = 0; j < s[i].wanted; j++) {
            if (got(&s[i], j) >= s[i].alphabet) return QAC_BAD_PAYLOAD;
        }
    }
    return at_end(in);
}

/* pruned: rows and columns that hold nothing but one index are left out. */
static qac_error read_pruned(input *in, const stream *s, uint32_t n) {
    qac_file *f = in->file;
    amount mark = f->top, sides = 0;
    input parts[2];
    uint32_t codecs[2];
    stream *left = take(f, (amount)n * sizeof *left), *marks = take(f, (amount)n * sizeof *marks);
    amount *left_rows = take(f, 8 * (amount)n);
    uint16_t *common = take(f, 2 * (amount)n);
    if (!common) return too_small(f);
    for (uint32_t i = 0; i < n; i++) {
        amount row = s[i].axis1 * s[i].deep, rows, columns;
        uint32_t index;
        if (s[i].dims < 2 || s[i].children || !row || !s[i].count || s[i].count % row || s[i].start % row) {
            return QAC_BAD_PAYLOAD;
        }
        index = get_u32(in, s[i].alphabet - 1);
        rows = get_amount(in, s[i].count / row);
        columns = get_amount(in, s[i].axis1);
        common[i] = (uint16_t)index;
        left_rows[i] = rows;
        marks[i] = plain_stream(s[i].count / row + s[i].axis1, 2);
        left[i] = s[i];
        left[i].count = rows * columns * s[i].deep;
        left[i].start = left[i].from = 0;
        left[i].axis1 = columns;
        left[i].wanted = s[i].wanted ? left[i].count : 0;
        left[i].stride = left[i].width;
        sides += marks[i].count;
    }
    for (uint32_t half = 0; half < 2; half++) {
        codecs[half] = get_u32(in, 255);
        TRY(get_sized(in, &parts[half]));
    }
    TRY(at_end(in));
    uint8_t *marked = take(f, sides);
    for (uint32_t i = 0; i < n; i++) {
        left[i].out = take(f, left[i].wanted * left[i].width);
        marks[i].out = marked;
        if (marked) marked += marks[i].count;
    }
    TRY(enough(f));
    TRY(read_inner(&parts[0], codecs[0], marks, n));
    TRY(read_inner(&parts[1], codecs[1], left, n));
    f->top = mark;
    if (f->measuring) return QAC_OK;
    for (uint32_t i = 0; i < n; i++) {
        amount columns = s[i].axis1, rows = s[i].count / (columns * s[i].deep), kept[2] = {0, 0}, from = 0, at = 0;
        for (amount j = 0; j < rows + columns; j++) kept[j >= rows] += marks[i].out[(size_t)j];
        if (kept[0] != left_rows[i] || kept[1] != left[i].axis1) return QAC_BAD_PAYLOAD;
        for (amount r = 0; s[i].wanted && r < rows; r++) {
            for (amount c = 0; c < columns; c++) {
                int here_too = marks[i].out[(size_t)r] && marks[i].out[(size_t)(rows + c)];
                for (amount d = 0; d < s[i].deep; d++, at++) put(&s[i], at, here_too ? got(&left[i], from++) : common[i]);
            }
        }
    }
    return QAC_OK;
}

static qac_error read_indices(input *in, uint32_t codec, const stream *s, uint32_t n) {
    if (codec >= CODECS) return QAC_UNSUPPORTED_VERSION;
    if (codec == PLANES || codec == CODEBOOKS || codec == GRIDS || codec == DEFLATE) return QAC_BAD_HEADER;
    if (codec == TWOBYTE) return read_twobyte(in, s, n);
    if (codec == PRUNED) return read_pruned(in, s, n);
    if (codec == TRELLIS) return HAS_TRELLIS ? read_context(in, codec, s, n) : QAC_UNSUPPORTED_VERSION;
    if (codec == MIXING) return HAS_MIXING ? read_mixing(in, s, n) : QAC_UNSUPPORTED_VERSION;
    return read_inner(in, codec, s, n);
}

/* ---- Numbers of floating point ---- */

/* Round to float16, to nearest, ties to even. */
static uint32_t to_half(double value) {
    uint64_t bits;
    memcpy(&bits, &value, 8);
    uint32_t sign = (uint32_t)(bits >> 48) & 0x8000u, top = (uint32_t)(bits >> 22) & 0x3FFFFFFFu, drop = 20;
    int32_t exponent = (int32_t)(bits >> 52 & 0x7FF) - 1023;
    if (bits & 0x3FFFFFu) top |= 1; /* 30 bits of the mantissa, the last one for all that follow */
    if (exponent == 1024) return sign | 0x7C00u | (top ? 0x200u : 0);
    if (exponent > 15) return sign | 0x7C00u;
    if (exponent < -25) return sign;
    top |= 1u << 30;
    if (exponent < -14) drop = (uint32_t)(6 - exponent);
    uint32_t kept = top >> drop, below = top << (32 - drop);
    if (below > 1u << 31 || (below == 1u << 31 && (kept & 1))) kept++;
    if (exponent >= -14) kept += (uint32_t)(exponent + 14) << 10; /* the leading one counts one exponent */
    return sign | kept;
}

/* The bits of the float32 with the value of a float16. */
static uint32_t half_to_float(uint32_t half) {
    uint32_t sign = (half & 0x8000u) << 16, exponent = half >> 10 & 31, mantissa = half & 0x3FF;
    if (exponent == 31) return sign | 0x7F800000u | mantissa << 13;
    if (exponent) return sign | (exponent + 112) << 23 | mantissa << 13;
    if (!mantissa) return sign;
    for (exponent = 113; !(mantissa & 0x400); exponent--) mantissa <<= 1;
    return sign | exponent << 23 | (mantissa & 0x3FF) << 13;
}

static double float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return (double)value;
}

static uint32_t bits_of(double value) {
    float rounded = (float)value;
    uint32_t bits;
    memcpy(&bits, &rounded, 4);
    return bits;
}

/* The number that a word of a float type stands for. */
static double number_of(uint64_t word, uint32_t type) {
    double value;
    if (type == QAC_FLOAT16) return float_of(half_to_float((uint32_t)word));
    if (type == QAC_BFLOAT16) return float_of((uint32_t)word << 16);
    if (type == QAC_FLOAT32) return float_of((uint32_t)word);
    memcpy(&value, &word, 8);
    return value;
}

/* Round a number to a word of a float type. bfloat16: the number must be exact in float32. */
static uint64_t word_of_number(double value, uint32_t type) {
    uint64_t word;
    if (type == QAC_FLOAT16) return to_half(value);
    if (type == QAC_FLOAT32) return bits_of(value);
    if (type == QAC_BFLOAT16) {
        uint32_t bits = bits_of(value);
        return (bits + (uint64_t)0x7FFF + (bits >> 16 & 1)) >> 16;
    }
    memcpy(&word, &value, 8);
    return word;
}

/* ---- planes, codebooks and grids: values ---- */

/* Write the values [from, to) of `total` words of `width` bytes. */
static qac_error read_planes(input *in, uint32_t width, int rotated, amount total, amount from, amount to,
                             uint8_t *out) {
    qac_file *f = in->file;
    amount mark = f->top;
    stream plane = plain_stream(total, 256);
    plane.from = from;
    plane.wanted = to - from;
    plane.stride = width;
    for (uint32_t position = width; position-- > 0;) {
        uint32_t form;
        const uint8_t *words;
        input part;
        form = get_u32(in, 2);
        TRY(form ? get_sized(in, &part) : get_part(in, total, &part));
        plane.out = out ? out + position : NULL;
        if (form == 1) {
            TRY(read_rans(&part, &plane, 1));
            continue;
        }
        if (form == 2) {
            uint8_t *scratch = take(f, total);
            TRY(enough(f));
            TRY(read_zstd(&part, scratch, total));
            f->top = mark;
            words = scratch;
        } else {
            words = part.at;
        }
        for (amount i = from; !f->measuring && i < to; i++) put(&plane, i, words[(size_t)i]);
    }
    for (amount i = 0; rotated && !f->measuring && i < to - from; i++) {
        uint8_t *p = out + (size_t)(i * width);
        uint64_t word = load(p, width);
        store(p, word >> 1 | (word & 1) << (8 * width - 1), width);
    }
    return at_end(in);
}

/* A run of values in a section. k: size of each codebook, if they are codebooks in blocks and the first one is whole. */
typedef struct value_run {
    amount count;
    uint32_t k;
} value_run;

/* The runs of a section, of one stored type, and which of all their values go where: [from, to). */
typedef struct value_request {
    const value_run *runs;
    uint32_t n, type;
    amount from, to;
    uint8_t *out;
} value_request;

static uint64_t ascending(uint64_t word, uint32_t width) {
    uint64_t sign = (uint64_t)1 << (8 * width - 1);
    return word & sign ? ~word : word | sign;
}

static uint64_t descending(uint64_t word, uint32_t width) {
    uint64_t sign = (uint64_t)1 << (8 * width - 1);
    return word & sign ? word ^ sign : ~word;
}

/* The line through two values; on floats of 16 and 32 bits in binary64. */
APART uint64_t line(uint64_t before, uint64_t earlier, uint32_t type, uint32_t width) {
    if (type != QAC_FLOAT16 && type != QAC_FLOAT32) return 2 * before - earlier;
    uint64_t mask = ((uint64_t)1 << (8 * width)) - 1;
    volatile double value = 2 * number_of(descending(before, width) & mask, type);
    value = value - number_of(descending(earlier, width) & mask, type);
    uint64_t word = word_of_number(value, type), most = type == QAC_FLOAT16 ? 0x7C00u : 0x7F800000u;
    return ascending((word & most) == most ? 0 : word, width);
}

/* Restore a stream of codebooks in place from its folded differences. */
static void restore(uint8_t *words, const value_run *run, uint32_t type, uint32_t method) {
    uint32_t width = width_of(type), k = run->k;
    for (amount i = 0; i < run->count; i++) {
        uint8_t *p = words + (size_t)(i * width);
        amount column = i % k;
        uint64_t folded = load(p, width), value = folded >> 1 ^ (0 - (folded & 1));
        uint64_t left = column ? load(p - width, width) : 0, above = i >= k ? load(p - (size_t)k * width, width) : 0;
        if (method == 1) value += column ? left : above;
        if (method == 2) value += above;
        if (method == 3) value += above + left - (column && i >= k ? load(p - (size_t)(k + 1) * width, width) : 0);
        if (method == 4) {
            value += column == 0 ? above : column == 1 ? left : line(left, load(p - 2 * width, width), type, width);
        }
        store(p, value, width);
    }
    for (amount i = 0; is_float(type) && i < run->count; i++) {
        uint8_t *p = words + (size_t)(i * width);
        store(p, descending(load(p, width), width), width);
    }
}

static qac_error read_codebooks(input *in, const value_request *v, amount total) {
    qac_file *f = in->file;
    const value_run *runs = v->runs;
    uint32_t n = v->n, type = v->type;
    amount from = v->from, to = v->to;
    amount mark = f->top, start = 0, first = total, last = 0;
    uint32_t width = width_of(type), method;
    uint8_t *methods = take(f, n);
    if (width < 2) return QAC_BAD_PAYLOAD;
    for (uint32_t i = 0; i < n; i++) {
        method = get_u32(in, 4);
        if (!runs[i].k || (method == 4 && runs[i].k > 256)) return QAC_BAD_PAYLOAD;
        if (start < to && start + runs[i].count > from) { /* whole streams are decoded, of which a part is wanted */
            first = lesser(first, start);
            last = start + runs[i].count;
        }
        start += runs[i].count;
        if (methods) methods[i] = (uint8_t)method;
    }
    first = lesser(first, last);
    int whole = first == from && last == to;
    uint8_t *words = whole ? v->out : take(f, (last - first) * width);
    TRY(enough(f));
    TRY(read_planes(in, width, 0, total, first, last, words));
    f->top = mark;
    if (f->measuring) return QAC_OK;
    start = 0;
    for (uint32_t i = 0; i < n; start += runs[i++].count) {
        if (start >= first && start + runs[i].count <= last) {
            restore(words + (size_t)((start - first) * width), &runs[i], type, methods[i]);
        }
    }
    if (!whole) memcpy(v->out, words + (size_t)((from - first) * width), (size_t)((to - from) * width));
    return QAC_OK;
}

static qac_error read_grids(input *in, const value_request *v) {
    qac_file *f = in->file;
    const value_run *runs = v->runs;
    uint32_t n = v->n, type = v->type;
    amount mark = f->top, books = 0, start = 0, book = 0;
    uint32_t width = width_of(type);
    uint64_t infinite = type == QAC_FLOAT16 ? 0x7C00u : type == QAC_BFLOAT16 ? 0x7F80u : 0x7F800000u;
    if (type == QAC_FLOAT64) infinite = (uint64_t)0x7FF << 52;
    input zeros;
    for (uint32_t i = 0; i < n; i++) {
        if (runs[i].k < 2 || runs[i].k > 256 || !is_float(type)) return QAC_BAD_PAYLOAD;
        books += ceiling(runs[i].count, runs[i].k);
    }
    TRY(get_sized(in, &zeros));
    uint8_t *points = take(f, books), *scales = take(f, books * width);
    TRY(enough(f));
    TRY(read_planes(&zeros, 1, 0, books, 0, books, points));
    TRY(read_planes(in, width, 1, books, 0, books, scales));
    f->top = mark;
    if (f->measuring) return QAC_OK;
    for (uint32_t i = 0; i < n; i++) {
        for (amount at = 0; at < runs[i].count; at += runs[i].k, book++) {
            uint64_t word = load(scales + book * width, width);
            amount place = start + at;
            if (!word || word >= infinite || points[(size_t)book] >= runs[i].k) return QAC_BAD_PAYLOAD;
            double scale = number_of(word, type);
            for (uint32_t j = 0; j < runs[i].k && at + j < runs[i].count; j++, place++) {
                volatile double value = ((double)j - (double)points[(size_t)book]) * scale;
                if (place < v->from || place >= v->to) continue;
                store(v->out + (place - v->from) * width, word_of_number(value, type), width);
            }
        }
        start += runs[i].count;
    }
    return QAC_OK;
}

/* Write values of a section, as words of the stored type. */
static qac_error read_values(input *in, uint32_t codec, const value_request *v) {
    qac_file *f = in->file;
    amount mark = f->top, total = 0, width = width_of(v->type), bytes = (v->to - v->from) * width;
    for (uint32_t i = 0; i < v->n; i++) total += v->runs[i].count;
    switch (codec) {
        case RAW:
            if (rest(in) != total * width) return QAC_BAD_PAYLOAD;
            if (!f->measuring) memcpy(v->out, in->at + v->from * width, bytes);
            return QAC_OK;
        case PLANES: return read_planes(in, (uint32_t)width, is_float(v->type), total, v->from, v->to, v->out);
        case CODEBOOKS: return read_codebooks(in, v, total);
        case GRIDS: return read_grids(in, v);
        case DEFLATE:
            if (v->type != QAC_UINT8) return QAC_BAD_PAYLOAD;
            break;
        case ZSTD:
        case LZMA: break;
        default: return codec < CODECS ? QAC_BAD_HEADER : QAC_UNSUPPORTED_VERSION;
    }
    total *= width;
    if (bytes == total) return read_bytes(in, codec, v->out, total);
    uint8_t *words = take(f, total);
    TRY(enough(f));
    TRY(read_bytes(in, codec, words, total));
    f->top = mark;
    if (!f->measuring) memcpy(v->out, words + v->from * width, bytes);
    return QAC_OK;
}

/* Write (or, if the file is measured, don't) the `count` bytes of a text. */
static qac_error read_text(input *in, uint32_t codec, amount count, uint8_t *out) {
    value_run run = {count, 0};
    value_request all = {&run, 1, QAC_UINT8, 0, count, out};
    return read_values(in, codec, &all);
}

/* ---- The header ---- */

/* The number of codebooks of a shared tensor. */
static amount book_count(const tensor_record *t) {
    amount books = 1;
    for (uint32_t i = 0; t->blocks && i < t->dims; i++) books *= ceiling((amount)t->shape[i], (amount)t->blocks[i]);
    return books;
}

/* The bytes of all codebooks of all levels, decoded. */
static amount book_bytes(const tensor_record *t) {
    amount entries = 0;
    for (uint32_t i = 0; i < t->level_count; i++) entries += t->levels[i];
    return book_count(t) * entries * width_of(t->type);
}

static int converts_exactly(uint32_t stored, uint32_t type) {
    /* for each stored type, a bit for each type of the array that holds all its values */
    static const uint16_t allowed[13] = {0x0001, 0x1BFA, 0x1B54, 0x19E8, 0x1950, 0x11A0, 0x1140,
                                         0x0080, 0x0100, 0x1A00, 0x0400, 0x1800, 0x1000};
    return allowed[stored] >> type & 1;
}

/* Multiply sizes, which may be empty: the product of those that aren't zero bounds every array (MAX_SPREAD). Return the
 * product of all; `factor` is multiplied too. */
static qac_error multiply(const uint64_t *sizes, const uint64_t *blocks, uint32_t n, amount factor, amount *product) {
    amount spread = factor, most = (uint64_t)MOST < MAX_TENSOR_BYTES ? MOST : (amount)MAX_TENSOR_BYTES;
    int empty = 0;
    for (uint32_t i = 0; i < n; i++) {
        amount size = (amount)sizes[i];
        if (sizes[i] > MAX_SPREAD) return QAC_LIMIT_EXCEEDED;
        if (blocks) size = ceiling(size, (amount)blocks[i]);
        if (!size) empty = 1;
        else if (spread > MAX_SPREAD / size) return QAC_LIMIT_EXCEEDED;
        else spread *= size;
    }
    *product = empty ? 0 : spread;
    return *product > most ? QAC_LIMIT_EXCEEDED : QAC_OK;
}

APART qac_error check_tensor(tensor_record *t) {
    amount product, bytes = width_of(t->type);
    const uint32_t *children = t->children;
    TRY(multiply(t->shape, NULL, t->dims, bytes, &product));
    t->count = product / bytes;
    if (t->type <= QAC_FLOAT64 && t->stored <= QAC_FLOAT64 && !converts_exactly(t->stored, t->type)) return QAC_BAD_HEADER;
    if (t->kind != SHARED) return QAC_OK;
    if (!t->level_count || (!t->book_group && !t->blocks)) return QAC_BAD_HEADER;
    for (uint32_t i = 0; i < t->level_count; i++) {
        uint32_t sum = 0; /* each addend is at most 2^16, and there are at most 2^16 */
        if (!t->levels[i]) return QAC_BAD_HEADER;
        for (uint32_t j = 0; i + 1 < t->level_count && j < t->levels[i]; j++, children++) {
            if (!*children || sum > MAX_ALPHABET) return QAC_BAD_HEADER;
            sum += *children;
        }
        if (i + 1 < t->level_count && sum != t->levels[i + 1]) return QAC_BAD_HEADER;
    }
    if (!t->blocks) return QAC_OK;
    if (!t->dims || t->level_count != 1) return QAC_BAD_HEADER;
    for (uint32_t i = 0; i < t->dims; i++) {
        if (t->blocks[i] < 1 || t->blocks[i] > (t->shape[i] ? t->shape[i] : 1)) return QAC_BAD_HEADER;
    }
    return multiply(t->shape, t->blocks, t->dims, t->levels[0] * bytes, &product);
}

static int is_utf8(const uint8_t *p, uint32_t n) {
    for (uint32_t i = 0; i < n;) {
        uint32_t lead = p[i++], more = lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3, value = lead & (0x3F >> more);
        if (lead < 0x80) continue;
        if (lead < 0xC2 || lead > 0xF4 || more > n - i) return 0;
        for (uint32_t j = 0; j < more; j++, i++) {
            if (p[i] >> 6 != 2) return 0;
            value = value << 6 | (p[i] & 0x3F);
        }
        if (more > 1 && (value >> (more == 2 ? 11 : 16) == 0 || value >> 11 == 0x1B || value > 0x10FFFF)) return 0;
    }
    return 1;
}

/* Order of names, or of sections by kind, level, owner and place. */
static int compare(const qac_file *f, int sections, uint32_t a, uint32_t b) {
    if (sections) {
        const section_record *x = (const section_record *)f->section_records + a;
        const section_record *y = (const section_record *)f->section_records + b;
        if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
        if (x->level != y->level) return x->level < y->level ? -1 : 1;
        if (x->owner != y->owner) return x->owner < y->owner ? -1 : 1;
        return a < b ? -1 : a > b;
    }
    const tensor_record *x = (const tensor_record *)f->tensor_records + a;
    const tensor_record *y = (const tensor_record *)f->tensor_records + b;
    int order = memcmp(x->name, y->name, lesser(x->name_bytes, y->name_bytes));
    return order ? order : x->name_bytes < y->name_bytes ? -1 : x->name_bytes > y->name_bytes;
}

/* Sort the numbers below n by `compare` (Shell's sort with the gaps 1, 3, 7, 16, 37, 84, ...). */
static void sort(const qac_file *f, int sections, uint32_t *numbers, uint32_t n) {
    uint32_t gap = 1;
    for (uint32_t i = 0; i < n; i++) numbers[i] = i;
    while (gap < n / 2) gap = gap * 9 / 4 + 1;
    for (; gap > 0; gap = gap * 4 / 9) {
        for (uint32_t i = gap; i < n; i++) {
            uint32_t number = numbers[i], at = i;
            for (; at >= gap && compare(f, sections, numbers[at - gap], number) > 0; at -= gap) numbers[at] = numbers[at - gap];
            numbers[at] = number;
        }
    }
}

/* Take memory for good, while the header is read. If there isn't enough, ask for enough for the rest of the header too:
 * each of its bytes takes at most 12 of memory, besides the records. */
static qac_error keep(qac_file *f, const input *in, amount bytes, void **pointer) {
    *pointer = take(f, bytes);
    if (*pointer) return f->error;
    f->peak += 12 * rest(in) + f->tensors * (sizeof(tensor_record) + 32) + f->sections * (sizeof(section_record) + 32);
    return too_small(f);
}

/* The records of tensors or of sections; each begins with its kind. */
typedef struct table {
    void *records;
    size_t size;
    uint32_t n;
} table;

/* Read a column: a field of each record whose kind is in a set of bits. */
static void get_column(input *in, const table *t, size_t field, uint32_t kinds, uint32_t limit) {
    uint8_t *record = t->records;
    for (uint32_t i = 0; i < t->n; i++, record += t->size) {
        uint32_t kind = *(uint32_t *)(void *)record;
        if (kinds >> kind & 1) *(uint32_t *)(void *)(record + field) = get_u32(in, limit);
    }
}

/* Read n numbers into memory that stays: of 32 bits up to MAX_ALPHABET, or of 64 bits up to MAX_AXIS. */
static qac_error get_numbers(qac_file *f, input *in, amount n, uint32_t size, void *array) {
    void *numbers;
    if (n > rest(in)) return fail(in); /* each takes a byte or more */
    TRY(keep(f, in, size * n + 8, &numbers)); /* never nothing, so that an array is told from none */
    for (amount i = 0; i < n; i++) {
        if (size == 4) ((uint32_t *)numbers)[i] = get_u32(in, MAX_ALPHABET);
        else ((uint64_t *)numbers)[i] = get_uint(in, MAX_AXIS);
    }
    memcpy(array, &numbers, sizeof numbers);
    return f->error;
}

static qac_error read_names(qac_file *f, input *in, const table *tensors) {
    tensor_record *t = tensors->records;
    amount total = 0, tails = 0, mark;
    uint32_t length = 0;
    void *memory_of_names, *order;
    get_column(in, tensors, offsetof(tensor_record, common_bytes), 7, MAX_NAME_BYTES);
    get_column(in, tensors, offsetof(tensor_record, name_bytes), 7, MAX_NAME_BYTES);
    for (uint32_t i = 0; i < f->tensors; i++) {
        if (t[i].common_bytes > length) return QAC_BAD_HEADER;
        tails += t[i].name_bytes;
        length = t[i].name_bytes += t[i].common_bytes;
        total += length;
        if (length > MAX_NAME_BYTES) return QAC_BAD_HEADER;
        if (total > MAX_HEADER_BYTES) return QAC_LIMIT_EXCEEDED;
    }
    if (tails > rest(in)) return QAC_BAD_HEADER;
    TRY(keep(f, in, total + f->tensors, &memory_of_names));
    char *name = memory_of_names;
    for (uint32_t i = 0; i < f->tensors; i++) {
        uint32_t common = t[i].common_bytes, tail = t[i].name_bytes - common;
        if (common) memcpy(name, t[i - 1].name, common);
        memcpy(name + common, in->at, tail);
        in->at += tail;
        if (!is_utf8((const uint8_t *)name, t[i].name_bytes)) return QAC_BAD_HEADER;
        t[i].name = name;
        name += t[i].name_bytes;
        *name++ = 0;
    }
    mark = f->top;
    TRY(keep(f, in, 4 * (amount)f->tensors, &order));
    uint32_t *sorted = order;
    sort(f, 0, sorted, f->tensors);
    for (uint32_t i = 1; i < f->tensors; i++) {
        if (compare(f, 0, sorted[i - 1], sorted[i]) == 0) return QAC_BAD_HEADER;
    }
    f->top = mark;
    return QAC_OK;
}

/* Read the columns of tensors. */
static qac_error read_tensor_columns(qac_file *f, input *in, const table *tensors, uint32_t flags, int newer) {
    enum { EACH = 7, IN_DENSE_AND_SHARED = 3, IN_SHARED = 1 << SHARED, IN_SAME = 1 << SAME };
    tensor_record *t = tensors->records;
    uint32_t n = f->tensors;
    TRY(read_names(f, in, tensors));
    get_column(in, tensors, offsetof(tensor_record, type), EACH, SAME << 4 | 15);
    get_column(in, tensors, offsetof(tensor_record, stored), EACH, 15);
    get_column(in, tensors, offsetof(tensor_record, dims), EACH, QAC_MAX_DIMS);
    for (uint32_t i = 0; i < n; i++) {
        t[i].kind = t[i].type >> 4;
        t[i].type &= 15;
        if ((t[i].type > QAC_FLOAT64 || t[i].stored > QAC_FLOAT64) && !newer) return QAC_BAD_HEADER;
        TRY(get_numbers(f, in, t[i].dims, 8, &t[i].shape));
    }
    get_column(in, tensors, offsetof(tensor_record, group), IN_DENSE_AND_SHARED, f->sections);
    get_column(in, tensors, offsetof(tensor_record, book_group), IN_SHARED, f->sections);
    get_column(in, tensors, offsetof(tensor_record, level_count), IN_SHARED, MAX_LEVELS);
    for (uint32_t i = 0; i < n; i++) {
        if (t[i].kind == SHARED) TRY(get_numbers(f, in, t[i].level_count, 4, &t[i].levels));
    }
    for (uint32_t i = 0; i < n; i++) {
        amount entries = 0;
        for (uint32_t j = 0; j + 1 < t[i].level_count; j++) entries += t[i].levels[j];
        if (entries) TRY(get_numbers(f, in, entries, 4, &t[i].children));
    }
    if (flags & 1) get_column(in, tensors, offsetof(tensor_record, in_blocks), IN_SHARED, 1);
    for (uint32_t i = 0; i < n; i++) {
        if (t[i].in_blocks) TRY(get_numbers(f, in, t[i].dims, 8, &t[i].blocks));
    }
    for (uint32_t i = 0; i < n; i++) {
        if (flags & 2 && t[i].level_count > 1) t[i].at_once = get_u32(in, 1);
    }
    get_column(in, tensors, offsetof(tensor_record, same_as), IN_SAME, n);
    return f->error;
}

static qac_error read_section_columns(qac_file *f, input *in, const table *sections, uint32_t flags) {
    enum { EACH = 63, IN_BLOBS = 1 << GRAPH | 1 << META };
    section_record *s = sections->records;
    uint32_t n = f->sections;
    input crcs;
    get_column(in, sections, offsetof(section_record, kind), EACH, INDEX_CHUNK);
    get_column(in, sections, offsetof(section_record, codec), EACH, 255);
    get_column(in, sections, offsetof(section_record, level), EACH, MAX_LEVELS - 1);
    get_column(in, sections, offsetof(section_record, owner), EACH, f->tensors > n ? f->tensors : n);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t bytes;
        bytes = get_uint(in, (uint64_t)1 << 62);
        if (bytes > MOST) return QAC_LIMIT_EXCEEDED;
        s[i].stored_bytes = (amount)bytes;
    }
    get_column(in, sections, offsetof(section_record, count), IN_BLOBS, (uint32_t)MAX_BLOB_BYTES);
    TRY(get_part(in, 4 * (amount)n, &crcs));
    for (uint32_t i = 0; i < n; i++) s[i].crc = load32(crcs.at + 4 * (amount)i);
    return flags & 4 ? get_part(in, 32 * (amount)n, &crcs) : QAC_OK; /* leaf hashes, which only a root needs */
}

/* Read the decoded header. */
static qac_error read_header(qac_file *f, input *in, uint32_t flags, int newer) {
    uint32_t digest_bytes;
    void *pointer;
    f->tensors = get_u32(in, (uint32_t)lesser(rest(in), MAX_TENSORS));
    f->sections = get_u32(in, (uint32_t)lesser(rest(in), MAX_SECTIONS));
    digest_bytes = get_u32(in, 32);
    f->chunk_log2 = get_u32(in, 30);
    TRY(keep(f, in, f->tensors * sizeof(tensor_record), &f->tensor_records));
    TRY(keep(f, in, f->sections * sizeof(section_record), &f->section_records));
    TRY(keep(f, in, 4 * (amount)f->sections, &pointer));
    f->by_key = pointer;
    memset(f->tensor_records, 0, f->tensors * sizeof(tensor_record));
    memset(f->section_records, 0, f->sections * sizeof(section_record));
    table tensors = {f->tensor_records, sizeof(tensor_record), f->tensors};
    table sections = {f->section_records, sizeof(section_record), f->sections};
    TRY(read_tensor_columns(f, in, &tensors, flags, newer));
    TRY(read_section_columns(f, in, &sections, flags));
    tensor_record *t = f->tensor_records;
    for (uint32_t i = 0; i < f->tensors; i++) {
        input digest;
        if (t[i].kind == SAME) {
            const tensor_record *other = &t[t[i].same_as];
            if (t[i].same_as >= i || other->kind == SAME) return QAC_BAD_HEADER;
            if (other->dims != t[i].dims || other->type != t[i].type || other->stored != t[i].stored) return QAC_BAD_HEADER;
            if (memcmp(other->shape, t[i].shape, 8 * (size_t)t[i].dims) != 0) return QAC_BAD_HEADER;
        } else {
            TRY(get_part(in, digest_bytes, &digest));
        }
        TRY(check_tensor(&t[i]));
    }
    return at_end(in);
}

/* ---- Where the sections are ---- */

static const section_record *section_of(const qac_file *f, uint32_t place) {
    return (const section_record *)f->section_records + place;
}

static const tensor_record *tensor_of(const qac_file *f, uint32_t number) {
    return (const tensor_record *)f->tensor_records + number;
}

/* Find the first section of a kind, level and owner, and how many there are. */
static uint32_t find_sections(const qac_file *f, uint32_t kind, uint32_t level, uint32_t owner, uint32_t *count) {
    uint32_t ends[2];
    for (uint32_t end = 0; end < 2; end++) { /* the first key that is not below, then the first that is above */
        uint32_t low = 0, high = f->sections;
        while (low < high) {
            uint32_t middle = low + (high - low) / 2;
            const section_record *s = section_of(f, f->by_key[middle]);
            int below = s->kind != kind ? s->kind < kind
                        : s->level != level ? s->level < level
                        : s->owner != owner ? s->owner < owner : end == 1;
            if (below) low = middle + 1;
            else high = middle;
        }
        ends[end] = low;
    }
    *count = ends[1] - ends[0];
    return ends[0];
}

/* The place of a section that exists. */
static uint32_t place_of(const qac_file *f, uint32_t kind, uint32_t level, uint32_t owner, amount chunk) {
    uint32_t count, first = find_sections(f, kind, level, owner, &count);
    return f->by_key[first + (uint32_t)chunk];
}

/* Note that a tensor needs the one section of a group; `wanted` counts the sections that are needed. */
static qac_error want_group(qac_file *f, uint32_t kind, uint32_t level, uint32_t group, uint32_t number, uint32_t *wanted) {
    const tensor_record *t = tensor_of(f, number);
    uint32_t count, first = find_sections(f, kind, level, group, &count);
    if (count != 1) return QAC_BAD_HEADER;
    section_record *s = (section_record *)f->section_records + f->by_key[first];
    if (!s->wanted) {
        s->wanted = 1;
        s->type = (uint8_t)t->stored;
        s->first_member = number;
        *wanted += 1;
    }
    s->last_member = number;
    if (kind == VALUES && s->type != t->stored) return QAC_BAD_HEADER;
    if (kind == INDICES && ++s->members > MAX_GROUP_TENSORS) return QAC_LIMIT_EXCEEDED;
    return QAC_OK;
}

static qac_error want_chunks(const qac_file *f, uint32_t kind, uint32_t level, uint32_t number, amount values,
                             uint32_t *wanted) {
    uint32_t count;
    find_sections(f, kind, level, number, &count);
    if (count != ceiling(values, (amount)1 << f->chunk_log2)) return QAC_BAD_HEADER;
    *wanted += count;
    return QAC_OK;
}

/* Check that the file has exactly the sections that its tensors need, and where they are. */
static qac_error place_sections(qac_file *f, amount file_bytes) {
    section_record *s = f->section_records;
    amount at = f->first_section, decoded = 0, most = MOST << 3;
    uint32_t wanted = 0;
    if (file_bytes < most >> 12) most = greater(file_bytes << 12, (amount)1 << 29);
    for (uint32_t i = 0; i < f->sections; i++) {
        int values = s[i].kind == VALUES || s[i].kind == VALUE_CHUNK;
        if (values && s[i].codec == RAW && s[i].stored_bytes >= 4096) at = (at + 63) & ~(amount)63;
        if (at > file_bytes || s[i].stored_bytes > file_bytes - at) return QAC_BAD_HEADER;
        s[i].offset = at;
        at += s[i].stored_bytes;
        if (i && s[i].level < s[i - 1].level) return QAC_BAD_HEADER;
        if (s[i].kind > META) continue;
        if (s[i].level || s[i].owner || i > 1 || (i == 1 && (s[0].kind != GRAPH || s[1].kind != META))) return QAC_BAD_HEADER;
        wanted++;
    }
    if (at != file_bytes) return QAC_BAD_HEADER;
    sort(f, 1, f->by_key, f->sections);
    for (uint32_t i = 0; i < f->tensors; i++) {
        const tensor_record *t = tensor_of(f, i);
        uint32_t width = width_of(t->type), levels = t->kind == SHARED && !t->at_once ? t->level_count : 1;
        decoded += t->count * width;
        if (decoded > most) return QAC_LIMIT_EXCEEDED;
        if (t->kind == SAME) continue;
        if (t->kind == SHARED) {
            decoded += book_bytes(t);
            if (t->book_group) TRY(want_group(f, VALUES, 0, t->book_group - 1, i, &wanted));
            else TRY(want_chunks(f, VALUE_CHUNK, 0, i, book_bytes(t) / width, &wanted));
        }
        for (uint32_t level = 0; level < levels; level++) {
            if (t->group) TRY(want_group(f, t->kind == SHARED ? INDICES : VALUES, level, t->group - 1, i, &wanted));
            else TRY(want_chunks(f, t->kind == SHARED ? INDEX_CHUNK : VALUE_CHUNK, level, i, t->count, &wanted));
        }
    }
    if (wanted != f->sections) return QAC_BAD_HEADER;
    return decoded > most ? QAC_LIMIT_EXCEEDED : QAC_OK;
}

static qac_error check_crc(const qac_file *f, amount offset, amount bytes, uint32_t wanted) {
    uint32_t crc = UINT32_MAX;
    uint8_t piece[128];
    if (f->source.data) return ~crc_step(f, crc, f->source.data + offset, bytes) == wanted ? QAC_OK : QAC_CHECKSUM_MISMATCH;
    for (amount at = 0; at < bytes; at += sizeof piece) {
        amount length = lesser(sizeof piece, bytes - at);
        TRY(fetch(f, offset + at, piece, length));
        crc = crc_step(f, crc, piece, length);
    }
    return ~crc == wanted ? QAC_OK : QAC_CHECKSUM_MISMATCH;
}

/* Bring the stored bytes of a section into memory, and check their checksum the first time. */
static qac_error open_section(qac_file *f, uint32_t place, input *in) {
    section_record *s = (section_record *)f->section_records + place;
    const uint8_t *data = f->source.data;
    if (s->offset + s->stored_bytes > f->source.size) return QAC_TRUNCATED;
    if (data) {
        data += s->offset;
    } else {
        uint8_t *bytes = take(f, s->stored_bytes);
        if (!bytes) return too_small(f);
        TRY(fetch(f, s->offset, bytes, s->stored_bytes));
        data = bytes;
        s->checked = f->measuring != 0; /* then only the first bytes are looked at */
    }
    *in = memory(f, data, s->stored_bytes);
#ifndef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    if (!s->checked && ~crc_step(f, UINT32_MAX, data, s->stored_bytes) != s->crc) return QAC_CHECKSUM_MISMATCH;
#endif
    s->checked = 1;
    return QAC_OK;
}

/* ---- Tensors ---- */

static uint8_t *offset(uint8_t *p, amount bytes) { return p ? p + (size_t)bytes : NULL; } /* NULL: measuring */

static void drop_groups(qac_file *f) {
    f->groups[0] = f->groups[1] = NULL;
    f->arena_bytes = f->all_bytes;
}

/* Make room for a decoded group at the end of the arena; NULL if there is none. If what is left is too small to decode
 * it, the tensor is read again without keeping groups (read_checked). */
static uint8_t *room_for_group(qac_file *f, amount bytes) {
    for (int tries = 0; tries < 2 && !f->keep_none && !f->measuring; tries++) {
        if (f->top + bytes + 8 <= f->arena_bytes) {
            f->arena_bytes = (f->arena_bytes - bytes) & ~(amount)7;
            return f->arena + f->arena_bytes;
        }
        drop_groups(f);
    }
    return NULL;
}

/* Write values [from, to) of a tensor in a group, or of its codebook of a level (-1: a dense tensor), as stored. */
static qac_error read_group_values(qac_file *f, uint32_t group, uint32_t number, int level, amount from, amount to,
                                   uint8_t *out) {
    amount mark = f->top, total = 0, start = 0;
    uint32_t place = place_of(f, VALUES, 0, group, 0), n = 0, fill = 0;
    const section_record *s = section_of(f, place);
    uint32_t width = width_of(s->type);
    for (uint32_t i = s->first_member; i <= s->last_member; i++) {
        const tensor_record *t = tensor_of(f, i);
        if (t->kind == SHARED && t->book_group == group + 1) n += t->level_count;
        if (t->kind == DENSE && t->group == group + 1) n++;
    }
    value_run *runs = take(f, n * (amount)sizeof *runs);
    if (!runs) return too_small(f);
    for (uint32_t i = s->first_member; i <= s->last_member; i++) {
        const tensor_record *t = tensor_of(f, i);
        uint32_t count = t->kind == SHARED && t->book_group == group + 1 ? t->level_count : t->kind == DENSE && t->group == group + 1;
        for (uint32_t j = 0; j < count; j++, fill++) {
            if (i == number && (level < 0 || j == (uint32_t)level)) start = total;
            runs[fill].count = t->kind == DENSE ? t->count : t->blocks ? book_count(t) * t->levels[0] : t->levels[j];
            runs[fill].k = t->kind == SHARED && t->blocks ? t->levels[0] : 0;
            total += runs[fill].count;
        }
    }
    f->group_bytes[0] = greater(f->group_bytes[0], total * width);
    value_request all = {runs, n, s->type, 0, total, NULL};
    uint8_t *kept = f->groups[0] && f->group_places[0] == place && !f->measuring ? f->groups[0] : NULL;
    if (!kept) {
        input in;
        TRY(open_section(f, place, &in));
        all.out = kept = room_for_group(f, total * width);
        if (!kept) {
            all.from = start + from;
            all.to = start + to;
            all.out = out;
        }
        TRY(read_values(&in, s->codec, &all));
        if (kept) {
            f->groups[0] = kept;
            f->group_places[0] = place;
        }
    }
    if (kept) memcpy(out, kept + (start + from) * width, (to - from) * width);
    f->top = mark;
    return QAC_OK;
}

/* Write the values [from, to) of a dense tensor in chunks, or of its codebooks in blocks, as stored. */
static qac_error read_value_chunks(qac_file *f, uint32_t number, amount total, uint32_t k, amount from, amount to,
                                   uint8_t *out) {
    const tensor_record *t = tensor_of(f, number);
    uint32_t width = width_of(t->stored);
    amount size = (amount)1 << f->chunk_log2;
    for (amount chunk = from >> f->chunk_log2; chunk * size < to; chunk++) {
        amount mark = f->top, start = chunk * size, low = greater(start, from), high = lesser(start + size, to);
        value_run run = {lesser(size, total - start), k && start % k == 0 ? k : 0};
        uint32_t place = place_of(f, VALUE_CHUNK, 0, number, chunk);
        input in;
        TRY(open_section(f, place, &in));
        value_request part = {&run, 1, t->stored, low - start, high - start, offset(out, (low - from) * width)};
        TRY(read_values(&in, section_of(f, place)->codec, &part));
        f->top = mark;
    }
    return QAC_OK;
}

/* Turn n values as stored into the type of the array; `stored` may be the end of `out`. */
static qac_error convert(uint8_t *out, const uint8_t *stored, amount n, uint32_t from, uint32_t to) {
    uint32_t narrow = width_of(from), wide = width_of(to);
    if (from == to) {
        for (amount i = 0; to == QAC_BOOL && i < n; i++) {
            if (stored[(size_t)i] > 1) return QAC_BAD_PAYLOAD;
        }
        return QAC_OK; /* of equal width, so it stands in its place */
    }
    for (amount i = 0; i < n; i++, stored += narrow, out += wide) {
        uint64_t word = load(stored, narrow);
        int is_signed = from == QAC_INT8 || from == QAC_INT16 || from == QAC_INT32;
        if (is_signed && word >> (8 * narrow - 1)) word |= ~(uint64_t)0 << (8 * narrow);
        if (from == QAC_FLOAT16 && to == QAC_FLOAT32) {
            word = half_to_float((uint32_t)word);
        } else if (is_float(to)) {
            double value = is_float(from) ? number_of(word, from) : (double)(int64_t)word; /* of 32 bits at most */
            word = word_of_number(value, to);
        }
        store(out, word, wide);
    }
    return QAC_OK;
}

/* Read the codebook of a level (all codebooks of a tensor in blocks) in the type of the array. */
static qac_error read_book(qac_file *f, uint32_t number, uint32_t level, uint8_t **book) {
    const tensor_record *t = tensor_of(f, number);
    amount total = t->blocks ? book_count(t) * t->levels[0] : t->levels[level];
    uint32_t narrow = width_of(t->stored), wide = width_of(t->type);
    *book = take(f, total * wide);
    if (!f->measuring && !*book) return too_small(f);
    uint8_t *stored = offset(*book, (wide - narrow) * total);
    if (t->book_group) {
        TRY(read_group_values(f, t->book_group - 1, number, (int)level, 0, total, stored));
    } else {
        TRY(read_value_chunks(f, number, total, t->levels[0], 0, total, stored));
    }
    return f->measuring ? QAC_OK : convert(*book, stored, total, t->stored, t->type);
}

static uint32_t stored_levels(const tensor_record *t) { return t->at_once ? 1 : t->level_count; }

/* Describe the indices [start, stop) of a tensor at a level. */
static stream index_stream(const tensor_record *t, uint32_t number, uint32_t level, amount start, amount stop) {
    stream s;
    memset(&s, 0, sizeof s);
    s.count = stop - start;
    s.start = start;
    s.number = number;
    s.dims = t->dims;
    s.axis1 = t->count && t->dims > 1 ? (amount)t->shape[1] : 1;
    s.deep = 1;
    for (uint32_t i = t->dims > 1 ? 2 : 0; t->count && i < t->dims; i++) s.deep *= (amount)t->shape[i];
    s.kernels = t->count / s.deep;
    s.last = t->count && t->dims > 2 ? (amount)t->shape[t->dims - 1] : 1;
    s.alphabet = t->levels[t->at_once ? t->level_count - 1 : 0];
    if (level > 0) {
        s.children = t->children;
        for (uint32_t i = 0; i + 1 < level; i++) s.children += t->levels[i];
        s.entries = t->levels[level - 1];
        s.alphabet = 0;
        for (uint32_t i = 0; i < s.entries; i++) s.alphabet = s.children[i] > s.alphabet ? s.children[i] : s.alphabet;
    }
    s.width = s.stride = word_of(&s);
    return s;
}

/* Describe the streams of an index group at level 0 (those with sections at `level`); NULL: only count them. */
static uint32_t group_streams(const qac_file *f, uint32_t group, stream *s) {
    const section_record *section = section_of(f, place_of(f, INDICES, 0, group, 0));
    uint32_t n = 0;
    for (uint32_t i = section->first_member; i <= section->last_member; i++) {
        const tensor_record *t = tensor_of(f, i);
        if (t->kind != SHARED || t->group != group + 1) continue;
        if (s) s[n] = index_stream(t, i, 0, 0, t->count);
        n++;
    }
    return n;
}

/* Write the indices [from, to) of a tensor in a group, at level 0. */
static qac_error read_group_indices(qac_file *f, uint32_t number, amount from, amount to, uint8_t *out) {
    uint32_t group = tensor_of(f, number)->group - 1, place = place_of(f, INDICES, 0, group, 0), wanted = 0;
    uint32_t n = group_streams(f, group, NULL), codec = section_of(f, place)->codec;
    amount mark = f->top, total = 0, start = 0;
    stream *s = take(f, n * (amount)sizeof *s);
    if (!s) return too_small(f);
    group_streams(f, group, s);
    for (uint32_t i = 0; i < n; i++) {
        if (s[i].number == number) {
            wanted = i;
            start = total;
        }
        total += s[i].count * s[i].width;
    }
    f->group_bytes[1] = greater(f->group_bytes[1], total);
    uint32_t width = s[wanted].width;
    uint8_t *kept = f->groups[1] && f->group_places[1] == place && !f->measuring ? f->groups[1] : NULL;
    if (!kept) {
        input in;
        TRY(open_section(f, place, &in));
        kept = room_for_group(f, total);
        if (kept) {
            uint8_t *p = kept;
            for (uint32_t i = 0; i < n; i++) {
                s[i].out = p;
                s[i].wanted = s[i].count;
                p += (size_t)(s[i].count * s[i].width);
            }
        } else {
            s[wanted].out = out;
            s[wanted].from = from;
            s[wanted].wanted = to - from;
        }
        TRY(read_indices(&in, codec, s, n));
        if (kept) {
            f->groups[1] = kept;
            f->group_places[1] = place;
        }
    }
    if (kept) memcpy(out, kept + (size_t)(start + from * width), (size_t)((to - from) * width));
    f->top = mark;
    return QAC_OK;
}

/* Turn numbers of children into indices: two bytes each, `s->out` and `s->parents`. */
static qac_error join(qac_file *f, const stream *s) {
    amount mark = f->top;
    uint32_t *first = take(f, 4 * (amount)s->entries), sum = 0;
    ALLOCATED(f, mark);
    for (uint32_t i = 0; i < s->entries; i++) {
        first[i] = sum;
        sum += s->children[i];
    }
    for (amount i = 0; i < s->count; i++) {
        uint32_t parent = load16(s->parents + 2 * (size_t)i), child = load16(s->out + 2 * (size_t)i);
        if (child >= s->children[parent]) return QAC_BAD_PAYLOAD;
        store16(s->out + 2 * (size_t)i, first[parent] + child);
    }
    f->top = mark;
    return QAC_OK;
}

/* Decode the indices of all levels up to `top`, of a chunk or of a whole group; found: those of the tensor, two bytes
 * each, in memory that stays taken. */
static qac_error read_nested(qac_file *f, uint32_t number, uint32_t top, amount chunk, amount start, amount stop,
                             uint8_t **found) {
    const tensor_record *t = tensor_of(f, number);
    uint32_t group = t->group, n = group ? group_streams(f, group - 1, NULL) : 1;
    amount total = 0, at, mark;
    stream *all = take(f, n * (amount)sizeof *all), *now = take(f, n * (amount)sizeof *now);
    if (!now) return too_small(f);
    if (group) group_streams(f, group - 1, all);
    else all[0] = index_stream(t, number, 0, start, stop);
    for (uint32_t i = 0; i < n; i++) total += all[i].count;
    uint8_t *coarse = take(f, 2 * total), *fine = take(f, 2 * total);
    TRY(enough(f));
    for (uint32_t level = 0; level <= top; level++) {
        uint32_t used = 0, place = place_of(f, group ? INDICES : INDEX_CHUNK, level, group ? group - 1 : number, chunk);
        input in;
        at = 0;
        for (uint32_t i = 0; i < n; at += 2 * all[i++].count) {
            const tensor_record *member = tensor_of(f, all[i].number);
            if (stored_levels(member) <= level) continue;
            if (all[i].number == number) *found = offset(coarse, at);
            now[used] = index_stream(member, all[i].number, level, all[i].start, all[i].start + all[i].count);
            now[used].parents = offset(coarse, at);
            now[used].out = offset(level ? fine : coarse, at);
            now[used].wanted = now[used].count;
            now[used].width = now[used].stride = 2;
            used++;
        }
        mark = f->top;
        TRY(open_section(f, place, &in));
        TRY(read_indices(&in, section_of(f, place)->codec, now, used));
        f->top = mark;
        for (uint32_t i = 0; level && i < used; i++) {
            TRY(join(f, &now[i]));
            if (!f->measuring) memcpy(coarse + (now[i].parents - coarse), now[i].out, 2 * (size_t)now[i].count);
        }
    }
    return QAC_OK;
}

/* Replace finest indices by those of the level `top`. */
static qac_error coarsen(qac_file *f, const tensor_record *t, uint32_t top, uint8_t *indices, amount n, uint32_t width) {
    amount mark = f->top;
    uint32_t finest = t->level_count - 1u, entries = t->levels[finest];
    uint16_t *ancestors = take(f, 2 * (amount)entries), *parents = take(f, 2 * (amount)entries);
    ALLOCATED(f, mark);
    for (uint32_t i = 0; i < entries; i++) ancestors[i] = (uint16_t)i;
    for (uint32_t level = finest; level-- > top;) {
        const uint32_t *children = t->children;
        uint32_t next = 0;
        for (uint32_t i = 0; i < level; i++) children += t->levels[i];
        for (uint32_t i = 0; i < t->levels[level]; i++) {
            for (uint32_t j = 0; j < children[i]; j++) parents[next++] = (uint16_t)i;
        }
        for (uint32_t i = 0; i < entries; i++) ancestors[i] = parents[ancestors[i]];
    }
    for (amount i = 0; i < n; i++) {
        uint8_t *p = indices + (size_t)(i * width);
        store(p, ancestors[width > 1 ? load16(p) : *p], width);
    }
    f->top = mark;
    return QAC_OK;
}

#define LOOK_UP(width, bytes)                                                                     \
    for (size_t i = 0; i < n; i++) {                                                              \
        size_t index = (width) == 1 ? indices[i] : load16(indices + 2 * i);                       \
        memcpy(out + i * (bytes), book + index * (bytes), (bytes));                               \
    }

/* Write the values of n indices; the indices may stand at the end of `out`. */
static void look_up(uint8_t *out, const uint8_t *book, const uint8_t *indices, size_t n, uint32_t width, uint32_t wide) {
#if !QAC_SMALL
    if (width == 1 && wide == 4) {
        LOOK_UP(1, 4)
    } else if (width == 1 && wide == 2) {
        LOOK_UP(1, 2)
    } else if (wide == 4) {
        LOOK_UP(2, 4)
    } else
#endif
    {
        LOOK_UP(width, wide)
    }
}

/* The same with codebooks in blocks; from: position of the first value in the tensor. */
static void look_up_blocks(const tensor_record *t, uint8_t *out, const uint8_t *books, const uint8_t *indices, amount from,
                           amount n, uint32_t width) {
    amount sizes[QAC_MAX_DIMS], blocks[QAC_MAX_DIMS], at[QAC_MAX_DIMS], k = t->levels[0];
    uint32_t wide = width_of(t->type), axes = 0;
    for (uint32_t i = t->dims; i-- > 0;) { /* from the last axis to the first, joined where that changes no number */
        amount size = (amount)t->shape[i], block = (amount)t->blocks[i], before = axes ? sizes[axes - 1] : 0;
        int whole = !QAC_SMALL && axes && blocks[axes - 1] >= before;
        if (whole || (!QAC_SMALL && axes && block == 1 && before % blocks[axes - 1] == 0)) {
            if (whole) blocks[axes - 1] = block * before;
            sizes[axes - 1] = before * size;
        } else {
            sizes[axes] = size;
            blocks[axes++] = block;
        }
    }
    for (uint32_t i = 0; n && i < axes; i++) {
        at[i] = from % sizes[i];
        from /= sizes[i];
    }
    while (n) {
        amount book = 0, run = lesser(lesser(blocks[0] - at[0] % blocks[0], sizes[0] - at[0]), n);
        for (uint32_t i = axes; i-- > 0;) book = book * ceiling(sizes[i], blocks[i]) + at[i] / blocks[i];
        look_up(out, books + (size_t)(book * k * wide), indices, (size_t)run, width, wide);
        out += (size_t)(run * wide);
        indices += (size_t)(run * width);
        n -= run;
        at[0] += run;
        for (uint32_t i = 0; i + 1 < axes && at[i] == sizes[i]; i++) {
            at[i] = 0;
            at[i + 1]++;
        }
    }
}

/* Write the indices [from, to) of a shared tensor at a level, in `width` bytes each. */
static qac_error read_tensor_indices(qac_file *f, uint32_t number, uint32_t top, amount from, amount to, uint8_t *out,
                                     uint32_t width) {
    const tensor_record *t = tensor_of(f, number);
    int nested = top > 0 && !t->at_once;
    amount size = (amount)1 << f->chunk_log2, mark = f->top;
    uint8_t *found = NULL;
    if (t->group) {
        if (!nested) return read_group_indices(f, number, from, to, out);
        TRY(read_nested(f, number, top, 0, 0, t->count, &found));
        if (!f->measuring) memcpy(out, found + (size_t)(2 * from), (size_t)(2 * (to - from)));
        f->top = mark;
        return QAC_OK;
    }
    for (amount chunk = from >> f->chunk_log2; chunk * size < to; chunk++) {
        amount start = chunk * size, stop = lesser(start + size, t->count);
        amount low = greater(start, from), high = lesser(stop, to);
        if (nested) {
            TRY(read_nested(f, number, top, chunk, start, stop, &found));
            if (!f->measuring) {
                memcpy(out + (size_t)(2 * (low - from)), found + (size_t)(2 * (low - start)), (size_t)(2 * (high - low)));
            }
        } else {
            uint32_t place = place_of(f, INDEX_CHUNK, 0, number, chunk);
            stream s = index_stream(t, number, 0, start, stop);
            input in;
            s.out = offset(out, (low - from) * width);
            s.from = low - start;
            s.wanted = high - low;
            TRY(open_section(f, place, &in));
            TRY(read_indices(&in, section_of(f, place)->codec, &s, 1));
        }
        f->top = mark;
    }
    return QAC_OK;
}

/* Write the values [from, to) of a tensor; out is NULL if the file is measured. */
static qac_error read_range(qac_file *f, uint32_t number, uint32_t level, amount from, amount to, uint8_t *out) {
    const tensor_record *t = tensor_of(f, number);
    if (t->kind == SAME) t = tensor_of(f, number = t->same_as);
    if (t->type > QAC_FLOAT64 || t->stored > QAC_FLOAT64) return QAC_UNSUPPORTED_VERSION;
    uint32_t wide = width_of(t->type), narrow = width_of(t->stored), width, top;
    amount n = to - from;
    uint8_t *book, *stored = offset(out, (wide - narrow) * n);
    f->top = f->kept;
    if (t->kind == DENSE) {
        if (t->group) {
            TRY(read_group_values(f, t->group - 1, number, -1, from, to, stored));
        } else {
            TRY(read_value_chunks(f, number, t->count, 0, from, to, stored));
        }
        return f->measuring ? QAC_OK : convert(out, stored, n, t->stored, t->type);
    }
    top = (uint32_t)lesser(level == QAC_FINEST ? f->level : level, t->level_count - 1u);
    TRY(read_book(f, number, top, &book));
    width = t->levels[t->at_once ? t->level_count - 1 : 0] > 256 || (top > 0 && !t->at_once) ? 2 : 1;
    uint8_t *indices = width <= wide ? offset(out, (wide - width) * n) : take(f, n * width);
    TRY(enough(f));
    TRY(read_tensor_indices(f, number, top, from, to, indices, width));
    if (t->at_once && top + 1 < t->level_count) TRY(coarsen(f, t, top, indices, n, width));
    if (f->measuring) return QAC_OK;
    if (t->blocks) look_up_blocks(t, out, book, indices, from, n, width);
    else look_up(out, book, indices, (size_t)n, width, wide);
    return QAC_OK;
}

/* ---- The functions of qac.h ---- */

static uint32_t deepest(const qac_file *f) {
    uint32_t levels = 1;
    for (uint32_t i = 0; i < f->tensors; i++) {
        if (tensor_of(f, i)->level_count > levels) levels = tensor_of(f, i)->level_count;
    }
    return levels;
}

/* Read and check the first 32 bytes. */
static qac_error read_prefix(qac_file *f, qac_strictness strictness, uint8_t *prefix) {
    uint64_t size = f->source.size, file_bytes;
    uint32_t stored, decoded;
    amount have = size < 32 ? (amount)size : 32;
    TRY(fetch(f, 0, prefix, have));
    if (have == 0 || memcmp(prefix, "\x93QAC", lesser(have, 4)) != 0) return QAC_NOT_A_CONTAINER;
    if (have > 4 && prefix[4] != 1) return QAC_UNSUPPORTED_VERSION;
    if (have < 32) return QAC_TRUNCATED;
    if (~crc_step(f, UINT32_MAX, prefix, 28) != load32(prefix + 28)) return QAC_CHECKSUM_MISMATCH;
    if (prefix[7] & ~7) return QAC_UNSUPPORTED_VERSION;
    stored = load32(prefix + 8);
    decoded = load32(prefix + 12);
    file_bytes = load(prefix + 16, 8);
    if (stored > MAX_HEADER_BYTES || decoded > MAX_HEADER_BYTES) return QAC_LIMIT_EXCEEDED;
    if (file_bytes < 32 + stored || size > file_bytes) return QAC_BAD_HEADER;
    if (file_bytes > SIZE_MAX >> 1) return QAC_LIMIT_EXCEEDED;
    if (size < 32 + stored || (size < file_bytes && strictness == QAC_STRICT)) return QAC_TRUNCATED;
    TRY(check_crc(f, 32, stored, load32(prefix + 24)));
    f->version[0] = prefix[4];
    f->version[1] = prefix[5];
    f->first_section = 32 + stored;
    return decoded > 1u << 18 && decoded > 16 * stored ? QAC_LIMIT_EXCEEDED : QAC_OK;
}

/* Decode and read the header. It stands at the end of the arena until its records are made. */
static qac_error open_header(qac_file *f, const uint8_t *prefix) {
    amount stored = load32(prefix + 8), decoded = load32(prefix + 12);
    uint8_t *copy = NULL;
    if (f->source.data == NULL) {
        copy = take(f, stored);
        if (!copy) return too_small(f);
        TRY(fetch(f, 32, copy, stored));
    }
    input in = memory(f, copy ? copy : f->source.data + 32, stored);
    uint8_t *header = f->arena + f->arena_bytes;
    TRY(read_text(&in, prefix[6], decoded, header));
    f->top = 0;
    in = memory(f, header, decoded);
    in.bad = QAC_BAD_HEADER;
    return read_header(f, &in, prefix[7], prefix[5] > MINOR_VERSION);
}

static qac_error open_file(qac_file *f, const qac_source *source, qac_strictness strictness, void *arena, size_t bytes) {
    uint8_t prefix[32];
    if (!f || !source || (!source->data && !source->read) || (!arena && bytes)) return QAC_BAD_ARGUMENT;
    memset(f, 0, sizeof *f);
    f->source = *source;
    if (source->data && source->size > SIZE_MAX >> 1) return QAC_BAD_ARGUMENT;
    make_crc_tables(f);
    amount shift = lesser((8 - (uintptr_t)arena % 8) % 8, bytes), aside;
    f->arena = bytes ? (uint8_t *)arena + shift : (uint8_t *)f; /* never written to, but no null pointer */
    f->all_bytes = f->arena_bytes = lesser(bytes - shift, SIZE_MAX >> 2) & ~(amount)7;
    TRY(read_prefix(f, strictness, prefix));
    aside = ((amount)load32(prefix + 12) + 7) & ~(amount)7;
    f->peak = aside; /* for a start; the rest depends on what the header holds */
    if (aside > f->arena_bytes) return too_small(f);
    f->arena_bytes -= aside;
    f->peak = 0;
    qac_error error = open_header(f, prefix);
    f->peak += aside;
    f->open_peak = f->peak;
    f->kept = f->top;
    drop_groups(f);
    if (error == QAC_ARENA_TOO_SMALL) {
        f->need = 0;
        return too_small(f);
    }
    TRY(error);
    TRY(place_sections(f, (amount)load(prefix + 16, 8)));
    f->levels = deepest(f);
    f->level = f->levels - 1;
    for (uint32_t i = 0; i < f->sections; i++) {
        const section_record *s = section_of(f, i);
        if (s->offset + s->stored_bytes <= source->size) continue;
        if (s->level == 0) return QAC_TRUNCATED;
        if (s->level <= f->level) f->level = s->level - 1;
    }
    return QAC_OK;
}

qac_error qac_open(qac_file *f, const qac_source *source, qac_strictness strictness, void *arena, size_t bytes) {
    qac_error error = open_file(f, source, strictness, arena, bytes);
    if (error && f) f->tensors = f->sections = 0; /* so nothing can be read from it */
    return error;
}

qac_error qac_arena_bytes(qac_file *f, qac_speed speed, uint32_t level, uint64_t *bytes) {
    qac_error error = QAC_OK;
    if (!f || !bytes) return QAC_BAD_ARGUMENT;
    drop_groups(f);
    f->group_bytes[0] = f->group_bytes[1] = 0;
    f->peak = f->open_peak;
    f->need = 0;
    f->measuring = speed == QAC_FAST ? MEASURE_FAST : MEASURE_LEAN;
    for (uint32_t i = 0; i < f->tensors && error != QAC_ARENA_TOO_SMALL; i++) {
        amount count = tensor_of(f, i)->kind == SAME ? 0 : tensor_of(f, i)->count;
        f->error = QAC_OK;
        error = read_range(f, i, level, 0, count, NULL); /* other errors are told when the tensor is read */
        if (error == QAC_OK && count > 1) error = read_range(f, i, level, 1, count, NULL); /* rows may take more */
    }
    for (uint32_t i = 0; i < 2 && i < f->sections && error != QAC_ARENA_TOO_SMALL; i++) {
        const section_record *s = section_of(f, i);
        input in;
        f->top = f->kept;
        f->error = QAC_OK;
        if (s->kind > META) continue;
        error = open_section(f, i, &in);
        if (error == QAC_OK) error = read_text(&in, s->codec, s->count, NULL);
    }
    f->top = f->kept;
    f->measuring = 0;
    *bytes = (uint64_t)f->peak + 8; /* the arena may begin at any address */
    if (speed == QAC_FAST) *bytes += (uint64_t)f->group_bytes[0] + f->group_bytes[1] + 32;
    return error == QAC_ARENA_TOO_SMALL ? error : QAC_OK;
}

qac_error qac_tensor_info(const qac_file *f, uint32_t number, qac_tensor *tensor) {
    if (!f || !tensor) return QAC_BAD_ARGUMENT;
    if (number >= f->tensors) return QAC_TENSOR_NOT_FOUND;
    const tensor_record *t = tensor_of(f, number);
    const tensor_record *content = t->kind == SAME ? tensor_of(f, t->same_as) : t;
    tensor->name = t->name;
    tensor->name_bytes = t->name_bytes;
    tensor->type = (qac_type)t->type;
    tensor->dims = t->dims;
    tensor->shape = t->shape;
    tensor->count = t->count;
    tensor->bytes = t->count * width_of(t->type);
    tensor->levels = content->level_count;
    tensor->entries = content->level_count ? content->levels[content->level_count - 1] : 0;
    return QAC_OK;
}

qac_error qac_find(const qac_file *f, const char *name, uint32_t *number) {
    if (!f || !name || !number) return QAC_BAD_ARGUMENT;
    size_t length = strlen(name);
    for (uint32_t i = 0; i < f->tensors; i++) {
        const tensor_record *t = tensor_of(f, i);
        if (t->name_bytes == length && memcmp(t->name, name, length) == 0) {
            *number = i;
            return QAC_OK;
        }
    }
    return QAC_TENSOR_NOT_FOUND;
}

/* Start a call that decodes something. */
static void begin(qac_file *f) {
    f->peak = 0;
    f->need = 0;
    f->error = QAC_OK;
    f->top = f->kept;
}

static qac_error read_checked(qac_file *f, uint32_t number, uint32_t level, amount from, amount to, void *out, size_t bytes) {
    amount need = (to - from) * width_of(tensor_of(f, number)->type);
    uint8_t nothing; /* a tensor without values is checked as any other */
    if (need > bytes) return QAC_BUFFER_TOO_SMALL;
    if (!out && need) return QAC_BAD_ARGUMENT;
    if (!need) out = &nothing;
    qac_error error;
    do { /* if memory doesn't suffice, perhaps kept groups take the room */
        begin(f);
        error = read_range(f, number, level, from, to, out);
        if (error != QAC_ARENA_TOO_SMALL) break;
        drop_groups(f);
    } while (f->keep_none++ == 0);
    f->keep_none = 0;
    f->top = f->kept;
    return error;
}

qac_error qac_read(qac_file *f, uint32_t number, uint32_t level, void *out, size_t bytes) {
    if (!f) return QAC_BAD_ARGUMENT;
    if (number >= f->tensors) return QAC_TENSOR_NOT_FOUND;
    return read_checked(f, number, level, 0, tensor_of(f, number)->count, out, bytes);
}

qac_error qac_read_rows(qac_file *f, uint32_t number, uint64_t start, uint64_t stop, uint32_t level, void *out,
                        size_t bytes) {
    amount row = 1;
    if (!f) return QAC_BAD_ARGUMENT;
    if (number >= f->tensors) return QAC_TENSOR_NOT_FOUND;
    const tensor_record *t = tensor_of(f, number);
    if (!t->dims || start > stop || stop > t->shape[0]) return QAC_BAD_ARGUMENT;
    if (t->count) row = t->count / (amount)t->shape[0];
    else start = stop = 0;
    return read_checked(f, number, level, (amount)start * row, (amount)stop * row, out, bytes);
}

APART const section_record *blob_section(const qac_file *f, qac_blob blob, uint32_t *place) {
    for (*place = 0; *place < 2 && *place < f->sections; *place += 1) {
        const section_record *s = section_of(f, *place);
        if (s->kind == (blob == QAC_GRAPH ? GRAPH : META)) return s;
    }
    return NULL;
}

qac_error qac_blob_bytes(const qac_file *f, qac_blob blob, uint64_t *bytes) {
    uint32_t place;
    if (!f || !bytes) return QAC_BAD_ARGUMENT;
    const section_record *s = blob_section(f, blob, &place);
    *bytes = s ? s->count : 0;
    return QAC_OK;
}

qac_error qac_read_blob(qac_file *f, qac_blob blob, void *out, size_t bytes) {
    uint32_t place;
    if (!f) return QAC_BAD_ARGUMENT;
    const section_record *s = blob_section(f, blob, &place);
    if (!s) return QAC_OK;
    if (s->count > bytes) return QAC_BUFFER_TOO_SMALL;
    if (!out && s->count) return QAC_BAD_ARGUMENT;
    uint32_t floor = blob == QAC_GRAPH ? 24 : 20, factor = blob == QAC_GRAPH ? 8 : 6; /* as powers of two */
    if (s->codec >= 192) return QAC_BAD_HEADER;
    if (s->count > 1u << floor && s->count > (uint64_t)s->stored_bytes << factor) return QAC_LIMIT_EXCEEDED;
    input in;
    begin(f);
    drop_groups(f);
    qac_error error = open_section(f, place, &in);
    if (error == QAC_OK) error = read_text(&in, s->codec, s->count, out);
    f->top = f->kept;
    return error;
}

qac_error qac_check(qac_file *f) {
    amount end;
    if (!f) return QAC_BAD_ARGUMENT;
    end = f->first_section;
    for (uint32_t i = 0; i < f->sections; i++) {
        const section_record *s = section_of(f, i);
        uint8_t padding[64];
        if (s->offset + s->stored_bytes > f->source.size) return QAC_TRUNCATED;
        TRY(check_crc(f, s->offset, s->stored_bytes, s->crc));
        TRY(fetch(f, end, padding, s->offset - end));
        for (uint32_t j = 0; j < s->offset - end; j++) {
            if (padding[j]) return QAC_BAD_HEADER;
        }
        end = s->offset + s->stored_bytes;
    }
    return QAC_OK;
}

size_t qac_file_bytes(void) { return sizeof(qac_file); }

const char *qac_error_text(qac_error error) {
    static const char texts[] = /* each with its zero byte, then an empty one */
        "no error\0"
        "not a .qac container\0"
        "needs a newer reader, or more codecs\0"
        "cut off; fetch it again\0"
        "damaged: a checksum is wrong\0"
        "damaged: bad header\0"
        "a size is above the limits\0"
        "damaged: bad section\0"
        "no such tensor\0"
        "arena too small: see file->need\0"
        "output too small: see tensor.bytes\0"
        "reading failed\0"
        "stored with zstd: set source.zstd\0"
        "wrong argument\0";
    const char *text = texts;
    for (unsigned left = (unsigned)error; left > 0 && *text; left--) text += strlen(text) + 1;
    return *text ? text : "unknown error";
}
