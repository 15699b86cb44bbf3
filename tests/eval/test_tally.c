#include "check.h"

#include "core/random.h"
#include "eval/tally.h"
#include "eval/worst.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CTX = 16, FIRST = 5, N = 10, WINDOWS = 24 };

typedef struct columns {
    double nll[N], ref_nll[N], kld[N], kld_reverse[N];
    uint8_t same_top1[N];
} columns;

static double uniform(uint64_t seed, uint64_t i)
{
    return (double)(pare_random(seed, i) >> 11) * 0x1p-53;
}

/* Scores of window w: positions go together through a shift of the whole window, and divergence grows with depth. */
static pare_scores make(columns *c, uint32_t w)
{
    for (uint32_t i = 0; i < N; i++) {
        uint64_t at = (uint64_t)w * N + i;
        c->nll[i] = 1 + uniform(1, at) + uniform(9, w);
        c->ref_nll[i] = c->nll[i] - 0.1 * uniform(2, at);
        c->kld[i] = 0.01 * (i + 1) * (0.5 + uniform(3, at));
        c->kld_reverse[i] = 2 * c->kld[i];
        c->same_top1[i] = uniform(4, at) < 0.75;
    }
    return (pare_scores){.window = w,
                         .first = FIRST,
                         .n = N,
                         .nll = c->nll,
                         .has_reference = true,
                         .ref_nll = c->ref_nll,
                         .kld = c->kld,
                         .kld_reverse = c->kld_reverse,
                         .same_top1 = c->same_top1};
}

static pare_eval_result tally_all(bool with_reference)
{
    pare_tally *t = NULL;
    pare_eval_result r;
    pare_error err = {0};
    columns c;
    CHECK_OK(pare_tally_open(&t, CTX, with_reference, &err), &err);
    for (uint32_t w = 0; w < WINDOWS; w++) {
        pare_scores s = make(&c, w);
        s.has_reference = with_reference;
        CHECK_OK(pare_tally_add(t, &s, &err), &err);
    }
    CHECK_OK(pare_tally_finish(t, 3, &r, &err), &err);
    pare_tally_close(t);
    return r;
}

static void figures_are_those_of_the_definition(void **state)
{
    (void)state;
    pare_eval_result r = tally_all(true);
    double means[WINDOWS] = {0}, klds[WINDOWS * N], sum = 0, nll = 0;
    columns c;
    for (uint32_t w = 0; w < WINDOWS; w++) {
        make(&c, w);
        for (int i = 0; i < N; i++) {
            klds[w * N + (uint32_t)i] = c.kld[i];
            means[w] += c.kld[i] / N;
            sum += c.kld[i];
            nll += c.nll[i];
        }
    }
    CHECK(r.n_chunks == WINDOWS && r.n_tokens_scored == WINDOWS * N && r.n_ctx == CTX);
    CHECK(fabs(r.perplexity.value - exp(nll / (WINDOWS * N))) < 1e-12);
    CHECK(fabs(r.kld_mean.value - sum / (WINDOWS * N)) < 1e-15 &&
          fabs(r.kld_reverse.value / r.kld_mean.value - 2) < 1e-12);
    CHECK(fabs(r.ln_ratio.value - log(r.perplexity.value / r.reference_perplexity.value)) < 1e-12 &&
          r.ln_ratio.value > 0);
    CHECK(fabs(r.ratio.value - r.perplexity.value / r.reference_perplexity.value) < 1e-12);
    CHECK(r.ln_ratio_blocks.t.lo < r.ln_ratio.value && r.ln_ratio.value < r.ln_ratio_blocks.t.hi);
    CHECK(fabs(r.kld_reverse_blocks.t.lo / r.kld_blocks.t.lo - 2) < 1e-12 &&
          fabs(r.kld_reverse_blocks.bootstrap.hi / r.kld_blocks.bootstrap.hi - 2) < 1e-12);
    CHECK(r.same_top1_blocks.t.lo < r.same_top1.value && r.same_top1.value < r.same_top1_blocks.t.hi);
    pare_interval t = pare_interval_t(means, WINDOWS), b;
    pare_error err = {0};
    CHECK_OK(pare_interval_bootstrap(means, WINDOWS, 3, &b, &err), &err);
    CHECK(fabs(r.kld_blocks.t.lo - t.lo) < 1e-15 && fabs(r.kld_blocks.t.hi - t.hi) < 1e-15);
    CHECK(fabs(r.kld_blocks.bootstrap.lo - b.lo) < 1e-15 && fabs(r.kld_blocks.bootstrap.hi - b.hi) < 1e-15);
    CHECK(r.kld_blocks.t.lo < r.kld_mean.value && r.kld_mean.value < r.kld_blocks.t.hi);
    /* windows differ as wholes: the interval over them is wider than two errors of independent positions */
    CHECK(r.perplexity_blocks.t.hi - r.perplexity_blocks.t.lo > 6 * r.perplexity.stderr_);
    CHECK(r.perplexity_blocks.t.lo < r.perplexity.value && r.perplexity.value < r.perplexity_blocks.t.hi);
    pare_sort(klds, WINDOWS * N);
    for (int q = 0; q < PARE_N_QUANTILES; q++)
        CHECK(r.kld_quantile[q].value == pare_quantile(klds, WINDOWS * N, pare_quantile_fractions[q]).value);
    CHECK(r.kld_quantile[PARE_QUANTILE_MIN].value == klds[0]);
    CHECK(r.kld_quantile[PARE_QUANTILE_MAX].value == klds[WINDOWS * N - 1]);
    CHECK(isnan(r.kld_quantile[PARE_QUANTILE_MAX].stderr_));
    CHECK(r.delta_p_quantile[PARE_QUANTILE_MEDIAN].value < 0); /* the model is always less sure */
}

