#include "core/json.h"
#include "model/hparams_encoder.h"
#include "model/hparams_parts.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The Hub's families agree on most names; these are the spellings of each value, first found wins. */
typedef const char *const *keys;
static const char *const k_layers[] = {"num_hidden_layers", "n_layer", "n_layers", "num_layers", NULL};
static const char *const k_ctx[] = {
    "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length", NULL};
static const char *const k_embd[] = {"hidden_size", "n_embd", "n_embed", "d_model", NULL};
static const char *const k_ff[] = {"intermediate_size", "n_inner", NULL};
static const char *const k_heads[] = {"num_attention_heads", "n_head", "n_heads", NULL};
static const char *const k_heads_kv[] = {"num_key_value_heads", NULL};
static const char *const k_head_dim[] = {"head_dim", NULL};
static const char *const k_theta[] = {"rope_theta", "rotary_emb_base", NULL};
static const char *const k_theta_window[] = {"rope_local_base_freq", "local_rope_theta", NULL};
static const char *const k_partial[] = {"partial_rotary_factor", "rotary_pct", "rope_pct", NULL};
static const char *const k_vocab[] = {"vocab_size", NULL};
static const char *const k_ff_expert[] = {"moe_intermediate_size", NULL};
static const char k_used[] = "num_experts_per_tok";
static const char *const k_norm_topk[] = {"norm_topk_prob", NULL};
static const char *const k_act[] = {"hidden_act", "hidden_activation", "activation_function", "activation", NULL};
static const char *const k_rms_eps[] = {"rms_norm_eps", "norm_eps", NULL};
static const char *const k_layer_eps[] = {"layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps", NULL};

/* The spelling that obj uses (with a value that is not null), else the first one. */
static const char *spelling(const json_t *obj, keys names)
{
    for (size_t i = 0; names[i] != NULL; i++) {
        const json_t *v = json_object_get(obj, names[i]);
        if (v != NULL && !json_is_null(v))
            return names[i];
    }
    return names[0];
}

/* absent 0: the key is required. */
static pare_status get_u32(const json_t *obj, const char *path, keys names, uint64_t max, uint32_t absent,
                           uint32_t *out, pare_error *err)
{
    uint64_t v = absent;
    bool found = false;
    pare_status st = pare_json_u64(obj, path, spelling(obj, names), 1, max, &v, absent == 0 ? NULL : &found, err);
    *out = (uint32_t)v;
    return st;
}

static pare_status get_float(const json_t *obj, const char *path, const char *key, double max, float *out, bool *found,
                             pare_error *err)
{
    double v = 0;
    pare_status st = pare_json_f64(obj, path, key, &v, found, err);
    if (st == PARE_OK && *found && (!pare_hparams_positive(v, max) || (float)v == 0.0f))
        return pare_fail(err, PARE_ERR_RANGE, "%s: '%s' is %g, allowed is above 0 up to %g", path, key, v, max);
    if (st == PARE_OK && *found)
        *out = (float)v;
    return st;
}

/* A member that is there and not null. */
static bool has_member(const json_t *obj, const char *key)
{
    const json_t *v = json_object_get(obj, key);
    return v != NULL && !json_is_null(v);
}

/* The width of the FFN, once or a list with one a layer, which must be the same. */
static pare_status read_ff(pare_hparams *hp, const pare_hf_class *class, const json_t *config, const char *path,
                           pare_error *err)
{
    const char *key = spelling(config, k_ff);
    const json_t *list = json_object_get(config, key);
    uint32_t absent = class->absent.n_ff > 0 ? class->absent.n_ff : class->absent.ff_factor * hp->n_embd;
    if (!json_is_array(list))
        return get_u32(config, path, k_ff, PARE_MAX_FF, absent, &hp->n_ff, err);
    json_int_t first = json_integer_value(json_array_get(list, 0));
    if (json_array_size(list) != hp->n_layer || first < 1 || first > PARE_MAX_FF)
        return pare_fail(err, PARE_ERR_RANGE, "%s: '%s' is no list of %" PRIu32 " widths from 1 to %d", path, key,
                         hp->n_layer, PARE_MAX_FF);
    for (uint32_t i = 0; i < hp->n_layer; i++)
        if (!json_is_integer(json_array_get(list, i)) || json_integer_value(json_array_get(list, i)) != first)
            return pare_fail(err, PARE_ERR_UNSUPPORTED,
                             "%s: '%s' differs from layer to layer (entry %" PRIu32 "), which is not supported", path,
                             key, i);
    hp->n_ff = (uint32_t)first;
    return PARE_OK;
}

