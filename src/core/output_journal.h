/* core/output_journal.h - the rest of a set's names, written down before the first is given
 *
 * A small file beside the set's first file, FIRST.pare.set.PID, with a lock as core/claim.h's: the magic, a line a file
 * (flags, the temporary's inode, temporary, name), "end". It lists what lies in its own folder. It is synced before the
 * first name changes and removed behind the last, so that a run which is killed between two leaves it, and the next one
 * that writes in that folder gives the names that are missing. Until then no lock stands beside a model that it does
 * not describe (core/output_set.h). */
#ifndef PARE_CORE_OUTPUT_JOURNAL_H
#define PARE_CORE_OUTPUT_JOURNAL_H

#include "core/text.h"

typedef struct pare_journal {
    char *path;
    int fd;
    bool left; /* the file stays when it is closed */
    pare_buf text;
} pare_journal;

enum {
    PARE_JOURNAL_REPLACES = 1, /* what has the name goes */
    PARE_JOURNAL_DESCRIBES = 2 /* other files of the set: core/output_set.h */
};

/* Nothing is in the folder yet. */
pare_status pare_journal_open(pare_journal *j, pare_error *err);
/* tmp shall be path, in the order in which the names are given. What does not lie in the folder of `first`, or has a
 * name with a line break, is left out. Errors: PARE_ERR_MEMORY */
pare_status pare_journal_add(pare_journal *j, const char *first, const char *tmp, const char *path, unsigned flags,
                             pare_error *err);
/* Write it and sync it. Errors: PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status pare_journal_write(pare_journal *j, const char *first, pare_error *err);
void pare_journal_close(pare_journal *j); /* removes the file, unless it is left for the next run */

/* Do what the journal `name` of a dead run in the folder dir says, if it is whole, and remove it. fd: it, open for
 * reading, with the lock. Only names in that folder, and only temporaries of those names, are touched. */
void pare_journal_complete(int dir, const char *name, int fd);

/* For readers: warn where a journal lies in the folder whose name begins with prefix: a run was killed between two
 * names, or is at it, and files of its set are of two runs. Errors: PARE_ERR_FORMAT (in strict mode) */
pare_status pare_journal_warn(const char *folder, const char *prefix, pare_error *err);

#endif
