/* report/record_seal.h - hashes that a record holds of itself, so that an edited digit is found and its place named
 *
 * They protect against accidents and careless edits, not against somebody who computes them anew. */
#ifndef PARE_REPORT_RECORD_SEAL_H
#define PARE_REPORT_RECORD_SEAL_H

#include "core/json.h"

/* Put "seal" (a hash of every part) and "digest" into doc and append its text to out. "digest" is the SHA-256 of that
 * text with 64 zeros in its place. */
pare_status pare_record_seal(json_t *doc, pare_buf *out, pare_error *err);

/* Does the digest in a record's text fit the text? *found is false when the text has none where one must be. */
pare_status pare_record_check_digest(const void *text, size_t len, bool *found, bool *fits, pare_error *err);

/* Call each with the name of every part ("settings.n_ctx", "texts[0].sha256") that its seal does not fit. */
typedef pare_status (*pare_seal_fn)(const char *part, const char *what, void *user, pare_error *err);
pare_status pare_record_check_seal(const json_t *doc, pare_seal_fn each, void *user, pare_error *err);

#endif
