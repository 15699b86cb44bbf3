/* Tensors in several types, taken over from an earlier run, and types that others beat. */
#include "check.h"

#include "eval/collect.h"
#include "eval/tokenizer.h"
#include "fit/probe.h"
#include "fit/row_sample.h"
#include "formats/open.h"
#include "quant/feedback.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct setup {
    pare_model m;
    pare_imatrix im;
    bool *allowed;
    char folder[512];
    pare_encodings_options o;
} setup;

static int n_told;

static void count(double part, const char *tensor, pare_type type, void *user)
{
    (void)tensor;
    (void)type;
    (void)user;
    CHECK(part >= 0 && part <= 1);
    n_told++;
}

/* Statistics of as many tokens as the demo model's widest matrix has columns; keys and values of layer 1 alone are
 * encoded. */
static void open_setup(setup *s)
{
    size_t n;
    pare_tokenizer *tokenizer;
    pare_backend *b;
    pare_ids ids = {0};
    pare_error err = {0};
    const pare_collect_options collect = {.n_ctx = 256, .n_chunks = 3, .full = true};
    memset(s, 0, sizeof *s);
    CHECK_OK(pare_model_open(&s->m, source_path("tests/data/demo"), 0, &err), &err);
    CHECK_OK(pare_tokenizer_open(&tokenizer, &s->m.vocab, &err), &err);
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    uint8_t *text = check_read_file(source_path("tests/data/demo/text.txt"), &n);
    CHECK_OK(pare_tokenize(tokenizer, (const char *)text, 6000, PARE_TOKENIZE_BOS, &ids, &err), &err);
    CHECK_OK(pare_collect(&s->im, &s->m, b, ids.ids, ids.n, s->m.vocab.bos, &collect, NULL, NULL, &err), &err);
    s->im.path = "statistics";
    s->allowed = check_malloc(s->m.n_tensors * PARE_TYPE_COUNT);
    for (size_t i = 0; i < s->m.n_tensors; i++)
        memset(s->allowed + i * PARE_TYPE_COUNT,
               strcmp(s->m.tensors[i].name, "blk.1.attn_k.weight") == 0 ||
                   strcmp(s->m.tensors[i].name, "blk.1.attn_v.weight") == 0,
               PARE_TYPE_COUNT);
    snprintf(s->folder, sizeof s->folder, "%s", temp_dir());
    s->o = (pare_encodings_options){.model = &s->m,
                                    .imatrix = &s->im,
                                    .allowed = s->allowed,
                                    .folder = s->folder,
                                    .about = "a test\n",
                                    .each = count};
    free(text);
    free(ids.ids);
    b->close(b);
    pare_tokenizer_close(tokenizer);
}

static void close_setup(setup *s)
{
    pare_imatrix_close(&s->im);
    pare_model_close(&s->m);
    free(s->allowed);
}

static void make(pare_encodings *e, const setup *s)
{
    pare_error err = {0};
    CHECK_OK(pare_encodings_open(e, &s->o, &err), &err);
    CHECK_OK(pare_encodings_add(e, PARE_TYPE_Q4_K, NULL, &err), &err);
    CHECK_OK(pare_encodings_add(e, PARE_TYPE_Q2_K, NULL, &err), &err);
    CHECK_OK(pare_encodings_add(e, PARE_TYPE_Q4_K, NULL, &err), &err); /* there is nothing more to do */
}

/* sum (x - y)^2 / sum x^2 of what the bytes are decoded to */
static double error_of(const pare_tensor *t, const pare_encoding *one)
{
    const pare_type_info *info = pare_type_get(one->type);
    const size_t n = (size_t)(t->n_rows * t->row_len);
    float *x = check_malloc(n * sizeof *x), *y = check_malloc(n * sizeof *y);
    double error = 0, energy = 0;
    pare_error err = {0};
    CHECK_OK(pare_tensor_read_f32(t, 0, t->n_rows, x, &err), &err);
    info->decode(one->data, y, n / info->block_len);
    for (size_t i = 0; i < n; i++) {
        error += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        energy += (double)x[i] * (double)x[i];
    }
    free(x);
    free(y);
    return error / energy;
}

