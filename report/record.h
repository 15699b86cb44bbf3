/* report/record.h - the record of an evaluation: one JSON document that says what was measured, on what and how, and
 * beside it a JSONL file of items (every position of every window, every answer) out of which each of its figures can
 * be computed again. Layout: docs/formats/RECORD.md
 *
 * Items are written as they come; what is held is some 50 bytes a window. */
#ifndef PARE_REPORT_RECORD_H
#define PARE_REPORT_RECORD_H

#include "core/output_set.h"
#include "eval/likelihood.h"
#include "eval/tally.h"
#include "report/figures.h"

#define PARE_RECORD_FORMAT "pare-record"
enum { PARE_RECORD_SCHEMA = 1 };

/* A text, as it was evaluated. */
typedef struct pare_record_text {
    const char *name;   /* as given: a path, or "-" */
    const char *sha256; /* of its bytes */
    uint64_t n_bytes;
    uint64_t n_tokens;      /* of the whole text */
    const char *ids_sha256; /* of its token ids, int32 little endian */
    uint32_t n_windows;     /* that the settings ask for; a part of an evaluation holds fewer of them */
} pare_record_text;

typedef struct pare_record_writer pare_record_writer;

/* Start a record at path, with its items in path with ".jsonl" for ".json" (or behind it). path NULL: nothing is
 * written, the document is all there will be. Errors: PARE_ERR_USAGE (one of the files exists and force is false),
 * PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status pare_record_open(pare_record_writer **out, const char *path, bool force, pare_error *err);
void pare_record_close(pare_record_writer *w); /* what was not published is removed; NULL is allowed */
/* Where the items of a record at path are. Owned by the caller. Errors: PARE_ERR_MEMORY */
pare_status pare_record_items_path(char **out, const char *path, pare_error *err);

/* Where what an evaluation measured before it failed is kept, beside the record at path that it would have written:
 * "run.unfinished.json" for "run.json". Owned by the caller. Errors: PARE_ERR_MEMORY */
pare_status pare_record_unfinished_path(char **out, const char *path, pare_error *err);
/* Have pare_record_finish write to another path in the same folder, and replace what is there. Errors: PARE_ERR_MEMORY
 */
pare_status pare_record_redirect(pare_record_writer *w, const char *path, pare_error *err);

/* One text after the other: begin, the scores of its windows in their order, end with what a tally made of them. */
pare_status pare_record_begin_text(pare_record_writer *w, const pare_record_text *text, pare_error *err);
pare_status pare_record_scores(pare_record_writer *w, const pare_scores *s, pare_error *err);
/* result: NULL when no window of the text was scored (a part of an evaluation) */
pare_status pare_record_end_text(pare_record_writer *w, const pare_eval_result *result, pare_error *err);

/* A task with the scores of all its items; after the texts. */
pare_status pare_record_add_task(pare_record_writer *w, const pare_task_scores *s, pare_error *err);
/* The same of a task that was read from a record: its lines as they stand there, and then its member of "tasks". */
pare_status pare_record_copy_line(pare_record_writer *w, const char *line, size_t len, pare_error *err);
pare_status pare_record_copy_task(pare_record_writer *w, const json_t *member, pare_error *err);

/* The document so far: a copy of head (models, settings, tool, ...: docs/formats/RECORD.md) with texts, average and
 * tasks, not sealed. The caller owns it. */
pare_status pare_record_document(const pare_record_writer *w, const json_t *head, json_t **out, pare_error *err);

uint64_t pare_record_windows(const pare_record_writer *w); /* that were given to pare_record_scores, of all texts */

/* Seal the document and add both files, complete, to the set, which the caller publishes. */
pare_status pare_record_finish(pare_record_writer *w, const json_t *head, pare_output_set *set, pare_error *err);

#endif
