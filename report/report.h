/* report/report.h - records as something to read: Markdown, or one HTML page that needs nothing beside itself */
#ifndef PARE_REPORT_REPORT_H
#define PARE_REPORT_REPORT_H

#include "core/text.h"

#include <jansson.h>

/* Documents are borrowed. What they lack is left out of the report; nothing in them is trusted to be well-formed. */
typedef struct pare_report_input {
    const char *title; /* NULL: one is made */
    const json_t *const
        *records; /* [n_records] docs/formats/RECORD.md; read from a file or made in memory, not sealed */
    size_t n_records;
    const json_t *const *quantize; /* [n_quantize] of pare quantize --json: the error of each tensor */
    size_t n_quantize;
    const json_t *comparison; /* of pare compare --json: flips, weight differences; NULL: none */
    const json_t *fit;        /* of pare fit --json with a text: the front of size and divergence; NULL: none */
    const json_t *kv;         /* of pare kv --json: caches of keys and values; NULL: none */
    const json_t *measured;   /* array, of pare fit --measure-log: device memory; NULL: none */
    const char *tool;         /* "pare 0.1.0", for the last line */
} pare_report_input;

/* Append the report. Errors: PARE_ERR_MEMORY */
pare_status pare_report_html(pare_buf *out, const pare_report_input *in, pare_error *err);
pare_status pare_report_markdown(pare_buf *out, const pare_report_input *in, pare_error *err);

#endif
