/* AWQ as AutoAWQ's GEMM version stores it: the layout is in packed_awq.c. */
#include "core/bytes.h"
#include "formats/pack_rows.h"

#include <inttypes.h>

static pare_status check(pare_pack_options *o, pare_error *err)
{
    o->bits = o->bits > 0 ? o->bits : 4;
    o->group = o->group != 0 ? o->group : 128;
    o->symmetric = o->symmetric != 0 ? o->symmetric : -1;
    if (o->bits == 4)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_USAGE, "--bits %u: AWQ has 4 bits", o->bits);
}

/* Number i of a row of them: nibble n of a word holds the (0, 2, 4, 6, 1, 3, 5, 7)[n]-th of its eight. */
static void put_nibble(uint8_t *row, uint64_t i, unsigned number)
{
    static const uint8_t nibble[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    uint8_t *word = row + i / 8 * 4;
    pare_store_u32le(word, pare_load_u32le(word) | (uint32_t)number << 4 * nibble[i % 8]);
}

static void put_codes(const pare_tensor *t, const pare_pack_item *item, uint8_t *whole)
{
    for (uint64_t i = 0; i < item->n; i++)
        put_nibble(whole + (item->column + i) * t->row_bytes, item->row, item->codes[i]);
}

static void put_zero(const pare_tensor *t, const pare_pack_item *item, uint8_t *whole)
{
    put_nibble(whole + item->group * t->row_bytes, item->row, item->fit.zero);
}

static void put_scale(const pare_tensor *t, const pare_pack_item *item, uint8_t *whole)
{
    pare_store_u16le(whole + item->group * t->row_bytes + 2 * item->row, item->fit.d);
}

static pare_status fits(const pare_pack *pack, const pare_tensor *weight, pare_error *err)
{
    if (weight->n_rows % 8 != 0)
        return pare_fail(err, PARE_ERR_RANGE,
                         "tensor '%s': %" PRIu64 " rows, which AWQ packs by eight, are no multiple", weight->name,
                         weight->n_rows);
    return pare_pack_check_group(pack, weight, 32, err);
}

static pare_group_shape shape_of(const pare_pack_options *o)
{
    bool symmetric = o->symmetric > 0;
    return (pare_group_shape){4, symmetric ? 8 : 0, symmetric ? 8 : 15};
}

static pare_status add(const pare_pack *pack, pare_model *hub, const pare_tensor *weight, const char *module,
                       pare_error *err)
{
    pare_group_shape shape = shape_of(&pack->options);
    uint64_t in = weight->row_len, out = weight->n_rows, group = pare_pack_group(pack, weight);
    pare_tensor codes = {.type = PARE_TYPE_I32, .n_dims = 2, .dim = {in, out / 8}},
                zeros = {.type = PARE_TYPE_I32, .n_dims = 2, .dim = {in / group, out / 8}},
                scales = {.type = PARE_TYPE_F16, .n_dims = 2, .dim = {in / group, out}};
    pare_status st = pare_pack_rows(hub, &codes, weight, group, &shape, put_codes, err);
    if (st == PARE_OK)
        st = pare_pack_add(hub, &codes, module, ".qweight", err);
    if (st == PARE_OK)
        st = pare_pack_rows(hub, &zeros, weight, group, &shape, put_zero, err);
    if (st == PARE_OK)
        st = pare_pack_add(hub, &zeros, module, ".qzeros", err);
    if (st == PARE_OK)
        st = pare_pack_rows(hub, &scales, weight, group, &shape, put_scale, err);
    return st == PARE_OK ? pare_pack_add(hub, &scales, module, ".scales", err) : st;
}

static json_t *settings(const pare_pack *pack)
{
    const pare_pack_options *o = &pack->options;
    json_t *kept = pack->kept.len > 0 ? pare_pack_modules(&pack->kept, "lm_head") : json_null();
    return json_pack("{s:s, s:s, s:i, s:I, s:b, s:o}", "quant_method", "awq", "version", "gemm", "bits", (int)o->bits,
                     "group_size", (json_int_t)o->group, "zero_point", 1, "modules_to_not_convert", kept);
}

const pare_pack_format pare_pack_awq = {.name = "awq",
                                        .dtype = PARE_TYPE_F16,
                                        .check = check,
                                        .shape = shape_of,
                                        .fits = fits,
                                        .add = add,
                                        .settings = settings};
