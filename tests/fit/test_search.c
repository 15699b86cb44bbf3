/* Plans for the demo model within budgets of bytes: true in what they say, better than one type for all, and not
 * measured twice. */
#include "check.h"

#include "eval/measure.h"
#include "eval/tokenizer.h"
#include "fit/search_parts.h"
#include "formats/gguf.h"
#include "formats/open.h"
#include "recipe/derive.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CTX = 32, WINDOWS = 3 };
static const pare_type some[] = {PARE_TYPE_Q2_K, PARE_TYPE_Q4_0, PARE_TYPE_Q8_0};

typedef struct setup {
    pare_model m;
    pare_backend *b;
    pare_ids ids;
    char folder[512];
} setup;

static void open_setup(setup *s)
{
    size_t n;
    pare_tokenizer *tokenizer;
    pare_error err = {0};
    memset(s, 0, sizeof *s);
    CHECK_OK(pare_model_open(&s->m, source_path("tests/data/demo"), 0, &err), &err);
    CHECK_OK(pare_tokenizer_open(&tokenizer, &s->m.vocab, &err), &err);
    uint8_t *text = check_read_file(source_path("tests/data/demo/text.txt"), &n);
    CHECK_OK(pare_tokenize(tokenizer, (const char *)text, 3000, PARE_TOKENIZE_BOS, &s->ids, &err), &err);
    CHECK(s->ids.n >= CTX * WINDOWS);
    s->ids.n = CTX * WINDOWS; /* so that all windows there are count */
    CHECK_OK(pare_backend_cpu(&s->b, &err), &err);
    snprintf(s->folder, sizeof s->folder, "%s/state", temp_dir());
    free(text);
    pare_tokenizer_close(tokenizer);
}

static void close_setup(setup *s)
{
    s->b->close(s->b);
    free(s->ids.ids);
    pare_model_close(&s->m);
}

static pare_fit_options options_of(const setup *s)
{
    return (pare_fit_options){.model = &s->m,
                              .backend = s->b,
                              .ids = s->ids.ids,
                              .n_ids = s->ids.n,
                              .bos = s->m.vocab.bos,
                              .n_ctx = CTX,
                              .folder = s->folder,
                              .version = "test",
                              .effort = PARE_EFFORT_RTN,
                              .n_rounds = 1,
                              .types = some,
                              .n_types = sizeof some / sizeof *some};
}

static pare_fit *open_fit(const pare_fit_options *o)
{
    pare_fit *f;
    pare_error err = {0};
    CHECK_OK(pare_fit_open(&f, o, &err), &err);
    return f;
}

static pare_fit_result solve(pare_fit *f, uint64_t budget)
{
    pare_fit_result r;
    pare_error err = {0};
    CHECK_OK(pare_fit_solve(f, budget, &r, &err), &err);
    return r;
}

/* A caller that encodes some tensors itself gets the others' bytes; what it encoded stays. */
static void check_derived(const setup *s, pare_fit *f, const pare_fit_result *r, const pare_model *made)
{
    pare_model out;
    pare_plan plan;
    pare_error err = {0};
    uint8_t *own = NULL;
    size_t n_filled = 0, n_own = 0;
    CHECK_OK(pare_fit_derive(f, r, &out, &plan, &err), &err);
    for (size_t i = 0; i < r->n_rows; i++) {
        const pare_tensor *t = pare_model_find(&out, r->rows[i].name);
        CHECK(t->type == r->rows[i].type);
        if (!r->rows[i].chosen || t->type == s->m.tensors[i].type)
            continue;
        CHECK(!pare_derive_is_stored(t));
        if (own == NULL) {
            own = check_malloc((size_t)t->n_bytes);
            memset(own, 42, (size_t)t->n_bytes);
            pare_derive_restore(t, own);
        }
    }
    CHECK_OK(pare_fit_fill(f, r, &out, &plan, &err), &err);
    for (size_t i = 0; i < r->n_rows; i++) {
        const pare_tensor *t = pare_model_find(&out, r->rows[i].name), *like = pare_model_find(made, t->name);
        if (!r->rows[i].chosen || t->type == s->m.tensors[i].type)
            continue;
        const bool is_own = pare_derive_stored(t) == own;
        CHECK(is_own || pare_derive_stored(t) == pare_derive_stored(like));
        n_own += is_own;
        n_filled += !is_own;
    }
    CHECK(n_own == 1 && n_filled > 3);
    pare_model_close(&out);
    free(own);
}