static pare_status read_counts(pare_hparams *hp, const pare_hf_class *class, const json_t *config, const char *path,
                               pare_error *err)
{
    pare_status st = get_u32(config, path, k_layers, PARE_MAX_LAYERS, 0, &hp->n_layer, err);
    if (st == PARE_OK)
        st = get_u32(config, path, k_ctx, PARE_MAX_CTX, class->absent.n_ctx, &hp->n_ctx_train, err);
    if (st == PARE_OK)
        st = get_u32(config, path, k_embd, PARE_MAX_EMBD, 0, &hp->n_embd, err);
    if (st == PARE_OK)
        st = read_ff(hp, class, config, path, err);
    if (st == PARE_OK)
        st = get_u32(config, path, k_heads, PARE_MAX_HEADS, class->absent.n_head, &hp->n_head, err);
    if (st == PARE_OK)
        st = get_u32(config, path, k_vocab, PARE_MAX_VOCAB, class->absent.n_vocab, &hp->n_vocab, err);
    return st;
}

/* Models of these classes whose layers are not all alike have no form in GGUF. */
static pare_status check_sparse_layers(const json_t *config, const char *path, pare_error *err)
{
    uint64_t step = 1;
    bool found = false;
    pare_status st = pare_json_u64(config, path, "decoder_sparse_step", 0, UINT32_MAX, &step, &found, err);
    if (st == PARE_OK && (step != 1 || json_array_size(json_object_get(config, "mlp_only_layers")) > 0))
        st = pare_fail(err, PARE_ERR_UNSUPPORTED,
                       "%s: 'decoder_sparse_step' or 'mlp_only_layers' ask for layers without experts among others",
                       path);
    return st;
}

/* In a class whose shared expert goes by a key of its own, nothing or zero there says that the model has none. */
static bool lacks_shared(const pare_hf_class *class, const json_t *config)
{
    const json_t *width = class->shared != NULL ? json_object_get(config, class->shared) : NULL;
    return class->shared != NULL &&
           (width == NULL || json_is_null(width) || (json_is_integer(width) && json_integer_value(width) == 0));
}

static const char *used_key(const pare_hf_class *class)
{
    return class->experts_used != NULL ? class->experts_used : k_used;
}

/* Counts and widths of experts, of the classes that have them. */
static pare_status read_experts(pare_hparams *hp, const pare_arch *arch, const pare_hf_class *class,
                                const json_t *config, const char *path, pare_error *err)
{
    const char *const k_experts[] = {class->experts, "num_local_experts", "num_experts", "n_routed_experts", NULL};
    const char *const k_shared[] = {pare_arch_shared_key(arch, class), NULL};
    const char *const used[] = {used_key(class), NULL};
    bool found = false, there = class->experts_if == NULL;
    pare_status st = there ? PARE_OK : pare_json_bool(config, path, class->experts_if, &there, &found, err);
    if (st != PARE_OK || class->experts == NULL || !there)
        return st;
    st = get_u32(config, path, k_experts, PARE_MAX_EXPERTS, class->absent.n_expert, &hp->n_expert, err);
    if (st == PARE_OK)
        st = get_u32(config, path, used, hp->n_expert, class->absent.n_expert_used, &hp->n_expert_used, err);
    if (st == PARE_OK && arch->expert_ff_key)
        st = get_u32(config, path, k_ff_expert, PARE_MAX_FF,
                     class->absent.n_ff_expert != 0 ? class->absent.n_ff_expert : hp->n_ff, &hp->n_ff_expert, err);
    if (st == PARE_OK && *k_shared != NULL && !lacks_shared(class, config))
        st = get_u32(config, path, k_shared, PARE_MAX_FF, class->absent.n_ff_shared, &hp->n_ff_shared, err);
    hp->expert_norm = class->norm_topk_key ? class->absent.norm_topk : arch->expert_norm;
    if (st == PARE_OK && class->norm_topk_key)
        st = pare_json_bool(config, path, *k_norm_topk, &hp->expert_norm, &found, err);
    hp->expert_norm_not_in_gguf = hp->expert_norm != arch->expert_norm && !arch->routing_keys;
    if (st == PARE_OK)
        st = pare_routing_from_config(hp, arch, class, config, path, err);
    return st == PARE_OK ? check_sparse_layers(config, path, err) : st;
}

