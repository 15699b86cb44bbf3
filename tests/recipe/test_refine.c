/* Tensors encoded with feedback ahead of the writer: which ones, with what, and that nothing else changes. */
#include "check.h"

#include "core/bytes.h"
#include "core/threads.h"
#include "quant/feedback.h"
#include "quant/registry.h"
#include "recipe/derive.h"
#include "recipe/refine.h"
#include "recipe/refine_key.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROW = 256, EXPERTS = 3, EXPERT_ROWS = 18, MAX_ROWS = EXPERTS * EXPERT_ROWS, TOKENS = 400 };

static const struct {
    const char *name;
    uint64_t n_experts, n_rows;
} shapes[] = {{"token_embd.weight", 1, 4},
              {"blk.0.attn_k.weight", 1, 7},
              {"blk.0.attn_output.weight", 1, 8},
              {"blk.0.attn_q.weight", 1, 20},
              {"blk.0.attn_v.weight", 1, 5},
              {"blk.0.ffn_down.weight", 1, 8},
              {"blk.0.ffn_gate_exps.weight", 3, EXPERT_ROWS},
              {"blk.0.ffn_up_exps.weight", 3, EXPERT_ROWS}};
enum { N_TENSORS = sizeof shapes / sizeof *shapes };

typedef struct fixture {
    pare_model m;
    pare_imatrix im;
    float values[N_TENSORS][MAX_ROWS * ROW];
    double h[ROW * ROW]; /* what all inputs that have statistics look like */
} fixture;

static char warnings[4096];

static void keep_warning(const char *text, void *user)
{
    (void)user;
    strncat(warnings, text, sizeof warnings - strlen(warnings) - 2);
    strcat(warnings, "\n");
}

static float noise(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (float)(int32_t)*seed / 2147483648.0f;
}

static void add_tensors(fixture *f)
{
    pare_error err = {0};
    uint32_t seed = 77;
    f->m = (pare_model){.format = PARE_FORMAT_GGUF, .path = "model", .alignment = 32};
    CHECK_OK(pare_model_reserve(&f->m, N_TENSORS, &err), &err);
    CHECK_OK(pare_meta_set_str(&f->m.meta, "general.architecture", (pare_str){"llama", 5}, &err), &err);
    for (size_t i = 0; i < N_TENSORS; i++) {
        bool experts = shapes[i].n_experts > 1;
        pare_tensor t = {.name = shapes[i].name, .type = PARE_TYPE_F32, .n_dims = experts ? 3 : 2};
        uint64_t *dim = t.dim;
        if (experts)
            *dim++ = shapes[i].n_experts;
        dim[0] = shapes[i].n_rows;
        dim[1] = ROW;
        t.data = (const uint8_t *)(const void *)f->values[i];
        CHECK_OK(pare_tensor_set_shape(&t, "model", &err), &err);
        CHECK_OK(pare_model_add(&f->m, &t, NULL, &err), &err);
        for (uint64_t k = 0; k < t.n_rows * ROW; k++)
            f->values[i][k] = noise(&seed) * (k % 7 == 0 ? 0.4f : 0.1f);
    }
}

/* Neighbouring inputs go together. */
static void make_products(fixture *f)
{
    uint32_t seed = 3;
    for (int t = 0; t < TOKENS; t++) {
        double x[ROW], last = 0;
        for (int i = 0; i < ROW; i++) {
            last = 0.8 * last + (double)noise(&seed);
            x[i] = last * (1 + i % 5);
        }
        for (int i = 0; i < ROW; i++)
            for (int j = 0; j < ROW; j++)
                f->h[i * ROW + j] += x[i] * x[j];
    }
}

/* Expert i saw (i + 1) / 6 of the tokens, and its inputs are larger or smaller in runs of columns. */
static void add_entry(fixture *f, size_t at)
{
    pare_imatrix_entry *e = NULL;
    pare_error err = {0};
    uint64_t n = shapes[at].n_experts;
    CHECK_OK(pare_imatrix_add(&f->im, shapes[at].name, n, ROW, n, false, &e, &err), &err);
    for (uint64_t i = 0; i < n; i++) {
        double share = n == 1 ? 1 : (double)(i + 1) / 6;
        e->counts[i] = n == 1 ? TOKENS : floor(TOKENS * share);
        for (uint64_t c = 0; c < ROW; c++)
            e->sum2[i * ROW + c] = (float)(f->h[c * ROW + c] * share * (n > 1 && c / 32 % 3 == i ? 9 : 1));
    }
}

static uint8_t *add_gram(fixture *f, const char *name, double count)
{
    uint8_t *to = NULL;
    pare_error err = {0};
    CHECK_OK(pare_grams_add(&f->im.grams, name, ROW, count, NULL, &to, &err), &err);
    for (size_t i = 0, at = 0; i < ROW; i++)
        for (size_t j = 0; j <= i; j++, at++)
            pare_store_f32le(to + 4 * at, (float)f->h[i * ROW + j]);
    return to;
}

