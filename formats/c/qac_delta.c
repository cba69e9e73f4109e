/* qac_delta.c: make a new .qac out of an old one and a delta. qac_delta.h describes the functions, SPEC.md (section 12) the
 * format. It includes qac.c: compile it in place of that file. So nothing of the decoder is repeated here or exported, and
 * a program without deltas has the decoder alone.
 *
 * Read it from top to bottom: the digest; the files, which share one arena; the parts of a section; what the base predicts;
 * the differences; the encoders (bitpack, rans, context, trellis, mixing, planes), which make the bytes of a section
 * again; a whole section; the functions of qac_delta.h.
 *
 * The rules of qac.c hold here too. Of the three files, `made` (the new one) has the top of the stack in the arena; the
 * others borrow it (`lend`) while they read.
 */
#define KEEPS_BITS 1 /* of mixing, while they are encoded */
#include "qac.c"

#include "qac_delta.h"

enum { REFERRED, WHOLE, DIFFERENCE };
enum { NO_BASE, BY_VALUE, SHIFTED }; /* forms of a stream of indices; values: NO_BASE or 1 + the folded shift */
enum { WORDS, NUMBERS, TYPED };      /* what is read of the base: stored words, indices, values in the tensor's type */

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
#define CHECKING 0 /* a fuzzer would hardly get past checksums and digests */
#else
#define CHECKING 1
#endif

#define MOST_FORM (2u + 2u * 65536u)
#define DENSE_LEVEL UINT32_MAX /* as the level of a part: the values of a dense tensor */
#define NOWHERE UINT32_MAX
#define PIECE 256u
#define MOST_EPOCHS 128u /* 65,536 steps have fewer than 110 epochs */

/* ---- BLAKE2b (RFC 7693) of 32 bytes, unkeyed ---- */

typedef struct blake {
    uint64_t h[8], bytes;
    uint8_t block[128];
    uint32_t have;
} blake;

static const uint64_t blake_start[8] = {0x6A09E667F3BCC908u, 0xBB67AE8584CAA73Bu, 0x3C6EF372FE94F82Bu, 0xA54FF53A5F1D36F1u,
                                        0x510E527FADE682D1u, 0x9B05688C2B3E6C1Fu, 0x1F83D9ABFB41BD6Bu, 0x5BE0CD19137E2179u};