/* The file is as large, and as far from the model, as the result says. */
static void check_made(const setup *s, pare_fit *f, const pare_fit_result *r)
{
    pare_model out;
    pare_plan plan;
    pare_error err = {0};
    pare_eval_result e;
    uint64_t bytes = 0;
    const pare_write_options write = {0};
    const pare_measure_options measure = {.windows = {.n_ctx = CTX}};
    CHECK_OK(pare_fit_make(f, r, &out, &plan, &err), &err);
    CHECK_OK(pare_gguf_size(&out, &write, &bytes, &err), &err);
    CHECK(bytes == r->bytes && bytes <= r->budget);
    for (size_t i = 0; i < r->n_rows; i++) {
        const pare_tensor *t = pare_model_find(&out, r->rows[i].name);
        CHECK(t != NULL && t->type == r->rows[i].type);
        CHECK(!r->rows[i].chosen || t->type == s->m.tensors[i].type || pare_derive_is_stored(t)); /* made already */
    }
    CHECK_OK(pare_measure(&out, &s->m, s->b, s->ids.ids, s->ids.n, s->m.vocab.bos, &measure, &e, &err), &err);
    CHECK(fabs(e.kld_mean.value - r->predicted) <= 1e-4 * r->predicted);
    check_derived(s, f, r, &out);
    pare_model_close(&out);
}

/* Fewer bits for a tensor cost more, more bits less, and both as runs of the plans that they make say. */
static void check_around(pare_fit *f, const pare_fit_result *r)
{
    size_t at[64], n_down = 0, n_up = 0;
    double down[64], up[64], sum_down = 0, sum_up = 0;
    pare_trial_score base, other;
    pare_error err = {0};
    CHECK(f->n_items <= 64);
    for (size_t i = 0; i < f->n_items; i++)
        for (size_t k = 0; k < f->items[i].n; k++)
            if (f->items[i].choices[k].type == r->rows[f->items[i].tensor].type)
                at[i] = k;
    CHECK_OK(pare_fit_measure_around(f, at, down, up, &err), &err);
    for (size_t i = 0; i < f->n_items; i++) {
        const size_t e = pare_fit_efficient_at(&f->items[i], at[i]);
        CHECK(isnan(down[i]) == (at[i] == 0) && isnan(up[i]) == (e + 1 == f->items[i].n_efficient));
        n_down += !isnan(down[i]);
        n_up += !isnan(up[i]);
        sum_down += isnan(down[i]) ? 0 : down[i];
        sum_up += isnan(up[i]) ? 0 : up[i];
    }
    CHECK(n_down > 0 && n_up > 0 && sum_down > 0 && sum_up < 0);
    for (size_t i = 0; i < f->n_items; i++)
        if (!isnan(up[i])) {
            CHECK_OK(pare_fit_run(f, at, pare_fit_swap_windows(f), &base, &err), &err);
            at[i] = f->items[i].efficient[pare_fit_efficient_at(&f->items[i], at[i]) + 1];
            CHECK_OK(pare_fit_run(f, at, pare_fit_swap_windows(f), &other, &err), &err);
            CHECK(fabs(other.all - base.all - up[i]) <= 1e-6 * base.all);
            return;
        }
}

/* Types that were left out are encoded when somebody wants them, and nothing is composed of tensors that were not. */
static void check_lacking(const setup *s, pare_fit *f, const pare_fit_result *r)
{
    for (size_t i = 0; i < f->n_items; i++)
        for (size_t k = 0; k < f->items[i].n; k++) {
            f->items[i].choices[k].known = false;
            f->items[i].choices[k].made = NULL;
        }
    check_made(s, f, r);
}

/* Bytes of the embedding and of all other tensors with a choice, at most. */
typedef struct halves {
    const pare_model *m;
    uint64_t most[2];
    size_t n_asked;
} halves;

static void sum_halves(const pare_model *m, const pare_type *types, uint64_t sum[2])
{
    sum[0] = sum[1] = 0;
    for (size_t i = 0; i < m->n_tensors; i++) {
        uint64_t row;
        CHECK(pare_row_bytes(types[i], m->tensors[i].row_len, &row));
        sum[strcmp(m->tensors[i].name, "token_embd.weight") != 0] += row * m->tensors[i].n_rows;
    }
}

