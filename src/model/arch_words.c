#include "model/arch_words.h"
#include "core/json.h"
#include "model/hparams_limits.h"

#include <math.h>
#include <stdio.h>

pare_status pare_config_expect(const json_t *config, const char *path, const char *arch_name,
                               const pare_config_switch *switches, size_t n, pare_error *err)
{
    for (size_t i = 0; i < n; i++) {
        bool found = false, on = switches[i].usual;
        pare_status st = pare_json_bool(config, path, switches[i].key, &on, &found, err);
        if (st == PARE_OK && on != switches[i].usual)
            st = pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: '%s' is %s, which architecture '%s' is not described with",
                           path, switches[i].key, on ? "true" : "false", arch_name);
        if (st != PARE_OK)
            return st;
    }
    return PARE_OK;
}

static pare_status check_positive(double v, const char *path, const char *key, float *out, pare_error *err)
{
    if (!pare_hparams_positive(v, 1e9) || (float)v == 0.0f)
        return pare_fail(err, PARE_ERR_RANGE, "%s: '%s' is %g, allowed is above 0 up to 1e9", path, key, v);
    *out = (float)v;
    return PARE_OK;
}

pare_status pare_config_positive(const json_t *config, const char *path, const char *key, float *out, pare_error *err)
{
    bool found = false;
    double v = 0;
    pare_status st = pare_json_f64(config, path, key, &v, &found, err);
    return st == PARE_OK && found ? check_positive(v, path, key, out, err) : st;
}

pare_status pare_config_not_negative(const json_t *config, const char *path, const char *key, float *out,
                                     pare_error *err)
{
    const json_t *v = json_object_get(config, key);
    if (v != NULL && json_is_number(v) && json_number_value(v) == 0) {
        *out = 0;
        return PARE_OK;
    }
    return pare_config_positive(config, path, key, out, err);
}

pare_status pare_meta_positive(const pare_meta *meta, const char *path, const char *key, float *out, pare_error *err)
{
    bool found = false;
    double v = 0;
    pare_status st = pare_meta_f64(meta, path, key, &v, &found, err);
    return st == PARE_OK && found ? check_positive(v, path, key, out, err) : st;
}

bool pare_config_rename(json_t *config, const char *const (*names)[2])
{
    bool ok = true;
    for (; (*names)[0] != NULL; names++) {
        json_t *value = json_object_get(config, (*names)[0]);
        ok = ok && (value == NULL || json_object_set(config, (*names)[1], value) == 0);
        json_object_del(config, (*names)[0]);
    }
    return ok;
}

void pare_config_drop(json_t *config, const char *const *keys)
{
    for (; *keys != NULL; keys++)
        json_object_del(config, *keys);
}

static pare_status check_cap(double cap, const char *path, const char *key, float *out, pare_error *err)
{
    if (!(cap >= 0 && cap <= 1e9))
        return pare_fail(err, PARE_ERR_RANGE, "%s: '%s' is %g, allowed are 0 to 1e9", path, key, cap);
    *out = (float)cap;
    return PARE_OK;
}

pare_status pare_config_cap(const json_t *config, const char *path, const char *key, double usual, float *out,
                            pare_error *err)
{
    bool found = false;
    double cap = json_object_get(config, key) == NULL ? usual : 0;
    pare_status st = pare_json_f64(config, path, key, &cap, &found, err);
    return st == PARE_OK ? check_cap(cap, path, key, out, err) : st;
}

pare_status pare_meta_cap(const pare_meta *meta, const char *path, const char *key, float *out, pare_error *err)
{
    bool found = false;
    double cap = (double)*out;
    pare_status st = pare_meta_f64(meta, path, key, &cap, &found, err);
    return st == PARE_OK ? check_cap(cap, path, key, out, err) : st;
}

bool pare_cap_to_config(json_t *config, const char *key, float cap)
{
    return json_object_set_new(config, key, cap > 0 ? pare_json_float(cap) : json_null()) == 0;
}

/* What q.k is multiplied by when only the shapes are known. */
static float usual_scale(const pare_hparams *hp, uint32_t other_layers)
{
    uint32_t n = hp->n_layer == other_layers ? hp->n_embd / hp->n_head : hp->head_dim_k;
    return n > 0 ? (float)(1.0 / sqrt((double)n)) : 0;
}

