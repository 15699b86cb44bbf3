/* tasks/format.h - one row a benchmark: how a record becomes an item. For the readers (tasks/read_*.c) and
 * tasks/task.c only. */
#ifndef PARE_TASKS_FORMAT_H
#define PARE_TASKS_FORMAT_H

#include "tasks/records.h"
#include "tasks/task.h"

/* What a reader works with. */
typedef struct pare_reader {
    const char *where;    /* "FILE: line 12", for messages */
    pare_arena *memory;   /* of the task */
    uint64_t number;      /* of the record, from 0 */
    pare_str subject;     /* the file's name without folder, extension and "_test": what a record does not say */
    pare_str description; /* set by the reader: what prompts of this item begin with; empty: nothing */
} pare_reader;

typedef struct pare_format {
    const char *name;
    pare_container container; /* ANY: CSV or JSON */
    pare_task_kind kind;
    bool has_norm;
    bool has_own_shots;        /* its prompts have examples already: none can be added */
    const char *prefix;        /* of the task's name, "mmlu_"; NULL: none */
    const char *suffix;        /* "_mc1"; NULL: none */
    const char *const *fields; /* sets "question,answer": a record of this format has all fields of one of them. NULL
                                  behind the last; NULL: the format is known by its name only */
    pare_status (*item)(pare_reader *r, const json_t *record, pare_item *out, pare_error *err);
    /* PARE_TASK_GENERATE */
    const char *const *stops; /* NULL behind the last */
    uint32_t max_tokens;
} pare_format;

/* Rows are tried in this order on the first record of a file. */
extern const pare_format *const pare_formats[];
const pare_format *pare_format_named(const char *name);                            /* NULL: unknown */
const pare_format *pare_format_of(pare_container container, const json_t *record); /* NULL: none fits */

/* Text of a member, not empty, a copy in r->memory. Integers count as their digits: hub and owners do not agree on
 * labels and ids. Errors: PARE_ERR_FORMAT (absent, another kind, empty), PARE_ERR_MEMORY */
pare_status pare_read_text(pare_reader *r, const json_t *record, const char *key, pare_str *out, pare_error *err);

/* The same, but when it is absent, null or empty, out stays as it is. */
pare_status pare_read_optional(pare_reader *r, const json_t *record, const char *key, pare_str *out, pare_error *err);

/* A list of at least one text, none of them empty. what: its name in messages. Errors: PARE_ERR_RANGE (more than
 * PARE_MAX_CHOICES), those of pare_read_text */
pare_status pare_read_texts(pare_reader *r, const json_t *list, const char *what, pare_str **out, size_t *n,
                            pare_error *err);

/* An index of n, counted from `first` (0 or 1) in the file and from 0 in *out: an integer or its digits. letters: A, B,
 * ... are allowed too. Errors: PARE_ERR_FORMAT, PARE_ERR_RANGE with field, value and limits */
pare_status pare_read_index(pare_reader *r, const json_t *record, const char *key, size_t first, size_t n, bool letters,
                            size_t *out, pare_error *err);

/* n texts behind one another, in r->memory. */
pare_status pare_join(pare_reader *r, const pare_str *parts, size_t n, pare_str *out, pare_error *err);
#define PARE_TEXT(literal) ((pare_str){literal, sizeof literal - 1})
#define PARE_JOIN(r, out, err, ...)                                                                                    \
    pare_join(r, (const pare_str[]){__VA_ARGS__}, sizeof((const pare_str[]){__VA_ARGS__}) / sizeof(pare_str), out, err)

/* The choices of an item: answers [n] behind one context, a space between; number `answer` is right. */
pare_status pare_put_choices(pare_reader *r, pare_item *item, pare_str context, const pare_str *answers, size_t n,
                             size_t answer, pare_error *err);

/* "FIELD is missing", "is an array, expected ...": PARE_ERR_FORMAT */
pare_status pare_wrong_field(const pare_reader *r, const char *key, const json_t *found, const char *expected,
                             pare_error *err);

#endif
