/* report/figures.h - the figures of an evaluation by name: one table, which records, `pare eval --json` and reports
 * share
 *
 * A figure is an estimate in a pare_eval_result. Its value stands under `key`, its standard error under `error_key`. */
#ifndef PARE_REPORT_FIGURES_H
#define PARE_REPORT_FIGURES_H

#include "eval/tally.h"

#include <jansson.h>

typedef struct pare_figure {
    const char *key, *error_key, *label;
    size_t offset; /* of the pare_estimate in a pare_eval_result */
    bool needs_reference;
    double scale; /* for people: what to multiply with before the unit */
    const char *unit;
} pare_figure;

const pare_figure *pare_figure_at(size_t i); /* NULL behind the last */
const pare_estimate *pare_figure_of(const pare_eval_result *r, const pare_figure *f);

/* Where it lies when positions of a window are not independent; NULL for a figure that has no such interval. */
const pare_block_intervals *pare_figure_intervals(const pare_eval_result *r, const pare_figure *f);

/* The figures of r as members of object, with n_ctx, n_chunks, n_tokens_scored, and, where they are known:
 * "<figure>_t" and "<figure>_bootstrap" [lo, hi], "kld_quantiles", "delta_p_quantiles" and "curve". Numbers that are
 * not finite are left out. Layout: docs/formats/RECORD.md. Errors: PARE_ERR_MEMORY */
pare_status pare_figures_put(json_t *object, const pare_eval_result *r, pare_error *err);

/* "kld_p999", its error and "n" (positions) for each member of the "curve" that pare_figures_put gave object. Records
 * do not have them: their figures are compared one by one with those that the items give. Errors: PARE_ERR_MEMORY */
pare_status pare_figures_put_tails(json_t *object, const pare_eval_result *r, pare_error *err);

/* The mean over n >= 1 texts, each with the same weight; errors of independent texts add in squares. kld_max is the
 * largest of all. Of one text it is the text's result; of several, intervals, curve and other quantiles are unknown. */
pare_eval_result pare_figures_average(const pare_eval_result *results, size_t n);

#endif