/* q and k share; too few tokens for attn_output; no factor for attn_v; the experts share; nothing for ffn_down. */
static fixture *open_fixture(void)
{
    fixture *f = calloc(1, sizeof *f);
    pare_error err = {0};
    CHECK(f != NULL);
    add_tensors(f);
    make_products(f);
    f->im.path = "folder/full.gguf";
    f->im.chunk_size = 8;
    for (size_t i = 1; i < N_TENSORS; i++)
        add_entry(f, i);
    add_gram(f, "blk.0.attn_q.weight", TOKENS);
    CHECK_OK(pare_grams_link(&f->im.grams, "blk.0.attn_k.weight", "blk.0.attn_q.weight", &err), &err);
    add_gram(f, "blk.0.attn_output.weight", ROW - 1);
    uint8_t *v = add_gram(f, "blk.0.attn_v.weight", TOKENS);
    pare_store_f32le(v + 4, 3 * pare_load_f32le(v + 8) + 3 * pare_load_f32le(v)); /* of columns 1 and 0: impossible */
    for (size_t i = 2, at = 3; i < ROW; i++)                                      /* and little else */
        for (size_t j = 0; j <= i; j++, at++)
            pare_store_f32le(v + 4 * at, i == j ? 1 : 0);
    add_gram(f, "blk.0.ffn_up_exps.weight", TOKENS);
    CHECK_OK(pare_grams_link(&f->im.grams, "blk.0.ffn_gate_exps.weight", "blk.0.ffn_up_exps.weight", &err), &err);
    warnings[0] = '\0';
    pare_set_warn_sink(keep_warning, NULL);
    return f;
}

static void close_fixture(fixture *f)
{
    pare_set_warn_sink(NULL, NULL);
    pare_imatrix_close(&f->im);
    pare_model_close(&f->m);
    free(f);
}

/* A run: what came out, tensor by tensor. */
typedef struct result {
    pare_plan plan;
    pare_model q;
    pare_state state;
    pare_refine_report report;
    uint8_t *bytes[N_TENSORS];
} result;

static pare_quantize_options options_of(const fixture *f, pare_type type)
{
    return (pare_quantize_options){.pure_type = type,
                                   .output_type = PARE_TYPE_NONE,
                                   .embedding_type = PARE_TYPE_NONE,
                                   .imatrix = f != NULL ? &f->im : NULL};
}

static void read_all(result *r)
{
    pare_error err = {0};
    for (size_t i = 0; i < N_TENSORS; i++) {
        const pare_tensor *t = &r->q.tensors[i];
        CHECK(strcmp(t->name, shapes[i].name) == 0);
        r->bytes[i] = check_malloc((size_t)t->n_bytes);
        CHECK_OK(pare_tensor_read(t, 0, t->n_rows, r->bytes[i], &err), &err);
    }
}

static void close_result(result *r)
{
    for (size_t i = 0; i < N_TENSORS; i++)
        free(r->bytes[i]);
    pare_model_close(&r->q);
    pare_state_drop(&r->state);
    pare_state_close(&r->state);
}

typedef struct told {
    uint32_t n_calls, n;
    double part;
} told;

static void tell(const pare_refine_progress *p, void *user)
{
    told *t = user;
    CHECK(p->done <= p->n && (p->done == p->n) == (p->tensor[0] == '\0'));
    CHECK(p->part >= t->part && p->part <= 1 && (p->done < p->n || p->part == 1));
    t->part = p->part;
    t->n_calls += p->begins || p->done == p->n;
    t->n = p->n;
}

static void run(fixture *f, pare_quantize_options o, bool refine, result *r)
{
    pare_error err = {0};
    char beside[1024];
    static int n_runs; /* whose states lie beside one another */
    told t = {0};
    *r = (result){0};
    snprintf(beside, sizeof beside, "%s/q%d.gguf", temp_dir(), n_runs++);
    CHECK_OK(pare_quantize(&r->q, &f->m, &o, &r->plan, &err), &err);
    if (refine) {
        const pare_refine_settings settings = {.output = beside, .each = tell, .user = &t};
        CHECK_OK(pare_refine(&r->q, &o, &r->plan, &settings, &r->state, &r->report, &err), &err);
        CHECK(o.imatrix == NULL || (t.n_calls == r->report.n_tensors + 1 && t.n == 6));
    }
    read_all(r);
}

static const pare_plan_row *row_of(const result *r, size_t at)
{
    CHECK(strcmp(r->plan.rows[at].name, shapes[at].name) == 0);
    return &r->plan.rows[at];
}

static bool same_bytes(const result *a, const result *b, size_t at)
{
    return memcmp(a->bytes[at], b->bytes[at], (size_t)a->q.tensors[at].n_bytes) == 0;
}

/* attn_k, attn_q and the experts' tensors. */
static bool is_refined(size_t at)
{
    return at == 1 || at == 3 || at >= 6;
}

static void what_has_statistics_is_encoded_with_them(void **state)
{
    (void)state;
    static const pare_type types[] = {PARE_TYPE_Q4_0, PARE_TYPE_Q3_K, PARE_TYPE_IQ3_S};
    fixture *f = open_fixture();
    for (size_t k = 0; k < 3; k++) {
        result plain, fed;
        double logs = 0;
        warnings[0] = '\0';
        run(f, options_of(f, types[k]), false, &plain);
        CHECK(warnings[0] == '\0');
        run(f, options_of(f, types[k]), true, &fed);
        CHECK(strstr(warnings, "folder/full.gguf: tensor 'blk.0.attn_output.weight': 255 tokens are too few for the "
                               "products of 256 columns; it is encoded without feedback") != NULL);
        const char *factor =
                       strstr(warnings, "folder/full.gguf: tensor 'blk.0.attn_v.weight': the products of its inputs"
                                        " have no Cholesky factor"),
                   *end = factor != NULL ? strchr(factor, '\n') : NULL,
                   *again = "of their mean on the diagonal; it is "
                            "encoded without feedback";
        CHECK(end != NULL && strncmp(end - strlen(again), again, strlen(again)) == 0); /* names are said once */
        CHECK(strstr(warnings, "attn_q") == NULL);
        CHECK(fed.report.n_tensors == 4 && fed.report.n_without == 2);
        for (size_t i = 0; i < N_TENSORS; i++) {
            const pare_plan_row *row = row_of(&fed, i);
            CHECK(same_bytes(&plain, &fed, i) == !is_refined(i));
            CHECK(isfinite(row->feedback) == is_refined(i) && isnan(row_of(&plain, i)->feedback));
            CHECK(row->error > 0 && (row->error > row_of(&plain, i)->error) == is_refined(i));
            CHECK(!is_refined(i) || (row->feedback > 0.02 && row->feedback < 0.6));
            logs += is_refined(i) ? log(row->feedback) : 0;
        }
        CHECK(fabs(fed.report.mean_ratio - exp(logs / 4)) < 1e-12);
        close_result(&plain);
        close_result(&fed);
    }
    close_fixture(f);
}

