/* Experts in one tensor a layer as gpt-oss is published: packed_mxfp4.c the other way round. Blocks of MXFP4 keep their
 * bits, other types are encoded as `quantize` does. */
#include "core/scratch.h"
#include "formats/pack.h"
#include "quant/mxfp4.h"
#include "quant/registry.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK_WEIGHTS = 32 };

/* One row of the weight in blocks; x: room for its floats. */
static pare_status read_blocks(const pare_tensor *weight, uint64_t row, float *x, pare_mxfp4 *blocks, pare_error *err)
{
    if (weight->type == PARE_TYPE_MXFP4)
        return pare_tensor_read(weight, row, 1, blocks, err);
    pare_error inner = {0};
    pare_status st = pare_tensor_read_f32(weight, row, 1, x, err);
    if (st != PARE_OK)
        return st;
    st = pare_encode_rows(PARE_TYPE_MXFP4, x, 1, (size_t)weight->row_len, NULL, PARE_EFFORT_DEFAULT, blocks, &inner);
    return st == PARE_OK ? st : pare_fail(err, st, "tensor '%s', row %" PRIu64 ": %s", weight->name, row, inner.text);
}

/* Codes 2j and 2j + 1 of a block in byte j. */
static void put_codes(const pare_mxfp4 *block, uint8_t *to)
{
    for (int j = 0; j < 8; j++) {
        to[j] = (uint8_t)((block->qs[2 * j] & 15) | (block->qs[2 * j + 1] & 15) << 4);
        to[j + 8] = (uint8_t)(block->qs[2 * j] >> 4 | (block->qs[2 * j + 1] & 0xf0));
    }
}

/* Units of t are blocks of codes (one a row of t), or scales (a row of t for a row of the weight). */
static pare_status read_part(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const pare_tensor *weight = t->ctx;
    bool codes = t->n_dims == 4;
    uint64_t n = weight->row_len / BLOCK_WEIGHTS, step = codes ? 1 : n;
    size_t bytes = (size_t)weight->row_len * sizeof(float) + (size_t)n * sizeof(pare_mxfp4);
    float *x = pare_scratch_alloc(bytes);
    pare_mxfp4 *blocks = (pare_mxfp4 *)(void *)(x + weight->row_len);
    uint8_t *to = dst;
    pare_status st = PARE_OK;
    if (x == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for a row of %" PRIu64 " weights", t->name,
                         weight->row_len);
    for (uint64_t at = row * step, end = (row + n_rows) * step; at < end && st == PARE_OK;) {
        uint64_t first = at % n, last = end - at < n - first ? first + end - at : n;
        st = read_blocks(weight, at / n, x, blocks, err);
        for (uint64_t i = first; i < last && st == PARE_OK; i++, to += codes ? sizeof blocks->qs : 1) {
            if (codes)
                put_codes(&blocks[i], to);
            else
                *to = blocks[i].e;
        }
        at += last - first;
    }
    pare_scratch_free(x, bytes);
    return st;
}

static pare_status add_experts(pare_model *hub, const pare_tensor *weight, const char *name, pare_error *err)
{
    pare_tensor *copy = pare_arena_alloc(&hub->arena, sizeof *copy, err);
    uint64_t n = weight->row_len / BLOCK_WEIGHTS;
    if (copy == NULL)
        return PARE_ERR_MEMORY;
    if (weight->n_dims != 3 || weight->row_len % BLOCK_WEIGHTS != 0)
        return pare_fail(err, PARE_ERR_RANGE,
                         "tensor '%s': its rows of %" PRIu64 " columns are not made of blocks of %d", name,
                         weight->row_len, BLOCK_WEIGHTS);
    *copy = *weight;
    pare_tensor parts[2] = {
        {.type = PARE_TYPE_U8, .n_dims = 4, .dim = {weight->dim[0], weight->dim[1], n, BLOCK_WEIGHTS / 2}},
        {.type = PARE_TYPE_U8, .n_dims = 3, .dim = {weight->dim[0], weight->dim[1], n}}};
    pare_status st = PARE_OK;
    for (int i = 0; i < 2 && st == PARE_OK; i++) {
        parts[i].read = read_part;
        parts[i].ctx = copy;
        parts[i].base = copy;
        parts[i].scratch_bytes = weight->scratch_bytes + (size_t)weight->row_len * 5;
        if ((st = pare_tensor_set_shape(&parts[i], name, err)) == PARE_OK)
            st = pare_pack_add(hub, &parts[i], name, i == 0 ? "_blocks" : "_scales", err);
    }
    return st;
}

static pare_status check(pare_pack_options *o, pare_error *err)
{
    if ((o->bits == 0 || o->bits == 4) && o->group == 0 && o->symmetric >= 0)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_USAGE, "--format mxfp4-experts has 4 bits, and no other groups or zero points");
}

static json_t *settings(const pare_pack *pack)
{
    (void)pack;
    return json_pack("{s:s, s:[s, s, s, s]}", "quant_method", "mxfp4", "modules_to_not_convert",
                     "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head");
}

const pare_pack_format pare_pack_mxfp4_experts = {
    .name = "mxfp4-experts",
    .dtype = PARE_TYPE_BF16,
    .check = check,
    .add_experts = add_experts,
    .settings = settings,
};
