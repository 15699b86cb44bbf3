/* Likelihoods of answers: against lm-eval on the demo model (tests/data/tasks), and the rules by hand. */
#include "chain.h"
#include "check.h"
#include "toy_score.h"

#include "core/threads.h"
#include "eval/item_tokens.h"
#include "eval/task_figures.h"
#include "formats/open.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* lm-eval computes the same model with other kernels; both sum some hundred terms of float32. */
#define TOLERANCE 5e-5

typedef struct fixture {
    pare_model m;
    pare_backend *b;
    pare_tokenizer *t;
} fixture;

static void set_up(fixture *f)
{
    pare_error err = {0};
    *f = (fixture){0};
    CHECK_OK(pare_model_open(&f->m, source_path("tests/data/demo"), 0, &err), &err);
    CHECK_OK(pare_backend_cpu(&f->b, &err), &err);
    CHECK_OK(pare_tokenizer_open(&f->t, &f->m.vocab, &err), &err);
}

static void tear_down(fixture *f)
{
    pare_tokenizer_close(f->t);
    f->b->close(f->b);
    pare_model_close(&f->m);
}

static void load(pare_task *t, const char *name, const pare_task_options *o)
{
    char path[512];
    pare_error err = {0};
    snprintf(path, sizeof path, "tests/data/tasks/%s", name);
    CHECK_OK(pare_task_load(t, source_path(path), o, &err), &err);
}

static void score(const fixture *f, const pare_task *t, uint32_t n_ctx, pare_task_scores *out)
{
    const pare_scorer with = {.m = &f->m, .b = f->b, .tokenizer = f->t, .n_ctx = n_ctx};
    pare_error err = {0};
    CHECK_OK(pare_score_task(out, t, &with, &err), &err);
}

/* One line of expected.tsv. */
typedef struct expected {
    char file[64], format[64];
    size_t item, choice;
    double loglik;
    int greedy;
} expected;

static size_t read_expected(expected *list, size_t cap)
{
    FILE *in = fopen(source_path("tests/data/tasks/expected.tsv"), "r");
    size_t n = 0;
    CHECK(in != NULL);
    while (n < cap && fscanf(in, "%63s %63s %zu %zu %lf %d", list[n].file, list[n].format, &list[n].item,
                             &list[n].choice, &list[n].loglik, &list[n].greedy) == 6)
        n++;
    CHECK(n < cap && feof(in));
    fclose(in);
    return n;
}

static void agrees_with_lm_eval(void **state)
{
    static expected list[256];
    size_t n = read_expected(list, sizeof list / sizeof list[0]), n_files = 0;
    fixture f;
    (void)state;
    set_up(&f);
    for (size_t i = 0; i < n; n_files++) {
        const pare_task_options o = {.format = list[i].format};
        pare_task t;
        pare_task_scores s;
        size_t first = i, n_choices = 0;
        load(&t, list[first].file, &o);
        score(&f, &t, 0, &s);
        for (; i < n && strcmp(list[i].file, list[first].file) == 0 && strcmp(list[i].format, list[first].format) == 0;
             i++) {
            CHECK(list[i].item < t.n_items && list[i].choice < t.items[list[i].item].n_choices);
            const pare_choice_score *c = &s.items[list[i].item].choices[list[i].choice];
            if (fabs(c->loglik - list[i].loglik) > TOLERANCE || c->greedy != list[i].greedy)
                fail_msg("%s: item %zu choice %zu: %.6f %d, lm-eval has %.6f %d", list[i].file, list[i].item,
                         list[i].choice, c->loglik, c->greedy, list[i].loglik, list[i].greedy);
        }
        for (size_t k = 0; k < t.n_items; k++)
            n_choices += t.items[k].n_choices;
        CHECK(i - first == n_choices); /* all of them were compared */
        pare_task_scores_close(&s);
        pare_task_close(&t);
    }
    CHECK(n_files == 10);
    tear_down(&f);
}

