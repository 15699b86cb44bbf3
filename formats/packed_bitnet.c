/* BitNet b1.58 as transformers stores it: weight U8 [out / 4, in] with 4 ternary numbers a byte (model/view_codes.h),
 * weight_scale, one number. Layers of the class BitLinear divide by it, those of AutoBitLinear (linear_class
 * "autobitlinear") multiply, and may have floats as weights. Weights that are made ternary while the model runs
 * (quantization_mode "online") are refused. */
#include "formats/packed.h"
#include "formats/packed_scaled.h"

#include <string.h>

typedef struct settings {
    bool divide;
} settings;

static pare_status start(pare_packed *p, pare_error *err)
{
    const json_t *class = json_object_get(p->settings, "linear_class"),
                 *norm = json_object_get(p->settings, "use_rms_norm");
    const char *name = json_is_string(class) ? json_string_value(class) : "bitlinear";
    settings *s = pare_arena_alloc(p->arena, sizeof *s, err);
    if (s == NULL)
        return PARE_ERR_MEMORY;
    s->divide = strcmp(name, "bitlinear") == 0;
    p->state = s;
    if (!s->divide && strcmp(name, "autobitlinear") != 0)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: 'linear_class' is '%s'; 'bitlinear' and 'autobitlinear' are known", p->path, name);
    const char *mode = json_string_value(json_object_get(p->settings, "quantization_mode"));
    if (!s->divide && mode != NULL && strcmp(mode, "online") == 0)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: 'quantization_mode' is 'online': the weights are made ternary while the model runs",
                         p->path);
    if (json_is_true(norm))
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: 'use_rms_norm' asks for a norm in front of every matrix",
                         p->path);
    return PARE_OK;
}

static pare_status unpack(const pare_packed *p, const pare_tensor *primary, const char *module, pare_tensor *out,
                          pare_error *err)
{
    static const uint64_t no_tile[2] = {0};
    const settings *s = p->state;
    const pare_tensor *scale = pare_packed_part(p, module, ".weight_scale");
    bool packed = primary->type == PARE_TYPE_U8;
    if (!packed && (scale == NULL || primary->n_dims != 2)) {
        *out = *primary;
        return PARE_OK;
    }
    if (!packed && s->divide)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: tensor '%s' with '%s' beside it has type %s, expected u8",
                         p->path, primary->name, scale->name, pare_type_get(primary->type)->name);
    if (scale == NULL)
        return pare_packed_lacks(p, module, ".weight_scale", err);
    const pare_codes how = {.code = primary, .ternary = packed, .scale = scale, .divide = s->divide, .factor = 1};
    return pare_packed_scaled(p, &how, no_tile, out, err);
}

const pare_packed_format pare_packed_bitnet = {
    .method = "bitnet",
    .name = "BitNet",
    .primaries = (const char *const[]){".weight", NULL},
    .parts = (const char *const[]){".weight_scale", NULL},
    .start = start,
    .unpack = unpack,
};
