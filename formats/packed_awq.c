/* AWQ as AutoAWQ stores it, 4 bits; in columns of the weight and out rows.
 *
 *   gemm  qweight  I32 [in, out / 8]           word c of a row: codes of the rows 8 c + (0, 2, 4, 6, 1, 3, 5, 7) of the
 *                                              weight, the first in the lowest nibble
 *         qzeros   I32 [groups, out / 8]       zero points, in the same order
 *         scales   F16 [groups, out]
 *   gemv  qweight  I32 [out, in / 8]           along each row, in order
 *         qzeros   I32 [out, words]            zero points of the groups of a row, in order, and padding
 *         scales   F16 [out, 8 * words]        the same
 *
 * weight = scale * (code - zero). "gemv_fast" (interleaved rows) and "marlin" are other layouts. */
#include "core/bytes.h"
#include "formats/packed.h"
#include "formats/packed_grid.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

typedef struct settings {
    uint64_t group; /* 0: a whole row is one */
    bool by_rows;   /* gemv: numbers lie along the rows of the weight, in order */
} settings;

enum { BITS = 4, PER_WORD = 8, PART_CODES = 0, PART_ZEROS, PART_SCALES };

static bool is_text(pare_str text, const char *word)
{
    return text.len == strlen(word) && strncasecmp(text.data, word, text.len) == 0;
}

static pare_status start(pare_packed *p, pare_error *err)
{
    settings *s = pare_arena_alloc(p->arena, sizeof *s, err);
    pare_str version = {"gemm", 4};
    uint64_t bits = 0;
    bool found = false;
    pare_status st = s == NULL ? PARE_ERR_MEMORY : PARE_OK;
    const char *bits_key = json_object_get(p->settings, "bits") != NULL ? "bits" : "w_bit";
    if (st == PARE_OK)
        st = pare_json_u64(p->settings, p->path, bits_key, 1, 16, &bits, NULL, err);
    if (st == PARE_OK && bits != BITS)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: '%s' is %" PRIu64 "; AWQ with 4 bits is read", p->path,
                         bits_key, bits);
    if (st == PARE_OK)
        st = pare_packed_group_size(
            p, json_object_get(p->settings, "group_size") != NULL ? "group_size" : "q_group_size", &s->group, err);
    if (st == PARE_OK)
        st = pare_json_str(p->settings, p->path, "version", &version, &found, err);
    if (st != PARE_OK)
        return st;
    s->by_rows = is_text(version, "gemv");
    if (!s->by_rows && !is_text(version, "gemm"))
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: 'version' is '%.*s'; AWQ's 'gemm' and 'gemv' are read",
                         p->path, (int)version.len, version.data);
    p->state = s;
    return PARE_OK;
}

/* Number i of a row in gemm's order. */
static inline unsigned nibble_at(const uint8_t *row, uint64_t i)
{
    static const uint8_t nibble[PER_WORD] = {0, 4, 1, 5, 2, 6, 3, 7};
    return pare_load_u32le(row + i / PER_WORD * 4) >> 4 * nibble[i % PER_WORD] & 15;
}

static int zero_at(const pare_grid *g, uint64_t group, uint64_t row)
{
    const pare_tensor *zeros = &g->part[PART_ZEROS];
    if (g->by_rows)
        return (int)pare_grid_number(zeros->data + row * zeros->row_bytes, 1, BITS, group);
    return (int)nibble_at(zeros->data + group * zeros->row_bytes, row);
}

static void read_codes(const pare_grid *g, uint64_t row, int16_t *dst)
{
    const pare_tensor *codes = &g->part[PART_CODES];
    int zero = 0;
    for (uint64_t c = 0; c < g->row_len; c++) {
        if (c % g->group == 0)
            zero = zero_at(g, c / g->group, row);
        unsigned code = g->by_rows ? pare_grid_number(codes->data + row * codes->row_bytes, 1, BITS, c)
                                   : nibble_at(codes->data + c * codes->row_bytes, row);
        dst[c] = (int16_t)((int)code - zero);
    }
}