/* The form of the errors of rows [first, end) of tensor `at`, under H with factors c and 0.01 of its mean diagonal
 * (docs/methods/FEEDBACK.md). */
static double form_of(const fixture *f, const result *r, size_t at, uint64_t first, uint64_t end, const double *c)
{
    double sum = 0, more = 0;
    for (int i = 0; i < ROW; i++)
        more += 0.01 * f->h[i * ROW + i] / ROW;
    for (uint64_t row = first; row < end; row++) {
        float y[ROW];
        double e[ROW];
        pare_error err = {0};
        const pare_tensor *t = &r->q.tensors[at];
        CHECK_OK(pare_decode_rows(t->type, r->bytes[at] + row * t->row_bytes, 1, ROW, y, &err), &err);
        for (int i = 0; i < ROW; i++)
            e[i] = c[i] * ((double)f->values[at][row * ROW + (uint64_t)i] - (double)y[i]);
        for (int i = 0; i < ROW; i++)
            for (int j = 0; j < ROW; j++)
                sum += e[i] * (f->h[i * ROW + j] + (i == j ? more : 0)) * e[j];
    }
    return sum;
}

static void factors_of(const fixture *f, size_t at, uint64_t expert, double *out)
{
    float own[ROW], pooled[ROW];
    const pare_imatrix_entry *e = pare_imatrix_find(&f->im, shapes[at].name);
    CHECK(pare_imatrix_pooled(e, pooled));
    pare_imatrix_importance(e, expert, pooled, own);
    for (int i = 0; i < ROW; i++)
        out[i] = shapes[at].n_experts > 1 ? sqrt((double)own[i] / (double)pooled[i]) : 1;
}

/* The squares of the errors of tensor `at` over those of its weights. */
static double error_of(const fixture *f, const result *r, size_t at)
{
    const pare_tensor *t = &r->q.tensors[at];
    double error = 0, energy = 0;
    for (uint64_t row = 0; row < t->n_rows; row++) {
        float y[ROW];
        pare_error err = {0};
        CHECK_OK(pare_decode_rows(t->type, r->bytes[at] + row * t->row_bytes, 1, ROW, y, &err), &err);
        for (size_t i = 0; i < ROW; i++) {
            double v = (double)f->values[at][row * ROW + i];
            error += (v - (double)y[i]) * (v - (double)y[i]);
            energy += v * v;
        }
    }
    return error / energy;
}

static void check_ratios(const fixture *f, const result *plain, const result *fed)
{
    for (size_t at = 0; at < N_TENSORS; at++) {
        double before = 0, after = 0, c[ROW];
        for (uint64_t e = 0; e < shapes[at].n_experts && is_refined(at); e++) {
            uint64_t first = e * shapes[at].n_rows, end = first + shapes[at].n_rows;
            factors_of(f, at, e, c);
            double was = form_of(f, plain, at, first, end, c), is = form_of(f, fed, at, first, end, c);
            CHECK(is < 0.7 * was);
            before += was;
            after += is;
        }
        double error = error_of(f, fed, at);
        CHECK(fabs(row_of(fed, at)->error - error) < 1e-5 * error);
        CHECK(!is_refined(at) || fabs(row_of(fed, at)->feedback - after / before) < 1e-3 * after / before);
    }
}

/* What the plan says feedback left, and what was lost, against the decoded bytes; also where tensors with the same
 * inputs are of types that are rounded in other units. */
static void the_ratio_is_what_the_bytes_say(void **state)
{
    (void)state;
    static const pare_type_override keys = {"attn_k", PARE_TYPE_IQ3_S};
    fixture *f = open_fixture();
    pare_quantize_options all[] = {options_of(f, PARE_TYPE_Q4_0), options_of(f, PARE_TYPE_IQ2_S),
                                   options_of(f, PARE_TYPE_Q4_0)};
    all[2].overrides = &keys;
    all[2].n_overrides = 1;
    for (size_t k = 0; k < 3; k++) {
        result plain, fed;
        run(f, all[k], false, &plain);
        run(f, all[k], true, &fed);
        CHECK((fed.q.tensors[1].type == PARE_TYPE_IQ3_S) == (k == 2));
        check_ratios(f, &plain, &fed);
        close_result(&plain);
        close_result(&fed);
    }
    close_fixture(f);
}

/* Each expert's rows, whatever slabs they could share with another one's, are what the expert's factors make of what
 * the search found. */