static void same_for_any_number_of_threads(void **state)
{
    const pare_task_options o = {0};
    fixture f;
    pare_task t;
    pare_task_scores one, three;
    (void)state;
    set_up(&f);
    load(&t, "hellaswag_val.jsonl", &o);
    pare_set_threads(1);
    score(&f, &t, 0, &one);
    pare_set_threads(3);
    score(&f, &t, 0, &three);
    pare_set_threads(0);
    for (size_t i = 0; i < t.n_items; i++)
        CHECK(memcmp(one.items[i].choices, three.items[i].choices,
                     t.items[i].n_choices * sizeof *one.items[i].choices) == 0);
    pare_task_scores_close(&one);
    pare_task_scores_close(&three);
    pare_task_close(&t);
    tear_down(&f);
}

static void a_backend_that_scores_gives_the_same(void **state)
{
    fixture f;
    (void)state;
    set_up(&f);
    for (int file = 0; file < 2; file++) {
        const pare_task_options o = {0};
        pare_task t;
        pare_task_scores rows, own;
        load(&t, file == 0 ? "hellaswag_val.jsonl" : "lambada_test.jsonl", &o);
        f.b->score = NULL;
        score(&f, &t, 0, &rows);
        f.b->score = toy_score;
        toy_score_calls = 0;
        score(&f, &t, 0, &own);
        CHECK(toy_score_calls > 0 && own.n_tokens == rows.n_tokens);
        for (size_t i = 0; i < t.n_items; i++)
            for (size_t k = 0; k < t.items[i].n_choices; k++) {
                const pare_choice_score *a = &rows.items[i].choices[k], *b = &own.items[i].choices[k];
                CHECK(fabs(a->loglik - b->loglik) < 1e-9 && fabs(a->own_loglik - b->own_loglik) < 1e-9);
                CHECK(a->greedy == b->greedy && a->n_tokens == b->n_tokens);
            }
        pare_task_scores_close(&rows);
        pare_task_scores_close(&own);
        pare_task_close(&t);
    }
    tear_down(&f);
}

/* ln p of each token of ids [n] behind those before it, one pass over the whole. */
static double *token_logliks(const fixture *f, const int32_t *ids, uint32_t n)
{
    size_t n_vocab = f->m.hp.n_vocab;
    float *logits = check_malloc(n * n_vocab * sizeof *logits);
    double *out = check_malloc(n * sizeof *out);
    pare_forward *pass;
    pare_error err = {0};
    CHECK_OK(pare_forward_open(&pass, &f->m, f->b, n, 1, &err), &err);
    CHECK_OK(pare_forward_run(pass, ids, 1, n, &err), &err);
    CHECK_OK(pare_forward_logits(pass, 0, 0, n, logits, &err), &err);
    for (uint32_t i = 0; i + 1 < n; i++) {
        double sum = 0;
        for (size_t v = 0; v < n_vocab; v++)
            sum += exp((double)logits[i * n_vocab + v]);
        out[i + 1] = (double)logits[i * n_vocab + (size_t)ids[i + 1]] - log(sum);
    }
    pare_forward_close(pass);
    free(logits);
    return out;
}

