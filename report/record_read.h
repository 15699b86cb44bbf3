/* report/record_read.h - a record read back: its document, checked; the scores of its items, computed again into
 * figures */
#ifndef PARE_REPORT_RECORD_READ_H
#define PARE_REPORT_RECORD_READ_H

#include "report/record.h"

enum { PARE_RECORD_MAX_BYTES = 1 << 28, PARE_RECORD_MAX_TEXTS = 1 << 16 };

/* Zeroed is closed. */
typedef struct pare_record {
    char *path, *items_path; /* items_path: where its items should lie */
    json_t *doc;
    bool has_reference;
    uint32_t n_ctx; /* of settings, as seed: what figures depend on beside the items */
    uint64_t seed;
    size_t n_texts, n_tasks;
} pare_record;

/* Does text look like a record, whole or damaged? */
bool pare_record_is_one(const void *text, size_t len);

/* Check the members that this program uses. Errors: PARE_ERR_FORMAT, PARE_ERR_RANGE (member, found, allowed),
 * PARE_ERR_UNSUPPORTED (a newer schema), PARE_ERR_MEMORY */
pare_status pare_record_parse(pare_record *out, const char *path, const void *text, size_t len, pare_error *err);

/* Read a record whose digest and whose items' digest fit. Errors: PARE_ERR_FORMAT as well when one does not */
pare_status pare_record_load(pare_record *out, const char *path, pare_error *err);
void pare_record_unload(pare_record *r);

/* Do the items fit the hash that the record has of them? why, of size bytes, says what does not. Errors: PARE_ERR_IO,
 * PARE_ERR_MEMORY; absent items do not fit. */
pare_status pare_record_check_items(const pare_record *r, bool *fit, char *why, size_t size, pare_error *err);

typedef struct pare_replay_counts {
    uint64_t n_windows, n_positions, n_items;
} pare_replay_counts;

/* Give w the texts of n records of one evaluation again: windows of all of them in their order, and the figures that
 * they make. Texts, n_ctx and seed are those of the first record. counts may be NULL. Errors: PARE_ERR_USAGE (a window
 * stands in two records), PARE_ERR_FORMAT and others of items and tallies */
pare_status pare_record_replay(const pare_record *records, size_t n, pare_record_writer *w, pare_replay_counts *counts,
                               pare_error *err);

#endif