static pare_status accept_halves(const pare_type *types, bool *yes, void *user, pare_error *err)
{
    halves *h = user;
    uint64_t sum[2];
    sum_halves(h->m, types, sum);
    h->n_asked++;
    *yes = sum[0] <= h->most[0] && sum[1] <= h->most[1];
    return h->n_asked < 1000 ? PARE_OK : pare_fail(err, PARE_ERR_RANGE, "asked too often");
}

/* What is chosen was accepted, after swaps too, and the smallest is taken or refused. */
static void check_accepted(const setup *s, const pare_fit_options *with)
{
    uint64_t least, most, small[2], sum[2];
    halves h = {.m = &s->m};
    pare_fit_options o = *with;
    pare_error err = {0};
    pare_type *types = check_malloc(s->m.n_tensors * sizeof *types);
    o.accept = accept_halves;
    o.user = &h;
    o.each = NULL;
    pare_fit *f = open_fit(&o);
    pare_fit_range(f, &least, &most);
    pare_fit_smallest(f, types);
    sum_halves(&s->m, types, small);
    h.most[0] = small[0] * 5 / 3; /* room for Q4_0, not for Q8_0 */
    h.most[1] = small[1] * 2;
    pare_fit_result r = solve(f, most);
    for (size_t i = 0; i < r.n_rows; i++)
        types[i] = r.rows[i].type;
    sum_halves(&s->m, types, sum);
    CHECK(sum[0] <= h.most[0] && sum[1] <= h.most[1] && sum[0] + sum[1] > small[0] + small[1]);
    CHECK(r.bytes <= r.budget && r.budget < most && h.n_asked > 2);
    pare_fit_result_close(&r);
    h.most[0] = small[0];
    h.most[1] = small[1];
    r = solve(f, most);
    CHECK(r.bytes == least && r.budget == least);
    pare_fit_result_close(&r);
    h.most[0]--;
    CHECK(pare_fit_solve(f, most, &r, &err) == PARE_ERR_DIFFERENCE && strstr(err.text, "is accepted") != NULL);
    h.n_asked = 1000;
    CHECK(pare_fit_solve(f, most, &r, &err) == PARE_ERR_RANGE);
    pare_fit_close(f);
    free(types);
}

static void budgets_are_kept_and_used(void **state)
{
    setup s;
    uint64_t least, most;
    pare_error err = {0};
    double last = INFINITY, kld;
    uint64_t bytes;
    (void)state;
    open_setup(&s);
    pare_fit_options o = options_of(&s);
    o.no_refit = true;
    pare_fit *f = open_fit(&o);
    pare_fit_range(f, &least, &most);
    for (int part = 1; part <= 3; part += 2) {
        const uint64_t budget = least + (most - least) / 4 * (uint64_t)part;
        pare_fit_result r = solve(f, budget);
        CHECK(r.n_runs > 0 && r.bytes + budget / 200 >= budget);
        CHECK(r.predicted > 0 && r.predicted < last && r.bound <= r.by_swaps * 1.5);
        CHECK(fabs(r.bits - 8 * (double)r.bytes / (double)pare_model_n_params(&s.m)) < 1e-9);
        last = r.predicted;
        CHECK_OK(pare_fit_estimate(f, budget, &kld, &bytes, &err), &err);
        CHECK(bytes <= budget && kld > r.predicted / 3 && kld < r.predicted * 3);
        if (part == 3)
            check_lacking(&s, f, &r);
        else
            check_around(f, &r);
        pare_fit_result_close(&r);
    }
    /* As many bytes as one type for all takes. */
    pare_type *types = check_malloc(s.m.n_tensors * sizeof *types);
    for (size_t i = 0; i < s.m.n_tensors; i++)
        types[i] = PARE_TYPE_Q4_0;
    CHECK_OK(pare_fit_try(f, types, &kld, &bytes, &err), &err);
    pare_fit_result r = solve(f, bytes);
    CHECK(r.start <= kld * 1.000001 && r.predicted > 0); /* swaps go by all positions, these are of second halves */
    CHECK(r.predicted < kld * 1.1);
    pare_fit_result_close(&r);
    types[0] = types[1] = PARE_TYPE_Q6_K;
    CHECK(pare_fit_try(f, types, &kld, &bytes, &err) == PARE_ERR_USAGE);
    CHECK(strstr(err.text, "q6_K") != NULL);
    pare_fit_close(f);
    /* Another run, the same budget: all of it is known, and that it was run says what single swaps make of it. */
    size_t at[64];
    pare_allocation got;
    pare_trial_score score;
    bool found;
    f = open_fit(&o);
    CHECK_OK(pare_fit_measure(f, &err), &err);
    CHECK_OK(pare_fit_plan(f, least + (most - least) / 4 - f->overhead, at, &got, &err), &err);
    CHECK_OK(pare_fit_look_up(f, at, &found, &score, &err), &err);
    CHECK(found && fabs(pare_whole_predict(&f->whole, got.cost) / score.all - 1) < 1e-3);
    r = solve(f, least + (most - least) / 4);
    CHECK(r.n_runs == 0);
    pare_fit_result_close(&r);
    pare_fit_close(f);
    check_accepted(&s, &o);
    free(types);
    close_setup(&s);
}