static void experts_are_encoded_with_their_factors(void **state)
{
    (void)state;
    enum { AT = 6, SWEEPS = 2 };
    fixture *f = open_fixture();
    result plain, fed = {0};
    pare_error err = {0};
    pare_form form;
    CHECK_OK(pare_form_open(&form, pare_grams_find(&f->im.grams, shapes[AT].name), "test", 1, 0.02, &err), &err);
    pare_quantize_options o = options_of(f, PARE_TYPE_Q5_0);
    run(f, o, false, &plain);
    CHECK_OK(pare_quantize(&fed.q, &f->m, &o, &fed.plan, &err), &err);
    const pare_tensor *t = &fed.q.tensors[AT];
    uint8_t *got = check_malloc((size_t)t->n_bytes), *want = plain.bytes[AT];
    CHECK(pare_derive_takes_feedback(t));
    CHECK_OK(pare_derive_encode(t, &form, NULL, SWEEPS, got, NULL, NULL, &err), &err);
    void *scratch = check_malloc(pare_feedback_scratch(t->type, ROW));
    double before = 0, after = 0;
    for (uint64_t row = 0; row < t->n_rows; row++) {
        double c[ROW];
        float column[ROW];
        factors_of(f, AT, row / EXPERT_ROWS, c);
        for (int i = 0; i < ROW; i++)
            column[i] = fminf(fmaxf((float)c[i], 1.0f / 16), 16);
        pare_feedback_rows(&form, t->type, f->values[AT] + row * ROW, 1, column, SWEEPS, want + row * t->row_bytes,
                           scratch, &before, &after);
    }
    size_t differ = 0;
    for (uint64_t k = 0; k < t->n_bytes; k++)
        differ += got[k] != want[k];
    CHECK(differ <= t->n_bytes / 2000); /* the factors' last bits are our own */
    CHECK(fabs(fed.plan.rows[AT].feedback - after / before) < 1e-5);
    memset(got, 0x5a, (size_t)t->n_bytes); /* from now on the tensor is what lies there */
    memset(got + 20 * t->row_bytes, 0x33, (size_t)t->row_bytes);
    uint8_t row[ROW];
    CHECK_OK(pare_tensor_read(t, 20, 1, row, &err), &err);
    CHECK(row[0] == 0x33 && row[t->row_bytes - 1] == 0x33);
    free(scratch);
    free(got);
    pare_form_close(&form);
    close_result(&plain);
    close_result(&fed);
    close_fixture(f);
}

enum { GATE = 6, TRIANGLE = ROW * (ROW + 1) / 2 };

/* Each expert of ffn_gate and ffn_up gets products of its own: as everybody's, but larger in the columns in which its
 * importances are, and expert `odd` ones that cannot be. Owned by the caller. */
static uint8_t *give_own_products(fixture *f, uint64_t odd)
{
    const uint64_t n = shapes[GATE].n_experts;
    const pare_imatrix_entry *e = pare_imatrix_find(&f->im, shapes[GATE].name);
    pare_gram *g = (pare_gram *)(uintptr_t)pare_grams_find(&f->im.grams, shapes[GATE].name);
    uint8_t *all = check_malloc((size_t)n * TRIANGLE * 4);
    for (uint64_t k = 0; k < n; k++)
        for (uint64_t i = 0, at = k * TRIANGLE; i < ROW; i++)
            for (uint64_t j = 0; j <= i; j++, at++) {
                double c = (i / 32 % 3 == k ? 3 : 1) * (j / 32 % 3 == k ? 3 : 1), h = f->h[i * ROW + j];
                if (k == odd && i == 254 && j == 4) /* more than what these inputs do not have in common with others */
                    h = 0.75 * sqrt(f->h[i * ROW + i] * f->h[j * ROW + j]);
                pare_store_f32le(all + 4 * at, (float)(c * h / TOKENS * e->counts[k]));
            }
    g->lower = all;
    g->n_experts = n;
    return all;
}

/* What that form makes of errors in the rows of an expert, in parts of what is left when its inputs are taken to be
 * everybody's; an expert whose products have no factor is named and keeps what the search found. */
static void experts_are_encoded_with_their_own_products(void **state)
{
    (void)state;
    static const pare_type types[] = {PARE_TYPE_Q4_0, PARE_TYPE_IQ3_S};
    for (size_t k = 0; k < 2; k++) {
        fixture *f = open_fixture();
        result plain, fed;
        uint8_t *all = give_own_products(f, 1);
        run(f, options_of(f, types[k]), false, &plain);
        run(f, options_of(f, types[k]), true, &fed);
        CHECK(strstr(warnings, "no Cholesky factor") != NULL);
        CHECK(strstr(warnings, "; expert 1 of blk.0.ffn_gate_exps.weight is encoded without feedback") != NULL);
        CHECK(strstr(warnings, "; expert 1 is encoded without feedback") != NULL); /* of ffn_up, as was said */
        CHECK(fed.report.n_tensors == 4 && row_of(&fed, GATE)->feedback < 0.7 && row_of(&fed, GATE)->feedback > 0.02);
        const uint64_t part = shapes[GATE].n_rows * fed.q.tensors[GATE].row_bytes;
        for (uint64_t e = 0; e < shapes[GATE].n_experts; e++)
            CHECK((memcmp(plain.bytes[GATE] + e * part, fed.bytes[GATE] + e * part, part) == 0) == (e == 1));
        double c[ROW], was, is;
        for (int i = 0; i < ROW; i++)
            c[i] = i / 32 % 3 == 0 ? 3 : 1;
        was = form_of(f, &plain, GATE, 0, shapes[GATE].n_rows, c);
        is = form_of(f, &fed, GATE, 0, shapes[GATE].n_rows, c);
        CHECK(is < 0.5 * was);
        close_result(&plain);
        close_result(&fed);
        close_fixture(f);
        free(all);
    }
}

