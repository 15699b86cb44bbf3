#include "check.h"
#include "toy.h"

#include "core/threads.h"
#include "eval/measure.h"
#include "eval/tokenizer.h"
#include "formats/open.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 40, CTX = 32, WINDOWS = 5, N_IDS = WINDOWS * CTX + 7 };

static void make_ids(int32_t *ids)
{
    uint64_t seed = 13;
    for (int i = 0; i < N_IDS; i++)
        ids[i] = (int32_t)((toy_random(&seed) + 1) / 2 * (VOCAB - 1));
}

static pare_backend *open_cpu(void)
{
    pare_backend *b = NULL;
    pare_error err = {0};
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    return b;
}

/* ln p of every token at every position of one window, in double from the float logits. */
static double *log_probabilities(const pare_model *m, const int32_t *window)
{
    pare_backend *b = open_cpu();
    pare_forward *f = NULL;
    pare_error err = {0};
    float *logits = check_malloc(CTX * VOCAB * sizeof *logits);
    double *ln_p = check_malloc(CTX * VOCAB * sizeof *ln_p);
    CHECK_OK(pare_forward_open(&f, m, b, CTX, 1, &err), &err);
    CHECK_OK(pare_forward_run(f, window, 1, CTX, &err), &err);
    CHECK_OK(pare_forward_logits(f, 0, 0, CTX, logits, &err), &err);
    for (int t = 0; t < CTX; t++) {
        double sum = 0;
        for (int v = 0; v < VOCAB; v++)
            sum += exp((double)logits[t * VOCAB + v]);
        for (int v = 0; v < VOCAB; v++)
            ln_p[t * VOCAB + v] = (double)logits[t * VOCAB + v] - log(sum);
    }
    pare_forward_close(f);
    b->close(b);
    free(logits);
    return ln_p;
}

static int best(const double *x)
{
    int at = 0;
    for (int v = 1; v < VOCAB; v++)
        at = x[v] > x[at] ? v : at;
    return at;
}

