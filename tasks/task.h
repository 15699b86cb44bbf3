/* tasks/task.h - benchmark items in memory: what the model is given, what it may answer, which answer is right
 *
 * A reader (tasks/read_*.c) fills a pare_task from a file of the benchmark's owner; who scores it (eval/likelihood.h,
 * eval/generate.h) knows no benchmark by name. Texts are UTF-8 views that the task owns. */
#ifndef PARE_TASKS_TASK_H
#define PARE_TASKS_TASK_H

#include "core/text.h"

#include <stdint.h>

typedef enum pare_task_kind {
    PARE_TASK_CHOICE,   /* the answer with the largest likelihood counts */
    PARE_TASK_LAST_WORD, /* one continuation: is it what greedy decoding gives? (LAMBADA) */
    PARE_TASK_GENERATE   /* greedy text up to a stop, then an answer is taken out of it and compared (GSM8K), or the
                            text is the result (HumanEval) */
} pare_task_kind;

/* One answer. Scored is ln p(continuation | context); both are tokenized as one text. */
typedef struct pare_choice {
    pare_str context;      /* the same for all choices, but for tasks whose contexts differ (WinoGrande) */
    pare_str continuation; /* begins with the space that divides it from the context, where there is one */
    double weight;         /* 1: right; 0: wrong. Several may be right (TruthfulQA MC2) */
} pare_choice;

typedef struct pare_item {
    pare_str id;    /* of the owner, or its number from 0 */
    pare_str group; /* items that share a passage or a subject: errors are clustered by it; may be empty */
    pare_choice *choices;
    size_t n_choices;
    size_t answer; /* index of the right choice; of PARE_TASK_GENERATE: 0 */
    /* PARE_TASK_GENERATE */
    pare_str prompt, target; /* target: the answer to compare with; empty when nothing is compared */
} pare_item;

typedef struct pare_task {
    char *name;   /* "mmlu_astronomy", "hellaswag", ... */
    char *path;   /* of the file */
    char *format; /* which reader: "mmlu-csv", "hellaswag-jsonl", "llama-cpp-choice", ... */
    char sha256[65]; /* of the file's bytes */
    pare_task_kind kind;
    bool has_norm; /* the owner reports acc_norm too */
    uint32_t n_shot;
    pare_item *items;
    size_t n_items;
    /* PARE_TASK_GENERATE */
    const pare_str *stops; /* generation ends in front of the first of these */
    size_t n_stops;
    uint32_t max_tokens;
    pare_arena memory; /* everything above */
} pare_task;

typedef struct pare_task_options {
    const char *format; /* NULL: seen from the file */
    const char *shots;  /* file of examples that the prompts begin with (MMLU dev csv, GSM8K train jsonl); NULL: none */
    uint32_t n_shot;
    uint64_t limit; /* the first so many items; 0: all */
} pare_task_options;

/* Errors: PARE_ERR_FORMAT, PARE_ERR_RANGE (file, line or record, field, value, limit: answer index out of range, empty
 * choices, ...), PARE_ERR_UNSUPPORTED (a format that is not known: the known ones are listed), PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status pare_task_load(pare_task *out, const char *path, const pare_task_options *options, pare_error *err);
void pare_task_close(pare_task *t);

#endif
