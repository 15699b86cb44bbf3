#include "eval/tally.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

const double pare_quantile_fractions[PARE_N_QUANTILES] = {0,    0.001, 0.01, 0.05, 0.10,  0.25, 0.5,
                                                          0.75, 0.90,  0.95, 0.99, 0.999, 1};

/* What is averaged over positions. */
typedef enum column {
    NLL,
    REF_NLL,
    LN_RATIO,
    KLD,
    KLD_REVERSE,
    SAME_TOP1,
    DELTA_P,
    DELTA_P_SQUARE,
    NLL_PRODUCT, /* of both models' */
    N_COLUMNS
} column;

/* A column of each position of the windows: the curve. */
typedef struct depth {
    pare_moments nll, ref_nll, kld;
} depth;

struct pare_tally {
    uint32_t n_ctx, first, n; /* positions [first, first + n) of every window, known with the first one */
    bool has_reference;
    int64_t last; /* window, -1 before the first */
    size_t n_windows, room;
    pare_moments sums[N_COLUMNS];
    double *means[N_COLUMNS]; /* [room] of each window; NULL: not wanted */
    double *kld, *delta_p;    /* [room * n] */
    depth *depths;            /* [n] */
};

static const bool has_blocks[N_COLUMNS] = {
    [NLL] = true, [LN_RATIO] = true, [KLD] = true, [KLD_REVERSE] = true, [SAME_TOP1] = true};

