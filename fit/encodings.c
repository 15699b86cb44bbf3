#include "fit/encodings.h"

#include "core/threads.h"
#include "recipe/derive.h"
#include "recipe/refine.h"
#include "recipe/refine_key.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* All tensors in one type. */
typedef struct pare_encodings_type {
    pare_type type;
    pare_model out;
    pare_plan plan;
    pare_state state;
    pare_state rest;              /* of tensors that are encoded without feedback */
    pare_type_override *override; /* of tensors that may not have the type: they stay */
    size_t n_overrides;
} one_type;

/* One want. */
typedef struct making {
    const pare_encodings_options *options;
    pare_encodings *e;
    pare_type type;
    one_type *slot; /* where it goes */
    bool *wanted;   /* [n_tensors] owned, with what was there */
    pare_buf path;  /* of the state, without its ending */
    pare_quantize_options how;
    pare_refine_settings settings;
} making;

pare_status pare_pattern_of_name(char **out, const char *name, pare_error *err)
{
    static const char special[] = "\\^$.[]|()?*+{}";
    pare_buf text = {0};
    pare_status st = pare_buf_puts(&text, "^", err);
    for (const char *c = name; *c != '\0' && st == PARE_OK; c++) {
        if (strchr(special, *c) != NULL)
            st = pare_buf_put(&text, "\\", 1, err);
        if (st == PARE_OK)
            st = pare_buf_put(&text, c, 1, err);
    }
    if (st == PARE_OK)
        st = pare_buf_puts(&text, "$", err);
    *out = text.data;
    return st;
}

static bool is_allowed(const pare_encodings_options *o, size_t tensor, pare_type type)
{
    uint64_t bytes;
    return o->allowed[tensor * PARE_TYPE_COUNT + (size_t)type] &&
           pare_row_bytes(type, o->model->tensors[tensor].row_len, &bytes);
}

/* Tensors that do not get the type keep theirs. */
static pare_status list_overrides(one_type *t, const making *m, pare_error *err)
{
    const pare_model *in = m->options->model;
    t->override = calloc(in->n_tensors + 1, sizeof *t->override);
    pare_status st =
        t->override != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tensors", in->n_tensors);
    for (size_t i = 0; i < in->n_tensors && st == PARE_OK; i++) {
        const pare_tensor *s = &in->tensors[i];
        char *pattern = NULL;
        if (is_allowed(m->options, i, m->type) || (pare_type_get(s->type)->traits & PARE_TRAIT_INTEGER) != 0 ||
            !pare_preset_quantizes(in->arch->name, s->name, s->n_dims))
            continue;
        if ((st = pare_pattern_of_name(&pattern, s->name, err)) == PARE_OK)
            t->override[t->n_overrides++] = (pare_type_override){pattern, s->type};
    }
    return st;
}

static void tell(const pare_refine_progress *p, void *user)
{
    const making *m = user;
    if (m->options->each != NULL)
        m->options->each(p->part, p->tensor, m->type, m->options->user);
}

/* t: of the type's model. */
static bool wants(const pare_tensor *t, void *user)
{
    const making *m = user;
    const pare_tensor *source = pare_model_find(m->options->model, t->name);
    return source != NULL && m->wanted[source - m->options->model->tensors];
}

static pare_status derive(one_type *t, const making *m, pare_error *err)
{
    const pare_encodings_options *o = m->options;
    const pare_quantize_options options = {.pure_type = t->type,
                                           .output_type = PARE_TYPE_NONE,
                                           .embedding_type = PARE_TYPE_NONE,
                                           .overrides = t->override,
                                           .n_overrides = t->n_overrides,
                                           .imatrix = o->imatrix,
                                           .effort = o->effort,
                                           .allow_requantize = o->allow_requantize,
                                           .no_factors = true,
                                           .measured = true};
    return pare_quantize(&t->out, o->model, &options, &t->plan, err);
}

/* What feedback is to do for it. */
static pare_refine_job job_of(making *m)
{
    const pare_encodings_options *o = m->options;
    m->how =
        (pare_quantize_options){.imatrix = o->imatrix, .effort = o->effort, .allow_requantize = o->allow_requantize};
    m->settings = (pare_refine_settings){.output = m->path.data,
                                         .about = o->about,
                                         .resume = true,
                                         .lenient = true,
                                         .quiet = true,
                                         .wants = wants,
                                         .each = tell,
                                         .user = m};
    return (pare_refine_job){.out = &m->slot->out,
                             .options = &m->how,
                             .plan = &m->slot->plan,
                             .settings = &m->settings,
                             .state = &m->slot->state};
}

