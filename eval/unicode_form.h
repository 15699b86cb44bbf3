/* eval/unicode_form.h - Unicode normalization as the `tokenizers` package does it */
#ifndef PARE_EVAL_UNICODE_FORM_H
#define PARE_EVAL_UNICODE_FORM_H

#include "model/vocab.h"

/* Append len bytes of text, normalized, to out. Bytes that are not UTF-8 are copied and end what composes. So are
 * characters that the tables of `tokenizers` 0.23 (Unicode 9) do not have: a mark of a later version neither moves nor
 * composes there. Errors: PARE_ERR_MEMORY. */
pare_status pare_unicode_form(pare_normalizer form, const char *text, size_t len, pare_buf *out, pare_error *err);

#endif