/* Several models at once have the bytes, the reports and the warnings that each has alone; progress is that of all. */
static void models_refined_together_are_as_alone(void **state)
{
    (void)state;
    static const pare_type types[] = {PARE_TYPE_Q4_0, PARE_TYPE_IQ3_S, PARE_TYPE_Q3_K};
    enum { N = sizeof types / sizeof *types };
    fixture *f = open_fixture();
    result alone[N], made[N] = {0};
    pare_quantize_options o[N];
    pare_refine_settings settings[N];
    pare_refine_job jobs[N];
    char beside[N][1024];
    pare_error err = {0};
    told t = {0};
    uint8_t *all = give_own_products(f, 1);
    for (size_t k = 0; k < N; k++) {
        o[k] = options_of(f, types[k]);
        run(f, o[k], true, &alone[k]);
        CHECK_OK(pare_quantize(&made[k].q, &f->m, &o[k], &made[k].plan, &err), &err);
        snprintf(beside[k], sizeof beside[k], "%s/together%zu.gguf", temp_dir(), k);
        settings[k] = (pare_refine_settings){.output = beside[k], .each = tell, .user = &t};
        jobs[k] = (pare_refine_job){.out = &made[k].q,
                                    .options = &o[k],
                                    .plan = &made[k].plan,
                                    .settings = &settings[k],
                                    .state = &made[k].state};
    }
    warnings[0] = '\0';
    CHECK_OK(pare_refine_together(jobs, N, &err), &err);
    CHECK(t.n == N * 6 && t.n_calls == N * alone[0].report.n_tensors + 1);
    size_t n_warnings = 0;
    for (const char *w = warnings; (w = strstr(w, "expert 1")) != NULL; w++)
        n_warnings++;
    CHECK(n_warnings == 2 * N);
    for (size_t k = 0; k < N; k++) {
        read_all(&made[k]);
        for (size_t i = 0; i < N_TENSORS; i++) {
            const pare_plan_row *a = row_of(&alone[k], i), *b = row_of(&made[k], i);
            CHECK(same_bytes(&alone[k], &made[k], i) && a->error == b->error);
            CHECK(memcmp(&a->form, &b->form, sizeof a->form) == 0);
            CHECK(memcmp(&a->feedback, &b->feedback, sizeof a->feedback) == 0);
        }
        CHECK(jobs[k].report.n_tensors == alone[k].report.n_tensors);
        CHECK(jobs[k].report.n_without == alone[k].report.n_without);
        CHECK(jobs[k].report.mean_ratio == alone[k].report.mean_ratio);
        CHECK(strcmp(jobs[k].report.without, alone[k].report.without) == 0);
        close_result(&alone[k]);
        close_result(&made[k]);
    }
    close_fixture(f);
    free(all);
}

/* What is kept of a tensor goes by the tokens of the one that its experts' products are named after. */
static void keys_know_whose_tokens_count(void **state)
{
    (void)state;
    fixture *f = open_fixture();
    result r;
    pare_error err = {0};
    pare_state_key key[3];
    uint8_t *all = give_own_products(f, UINT64_MAX);
    double *tokens = pare_imatrix_find(&f->im, "blk.0.ffn_up_exps.weight")->counts;
    run(f, options_of(f, PARE_TYPE_Q4_0), false, &r);
    for (int i = 0; i < 3; i++) {
        tokens[0] += i == 1 ? 1 : i == 2 ? -1 : 0;
        CHECK_OK(pare_refine_key(&key[i], &r.q.tensors[GATE], &f->im, pare_grams_find(&f->im.grams, shapes[GATE].name),
                                 &err),
                 &err);
    }
    CHECK(memcmp(&key[0], &key[1], sizeof *key) != 0 && memcmp(&key[0], &key[2], sizeof *key) == 0);
    close_result(&r);
    close_fixture(f);
    free(all);
}

/* Experts whose inputs were all zero say nothing: a warning, and what the search finds. */
static void experts_without_inputs_are_left(void **state)
{
    (void)state;
    fixture *f = open_fixture();
    result plain, fed;
    uint8_t *all = give_own_products(f, UINT64_MAX);
    memset(all, 0, (size_t)shapes[GATE].n_experts * TRIANGLE * 4);
    for (int i = 0; i < 2; i++) {
        const pare_imatrix_entry *e =
            pare_imatrix_find(&f->im, i == 0 ? shapes[GATE].name : "blk.0.ffn_up_exps.weight");
        memset(e->sum2, 0, (size_t)shapes[GATE].n_experts * ROW * sizeof *e->sum2);
    }
    run(f, options_of(f, PARE_TYPE_Q4_0), false, &plain);
    run(f, options_of(f, PARE_TYPE_Q4_0), true, &fed);
    CHECK(strstr(warnings, "folder/full.gguf: tensor 'blk.0.ffn_up_exps.weight': all products of its inputs are zero; "
                           "it and those with the same inputs are encoded without feedback") != NULL);
    CHECK(fed.report.n_tensors == 2 && isnan(row_of(&fed, GATE)->feedback));
    CHECK(memcmp(plain.bytes[GATE], fed.bytes[GATE], (size_t)fed.q.tensors[GATE].n_bytes) == 0);
    close_result(&plain);
    close_result(&fed);
    close_fixture(f);
    free(all);
}

/* docs/methods/FEEDBACK.md: 4 looks at every code, 16 with the effort best; 0.01 on the diagonal. */
static void effort_is_how_often_it_looks(void **state)
{
    (void)state;
    enum { AT = 6 };
    static const struct {
        pare_effort effort;
        int n_sweeps;
    } rows[] = {{PARE_EFFORT_FAST, 0}, {PARE_EFFORT_DEFAULT, 4}, {PARE_EFFORT_BEST, 16}};
    fixture *f = open_fixture();
    pare_error err = {0};
    pare_form form;
    CHECK_OK(pare_form_open(&form, pare_grams_find(&f->im.grams, shapes[AT].name), "test", 1, 0.01, &err), &err);
    for (int k = 0; k < 3; k++) {
        result fed, direct = {0};
        pare_quantize_options o = options_of(f, PARE_TYPE_Q3_K);
        o.effort = rows[k].effort;
        run(f, o, true, &fed);
        CHECK_OK(pare_quantize(&direct.q, &f->m, &o, &direct.plan, &err), &err);
        const pare_tensor *t = &direct.q.tensors[AT];
        for (int i = 0; i < 3; i++) {
            uint8_t *got = check_malloc((size_t)t->n_bytes);
            CHECK_OK(pare_derive_encode(t, &form, NULL, rows[i].n_sweeps, got, NULL, NULL, &err), &err);
            bool same = memcmp(got, fed.bytes[AT], (size_t)t->n_bytes) == 0;
            CHECK(same == (i == k));
            free(got);
            pare_model_close(&direct.q); /* which has the bytes now */
            CHECK_OK(pare_quantize(&direct.q, &f->m, &o, &direct.plan, &err), &err);
            t = &direct.q.tensors[AT];
        }
        close_result(&fed);
        close_result(&direct);
    }
    pare_form_close(&form);
    close_fixture(f);
}