static void the_curve_shows_depth(void **state)
{
    (void)state;
    pare_eval_result r = tally_all(true);
    CHECK(r.n_curve == N); /* fewer positions than points: one each */
    for (size_t k = 0; k < r.n_curve; k++) {
        CHECK(r.curve[k].first == FIRST + k && r.curve[k].end == FIRST + k + 1);
        CHECK(fabs(r.curve[k].kld.value / (0.01 * (double)(k + 1)) - 1) < 0.2);
        double nll = 0, ref_nll = 0, kld[WINDOWS];
        columns c;
        for (uint32_t w = 0; w < WINDOWS; w++) {
            make(&c, w);
            nll += c.nll[k] / WINDOWS;
            ref_nll += c.ref_nll[k] / WINDOWS;
            kld[w] = c.kld[k];
        }
        pare_sort(kld, WINDOWS);
        CHECK(r.curve[k].kld_p999.value == pare_quantile(kld, WINDOWS, 0.999).value && r.curve[k].n == WINDOWS);
        CHECK(fabs(r.curve[k].nll.value - nll) < 1e-12 && fabs(r.curve[k].ref_nll.value - ref_nll) < 1e-12);
    }
}

/* The tail of a band is the quantile of just its positions, and finding it leaves the whole alone. */
static void the_curve_has_tails(void **state)
{
    enum { WIDE = 37, MANY = 700 };
    static double nll[WIDE], kld[MANY * WIDE], band[MANY * WIDE];
    static const uint8_t same[WIDE];
    (void)state;
    pare_tally *t = NULL;
    pare_eval_result r;
    pare_error err = {0};
    CHECK_OK(pare_tally_open(&t, WIDE + 2, true, &err), &err);
    for (uint32_t w = 0; w < MANY; w++) {
        double *own = kld + (size_t)w * WIDE;
        for (uint32_t i = 0; i < WIDE; i++)
            own[i] = (i + 1) * pow(uniform(5, (uint64_t)w * WIDE + i), 8);
        const pare_scores s = {.window = w,
                               .first = 1,
                               .n = WIDE,
                               .nll = nll,
                               .has_reference = true,
                               .ref_nll = nll,
                               .kld = own,
                               .kld_reverse = own,
                               .same_top1 = same};
        CHECK_OK(pare_tally_add(t, &s, &err), &err);
    }
    CHECK_OK(pare_tally_finish(t, 1, &r, &err), &err);
    pare_tally_close(t);
    CHECK(r.n_curve == PARE_CURVE_POINTS && r.curve[0].first == 1 && r.curve[r.n_curve - 1].end == WIDE + 1);
    for (size_t k = 0; k < r.n_curve; k++) {
        const pare_curve_point *p = &r.curve[k];
        size_t n = 0;
        for (size_t w = 0; w < MANY; w++)
            for (uint32_t i = p->first; i < p->end; i++)
                band[n++] = kld[w * WIDE + i - 1];
        pare_sort(band, n);
        const pare_estimate want = pare_quantile(band, n, 0.999);
        CHECK(p->n == n && p->kld_p999.value == want.value && p->kld_p999.stderr_ == want.stderr_);
        CHECK(want.stderr_ > 0 && want.value > 5 * p->kld.value);
    }
    pare_sort(kld, MANY * WIDE);
    CHECK(r.kld_quantile[PARE_QUANTILE_P999].value == pare_quantile(kld, MANY * WIDE, 0.999).value);
    CHECK(r.kld_quantile[PARE_QUANTILE_MAX].value == kld[MANY * WIDE - 1]);
}

static void without_a_reference_only_perplexity(void **state)
{
    (void)state;
    pare_eval_result r = tally_all(false), both = tally_all(true);
    CHECK(!r.has_reference && r.perplexity.value == both.perplexity.value && r.kld_mean.value == 0);
    CHECK(r.perplexity_blocks.t.lo == both.perplexity_blocks.t.lo && isnan(r.kld_blocks.t.lo));
    CHECK(isnan(r.kld_quantile[PARE_QUANTILE_MEDIAN].value));
}