/* head_dim and the count of kv heads: a key that is there with null means "derive", an absent one the class's value. */
static pare_status read_heads(pare_hparams *hp, const pare_hf_class *class, const json_t *config, const char *path,
                              pare_error *err)
{
    bool has_dim = false, has_kv = false;
    uint64_t dim = json_object_get(config, *k_head_dim) == NULL ? class->absent.head_dim : 0;
    uint64_t kv = json_object_get(config, *k_heads_kv) == NULL ? class->absent.n_head_kv : 0;
    pare_status st = pare_json_u64(config, path, *k_head_dim, 1, PARE_MAX_HEAD_DIM, &dim, &has_dim, err);
    if (st == PARE_OK)
        st = pare_json_u64(config, path, *k_heads_kv, 1, PARE_MAX_HEADS, &kv, &has_kv, err);
    hp->head_dim_k = hp->head_dim_v = (uint32_t)dim;
    hp->head_dim_key = has_dim || class->head_dim_key;
    hp->n_head_kv = (uint32_t)kv;
    return st;
}

static pare_status read_norm_and_act(pare_hparams *hp, const pare_arch *arch, const pare_hf_class *class,
                                     const json_t *config, const char *path, pare_error *err)
{
    bool found = false;
    pare_str name = {0};
    hp->norm_eps = class->absent.norm_eps;
    pare_status st =
        get_float(config, path, spelling(config, arch->wiring.norm == PARE_NORM_RMS ? k_rms_eps : k_layer_eps), 1,
                  &hp->norm_eps, &found, err);
    if (st == PARE_OK)
        st = pare_json_str(config, path, spelling(config, k_act), &name, &found, err);
    if (st == PARE_OK && !found && class->act_absent != NULL)
        name = (pare_str){class->act_absent, strlen(class->act_absent)};
    if (st == PARE_OK && (found || name.len > 0) &&
        (class->act_alias == NULL || !pare_str_equal(name, class->act_alias)))
        st = pare_hparams_set_act(hp, arch, name, path, spelling(config, k_act), err);
    hp->act_not_in_gguf = hp->act != 0;
    return st;
}

static pare_status read_llama3(pare_hparams *hp, const pare_arch *arch, const json_t *rope, const char *path,
                               pare_error *err)
{
    pare_rope_llama3 *s = &hp->rope_llama3;
    const struct {
        const char *key;
        double *out;
    } members[] = {{"factor", &s->factor}, {"low_freq_factor", &s->low}, {"high_freq_factor", &s->high}};
    uint64_t ctx = 0;
    pare_status st = PARE_OK;
    *s = (pare_rope_llama3){0};
    for (size_t i = 0; i < sizeof members / sizeof *members && st == PARE_OK; i++) {
        st = pare_json_f64(rope, path, members[i].key, members[i].out, NULL, err);
        if (st == PARE_OK && !pare_hparams_positive(*members[i].out, 1e9))
            st = pare_fail(err, PARE_ERR_RANGE, "%s: '%s' of RoPE scaling 'llama3' is %g, allowed is above 0 up to 1e9",
                           path, members[i].key, *members[i].out);
    }
    if (st == PARE_OK)
        st = pare_json_u64(rope, path, "original_max_position_embeddings", 1, PARE_MAX_CTX, &ctx, NULL, err);
    s->ctx_orig = (uint32_t)ctx;
    if (st != PARE_OK)
        return st;
    if (s->low >= s->high)
        return pare_fail(
            err, PARE_ERR_RANGE,
            "%s: 'low_freq_factor' of RoPE scaling 'llama3' is %g, allowed is below 'high_freq_factor', %g", path,
            s->low, s->high);
    if (pare_arch_weight_of(arch, PARE_W_ROPE_FREQS) == NULL)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: RoPE scaling 'llama3' has no form in GGUF for architecture '%s'", path, arch->name);
    return PARE_OK;
}

/* mscale and mscale_all_dim: 0 counts as absent. */
static pare_status read_mscale(const json_t *rope, const char *path, const char *key, double *out, pare_error *err)
{
    bool found = false;
    pare_status st = pare_json_f64(rope, path, key, out, &found, err);
    if (st == PARE_OK && !(*out >= 0 && *out <= 1e3))
        st = pare_fail(err, PARE_ERR_RANGE, "%s: '%s' is %g, allowed are 0 to 1000", path, key, *out);
    return st;
}

