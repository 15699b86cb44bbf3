/* Integers as compressed-tensors stores them: the layout is in packed_compressed.c. Rows are the weight's own, so each
 * tensor is made row by row, except zero points, of which a word holds those of several rows. */
#include "formats/pack_compressed.h"
#include "core/bytes.h"
#include "core/checked.h"
#include "core/half.h"
#include "core/scratch.h"
#include "quant/path_table.h"

#include <float.h>
#include <inttypes.h>
#include <string.h>

typedef struct making {
    pare_tensor weight;
    uint64_t group;
    pare_group_shape shape;
} making;

/* ---- rows ---- */

/* A row of the weight, as groups. */
typedef struct fitted {
    float *x;
    uint8_t *codes;
    pare_group *groups;
} fitted;

static size_t fitted_bytes(const making *m)
{
    size_t n = (size_t)m->weight.row_len;
    return n * sizeof(float) + n / (size_t)m->group * sizeof(pare_group) + n;
}

static fitted place(const making *m, void *memory)
{
    size_t n = (size_t)m->weight.row_len;
    fitted f = {.x = memory};
    f.groups = (pare_group *)(void *)(f.x + n);
    f.codes = (uint8_t *)(f.groups + n / (size_t)m->group);
    return f;
}

static pare_status fit_row(const making *m, uint64_t row, const fitted *f, pare_error *err)
{
    const pare_path_table *path = pare_path_now();
    size_t n = (size_t)m->weight.row_len, group = (size_t)m->group;
    pare_status st = pare_tensor_read_f32(&m->weight, row, 1, f->x, err);
    if (st != PARE_OK)
        return st;
    size_t bad = path->find_above(f->x, n, FLT_MAX);
    if (bad < n)
        return pare_fail(err, PARE_ERR_NUMBER,
                         "tensor '%s': row %" PRIu64 ", column %zu holds a weight that is not finite", m->weight.name,
                         row, bad);
    for (size_t c = 0; c < n; c += group)
        if (!path->group_fit(&m->shape, f->x + c, NULL, group, &f->groups[c / group], f->codes + c))
            return pare_fail(err, PARE_ERR_NUMBER,
                             "tensor '%s': row %" PRIu64 ": the weights from column %zu on are too large for a "
                             "binary16 scale",
                             m->weight.name, row, c);
    return PARE_OK;
}

/* Or number i of b bits, a divisor of 32, into zeroed words. */
static void put_number(uint8_t *words, uint64_t i, unsigned b, unsigned number)
{
    uint64_t bit = i * b;
    words[bit / 8] = (uint8_t)(words[bit / 8] | number << bit % 8);
}

static void put_codes(const making *m, const fitted *f, uint8_t *dst, size_t row_bytes)
{
    memset(dst, 0, row_bytes);
    for (uint64_t i = 0; i < m->weight.row_len; i++)
        put_number(dst, i, (unsigned)m->shape.bits, f->codes[i]);
}

static void put_scales(const making *m, const fitted *f, uint8_t *dst, size_t row_bytes)
{
    (void)m;
    for (size_t i = 0; i < row_bytes / 2; i++)
        pare_store_u16le(dst + 2 * i, f->groups[i].d);
}

static void put_wide_scales(const making *m, const fitted *f, uint8_t *dst, size_t row_bytes)
{
    (void)m;
    for (size_t i = 0; i < row_bytes / 4; i++)
        pare_store_u32le(dst + 4 * i, pare_f32_to_bits(pare_f16_to_f32(f->groups[i].d)));
}

