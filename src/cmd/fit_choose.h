/* cmd/fit_choose.h - the best types for a budget, out of a text: fit with --file */
#ifndef PARE_CMD_FIT_CHOOSE_H
#define PARE_CMD_FIT_CHOOSE_H

#include "cmd/device.h"
#include "cmd/fit_plan.h"
#include "cmd/outputs.h"
#include "core/spool.h"
#include "cmd/task_drift.h"
#include "cmd/fit_room.h"
#include "eval/measure.h"
#include "eval/tokenizer.h"
#include "fit/search.h"
#include "model/prefix.h"
#include "recipe/state.h"
#include "formats/pin.h"

enum { CMD_FIT_PRESETS = 2 };

/* A file beside what was chosen, measured on the same held-back text. */
typedef struct cmd_fit_rival {
    const char *name;
    uint64_t bytes;
    pare_eval_result result;
    cmd_drift drift;
} cmd_fit_rival;

/* What a budget came to. */
typedef struct cmd_fit_outcome {
    const cmd_fit_memory *memory; /* of a list of budgets: which one; NULL: that of the request */
    uint64_t budget;              /* bytes that the file may have */
    pare_status status; /* PARE_OK, or PARE_ERR_DIFFERENCE: nothing fits, and nothing below but why is there */
    char why[PARE_ERROR_TEXT];
    pare_fit_result fit;
    cmd_fit_candidate candidate; /* how it is run; nothing of it with --size */
    pare_eval_result result;     /* on text that played no part in the choice */
    pare_eval_result plain;      /* the same without --sequential, where that is given; n_chunks 0: not */
    double bits_per_byte, reference_bits_per_byte;
    uint32_t n_sequential; /* tensors encoded in the order of a pass; 0 without --sequential */
    cmd_drift drift;       /* of answers to the tasks; nothing without --task */
} cmd_fit_outcome;

/* A model that is encoded in the order of a pass: its bytes lie in the state. */
typedef struct cmd_fit_sequential {
    pare_buf path; /* of the state, without its ending */
    pare_backend *backend;
    pare_prefix *prefix;
    pare_state state;
    uint32_t n; /* tensors that were encoded so */
} cmd_fit_sequential;

/* One model with its text. Zeroed is closed. */
typedef struct cmd_fit_job {
    const cmd_args *args;
    const cmd_fit_request *request; /* own, once budgets are known */
    cmd_fit_request own;   /* the request with the sizes of --pareto and the cards of the budget in hand; borrows all */
    pare_backend *backend;      /* borrowed */
    const cmd_devices *devices; /* borrowed: what the backend is one of */
    const char *path;
    const char *output; /* NULL: nothing is written */
    char *state;        /* folder, owned */
    pare_spool lock;    /* a file in it: no other process works there */
    pare_model model;
    pare_tokenizer *tokenizer;
    int64_t bos;
    pare_ids calibration, text, test; /* statistics; choice; judgement */
    bool held_back;                   /* test is the end of the text of --file */
    bool is_early;                    /* there are no statistics yet */
    cmd_tasks tasks;
    pare_task_scores *answers; /* [tasks.n] of the original; NULL: not scored yet */
    cmd_fit_sequential sequential;
    pare_imatrix imatrix;
    pare_type_override *keep; /* [n_keep] owned, patterns borrowed: those of the request and of the runtime */
    size_t n_keep;
    cmd_fit_room room; /* not with --size */
    pare_fit *fit;
    cmd_fit_outcome *outcomes; /* [n_outcomes] owned, ascending budgets */
    size_t n_outcomes;
    cmd_fit_rival rivals[CMD_FIT_PRESETS];
    size_t n_rivals, n_passed_over; /* presets nearer in size that have types which were no choice */
    pare_pin pin;                   /* of the output */
    cmd_pinning pinning;
    char standard_input[PARE_SHA256_HEX]; /* of a text that was read from there, or "" */
} cmd_fit_job;

/* state: a folder, made if it is not there. Errors: those of reading, of collecting statistics and of the search;
 * PARE_ERR_DIFFERENCE (no file fits) */
pare_status cmd_fit_choose(cmd_fit_job *j, const cmd_args *args, const cmd_fit_request *request,
                           const cmd_devices *devices, const char *path, const char *state, const char *output, pare_error *err);

/* The budgets: outcomes, with nothing in them yet. fit is open. Errors: PARE_ERR_MEMORY, those of pare_quantize */
pare_status cmd_fit_front_open(cmd_fit_job *j, pare_error *err);

/* From now on the request is of outcome i. */
void cmd_fit_ask(cmd_fit_job *j, size_t i);

/* What came of a budget: PARE_ERR_DIFFERENCE is its own affair and stays there, other errors are everybody's. */
pare_status cmd_fit_note(cmd_fit_outcome *o, pare_status st, const pare_error *why, pare_error *err);

/* Errors: PARE_ERR_DIFFERENCE (no budget is met: why not the largest) */
pare_status cmd_fit_front_check(const cmd_fit_job *j, pare_error *err);

/* --sequential, once there are statistics: can it be done? Errors: PARE_ERR_USAGE (statistics that are not of second
 * order), those of pare_prefix_runs_open */
pare_status cmd_fit_sequential_check(cmd_fit_job *j, pare_error *err);

/* Instead of out, which is closed, the same types encoded in the order of a pass; valid until this is called again or
 * the job closed. What was encoded stays in the folder in a file of that name, for the next run. Errors: those of
 * pare_fit_derive, pare_prefix_runs_open and pare_refine */
pare_status cmd_fit_sequential_make(cmd_fit_job *j, const pare_fit_result *r, const char *name, pare_model *out,
                                    pare_plan *plan, pare_error *err);
void cmd_fit_sequential_close(cmd_fit_job *j);

/* The answers of m to the tasks beside the original's, which is scored the first time. Nothing without --task.
 * Errors: those of cmd_drift_measure; out is to be closed then too */
pare_status cmd_fit_answer(cmd_fit_job *j, const pare_model *m, cmd_drift *out, pare_error *err);
void cmd_fit_job_close(cmd_fit_job *j);

#endif