static pare_status read_yarn(pare_hparams *hp, const pare_arch *arch, const json_t *rope, const char *path,
                             pare_error *err)
{
    bool found = false, truncate = true;
    uint64_t ctx = hp->n_ctx_train;
    double mscale = 0, all = 0;
    const char *attn = has_member(rope, "attention_factor") ? "attention_factor" : "attn_factor";
    pare_status st = pare_json_u64(rope, path, "original_max_position_embeddings", 1, PARE_MAX_CTX, &ctx, &found, err);
    hp->rope_ctx_orig = (uint32_t)ctx;
    if (st == PARE_OK && hp->rope_factor == 0)
        hp->rope_factor = (float)hp->n_ctx_train / (float)hp->rope_ctx_orig;
    if (st == PARE_OK)
        st = get_float(rope, path, attn, 1e9, &hp->yarn_attn_key, &found, err);
    if (st == PARE_OK)
        st = get_float(rope, path, "beta_fast", 1e9, &hp->yarn_beta_fast, &found, err);
    if (st == PARE_OK)
        st = get_float(rope, path, "beta_slow", 1e9, &hp->yarn_beta_slow, &found, err);
    if (st == PARE_OK)
        st = read_mscale(rope, path, "mscale", &mscale, err);
    if (st == PARE_OK)
        st = read_mscale(rope, path, "mscale_all_dim", &all, err);
    if (st == PARE_OK)
        st = pare_json_bool(rope, path, "truncate", &truncate, &found, err);
    hp->yarn_exact = !truncate;
    hp->rope_attn_factor = hp->yarn_attn_key;
    if (hp->rope_attn_factor == 0 && mscale != 0 && all != 0)
        hp->rope_attn_factor = (float)pare_yarn_magnitude(hp, mscale, all);
    if (arch->yarn_scores)
        hp->yarn_log_mul = all;
    return st;
}

/* A list of positive numbers, as many as *n says or, where that is 0, as there are. */
static pare_status read_factors(const json_t *rope, const char *path, const char *key, uint32_t *n, float *out,
                                pare_error *err)
{
    const json_t *list = json_object_get(rope, key);
    size_t len = json_array_size(list);
    if (!json_is_array(list) || len == 0 || len > PARE_MAX_ROPE_FACTORS || (*n != 0 && len != *n))
        return pare_fail(err, PARE_ERR_RANGE, "%s: '%s' has %zu entries, wanted are %" PRIu32 " to %" PRIu32, path, key,
                         len, *n != 0 ? *n : 1, *n != 0 ? *n : PARE_MAX_ROPE_FACTORS);
    for (size_t i = 0; i < len; i++) {
        double v = json_number_value(json_array_get(list, i));
        if (!pare_hparams_positive(v, 1e9) || (float)v == 0.0f)
            return pare_fail(err, PARE_ERR_RANGE, "%s: entry %zu of '%s' is no number above 0 up to 1e9", path, i, key);
        out[i] = (float)v;
    }
    *n = (uint32_t)len;
    return PARE_OK;
}

/* The attention factor, where the config says none, follows from how much longer the context has become. */
static pare_status read_longrope(pare_hparams *hp, const pare_arch *arch, const json_t *config, const json_t *rope,
                                 const char *path, pare_error *err)
{
    static const char key[] = "original_max_position_embeddings";
    bool found = false, has_ctx = has_member(config, key) || has_member(rope, key);
    uint64_t ctx = hp->n_ctx_train;
    pare_rope_longrope *s = &hp->rope_longrope;
    if (pare_arch_weight_of(arch, PARE_W_ROPE_FACTORS_LONG) == NULL)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: RoPE scaling 'longrope' has no form in GGUF for architecture '%s'", path, arch->name);
    if (!has_ctx && !has_member(rope, "factor"))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: RoPE scaling 'longrope' has neither '%s' nor 'factor'", path, key);
    pare_status st = read_factors(rope, path, "long_factor", &s->n, s->long_factor, err);
    if (st == PARE_OK)
        st = read_factors(rope, path, "short_factor", &s->n, s->short_factor, err);
    if (st == PARE_OK)
        st = pare_json_u64(config, path, key, 2, PARE_MAX_CTX, &ctx, &found, err);
    if (st == PARE_OK)
        st = pare_json_u64(rope, path, key, 2, PARE_MAX_CTX, &ctx, &found, err);
    hp->rope_scaling = PARE_ROPE_LONGROPE;
    hp->rope_ctx_orig = (uint32_t)ctx;
    float factor = (float)hp->n_ctx_train / (float)ctx;
    if (st == PARE_OK)
        st = get_float(rope, path, "factor", 1e9, &factor, &found, err);
    hp->rope_attn_factor = factor <= 1 ? 1 : (float)sqrt(1 + log((double)factor) / log((double)ctx));
    if (st == PARE_OK)
        st = get_float(rope, path, "attention_factor", 1e9, &hp->rope_attn_factor, &found, err);
    return st;
}

