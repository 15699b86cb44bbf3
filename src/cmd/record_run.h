/* cmd/record_run.h - --record: what an evaluation measured, on what and how, as report/record.h writes it */
#ifndef PARE_CMD_RECORD_RUN_H
#define PARE_CMD_RECORD_RUN_H

#include "cmd/text_run.h"
#include "report/record.h"

/* Zeroed is closed, and does nothing: --record was not given. */
typedef struct cmd_record {
    const cmd_args *args;
    pare_record_writer *writer;
    json_t *head;
    size_t model; /* of the run, that the record is of */
    const cmd_text_run *run;
    cmd_resume *resume; /* or NULL */
    uint64_t n_before;  /* windows of the texts before the one that is measured */
    bool in_text;       /* that text was begun and did not end */
    bool is_broken;     /* the items and the figures may differ: nothing can be kept */
} cmd_record;

/* Start the record that --record names, if it does, and hash the models.
 * reference may be NULL. Errors: PARE_ERR_USAGE, PARE_ERR_IO and others of reading the models' files */
pare_status cmd_record_open(cmd_record *r, const cmd_args *args, const pare_model *model, const pare_model *reference,
                            pare_error *err);
void cmd_record_close(cmd_record *r);

/* Listen to the run that cmd_record_open was called for, r being open, and check what run->resume goes on with. */
void cmd_record_listen(cmd_record *r, cmd_text_run *run);

/* Add the tasks that were scored: scores [n]. */
pare_status cmd_record_tasks(cmd_record *r, const pare_task_scores *scores, size_t n, pare_error *err);

/* Write what was heard. Errors: those of pare_record_finish and of publishing; PARE_ERR_INTERRUPTED */
pare_status cmd_record_finish(cmd_record *r, pare_error *err);

/* After err of the run: keep the windows that were measured as an unfinished record beside the one that would have been
 * written (pare_record_unfinished_path), and say so in err. Nothing is kept where there are no more windows than
 * --resume began with. */
void cmd_record_keep(cmd_record *r, pare_error *err);

/* Member "tool" of a record: version, build, libraries, command line. NULL: no memory. */
json_t *cmd_json_tool(const cmd_args *args);

#endif