static pare_status read_rows(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst,
                             void (*put)(const making *m, const fitted *f, uint8_t *dst, size_t row_bytes),
                             pare_error *err)
{
    const making *m = t->ctx;
    size_t bytes = fitted_bytes(m);
    void *memory = pare_scratch_alloc(bytes);
    pare_status st = PARE_OK;
    if (memory == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for a row of %" PRIu64 " weights", t->name,
                         m->weight.row_len);
    const fitted f = place(m, memory);
    for (uint64_t i = 0; i < n_rows && st == PARE_OK; i++) {
        if ((st = pare_check_interrupt(err)) == PARE_OK && (st = fit_row(m, row + i, &f, err)) == PARE_OK)
            put(m, &f, (uint8_t *)dst + i * t->row_bytes, (size_t)t->row_bytes);
    }
    pare_scratch_free(memory, bytes);
    pare_tensor_release(&m->weight, row, n_rows);
    return st;
}

static pare_status read_codes(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    return read_rows(t, row, n_rows, dst, put_codes, err);
}

static pare_status read_scales(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    return read_rows(t, row, n_rows, dst, t->type == PARE_TYPE_F32 ? put_wide_scales : put_scales, err);
}

/* Words that hold the zero points of 32 / bits rows, one below the other. */
static pare_status read_zeros(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const making *m = t->ctx;
    unsigned bits = (unsigned)m->shape.bits, per_word = 32 / bits;
    size_t bytes = fitted_bytes(m);
    void *memory = pare_scratch_alloc(bytes);
    pare_status st = PARE_OK;
    if (memory == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for a row of %" PRIu64 " weights", t->name,
                         m->weight.row_len);
    const fitted f = place(m, memory);
    memset(dst, 0, (size_t)(n_rows * t->row_bytes));
    for (uint64_t r = row * per_word; r < (row + n_rows) * per_word && r < m->weight.n_rows && st == PARE_OK; r++) {
        uint8_t *words = (uint8_t *)dst + (r / per_word - row) * t->row_bytes;
        if ((st = fit_row(m, r, &f, err)) != PARE_OK)
            break;
        for (uint64_t g = 0; g < t->row_len; g++)
            put_number(words + 4 * g, r % per_word, bits, f.groups[g].zero);
    }
    pare_scratch_free(memory, bytes);
    return st;
}

/* ---- the format ---- */

static pare_status check(pare_pack_options *o, pare_error *err)
{
    o->bits = o->bits > 0 ? o->bits : 4;
    o->group = o->group != 0 ? o->group : 128;
    o->symmetric = o->symmetric != 0 ? o->symmetric : 1;
    if (o->bits == 4 || o->bits == 8)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_USAGE, "--bits %u: compressed-tensors is written with 4 or 8 bits", o->bits);
}

/* Add a tensor of n_rows x row_len that read makes. */
static pare_status add_part(pare_model *hub, const making *m, const char *module, const char *end, pare_read_fn read,
                            pare_type type, uint64_t n_rows, uint64_t row_len, pare_error *err)
{
    pare_tensor t = {.type = type,
                     .n_dims = 2,
                     .dim = {n_rows, row_len},
                     .read = read,
                     .ctx = m,
                     .scratch_bytes = m->weight.scratch_bytes + (size_t)m->weight.row_bytes + fitted_bytes(m)};
    pare_status st = pare_tensor_set_shape(&t, m->weight.name, err);
    return st == PARE_OK ? pare_pack_add(hub, &t, module, end, err) : st;
}

static pare_status read_shape(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const making *m = t->ctx;
    (void)row; /* one row */
    (void)err;
    if (n_rows == 0)
        return PARE_OK;
    pare_store_u64le(dst, m->weight.n_rows);
    pare_store_u64le((uint8_t *)dst + 8, m->weight.row_len);
    return PARE_OK;
}

static pare_status add_shape(pare_model *hub, const making *m, const char *module, pare_error *err)
{
    pare_tensor t = {.type = PARE_TYPE_I64, .n_dims = 1, .dim = {2}, .read = read_shape, .ctx = m};
    pare_status st = pare_tensor_set_shape(&t, m->weight.name, err);
    return st == PARE_OK ? pare_pack_add(hub, &t, module, ".weight_shape", err) : st;
}

