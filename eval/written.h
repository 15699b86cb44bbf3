/* eval/written.h - tasks whose items a model answers in its own words (PARE_TASK_GENERATE)
 *
 * Texts are greedy. An answer is taken out of each and compared with the target by the rules of tasks/extract.h, or the
 * texts themselves are the result (HumanEval), which the benchmark's own tool scores: pare executes nothing. Method:
 * docs/methods/GENERATION.md. */
#ifndef PARE_EVAL_WRITTEN_H
#define PARE_EVAL_WRITTEN_H

#include "eval/generate.h"
#include "eval/likelihood.h"
#include "tasks/extract.h"

/* What was written for one item. */
struct pare_written {
    pare_str text;                       /* UTF-8: U+FFFD in place of what was not */
    pare_str answer[PARE_N_EXTRACTIONS]; /* as compared; empty: the text has none */
    bool right[PARE_N_EXTRACTIONS];      /* false where the item has no target */
    uint32_t n_tokens;
    pare_ending ending;
};

/* pare_score_task for PARE_TASK_GENERATE: sets items[i].written, and too_long where the prompt leaves no room for an
 * answer. Errors: those of pare_generate. */
pare_status pare_score_written(pare_task_scores *out, const pare_task *task, const pare_scorer *with, pare_error *err);

/* Texts that end because the context was full: they are scored as they are. */
uint64_t pare_n_cut(const pare_task_scores *s);

/* Write {"task_id": ID, "completion": TEXT} for each item that was asked, a line each: what human-eval's
 * evaluate_functional_correctness reads. flags: PARE_OUTPUT_FORCE or 0. Errors: PARE_ERR_UNSUPPORTED (a task without
 * texts), those of pare_output_file. */
pare_status pare_write_completions(const pare_task_scores *s, const char *path, unsigned flags, pare_error *err);

#endif
