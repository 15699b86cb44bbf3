#include "cmd/comparison_report.h"
#include "cmd/outputs.h"
#include "cmd/report_file.h"

#include <stdlib.h>

pare_status cmd_check_report(const cmd_comparison *c, pare_error *err)
{
    const char *path = cmd_text(c->args, OPT_REPORT);
    if (path == NULL)
        return PARE_OK;
    if (cmd_check_report_name(c->args, err) != PARE_OK)
        return err->status;
    size_t n_files = cmd_count(c->args, OPT_FILE);
    const char **inputs = calloc(n_files + c->tasks.n + 2, sizeof *inputs);
    if (inputs == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu names", n_files + c->tasks.n);
    cmd_outputs outputs = {.inputs = inputs};
    for (size_t i = 0; i < n_files; i++)
        inputs[outputs.n_inputs++] = cmd_nth(c->args, OPT_FILE, i);
    for (size_t i = 0; i < c->tasks.n; i++)
        inputs[outputs.n_inputs++] = cmd_nth(c->args, OPT_TASK, i);
    if (cmd_has(c->args, OPT_SHOTS))
        inputs[outputs.n_inputs++] = cmd_text(c->args, OPT_SHOTS);
    cmd_outputs_add(&outputs, "--report", path);
    pare_status st = cmd_outputs_check(&outputs, &c->reference, cmd_has(c->args, OPT_FORCE), err);
    for (size_t k = 0; k < c->n && st == PARE_OK; k++)
        st = cmd_outputs_check(&outputs, c->models[k], cmd_has(c->args, OPT_FORCE), err);
    free(inputs);
    return st;
}