/* Hunyuan's 'dynamic' raises the base once and for all. */
static pare_status read_alpha(pare_hparams *hp, const json_t *rope, const char *path, pare_error *err)
{
    bool found = false;
    float alpha = 1;
    double dim = hp->head_dim_k > 0 ? hp->head_dim_k : hp->n_embd / hp->n_head;
    pare_status st = get_float(rope, path, "alpha", 1e9, &alpha, &found, err);
    if (st == PARE_OK && found && dim > 2)
        hp->rope_base = (float)((double)hp->rope_base * pow((double)alpha, dim / (dim - 2)));
    if (st == PARE_OK && !pare_hparams_positive((double)hp->rope_base, 1e30))
        st = pare_fail(err, PARE_ERR_RANGE, "%s: 'alpha' of %g makes RoPE's base %g", path, (double)alpha,
                       (double)hp->rope_base);
    return st;
}

/* Proportional RoPE: so much of all pairs turns, at the pace that they have where all do. */
static pare_status read_part(pare_hparams *hp, const pare_arch *arch, const json_t *rope, const char *path,
                             pare_error *err)
{
    bool found = false;
    float factor = 1;
    hp->rope_part = 1;
    pare_status st = get_float(rope, path, spelling(rope, k_partial), 1, &hp->rope_part, &found, err);
    if (st == PARE_OK)
        st = get_float(rope, path, "factor", 1e9, &factor, &found, err);
    if (st == PARE_OK && factor != 1.0f)
        st = pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: 'factor' of RoPE scaling 'proportional' is %g, supported is 1",
                       path, (double)factor);
    if (st == PARE_OK && pare_arch_weight_of(arch, PARE_W_ROPE_FREQS) == NULL)
        st = pare_fail(err, PARE_ERR_UNSUPPORTED,
                       "%s: RoPE scaling 'proportional' has no form in GGUF for architecture '%s'", path, arch->name);
    return st;
}

static pare_status read_scaling(pare_hparams *hp, const pare_arch *arch, const json_t *config, const json_t *rope,
                                const char *path, pare_error *err)
{
    pare_str type = {"default", 7};
    bool found = false, has_factor = false;
    pare_status st = pare_json_str(rope, path, json_object_get(rope, "rope_type") != NULL ? "rope_type" : "type", &type,
                                   &found, err);
    if (st != PARE_OK || pare_str_equal(type, "default"))
        return st;
    if (pare_str_equal(type, "llama3"))
        return read_llama3(hp, arch, rope, path, err);
    if (pare_str_equal(type, "proportional"))
        return read_part(hp, arch, rope, path, err);
    if (pare_str_equal(type, "longrope") || pare_str_equal(type, "su"))
        return read_longrope(hp, arch, config, rope, path, err);
    if (pare_str_equal(type, "dynamic") && json_object_get(rope, "alpha") != NULL)
        return read_alpha(hp, rope, path, err);
    if (pare_str_equal(type, "dynamic"))
        return pare_warn(err, "%s: RoPE scaling 'dynamic' acts only beyond max_position_embeddings and is left out",
                         path);
    if (pare_str_equal(type, "linear"))
        hp->rope_scaling = PARE_ROPE_LINEAR;
    else if (pare_str_equal(type, "yarn"))
        hp->rope_scaling = PARE_ROPE_YARN;
    else
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: RoPE scaling '%.*s' is not supported; known are default, linear, yarn, llama3, longrope, "
                         "dynamic",
                         path, (int)(type.len < 64 ? type.len : 64), type.data);
    st = get_float(rope, path, "factor", 1e9, &hp->rope_factor, &has_factor, err);
    bool derived = hp->rope_scaling == PARE_ROPE_YARN && has_member(rope, "original_max_position_embeddings");
    if (st == PARE_OK && !has_factor && !derived)
        st =
            pare_fail(err, PARE_ERR_FORMAT, "%s: RoPE scaling '%.*s' without 'factor'", path, (int)type.len, type.data);
    if (st == PARE_OK && hp->rope_scaling == PARE_ROPE_YARN)
        st = read_yarn(hp, arch, rope, path, err);
    return st;
}

/* What rope_parameters says of the layers with a window, if it says anything of them alone. */
static pare_status read_window_rope(pare_hparams *hp, const pare_arch *arch, const json_t *rope, const char *path,
                                    pare_error *err)
{
    pare_str type = {"default", 7};
    bool found = false;
    if (!json_is_object(rope))
        return PARE_OK;
    pare_status st = get_float(rope, path, "rope_theta", 1e30, &hp->rope_base_window, &found, err);
    if (st == PARE_OK)
        st = pare_json_str(rope, path, "rope_type", &type, &found, err);
    if (st == PARE_OK && arch->window_rope_plain && !pare_str_equal(type, "default"))
        st = pare_fail(err, PARE_ERR_UNSUPPORTED,
                       "%s: RoPE scaling '%.*s' of 'sliding_attention' layers, which architecture '%s' has without",
                       path, (int)(type.len < 64 ? type.len : 64), type.data, arch->name);
    return st;
}

