#include "report/figures.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>

static const pare_figure figures[] = {
#define FIGURE(key, field, label, reference, scale, unit)                                                              \
    {                                                                                                                  \
        key, key "_stderr", label, offsetof(pare_eval_result, field), reference, scale, unit                           \
    }
    FIGURE("perplexity", perplexity, "perplexity", false, 1, ""),
    FIGURE("reference_perplexity", reference_perplexity, "perplexity of the reference", true, 1, ""),
    FIGURE("ratio", ratio, "perplexity / reference", true, 1, ""),
    FIGURE("ln_ratio", ln_ratio, "ln(perplexity / reference)", true, 1, ""),
    FIGURE("difference", difference, "perplexity - reference", true, 1, ""),
    {"kld_mean", "kld_stderr", "KL divergence, mean", offsetof(pare_eval_result, kld_mean), true, 1, " nat"},
    FIGURE("kld_median", kld_quantile[PARE_QUANTILE_MEDIAN], "KL divergence, median", true, 1, " nat"),
    FIGURE("kld_p99", kld_quantile[PARE_QUANTILE_P99], "KL divergence, 99 %", true, 1, " nat"),
    FIGURE("kld_p999", kld_quantile[PARE_QUANTILE_P999], "KL divergence, 99.9 %", true, 1, " nat"),
    FIGURE("kld_max", kld_quantile[PARE_QUANTILE_MAX], "KL divergence, largest", true, 1, " nat"),
    FIGURE("kld_reverse", kld_reverse, "reverse KL divergence, mean", true, 1, " nat"),
    FIGURE("same_top1", same_top1, "same most likely token", true, 100, " %"),
    FIGURE("delta_p_mean", delta_p_mean, "change of probability, mean", true, 100, " %"),
    FIGURE("delta_p_rms", delta_p_rms, "change of probability, rms", true, 100, " %"),
#undef FIGURE
};

enum { N_FIGURES = sizeof figures / sizeof figures[0] };

static const struct {
    const char *t_key, *bootstrap_key;
    size_t figure, offset; /* of the pare_estimate, and of its pare_block_intervals */
    bool needs_reference;
} intervals[] = {
#define INTERVAL(key, figure, field, reference)                                                                        \
    {                                                                                                                  \
        key "_t", key "_bootstrap", offsetof(pare_eval_result, figure), offsetof(pare_eval_result, field), reference   \
    }
    INTERVAL("perplexity", perplexity, perplexity_blocks, false),
    INTERVAL("ln_ratio", ln_ratio, ln_ratio_blocks, true),
    INTERVAL("kld", kld_mean, kld_blocks, true),
    INTERVAL("kld_reverse", kld_reverse, kld_reverse_blocks, true),
    INTERVAL("same_top1", same_top1, same_top1_blocks, true),
#undef INTERVAL
};

const pare_figure *pare_figure_at(size_t i)
{
    return i < N_FIGURES ? &figures[i] : NULL;
}

const pare_estimate *pare_figure_of(const pare_eval_result *r, const pare_figure *f)
{
    return (const pare_estimate *)((const char *)r + f->offset);
}

const pare_block_intervals *pare_figure_intervals(const pare_eval_result *r, const pare_figure *f)
{
    for (size_t i = 0; i < sizeof intervals / sizeof intervals[0]; i++)
        if (intervals[i].figure == f->offset)
            return (const pare_block_intervals *)((const char *)r + intervals[i].offset);
    return NULL;
}

static bool put_real(json_t *object, const char *key, double value)
{
    return !isfinite(value) || json_object_set_new(object, key, json_real(value)) == 0;
}

static bool put_count(json_t *object, const char *key, uint64_t n)
{
    return json_object_set_new(object, key, json_integer((json_int_t)n)) == 0;
}

static bool put_interval(json_t *object, const char *key, pare_interval i)
{
    return !isfinite(i.lo) || !isfinite(i.hi) || json_object_set_new(object, key, json_pack("[f, f]", i.lo, i.hi)) == 0;
}

static bool put_quantiles(json_t *object, const char *key, const pare_estimate *quantiles)
{
    if (!isfinite(quantiles[0].value))
        return true;
    json_t *list = json_array();
    bool ok = json_object_set_new(object, key, list) == 0;
    for (size_t i = 0; i < PARE_N_QUANTILES && ok; i++) {
        json_t *row = json_object();
        ok = put_real(row, "fraction", pare_quantile_fractions[i]) && put_real(row, "value", quantiles[i].value) &&
             put_real(row, "stderr", quantiles[i].stderr_);
        ok = json_array_append_new(list, row) == 0 && ok;
    }
    return ok;
}