static void threads_do_not_matter(void **state)
{
    (void)state;
    fixture *f = open_fixture();
    result one, seven, best;
    pare_quantize_options o = options_of(f, PARE_TYPE_Q4_K);
    pare_set_threads(1);
    run(f, o, true, &one);
    pare_set_threads(7);
    run(f, o, true, &seven);
    pare_set_threads(0);
    for (size_t i = 0; i < N_TENSORS; i++) {
        CHECK(same_bytes(&one, &seven, i));
        CHECK(one.plan.rows[i].feedback == seven.plan.rows[i].feedback || !is_refined(i));
    }
    CHECK(one.report.mean_ratio == seven.report.mean_ratio);
    o.effort = PARE_EFFORT_BEST; /* more looks at every code */
    run(f, o, true, &best);
    CHECK(!same_bytes(&one, &best, 3));
    close_result(&one);
    close_result(&seven);
    close_result(&best);
    close_fixture(f);
}

/* Types without codes of their own, rounding alone, statistics that lack or are of other widths: as without feedback.
 */
static void without_statistics_nothing_is_done(void **state)
{
    (void)state;
    fixture *f = open_fixture();
    result plain, fed;
    pare_quantize_options rtn = options_of(f, PARE_TYPE_Q4_0), none = options_of(NULL, PARE_TYPE_Q4_0);
    pare_quantize_options floats = options_of(f, PARE_TYPE_F16);
    rtn.effort = PARE_EFFORT_RTN;
    pare_quantize_options all[] = {none, rtn, floats};
    for (size_t k = 0; k < 3; k++) {
        pare_error err = {0};
        char beside[1024];
        snprintf(beside, sizeof beside, "%s/q.gguf", temp_dir());
        run(f, all[k], false, &plain);
        fed = (result){0};
        CHECK_OK(pare_quantize(&fed.q, &f->m, &all[k], &fed.plan, &err), &err);
        const pare_refine_settings settings = {.output = beside};
        CHECK_OK(pare_refine(&fed.q, &all[k], &fed.plan, &settings, &fed.state, &fed.report, &err), &err);
        CHECK(fed.report.n_tensors == 0 && fed.report.n_without == 0 && isnan(fed.report.mean_ratio));
        CHECK(fed.state.spool.data == NULL);
        read_all(&fed);
        for (size_t i = 0; i < N_TENSORS; i++)
            CHECK(same_bytes(&plain, &fed, i));
        close_result(&plain);
        close_result(&fed);
    }
    close_fixture(f);
}

typedef struct stop {
    uint32_t after; /* so many tensors, with those that were left out */
    bool copied;
} stop;

/* What a process leaves that is killed when so many tensors are done: the file as it is then. */
static void copy_state(const pare_refine_progress *p, void *user)
{
    stop *s = user;
    if (!p->begins || p->done != s->after)
        return;
    s->copied = system("cd $TEST_STATE && cp q.gguf.pare-state kept") == 0;
}

/* Refine with what lies in q.gguf.pare-state. */
static pare_status resume(fixture *f, pare_quantize_options o, const char *about, result *r, pare_error *err)
{
    char output[1024];
    told t = {0};
    *r = (result){0};
    snprintf(output, sizeof output, "%s/q.gguf", temp_dir());
    const pare_refine_settings settings = {.output = output, .about = about, .resume = true, .each = tell, .user = &t};
    CHECK_OK(pare_quantize(&r->q, &f->m, &o, &r->plan, err), err);
    return pare_refine(&r->q, &o, &r->plan, &settings, &r->state, &r->report, err);
}

static void use_kept(void)
{
    CHECK(system("cd $TEST_STATE && cp kept q.gguf.pare-state") == 0);
}

/* A run that is killed after `after` tensors, and then resumed, gives what `whole` has. */
static void kill_and_resume(fixture *f, const result *whole, uint32_t after)
{
    pare_quantize_options o = options_of(f, PARE_TYPE_Q4_0);
    pare_error err = {0};
    char output[1024];
    stop s = {.after = after};
    result r = {0};
    snprintf(output, sizeof output, "%s/q.gguf", temp_dir());
    const pare_refine_settings settings = {.output = output, .about = "a\nb\n", .each = copy_state, .user = &s};
    CHECK_OK(pare_quantize(&r.q, &f->m, &o, &r.plan, &err), &err);
    CHECK_OK(pare_refine(&r.q, &o, &r.plan, &settings, &r.state, &r.report, &err), &err);
    CHECK(s.copied);
    close_result(&r);
    use_kept();
    pare_set_threads(after == 1 ? 7 : 1);
    CHECK_OK(resume(f, o, "a\nb\n", &r, &err), &err);
    pare_set_threads(0);
    CHECK(r.report.n_resumed >= 1 && r.report.n_tensors == whole->report.n_tensors);
    CHECK(r.report.mean_ratio == whole->report.mean_ratio);
    read_all(&r);
    for (size_t i = 0; i < N_TENSORS; i++) {
        const pare_plan_row *a = row_of(&r, i), *b = row_of(whole, i);
        CHECK(same_bytes(&r, whole, i) && a->error == b->error && a->lossless == b->lossless);
        CHECK(memcmp(&a->weighted_error, &b->weighted_error, sizeof a->weighted_error) == 0);
        CHECK(memcmp(&a->feedback, &b->feedback, sizeof a->feedback) == 0);
    }
    close_result(&r);
}

