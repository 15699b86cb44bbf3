/* FP8: a weight in F8_E4M3 and beside it, under one of several names, what it is multiplied by: one number, one a row,
 * or one a tile (`weight_block_size`, 128 by 128 in DeepSeek-V3), as floats or as exponents of 2.
 *
 *     weight  weight_scale_inv    transformers' and DeepSeek's "fp8"; experts in one tensor have NAME_scale_inv
 *     weight  weight_scale        vLLM's "fp8", FBGEMM's (one a row), ModelOpt's
 *     weight  qscale_weight       Mistral's
 *
 * ModelOpt's NVFP4 has codes of 4 bits in bytes, the first in the low nibble, weight_scale in F8_E4M3, one for 16, and
 * weight_scale_2, one for all. */
#include "formats/packed.h"
#include "formats/packed_scaled.h"

#include <inttypes.h>
#include <string.h>

typedef struct settings {
    uint64_t tile[2];
} settings;

static pare_status start(pare_packed *p, pare_error *err)
{
    settings *s = pare_arena_alloc(p->arena, sizeof *s, err);
    if (s == NULL)
        return PARE_ERR_MEMORY;
    *s = (settings){0};
    p->state = s;
    return pare_packed_tile(p->settings, p->path, "weight_block_size", s->tile, err);
}

/* The scale of a weight, whose module's name ends before ".weight". */
static const pare_tensor *find_scale(const pare_packed *p, const pare_tensor *weight, const char *module)
{
    static const char *const ends[] = {".weight_scale_inv", ".weight_scale", ".qscale_weight"};
    const pare_tensor *t = pare_packed_part(p, weight->name, "_scale_inv");
    for (size_t i = 0; i < sizeof ends / sizeof *ends && t == NULL; i++)
        t = pare_packed_part(p, module, ends[i]);
    return t;
}

static bool is_fp8(pare_type type)
{
    return type == PARE_TYPE_F8_E4M3 || type == PARE_TYPE_F8_E5M2 || type == PARE_TYPE_F8_E4M3FNUZ ||
           type == PARE_TYPE_F8_E5M2FNUZ;
}

static pare_status unpack(const pare_packed *p, const pare_tensor *primary, const char *module, pare_tensor *out,
                          pare_error *err)
{
    const settings *s = p->state;
    const pare_tensor *scale = find_scale(p, primary, module);
    pare_tensor typed = *primary;
    float factor = 1;
    pare_status st = PARE_OK;
    if (pare_packed_part(p, module, ".pre_quant_scale") != NULL)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: tensor '%s.pre_quant_scale' multiplies inputs, which is not undone", p->path, module);
    if (scale == NULL && is_fp8(primary->type))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: tensor '%s' has type %s, but there is no scale for it", p->path,
                         primary->name, pare_type_get(primary->type)->name);
    if (scale == NULL) {
        *out = *primary;
        return PARE_OK;
    }
    bool small_scale =
        scale->type == PARE_TYPE_F8_E4M3 || scale->type == PARE_TYPE_U8 || scale->type == PARE_TYPE_F8_E8M0;
    if (primary->type == PARE_TYPE_U8 && small_scale) /* else 4-bit integers */
        st = pare_view_retype(&typed, primary, PARE_TYPE_F4, err);
    else if (!is_fp8(primary->type))
        st =
            pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: tensor '%s' with '%s' beside it has type %s, expected FP8 or FP4",
                      p->path, primary->name, scale->name, pare_type_get(primary->type)->name);
    if (st == PARE_OK)
        st = pare_packed_scalar(p, module, ".weight_scale_2", 1, &factor, err);
    const pare_codes how = {
        .code = &typed, .scale = scale, .scale_is_exponent = scale->type == PARE_TYPE_U8, .factor = factor};
    return st == PARE_OK ? pare_packed_scaled(p, &how, s->tile, out, err) : st;
}

/* Experts that share a tensor have no ".weight". */
static const char *const primaries[] = {".weight", ".gate_up_proj", ".down_proj", NULL};
static const char *const parts[] = {".weight_scale_inv",
                                    ".weight_scale",
                                    ".weight_scale_2",
                                    ".qscale_weight",
                                    ".gate_up_proj_scale_inv",
                                    ".down_proj_scale_inv",
                                    NULL};
static const char *const runtime[] = {".activation_scale", "_activation_scale", ".input_scale", ".input_scale_ub",
                                      ".qscale_act",       ".k_scale",          ".v_scale",     ".kv_scale",
                                      ".q_scale",          ".output_scale",     ".prob_scale",  NULL};

/* They differ in who wrote them. */
#define FP8_FORMAT(id, the_method, the_name)                                                                           \
    const pare_packed_format pare_packed_##id = {                                                                      \
        .method = the_method,                                                                                          \
        .name = the_name,                                                                                              \
        .primaries = primaries,                                                                                        \
        .parts = parts,                                                                                                \
        .runtime = runtime,                                                                                            \
        .start = start,                                                                                                \
        .unpack = unpack,                                                                                              \
    }

FP8_FORMAT(fp8, "fp8", "FP8");
FP8_FORMAT(mxfp8, "mxfp8", "MXFP8");
FP8_FORMAT(fbgemm, "fbgemm_fp8", "FBGEMM FP8");
FP8_FORMAT(modelopt, "modelopt", "ModelOpt");