pare_status pare_query_scalar_from_config(pare_hparams *hp, const json_t *config, const char *path, double usual,
                                          uint32_t other_layers, pare_error *err)
{
    static const char key[] = "query_pre_attn_scalar";
    bool found = false;
    double scalar = usual;
    pare_status st = pare_json_f64(config, path, key, &scalar, &found, err);
    if (st == PARE_OK && !(scalar > 0 && scalar <= 1e9))
        return pare_fail(err, PARE_ERR_RANGE, "%s: '%s' is %g, allowed is above 0 up to 1e9", path, key, scalar);
    hp->attn_scale = (float)(1.0 / sqrt(scalar));
    hp->attn_scale_not_in_gguf = hp->attn_scale != usual_scale(hp, other_layers);
    return st;
}

pare_status pare_query_scalar_from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, const char *key,
                                        uint32_t other_layers, pare_error *err)
{
    hp->attn_scale = usual_scale(hp, other_layers);
    return pare_meta_cap(meta, path, key, &hp->attn_scale, err);
}

pare_status pare_query_scalar_to_meta(const pare_hparams *hp, pare_meta *meta, const char *key, uint32_t other_layers,
                                      pare_error *err)
{
    bool usual = hp->attn_scale == usual_scale(hp, other_layers);
    return usual ? PARE_OK : pare_meta_set_f32(meta, key, hp->attn_scale, err);
}

bool pare_query_scalar_to_config(const pare_hparams *hp, json_t *config)
{
    double scalar = 1.0 / ((double)hp->attn_scale * (double)hp->attn_scale), whole = round(scalar);
    bool is_whole = fabs(scalar - whole) < 1e-4 * whole; /* but for a float's rounding; transformers wants an integer */
    return json_object_set_new(config, "query_pre_attn_scalar",
                               is_whole ? json_integer((json_int_t)whole) : json_real(scalar)) == 0;
}

pare_status pare_config_want_tied(const pare_hparams *hp, const char *path, pare_error *err)
{
    if (hp->tied_output)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_UNSUPPORTED,
                     "%s: 'tie_word_embeddings' is false, but models of this family have no output matrix of their own",
                     path);
}

enum { N_MULTIPLIERS = 4 };
static const struct {
    const char *config, *meta;
} multipliers[N_MULTIPLIERS] = {{"attention_multiplier", "attention.scale"},
                                {"embedding_multiplier", "embedding_scale"},
                                {"residual_multiplier", "residual_scale"},
                                {"logits_scaling", "logit_scale"}};

static float *multiplier(pare_hparams *hp, int i)
{
    float *const at[N_MULTIPLIERS] = {&hp->attn_scale, &hp->embd_scale, &hp->residual_scale, &hp->logit_divisor};
    return at[i];
}

pare_status pare_multipliers_from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    pare_status st = PARE_OK;
    for (int i = 0; i < N_MULTIPLIERS && st == PARE_OK; i++) {
        *multiplier(hp, i) = 1;
        st = pare_config_positive(config, path, multipliers[i].config, multiplier(hp, i), err);
    }
    return st;
}

pare_status pare_multipliers_from_meta(pare_hparams *hp, const pare_meta *meta, const char *arch_name, const char *path,
                                       pare_error *err)
{
    char key[128];
    pare_status st = PARE_OK;
    for (int i = 0; i < N_MULTIPLIERS && st == PARE_OK; i++) {
        snprintf(key, sizeof key, "%s.%s", arch_name, multipliers[i].meta);
        st = pare_meta_positive(meta, path, key, multiplier(hp, i), err);
    }
    return st;
}

pare_status pare_multipliers_to_meta(const pare_hparams *hp, pare_meta *meta, const char *arch_name, pare_error *err)
{
    char key[128];
    pare_hparams copy = *hp;
    snprintf(key, sizeof key, "%s.vocab_size", arch_name);
    pare_status st = pare_meta_set_u32(meta, key, hp->n_vocab, err);
    snprintf(key, sizeof key, "%s.rope.dimension_count", arch_name);
    if (st == PARE_OK)
        st = pare_meta_set_u32(meta, key, hp->n_rot, err);
    for (int i = 0; i < N_MULTIPLIERS && st == PARE_OK; i++) {
        snprintf(key, sizeof key, "%s.%s", arch_name, multipliers[i].meta);
        if (*multiplier(&copy, i) != 0)
            st = pare_meta_set_f32(meta, key, *multiplier(&copy, i), err);
    }
    return st;
}

pare_status pare_multipliers_to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    pare_hparams copy = *hp;
    bool ok = true;
    if (hp->attn_scale == 0)
        copy.attn_scale = (float)(1.0 / sqrt((double)hp->head_dim_k));
    for (int i = 0; i < N_MULTIPLIERS; i++)
        if (*multiplier(&copy, i) != 0)
            ok = ok && json_object_set_new(config, multipliers[i].config, pare_json_float(*multiplier(&copy, i))) == 0;
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}
