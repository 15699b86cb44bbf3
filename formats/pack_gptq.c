/* GPTQ, version 1: the layout is in packed_gptq.c. */
#include "core/bytes.h"
#include "formats/pack_rows.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static pare_status check(pare_pack_options *o, pare_error *err)
{
    o->bits = o->bits > 0 ? o->bits : 4;
    o->group = o->group != 0 ? o->group : 128;
    o->symmetric = o->symmetric != 0 ? o->symmetric : 1;
    if (o->bits == 2 || o->bits == 3 || o->bits == 4 || o->bits == 8)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_USAGE, "--bits %u: GPTQ has 2, 3, 4 or 8 bits", o->bits);
}

/* Set number i of the stream of b-bit numbers in the words at data, `step` words apart. The bits are zero. */
static void put_number(uint8_t *data, uint64_t step, unsigned b, uint64_t i, unsigned number)
{
    uint64_t bit = i * b, word = bit / 32;
    unsigned shift = bit % 32;
    uint8_t *at = data + 4 * word * step;
    pare_store_u32le(at, pare_load_u32le(at) | (uint32_t)number << shift);
    if (shift + b > 32) {
        at += 4 * step;
        pare_store_u32le(at, pare_load_u32le(at) | (uint32_t)number >> (32 - shift));
    }
}

static void put_codes(const pare_tensor *t, const pare_pack_item *item, uint8_t *whole)
{
    unsigned bits = (unsigned)item->bits;
    for (uint64_t i = 0; i < item->n; i++)
        put_number(whole + 4 * item->row, t->row_len, bits, item->column + i, item->codes[i]);
}

static void put_zero(const pare_tensor *t, const pare_pack_item *item, uint8_t *whole)
{
    put_number(whole + item->group * t->row_bytes, 1, (unsigned)item->bits, item->row, item->fit.zero - 1u);
}

static void put_scale(const pare_tensor *t, const pare_pack_item *item, uint8_t *whole)
{
    pare_store_u16le(whole + item->group * t->row_bytes + 2 * item->row, item->fit.d);
}

/* Rows of zero points that are all the same, in the middle of the codes: the tensor keeps one of them. */
static pare_status read_same(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    (void)row;
    (void)err;
    for (uint64_t i = 0; i < n_rows; i++)
        memcpy((uint8_t *)dst + i * t->row_bytes, t->ctx, (size_t)t->row_bytes);
    return PARE_OK;
}

static pare_status make_same(pare_model *hub, pare_tensor *t, unsigned bits, uint64_t n, pare_error *err)
{
    pare_status st = pare_tensor_set_shape(t, hub->path, err);
    uint8_t *row = st == PARE_OK ? pare_arena_alloc(&hub->arena, (size_t)t->row_bytes, err) : NULL;
    for (uint64_t i = 0; row != NULL && i < n; i++)
        put_number(row, 1, bits, i, (1u << (bits - 1)) - 1);
    t->read = read_same;
    t->ctx = row;
    return row != NULL ? PARE_OK : st != PARE_OK ? st : PARE_ERR_MEMORY;
}

/* g_idx: groups in order. The context is their size. */
static pare_status read_order(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const uint64_t *group = t->ctx;
    (void)row; /* a vector is one row */
    (void)err;
    for (uint64_t c = 0; n_rows > 0 && c < t->row_len; c++)
        pare_store_u32le((uint8_t *)dst + 4 * c, (uint32_t)(c / *group));
    return PARE_OK;
}

static pare_status make_order(pare_model *hub, pare_tensor *t, uint64_t group, pare_error *err)
{
    uint64_t *kept = pare_arena_alloc(&hub->arena, sizeof *kept, err);
    if (kept == NULL)
        return PARE_ERR_MEMORY;
    *kept = group;
    t->read = read_order;
    t->ctx = kept;
    return pare_tensor_set_shape(t, hub->path, err);
}

static pare_status fits(const pare_pack *pack, const pare_tensor *weight, pare_error *err)
{
    if (weight->n_rows * pack->options.bits % 32 != 0)
        return pare_fail(err, PARE_ERR_RANGE, "tensor '%s': %" PRIu64 " rows: zero points of %u bits do not fill words",
                         weight->name, weight->n_rows, pack->options.bits);
    return pare_pack_check_group(pack, weight, 32, err);
}

