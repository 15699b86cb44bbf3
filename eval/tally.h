/* eval/tally.h - figures of a text out of the scores of its windows, and how sure they are
 *
 * Scores may come from passes over models, from a record, or from several machines: the same scores in the order of
 * their windows give the same figures to the last bit. Formulas: docs/methods/EVALUATION.md. */
#ifndef PARE_EVAL_TALLY_H
#define PARE_EVAL_TALLY_H

#include "eval/scores.h"
#include "eval/stats.h"

/* Fractions at which quantiles are told: 0 (min), 0.1 %, 1 %, 5 %, 10 %, 25 %, median, ..., 99.9 %, 1 (max). */
enum { PARE_N_QUANTILES = 13, PARE_QUANTILE_MEDIAN = 6, PARE_QUANTILE_P99 = 10, PARE_QUANTILE_P999 = 11,
       PARE_QUANTILE_MAX = 12, PARE_CURVE_POINTS = 16 };
extern const double pare_quantile_fractions[PARE_N_QUANTILES];

/* Intervals of 95 % for a figure whose positions within a window are not independent. NAN where there are too few windows. */
typedef struct pare_block_interval {
    pare_interval t;         /* mean over windows with Student's t; all windows have the same number of positions */
    pare_interval bootstrap; /* percentiles over resampled windows */
} pare_block_interval;

/* Figures of positions [first, end) of the windows: does divergence grow with the depth into the window? */
typedef struct pare_curve_point {
    uint32_t first, end;
    pare_estimate nll, ref_nll, kld;
} pare_curve_point;

typedef struct pare_eval_result {
    uint32_t n_ctx, n_chunks; /* n_chunks: windows scored so far */
    uint64_t n_tokens_scored;
    pare_estimate perplexity; /* errors of estimates: a position at a time, as if positions were independent */
    pare_block_interval perplexity_blocks;
    bool has_reference; /* what follows is 0 without one */
    pare_estimate reference_perplexity;
    pare_estimate ln_ratio; /* mean of ln p_ref - ln p = ln(perplexity / reference); error with the covariance */
    pare_estimate ratio;    /* e^ln_ratio */
    pare_estimate difference; /* perplexity - reference, error with the covariance */
    double correlation;       /* of the two negative log-likelihoods over positions */
    pare_estimate kld_mean, kld_reverse; /* KL(reference || model) and KL(model || reference), nat a token */
    pare_estimate same_top1;             /* fraction */
    pare_estimate delta_p_mean, delta_p_rms; /* change of the true token's probability, fraction */
    pare_block_interval ln_ratio_blocks, kld_blocks, kld_reverse_blocks, same_top1_blocks;
    /* from here on: known when the tally is finished, else NAN */
    pare_estimate kld_quantile[PARE_N_QUANTILES], delta_p_quantile[PARE_N_QUANTILES]; /* error of min and max: NAN */
    size_t n_curve;
    pare_curve_point curve[PARE_CURVE_POINTS];
} pare_eval_result;

/* Zeroed is closed. */
typedef struct pare_tally pare_tally;

/* Memory: 16 bytes a position with a reference, and some hundred bytes a window. */
pare_status pare_tally_open(pare_tally **out, uint32_t n_ctx, bool has_reference, pare_error *err);
void pare_tally_close(pare_tally *t); /* NULL is allowed */

/* Add the next window. Errors: PARE_ERR_FORMAT (window not behind the last one; another number of positions; a value
 * that is not finite), PARE_ERR_MEMORY */
pare_status pare_tally_add(pare_tally *t, const pare_scores *s, pare_error *err);

/* The figures so far, without quantiles, curve and intervals. */
void pare_tally_running(const pare_tally *t, pare_eval_result *out);

/* All figures. seed: of the bootstrap. */
pare_status pare_tally_finish(pare_tally *t, uint64_t seed, pare_eval_result *out, pare_error *err);

#endif