static const uint8_t blake_sigma[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

static uint64_t turned(uint64_t word, uint32_t by) { return word >> by | word << (64 - by); }

static void blake_mix(uint64_t *v, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint64_t x, uint64_t y) {
    v[a] += v[b] + x;
    v[d] = turned(v[d] ^ v[a], 32);
    v[c] += v[d];
    v[b] = turned(v[b] ^ v[c], 24);
    v[a] += v[b] + y;
    v[d] = turned(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = turned(v[b] ^ v[c], 63);
}

static void blake_block(blake *b, int last) {
    uint64_t v[16], m[16];
    b->bytes += b->have;
    for (uint32_t i = 0; i < 16; i++) m[i] = load(b->block + 8 * i, 8);
    for (uint32_t i = 0; i < 8; i++) {
        v[i] = b->h[i];
        v[i + 8] = blake_start[i];
    }
    v[12] ^= b->bytes;
    if (last) v[14] = ~v[14];
    for (uint32_t round = 0; round < 12; round++) {
        const uint8_t *s = blake_sigma[round % 10];
        for (uint32_t i = 0; i < 8; i++) { /* four columns, then four diagonals */
            uint32_t turn = i >> 2, j = i & 3;
            blake_mix(v, j, 4 + ((j + turn) & 3), 8 + ((j + 2 * turn) & 3), 12 + ((j + 3 * turn) & 3), m[s[2 * i]], m[s[2 * i + 1]]);
        }
    }
    for (uint32_t i = 0; i < 8; i++) b->h[i] ^= v[i] ^ v[i + 8];
    b->have = 0;
}

static void blake_open(blake *b) {
    memset(b, 0, sizeof *b);
    memcpy(b->h, blake_start, sizeof b->h);
    b->h[0] ^= 0x01010000u | QAC_DELTA_DIGEST_BYTES;
}

static void blake_add(blake *b, const uint8_t *data, amount bytes) {
    while (bytes) {
        uint32_t length = (uint32_t)lesser(bytes, 128 - b->have);
        if (b->have == 128) { /* more follows, so this block isn't the last one */
            blake_block(b, 0);
            continue;
        }
        memcpy(b->block + b->have, data, length);
        b->have += length;
        data += length;
        bytes -= length;
    }
}

static int blake_is(blake *b, const uint8_t *digest) {
    uint8_t found[QAC_DELTA_DIGEST_BYTES];
    memset(b->block + b->have, 0, 128 - b->have);
    blake_block(b, 1);
    for (uint32_t i = 0; i < QAC_DELTA_DIGEST_BYTES / 8; i++) store(found + 8 * i, b->h[i], 8);
    return memcmp(found, digest, sizeof found) == 0;
}

/* ---- The files: a delta's header, the new file that grows, and the arena that all share ---- */

typedef struct delta_step {
    uint32_t method, number, crc; /* number: of the base's section, if it is referred */
    amount bytes;                 /* of the payload, if it isn't */
    uint64_t offset;
} delta_step;

static const delta_step *step_of(const qac_delta *d, uint32_t place) { return (const delta_step *)d->steps + place; }

/* Let a file read with the arena above what is in use. */
static void lend(const qac_delta *d, qac_file *to) {
    to->top = to->kept = d->made.top;
    to->measuring = d->made.measuring;
    to->peak = to->need = 0;
}

/* Take back what was lent; groups that the file keeps stay at the end of the arena. */
static void take_back(qac_delta *d, const qac_file *from) {
    d->made.arena_bytes = from->arena_bytes;
    d->made.peak = greater(d->made.peak, from->peak);
    if (from->need > d->made.need) d->made.need = from->need;
}

static void drop_kept(qac_delta *d) {
    drop_groups(&d->base);
    d->made.arena_bytes = d->made.all_bytes;
}

/* Take memory; groups of the base that are kept make room if there isn't enough. */
static void *claim(qac_delta *d, amount bytes) {
    amount mark = d->made.top;
    void *found = take(&d->made, bytes);
    if (found || d->made.measuring || d->made.arena_bytes == d->made.all_bytes) return found;
    drop_kept(d);
    d->made.top = mark;
    return take(&d->made, bytes);
}

/* Bring a payload of the delta into memory. */
static qac_error open_payload(qac_delta *d, uint32_t place, input *in) {
    const delta_step *step = step_of(d, place);
    const uint8_t *data = d->update.source.data;
    if (data) {
        data += (size_t)step->offset;
    } else {
        uint8_t *copy = claim(d, step->bytes);
        if (!copy) return too_small(&d->made);
        TRY(fetch(&d->update, step->offset, copy, step->bytes));
        data = copy;
    }
    *in = memory(&d->made, data, step->bytes);
    return QAC_OK;
}

/* Find the section that begins at an offset of the new file; sections of no bytes are left out. */
static uint32_t place_at(const qac_delta *d, uint64_t offset) {
    uint32_t low = 0, high = d->made.sections;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const section_record *s = section_of(&d->made, middle);
        if (s->offset + s->stored_bytes <= offset) low = middle + 1;
        else high = middle;
    }
    return low < d->made.sections && section_of(&d->made, low)->offset == offset ? low : NOWHERE;
}

/* Read bytes of the new file, as its source: what was written, else the head, or a whole section from where it is. */
static int read_made(void *user, uint64_t offset, void *into, size_t bytes) {
    qac_delta *d = user;
    input choices, payload;
    if (offset < d->head_bytes) {
        return bytes > d->head_bytes - offset || fetch(&d->update, d->head_offset + offset, into, bytes) != QAC_OK;
    }
    if (!d->made.measuring && offset < d->written) {
        return bytes > d->written - offset || d->target->read(d->target->user, offset, into, bytes) != 0;
    }
    uint32_t place = place_at(d, offset);
    if (place == NOWHERE || bytes > section_of(&d->made, place)->stored_bytes) return 1;
    const delta_step *step = step_of(d, place);
    if (step->method == REFERRED) {
        return fetch(&d->base, section_of(&d->base, step->number)->offset, into, bytes) != QAC_OK;
    }
    if (step->method == WHOLE) return fetch(&d->update, step->offset, into, bytes) != QAC_OK;
    if (d->early && d->early_place == place) {
        memcpy(into, d->early, bytes);
        return 0;
    }
    if (!d->made.measuring) return 1;
    /* indices are measured by what stands before the states: the choices of the encoder, which the difference has too */
    amount mark = d->made.top;
    qac_error error = open_payload(d, place, &payload);
    if (error == QAC_OK) error = get_sized(&payload, &choices);
    memset(into, 0, bytes);
    if (error == QAC_OK) memcpy(into, choices.at, lesser(bytes, rest(&choices)));
    d->made.top = mark;
    return error != QAC_OK;
}

static int zstd_made(void *user, const uint8_t *frame, size_t frame_bytes, uint8_t *into, size_t bytes) {
    const qac_source *source = &((const qac_delta *)user)->update.source;
    return source->zstd(source->user, frame, frame_bytes, into, bytes);
}

static qac_error get_identity(input *in, qac_delta_identity *found) {
    input digest;
    found->bytes = get_uint(in, (uint64_t)1 << 62);
    TRY(get_part(in, QAC_DELTA_DIGEST_BYTES, &digest));
    memcpy(found->digest, digest.at, QAC_DELTA_DIGEST_BYTES);
    return QAC_OK;
}

/* Read the columns of a delta's header, and set where its payloads are. */
static qac_error read_steps(qac_delta *d, input *in, uint64_t at) {
    qac_file *f = &d->update;
    uint32_t most = (uint32_t)lesser(MAX_SECTIONS, rest(in)), n;
    amount head;
    input crcs;
    TRY(get_identity(in, &d->from));
    TRY(get_identity(in, &d->to));
    head = get_amount(in, MAX_HEADER_BYTES + 32);
    n = get_u32(in, most);
    if (f->error) return (qac_error)f->error;
    if (f->source.size > SIZE_MAX >> 1) return QAC_LIMIT_EXCEEDED;
    delta_step *steps = take(f, n * (amount)sizeof *steps);
    if (!steps) return too_small(f);
    memset(steps, 0, n * sizeof *steps);
    f->sections = n;
    d->steps = steps;
    d->head_offset = at;
    d->head_bytes = head;
    for (uint32_t i = 0; i < n; i++) steps[i].method = get_u32(in, DIFFERENCE);
    for (uint32_t i = 0; i < n; i++) {
        if (steps[i].method == REFERRED) steps[i].number = get_u32(in, MAX_SECTIONS - 1);
    }
    at += head;
    for (uint32_t i = 0; i < n; i++) {
        if (steps[i].method == REFERRED) continue;
        steps[i].bytes = get_amount(in, MOST);
        steps[i].offset = at;
        at += steps[i].bytes; /* each addend is below 2^58, and the sum is checked after each */
        if (at > f->source.size) return QAC_BAD_HEADER;
    }
    if (at != f->source.size) return QAC_BAD_HEADER;
    TRY(get_part(in, 4, &crcs));
    if (CHECKING) TRY(check_crc(f, d->head_offset, head, load32(crcs.at)));
    for (uint32_t i = 0; i < n; i++) {
        if (steps[i].method == REFERRED) continue;
        TRY(get_part(in, 4, &crcs));
        steps[i].crc = load32(crcs.at);
        if (CHECKING) TRY(check_crc(f, steps[i].offset, steps[i].bytes, steps[i].crc));
    }
    return at_end(in);
}

/* Read a delta's prefix and header; its steps stay in the arena. */
static qac_error open_update(qac_delta *d, const qac_source *source, uint8_t *arena, amount bytes) {
    qac_file *f = &d->update;
    uint8_t prefix[32];
    amount have = source->size < 32 ? (amount)source->size : 32, stored, decoded;
    memset(f, 0, sizeof *f);
    f->source = *source;
    f->arena = arena;
    f->all_bytes = f->arena_bytes = bytes;
    make_crc_tables(f);
    TRY(fetch(f, 0, prefix, have));
    if (have == 0 || memcmp(prefix, "\x93QAD", lesser(have, 4)) != 0) return QAC_NOT_A_CONTAINER;
    if (have > 4 && prefix[4] != 1) return QAC_UNSUPPORTED_VERSION;
    if (have < 32) return QAC_TRUNCATED;
    if (~crc_step(f, UINT32_MAX, prefix, 28) != load32(prefix + 28)) return QAC_CHECKSUM_MISMATCH;
    if (prefix[7]) return QAC_UNSUPPORTED_VERSION;
    if (load32(prefix + 8) > MAX_HEADER_BYTES || load32(prefix + 12) > MAX_HEADER_BYTES) return QAC_LIMIT_EXCEEDED;
    stored = load32(prefix + 8);
    decoded = load32(prefix + 12);
    if (load(prefix + 16, 8) < 32 + (uint64_t)stored || source->size > load(prefix + 16, 8)) return QAC_BAD_HEADER;
    if (source->size < load(prefix + 16, 8)) return QAC_TRUNCATED;
    if (decoded > 1u << 18 && decoded > 16 * stored) return QAC_LIMIT_EXCEEDED;
    TRY(check_crc(f, 32, stored, load32(prefix + 24)));
    /* the steps take less than the header, whose columns are at least a byte each, times this */
    uint8_t *header = take(f, decoded), *copy = source->data ? NULL : take(f, stored);
    if (f->top > f->arena_bytes) return too_small(f);
    if (copy) TRY(fetch(f, 32, copy, stored));
    value_run run = {decoded, 0};
    value_request all = {&run, 1, QAC_UINT8, 0, decoded, header};
    input in = memory(f, copy ? copy : source->data + 32, stored);
    TRY(read_values(&in, prefix[6], &all));
    f->top = (decoded + 7) & ~(amount)7;
    in = memory(f, header, decoded);
    in.bad = QAC_BAD_HEADER;
    return read_steps(d, &in, 32 + (uint64_t)stored);
}

/* Check that a file has a size and a digest. */
static qac_error check_identity(const qac_file *f, const qac_delta_identity *wanted) {
    blake sum;
    uint8_t piece[128];
    if (f->source.size != wanted->bytes) return QAC_WRONG_BASE;
    blake_open(&sum);
    for (uint64_t at = 0; at < wanted->bytes; at += sizeof piece) {
        amount length = wanted->bytes - at < sizeof piece ? (amount)(wanted->bytes - at) : sizeof piece;
        TRY(fetch(f, at, piece, length));
        blake_add(&sum, piece, length);
    }
    return blake_is(&sum, wanted->digest) || !CHECKING ? QAC_OK : QAC_WRONG_BASE;
}

/* Check that sections that aren't differences have the size and the checksum that the new file's header promises. */
static qac_error check_steps(qac_delta *d) {
    amount mark = d->made.top;
    uint8_t *used = claim(d, d->base.sections);
    if (!used) return too_small(&d->made);
    memset(used, 0, d->base.sections);
    for (uint32_t i = 0; i < d->made.sections; i++) {
        const section_record *s = section_of(&d->made, i);
        const delta_step *step = step_of(d, i);
        if (step->method == WHOLE && (step->bytes != s->stored_bytes || (CHECKING && step->crc != s->crc))) return QAC_BAD_PAYLOAD;
        if (step->method != REFERRED) continue;
        if (step->number >= d->base.sections || used[step->number]++) return QAC_BAD_PAYLOAD;
        const section_record *from = section_of(&d->base, step->number);
        if (from->stored_bytes != s->stored_bytes || (CHECKING && from->crc != s->crc)) return QAC_BAD_PAYLOAD;
        if (CHECKING) TRY(check_crc(&d->base, from->offset, from->stored_bytes, from->crc));
    }
    d->made.top = mark;
    return QAC_OK;
}

/* ---- The parts of a section of the new file ---- */

typedef struct part {
    uint32_t number, level, form; /* level: of the indices or of the codebook, or DENSE_LEVEL */
    uint32_t base;                /* number of the base's tensor that predicts it, or NOWHERE */
    amount all;                   /* values of the tensor at this level, of which the stream may be a chunk */
} part;

static uint32_t target_of(const tensor_record *t, uint32_t level) { return t->at_once ? t->level_count - 1u : level; }

/* Find the tensor of the base with the same name, or the one that it is the same as. */
static uint32_t named_in_base(const qac_delta *d, const tensor_record *t) {
    uint32_t low = 0, high = d->base.tensors;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const tensor_record *found = tensor_of(&d->base, d->by_name[middle]);
        int order = memcmp(found->name, t->name, lesser(found->name_bytes, t->name_bytes));
        if (!order) order = found->name_bytes < t->name_bytes ? -1 : found->name_bytes > t->name_bytes;
        if (!order) return found->kind == SAME ? found->same_as : d->by_name[middle];
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return NOWHERE;
}

/* Find the tensor of the base that predicts a part; NOWHERE if there is none. */
static uint32_t base_of(const qac_delta *d, const part *p, int indices) {
    const tensor_record *t = tensor_of(&d->made, p->number);
    uint32_t number = named_in_base(d, t);
    if (number == NOWHERE) return NOWHERE;
    const tensor_record *own = tensor_of(&d->base, number);
    if (own->type > QAC_FLOAT64 || own->stored > QAC_FLOAT64) return NOWHERE;
    int same_shape = own->dims == t->dims && memcmp(own->shape, t->shape, 8 * (size_t)t->dims) == 0;
    if (indices) return same_shape ? number : NOWHERE;
    if (own->stored != t->stored || !own->blocks != !t->blocks) return NOWHERE;
    if (p->level == DENSE_LEVEL) return own->kind == DENSE && own->count == t->count ? number : NOWHERE;
    if (own->kind != SHARED || own->level_count != t->level_count) return NOWHERE;
    if (!t->blocks) return number;
    if (own->dims != t->dims || memcmp(own->blocks, t->blocks, 8 * (size_t)t->dims) != 0) return NOWHERE;
    for (uint32_t i = 0; i < t->dims; i++) {
        if (ceiling((amount)own->shape[i], (amount)t->blocks[i]) != ceiling((amount)t->shape[i], (amount)t->blocks[i])) return NOWHERE;
    }
    return own->levels[0] == t->levels[0] ? number : NOWHERE;
}

static stream value_stream(const part *p, uint32_t stored, amount start, amount stop) {
    stream s;
    memset(&s, 0, sizeof s);
    s.start = start;
    s.count = s.wanted = stop - start;
    s.number = p->number;
    s.width = s.stride = width_of(stored);
    return s;
}

/* Add the part [start, stop) of a tensor to a list, unless it is empty; parts is NULL to count only. */
static void add_part(const qac_delta *d, part *parts, stream *s, uint32_t *n, part found, amount start, amount stop, int indices) {
    const tensor_record *t = tensor_of(&d->made, found.number);
    if (start >= stop) return;
    if (parts) {
        found.base = base_of(d, &found, indices);
        parts[*n] = found;
        s[*n] = indices ? index_stream(t, found.number, found.level, start, stop) : value_stream(&found, t->stored, start, stop);
        s[*n].wanted = stop - start;
    }
    *n += 1;
}

/* List the parts of a section, and their streams; returns how many there are. */
static uint32_t list_parts(const qac_delta *d, uint32_t place, part *parts, stream *s) {
    const qac_file *f = &d->made;
    const section_record *section = section_of(f, place);
    uint32_t n = 0, kind = section->kind, owner = section->owner;
    if (kind == GRAPH || kind == META) return 0;
    if (kind == VALUES || kind == INDICES) {
        uint32_t level0 = place_of(f, kind, 0, owner, 0), last = section_of(f, level0)->last_member;
        for (uint32_t i = section_of(f, level0)->first_member; i <= last; i++) {
            const tensor_record *t = tensor_of(f, i);
            part found = {i, section->level, 0, NOWHERE, t->count};
            if (kind == INDICES) {
                if (t->kind != SHARED || t->group != owner + 1 || stored_levels(t) <= section->level) continue;
                add_part(d, parts, s, &n, found, 0, t->count, 1);
                continue;
            }
            found.level = DENSE_LEVEL;
            if (t->kind == DENSE && t->group == owner + 1) add_part(d, parts, s, &n, found, 0, t->count, 0);
            for (uint32_t j = 0; t->kind == SHARED && t->book_group == owner + 1 && j < t->level_count; j++) {
                found.level = j;
                found.all = t->blocks ? book_count(t) * t->levels[0] : t->levels[j];
                add_part(d, parts, s, &n, found, 0, found.all, 0);
            }
        }
        return n;
    }
    uint32_t count, low = find_sections(f, kind, section->level, owner, &count), first = low, high = low + count;
    while (low + 1 < high) { /* the sections of a tensor are in the order of their places */
        uint32_t middle = low + (high - low) / 2;
        if (f->by_key[middle] <= place) low = middle;
        else high = middle;
    }
    const tensor_record *t = tensor_of(f, owner);
    part found = {owner, section->level, 0, NOWHERE, t->count};
    if (kind == VALUE_CHUNK) {
        found.level = t->kind == SHARED ? 0 : DENSE_LEVEL;
        if (t->kind == SHARED) found.all = book_count(t) * t->levels[0];
    }
    amount start = (amount)(low - first) << f->chunk_log2;
    add_part(d, parts, s, &n, found, start, lesser(found.all, start + ((amount)1 << f->chunk_log2)), kind == INDEX_CHUNK);
    return n;
}

/* ---- What the base has ---- */

typedef struct wanted {
    uint32_t what, number, level, width; /* width: of indices */
    amount from, to;
} wanted;

/* Write a tensor's indices at a level. */
static qac_error read_numbers(qac_file *f, const wanted *w, uint8_t *out) {
    const tensor_record *t = tensor_of(f, w->number);
    TRY(read_tensor_indices(f, w->number, w->level, w->from, w->to, out, w->width));
    if (!t->at_once || w->level + 1 == t->level_count) return QAC_OK;
    return coarsen(f, t, w->level, out, w->to - w->from, w->width);
}

static uint32_t width_of_numbers(const tensor_record *t, uint32_t level) {
    return t->levels[t->at_once ? t->level_count - 1u : 0] > 256 || (level > 0 && !t->at_once) ? 2 : 1;
}

static qac_error read_wanted(qac_file *f, const wanted *w, uint8_t *out) {
    const tensor_record *t = tensor_of(f, w->number);
    if (w->what == TYPED) return read_range(f, w->number, w->level, w->from, w->to, out);
    if (w->what == NUMBERS) return read_numbers(f, w, out);
    uint32_t group = t->kind == SHARED ? t->book_group : t->group;
    if (group) {
        int level = w->level == DENSE_LEVEL ? -1 : (int)w->level;
        return read_group_values(f, group - 1, w->number, level, w->from, w->to, out);
    }
    if (t->kind == DENSE) return read_value_chunks(f, w->number, t->count, 0, w->from, w->to, out);
    return read_value_chunks(f, w->number, book_count(t) * t->levels[0], t->levels[0], w->from, w->to, out);
}

static qac_error read_base(qac_delta *d, const wanted *w, uint8_t *out) {
    qac_file *f = &d->base;
    lend(d, f);
    qac_error error = read_wanted(f, w, out);
    if (error == QAC_ARENA_TOO_SMALL && !f->measuring) { /* perhaps kept groups take the room */
        drop_kept(d);
        f->keep_none = 1;
        lend(d, f);
        error = read_wanted(f, w, out);
        f->keep_none = 0;
    }
    f->measuring = 0;
    take_back(d, f);
    return error;
}

static int32_t unfolded(uint32_t number) { return number & 1 ? -(int32_t)(number / 2) - 1 : (int32_t)(number / 2); }

static amount moved(amount i, int32_t by, amount n) { /* within [0, n) */
    if (by < 0) return i < (amount)-by ? 0 : lesser(i - (amount)-by, n - 1);
    return lesser(i + (amount)by, n - 1);
}

/* ---- Values: their differences, and the section that they make ---- */

/* Turn the folded differences of a stream of values into its words. */
static qac_error restore_values(qac_delta *d, const part *p, const stream *s) {
    const tensor_record *t = tensor_of(&d->made, p->number);
    uint32_t width = s->width;
    uint8_t *own = NULL;
    amount mark = d->made.top, n = s->count;
    int32_t shift = 0;
    int single = p->level != DENSE_LEVEL && !t->blocks;
    if (p->form != NO_BASE) {
        shift = unfolded(p->form - 1);
        if (p->base == NOWHERE || (shift && !single)) return QAC_BAD_PAYLOAD;
        wanted w = {WORDS, p->base, p->level, 0, s->start, s->start + n};
        if (single) {
            w.from = 0;
            w.to = n = tensor_of(&d->base, p->base)->levels[p->level];
        }
        own = claim(d, n * width);
        if (!d->made.measuring && !own) return too_small(&d->made);
        TRY(read_base(d, &w, own));
    }
    for (amount i = 0; !d->made.measuring && i < s->count; i++) {
        uint8_t *at = s->out + i * width;
        uint64_t word = load(at, width), from;
        if (own) {
            from = load(own + (single ? moved(i, shift, n) : i) * width, width);
            word = (word >> 1 ^ (0 - (word & 1))) + (is_float(t->stored) ? ascending(from, width) : from);
        }
        store(at, is_float(t->stored) ? descending(word, width) : word, width);
    }
    d->made.top = mark;
    return QAC_OK;
}

/* ---- The encoders: each makes the one payload that has these choices and these symbols ---- */

/* Where a payload is made: its choices and states from `at` on, words from `end` down. */
typedef struct output {
    uint8_t *at, *end;
} output;

static qac_error put_bytes(output *out, const uint8_t *data, amount bytes) {
    if (bytes > (amount)(out->end - out->at)) return QAC_BAD_PAYLOAD;
    if (bytes) memcpy(out->at, data, bytes);
    out->at += bytes;
    return QAC_OK;
}

static qac_error put_uint(output *out, amount value) {
    uint8_t bytes[10];
    uint32_t n = 0;
    for (; value >> 7; value >>= 7) bytes[n++] = (uint8_t)(value | 128);
    bytes[n++] = (uint8_t)value;
    return put_bytes(out, bytes, n);
}

static qac_error put_raw(output *out, const stream *s, uint32_t n) {
    for (; n > 0; n--, s++) {
        for (amount i = 0; i < s->count; i++) TRY(put_bytes(out, s->out + i * s->stride, s->width));
    }
    return QAC_OK;
}

static qac_error put_bitpack(output *out, const stream *s, uint32_t n) {
    for (; n > 0; n--, s++) {
        uint32_t bits = bit_length(s->alphabet - 1u), have = 0, window = 0;
        for (amount i = 0; i < s->count; i++) {
            window |= got(s, i) << have;
            for (have += bits; have >= 8; have -= 8, window >>= 8) {
                uint8_t byte = (uint8_t)window;
                TRY(put_bytes(out, &byte, 1));
            }
        }
        uint8_t last = (uint8_t)window;
        if (have) TRY(put_bytes(out, &last, 1));
    }
    return QAC_OK;
}

/* Put a symbol with the slots [first, first + f) into a lane's state; a word that is full goes before those that are there. */
static qac_error put_symbol(output *out, uint32_t *state, uint32_t first, uint32_t f, uint32_t bits) {
    uint32_t x = *state;
    if (!f) return QAC_BAD_PAYLOAD;
    if ((uint64_t)x >> (32 - bits) >= f) {
        if (out->end - out->at < 2) return QAC_BAD_PAYLOAD;
        out->end -= 2;
        store16(out->end, x);
        x >>= 16;
    }
    *state = (x / f << bits) + first + x % f;
    return QAC_OK;
}

/* Put the choices and the states before the words. */
static qac_error put_front(output *out, const uint8_t *choices, amount length, const uint8_t *states, size_t stride, uint32_t n) {
    if ((amount)(out->end - out->at) < length + 4 * (amount)n) return QAC_BAD_PAYLOAD;
    while (n-- > 0) {
        uint32_t state;
        memcpy(&state, states + n * stride, 4);
        out->end -= 4;
        store(out->end, state, 4);
    }
    out->end -= length;
    if (length) memcpy(out->end, choices, length);
    return QAC_OK;
}

/* Make a payload of rans. It ends at `end` of the output, and `at` is set to where it begins. */
static qac_error encode_rans(qac_file *f, input *in, const stream *s, uint32_t n, output *out) {
    amount mark = f->top, groups = 0, limit, coded, number;
    uint32_t largest, used, log2_group, group, bits, mantissa, lane_count, alphabet = 1, width, row_number = 0;
    const uint8_t *choices = in->at;
    table_model model;
    input tables;
    if (!total_of(s, n, &largest, &used)) return at_end(in);
    if (largest > MAX_CODER_ALPHABET) return QAC_BAD_PAYLOAD;
    log2_group = get_u32(in, 3);
    bits = get_u32(in, 15);
    mantissa = get_u32(in, 12);
    lane_count = get_u32(in, MAX_LANES);
    TRY(get_sized(in, &tables));
    TRY(at_end(in));
    group = 1u << log2_group;
    for (uint32_t i = 0; i < group; i++) {
        alphabet *= largest;
        if (alphabet > MAX_CODER_ALPHABET) return QAC_BAD_PAYLOAD;
    }
    for (uint32_t i = 0; i < n; i++) groups += ceiling(s[i].count, group);
    if (!lane_count || lane_count > groups || ceiling(groups, lane_count) > MAX_STEPS || (amount)used << bits > MAX_TABLE_SLOTS) {
        return QAC_BAD_PAYLOAD;
    }
    coded = groups - (amount)tail_length(alphabet, groups, lane_count, &limit) * lane_count;
    width = alphabet + 1;
    uint16_t *rows = take(f, 2 * (amount)used * width);
    uint32_t *states = take(f, 4 * (amount)lane_count), *one = take(f, 4 * (amount)alphabet), *two = take(f, 4 * (amount)alphabet);
    ALLOCATED(f, mark);
    start_tables(&model, &tables);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t size = s[i].alphabet, first = 0, *from = one, *into = two;
        uint16_t *row = rows + (size_t)row_number * width;
        if (!s[i].count) continue;
        TRY(read_table(&model, from, size, mantissa));
        if (!frequencies(from, size, mantissa, bits)) return QAC_BAD_PAYLOAD;
        for (amount j = 0; j < s[i].count; j++) {
            if (!from[got(&s[i], j)]) return QAC_BAD_PAYLOAD;
        }
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
        row_number++;
    }
    for (uint32_t i = 0; i < lane_count; i++) states[i] = coded == groups ? STATE_LOW : 0;
    number = groups;
    for (uint32_t i = n; i-- > 0;) { /* from the last group to the first */
        if (!s[i].count) continue;
        const uint16_t *row = rows + (size_t)--row_number * width;
        for (amount at = ceiling(s[i].count, group); at-- > 0;) {
            uint32_t joint = 0;
            for (uint32_t j = group; j-- > 0;) joint = joint * s[i].alphabet + got(&s[i], lesser(at * group + j, s[i].count - 1));
            number--;
            uint32_t *state = &states[number >= coded ? (number - coded) % lane_count : number % lane_count];
            if (number < coded) TRY(put_symbol(out, state, row[joint], row[joint + 1] - (uint32_t)row[joint], bits));
            else *state = *state * alphabet + joint + (number - coded < lane_count ? STATE_LOW : 0);
        }
    }
    TRY(put_front(out, choices, (amount)(in->end - choices), (const uint8_t *)states, 4, lane_count));
    f->top = mark;
    return QAC_OK;
}