static void note(pare_encodings *e, const pare_refine_report *report)
{
    if (report->n_without > e->n_without) {
        e->n_without = report->n_without;
        snprintf(e->without, sizeof e->without, "%s", report->without);
    }
    e->n_taken += report->n_resumed;
    e->n_encoded += report->n_tensors - report->n_resumed;
}

typedef struct reading {
    const pare_tensor *t;
    uint8_t *to;
} reading;
enum { READ_ROWS = 64 };

static pare_status read_part(size_t i, int thread, void *ctx, pare_error *err)
{
    const reading *r = ctx;
    const uint64_t row = (uint64_t)i * READ_ROWS, left = r->t->n_rows - row;
    (void)thread;
    return pare_tensor_read(r->t, row, left < READ_ROWS ? left : READ_ROWS, r->to + row * r->t->row_bytes, err);
}

static bool lacks_bytes(const pare_tensor *t, const pare_tensor *source)
{
    return t->type != source->type && pare_type_get(t->type)->block_len > 1 && !pare_derive_is_stored(t);
}

/* Tensors that feedback did not encode, and the state that keeps them. */
typedef struct leftover {
    size_t *at;     /* [n] their numbers in the source */
    uint64_t *size; /* [n] */
    size_t n;
    pare_buf text, path;
} leftover;

