#include "cmd/cache_options.h"
#include "cmd/console.h"
#include "memory/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool cmd_has_cache(const cmd_args *args)
{
    return cmd_has(args, OPT_CACHE_K) || cmd_has(args, OPT_CACHE_V);
}

pare_status cmd_cache_check(const cmd_args *args, pare_error *err)
{
    static const struct {
        cmd_option_id id;
        const char *name;
    } how[] = {{OPT_CACHE_ROTATE, "cache-rotate"},
               {OPT_CACHE_PROTECT, "cache-protect"},
               {OPT_CACHE_SINKS, "cache-sinks"},
               {OPT_CACHE_RECENT, "cache-recent"},
               {OPT_CACHE_TEXT, "cache-text"}};
    for (size_t i = 0; i < sizeof how / sizeof how[0] && !cmd_has_cache(args); i++)
        if (cmd_has(args, how[i].id))
            return pare_fail(err, PARE_ERR_USAGE, "%s: --%s needs --cache-k or --cache-v", args->verb->name,
                             how[i].name);
    return PARE_OK;
}

static const char *codec_name(size_t i, const void *ctx)
{
    const pare_kv_codec *c = pare_kv_codec_at(i);
    (void)ctx;
    return c != NULL ? c->name : NULL;
}

pare_status cmd_parse_codec(const cmd_args *args, const char *option, const char *name, pare_kv_side side,
                            const pare_kv_codec **out, pare_error *err)
{
    if ((*out = pare_kv_codec_find(name, side)) != NULL)
        return PARE_OK;
    if (pare_kv_codec_find(name, side == PARE_KV_KEYS ? PARE_KV_VALUES : PARE_KV_KEYS) != NULL)
        return pare_fail(err, PARE_ERR_USAGE, "%s: --%s: '%s' is for %s alone", args->verb->name, option, name,
                         side == PARE_KV_KEYS ? "values" : "keys");
    const char *near = cmd_nearest(name, codec_name, NULL);
    if (near != NULL && *name != '\0')
        return pare_fail(err, PARE_ERR_USAGE, "%s: --%s: unknown type of cache '%s'; did you mean '%s'?",
                         args->verb->name, option, name, near);
    return pare_fail(err, PARE_ERR_USAGE, "%s: --%s: unknown type of cache '%s'; pare kv --list shows all",
                     args->verb->name, option, name);
}

pare_kv_turn cmd_cache_turn(const char *how, const pare_kv_codec *c, pare_kv_side side, const pare_model *m)
{
    const pare_kv_form form = {.k = c, .v = c, .turn_k = PARE_KV_TURN_LLAMA, .turn_v = PARE_KV_TURN_LLAMA};
    if (strcmp(how, "off") == 0)
        return PARE_KV_TURN_OFF;
    if (strcmp(how, "llama") == 0)
        return PARE_KV_TURN_LLAMA;
    if (strcmp(how, "full") == 0 || c == NULL || c->wants_rotation)
        return PARE_KV_TURN_FULL;
    for (uint32_t i = 0; i < m->hp.n_layer; i++)
        if (pare_kv_has_layer(m, i)) {
            const pare_kv_layer l = pare_kv_layer_of(&form, m, i);
            return (side == PARE_KV_KEYS ? l.turn_k : l.turn_v).dim != 0 ? PARE_KV_TURN_LLAMA : PARE_KV_TURN_FULL;
        }
    return PARE_KV_TURN_FULL;
}

