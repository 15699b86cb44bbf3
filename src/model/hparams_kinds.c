/* Layers of two kinds: those with a window have heads of another size and number than those that see all, and those
 * that attend to another layer's keys may have an FFN twice as wide.
 *
 *   config.json                              here                     GGUF
 *   global_head_dim                          head_dim_k, head_dim_v   attention.key_length, value_length
 *   num_global_key_value_heads, which        n_head_kv                attention.head_count_kv, a number a layer where
 *     counts where attention_k_eq_v is true                             it is not the same everywhere
 *   head_dim                                 window_heads.dim         attention.key_length_swa, value_length_swa
 *   num_key_value_heads                      window_heads.n_kv        attention.head_count_kv
 *   attention_k_eq_v                         keys_as_values           there is no attn_v in layers that see all
 *   num_kv_shared_layers                     n_layer_shared_kv        attention.shared_kv_layers
 *   use_double_wide_mlp                      n_ff_shared_kv           feed_forward_length, a number a layer
 *
 * In newer config.json files per_layer_config, {"5": {"head_dim": 512, "num_key_value_heads": 4}, ...}, takes the place
 * of the first two. Source: transformers models/gemma4/configuration_gemma4.py; llama.cpp conversion/gemma.py. */
#include "core/json.h"
#include "model/hparams_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char k_overrides[] = "per_layer_config";

static pare_layer_set windowed_layers(const pare_hparams *hp)
{
    pare_layer_set s = {0};
    for (uint32_t i = 0; i < hp->n_layer; i++)
        if (pare_layer_window(hp, i) > 0)
            pare_layers_add(&s, i);
    return s;
}

static pare_layer_set sharing_layers(const pare_hparams *hp)
{
    pare_layer_set s = {0};
    for (uint32_t i = hp->n_layer - hp->n_layer_shared_kv; i < hp->n_layer; i++)
        pare_layers_add(&s, i);
    return s;
}

static pare_status config_u32(const json_t *config, const char *path, const char *key, uint64_t min, uint64_t max,
                              uint32_t *out, bool *found, pare_error *err)
{
    uint64_t n = *out;
    pare_status st = pare_json_u64(config, path, key, min, max, &n, found, err);
    *out = (uint32_t)n;
    return st;
}

/* ---- config.json ---- */

/* Head size and key/value heads of one layer, of which config has what most have. */
static pare_status read_override(const json_t *of, uint32_t layer, const char *path, pare_window_heads *out,
                                 pare_error *err)
{
    bool dim = false, n_kv = false;
    if (!json_is_object(of))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: '%s' of layer %" PRIu32 " is no object", path, k_overrides, layer);
    pare_status st = config_u32(of, path, "head_dim", 1, PARE_MAX_HEAD_DIM, &out->dim, &dim, err);
    if (st == PARE_OK)
        st = config_u32(of, path, "num_key_value_heads", 1, PARE_MAX_HEADS, &out->n_kv, &n_kv, err);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)of, key, value) if (st == PARE_OK && strcmp(key, "head_dim") != 0 &&
                                                                 strcmp(key, "num_key_value_heads") != 0) st =
        pare_fail(err, PARE_ERR_UNSUPPORTED,
                  "%s: '%s' of layer %" PRIu32 " sets '%.64s'; known are head_dim and num_key_value_heads", path,
                  k_overrides, layer, key);
    return st;
}

/* per_layer_config: kinds[0] of layers that see all, kinds[1] of those with a window. */
static pare_status read_overrides(const pare_hparams *hp, const json_t *all, const char *path,
                                  pare_window_heads kinds[2], pare_error *err)
{
    const pare_window_heads usual = kinds[1];
    bool seen[2] = {false, false};
    size_t n_used = 0;
    if (!json_is_object(all))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: '%s' is no object", path, k_overrides);
    for (uint32_t i = 0; i < hp->n_layer; i++) {
        char name[16];
        snprintf(name, sizeof name, "%" PRIu32, i);
        const json_t *of = json_object_get(all, name);
        bool windowed = pare_layer_window(hp, i) > 0;
        pare_window_heads found = usual, *kind = &kinds[windowed];
        pare_status st = of != NULL ? read_override(of, i, path, &found, err) : PARE_OK;
        if (st != PARE_OK)
            return st;
        n_used += of != NULL;
        if (seen[windowed] && (found.dim != kind->dim || found.n_kv != kind->n_kv))
            return pare_fail(err, PARE_ERR_UNSUPPORTED,
                             "%s: '%s' gives layer %" PRIu32 " %" PRIu32 " key/value heads of %" PRIu32
                             " elements, another layer %s a window %" PRIu32 " of %" PRIu32,
                             path, k_overrides, i, found.n_kv, found.dim, windowed ? "with" : "without", kind->n_kv,
                             kind->dim);
        *kind = found;
        seen[windowed] = true;
    }
    if (n_used < json_object_size(all))
        return pare_fail(err, PARE_ERR_RANGE, "%s: '%s' names %zu layers that are not there", path, k_overrides,
                         json_object_size(all) - n_used);
    return PARE_OK;
}