/* Older files: rope_theta beside rope_scaling; newer ones: all in rope_parameters, there perhaps one object a kind of
 * layer. */
static pare_status read_rope(pare_hparams *hp, const pare_arch *arch, const pare_hf_class *class, const json_t *config,
                             const char *path, pare_error *err)
{
    static const char *const names[] = {"rope_parameters", "rope_scaling", NULL};
    const char *name = spelling(config, names);
    const json_t *rope = json_object_get(config, name);
    bool found = false;
    float partial = class->absent.partial_rotary > 0.0f ? class->absent.partial_rotary : 1.0f;
    hp->rope_base = class->absent.rope_base > 0.0f ? class->absent.rope_base : 10000.0f;
    hp->rope_base_window = arch->rope_base_window;
    pare_status st = get_float(config, path, spelling(config, k_theta), 1e30, &hp->rope_base, &found, err);
    if (st == PARE_OK)
        st = get_float(config, path, spelling(config, k_partial), 1, &partial, &found, err);
    if (st == PARE_OK)
        st = get_float(config, path, spelling(config, k_theta_window), 1e30, &hp->rope_base_window, &found, err);
    if (st == PARE_OK && class->rope_stated && (rope == NULL || json_is_null(rope)))
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: neither 'rope_parameters' nor 'rope_scaling' is there, without which class '%s' has "
                         "no RoPE that is sure",
                         path, class->name);
    if (st == PARE_OK && rope != NULL && !json_is_null(rope)) {
        if (!json_is_object(rope))
            return pare_fail(err, PARE_ERR_FORMAT, "%s: '%s' is no object", path, name);
        const json_t *full = json_object_get(rope, "full_attention");
        st = read_window_rope(hp, arch, json_object_get(rope, "sliding_attention"), path, err);
        if (json_is_object(full))
            rope = full;
        if (st != PARE_OK)
            return st;
        st = get_float(rope, path, "rope_theta", 1e30, &hp->rope_base, &found, err);
        if (st == PARE_OK)
            st = get_float(rope, path, spelling(rope, k_partial), 1, &partial, &found, err);
        if (st == PARE_OK)
            st = read_scaling(hp, arch, config, rope, path, err);
    }
    if (st == PARE_OK && arch->partial_rotary)
        hp->n_rot = (uint32_t)(partial * (float)(hp->head_dim_k > 0 ? hp->head_dim_k : hp->n_embd / hp->n_head));
    else if (st == PARE_OK && partial != 1.0f && hp->rope_part == 0)
        st = pare_fail(err, PARE_ERR_UNSUPPORTED,
                       "%s: 'partial_rotary_factor' is %g, architecture '%s' is described with 1", path,
                       (double)partial, arch->name);
    return st;
}

/* One, where the config does not say. */
static pare_status read_extra_layers(pare_hparams *hp, const pare_arch *arch, const json_t *config, const char *path,
                                     pare_error *err)
{
    uint64_t n = arch->extra_layers ? 1 : 0;
    bool found = false;
    pare_status st = PARE_OK;
    if (arch->extra_layers)
        st = pare_json_u64(config, path, "num_nextn_predict_layers", 0, PARE_MAX_LAYERS, &n, &found, err);
    hp->n_layer_extra = (uint32_t)n;
    return st;
}

/* whole: config.json, of which config may be a section. The class beside a part that sees ties, or does not, by the key
 * of the whole. */
static pare_status read_flags(pare_hparams *hp, const pare_hf_class *class, const json_t *whole, const json_t *config,
                              const char *path, pare_error *err)
{
    bool found = false;
    hp->tied_output = class->absent.tied;
    pare_status st = pare_json_bool(config, path, "tie_word_embeddings", &hp->tied_output, &found, err);
    if (st == PARE_OK)
        st = pare_json_bool(whole, path, "tie_word_embeddings", &hp->tied_output, &found, err);
    if (st == PARE_OK)
        st = pare_json_bool(config, path, "attention_bias", &hp->attn_bias, &found, err);
    if (st == PARE_OK)
        st = pare_json_bool(config, path, "mlp_bias", &hp->ffn_bias, &found, err);
    return st;
}