/* The encoder of context. rANS encodes backwards, what the model knows grows forwards. So the symbols are counted in all
 * epochs first; then, from the last epoch to the first, those of the epoch are taken out of the counts again, which leaves
 * the counts that the decoder has at its start. Memory: the decoder's, and four bytes for each symbol of one epoch. */
typedef struct replay {
    context_model m;
    uint64_t *sums;   /* for each stream: the magnitudes so far, and the size of the alphabet */
    uint32_t *counts; /* for each stream: how many symbols so far */
    uint32_t *keys;   /* of an epoch (steps, lanes): context * 256 + symbol */
    uint8_t *trails;  /* of trellis: the states of the lanes (epochs, lanes) at the start of each epoch */
    uint32_t run, longer, steps, tail, epochs, starts[MOST_EPOCHS + 1];
} replay;

/* Where a lane's next symbol stands in its stream: in trellis with rows along the first axis it isn't transposed. */
static amount symbol_place(const context_model *m, const lane *l) {
    const context_stream *c = &m->streams[l->stream];
    return HAS_TRELLIS && c->way == ALONG_FIRST ? l->channel * c->filter_count + l->filter : l->at;
}

/* Move a lane past its next symbol, without adding it to the means; returns that symbol. */
static uint32_t pass(context_model *m, lane *l) {
    const context_stream *c = &m->streams[l->stream];
    uint32_t symbol = got(&m->s[l->stream], symbol_place(m, l));
    int settled = m->settled;
    lane_note(c, l, symbol);
    if (HAS_TRELLIS && c->way) l->trail = (uint8_t)trail_after(l->trail, symbol - c->centre);
    m->settled = 1;
    if (++l->at == l->turn) lane_turn(m, l);
    m->settled = settled;
    return symbol;
}

