/* cmd/task_texts.h - tasks that a model answers in its own words: what is warned of, listed and written to a file */
#ifndef PARE_CMD_TASK_TEXTS_H
#define PARE_CMD_TASK_TEXTS_H

#include "cmd/task_report.h"

/* --completions before anything runs: there is one task of texts. Errors: PARE_ERR_USAGE */
pare_status cmd_texts_check(const cmd_tasks *t, pare_error *err);

/* Say how many texts were cut off by the context. */
void cmd_texts_warn(const pare_task_scores *s);

/* Add to an item's row what was written for it. */
void cmd_texts_put(json_t *row, const pare_item *item, const pare_item_score *score);

/* Write what --completions names, from scores [t->n]. Nothing without the option. */
pare_status cmd_texts_write(const cmd_tasks *t, const pare_task_scores *scores, pare_error *err);

#endif