static pare_status settle(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    static const char *const k_rot[] = {
        "qk_rope_head_dim", "partial_rotary_factor", "rotary_pct", "rope_pct", "rotary_dim", "head_dim", NULL};
    const char *rot = spelling(config, k_rot);
    pare_hparams_places at = {.path = path};
    snprintf(at.embd, sizeof at.embd, "'%s'", spelling(config, k_embd));
    snprintf(at.heads_kv, sizeof at.heads_kv, "'%s'", spelling(config, k_heads_kv));
    snprintf(at.rot, sizeof at.rot, "'%s'", has_member(config, rot) ? rot : spelling(config, k_embd));
    return pare_hparams_settle(hp, &at, err);
}

/* The class that config names, else the description's first. */
static const pare_hf_class *class_of(const pare_arch *arch, const json_t *config)
{
    const char *name = json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    const pare_hf_class *class = arch->hf_classes;
    if (name != NULL)
        pare_arch_find_class(name, &class);
    return class;
}

pare_status pare_hparams_from_config(pare_hparams *hp, const pare_arch *arch, const json_t *config, const char *path,
                                     pare_error *err)
{
    const pare_hf_class *class = class_of(arch, config);
    const json_t *whole = config;
    *hp = (pare_hparams){0};
    if (class->section != NULL)
        config = json_object_get(config, class->section);
    if (!json_is_object(config))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: '%s' is no object", path,
                         class->section != NULL ? class->section : "config");
    pare_status st = read_counts(hp, class, config, path, err);
    if (st == PARE_OK)
        st = pare_hparams_encoder_from_config(hp, arch, class, config, path, err);
    if (st == PARE_OK)
        st = read_heads(hp, class, config, path, err);
    if (st == PARE_OK)
        st = read_experts(hp, arch, class, config, path, err);
    if (st == PARE_OK)
        st = read_norm_and_act(hp, arch, class, config, path, err);
    if (st == PARE_OK)
        st = read_rope(hp, arch, class, config, path, err);
    if (st == PARE_OK)
        st = pare_latent_from_config(hp, arch, class, config, path, err);
    if (st == PARE_OK)
        st = read_extra_layers(hp, arch, config, path, err);
    if (st == PARE_OK)
        st = pare_window_from_config(hp, arch, class, config, path, err);
    if (st == PARE_OK)
        st = read_flags(hp, class, whole, config, path, err);
    if (st == PARE_OK)
        st = pare_kinds_from_config(hp, arch, class, config, path, err);
    if (st == PARE_OK && arch->from_config != NULL)
        st = arch->from_config(hp, config, path, err);
    return st == PARE_OK ? settle(hp, config, path, err) : st;
}

static json_t *float_list(const float *v, uint32_t n)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(list, pare_json_float(v[i]));
    return list;
}

static json_t *longrope_object(const pare_hparams *hp)
{
    const pare_rope_longrope *s = &hp->rope_longrope;
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:I}", "rope_type", "longrope", "type", "longrope", "long_factor",
                     float_list(s->long_factor, s->n), "short_factor", float_list(s->short_factor, s->n),
                     "attention_factor", pare_json_float(hp->rope_attn_factor > 0 ? hp->rope_attn_factor : 1),
                     "original_max_position_embeddings", (json_int_t)hp->rope_ctx_orig);
}

static json_t *rope_scaling_object(const pare_hparams *hp, const pare_hf_class *class)
{
    const pare_rope_llama3 *s = &hp->rope_llama3;
    if (s->factor > 0)
        return json_pack("{s:s, s:f, s:f, s:f, s:I}", "rope_type", "llama3", "factor", s->factor, "low_freq_factor",
                         s->low, "high_freq_factor", s->high, "original_max_position_embeddings",
                         (json_int_t)s->ctx_orig);
    if (hp->rope_scaling == PARE_ROPE_LINEAR)
        return json_pack("{s:s, s:o}", "rope_type", "linear", "factor", pare_json_float(hp->rope_factor));
    if (hp->rope_scaling == PARE_ROPE_LONGROPE)
        return longrope_object(hp);
    if (hp->rope_scaling != PARE_ROPE_YARN)
        return class->rope_stated ? json_pack("{s:s}", "rope_type", "default") : json_null();
    json_t *yarn = json_pack("{s:s, s:o}", "rope_type", "yarn", "factor", pare_json_float(hp->rope_factor));
    const struct {
        const char *key;
        float v;
    } extra[] = {{"attention_factor", hp->rope_attn_factor},
                 {"beta_fast", hp->yarn_beta_fast},
                 {"beta_slow", hp->yarn_beta_slow},
                 {"mscale", (float)hp->yarn_log_mul},
                 {"mscale_all_dim", (float)hp->yarn_log_mul}};
    if (hp->rope_ctx_orig != 0)
        json_object_set_new(yarn, "original_max_position_embeddings", json_integer(hp->rope_ctx_orig));
    for (size_t i = 0; i < sizeof extra / sizeof *extra; i++)
        if (extra[i].v != 0.0f)
            json_object_set_new(yarn, extra[i].key, pare_json_float(extra[i].v));
    if (hp->yarn_exact)
        json_object_set_new(yarn, "truncate", json_false());
    return yarn;
}

