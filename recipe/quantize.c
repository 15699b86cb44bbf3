#define PCRE2_CODE_UNIT_WIDTH 8
#include "recipe/derive.h"
#include "recipe/calibration.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

/* One compiled override. */
typedef struct rule {
    pcre2_code *code;
    pare_type type;
} rule;

typedef struct rules {
    rule *items;
    size_t n;
    pcre2_match_data *match;
} rules;

static void rules_close(rules *r)
{
    for (size_t i = 0; i < r->n; i++)
        pcre2_code_free(r->items[i].code);
    pcre2_match_data_free(r->match);
    free(r->items);
}

static pare_status rules_open(rules *r, const pare_quantize_options *o, pare_error *err)
{
    *r = (rules){0};
    r->items = calloc(o->n_overrides + 1, sizeof *r->items);
    r->match = pcre2_match_data_create(1, NULL);
    if (r->items == NULL || r->match == NULL) {
        rules_close(r);
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu type overrides", o->n_overrides);
    }
    for (; r->n < o->n_overrides; r->n++) {
        int code = 0;
        PCRE2_SIZE at = 0;
        const char *pattern = o->overrides[r->n].pattern;
        r->items[r->n].type = o->overrides[r->n].type;
        r->items[r->n].code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, 0, &code, &at, NULL);
        if (r->items[r->n].code == NULL) {
            PCRE2_UCHAR why[128];
            pcre2_get_error_message(code, why, sizeof why);
            rules_close(r);
            return pare_fail(err, PARE_ERR_USAGE, "--tensor '%s': character %zu: %s", pattern, (size_t)at,
                             (const char *)why);
        }
    }
    return PARE_OK;
}

/* The type of the first override whose pattern is found in name, PARE_TYPE_NONE without one. */
static pare_type rules_find(const rules *r, const char *name)
{
    for (size_t i = 0; i < r->n; i++)
        if (pcre2_match(r->items[i].code, (PCRE2_SPTR)name, strlen(name), 0, 0, r->match, NULL) >= 0)
            return r->items[i].type;
    return PARE_TYPE_NONE;
}

/* The matrix that makes the logits: output.weight, or the embedding that stands in for it. */
static bool is_output(const pare_preset_model *m, const char *name)
{
    return strcmp(name, m->tied_output ? "token_embd.weight" : "output.weight") == 0;
}

/* What the user asked for this tensor by name, PARE_TYPE_NONE when nothing. */
static pare_type asked_type(const pare_quantize_options *o, const rules *r, const pare_preset_model *m,
                            const char *name)
{
    if (o->embedding_type != PARE_TYPE_NONE && strcmp(name, "token_embd.weight") == 0)
        return o->embedding_type;
    if (o->output_type != PARE_TYPE_NONE && is_output(m, name))
        return o->output_type;
    return rules_find(r, name);
}

/* An explicit type, or its stand-in when its block does not divide the row. */
static pare_status fit_type(const pare_tensor *t, const char *path, pare_type wanted, pare_type *to, pare_error *err)
{
    uint64_t row_bytes = 0;
    *to = pare_row_bytes(wanted, t->row_len, &row_bytes) ? wanted : pare_preset_fallback(wanted, t->row_len);
    if (*to != PARE_TYPE_NONE)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_UNSUPPORTED,
                     "%s: tensor '%s': rows of %llu weights fit no block of %s, and no other type stands in for it",
                     path, t->name, (unsigned long long)t->row_len, pare_type_get(wanted)->name);
}

typedef struct planner {
    const pare_quantize_options *options;
    const pare_model *in;
    rules rules;
    pare_preset_state state;
} planner;

/* A type that needs importances is refused without them. */
static pare_status require_importance(const pare_quantize_options *o, const pare_tensor *t, pare_type to,
                                      pare_error *err)
{
    pare_imatrix_entry e;
    if (o->preset == NULL || to == t->type || !pare_preset_needs_weight(t->name, to) ||
        pare_calibration_find(o->imatrix, t, &e))
        return PARE_OK;
    return pare_fail(err, PARE_ERR_USAGE, "tensor '%s': %s within %s needs importances%s", t->name,
                     pare_type_get(to)->name, o->preset->name,
                     o->imatrix == NULL ? ": collect them with pare imatrix and give --imatrix"
                                        : ", and the imatrix has none for it");
}

