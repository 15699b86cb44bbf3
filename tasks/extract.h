/* tasks/extract.h - the answer in a text that a model wrote, and when it is the right one
 *
 * The rules of lm-eval 0.4 (tasks/gsm8k/gsm8k.yaml, filters/extraction.py, api/metrics.py). */
#ifndef PARE_TASKS_EXTRACT_H
#define PARE_TASKS_EXTRACT_H

#include "core/text.h"

typedef enum pare_extraction {
    PARE_EXTRACT_STRICT,   /* first match of "#### (-?[0-9.,]+)": the form of the examples */
    PARE_EXTRACT_FLEXIBLE, /* last match of "(-?[$0-9.,]{2,})|(-?[0-9]+)": the last number */
    PARE_N_EXTRACTIONS
} pare_extraction;

extern const char *const pare_extraction_names[PARE_N_EXTRACTIONS]; /* "strict", "flexible" */

/* The answer in a text, a view into it; empty (data NULL) when it has none. */
pare_str pare_extract(pare_extraction how, pare_str text);

/* Append what is compared, the same for an answer and for a solution: without , and $, without all up to the last
 * "#### ", without a full stop at the end, ASCII letters in lower case. Errors: PARE_ERR_MEMORY */
pare_status pare_normalize_answer(pare_buf *out, pare_str text, pare_error *err);

#endif