static bool put_curve(json_t *object, const pare_eval_result *r)
{
    if (r->n_curve == 0)
        return true;
    json_t *list = json_array();
    bool ok = json_object_set_new(object, "curve", list) == 0;
    for (size_t i = 0; i < r->n_curve && ok; i++) {
        const pare_curve_point *p = &r->curve[i];
        json_t *row = json_object();
        ok = put_count(row, "first", p->first) && put_count(row, "end", p->end) && put_real(row, "nll", p->nll.value) &&
             put_real(row, "nll_stderr", p->nll.stderr_);
        if (ok && r->has_reference)
            ok = put_real(row, "ref_nll", p->ref_nll.value) && put_real(row, "ref_nll_stderr", p->ref_nll.stderr_) &&
                 put_real(row, "kld", p->kld.value) && put_real(row, "kld_stderr", p->kld.stderr_);
        ok = json_array_append_new(list, row) == 0 && ok;
    }
    return ok;
}

pare_status pare_figures_put(json_t *object, const pare_eval_result *r, pare_error *err)
{
    bool ok = put_count(object, "n_ctx", r->n_ctx) && put_count(object, "n_chunks", r->n_chunks) &&
              put_count(object, "n_tokens_scored", r->n_tokens_scored);
    for (size_t i = 0; i < N_FIGURES && ok; i++) {
        const pare_estimate *e = pare_figure_of(r, &figures[i]);
        if (r->has_reference || !figures[i].needs_reference)
            ok = put_real(object, figures[i].key, e->value) && put_real(object, figures[i].error_key, e->stderr_);
    }
    for (size_t i = 0; i < sizeof intervals / sizeof intervals[0] && ok; i++) {
        const pare_block_intervals *b = (const pare_block_intervals *)((const char *)r + intervals[i].offset);
        if (r->has_reference || !intervals[i].needs_reference)
            ok = put_interval(object, intervals[i].t_key, b->t) &&
                 put_interval(object, intervals[i].bootstrap_key, b->bootstrap);
    }
    if (ok && r->has_reference)
        ok = put_real(object, "correlation", r->correlation) &&
             put_quantiles(object, "kld_quantiles", r->kld_quantile) &&
             put_quantiles(object, "delta_p_quantiles", r->delta_p_quantile);
    if (ok)
        ok = put_curve(object, r);
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for figures");
}

pare_status pare_figures_put_tails(json_t *object, const pare_eval_result *r, pare_error *err)
{
    const json_t *curve = json_object_get(object, "curve");
    bool ok = json_array_size(curve) == r->n_curve;
    for (size_t i = 0; i < r->n_curve && ok; i++) {
        json_t *row = json_array_get(curve, i);
        const pare_estimate *tail = &r->curve[i].kld_p999;
        ok = put_count(row, "n", r->curve[i].n);
        if (ok && r->has_reference)
            ok = put_real(row, "kld_p999", tail->value) && put_real(row, "kld_p999_stderr", tail->stderr_);
    }
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for figures");
}

static void forget_blocks(pare_eval_result *r)
{
    static const pare_interval unknown = {NAN, NAN};
    for (size_t i = 0; i < sizeof intervals / sizeof intervals[0]; i++)
        *(pare_block_intervals *)((char *)r + intervals[i].offset) = (pare_block_intervals){unknown, unknown};
    for (size_t i = 0; i < PARE_N_QUANTILES; i++)
        r->kld_quantile[i] = r->delta_p_quantile[i] = (pare_estimate){NAN, NAN};
    r->n_curve = 0;
    r->correlation = NAN;
}

pare_eval_result pare_figures_average(const pare_eval_result *results, size_t n)
{
    pare_eval_result mean = results[0];
    if (n == 1)
        return mean;
    forget_blocks(&mean);
    mean.n_chunks = 0;
    mean.n_tokens_scored = 0;
    for (size_t k = 0; k < n; k++) {
        mean.n_chunks += results[k].n_chunks;
        mean.n_tokens_scored += results[k].n_tokens_scored;
    }
    for (size_t i = 0; i < N_FIGURES; i++) {
        double sum = 0, squares = 0;
        for (size_t k = 0; k < n; k++) {
            const pare_estimate *e = pare_figure_of(&results[k], &figures[i]);
            sum += e->value;
            squares += e->stderr_ * e->stderr_;
        }
        *(pare_estimate *)((char *)&mean + figures[i].offset) =
            (pare_estimate){sum / (double)n, sqrt(squares) / (double)n};
    }
    pare_estimate *largest = &mean.kld_quantile[PARE_QUANTILE_MAX];
    *largest = results[0].kld_quantile[PARE_QUANTILE_MAX];
    for (size_t k = 1; k < n; k++)
        if (results[k].kld_quantile[PARE_QUANTILE_MAX].value > largest->value)
            *largest = results[k].kld_quantile[PARE_QUANTILE_MAX];
    return mean;
}
