/* Which layers see how far back. config.json has sliding_window and, of its layers, layer_types (a word each),
 * sliding_window_pattern (every so-manieth layer sees all, or a letter a layer, L or G, again and again) or the layer
 * from which on; GGUF attention.sliding_window and attention.sliding_window_pattern (true: windowed). */
#include "core/json.h"
#include "model/hparams_limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A window that no layer has is none. */
static void settle(pare_hparams *hp)
{
    for (uint32_t i = 0; i < hp->n_layer; i++)
        if (!pare_layers_have(&hp->full, i))
            return;
    hp->window = 0;
    hp->full = (pare_layer_set){0};
}

static pare_status read_layer_types(pare_hparams *hp, const json_t *types, const char *path, pare_error *err)
{
    uint32_t n = hp->n_layer;
    if (!json_is_array(types) || json_array_size(types) != n)
        return pare_fail(err, PARE_ERR_RANGE, "%s: 'layer_types' is no array of %" PRIu32 " entries", path, n);
    hp->full = (pare_layer_set){0};
    for (uint32_t i = 0; i < n; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        bool full = type != NULL && strcmp(type, "full_attention") == 0;
        if (!full && (type == NULL || strcmp(type, "sliding_attention") != 0))
            return pare_fail(err, PARE_ERR_UNSUPPORTED,
                             "%s: 'layer_types' entry %" PRIu32
                             " is '%.64s', known are full_attention and sliding_attention",
                             path, i, type != NULL ? type : "no string");
        if (full)
            pare_layers_add(&hp->full, i);
    }
    return PARE_OK;
}

/* sliding_window_pattern: a number, or letters. */
static pare_status read_pattern(pare_hparams *hp, const pare_arch *arch, const json_t *config, const char *path,
                                pare_error *err)
{
    static const char key[] = "sliding_window_pattern";
    uint64_t period = arch->window_period;
    const char *letters = json_string_value(json_object_get(config, key));
    bool found = false;
    if (letters == NULL) {
        pare_status st = pare_json_u64(config, path, key, 1, UINT32_MAX, &period, &found, err);
        if (st == PARE_OK)
            pare_layers_add_every(&hp->full, hp->n_layer, (uint32_t)period);
        return st;
    }
    size_t n = strlen(letters);
    if (n == 0 || strspn(letters, "LG") != n)
        return pare_fail(err, PARE_ERR_RANGE, "%s: '%s' is '%.64s', allowed are the letters L and G", path, key,
                         letters);
    for (uint32_t i = 0; i < hp->n_layer; i++)
        if (letters[i % n] == 'G')
            pare_layers_add(&hp->full, i);
    return PARE_OK;
}

/* Where neither layer_types nor a pattern says it. first: max_window_layers. */
static void layers_by_rule(pare_hparams *hp, pare_window_rule rule, uint64_t first)
{
    for (uint32_t i = 0; i < hp->n_layer; i++)
        if (rule == PARE_WINDOW_SWITCHED_IN_TURN ? i % 2 == 1 || i >= first : i < first)
            pare_layers_add(&hp->full, i);
}

pare_status pare_window_from_config(pare_hparams *hp, const pare_arch *arch, const pare_hf_class *class,
                                    const json_t *config, const char *path, pare_error *err)
{
    bool found = false, switched = class->window >= PARE_WINDOW_SWITCHED, on = !switched;
    bool all = class->window == PARE_WINDOW_SWITCHED_ALL, counted = switched && !all;
    uint64_t window = json_object_get(config, "sliding_window") == NULL ? class->absent.window : 0,
             first = class->absent.window_first;
    const json_t *types = json_object_get(config, "layer_types");
    pare_status st = PARE_OK;
    if (class->window == PARE_WINDOW_NONE)
        return PARE_OK;
    if (switched)
        st = pare_json_bool(config, path, "use_sliding_window", &on, &found, err);
    if (st != PARE_OK || !on)
        return st;
    st = pare_json_u64(config, path, "sliding_window", 1, PARE_MAX_CTX, &window, &found, err);
    if (st == PARE_OK && counted)
        st = pare_json_u64(config, path, "max_window_layers", 0, UINT32_MAX, &first, &found, err);
    hp->window = (uint32_t)window;
    if (st != PARE_OK || window == 0)
        return st;
    if (types != NULL && !json_is_null(types) && !all)
        st = read_layer_types(hp, types, path, err);
    else if (arch->window_period > 0)
        st = read_pattern(hp, arch, config, path, err);
    else
        layers_by_rule(hp, class->window, first);
    settle(hp);
    hp->window_not_in_gguf = !arch->window_key && hp->window > 0 && hp->window < hp->n_ctx_train;
    return st;
}

