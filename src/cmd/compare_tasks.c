#include "cmd/comparison.h"
#include "cmd/console.h"

#include <stdlib.h>

pare_status cmd_compare_tasks(cmd_comparison *c, pare_error *err)
{
    const cmd_drift_models with = {&c->reference, c->models, c->n, c->devices.backend[0], c->tokenizer};
    cmd_drift *drift = calloc(c->n, sizeof *drift);
    pare_task_scores *reference = NULL;
    if (drift == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for the answers of %zu models", c->n);
    if (c->tasks.n > 0)
        cmd_note("tasks with %s", c->reference.path);
    pare_status st = cmd_tasks_score(&c->tasks, &c->reference, c->devices.backend[0], c->tokenizer, &reference, err);
    if (st == PARE_OK)
        st = cmd_drift_measure(&c->tasks, &with, reference, drift, err);
    for (size_t k = 0; k < c->n; k++)
        c->candidates[k].drift = drift[k];
    cmd_tasks_free_scores(&c->tasks, reference);
    free(drift);
    return st;
}
