/* report/record_task.h - what a record says of a task: its items as lines, its figures out of them */
#ifndef PARE_REPORT_RECORD_TASK_H
#define PARE_REPORT_RECORD_TASK_H

#include "core/json.h"
#include "eval/likelihood.h"

/* Append the line of item i of task number `number`, with its newline. Errors: PARE_ERR_MEMORY */
pare_status pare_record_put_item(pare_buf *out, size_t number, const pare_task_scores *s, size_t i, pare_error *err);

/* The member of "tasks": what the task is, and "figures". Errors: PARE_ERR_MEMORY */
pare_status pare_record_task(json_t **out, const pare_task_scores *s, pare_error *err);

/* The same figures alone, as members of object. */
pare_status pare_record_task_figures(json_t *object, const pare_task_scores *s, pare_error *err);

/* A task read back from a record: as much of it as its figures depend on. Zeroed is closed. */
typedef struct pare_task_read {
    pare_task task;
    pare_task_scores scores; /* of task: not to be moved */
    size_t cap;
} pare_task_read;

/* Start with the member of "tasks"; where is for messages. Errors: PARE_ERR_FORMAT, PARE_ERR_RANGE, PARE_ERR_MEMORY */
pare_status pare_task_read_open(pare_task_read *t, const json_t *member, const char *where, pare_error *err);
/* The next item's line. What rules and extractions make of it is computed again. */
pare_status pare_task_read_item(pare_task_read *t, const json_t *line, const char *where, pare_error *err);
void pare_task_read_close(pare_task_read *t);

#endif
