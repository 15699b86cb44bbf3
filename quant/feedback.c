#include "quant/feedback.h"

#include "quant/codes.h"
#include "quant/feedback_grid.h"
#include "quant/feedback_slab.h"
#include "quant/path_table.h"

#include <string.h>

enum { ROWS = PARE_FEEDBACK_ROWS };

size_t pare_feedback_unit(pare_type type)
{
    return pare_unit_shape(type) != NULL ? PARE_FORM_UNIT : pare_type_codes(type) != NULL;
}

/* What follows the slab in scratch. */
typedef struct row {
    float *low, *high; /* [n] decoded with code 0, or not used; with the code of the highest level */
    uint8_t *codes;    /* [n] */
    uint8_t *bytes;    /* of an encoded row */
} row;

static size_t row_bytes(pare_type type, size_t n)
{
    const pare_type_info *info = pare_type_get(type);
    return n / info->block_len * info->block_bytes;
}

size_t pare_feedback_scratch(pare_type type, size_t n)
{
    if (pare_feedback_unit(type) > 1)
        return pare_feedback_grid_scratch(n);
    return (pare_feedback_slab_floats(n) + 2 * n) * sizeof(float) + n + row_bytes(type, n);
}

static void make_levels(const pare_codes *codes, pare_feedback_levels *out)
{
    *out = (pare_feedback_levels){.high = (float)(codes->n - 1)};
    for (unsigned c = 0; codes->level != NULL && c < codes->n; c++) {
        float level = (float)codes->level(c);
        int at = out->n;
        while (at > 0 && out->level[at - 1] > level)
            at--;
        if (at > 0 && out->level[at - 1] == level) /* the first of its codes is used */
            continue;
        memmove(out->level + at + 1, out->level + at, (size_t)(out->n - at) * sizeof *out->level);
        memmove(out->code + at + 1, out->code + at, (size_t)(out->n - at));
        out->level[at] = level;
        out->code[at] = (uint8_t)c;
        out->n++;
    }
    for (int i = 0; i + 1 < out->n; i++)
        out->between[i] = (out->level[i] + out->level[i + 1]) * 0.5f;
    if (out->n > 0)
        out->high = out->level[out->n - 1];
}

static void put_codes(pare_type type, size_t n, const uint8_t *codes, uint8_t *bytes)
{
    const pare_type_info *info = pare_type_get(type);
    for (size_t i = 0; i < n; i += info->block_len)
        pare_type_codes(type)->put(bytes + i / info->block_len * info->block_bytes, codes + i);
}

static void get_codes(pare_type type, size_t n, const uint8_t *bytes, uint8_t *codes)
{
    const pare_type_info *info = pare_type_get(type);
    for (size_t i = 0; i < n; i += info->block_len)
        pare_type_codes(type)->get(bytes + i / info->block_len * info->block_bytes, codes + i);
}

/* The row with one code everywhere, decoded. */
static void decode_constant(pare_type type, size_t n, int code, const row *r, float *out)
{
    memset(r->codes, code, n);
    put_codes(type, n, r->codes, r->bytes);
    pare_path_now()->decode[type](r->bytes, out, n / pare_type_get(type)->block_len);
}

static float level_of_code(const pare_feedback_levels *levels, uint8_t code, int (*level)(unsigned))
{
    return levels->n == 0 ? (float)code : (float)level(code);
}

static uint8_t code_of_level(const pare_feedback_levels *levels, float level)
{
    int at = 0;
    while (levels->n > 0 && levels->level[at] < level)
        at++;
    return levels->n == 0 ? (uint8_t)level : levels->code[at];
}

/* Row x, encoded at bytes, becomes lane `lane`. */
static void load_row(const pare_form *f, pare_type type, const pare_feedback_levels *levels, const float *x,
                     const float *column, const uint8_t *bytes, const row *r, size_t lane, pare_feedback_slab *s)
{
    size_t n = f->n;
    memcpy(r->bytes, bytes, row_bytes(type, n));
    decode_constant(type, n, levels->n == 0 ? 0 : levels->code[0], r, r->low);
    decode_constant(type, n, levels->n == 0 ? (int)levels->high : levels->code[levels->n - 1], r, r->high);
    get_codes(type, n, bytes, r->codes);
    float lowest = levels->n == 0 ? 0 : levels->level[0], inverse = 1 / (levels->high - lowest);
    for (size_t k = 0; k < n; k++) {
        size_t c = f->order[k], at = k * ROWS + lane;
        float factor = column != NULL ? column[c] : 1, step = (r->high[c] - r->low[c]) * inverse;
        s->x[at] = x[c] * factor;
        s->base[at] = levels->n == 0 ? r->low[c] * factor : 0;
        s->step[at] = step * factor;
        s->level[at] = level_of_code(levels, r->codes[c], pare_type_codes(type)->level);
    }
}

static void take_row(const pare_form *f, pare_type type, const pare_feedback_levels *levels,
                     const pare_feedback_slab *s, size_t lane, const row *r, uint8_t *bytes)
{
    for (size_t k = 0; k < f->n; k++)
        r->codes[f->order[k]] = code_of_level(levels, s->level[k * ROWS + lane]);
    put_codes(type, f->n, r->codes, bytes);
}

void pare_feedback_rows(const pare_form *form, pare_type type, const float *x, size_t n_rows, const float *column,
                        int n_sweeps, void *dst, void *scratch, double *before, double *after)
{
    if (pare_feedback_unit(type) > 1) {
        pare_feedback_grid_rows(form, type, x, n_rows, column, n_sweeps, dst, scratch, before, after);
        return;
    }
    size_t n = form->n, bytes = row_bytes(type, n);
    pare_feedback_slab s = pare_feedback_slab_in(scratch, n);
    float *low = (float *)scratch + pare_feedback_slab_floats(n);
    row r = {.low = low, .high = low + n};
    r.codes = (uint8_t *)(r.high + n);
    r.bytes = r.codes + n;
    pare_feedback_levels levels;
    make_levels(pare_type_codes(type), &levels);
    for (size_t i = 0; i < n_rows; i++)
        load_row(form, type, &levels, x + i * n, column, (uint8_t *)dst + i * bytes, &r, i, &s);
    pare_path_now()->feedback_round(form, &levels, n_sweeps, &s);
    for (size_t i = 0; i < n_rows; i++)
        if (pare_feedback_slab_settle(&s, i, before, after))
            take_row(form, type, &levels, &s, i, &r, (uint8_t *)dst + i * bytes);
}