static pare_status fits(const pare_pack *pack, const pare_tensor *weight, pare_error *err)
{
    return pare_pack_check_group(pack, weight, 32 / pack->options.bits, err);
}

static pare_group_shape shape_of(const pare_pack_options *o)
{
    int middle = 1 << (o->bits - 1);
    bool symmetric = o->symmetric > 0;
    return (pare_group_shape){(int)o->bits, symmetric ? middle : 0, symmetric ? middle : 2 * middle - 1};
}

static pare_status add(const pare_pack *pack, pare_model *hub, const pare_tensor *weight, const char *module,
                       pare_error *err)
{
    unsigned bits = pack->options.bits;
    bool symmetric = pack->options.symmetric > 0;
    uint64_t out = weight->n_rows, group = pare_pack_group(pack, weight), per_word = 32 / bits;
    making *m = pare_arena_alloc(&hub->arena, sizeof *m, err);
    if (m == NULL)
        return PARE_ERR_MEMORY;
    *m = (making){.weight = *weight, .group = group, .shape = shape_of(&pack->options)};
    uint64_t groups = weight->row_len / group;
    pare_type scale = pack->type == PARE_TYPE_F32 ? PARE_TYPE_F32 : PARE_TYPE_F16; /* readers round products to it */
    pare_status st =
        add_part(hub, m, module, ".weight_packed", read_codes, PARE_TYPE_I32, out, weight->row_len / per_word, err);
    if (st == PARE_OK)
        st = add_part(hub, m, module, ".weight_scale", read_scales, scale, out, groups, err);
    if (st == PARE_OK && !symmetric)
        st = add_part(hub, m, module, ".weight_zero_point", read_zeros, PARE_TYPE_I32, (out + per_word - 1) / per_word,
                      groups, err);
    return st == PARE_OK ? add_shape(hub, m, module, err) : st;
}

json_t *pare_compressed_settings(const pare_pack *pack, const char *format, json_t *weights)
{
    json_t *kept = pare_pack_modules(&pack->kept, "lm_head");
    if (weights == NULL || kept == NULL) {
        json_decref(weights);
        json_decref(kept);
        return NULL;
    }
    /* dequantize: transformers decodes while loading, into any type and with zero points; else it does neither. */
    return json_pack("{s:s, s:s, s:s, s:b, s:n, s:o, s:{s:{s:[s], s:s, s:o, s:n, s:n}}}", "quant_method",
                     "compressed-tensors", "format", format, "quantization_status", "compressed", "dequantize", 1,
                     "kv_cache_scheme", "ignore", kept, "config_groups", "group_0", "targets", "Linear", "format",
                     format, "weights", weights, "input_activations", "output_activations");
}

/* As nvfp4_experts_differ in pack_floats.c. */
static const char *experts_differ(const pare_pack *pack, const pare_tensor *weight)
{
    (void)weight;
    return pack->options.symmetric > 0 ? NULL
                                       : "transformers (up to 5.23) does not load experts with zero points, whoever "
                                         "wrote them; '--symmetric yes' has none";
}

static json_t *settings(const pare_pack *pack)
{
    const pare_pack_options *o = &pack->options;
    bool whole = o->group < 0;
    json_t *size = whole ? json_null() : json_integer((json_int_t)o->group);
    json_t *weights =
        json_pack("{s:i, s:s, s:b, s:s, s:o, s:b}", "num_bits", (int)o->bits, "type", "int", "symmetric",
                  o->symmetric > 0, "strategy", whole ? "channel" : "group", "group_size", size, "dynamic", 0);
    return pare_compressed_settings(pack, "pack-quantized", weights);
}

const pare_pack_format pare_pack_compressed = {.name = "compressed-tensors",
                                               .dtype = PARE_TYPE_F16,
                                               .check = check,
                                               .shape = shape_of,
                                               .fits = fits,
                                               .add = add,
                                               .experts_differ = experts_differ,
                                               .settings = settings};
