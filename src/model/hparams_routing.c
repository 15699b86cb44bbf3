/* DeepSeek's words for a mixture of experts, which other families took over.
 *
 *   config.json                        here                    GGUF
 *   first_k_dense_replace              n_layer_dense           leading_dense_block_count
 *   n_shared_experts                   n_expert_shared         expert_shared_count
 *   n_group, topk_group                n_expert_group(_used)   expert_group_count, expert_group_used_count
 *   routed_scaling_factor              expert_scale            expert_weights_scale
 *   (the class; scoring_func)          expert_score            expert_gating_func
 *   (the class; topk_method)           expert_group_best
 *
 * moe_layer_start_index and moe_num_shared_experts are other spellings of the first two; norm_topk_prob is one of the
 * common words. */
#include "core/json.h"
#include "model/hparams_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const double max_scale = 1e6;

/* The first spelling that is there with a value, else the first one. */
static const char *spelling(const json_t *config, const char *const *names)
{
    for (size_t i = 0; names[i] != NULL; i++) {
        const json_t *v = json_object_get(config, names[i]);
        if (v != NULL && !json_is_null(v))
            return names[i];
    }
    return names[0];
}

static const char *const k_dense[] = {"first_k_dense_replace", "moe_layer_start_index", NULL};
static const char *const k_shared[] = {"n_shared_experts", "num_shared_experts", "moe_num_shared_experts", NULL};
static const char *const k_group[] = {"n_group", NULL};
static const char *const k_group_used[] = {"topk_group", NULL};
static const char *const k_scale[] = {"routed_scaling_factor", NULL};

static pare_status check_word(const json_t *config, const char *path, const char *key, const char *const *known,
                              size_t *at, pare_error *err)
{
    pare_str word = {0};
    bool found = false;
    pare_status st = pare_json_str(config, path, key, &word, &found, err);
    *at = SIZE_MAX;
    if (st != PARE_OK || !found)
        return st;
    for (size_t i = 0; known[i] != NULL; i++)
        if (pare_str_equal(word, known[i])) {
            *at = i;
            return PARE_OK;
        }
    return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: '%s' is '%.*s', which is not known here", path, key,
                     (int)(word.len < 64 ? word.len : 64), word.data);
}

/* A class has one way to score; where its config names one, it must be that. */
static pare_status read_score(pare_hparams *hp, const pare_hf_class *class, const json_t *config, const char *path,
                              pare_error *err)
{
    static const char *const scores[] = {"softmax", "sigmoid", "noaux_tc", NULL};
    size_t score = 0;
    pare_status st = check_word(config, path, "scoring_func", scores, &score, err);
    hp->expert_score = class->expert_score;
    if (st != PARE_OK || score == SIZE_MAX)
        return st;
    pare_expert_score said = score == 0 ? PARE_EXPERT_SOFTMAX : PARE_EXPERT_SIGMOID;
    if (class->expert_score != PARE_EXPERT_USUAL && said != class->expert_score)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: 'scoring_func' is '%s', class '%s' does the other", path,
                         scores[score], class->name);
    hp->expert_score = said;
    return PARE_OK;
}

/* Experts are chosen from groups unless the method is the plain one. */
static pare_status read_groups(pare_hparams *hp, const pare_hf_class *class, const json_t *config, const char *path,
                               pare_error *err)
{
    static const char *const methods[] = {"greedy", "group_limited_greedy", "noaux_tc", NULL};
    uint64_t n = class->absent.n_expert_group, used = class->absent.n_expert_group_used;
    bool found = false;
    size_t method = 0;
    pare_status st = check_word(config, path, "topk_method", methods, &method, err);
    if (st == PARE_OK)
        st = pare_json_u64(config, path, spelling(config, k_group), 0, PARE_MAX_EXPERTS, &n, &found, err);
    if (st == PARE_OK)
        st = pare_json_u64(config, path, spelling(config, k_group_used), 0, PARE_MAX_EXPERTS, &used, &found, err);
    hp->n_expert_group = (uint32_t)n;
    hp->n_expert_group_used = (uint32_t)used;
    if (method == 0 && n > 1)
        hp->n_expert_group = hp->n_expert_group_used = 1;
    hp->expert_group_best = class->expert_group_best;
    hp->expert_group_not_in_gguf = hp->n_expert_group > 1 && class->expert_group_best == 1;
    return st;
}