static void a_later_run_takes_them_over(void **state)
{
    setup s;
    pare_encodings e, again;
    pare_error err = {0};
    (void)state;
    open_setup(&s);
    n_told = 0;
    make(&e, &s);
    CHECK(e.n_encoded == 4 && e.n_taken == 0 && n_told > 3);
    const size_t k = (size_t)(pare_model_find(&s.m, "blk.1.attn_k.weight") - s.m.tensors);
    CHECK(e.of[k].n == 2 && e.of[k].list[0].type == PARE_TYPE_Q2_K && e.of[k].list[0].bytes < e.of[k].list[1].bytes);
    CHECK(e.of[k].list[0].form > 3 * e.of[k].list[1].form && e.of[k].list[1].form > 0);
    CHECK(e.of[0].n == 0 && pare_encodings_find(&e, 0, PARE_TYPE_Q4_K) == NULL);
    for (int i = 0; i < 2; i++)
        CHECK(fabs(error_of(&s.m.tensors[k], &e.of[k].list[i]) / e.of[k].list[i].error - 1) < 1e-6);
    uint8_t first[4096];
    memcpy(first, e.of[k].list[0].data, sizeof first);
    pare_encodings_close(&e);
    make(&again, &s);
    CHECK(again.n_encoded == 0 && again.n_taken == 4);
    CHECK(memcmp(first, again.of[k].list[0].data, sizeof first) == 0);
    const double form = again.of[k].list[0].form;
    pare_encodings_close(&again);
    s.o.about = "another test\n";
    CHECK_OK(pare_encodings_open(&again, &s.o, &err), &err);
    CHECK_OK(pare_encodings_add(&again, PARE_TYPE_Q2_K, NULL, &err), &err);
    CHECK(again.n_encoded == 2 && again.n_taken == 0);
    CHECK(fabs(again.of[k].list[0].form / form - 1) < 1e-12);
    pare_encodings_close(&again);
    close_setup(&s);
}

static int n_warned;

static void count_warnings(const char *text, void *user)
{
    (void)text;
    (void)user;
    n_warned++;
}

/* What is searched, for want of statistics that serve, is kept, too; who asked for the types says so, once. */
static void what_feedback_cannot_encode_is_kept(void **state)
{
    setup s;
    pare_encodings e, again;
    uint8_t first[4096];
    (void)state;
    open_setup(&s);
    for (size_t i = 0; i < s.im.grams.n; i++)
        s.im.grams.list[i].count = 10;
    n_warned = 0;
    pare_set_warn_sink(count_warnings, NULL);
    const size_t v = (size_t)(pare_model_find(&s.m, "blk.1.attn_v.weight") - s.m.tensors);
    make(&e, &s);
    CHECK(e.n_encoded == 4 && e.n_taken == 0 && e.n_without == 2 && n_warned == 0);
    CHECK(strstr(e.without, "10 tokens are too few") != NULL && isnan(e.of[v].list[0].form));
    const double error = e.of[v].list[0].error;
    CHECK(fabs(error_of(&s.m.tensors[v], &e.of[v].list[0]) / error - 1) < 1e-6);
    memcpy(first, e.of[v].list[0].data, sizeof first);
    pare_encodings_close(&e);
    make(&again, &s);
    CHECK(again.n_encoded == 0 && again.n_taken == 4 && again.n_without == 2);
    CHECK(memcmp(first, again.of[v].list[0].data, sizeof first) == 0 && again.of[v].list[0].error == error);
    pare_encodings_close(&again);
    pare_imatrix_entry *entry = (pare_imatrix_entry *)(uintptr_t)pare_imatrix_find(&s.im, "blk.1.attn_v.weight");
    ((float *)(uintptr_t)entry->sum2)[3] *= 100; /* other importances: that tensor is made anew */
    make(&again, &s);
    CHECK(again.n_encoded == 2 && again.n_taken == 2);
    pare_encodings_close(&again);
    pare_set_warn_sink(NULL, NULL);
    close_setup(&s);
}

