#include "cmd/eval_figures.h"
#include "cmd/console.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

/* One row an estimate: keys in JSON, label, place in the result. `scale` and `unit` are for people only; a row without
 * label is for programs only. */
typedef struct figure {
    const char *key, *stderr_key, *label;
    size_t offset;
    bool needs_reference;
    double scale;
    const char *unit;
    size_t blocks; /* offset of its intervals, 0: none */
} figure;

#define AT(field) offsetof(pare_eval_result, field)
#define QUANTILE(array, q) (AT(array) + (q) * sizeof(pare_estimate))
#define FIGURE(key, field, label, reference, scale, unit, blocks)                                                      \
    {                                                                                                                  \
        key, key "_stderr", label, AT(field), reference, scale, unit, blocks                                           \
    }
#define KLD_QUANTILE(key, q, label)                                                                                    \
    {                                                                                                                  \
        "kld_" key, "kld_" key "_stderr", label, QUANTILE(kld_quantile, q), true, 1, " nat", 0                         \
    }
#define DELTA_QUANTILE(key, q)                                                                                         \
    {                                                                                                                  \
        "delta_p_" key, "delta_p_" key "_stderr", NULL, QUANTILE(delta_p_quantile, q), true, 100, " %", 0              \
    }

static const figure figures[] = {
    FIGURE("perplexity", perplexity, "perplexity", false, 1, "", AT(perplexity_blocks)),
    FIGURE("reference_perplexity", reference_perplexity, "perplexity of the reference", true, 1, "", 0),
    FIGURE("ln_ratio", ln_ratio, "ln(perplexity / reference)", true, 1, "", AT(ln_ratio_blocks)),
    FIGURE("ratio", ratio, NULL, true, 1, "", 0),
    FIGURE("difference", difference, NULL, true, 1, "", 0),
    {"kld_mean", "kld_stderr", "KL divergence, mean", AT(kld_mean), true, 1, " nat", AT(kld_blocks)},
    FIGURE("kld_reverse", kld_reverse, "KL(model || reference)", true, 1, " nat", AT(kld_reverse_blocks)),
    KLD_QUANTILE("min", 0, NULL),
    KLD_QUANTILE("p001", 1, NULL),
    KLD_QUANTILE("p01", 2, NULL),
    KLD_QUANTILE("p05", 3, NULL),
    KLD_QUANTILE("p10", 4, NULL),
    KLD_QUANTILE("p25", 5, NULL),
    KLD_QUANTILE("median", PARE_QUANTILE_MEDIAN, "KL divergence, median"),
    KLD_QUANTILE("p75", 7, NULL),
    KLD_QUANTILE("p90", PARE_QUANTILE_P90, NULL),
    KLD_QUANTILE("p95", PARE_QUANTILE_P95, NULL),
    KLD_QUANTILE("p99", PARE_QUANTILE_P99, "KL divergence, 99 %"),
    KLD_QUANTILE("p999", PARE_QUANTILE_P999, "KL divergence, 99.9 %"),
    KLD_QUANTILE("max", PARE_QUANTILE_MAX, "KL divergence, largest"),
    FIGURE("same_top1", same_top1, "same most likely token", true, 100, " %", AT(same_top1_blocks)),
    FIGURE("delta_p_mean", delta_p_mean, "change of probability, mean", true, 100, " %", 0),
    FIGURE("delta_p_rms", delta_p_rms, "change of probability, rms", true, 100, " %", 0),
    DELTA_QUANTILE("min", 0),
    DELTA_QUANTILE("p001", 1),
    DELTA_QUANTILE("p01", 2),
    DELTA_QUANTILE("p05", 3),
    DELTA_QUANTILE("p10", 4),
    DELTA_QUANTILE("p25", 5),
    DELTA_QUANTILE("median", PARE_QUANTILE_MEDIAN),
    DELTA_QUANTILE("p75", 7),
    DELTA_QUANTILE("p90", PARE_QUANTILE_P90),
    DELTA_QUANTILE("p95", PARE_QUANTILE_P95),
    DELTA_QUANTILE("p99", PARE_QUANTILE_P99),
    DELTA_QUANTILE("p999", PARE_QUANTILE_P999),
    DELTA_QUANTILE("max", PARE_QUANTILE_MAX),
};

enum { N_FIGURES = sizeof figures / sizeof figures[0] };

static const pare_estimate *estimate(const pare_eval_result *r, size_t i)
{
    return (const pare_estimate *)(const void *)((const char *)r + figures[i].offset);
}

static const pare_block_intervals *intervals(const pare_eval_result *r, size_t i)
{
    return (const pare_block_intervals *)(const void *)((const char *)r + figures[i].blocks);
}

static void set_estimate(pare_eval_result *r, size_t i, pare_estimate e)
{
    memcpy((char *)r + figures[i].offset, &e, sizeof e);
}

