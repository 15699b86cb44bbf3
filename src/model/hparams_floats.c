#include "model/hparams_floats.h"
#include "core/bytes.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* The keys behind "<arch>." as llama.cpp names them (src/llama-arch.cpp, tools/mtmd/clip-impl.h). What is not listed
 * must be finite. Readers that allow less say so themselves. */
typedef enum rule {
    POSITIVE,     /* a factor, a divisor, a base */
    NOT_NEGATIVE, /* 0: none */
    MAY_CUT_ALL   /* minus infinity has a meaning */
} rule;

static const struct {
    const char *suffix;
    rule rule;
} rows[] = {
    {"attention.layer_norm_epsilon", POSITIVE},
    {"attention.layer_norm_rms_epsilon", POSITIVE},
    {"attention.group_norm_epsilon", POSITIVE},
    {"hyper_connection.epsilon", POSITIVE},
    {"attention.scale", POSITIVE},
    {"attention.output_scale", POSITIVE},
    {"attention.value_scale", POSITIVE},
    {"attention.temperature_scale", NOT_NEGATIVE},
    {"attention.max_alibi_bias", NOT_NEGATIVE},
    {"attention.clamp_kqv", NOT_NEGATIVE},
    {"attention.compress_rope_freq_base", POSITIVE},
    {"attn_logit_softcapping", NOT_NEGATIVE},
    {"router_logit_softcapping", NOT_NEGATIVE},
    {"final_logit_softcapping", NOT_NEGATIVE},
    {"attention.logit_softcapping", NOT_NEGATIVE},
    {"expert_weights_scale", NOT_NEGATIVE},
    {"expert_group_scale", NOT_NEGATIVE},
    {"logit_scale", POSITIVE},
    {"residual_scale", POSITIVE},
    {"embedding_scale", POSITIVE},
    {"swiglu_clamp_exp", NOT_NEGATIVE},
    {"swiglu_clamp_shexp", NOT_NEGATIVE},
    {"rope.freq_base", POSITIVE},
    {"rope.freq_base_swa", POSITIVE},
    {"rope.scale_linear", POSITIVE},
    {"rope.scaling.factor", POSITIVE},
    {"rope.scaling.alpha", NOT_NEGATIVE},
    {"rope.scaling.attn_factor", POSITIVE},
    {"rope.scaling.yarn_attn_factor", POSITIVE},
    {"rope.scaling.yarn_beta_fast", POSITIVE},
    {"rope.scaling.yarn_beta_slow", POSITIVE},
    {"activation_sparsity_scale", MAY_CUT_ALL},
    {"vision.attention.layer_norm_epsilon", POSITIVE},
    {"audio.attention.layer_norm_epsilon", POSITIVE},
};

static bool is_float(pare_meta_type type)
{
    return type == PARE_META_F32 || type == PARE_META_F64;
}

/* Element i of a float or of a list of floats, or an integer. */
static double element(const pare_meta_value *v, uint64_t i)
{
    if (v->type != PARE_META_ARRAY)
        return is_float(v->type) ? v->v.f
               : v->type == PARE_META_I8 || v->type == PARE_META_I16 || v->type == PARE_META_I32 ||
                       v->type == PARE_META_I64
                   ? (double)v->v.i
                   : (double)v->v.u;
    const uint8_t *p = v->v.data;
    if (v->elem == PARE_META_F32)
        return (double)pare_load_f32le(p + 4 * i);
    uint64_t bits = pare_load_u64le(p + 8 * i);
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static pare_status check(const pare_meta_value *v, const rule *rule, const char *path, pare_error *err)
{
    for (uint64_t i = 0; i < v->n; i++) {
        double x = element(v, i);
        const char *wanted = NULL;
        if (rule != NULL && *rule == MAY_CUT_ALL && isinf(x) && x < 0)
            continue;
        if (!isfinite(x))
            wanted = "expected a finite number";
        else if (rule != NULL && *rule == POSITIVE && !(x > 0))
            wanted = "allowed is above 0";
        else if (rule != NULL && *rule == NOT_NEGATIVE && x < 0)
            wanted = "allowed is 0 and above";
        if (wanted != NULL)
            return pare_fail(err, isfinite(x) ? PARE_ERR_RANGE : PARE_ERR_NUMBER,
                             "%s: key '%.*s' at offset %" PRIu64 ": element %" PRIu64 " is %g, %s", path,
                             (int)(v->key.len < 200 ? v->key.len : 200), v->key.data, v->offset, i, x, wanted);
    }
    return PARE_OK;
}

static bool has_prefix(pare_str key, const char *prefix, size_t len)
{
    return key.len > len + 1 && memcmp(key.data, prefix, len) == 0 && key.data[len] == '.';
}

pare_status pare_hparams_check_floats(const pare_meta *meta, pare_str arch, const char *path, pare_error *err)
{
    static const char adapter[] = "adapter";
    pare_status st = PARE_OK;
    for (size_t i = 0; i < meta->n && st == PARE_OK; i++) {
        const pare_meta_value *v = &meta->values[i];
        const rule *rule = NULL;
        bool own = has_prefix(v->key, arch.data, arch.len);
        bool list = v->type == PARE_META_ARRAY, floats = is_float(list ? v->elem : v->type);
        if (!own && !has_prefix(v->key, adapter, sizeof adapter - 1))
            continue;
        pare_str suffix = {v->key.data + arch.len + 1, own ? v->key.len - arch.len - 1 : 0};
        for (size_t k = 0; k < sizeof rows / sizeof *rows && own; k++)
            if (pare_str_equal(suffix, rows[k].suffix))
                rule = &rows[k].rule;
        bool number = !list && v->type != PARE_META_STRING && v->type != PARE_META_BOOL;
        if (floats || (number && rule != NULL))
            st = check(v, rule, path, err);
    }
    return st;
}
