#include "recipe/calibration.h"
#include "recipe/derive.h"
#include "recipe/meta_edit.h"
#include "recipe/nvfp4_factors.h"
#include "quant/int_block.h"
#include "recipe/type_rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The matrix that makes the logits: output.weight, or the embedding that stands in for it. */
static bool is_output(const pare_preset_model *m, const char *name)
{
    return strcmp(name, m->tied_output ? "token_embd.weight" : "output.weight") == 0;
}

enum { MAX_ARCH = 64 }; /* bytes of general.architecture that readers accept */

typedef struct planner {
    const pare_quantize_options *options;
    const pare_model *in;
    char arch[MAX_ARCH + 1]; /* the metadata's texts have no end mark */
    pare_type_rules rules;
    pare_preset_state state;
    uint32_t n_needing;
    const pare_tensor *unweighted; /* first tensor outside of the layers whose type is poor without importances */
    pare_type unweighted_type;
} planner;

/* What the user asked for this tensor by name. */
typedef struct request {
    pare_type type;      /* PARE_TYPE_NONE: nothing */
    const char *option;  /* that asks */
    const char *pattern; /* of --tensor, else "" */
} request;

static pare_status find_request(planner *p, const char *name, bool quantizable, request *out, pare_error *err)
{
    const pare_quantize_options *o = p->options;
    const pare_type_override *rule = NULL;
    *out = (request){PARE_TYPE_NONE, o->override_option != NULL ? o->override_option : "--tensor", ""};
    if (o->embedding_type != PARE_TYPE_NONE && strcmp(name, "token_embd.weight") == 0)
        *out = (request){o->embedding_type, "--embedding-type", ""};
    else if (o->output_type != PARE_TYPE_NONE && is_output(&p->state.model, name))
        *out = (request){o->output_type, "--output-type", ""};
    pare_status st = pare_type_rules_find(&p->rules, name, quantizable, out->type != PARE_TYPE_NONE, &rule, err);
    if (rule != NULL) {
        out->type = rule->type;
        out->pattern = rule->pattern;
    } else if (o->embedding_type != PARE_TYPE_NONE && strcmp(name, "per_layer_token_embd.weight") == 0)
        *out = (request){o->embedding_type, "--embedding-type", ""}; /* unless a pattern names it, as in stock */
    return st;
}

/* The type that the user asked for, which the tensor must be able to take. */
static pare_status take_request(const planner *p, const pare_tensor *t, const request *r, pare_type *to,
                                pare_error *err)
{
    uint64_t row_bytes = 0;
    const pare_type_info *info = pare_type_get(r->type);
    *to = r->type;
    if (pare_row_bytes(r->type, t->row_len, &row_bytes))
        return PARE_OK;
    pare_type other = pare_preset_fallback(r->type, t->row_len);
    return pare_fail(
        err, PARE_ERR_USAGE,
        "%s: tensor '%s': %s%s%s%s asks for %s, whose blocks of %u do not divide its rows of %llu weights; "
        "%s fits",
        p->in->path, t->name, r->option, *r->pattern ? " '" : "", r->pattern, *r->pattern ? "'" : "", info->name,
        (unsigned)info->block_len, (unsigned long long)t->row_len,
        pare_type_get(other != PARE_TYPE_NONE ? other : PARE_TYPE_F16)->name);
}

/* The one type for all, or its stand-in where its block does not divide the row. */
static pare_status take_pure(const planner *p, const pare_tensor *t, pare_type *to, pare_error *err)
{
    const pare_quantize_options *o = p->options;
    *to = pare_preset_fallback(o->pure_type, t->row_len);
    if (*to != PARE_TYPE_NONE)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_UNSUPPORTED,
                     "%s: tensor '%s': rows of %llu weights fit no block of %s, and no other type stands in for it",
                     p->in->path, t->name, (unsigned long long)t->row_len, pare_type_get(o->pure_type)->name);
}

/* A type that needs importances is refused without them, but for the embedding and the output, which have none: they
 * are encoded with equal columns. */
