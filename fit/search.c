#include "fit/accepted.h"
#include "fit/search_parts.h"

#include "core/checked.h"
#include "core/clock.h"
#include "core/output.h"
#include "formats/gguf.h"
#include "model/sample.h"
#include "recipe/calibration.h"
#include "recipe/derive.h"
#include "recipe/refit.h"
#include "recipe/type_rules.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const double FORBIDDEN = 1e6; /* what a choice costs that is not to be made: no divergence is near it */
static const uint64_t LOGITS = (uint64_t)1 << 30; /* bytes of the model's that are kept */

void pare_fit_tell(const pare_fit *f, pare_fit_stage stage, double part, const char *what, double kld)
{
    const pare_fit_progress p = {stage, part, what, kld};
    if (f->o.each != NULL)
        f->o.each(&p, f->o.user);
}

/* ---- opening: which tensor may have which type ---- */

/* Blocks that stock loads and pare encodes. Not NVFP4, whose factors tensors share: its bytes and errors are not those
 * of one tensor. */
static bool is_usual(pare_type type)
{
    const pare_type_info *info = pare_type_get(type);
    return info->gguf >= 0 && info->block_len > 1 && pare_encoder(type) != NULL && type != PARE_TYPE_NVFP4 &&
           (info->traits & (PARE_TRAIT_ACTIVATION | PARE_TRAIT_INTEGER | PARE_TRAIT_FLOAT)) == 0;
}

static double bits_of(pare_type type)
{
    const pare_type_info *info = pare_type_get(type);
    return 8.0 * info->block_bytes / info->block_len;
}

static bool is_listed(const pare_type *types, size_t n, pare_type type)
{
    for (size_t i = 0; i < n; i++)
        if (types[i] == type)
            return true;
    return false;
}

/* Types for models whose weights were trained to lie on their few levels. On other models their errors are so large
 * that the divergence grows faster than the form that it is judged by. */
static bool is_for_trained(pare_type type)
{
    const pare_preset *preset;
    for (size_t i = 0; (preset = pare_preset_at(i)) != NULL; i++)
        if (preset->trained && preset->base == type)
            return true;
    return false;
}

/* What options let every tensor have. */
static bool is_wanted(const pare_fit_options *o, pare_type type)
{
    if (o->types != NULL ? !is_listed(o->types, o->n_types, type) : is_for_trained(type))
        return false;
    return bits_of(type) >= o->min_bits && pare_fit_slowness(type, o->prefer_fast) <= PARE_FIT_SLOW;
}

static pare_status list_types(pare_fit *f, pare_error *err)
{
    const pare_fit_options *o = &f->o;
    for (size_t i = 0; i < o->n_types; i++)
        if (!is_usual(o->types[i]) && (pare_type_get(o->types[i])->traits & PARE_TRAIT_FLOAT) == 0)
            return pare_fail(err, PARE_ERR_USAGE, "%s cannot be chosen tensor by tensor",
                             pare_type_get(o->types[i])->name);
    for (int t = 0; t < PARE_TYPE_COUNT; t++) {
        bool kept = false;
        for (size_t i = 0; i < o->n_keep; i++)
            kept = kept || o->keep[i].type == (pare_type)t;
        if (is_usual((pare_type)t) && (kept || is_wanted(o, (pare_type)t)))
            f->types[f->n_types++] = (pare_type)t;
    }
    return PARE_OK;
}

static bool is_quantizable(const pare_model *m, const pare_tensor *t)
{
    return pare_preset_quantizes(m->arch->name, t->name, t->n_dims) &&
           (pare_type_get(t->type)->traits & PARE_TRAIT_FLOAT) != 0 && !t->packed;
}

/* Bytes of t in this type, with what follows up to the next tensor; false: its blocks do not divide the row. */
static bool padded_bytes(const pare_fit *f, const pare_tensor *t, pare_type type, uint64_t *out)
{
    uint64_t row = 0;
    return pare_row_bytes(type, t->row_len, &row) && pare_mul_u64(row, t->n_rows, out) &&
           pare_align_u64(*out, f->o.model->alignment, out);
}

static void add_choice(const pare_fit *f, pare_fit_item *item, pare_type type)
{
    pare_fit_choice c = {.type = type};
    size_t at = item->n;
    for (size_t i = 0; i < item->n; i++)
        if (item->choices[i].type == type)
            return;
    if (!padded_bytes(f, &f->o.model->tensors[item->tensor], type, &c.bytes))
        return;
    for (; at > 0 && item->choices[at - 1].bytes > c.bytes; at--)
        item->choices[at] = item->choices[at - 1];
    item->choices[at] = c;
    item->n++;
}

static bool lacks_importances(const pare_fit *f, const pare_tensor *t, pare_type type)
{
    pare_imatrix_entry e;
    return pare_preset_needs_weight(t->name, type) && !f->o.imatrix_later &&
           !pare_calibration_find(f->o.imatrix, t, &e);
}