pare_status cmd_cache_form(const cmd_args *args, const pare_model *m, pare_kv_form *out, pare_error *err)
{
    const char *k = cmd_text(args, OPT_CACHE_K), *v = cmd_text(args, OPT_CACHE_V),
               *how = cmd_text(args, OPT_CACHE_ROTATE);
    pare_status st = PARE_OK;
    *out = (pare_kv_form){.sinks = (uint32_t)cmd_number(args, OPT_CACHE_SINKS),
                          .recent = (uint32_t)cmd_number(args, OPT_CACHE_RECENT),
                          .first = (uint32_t)cmd_number(args, OPT_CACHE_PROTECT),
                          .last = (uint32_t)cmd_number(args, OPT_CACHE_PROTECT)};
    if (k != NULL)
        st = cmd_parse_codec(args, "cache-k", k, PARE_KV_KEYS, &out->k, err);
    if (st == PARE_OK && v != NULL)
        st = cmd_parse_codec(args, "cache-v", v, PARE_KV_VALUES, &out->v, err);
    if (st != PARE_OK)
        return st;
    out->turn_k = cmd_cache_turn(how, out->k, PARE_KV_KEYS, m);
    out->turn_v = cmd_cache_turn(how, out->v, PARE_KV_VALUES, m);
    out->calibrates = cmd_has(args, OPT_CACHE_TEXT);
    return pare_kv_check(out, m, err);
}

pare_kv_layer cmd_cache_layer(const pare_kv_form *form, const pare_model *m)
{
    uint32_t end = m->hp.n_layer;
    for (uint32_t i = 0; i < m->hp.n_layer; i++) {
        if (pare_kv_has_layer(m, i) && !pare_kv_is_end(form, m, i))
            return pare_kv_layer_of(form, m, i);
        if (pare_kv_has_layer(m, i) && end == m->hp.n_layer)
            end = i;
    }
    return pare_kv_layer_of(form, m, end);
}

/* exllamav3's rotation has no signs either */
static const char *turn_name(const pare_kv_codec *c, const pare_rotation *r)
{
    return r->dim == 0 ? "off" : r->seed == 0 && c->family == PARE_KV_BLOCKS ? "llama" : "full";
}

static const char *name_of(const pare_kv_codec *c)
{
    return c != NULL ? c->name : "f32";
}

const char *cmd_cache_turned(const pare_kv_form *form, const pare_model *m)
{
    const pare_kv_layer l = cmd_cache_layer(form, m);
    return l.turn_k.dim != 0 ? turn_name(l.k, &l.turn_k) : turn_name(l.v, &l.turn_v);
}

/* Programs that a codec may name, and how they rotate. */
typedef enum program { LLAMA, IK, EXL3, N_PROGRAMS } program;
static const char *const programs[N_PROGRAMS] = {"llama.cpp", "ik_llama.cpp", "exllamav3"};

/* Is name among "a, b, c"? */
static bool is_named(const char *list, const char *name)
{
    const size_t len = strlen(name);
    for (const char *at = list; at != NULL && *at != '\0'; at += strspn(at, ", ")) {
        const size_t n = strcspn(at, ",");
        if (n == len && memcmp(at, name, n) == 0)
            return true;
        at += n;
    }
    return false;
}

static bool keeps_side(program p, const pare_kv_codec *c, const pare_rotation *turn)
{
    if (!is_named(c != NULL ? c->runtime : "llama.cpp", programs[p]))
        return false;
    if (p == EXL3) /* always */
        return turn->dim != 0 && turn->seed == 0;
    return turn->dim == 0 || (turn->seed == 0 && (p == LLAMA || turn->largest == turn->dim));
}

void cmd_cache_programs(const pare_kv_form *form, const pare_model *m, char *out)
{
    enum { ROOM = 64 };
    size_t len = 0;
    out[0] = '\0';
    if (form->first > 0 || form->last > 0 || form->sinks > 0 || form->recent > 0 || form->key_mean != NULL)
        return;
    for (program p = 0; p < N_PROGRAMS; p++) {
        bool all = true;
        for (uint32_t i = 0; i < m->hp.n_layer && all; i++) {
            const pare_kv_layer l = pare_kv_layer_of(form, m, i);
            all = !pare_kv_has_layer(m, i) || (keeps_side(p, l.k, &l.turn_k) && keeps_side(p, l.v, &l.turn_v));
        }
        if (all && len < ROOM)
            len += (size_t)snprintf(out + len, ROOM - len, "%s%s", len > 0 ? ", " : "", programs[p]);
    }
}