static pare_status list_rest(leftover *l, const one_type *t, const making *m, pare_error *err)
{
    const pare_model *in = m->options->model;
    const char *about = m->options->about != NULL ? m->options->about : "";
    l->at = calloc(in->n_tensors + 1, sizeof *l->at);
    l->size = calloc(in->n_tensors + 1, sizeof *l->size);
    if (l->at == NULL || l->size == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tensors", in->n_tensors);
    pare_status st = pare_buf_printf(&l->path, err, "%s.searched", m->path.data);
    if (st == PARE_OK)
        st = pare_buf_puts(&l->text, about, err);
    for (size_t i = 0; i < in->n_tensors && st == PARE_OK; i++) {
        const pare_tensor *made = pare_model_find(&t->out, in->tensors[i].name);
        if (made == NULL || !m->wanted[i] || !lacks_bytes(made, &in->tensors[i]))
            continue;
        l->at[l->n] = i;
        l->size[l->n++] = made->n_bytes;
        st = pare_buf_printf(&l->text, err, "tensor %s %s %llu x %llu\n", made->name, pare_type_get(made->type)->name,
                             (unsigned long long)made->n_rows, (unsigned long long)made->row_len);
    }
    return st;
}

/* That of an earlier run, unless it is of something else. */
static pare_status open_rest(const leftover *l, one_type *t, pare_error *err)
{
    pare_error why = {0};
    pare_status st = pare_state_open(&t->rest, l->path.data, l->text.data, l->n, l->size, true, &why);
    if (st == PARE_ERR_USAGE || st == PARE_ERR_FORMAT) {
        pare_state_close(&t->rest);
        return pare_state_open(&t->rest, l->path.data, l->text.data, l->n, l->size, false, err);
    }
    if (st != PARE_OK)
        *err = why;
    return st;
}

static pare_plan_row *row_of(one_type *t, const char *name)
{
    for (size_t k = 0; k < t->plan.n; k++)
        if (strcmp(t->plan.rows[k].name, name) == 0)
            return &t->plan.rows[k];
    return NULL;
}

/* The i-th that feedback did not encode: taken over, or searched now, so that no pass does it again. */
static pare_status encode_searched(one_type *t, const making *m, const leftover *l, size_t i, pare_error *err)
{
    const pare_tensor *made = pare_model_find(&t->out, m->options->model->tensors[l->at[i]].name);
    pare_plan_row *row = row_of(t, made->name);
    pare_state_key key;
    pare_error why = {0};
    bool found = false;
    pare_status st = pare_refine_key(&key, made, m->options->imatrix, NULL, err);
    if (st != PARE_OK)
        return st;
    st = pare_state_take(&t->rest, i, &key, made->name, row, &found, &why);
    if (st != PARE_OK && st != PARE_ERR_USAGE) { /* that one is of other weights: made anew */
        *err = why;
        return st;
    }
    st = PARE_OK;
    if (!found) {
        reading r = {made, pare_state_at(&t->rest, i)};
        st = pare_parallel((size_t)((made->n_rows + READ_ROWS - 1) / READ_ROWS), read_part, &r, err);
        if (st == PARE_OK)
            st = pare_state_keep(&t->rest, i, &key, row, err);
    }
    if (st == PARE_OK)
        pare_derive_restore(made, pare_state_at(&t->rest, i));
    m->e->n_taken += found;
    m->e->n_encoded += !found;
    return st;
}

static pare_status encode_rest(one_type *t, const making *m, pare_error *err)
{
    leftover l = {0};
    pare_status st = list_rest(&l, t, m, err);
    if (st == PARE_OK && l.n > 0)
        st = open_rest(&l, t, err);
    for (size_t i = 0; i < l.n && st == PARE_OK; i++)
        st = encode_searched(t, m, &l, i, err);
    pare_buf_close(&l.text);
    pare_buf_close(&l.path);
    free(l.at);
    free(l.size);
    return st;
}

static void close_type(one_type *t)
{
    pare_model_close(&t->out);
    pare_state_close(&t->state);
    pare_state_close(&t->rest);
    for (size_t i = 0; i < t->n_overrides; i++)
        free((char *)(uintptr_t)t->override[i].pattern);
    free(t->override);
    *t = (one_type){.type = t->type};
}

static pare_status add_lists(pare_encodings *e, const pare_model *in, pare_error *err)
{
    e->of = calloc(in->n_tensors + 1, sizeof *e->of);
    if (e->of == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tensors", in->n_tensors);
    for (size_t i = 0; i < in->n_tensors; i++) {
        pare_encoding *list = calloc(PARE_TYPE_COUNT, sizeof *list);
        if (list == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tensors", in->n_tensors);
        e->of[i].list = list;
    }
    return PARE_OK;
}

static void insert(pare_encoding_list *l, const pare_encoding *e)
{
    size_t at = l->n++;
    for (; at > 0 && l->list[at - 1].bytes > e->bytes; at--)
        l->list[at] = l->list[at - 1];
    l->list[at] = *e;
}

static void list_type(pare_encodings *e, const one_type *t, const making *m)
{
    const pare_model *in = m->options->model;
    for (size_t i = 0; i < in->n_tensors; i++) {
        const pare_tensor *made = pare_model_find(&t->out, in->tensors[i].name);
        if (made == NULL || made->type != t->type || !is_allowed(m->options, i, m->type) ||
            lacks_bytes(made, &in->tensors[i]))
            continue;
        pare_encoding one = {.type = t->type, .bytes = made->n_bytes, .form = NAN, .error = 0};
        for (size_t k = 0; k < t->plan.n; k++)
            if (strcmp(t->plan.rows[k].name, made->name) == 0) {
                one.form = t->plan.rows[k].form;
                one.error = t->plan.rows[k].error;
                one.weighted_error = t->plan.rows[k].weighted_error;
                one.feedback = t->plan.rows[k].feedback;
                one.lossless = t->plan.rows[k].lossless;
            }
        if (made->type != in->tensors[i].type)
            one.data = pare_derive_stored(made);
        insert(&e->of[i], &one);
    }
}

pare_status pare_encodings_open(pare_encodings *e, const pare_encodings_options *options, pare_error *err)
{
    *e = (pare_encodings){.types = calloc(PARE_TYPE_COUNT, sizeof *e->types), .options = options};
    pare_status st = e->types != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for types");
    return st == PARE_OK ? add_lists(e, options->model, err) : st;
}

/* The type as it is, forgotten but for its state; wanted [n_tensors]: what was there counts as wanted from now on. */
static void take_out(pare_encodings *e, one_type *t, bool *wanted)
{
    const pare_model *in = e->options->model;
    for (size_t i = 0; i < in->n_tensors; i++) {
        pare_encoding_list *l = &e->of[i];
        size_t n = 0;
        for (size_t k = 0; k < l->n; k++)
            if (l->list[k].type == t->type)
                wanted[i] = true;
            else
                l->list[n++] = l->list[k];
        l->n = n;
    }
    close_type(t);
}

/* The want's tensors, and where its type is to go; slot NULL: all of them are there. */
static pare_status look_up(making *m, const pare_encodings_want *want, pare_error *err)
{
    pare_encodings *e = want->e;
    const size_t n_tensors = e->options->model->n_tensors;
    bool more = false;
    *m = (making){.options = e->options, .e = e, .type = want->type};
    if ((m->wanted = calloc(n_tensors + 1, sizeof *m->wanted)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tensors", n_tensors);
    for (size_t i = 0; i < n_tensors; i++) {
        m->wanted[i] = want->wanted == NULL || want->wanted[i];
        more =
            more || (m->wanted[i] && is_allowed(e->options, i, m->type) && pare_encodings_find(e, i, m->type) == NULL);
    }
    for (size_t k = 0; k < e->n_types; k++)
        if (e->types[k].type == m->type)
            m->slot = &e->types[k];
    if (m->slot == NULL) {
        m->slot = &e->types[e->n_types++];
        m->slot->type = m->type;
    } else if (more) {
        take_out(e, m->slot, m->wanted);
    } else {
        m->slot = NULL;
    }
    return PARE_OK;
}

/* The type's model, with nothing encoded. */
static pare_status begin(making *m, pare_error *err)
{
    pare_status st = pare_buf_printf(&m->path, err, "%s/%s", m->options->folder, pare_type_get(m->type)->name);
    if (st == PARE_OK)
        st = list_overrides(m->slot, m, err);
    return st == PARE_OK ? derive(m->slot, m, err) : st;
}

static pare_status make_all(making *list, size_t n, pare_error *err)
{
    pare_refine_job *jobs = calloc(n + 1, sizeof *jobs);
    pare_status st = jobs != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu types", n);
    for (size_t k = 0; k < n && st == PARE_OK; k++) {
        st = begin(&list[k], err);
        jobs[k] = job_of(&list[k]);
    }
    if (st == PARE_OK)
        st = pare_refine_together(jobs, n, err);
    for (size_t k = 0; k < n && st == PARE_OK; k++) {
        note(list[k].e, &jobs[k].report);
        st = encode_rest(list[k].slot, &list[k], err);
    }
    for (size_t k = 0; k < n; k++)
        if (st == PARE_OK)
            list_type(list[k].e, list[k].slot, &list[k]);
        else
            close_type(list[k].slot);
    free(jobs);
    return st;
}

pare_status pare_encodings_add_all(const pare_encodings_want *wants_of, size_t n_wants, pare_error *err)
{
    making *list = calloc(n_wants + 1, sizeof *list);
    size_t n = 0;
    pare_status st = list != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu types", n_wants);
    for (size_t k = 0; k < n_wants && st == PARE_OK; k++) {
        st = look_up(&list[n], &wants_of[k], err);
        if (list[n].slot != NULL)
            n++;
        else
            free(list[n].wanted);
    }
    if (st == PARE_OK && n > 0)
        st = make_all(list, n, err);
    for (size_t k = 0; k < n; k++) {
        free(list[k].wanted);
        pare_buf_close(&list[k].path);
    }
    free(list);
    return st;
}

pare_status pare_encodings_add(pare_encodings *e, pare_type type, const bool *wanted, pare_error *err)
{
    return pare_encodings_add_all(&(pare_encodings_want){e, type, wanted}, 1, err);
}

void pare_encodings_close(pare_encodings *e)
{
    for (size_t k = 0; e->types != NULL && k < e->n_types; k++)
        close_type(&e->types[k]);
    for (size_t i = 0; e->of != NULL && e->of[i].list != NULL; i++)
        free(e->of[i].list);
    free(e->of);
    free(e->types);
    *e = (pare_encodings){0};
}

const pare_encoding *pare_encodings_find(const pare_encodings *e, size_t tensor, pare_type type)
{
    const pare_encoding_list *l = &e->of[tensor];
    for (size_t k = 0; k < l->n; k++)
        if (l->list[k].type == type)
            return &l->list[k];
    return NULL;
}