static void read_scales(const pare_grid *g, uint64_t row, float *dst)
{
    const pare_tensor *scales = &g->part[PART_SCALES];
    for (uint64_t i = 0; i < g->row_len / g->group; i++)
        dst[i] = pare_grid_float(scales, g->by_rows ? row * scales->row_len + i : i * scales->row_len + row);
}

/* Words of the zero points of n_groups groups in a row of gemv: whole words for the kernel's steps of 128 columns, so
 * smaller groups come in twos (64) or fours (32) of words. */
static uint64_t gemv_words(uint64_t n_groups, uint64_t group)
{
    uint64_t many = group >= 128 ? 1 : group == 64 ? 2 : 4, words = (n_groups + PER_WORD - 1) / PER_WORD;
    return (words + many - 1) / many * many;
}

static void find_bounds(pare_grid *g)
{
    int least = 15, most = 0;
    for (uint64_t r = 0; r < g->n_rows; r++)
        for (uint64_t i = 0; i < g->row_len / g->group; i++) {
            int zero = zero_at(g, i, r);
            least = zero < least ? zero : least;
            most = zero > most ? zero : most;
        }
    pare_tensor_release(&g->part[PART_ZEROS], 0, g->part[PART_ZEROS].n_rows);
    g->low = -most;
    g->high = 15 - least;
}

static pare_status find_shape(const pare_packed *p, const pare_tensor *codes, pare_grid *g, pare_error *err)
{
    const settings *s = p->state;
    if (codes->type != PARE_TYPE_I32 || codes->n_dims != 2 || codes->n_bytes == 0)
        return pare_fail(err, PARE_ERR_RANGE, "%s: tensor '%s' is no matrix of i32", p->path, codes->name);
    g->by_rows = s->by_rows;
    g->n_rows = s->by_rows ? codes->n_rows : codes->row_len * PER_WORD; /* of a file: far from overflow */
    g->row_len = s->by_rows ? codes->row_len * PER_WORD : codes->n_rows;
    g->group = s->group > 0 ? s->group : g->row_len;
    return pare_packed_check_group(p, codes, g->row_len, g->group, err);
}

static pare_status unpack(const pare_packed *p, const pare_tensor *primary, const char *module, pare_tensor *out,
                          pare_error *err)
{
    pare_grid g = {.codes = read_codes, .scales = read_scales, .bits = BITS};
    pare_status st = find_shape(p, primary, &g, err);
    if (st != PARE_OK)
        return st;
    uint64_t n_groups = g.row_len / g.group, words = gemv_words(n_groups, g.group);
    const pare_tensor *zeros = NULL, *scales = NULL;
    zeros = pare_packed_matrix(p, module, ".qzeros", PARE_TYPE_I32, g.by_rows ? g.n_rows : n_groups,
                               g.by_rows ? words : g.n_rows / PER_WORD, &st, err);
    if (zeros != NULL || st == PARE_ERR_FORMAT) /* all that is missing is listed */
        scales = pare_packed_matrix(p, module, ".scales", PARE_TYPE_NONE, g.by_rows ? g.n_rows : n_groups,
                                    g.by_rows ? words * PER_WORD : g.n_rows, &st, err);
    if (zeros == NULL || scales == NULL)
        return st;
    g.part[PART_CODES] = *primary;
    g.part[PART_ZEROS] = *zeros;
    g.part[PART_SCALES] = *scales;
    find_bounds(&g);
    return pare_grid_tensor(p->arena, &g, scales, out, err);
}

const pare_packed_format pare_packed_awq = {
    .method = "awq",
    .name = "AWQ",
    .primaries = (const char *const[]){".qweight", NULL},
    .parts = (const char *const[]){".qzeros", ".scales", NULL},
    .result = ".weight",
    .start = start,
    .unpack = unpack,
};