pare_eval_result cmd_average(const pare_eval_result *results, size_t n)
{
    const pare_interval none = {NAN, NAN};
    const pare_block_intervals unknown = {none, none};
    if (n == 1)
        return results[0];
    pare_eval_result mean = results[0];
    mean.n_chunks = 0;
    mean.n_tokens_scored = 0;
    mean.n_curve = 0;
    mean.correlation = NAN;
    for (size_t k = 0; k < n; k++) {
        mean.n_chunks += results[k].n_chunks;
        mean.n_tokens_scored += results[k].n_tokens_scored;
    }
    for (size_t i = 0; i < N_FIGURES; i++) {
        double sum = 0, squares = 0;
        for (size_t k = 0; k < n; k++) {
            const pare_estimate *e = estimate(&results[k], i);
            sum += e->value;
            squares += e->stderr_ * e->stderr_;
        }
        set_estimate(&mean, i, (pare_estimate){sum / (double)n, sqrt(squares) / (double)n});
        if (figures[i].blocks != 0)
            memcpy((char *)&mean + figures[i].blocks, &unknown, sizeof unknown);
    }
    for (size_t k = 0; k < n; k++) { /* the least and the largest of all, no means */
        const int ends[] = {PARE_QUANTILE_MIN, PARE_QUANTILE_MAX};
        for (int e = 0; e < 2; e++) {
            pare_estimate *kld = &mean.kld_quantile[ends[e]], *delta = &mean.delta_p_quantile[ends[e]];
            double x = results[k].kld_quantile[ends[e]].value, y = results[k].delta_p_quantile[ends[e]].value;
            kld->value = k == 0 || (e == 0 ? x < kld->value : x > kld->value) ? x : kld->value;
            delta->value = k == 0 || (e == 0 ? y < delta->value : y > delta->value) ? y : delta->value;
        }
    }
    return mean;
}

static json_t *json_interval(const pare_interval *x)
{
    return json_pack("[f, f]", x->lo, x->hi);
}

static json_t *json_intervals(const pare_eval_result *r)
{
    json_t *doc = json_object();
    for (size_t i = 0; i < N_FIGURES; i++) {
        if (figures[i].blocks == 0 || (figures[i].needs_reference && !r->has_reference))
            continue;
        const pare_block_intervals *b = intervals(r, i);
        if (isfinite(b->t.lo) && isfinite(b->bootstrap.lo))
            json_object_set_new(
                doc, figures[i].key,
                json_pack("{s:o, s:o}", "t", json_interval(&b->t), "bootstrap", json_interval(&b->bootstrap)));
    }
    return doc;
}

static json_t *json_curve(const pare_eval_result *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->n_curve; i++) {
        const pare_curve_point *p = &r->curve[i];
        json_t *row = json_object();
        cmd_json_u64(row, "first", p->first);
        cmd_json_u64(row, "end", p->end);
        cmd_json_real(row, "nll", p->nll.value);
        cmd_json_real(row, "nll_stderr", p->nll.stderr_);
        if (r->has_reference) {
            cmd_json_real(row, "reference_nll", p->ref_nll.value);
            cmd_json_real(row, "reference_nll_stderr", p->ref_nll.stderr_);
            cmd_json_real(row, "kld", p->kld.value);
            cmd_json_real(row, "kld_stderr", p->kld.stderr_);
        }
        json_array_append_new(list, row);
    }
    return list;
}

void cmd_json_figures(json_t *doc, const pare_eval_result *r)
{
    for (size_t i = 0; i < N_FIGURES; i++) {
        if (figures[i].needs_reference && !r->has_reference)
            continue;
        cmd_json_real(doc, figures[i].key, estimate(r, i)->value);
        cmd_json_real(doc, figures[i].stderr_key, estimate(r, i)->stderr_);
    }
    if (r->has_reference)
        cmd_json_real(doc, "correlation", r->correlation);
    cmd_json_u64(doc, "n_ctx", r->n_ctx);
    cmd_json_u64(doc, "n_chunks", r->n_chunks);
    cmd_json_u64(doc, "n_tokens_scored", r->n_tokens_scored);
    json_t *inside = json_intervals(r);
    if (json_object_size(inside) > 0)
        json_object_set(doc, "intervals", inside);
    json_decref(inside);
    if (r->n_curve > 0)
        json_object_set_new(doc, "curve", json_curve(r));
}

static void print_curve(const pare_eval_result *r)
{
    printf("  positions      %s\n",
           r->has_reference ? "KL divergence            perplexity   reference" : "perplexity");
    for (size_t i = 0; i < r->n_curve; i++) {
        const pare_curve_point *p = &r->curve[i];
        printf("  %5" PRIu32 " .. %-5" PRIu32, p->first, p->end - 1);
        if (r->has_reference)
            printf("%10.6f +/- %-9.6f %10.4f  %10.4f\n", p->kld.value, p->kld.stderr_, exp(p->nll.value),
                   exp(p->ref_nll.value));
        else
            printf("%10.4f\n", exp(p->nll.value));
    }
}

void cmd_print_figures(const char *title, const pare_eval_result *r, bool curve)
{
    printf("%s: %" PRIu32 " windows of %" PRIu32 " tokens, %" PRIu64 " scored\n", title, r->n_chunks, r->n_ctx,
           r->n_tokens_scored);
    for (size_t i = 0; i < N_FIGURES; i++) {
        const pare_estimate *e = estimate(r, i);
        double scale = figures[i].scale;
        if (figures[i].label == NULL || (figures[i].needs_reference && !r->has_reference))
            continue;
        printf("  %-28s %12.6g", figures[i].label, scale * e->value);
        if (isfinite(e->stderr_))
            printf(" +/- %.3g", scale * e->stderr_);
        printf("%s", figures[i].unit);
        if (figures[i].blocks != 0 && isfinite(intervals(r, i)->bootstrap.lo))
            printf("   95 %%: %.6g .. %.6g", scale * intervals(r, i)->bootstrap.lo,
                   scale * intervals(r, i)->bootstrap.hi);
        printf("\n");
    }
    if (curve)
        print_curve(r);
}
