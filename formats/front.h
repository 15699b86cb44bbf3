/* formats/front.h - what is wrong with a file that there is no room to map
 *
 * With too little address space (ulimit -v) a file cannot be mapped as a whole. Whether its header is sound is judged by
 * its front, so that a malformed file is told as such whatever the machine. */
#ifndef PARE_FORMATS_FRONT_H
#define PARE_FORMATS_FRONT_H

#include "core/map.h"
#include "model/model.h"

/* Parse into m, zeroed, which the caller closes whatever comes back. front: as much as could be mapped of a file of n
 * bytes. *cut: what is wanted lies behind it, and nothing is known of the file. */
typedef pare_status (*pare_front_reader)(pare_model *m, const pare_map *front, uint64_t n, const char *path, bool *cut,
                                         pare_error *err);

/* st, what mapping the file failed with, and err as it is; or, where the front shows that the file is malformed or not
 * supported, that with its message. */
pare_status pare_front_judge(pare_front_reader read, const char *path, pare_status st, pare_error *err);

#endif