/* llama.cpp's rule: mean over the tokens behind those that all choices begin with, "context choice" being one text. */
static void mean_over_own_tokens(void **state)
{
    const pare_task_options o = {0};
    fixture f;
    pare_task t;
    pare_task_scores s;
    pare_error err = {0};
    (void)state;
    set_up(&f);
    load(&t, "arc_test.jsonl", &o);
    score(&f, &t, 0, &s);
    for (size_t i = 0; i < t.n_items; i++) {
        const pare_item *item = &t.items[i];
        pare_ids ids[8] = {0};
        size_t shared = 0, best = 0;
        double best_mean = -1e9;
        CHECK(item->n_choices <= 8);
        for (size_t k = 0; k < item->n_choices; k++) {
            char text[1024];
            int n = snprintf(text, sizeof text, "%.*s%.*s", (int)item->choices[k].context.len,
                             item->choices[k].context.data, (int)item->choices[k].continuation.len,
                             item->choices[k].continuation.data);
            CHECK_OK(pare_tokenize(f.t, text, (size_t)n, PARE_TOKENIZE_BOS, &ids[k], &err), &err);
        }
        for (bool same = true; same; shared += same)
            for (size_t k = 0; k < item->n_choices; k++)
                same = same && shared + 1 < ids[k].n && ids[k].ids[shared] == ids[0].ids[shared];
        for (size_t k = 0; k < item->n_choices; k++) {
            double *ln_p = token_logliks(&f, ids[k].ids, (uint32_t)ids[k].n), sum = 0;
            for (size_t j = shared; j < ids[k].n; j++)
                sum += ln_p[j];
            const pare_choice_score *c = &s.items[i].choices[k];
            CHECK(c->n_own_tokens == ids[k].n - shared && fabs(c->own_loglik - sum) < TOLERANCE);
            if (sum / c->n_own_tokens > best_mean) {
                best_mean = sum / c->n_own_tokens;
                best = k;
            }
            free(ln_p);
            free(ids[k].ids);
        }
        CHECK(s.items[i].pick[PARE_BY_TOKENS] == best);
    }
    pare_task_scores_close(&s);
    pare_task_close(&t);
    tear_down(&f);
}

/* A task whose items are written here. */
static void one_item(pare_task *t, pare_item *item, pare_choice *choices, size_t n)
{
    *item = (pare_item){.id = {"7", 1}, .choices = choices, .n_choices = n};
    *t = (pare_task){.name = "t", .path = "t", .format = "choices", .has_norm = true, .items = item, .n_items = 1};
    for (size_t i = 0; i < n; i++)
        choices[i].right = i == 0;
}

static pare_choice choice(const char *context, const char *continuation)
{
    bool space = continuation[0] == ' ';
    return (pare_choice){.context = {context, strlen(context)},
                         .continuation = {continuation, strlen(continuation)},
                         .answer = {continuation + space, strlen(continuation) - space}};
}

static void tokens_of_choices(void **state)
{
    pare_choice c[4] = {choice("Peace", " A"), choice("Peace", " B"), choice("Peace", " A people"),
                        choice("Peace \n", "A")};
    pare_item item;
    pare_task t;
    fixture f;
    pare_text_rule rule;
    pare_item_tokens k;
    pare_error err = {0};
    (void)state;
    set_up(&f);
    one_item(&t, &item, c, 3);
    CHECK_OK(pare_text_rule_of(&rule, f.t, &f.m.vocab, &err), &err);
    CHECK(rule.bos == f.m.vocab.bos && rule.prefix == f.m.vocab.bos);
    CHECK_OK(pare_item_tokenize(&k, &item, &rule, 64, &err), &err);
    /* " B" follows the same tokens as " A"; both inputs are the beginning of the third one's */
    CHECK(k.n_inputs == 1 && k.choices[0].input == 0 && k.choices[1].input == 0 && k.choices[2].input == 0);
    CHECK(k.ids[0] == f.m.vocab.bos && k.inputs[0].n == k.choices[2].n - 1);
    CHECK(k.choices[0].n == k.choices[0].n_context + 1 && k.choices[2].n > k.choices[0].n);
    CHECK(k.choices[0].own == k.choices[0].n_context && k.choices[0].last != k.choices[1].last);
    uint32_t n_context = k.choices[0].n_context;
    pare_item_tokens_close(&k);
    one_item(&t, &item, c + 3, 1); /* white space at the end of the context is scored with the continuation */
    CHECK_OK(pare_item_tokenize(&k, &item, &rule, 64, &err), &err);
    CHECK(k.choices[0].n_context == n_context && k.choices[0].n > n_context + 1);
    pare_item_tokens_close(&k);
    char said[64]; /* a text may say BOS itself */
    const pare_str bos = f.m.vocab.tokens[f.m.vocab.bos];
    snprintf(said, sizeof said, "%.*sPeace", (int)bos.len, bos.data);
    c[0] = choice(said, " A");
    one_item(&t, &item, c, 1);
    CHECK_OK(pare_item_tokenize(&k, &item, &rule, 64, &err), &err);
    CHECK(k.ids[0] == f.m.vocab.bos && k.ids[1] != f.m.vocab.bos);
    uint32_t n_input = k.inputs[0].n;
    pare_item_tokens_close(&k);
    CHECK_OK(pare_item_tokenize(&k, &item, &rule, n_input, &err), &err);
    CHECK(!k.too_long && k.choices[0].n == n_input + 1); /* the last token is scored only */
    pare_item_tokens_close(&k);
    CHECK_OK(pare_item_tokenize(&k, &item, &rule, n_input - 1, &err), &err);
    CHECK(k.too_long && k.n_inputs == 0);
    pare_item_tokens_close(&k);
    c[0] = choice(" ", "Peace"); /* nothing is left of the context: BOS stands for it */
    one_item(&t, &item, c, 1);
    rule.bos = PARE_TOKEN_NONE;
    CHECK_OK(pare_item_tokenize(&k, &item, &rule, 64, &err), &err);
    CHECK(k.ids[0] == f.m.vocab.bos && k.choices[0].n_context == 1 && k.choices[0].n > 1);
    pare_item_tokens_close(&k);
    pare_vocab without = f.m.vocab;
    without.bos = PARE_TOKEN_NONE;
    CHECK_OK(pare_text_rule_of(&rule, f.t, &without, &err), &err);
    CHECK(rule.bos == PARE_TOKEN_NONE && rule.prefix == f.m.vocab.eos && rule.prefix != PARE_TOKEN_NONE);
    rule.prefix = PARE_TOKEN_NONE;
    CHECK(pare_item_tokenize(&k, &item, &rule, 64, &err) == PARE_ERR_FORMAT && strstr(err.text, "item '7'") != NULL);
    tear_down(&f);
}