/* Set all lanes to the start of an epoch, with the symbols before it as their history. */
static void set_lanes(replay *r, uint32_t epoch) {
    uint32_t step = r->starts[epoch], back = step < 6 ? step : 6, number = 0;
    amount before = 0, start = 0; /* of the stream, and of the lane */
    for (uint32_t i = 0; i < r->m.lane_count; i++) {
        lane *l = &r->m.lanes[i];
        amount place = start + step - back;
        while (number + 1 < r->m.n && place >= before + r->m.s[number].count) before += r->m.s[number++].count;
        l->stream = (uint16_t)number;
        lane_to(&r->m, l, place - before);
        l->sum = l->side = 0;
        memset(&l->history, 0, sizeof l->history);
        for (uint32_t j = 0; j < back; j++) pass(&r->m, l);
        if (r->trails) l->trail = r->trails[(size_t)epoch * r->m.lane_count + i];
        start += r->run + (i < r->longer);
    }
}

/* How many steps of an epoch a lane takes part in. */
static uint32_t steps_of(const replay *r, uint32_t lane_number, uint32_t epoch) {
    uint32_t stop = r->starts[epoch + 1];
    return stop - r->starts[epoch] - (r->longer && stop == r->steps && lane_number >= r->longer);
}

static void take_from(mean *m, uint32_t sum) {
    m->high = (uint16_t)(m->high - (m->sum < sum));
    m->sum -= sum;
    m->count--;
}

/* Add a lane's next symbol to the means (or take it from them), which refinements don't need. */
static void count_mean(replay *r, const lane *l, int add) {
    const context_stream *c = &r->m.streams[l->stream];
    uint32_t size = magnitude(got(&r->m.s[l->stream], symbol_place(&r->m, l)), c->centre);
    r->sums[l->stream] += add ? size : 0 - (uint64_t)size;
    r->counts[l->stream] += add ? 1 : UINT32_MAX;
    if (c->filters && add) add_to(&c->filters[l->filter], size, 1);
    if (c->channels && add) add_to(&c->channels[l->channel], size, 1);
    if (c->filters && !add) take_from(&c->filters[l->filter], size);
    if (c->channels && !add) take_from(&c->channels[l->channel], size);
}

/* Start an epoch: calculate the means of what was counted. */
static void renew(replay *r) {
    for (uint32_t i = 0; !r->m.settled && i < r->m.n; i++) refresh_stream(&r->m, &r->m.streams[i], r->sums[i], r->counts[i]);
    for (uint32_t i = 0; i < r->m.lane_count; i++) {
        lane *l = &r->m.lanes[i];
        if (l->stream < r->m.n) lane_base(&r->m.streams[l->stream], l);
    }
}

/* Count the symbols of an epoch (forwards), or take them out of the counts and note their contexts. */
static void walk(replay *r, uint32_t epoch, int forwards) {
    renew(r);
    for (uint32_t i = 0; i < r->m.lane_count; i++) {
        lane *l = &r->m.lanes[i];
        for (uint32_t step = 0; step < steps_of(r, i, epoch); step++) {
            find_contexts(&r->m, l, 1);
            if (forwards && !r->m.settled) count_mean(r, l, 1);
            uint32_t context = l->context, symbol = pass(&r->m, l);
            r->m.seen[(size_t)context * r->m.width + symbol] += forwards ? 1 : UINT32_MAX;
            if (!forwards) r->keys[(size_t)step * r->m.lane_count + i] = context << 8 | symbol;
        }
    }
}

/* Find the first steps of all epochs; returns how many steps the longest one has. */
static uint32_t list_epochs(replay *r) {
    uint32_t length = 4, longest = 0;
    for (uint32_t step = 0; step < r->steps && r->epochs < MOST_EPOCHS; r->epochs++) {
        r->starts[r->epochs] = step;
        length = (uint32_t)lesser(length, r->steps - step);
        longest = (uint32_t)greater(longest, length);
        step += length;
        length = (uint32_t)lesser(length * 3 / 2, greater(64, step >> 4));
    }
    r->starts[r->epochs] = r->steps;
    return longest;
}

/* The stream that a context belongs to. */
static const context_stream *stream_of(const context_model *m, uint32_t context) {
    uint32_t low = 0, high = m->n;
    while (low + 1 < high) {
        uint32_t middle = low + (high - low) / 2;
        if (m->streams[middle].first_context <= context) low = middle;
        else high = middle;
    }
    return &m->streams[low];
}

/* Encode the symbols of an epoch, from the last one to the first. */
static qac_error encode_epoch(replay *r, uint32_t epoch, output *out) {
    context_model *m = &r->m;
    int settled = m->settled;
    set_lanes(r, epoch);
    for (uint32_t i = 0; i < m->lane_count && !settled; i++) {
        for (uint32_t step = 0; step < steps_of(r, i, epoch); step++) {
            count_mean(r, &m->lanes[i], 0);
            pass(m, &m->lanes[i]);
        }
    }
    if (!settled) set_lanes(r, epoch);
    walk(r, epoch, 0);
    m->settled = 1; /* the means are right already */
    qac_error error = refresh(m, 0);
    m->settled = settled;
    for (uint32_t step = r->starts[epoch + 1] - r->starts[epoch]; step-- > 0 && !error;) {
        for (uint32_t i = m->lane_count; i-- > 0 && !error;) {
            if (step >= steps_of(r, i, epoch)) continue;
            uint32_t key = r->keys[(size_t)step * m->lane_count + i], context = key >> 8;
            if (m->fresh[context] != m->epoch) error = refresh_context(m, stream_of(m, context), context);
            const uint16_t *first = m->first + (size_t)context * m->stride + (key & 255);
            uint32_t frequency = ((first[1] - (uint32_t)first[0] - 1) & ((1u << m->bits) - 1)) + 1; /* as in context_step */
            if (!error) error = put_symbol(out, &m->lanes[i].state, first[0], frequency, m->bits);
        }
    }
    return error;
}

/* Move on along a trellis; returns the symbol of an index, or NOWHERE if the index isn't on the path. */
static uint32_t symbol_along(uint8_t *trail, uint32_t index, uint32_t centre, uint32_t zero) {
    int32_t away = (int32_t)index - (int32_t)zero, doubled = away + ((away > 0) - (away < 0)) * (*trail & 1);
    if (doubled & 1) return NOWHERE;
    *trail = (uint8_t)trail_after(*trail, (uint32_t)(doubled / 2));
    return (uint32_t)((int32_t)centre + doubled / 2);
}

/* Turn the indices of a stream of trellis into symbols, in place, and note the states of the lanes that begin in it.
 * l: where it starts; place: its first symbol's among all; lane_number, next: the next lane to begin, and its place. */
static qac_error follow(replay *r, lane *l, amount place, uint32_t *lane_number, amount *next) {
    const context_model *m = &r->m;
    uint32_t number = l->stream;
    const context_stream *c = &m->streams[number];
    while (l->stream == number) {
        amount at = symbol_place(m, l);
        if (place++ == *next) {
            r->trails[*lane_number] = l->trail;
            *next += r->run + (*lane_number < r->longer);
            ++*lane_number;
        }
        if (c->way) {
            uint32_t symbol = symbol_along(&l->trail, got(&m->s[number], at), c->centre, c->zero);
            if (symbol == NOWHERE) return QAC_BAD_PAYLOAD;
            put(&m->s[number], at, symbol);
        }
        if (++l->at == l->turn) lane_turn(m, l);
    }
    return QAC_OK;
}

/* Turn the indices of all streams of trellis into symbols. first: the state before the first one. */
static qac_error follow_all(replay *r, uint32_t first) {
    amount place = 0, next = 0;
    uint32_t lane_number = 0;
    lane l;
    int settled = r->m.settled;
    r->m.settled = 1; /* so that the lane adds nothing to the means */
    for (uint32_t i = 0; i < r->m.n; place += r->m.s[i++].count) {
        if (!r->m.s[i].count) continue;
        memset(&l, 0, sizeof l);
        l.stream = (uint16_t)i;
        l.trail = i ? 0 : (uint8_t)first;
        lane_to(&r->m, &l, 0); /* in the midst of a row the state stays */
        TRY(follow(r, &l, place, &lane_number, &next));
    }
    r->m.settled = settled;
    return r->trails[0] == first ? QAC_OK : QAC_BAD_PAYLOAD;
}