static pare_group_shape shape_of(const pare_pack_options *o)
{
    int middle = 1 << (o->bits - 1), top = 2 * middle - 1;
    bool symmetric = o->symmetric > 0;
    return (pare_group_shape){(int)o->bits, symmetric ? middle : 1, symmetric ? middle : top};
}

static pare_status add(const pare_pack *pack, pare_model *hub, const pare_tensor *weight, const char *module,
                       pare_error *err)
{
    unsigned bits = pack->options.bits;
    bool symmetric = pack->options.symmetric > 0;
    pare_group_shape shape = shape_of(&pack->options);
    uint64_t in = weight->row_len, out = weight->n_rows, group = pare_pack_group(pack, weight);
    pare_tensor codes = {.type = PARE_TYPE_I32, .n_dims = 2, .dim = {in * bits / 32, out}},
                zeros = {.type = PARE_TYPE_I32, .n_dims = 2, .dim = {in / group, out * bits / 32}},
                scales = {.type = PARE_TYPE_F16, .n_dims = 2, .dim = {in / group, out}},
                order = {.type = PARE_TYPE_I32, .n_dims = 1, .dim = {in}};
    pare_status st = pare_pack_rows(hub, &codes, weight, group, &shape, put_codes, err);
    if (st == PARE_OK)
        st = pare_pack_add(hub, &codes, module, ".qweight", err);
    if (st == PARE_OK)
        st = symmetric ? make_same(hub, &zeros, bits, out, err)
                       : pare_pack_rows(hub, &zeros, weight, group, &shape, put_zero, err);
    if (st == PARE_OK)
        st = pare_pack_add(hub, &zeros, module, ".qzeros", err);
    if (st == PARE_OK)
        st = pare_pack_rows(hub, &scales, weight, group, &shape, put_scale, err);
    if (st == PARE_OK)
        st = pare_pack_add(hub, &scales, module, ".scales", err);
    if (st == PARE_OK)
        st = make_order(hub, &order, group, err);
    return st == PARE_OK ? pare_pack_add(hub, &order, module, ".g_idx", err) : st;
}

/* Modules that stay floats, as GPTQModel and vLLM ask for it: a regular expression behind "-:" each. Optimum knows
 * nothing of these, and vLLM looks for them under the names of united matrices, so where more than the routers stay
 * floats, all modules that are packed are listed too: [[name, ...]], as Optimum has it. */
static bool put_kept(json_t *doc, const pare_pack *pack)
{
    json_t *list = pare_pack_modules(&pack->kept, NULL), *name, *rules = json_object();
    size_t i;
    bool ok = list != NULL && rules != NULL;
    json_array_foreach(list, i, name)
    {
        char text[512];
        int n = snprintf(text, sizeof text, "-:^%s$", json_string_value(name));
        ok = ok && n > 0 && (size_t)n < sizeof text && json_object_set_new(rules, text, json_object()) == 0;
    }
    if (ok && json_object_size(rules) > 0)
        ok = json_object_set(doc, "dynamic", rules) == 0;
    if (ok && pack->n_unfit > 0)
        ok = json_object_set_new(doc, "modules_in_block_to_quantize",
                                 json_pack("[o]", pare_pack_modules(&pack->packed, NULL))) == 0;
    json_decref(list);
    json_decref(rules);
    return ok;
}

static json_t *settings(const pare_pack *pack)
{
    const pare_pack_options *o = &pack->options;
    json_t *doc = json_pack("{s:s, s:s, s:i, s:I, s:b, s:b, s:b}", "quant_method", "gptq", "checkpoint_format", "gptq",
                            "bits", (int)o->bits, "group_size", (json_int_t)o->group, "sym", o->symmetric > 0,
                            "desc_act", 0, "lm_head", 0);
    if (doc != NULL && put_kept(doc, pack))
        return doc;
    json_decref(doc);
    return NULL;
}

const pare_pack_format pare_pack_gptq = {.name = "gptq",
                                         .dtype = PARE_TYPE_F16,
                                         .check = check,
                                         .shape = shape_of,
                                         .fits = fits,
                                         .add = add,
                                         .settings = settings};