static pare_status check_routing(const pare_hparams *hp, const char *path, pare_error *err)
{
    uint32_t n = hp->n_expert_group, best = hp->expert_group_best > 0 ? hp->expert_group_best : 2;
    if (hp->n_layer_dense > hp->n_layer)
        return pare_fail(err, PARE_ERR_RANGE, "%s: %" PRIu32 " leading dense layers of %" PRIu32 " layers", path,
                         hp->n_layer_dense, hp->n_layer);
    if (n <= 1 || (hp->n_expert % n == 0 && hp->n_expert_group_used >= 1 && hp->n_expert_group_used <= n &&
                   hp->n_expert / n >= best && hp->n_expert_used <= hp->n_expert_group_used * (hp->n_expert / n)))
        return PARE_OK;
    return pare_fail(err, PARE_ERR_RANGE,
                     "%s: %" PRIu32 " of %" PRIu32 " experts from %" PRIu32 " of %" PRIu32
                     " groups: groups must divide the experts, hold %" PRIu32 " at least, and be enough",
                     path, hp->n_expert_used, hp->n_expert, hp->n_expert_group_used, n, best);
}

static pare_status set_shared(pare_hparams *hp, uint64_t n, const char *path, pare_error *err)
{
    uint64_t width = n * hp->n_ff_expert;
    if (width > PARE_MAX_FF)
        return pare_fail(err, PARE_ERR_RANGE, "%s: %" PRIu64 " shared experts of %" PRIu32 ", allowed are %d in all",
                         path, n, hp->n_ff_expert, PARE_MAX_FF);
    hp->n_expert_shared = (uint32_t)n;
    hp->n_ff_shared = (uint32_t)width;
    return PARE_OK;
}

/* The dense layers by a list of all of them: they must lead. */
static pare_status read_layer_kinds(const json_t *config, const char *path, uint32_t n_layer, uint64_t *n_dense,
                                    pare_error *err)
{
    const json_t *kinds = json_object_get(config, "mlp_layer_types");
    if (kinds == NULL || json_is_null(kinds))
        return PARE_OK;
    if (!json_is_array(kinds) || json_array_size(kinds) != n_layer)
        return pare_fail(err, PARE_ERR_RANGE, "%s: 'mlp_layer_types' is no list of %" PRIu32 " entries", path, n_layer);
    *n_dense = 0;
    for (size_t i = 0; i < n_layer; i++) {
        const char *kind = json_string_value(json_array_get(kinds, i));
        bool dense = kind != NULL && strcmp(kind, "dense") == 0;
        if (!dense && (kind == NULL || strcmp(kind, "sparse") != 0))
            return pare_fail(err, PARE_ERR_UNSUPPORTED,
                             "%s: 'mlp_layer_types' entry %zu is '%s', known are dense and sparse", path, i,
                             kind != NULL ? kind : "no string");
        if (dense && *n_dense != i)
            return pare_fail(err, PARE_ERR_UNSUPPORTED,
                             "%s: 'mlp_layer_types' entry %zu is 'dense' behind layers with experts, which is not "
                             "supported",
                             path, i);
        *n_dense += dense;
    }
    return PARE_OK;
}