static void items_that_do_not_fit(void **state)
{
    const pare_task_options o = {0};
    fixture f;
    pare_task t;
    pare_task_scores s;
    pare_task_figure figures[PARE_MAX_FIGURES];
    pare_error err = {0};
    size_t n;
    (void)state;
    set_up(&f);
    load(&t, "lambada_test.jsonl", &o);
    score(&f, &t, 20, &s);
    CHECK(s.n_ctx == 20 && s.n_too_long == 1 && s.items[0].too_long && !s.items[1].too_long);
    CHECK(isnan(pare_item_value(&s, 0, PARE_BY_SUM)) && !isnan(pare_item_value(&s, 1, PARE_BY_SUM)));
    CHECK_OK(pare_task_figures(&s, figures, &n, &err), &err);
    CHECK(n == 2 && strcmp(figures[0].key, "acc") == 0 && strcmp(figures[1].key, "perplexity") == 0);
    double mean = (s.items[1].choices[0].loglik + s.items[2].choices[0].loglik) / 2;
    CHECK(fabs(figures[1].mean.value - exp(-mean)) < 1e-9 * exp(-mean));
    pare_task_scores_close(&s);
    score(&f, &t, 1, &s); /* nothing fits */
    CHECK(s.n_too_long == t.n_items);
    CHECK_OK(pare_task_figures(&s, figures, &n, &err), &err);
    CHECK(isnan(figures[0].mean.value));
    pare_task_scores_close(&s);
    score(&f, &t, 0, &s);
    CHECK(s.n_ctx == f.m.hp.n_ctx_train && s.n_too_long == 0);
    t.items[0].group = t.items[1].group = (pare_str){"g", 1};
    CHECK_OK(pare_task_figures(&s, figures, &n, &err), &err);
    double l[3], sum;
    for (int i = 0; i < 3; i++)
        l[i] = s.items[i].choices[0].loglik;
    mean = (l[0] + l[1] + l[2]) / 3;
    sum = (l[0] + l[1] - 2 * mean) * (l[0] + l[1] - 2 * mean) + (l[2] - mean) * (l[2] - mean);
    CHECK(fabs(figures[1].clustered_stderr / (sqrt(sum) / 3 * exp(-mean)) - 1) < 1e-9);
    pare_task_scores_close(&s);
    pare_task_close(&t);
    tear_down(&f);
}