pare_status pare_tally_open(pare_tally **out, uint32_t n_ctx, bool has_reference, pare_error *err)
{
    pare_tally *t = calloc(1, sizeof *t);
    if (t == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for sums");
    t->n_ctx = n_ctx;
    t->has_reference = has_reference;
    t->last = -1;
    *out = t;
    return PARE_OK;
}

void pare_tally_close(pare_tally *t)
{
    if (t == NULL)
        return;
    for (int c = 0; c < N_COLUMNS; c++)
        free(t->means[c]);
    free(t->kld);
    free(t->delta_p);
    free(t->depths);
    free(t);
}

static bool is_wanted(const pare_tally *t, int c)
{
    return has_blocks[c] && (c == NLL || t->has_reference);
}

static bool grow(double **x, size_t n)
{
    double *larger = n <= SIZE_MAX / sizeof **x ? realloc(*x, n * sizeof **x) : NULL;
    if (larger == NULL)
        return false;
    *x = larger;
    return true;
}

static pare_status make_room(pare_tally *t, pare_error *err)
{
    if (t->depths == NULL && (t->depths = calloc(t->n, sizeof *t->depths)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for windows of %" PRIu32 " positions", t->n);
    if (t->n_windows < t->room)
        return PARE_OK;
    size_t room = t->room != 0 ? t->room * 2 : 16;
    bool ok = true;
    for (int c = 0; c < N_COLUMNS && ok; c++)
        ok = !is_wanted(t, c) || grow(&t->means[c], room);
    if (ok && t->has_reference)
        ok = room <= SIZE_MAX / t->n && grow(&t->kld, room * t->n) && grow(&t->delta_p, room * t->n);
    if (!ok)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for the scores of %zu windows", room);
    t->room = room;
    return PARE_OK;
}

static pare_status check(pare_tally *t, const pare_scores *s, pare_error *err)
{
    if ((int64_t)s->window <= t->last)
        return pare_fail(err, PARE_ERR_FORMAT, "window %" PRIu32 " comes behind window %" PRId64, s->window, t->last);
    if (t->n == 0 && (s->n == 0 || s->n >= t->n_ctx || s->first > t->n_ctx - 1 - s->n))
        return pare_fail(err, PARE_ERR_FORMAT,
                         "window %" PRIu32 " scores %" PRIu32 " positions from %" PRIu32 "; it has %" PRIu32 " tokens",
                         s->window, s->n, s->first, t->n_ctx);
    if (t->n != 0 && (s->n != t->n || s->first != t->first))
        return pare_fail(err, PARE_ERR_FORMAT,
                         "window %" PRIu32 " scores %" PRIu32 " positions from %" PRIu32 ", those before it %" PRIu32
                         " from %" PRIu32,
                         s->window, s->n, s->first, t->n, t->first);
    if (s->has_reference != t->has_reference)
        return pare_fail(err, PARE_ERR_FORMAT, "window %" PRIu32 " has %s reference, those before it %s", s->window,
                         s->has_reference ? "a" : "no", t->has_reference ? "one" : "none");
    for (uint32_t i = 0; i < s->n; i++)
        if (!isfinite(s->nll[i]) ||
            (s->has_reference && !(isfinite(s->ref_nll[i]) && isfinite(s->kld[i]) && isfinite(s->kld_reverse[i]))))
            return pare_fail(err, PARE_ERR_NUMBER, "window %" PRIu32 " position %" PRIu32 ": a score is not finite",
                             s->window, s->first + i);
    t->n = s->n;
    t->first = s->first;
    return PARE_OK;
}

static void take_position(const pare_scores *s, uint32_t i, double x[N_COLUMNS])
{
    x[NLL] = s->nll[i];
    if (!s->has_reference)
        return;
    x[REF_NLL] = s->ref_nll[i];
    x[LN_RATIO] = s->nll[i] - s->ref_nll[i];
    x[KLD] = s->kld[i];
    x[KLD_REVERSE] = s->kld_reverse[i];
    x[SAME_TOP1] = s->same_top1[i];
    x[DELTA_P] = exp(-s->nll[i]) - exp(-s->ref_nll[i]);
    x[DELTA_P_SQUARE] = x[DELTA_P] * x[DELTA_P];
    x[NLL_PRODUCT] = s->nll[i] * s->ref_nll[i];
}

pare_status pare_tally_add(pare_tally *t, const pare_scores *s, pare_error *err)
{
    pare_status st = check(t, s, err);
    if (st == PARE_OK)
        st = make_room(t, err);
    if (st != PARE_OK)
        return st;
    double window[N_COLUMNS] = {0};
    int n_columns = t->has_reference ? N_COLUMNS : NLL + 1;
    for (uint32_t i = 0; i < s->n; i++) {
        double x[N_COLUMNS] = {0};
        take_position(s, i, x);
        for (int c = 0; c < n_columns; c++) {
            pare_moments_add(&t->sums[c], x[c]);
            window[c] += x[c];
        }
        pare_moments_add(&t->depths[i].nll, x[NLL]);
        if (!t->has_reference)
            continue;
        pare_moments_add(&t->depths[i].ref_nll, x[REF_NLL]);
        pare_moments_add(&t->depths[i].kld, x[KLD]);
        t->kld[t->n_windows * t->n + i] = x[KLD];
        t->delta_p[t->n_windows * t->n + i] = x[DELTA_P];
    }
    for (int c = 0; c < N_COLUMNS; c++)
        if (is_wanted(t, c))
            t->means[c][t->n_windows] = window[c] / s->n;
    t->n_windows++;
    t->last = s->window;
    return PARE_OK;
}

/* E[(x - E x)(y - E y)] of the two negative log-likelihoods. */
static double covariance(const pare_tally *t)
{
    double n = (double)t->sums[NLL].n;
    return t->sums[NLL_PRODUCT].sum / n - t->sums[NLL].sum / n * (t->sums[REF_NLL].sum / n);
}

static double variance(const pare_moments *m)
{
    double n = (double)m->n, mean = m->sum / n, v = m->sum_squares / n - mean * mean;
    return v > 0 ? v : 0;
}

/* Of functions of both models' log-likelihoods, by their derivatives. */
static void summarize_pair(const pare_tally *t, pare_eval_result *out)
{
    double a = out->perplexity.value, b = out->reference_perplexity.value, n = (double)t->sums[NLL].n;
    double va = variance(&t->sums[NLL]), vb = variance(&t->sums[REF_NLL]), cov = covariance(t);
    double v = a * a * va + b * b * vb - 2 * a * b * cov;
    out->ratio = pare_exp_estimate(out->ln_ratio);
    out->difference = (pare_estimate){a - b, n > 1 ? sqrt((v > 0 ? v : 0) / (n - 1)) : NAN};
    out->correlation = va > 0 && vb > 0 ? cov / sqrt(va * vb) : NAN;
}

static void forget_finals(pare_eval_result *out)
{
    const pare_interval none = {NAN, NAN};
    const pare_block_intervals unknown = {none, none};
    out->perplexity_blocks = out->ln_ratio_blocks = out->kld_blocks = out->kld_reverse_blocks = out->same_top1_blocks =
        unknown;
    for (int q = 0; q < PARE_N_QUANTILES; q++)
        out->kld_quantile[q] = out->delta_p_quantile[q] = (pare_estimate){NAN, NAN};
}

void pare_tally_running(const pare_tally *t, pare_eval_result *out)
{
    *out = (pare_eval_result){.n_ctx = t->n_ctx,
                              .n_chunks = (uint32_t)t->n_windows,
                              .n_tokens_scored = t->sums[NLL].n,
                              .has_reference = t->has_reference};
    forget_finals(out);
    out->perplexity = pare_exp_estimate(pare_mean(&t->sums[NLL]));
    if (!t->has_reference)
        return;
    out->reference_perplexity = pare_exp_estimate(pare_mean(&t->sums[REF_NLL]));
    out->ln_ratio = pare_mean(&t->sums[LN_RATIO]);
    out->kld_mean = pare_mean(&t->sums[KLD]);
    out->kld_reverse = pare_mean(&t->sums[KLD_REVERSE]);
    out->same_top1 = pare_mean(&t->sums[SAME_TOP1]);
    out->delta_p_mean = pare_mean(&t->sums[DELTA_P]);
    out->delta_p_rms = pare_root_mean(&t->sums[DELTA_P_SQUARE]);
    summarize_pair(t, out);
}

static void find_quantiles(double *x, size_t n, pare_estimate out[PARE_N_QUANTILES])
{
    pare_sort(x, n);
    for (int q = 0; q < PARE_N_QUANTILES; q++) {
        out[q] = pare_quantile(x, n, pare_quantile_fractions[q]);
        if (q == PARE_QUANTILE_MIN || q == PARE_QUANTILE_MAX)
            out[q].stderr_ = NAN;
    }
}

static void add_moments(pare_moments *to, const pare_moments *m)
{
    to->n += m->n;
    to->sum += m->sum;
    to->sum_squares += m->sum_squares;
}

/* Quantile of the divergence over positions [from, end) of all windows. room: [n_windows * (end - from)]. */
static pare_estimate quantile_of_band(const pare_tally *t, size_t from, size_t end, double f, double *room)
{
    size_t n = 0;
    for (size_t w = 0; w < t->n_windows; w++)
        for (size_t i = from; i < end; i++)
            room[n++] = t->kld[w * t->n + i];
    pare_sort(room, n);
    return pare_quantile(room, n, f);
}

/* Before the quantiles of the whole, which sort the divergences. */
static pare_status find_curve(const pare_tally *t, pare_eval_result *out, pare_error *err)
{
    const size_t widest = t->n / PARE_CURVE_POINTS + 1;
    double *room = t->has_reference ? malloc(t->n_windows * widest * sizeof *room) : NULL;
    if (t->has_reference && room == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for divergences by position");
    out->n_curve = t->n < PARE_CURVE_POINTS ? t->n : PARE_CURVE_POINTS;
    for (size_t k = 0; k < out->n_curve; k++) {
        size_t from = (size_t)t->n * k / out->n_curve, end = (size_t)t->n * (k + 1) / out->n_curve;
        depth d = {0};
        for (size_t i = from; i < end; i++) {
            add_moments(&d.nll, &t->depths[i].nll);
            add_moments(&d.ref_nll, &t->depths[i].ref_nll);
            add_moments(&d.kld, &t->depths[i].kld);
        }
        out->curve[k] =
            (pare_curve_point){.first = t->first + (uint32_t)from, .end = t->first + (uint32_t)end, .n = d.nll.n};
        out->curve[k].nll = pare_mean(&d.nll);
        if (t->has_reference) {
            out->curve[k].ref_nll = pare_mean(&d.ref_nll);
            out->curve[k].kld = pare_mean(&d.kld);
            out->curve[k].kld_p999 = quantile_of_band(t, from, end, pare_quantile_fractions[PARE_QUANTILE_P999], room);
        }
    }
    free(room);
    return PARE_OK;
}

static pare_status find_intervals(const pare_tally *t, column c, uint64_t seed, pare_block_intervals *out,
                                  pare_error *err)
{
    if (t->n_windows < 2)
        return PARE_OK;
    out->t = pare_interval_t(t->means[c], t->n_windows);
    return pare_interval_bootstrap(t->means[c], t->n_windows, seed, &out->bootstrap, err);
}

static void exp_interval(pare_interval *x)
{
    *x = (pare_interval){exp(x->lo), exp(x->hi)};
}

pare_status pare_tally_finish(pare_tally *t, uint64_t seed, pare_eval_result *out, pare_error *err)
{
    pare_tally_running(t, out);
    if (t->n_windows == 0)
        return PARE_OK;
    pare_status st = find_intervals(t, NLL, seed, &out->perplexity_blocks, err);
    exp_interval(&out->perplexity_blocks.t);
    exp_interval(&out->perplexity_blocks.bootstrap);
    if (st == PARE_OK)
        st = find_curve(t, out, err);
    if (!t->has_reference || st != PARE_OK)
        return st;
    const struct {
        column c;
        pare_block_intervals *out;
    } blocks[] = {{LN_RATIO, &out->ln_ratio_blocks},
                  {KLD, &out->kld_blocks},
                  {KLD_REVERSE, &out->kld_reverse_blocks},
                  {SAME_TOP1, &out->same_top1_blocks}};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0] && st == PARE_OK; i++)
        st = find_intervals(t, blocks[i].c, seed, blocks[i].out, err);
    find_quantiles(t->kld, t->sums[KLD].n, out->kld_quantile);
    find_quantiles(t->delta_p, t->sums[DELTA_P].n, out->delta_p_quantile);
    return st;
}
