/* formats/lock_derive.h - what a lock says beyond hashes of files and tensors: hashes of metadata, tokenizer and chat
 * template. Definitions: docs/formats/LOCK.md */
#ifndef PARE_FORMATS_LOCK_DERIVE_H
#define PARE_FORMATS_LOCK_DERIVE_H

#include "formats/pin.h"

#include <jansson.h>

/* Append the line of SHA256SUMS for name: a name with a backslash or a line break is escaped as sha256sum does. */
pare_status pare_lock_sums_line(pare_buf *out, const uint8_t sha256[32], const char *name, pare_error *err);

/* The hash over a file's metadata: SHA-256 of the SHA256SUMS-style lines of its keys, sorted bytewise, each with the
 * hash of its serialized value. With tokenizer_only the keys under "tokenizer.", without chat templates. *any is false
 * when there is no such key. */
pare_status pare_lock_metadata_hash(const pare_pin_file *f, bool tokenizer_only, uint8_t sha256[32], bool *any,
                                    pare_error *err);

/* The tokenizers that lie in files of their own, one a folder: a new array of {"folder", "sha256",
 * "chat_template_sha256"}, from the files of p, whose names are set. Reads tokenizer_config.json for its chat template.
 */
pare_status pare_lock_tokenizers(const pare_pin *p, json_t **out, pare_error *err);

/* Set key to the time that SOURCE_DATE_EPOCH gives, or to nothing: what pare writes has a time only when the caller's
 * environment fixes it, so that the same work gives the same bytes. Errors: PARE_ERR_USAGE (no number) */
pare_status pare_lock_set_time(json_t *object, const char *key, pare_error *err);

/* {"sha256": hex} and the like; false: no memory. */
bool pare_lock_set_hex(json_t *object, const char *key, const uint8_t *bytes, size_t n);

#endif