static pare_status read_heads(pare_hparams *hp, const pare_hf_class *class, const json_t *config, const char *path,
                              pare_error *err)
{
    const json_t *overrides = json_object_get(config, k_overrides);
    uint32_t n_kv = 0;
    bool found = false;
    pare_window_heads kinds[2] = {{.dim = class->absent.head_dim_full}, {.dim = hp->head_dim_k, .n_kv = hp->n_head_kv}};
    if (kinds[1].n_kv == 0)
        kinds[1].n_kv = hp->n_head;
    if (kinds[1].dim == 0)
        kinds[1].dim = hp->n_embd / hp->n_head;
    pare_status st = pare_json_bool(config, path, "attention_k_eq_v", &hp->keys_as_values, &found, err);
    if (st == PARE_OK)
        st = config_u32(config, path, "global_head_dim", 1, PARE_MAX_HEAD_DIM, &kinds[0].dim, &found, err);
    if (st == PARE_OK)
        st = config_u32(config, path, "num_global_key_value_heads", 1, PARE_MAX_HEADS, &n_kv, &found, err);
    kinds[0].n_kv = hp->keys_as_values && n_kv > 0 ? n_kv : kinds[1].n_kv;
    if (st == PARE_OK && overrides != NULL && !json_is_null(overrides))
        st = read_overrides(hp, overrides, path, kinds, err);
    hp->head_dim_k = hp->head_dim_v = kinds[0].dim;
    hp->n_head_kv = kinds[0].n_kv;
    hp->window_heads = kinds[1];
    hp->window_heads.n_rot = kinds[1].dim;
    return st;
}

static pare_status read_shared(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    bool found = false, wide = false;
    pare_status st =
        config_u32(config, path, "num_kv_shared_layers", 0, hp->n_layer - 1, &hp->n_layer_shared_kv, &found, err);
    if (st == PARE_OK)
        st = pare_json_bool(config, path, "use_double_wide_mlp", &wide, &found, err);
    if (st == PARE_OK && wide && hp->n_ff > PARE_MAX_FF / 2)
        st = pare_fail(err, PARE_ERR_RANGE,
                       "%s: 'use_double_wide_mlp' doubles 'intermediate_size' %" PRIu32 ", up to %d is allowed", path,
                       hp->n_ff, PARE_MAX_FF / 2);
    if (wide && hp->n_layer_shared_kv > 0)
        hp->n_ff_shared_kv = 2 * hp->n_ff;
    return st;
}

/* The same rules for both sources. */
static pare_status check_heads(const pare_hparams *hp, const char *path, pare_error *err)
{
    const pare_window_heads *w = &hp->window_heads;
    if (w->n_kv > hp->n_head || (w->n_kv > 0 && hp->n_head % w->n_kv != 0))
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: %" PRIu32 " key/value heads of layers with a window do not divide %" PRIu32
                         " attention heads",
                         path, w->n_kv, hp->n_head);
    if (w->n_rot > w->dim || w->n_rot % 2 != 0)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: RoPE over %" PRIu32 " elements of heads of %" PRIu32
                         " in layers with a window, must be even and not more",
                         path, w->n_rot, w->dim);
    return PARE_OK;
}

pare_status pare_kinds_from_config(pare_hparams *hp, const pare_arch *arch, const pare_hf_class *class,
                                   const json_t *config, const char *path, pare_error *err)
{
    if (!arch->window_heads)
        return PARE_OK;
    pare_status st = read_heads(hp, class, config, path, err);
    if (st == PARE_OK)
        st = check_heads(hp, path, err);
    return st == PARE_OK ? read_shared(hp, config, path, err) : st;
}

static pare_layer_shape window_shape(const pare_hparams *hp)
{
    const pare_window_heads *w = &hp->window_heads;
    pare_layer_shape s = {hp->n_head_kv, hp->head_dim_k, hp->head_dim_v, hp->n_rot, hp->n_ff};
    if (w->n_kv > 0)
        s.n_head_kv = w->n_kv;
    if (w->dim > 0)
        s.head_dim_k = s.head_dim_v = w->dim;
    if (w->n_rot > 0)
        s.n_rot = w->n_rot;
    return s;
}