static void a_killed_run_goes_on(void **state)
{
    (void)state;
    fixture *f = open_fixture();
    result whole;
    setenv("TEST_STATE", temp_dir(), 1);
    run(f, options_of(f, PARE_TYPE_Q4_0), true, &whole);
    kill_and_resume(f, &whole, 1);
    kill_and_resume(f, &whole, 5);
    CHECK(system("cd $TEST_STATE && test ! -e q.gguf.pare-state") == 0);
    close_result(&whole);
    close_fixture(f);
}

/* kept has one tensor, attn_k, of which it is the state. */
static void refused(fixture *f, pare_quantize_options o, const char *about, pare_status status, const char *why)
{
    pare_error err = {0};
    result r;
    use_kept();
    CHECK(resume(f, o, about, &r, &err) == status);
    if (strstr(err.text, why) == NULL || strstr(err.text, "q.gguf.pare-state") == NULL)
        fail_msg("%s", err.text);
    pare_model_close(&r.q);
    pare_state_close(&r.state);
    CHECK(system("cd $TEST_STATE && cmp kept q.gguf.pare-state") == 0); /* it stays as it was */
}

/* A run that is killed before its state has a head: an empty file, or one of zeros, with a part of the head's text. */
static void a_state_that_holds_nothing_is_made_anew(void **state)
{
    (void)state;
    static const char *const files[] = {
        ": >kept", "head -c $(wc -c <good) /dev/zero >kept", "head -c 5000 /dev/zero >kept",
        "head -c $(wc -c <good) /dev/zero >kept && dd if=good of=kept bs=4 skip=8 seek=8 count=1 conv=notrunc 2>quiet"};
    fixture *f = open_fixture();
    pare_quantize_options o = options_of(f, PARE_TYPE_Q4_0);
    pare_error err = {0};
    result whole, r;
    setenv("TEST_STATE", temp_dir(), 1);
    run(f, o, true, &whole);
    kill_and_resume(f, &whole, 1);
    CHECK(system("cd $TEST_STATE && cp kept good") == 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char command[256];
        snprintf(command, sizeof command, "cd $TEST_STATE && %s", files[i]);
        CHECK(system(command) == 0);
        use_kept();
        CHECK_OK(resume(f, o, "a\nb\n", &r, &err), &err);
        CHECK(r.report.n_resumed == 0 && r.report.mean_ratio == whole.report.mean_ratio);
        read_all(&r);
        for (size_t k = 0; k < N_TENSORS; k++)
            CHECK(same_bytes(&r, &whole, k));
        close_result(&r);
    }
    CHECK(system("cd $TEST_STATE && rm -f kept good quiet q.gguf.pare-state") == 0);
    close_result(&whole);
    close_fixture(f);
}

static void a_state_of_another_run_is_refused(void **state)
{
    (void)state;
    fixture *f = open_fixture();
    pare_quantize_options o = options_of(f, PARE_TYPE_Q4_0);
    float *w = &f->values[1][3], old = *w;
    static const char other[] = "tensor 'blk.0.attn_k.weight' was encoded from other weights or statistics; --force";
    result whole;
    setenv("TEST_STATE", temp_dir(), 1);
    run(f, o, true, &whole);
    kill_and_resume(f, &whole, 1);
    refused(f, o, "a\nc\n", PARE_ERR_USAGE, "it says 'b', and this one 'c'; --force drops it");
    refused(f, o, "a\nb\nmore\n", PARE_ERR_USAGE,
            "it says 'tensor blk.0.attn_k.weight q4_0 7 x 256', and this one 'more'");
    refused(f, options_of(f, PARE_TYPE_Q4_1), "a\nb\n", PARE_ERR_USAGE,
            "and this one 'tensor blk.0.attn_k.weight q4_1");
    *w += 1;
    refused(f, o, "a\nb\n", PARE_ERR_USAGE, other);
    *w = old;
    f->im.entries[0].sum2[9] *= 2;
    refused(f, o, "a\nb\n", PARE_ERR_USAGE, other);
    f->im.entries[0].sum2[9] /= 2;
    f->im.grams.list[0].count += 1;
    refused(f, o, "a\nb\n", PARE_ERR_USAGE, other);
    f->im.grams.list[0].count -= 1;
    f->im.grams.list[0].own[100] ^= 1;
    refused(f, o, "a\nb\n", PARE_ERR_USAGE, other);
    f->im.grams.list[0].own[100] ^= 1;
    CHECK(system("cd $TEST_STATE && cp kept good && printf x | dd of=kept conv=notrunc 2>quiet") == 0);
    refused(f, o, "a\nb\n", PARE_ERR_FORMAT, "holds no state of an unfinished pare quantize");
    CHECK(system("cd $TEST_STATE && cp good kept && head -c 8 /dev/zero | dd of=kept conv=notrunc 2>quiet") == 0);
    refused(f, o, "a\nb\n", PARE_ERR_FORMAT, "holds no state of an unfinished pare quantize"); /* but a tensor */
    CHECK(system("cd $TEST_STATE && head -c 3000 good >kept") == 0);
    refused(f, o, "a\nb\n", PARE_ERR_FORMAT, "is damaged: 3000 bytes, expected");
    CHECK(system(
              "cd $TEST_STATE && cp good kept && printf '\\377\\377' | dd of=kept conv=notrunc bs=1 seek=13 2>quiet") ==
          0);
    refused(f, o, "a\nb\n", PARE_ERR_FORMAT, "offset 8: is damaged: ");
    static const struct {
        int at;
        const char *text;
    } heads[] = {
        {7, "offset 0: is of another version of the program; it stays as it is: remove it, or give --force"},
        {8, "offset 8: is damaged: its text does not fit its hash"}, /* a shorter text, and not "another run" */
        {20, "offset 16: is damaged: its text does not fit its hash"},
        {32, "offset 32: is damaged: its text does not fit its hash; it stays as it is: remove it, or give "
             "--force in place of --resume, to start anew"},
        {34, "offset 34: is damaged"}};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        char command[160];
        snprintf(command, sizeof command,
                 "cd $TEST_STATE && cp good kept && printf '\\0' | dd of=kept conv=notrunc bs=1 seek=%d 2>quiet",
                 heads[i].at);
        CHECK(system(command) == 0);
        refused(f, o, "a\nb\n", PARE_ERR_FORMAT, heads[i].text);
    }
    for (int n = 3; n < 40; n += 3) { /* shorter than its fixed part and its text */
        char command[128];
        snprintf(command, sizeof command, "cd $TEST_STATE && head -c %d good >kept", n);
        CHECK(system(command) == 0);
        refused(f, o, "a\nb\n", PARE_ERR_FORMAT, "");
    }
    CHECK(system("cd $TEST_STATE && rm -f kept good quiet q.gguf.pare-state") == 0);
    close_result(&whole);
    close_fixture(f);
}