static pare_status require_importance(planner *p, const pare_tensor *t, pare_type to, pare_error *err)
{
    const pare_quantize_options *o = p->options;
    pare_imatrix_entry e;
    if (!(pare_type_get(to)->traits & PARE_TRAIT_NEEDS_WEIGHT) || pare_calibration_find(o->imatrix, t, &e))
        return PARE_OK;
    if (!pare_preset_needs_weight(t->name, to)) {
        if (p->unweighted == NULL) {
            p->unweighted = t;
            p->unweighted_type = to;
        }
        return PARE_OK;
    }
    if (o->plan_only) {
        p->n_needing++;
        return PARE_OK;
    }
    bool of_preset = o->preset != NULL && o->preset->base != to; /* else it is what the user asked for */
    return pare_fail(err, PARE_ERR_USAGE, "tensor '%s': %s%s%s needs importances%s", t->name, pare_type_get(to)->name,
                     of_preset ? " within " : "", of_preset ? o->preset->name : "",
                     o->imatrix == NULL ? ": collect them with pare imatrix and give --imatrix"
                                        : ", and the imatrix has none for it");
}

/* What is quantized already becomes another type where that keeps its values, else only if the user says so. */
static pare_status check_source(const planner *p, const pare_tensor *t, pare_type to, pare_error *err)
{
    const pare_type_info *from = pare_type_get(t->type);
    const char *claims = p->options->allow_requantize ? NULL : pare_model_claims(p->in);
    if (claims != NULL && !(pare_type_get(to)->traits & PARE_TRAIT_FLOAT))
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: 'quantization_config' says that the weights were quantized already (%s), though they lie "
                         "there as %s; as %s they would lose more: give --requantize to do it",
                         p->in->path, claims, from->name, pare_type_get(to)->name);
    bool quantized = !(from->traits & PARE_TRAIT_FLOAT) || t->packed;
    bool kept = t->packed && ((pare_type_get(to)->traits & PARE_TRAIT_FLOAT) || pare_int_block_holds(t->type, to));
    if (!quantized || p->options->allow_requantize || (kept && p->options->effort != PARE_EFFORT_RTN))
        return PARE_OK;
    if (t->packed)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: tensor '%s' was packed by another program ('quantization_config') and is read as %s; as "
                         "%s it would lose more: give --requantize to do it, or convert it without loss (pare convert)",
                         p->in->path, t->name, from->name, pare_type_get(to)->name);
    return pare_fail(err, PARE_ERR_USAGE,
                     "%s: tensor '%s' is quantized already (%s); its error would add up: give --allow-requantize to "
                     "do it",
                     p->in->path, t->name, from->name);
}

/* May this tensor become `to`? */
static pare_status check_change(planner *p, const pare_tensor *t, pare_type to, pare_error *err)
{
    const pare_type_info *info = pare_type_get(to);
    if (to == t->type)
        return PARE_OK;
    pare_status st = check_source(p, t, to, err);
    if (st != PARE_OK)
        return st;
    if (p->options->effort == PARE_EFFORT_RTN && (info->traits & PARE_TRAIT_CODEBOOK))
        return pare_fail(err, PARE_ERR_USAGE,
                         "tensor '%s': --method rtn rounds weight by weight, and %s stores entries of a codebook: it "
                         "needs --method search",
                         t->name, info->name);
    return require_importance(p, t, to, err);
}

