#include "recipe/group.h"

#include "core/bytes.h"
#include "core/checked.h"
#include "core/half.h"
#include "core/scratch.h"
#include "core/threads.h"
#include "quant/feedback.h"
#include "quant/group_clip.h"
#include "quant/group_feedback.h"
#include "quant/int_block.h"
#include "quant/output_error.h"
#include "quant/path_table.h"
#include "recipe/awq.h"
#include "recipe/calibration.h"
#include "recipe/derive.h"
#include "recipe/expert_gram.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* docs/methods/FEEDBACK.md */
static const double DAMPING = 0.01;
static const int sweeps[] = {[PARE_EFFORT_DEFAULT] = 4, [PARE_EFFORT_BEST] = 16, [PARE_EFFORT_FAST] = 0};
enum { SLAB = PARE_FEEDBACK_ROWS, NAME_BYTES = 128 };

/* A matrix of out, by its index there. */
typedef struct choice {
    bool chosen, done;
    bool whole;            /* its groups are not clipped: q and k, whose errors go through a softmax */
    const pare_gram *gram; /* NULL: none */
    pare_type type;        /* that holds what it becomes */
    uint64_t row_bytes;
    uint8_t *to;
} choice;

/* What is known of the inputs of some matrices; zeroed: nothing. */
typedef struct inputs {
    const pare_form *form;  /* of all tokens, for feedback, */
    pare_expert_grams *own; /* or of each expert's */
    const float *squares;   /* of H, one a group, as panels: for clipping */
} inputs;

typedef struct grouping {
    pare_model *out;
    pare_plan *plan;
    const pare_group_settings *settings;
    pare_group_report *report;
    choice *choices; /* [out->n_tensors] */
    uint32_t done, n;
    double log_ratio;
} grouping;

/* ---- what is known of inputs ---- */