/* Bytes that changed on the disk are made again, and nothing else is. */
static void damage_is_made_good(void **state)
{
    (void)state;
    fixture *f = open_fixture();
    pare_quantize_options o = options_of(f, PARE_TYPE_Q4_0);
    result whole, r;
    pare_error err = {0};
    setenv("TEST_STATE", temp_dir(), 1);
    run(f, o, true, &whole);
    kill_and_resume(f, &whole, 5);
    for (int k = 0; k < 2; k++) { /* without and with damage */
        use_kept();
        CHECK(k == 0 || system("cd $TEST_STATE && printf '\\1\\2\\3' | "
                               "dd of=q.gguf.pare-state conv=notrunc bs=1 seek=4100 2>quiet") == 0);
        warnings[0] = '\0';
        CHECK_OK(resume(f, o, "a\nb\n", &r, &err), &err);
        CHECK((strstr(warnings, "q.gguf.pare-state: tensor 'blk.0.attn_k.weight' is damaged: it is encoded again") !=
               NULL) == (k == 1));
        CHECK(r.report.n_resumed == (k == 1 ? 2 : 3));
        read_all(&r);
        for (size_t i = 0; i < N_TENSORS; i++)
            CHECK(same_bytes(&r, &whole, i));
        close_result(&r);
    }
    CHECK(system("cd $TEST_STATE && rm -f kept quiet") == 0);
    close_result(&whole);
    close_fixture(f);
}

static pare_status try_refine(fixture *f, const char *beside, pare_error *err)
{
    result r = {0};
    pare_quantize_options o = options_of(f, PARE_TYPE_Q4_0);
    CHECK_OK(pare_quantize(&r.q, &f->m, &o, &r.plan, err), err);
    const pare_refine_settings settings = {.output = beside};
    pare_status st = pare_refine(&r.q, &o, &r.plan, &settings, &r.state, &r.report, err);
    close_result(&r);
    return st;
}

static void what_is_wrong_is_an_error(void **state)
{
    (void)state;
    fixture *f = open_fixture();
    pare_error err = {0};
    char beside[1024];
    snprintf(beside, sizeof beside, "%s/q.gguf", temp_dir());
    CHECK(try_refine(f, "/nowhere/at/all/q.gguf", &err) == PARE_ERR_IO && strstr(err.text, "/nowhere") != NULL);
    pare_set_strict(true);
    CHECK(try_refine(f, beside, &err) == PARE_ERR_FORMAT && strstr(err.text, "tokens are too few") != NULL);
    pare_set_strict(false);
    f->values[3][5 * ROW + 17] = NAN;
    CHECK(try_refine(f, beside, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "tensor 'blk.0.attn_q.weight': row 5, column 17 holds a NaN") != NULL);
    f->values[3][5 * ROW + 17] = 0;
    pare_store_f32le(f->im.grams.list[0].own + 4 * 7, NAN);
    CHECK(try_refine(f, beside, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "folder/full.gguf: tensor 'blk.0.attn_q.weight': the mean product of columns 3 and 1 is") !=
          NULL);
    f->im.grams.list[0].n_columns = ROW / 2; /* of another width than the tensors': they are not meant */
    CHECK_OK(try_refine(f, beside, &err), &err);
    close_fixture(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_has_statistics_is_encoded_with_them),
        cmocka_unit_test(the_ratio_is_what_the_bytes_say),
        cmocka_unit_test(experts_are_encoded_with_their_factors),
        cmocka_unit_test(effort_is_how_often_it_looks),
        cmocka_unit_test(experts_are_encoded_with_their_own_products),
        cmocka_unit_test(models_refined_together_are_as_alone),
        cmocka_unit_test(experts_without_inputs_are_left),
        cmocka_unit_test(keys_know_whose_tokens_count),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(without_statistics_nothing_is_done),
        cmocka_unit_test(a_killed_run_goes_on),
        cmocka_unit_test(a_state_that_holds_nothing_is_made_anew),
        cmocka_unit_test(a_state_of_another_run_is_refused),
        cmocka_unit_test(damage_is_made_good),
        cmocka_unit_test(what_is_wrong_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