static bool is_research(const pare_kv_form *form, const pare_model *m)
{
    char names[64];
    cmd_cache_programs(form, m, names);
    return names[0] == '\0';
}

pare_status cmd_cache_bytes(const pare_kv_form *form, const pare_model *m, uint64_t *out, pare_error *err)
{
    const pare_memory_model paper = {.arch = m->arch, .hp = &m->hp};
    return pare_kv_bytes(form, m, CMD_CACHE_TOKENS, pare_memory_window_tokens(&paper, CMD_CACHE_TOKENS), out, err);
}

uint32_t cmd_cache_recent(const pare_kv_form *form)
{
    const uint32_t k = pare_kv_recent(form, form->k), v = pare_kv_recent(form, form->v);
    return k > v ? k : v;
}

pare_status cmd_cache_print(const pare_kv_form *form, const pare_model *m, pare_error *err)
{
    uint64_t bytes = 0;
    pare_status st = cmd_cache_bytes(form, m, &bytes, err);
    if (st != PARE_OK)
        return st;
    const pare_kv_layer l = cmd_cache_layer(form, m);
    printf("cache: keys %s (rotation %s), values %s (rotation %s)", name_of(l.k), turn_name(l.k, &l.turn_k),
           name_of(l.v), turn_name(l.v, &l.turn_v));
    if (form->sinks > 0)
        printf(", first %" PRIu32 " tokens f16", form->sinks);
    if (cmd_cache_recent(form) > 0)
        printf(", last %" PRIu32 " tokens f16", cmd_cache_recent(form));
    printf(", %s for %d tokens%s\n", cmd_bytes(bytes), CMD_CACHE_TOKENS,
           is_research(form, m) ? "; research: no known program keeps such a cache" : "");
    return PARE_OK;
}

json_t *cmd_cache_members(const pare_kv_form *form, const pare_model *m, pare_error *err)
{
    uint64_t bytes = 0;
    if (cmd_cache_bytes(form, m, &bytes, err) != PARE_OK)
        return NULL;
    const pare_kv_layer l = cmd_cache_layer(form, m);
    json_t *cache = json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:b}", "keys", name_of(l.k), "values", name_of(l.v), "rotation_keys",
        turn_name(l.k, &l.turn_k), "rotation_values", turn_name(l.v, &l.turn_v), "layers_f16_at_each_end",
        (json_int_t)form->first, "tokens_f16", (json_int_t)form->sinks, "recent_tokens_f16",
        (json_int_t)cmd_cache_recent(form), "bytes_1024_tokens", (json_int_t)bytes, "research", is_research(form, m));
    if (cache == NULL)
        pare_fail(err, PARE_ERR_MEMORY, "no memory for what the cache is");
    return cache;
}

pare_status cmd_cache_json(json_t *doc, const pare_kv_form *form, const pare_model *m, pare_error *err)
{
    json_t *cache = cmd_cache_members(form, m, err);
    if (cache == NULL)
        return err->status;
    return json_object_set_new(doc, "cache", cache) == 0
               ? PARE_OK
               : pare_fail(err, PARE_ERR_MEMORY, "no memory for what the cache is");
}

void cmd_cache_settings(json_t *settings, const cmd_args *args)
{
    if (!cmd_has_cache(args))
        return;
    const char *k = cmd_text(args, OPT_CACHE_K), *v = cmd_text(args, OPT_CACHE_V);
    json_object_set_new(settings, "cache",
                        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "keys", k != NULL ? k : "f32", "values",
                                  v != NULL ? v : "f32", "rotate", cmd_text(args, OPT_CACHE_ROTATE),
                                  "layers_f16_at_each_end", (json_int_t)cmd_number(args, OPT_CACHE_PROTECT),
                                  "tokens_f16", (json_int_t)cmd_number(args, OPT_CACHE_SINKS), "recent_tokens_f16",
                                  (json_int_t)cmd_number(args, OPT_CACHE_RECENT)));
}