/* Make a payload of context or trellis, as encode_rans does its own. The streams aren't empty. */
static qac_error encode_context(qac_file *f, input *in, int trellis, stream *s, uint32_t n, output *out) {
    amount mark = f->top, length = rest(in), limit;
    const uint8_t *choices = in->at;
    uint32_t first = 0;
    replay r;
    memset(&r, 0, sizeof r);
    TRY(start_context(in, s, trellis, n, &r.m));
    if (trellis && (first = get_byte(in)) > 7) return QAC_BAD_PAYLOAD;
    TRY(at_end(in));
    if (r.m.lane_count > r.m.total) return QAC_BAD_PAYLOAD;
    r.run = (uint32_t)(r.m.total / r.m.lane_count);
    r.longer = (uint32_t)(r.m.total % r.m.lane_count);
    r.tail = tail_length(r.m.width, r.m.total, r.m.lane_count, &limit);
    r.steps = r.run - r.tail + (r.longer > 0);
    r.keys = take(f, 4 * (amount)list_epochs(&r) * r.m.lane_count);
    r.sums = take(f, 8 * (amount)n);
    r.counts = take_zeros(f, 4 * (amount)n);
    if (trellis) r.trails = take_zeros(f, (amount)greater(r.epochs, 1) * r.m.lane_count);
    ALLOCATED(f, mark);
    prepare_context(&r.m);
    for (uint32_t i = 0; i < n; i++) r.sums[i] = s[i].alphabet;
    if (trellis) TRY(follow_all(&r, first));
    set_lanes(&r, 0);
    for (uint32_t e = 0; e < r.epochs; e++) {
        for (uint32_t i = 0; trellis && i < r.m.lane_count; i++) r.trails[(size_t)e * r.m.lane_count + i] = r.m.lanes[i].trail;
        walk(&r, e, 1);
    }
    for (uint32_t i = 0; i < r.m.lane_count; i++) { /* now each lane is at its tail, which its first state holds */
        uint32_t factor = 1;
        r.m.lanes[i].state = STATE_LOW;
        for (uint32_t j = 0; j < r.tail; j++, factor *= r.m.width) r.m.lanes[i].state += pass(&r.m, &r.m.lanes[i]) * factor;
    }
    for (uint32_t e = r.epochs; e-- > 0;) TRY(encode_epoch(&r, e, out));
    TRY(put_front(out, choices, trellis ? 0 : length, (const uint8_t *)&r.m.lanes[0].state, sizeof(lane), r.m.lane_count));
    if (trellis) { /* the choices, with the state of the first lane, and the states of the others */
        amount states = r.m.lane_count - 1u;
        if ((amount)(out->end - out->at) < length + states) return QAC_BAD_PAYLOAD;
        out->end -= length + states;
        memcpy(out->end, choices, length);
        memcpy(out->end + length, r.trails + 1, states);
    }
    f->top = mark;
    return QAC_OK;
}

/* Write the symbols of a stream of mixing: the inverse of put_along. */
static qac_error symbols_of(const stream *whole, const route *r, uint8_t *symbols) {
    stream s = *whole;
    uint32_t centre = r->zero;
    uint8_t trail = r->trail;
    TRY(make_symbols(&s, r->way, &centre));
    amount row = r->way == FROM_THIRD ? s.deep : s.axis1 * s.deep, rows = s.count / row, at = 0, in_row = s.start % row;
    for (amount i = 0; i < s.count; i++) {
        uint32_t symbol = got(whole, r->way == ALONG_FIRST ? in_row * rows + at : i);
        if (in_row == 0) trail = 0;
        if (r->way) symbol = symbol_along(&trail, symbol, centre, r->zero);
        if (symbol == NOWHERE) return QAC_BAD_PAYLOAD;
        symbols[i] = (uint8_t)symbol;
        if (++in_row == row) {
            in_row = 0;
            at++;
        }
    }
    return QAC_OK;
}

/* Make a payload of mixing, as encode_rans does its own. The streams aren't empty. rANS takes the last bit first. So
 * the model runs, and a ring has its last bits; then it runs from the start again, up to the bits that are encoded
 * already, and so on until all are. Memory: the decoder's, a byte for each symbol, and eight for the ring, which has
 * four bits of each: the model seldom runs more than twice. */
static qac_error encode_mixing(qac_file *f, input *in, const stream *s, uint32_t n, output *out) {
    amount mark = f->top, length = rest(in), at = 0;
    const uint8_t *choices = in->at;
    uint32_t left = 0; /* bits of a batch */
    mixer m;
    TRY(start_mixing(in, s, n, 1, &m));
    TRY(at_end(in));
    if (m.words.count > m.total) return QAC_BAD_PAYLOAD;
    m.room = 4 * lesser(m.total, SIZE_MAX >> 4) + 1024; /* what is twice the room is a number still */
    m.kept = take(f, 2 * m.room);
    ALLOCATED(f, mark);
    prepare_mixing(&m);
    for (uint32_t i = 0; i < n; at += s[i++].count) TRY(symbols_of(&s[i], &m.routes[i], m.symbols + at));
    for (uint32_t i = 0; i < m.words.count; i++) m.words.states[i] = STATE_LOW;
    for (m.stop = UINT64_MAX; m.stop > 0;) {
        uint8_t *symbols = m.symbols;
        m.entries = m.next = 0;
        qac_error error = mixing_streams(&m, s, n);
        if (m.entries != m.stop) TRY(error); /* else there are enough */
        m.symbols = symbols;
        amount number = m.entries < m.room ? (amount)m.entries : m.room;
        for (m.stop = m.entries - number; number > 0; number--) {
            m.next = (m.next ? m.next : m.room) - 1;
            uint32_t entry = m.kept[m.next], chance = entry >> 1;
            if (left == 0) {
                left = entry;
                continue;
            }
            uint32_t *state = &m.words.states[--left % m.words.count];
            TRY(entry & 1 ? put_symbol(out, state, 0, chance, 15) : put_symbol(out, state, chance, 32768 - chance, 15));
        }
    }
    TRY(put_front(out, choices, length, (const uint8_t *)m.words.states, 4, m.words.count));
    f->top = mark;
    return QAC_OK;
}

/* Make a payload of planes out of the words of all streams, which stand one after the other and are changed. */
static qac_error encode_planes(qac_file *f, input *in, uint8_t *words, uint32_t width, int rotated, amount total, output *out) {
    stream plane;
    memset(&plane, 0, sizeof plane);
    plane.count = plane.deep = plane.wanted = total;
    plane.axis1 = plane.dims = plane.width = 1;
    plane.alphabet = 256;
    plane.stride = width;
    for (amount i = 0; rotated && !f->measuring && i < total; i++) {
        uint8_t *p = words + i * width;
        uint64_t word = load(p, width);
        store(p, word << 1 | (word >> (8 * width - 1) & 1), width);
    }
    for (uint32_t position = width; position-- > 0;) {
        uint32_t form;
        input told;
        form = get_u32(in, 2);
        if (in->file->error) return (qac_error)in->file->error;
        if (form) TRY(get_sized(in, &told));
        plane.out = words ? words + position : NULL;
        output end = *out;
        if (form == 1) TRY(encode_rans(f, &told, &plane, 1, &end));
        if (f->measuring) continue;
        TRY(put_uint(out, form));
        if (form == 0) {
            TRY(put_raw(out, &plane, 1));
        } else if (form == 1) {
            amount length = (amount)(out->end - end.end);
            TRY(put_uint(out, length)); /* what it overwrites is behind the payload's start, or there is no room */
            if (out->at > end.end) return QAC_BAD_PAYLOAD;
            memmove(out->at, end.end, length);
            out->at += length;
        } else {
            TRY(put_uint(out, rest(&told)));
            TRY(put_bytes(out, told.at, rest(&told)));
        }
    }
    return at_end(in);
}

/* ---- Sections of values ---- */

/* What a difference of a section is made with. */
typedef struct making {
    uint32_t place, n, codec;
    part *parts;
    stream *streams;
    uint8_t *symbols, *out; /* out: room for the section, which stays taken */
    amount total, bytes;    /* of all symbols: how many, and bytes */
    input in, choices;
} making;

/* Take the memory of a section, and begin to read its difference. */
static qac_error start_making(qac_delta *d, uint32_t place, int indices, making *m) {
    const section_record *section = section_of(&d->made, place);
    memset(m, 0, sizeof *m);
    d->made.error = d->base.error = d->update.error = QAC_OK;
    m->place = place;
    m->codec = section->codec;
    m->n = list_parts(d, place, NULL, NULL);
    if (!m->n) return QAC_BAD_PAYLOAD;
    m->out = claim(d, section->stored_bytes);
    m->parts = claim(d, m->n * (amount)sizeof *m->parts);
    m->streams = claim(d, m->n * (amount)sizeof *m->streams);
    if (!m->parts || !m->streams) return too_small(&d->made);
    list_parts(d, place, m->parts, m->streams);
    TRY(open_payload(d, place, &m->in));
    TRY(get_sized(&m->in, &m->choices));
    for (uint32_t i = 0; i < m->n; i++) {
        stream *s = &m->streams[i];
        if (tensor_of(&d->made, s->number)->stored > QAC_FLOAT64 || tensor_of(&d->made, s->number)->type > QAC_FLOAT64) {
            return QAC_UNSUPPORTED_VERSION;
        }
        if (indices) s->width = s->stride = word_of(s);
        m->total += s->count;
        m->bytes += s->count * s->width;
    }
    m->symbols = claim(d, m->bytes);
    if (!d->made.measuring && (!m->symbols || !m->out)) return too_small(&d->made);
    uint8_t *at = m->symbols;
    for (uint32_t i = 0; i < m->n; i++) {
        m->streams[i].out = at;
        at = offset(at, m->streams[i].count * m->streams[i].width);
    }
    return QAC_OK;
}