static void rules_and_errors_of_means(void **state)
{
    /* The shortest answer wins by sum; which wins by characters depends on lengths alone here. */
    pare_choice c[2] = {choice("c", " aaaa"), choice("c", " bb")};
    pare_item items[4];
    pare_choice_score scores[2] = {{.loglik = -3, .n_chars = 4}, {.loglik = -2, .n_chars = 2}};
    pare_item_score item_scores[4];
    pare_task t;
    pare_task_figure f;
    pare_error err = {0};
    static const char *const groups[4] = {"x", "x", "y", ""};
    const double values[4] = {1, 1, 0, 0};
    (void)state;
    one_item(&t, &items[0], c, 2);
    item_scores[0] = (pare_item_score){.choices = scores, .pick = {1, 0, 1}, .mass = 0.25};
    pare_task_scores s = {.task = &t, .items = item_scores};
    CHECK(pare_item_value(&s, 0, PARE_BY_SUM) == 0 && pare_item_value(&s, 0, PARE_BY_CHARS) == 1);
    t.kind = PARE_TASK_MASS;
    CHECK(pare_item_value(&s, 0, PARE_BY_SUM) == 0.25);
    for (size_t i = 0; i < 4; i++) {
        items[i] = items[0];
        items[i].group = (pare_str){groups[i], strlen(groups[i])};
    }
    t.n_items = 4;
    CHECK_OK(pare_task_mean(&t, values, &f, &err), &err);
    CHECK(fabs(f.mean.value - 0.5) < 1e-15 && fabs(f.mean.stderr_ - sqrt(1.0 / 3 / 4)) < 1e-12);
    /* groups: (0.5 + 0.5)^2 + 0.5^2 + 0.5^2 = 1.5 */
    CHECK(fabs(f.clustered_stderr - sqrt(1.5) / 4) < 1e-12);
    const double some[4] = {NAN, 1, 0, 0}; /* (2/3)^2 + (2/3)^2 = 8/9 */
    items[3].group = items[2].group;
    CHECK_OK(pare_task_mean(&t, some, &f, &err), &err); /* 1 of x, twice 0 of y */
    CHECK(fabs(f.mean.value - 1.0 / 3) < 1e-15 && fabs(f.clustered_stderr - sqrt(8.0) / 9) < 1e-12);
    items[3].group = (pare_str){"", 0};
    items[0].group = items[2].group = (pare_str){"", 0};
    CHECK_OK(pare_task_mean(&t, values, &f, &err), &err);
    CHECK(isnan(f.clustered_stderr)); /* each item is a group of its own */
}

static void logits_that_are_not_finite(void **state)
{
    pare_choice c[1] = {choice("Peace", " people")};
    pare_item item;
    pare_task t;
    pare_task_scores s;
    fixture f;
    pare_error err = {0};
    (void)state;
    set_up(&f);
    one_item(&t, &item, c, 1);
    f.m.hp.logit_scale = NAN;
    const pare_scorer with = {.m = &f.m, .b = f.b, .tokenizer = f.t};
    CHECK(pare_score_task(&s, &t, &with, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "item '7'") != NULL && strstr(err.text, "token id 0 is NaN") != NULL);
    CHECK(strstr(err.text, "all that go into and out of the layers are finite") != NULL);
    tear_down(&f);
}

/* What follows is known of each token: c follows a space and a, a follows c. */
enum { UNK, BOS, SPACE, A, B, C, AB, BAD, N_IDS };

static const chain_token tokens[N_IDS] = {
    [UNK] = {"<unk>", PARE_TOKEN_UNKNOWN, CHAIN_EVEN}, [BOS] = {"<s>", PARE_TOKEN_CONTROL, SPACE},
    [SPACE] = {"\xe2\x96\x81", PARE_TOKEN_NORMAL, C},  [A] = {"a", PARE_TOKEN_NORMAL, C},
    [B] = {"b", PARE_TOKEN_NORMAL, CHAIN_EVEN},        [C] = {"c", PARE_TOKEN_NORMAL, A},
    [AB] = {"ab", PARE_TOKEN_NORMAL, CHAIN_EVEN},      [BAD] = {"z", PARE_TOKEN_NORMAL, CHAIN_NAN},
};