/* Those that are wanted now, then others; the first are taken from their state. */
static void tensors_come_one_by_one(void **state)
{
    setup s;
    pare_encodings e;
    pare_error err = {0};
    (void)state;
    open_setup(&s);
    s.o.about = "one by one\n"; /* states of other tests are of no use */
    const size_t k = (size_t)(pare_model_find(&s.m, "blk.1.attn_k.weight") - s.m.tensors);
    bool *wanted = check_malloc(s.m.n_tensors * sizeof *wanted);
    memset(wanted, 0, s.m.n_tensors * sizeof *wanted);
    wanted[k] = true;
    CHECK_OK(pare_encodings_open(&e, &s.o, &err), &err);
    CHECK_OK(pare_encodings_add(&e, PARE_TYPE_Q4_K, wanted, &err), &err);
    CHECK(e.n_encoded == 1 && pare_encodings_find(&e, k, PARE_TYPE_Q4_K) != NULL);
    size_t n = 0;
    for (size_t i = 0; i < s.m.n_tensors; i++)
        n += e.of[i].n;
    CHECK(n == 1);
    const double form = pare_encodings_find(&e, k, PARE_TYPE_Q4_K)->form;
    wanted[k] = false; /* it stays all the same */
    for (size_t i = 0; i < s.m.n_tensors; i++)
        wanted[i] = i != k;
    CHECK_OK(pare_encodings_add(&e, PARE_TYPE_Q4_K, wanted, &err), &err);
    CHECK(e.n_encoded == 2 && e.n_taken == 1 && e.n_types == 1);
    CHECK(e.of[k].n == 1 && e.of[k].list[0].form == form && form > 0 && e.of[k].list[0].data != NULL);
    pare_encodings_close(&e);
    free(wanted);
    close_setup(&s);
}

/* Of both kinds of units. */
static const pare_type several[] = {PARE_TYPE_IQ3_XXS, PARE_TYPE_Q4_K, PARE_TYPE_Q5_1};
enum { N_SEVERAL = sizeof several / sizeof *several };

static pare_status make_several(pare_encodings *e, const setup *s, pare_error *err)
{
    pare_encodings_want wants[N_SEVERAL];
    for (size_t k = 0; k < N_SEVERAL; k++)
        wants[k] = (pare_encodings_want){.e = e, .type = several[k]};
    pare_status st = pare_encodings_open(e, &s->o, err);
    return st == PARE_OK ? pare_encodings_add_all(wants, N_SEVERAL, err) : st;
}

static void check_same(const pare_encodings *a, const pare_encodings *b, size_t n_tensors)
{
    for (size_t i = 0; i < n_tensors; i++) {
        CHECK(a->of[i].n == b->of[i].n);
        for (size_t k = 0; k < a->of[i].n; k++) {
            const pare_encoding *x = &a->of[i].list[k], *y = &b->of[i].list[k];
            CHECK(x->type == y->type && x->bytes == y->bytes && memcmp(x->data, y->data, (size_t)x->bytes) == 0);
            CHECK(x->form > 0 && x->form == y->form && x->error == y->error && x->feedback == y->feedback);
            CHECK(memcmp(&x->weighted_error, &y->weighted_error, sizeof x->weighted_error) == 0); /* or NAN */
        }
    }
}

/* Beside layer 1's keys and values, which one form of each kind serves, what attention puts out, and the embedding,
 * which has a form of its own, in one type. */
static void allow_more(setup *s)
{
    const size_t out = (size_t)(pare_model_find(&s->m, "blk.1.attn_output.weight") - s->m.tensors);
    const size_t embedding = (size_t)(pare_model_find(&s->m, "token_embd.weight") - s->m.tensors);
    memset(s->allowed + out * PARE_TYPE_COUNT, 1, PARE_TYPE_COUNT);
    s->allowed[embedding * PARE_TYPE_COUNT + PARE_TYPE_Q4_K] = true;
    s->o.effort = PARE_EFFORT_FAST;
}
enum { N_MADE = 3 * N_SEVERAL + 1 };

enum { MAX_TURNS = 64 };
typedef struct turns {
    char tensor[MAX_TURNS][64];
    pare_type type[MAX_TURNS];
    size_t n;
    double part;
    const char *folder, *copy; /* when more than half is done; copy NULL: it was */
} turns;

static void take_turn(double part, const char *tensor, pare_type type, void *user)
{
    turns *t = user;
    CHECK(part >= t->part && part <= 1 && t->n < MAX_TURNS);
    t->part = part;
    if (part > 0.5 && tensor[0] != '\0' && t->copy != NULL) {
        char command[1200];
        snprintf(command, sizeof command, "cp -r '%s' '%s'", t->folder, t->copy);
        CHECK(system(command) == 0);
        t->copy = NULL;
    }
    if (tensor[0] == '\0' || (t->n > 0 && t->type[t->n - 1] == type && strcmp(t->tensor[t->n - 1], tensor) == 0))
        return;
    snprintf(t->tensor[t->n], sizeof *t->tensor, "%s", tensor);
    t->type[t->n++] = type;
}