/* Check a section that was made, and give back all of its memory but its bytes. */
static qac_error finish_making(qac_delta *d, const making *m, output *out, amount mark) {
    const section_record *section = section_of(&d->made, m->place);
    d->made.top = mark + ((section->stored_bytes + 7) & ~(amount)7);
    if (d->made.measuring) return QAC_OK;
    if (out->at != out->end) return QAC_BAD_PAYLOAD;
    if (CHECKING && ~crc_step(&d->made, UINT32_MAX, m->out, section->stored_bytes) != section->crc) return QAC_CHECKSUM_MISMATCH;
    return QAC_OK;
}

/* Make a section of values out of its difference. */
static qac_error make_values(qac_delta *d, uint32_t place, uint8_t **made) {
    amount mark = d->made.top;
    uint32_t width, type;
    making m;
    TRY(start_making(d, place, 0, &m));
    if (m.codec != RAW && m.codec != PLANES) return QAC_UNSUPPORTED_DELTA;
    width = m.streams[0].width;
    type = tensor_of(&d->made, m.streams[0].number)->stored;
    for (uint32_t i = 0; i < m.n; i++) m.parts[i].form = get_u32(&m.in, MOST_FORM);
    TRY(read_planes(&m.in, width, 0, m.total, 0, m.total, m.symbols));
    for (uint32_t i = 0; i < m.n; i++) TRY(restore_values(d, &m.parts[i], &m.streams[i]));
    drop_kept(d);
    output out = {m.out, offset(m.out, section_of(&d->made, place)->stored_bytes)};
    if (m.codec == PLANES) {
        TRY(encode_planes(&d->made, &m.choices, m.symbols, width, is_float(type), m.total, &out));
    } else {
        TRY(at_end(&m.choices));
        if (!d->made.measuring) TRY(put_bytes(&out, m.symbols, m.bytes));
    }
    *made = m.out;
    return finish_making(d, &m, &out, mark);
}

/* ---- Sections of indices ---- */

/* The probabilities of a section's differences. */
typedef struct change_model {
    range_decoder decoder;
    bit_model changed[36], up[3], *trees[17];
    bit_model far[INT_MODELS];
    uint32_t setting;
} change_model;

static uint32_t change_bit(range_decoder *d, bit_model *m) {
    range_refill(d);
    uint32_t bound = (d->range >> 16) * m->zero, bit = d->code >= bound;
    if (m->seen < 255) m->seen++;
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

static qac_error change_uint(range_decoder *d, bit_model *m, uint32_t *value) {
    uint32_t length = 0, found = 1;
    while (change_bit(d, &m[length])) {
        if (++length > 24) return QAC_BAD_PAYLOAD;
    }
    if (length) found = 2 | change_bit(d, &m[40 + length]);
    for (uint32_t i = 1; i < length; i++) found = range_half(d, found);
    *value = found - 1;
    return QAC_OK;
}

/* Decode a stream that nothing predicts. */
static qac_error decode_alone(change_model *m, const stream *s) {
    uint32_t bits = bit_length(s->alphabet - 1u);
    for (amount i = 0; i < s->count; i++) {
        uint32_t node = 1;
        for (uint32_t j = 0; j < bits; j++) node = 2 * node + change_bit(&m->decoder, &m->trees[bits][node]);
        node -= 1u << bits;
        if (node >= s->alphabet) return QAC_BAD_PAYLOAD;
        put(s, i, node);
    }
    return QAC_OK;
}

/* Decode a stream in place: its symbols are the predicted ones before. above: values of a filter, or 0. */
static qac_error decode_changes(qac_file *f, change_model *m, const stream *s, amount above) {
    amount mark = f->top;
    uint8_t *changed = take(f, s->count / 8 + 1);
    uint32_t *histogram = take(f, 4 * (amount)s->alphabet), middle = 0, before = 0;
    ALLOCATED(f, mark);
    memset(changed, 0, (size_t)(s->count / 8 + 1));
    memset(histogram, 0, 4 * (size_t)s->alphabet);
    for (amount i = 0; i < s->count; i++) histogram[got(s, i)]++;
    for (uint32_t i = 1; i < s->alphabet; i++) middle = histogram[i] > histogram[middle] ? i : middle;
    for (amount i = 0; i < s->count; i++) {
        uint32_t p = got(s, i), after = i + 1 < s->count ? got(s, i + 1) : p, context = 0, far;
        uint32_t most = s->children ? s->children[load16(s->parents + 2 * i)] - 1 : s->alphabet - 1;
        uint32_t from_middle = p > middle ? p - middle : middle - p;
        if (!i) before = p;
        uint32_t around = (p > before ? p - before : before - p) + (p > after ? p - after : after - p);
        before = p;
        if (!most) continue;
        if (m->setting & 1) context = 9 * (uint32_t)lesser(from_middle, 3);
        if (m->setting & 4) context += 3 * ((around > 0) + (around > 2));
        if (m->setting & 2 && i) {
            context += changed[(i - 1) >> 3] >> ((i - 1) & 7) & 1;
            if (above && above <= i) context += changed[(i - above) >> 3] >> ((i - above) & 7) & 1;
        }
        if (!change_bit(&m->decoder, &m->changed[context])) continue;
        changed[i >> 3] = (uint8_t)(changed[i >> 3] | 1u << (i & 7));
        uint32_t up = p == 0;
        if (p && p < most) up = change_bit(&m->decoder, &m->up[p < middle ? 0 : p == middle ? 1 : 2]);
        TRY(change_uint(&m->decoder, m->far, &far));
        if (up ? far >= most - p : far >= p) return QAC_BAD_PAYLOAD;
        put(s, i, up ? p + far + 1 : p - far - 1);
    }
    f->top = mark;
    return QAC_OK;
}

/* A codebook's finite values in order, and which entry each is; of equal values the first entry alone. */
typedef struct ranked {
    double *values;
    uint16_t *entries;
    uint32_t n;
} ranked;

static double number_at(const uint8_t *p, uint32_t type) {
    uint64_t word = load(p, width_of(type)), sign = (uint64_t)1 << (8 * width_of(type) - 1);
    if (is_float(type)) return number_of(word, type);
    int is_signed = type == QAC_INT8 || type == QAC_INT16 || type == QAC_INT32 || type == QAC_INT64;
    if (!is_signed || !(word & sign)) return (double)word;
    return -(double)(sign - (word & (sign - 1)));
}

static int is_finite(double value) { return value - value == 0; }

static int is_after(const ranked *r, uint32_t a, uint32_t b) { /* by value, then by entry */
    double x = r->values[r->entries[a]], y = r->values[r->entries[b]];
    return x > y || (x == y && r->entries[a] > r->entries[b]);
}

/* Rank the entries of a codebook (heapsort). Values are those of the entries until the end. */
static qac_error rank(ranked *r, double *sorted) {
    uint32_t n = r->n, kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!is_finite(r->values[i])) return QAC_BAD_PAYLOAD;
        r->entries[i] = (uint16_t)i;
    }
    for (uint32_t start = n / 2, end = n; end > 1;) {
        uint16_t last;
        if (start > 0) {
            start--;
        } else {
            last = r->entries[--end];
            r->entries[end] = r->entries[0];
            r->entries[0] = last;
        }
        for (uint32_t parent = start, child; (child = 2 * parent + 1) < end; parent = child) {
            if (child + 1 < end && is_after(r, child + 1, child)) child++;
            if (is_after(r, parent, child)) break;
            last = r->entries[parent];
            r->entries[parent] = r->entries[child];
            r->entries[child] = last;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        double value = r->values[r->entries[i]];
        if (kept && value == sorted[kept - 1]) continue;
        sorted[kept] = value;
        r->entries[kept++] = r->entries[i];
    }
    r->values = sorted;
    r->n = kept;
    return QAC_OK;
}

/* The entry with the value that is nearest; of two the smaller value. */
static uint32_t nearest(const ranked *r, double value) {
    uint32_t low = 0, high = r->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (r->values[middle] < value) low = middle + 1;
        else high = middle;
    }
    uint32_t right = low < r->n ? low : r->n - 1, left = right ? right - 1 : 0;
    volatile double below = value - r->values[left], above = r->values[right] - value;
    if (below < 0) below = -below;
    if (above < 0) above = -above;
    return r->entries[below <= above ? left : right];
}

/* Read a codebook of the new file. Its section may come later in the file, then it is made for this alone. */
static qac_error read_new_book(qac_delta *d, uint32_t number, uint32_t level, uint8_t **book) {
    qac_file *f = &d->made;
    const tensor_record *t = tensor_of(f, number);
    uint32_t place = place_of(f, VALUES, 0, t->book_group - 1, 0);
    const section_record *section = section_of(f, place);
    uint8_t *early = NULL, *copy = take(f, t->levels[level] * (amount)width_of(t->type));
    int is_made = step_of(d, place)->method == DIFFERENCE && (f->measuring || section->offset >= d->written);
    if (!f->measuring && !copy) return too_small(f);
    amount mark = f->top;
    *book = copy;
    if (is_made) TRY(make_values(d, place, &early));
    if (is_made && f->measuring) {
        TRY(make_values(d, place, &early)); /* reading it takes less than making it */
        f->top = mark;
        return QAC_OK;
    }
    d->early = early;
    d->early_place = place;
    qac_error error = read_book(f, number, level, book);
    d->early = NULL;
    if (error == QAC_OK && !f->measuring) memcpy(copy, *book, t->levels[level] * width_of(t->type));
    *book = copy;
    f->top = mark;
    return error;
}

/* The level of the base's tensor that predicts a part. */
static uint32_t base_level(const tensor_record *t, const tensor_record *own, uint32_t level) {
    uint32_t finest = own->kind == SHARED ? own->level_count - 1u : 0;
    return t->at_once || t->level_count == 1 ? finest : (uint32_t)lesser(target_of(t, level), finest);
}

/* Predict indices of the new codebook by value: those of the base's entries, or (a dense tensor, codebooks in blocks) of
 * all values. own: the tensor of the base; numbers: its indices, if there are. */
