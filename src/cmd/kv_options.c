#include "cmd/kv_options.h"
#include "cmd/cache_options.h"
#include "cmd/console.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char usual_caches[] = "f16,q8_0,q8_0/q5_0,q8_0/q4_0,q5_1,q5_0,q5_0/q4_0,q4_1,q4_0,iq4_nl";

enum { MAX_ITEM = 64, LIST_DIM = 128 };

/* The next item of a list divided by commas: false behind the last. */
static bool next_item(const char **list, char item[MAX_ITEM])
{
    if (*list == NULL)
        return false;
    const size_t len = strcspn(*list, ",");
    snprintf(item, MAX_ITEM, "%.*s", (int)(len < MAX_ITEM ? len : MAX_ITEM - 1), *list);
    *list = (*list)[len] == ',' ? *list + len + 1 : NULL;
    return true;
}

/* Do both keep the same thing in every layer? */
static bool same_form(const pare_kv_form *a, const pare_kv_form *b, const pare_model *m)
{
    bool same = true;
    for (uint32_t i = 0; i < m->hp.n_layer && same; i++) {
        const pare_kv_layer x = pare_kv_layer_of(a, m, i), y = pare_kv_layer_of(b, m, i);
        const pare_rotation *p[] = {&x.turn_k, &x.turn_v}, *q[] = {&y.turn_k, &y.turn_v};
        same = x.k == y.k && x.v == y.v;
        for (int s = 0; s < 2; s++)
            same = same && p[s]->dim == q[s]->dim && p[s]->seed == q[s]->seed &&
                   (p[s]->dim == 0 || p[s]->largest == q[s]->largest);
    }
    return same;
}

/* "q4_0", "q8_0/q4_0" */
static void pair_name(char *out, size_t room, const pare_kv_codec *k, const pare_kv_codec *v)
{
    const bool both = strcmp(k->name, v->name) == 0;
    snprintf(out, room, "%s%s%s", k->name, both ? "" : "/", both ? "" : v->name);
}