static void refuses_scores_that_do_not_fit(void **state)
{
    (void)state;
    pare_tally *t = NULL;
    pare_error err = {0};
    columns c;
    CHECK_OK(pare_tally_open(&t, CTX, true, &err), &err);
    pare_scores s = make(&c, 4), wide = s, alone = s;
    wide.n = CTX - FIRST; /* the last position has no token behind it */
    CHECK(pare_tally_add(t, &wide, &err) == PARE_ERR_FORMAT);
    CHECK_OK(pare_tally_add(t, &s, &err), &err);
    CHECK(pare_tally_add(t, &s, &err) == PARE_ERR_FORMAT); /* again */
    s.window = 3;
    CHECK(pare_tally_add(t, &s, &err) == PARE_ERR_FORMAT); /* earlier */
    s.window = 5;
    s.n = N - 1;
    CHECK(pare_tally_add(t, &s, &err) == PARE_ERR_FORMAT);
    s.n = N;
    alone.window = 5;
    alone.has_reference = false;
    CHECK(pare_tally_add(t, &alone, &err) == PARE_ERR_FORMAT);
    c.kld_reverse[3] = NAN;
    CHECK(pare_tally_add(t, &s, &err) == PARE_ERR_NUMBER);
    c.kld_reverse[3] = 0;
    CHECK_OK(pare_tally_add(t, &s, &err), &err);
    pare_eval_result r;
    CHECK_OK(pare_tally_finish(t, 1, &r, &err), &err);
    CHECK(r.n_chunks == 2);
    pare_tally_close(t);
}

static void one_window_has_no_interval(void **state)
{
    (void)state;
    pare_tally *t = NULL;
    pare_eval_result r;
    pare_error err = {0};
    columns c;
    CHECK_OK(pare_tally_open(&t, CTX, true, &err), &err);
    CHECK_OK(pare_tally_finish(t, 1, &r, &err), &err);
    CHECK(isnan(r.perplexity.value) && r.n_chunks == 0);
    pare_scores s = make(&c, 0);
    CHECK_OK(pare_tally_add(t, &s, &err), &err);
    CHECK_OK(pare_tally_finish(t, 1, &r, &err), &err);
    CHECK(isnan(r.kld_blocks.t.lo) && isnan(r.perplexity_blocks.bootstrap.hi) && isfinite(r.kld_mean.value));
    pare_tally_close(t);
}

static void the_worst_are_kept(void **state)
{
    (void)state;
    pare_worst w = {.n_max = 7};
    pare_error err = {0};
    columns c;
    int32_t ids[CTX];
    double klds[WINDOWS * N];
    for (int i = 0; i < CTX; i++)
        ids[i] = 100 + i;
    for (uint32_t k = 0; k < WINDOWS; k++) {
        pare_scores s = make(&c, k);
        s.ids = ids;
        memcpy(klds + k * N, c.kld, sizeof c.kld);
        CHECK_OK(pare_worst_add(&w, &s, &err), &err);
    }
    pare_worst_sort(&w);
    pare_sort(klds, WINDOWS * N);
    CHECK(w.n == 7);
    for (size_t i = 0; i < 7; i++) {
        const pare_worst_token *t = &w.tokens[i];
        CHECK(t->value == klds[WINDOWS * N - 1 - i]);
        make(&c, t->window);
        CHECK(c.kld[t->pos - FIRST] == t->value && c.nll[t->pos - FIRST] == t->nll);
        CHECK(c.ref_nll[t->pos - FIRST] == t->ref_nll && c.same_top1[t->pos - FIRST] == t->same_top1);
        CHECK(t->target == ids[t->pos + 1] && t->n_context == t->pos + 1 && t->context[0] == 100);
    }
    pare_worst_close(&w);
    pare_worst ties = {.n_max = 3};
    for (uint32_t k = 0; k < 4; k++) {
        pare_scores s = make(&c, k);
        for (int i = 0; i < N; i++)
            c.kld[i] = 1;
        CHECK_OK(pare_worst_add(&ties, &s, &err), &err);
    }
    pare_worst_sort(&ties);
    for (uint32_t i = 0; i < 3; i++)
        CHECK(ties.tokens[i].window == 0 && ties.tokens[i].pos == FIRST + i && ties.tokens[i].target == -1);
    pare_worst_close(&ties);
    pare_worst texts = {.n_max = 1, .text = 1};
    for (size_t text = 0; text < 2; text++) {
        pare_scores s = make(&c, 0);
        texts.text = 1 - text;
        CHECK_OK(pare_worst_add(&texts, &s, &err), &err);
    }
    CHECK(texts.n == 1 && texts.tokens[0].text == 0); /* of equals that of the first text */
    pare_worst_close(&texts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(figures_are_those_of_the_definition),
                                       cmocka_unit_test(the_curve_shows_depth),
                                       cmocka_unit_test(the_curve_has_tails),
                                       cmocka_unit_test(without_a_reference_only_perplexity),
                                       cmocka_unit_test(refuses_scores_that_do_not_fit),
                                       cmocka_unit_test(one_window_has_no_interval),
                                       cmocka_unit_test(the_worst_are_kept)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