static pare_status choose(planner *p, const pare_tensor *t, pare_type *wanted, pare_type *to, pare_error *err)
{
    const pare_quantize_options *o = p->options;
    const pare_type_info *from = pare_type_get(t->type);
    bool from_hub = p->in->format != PARE_FORMAT_GGUF;
    bool quantizable =
        pare_preset_quantizes(p->state.model.arch, t->name, t->n_dims) && !(from->traits & PARE_TRAIT_INTEGER);
    pare_preset_tensor query = {.name = t->name, .n_dims = t->n_dims, .row_len = t->row_len, .type = t->type};
    request asked;
    *wanted = *to = t->type;
    pare_status st = find_request(p, t->name, quantizable, &asked, err);
    if (st != PARE_OK || !quantizable) {
        if (from_hub && (from->traits & PARE_TRAIT_FLOAT) && pare_derive_keeps_f32(t))
            *wanted = *to = PARE_TYPE_F32;
        return st;
    }
    if (o->preset != NULL) /* also for tensors with a type of their own: the preset counts what it has seen */
        st = pare_preset_choose(&p->state, &query, to, wanted, err);
    if (asked.type != PARE_TYPE_NONE) {
        *wanted = asked.type;
        st = take_request(p, t, &asked, to, err);
    } else if (o->pure_type != PARE_TYPE_NONE) {
        *wanted = o->pure_type;
        st = take_pure(p, t, to, err);
    }
    return st == PARE_OK ? check_change(p, t, *to, err) : st;
}

static pare_preset_model describe(planner *p)
{
    const pare_model *in = p->in;
    pare_preset_model m = {.arch = p->arch,
                           .tied_output = pare_model_find(in, "output.weight") == NULL,
                           .has_imatrix = p->options->imatrix != NULL};
    const pare_meta_value *arch = pare_meta_find(&in->meta, "general.architecture");
    pare_hparams hp = in->hp;
    if (in->arch != NULL)
        snprintf(p->arch, sizeof p->arch, "%s", in->arch->name);
    else if (arch != NULL && arch->type == PARE_META_STRING && arch->v.s.len <= MAX_ARCH)
        memcpy(p->arch, arch->v.s.data, arch->v.s.len); /* the rest is zero */
    if (in->arch == NULL)
        pare_hparams_guess(&hp, p->arch, &in->meta);
    m.n_layer = hp.n_layer;
    m.n_head = hp.n_head;
    m.n_head_kv = pare_stored_heads(&hp);
    m.n_expert = hp.n_expert;
    return m;
}

static int by_stock_order(const void *a, const void *b)
{
    return pare_preset_order((*(const pare_tensor *const *)a)->name, (*(const pare_tensor *const *)b)->name);
}

/* What choose decided for the tensor at the same place of the source. */
typedef struct decision {
    pare_type wanted, to;
    pare_factor *factor; /* NULL: none */
} decision;

/* What was asked for by name must have had an effect; and what is encoded worse than one might think is told. */
static pare_status check_requests(const planner *p, pare_error *err)
{
    const pare_model *in = p->in;
    if (p->options->embedding_type != PARE_TYPE_NONE && pare_model_find(in, "token_embd.weight") == NULL)
        return pare_fail(err, PARE_ERR_USAGE, "--embedding-type: %s has no tensor 'token_embd.weight'", in->path);
    pare_status st = pare_type_rules_check(&p->rules, in->path, err);
    if (st == PARE_OK && p->unweighted != NULL && !p->options->measured)
        st = pare_warn(err,
                       "%s: tensor '%s': %s without importances loses much; --output-type and --embedding-type choose "
                       "other types for the output and the embedding",
                       in->path, p->unweighted->name, pare_type_get(p->unweighted_type)->name);
    return st;
}

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
        const pare_preset_model m = describe(p);
        qsort(order, in->n_tensors, sizeof *order, by_stock_order);
        pare_preset_start(&p->state, p->options->preset, &m, names, in->n_tensors);
    }
    for (size_t i = 0; i < in->n_tensors && st == PARE_OK; i++) {
        decision *d = &decisions[order[i] - in->tensors];
        st = choose(p, order[i], &d->wanted, &d->to, err);
    }
    if (st == PARE_OK)
        st = check_requests(p, err);
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

/* Where the importances came from, with stock's keys; the file without its folder, which is the machine's. */
static pare_status describe_imatrix(pare_meta *meta, const pare_imatrix *im, pare_error *err)
{
    const char *slash = strrchr(im->path, '/'), *name = slash != NULL ? slash + 1 : im->path;
    pare_str file = {name, strlen(name)};
    pare_status st = pare_meta_set_str(meta, "quantize.imatrix.file", cut_name(file), err);
    if (st == PARE_OK && im->n_datasets > 0)
        st = pare_meta_set_str(meta, "quantize.imatrix.dataset", cut_name(im->datasets[0]), err);
    if (st == PARE_OK)
        st = pare_meta_set_u32(meta, "quantize.imatrix.entries_count", (uint32_t)im->n, err);
    if (st == PARE_OK && im->chunk_count > 0)
        st = pare_meta_set_u32(meta, "quantize.imatrix.chunks_count", im->chunk_count, err);
    return st;
}