static pare_status choose(planner *p, const pare_tensor *t, pare_type *wanted, pare_type *to, pare_error *err)
{
    const pare_quantize_options *o = p->options;
    const pare_type_info *from = pare_type_get(t->type);
    bool from_hub = p->in->format != PARE_FORMAT_GGUF;
    pare_preset_tensor query = {.name = t->name, .n_dims = t->n_dims, .row_len = t->row_len, .type = t->type};
    pare_status st = PARE_OK;
    *wanted = *to = t->type;
    if (!pare_preset_quantizes(p->state.model.arch, t->name, t->n_dims) || (from->traits & PARE_TRAIT_INTEGER)) {
        if (from_hub && (from->traits & PARE_TRAIT_FLOAT) && pare_derive_keeps_f32(t))
            *wanted = *to = PARE_TYPE_F32;
        return PARE_OK;
    }
    if (o->preset != NULL) /* also for tensors with a type of their own: the preset counts what it has seen */
        st = pare_preset_choose(&p->state, &query, to, wanted, err);
    pare_type asked = asked_type(o, &p->rules, &p->state.model, t->name);
    if (asked == PARE_TYPE_NONE && o->pure_type != PARE_TYPE_NONE)
        asked = o->pure_type;
    if (asked != PARE_TYPE_NONE) {
        *wanted = asked;
        st = fit_type(t, p->in->path, asked, to, err);
    }
    if (st == PARE_OK)
        st = require_importance(o, t, *to, err);
    if (st == PARE_OK && *to != t->type && !(from->traits & PARE_TRAIT_FLOAT) && !o->allow_requantize)
        st = pare_fail(err, PARE_ERR_USAGE,
                       "%s: tensor '%s' is quantized already (%s); its error would add up: give --allow-requantize to "
                       "do it",
                       p->in->path, t->name, from->name);
    return st;
}

static void describe(const pare_model *in, bool has_imatrix, pare_preset_model *m)
{
    const pare_meta_value *arch = pare_meta_find(&in->meta, "general.architecture");
    *m = (pare_preset_model){.arch = in->arch != NULL                                 ? in->arch->name
                                     : arch != NULL && arch->type == PARE_META_STRING ? arch->v.s.data
                                                                                      : ""};
    m->tied_output = pare_model_find(in, "output.weight") == NULL;
    pare_hparams hp = in->hp;
    if (in->arch == NULL)
        pare_hparams_guess(&hp, m->arch, &in->meta);
    m->has_imatrix = has_imatrix;
    m->n_layer = hp.n_layer;
    m->n_head = hp.n_head;
    m->n_head_kv = hp.n_head_kv;
    m->n_expert = hp.n_expert;
}

static int by_stock_order(const void *a, const void *b)
{
    return pare_preset_order((*(const pare_tensor *const *)a)->name, (*(const pare_tensor *const *)b)->name);
}

/* What choose decided for the tensor at the same place of the source. */
typedef struct decision {
    pare_type wanted, to;
} decision;