/* The only way to say that layers which see all have other key/value heads, and values of their own. */
static json_t *overrides_object(const pare_hparams *hp)
{
    json_t *all = json_object();
    for (uint32_t i = 0; i < hp->n_layer && all != NULL; i++) {
        char name[16];
        snprintf(name, sizeof name, "%" PRIu32, i);
        if (pare_layer_window(hp, i) == 0 &&
            json_object_set_new(all, name,
                                json_pack("{s:I, s:I}", "head_dim", (json_int_t)hp->head_dim_k, "num_key_value_heads",
                                          (json_int_t)hp->n_head_kv)) != 0) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

pare_status pare_kinds_to_config(const pare_hparams *hp, const pare_arch *arch, json_t *config, pare_error *err)
{
    const pare_layer_shape w = window_shape(hp);
    bool wide = hp->n_ff_shared_kv != 0 && hp->n_ff_shared_kv != hp->n_ff;
    if (!arch->window_heads)
        return PARE_OK;
    if (wide && hp->n_ff_shared_kv != 2 * (uint64_t)hp->n_ff)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "FFNs of width %" PRIu32 " and, in layers that share keys, %" PRIu32
                         ": config.json has a word for twice the width alone",
                         hp->n_ff, hp->n_ff_shared_kv);
    if (w.n_rot != w.head_dim_k || hp->n_rot != hp->head_dim_k || hp->head_dim_k != hp->head_dim_v)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "heads of %" PRIu32 " and %" PRIu32 " elements, of which RoPE turns %" PRIu32
                         ", in layers with a window %" PRIu32 " of %" PRIu32 ": config.json has no words for it",
                         hp->head_dim_k, hp->head_dim_v, hp->n_rot, w.n_rot, w.head_dim_k);
    const struct {
        const char *key;
        json_t *value;
    } members[] = {
        {"head_dim", json_integer(w.head_dim_k)},
        {"num_key_value_heads", json_integer(w.n_head_kv)},
        {"global_head_dim", json_integer(hp->head_dim_k)},
        {"num_global_key_value_heads", w.n_head_kv != hp->n_head_kv ? json_integer(hp->n_head_kv) : json_null()},
        {"attention_k_eq_v", json_boolean(hp->keys_as_values)},
        {"num_kv_shared_layers", json_integer(hp->n_layer_shared_kv)},
        {"use_double_wide_mlp", json_boolean(wide)},
    };
    bool ok = true;
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        ok = json_object_set_new(config, members[i].key, members[i].value) == 0 && ok;
    if (w.n_head_kv != hp->n_head_kv && !hp->keys_as_values)
        ok = json_object_set_new(config, k_overrides, overrides_object(hp)) == 0 && ok;
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

/* ---- GGUF ---- */

static char *make_key(char dst[160], const pare_arch *arch, const char *suffix)
{
    snprintf(dst, 160, "%s.%s", arch->name, suffix);
    return dst;
}

/* A number a layer, whose count and range were checked: *second of the layers in the set, *first of the others. */
static pare_status split_array(const pare_hparams *hp, const pare_meta_value *v, const pare_layer_set *set,
                               uint32_t *first, uint32_t *second, const char *path, pare_error *err)
{
    bool seen[2] = {false, false};
    uint32_t *kinds[2] = {first, second};
    if (v == NULL || v->type != PARE_META_ARRAY)
        return PARE_OK;
    for (uint32_t i = 0; i < hp->n_layer; i++) {
        bool in = pare_layers_have(set, i);
        uint64_t n = 0;
        pare_meta_element_u64(v, i, &n);
        if (seen[in] && *kinds[in] != n)
            return pare_fail(err, PARE_ERR_UNSUPPORTED,
                             "%s: offset %" PRIu64 ": '%.*s' of layer %" PRIu32 " is %" PRIu64
                             ", of another one of its kind %" PRIu32,
                             path, v->offset, (int)v->key.len, v->key.data, i, n, *kinds[in]);
        *kinds[in] = (uint32_t)n;
        seen[in] = true;
    }
    return PARE_OK;
}

static pare_status meta_u32(const pare_arch *arch, const pare_meta *meta, const char *path, const char *suffix,
                            uint64_t min, uint64_t max, uint32_t *out, pare_error *err)
{
    char key[160];
    uint64_t n = *out;
    bool found = false;
    pare_status st = pare_meta_u64(meta, path, make_key(key, arch, suffix), min, max, &n, &found, err);
    *out = (uint32_t)n;
    return st;
}

pare_status pare_kinds_from_meta(pare_hparams *hp, const pare_arch *arch, const pare_meta *meta, const char *path,
                                 pare_error *err)
{
    char key[160];
    pare_window_heads *w = &hp->window_heads;
    pare_status st;
    if (!arch->window_heads)
        return PARE_OK;
    w->dim = hp->head_dim_k;
    if ((st = meta_u32(arch, meta, path, "attention.key_length_swa", 1, PARE_MAX_HEAD_DIM, &w->dim, err)) != PARE_OK)
        return st;
    uint32_t dim_v = w->dim;
    w->n_rot = w->dim;
    if ((st = meta_u32(arch, meta, path, "attention.value_length_swa", 1, PARE_MAX_HEAD_DIM, &dim_v, err)) != PARE_OK ||
        (st = meta_u32(arch, meta, path, "rope.dimension_count_swa", 1, PARE_MAX_HEAD_DIM, &w->n_rot, err)) !=
            PARE_OK ||
        (st = meta_u32(arch, meta, path, "attention.shared_kv_layers", 0, hp->n_layer - 1, &hp->n_layer_shared_kv,
                       err)) != PARE_OK)
        return st;
    if (dim_v != w->dim)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: '%s' is %" PRIu32 ", keys of layers with a window have %" PRIu32 " elements", path,
                         make_key(key, arch, "attention.value_length_swa"), dim_v, w->dim);
    const pare_layer_set windowed = windowed_layers(hp), sharing = sharing_layers(hp);
    st = split_array(hp, pare_meta_find(meta, make_key(key, arch, "attention.head_count_kv")), &windowed,
                     &hp->n_head_kv, &w->n_kv, path, err);
    if (st == PARE_OK)
        st = split_array(hp, pare_meta_find(meta, make_key(key, arch, "feed_forward_length")), &sharing, &hp->n_ff,
                         &hp->n_ff_shared_kv, path, err);
    return st == PARE_OK ? check_heads(hp, path, err) : st;
}

