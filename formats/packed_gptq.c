/* GPTQ as AutoGPTQ, GPTQModel and Optimum store it. With b bits, in columns of the weight and out rows, and a stream
 * of b-bit numbers, the first in the lowest bits, that runs on from word to word:
 *
 *     qweight  I32 [in * b / 32, out]      down each column: the stream of one row's codes
 *     qzeros   I32 [groups, out * b / 32]  along each row: the stream of the zero points of all rows
 *     scales   F16 [groups, out]
 *     g_idx    I32 [in]                    group of each column; may lack: column / group_size
 *
 * weight = scale * (code - zero). Version 1 stores zero - 1, version 2 (checkpoint_format "gptq_v2") zero itself. */
#include "core/bytes.h"
#include "core/checked.h"
#include "formats/packed.h"
#include "formats/packed_grid.h"

#include <inttypes.h>
#include <string.h>

typedef struct settings {
    uint64_t bits, group; /* group 0: a whole row is one */
    int offset;           /* what is added to stored zero points */
} settings;

enum { PART_CODES, PART_ZEROS, PART_SCALES };

/* Rules for single modules: GPTQModel's "-:<expression>" leaves modules unpacked, which their tensors show; settings of
 * their own, which "+:" or the expression alone gives, are not read. */
static pare_status check_dynamic(const pare_packed *p, pare_error *err)
{
    json_t *dynamic = json_object_get(p->settings, "dynamic"), *rule;
    const char *key;
    json_object_foreach(dynamic, key, rule)
    {
        if (strncmp(key, "-:", 2) != 0 && json_object_size(rule) > 0)
            return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: 'dynamic' has settings for modules like '%s'", p->path,
                             key);
    }
    return PARE_OK;
}

static pare_status start(pare_packed *p, pare_error *err)
{
    settings *s = pare_arena_alloc(p->arena, sizeof *s, err);
    pare_str version = {"gptq", 4};
    pare_status st = s == NULL ? PARE_ERR_MEMORY : PARE_OK;
    if (st == PARE_OK)
        st = pare_json_u64(p->settings, p->path, "bits", 2, 8, &s->bits, NULL, err);
    if (st == PARE_OK && (s->bits > 4 && s->bits != 8))
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: 'bits' is %" PRIu64 "; GPTQ with 2, 3, 4 or 8 bits is read",
                         p->path, s->bits);
    if (st == PARE_OK)
        st = pare_packed_group_size(p, "group_size", &s->group, err);
    bool found = false;
    if (st == PARE_OK)
        st = pare_json_str(p->settings, p->path, "checkpoint_format", &version, &found, err);
    if (st != PARE_OK)
        return st;
    bool second = version.len == 7 && memcmp(version.data, "gptq_v2", 7) == 0;
    if (!second && (version.len != 4 || memcmp(version.data, "gptq", 4) != 0))
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: 'checkpoint_format' is '%.*s'; 'gptq' and 'gptq_v2' are read",
                         p->path, (int)version.len, version.data);
    s->offset = !second;
    p->state = s;
    return check_dynamic(p, err);
}

static void read_codes(const pare_grid *g, uint64_t row, int16_t *dst)
{
    const pare_tensor *codes = &g->part[PART_CODES], *zeros = &g->part[PART_ZEROS];
    uint64_t last = UINT64_MAX;
    int zero = 0;
    for (uint64_t c = 0; c < g->row_len; c++) {
        uint64_t group = pare_grid_group(g, c);
        if (group != last)
            zero = (int)pare_grid_number(zeros->data + group * zeros->row_bytes, 1, (unsigned)g->bits, row) + g->zero;
        last = group;
        dst[c] = (int16_t)((int)pare_grid_number(codes->data + 4 * row, codes->row_len, (unsigned)g->bits, c) - zero);
    }
}

static void read_scales(const pare_grid *g, uint64_t row, float *dst)
{
    const pare_tensor *scales = &g->part[PART_SCALES];
    for (uint64_t i = 0; i < scales->n_rows; i++)
        dst[i] = pare_grid_float(scales, i * scales->row_len + row);
}

/* The bounds of the codes, from the zero points that there are. */
static void find_bounds(pare_grid *g)
{
    const pare_tensor *zeros = &g->part[PART_ZEROS];
    int least = 255 + g->zero, most = 0;
    for (uint64_t i = 0; i < zeros->n_rows; i++)
        for (uint64_t r = 0; r < g->n_rows; r++) {
            int zero = (int)pare_grid_number(zeros->data + i * zeros->row_bytes, 1, (unsigned)g->bits, r) + g->zero;
            least = zero < least ? zero : least;
            most = zero > most ? zero : most;
        }
    pare_tensor_release(zeros, 0, zeros->n_rows);
    g->low = -most;
    g->high = (1 << g->bits) - 1 - least;
}

/* The shape that qweight and the settings say. */
static pare_status find_shape(const pare_packed *p, const pare_tensor *codes, pare_grid *g, pare_error *err)
{
    const settings *s = p->state;
    uint64_t bits = 0;
    if (codes->type != PARE_TYPE_I32 || codes->n_dims != 2 || codes->n_bytes == 0)
        return pare_fail(err, PARE_ERR_RANGE, "%s: tensor '%s' is no matrix of i32", p->path, codes->name);
    if (!pare_mul_u64(codes->n_rows, 32, &bits) || bits % s->bits != 0 || codes->row_len * s->bits % 32 != 0)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s' of %" PRIu64 " rows of %" PRIu64 " words does not hold numbers of %" PRIu64
                         " bits ('bits')",
                         p->path, codes->name, codes->n_rows, codes->row_len, s->bits);
    g->n_rows = codes->row_len;
    g->row_len = bits / s->bits;
    g->group = s->group > 0 ? s->group : g->row_len;
    return pare_packed_check_group(p, codes, g->row_len, g->group, err);
}

static pare_status unpack(const pare_packed *p, const pare_tensor *primary, const char *module, pare_tensor *out,
                          pare_error *err)
{
    const settings *s = p->state;
    pare_grid g = {.codes = read_codes, .scales = read_scales, .bits = (int)s->bits, .zero = s->offset};
    pare_status st = find_shape(p, primary, &g, err);
    if (st != PARE_OK)
        return st;
    uint64_t n_groups = g.row_len / g.group;
    const pare_tensor *order = pare_packed_part(p, module, ".g_idx"), *zeros = NULL, *scales = NULL;
    zeros = pare_packed_matrix(p, module, ".qzeros", PARE_TYPE_I32, n_groups, g.n_rows * s->bits / 32, &st, err);
    if (zeros != NULL || st == PARE_ERR_FORMAT) /* all that is missing is listed */
        scales = pare_packed_matrix(p, module, ".scales", PARE_TYPE_NONE, n_groups, g.n_rows, &st, err);
    if (zeros == NULL || scales == NULL)
        return st;
    g.part[PART_CODES] = *primary;
    g.part[PART_ZEROS] = *zeros;
    g.part[PART_SCALES] = *scales;
    if (order != NULL && (st = pare_grid_order(p, order, false, &g, err)) != PARE_OK)
        return st;
    find_bounds(&g);
    return pare_grid_tensor(p->arena, &g, scales, out, err);
}

const pare_packed_format pare_packed_gptq = {
    .method = "gptq",
    .name = "GPTQ",
    .primaries = (const char *const[]){".qweight", NULL},
    .parts = (const char *const[]){".qzeros", ".scales", ".g_idx", NULL},
    .result = ".weight",
    .start = start,
    .unpack = unpack,
};
