/* FP8, NVFP4 and MXFP4 as compressed-tensors stores them: the layouts are in packed_compressed.c.
 *
 * FP8 has a scale a row. MXFP4 and NVFP4 come from blocks of these types, without a change where the weights are stored
 * so already; NVFP4 divides a weight by a factor before, so that the scales of its blocks are numbers that E4M3 has. */
#include "core/bytes.h"
#include "core/checked.h"
#include "core/half.h"
#include "core/scratch.h"
#include "formats/pack_compressed.h"
#include "model/factor.h"
#include "quant/f8_fit.h"
#include "quant/mxfp4.h"
#include "quant/nvfp4.h"
#include "quant/path_table.h"
#include "quant/registry.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NVFP4_SUB = 16, LANES_AHEAD = 64 };

typedef struct making {
    pare_tensor weight;
    pare_factor factor; /* of NVFP4 */
    float value;
} making;

/* ---- FP8 ---- */

/* Of a row: the largest binary16. Larger ones could be stored as floats; the integers of this layout have the same
 * limit, and a runtime that computes in 16 bits could not use them, nor the rest of such a row, which is zeros. */
#define MAX_SCALE 65504.0f

static pare_status fit_row(const making *m, uint64_t row, float *x, uint8_t *codes, float *scale, pare_error *err)
{
    size_t n = (size_t)m->weight.row_len;
    pare_status st = pare_tensor_read_f32(&m->weight, row, 1, x, err);
    size_t bad = st == PARE_OK ? pare_path_now()->find_above(x, n, FLT_MAX) : n;
    if (bad < n)
        return pare_fail(err, PARE_ERR_NUMBER,
                         "tensor '%s': row %" PRIu64 ", column %zu holds a weight that is not finite", m->weight.name,
                         row, bad);
    if (st == PARE_OK && (bad = pare_path_now()->find_above(x, n, MAX_SCALE * 448)) < n)
        return pare_fail(err, PARE_ERR_NUMBER,
                         "tensor '%s': row %" PRIu64 ", column %zu: %.9g is too large for a binary16 scale",
                         m->weight.name, row, bad, (double)x[bad]);
    if (st == PARE_OK)
        *scale = pare_f8_e4m3_fit(x, n, codes);
    return st;
}

