/* tasks/task.h - benchmark items in memory: what the model is given, what it may answer, which answer is right
 *
 * A reader (one row of the table in tasks/format.h) fills a pare_task from a file of the benchmark's owner; who scores
 * it (eval/likelihood.h, eval/generate.h) knows no benchmark by name. Texts are UTF-8 views that the task owns. Prompts
 * and their sources: docs/methods/TASKS.md. */
#ifndef PARE_TASKS_TASK_H
#define PARE_TASKS_TASK_H

#include "core/text.h"

#include <stdint.h>

typedef enum pare_task_kind {
    PARE_TASK_CHOICE,    /* the answer with the largest likelihood counts */
    PARE_TASK_MASS,      /* the share of the answers' probability that right ones have (TruthfulQA MC2) */
    PARE_TASK_LAST_WORD, /* one continuation: is it what greedy decoding gives? (LAMBADA) */
    PARE_TASK_GENERATE   /* greedy text up to a stop, then an answer is taken out of it and compared (GSM8K), or the
                            text is the result (HumanEval) */
} pare_task_kind;

/* One answer. Scored is ln p(continuation | context); both are tokenized as one text. */
typedef struct pare_choice {
    pare_str context;      /* the same bytes for all choices, but for tasks whose contexts differ (WinoGrande) */
    pare_str continuation; /* begins with the space that divides it from the context, where there is one */
    pare_str answer;       /* what lengths are counted of: the continuation without that space */
    bool right;            /* several may be (TruthfulQA MC2) */
} pare_choice;

typedef struct pare_item {
    pare_str id;          /* of the owner, or its number from 0 */
    pare_str group;       /* items that share a passage or a subject: errors are clustered by it; may be empty */
    pare_choice *choices; /* PARE_TASK_LAST_WORD: one; PARE_TASK_GENERATE: none */
    size_t n_choices;
    size_t answer; /* index of the (first) right choice */
    /* PARE_TASK_GENERATE */
    pare_str prompt;
    pare_str solution; /* what an example shows behind its prompt */
    pare_str target;   /* the answer to compare with; empty when nothing is compared */
} pare_item;

typedef struct pare_task {
    char *name;      /* "mmlu_astronomy", "hellaswag", ... */
    char *path;      /* of the file */
    char *format;    /* which reader: "mmlu-csv", "hellaswag", "llama-cpp-choice", ... */
    char sha256[65]; /* of the file's bytes */
    pare_task_kind kind;
    bool has_norm;         /* answers differ in length and stand at the end: dividing by the length means something */
    uint32_t n_shot;       /* examples in each prompt */
    char shots_sha256[65]; /* of the file of examples; empty when there is none */
    pare_item *items;
    size_t n_items;
    uint64_t n_in_file; /* items of the file, of which the first n_items were taken */
    /* PARE_TASK_GENERATE */
    const pare_str *stops; /* generation ends in front of the first of these */
    size_t n_stops;
    uint32_t max_tokens;
    pare_arena memory; /* everything above */
} pare_task;

enum { PARE_DEFAULT_SHOTS = 5, PARE_MAX_CHOICES = 1000 };

typedef struct pare_task_options {
    const char *format; /* NULL: seen from the file */
    const char *shots;  /* file of examples that the prompts begin with (MMLU dev csv, GSM8K train jsonl); NULL: none */
    uint32_t n_shot;    /* the first so many; an item that is itself among them is left out. 0: PARE_DEFAULT_SHOTS */
    uint64_t limit;     /* the first so many items; 0: all */
    const char *description; /* what prompts begin with; NULL: what the owner of the benchmark says */
} pare_task_options;

/* Errors: PARE_ERR_FORMAT, PARE_ERR_RANGE (file, line or record, field, value, limit: answer index out of range, empty
 * choices, fewer examples than n_shot, ...), PARE_ERR_UNSUPPORTED (a format that is not known: the known ones are
 * listed), PARE_ERR_USAGE (n_shot without shots), PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status pare_task_load(pare_task *out, const char *path, const pare_task_options *options, pare_error *err);
/* The same from bytes in memory, which nothing refers to afterwards; path is for the name and for messages. */
pare_status pare_task_parse(pare_task *out, const char *path, const void *data, size_t size,
                            const pare_task_options *options, pare_error *err);
void pare_task_close(pare_task *t);

/* Name of format number i, for help and messages; NULL behind the last. */
const char *pare_task_format_name(size_t i);

#endif
