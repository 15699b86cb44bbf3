/* core/claim.h - who writes to a name: temporaries beside it, and the locks on them
 *
 * Bytes for PATH go to PATH.pare.part.PID, a file or a folder, on which its run holds an exclusive flock(2). The lock
 * tells a live run from a dead one, whatever became of the process; the number in the name is for people (runs in two
 * containers may have the same). Who claims PATH removes what dead runs left on it, and is refused while another run
 * is alive. On a file system without flock nothing is removed and nobody is refused.
 *
 * Between two claims in one folder there is a lock on the folder, held for one listing of it. */
#ifndef PARE_CORE_CLAIM_H
#define PARE_CORE_CLAIM_H

#include "core/error.h"

/* What is between a name and the number of a process. */
#define PARE_CLAIM_MARK ".pare.part."
#define PARE_CLAIM_SET ".pare.set." /* the journal of a set: core/output_set.h */

/* Behind the name of a temporary: what lay at the path and was moved aside for a moment. */
#define PARE_CLAIM_ASIDE ".old"

typedef enum pare_claim_kind { PARE_CLAIM_FILE, PARE_CLAIM_FOLDER } pare_claim_kind;

/* Clean up behind dead runs, then create an empty temporary for path:
 *   *tmp  its name, owned by the caller
 *   *fd   open for reading and writing (a folder: for reading), with the lock: it lasts until every descriptor and
 *         mapping of it is gone
 * What a dead run had moved aside is moved back when nothing stands in its place, and is removed otherwise; a
 * set of files whose names a dead run had begun to give gets the rest of them.
 * Errors: PARE_ERR_IO  another run writes to path (with its number), or the temporary cannot be created;
 *         PARE_ERR_MEMORY */
pare_status pare_claim(const char *path, pare_claim_kind kind, char **tmp, int *fd, pare_error *err);

/* Clean up as pare_claim does, and nothing else: for whoever is refused to write to path. What fails stays. */
void pare_claim_clean(const char *path);

/* Take the lock of something that is open; false: another run has it. True without flock. */
bool pare_claim_lock(int fd);

/* Create path + mark + PID, an empty file with the lock. As pare_claim, without a look around. */
pare_status pare_claim_create(const char *path, const char *mark, pare_claim_kind kind, char **tmp, int *fd,
                              pare_error *err);

#endif