static void count_callback(const pare_eval_result *r, uint32_t n_windows, void *user)
{
    int *calls = user;
    CHECK(n_windows == WINDOWS && r->n_chunks == (uint32_t)++ * calls);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Interpolated at rank f (n - 1). */
static double quantile_of(double *x, int n, double f)
{
    double rank = f * (n - 1), below = floor(rank);
    qsort(x, (size_t)n, sizeof *x, ascending);
    return x[(int)below] + (rank - below) * (x[(int)ceil(rank)] - x[(int)below]);
}

static void agrees_with_the_definition(void **state)
{
    (void)state;
    pare_model model, reference;
    int32_t ids[N_IDS], window[CTX];
    double nll = 0, nll_ref = 0, kld_sum = 0, kld_squares = 0, kld_max = 0, delta_sum = 0, delta_squares = 0, same = 0;
    double differences = 0, difference_squares = 0, nll_squares = 0, klds[WINDOWS * CTX];
    double reverse_sum = 0, ref_squares = 0, products = 0;
    int n = 0, calls = 0;
    toy_llama(&reference, VOCAB, 0);
    toy_llama(&model, VOCAB, 0.05f);
    make_ids(ids);
    for (int w = 0; w < WINDOWS; w++) {
        memcpy(window, ids + w * CTX, sizeof window);
        window[0] = 3;
        double *q = log_probabilities(&model, window), *p = log_probabilities(&reference, window);
        for (int t = CTX / 2; t <= CTX - 2; t++, n++) {
            const double *pt = p + t * VOCAB, *qt = q + t * VOCAB;
            int next = window[t + 1];
            double kld = 0, delta = exp(qt[next]) - exp(pt[next]), d = pt[next] - qt[next];
            for (int v = 0; v < VOCAB; v++)
                kld += exp(pt[v]) * (pt[v] - qt[v]), reverse_sum += exp(qt[v]) * (qt[v] - pt[v]);
            ref_squares += pt[next] * pt[next];
            products += pt[next] * qt[next];
            nll -= qt[next];
            nll_squares += qt[next] * qt[next];
            nll_ref -= pt[next];
            differences += d;
            difference_squares += d * d;
            klds[n] = kld;
            kld_sum += kld;
            kld_squares += kld * kld;
            kld_max = kld > kld_max ? kld : kld_max;
            delta_sum += delta;
            delta_squares += delta * delta;
            same += best(pt) == best(qt);
        }
        free(p);
        free(q);
    }
    pare_backend *b = open_cpu();
    pare_measure_options options = {.windows.n_ctx = CTX};
    pare_eval_result r = {0};
    pare_error err = {0};
    options.each = count_callback;
    options.user = &calls;
    CHECK_OK(pare_measure(&model, &reference, b, ids, N_IDS, 3, &options, &r, &err), &err);
    CHECK(calls == WINDOWS && r.n_chunks == WINDOWS && r.n_ctx == CTX && r.has_reference);
    CHECK(n == WINDOWS * (CTX - 1 - CTX / 2) && r.n_tokens_scored == (uint64_t)n);
    double mean = nll / n;
    CHECK(fabs(r.perplexity.value / exp(mean) - 1) < 1e-6);
    CHECK(fabs(r.perplexity.stderr_ / (exp(mean) * sqrt((nll_squares / n - mean * mean) / (n - 1))) - 1) < 1e-5);
    CHECK(fabs(r.reference_perplexity.value / exp(nll_ref / n) - 1) < 1e-6);
    CHECK(fabs(r.ln_ratio.value - differences / n) < 1e-6);
    CHECK(fabs(r.ln_ratio.stderr_ - sqrt((difference_squares / n - pow(differences / n, 2)) / (n - 1))) < 1e-6);
    CHECK(fabs(r.kld_mean.value - kld_sum / n) < 1e-6 && kld_sum / n > 1e-4);
    CHECK(fabs(r.kld_mean.stderr_ - sqrt((kld_squares / n - pow(kld_sum / n, 2)) / (n - 1))) < 1e-6);
    CHECK(fabs(r.kld_quantile[PARE_QUANTILE_MAX].value - kld_max) < 1e-6 &&
          isnan(r.kld_quantile[PARE_QUANTILE_MAX].stderr_));
    CHECK(fabs(r.kld_quantile[PARE_QUANTILE_MEDIAN].value - quantile_of(klds, n, 0.5)) < 1e-6);
    CHECK(fabs(r.kld_quantile[PARE_QUANTILE_P99].value - quantile_of(klds, n, 0.99)) < 1e-6);
    CHECK(fabs(r.kld_quantile[PARE_QUANTILE_P999].value - quantile_of(klds, n, 0.999)) < 1e-6);
    CHECK(fabs(r.delta_p_mean.value - delta_sum / n) < 1e-6);
    CHECK(fabs(r.delta_p_rms.value - sqrt(delta_squares / n)) < 1e-6);
    CHECK(r.same_top1.value == same / n && same < n);
    CHECK(fabs(r.kld_reverse.value - reverse_sum / n) < 1e-6 && fabs(reverse_sum - kld_sum) > 1e-3 * kld_sum);
    double ref_mean = nll_ref / n, cov = products / n - mean * ref_mean;
    double va = nll_squares / n - mean * mean, vb = ref_squares / n - ref_mean * ref_mean;
    CHECK(fabs(r.correlation - cov / sqrt(va * vb)) < 1e-6);
    double a = exp(mean), c = exp(ref_mean);
    CHECK(fabs(r.difference.value - (a - c)) < 1e-4);
    CHECK(fabs(r.difference.stderr_ - sqrt((a * a * va + c * c * vb - 2 * a * c * cov) / (n - 1))) < 1e-4);
    CHECK(fabs(r.ratio.value - a / c) < 1e-6);
    b->close(b);
    pare_model_close(&model);
    pare_model_close(&reference);
}

static void a_model_does_not_differ_from_itself(void **state)
{
    (void)state;
    pare_model a, c;
    int32_t ids[N_IDS];
    toy_llama(&a, VOCAB, 0);
    toy_llama(&c, VOCAB, 0);
    make_ids(ids);
    pare_backend *b = open_cpu();
    pare_measure_options options = {.windows.n_ctx = CTX};
    pare_eval_result r = {0}, alone = {0};
    pare_error err = {0};
    CHECK_OK(pare_measure(&a, &c, b, ids, N_IDS, PARE_TOKEN_NONE, &options, &r, &err), &err);
    CHECK(r.kld_mean.value == 0 && r.kld_mean.stderr_ == 0 && r.kld_quantile[PARE_QUANTILE_MAX].value == 0 &&
          r.kld_quantile[PARE_QUANTILE_MEDIAN].value == 0);
    CHECK(r.ln_ratio.value == 0 && r.delta_p_mean.value == 0 && r.delta_p_rms.value == 0 && r.same_top1.value == 1);
    CHECK_OK(pare_measure(&a, NULL, b, ids, N_IDS, PARE_TOKEN_NONE, &options, &alone, &err), &err);
    CHECK(alone.perplexity.value == r.perplexity.value && r.reference_perplexity.value == r.perplexity.value);
    CHECK(!alone.has_reference);
    b->close(b);
    pare_model_close(&a);
    pare_model_close(&c);
}

static double perplexity_of(const pare_model *m, const int32_t *ids, size_t n, int64_t bos, uint32_t n_chunks)
{
    pare_backend *b = open_cpu();
    pare_measure_options options = {.windows = {.n_ctx = CTX, .n_chunks = n_chunks}};
    pare_eval_result r = {0};
    pare_error err = {0};
    CHECK_OK(pare_measure(m, NULL, b, ids, n, bos, &options, &r, &err), &err);
    CHECK(r.n_chunks == (n_chunks != 0 ? n_chunks : n / CTX));
    b->close(b);
    return r.perplexity.value;
}

static void windows_follow_the_rules(void **state)
{
    (void)state;
    pare_model m;
    int32_t ids[N_IDS], changed[N_IDS];
    toy_llama(&m, VOCAB, 0);
    make_ids(ids);
    memcpy(changed, ids, sizeof ids);
    double plain = perplexity_of(&m, ids, N_IDS, PARE_TOKEN_NONE, 0), with_bos = perplexity_of(&m, ids, N_IDS, 3, 0);
    CHECK(plain != with_bos);
    for (int w = 0; w < WINDOWS; w++)
        changed[w * CTX] = 7; /* replaced by BOS, so what stood there does not matter; without BOS it does */
    CHECK(perplexity_of(&m, changed, N_IDS, 3, 0) == with_bos);
    CHECK(perplexity_of(&m, changed, N_IDS, PARE_TOKEN_NONE, 0) != plain);
    CHECK(perplexity_of(&m, ids, N_IDS - 7, 3, 0) == with_bos); /* the tail is dropped */
    CHECK(perplexity_of(&m, ids, N_IDS, 3, 2) == perplexity_of(&m, ids, CTX * 2, 3, 0));
    CHECK(perplexity_of(&m, ids, N_IDS, 3, WINDOWS - 1) == perplexity_of(&m, ids, CTX * (WINDOWS - 1), 3, 0));
    pare_model_close(&m);
}

static void check_same_bits(const pare_eval_result *a, const pare_eval_result *b)
{
    CHECK(memcmp(&a->perplexity, &b->perplexity, sizeof a->perplexity) == 0);
    CHECK(memcmp(&a->reference_perplexity, &b->reference_perplexity,
                 offsetof(pare_eval_result, n_curve) - offsetof(pare_eval_result, reference_perplexity)) == 0);
    CHECK(a->n_curve == b->n_curve && memcmp(a->curve, b->curve, a->n_curve * sizeof *a->curve) == 0);
}

static void threads_do_not_change_bits(void **state)
{
    (void)state;
    pare_model model, reference;
    int32_t ids[N_IDS];
    toy_llama(&reference, VOCAB, 0);
    toy_llama(&model, VOCAB, 0.05f);
    make_ids(ids);
    pare_eval_result r[3] = {0};
    for (int t = 0; t < 3; t++) {
        pare_set_threads(t + 1);
        pare_backend *b = open_cpu();
        pare_measure_options options = {.windows.n_ctx = CTX};
        pare_error err = {0};
        CHECK_OK(pare_measure(&model, &reference, b, ids, N_IDS, 3, &options, &r[t], &err), &err);
        check_same_bits(&r[0], &r[t]);
        b->close(b);
    }
    pare_set_threads(0);
    pare_model_close(&model);
    pare_model_close(&reference);
}

static void refuses_what_it_cannot_measure(void **state)
{
    (void)state;
    pare_model m, other;
    int32_t ids[N_IDS];
    toy_llama(&m, VOCAB, 0);
    toy_llama(&other, VOCAB, 0);
    make_ids(ids);
    pare_backend *b = open_cpu();
    pare_measure_options options = {.windows.n_ctx = CTX};
    pare_eval_result r;
    pare_error err = {0};
    CHECK(pare_measure(&m, NULL, b, ids, CTX * 2 - 1, 3, &options, &r, &err) == PARE_ERR_USAGE);
    CHECK(strstr(err.text, "63 tokens") != NULL && strstr(err.text, "64") != NULL);
    CHECK_OK(pare_measure(&m, NULL, b, ids, CTX * 2, 3, &options, &r, &err), &err);
    CHECK(pare_measure(&m, NULL, b, ids, CTX * 2, VOCAB, &options, &r, &err) == PARE_ERR_RANGE);
    other.hp.n_vocab--; /* another vocabulary, and as many rows in its matrices */
    for (size_t i = 0; i < other.n_tensors; i++)
        other.tensors[i].n_rows -= other.tensors[i].n_rows == VOCAB;
    CHECK(pare_measure(&m, &other, b, ids, N_IDS, 3, &options, &r, &err) == PARE_ERR_USAGE);
    CHECK(strstr(err.text, "a vocabulary of 40") != NULL && strstr(err.text, "one of 39") != NULL);
    ids[CTX * 2 + 9] = VOCAB;
    CHECK(pare_measure(&m, NULL, b, ids, N_IDS, 3, &options, &r, &err) == PARE_ERR_RANGE);
    ids[CTX * 2 + 9] = 0;
    options.windows.n_ctx = 2;
    CHECK(pare_measure(&m, NULL, b, ids, N_IDS, 3, &options, &r, &err) == PARE_ERR_USAGE);
    b->close(b);
    pare_model_close(&m);
    pare_model_close(&other);
}

static void names_the_place_of_a_nan(void **state)
{
    (void)state;
    pare_model m, good;
    int32_t ids[N_IDS] = {0};
    toy_llama(&m, VOCAB, 0);
    toy_llama(&good, VOCAB, 0);
    ids[CTX + 20] = 33; /* the only token with a broken embedding is in window 1 */
    toy_values(&m, "token_embd.weight")[33 * 24 + 5] = NAN;
    pare_backend *b = open_cpu();
    pare_measure_options options = {.windows.n_ctx = CTX};
    pare_eval_result r;
    pare_error err = {0};
    CHECK(pare_measure(&m, NULL, b, ids, N_IDS, 3, &options, &r, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "toy: window 1 position ") != NULL && strstr(err.text, "NaN") != NULL);
    CHECK(strstr(err.text, "goes into tensor 'blk.0.attn_k.weight' at position 20") != NULL);
    CHECK(pare_measure(&good, &m, b, ids, N_IDS, 3, &options, &r, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "goes into tensor 'blk.0.attn_k.weight'") != NULL);
    toy_values(&m, "token_embd.weight")[33 * 24 + 5] = 0;
    toy_values(&m, "blk.1.ffn_up.weight")[7] = NAN;
    CHECK(pare_measure(&m, NULL, b, ids, N_IDS, 3, &options, &r, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "goes into tensor 'blk.1.ffn_down.weight'") != NULL);
    toy_values(&m, "blk.1.ffn_up.weight")[7] = 0;
    toy_values(&m, "blk.1.ffn_down.weight")[7] = NAN;
    CHECK(pare_measure(&m, NULL, b, ids, N_IDS, 3, &options, &r, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "comes out of the last of 2 layers at position 0") != NULL);
    toy_values(&good, "output.weight")[33 * 24] = INFINITY;
    CHECK(pare_measure(&good, NULL, b, ids, N_IDS, 3, &options, &r, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "window 0 position 16: the logit of token 33 is infinite") != NULL);
    CHECK(strstr(err.text, "into and out of the layers are finite") != NULL);
    b->close(b);
    pare_model_close(&m);
    pare_model_close(&good);
}

/* Where the host does not see activations, and a window goes through a layer in slices. */
static void names_the_place_of_a_nan_on_a_device(void **state)
{
    (void)state;
    pare_model m, good;
    int32_t ids[N_IDS] = {0};
    toy_llama(&m, VOCAB, 0);
    toy_llama(&good, VOCAB, 0);
    ids[CTX + 20] = 33;
    toy_values(&m, "token_embd.weight")[33 * 24 + 5] = NAN;
    pare_backend *b = open_cpu();
    toy_pretend_device(b);
    b->slice_tokens = 7;
    pare_measure_options options = {.windows.n_ctx = CTX};
    pare_eval_result r;
    pare_error err = {0};
    CHECK(pare_measure(&m, NULL, b, ids, N_IDS, 3, &options, &r, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "goes into tensor 'blk.0.attn_k.weight' at position 20") != NULL);
    toy_values(&m, "token_embd.weight")[33 * 24 + 5] = 0;
    toy_values(&m, "blk.1.ffn_down.weight")[7] = NAN;
    CHECK(pare_measure(&m, NULL, b, ids, N_IDS, 3, &options, &r, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "comes out of the last of 2 layers at position 0") != NULL);
    toy_values(&good, "output.weight")[33 * 24] = INFINITY;
    CHECK(pare_measure(&good, NULL, b, ids, N_IDS, 3, &options, &r, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "into and out of the layers are finite") != NULL);
    b->close(b);
    pare_model_close(&m);
    pare_model_close(&good);
}

static pare_status fake_run(pare_source *s, const pare_windows *w, uint32_t i, uint32_t n_seq, pare_error *err)
{
    (void)s;
    (void)w;
    (void)i;
    (void)n_seq;
    (void)err;
    return PARE_OK;
}

/* All zeros but for token 3 at position 20 of the window at place 1. */
static pare_status fake_rows(pare_source *s, uint32_t seq, uint32_t pos, uint32_t n, float *out, pare_error *err)
{
    (void)err;
    memset(out, 0, (size_t)n * s->n_vocab * sizeof *out);
    if (seq == 1 && pos <= 20 && 20 < pos + n)
        out[(20 - pos) * s->n_vocab + 3] = -INFINITY;
    return PARE_OK;
}

static pare_status no_scores(const pare_scores *scores, size_t model, void *user, pare_error *err)
{
    (void)model;
    (void)err;
    CHECK(scores->window == 0);
    ++*(int *)user;
    return PARE_OK;
}

static void names_the_position_of_an_infinity(void **state)
{
    (void)state;
    int32_t ids[N_IDS] = {0};
    int n_scored = 0;
    pare_windows w;
    pare_error err = {0};
    pare_source fake = {.path = "fake", .n_vocab = VOCAB, .run = fake_run, .rows = fake_rows}, *models[] = {&fake};
    CHECK_OK(pare_windows_open(&w, ids, N_IDS, 3, &(pare_window_plan){.n_ctx = CTX}, &err), &err);
    const pare_eval_job job = {.models = models, .n_models = 1, .windows = &w, .scores = no_scores, .user = &n_scored};
    CHECK(pare_evaluate(&job, &err) == PARE_ERR_NUMBER && n_scored == 1);
    CHECK(strstr(err.text, "fake: window 1 position 20: the logit of token 3 is infinite") != NULL);
    pare_windows_close(&w);
}

/* The figure that stock llama-perplexity gives for the same model and text: tests/data/demo/README.md. */
static void demo_model_as_stock_measures_it(void **state)
{
    (void)state;
    pare_model m = {0};
    pare_tokenizer *tokenizer = NULL;
    pare_ids ids = {0};
    pare_error err = {0};
    size_t n_text;
    CHECK_OK(pare_model_open(&m, source_path("tests/data/demo"), 0, &err), &err);
    CHECK(m.has_vocab && m.vocab.bos >= 0);
    CHECK_OK(pare_tokenizer_open(&tokenizer, &m.vocab, &err), &err);
    uint8_t *text = check_read_file(source_path("tests/data/demo/text.txt"), &n_text);
    CHECK_OK(pare_tokenize(tokenizer, (const char *)text, n_text, PARE_TOKENIZE_BOS, &ids, &err), &err);
    pare_backend *b = open_cpu();
    pare_measure_options options = {0};
    pare_eval_result r = {0};
    CHECK_OK(pare_measure(&m, NULL, b, ids.ids, ids.n, m.vocab.bos, &options, &r, &err), &err);
    CHECK(r.n_ctx == 512 && r.n_chunks == 78 && r.n_tokens_scored == 78 * 255);
    CHECK(fabs(r.perplexity.value / 42.507 - 1) < 5e-5);
    b->close(b);
    free(text);
    free(ids.ids);
    pare_tokenizer_close(tokenizer);
    pare_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_definition),
        cmocka_unit_test(a_model_does_not_differ_from_itself),
        cmocka_unit_test(windows_follow_the_rules),
        cmocka_unit_test(threads_do_not_change_bits),
        cmocka_unit_test(refuses_what_it_cannot_measure),
        cmocka_unit_test(names_the_place_of_a_nan),
        cmocka_unit_test(names_the_place_of_a_nan_on_a_device),
        cmocka_unit_test(names_the_position_of_an_infinity),
        cmocka_unit_test(demo_model_as_stock_measures_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