static qac_error predict_by_value(qac_delta *d, const part *p, const stream *s, uint16_t *numbers) {
    qac_file *f = &d->made;
    const tensor_record *t = tensor_of(f, p->number), *own = tensor_of(&d->base, p->base);
    uint32_t target = target_of(t, p->level), level = base_level(t, own, p->level), size = t->levels[target], bad = 0;
    int by_entry = own->kind == SHARED && !own->blocks;
    amount wide = width_of(own->type);
    uint8_t *book, *values;
    uint32_t *entry_of = NULL;
    if (t->blocks) return QAC_BAD_PAYLOAD;
    TRY(read_new_book(d, p->number, target, &book));
    amount n = by_entry ? own->levels[level] : s->count;
    ranked r = {claim(d, 8 * (amount)size), claim(d, 2 * (amount)size), size};
    double *sorted = claim(d, 8 * (amount)size);
    if (by_entry) entry_of = claim(d, 4 * n);
    values = claim(d, n * wide);
    if (!f->measuring && f->top > f->arena_bytes) return too_small(f);
    if (by_entry) {
        uint8_t *own_book;
        lend(d, &d->base);
        qac_error error = read_book(&d->base, p->base, level, &own_book);
        if (error == QAC_OK && !f->measuring) memcpy(values, own_book, n * wide);
        d->base.measuring = 0;
        take_back(d, &d->base);
        TRY(error);
    } else {
        wanted w = {TYPED, p->base, level, 0, s->start, s->start + s->count};
        TRY(read_base(d, &w, values));
    }
    if (f->measuring) return QAC_OK;
    for (uint32_t i = 0; i < size; i++) r.values[i] = number_at(book + i * (size_t)width_of(t->type), t->type);
    TRY(rank(&r, sorted));
    for (amount i = 0; i < n; i++) {
        double value = number_at(values + i * wide, own->type);
        uint32_t entry = is_finite(value) ? nearest(&r, value) : NOWHERE;
        if (by_entry) entry_of[i] = entry;
        else if (entry == NOWHERE) bad = 1;
        else numbers[i] = (uint16_t)entry;
    }
    for (amount i = 0; by_entry && i < s->count; i++) {
        if (entry_of[numbers[i]] == NOWHERE) bad = 1;
        else numbers[i] = (uint16_t)entry_of[numbers[i]];
    }
    return bad ? QAC_BAD_PAYLOAD : QAC_OK;
}

/* Set a stream's symbols to the predicted ones. */
static qac_error predict(qac_delta *d, const part *p, const stream *s) {
    qac_file *f = &d->made;
    amount mark = f->top;
    if (p->base == NOWHERE) return QAC_BAD_PAYLOAD;
    const tensor_record *t = tensor_of(f, p->number), *own = tensor_of(&d->base, p->base);
    uint32_t size = t->levels[target_of(t, p->level)], level = base_level(t, own, p->level), sum = 0;
    if (own->kind != SHARED && p->form != BY_VALUE) return QAC_BAD_PAYLOAD;
    uint16_t *numbers = claim(d, 2 * s->count);
    uint32_t *firsts = s->children ? claim(d, 4 * (amount)s->entries) : NULL;
    if (!f->measuring && f->top > f->arena_bytes) return too_small(f);
    if (own->kind == SHARED) {
        wanted w = {NUMBERS, p->base, level, width_of_numbers(own, level), s->start, s->start + s->count};
        uint8_t *bytes = (uint8_t *)numbers;
        TRY(read_base(d, &w, bytes));
        for (amount i = s->count; !f->measuring && i-- > 0;) numbers[i] = (uint16_t)load(bytes + i * w.width, w.width);
    }
    if (p->form == BY_VALUE) TRY(predict_by_value(d, p, s, numbers));
    for (uint32_t i = 0; !f->measuring && s->children && i < s->entries; i++) {
        firsts[i] = sum;
        sum += s->children[i];
    }
    int32_t shift = p->form == BY_VALUE ? 0 : unfolded(p->form - SHIFTED);
    for (amount i = 0; !f->measuring && i < s->count; i++) {
        uint32_t symbol = (uint32_t)moved(numbers[i], shift, size);
        if (s->children) {
            uint32_t parent = load16(s->parents + 2 * i), most = s->children[parent] - 1;
            symbol = symbol < firsts[parent] ? 0 : (uint32_t)lesser(symbol - firsts[parent], most);
        }
        put(s, i, symbol);
    }
    f->top = mark;
    return QAC_OK;
}

/* Take the trees of the streams that nothing predicts, one for each number of bits. */
static qac_error take_trees(qac_delta *d, const making *m, change_model *model) {
    for (uint32_t i = 0; i < m->n; i++) {
        uint32_t bits = bit_length(m->streams[i].alphabet - 1u);
        if (m->parts[i].form != NO_BASE || model->trees[bits]) continue;
        bit_model *tree = claim(d, sizeof *tree << bits);
        model->trees[bits] = d->made.measuring ? model->changed : tree; /* not NULL: it is counted once */
        if (d->made.measuring) continue;
        if (!tree) return too_small(&d->made);
        for (uint32_t j = 0; j < 1u << bits; j++) {
            tree[j].zero = 32768;
            tree[j].seen = 0;
        }
    }
    return QAC_OK;
}

/* Read the parents of a refinement, which are the indices at the level before, out of the new file. */
static qac_error read_parents(qac_delta *d, const making *m) {
    uint8_t *at = claim(d, 2 * m->total);
    if (!d->made.measuring && !at) return too_small(&d->made);
    for (uint32_t i = 0; i < m->n; i++) {
        stream *s = &m->streams[i];
        amount mark = d->made.top;
        uint32_t level = m->parts[i].level - 1, width = width_of_numbers(tensor_of(&d->made, s->number), level);
        wanted w = {NUMBERS, s->number, level, width, s->start, s->start + s->count};
        s->parents = at;
        TRY(read_numbers(&d->made, &w, at));
        for (amount j = s->count; !d->made.measuring && width == 1 && j-- > 0;) store16(at + 2 * j, at[j]);
        d->made.top = mark;
        at = offset(at, 2 * s->count);
    }
    return QAC_OK;
}

/* Make a section of indices out of its difference. */
static qac_error make_indices(qac_delta *d, uint32_t place, uint8_t **made) {
    qac_file *f = &d->made;
    amount mark = f->top;
    change_model model;
    making m;
    TRY(start_making(d, place, 1, &m));
    int trellis = HAS_TRELLIS && m.codec == TRELLIS, mixing = HAS_MIXING && m.codec == MIXING;
    if (m.codec != RAW && m.codec != BITPACK && m.codec != RANS && m.codec != CONTEXT && !trellis && !mixing) {
        return QAC_UNSUPPORTED_DELTA;
    }
    memset(&model, 0, sizeof model);
    for (uint32_t i = 0; i < 36; i++) model.changed[i].zero = 32768;
    for (uint32_t i = 0; i < 3; i++) model.up[i].zero = 32768;
    for (uint32_t i = 0; i < INT_MODELS; i++) model.far[i].zero = 32768;
    model.setting = get_u32(&m.in, 7);
    for (uint32_t i = 0; i < m.n; i++) m.parts[i].form = get_u32(&m.in, MOST_FORM);
    if (m.in.file->error) return (qac_error)m.in.file->error;
    range_start(&model.decoder, &m.in);
    if (m.streams[0].children) TRY(read_parents(d, &m));
    TRY(take_trees(d, &m, &model));
    for (uint32_t i = 0; i < m.n; i++) {
        const tensor_record *t = tensor_of(f, m.streams[i].number);
        if (m.parts[i].form != NO_BASE) {
            TRY(predict(d, &m.parts[i], &m.streams[i]));
            amount above = t->dims > 1 ? t->count / (amount)t->shape[0] : 0;
            drop_kept(d);
            TRY(decode_changes(f, &model, &m.streams[i], above));
        } else if (!f->measuring) {
            TRY(decode_alone(&model, &m.streams[i]));
        }
    }
    drop_kept(d);
    output out = {m.out, offset(m.out, section_of(f, place)->stored_bytes)};
    if (m.codec == RANS) TRY(encode_rans(f, &m.choices, m.streams, m.n, &out));
    else if (m.codec == CONTEXT || trellis) TRY(encode_context(f, &m.choices, trellis, m.streams, m.n, &out));
    else if (mixing) TRY(encode_mixing(f, &m.choices, m.streams, m.n, &out));
    else TRY(at_end(&m.choices));
    if (!f->measuring && m.codec == RAW) TRY(put_raw(&out, m.streams, m.n));
    if (!f->measuring && m.codec == BITPACK) TRY(put_bitpack(&out, m.streams, m.n));
    *made = m.out;
    return finish_making(d, &m, &out, mark);
}

static qac_error make_section(qac_delta *d, uint32_t place, uint8_t **made) {
    uint32_t kind = section_of(&d->made, place)->kind;
    return kind == INDICES || kind == INDEX_CHUNK ? make_indices(d, place, made) : make_values(d, place, made);
}

/* ---- The functions of qac_delta.h ---- */

/* Measure all sections: how much memory they take, and whether they can be made at all. */
static qac_error measure(qac_delta *d, int speed, amount *peak, amount *groups) {
    qac_file *f = &d->made;
    amount mark = f->top;
    qac_error error = QAC_OK;
    drop_kept(d);
    f->peak = f->top;
    f->need = 0;
    d->base.group_bytes[0] = d->base.group_bytes[1] = 0;
    d->written = 0;
    for (uint32_t i = 0; i < f->sections && error == QAC_OK; i++) {
        uint8_t *made;
        f->measuring = speed;
        if (step_of(d, i)->method == DIFFERENCE) error = make_section(d, i, &made);
        f->top = mark;
    }
    f->measuring = 0;
    *peak = f->peak;
    *groups = d->base.group_bytes[0] + d->base.group_bytes[1];
    d->need = greater(f->need, f->peak) + 8;
    return error;
}

