/* cmd/comparison.h - what `pare compare` measures, and how it is shown */
#ifndef PARE_CMD_COMPARISON_H
#define PARE_CMD_COMPARISON_H

#include "cmd/pair_file.h"
#include "cmd/task_drift.h"
#include "cmd/text_run.h"
#include "eval/embedding.h"
#include "eval/weight_drift.h"

#include <jansson.h>

/* Texts whose embeddings are compared. */
typedef struct cmd_pairs {
    cmd_pair_file file;
    pare_text_ids ids; /* of its texts */
    pare_pooling pooling;
} cmd_pairs;

typedef struct cmd_candidate {
    pare_model model;
    pare_moments *first;              /* [n_texts] KL divergence at the first scored position of each window */
    cmd_drift drift;                  /* of the tasks' answers */
    pare_embedding_drift *embeddings; /* [n_pair_files] */
    bool has_weights;
    pare_weight_drift weights;
    char why_not[PARE_ERROR_TEXT]; /* weights were wanted, and could not be compared */
} cmd_candidate;

/* Zeroed is closed. */
typedef struct cmd_comparison {
    const cmd_args *args;
    cmd_devices devices;
    pare_tokenizer *tokenizer;
    pare_model reference;
    cmd_candidate *candidates; /* [n] */
    size_t n;
    const pare_model **models; /* [n] views of the candidates' */
    cmd_text_run run;
    size_t n_texts, text;      /* text: which is being measured */
    pare_eval_result *results; /* [n_texts, n] */
    cmd_tasks tasks;
    cmd_pairs *pair_files; /* [n_pair_files] the texts, with --embedding */
    size_t n_pair_files;
} cmd_comparison;

/* The texts of --embedding: read, before any model runs; their vectors by every model. Errors: those of
 * cmd_pair_file_open, pare_embed and pare_embedding_drift_measure */
pare_status cmd_open_pairs(cmd_comparison *c, pare_error *err);
pare_status cmd_compare_embeddings(cmd_comparison *c, pare_error *err);
void cmd_close_pairs(cmd_comparison *c);
void cmd_print_embeddings(const cmd_comparison *c, size_t k);
json_t *cmd_json_embeddings(const cmd_comparison *c, size_t k);

/* Answer every task with every model. Errors: those of reading and scoring */
pare_status cmd_compare_tasks(cmd_comparison *c, pare_error *err);

/* The mean over the texts of candidate k; at least one text. Errors: PARE_ERR_MEMORY */
pare_status cmd_comparison_mean(const cmd_comparison *c, size_t k, pare_eval_result *out, pare_error *err);

pare_status cmd_print_comparison(const cmd_comparison *c, pare_error *err);

/* The document of --json and --report. failures: sentences of the limits that were passed. Errors: PARE_ERR_MEMORY */
pare_status cmd_json_comparison(json_t **out, const cmd_comparison *c, const json_t *failures, pare_error *err);

#endif