static void constraints_hold(void **state)
{
    static const pare_type_override keep[] = {{"attn_v", PARE_TYPE_Q8_0}, {"token_embd", PARE_TYPE_BF16}};
    setup s;
    uint64_t least, most;
    (void)state;
    open_setup(&s);
    pare_fit_options o = options_of(&s);
    o.keep = keep;
    o.n_keep = 2;
    o.min_bits = 4;
    pare_fit *f = open_fit(&o);
    pare_fit_range(f, &least, &most);
    pare_fit_result r = solve(f, least + (most - least) / 3);
    check_made(&s, f, &r);
    for (size_t i = 0; i < r.n_rows; i++) {
        const pare_fit_row *row = &r.rows[i];
        const bool v = strstr(row->name, "attn_v") != NULL, table = strstr(row->name, "token_embd") != NULL;
        CHECK(row->kept == (v || table));
        CHECK(!v || row->type == PARE_TYPE_Q8_0);
        CHECK(!table || row->type == PARE_TYPE_BF16);
        CHECK(!row->chosen || row->type != PARE_TYPE_Q2_K);
    }
    pare_fit_result_close(&r);
    pare_fit_close(f);
    close_setup(&s);
}

/* Types are compared on rows of the matrices, and only what is run is encoded as a whole: one type for single swaps,
 * and what plans have. The plan is about as good as one out of whole matrices, and the file is what was run. */
static void large_matrices_are_sampled(void **state)
{
    setup s;
    uint64_t least, most;
    double kld[2];
    (void)state;
    open_setup(&s);
    pare_fit_options o = options_of(&s);
    o.n_rounds = 0;
    for (int sampled = 0; sampled < 2; sampled++) {
        size_t n_whole = 0, n_most = 0;
        o.sample_weights = sampled ? 2048 : UINT64_MAX;
        pare_fit *f = open_fit(&o);
        pare_fit_range(f, &least, &most);
        pare_fit_result r = solve(f, least + (most - least) / 3);
        kld[sampled] = r.predicted;
        CHECK(r.by_swaps > r.predicted / 3 && r.by_swaps < 3 * r.predicted && r.start == r.end && r.n_swaps == 0);
        for (size_t i = 0; i < f->n_items; i++)
            for (size_t k = 0; k < f->items[i].n; k++) {
                const pare_fit_choice *c = &f->items[i].choices[k];
                CHECK(c->known && (c->made != NULL || c->type != r.rows[f->items[i].tensor].type || c->error == 0));
                n_whole += c->made != NULL;
                n_most += c->error > 0;
            }
        CHECK(sampled ? f->sample.model.n_tensors > 4 && n_whole < n_most : n_whole == n_most);
        check_made(&s, f, &r);
        pare_fit_result_close(&r);
        pare_fit_close(f);
    }
    CHECK(kld[1] < 1.1 * kld[0] && kld[0] < 1.1 * kld[1]);
    close_setup(&s);
}

static bool is_offered(const pare_fit *f, pare_type type)
{
    for (size_t k = 0; k < f->n_types; k++)
        if (f->types[k] == type)
            return true;
    return false;
}

