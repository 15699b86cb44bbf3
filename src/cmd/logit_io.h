/* cmd/logit_io.h - --save-logits, --logits: a reference's log-probabilities written to a store, and taken from one */
#ifndef PARE_CMD_LOGIT_IO_H
#define PARE_CMD_LOGIT_IO_H

#include "cmd/text_run.h"

/* Zeroed is closed, and does nothing: neither option was given. */
typedef struct cmd_logit_io {
    const cmd_args *args;
    const pare_model *model; /* that is measured; its tokenizer made the windows */
    const char *compute;     /* of the backend; static */
    pare_logit_store *store; /* --logits */
    pare_logit_writer *writer;
    pare_logit_info info; /* of what --save-logits writes */
    char tokenizer_sha256[65];
} cmd_logit_io;

/* Check the options and their files, open the store, hash what the new one is of: reference (may be NULL), else what
 * the opened store is of, else model.
 *   compute  of the backend that computes
 * Errors: PARE_ERR_USAGE, those of pare_logit_store_open and of hashing */
pare_status cmd_logit_io_open(cmd_logit_io *l, const cmd_args *args, const pare_model *model,
                              const pare_model *reference, const char *compute, pare_error *err);
void cmd_logit_io_close(cmd_logit_io *l);

/* Be the reference of the run that cmd_logit_io_open was called for, and listen to it, as the options say. */
void cmd_logit_io_attach(cmd_logit_io *l, cmd_text_run *run);

/* Write what was heard. Errors: those of pare_logit_writer_commit */
pare_status cmd_logit_io_finish(cmd_logit_io *l, pare_error *err);

void cmd_logit_io_print(const cmd_logit_io *l);
/* "logits" (what was read) and "saved_logits" of doc. */
void cmd_logit_io_json(const cmd_logit_io *l, json_t *doc);
/* Member "reference" of a record's head: the store, by its SHA-256, and the model that it is of. Nothing without a
 * store. Errors: those of reading and hashing it */
pare_status cmd_logit_io_record(const cmd_logit_io *l, json_t *head, pare_error *err);

#endif
