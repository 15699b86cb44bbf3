/* tasks/csv.h - comma-separated values as RFC 4180 writes them
 *
 *   record = field *("," field) (LF | CRLF | end of file)
 *   field  = bytes without quote, comma, CR and LF | quote *(byte | quote quote) quote
 *
 * A quoted field may hold commas and line ends. What breaks this is an error and never guessed at. */
#ifndef PARE_TASKS_CSV_H
#define PARE_TASKS_CSV_H

#include "core/text.h"

enum { PARE_CSV_MAX_FIELDS = 64, PARE_CSV_MAX_RECORD = 16 * 1024 * 1024 /* bytes */ };

/* Fill path, data, len and line (1) and zero the rest. */
typedef struct pare_csv {
    const char *path; /* for messages */
    const char *data; /* UTF-8, borrowed */
    size_t len, at;
    uint64_t line; /* of the next byte, from 1 */

    pare_str fields[PARE_CSV_MAX_FIELDS]; /* of the record read last; views that the next call ends */
    size_t n_fields;
    uint64_t record_line; /* where it begins */
    pare_buf text;        /* its fields without their quotes */
} pare_csv;

/* Read a record. *more is false at the end of the text. Errors: PARE_ERR_FORMAT (a quote in a field without quotes,
 * text behind a closing quote, a field that does not end, CR without LF), PARE_ERR_RANGE (fields, bytes),
 * PARE_ERR_MEMORY */
pare_status pare_csv_next(pare_csv *c, bool *more, pare_error *err);
void pare_csv_close(pare_csv *c);

#endif