/* The preset's rules count tensors as they meet them, in stock's order, whatever the order of the file is. */
static pare_status decide(planner *p, decision *decisions, pare_error *err)
{
    const pare_model *in = p->in;
    const pare_tensor **order = malloc((in->n_tensors + 1) * sizeof *order);
    const char **names = malloc((in->n_tensors + 1) * sizeof *names);
    pare_status st = PARE_OK;
    if (order == NULL || names == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory to plan %zu tensors", in->n_tensors);
    for (size_t i = 0; i < in->n_tensors && st == PARE_OK; i++) {
        order[i] = &in->tensors[i];
        names[i] = in->tensors[i].name;
    }
    if (st == PARE_OK) {
        pare_preset_model m;
        describe(in, p->options->imatrix != NULL, &m);
        qsort(order, in->n_tensors, sizeof *order, by_stock_order);
        pare_preset_start(&p->state, p->options->preset, &m, names, in->n_tensors);
    }
    for (size_t i = 0; i < in->n_tensors && st == PARE_OK; i++) {
        decision *d = &decisions[order[i] - in->tensors];
        st = choose(p, order[i], &d->wanted, &d->to, err);
    }
    free(order);
    free(names);
    return st;
}

/* At most 127 bytes of s, as stock keeps of such names, and whole characters. */
static pare_str cut_name(pare_str s)
{
    size_t n = s.len < 127 ? s.len : 127;
    while (n > 0 && n < s.len && ((uint8_t)s.data[n] & 0xc0) == 0x80)
        n--;
    return (pare_str){s.data, n};
}

/* Where the importances came from, with stock's keys. */
static pare_status describe_imatrix(pare_meta *meta, const pare_imatrix *im, pare_error *err)
{
    pare_str file = {im->path, strlen(im->path)};
    pare_status st = pare_meta_set_str(meta, "quantize.imatrix.file", cut_name(file), err);
    if (st == PARE_OK && im->n_datasets > 0)
        st = pare_meta_set_str(meta, "quantize.imatrix.dataset", cut_name(im->datasets[0]), err);
    if (st == PARE_OK)
        st = pare_meta_set_u32(meta, "quantize.imatrix.entries_count", (uint32_t)im->n, err);
    if (st == PARE_OK && im->chunk_count > 0)
        st = pare_meta_set_u32(meta, "quantize.imatrix.chunks_count", im->chunk_count, err);
    return st;
}

static pare_status add_tensors(pare_model *out, const pare_model *in, const pare_quantize_options *o,
                               const decision *decisions, pare_plan *plan, pare_error *err)
{
    pare_derive_how how = {
        .flags = o->allow_nonfinite ? PARE_DERIVE_ZERO : PARE_DERIVE_CHECK, .imatrix = o->imatrix, .effort = o->effort};
    pare_status st = PARE_OK;
    for (size_t i = 0; i < in->n_tensors && st == PARE_OK; i++) {
        how.wanted = decisions[i].wanted;
        how.to = decisions[i].to;
        st = pare_derive_add(out, &in->tensors[i], &how, plan, err);
    }
    if (st == PARE_OK && plan->n_unweighted > 0)
        st =
            pare_warn(err, "%s: has no importances for %u of the tensors that are quantized: their columns count alike",
                      o->imatrix->path, (unsigned)plan->n_unweighted);
    return st;
}

static pare_status set_metadata(pare_model *out, const pare_quantize_options *o, pare_error *err)
{
    uint32_t file_type = o->preset != NULL ? o->preset->ftype : pare_derive_file_type(o->pure_type);
    pare_status st = pare_meta_set_u32(&out->meta, "general.file_type", file_type, err);
    if (st == PARE_OK)
        st = pare_meta_set_u32(&out->meta, "general.quantization_version", 2, err);
    return st == PARE_OK && o->imatrix != NULL ? describe_imatrix(&out->meta, o->imatrix, err) : st;
}

pare_status pare_quantize(pare_model *out, const pare_model *in, const pare_quantize_options *options, pare_plan *plan,
                          pare_error *err)
{
    planner p = {.options = options, .in = in};
    decision *decisions = NULL;
    *out = (pare_model){0};
    pare_status st = options->imatrix != NULL ? pare_calibration_check(options->imatrix, in, err) : PARE_OK;
    if (st != PARE_OK || (st = rules_open(&p.rules, options, err)) != PARE_OK)
        return st;
    if ((decisions = malloc((in->n_tensors + 1) * sizeof *decisions)) == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory to plan %zu tensors", in->n_tensors);
    if (st == PARE_OK && (st = decide(&p, decisions, err)) == PARE_OK)
        st = pare_derive_start(out, in, plan, err);
    if (st == PARE_OK)
        st = add_tensors(out, in, options, decisions, plan, err);
    if (st == PARE_OK)
        st = set_metadata(out, options, err);
    rules_close(&p.rules);
    free(decisions);
    if (st != PARE_OK)
        pare_model_close(out);
    return st;
}
