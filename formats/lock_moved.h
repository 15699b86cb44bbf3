/* formats/lock_moved.h - tensors that lie in other files than the lock says: a model divided anew */
#ifndef PARE_FORMATS_LOCK_MOVED_H
#define PARE_FORMATS_LOCK_MOVED_H

#include "formats/lock_compare.h"

/* Of files that the lock does not name. */
typedef struct pare_moved {
    size_t *n_as_pinned; /* [files] how many of its tensors have name and content of one in a missing file */
    size_t *n_found;     /* [lock files] how many of its tensors were found so, where it is missing */
    size_t *where;       /* [lock files] the file that has them all, or SIZE_MAX: they lie in several */
} pare_moved;

/* Look for the tensors of missing files among files, regular ones that the lock does not name: those that are models
 * and have a tensor of such a name get their tensors, which are hashed. skip: [files->n_files] not looked at. Zeroed
 * pointers when no missing file has tensors. The arrays are the caller's to close. Errors: PARE_ERR_IO,
 * PARE_ERR_MEMORY, PARE_ERR_INTERRUPTED */
pare_status pare_find_moved(pare_moved *m, const pare_verification *v, pare_pin *files, const bool *skip,
                            pare_error *err);
void pare_moved_close(pare_moved *m);

/* The lock's files by what they hold. Zeroed is closed; filled when it is first needed. */
typedef struct pare_owners {
    struct pare_owner_key *keys;
    pare_index index; /* key -> file of the lock */
} pare_owners;

void pare_owners_close(pare_owners *o);

/* Does actual file i, which is not as pinned, hold what the lock has for another of its files? Its index goes to
 * *owner, else SIZE_MAX. After hashing. Errors: PARE_ERR_MEMORY */
pare_status pare_find_owner(pare_owners *o, const pare_verification *v, size_t i, size_t *owner, pare_error *err);

#endif
