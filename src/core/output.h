/* core/output.h - files that appear whole or not at all
 *
 * Bytes go to PATH.pare.part.PID in the target's folder; commit syncs and renames it. Closing without commit removes
 * it. While an output or a folder is open no other run can open one for the same name, and what runs that were killed
 * left of it is removed first (core/claim.h). The lock is of the name that is given when it is opened. */
#ifndef PARE_CORE_OUTPUT_H
#define PARE_CORE_OUTPUT_H

#include "core/error.h"

#include <stdint.h>

typedef struct pare_output pare_output;

typedef enum pare_output_flags {
    PARE_OUTPUT_FORCE = 1,    /* replace an existing file */
    PARE_OUTPUT_DESCRIBES = 2 /* says what the others of its set are: core/output_set.h */
} pare_output_flags;

/* Has the file system of path's folder n_bytes free? For a set of files, before the first of them is started.
 * Errors: PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status pare_output_check_room(const char *path, uint64_t n_bytes, pare_error *err);

/* Reserve the space of n_bytes for the open file fd, which will be path or lies beside it: a full disk is told here,
 * and not by a signal once a mapping of the file is written to. A file system in memory is only asked whether it has
 * room, unless the file is to be written through a mapping. Errors: PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status pare_output_reserve(int fd, const char *path, uint64_t n_bytes, bool mapped, pare_error *err);

/* Start a file that will hold about n_bytes (0: unknown). The space is reserved at once, so a full disk is told here.
 * Errors: PARE_ERR_USAGE  path exists and PARE_OUTPUT_FORCE is not given, or is a folder; an output of this process
 * that is open has the name PARE_ERR_IO     folder absent or not writable, disk full, another run writes to path;
 * PARE_ERR_MEMORY */
pare_status pare_output_open(pare_output **out, const char *path, uint64_t n_bytes, unsigned flags, pare_error *err);
pare_status pare_output_write(pare_output *out, const void *data, size_t n, pare_error *err);
pare_status pare_output_zeros(pare_output *out, uint64_t n, pare_error *err);
uint64_t pare_output_offset(const pare_output *out); /* where the next byte goes */

/* Let the next byte go elsewhere. The file ends behind the last byte that was ever written; what is left out is zeros.
 * Errors: PARE_ERR_IO */
pare_status pare_output_seek(pare_output *out, uint64_t offset, pare_error *err);

/* Another name for what is being written, in the same folder, with other flags. Errors: PARE_ERR_MEMORY */
pare_status pare_output_redirect(pare_output *out, const char *path, unsigned flags, pare_error *err);

/* Flush, sync, rename. */
pare_status pare_output_commit(pare_output *out, pare_error *err);

/* Flush and sync, and leave the rename to pare_output_publish: a set of files appears together, after all of them
 * are complete on disk. */
pare_status pare_output_finish(pare_output *out, pare_error *err);
pare_status pare_output_publish(pare_output *out, pare_error *err); /* what it replaces goes when it is closed */

/* Where the bytes lie until the file is published. Valid until it is closed. */
const char *pare_output_temporary(const pare_output *out);
const char *pare_output_path(const pare_output *out); /* the name that it will have; valid as above */
unsigned pare_output_get_flags(const pare_output *out);

/* Take a published file back: what it replaced is there again, where the file system can exchange two names in one step
 * (else a file that may have replaced another, PARE_OUTPUT_FORCE, stays). Nothing happens to one that was not
 * published. */
void pare_output_withdraw(pare_output *out);

/* The same for one that replaced another, and nothing for all others; false: the exchange failed, and what was replaced
 * is pare_output_temporary. */
bool pare_output_put_back(pare_output *out);

/* The temporary stays when it is closed, as behind a run that is killed. */
void pare_output_leave(pare_output *out);

/* Free; removes the temporary unless it was committed. NULL is allowed. */
void pare_output_close(pare_output *out);

/* Write a whole small file. */
pare_status pare_output_file(const char *path, const void *data, size_t n, unsigned flags, pare_error *err);

/* A folder that appears whole: the caller fills the temporary folder *tmp (owned, freed by pare_outdir_close), commit
 * renames it to path. An existing path is refused without PARE_OUTPUT_FORCE; with it only a folder is replaced, and
 * only one that holds nothing but regular files. The two change places in one step (RENAME_EXCHANGE). On a file system
 * without that the old one is PATH.pare.part.PID.old for a moment: a run that is killed in it leaves no folder, and the
 * next one that writes to the name, or is refused to, moves it back. */
typedef struct pare_outdir {
    char *path, *tmp;
    unsigned flags;
    int lock, old_lock; /* descriptors of the folders, which keep other runs away, valid with tmp; -1: none */
    bool committed;
} pare_outdir;

pare_status pare_outdir_open(pare_outdir *d, const char *path, unsigned flags, pare_error *err);
pare_status pare_outdir_commit(pare_outdir *d, pare_error *err);
void pare_outdir_close(pare_outdir *d);

/* Between these two calls several files get their names, and pare_output_abandon refuses. They may be nested, and come
 * from several threads. Errors: PARE_ERR_INTERRUPTED (the program is ending: pare_output_published is not called) */
pare_status pare_output_publishing(pare_error *err);
void pare_output_published(void);

/* Remove the temporaries of every output and folder that is open. Async-signal-safe: for a program that must leave at
 * once. Nothing of core/output may be called afterwards. False: a set of files is being published, which takes no
 * longer than a few renames; nothing was removed, and the program should end in its own way. */
bool pare_output_abandon(void);

#endif