/* The products of the inputs as they are scaled; *lower is to be freed. */
static pare_status scale_gram(const pare_gram *gram, const float *divisor, pare_gram *out, uint8_t **lower,
                              pare_error *err)
{
    uint64_t bytes = 0, n = gram->n_columns;
    *out = *gram;
    *lower = NULL;
    if (divisor == NULL)
        return PARE_OK;
    if (!pare_gram_bytes(n, &bytes) || bytes > SIZE_MAX || (*lower = malloc((size_t)bytes)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for the products of %" PRIu64 " columns", n);
    uint8_t *to = *lower;
    const uint8_t *from = gram->lower;
    for (uint64_t i = 0; i < n; i++)
        for (uint64_t j = 0; j <= i; j++, to += 4, from += 4)
            pare_store_f32le(to, pare_load_f32le(from) / (divisor[i] * divisor[j]));
    out->lower = *lower;
    return PARE_OK;
}

/* Mean products of each group's inputs as they are scaled, as panels: *out is to be freed. The groups divide n. */
static pare_status make_squares(const grouping *g, const pare_gram *gram, const float *divisor, float **out,
                                pare_error *err)
{
    uint64_t n = gram->n_columns, group = (uint64_t)g->settings->group;
    size_t square = pare_panel_floats((size_t)group);
    pare_status st = PARE_OK;
    *out = malloc((size_t)(n / group) * square * sizeof **out); /* H is larger */
    if (*out == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for the products of %" PRIu64 " columns", n);
    for (uint64_t at = 0; at < n && st == PARE_OK; at += group)
        st = pare_awq_panels(gram, divisor, at, group, g->settings->imatrix->path, *out + at / group * square, err);
    return st;
}

/* ---- one matrix ---- */

typedef struct matrix {
    const grouping *g;
    const pare_tensor *source;
    const choice *to;
    const pare_form *form; /* NULL: no feedback */
    const float *squares;  /* of H, one a group, as panels; NULL: nothing is clipped */
    const float *divisor;  /* [experts, row_len] of the inputs against those of the statistics; NULL: 1 */
    bool form_of_expert;   /* of the inputs of the expert in hand, not of those of all */
    size_t first;          /* slab in hand */
    bool has_importance;
    pare_imatrix_entry importance;
    float *pooled;             /* [row_len] */
    double *before, *after;    /* [slabs] */
    uint64_t in_expert, slabs; /* rows of an expert; slabs of it */
    size_t group;
} matrix;

/* What the rows of a slab need. */
typedef struct slab {
    float *x, *column, *factor; /* [SLAB, n], [n], [n] */
    pare_group *groups;         /* [SLAB, n / group] */
    uint8_t *codes;             /* [SLAB, n] */
    void *scratch;
} slab;

static size_t lay_out(const matrix *m, uint8_t *memory, slab *s)
{
    size_t n = (size_t)m->source->row_len, at = 0;
    size_t feedback = m->form != NULL ? pare_group_feedback_scratch(n) : 0, floats = n * sizeof(float);
    if (m->squares != NULL)
        feedback = pare_group_clip_scratch(m->group);
    *s = (slab){.x = (float *)(void *)memory};
    s->column = s->x + SLAB * n;
    s->factor = s->column + n;
    at = (SLAB + 2) * floats;
    s->scratch = memory + at;
    at += feedback;
    s->groups = (pare_group *)(void *)(memory + at);
    at += SLAB * (n / m->group) * sizeof *s->groups;
    s->codes = memory + at;
    return at + SLAB * n;
}

/* Group k of a row. */
static bool fit_group(const matrix *m, size_t k, const float *x, const slab *s, pare_group *group, uint8_t *codes)
{
    const float *weight = m->has_importance ? s->column + k * m->group : NULL;
    const pare_path_table *path = pare_path_now();
    const pare_group_shape *shape = &m->g->settings->shape;
    if (m->squares != NULL)
        return pare_group_clip(shape, x, m->squares + k * pare_panel_floats(m->group), m->group, s->scratch, group,
                               codes);
    if (m->g->settings->method < PARE_GROUP_SEARCH)
        return path->group_round(shape, x, m->group, group, codes);
    return path->group_fit(shape, x, weight, m->group, group, codes);
}

static pare_status fit_row(const matrix *m, uint64_t row, const slab *s, size_t i, pare_error *err)
{
    size_t n = (size_t)m->source->row_len, groups = n / m->group;
    const float *x = s->x + i * n;
    size_t bad = pare_path_now()->find_above(x, n, FLT_MAX);
    if (bad < n)
        return pare_fail(err, PARE_ERR_NUMBER,
                         "tensor '%s': row %" PRIu64 ", column %zu holds a weight that is not finite", m->source->name,
                         row, bad);
    for (size_t k = 0; k < groups; k++) {
        if (!fit_group(m, k, x + k * m->group, s, &s->groups[i * groups + k], s->codes + i * n + k * m->group))
            return pare_fail(err, PARE_ERR_NUMBER,
                             "tensor '%s': row %" PRIu64 ": the weights from column %zu on are too large for a "
                             "binary16 scale",
                             m->source->name, row, k * m->group);
    }
    return PARE_OK;
}

static void put_row(const matrix *m, const pare_grouped *rows, size_t i, float *y, uint8_t *dst)
{
    const pare_type_info *info = pare_type_get(m->to->type);
    int16_t block[PARE_INT_BLOCK_MAX];
    if (m->to->type == PARE_TYPE_F32) {
        pare_group_decode(rows, i, y);
        memcpy(dst, y, rows->n * sizeof *y);
        return;
    }
    for (size_t c = 0; c < rows->n; c += info->block_len, dst += info->block_bytes) {
        const pare_group *g = &rows->groups[i * (rows->n / rows->group) + c / rows->group];
        for (size_t k = 0; k < info->block_len; k++)
            block[k] = (int16_t)(rows->codes[i * rows->n + c + k] - g->zero);
        pare_int_block_put(m->to->type, block, g->d, dst);
    }
}

static const float *divisor_of(const matrix *m, uint64_t expert)
{
    return m->divisor != NULL ? m->divisor + expert * m->source->row_len : NULL;
}

/* What is known of an expert's inputs: s->column and, against those of all experts, s->factor. */
static void weigh(const matrix *m, uint64_t expert, const slab *s)
{
    if (!m->has_importance)
        return;
    const float *divisor = divisor_of(m, expert);
    pare_imatrix_importance(&m->importance, expert, m->pooled, s->column);
    for (size_t i = 0; i < m->source->row_len; i++) {
        s->factor[i] = pare_expert_factor(s->column[i], m->pooled[i]); /* of matrices whose inputs nothing divides */
        s->column[i] /= divisor != NULL ? divisor[i] * divisor[i] : 1;
    }
}

static pare_status choose_slab(const matrix *m, size_t at, const slab *s, pare_error *err)
{
    uint64_t expert = at / m->slabs, first = at % m->slabs * SLAB, left = m->in_expert - first;
    uint64_t n_rows = left < SLAB ? left : SLAB, row = expert * m->in_expert + first;
    pare_grouped rows = {.n = (size_t)m->source->row_len,
                         .group = m->group,
                         .shape = m->g->settings->shape,
                         .x = s->x,
                         .groups = s->groups,
                         .codes = s->codes};
    weigh(m, expert, s);
    pare_status st = pare_tensor_read_f32(m->source, row, n_rows, s->x, err);
    for (uint64_t i = 0; i < n_rows && st == PARE_OK; i++)
        st = fit_row(m, row + i, s, (size_t)i, err);
    if (st != PARE_OK)
        return st;
    bool own = m->has_importance && m->importance.n_experts > 1 && !m->form_of_expert;
    if (m->form != NULL)
        pare_group_feedback(m->form, &rows, (size_t)n_rows, own ? s->factor : NULL, sweeps[m->g->settings->effort],
                            s->scratch, &m->before[at], &m->after[at]);
    for (uint64_t i = 0; i < n_rows; i++)
        put_row(m, &rows, (size_t)i, s->column, m->to->to + (row + i) * m->to->row_bytes);
    pare_tensor_release(m->source, row, n_rows);
    return PARE_OK;
}

static pare_status choose_part(size_t i, int thread, void *ctx, pare_error *err)
{
    const matrix *m = ctx;
    size_t at = m->first + i;
    slab s;
    (void)thread;
    size_t bytes = lay_out(m, NULL, &s);
    uint8_t *memory = pare_scratch_alloc(bytes);
    if (memory == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for rows of %" PRIu64 " weights",
                         m->source->name, m->source->row_len);
    lay_out(m, memory, &s);
    pare_status st = pare_check_interrupt(err);
    if (st == PARE_OK)
        st = choose_slab(m, at, &s, err);
    pare_scratch_free(memory, bytes);
    return st;
}

/* What feedback left of the error, into the plan and the report. */
static void note(grouping *g, const pare_tensor *t, const matrix *m, uint64_t n)
{
    double before = 0, after = 0;
    for (uint64_t i = 0; i < n; i++) {
        before += m->before[i];
        after += m->after[i];
    }
    for (size_t i = 0; i < g->plan->n; i++)
        if (strcmp(g->plan->rows[i].name, t->name) == 0)
            g->plan->rows[i].feedback = before > 0 ? after / before : 0;
    g->report->n_feedback++;
    g->log_ratio += before > 0 && after > 0 ? log(after / before) : 0;
}

static pare_status choose_expert(matrix *m, uint64_t expert, pare_error *err)
{
    m->form_of_expert = true;
    m->first = (size_t)(expert * m->slabs);
    return pare_parallel((size_t)m->slabs, choose_part, m, err);
}

/* With feedback; an expert whose products have no factor is named. gram: of its inputs as they were. */
static pare_status feed_expert(matrix *m, uint64_t expert, const pare_gram *gram, pare_error *err)
{
    pare_gram scaled;
    pare_form form = {0};
    pare_error why = {0};
    uint8_t *lower = NULL;
    const bool named = strcmp(gram->name, m->source->name) == 0; /* by the error of its products */
    pare_status st = scale_gram(gram, divisor_of(m, expert), &scaled, &lower, err);
    if (st != PARE_OK)
        return st;
    st = pare_form_open(&form, &scaled, m->g->settings->imatrix->path, 1, DAMPING, &why);
    free(lower);
    m->form = st == PARE_OK ? &form : NULL;
    if (st == PARE_ERR_RANGE)
        st = pare_warn(err, "%s; expert %" PRIu64 "%s%s is packed without feedback", why.text, expert,
                       named ? "" : " of ", named ? "" : m->source->name);
    else if (st != PARE_OK)
        return pare_fail(err, st, "%s", why.text);
    if (st == PARE_OK)
        st = choose_expert(m, expert, err);
    pare_form_close(&form);
    return st;
}

static pare_status clip_expert(matrix *m, uint64_t expert, const pare_gram *gram, pare_error *err)
{
    float *squares = NULL;
    pare_status st = make_squares(m->g, gram, divisor_of(m, expert), &squares, err);
    m->squares = squares;
    if (st == PARE_OK)
        st = choose_expert(m, expert, err);
    free(squares);
    return st;
}

/* Each expert under the form of its own inputs. */
static pare_status choose_experts(matrix *m, pare_expert_grams *own, pare_error *err)
{
    const bool clip = m->g->settings->method == PARE_GROUP_CLIP;
    pare_status st = PARE_OK;
    for (uint64_t e = 0; e < own->all->n_experts && st == PARE_OK; e++) {
        pare_gram gram;
        st = pare_expert_grams_make(own, e, &gram, err);
        if (st == PARE_OK)
            st = clip ? clip_expert(m, e, &gram, err) : feed_expert(m, e, &gram, err);
    }
    return st;
}

static pare_status choose_matrix(grouping *g, size_t index, const inputs *in, pare_error *err)
{
    pare_tensor *t = &g->out->tensors[index];
    choice *c = &g->choices[index];
    matrix m = {.g = g,
                .source = t->base,
                .to = c,
                .form = in->form,
                .squares = c->whole ? NULL : in->squares,
                .divisor = g->settings->fold != NULL ? pare_fold_scale(g->settings->fold, t->name) : NULL,
                .group = (size_t)(g->settings->group > 0 ? (uint64_t)g->settings->group : t->row_len)};
    if (g->settings->each != NULL)
        g->settings->each(g->done, g->n, t->name, g->settings->user);
    m.has_importance = pare_calibration_find(g->settings->imatrix, t, &m.importance);
    m.in_expert = t->n_rows / (t->n_dims == 3 ? t->dim[0] : 1);
    m.slabs = (m.in_expert + SLAB - 1) / SLAB;
    size_t n = (size_t)(t->n_rows / m.in_expert * m.slabs);
    m.pooled = malloc((size_t)t->row_len * sizeof *m.pooled);
    m.before = calloc(n, sizeof *m.before); /* bounded by the rows of the tensor */
    m.after = calloc(n, sizeof *m.after);
    pare_status st = PARE_OK;
    if (m.pooled == NULL || m.before == NULL || m.after == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for its statistics", t->name);
    else
        m.has_importance = m.has_importance && pare_imatrix_pooled(&m.importance, m.pooled);
    if (st == PARE_OK)
        st = in->own != NULL ? choose_experts(&m, in->own, err) : pare_parallel(n, choose_part, &m, err);
    if (st == PARE_OK && (in->form != NULL || in->own != NULL) && g->settings->method == PARE_GROUP_FEEDBACK)
        note(g, t, &m, n);
    if (st == PARE_OK)
        st = pare_derive_store(t, c->type, c->to, err);
    c->done = true;
    g->done++;
    g->report->n_tensors++;
    free(m.pooled);
    free(m.before);
    free(m.after);
    return st;
}

/* ---- which matrices ---- */

/* Whether the columns of the weight are those that the Hub has, in whose groups it is packed. */
static bool has_hub_columns(const pare_arch_weight *w, const pare_tensor *t, const pare_hparams *hp, int64_t group)
{
    bool stacked = t->n_dims == 3;
    if (w->map == PARE_MAP_LATENT_K || w->map == PARE_MAP_LATENT_V || stacked != (w->map == PARE_MAP_STACK))
        return false;
    if (!hp->linear.tiled || !pare_arch_has_value_heads(w, true))
        return true;
    return group > 0 && hp->linear.head_dim_v % (uint64_t)group == 0; /* heads move as wholes */
}

static void choose_weight(grouping *g, const pare_arch_weight *w, uint32_t layer)
{
    const pare_group_settings *s = g->settings;
    const pare_tensor *t = pare_model_weight(g->out, w->id, layer, "weight");
    pare_imatrix_entry e;
    char name[NAME_BYTES];
    if (t == NULL || t->packed || t->factor != NULL || t->n_rows < 2 ||
        (pare_type_get(t->type)->traits & PARE_TRAIT_INTEGER) ||
        !pare_preset_quantizes(g->out->arch->name, pare_weight_name(name, sizeof name, w->id, 0, "weight"), 2) ||
        (w->flags & PARE_NO_SUFFIX) || !has_hub_columns(w, t, &g->out->hp, s->group))
        return;
    if (s->method >= PARE_GROUP_SEARCH && !pare_calibration_find(s->imatrix, t, &e))
        return;
    choice *c = &g->choices[t - g->out->tensors];
    const pare_gram *gram = s->imatrix != NULL ? pare_grams_find(&s->imatrix->grams, t->name) : NULL;
    c->chosen = true;
    c->whole = w->id == PARE_W_ATTN_Q || w->id == PARE_W_ATTN_K || w->id == PARE_W_ATTN_QKV;
    bool of_experts = gram != NULL && gram->n_experts > 1;
    if (gram != NULL && gram->n_columns == t->row_len && (!of_experts || gram->n_experts == pare_tensor_matrices(t)))
        c->gram = gram;
}

/* Runtimes unite matrices with the same inputs, and take them all packed or all as floats. */
static void leave_unfit(grouping *g)
{
    for (size_t i = 0; i < g->out->n_tensors; i++) {
        choice *c = &g->choices[i];
        if (!c->chosen || g->settings->fits(&g->out->tensors[i], g->settings->format))
            continue;
        for (size_t k = 0; c->gram != NULL && k < g->out->n_tensors; k++)
            g->choices[k].chosen = g->choices[k].chosen && g->choices[k].gram != c->gram;
        c->chosen = false;
    }
}

/* The block type that holds what a matrix becomes, and its bytes. */
static pare_status place_all(grouping *g, pare_spool *spool, pare_error *err)
{
    const pare_group_shape *shape = &g->settings->shape;
    int top = (1 << shape->bits) - 1;
    uint64_t bytes = 0;
    for (size_t i = 0; i < g->out->n_tensors; i++) {
        const pare_tensor *t = &g->out->tensors[i];
        choice *c = &g->choices[i];
        if (!c->chosen)
            continue;
        uint64_t run = g->settings->group > 0 ? (uint64_t)g->settings->group : t->row_len;
        c->type = pare_int_block_type(-shape->zero_high, top - shape->zero_low, t->row_len, run);
        c->type = c->type != PARE_TYPE_NONE ? c->type : PARE_TYPE_F32;
        if (!pare_row_bytes(c->type, t->row_len, &c->row_bytes) || c->row_bytes > (UINT64_MAX - bytes) / t->n_rows)
            return pare_fail(err, PARE_ERR_RANGE, "tensor '%s': too large", t->name);
        bytes += c->row_bytes * t->n_rows; /* all of them: the sum of parts of one file */
        g->n++;
    }
    pare_status st = pare_spool_open(spool, g->settings->output, bytes, err);
    uint8_t *at = spool->data;
    for (size_t i = 0; i < g->out->n_tensors && st == PARE_OK; i++)
        if (g->choices[i].chosen) {
            g->choices[i].to = at;
            at += g->choices[i].row_bytes * g->out->tensors[i].n_rows;
        }
    return st;
}

/* ---- all of them ---- */

static pare_status choose_some(grouping *g, const pare_gram *gram, const inputs *in, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < g->out->n_tensors && st == PARE_OK; i++)
        if (g->choices[i].chosen && !g->choices[i].done && (gram == NULL || g->choices[i].gram == gram))
            st = choose_matrix(g, i, in, err);
    return st;
}

static pare_status without(grouping *g, const pare_gram *gram, const char *why, pare_error *err)
{
    uint32_t n = 0;
    for (size_t i = 0; i < g->out->n_tensors; i++)
        n += g->choices[i].chosen && g->choices[i].gram == gram;
    g->report->n_without += n;
    pare_status st = pare_calibration_warn_without(g->settings->imatrix, gram, why, n, "packed", err);
    return st == PARE_OK ? choose_some(g, gram, &(const inputs){0}, err) : st;
}

static void release(const pare_gram *gram)
{
    uint64_t bytes = 0;
    if (pare_gram_all_bytes(gram, &bytes))
        pare_map_release(gram->lower, (size_t)bytes);
}

/* The matrices whose experts have products of their own. */
static pare_status choose_own(grouping *g, const pare_gram *gram, pare_error *err)
{
    const pare_imatrix *im = g->settings->imatrix;
    pare_expert_grams own;
    pare_error why = {0};
    pare_status st = pare_expert_grams_open(&own, gram, pare_imatrix_find(im, gram->name), im->path, &why);
    if (st == PARE_ERR_RANGE && g->settings->method == PARE_GROUP_CLIP)
        return PARE_OK; /* rounded with all others, later */
    if (st == PARE_ERR_RANGE)
        return without(g, gram, why.text, err);
    if (st != PARE_OK)
        return pare_fail(err, st, "%s", why.text);
    st = choose_some(g, gram, &(const inputs){.own = &own}, err);
    pare_expert_grams_close(&own);
    release(gram);
    return st;
}

static pare_status choose_with_feedback(grouping *g, const pare_gram *gram, const float *divisor, pare_error *err)
{
    pare_form form;
    pare_gram scaled;
    uint8_t *lower = NULL;
    pare_error why = {0};
    if (gram->count < (double)gram->n_columns)
        return without(g, gram, NULL, err);
    if (gram->n_experts > 1)
        return choose_own(g, gram, err);
    pare_status st = scale_gram(gram, divisor, &scaled, &lower, err);
    if (st == PARE_OK) {
        st = pare_form_open(&form, &scaled, g->settings->imatrix->path, 1, DAMPING, &why);
        free(lower);
        if (st == PARE_ERR_RANGE)
            return without(g, gram, why.text, err);
        if (st != PARE_OK)
            return pare_fail(err, st, "%s", why.text);
        st = choose_some(g, gram, &(const inputs){.form = &form}, err);
        pare_form_close(&form);
    }
    release(gram);
    return st;
}

static pare_status choose_clipped(grouping *g, const pare_gram *gram, const float *divisor, pare_error *err)
{
    uint64_t group = (uint64_t)g->settings->group;
    float *squares = NULL;
    if (group % PARE_PANEL != 0 || gram->n_columns % group != 0)
        return PARE_OK; /* rounded with all others, later */
    if (gram->n_experts > 1)
        return choose_own(g, gram, err);
    pare_status st = make_squares(g, gram, divisor, &squares, err);
    if (st == PARE_OK)
        st = choose_some(g, gram, &(const inputs){.squares = squares}, err);
    free(squares);
    release(gram);
    return st;
}

static pare_status choose_gram(grouping *g, const pare_gram *gram, pare_error *err)
{
    const pare_group_settings *s = g->settings;
    const float *divisor = s->fold != NULL ? pare_fold_scale(s->fold, gram->name) : NULL;
    bool any = false;
    for (size_t i = 0; i < g->out->n_tensors; i++)
        any = any || (g->choices[i].chosen && g->choices[i].gram == gram);
    if (!any)
        return PARE_OK;
    return s->method == PARE_GROUP_CLIP ? choose_clipped(g, gram, divisor, err)
                                        : choose_with_feedback(g, gram, divisor, err);
}

static pare_status choose_all(grouping *g, pare_spool *spool, pare_error *err)
{
    const pare_arch *arch = g->out->arch;
    for (size_t i = 0; i < arch->n_weights; i++)
        for (uint32_t layer = 0; pare_weight_per_layer(arch->weights[i].id) && layer < g->out->hp.n_layer; layer++)
            choose_weight(g, &arch->weights[i], layer);
    leave_unfit(g);
    pare_status st = place_all(g, spool, err);
    const pare_grams *grams = g->settings->imatrix != NULL ? &g->settings->imatrix->grams : NULL;
    pare_group_method method = g->settings->method;
    bool squares = (method == PARE_GROUP_FEEDBACK || method == PARE_GROUP_CLIP) && grams != NULL;
    for (size_t i = 0; squares && i < grams->n && st == PARE_OK; i++)
        st = choose_gram(g, &grams->list[i], err);
    if (st == PARE_OK)
        st = choose_some(g, NULL, &(const inputs){0}, err);
    if (st == PARE_OK && g->n > 0 && g->settings->each != NULL)
        g->settings->each(g->n, g->n, "", g->settings->user);
    return st;
}

pare_status pare_group_choose(pare_model *out, pare_plan *plan, const pare_group_settings *settings, pare_spool *spool,
                              pare_group_report *report, pare_error *err)
{
    grouping g = {.out = out, .plan = plan, .settings = settings, .report = report};
    *report = (pare_group_report){.mean_ratio = NAN};
    *spool = (pare_spool){0};
    if (out->arch == NULL || (settings->imatrix == NULL && settings->method != PARE_GROUP_RTN))
        return PARE_OK; /* nothing is known that the writer does not know */
    bool check = settings->imatrix != NULL && settings->fold == NULL;
    pare_status st = check ? pare_calibration_check(settings->imatrix, out->source, err) : PARE_OK;
    if (st == PARE_OK && (g.choices = calloc(out->n_tensors + 1, sizeof *g.choices)) == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tensors", out->n_tensors);
    if (st == PARE_OK)
        st = choose_all(&g, spool, err);
    if (report->n_feedback > 0)
        report->mean_ratio = exp(g.log_ratio / report->n_feedback);
    free(g.choices);
    return st;
}
