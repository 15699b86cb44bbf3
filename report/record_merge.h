/* report/record_merge.h - parts of one evaluation, measured on several machines, put together */
#ifndef PARE_REPORT_RECORD_MERGE_H
#define PARE_REPORT_RECORD_MERGE_H

#include "report/record_read.h"

/* Write the record of the whole evaluation, and its items, as files of set, which the caller publishes. The figures are
 * computed again from the items in the order of the windows: to the last bit those of an undivided run.
 *   tool   a new "tool" member, borrowed
 *   n_missing  may be NULL: windows that the settings ask for and no part has
 * Errors: PARE_ERR_USAGE (models, texts, token ids or settings differ: the member is named; a window stands in two
 * parts), those of pare_record_replay and pare_record_finish */
pare_status pare_record_merge(const pare_record *parts, size_t n, const char *path, bool force, const json_t *tool,
                              pare_output_set *set, uint64_t *n_missing, pare_error *err);

/* Is `part`, which an evaluation left behind that did not come to its end, of the same job as the one that runs now?
 * Everything that parts must have in common, the kind of device, the range of windows, and the texts as far as both
 * have them. name, now   what messages call the one that runs, and its document so far (pare_record_document) Errors:
 * PARE_ERR_USAGE (the member that differs is named) */
pare_status pare_record_check_unfinished(const pare_record *part, const char *name, const json_t *now, pare_error *err);

#endif
