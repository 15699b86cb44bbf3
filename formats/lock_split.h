/* formats/lock_split.h - a lock's text without its tensors, and these one by one
 *
 * A lock may list hundreds of thousands of tensors, and a JSON document takes eight times the memory of its text. So
 * the arrays are cut out, the little that is left is read as a document, and each tensor as one of its own. */
#ifndef PARE_FORMATS_LOCK_SPLIT_H
#define PARE_FORMATS_LOCK_SPLIT_H

#include "core/text.h"

/* A part of the text. */
typedef struct pare_span {
    size_t from, to;
} pare_span;

/* Zeroed is closed. */
typedef struct pare_lock_split {
    pare_buf rest;     /* in place of the array files[*].tensors number k, as they come in the text: [k] */
    pare_span *arrays; /* [n] where they lie in the text, with their brackets */
    size_t n;
} pare_lock_split;

/* What is no JSON is cut in some way and cannot be read then: it is for the readers of the parts to tell.
 * Errors: PARE_ERR_FORMAT (an array has no end), PARE_ERR_MEMORY */
pare_status pare_lock_split_open(pare_lock_split *s, const char *path, const char *text, size_t len, pare_error *err);
void pare_lock_split_close(pare_lock_split *s);

/* The next object of an array. *at: 0 at first; then kept between the calls. *more is false behind the last one.
 * Errors: PARE_ERR_FORMAT (no object, no comma) */
pare_status pare_lock_split_next(const char *path, const char *text, pare_span array, size_t *at, pare_span *object,
                                 bool *more, pare_error *err);

#endif