/* ln p of a token that follows, and of one that does not. */
static double likely(bool follows)
{
    double logit = 2 * sqrt(N_IDS);
    return (follows ? logit : 0) - log(exp(logit) + N_IDS - 1);
}

static void scores_are(const pare_choice_score *c, uint32_t n, double sum, uint32_t n_own, double own, bool greedy)
{
    CHECK(c->n_tokens == n && c->n_own_tokens == n_own && c->greedy == greedy);
    CHECK(fabs(c->loglik - sum) < 1e-4 && fabs(c->own_loglik - own) < 1e-4);
}

static void tokens_across_the_border(void **state)
{
    pare_choice merged[2] = {choice("a", "b"), choice("a", "c")}, shared[2] = {choice("a", "ca"), choice("a", "cb")};
    pare_item item;
    pare_task t;
    pare_task_scores s;
    pare_error err = {0};
    chain c;
    (void)state;
    chain_open(&c, tokens, N_IDS, N_IDS, 16);
    const pare_scorer with = {.m = &c.m, .b = c.b, .tokenizer = c.tokenizer};
    /* <s> _ ab and <s> _ a c: of the second the a belongs to the context, but choices differ from there on */
    one_item(&t, &item, merged, 2);
    CHECK_OK(pare_score_task(&s, &t, &with, &err), &err);
    scores_are(&s.items[0].choices[0], 1, likely(false), 1, likely(false), false);
    scores_are(&s.items[0].choices[1], 1, likely(true), 2, likely(false) + likely(true), true);
    pare_task_scores_close(&s);
    /* <s> _ a c a and <s> _ a c b: the c is no choice's own */
    one_item(&t, &item, shared, 2);
    CHECK_OK(pare_score_task(&s, &t, &with, &err), &err);
    scores_are(&s.items[0].choices[0], 2, 2 * likely(true), 1, likely(true), true);
    scores_are(&s.items[0].choices[1], 2, likely(true) + likely(false), 1, likely(false), false);
    pare_task_scores_close(&s);
    /* contexts that differ: what they share is no choice's own */
    shared[1] = choice("ac", "ac");
    one_item(&t, &item, shared, 2);
    CHECK_OK(pare_score_task(&s, &t, &with, &err), &err);
    scores_are(&s.items[0].choices[0], 2, 2 * likely(true), 2, 2 * likely(true), true);
    scores_are(&s.items[0].choices[1], 2, 2 * likely(true), 2, 2 * likely(true), true);
    pare_task_scores_close(&s);
    chain_close(&c);
}

/* More tokens are scored than there is room for logits at once. */
static void long_continuations(void **state)
{
    enum { N = 2500 };
    char text[2 * N + 1];
    pare_choice one[1];
    pare_item item;
    pare_task t;
    pare_task_scores s;
    pare_error err = {0};
    chain c;
    (void)state;
    for (int i = 0; i < N; i++)
        memcpy(text + 2 * i, "ca", 3);
    one[0] = choice("a", text);
    chain_open(&c, tokens, N_IDS, N_IDS, 3 * N);
    const pare_scorer with = {.m = &c.m, .b = c.b, .tokenizer = c.tokenizer};
    one_item(&t, &item, one, 1);
    CHECK_OK(pare_score_task(&s, &t, &with, &err), &err);
    CHECK(s.items[0].choices[0].n_tokens == 2 * N && s.items[0].choices[0].greedy);
    CHECK(fabs(s.items[0].choices[0].loglik / (2 * N) - likely(true)) < 1e-5);
    pare_task_scores_close(&s);
    chain_close(&c);
}

