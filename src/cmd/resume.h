/* cmd/resume.h - --resume: what an evaluation measured before it failed, taken in place of measuring it again
 *
 * `pare eval --record run.json` that cannot go on leaves run.unfinished.json and run.unfinished.jsonl
 * (cmd/record_run.h). Their windows pass through the same sums, records and lists as windows that are measured. */
#ifndef PARE_CMD_RESUME_H
#define PARE_CMD_RESUME_H

#include "cmd/options.h"
#include "eval/evaluate.h"
#include "report/record_items.h"
#include "report/record_read.h"

/* Zeroed is closed, and holds nothing. */
typedef struct cmd_resume {
    pare_record part;
    pare_record_items items;
    bool is_there, more; /* more: items.line was not used yet */
    uint64_t n_windows;  /* in all */
    bool self_checked;
} cmd_resume;

/* With --resume, open what lies beside the record that --record names; nothing there is said on stderr and no error.
 * Without it, what lies there must be dropped by --force. Errors: PARE_ERR_USAGE (--resume without --record or with
 * --save-logits; something is there and neither option is given), PARE_ERR_FORMAT (it is damaged, or is no unfinished
 * record) and others of pare_record_load */
pare_status cmd_resume_open(cmd_resume *r, const cmd_args *args, pare_error *err);
void cmd_resume_close(cmd_resume *r);

/* How many windows of w, the first ones, need not be measured: whole batches, so that the others pass through the
 * layers beside the same neighbours as in a run without a break. */
uint32_t cmd_resume_count(const cmd_resume *r, size_t text, const pare_windows *w);

/* Give fn the first n windows of a text, as model 0; a text of which not all are taken is the last one of the part.
 * Errors: PARE_ERR_FORMAT (the part has other windows), those of
 * reading and of fn */
pare_status cmd_resume_replay(cmd_resume *r, size_t text, pare_windows *w, uint32_t n, pare_scores_fn fn, void *user,
                              pare_error *err);

/* Remove what lies beside the record: it is complete now, or something else is kept there. */
void cmd_resume_remove(const cmd_args *args);

#endif
