/* bitsandbytes. Of 8 bits (LLM.int8(), arXiv 2208.07339):
 *
 *     weight I8 [out, in]   SCB F32 [out]         weight = code * SCB / 127
 *
 * of 4 (QLoRA, arXiv 2305.14314), where weights count through the whole matrix, row by row:
 *
 *     weight            U8, two codes a byte, the first in the high nibble
 *     weight.absmax     F32, one a block of `blocksize`    weight = quant_map[code] * absmax
 *     weight.quant_map  F32 [16]
 *     weight.quant_state.bitsandbytes__nf4 (or fp4)  U8, JSON: blocksize, shape, ...
 *
 * where absmax may be packed itself: U8, nested_quant_map[code] * nested_absmax + nested_offset, the former F32 [256],
 * the next one a block of `nested_blocksize`. */
#include "core/bytes.h"
#include "formats/packed.h"
#include "formats/packed_scaled.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { N_CODES = 16, N_NESTED = 256, MAX_STATE_BYTES = 1 << 20 };

typedef struct nibbles {
    pare_tensor code, absmax, nested; /* as the file has them; nested.data NULL: absmax is floats */
    uint64_t block, nested_block;
    float map[N_CODES], nested_map[N_NESTED], offset;
} nibbles;

/* ---- reading ---- */

static float block_scale(const nibbles *v, uint64_t block)
{
    if (v->nested.data == NULL)
        return pare_load_f32le(v->absmax.data + 4 * block);
    return v->nested_map[v->absmax.data[block]] * pare_load_f32le(v->nested.data + 4 * (block / v->nested_block)) +
           v->offset;
}