/* Rows of codes, or of one scale each. */
static pare_status read_f8(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const making *m = t->ctx;
    size_t n = (size_t)m->weight.row_len, bytes = n * (sizeof(float) + 1);
    float *x = pare_scratch_alloc(bytes);
    bool codes = t->type == PARE_TYPE_F8_E4M3;
    pare_status st = PARE_OK;
    if (x == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for a row of %zu weights", t->name, n);
    for (uint64_t i = 0; i < n_rows && st == PARE_OK; i++) {
        float scale = 1;
        uint8_t *to = (uint8_t *)dst + i * t->row_bytes;
        if ((st = pare_check_interrupt(err)) == PARE_OK)
            st = fit_row(m, row + i, x, codes ? to : (uint8_t *)(x + n), &scale, err);
        if (st == PARE_OK && !codes)
            pare_store_u32le(to, pare_f32_to_bits(scale));
    }
    pare_scratch_free(x, bytes);
    pare_tensor_release(&m->weight, row, n_rows);
    return st;
}

/* ---- FP4 ---- */

/* Blocks of a row in `type`, padded with zeros to whole ones. x: room for as many weights. */
static pare_status encode_blocks(making *m, pare_type type, uint64_t row, float *x, size_t padded, void *blocks,
                                 pare_error *err)
{
    size_t n = (size_t)m->weight.row_len;
    pare_error inner = {0};
    if (m->weight.type == type)
        return pare_tensor_read(&m->weight, row, 1, blocks, err);
    pare_status st = type == PARE_TYPE_NVFP4 ? pare_factor_find(&m->factor, err) : PARE_OK;
    if (st == PARE_OK)
        st = pare_tensor_read_f32(&m->weight, row, 1, x, err);
    if (st != PARE_OK)
        return st;
    float factor = type == PARE_TYPE_NVFP4 ? m->value : 1;
    for (size_t i = 0; i < n; i++)
        x[i] /= factor;
    for (size_t i = n; i < padded; i++)
        x[i] = 0;
    st = pare_encode_rows(type, x, 1, padded, NULL, PARE_EFFORT_DEFAULT, blocks, &inner);
    return st == PARE_OK ? st : pare_fail(err, st, "tensor '%s', row %" PRIu64 ": %s", m->weight.name, row, inner.text);
}

/* k bytes with nibble j below and j + k above become nibbles in turn, the first in the low half. */
static void sort_nibbles(const uint8_t *from, uint8_t *to, size_t k)
{
    for (size_t i = 0; i < k; i++) {
        size_t j = 2 * i % k, shift = 2 * i < k ? 0 : 4;
        to[i] = (uint8_t)((from[j] >> shift & 15) | (from[j + 1] >> shift & 15) << 4);
    }
}

/* What a row of t is, out of blocks: codes in the order of the columns, or scales. */
static void take_mxfp4(const pare_tensor *t, const pare_mxfp4 *b, bool codes, uint8_t *to)
{
    for (uint64_t i = 0; i < t->row_bytes; i += codes ? sizeof b->qs : 1, b++)
        if (codes)
            sort_nibbles(b->qs, to + i, sizeof b->qs);
        else
            to[i] = b->e;
}

static void take_nvfp4(const pare_tensor *t, const pare_nvfp4 *b, bool codes, uint8_t *to)
{
    size_t step = codes ? NVFP4_SUB / 2 : 1, part = 0;
    for (uint64_t i = 0; i < t->row_bytes; i += step, part++) {
        const pare_nvfp4 *block = b + part / sizeof b->d;
        if (codes)
            sort_nibbles(block->qs + part % sizeof b->d * step, to + i, step);
        else
            to[i] = block->d[part % sizeof b->d];
    }
}

static pare_status read_fp4(const pare_tensor *t, pare_type type, uint64_t row, uint64_t n_rows, void *dst, bool codes,
                            pare_error *err)
{
    making *m = (making *)(uintptr_t)t->ctx; /* ours, in the arena; const only through the tensor */
    const pare_type_info *info = pare_type_get(type);
    size_t n_blocks = ((size_t)m->weight.row_len + info->block_len - 1) / info->block_len;
    size_t padded = n_blocks * info->block_len, bytes = padded * sizeof(float) + n_blocks * info->block_bytes;
    float *x = pare_scratch_alloc(bytes);
    void *blocks = x + padded;
    pare_status st = PARE_OK;
    if (x == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for a row of %zu weights", t->name, padded);
    for (uint64_t i = 0; i < n_rows && st == PARE_OK; i++) {
        uint8_t *to = (uint8_t *)dst + i * t->row_bytes;
        if ((st = pare_check_interrupt(err)) == PARE_OK)
            st = encode_blocks(m, type, row + i, x, padded, blocks, err);
        if (st == PARE_OK && type == PARE_TYPE_NVFP4)
            take_nvfp4(t, blocks, codes, to);
        else if (st == PARE_OK)
            take_mxfp4(t, blocks, codes, to);
    }
    pare_scratch_free(x, bytes);
    pare_tensor_release(&m->weight, row, n_rows);
    return st;
}

static pare_status read_nvfp4_codes(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    return read_fp4(t, PARE_TYPE_NVFP4, row, n_rows, dst, true, err);
}

static pare_status read_nvfp4_scales(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    return read_fp4(t, PARE_TYPE_NVFP4, row, n_rows, dst, false, err);
}

static pare_status read_mxfp4_codes(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    return read_fp4(t, PARE_TYPE_MXFP4, row, n_rows, dst, true, err);
}

static pare_status read_mxfp4_scales(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    return read_fp4(t, PARE_TYPE_MXFP4, row, n_rows, dst, false, err);
}

/* What scales are multiplied by to be stored: the reciprocal of the factor. */
static pare_status read_global(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    making *m = (making *)(uintptr_t)t->ctx;
    (void)row; /* one row */
    pare_status st = pare_factor_find(&m->factor, err);
    if (st == PARE_OK && n_rows > 0)
        pare_store_u32le(dst, pare_f32_to_bits(pare_factor_reciprocal(m->value)));
    return st;
}

/* ---- the formats ---- */

static pare_status refuse_options(const pare_pack_options *o, const char *format, unsigned bits, pare_error *err)
{
    if ((o->bits == 0 || o->bits == bits) && o->group == 0 && o->symmetric >= 0)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_USAGE, "--format %s has %u bits, and no other groups or zero points", format, bits);
}

static pare_status check_fp8(pare_pack_options *o, pare_error *err)
{
    return refuse_options(o, "fp8", 8, err);
}

static pare_status check_nvfp4(pare_pack_options *o, pare_error *err)
{
    return refuse_options(o, "nvfp4", 4, err);
}

static pare_status check_mxfp4(pare_pack_options *o, pare_error *err)
{
    return refuse_options(o, "mxfp4", 4, err);
}

static void forget(pare_model *hub)
{
    for (size_t i = 0; i < hub->n_tensors; i++)
        if (hub->tensors[i].read == read_global)
            pthread_mutex_destroy(&((making *)(uintptr_t)hub->tensors[i].ctx)->factor.lock);
}

/* Matrices that runtimes unite get one factor. */
static pare_status share_factors(pare_model *hub, pare_error *err)
{
    size_t n = 0;
    pare_factor **all = malloc(hub->n_tensors > 0 ? hub->n_tensors * sizeof *all : 1);
    if (all == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu factors", hub->path, hub->n_tensors);
    for (size_t i = 0; i < hub->n_tensors; i++)
        if (hub->tensors[i].read == read_global)
            all[n++] = &((making *)(uintptr_t)hub->tensors[i].ctx)->factor;
    pare_factors_unite(all, n);
    free(all);
    return PARE_OK;
}

static pare_status check_columns(const pare_tensor *weight, uint64_t unit, pare_error *err)
{
    if (weight->row_len % unit == 0)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_RANGE,
                     "tensor '%s': its rows of %" PRIu64 " columns are not made of groups of %" PRIu64, weight->name,
                     weight->row_len, unit);
}

static pare_status fits_nvfp4(const pare_pack *pack, const pare_tensor *weight, pare_error *err)
{
    (void)pack;
    return check_columns(weight, NVFP4_SUB, err);
}

static pare_status fits_mxfp4(const pare_pack *pack, const pare_tensor *weight, pare_error *err)
{
    (void)pack;
    return check_columns(weight, pare_type_get(PARE_TYPE_MXFP4)->block_len, err);
}

static making *start(pare_model *hub, const pare_tensor *weight, pare_status *st, pare_error *err)
{
    making *m = pare_arena_alloc(&hub->arena, sizeof *m, err);
    *st = m != NULL ? PARE_OK : PARE_ERR_MEMORY;
    if (m != NULL)
        *m = (making){.weight = *weight};
    return m;
}

/* Add a tensor that read makes, of n_dims dimensions. */
static pare_status add_part(pare_model *hub, const making *m, const char *module, const char *end, pare_tensor t,
                            pare_error *err)
{
    t.ctx = m;
    t.scratch_bytes = m->weight.scratch_bytes + (size_t)m->weight.row_bytes +
                      (size_t)(m->weight.row_len + LANES_AHEAD) * (sizeof(float) + 1);
    pare_status st = pare_tensor_set_shape(&t, m->weight.name, err);
    return st == PARE_OK ? pare_pack_add(hub, &t, module, end, err) : st;
}

static pare_status add_fp8(const pare_pack *pack, pare_model *hub, const pare_tensor *weight, const char *module,
                           pare_error *err)
{
    pare_status st;
    uint64_t out = weight->n_rows, in = weight->row_len;
    const making *m = start(hub, weight, &st, err);
    (void)pack;
    pare_tensor codes = {.type = PARE_TYPE_F8_E4M3, .n_dims = 2, .dim = {out, in}, .read = read_f8},
                scales = {.type = PARE_TYPE_F32, .n_dims = 2, .dim = {out, 1}, .read = read_f8};
    if (m != NULL)
        st = add_part(hub, m, module, ".weight", codes, err);
    return st == PARE_OK ? add_part(hub, m, module, ".weight_scale", scales, err) : st;
}

static pare_status add_nvfp4(const pare_pack *pack, pare_model *hub, const pare_tensor *weight, const char *module,
                             pare_error *err)
{
    pare_status st;
    uint64_t out = weight->n_rows, in = weight->row_len;
    making *m = start(hub, weight, &st, err);
    if (m == NULL)
        return st;
    m->factor = (pare_factor){.weight = &m->weight, .value = &m->value, .united = pack->united};
    pthread_mutex_init(&m->factor.lock, NULL);
    hub->closing = forget;
    pare_tensor codes = {.type = PARE_TYPE_U8, .n_dims = 2, .dim = {out, in / 2}, .read = read_nvfp4_codes},
                scales = {.type = PARE_TYPE_F8_E4M3,
                          .n_dims = 2,
                          .dim = {out, in / NVFP4_SUB},
                          .read = read_nvfp4_scales},
                global = {.type = PARE_TYPE_F32, .n_dims = 1, .dim = {1}, .read = read_global};
    st = add_part(hub, m, module, ".weight_global_scale", global, err);
    if (st == PARE_OK)
        st = add_part(hub, m, module, ".weight_packed", codes, err);
    return st == PARE_OK ? add_part(hub, m, module, ".weight_scale", scales, err) : st;
}

static pare_status add_mxfp4(const pare_pack *pack, pare_model *hub, const pare_tensor *weight, const char *module,
                             pare_error *err)
{
    pare_status st;
    uint64_t out = weight->n_rows, in = weight->row_len, len = pare_type_get(PARE_TYPE_MXFP4)->block_len;
    const making *m = start(hub, weight, &st, err);
    (void)pack;
    pare_tensor codes = {.type = PARE_TYPE_U8, .n_dims = 2, .dim = {out, in / 2}, .read = read_mxfp4_codes},
                scales = {.type = PARE_TYPE_U8, .n_dims = 2, .dim = {out, in / len}, .read = read_mxfp4_scales};
    if (m != NULL)
        st = add_part(hub, m, module, ".weight_packed", codes, err);
    return st == PARE_OK ? add_part(hub, m, module, ".weight_scale", scales, err) : st;
}

static json_t *fp8_settings(const pare_pack *pack)
{
    return pare_compressed_settings(pack, "float-quantized",
                                    json_pack("{s:i, s:s, s:b, s:s, s:b}", "num_bits", 8, "type", "float", "symmetric",
                                              1, "strategy", "channel", "dynamic", 0));
}

static json_t *fp4_settings(const pare_pack *pack, const char *format, const char *strategy, int group,
                            const char *scale)
{
    return pare_compressed_settings(pack, format,
                                    json_pack("{s:i, s:s, s:b, s:s, s:i, s:b, s:s}", "num_bits", 4, "type", "float",
                                              "symmetric", 1, "strategy", strategy, "group_size", group, "dynamic", 0,
                                              "scale_dtype", scale));
}

static json_t *nvfp4_settings(const pare_pack *pack)
{
    return fp4_settings(pack, "nvfp4-pack-quantized", "tensor_group", NVFP4_SUB, "torch.float8_e4m3fn");
}

/* transformers 5.23 integrations/compressed_tensors.py, with compressed-tensors 0.20 (docs/formats/PACKED.md). A factor
 * of 1 may be left out. */
static const char *nvfp4_experts_differ(const pare_pack *pack, const pare_tensor *weight)
{
    (void)pack;
    if (weight->type == PARE_TYPE_NVFP4 && (weight->factor == NULL || *weight->factor == 1))
        return NULL;
    return "transformers (up to 5.23) leaves out 'weight_global_scale' of experts, whoever wrote it, and computes "
           "something else; vLLM reads it; both read mxfp4, fp8, compressed-tensors, and the blocks without such a "
           "scale that 'quantize -t nvfp4 --no-tensor-scale' makes";
}

static json_t *mxfp4_settings(const pare_pack *pack)
{
    return fp4_settings(pack, "mxfp4-pack-quantized", "group", (int)pare_type_get(PARE_TYPE_MXFP4)->block_len,
                        "torch.uint8");
}

const pare_pack_format pare_pack_fp8 = {
    .name = "fp8", .dtype = PARE_TYPE_NONE, .check = check_fp8, .add = add_fp8, .settings = fp8_settings};
const pare_pack_format pare_pack_nvfp4 = {.name = "nvfp4",
                                          .dtype = PARE_TYPE_NONE,
                                          .check = check_nvfp4,
                                          .fits = fits_nvfp4,
                                          .add = add_nvfp4,
                                          .finish = share_factors,
                                          .experts_differ = nvfp4_experts_differ,
                                          .settings = nvfp4_settings};
const pare_pack_format pare_pack_mxfp4 = {.name = "mxfp4",
                                          .dtype = PARE_TYPE_NONE,
                                          .check = check_mxfp4,
                                          .fits = fits_mxfp4,
                                          .add = add_mxfp4,
                                          .settings = mxfp4_settings};