static pare_status put_u32(const pare_arch *arch, pare_meta *meta, const char *suffix, uint32_t v, pare_error *err)
{
    char key[160];
    return pare_meta_set_u32(meta, make_key(key, arch, suffix), v, err);
}

/* A number a layer, where the two kinds differ; else the one that is there already stays. */
static pare_status join_array(const pare_hparams *hp, const pare_arch *arch, const pare_layer_set *set, uint32_t first,
                              uint32_t second, const char *suffix, pare_meta *meta, pare_error *err)
{
    char key[160];
    int32_t n[PARE_MAX_LAYERS];
    if (first == second)
        return PARE_OK;
    for (uint32_t i = 0; i < hp->n_layer; i++)
        n[i] = (int32_t)(pare_layers_have(set, i) ? second : first);
    return pare_meta_set_array(meta, make_key(key, arch, suffix), PARE_META_I32, n, hp->n_layer, err);
}

pare_status pare_kinds_to_meta(const pare_hparams *hp, const pare_arch *arch, pare_meta *meta, pare_error *err)
{
    const pare_layer_shape w = window_shape(hp);
    pare_status st;
    if (!arch->window_heads)
        return PARE_OK;
    const pare_layer_set windowed = windowed_layers(hp), sharing = sharing_layers(hp);
    uint32_t n_ff_sharing = hp->n_ff_shared_kv > 0 ? hp->n_ff_shared_kv : hp->n_ff;
    if ((st = put_u32(arch, meta, "attention.shared_kv_layers", hp->n_layer_shared_kv, err)) != PARE_OK ||
        (st = put_u32(arch, meta, "attention.key_length_swa", w.head_dim_k, err)) != PARE_OK ||
        (st = put_u32(arch, meta, "attention.value_length_swa", w.head_dim_v, err)) != PARE_OK ||
        (st = put_u32(arch, meta, "rope.dimension_count", hp->n_rot, err)) != PARE_OK ||
        (st = put_u32(arch, meta, "rope.dimension_count_swa", w.n_rot, err)) != PARE_OK ||
        (st = join_array(hp, arch, &windowed, hp->n_head_kv, w.n_head_kv, "attention.head_count_kv", meta, err)) !=
            PARE_OK)
        return st;
    return join_array(hp, arch, &sharing, hp->n_ff, n_ff_sharing, "feed_forward_length", meta, err);
}
