/* tasks/records.h - a file of a benchmark as a row of JSON objects, whatever it is written in
 *
 *   CSV     one object a record, strings named by the header in lower case. Without a
 *           header, 6 columns are question a b c d answer (MMLU), 5 are index sentence option1 option2 answer
 *           (WinoGrande, as llama.cpp reads it)
 *   JSON    one object a line, or one array of objects
 *   LINES   six lines an item, HellaSwag as llama.cpp reads it: {query, gold, choices: [four]}
 *   BINARY  llama.cpp's multiple-choice file: {question, mc1_targets: {choices, labels}, mc2_targets: ...}
 *
 * Layout of BINARY, integers of 32 bits, little endian:
 *
 *   n, offset[n] from the start of the file, then n times:
 *   string question | answers mc1 | answers mc2      string: n bytes[n]     answers: n (<= 100) string[n] label[n] */
#ifndef PARE_TASKS_RECORDS_H
#define PARE_TASKS_RECORDS_H

#include "tasks/csv.h"

#include <jansson.h>

typedef enum pare_container {
    PARE_CONTAINER_ANY,
    PARE_CONTAINER_CSV,
    PARE_CONTAINER_JSON,
    PARE_CONTAINER_LINES,
    PARE_CONTAINER_BINARY
} pare_container;

enum { PARE_MAX_JSON_LINE = 16 * 1024 * 1024 /* bytes */ };

/* Zeroed is closed. */
typedef struct pare_records {
    const char *path; /* borrowed, as the bytes are */
    const char *data;
    size_t len, at;
    pare_container container;
    pare_buf where; /* "PATH: line 12" of the record read last, for messages */
    uint64_t line;  /* of the next byte, from 1: JSON lines and LINES */
    uint64_t n_read;

    pare_csv csv;
    json_t *names;   /* of the columns */
    bool has_header; /* the first record of the CSV is one */
    json_t *array;   /* a whole file in JSON; NULL: one object a line */
    uint32_t n_binary;
} pare_records;

/* Look at bytes [data, data + len) and get ready for the first record. container ANY: BINARY when there is a zero among
 * the first four bytes, JSON when the text begins with {, LINES when the second line is a single digit, JSON when the
 * text begins with [, else CSV. Errors: PARE_ERR_FORMAT (empty; not UTF-8, with the line), PARE_ERR_UNSUPPORTED (gzip, UTF-16),
 * PARE_ERR_RANGE, PARE_ERR_MEMORY */
pare_status pare_records_open(pare_records *r, const char *path, const void *data, size_t len, pare_container container,
                              pare_error *err);

/* The next object, a new reference (json_decref); NULL behind the last. Errors: PARE_ERR_FORMAT, PARE_ERR_RANGE with
 * file and line or number; PARE_ERR_MEMORY */
pare_status pare_records_next(pare_records *r, json_t **out, pare_error *err);
void pare_records_close(pare_records *r);

#endif
