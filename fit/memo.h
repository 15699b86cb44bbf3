/* fit/memo.h - divergences that were measured, kept in a file for the next run
 *
 * A text file: a line that says what all of it is of, then a line a measurement, written as soon as it is known:
 *
 *     pare fit 3 <32 hexadecimal digits>
 *     <32 hexadecimal digits of what was run> <all> <second> <error> <checksum>
 *
 * numbers as C's %a. A last line that was cut off, or is not of this form, is dropped. */
#ifndef PARE_FIT_MEMO_H
#define PARE_FIT_MEMO_H

#include "core/hash.h"
#include "fit/trial.h"

typedef struct pare_memo_key {
    uint8_t xxh3_128[16];
} pare_memo_key;

/* Zeroed is closed. */
typedef struct pare_memo {
    void *file; /* FILE */
    char *path;
    struct pare_memo_line *lines;
    size_t n, cap;
    uint32_t n_found; /* that were asked for and there */
} pare_memo;

/* What lies there of another key is removed. Errors: PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status pare_memo_open(pare_memo *m, const char *path, const pare_memo_key *key, pare_error *err);
void pare_memo_close(pare_memo *m);

bool pare_memo_find(pare_memo *m, const pare_memo_key *key, pare_trial_score *out);

/* Errors: PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status pare_memo_add(pare_memo *m, const pare_memo_key *key, const pare_trial_score *score, pare_error *err);

#endif