pare_status pare_routing_from_config(pare_hparams *hp, const pare_arch *arch, const pare_hf_class *class,
                                     const json_t *config, const char *path, pare_error *err)
{
    uint64_t dense = class->absent.n_layer_dense, shared = class->absent.n_expert_shared, freq = 1;
    double scale = (double)class->absent.expert_scale;
    bool found = false;
    if (!arch->routing_keys || hp->n_expert == 0)
        return PARE_OK;
    pare_status st = pare_json_u64(config, path, spelling(config, k_dense), 0, PARE_MAX_LAYERS, &dense, &found, err);
    if (st == PARE_OK)
        st = read_layer_kinds(config, path, hp->n_layer, &dense, err);
    if (st == PARE_OK)
        st = pare_json_u64(config, path, "moe_layer_freq", 0, PARE_MAX_LAYERS, &freq, &found, err);
    if (st == PARE_OK && freq != 1)
        st = pare_fail(err, PARE_ERR_UNSUPPORTED,
                       "%s: 'moe_layer_freq' is %" PRIu64 "; layers without experts among others are not supported",
                       path, freq);
    if (st == PARE_OK && json_object_get(config, *k_shared) != NULL && json_is_null(json_object_get(config, *k_shared)))
        shared = 0;
    if (st == PARE_OK)
        st = pare_json_u64(config, path, spelling(config, k_shared), 0, PARE_MAX_EXPERTS, &shared, &found, err);
    if (st == PARE_OK)
        st = set_shared(hp, shared, path, err);
    if (st == PARE_OK)
        st = pare_json_f64(config, path, spelling(config, k_scale), &scale, &found, err);
    if (st == PARE_OK && scale != 0 && !pare_hparams_positive(scale, max_scale))
        st = pare_fail(err, PARE_ERR_RANGE, "%s: '%s' is %g, allowed is above 0 up to %g", path, *k_scale, scale,
                       max_scale);
    hp->expert_scale = (float)scale;
    hp->n_layer_dense = (uint32_t)dense;
    if (st == PARE_OK)
        st = read_score(hp, class, config, path, err);
    if (st == PARE_OK)
        st = read_groups(hp, class, config, path, err);
    return st == PARE_OK ? check_routing(hp, path, err) : st;
}

pare_status pare_routing_from_meta(pare_hparams *hp, const pare_arch *arch, const pare_meta *meta, const char *path,
                                   pare_error *err)
{
    char key[160];
    uint64_t score = 0, shared = 0, dense = 0, group = 0, used = 0;
    const struct {
        const char *suffix;
        uint64_t max, *out;
    } numbers[] = {
        {"leading_dense_block_count", PARE_MAX_LAYERS, &dense},
        {"expert_shared_count", PARE_MAX_EXPERTS, &shared},
        {"expert_group_count", PARE_MAX_EXPERTS, &group},
        {"expert_group_used_count", PARE_MAX_EXPERTS, &used},
        {"expert_gating_func", PARE_EXPERT_SOFTMAX_CHOSEN, &score},
    };
    double scale = 0;
    bool found = false;
    pare_hparams read = *hp;
    pare_status st = PARE_OK;
    if (hp->n_expert == 0)
        return PARE_OK;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && st == PARE_OK; i++) {
        snprintf(key, sizeof key, "%s.%s", arch->name, numbers[i].suffix);
        st = pare_meta_u64(meta, path, key, 0, numbers[i].max, numbers[i].out, &found, err);
    }
    snprintf(key, sizeof key, "%s.expert_weights_scale", arch->name);
    if (st == PARE_OK && arch->routing_keys)
        st = pare_meta_f64(meta, path, key, &scale, &found, err);
    if (st == PARE_OK && scale != 0 && !pare_hparams_positive(scale, max_scale))
        st = pare_fail(err, PARE_ERR_RANGE, "%s: '%s' is %g, allowed is above 0 up to %g", path, key, scale, max_scale);
    if (st == PARE_OK && used > (group > 0 ? group : 1))
        st = pare_fail(err, PARE_ERR_RANGE,
                       "%s: '%s.expert_group_used_count' is %" PRIu64 " of %" PRIu64 " groups of experts", path,
                       arch->name, used, group > 0 ? group : 1);
    read.n_layer_dense = (uint32_t)dense;
    read.n_expert_group = (uint32_t)group;
    read.n_expert_group_used = (uint32_t)used;
    read.expert_score = (pare_expert_score)score;
    read.expert_scale = (float)scale;
    if (st == PARE_OK)
        st = set_shared(&read, shared, path, err);
    if (st == PARE_OK)
        st = check_routing(&read, path, err);
    if (st == PARE_OK && arch->routing_keys) /* the others' are held to the same rules */
        *hp = read;
    else if (st == PARE_OK && group > 1) /* which stock takes of every architecture */
        st = pare_fail(err, PARE_ERR_UNSUPPORTED,
                       "%s: '%s.expert_group_count' is %" PRIu64
                       ": experts of this architecture are not chosen by groups here",
                       path, arch->name, group);
    return st;
}