static void make_folder(setup *s, const char *name)
{
    char command[1200];
    snprintf(s->folder, sizeof s->folder, "%s/%s", temp_dir(), name);
    snprintf(command, sizeof command, "mkdir '%s'", s->folder);
    CHECK(system(command) == 0);
}

/* What the form of the turn is of: layer 1's keys and values have the same inputs. */
static char form_of(const turns *t, size_t i)
{
    return strstr(t->tensor[i], "attn_k") != NULL || strstr(t->tensor[i], "attn_v") != NULL ? 'i'
           : strstr(t->tensor[i], "attn_output") != NULL                                    ? 'o'
                                                                                            : 'e';
}

/* Several types at once have the bytes that they have one by one; tensors that a form serves follow each other, in all
 * types; and a run that ended in the middle is gone on with. */
static void types_made_together_are_those_made_alone(void **state)
{
    setup s;
    pare_encodings alone, together, again;
    pare_error err = {0};
    char copy[sizeof s.folder];
    size_t n_forms = 0;
    (void)state;
    open_setup(&s);
    allow_more(&s);
    make_folder(&s, "alone");
    CHECK_OK(pare_encodings_open(&alone, &s.o, &err), &err);
    for (size_t k = 0; k < N_SEVERAL; k++)
        CHECK_OK(pare_encodings_add(&alone, several[k], NULL, &err), &err);
    make_folder(&s, "together");
    snprintf(copy, sizeof copy, "%s/copy", temp_dir());
    turns t = {.folder = s.folder, .copy = copy};
    s.o.each = take_turn;
    s.o.user = &t;
    CHECK_OK(make_several(&together, &s, &err), &err);
    CHECK(together.n_encoded == N_MADE && together.n_taken == 0 && together.n_types == N_SEVERAL);
    check_same(&alone, &together, s.m.n_tensors);
    CHECK(t.n == N_MADE && t.part == 1 && t.copy == NULL);
    for (size_t i = 0; i < t.n; i++)
        n_forms += i == 0 || form_of(&t, i) != form_of(&t, i - 1) ||
                   pare_feedback_unit(t.type[i]) != pare_feedback_unit(t.type[i - 1]);
    CHECK(n_forms == 5);
    t = (turns){0};
    snprintf(s.folder, sizeof s.folder, "%s", copy);
    CHECK_OK(make_several(&again, &s, &err), &err);
    CHECK(again.n_taken > 1 && again.n_encoded > 0 && again.n_taken + again.n_encoded == N_MADE);
    CHECK(t.n == again.n_encoded);
    check_same(&alone, &again, s.m.n_tensors);
    pare_encodings_close(&again);
    pare_imatrix_entry *entry = (pare_imatrix_entry *)(uintptr_t)pare_imatrix_find(&s.im, "blk.1.attn_v.weight");
    ((float *)(uintptr_t)entry->sum2)[3] *= 100; /* other importances: that tensor is made anew, and no other */
    t = (turns){0};
    CHECK_OK(make_several(&again, &s, &err), &err);
    CHECK(again.n_encoded == N_SEVERAL && again.n_taken == N_MADE - N_SEVERAL);
    for (size_t i = 0; i < t.n; i++)
        CHECK(strcmp(t.tensor[i], "blk.1.attn_v.weight") == 0);
    pare_encodings_close(&again);
    pare_encodings_close(&together);
    pare_encodings_close(&alone);
    close_setup(&s);
}

