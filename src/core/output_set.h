/* core/output_set.h - files that appear together: a model, its lock, its checksums
 *
 * Each file is complete on disk under its temporary name before the first one gets its own. What fails or is
 * interrupted before leaves none of them; while they get their names, a signal's handler cannot end the program between
 * two (pare_output_abandon). */
#ifndef PARE_CORE_OUTPUT_SET_H
#define PARE_CORE_OUTPUT_SET_H

#include "core/guard.h"
#include "core/output.h"

typedef struct pare_output_source {
    char *path; /* owned */
    pare_identity id;
} pare_output_source;

/* Zeroed is empty. */
typedef struct pare_output_set {
    pare_output **items; /* finished, owned */
    size_t n, cap;
    pare_output_source *sources; /* [n_sources] what the files were made of, owned */
    size_t n_sources;
} pare_output_set;

/* Take over a finished output, on error too (it is closed then). Errors: PARE_ERR_MEMORY */
pare_status pare_output_set_add(pare_output_set *set, pare_output *out, pare_error *err);

/* A whole small file, as pare_output_file. */
pare_status pare_output_set_add_file(pare_output_set *set, const char *path, const void *data, size_t n, unsigned flags,
                                     pare_error *err);

/* The set is made of path, a file that was opened as id: it must still be that when the names are given.
 * Errors: PARE_ERR_MEMORY */
pare_status pare_output_set_source(pare_output_set *set, const char *path, const pare_identity *id, pare_error *err);

/* Give all files their names, the one added last first: whoever sees the first file finds the set complete. Where a
 * file is replaced, those with PARE_OUTPUT_DESCRIBES (a lock, checksums) lose their old content before and get their
 * names last: no lock stands beside a model that it does not describe, at any moment. When that fails half-way, what
 * has appeared is taken back, and what it replaced is there again (pare_output_withdraw); what cannot be put back stays
 * where it is, named in the error, or all is left as behind a process that is killed, for the next run. A process that
 * is killed between two names leaves a journal (core/output_journal.h), and the next run that writes in that folder, or
 * is refused to, gives the rest; files of the set that lie in other folders than its first one are not in it. Whoever
 * wants to stop on a signal asks pare_check_interrupt before. Errors: those of pare_output_publish; PARE_ERR_IO: a
 * source changed, and nothing appeared. */
pare_status pare_output_set_publish(pare_output_set *set, pare_error *err);

/* Removes the temporaries of files that were not published. */
void pare_output_set_close(pare_output_set *set);

#endif