pare_status pare_routing_to_config(const pare_hparams *hp, const pare_arch *arch, json_t *config, pare_error *err)
{
    if (!arch->routing_keys || hp->n_expert == 0)
        return PARE_OK;
    bool grouped = hp->n_expert_group > 1, softmax = pare_arch_expert_score(arch, hp) == PARE_EXPERT_SOFTMAX;
    if (grouped && softmax && hp->expert_group_best != 1)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "groups that are chosen by the best two of softmax scores have no word in a config.json");
    if (pare_arch_expert_score(arch, hp) == PARE_EXPERT_SOFTMAX_CHOSEN)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "expert_gating_func 3 has no word in a config.json of '%s'",
                         arch->name);
    bool ok = json_object_set_new(config, *k_dense, json_integer(hp->n_layer_dense)) == 0;
    ok = json_object_set_new(config, *k_shared, json_integer(hp->n_expert_shared)) == 0 && ok;
    ok = json_object_set_new(config, *k_group, json_integer(grouped ? hp->n_expert_group : 1)) == 0 && ok;
    ok = json_object_set_new(config, *k_group_used, json_integer(grouped ? hp->n_expert_group_used : 1)) == 0 && ok;
    ok =
        json_object_set_new(config, *k_scale, pare_json_float(hp->expert_scale != 0 ? hp->expert_scale : 1)) == 0 && ok;
    ok = json_object_set_new(config, "scoring_func", json_string(softmax ? "softmax" : "sigmoid")) == 0 && ok;
    ok = json_object_set_new(config, "topk_method",
                             json_string(!softmax  ? "noaux_tc"
                                         : grouped ? "group_limited_greedy"
                                                   : "greedy")) == 0 &&
         ok;
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

pare_status pare_routing_to_meta(const pare_hparams *hp, const pare_arch *arch, pare_meta *meta, pare_error *err)
{
    const struct {
        const char *suffix;
        uint32_t v;
        bool always;
    } numbers[] = {
        {"expert_group_count", hp->n_expert_group, false},  {"expert_group_used_count", hp->n_expert_group_used, false},
        {"expert_gating_func", hp->expert_score, false},    {"leading_dense_block_count", hp->n_layer_dense, true},
        {"expert_shared_count", hp->n_expert_shared, true},
    };
    char key[160];
    pare_status st = PARE_OK;
    if (!arch->routing_keys || hp->n_expert == 0)
        return PARE_OK;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && st == PARE_OK; i++) {
        snprintf(key, sizeof key, "%s.%s", arch->name, numbers[i].suffix);
        if (numbers[i].v != 0 || numbers[i].always)
            st = pare_meta_set_u32(meta, key, numbers[i].v, err);
    }
    snprintf(key, sizeof key, "%s.expert_weights_scale", arch->name);
    return st == PARE_OK && hp->expert_scale != 0 ? pare_meta_set_f32(meta, key, hp->expert_scale, err) : st;
}