static pare_status add_form(cmd_kv_request *r, cmd_kv_form f, const pare_model *m, pare_error *err)
{
    char turn[24] = "";
    for (size_t i = 0; i < r->n_forms; i++)
        if (r->forms[i].has_mean == f.has_mean && same_form(&r->forms[i].form, &f.form, m))
            return PARE_OK;
    cmd_kv_form *more = realloc(r->forms, (r->n_forms + 1) * sizeof *more);
    if (more == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu caches", r->n_forms + 1);
    r->forms = more;
    const char *how = cmd_cache_turned(&f.form, m);
    if (strcmp(how, "off") != 0)
        snprintf(turn, sizeof turn, " %s", how);
    const pare_kv_layer l = cmd_cache_layer(&f.form, m);
    char pair[48];
    pair_name(pair, sizeof pair, l.k, l.v);
    snprintf(f.name, sizeof f.name, "%s%s%s", pair, turn, f.has_mean ? " -mean" : "");
    if (!f.has_mean)
        cmd_cache_programs(&f.form, m, f.programs);
    pare_status st = cmd_cache_bytes(&f.form, m, &f.bytes_1024, err);
    if (st == PARE_OK)
        r->forms[r->n_forms++] = f;
    return st;
}

static pare_status leave_out(cmd_kv_request *r, const pare_kv_codec *k, const pare_kv_codec *v, const char *mean,
                             const pare_error *why, pare_error *err)
{
    char pair[48];
    cmd_kv_left *more = realloc(r->left_out, (r->n_left_out + 1) * sizeof *more);
    if (more == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu caches", r->n_left_out + 1);
    r->left_out = more;
    cmd_kv_left *left = &more[r->n_left_out++];
    pair_name(pair, sizeof pair, k, v);
    snprintf(left->name, sizeof left->name, "%s%s", pair, mean);
    snprintf(left->why, sizeof left->why, "%.*s", (int)sizeof left->why - 1, why->text);
    cmd_note("%s is left out: %s", left->name, why->text);
    return PARE_OK;
}

/* f with keys that are kept without their mean, if m can be kept so; one row for all its rotations tells if not. */
static pare_status add_mean(cmd_kv_request *r, cmd_kv_form f, const pare_model *m, bool is_first, pare_error *err)
{
    static const float any = 0; /* the means are taken later: pare_kv_check asks whether there are some */
    pare_error why = {0};
    pare_kv_form form = f.form;
    form.key_mean = &any;
    f.has_mean = true;
    if (pare_kv_check(&form, m, &why) == PARE_OK)
        return add_form(r, f, m, err);
    return is_first ? leave_out(r, f.form.k, f.form.v, " -mean", &why, err) : PARE_OK;
}

/* One pair of codecs, turned as --rotate says. lenient: what m cannot have is left out. */
static pare_status add_pair(cmd_kv_request *r, const cmd_args *args, const pare_model *m, const pare_kv_codec *k,
                            const pare_kv_codec *v, bool lenient, pare_error *err)
{
    const char *rotate = cmd_text(args, OPT_ROTATE), *both[] = {"off", "on"}, *const *hows = &rotate;
    const bool is_both = strcmp(rotate, "both") == 0;
    const int n_hows = is_both ? 2 : 1;
    pare_status st = PARE_OK;
    pare_error why = {0};
    int n_added = 0;
    if (is_both)
        hows = both;
    for (int i = 0; i < n_hows && st == PARE_OK; i++) {
        cmd_kv_form f = {.form = {.k = k,
                                  .v = v,
                                  .turn_k = cmd_cache_turn(hows[i], k, PARE_KV_KEYS, m),
                                  .turn_v = cmd_cache_turn(hows[i], v, PARE_KV_VALUES, m),
                                  .first = (uint32_t)cmd_number(args, OPT_CACHE_PROTECT),
                                  .last = (uint32_t)cmd_number(args, OPT_CACHE_PROTECT),
                                  .sinks = (uint32_t)cmd_number(args, OPT_CACHE_SINKS),
                                  .recent = (uint32_t)cmd_number(args, OPT_CACHE_RECENT),
                                  .calibrates = cmd_has(args, OPT_CACHE_TEXT)}};
        if (pare_kv_check(&f.form, m, &why) != PARE_OK)
            continue;
        st = add_form(r, f, m, err);
        if (st == PARE_OK && cmd_has(args, OPT_MEAN) && k->family != PARE_KV_PLAIN && !k->before_rope)
            st = add_mean(r, f, m, n_added == 0, err);
        n_added++;
    }
    if (st != PARE_OK || n_added > 0)
        return st;
    if (lenient)
        return leave_out(r, k, v, "", &why, err);
    *err = why;
    return why.status;
}

/* Every codec of keys with its namesake of values, or with f16 where there is none; calibrated ones if there is a text.
 */
static pare_status add_all(cmd_kv_request *r, const cmd_args *args, const pare_model *m, pare_error *err)
{
    const pare_kv_codec *k;
    pare_status st = PARE_OK;
    for (size_t i = 0; (k = pare_kv_codec_at(i)) != NULL && st == PARE_OK; i++) {
        const pare_kv_codec *v = pare_kv_codec_find(k->name, PARE_KV_VALUES);
        if ((k->sides & PARE_KV_KEYS) == 0)
            continue;
        if (!pare_kv_is_ready(k) && !cmd_has(args, OPT_CACHE_TEXT)) {
            cmd_note("%s is calibrated by a text: --cache-text", k->name);
            continue;
        }
        st = add_pair(r, args, m, k, v != NULL ? v : pare_kv_codec_find("f16", PARE_KV_VALUES), true, err);
    }
    return st;
}

static pare_status add_item(cmd_kv_request *r, const cmd_args *args, const pare_model *m, char *item, pare_error *err)
{
    const pare_kv_codec *k = NULL, *v = NULL;
    char *slash = strchr(item, '/');
    const char *values = item;
    if (strcasecmp(item, "all") == 0)
        return add_all(r, args, m, err);
    if (slash != NULL) {
        *slash = '\0';
        values = slash + 1;
    }
    pare_status st = cmd_parse_codec(args, "cache", item, PARE_KV_KEYS, &k, err);
    if (st == PARE_OK)
        st = cmd_parse_codec(args, "cache", values, PARE_KV_VALUES, &v, err);
    if (st != PARE_OK)
        return st;
    return add_pair(r, args, m, k, v, !cmd_has(args, OPT_CACHE), err);
}

static int compare_forms(const void *a, const void *b)
{
    const cmd_kv_form *x = a, *y = b;
    if (x->bytes_1024 != y->bytes_1024)
        return x->bytes_1024 > y->bytes_1024 ? -1 : 1;
    return strcmp(x->name, y->name);
}

pare_status cmd_kv_forms(cmd_kv_request *r, const cmd_args *args, const pare_model *m, pare_error *err)
{
    const char *list = cmd_has(args, OPT_CACHE) ? cmd_text(args, OPT_CACHE) : usual_caches;
    const pare_kv_form floats = {0};
    char item[MAX_ITEM];
    pare_status st = pare_kv_check(&floats, m, err); /* a model without a cache is not a matter of the codec */
    while (st == PARE_OK && next_item(&list, item))
        st = add_item(r, args, m, item, err);
    if (st == PARE_OK && r->n_forms == 0)
        st = pare_fail(err, PARE_ERR_USAGE, "kv: %s cannot be kept in any cache of --cache: %s", m->path,
                       r->n_left_out > 0 ? r->left_out[0].why : "the list is empty");
    if (st == PARE_OK)
        qsort(r->forms, r->n_forms, sizeof *r->forms, compare_forms);
    return st;
}

static pare_status add_depth(cmd_kv_request *r, uint32_t depth, size_t n_tokens, pare_error *err)
{
    size_t at = r->n_depths;
    if (at == CMD_KV_MAX_DEPTHS)
        return pare_fail(err, PARE_ERR_USAGE, "kv: --depths: more than %d lengths", CMD_KV_MAX_DEPTHS);
    if (depth > n_tokens / 2)
        return pare_fail(err, PARE_ERR_USAGE,
                         "kv: --depths %" PRIu32 ": two windows of that length need %" PRIu64
                         " tokens, and the text has %zu",
                         depth, 2 * (uint64_t)depth, n_tokens);
    for (; at > 0 && r->depths[at - 1] >= depth; at--) {
        if (r->depths[at - 1] == depth)
            return pare_fail(err, PARE_ERR_USAGE, "kv: --depths: %" PRIu32 " is there twice", depth);
        r->depths[at] = r->depths[at - 1];
    }
    r->depths[at] = depth;
    r->n_depths++;
    return PARE_OK;
}

pare_status cmd_kv_depths(cmd_kv_request *r, const cmd_args *args, const pare_model *m, size_t n_tokens,
                          pare_error *err)
{
    static const uint32_t usual[] = {512, 2048};
    const char *list = cmd_text(args, OPT_DEPTHS);
    const uint32_t most = m->hp.n_ctx_train > 0 ? m->hp.n_ctx_train : usual[1];
    char item[MAX_ITEM];
    pare_status st = PARE_OK;
    if (list == NULL) {
        for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++)
            if (usual[i] <= most && usual[i] <= n_tokens / 2)
                r->depths[r->n_depths++] = usual[i];
        /* a short text, or a model for less */
        return r->n_depths > 0 ? PARE_OK : add_depth(r, most < usual[0] ? most : usual[0], n_tokens, err);
    }
    while (st == PARE_OK && next_item(&list, item)) {
        const size_t digits = strspn(item, "0123456789");
        const unsigned long n = digits > 0 && digits < 9 && item[digits] == '\0' ? strtoul(item, NULL, 10) : 0;
        st = n >= 4 ? add_depth(r, (uint32_t)n, n_tokens, err)
                    : pare_fail(err, PARE_ERR_USAGE, "kv: --depths: '%s': expected tokens, from 4 to 99999999", item);
    }
    return st;
}

void cmd_kv_request_close(cmd_kv_request *r)
{
    free(r->forms);
    free(r->left_out);
    *r = (cmd_kv_request){0};
}

static const char *sides_of(const pare_kv_codec *c)
{
    return c->sides == PARE_KV_KEYS ? "keys" : c->sides == PARE_KV_VALUES ? "values" : "both";
}

pare_status cmd_kv_list(const cmd_args *args, pare_error *err)
{
    const pare_kv_codec *c;
    json_t *list = json_array(), *doc = json_object();
    if (!cmd_has(args, OPT_JSON))
        printf("%-10s %-6s %10s  %-24s %s\n", "type", "for", "bits", "programs", "what it is");
    for (size_t i = 0; (c = pare_kv_codec_at(i)) != NULL; i++) {
        json_t *row = json_pack("{s:s, s:s, s:f, s:s, s:b, s:b}", "name", c->name, "for", sides_of(c), "bits",
                                pare_kv_bits(c, LIST_DIM), "what", c->what, "rotated_only", c->wants_rotation,
                                "research", c->runtime == NULL);
        if (c->runtime != NULL)
            json_object_set_new(row, "programs", json_string(c->runtime));
        json_array_append_new(list, row);
        if (!cmd_has(args, OPT_JSON))
            printf("%-10s %-6s %10.3f  %-24s %s\n", c->name, sides_of(c), pare_kv_bits(c, LIST_DIM),
                   c->runtime != NULL ? c->runtime : "research", c->what);
    }
    json_object_set_new(doc, "codecs", list);
    if (cmd_has(args, OPT_JSON))
        return cmd_print_json(args, doc, err);
    json_decref(doc);
    printf("bits: a value of heads of %d elements, scales counted\n", LIST_DIM);
    return PARE_OK;
}