/* All rows and some, of two models, at once. */
static void models_are_encoded_together(void **state)
{
    setup s;
    pare_row_sample sample;
    pare_encodings whole, some, alone;
    pare_error err = {0};
    (void)state;
    open_setup(&s);
    make_folder(&s, "whole");
    const size_t k = (size_t)(pare_model_find(&s.m, "blk.1.attn_k.weight") - s.m.tensors);
    bool *wanted = check_malloc(s.m.n_tensors * sizeof *wanted);
    memset(wanted, 0, s.m.n_tensors * sizeof *wanted);
    wanted[k] = true;
    CHECK_OK(pare_row_sample_open(&sample, &s.m, wanted, s.m.tensors[k].row_len * 4, &err), &err);
    CHECK(sample.model.n_tensors == 1);
    bool allowed[PARE_TYPE_COUNT];
    memset(allowed, 1, sizeof allowed);
    pare_encodings_options o = s.o;
    char folder[sizeof s.folder];
    o.model = &sample.model;
    o.allowed = allowed;
    snprintf(folder, sizeof folder, "%s", s.folder);
    o.folder = folder;
    make_folder(&s, "rows");
    CHECK_OK(pare_encodings_open(&whole, &s.o, &err), &err);
    CHECK_OK(pare_encodings_open(&some, &o, &err), &err);
    const pare_encodings_want wants[] = {
        {&whole, PARE_TYPE_Q4_K, wanted}, {&some, PARE_TYPE_Q4_K, NULL}, {&some, PARE_TYPE_IQ2_S, NULL}};
    CHECK_OK(pare_encodings_add_all(wants, 3, &err), &err);
    CHECK(whole.n_encoded == 1 && some.n_encoded == 2 && pare_encodings_find(&whole, k, PARE_TYPE_IQ2_S) == NULL);
    make_folder(&s, "rows alone");
    o.folder = s.folder;
    CHECK_OK(pare_encodings_open(&alone, &o, &err), &err);
    CHECK_OK(pare_encodings_add(&alone, PARE_TYPE_IQ2_S, NULL, &err), &err);
    CHECK_OK(pare_encodings_add(&alone, PARE_TYPE_Q4_K, NULL, &err), &err);
    check_same(&alone, &some, 1);
    CHECK(pare_encodings_find(&whole, k, PARE_TYPE_Q4_K)->form > some.of[0].list[1].form);
    pare_encodings_close(&whole);
    pare_encodings_close(&some);
    pare_encodings_close(&alone);
    pare_row_sample_close(&sample);
    free(wanted);
    close_setup(&s);
}

static void types_that_others_beat_are_needless(void **state)
{
    static const pare_type all[] = {PARE_TYPE_Q4_0, PARE_TYPE_IQ4_NL, PARE_TYPE_IQ4_XS,
                                    PARE_TYPE_Q2_K, PARE_TYPE_IQ2_S,  PARE_TYPE_Q8_0},
                           few[] = {PARE_TYPE_Q4_0, PARE_TYPE_IQ4_XS, PARE_TYPE_Q2_K, PARE_TYPE_Q8_0};
    setup s;
    bool needless[PARE_TYPE_COUNT];
    pare_error err = {0};
    (void)state;
    open_setup(&s);
    CHECK_OK(pare_probe_types(&s.o, all, 6, needless, &err), &err);
    CHECK(needless[PARE_TYPE_Q4_0] && needless[PARE_TYPE_Q2_K]);
    CHECK(!needless[PARE_TYPE_IQ2_S] && !needless[PARE_TYPE_IQ4_XS] && !needless[PARE_TYPE_Q8_0]);
    /* IQ4_XS beats Q4_0, but its blocks of 256 do not fit all rows that those of 32 do. */
    memset(s.allowed, 1, PARE_TYPE_COUNT);
    s.allowed[PARE_TYPE_IQ4_XS] = false;
    CHECK_OK(pare_probe_types(&s.o, few, 4, needless, &err), &err);
    for (int i = 0; i < 4; i++)
        CHECK(!needless[few[i]]);
    s.o.imatrix = NULL;
    memset(needless, 1, sizeof needless);
    CHECK_OK(pare_probe_types(&s.o, all, 6, needless, &err), &err);
    for (int i = 0; i < 6; i++)
        CHECK(!needless[all[i]]);
    close_setup(&s);
}

static void names_are_patterns(void **state)
{
    static const char *const names[][2] = {{"blk.0.attn_q.weight", "^blk\\.0\\.attn_q\\.weight$"},
                                           {"a+b(c)[d]{e}|^$?*\\", "^a\\+b\\(c\\)\\[d\\]\\{e\\}\\|\\^\\$\\?\\*\\\\$"}};
    (void)state;
    for (int i = 0; i < 2; i++) {
        char *pattern;
        pare_error err = {0};
        CHECK_OK(pare_pattern_of_name(&pattern, names[i][0], &err), &err);
        CHECK(strcmp(pattern, names[i][1]) == 0);
        free(pattern);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_later_run_takes_them_over), cmocka_unit_test(what_feedback_cannot_encode_is_kept),
        cmocka_unit_test(tensors_come_one_by_one),     cmocka_unit_test(types_made_together_are_those_made_alone),
        cmocka_unit_test(models_are_encoded_together), cmocka_unit_test(types_that_others_beat_are_needless),
        cmocka_unit_test(names_are_patterns)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