static pare_status add_factors(pare_model *out, const pare_model *in, const pare_quantize_options *o,
                               decision *decisions, pare_error *err)
{
    pare_factor **of = calloc(in->n_tensors + 1, sizeof *of);
    bool *wanted = calloc(in->n_tensors + 1, sizeof *wanted);
    pare_status st = PARE_OK;
    if (of == NULL || wanted == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory to plan %zu tensors", in->n_tensors);
    for (size_t i = 0; i < in->n_tensors && st == PARE_OK; i++)
        wanted[i] = decisions[i].to == PARE_TYPE_NVFP4 && in->tensors[i].type != PARE_TYPE_NVFP4 && !o->no_factors &&
                    o->effort != PARE_EFFORT_RTN;
    if (st == PARE_OK)
        st = pare_nvfp4_factors(out, in, wanted, of, err);
    for (size_t i = 0; i < in->n_tensors && st == PARE_OK; i++)
        decisions[i].factor = of[i];
    free(of);
    free(wanted);
    return st;
}

static pare_status add_tensors(pare_model *out, const pare_model *in, const pare_quantize_options *o,
                               const decision *decisions, pare_plan *plan, pare_error *err)
{
    pare_derive_how how = {
        .flags = o->allow_nonfinite ? PARE_DERIVE_ZERO : PARE_DERIVE_CHECK, .imatrix = o->imatrix, .effort = o->effort};
    bool has_output = pare_model_find(in, "output.weight") != NULL; /* else the embeddings multiply, too */
    pare_status st = PARE_OK;
    for (size_t i = 0; i < in->n_tensors && st == PARE_OK; i++) {
        how.lookup = has_output && strcmp(in->tensors[i].name, "token_embd.weight") == 0;
        how.wanted = decisions[i].wanted;
        how.to = decisions[i].to;
        how.factor = decisions[i].factor;
        st = pare_derive_add(out, &in->tensors[i], &how, plan, err);
    }
    if (st == PARE_OK && plan->n_unweighted > 0 && !o->measured)
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
    if (st == PARE_OK && o->imatrix != NULL)
        st = describe_imatrix(&out->meta, o->imatrix, err);
    return st == PARE_OK ? pare_meta_edits_apply(out, o->edits, o->n_edits, err) : st;
}

pare_status pare_quantize(pare_model *out, const pare_model *in, const pare_quantize_options *options, pare_plan *plan,
                          pare_error *err)
{
    planner p = {.options = options, .in = in, .rules = {.option = options->override_option}};
    decision *decisions = NULL;
    *out = (pare_model){0};
    pare_status st =
        options->imatrix != NULL && !options->measured ? pare_calibration_check(options->imatrix, in, err) : PARE_OK;
    if (st == PARE_OK)
        st = pare_type_rules_open(&p.rules, options->overrides, options->n_overrides, err);
    if (st != PARE_OK)
        return st;
    if ((decisions = malloc((in->n_tensors + 1) * sizeof *decisions)) == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory to plan %zu tensors", in->n_tensors);
    if (st == PARE_OK && (st = decide(&p, decisions, err)) == PARE_OK)
        st = pare_derive_start(out, in, plan, err);
    if (st == PARE_OK) {
        plan->n_needing = p.n_needing;
        st = add_factors(out, in, options, decisions, err);
    }
    if (st == PARE_OK)
        st = add_tensors(out, in, options, decisions, plan, err);
    if (st == PARE_OK)
        st = set_metadata(out, options, err);
    pare_type_rules_close(&p.rules);
    free(decisions);
    if (st != PARE_OK)
        pare_model_close(out);
    return st;
}
