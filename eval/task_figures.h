/* eval/task_figures.h - accuracies and their errors out of the scores of a task's items */
#ifndef PARE_EVAL_TASK_FIGURES_H
#define PARE_EVAL_TASK_FIGURES_H

#include "eval/likelihood.h"
#include "eval/stats.h"

/* What item i counts for by that rule: 1 or 0, for PARE_TASK_MASS its share; NAN when it was too
 * long, or has no target (HumanEval). Other kinds than PARE_TASK_CHOICE know one rule, PARE_TASK_GENERATE the strict
 * one of tasks/extract.h: `rule` is ignored. */
double pare_item_value(const pare_task_scores *s, size_t i, pare_rule rule);

/* A mean over the items that were scored. */
typedef struct pare_task_figure {
    const char *key;         /* "acc", "acc_norm", "acc_token", "mc2", "perplexity", "exact_strict", "exact_flexible" */
    pare_estimate mean;      /* error: the sample's deviation / sqrt n, as lm-eval */
    double clustered_stderr; /* items of a group go together; NAN when the task has no groups */
} pare_task_figure;

enum { PARE_MAX_FIGURES = 4 };

/* The figures of a task, the one it is known by first. *n: how many; none where the texts are the result (HumanEval).
 * Errors: PARE_ERR_MEMORY */
pare_status pare_task_figures(const pare_task_scores *s, pare_task_figure out[PARE_MAX_FIGURES], size_t *n,
                              pare_error *err);

/* The same for n values of items [n] of a task, NAN where there is none. */
pare_status pare_task_mean(const pare_task *task, const double *values, pare_task_figure *out, pare_error *err);

#endif
