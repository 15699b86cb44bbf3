/* cmd/eval_figures.h - the figures of a text, for people */
#ifndef PARE_CMD_EVAL_FIGURES_H
#define PARE_CMD_EVAL_FIGURES_H

#include "eval/tally.h"

/* curve: the figures by position in the window too */
void cmd_print_figures(const char *title, const pare_eval_result *r, bool curve);

/* A line a text: perplexity, ratio, divergence, same top token, each with its error; the header stands above the first. */
void cmd_print_line_header(const pare_eval_result *r);
void cmd_print_line(const char *name, const pare_eval_result *r);

#endif
