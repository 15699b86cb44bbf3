/* report/record_items.h - the JSONL beside a record: one line a window or an answered item. Layout:
 * docs/formats/RECORD.md
 */
#ifndef PARE_REPORT_RECORD_ITEMS_H
#define PARE_REPORT_RECORD_ITEMS_H

#include "core/hash.h"
#include "core/text.h"
#include "eval/scores.h"

#include <jansson.h>

/* Append the line of a window, with its newline. Numbers read back as they are. */
pare_status pare_record_put_scores(pare_buf *out, size_t text, const pare_scores *s, pare_error *err);

/* One line, read. Zeroed is closed; a line may be read into again and again. Lines of a file ascend by is_task, index
 * and number. */
typedef struct pare_record_line {
    bool is_task;
    size_t index;       /* of the text or task */
    uint32_t number;    /* of the window or item */
    pare_scores scores; /* of a window: views into values and flags */
    json_t *item;       /* of a task: the whole line, owned */
    double *values;
    uint8_t *flags;
    size_t cap;
} pare_record_line;

/* name is for messages. Errors: PARE_ERR_FORMAT, PARE_ERR_RANGE, PARE_ERR_NUMBER, PARE_ERR_MEMORY */
pare_status pare_record_line_parse(pare_record_line *line, const char *name, const void *text, size_t len,
                                   pare_error *err);
void pare_record_line_close(pare_record_line *line);

/* A file of items, line by line. It is read and not mapped. Zeroed is closed. */
enum { PARE_RECORD_MAX_LINE = 1 << 28 };
typedef struct pare_record_items {
    char *path;
    int fd; /* valid while path is not NULL */
    pare_buf buf;
    size_t at; /* where the next line starts in buf */
    bool ended;
    uint64_t n_lines; /* read so far */
    pare_hasher hasher;
    pare_record_line line;
    const char *text; /* of that line, without its newline: a view until the next one is read */
    size_t text_len;
} pare_record_items;

/* Errors: PARE_ERR_FORMAT (absent, no regular file), PARE_ERR_MEMORY */
pare_status pare_record_items_open(pare_record_items *it, const char *path, pare_error *err);
void pare_record_items_close(pare_record_items *it);

/* Read the next line into it->line; *more is false behind the last. Errors: PARE_ERR_IO and those of a line */
pare_status pare_record_items_next(pare_record_items *it, bool *more, pare_error *err);

/* Of the whole file; reads what is left of it, whatever it holds. */
pare_status pare_record_items_digest(pare_record_items *it, pare_digest *out, pare_error *err);

#endif