static void see_done(size_t n_done, size_t n_items, void *user)
{
    CHECK(n_done <= n_items);
    *(size_t *)user = n_done;
}

/* Two items in one pass, the second of which has a logit that is no number; a third does not fit. */
static void errors_name_the_item(void **state)
{
    pare_choice good[1] = {choice("a", "cacaca")}, bad[1] = {choice("a", "cz")},
                long_one[1] = {choice("a", "cacacacacacacacaca")};
    pare_item items[3];
    pare_task t;
    pare_task_scores s;
    pare_error err = {0};
    size_t n_done = 0;
    chain c;
    (void)state;
    chain_open(&c, tokens, N_IDS, N_IDS, 16);
    const pare_scorer with = {.m = &c.m, .b = c.b, .tokenizer = c.tokenizer, .each = see_done, .user = &n_done};
    one_item(&t, &items[1], bad, 1);
    one_item(&t, &items[2], long_one, 1);
    one_item(&t, &items[0], good, 1);
    items[1].id = (pare_str){"8", 1};
    t.items = items;
    t.n_items = 3;
    CHECK_OK(pare_score_task(&s, &t, &with, &err), &err); /* z is scored, but nothing behind it */
    CHECK(n_done == 3 && s.n_too_long == 1 && s.items[2].too_long);
    pare_task_scores_close(&s);
    bad[0] = choice("a", "czc"); /* <s> _ a c z c */
    CHECK(pare_score_task(&s, &t, &with, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "item '8'") != NULL && strstr(err.text, "behind token 4 ") != NULL);
    CHECK(strstr(err.text, "is NaN") != NULL);
    const pare_error by_rows = err;
    c.b->score = toy_score;
    CHECK(pare_score_task(&s, &t, &with, &err) == PARE_ERR_NUMBER && strcmp(err.text, by_rows.text) == 0);
    c.b->score = NULL;
    bad[0] = choice("a", "c");
    c.m.hp.logit_scale = 3e38f;
    err = (pare_error){0};
    CHECK(pare_score_task(&s, &t, &with, &err) == PARE_ERR_NUMBER && strstr(err.text, "is infinite") != NULL);
    chain_close(&c);
}

static void lengths_and_ties(void **state)
{
    pare_choice c[2] = {choice("c", " x"), choice("c", " y")};
    pare_choice_score equal[2] = {{.loglik = -3, .own_loglik = -3, .n_own_tokens = 1, .n_chars = 2, .n_bytes = 6},
                                  {.loglik = -3, .own_loglik = -3, .n_own_tokens = 1, .n_chars = 2, .n_bytes = 6}};
    pare_item_score score = {.choices = equal};
    pare_item item;
    pare_task t;
    (void)state;
    one_item(&t, &item, c, 2);
    pare_item_decide(&score, &item);
    CHECK(score.pick[0] == 0 && score.pick[1] == 0 && score.pick[2] == 0 && fabs(score.mass - 0.5) < 1e-15);
    equal[1].n_chars = 3; /* characters count, not bytes */
    equal[1].n_bytes = 3;
    equal[1].n_own_tokens = 2;
    score = (pare_item_score){.choices = equal};
    pare_item_decide(&score, &item);
    CHECK(score.pick[PARE_BY_SUM] == 0 && score.pick[PARE_BY_CHARS] == 1 && score.pick[PARE_BY_TOKENS] == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_lm_eval),
                                       cmocka_unit_test(tokens_across_the_border),
                                       cmocka_unit_test(long_continuations),
                                       cmocka_unit_test(errors_name_the_item),
                                       cmocka_unit_test(a_backend_that_scores_gives_the_same),
                                       cmocka_unit_test(lengths_and_ties),
                                       cmocka_unit_test(same_for_any_number_of_threads),
                                       cmocka_unit_test(mean_over_own_tokens),
                                       cmocka_unit_test(tokens_of_choices),
                                       cmocka_unit_test(items_that_do_not_fit),
                                       cmocka_unit_test(rules_and_errors_of_means),
                                       cmocka_unit_test(logits_that_are_not_finite)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
