#include "cmd/kv_run.h"
#include "cmd/fit_plan.h"
#include "core/progress.h"

#include <stdlib.h>

static void show(uint32_t n_done, uint32_t n_all, void *user)
{
    pare_progress("windows", n_done, n_all, user);
}

static void show_needles(uint32_t n_done, uint32_t n_all, void *user)
{
    pare_progress("haystacks", n_done, n_all, user);
}

const pare_eval_result *cmd_kv_result(const cmd_kv_run *r, size_t depth, size_t form)
{
    return &r->results[depth * r->request.n_forms + form];
}

const pare_needle_cell *cmd_kv_needles(const cmd_kv_run *r, size_t depth, size_t row)
{
    return &r->needles[(depth * (1 + r->request.n_forms) + row) * CMD_KV_NEEDLE_DEPTHS];
}

/* The forms as eval/ wants them; owned by the caller. */
static pare_status plain_forms(const cmd_kv_run *r, pare_kv_form **out, pare_error *err)
{
    pare_kv_form *forms = *out = malloc((r->request.n_forms + 1) * sizeof *forms);
    if (forms == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu caches", r->request.n_forms);
    for (size_t i = 0; i < r->request.n_forms; i++)
        forms[i] = r->request.forms[i].form;
    return PARE_OK;
}

static uint32_t batch_of(const cmd_kv_run *r)
{
    return r->b->batch_tokens;
}

static pare_status take_means(cmd_kv_run *r, pare_error *err)
{
    const pare_window_plan plan = {.n_ctx = r->request.depths[0],
                                   .n_chunks = (uint32_t)cmd_number(r->args, OPT_CHUNKS),
                                   .batch_tokens = batch_of(r)};
    if (r->mean_ids == NULL)
        return PARE_OK;
    r->means = calloc((size_t)r->m->hp.n_layer * pare_kv_mean_width(r->m) + 1, sizeof *r->means);
    if (r->means == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for means of keys");
    for (size_t i = 0; i < r->request.n_forms; i++)
        if (r->request.forms[i].has_mean)
            r->request.forms[i].form.key_mean = r->means;
    pare_status st = pare_kv_means(r->m, r->b, r->mean_ids->ids, r->mean_ids->n, r->bos, &plan, r->means, err);
    for (size_t i = 0; i < r->request.n_forms && st == PARE_OK; i++)
        st = pare_kv_check(&r->request.forms[i].form, r->m, err);
    return st;
}

static pare_status calibrate(cmd_kv_run *r, pare_error *err)
{
    const size_t n = r->request.n_forms;
    pare_kv_form **forms = malloc((n + 1) * sizeof *forms);
    if (forms == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu caches", n);
    for (size_t i = 0; i < n; i++)
        forms[i] = &r->request.forms[i].form;
    pare_status st = cmd_cache_calibrate(&r->cache_text, r->args, r->m, r->b, r->tokenizer, r->bos,
                                         r->request.depths[r->request.n_depths - 1], forms, n, err);
    free(forms);
    return st;
}

static pare_status sweep(cmd_kv_run *r, const pare_kv_form *forms, pare_error *err)
{
    const size_t n = r->request.n_forms;
    pare_status st = PARE_OK;
    r->results = calloc(r->request.n_depths * n + 1, sizeof *r->results);
    if (r->results == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for figures of %zu caches", n);
    for (size_t d = 0; d < r->request.n_depths && st == PARE_OK; d++) {
        char what[32];
        snprintf(what, sizeof what, "of %u tokens", (unsigned)r->request.depths[d]);
        const pare_kv_sweep_job job = {.m = r->m,
                                       .b = r->b,
                                       .ids = r->ids->ids,
                                       .n = r->ids->n,
                                       .bos = r->bos,
                                       .windows = {.n_ctx = r->request.depths[d],
                                                   .n_chunks = (uint32_t)cmd_number(r->args, OPT_CHUNKS),
                                                   .batch_tokens = batch_of(r)},
                                       .forms = forms,
                                       .n_forms = n,
                                       .seed = cmd_number(r->args, OPT_SEED),
                                       .each = show,
                                       .user = what};
        st = pare_kv_sweep(&job, r->results + d * n, err);
    }
    return st;
}

static pare_status look_at_heads(cmd_kv_run *r, pare_error *err)
{
    const pare_kv_text text = {.m = r->m,
                               .b = r->b,
                               .ids = r->ids->ids,
                               .n = r->ids->n,
                               .bos = r->bos,
                               .windows = {.n_ctx = r->request.depths[0],
                                           .n_chunks = (uint32_t)cmd_number(r->args, OPT_HEADS),
                                           .batch_tokens = batch_of(r)}};
    r->heads = calloc(r->request.n_forms + 1, sizeof *r->heads);
    if (r->heads == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for errors of heads");
    pare_status st = pare_key_heads_measure(&r->keys, &text, err);
    for (size_t i = 0; i < r->request.n_forms && st == PARE_OK; i++) {
        pare_progress("caches", i, r->request.n_forms, "heads");
        if ((st = pare_check_interrupt(err)) == PARE_OK)
            st = pare_head_errors_measure(&r->heads[i], &text, &r->request.forms[i].form, err);
    }
    return st;
}

static pare_needle_job needle_job(const cmd_kv_run *r, size_t d, const pare_kv_form *forms)
{
    return (pare_needle_job){.m = r->m,
                             .b = r->b,
                             .tokenizer = r->tokenizer,
                             .bos = r->bos,
                             .ids = r->ids->ids,
                             .n = r->ids->n,
                             .n_ctx = r->request.depths[d],
                             .n_depths = CMD_KV_NEEDLE_DEPTHS,
                             .n_keys = r->n_keys,
                             .seed = cmd_number(r->args, OPT_SEED),
                             .forms = forms,
                             .n_forms = r->request.n_forms};
}

/* Which lengths have room for a key. */
static pare_status plan_needles(cmd_kv_run *r, pare_error *err)
{
    uint32_t least = 0;
    r->n_keys = (uint32_t)cmd_number(r->args, OPT_NEEDLE);
    if (r->n_keys == 0)
        return PARE_OK;
    const pare_needle_job job = needle_job(r, 0, NULL);
    pare_status st = pare_needle_least(&job, &least, err);
    while (st == PARE_OK && r->first_needle < r->request.n_depths && r->request.depths[r->first_needle] < least)
        r->first_needle++;
    if (st == PARE_OK && r->first_needle == r->request.n_depths)
        return pare_fail(err, PARE_ERR_USAGE,
                         "kv: --needle: key, question and a token of text take %u tokens, and --depths ends at %u",
                         (unsigned)least, (unsigned)r->request.depths[r->request.n_depths - 1]);
    return st;
}

static pare_status look_for_needles(cmd_kv_run *r, const pare_kv_form *forms, pare_error *err)
{
    const size_t n_cells = (1 + r->request.n_forms) * CMD_KV_NEEDLE_DEPTHS;
    pare_status st = PARE_OK;
    if (r->n_keys == 0)
        return PARE_OK;
    r->needles = calloc(r->request.n_depths * n_cells, sizeof *r->needles);
    if (r->needles == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for needles");
    for (size_t d = r->first_needle; d < r->request.n_depths && st == PARE_OK; d++) {
        char what[32];
        snprintf(what, sizeof what, "of %u tokens", (unsigned)r->request.depths[d]);
        pare_needle_job job = needle_job(r, d, forms);
        job.each = show_needles;
        job.user = what;
        st = pare_needle(&job, r->needles + d * n_cells, err);
    }
    return st;
}

/* The type that llama.cpp keeps it in; PARE_TYPE_NONE: it cannot. */
static pare_type type_of(const pare_kv_codec *c)
{
    return c->family == PARE_KV_PLAIN || c->family == PARE_KV_BLOCKS ? c->type : PARE_TYPE_NONE;
}

static pare_status one_context(const cmd_kv_run *r, const pare_memory_model *m, size_t form, uint64_t *out,
                               pare_error *err)
{
    const cmd_kv_form *f = &r->request.forms[form];
    const pare_type k = type_of(f->form.k), v = type_of(f->form.v);
    pare_place_query query;
    pare_error why = {0};
    *out = 0;
    if (f->programs[0] == '\0' || k == PARE_TYPE_NONE || v == PARE_TYPE_NONE)
        return PARE_OK;
    for (size_t i = 0; i < form; i++) { /* rotation takes no memory */
        const cmd_kv_form *other = &r->request.forms[i];
        if (other->programs[0] != '\0' && type_of(other->form.k) == k && type_of(other->form.v) == v) {
            *out = r->contexts[i];
            return PARE_OK;
        }
    }
    pare_context_answer *answer = malloc(sizeof *answer);
    if (answer == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a plan");
    cmd_fit_query(&query, &r->memory, m);
    query.run.cache_k = k;
    query.run.cache_v = v;
    pare_status st = pare_largest_context(&query, false, answer, &why);
    if (st == PARE_OK)
        *out = answer->n_ctx;
    else if (st != PARE_ERR_DIFFERENCE)
        *err = why;
    free(answer);
    return st == PARE_ERR_DIFFERENCE ? PARE_OK : st;
}

static pare_status plan_contexts(cmd_kv_run *r, pare_error *err)
{
    pare_memory_model m = {0};
    if (r->memory.n_devices == 0 && r->memory.ram == 0)
        return PARE_OK;
    r->contexts = calloc(r->request.n_forms + 1, sizeof *r->contexts);
    if (r->contexts == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for plans");
    pare_status st = pare_memory_model_of(&m, r->m, err);
    for (size_t i = 0; i < r->request.n_forms && st == PARE_OK; i++)
        st = one_context(r, &m, i, &r->contexts[i], err);
    pare_memory_model_close(&m);
    return st;
}

pare_status cmd_kv_measure(cmd_kv_run *r, pare_error *err)
{
    pare_kv_form *forms = NULL;
    pare_status st = plan_contexts(r, err); /* first: it takes no time, and a mistake there neither */
    if (st == PARE_OK)
        st = plan_needles(r, err);
    if (st == PARE_OK)
        st = take_means(r, err);
    if (st == PARE_OK)
        st = calibrate(r, err);
    if (st == PARE_OK)
        st = plain_forms(r, &forms, err);
    if (st == PARE_OK)
        st = sweep(r, forms, err);
    if (st == PARE_OK)
        st = look_at_heads(r, err);
    if (st == PARE_OK)
        st = look_for_needles(r, forms, err);
    free(forms);
    return st;
}

void cmd_kv_run_close(cmd_kv_run *r)
{
    for (size_t i = 0; i < r->request.n_forms && r->heads != NULL; i++)
        pare_head_errors_close(&r->heads[i]);
    free(r->heads);
    pare_key_heads_close(&r->keys);
    free(r->results);
    free(r->needles);
    free(r->contexts);
    free(r->means);
    cmd_cache_text_close(&r->cache_text);
    cmd_fit_request_close(&r->memory);
    cmd_kv_request_close(&r->request);
    *r = (cmd_kv_run){0};
}
