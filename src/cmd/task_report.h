/* cmd/task_report.h - --task: benchmark files loaded, scored and shown */
#ifndef PARE_CMD_TASK_REPORT_H
#define PARE_CMD_TASK_REPORT_H

#include "cmd/options.h"
#include "eval/likelihood.h"

#include <jansson.h>

/* The tasks of a command line, in its order. Zeroed is closed. */
typedef struct cmd_tasks {
    const cmd_args *args;
    pare_task *list; /* [n] */
    size_t n;
    const pare_kv_form *form; /* of keys and values; NULL: floats */
} cmd_tasks;

/* Load what --task names, as --task-format, --shots, --n-shot, --limit and --description say. No --task: n is 0.
 * Errors: those of pare_task_load; PARE_ERR_USAGE (one of these options without --task) */
pare_status cmd_tasks_load(cmd_tasks *t, const cmd_args *args, pare_error *err);
void cmd_tasks_close(cmd_tasks *t);

/* Score every task with one model: *scores [t->n], NULL without tasks or on error, else to be freed by
 * cmd_tasks_free_scores. */
pare_status cmd_tasks_score(const cmd_tasks *t, const pare_model *m, pare_backend *b, const pare_tokenizer *tokenizer,
                            pare_task_scores **scores, pare_error *err);
void cmd_tasks_free_scores(const cmd_tasks *t, pare_task_scores *scores); /* NULL is allowed */

/* Show scores [t->n] on stdout; add them to doc as "tasks", with every item when --task-items asks for them.
 * Errors: PARE_ERR_MEMORY */
pare_status cmd_tasks_print(const cmd_tasks *t, const pare_task_scores *scores, pare_error *err);
pare_status cmd_tasks_json(json_t *doc, const cmd_tasks *t, const pare_task_scores *scores, pare_error *err);

#endif