static pare_status read_nibbles(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const nibbles *v = t->ctx;
    float *x = dst;
    (void)err;
    for (uint64_t i = row * t->row_len, end = i + n_rows * t->row_len; i < end;) {
        uint64_t stop = (i / v->block + 1) * v->block;
        float scale = block_scale(v, i / v->block);
        for (stop = stop < end ? stop : end; i < stop; i++)
            *x++ = v->map[v->code.data[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15] * scale;
    }
    return PARE_OK;
}

static void release_nibbles(const pare_tensor *t, uint64_t row, uint64_t n_rows)
{
    const nibbles *v = t->ctx;
    if (row + n_rows == t->n_rows)
        pare_tensor_release(&v->code, 0, v->code.n_rows);
}

/* ---- opening ---- */

/* Tensor <module><end> as it is stored, with n elements. */
static pare_status take(const pare_packed *p, const char *module, const char *end, pare_type type, uint64_t n,
                        pare_tensor *out, pare_error *err)
{
    const pare_tensor *t = pare_packed_part(p, module, end);
    if (t == NULL)
        return pare_packed_lacks(p, module, end, err);
    if (t->type != type || t->n_rows * t->row_len != n)
        return pare_fail(
            err, PARE_ERR_RANGE, "%s: tensor '%s' has %" PRIu64 " elements of type %s, expected %" PRIu64 " of type %s",
            p->path, t->name, t->n_rows * t->row_len, pare_type_get(t->type)->name, n, pare_type_get(type)->name);
    *out = *t;
    return PARE_OK;
}

static pare_status take_floats(const pare_packed *p, const char *module, const char *end, uint64_t n, float *out,
                               pare_error *err)
{
    pare_tensor t;
    pare_status st = take(p, module, end, PARE_TYPE_F32, n, &t, err);
    for (uint64_t i = 0; i < n && st == PARE_OK; i++)
        if (!isfinite(out[i] = pare_load_f32le(t.data + 4 * i)))
            st = pare_fail(err, PARE_ERR_NUMBER, "%s: tensor '%s' holds %g at %" PRIu64, p->path, t.name,
                           (double)out[i], i);
    return st;
}

static uint64_t blocks_of(uint64_t n, uint64_t block)
{
    return n / block + (n % block != 0);
}

/* absmax, packed or not, for n weights. */
static pare_status take_scales(const pare_packed *p, const char *module, const json_t *state, const char *path,
                               uint64_t n, nibbles *v, pare_error *err)
{
    double offset = 0;
    uint64_t blocks = blocks_of(n, v->block);
    if (pare_packed_part(p, module, ".weight.nested_absmax") == NULL)
        return take(p, module, ".weight.absmax", PARE_TYPE_F32, blocks, &v->absmax, err);
    pare_status st = pare_json_u64(state, path, "nested_blocksize", 1, UINT32_MAX, &v->nested_block, NULL, err);
    if (st == PARE_OK)
        st = pare_json_f64(state, path, "nested_offset", &offset, NULL, err);
    v->offset = (float)offset;
    if (st == PARE_OK)
        st = take(p, module, ".weight.absmax", PARE_TYPE_U8, blocks, &v->absmax, err);
    if (st == PARE_OK)
        st = take(p, module, ".weight.nested_absmax", PARE_TYPE_F32, blocks_of(blocks, v->nested_block), &v->nested,
                  err);
    return st == PARE_OK ? take_floats(p, module, ".weight.nested_quant_map", N_NESTED, v->nested_map, err) : st;
}

/* The shape, and from it how many bytes of codes there must be. */
static pare_status read_shape(const pare_packed *p, const json_t *state, const char *path, const pare_tensor *code,
                              pare_tensor *out, pare_error *err)
{
    const json_t *shape = json_object_get(state, "shape");
    json_int_t rows = json_integer_value(json_array_get(shape, 0)),
               columns = json_integer_value(json_array_get(shape, 1));
    if (json_array_size(shape) != 2 || rows < 1 || columns < 1 || rows > INT32_MAX || columns > INT32_MAX)
        return pare_fail(err, PARE_ERR_RANGE, "%s: 'shape' is no list of rows and columns up to %d", path, INT32_MAX);
    uint64_t n = (uint64_t)rows * (uint64_t)columns;
    if (code->type != PARE_TYPE_U8 || n % 2 != 0 || code->n_bytes != n / 2)
        return pare_fail(
            err, PARE_ERR_RANGE,
            "%s: tensor '%s' has %" PRIu64 " bytes of type %s, 'shape' says %lld rows of %lld weights of 4 "
            "bits",
            p->path, code->name, code->n_bytes, pare_type_get(code->type)->name, (long long)rows, (long long)columns);
    out->type = PARE_TYPE_F32;
    out->n_dims = 2;
    out->dim[0] = (uint64_t)rows;
    out->dim[1] = (uint64_t)columns;
    return pare_tensor_set_shape(out, p->path, err);
}

static pare_status unpack_nibbles(const pare_packed *p, const pare_tensor *code, const pare_tensor *said,
                                  const char *module, pare_tensor *out, pare_error *err)
{
    json_t *state = NULL;
    nibbles *v = pare_arena_alloc(p->arena, sizeof *v, err);
    if (v == NULL)
        return PARE_ERR_MEMORY;
    if (said->n_bytes > MAX_STATE_BYTES)
        return pare_fail(err, PARE_ERR_RANGE, "%s: tensor '%s' has %" PRIu64 " bytes, at most %d are read", p->path,
                         said->name, said->n_bytes, MAX_STATE_BYTES);
    *v = (nibbles){.code = *code};
    pare_status st = pare_json_parse(&state, said->name, said->data, (size_t)said->n_bytes, 0, err);
    if (st == PARE_OK)
        st = read_shape(p, state, said->name, code, out, err);
    if (st == PARE_OK)
        st = pare_json_u64(state, said->name, "blocksize", 1, UINT32_MAX, &v->block, NULL, err);
    if (st == PARE_OK)
        st = take_scales(p, module, state, said->name, out->n_rows * out->row_len, v, err);
    if (st == PARE_OK)
        st = take_floats(p, module, ".weight.quant_map", N_CODES, v->map, err);
    json_decref(state);
    out->read = read_nibbles;
    out->release = release_nibbles;
    out->ctx = v;
    return st;
}

static pare_status unpack_bytes(const pare_packed *p, const pare_tensor *code, const pare_tensor *scale,
                                const char *module, pare_tensor *out, pare_error *err)
{
    static const uint64_t no_tile[2] = {0};
    const pare_tensor *order = pare_packed_part(p, module, ".weight_format");
    float row_major = 0;
    if (code->type != PARE_TYPE_I8)
        return pare_fail(err, PARE_ERR_RANGE, "%s: tensor '%s' beside '%s' has type %s, expected i8", p->path,
                         code->name, scale->name, pare_type_get(code->type)->name);
    if (order != NULL && (order->n_rows * order->row_len != 1 ||
                          pare_tensor_read_f32(order, 0, 1, &row_major, NULL) != PARE_OK || row_major != 0))
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: tensor '%s' is not 0: the order of rows is the only one read",
                         p->path, order->name);
    const pare_codes how = {.code = code, .scale = scale, .factor = 1.0f / 127};
    return pare_packed_scaled(p, &how, no_tile, out, err);
}

static pare_status unpack(const pare_packed *p, const pare_tensor *primary, const char *module, pare_tensor *out,
                          pare_error *err)
{
    const pare_tensor *scale = pare_packed_part(p, module, ".SCB");
    const pare_tensor *state = pare_packed_part(p, module, ".weight.quant_state.bitsandbytes__nf4");
    if (state == NULL)
        state = pare_packed_part(p, module, ".weight.quant_state.bitsandbytes__fp4");
    if (state != NULL)
        return unpack_nibbles(p, primary, state, module, out, err);
    if (scale != NULL)
        return unpack_bytes(p, primary, scale, module, out, err);
    if (primary->type == PARE_TYPE_U8 || primary->type == PARE_TYPE_I8)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: tensor '%s' has type %s, but neither SCB nor a quant_state",
                         p->path, primary->name, pare_type_get(primary->type)->name);
    *out = *primary;
    return PARE_OK;
}

const pare_packed_format pare_packed_bnb = {
    .method = "bitsandbytes",
    .name = "bitsandbytes",
    .primaries = (const char *const[]){".weight", NULL},
    .parts =
        (const char *const[]){".SCB", ".weight_format", ".weight.absmax", ".weight.quant_map", ".weight.nested_absmax",
                              ".weight.nested_quant_map", ".weight.quant_state.bitsandbytes__nf4",
                              ".weight.quant_state.bitsandbytes__fp4", NULL},
    .unpack = unpack,
};
