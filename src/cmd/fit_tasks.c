/* --task: what a budget leaves of the answers. A part of cmd/fit_choose.h. */
#include "cmd/console.h"
#include "cmd/fit_choose.h"

pare_status cmd_fit_answer(cmd_fit_job *j, const pare_model *m, cmd_drift *out, pare_error *err)
{
    const cmd_drift_models with = {&j->model, &m, 1, j->backend, j->tokenizer};
    pare_status st = PARE_OK;
    if (j->tasks.n > 0 && j->answers == NULL) {
        cmd_note("tasks with %s", j->model.path);
        st = cmd_tasks_score(&j->tasks, &j->model, j->backend, j->tokenizer, &j->answers, err);
    }
    return st == PARE_OK ? cmd_drift_measure(&j->tasks, &with, j->answers, out, err) : st;
}