static qac_error open_delta(qac_delta *d, const qac_source *base, const qac_source *update, void *arena, size_t bytes) {
    if (!d || !base || !update || (!update->data && !update->read) || (!arena && bytes)) return QAC_BAD_ARGUMENT;
    memset(d, 0, sizeof *d);
    amount shift = lesser((8 - (uintptr_t)arena % 8) % 8, bytes), kept, peak, groups;
    uint8_t *start = bytes ? (uint8_t *)arena + shift : (uint8_t *)d; /* never written to, but no null pointer */
    amount left = lesser(bytes - shift, SIZE_MAX >> 2) & ~(amount)7;
    qac_error error = open_update(d, update, start, left);
    d->need = (uint64_t)d->update.need + 8;
    TRY(error);
    kept = d->update.top;
    error = qac_open(&d->base, base, QAC_STRICT, start + kept, left - kept);
    d->need = kept + d->base.need + 16;
    TRY(error);
    kept += d->base.kept;
    d->by_name = (uint32_t *)(void *)(start + kept); /* checked with the next file's memory */
    kept += (4 * (amount)d->base.tensors + 7) & ~(amount)7;
    d->need = kept + 16;
    if (kept > left) return QAC_ARENA_TOO_SMALL;
    sort(&d->base, 0, d->by_name, d->base.tensors);
    qac_source made = {NULL, d->to.bytes, read_made, update->zstd ? zstd_made : NULL, d};
    error = qac_open(&d->made, &made, QAC_STRICT, start + kept, left - kept);
    d->need = kept + d->made.need + 16;
    TRY(error);
    if (d->made.first_section != d->head_bytes || d->made.sections != d->update.sections) return QAC_BAD_HEADER;
    kept += d->made.kept;
    qac_file *files[3] = {&d->base, &d->update, &d->made};
    for (uint32_t i = 0; i < 3; i++) { /* from here on all have the whole arena */
        files[i]->arena = start;
        files[i]->all_bytes = files[i]->arena_bytes = left;
        files[i]->top = files[i]->kept = kept;
    }
    d->made.keep_none = 1;
    error = check_steps(d);
    d->need = greater(d->made.need, d->made.peak) + 8;
    TRY(error);
    d->made.top = kept;
    TRY(measure(d, MEASURE_LEAN, &peak, &groups));
    error = check_identity(&d->base, &d->from);
    if (error == QAC_WRONG_BASE && check_identity(&d->base, &d->to) == QAC_OK) return QAC_ALREADY_APPLIED;
    return error;
}

qac_error qac_delta_open(qac_delta *d, const qac_source *base, const qac_source *update, void *arena, size_t bytes) {
    qac_error error = open_delta(d, base, update, arena, bytes);
    if (error && d) d->steps = NULL; /* so nothing can be made with it */
    return error;
}

qac_error qac_delta_arena_bytes(qac_delta *d, qac_speed speed, uint64_t *bytes) {
    amount peak, groups;
    if (!d || !d->steps || !bytes) return QAC_BAD_ARGUMENT;
    TRY(measure(d, speed == QAC_FAST ? MEASURE_FAST : MEASURE_LEAN, &peak, &groups));
    *bytes = (uint64_t)peak + 8; /* the arena may begin at any address */
    if (speed == QAC_FAST) *bytes += (uint64_t)groups + 32;
    return QAC_OK;
}

static qac_error write_bytes(qac_delta *d, const uint8_t *data, amount bytes) {
    d->touched = 1;
    if (bytes && d->target->write(d->target->user, d->written, data, bytes) != 0) return QAC_WRITE_FAILED;
    d->written += bytes;
    return QAC_OK;
}

/* Write bytes of another file. */
static qac_error copy_bytes(qac_delta *d, const qac_file *from, uint64_t at, amount bytes) {
    uint8_t piece[PIECE];
    while (bytes) {
        amount length = lesser(bytes, sizeof piece);
        TRY(fetch(from, at, piece, length));
        TRY(write_bytes(d, piece, length));
        at += length;
        bytes -= length;
    }
    return QAC_OK;
}

/* Check that all sections can be made with this arena. */
static qac_error check_memory(qac_delta *d) {
    amount peak, groups;
    TRY(measure(d, MEASURE_LEAN, &peak, &groups));
    if (peak <= d->made.all_bytes) return QAC_OK;
    d->need = (uint64_t)peak + 8;
    return QAC_ARENA_TOO_SMALL;
}

/* Write the new file, and read it back. */
static qac_error apply(qac_delta *d, const qac_delta_target *target) {
    static const uint8_t zeros[64] = {0};
    qac_file *f = &d->made;
    blake sum;
    uint8_t piece[128];
    d->target = target;
    d->written = 0;
    TRY(copy_bytes(d, &d->update, d->head_offset, (amount)d->head_bytes));
    for (uint32_t i = 0; i < f->sections; i++) {
        const section_record *s = section_of(f, i);
        const delta_step *step = step_of(d, i);
        amount mark = f->top;
        uint8_t *made = NULL;
        if (step->method == DIFFERENCE) TRY(make_section(d, i, &made));
        TRY(write_bytes(d, zeros, (amount)(s->offset - d->written)));
        if (step->method == REFERRED) {
            TRY(copy_bytes(d, &d->base, section_of(&d->base, step->number)->offset, s->stored_bytes));
        } else if (step->method == WHOLE) {
            TRY(copy_bytes(d, &d->update, step->offset, step->bytes));
        } else {
            TRY(write_bytes(d, made, s->stored_bytes));
        }
        f->top = mark;
    }
    if (d->written != d->to.bytes) return QAC_WRONG_RESULT;
    blake_open(&sum);
    for (uint64_t at = 0; at < d->written; at += sizeof piece) {
        amount length = d->written - at < sizeof piece ? (amount)(d->written - at) : sizeof piece;
        if (target->read(target->user, at, piece, length) != 0) return QAC_READ_FAILED;
        blake_add(&sum, piece, length);
    }
    return blake_is(&sum, d->to.digest) || !CHECKING ? QAC_OK : QAC_WRONG_RESULT;
}

qac_error qac_delta_apply(qac_delta *d, const qac_delta_target *target) {
    if (!d || !d->steps || !target || !target->write || !target->read) return QAC_BAD_ARGUMENT;
    TRY(check_memory(d));
    amount kept = d->made.top;
    qac_error error = apply(d, target);
    d->made.top = kept;
    d->target = NULL;
    return error;
}

/* Note the place of a section of the base, if it is the first one so far. */
static void note_first(const qac_file *f, uint32_t kind, uint32_t level, uint32_t owner, amount chunk, uint64_t *first) {
    uint32_t count, found = find_sections(f, kind, level, owner, &count);
    if (chunk >= count) return;
    uint64_t at = section_of(f, f->by_key[found + (uint32_t)chunk])->offset;
    if (at < *first) *first = at;
}

/* Find the first byte of the base that a difference needs; UINT64_MAX for none. */
static qac_error first_needed(qac_delta *d, uint32_t place, uint64_t *first) {
    amount mark = d->made.top;
    uint32_t kind = section_of(&d->made, place)->kind;
    int indices = kind == INDICES || kind == INDEX_CHUNK;
    making m;
    TRY(start_making(d, place, indices, &m));
    if (indices) get_u32(&m.in, 7); /* the setting */
    for (uint32_t i = 0; i < m.n; i++) {
        part *p = &m.parts[i];
        p->form = get_u32(&m.in, MOST_FORM);
        if (m.in.file->error) return (qac_error)m.in.file->error;
        if (p->form == NO_BASE) continue;
        const tensor_record *own = tensor_of(&d->base, p->base);
        amount chunk = m.streams[i].start >> d->base.chunk_log2;
        uint32_t levels = own->kind == SHARED && indices ? stored_levels(own) : 0;
        for (uint32_t level = 0; level < levels; level++) {
            if (own->group) note_first(&d->base, INDICES, level, own->group - 1, 0, first);
            else note_first(&d->base, INDEX_CHUNK, level, p->base, chunk, first);
        }
        if (indices && p->form != BY_VALUE) continue;
        uint32_t group = own->kind == SHARED ? own->book_group : own->group;
        if (group) note_first(&d->base, VALUES, 0, group - 1, 0, first);
        else note_first(&d->base, VALUE_CHUNK, 0, p->base, own->kind == SHARED && indices ? 0 : chunk, first);
    }
    d->made.top = mark;
    return QAC_OK;
}

qac_error qac_delta_in_place_bytes(qac_delta *d, uint64_t *bytes) {
    if (!d || !d->steps || !bytes) return QAC_BAD_ARGUMENT;
    uint64_t need = UINT64_MAX;
    *bytes = d->from.bytes > d->to.bytes ? d->from.bytes : d->to.bytes;
    for (uint32_t i = d->made.sections; i-- > 0;) { /* what this and later ones need must be behind what was written before */
        uint64_t before = i ? section_of(&d->made, i - 1)->offset + section_of(&d->made, i - 1)->stored_bytes : d->head_bytes;
        const delta_step *step = step_of(d, i);
        if (step->method == DIFFERENCE) {
            d->made.measuring = MEASURE_LEAN; /* only its parts and forms are read */
            qac_error error = first_needed(d, i, &need);
            d->made.measuring = 0;
            TRY(error);
        } else if (step->method == REFERRED) {
            uint64_t at = section_of(&d->base, step->number)->offset;
            if (at < need) need = at;
            before = section_of(&d->made, i)->offset; /* zeros before it are written first */
        }
        if (need == UINT64_MAX) continue;
        if (before + d->from.bytes - need > *bytes) *bytes = before + d->from.bytes - need;
    }
    return QAC_OK;
}

static int write_buffer(void *user, uint64_t offset, const void *from, size_t bytes) {
    memmove((uint8_t *)user + (size_t)offset, from, bytes);
    return 0;
}

static int read_buffer(void *user, uint64_t offset, void *into, size_t bytes) {
    memcpy(into, (const uint8_t *)user + (size_t)offset, bytes);
    return 0;
}

qac_error qac_delta_apply_in_place(qac_delta *d, uint8_t *buffer, size_t bytes) {
    uint64_t need;
    qac_delta_target target = {write_buffer, read_buffer, buffer};
    if (!d || !d->steps || !buffer || d->base.source.data != buffer) return QAC_BAD_ARGUMENT;
    TRY(qac_delta_in_place_bytes(d, &need));
    if (bytes < need) return QAC_BUFFER_TOO_SMALL;
    TRY(check_memory(d));
    amount kept = d->made.top;
    d->touched = 1;
    memmove(buffer + (size_t)(need - d->from.bytes), buffer, (size_t)d->from.bytes);
    d->base.source.data = buffer + (size_t)(need - d->from.bytes);
    qac_error error = apply(d, &target);
    d->made.top = kept;
    d->steps = NULL; /* the base is gone */
    return error;
}

size_t qac_delta_bytes(void) { return sizeof(qac_delta); }

const char *qac_delta_error_text(qac_error error) {
    switch (error) {
        case QAC_WRONG_BASE: return "not the file that the delta was made from: apply deltas in their order";
        case QAC_ALREADY_APPLIED: return "already what the delta makes: nothing to apply";
        case QAC_UNSUPPORTED_DELTA: return "a section of the delta needs a newer program";
        case QAC_WRITE_FAILED: return "writing failed: apply it again";
        case QAC_WRONG_RESULT: return "what was read back isn't what the delta promises: don't use it";
        default: return qac_error_text(error);
    }
}
