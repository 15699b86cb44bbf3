#include "formats/packed_grid.h"
#include "core/checked.h"
#include "core/half.h"
#include "core/scratch.h"
#include "quant/int_block.h"

#include <inttypes.h>
#include <stdlib.h>

float pare_grid_float(const pare_tensor *t, uint64_t i)
{
    if (t->type == PARE_TYPE_F32)
        return pare_bits_to_f32(pare_load_u32le(t->data + 4 * i));
    uint16_t h = pare_load_u16le(t->data + 2 * i);
    return t->type == PARE_TYPE_F16 ? pare_f16_to_f32(h) : pare_bf16_to_f32(h);
}

unsigned pare_grid_number(const uint8_t *data, uint64_t step, unsigned b, uint64_t i)
{
    uint64_t bit = i * b, word = bit / 32;
    unsigned shift = bit % 32;
    uint64_t v = pare_load_u32le(data + 4 * word * step);
    if (shift + b > 32)
        v |= (uint64_t)pare_load_u32le(data + 4 * (word + 1) * step) << 32;
    return (unsigned)(v >> shift) & ((1u << b) - 1);
}

/* Whether every scale is a binary16 number. */
static bool are_half(const pare_tensor *scales)
{
    bool all = true;
    if (scales->type == PARE_TYPE_F16)
        return true;
    for (uint64_t i = 0; i < scales->n_rows * scales->row_len && all; i++) {
        float s = pare_grid_float(scales, i);
        all = pare_f16_to_f32(pare_f32_to_f16(s)) == s;
    }
    pare_tensor_release(scales, 0, scales->n_rows);
    return all;
}

/* How many neighbours, from the first column on, are sure to share a scale: PARE_INT_BLOCK_MAX, an eighth of it, or 1.
 */
static uint64_t shared_run(const pare_grid *g)
{
    uint64_t run = PARE_INT_BLOCK_MAX;
    if (g->group_of == NULL)
        return g->group;
    for (uint64_t c = 0; c < g->row_len; c++)
        while (run > 1 && g->group_of[c] != g->group_of[c - c % run])
            run = run > 32 ? 32 : 1;
    return run;
}

static pare_status check_even(const pare_packed *p, const pare_tensor *t, const pare_grid *g, const uint32_t *order,
                              pare_error *err)
{
    uint64_t n_groups = g->row_len / g->group;
    uint64_t *n = calloc((size_t)n_groups, sizeof *n);
    pare_status st = PARE_OK;
    if (n == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: tensor '%s': no memory for %" PRIu64 " groups", p->path, t->name,
                         n_groups);
    for (uint64_t c = 0; c < g->row_len; c++)
        n[order[c]]++;
    for (uint64_t i = 0; i < n_groups && st == PARE_OK; i++)
        if (n[i] != g->group)
            st = pare_fail(err, PARE_ERR_RANGE,
                           "%s: tensor '%s': group %" PRIu64 " has %" PRIu64 " columns, where each has %" PRIu64,
                           p->path, t->name, i, n[i], g->group);
    free(n);
    return st;
}

pare_status pare_grid_order(const pare_packed *p, const pare_tensor *t, bool even, pare_grid *g, pare_error *err)
{
    uint64_t n_groups = g->row_len / g->group;
    bool plain = true;
    if (t->type != PARE_TYPE_I32 || t->n_dims != 1 || t->row_len != g->row_len)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s' has %" PRIu64 " %s, where a weight of %" PRIu64 " columns needs as many i32",
                         p->path, t->name, t->n_rows * t->row_len, pare_type_get(t->type)->name, g->row_len);
    uint32_t *order = pare_arena_alloc(p->arena, (size_t)t->n_bytes, err);
    if (order == NULL)
        return PARE_ERR_MEMORY;
    for (uint64_t c = 0; c < g->row_len; c++) {
        order[c] = pare_load_u32le(t->data + 4 * c);
        if (order[c] >= n_groups)
            return pare_fail(err, PARE_ERR_RANGE,
                             "%s: tensor '%s': column %" PRIu64 " is in group %" PRId32 " of %" PRIu64, p->path,
                             t->name, c, (int32_t)order[c], n_groups);
        plain = plain && order[c] == c / g->group;
    }
    g->group_of = plain ? NULL : order;
    return even ? check_even(p, t, g, order, err) : PARE_OK;
}