bool pare_window_to_config(const pare_hparams *hp, const pare_arch *arch, const pare_hf_class *class, json_t *config)
{
    json_t *window = hp->window > 0 ? json_integer(hp->window) : json_null(), *types = NULL;
    bool ok = window != NULL;
    if (!arch->window_key || class->window == PARE_WINDOW_NONE) {
        json_decref(window);
        return true;
    }
    ok = json_object_set_new(config, "sliding_window", window) == 0 && ok;
    if (arch->window_period == 0) /* no words for layers that differ */
        return ok;
    ok = (types = json_array()) != NULL && ok;
    for (uint32_t i = 0; i < hp->n_layer && ok; i++)
        ok = json_array_append_new(
                 types, json_string(pare_layer_window(hp, i) > 0 ? "sliding_attention" : "full_attention")) == 0;
    return json_object_set_new(config, "layer_types", types) == 0 && ok;
}

pare_status pare_layers_from_meta(pare_layer_set *s, const pare_meta_value *v, bool in, uint32_t n_layer,
                                  const char *path, pare_error *err)
{
    static const uint8_t zero[8] = {0};
    bool array = v->type == PARE_META_ARRAY && v->elem != PARE_META_STRING;
    size_t size = array ? pare_meta_type_size(v->elem) : 0;
    if (!array || v->n < n_layer || v->elem == PARE_META_F32 || v->elem == PARE_META_F64)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: offset %" PRIu64 ": '%.*s' has %" PRIu64 " elements of type %s, there are %" PRIu32
                         " layers, with a bool each",
                         path, v->offset, (int)v->key.len, v->key.data, v->n,
                         pare_meta_type_name(v->type == PARE_META_ARRAY ? v->elem : v->type), n_layer);
    *s = (pare_layer_set){0};
    for (uint32_t i = 0; i < n_layer; i++)
        if ((memcmp((const uint8_t *)v->v.data + i * size, zero, size) != 0) == in)
            pare_layers_add(s, i);
    return PARE_OK;
}

pare_status pare_layers_to_meta(const pare_layer_set *s, bool in, uint32_t n_layer, pare_meta *meta, const char *key,
                                pare_error *err)
{
    uint8_t flags[PARE_MAX_LAYERS];
    for (uint32_t i = 0; i < n_layer; i++)
        flags[i] = pare_layers_have(s, i) == in;
    return pare_meta_set_array(meta, key, PARE_META_BOOL, flags, n_layer, err);
}

pare_status pare_window_from_meta(pare_hparams *hp, const pare_arch *arch, const pare_meta *meta, const char *path,
                                  pare_error *err)
{
    char key[160];
    uint64_t window = arch->window_absent, period = arch->window_period;
    bool found = false;
    if (!arch->window_key)
        return PARE_OK;
    snprintf(key, sizeof key, "%s.attention.sliding_window", arch->name);
    pare_status st = pare_meta_u64(meta, path, key, 0, PARE_MAX_CTX, &window, &found, err);
    hp->window = (uint32_t)window;
    if (st != PARE_OK || window == 0)
        return st;
    snprintf(key, sizeof key, "%s.attention.sliding_window_pattern", arch->name);
    const pare_meta_value *v = pare_meta_find(meta, key);
    if (v != NULL && v->type == PARE_META_ARRAY)
        st = pare_layers_from_meta(&hp->full, v, false, hp->n_layer, path, err);
    else if ((st = pare_meta_u64(meta, path, key, 0, UINT32_MAX, &period, &found, err)) == PARE_OK)
        pare_layers_add_every(&hp->full, hp->n_layer, (uint32_t)period);
    settle(hp);
    return st;
}

/* GGUF's way to say that all layers see all, to readers that take a window for granted, is one over the whole context,
 * which no layer has. */
pare_status pare_window_to_meta(const pare_hparams *hp, const pare_arch *arch, pare_meta *meta, pare_error *err)
{
    char key[160];
    pare_layer_set full = hp->full, usual = {0};
    if (!arch->window_key || (hp->window == 0 && arch->window_absent == 0))
        return PARE_OK;
    if (hp->window == 0)
        pare_layers_add_every(&full, hp->n_layer, 1);
    pare_layers_add_every(&usual, hp->n_layer, arch->window_period);
    snprintf(key, sizeof key, "%s.attention.sliding_window", arch->name);
    pare_status st = pare_meta_set_u32(meta, key, hp->window > 0 ? hp->window : hp->n_ctx_train, err);
    snprintf(key, sizeof key, "%s.attention.sliding_window_pattern", arch->name);
    if (st == PARE_OK && (arch->window_pattern_key || memcmp(&full, &usual, sizeof full) != 0))
        st = pare_layers_to_meta(&full, false, hp->n_layer, meta, key, err);
    return st;
}
