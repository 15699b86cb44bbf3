#include "model/hparams_linear.h"

#include "core/json.h"
#include "model/hparams_limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_INTERVAL = 4, MAX_KERNEL = 64, MAX_STATE = 1 << 24 };

static const char linear_word[] = "linear_attention", full_word[] = "full_attention";

/* How the numbers fit together, wherever they came from. */
static pare_status settle(const pare_linear_attention *a, const char *path, pare_error *err)
{
    if (a->n_head_v % a->n_head_k != 0)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: %" PRIu32 " key heads of linear attention do not divide its %" PRIu32 " value heads",
                         path, a->n_head_k, a->n_head_v);
    if ((uint64_t)a->head_dim_k * a->head_dim_v > MAX_STATE ||
        (uint64_t)a->n_head_v * a->head_dim_k * a->head_dim_v > UINT32_MAX / 4)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: linear attention with %" PRIu32 " states of %" PRIu32 " by %" PRIu32
                         ", a state may have %d elements",
                         path, a->n_head_v, a->head_dim_k, a->head_dim_v, MAX_STATE);
    return PARE_OK;
}

/* All layers but every so-manieth. */
static void add_but_every(pare_hparams *hp, uint32_t interval)
{
    pare_layer_set full = {0};
    pare_layers_add_every(&full, hp->n_layer, interval);
    for (uint32_t i = 0; i < hp->n_layer; i++)
        if (!pare_layers_have(&full, i))
            pare_layers_add(&hp->linear.layers, i);
}

static pare_status read_layer_types(pare_hparams *hp, const json_t *types, const char *path, pare_error *err)
{
    if (!json_is_array(types) || json_array_size(types) != hp->n_layer)
        return pare_fail(err, PARE_ERR_RANGE, "%s: 'layer_types' is no array of %" PRIu32 " entries", path,
                         hp->n_layer);
    for (uint32_t i = 0; i < hp->n_layer; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        bool linear = type != NULL && strcmp(type, linear_word) == 0;
        if (!linear && (type == NULL || strcmp(type, full_word) != 0))
            return pare_fail(err, PARE_ERR_UNSUPPORTED,
                             "%s: 'layer_types' entry %" PRIu32 " is '%.64s', known are %s and %s", path, i,
                             type != NULL ? type : "no string", linear_word, full_word);
        if (linear)
            pare_layers_add(&hp->linear.layers, i);
    }
    return PARE_OK;
}

pare_status pare_linear_from_config(pare_hparams *hp, const pare_linear_attention *absent, const json_t *config,
                                    const char *path, pare_error *err)
{
    pare_linear_attention *a = &hp->linear;
    const struct {
        const char *key;
        uint32_t max, absent, *out;
    } keys[] = {{"linear_conv_kernel_dim", MAX_KERNEL, absent->kernel, &a->kernel},
                {"linear_key_head_dim", PARE_MAX_HEAD_DIM, absent->head_dim_k, &a->head_dim_k},
                {"linear_value_head_dim", PARE_MAX_HEAD_DIM, absent->head_dim_v, &a->head_dim_v},
                {"linear_num_key_heads", PARE_MAX_HEADS, absent->n_head_k, &a->n_head_k},
                {"linear_num_value_heads", PARE_MAX_HEADS, absent->n_head_v, &a->n_head_v}};
    const json_t *types = json_object_get(config, "layer_types");
    uint64_t interval = DEFAULT_INTERVAL;
    bool found = false;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        uint64_t v = keys[i].absent;
        pare_status st = pare_json_u64(config, path, keys[i].key, 1, keys[i].max, &v, &found, err);
        if (st != PARE_OK)
            return st;
        *keys[i].out = (uint32_t)v;
    }
    if (a->kernel < 2)
        return pare_fail(err, PARE_ERR_RANGE, "%s: 'linear_conv_kernel_dim' is 1, allowed are 2 to %d", path,
                         MAX_KERNEL);
    pare_status st = settle(a, path, err);
    if (st == PARE_OK && types != NULL && !json_is_null(types))
        return read_layer_types(hp, types, path, err);
    if (st == PARE_OK)
        st = pare_json_u64(config, path, "full_attention_interval", 1, UINT32_MAX, &interval, &found, err);
    if (st == PARE_OK)
        add_but_every(hp, (uint32_t)interval);
    return st;
}

bool pare_linear_to_config(const pare_hparams *hp, json_t *config)
{
    const pare_linear_attention *a = &hp->linear;
    const struct {
        const char *key;
        uint32_t v;
    } keys[] = {{"linear_conv_kernel_dim", a->kernel},
                {"linear_key_head_dim", a->head_dim_k},
                {"linear_value_head_dim", a->head_dim_v},
                {"linear_num_key_heads", a->n_head_k},
                {"linear_num_value_heads", a->n_head_v}};
    json_t *types = json_array();
    bool ok = types != NULL;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        ok = json_object_set_new(config, keys[i].key, json_integer(keys[i].v)) == 0 && ok;
    for (uint32_t i = 0; i < hp->n_layer && ok; i++)
        ok = json_array_append_new(types, json_string(pare_layers_have(&a->layers, i) ? linear_word : full_word)) == 0;
    return json_object_set_new(config, "layer_types", types) == 0 && ok;
}