/* Types for models that were trained to them are for those who list them. */
static void trained_types_are_left_out(void **state)
{
    static const pare_type listed[] = {PARE_TYPE_Q1_0, PARE_TYPE_Q8_0};
    setup s;
    (void)state;
    open_setup(&s);
    pare_fit_options o = options_of(&s);
    o.types = NULL;
    o.n_types = 0;
    o.effort = PARE_EFFORT_DEFAULT; /* others search no codebooks */
    pare_fit *f = open_fit(&o);
    CHECK(is_offered(f, PARE_TYPE_Q4_0) && is_offered(f, PARE_TYPE_Q8_0) && !is_offered(f, PARE_TYPE_Q1_0));
    CHECK(!is_offered(f, PARE_TYPE_TQ1_0) && !is_offered(f, PARE_TYPE_TQ2_0) && !is_offered(f, PARE_TYPE_Q2_0));
    pare_fit_close(f);
    o.types = listed;
    o.n_types = 2;
    f = open_fit(&o);
    CHECK(is_offered(f, PARE_TYPE_Q1_0) && !is_offered(f, PARE_TYPE_Q4_0));
    pare_fit_close(f);
    close_setup(&s);
}

static void what_cannot_be_is_told(void **state)
{
    static const pare_type_override nothing = {"no_such_tensor", PARE_TYPE_Q8_0}, wrong = {"(", PARE_TYPE_Q8_0};
    static const pare_type factors[] = {PARE_TYPE_NVFP4};
    setup s;
    pare_fit *f;
    pare_fit_result r;
    uint64_t least, most;
    char number[32];
    pare_error err = {0};
    (void)state;
    open_setup(&s);
    pare_fit_options o = options_of(&s);
    f = open_fit(&o);
    pare_fit_range(f, &least, &most);
    CHECK(pare_fit_solve(f, least - 1, &r, &err) == PARE_ERR_DIFFERENCE && r.bytes == least);
    snprintf(number, sizeof number, "%llu", (unsigned long long)least);
    CHECK(strstr(err.text, number) != NULL);
    pare_fit_result_close(&r);
    pare_fit_close(f);
    o.n_keep = 1;
    o.keep = &nothing;
    CHECK(pare_fit_open(&f, &o, &err) == PARE_ERR_USAGE && strstr(err.text, "no_such_tensor") != NULL && f == NULL);
    o.keep = &wrong;
    CHECK(pare_fit_open(&f, &o, &err) == PARE_ERR_USAGE && strncmp(err.text, "--keep '('", 10) == 0);
    o.n_keep = 0;
    o.types = factors;
    o.n_types = 1;
    CHECK(pare_fit_open(&f, &o, &err) == PARE_ERR_USAGE && strstr(err.text, "nvfp4") != NULL);
    static const pare_type coarse[] = {PARE_TYPE_Q4_0}, own[] = {PARE_TYPE_BF16};
    o.types = coarse; /* rules that leave nothing are no wish to keep all as it is */
    o.min_bits = 8;
    CHECK(pare_fit_open(&f, &o, &err) == PARE_ERR_USAGE && strstr(err.text, "leave no type") != NULL && f == NULL);
    o.types = own;
    f = open_fit(&o);
    pare_fit_close(f);
    o.types = coarse;
    o.min_bits = 4.5; /* as many as it has */
    f = open_fit(&o);
    pare_fit_close(f);

    /* Before there are statistics: what needs them may be chosen, and the rest is as it was. */
    static const pare_type any[] = {PARE_TYPE_Q4_0, PARE_TYPE_Q8_0}, weighted[] = {PARE_TYPE_IQ2_XXS, PARE_TYPE_Q8_0};
    uint64_t range[2][2];
    for (int with = 0; with < 2; with++)
        for (int later = 0; later < 2; later++) {
            o = options_of(&s);
            o.types = with ? weighted : any;
            o.n_types = 2;
            o.effort = PARE_EFFORT_FAST;
            o.imatrix_later = later;
            f = open_fit(&o);
            pare_fit_range(f, &range[with][later], &most);
            pare_fit_close(f);
        }
    CHECK(range[0][0] == range[0][1] && range[1][1] < range[1][0]);

    o = options_of(&s);
    o.n_ids = CTX;
    f = open_fit(&o);
    CHECK(pare_fit_measure(f, &err) == PARE_ERR_USAGE);
    pare_fit_close(f);
    close_setup(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(budgets_are_kept_and_used), cmocka_unit_test(constraints_hold),
                                       cmocka_unit_test(large_matrices_are_sampled),
                                       cmocka_unit_test(trained_types_are_left_out),
                                       cmocka_unit_test(what_cannot_be_is_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
