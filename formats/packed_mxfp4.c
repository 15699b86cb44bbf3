/* MXFP4 as gpt-oss is published: of experts [expert, out, in], in blocks of 32 inputs,
 *
 *     NAME_blocks  u8 [expert, out, in / 32, 16]   byte j: codes 2j (low nibble) and 2j + 1 of a block
 *     NAME_scales  u8 [expert, out, in / 32]       exponents plus 127
 *
 * Outputs are rows, while NAME in floats would be [expert, in, out]. Source: transformers integrations/mxfp4.py. */
#include "formats/packed.h"
#include "model/view_codes.h"

#include "quant/registry.h"

#include <inttypes.h>
#include <string.h>

enum { BLOCK_BYTES = 16, BLOCK_WEIGHTS = 32 };

static pare_status unpack(const pare_packed *p, const pare_tensor *primary, const char *module, pare_tensor *out,
                          pare_error *err)
{
    const pare_tensor *scales = pare_packed_part(p, module, "_scales");
    if (scales == NULL)
        return pare_packed_lacks(p, module, "_scales", err);
    if (primary->type != PARE_TYPE_U8 || primary->n_dims != 4 || primary->dim[3] != BLOCK_BYTES)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s' has %" PRIu32 " dimensions of %s, the last of %" PRIu64
                         "; blocks of MXFP4 are 4 of u8, the last of 16",
                         p->path, primary->name, primary->n_dims, pare_type_get(primary->type)->name, primary->row_len);
    const uint64_t *dim = primary->dim;
    if (scales->type != PARE_TYPE_U8 || scales->n_dims != 3 || memcmp(scales->dim, dim, 3 * sizeof *dim) != 0)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s' has %" PRIu64 " rows of %" PRIu64 " %s; '%s' asks for %" PRIu64 " of %" PRIu64
                         " u8",
                         p->path, scales->name, scales->n_rows, scales->row_len, pare_type_get(scales->type)->name,
                         primary->name, dim[0] * dim[1], dim[2]);
    pare_tensor rows = *primary; /* the blocks of an output one behind the other */
    rows.n_dims = 3;
    rows.dim[2] = dim[2] * BLOCK_BYTES;
    pare_status st = pare_tensor_set_shape(&rows, p->path, err);
    if (st == PARE_OK)
        st = pare_view_retype(&rows, &rows, PARE_TYPE_F4, err);
    const pare_codes codes = {.n_dims = 3,
                              .dim = {dim[0], dim[1], dim[2] * BLOCK_WEIGHTS},
                              .block_rows = 1,
                              .block_cols = BLOCK_WEIGHTS,
                              .code = &rows,
                              .scale = scales,
                              .scale_is_exponent = true,
                              .factor = 1};
    pare_tensor view = {0};
    if (st != PARE_OK || !pare_view_fp4(p->arena, &view, &codes, &st, err) || st != PARE_OK)
        return st;
    view.name = out->name;
    view.file = out->file;
    view.offset = out->offset;
    *out = view;
    return PARE_OK;
}

const pare_packed_format pare_packed_mxfp4 = {
    .method = "mxfp4",
    .name = "MXFP4",
    .primaries = (const char *const[]){"_blocks", NULL},
    .parts = (const char *const[]){"_scales", NULL},
    .result = "",
    .unpack = unpack,
};
