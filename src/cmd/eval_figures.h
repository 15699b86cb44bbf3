/* cmd/eval_figures.h - the figures of a text: for people, as JSON keys, and the mean over texts */
#ifndef PARE_CMD_EVAL_FIGURES_H
#define PARE_CMD_EVAL_FIGURES_H

#include "eval/tally.h"

#include <jansson.h>

/* Each text has the same weight, and errors of independent texts add in squares. The largest divergence is the largest
 * of all; quantiles are means of quantiles; there are no intervals and no curve. */
pare_eval_result cmd_average(const pare_eval_result *results, size_t n);

/* Figures, errors, intervals, curve; what was not measured is left out. */
void cmd_json_figures(json_t *doc, const pare_eval_result *r);

/* curve: the figures by position in the window too */
void cmd_print_figures(const char *title, const pare_eval_result *r, bool curve);

#endif
