/* eval/tally.h - figures of a text out of the scores of its windows, and how sure they are
 *
 * Scores may come from passes over models, from a record, or from several machines: the same scores in the order of
 * their windows give the same figures to the last bit. Formulas: docs/methods/EVALUATION.md. */
#ifndef PARE_EVAL_TALLY_H
#define PARE_EVAL_TALLY_H

#include "eval/scores.h"
#include "eval/stats.h"

enum {
    PARE_QUANTILE_MIN,
    PARE_QUANTILE_MEDIAN = 6,
    PARE_QUANTILE_P90 = 8,
    PARE_QUANTILE_P95,
    PARE_QUANTILE_P99,
    PARE_QUANTILE_P999,
    PARE_QUANTILE_MAX,
    PARE_N_QUANTILES,
    PARE_CURVE_POINTS = 16
};

/* 0 (min), 0.1 %, 1 %, 5 %, 10 %, 25 %, median, 75 %, 90 %, 95 %, 99 %, 99.9 %, 1 (max) */
extern const double pare_quantile_fractions[PARE_N_QUANTILES];

/* Where a figure lies with 95 %, positions of a window not being independent of each other. NAN below two windows. */
typedef struct pare_block_intervals {
    pare_interval t;         /* mean over windows, Student's t */
    pare_interval bootstrap; /* percentiles over resampled windows */
} pare_block_intervals;

/* Figures of positions [first, end) of the windows: does divergence grow with the depth into the window? */
typedef struct pare_curve_point {
    uint32_t first, end;
    pare_estimate nll, ref_nll, kld;
    pare_estimate kld_p999; /* 99.9 % quantile of all of them, exact; of fewer than 1,000 nearly the largest */
    uint64_t n;             /* positions of all windows together */
} pare_curve_point;

typedef struct pare_eval_result {
    uint32_t n_ctx, n_chunks; /* n_chunks: windows scored so far */
    uint64_t n_tokens_scored;
    pare_estimate perplexity; /* errors of estimates: as if all positions were independent */
    bool has_reference;       /* what follows up to the intervals is 0 without one */
    pare_estimate reference_perplexity;
    pare_estimate ln_ratio;    /* mean of ln p - ln q = ln(perplexity / reference); error with the covariance */
    pare_estimate ratio;       /* perplexity / reference */
    pare_estimate difference;  /* perplexity - reference, error with the covariance */
    double correlation;        /* of both negative log-likelihoods over the positions */
    pare_estimate kld_mean;    /* KL(reference || model), nat a token */
    pare_estimate kld_reverse; /* KL(model || reference) */
    pare_estimate same_top1;   /* fraction */
    pare_estimate delta_p_mean, delta_p_rms; /* change of the true token's probability, fraction */

    /* from here on NAN, or 0, until the tally is finished */
    pare_block_intervals perplexity_blocks, ln_ratio_blocks, kld_blocks, kld_reverse_blocks, same_top1_blocks;
    pare_estimate kld_quantile[PARE_N_QUANTILES], delta_p_quantile[PARE_N_QUANTILES]; /* error of min and max: NAN */
    size_t n_curve;
    pare_curve_point curve[PARE_CURVE_POINTS];
} pare_eval_result;

typedef struct pare_tally pare_tally;

/* Memory: 16 bytes a position with a reference, and 40 bytes a window; to finish, 8 bytes more for each position of one
 * point of the curve, a sixteenth of all. */
pare_status pare_tally_open(pare_tally **out, uint32_t n_ctx, bool has_reference, pare_error *err);
void pare_tally_close(pare_tally *t); /* NULL is allowed */

/* Add the next window. Errors: PARE_ERR_FORMAT (not behind the last one; other positions than the first window's; with
 * a reference where none was expected, or without), PARE_ERR_NUMBER (a value that is not finite), PARE_ERR_MEMORY */
pare_status pare_tally_add(pare_tally *t, const pare_scores *s, pare_error *err);

/* The figures so far. */
void pare_tally_running(const pare_tally *t, pare_eval_result *out);

/* All figures; no window can be added afterwards. seed: of the bootstrap. Errors: PARE_ERR_MEMORY */
pare_status pare_tally_finish(pare_tally *t, uint64_t seed, pare_eval_result *out, pare_error *err);

#endif
