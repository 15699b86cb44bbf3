/* cmd/task_drift.h - a model's answers to the tasks of --task beside those of a reference: measured and shown */
#ifndef PARE_CMD_TASK_DRIFT_H
#define PARE_CMD_TASK_DRIFT_H

#include "cmd/task_report.h"
#include "eval/drift.h"
#include "eval/first_token.h"

/* A model's answers to a task beside the reference's. */
typedef struct cmd_task_drift {
    size_t n_rules; /* the rules that this task knows: the first so many */
    pare_drift drift[PARE_N_RULES];
    pare_pairs pairs[PARE_N_RULES];
    pare_first_token first_token;
} cmd_task_drift;

/* Zeroed is closed. */
typedef struct cmd_drift {
    cmd_task_drift *tasks; /* [n] those of the command line; NULL: not measured */
    size_t n;
    cmd_task_drift all; /* of all tasks together; no first_token */
} cmd_drift;

/* The models that answer. Everything borrowed. */
typedef struct cmd_drift_models {
    const pare_model *reference;
    const pare_model *const *models; /* [n_models] */
    size_t n_models;
    pare_backend *backend;
    const pare_tokenizer *tokenizer;
} cmd_drift_models;

/* cmd_tasks_load, of tasks that have answers to compare. Errors: those, PARE_ERR_UNSUPPORTED (a task that its owner's
 * tool judges) */
pare_status cmd_drift_open(cmd_tasks *t, const cmd_args *args, pare_error *err);

/* Score the tasks with every model, beside the reference's scores [t->n] of cmd_tasks_score. drift [n_models], zeroed.
 * Nothing without tasks. Errors: those of scoring, PARE_ERR_MEMORY; what was measured is to be closed then too */
pare_status cmd_drift_measure(const cmd_tasks *t, const cmd_drift_models *with, const pare_task_scores *reference,
                              cmd_drift *drift, pare_error *err);
void cmd_drift_close(cmd_drift *d);

/* The name of a rule: "acc", "acc_norm", "acc_token" */
const char *cmd_rule_name(pare_rule rule);

/* On stdout, and as "tasks" and, of several, "all_tasks" in doc. Nothing where nothing was measured. */
void cmd_drift_print(const cmd_tasks *t, const cmd_drift *d);
void cmd_drift_json(json_t *doc, const cmd_tasks *t, const cmd_drift *d);

#endif