static void put_floats(const pare_grid *g, const int16_t *codes, const float *scales, float *dst)
{
    for (uint64_t c = 0; c < g->row_len; c++)
        dst[c] = (float)codes[c] * scales[pare_grid_group(g, c)];
}

static void put_blocks(const pare_grid *g, pare_type type, const int16_t *codes, const float *scales, uint8_t *dst)
{
    const pare_type_info *info = pare_type_get(type);
    for (uint64_t c = 0; c < g->row_len; c += info->block_len, dst += info->block_bytes) {
        float s = scales[pare_grid_group(g, c)];
        pare_int_block_put(type, codes + c, pare_f32_to_f16(s), dst);
    }
}

static pare_status read_grid(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const pare_grid *g = t->ctx;
    size_t floats = (size_t)(g->row_len / g->group) * sizeof(float), bytes = t->scratch_bytes;
    float *scales = pare_scratch_alloc(bytes);
    if (scales == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for a row of %" PRIu64 " weights", t->name,
                         t->row_len);
    int16_t *codes = (int16_t *)((uint8_t *)scales + floats);
    for (uint64_t i = 0; i < n_rows; i++) {
        uint8_t *to = (uint8_t *)dst + i * t->row_bytes;
        g->codes(g, row + i, codes);
        g->scales(g, row + i, scales);
        if (t->type == PARE_TYPE_F32)
            put_floats(g, codes, scales, (float *)(void *)to);
        else
            put_blocks(g, t->type, codes, scales, to);
    }
    pare_scratch_free(scales, bytes);
    return PARE_OK;
}

/* The parts may lie across the rows, so their pages go with the last row. */
static void release_grid(const pare_tensor *t, uint64_t row, uint64_t n_rows)
{
    const pare_grid *g = t->ctx;
    for (size_t i = 0; i < PARE_GRID_PARTS && row + n_rows == t->n_rows; i++)
        if (g->part[i].data != NULL)
            pare_tensor_release(&g->part[i], 0, g->part[i].n_rows);
}

pare_status pare_grid_tensor(pare_arena *arena, const pare_grid *g, const pare_tensor *scales, pare_tensor *out,
                             pare_error *err)
{
    size_t codes = 0, floats = 0;
    if (!pare_mul_size((size_t)g->row_len, sizeof(int16_t), &codes) ||
        !pare_mul_size((size_t)(g->row_len / g->group), sizeof(float), &floats))
        return pare_fail(err, PARE_ERR_RANGE, "tensor '%s': rows of %" PRIu64 " weights overflow", out->name,
                         g->row_len);
    pare_grid *kept = pare_arena_alloc(arena, sizeof *kept, err);
    if (kept == NULL)
        return PARE_ERR_MEMORY;
    *kept = *g;
    pare_type type = pare_int_block_type(g->low, g->high, g->row_len, shared_run(g));
    out->type = type != PARE_TYPE_NONE && are_half(scales) ? type : PARE_TYPE_F32;
    out->n_dims = 2;
    out->dim[0] = g->n_rows;
    out->dim[1] = g->row_len;
    out->read = read_grid;
    out->release = release_grid;
    out->ctx = kept;
    if (!pare_add_size(codes, floats, &out->scratch_bytes))
        return pare_fail(err, PARE_ERR_RANGE, "tensor '%s': rows of %" PRIu64 " weights overflow", out->name,
                         g->row_len);
    return pare_tensor_set_shape(out, out->name, err);
}
