/* core/json.h - strict JSON on top of jansson: duplicates, bad UTF-8 and trailing text are errors, with a position */
#ifndef PARE_CORE_JSON_H
#define PARE_CORE_JSON_H

#include "core/text.h"

#include <jansson.h>
#include <stdint.h>

enum {
    PARE_JSON_BIG_AS_REAL = 1, /* integers outside of int64 become reals (Hub files carry model_max_length 10^30); else
                                * they are an error */
    PARE_JSON_DENSE = 2,       /* a vocabulary */
    PARE_JSON_NUL = 4          /* strings may hold U+0000: texts of tokens, of tasks and of models. Such a document's
                                * names are compared by pare_json_is; in all others \u0000 is an error, so that no name
                                * is cut at it */
};

/* Parse len bytes; flags: PARE_JSON_*. path is for messages.
 * A document may take about 16 MiB and ten times its text of memory, a dense one 24 times (compact lists of merges do);
 * jansson would take fifty times that of "[[],[],..." (PARE_ERR_RANGE with the byte position).
 * The result is a new reference (json_decref). Errors: PARE_ERR_FORMAT with the byte position; PARE_ERR_RANGE;
 * PARE_ERR_MEMORY. */
pare_status pare_json_parse(json_t **out, const char *path, const void *data, size_t len, unsigned flags,
                            pare_error *err);

/* For a program, before its first JSON: jansson leaves characters and members out for which it gets no memory; from
 * here on no document is parsed or written any more once that has happened (PARE_ERR_MEMORY). It is one setting of the
 * whole process: a library leaves it alone. */
void pare_json_watch_memory(void);

/* The same from a file of at most max_bytes. */
pare_status pare_json_load(json_t **out, const char *path, uint64_t max_bytes, unsigned flags, pare_error *err);

/* Typed access to member key of object obj. `path` names the file in messages. Absent or null: *out stays as it is
 * and *found (may be NULL) is false; when found is NULL the member is required. A wrong kind or a value outside
 * [min, max] is PARE_ERR_FORMAT or PARE_ERR_RANGE with key, found value and limits. */
pare_status pare_json_u64(const json_t *obj, const char *path, const char *key, uint64_t min, uint64_t max,
                          uint64_t *out, bool *found, pare_error *err);
/* The same for files of one's own, where 1.0 and 1e0 are no integers. */
pare_status pare_json_integer(const json_t *obj, const char *path, const char *key, uint64_t min, uint64_t max,
                              uint64_t *out, bool *found, pare_error *err);
pare_status pare_json_f64(const json_t *obj, const char *path, const char *key, double *out, bool *found,
                          pare_error *err);
pare_status pare_json_bool(const json_t *obj, const char *path, const char *key, bool *out, bool *found,
                           pare_error *err);
pare_status pare_json_str(const json_t *obj, const char *path, const char *key, pare_str *out, bool *found,
                          pare_error *err); /* a view into obj */

/* Is v a string of exactly this text? */
bool pare_json_is(const json_t *v, const char *text);

/* A new string out of any bytes: what is not UTF-8 is escaped. NULL: no memory. */
json_t *pare_json_text(const char *text, size_t len);

/* A new number: the shortest decimal that is exactly this float, so that 1e-5f appears as 1e-05 and not as
 * 9.9999997473787516e-06. NULL: no memory. */
json_t *pare_json_float(float v);

/* Append the document with sorted keys, one-space indentation and a final newline; the same document gives the same
 * bytes in any locale. */
pare_status pare_json_dump(const json_t *doc, pare_buf *out, pare_error *err);

#endif