/* The types of one tensor: what a pattern of `keep` says, or all that are wanted and its own. */
static pare_status open_item(pare_fit *f, size_t tensor, const pare_type_override *keep, pare_error *err)
{
    const pare_tensor *t = &f->o.model->tensors[tensor];
    pare_fit_item *item = &f->items[f->n_items];
    *item = (pare_fit_item){.tensor = tensor, .n_weights = t->n_rows * t->row_len, .kept = keep != NULL};
    item->choices = calloc(f->n_types + 2, sizeof *item->choices);
    item->efficient = calloc(f->n_types + 2, sizeof *item->efficient);
    f->n_items++;
    if (item->choices == NULL || item->efficient == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for the types of %zu tensors", f->n_items);
    for (size_t k = 0; k < f->n_types; k++) {
        const pare_type type = f->types[k];
        uint64_t bytes;
        const bool can = padded_bytes(f, t, type, &bytes) && !lacks_importances(f, t, type);
        f->allowed[tensor * PARE_TYPE_COUNT + (size_t)type] = can;
        if (can && (keep != NULL ? keep->type == type : is_wanted(&f->o, type)))
            add_choice(f, item, type);
    }
    if (keep != NULL ? keep->type == t->type : is_wanted(&f->o, t->type))
        add_choice(f, item, t->type);
    if (item->n > 0)
        return PARE_OK;
    if (keep != NULL)
        return pare_fail(err, PARE_ERR_USAGE, "%s: tensor '%s' cannot have type %s, which '%s' asks for",
                         f->o.model->path, t->name, pare_type_get(keep->type)->name, keep->pattern);
    add_choice(f, item, t->type); /* none of the wanted types fits its rows */
    f->n_unwanted++;
    return PARE_OK;
}

static pare_status open_items(pare_fit *f, pare_error *err)
{
    const pare_model *m = f->o.model;
    pare_type_rules rules = {.option = "--keep"};
    size_t n_free = 0; /* tensors without a rule of keep */
    f->items = calloc(m->n_tensors + 1, sizeof *f->items);
    f->allowed = calloc((m->n_tensors + 1) * PARE_TYPE_COUNT, sizeof *f->allowed);
    pare_status st = f->items != NULL && f->allowed != NULL
                         ? pare_type_rules_open(&rules, f->o.keep, f->o.n_keep, err)
                         : pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tensors", m->n_tensors);
    for (size_t i = 0; i < m->n_tensors && st == PARE_OK; i++) {
        const pare_type_override *keep = NULL;
        const bool quantizable = is_quantizable(m, &m->tensors[i]);
        st = pare_type_rules_find(&rules, m->tensors[i].name, quantizable, false, &keep, err);
        if (st == PARE_OK && quantizable)
            st = open_item(f, i, keep, err);
    }
    if (st == PARE_OK)
        st = pare_type_rules_check(&rules, m->path, err);
    pare_type_rules_close(&rules);
    if (st == PARE_OK && f->n_items == 0)
        st = pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: has no tensor that can be quantized", m->path);
    for (size_t i = 0; i < f->n_items; i++)
        n_free += !f->items[i].kept;
    if (st == PARE_OK && n_free > 0 && f->n_unwanted == n_free)
        st = pare_fail(err, PARE_ERR_USAGE,
                       "%s: --types, --min-bits and --prefer-fast leave no type that any of its %zu tensors could have",
                       m->path, n_free);
    return st;
}

static uint64_t bytes_of(const pare_fit *f, const size_t *at)
{
    uint64_t bytes = f->overhead;
    for (size_t i = 0; i < f->n_items; i++)
        bytes += f->items[i].choices[at[i]].bytes;
    return bytes;
}

/* Bytes of the file that the plan would make. */
static pare_status file_bytes(pare_fit *f, const size_t *at, uint64_t *out, pare_error *err)
{
    const pare_write_options options = {0};
    pare_model model = {0};
    pare_plan plan = {0};
    pare_status st = pare_fit_compose(f, at, &model, &plan, err);
    if (st == PARE_OK)
        st = pare_gguf_size(&model, &options, out, err);
    pare_model_close(&model);
    return st;
}

/* What a file has besides: the same for all plans. */
static pare_status find_overhead(pare_fit *f, pare_error *err)
{
    size_t *at = calloc(f->n_items + 1, sizeof *at);
    uint64_t whole = 0;
    pare_status st = at != NULL ? file_bytes(f, at, &whole, err) : pare_fail(err, PARE_ERR_MEMORY, "no memory");
    if (st == PARE_OK)
        f->overhead = whole - bytes_of(f, at);
    free(at);
    return st;
}

pare_status pare_fit_open(pare_fit **out, const pare_fit_options *options, pare_error *err)
{
    pare_fit *f = calloc(1, sizeof *f);
    *out = NULL;
    if (f == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory");
    f->o = *options;
    pare_status st = PARE_OK;
    if (options->model->arch == NULL)
        st = pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: an architecture that pare does not know cannot be run",
                       options->model->path);
    if (st == PARE_OK && options->imatrix != NULL)
        st = pare_calibration_check(options->imatrix, options->model, err);
    if (st == PARE_OK)
        st = list_types(f, err);
    if (st == PARE_OK)
        st = open_items(f, err);
    if (st == PARE_OK)
        st = find_overhead(f, err);
    if (st == PARE_OK)
        *out = f;
    else
        pare_fit_close(f);
    return st;
}

void pare_fit_close(pare_fit *f)
{
    if (f == NULL)
        return;
    for (size_t i = 0; f->items != NULL && i < f->n_items; i++) {
        free(f->items[i].choices);
        free(f->items[i].efficient);
    }
    for (size_t i = 0; i < f->n_norms; i++) {
        free(f->norms[i].at);
        free(f->norms[i].bytes);
    }
    pare_trial_close(f->trial);
    pare_encodings_close(&f->encodings);
    pare_encodings_close(&f->samples);
    pare_row_sample_close(&f->sample);
    free(f->sample_allowed);
    free(f->sample_folder);
    pare_memo_close(&f->memo);
    pare_buf_close(&f->about);
    free(f->norms);
    free(f->items);
    free(f->allowed);
    free(f);
}

void pare_fit_range(const pare_fit *f, uint64_t *least, uint64_t *most)
{
    *least = *most = f->overhead;
    for (size_t i = 0; i < f->n_items; i++) {
        *least += f->items[i].choices[0].bytes;
        *most += f->items[i].choices[f->items[i].n - 1].bytes;
    }
}

/* What a tensor has where there is nothing to choose. */
static pare_type unchosen_type(const pare_model *m, const pare_tensor *t)
{
    const bool f32 = m->format != PARE_FORMAT_GGUF && (pare_type_get(t->type)->traits & PARE_TRAIT_FLOAT) != 0 &&
                     pare_derive_keeps_f32(t);
    return f32 ? PARE_TYPE_F32 : t->type;
}

/* Of the plan; at NULL: of the smallest. */
static void types_of(const pare_fit *f, const size_t *at, pare_type *types)
{
    for (size_t i = 0; i < f->o.model->n_tensors; i++)
        types[i] = unchosen_type(f->o.model, &f->o.model->tensors[i]);
    for (size_t i = 0; i < f->n_items; i++)
        types[f->items[i].tensor] = f->items[i].choices[at != NULL ? at[i] : 0].type;
}

void pare_fit_smallest(const pare_fit *f, pare_type *types)
{
    types_of(f, NULL, types);
}

/* ---- measuring ---- */

static void tell_encoding(double part, const char *tensor, pare_type type, void *user)
{
    char what[256];
    snprintf(what, sizeof what, "%s %s", pare_type_get(type)->name, tensor);
    pare_fit_tell(user, PARE_FIT_ENCODE, part, what, NAN);
}

/* What the measurements are of. */
static pare_status measurement_key(pare_fit *f, pare_memo_key *out, pare_error *err)
{
    const pare_model *m = f->o.model;
    pare_hasher h = {0};
    pare_digest d;
    float sample[PARE_SAMPLE_SIZE] = {0};
    bool known = false;
    const uint32_t windows[] = {f->o.n_ctx, pare_fit_last_windows(f), (uint32_t)f->o.bos};
    pare_status st = pare_model_sample(m, sample, &known, err);
    if (st == PARE_OK)
        st = pare_hasher_open(&h, PARE_HASH_XXH3, err);
    if (st == PARE_OK)
        st = pare_hasher_add(&h, sample, sizeof sample, err);
    for (size_t i = 0; i < m->n_tensors && st == PARE_OK; i++) {
        const pare_tensor *t = &m->tensors[i];
        const uint64_t shape[] = {t->type, t->n_rows, t->row_len};
        if ((st = pare_hasher_add(&h, t->name, strlen(t->name) + 1, err)) == PARE_OK)
            st = pare_hasher_add(&h, shape, sizeof shape, err);
    }
    if (st == PARE_OK)
        st = pare_hasher_add(&h, windows, sizeof windows, err);
    if (st == PARE_OK)
        st = pare_hasher_add(&h, f->o.ids, f->o.n_ids * sizeof *f->o.ids, err);
    if (st == PARE_OK && f->o.version != NULL)
        st = pare_hasher_add(&h, f->o.version, strlen(f->o.version), err);
    if (st == PARE_OK) /* other arithmetic measures other divergences */
        st = pare_hasher_add(&h, f->o.backend->compute, strlen(f->o.backend->compute) + 1, err);
    if (st == PARE_OK && (st = pare_hasher_finish(&h, &d, err)) == PARE_OK)
        memcpy(out->xxh3_128, d.xxh3_128, sizeof out->xxh3_128);
    pare_hasher_close(&h);
    return st;
}

static pare_status open_memo(pare_fit *f, pare_error *err)
{
    pare_memo_key key;
    pare_buf path = {0};
    pare_status st = measurement_key(f, &key, err);
    if (st == PARE_OK)
        st = pare_buf_printf(&path, err, "%s/divergences", f->o.folder);
    if (st == PARE_OK)
        st = pare_memo_open(&f->memo, path.data, &key, err);
    pare_buf_close(&path);
    return st;
}

/* Has a tensor no other type, or none so small? What pare_fit_range says is to be had. */
static bool is_needed(const pare_fit *f, pare_type type)
{
    bool needed = false;
    for (size_t i = 0; i < f->n_items && !needed; i++) {
        const pare_fit_item *item = &f->items[i];
        bool own = false, smallest = false, other_smallest = false;
        for (size_t k = 0; k < item->n; k++) {
            const bool is_least = item->choices[k].bytes == item->choices[0].bytes;
            own = own || item->choices[k].type == type;
            smallest = smallest || (is_least && item->choices[k].type == type);
            other_smallest = other_smallest || (is_least && !f->needless[item->choices[k].type]);
        }
        needed = (own && item->kept) || (smallest && !other_smallest);
    }
    return needed;
}

/* Once, not once a type: which tensors they are does not depend on it. */
static pare_status warn_without(const pare_fit *f, pare_error *err)
{
    const uint32_t n = f->encodings.n_without;
    if (n == 0)
        return PARE_OK;
    return pare_warn(err, "%s; %" PRIu32 " tensor%s encoded without feedback", f->encodings.without, n,
                     n == 1 ? " is" : "s, this and others, are");
}

/* Large matrices on a sample of rows. Not the embedding: its rows weigh differently. whole: zeroed; of which tensors
 * all rows are encoded. */
static pare_status open_samples(pare_fit *f, bool *whole, pare_error *err)
{
    enum { DEFAULT_WEIGHTS = 1 << 20 };
    const pare_model *m = f->o.model;
    const uint64_t n_weights = f->o.sample_weights != 0 ? f->o.sample_weights : DEFAULT_WEIGHTS;
    pare_buf folder = {0};
    for (size_t i = 0; i < f->n_items; i++)
        whole[f->items[i].tensor] = strcmp(m->tensors[f->items[i].tensor].name, "token_embd.weight") != 0;
    pare_status st = pare_row_sample_open(&f->sample, m, whole, n_weights, err);
    const size_t n = f->sample.model.n_tensors;
    for (size_t i = 0; i < m->n_tensors; i++)
        whole[i] = pare_row_sample_find(&f->sample, i) == SIZE_MAX;
    if (st != PARE_OK || n == 0)
        return st;
    f->sample_allowed = calloc(n * PARE_TYPE_COUNT, sizeof *f->sample_allowed);
    if (f->sample_allowed == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for the types of %zu tensors", n);
    for (size_t i = 0; i < n; i++)
        memcpy(f->sample_allowed + i * PARE_TYPE_COUNT, f->allowed + f->sample.of[i] * PARE_TYPE_COUNT,
               PARE_TYPE_COUNT * sizeof *f->allowed);
    st = pare_buf_printf(&folder, err, "%s/sample", f->o.folder);
    if (st == PARE_OK && mkdir(folder.data, 0777) != 0 && errno != EEXIST)
        st = pare_fail(err, PARE_ERR_IO, "%s: cannot be made: %s", folder.data, strerror(errno));
    f->sampling = f->encoding;
    f->sampling.model = &f->sample.model;
    f->sampling.allowed = f->sample_allowed;
    f->sampling.folder = f->sample_folder = folder.data;
    return st == PARE_OK ? pare_encodings_open(&f->samples, &f->sampling, err) : st;
}

static pare_status encode_types(pare_fit *f, pare_error *err)
{
    bool *whole = calloc(f->o.model->n_tensors + 1, sizeof *whole);
    pare_encodings_want wants[2 * PARE_TYPE_COUNT];
    size_t n = 0;
    pare_status st = whole != NULL ? open_samples(f, whole, err)
                                   : pare_fail(err, PARE_ERR_MEMORY, "no memory for a list of tensors");
    for (size_t k = 0; k < f->n_types; k++) {
        if (f->needless[f->types[k]] && is_needed(f, f->types[k]))
            f->needless[f->types[k]] = false;
        if (f->needless[f->types[k]])
            continue;
        wants[n++] = (pare_encodings_want){&f->encodings, f->types[k], whole};
        if (f->sample.model.n_tensors > 0)
            wants[n++] = (pare_encodings_want){&f->samples, f->types[k], NULL};
    }
    if (st == PARE_OK)
        st = pare_encodings_add_all(wants, n, err);
    if (st == PARE_OK)
        st = warn_without(f, err);
    free(whole);
    return st;
}

/* Without a list of the user's types that others beat are left out. */
static pare_status open_encodings(pare_fit *f, pare_error *err)
{
    pare_status st = pare_buf_printf(&f->about, err, "pare fit %s, effort %d\n",
                                     f->o.version != NULL ? f->o.version : "", (int)f->o.effort);
    f->encoding = (pare_encodings_options){.model = f->o.model,
                                           .imatrix = f->o.imatrix,
                                           .allowed = f->allowed,
                                           .folder = f->o.folder,
                                           .about = f->about.data,
                                           .effort = f->o.effort,
                                           .allow_requantize = f->o.allow_requantize,
                                           .each = tell_encoding,
                                           .user = f};
    if (st == PARE_OK)
        st = pare_encodings_open(&f->encodings, &f->encoding, err);
    if (st == PARE_OK && f->o.types == NULL)
        st = pare_probe_types(&f->encoding, f->types, f->n_types, f->needless, err);
    return st == PARE_OK ? encode_types(f, err) : st;
}

/* What became of the choice's bytes: of a sample of its rows, where there is one. */
static const pare_encoding *judged(const pare_fit *f, const pare_fit_item *item, const pare_fit_choice *c)
{
    const size_t sampled = pare_row_sample_find(&f->sample, item->tensor);
    return sampled != SIZE_MAX ? pare_encodings_find(&f->samples, sampled, c->type) : c->made;
}

/* Where the item's encodings lie now. The unit of a tensor's errors: the form where feedback knows it of all types,
 * else the relative square. */
static pare_status link_item(pare_fit *f, pare_fit_item *item, pare_error *err)
{
    static const pare_memo_key none = {0};
    const pare_tensor *t = &f->o.model->tensors[item->tensor];
    bool forms = true;
    for (size_t k = 0; k < item->n; k++) {
        pare_fit_choice *c = &item->choices[k];
        pare_digest d;
        c->made = c->type != t->type ? pare_encodings_find(&f->encodings, item->tensor, c->type) : NULL;
        const pare_encoding *j = c->type != t->type ? judged(f, item, c) : NULL;
        c->known = j != NULL || c->type == t->type;
        forms = forms && (j == NULL || !isnan(j->form));
        if (c->made == NULL || memcmp(&c->digest, &none, sizeof none) != 0)
            continue;
        pare_status st = pare_hash_bytes(c->made->data, (size_t)c->made->bytes, PARE_HASH_XXH3, &d, err);
        if (st != PARE_OK)
            return st;
        memcpy(c->digest.xxh3_128, d.xxh3_128, sizeof c->digest.xxh3_128);
    }
    for (size_t k = 0; k < item->n; k++) {
        const pare_encoding *j = item->choices[k].type != t->type ? judged(f, item, &item->choices[k]) : NULL;
        item->choices[k].error = j == NULL ? 0 : forms ? j->form : j->error;
    }
    item->stage = pare_trial_stage_of(f->trial, item->tensor);
    item->first = strcmp(t->name, "token_embd.weight") == 0 ||
                  (strncmp(t->name, "blk.0.attn_", strlen("blk.0.attn_")) == 0 && strstr(t->name, "output") == NULL);
    return PARE_OK;
}

bool pare_fit_is_lacking(const pare_fit *f, const pare_fit_item *item, size_t at)
{
    const pare_fit_choice *c = at != PARE_FIT_OWN ? &item->choices[at] : NULL;
    return c != NULL && c->made == NULL && c->type != f->o.model->tensors[item->tensor].type;
}

/* What the plan has and nobody encoded yet. */
static pare_status encode_lacking(pare_fit *f, const size_t *at, pare_error *err)
{
    const size_t n_tensors = f->o.model->n_tensors;
    bool *wanted = calloc(PARE_TYPE_COUNT, n_tensors * sizeof *wanted); /* [types, n_tensors] */
    pare_encodings_want wants[PARE_TYPE_COUNT];
    size_t n = 0;
    if (wanted == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a list of tensors");
    for (size_t type = 0; type < PARE_TYPE_COUNT; type++) {
        bool any = false, *of = wanted + type * n_tensors;
        for (size_t i = 0; i < f->n_items; i++)
            if (pare_fit_is_lacking(f, &f->items[i], at[i]) && f->items[i].choices[at[i]].type == (pare_type)type)
                any = of[f->items[i].tensor] = true;
        if (any)
            wants[n++] = (pare_encodings_want){&f->encodings, (pare_type)type, of};
    }
    pare_status st = pare_encodings_add_all(wants, n, err);
    free(wanted);
    return st;
}

pare_status pare_fit_need(pare_fit *f, const size_t *at, bool *more, pare_error *err)
{
    *more = false;
    for (size_t i = 0; i < f->n_items; i++)
        *more = *more || pare_fit_is_lacking(f, &f->items[i], at[i]);
    if (!*more)
        return PARE_OK;
    pare_status st = encode_lacking(f, at, err);
    for (size_t i = 0; i < f->n_items && st == PARE_OK; i++) {
        st = link_item(f, &f->items[i], err);
        if (st == PARE_OK && pare_fit_is_lacking(f, &f->items[i], at[i]))
            st = pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: tensor '%s' was not encoded in %s", f->o.model->path,
                           f->o.model->tensors[f->items[i].tensor].name,
                           pare_type_get(f->items[i].choices[at[i]].type)->name);
        if (st == PARE_OK && f->measured)
            pare_fit_take_costs(&f->items[i]);
    }
    return st;
}

pare_status pare_fit_measure(pare_fit *f, pare_error *err)
{
    const pare_trial_options trial = {.model = f->o.model,
                                      .backend = f->o.backend,
                                      .ids = f->o.ids,
                                      .n_ids = f->o.n_ids,
                                      .bos = f->o.bos,
                                      .n_ctx = f->o.n_ctx,
                                      .n_windows = pare_fit_last_windows(f),
                                      .cache_bytes = LOGITS};
    if (f->measured)
        return PARE_OK;
    if (mkdir(f->o.folder, 0777) != 0 && errno != EEXIST)
        return pare_fail(err, PARE_ERR_IO, "%s: cannot be made: %s", f->o.folder, strerror(errno));
    pare_status st = open_memo(f, err);
    if (st == PARE_OK)
        st = open_encodings(f, err);
    if (st == PARE_OK)
        st = pare_trial_open(&f->trial, &trial, err);
    for (size_t i = 0; i < f->n_items && st == PARE_OK; i++)
        st = link_item(f, &f->items[i], err);
    if (st == PARE_OK)
        st = pare_fit_measure_alone(f, err);
    if (st == PARE_OK)
        st = pare_fit_recall_budgets(f, err);
    f->measured = st == PARE_OK;
    return st;
}

/* ---- solving ---- */

typedef struct solving {
    pare_fit *f;
    uint64_t budget;     /* of the choices */
    pare_choice *choice; /* [all items' choices] */
    pare_choices *items; /* [n_items] */
    double *down, *up;   /* [n_items] */
    size_t *best, *next; /* [n_items] plans */
    pare_type *types;    /* [n_tensors] of a plan that is asked about */
    double kld;          /* of best, on all windows */
    pare_fit_result *r;
} solving;

static pare_status open_solving(solving *s, pare_fit *f, pare_error *err)
{
    size_t n_choices = 0, n = f->n_items + 1;
    s->f = f;
    for (size_t i = 0; i < f->n_items; i++)
        n_choices += f->items[i].n;
    s->choice = calloc(n_choices + 1, sizeof *s->choice);
    s->items = calloc(n, sizeof *s->items);
    s->down = calloc(n, sizeof *s->down);
    s->up = calloc(n, sizeof *s->up);
    s->best = calloc(n, sizeof *s->best);
    s->next = calloc(n, sizeof *s->next);
    s->types = calloc(f->o.model->n_tensors + 1, sizeof *s->types);
    if (s->choice == NULL || s->items == NULL || s->down == NULL || s->up == NULL || s->best == NULL ||
        s->next == NULL || s->types == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu choices", n_choices);
    for (size_t i = 0, at = 0; i < f->n_items; at += f->items[i].n, i++)
        s->items[i] = (pare_choices){s->choice + at, f->items[i].n};
    return PARE_OK;
}

static void close_solving(solving *s)
{
    free(s->choice);
    free(s->items);
    free(s->down);
    free(s->up);
    free(s->best);
    free(s->next);
    free(s->types);
}

/* What single swaps say that the choices cost. */
static void cost_alone(solving *s)
{
    const pare_fit *f = s->f;
    pare_choice *c = s->choice;
    for (size_t i = 0; i < f->n_items; i++)
        for (size_t k = 0; k < f->items[i].n; k++)
            *c++ = (pare_choice){f->items[i].choices[k].bytes,
                                 f->items[i].choices[k].known ? f->items[i].choices[k].alone : FORBIDDEN};
}

pare_status pare_fit_plan(pare_fit *f, uint64_t bytes, size_t *at, pare_allocation *got, pare_error *err)
{
    solving s = {0};
    pare_status st = open_solving(&s, f, err);
    if (st == PARE_OK) {
        cost_alone(&s);
        st = pare_allocate(s.items, f->n_items, bytes, at, got, err);
    }
    close_solving(&s);
    return st;
}

static pare_status accept_plan(const size_t *at, bool *yes, void *user, pare_error *err)
{
    solving *s = user;
    const pare_fit_options *o = &s->f->o;
    *yes = true;
    if (o->accept == NULL)
        return PARE_OK;
    types_of(s->f, at, s->types);
    return o->accept(s->types, yes, o->user, err);
}

/* The plan of least cost that is accepted, of more than least bytes (overhead left out); none: *found is false. */
static pare_status allocate(solving *s, uint64_t least, size_t *at, pare_allocation *got, bool *found, pare_error *err)
{
    return pare_allocate_accepted(s->items, s->f->n_items, least, s->budget, accept_plan, s, at, got, found, err);
}

/* The plan that single swaps alone speak for. */
static pare_status solve_alone(solving *s, pare_error *err)
{
    pare_fit *f = s->f;
    pare_allocation got;
    uint64_t least, most;
    bool found = false;
    pare_fit_range(f, &least, &most);
    least -= f->overhead;
    cost_alone(s);
    pare_status st = allocate(s, least, s->best, &got, &found, err);
    if (st == PARE_OK && !found) { /* the smallest is what is left */
        st = pare_allocate(s->items, f->n_items, least, s->best, &got, err);
        if (st == PARE_OK)
            st = accept_plan(s->best, &found, s, err);
        if (st == PARE_OK && !found)
            st = pare_fail(err, PARE_ERR_DIFFERENCE,
                           "%s: not even the smallest file that the types allow, of %" PRIu64 " bytes, is accepted",
                           f->o.model->path, least + f->overhead);
    }
    if (st == PARE_OK && f->o.accept != NULL)
        s->r->budget = got.bytes + f->overhead;
    if (st == PARE_OK) {
        const double second = pare_whole_second(&f->whole);
        s->r->bound = pare_whole_predict(&f->whole, got.bound) * second;
        s->r->by_swaps = pare_whole_predict(&f->whole, got.cost) * second;
        s->r->spread = pare_whole_spread(&f->whole);
    }
    return st;
}

static pare_status run_first(solving *s, pare_error *err)
{
    pare_trial_score score;
    pare_status st = pare_fit_run(s->f, s->best, 0, &score, err);
    s->kld = st == PARE_OK ? score.all : 0;
    if (st == PARE_OK)
        pare_fit_learn(s->f, s->best, &score);
    s->r->start = st == PARE_OK ? score.second : 0;
    return st;
}

/* What the swap was measured to change, in parts of what single swaps say that it does. Neither sign nor size of a
 * measurement is believed without limits. */
static double scale_of(const pare_fit_item *item, size_t from, size_t to, double change, double usual)
{
    enum { LIMIT = 5 };
    const double expected = item->choices[to].alone - item->choices[from].alone;
    if (isnan(change) || !(fabs(expected) > 0))
        return usual;
    return fmin(fmax(change / expected, usual / LIMIT), usual * LIMIT);
}

/* Costs of the choices around the plan; steps: efficient choices away from it that are allowed. */
static void cost_around(solving *s, size_t steps)
{
    const pare_fit *f = s->f;
    const double usual = s->kld / fmax(pare_fit_sum(f, s->best), 1e-12);
    pare_choice *c = s->choice;
    for (size_t i = 0; i < f->n_items; i++) {
        const pare_fit_item *item = &f->items[i];
        const size_t now = s->best[i], e = pare_fit_efficient_at(item, now);
        const size_t below = item->efficient[e] < now ? e
                             : e > 0                  ? e - 1
                                                      : e,
                     above = e + 1 < item->n_efficient ? e + 1 : e;
        const double down = scale_of(item, now, item->efficient[below], s->down[i], usual);
        const double up = scale_of(item, now, item->efficient[above], s->up[i], usual);
        for (size_t k = 0; k < item->n; k++, c++) {
            const size_t at = pare_fit_efficient_at(item, k), off = at > e ? at - e : e - at;
            const double change = item->choices[k].alone - item->choices[now].alone;
            *c = (pare_choice){item->choices[k].bytes, change * (change > 0 ? down : up)};
            if (off > steps || !item->choices[k].known)
                c->cost = FORBIDDEN;
        }
    }
}

/* Another plan out of what swaps around the best one say: *better, if its divergence is less. */
static pare_status step(solving *s, size_t steps, bool *better, pare_error *err)
{
    pare_fit *f = s->f;
    pare_allocation got;
    pare_trial_score score;
    cost_around(s, steps);
    bool found = false;
    *better = false;
    pare_status st = allocate(s, bytes_of(f, s->best) - f->overhead - 1, s->next, &got, &found, err);
    if (st != PARE_OK || !found || memcmp(s->next, s->best, f->n_items * sizeof *s->best) == 0)
        return st;
    if ((st = pare_fit_run(f, s->next, 0, &score, err)) != PARE_OK || score.all >= s->kld)
        return st;
    for (size_t i = 0; i < f->n_items; i++)
        s->r->n_swaps += s->next[i] != s->best[i];
    pare_fit_learn(f, s->next, &score);
    s->r->by_swaps = (s->kld + got.cost) * pare_whole_second(&f->whole);
    s->kld = score.all;
    memcpy(s->best, s->next, f->n_items * sizeof *s->best);
    *better = true;
    return PARE_OK;
}

static pare_status improve(solving *s, pare_error *err)
{
    static const size_t steps[] = {3, 1};
    const double start = pare_clock();
    pare_status st = PARE_OK;
    bool better = true;
    for (uint32_t round = 0; round < s->f->o.n_rounds && better && st == PARE_OK; round++) {
        if (s->f->o.seconds > 0 && pare_clock() - start > s->f->o.seconds)
            break;
        st = pare_fit_measure_around(s->f, s->best, s->down, s->up, err);
        better = false;
        for (size_t k = 0; k < sizeof steps / sizeof *steps && !better && st == PARE_OK; k++)
            st = step(s, steps[k], &better, err);
    }
    return st;
}

static pare_status fill_rows(const solving *s, pare_error *err)
{
    const pare_fit *f = s->f;
    const pare_model *m = f->o.model;
    pare_fit_result *r = s->r;
    r->rows = calloc(m->n_tensors + 1, sizeof *r->rows);
    r->n_rows = m->n_tensors;
    if (r->rows == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tensors", m->n_tensors);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const pare_tensor *t = &m->tensors[i];
        r->rows[i] = (pare_fit_row){.name = t->name, .type = unchosen_type(m, t)};
        padded_bytes(f, t, r->rows[i].type, &r->rows[i].bytes);
    }
    for (size_t i = 0; i < f->n_items; i++) {
        const pare_fit_item *item = &f->items[i];
        const pare_fit_choice *c = &item->choices[s->best[i]];
        r->rows[item->tensor] =
            (pare_fit_row){m->tensors[item->tensor].name, c->type, c->bytes, c->alone, true, item->kept};
    }
    return PARE_OK;
}

/* Everything up to the first plan. */
static pare_status plan_first(solving *s, pare_fit *f, uint64_t budget, pare_fit_result *result, pare_error *err)
{
    uint64_t least, most;
    *s = (solving){.r = result};
    *result = (pare_fit_result){.budget = budget};
    pare_fit_range(f, &least, &most);
    result->bytes = least;
    if (budget < least)
        return pare_fail(err, PARE_ERR_DIFFERENCE,
                         "%s: the smallest file that the types allow has %" PRIu64 " bytes, more than the %" PRIu64
                         " of the budget",
                         f->o.model->path, least, budget);
    pare_status st = pare_fit_measure(f, err);
    s->budget = budget - f->overhead;
    if (st == PARE_OK)
        st = open_solving(s, f, err);
    return st == PARE_OK ? solve_alone(s, err) : st;
}

pare_status pare_fit_estimate(pare_fit *f, uint64_t budget, double *kld, uint64_t *bytes, pare_error *err)
{
    solving s;
    pare_fit_result r;
    pare_status st = plan_first(&s, f, budget, &r, err);
    *kld = r.by_swaps;
    *bytes = st == PARE_OK ? bytes_of(f, s.best) : r.bytes;
    close_solving(&s);
    return st;
}

pare_status pare_fit_solve(pare_fit *f, uint64_t budget, pare_fit_result *result, pare_error *err)
{
    solving s;
    pare_trial_score score;
    pare_status st = plan_first(&s, f, budget, result, err);
    const uint32_t before = f->n_runs;
    if (st == PARE_OK)
        st = run_first(&s, err);
    if (st == PARE_OK)
        st = pare_fit_note_budget(f, result->budget, err);
    if (st == PARE_OK)
        st = improve(&s, err);
    if (st == PARE_OK)
        st = pare_fit_run(f, s.best, 0, &score, err);
    result->end = st == PARE_OK ? score.second : 0;
    if (st == PARE_OK) {
        pare_fit_tell(f, PARE_FIT_SEARCH, 1, "", s.kld);
        st = pare_fit_run(f, s.best, result->n_windows = pare_fit_last_windows(f), &score, err);
    }
    if (st == PARE_OK)
        st = file_bytes(f, s.best, &result->bytes, err);
    if (st == PARE_OK)
        st = fill_rows(&s, err);
    if (st == PARE_OK) {
        if (result->budget < result->bytes) /* of what is accepted a round may have found more */
            result->budget = result->bytes;
        result->predicted = score.second;
        result->error = score.error;
        result->bits = 8 * (double)result->bytes / (double)pare_model_n_params(f->o.model);
        result->n_runs = f->n_runs - before;
    }
    close_solving(&s);
    return st;
}

void pare_fit_result_close(pare_fit_result *r)
{
    free(r->rows);
    *r = (pare_fit_result){0};
}

/* ---- plans of others ---- */

static pare_status plan_of(const pare_fit *f, const pare_type *types, size_t *at, pare_error *err)
{
    for (size_t i = 0; i < f->n_items; i++) {
        const pare_fit_item *item = &f->items[i];
        const pare_type wanted = types[item->tensor];
        at[i] = item->n;
        for (size_t k = 0; k < item->n; k++)
            if (item->choices[k].type == wanted)
                at[i] = k;
        if (at[i] == item->n)
            return pare_fail(err, PARE_ERR_USAGE, "%s: tensor '%s' is not measured in %s", f->o.model->path,
                             f->o.model->tensors[item->tensor].name, pare_type_get(wanted)->name);
    }
    return PARE_OK;
}

pare_status pare_fit_try(pare_fit *f, const pare_type *types, double *kld, uint64_t *bytes, pare_error *err)
{
    size_t *at = calloc(f->n_items + 1, sizeof *at);
    pare_trial_score score = {0};
    pare_status st = at != NULL ? pare_fit_measure(f, err) : pare_fail(err, PARE_ERR_MEMORY, "no memory for a plan");
    if (st == PARE_OK)
        st = plan_of(f, types, at, err);
    if (st == PARE_OK)
        st = pare_fit_run(f, at, 0, &score, err);
    if (st == PARE_OK)
        *bytes = bytes_of(f, at);
    *kld = score.second;
    free(at);
    return st;
}

/* The result as a plan [n_items], owned by the caller, with all of it encoded. */
static pare_status plan_of_result(pare_fit *f, const pare_fit_result *r, size_t **out, pare_error *err)
{
    size_t *at = *out = calloc(f->n_items + 1, sizeof *at);
    pare_type *types = calloc(f->o.model->n_tensors + 1, sizeof *types);
    bool more;
    pare_status st = at != NULL && types != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a plan");
    for (size_t i = 0; i < r->n_rows && st == PARE_OK; i++)
        types[i] = r->rows[i].type;
    if (st == PARE_OK)
        st = plan_of(f, types, at, err);
    if (st == PARE_OK)
        st = pare_fit_need(f, at, &more, err);
    free(types);
    return st;
}

pare_status pare_fit_make(pare_fit *f, const pare_fit_result *r, pare_model *out, pare_plan *plan, pare_error *err)
{
    size_t *at = NULL;
    const char *why;
    *out = (pare_model){0};
    pare_status st = plan_of_result(f, r, &at, err);
    if (st == PARE_OK)
        st = pare_fit_compose(f, at, out, plan, err);
    if (st == PARE_OK && !f->o.no_refit)
        st = pare_refit(out, plan, &why, err);
    free(at);
    return st;
}

pare_status pare_fit_derive(pare_fit *f, const pare_fit_result *r, pare_model *out, pare_plan *plan, pare_error *err)
{
    size_t *at = NULL;
    *out = (pare_model){0};
    pare_status st = plan_of_result(f, r, &at, err);
    if (st == PARE_OK)
        st = pare_fit_compose_bare(f, at, out, plan, err);
    free(at);
    return st;
}

pare_status pare_fit_fill(pare_fit *f, const pare_fit_result *r, pare_model *out, pare_plan *plan, pare_error *err)
{
    size_t *at = NULL;
    pare_status st = plan_of_result(f, r, &at, err);
    if (st == PARE_OK)
        pare_fit_place(f, at, out, plan);
    free(at);
    return st;
}