/* The keys of a mixture of experts. */
static bool put_experts(const pare_hparams *hp, const pare_arch *arch, const pare_hf_class *class, json_t *config)
{
    if (class->experts == NULL)
        return true;
    bool ok = class->experts_if == NULL ||
              json_object_set_new(config, class->experts_if, json_boolean(hp->n_expert > 0)) == 0;
    if (hp->n_expert == 0)
        return ok;
    ok = json_object_set_new(config, class->experts, json_integer(hp->n_expert)) == 0 && ok;
    ok = json_object_set_new(config, used_key(class), json_integer(hp->n_expert_used)) == 0 && ok;
    if (arch->expert_ff_key)
        ok = json_object_set_new(config, *k_ff_expert, json_integer(hp->n_ff_expert)) == 0 && ok;
    if (pare_arch_shared_key(arch, class) != NULL)
        ok = json_object_set_new(config, pare_arch_shared_key(arch, class), json_integer(hp->n_ff_shared)) == 0 && ok;
    if (class->norm_topk_key)
        ok = json_object_set_new(config, *k_norm_topk, json_boolean(hp->expert_norm)) == 0 && ok;
    return ok;
}

pare_status pare_hparams_to_config(const pare_hparams *hp, const pare_arch *arch, json_t *config, pare_error *err)
{
    const pare_hf_class *class = pare_arch_class_for(arch, hp);
    const char *eps = arch->wiring.norm == PARE_NORM_RMS ? k_rms_eps[0] : k_layer_eps[0];
    if (hp->n_expert > 0 && !class->norm_topk_key && hp->expert_norm != arch->expert_norm)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "class '%s' has no word for the way experts are weighted here",
                         class->name);
    const struct {
        const char *key;
        json_t *value;
    } members[] = {
        {"architectures", json_pack("[s]", class->name)},
        {"model_type", json_string(class->model_type)},
        {*k_layers, json_integer(hp->n_layer)},
        {*k_ctx, json_integer(hp->n_ctx_train)},
        {*k_embd, json_integer(hp->n_embd)},
        {*k_ff, json_integer(hp->n_ff)},
        {*k_heads, json_integer(hp->n_head)},
        {*k_heads_kv, json_integer(hp->n_head_kv)},
        {*k_vocab, json_integer(hp->n_vocab)},
        {*k_act, json_string(pare_activation_name(pare_arch_act(arch, hp)))},
        {eps, pare_json_float(hp->norm_eps)},
        {*k_theta, pare_json_float(hp->rope_base)},
        {"rope_scaling", rope_scaling_object(hp, class)},
        {"tie_word_embeddings", json_boolean(hp->tied_output)},
        {"attention_bias", json_boolean(hp->attn_bias)},
        {"mlp_bias", json_boolean(hp->ffn_bias)},
    };
    bool ok = put_experts(hp, arch, class, config) && pare_window_to_config(hp, arch, class, config);
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        ok = json_object_set_new(config, members[i].key, members[i].value) == 0 && ok;
    if (hp->rope_base_window != 0)
        ok = json_object_set_new(config, *k_theta_window, pare_json_float(hp->rope_base_window)) == 0 && ok;
    if (arch->partial_rotary)
        ok = json_object_set_new(config, *k_partial, json_real((double)hp->n_rot / hp->head_dim_k)) == 0 && ok;
    if (hp->head_dim_key || (uint64_t)hp->head_dim_k * hp->n_head != hp->n_embd)
        ok = json_object_set_new(config, *k_head_dim, json_integer(hp->head_dim_k)) == 0 && ok;
    if (!ok)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
    pare_status st = pare_hparams_encoder_to_config(hp, config, err);
    if (st == PARE_OK)
        st = pare_latent_to_config(hp, arch, config, err);
    if (st == PARE_OK)
        st = pare_routing_to_config(hp, arch, config, err);
    if (st == PARE_OK)
        st = pare_kinds_to_config(hp, arch, config, err);
    if (st == PARE_OK && arch->extra_layers &&
        json_object_set_new(config, "num_nextn_predict_layers", json_integer(0)) != 0)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
    return st == PARE_OK && arch->to_config != NULL ? arch->to_config(hp, config, err) : st;
}