static const char *key_of(char dst[160], const char *arch_name, const char *suffix)
{
    snprintf(dst, 160, "%s.%s", arch_name, suffix);
    return dst;
}

pare_status pare_linear_from_meta(pare_hparams *hp, const char *arch_name, const pare_meta *meta, const char *path,
                                  pare_error *err)
{
    pare_linear_attention *a = &hp->linear;
    uint64_t inner = 0, interval = DEFAULT_INTERVAL;
    char key[160];
    bool found = false;
    const struct {
        const char *suffix;
        uint32_t min, max, *out;
    } keys[] = {{"ssm.conv_kernel", 2, MAX_KERNEL, &a->kernel},
                {"ssm.state_size", 1, PARE_MAX_HEAD_DIM, &a->head_dim_k},
                {"ssm.group_count", 1, PARE_MAX_HEADS, &a->n_head_k},
                {"ssm.time_step_rank", 1, PARE_MAX_HEADS, &a->n_head_v}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        uint64_t v = 0;
        pare_status st =
            pare_meta_u64(meta, path, key_of(key, arch_name, keys[i].suffix), keys[i].min, keys[i].max, &v, NULL, err);
        if (st != PARE_OK)
            return st;
        *keys[i].out = (uint32_t)v;
    }
    pare_status st =
        pare_meta_u64(meta, path, key_of(key, arch_name, "ssm.inner_size"), 1, UINT32_MAX, &inner, NULL, err);
    if (st == PARE_OK && (inner % a->n_head_v != 0 || inner / a->n_head_v > PARE_MAX_HEAD_DIM))
        st = pare_fail(err, PARE_ERR_RANGE, "%s: '%s' is %" PRIu64 ", for %" PRIu32 " heads of up to %d", path, key,
                       inner, a->n_head_v, PARE_MAX_HEAD_DIM);
    if (st != PARE_OK)
        return st;
    a->head_dim_v = (uint32_t)(inner / a->n_head_v);
    if ((st = settle(a, path, err)) != PARE_OK)
        return st;
    const pare_meta_value *v = pare_meta_find(meta, key_of(key, arch_name, "attention.recurrent_layers"));
    if (v != NULL && v->type == PARE_META_ARRAY)
        return pare_layers_from_meta(&a->layers, v, true, hp->n_layer, path, err);
    st = pare_meta_u64(meta, path, key_of(key, arch_name, "full_attention_interval"), 1, UINT32_MAX, &interval, &found,
                       err);
    if (st == PARE_OK)
        add_but_every(hp, (uint32_t)interval);
    return st;
}

/* The interval that says the same as the layers, or the usual one. */
static uint32_t interval_of(const pare_hparams *hp)
{
    uint32_t first = 0;
    while (first < hp->n_layer && pare_layers_have(&hp->linear.layers, first))
        first++;
    for (uint32_t i = 0; i < hp->n_layer; i++)
        if (pare_layers_have(&hp->linear.layers, i) == ((i + 1) % (first + 1) == 0))
            return DEFAULT_INTERVAL;
    return first + 1;
}

pare_status pare_linear_to_meta(const pare_hparams *hp, const char *arch_name, pare_meta *meta, pare_error *err)
{
    const pare_linear_attention *a = &hp->linear;
    char key[160];
    const struct {
        const char *suffix;
        uint32_t v;
    } keys[] = {{"ssm.conv_kernel", a->kernel},
                {"ssm.state_size", a->head_dim_k},
                {"ssm.group_count", a->n_head_k},
                {"ssm.time_step_rank", a->n_head_v},
                {"ssm.inner_size", a->n_head_v * a->head_dim_v},
                {"full_attention_interval", interval_of(hp)}};
    uint8_t *flags = malloc(hp->n_layer);
    pare_status st =
        flags != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for %" PRIu32 " layers", hp->n_layer);
    for (size_t i = 0; i < sizeof keys / sizeof *keys && st == PARE_OK; i++)
        st = pare_meta_set_u32(meta, key_of(key, arch_name, keys[i].suffix), keys[i].v, err);
    for (uint32_t i = 0; i < hp->n_layer && st == PARE_OK; i++)
        flags[i] = pare_layers_have(&a->layers, i);
    if (st == PARE_OK)
        st = pare_meta_set_array(meta, key_of(key, arch_name, "attention.recurrent_layers"), PARE_META_BOOL, flags,
                                 hp->n_layer, err);
    free(flags);
    return st;
}
