/* tasks/csv.h - comma-separated values as RFC 4180 writes them, and as benchmark files break it
 *
 *   record = field *("," field) (LF | CRLF | end of file)
 *   field  = bytes without quote, comma, CR and LF | quote *(byte | quote quote) quote
 *
 * A quoted field may hold commas and line ends. Published files (MMLU) have quotes inside of quoted fields that nobody
 * doubled. A record with such a quote is read, in this order, and counted as repaired:
 *
 *   1. as Python's csv and pandas do, so that other programs see the same text: text behind a closing quote belongs to
 * the field, which then ends at the next comma:  "a "b" c",  ->  a b" c"
 *   2. when that does not give as many fields as the first record has: the record is one line, and a quote closes a
 * field where a comma and a quote, the last field without quotes, or the end of the line follows:  "a "b, c"",  ->  a
 * "b, c" */
#ifndef PARE_TASKS_CSV_H
#define PARE_TASKS_CSV_H

#include "core/text.h"

enum { PARE_CSV_MAX_FIELDS = 64, PARE_CSV_MAX_RECORD = 16 * 1024 * 1024 /* bytes */ };

/* Fill path, data, len and line (1) and zero the rest. */
typedef struct pare_csv {
    const char *path; /* for messages */
    const char *data; /* UTF-8, borrowed */
    size_t len, at;
    uint64_t line;     /* of the next byte, from 1 */
    size_t n_expected; /* fields of a record, 0: not known; only rule 2 asks */

    pare_str fields[PARE_CSV_MAX_FIELDS]; /* of the record read last; views that the next call ends */
    size_t n_fields;
    uint64_t record_line; /* where it begins */
    pare_buf text;        /* its fields without their quotes */
    size_t ends[PARE_CSV_MAX_FIELDS];
    size_t n_stray;          /* quotes in it that RFC 4180 does not allow */
    uint64_t n_repaired;     /* records with such quotes so far */
    uint64_t first_repaired; /* line of the first one */
} pare_csv;

/* Read a record. *more is false at the end of the text. Errors: PARE_ERR_FORMAT (a field that does not end, CR without
 * LF), PARE_ERR_RANGE (fields, bytes), PARE_ERR_MEMORY */
pare_status pare_csv_next(pare_csv *c, bool *more, pare_error *err);
void pare_csv_close(pare_csv *c);

#endif
