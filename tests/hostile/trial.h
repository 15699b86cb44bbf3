/* trial.h - one run of the program on a hostile input, and what must hold of it whatever the input is
 *
 * Every run must end by itself, within a minute, by a documented exit code; print no control byte; say "pare: error: "
 * once when it fails and never otherwise; and leave the folder as it was when it fails. The checks end the test with
 * the command and its output. */
#ifndef PARE_TESTS_HOSTILE_TRIAL_H
#define PARE_TESTS_HOSTILE_TRIAL_H

#include "check.h"
#include "core/text.h"

/* The folder in which the program runs; names below are relative to it. text.txt in it is a text for eval. */
const char *trial_folder(void);
const char *trial_path(const char *name); /* static buffer, four in turn */
void trial_put(const char *name, const void *bytes, size_t n);
void trial_put_buf(const char *name, const pare_buf *b);
void trial_put_text(const char *name, const char *text);
void trial_remove(const char *name); /* a file, or a folder with all in it */

/* `args`, divided at blanks, must end with exit code `code`; in the error line stand all of `says`, divided at '|'. */
void trial_refused(int code, const char *says, const char *args, ...) PARE_PRINTF(3, 4);

/* Exit code 0, a warning that has all of `says`; with --strict exit code 3, and `says` in the error. */
void trial_warned(const char *says, const char *args, ...) PARE_PRINTF(2, 3);

/* The same without --strict, for runs that warn of something else, too. */
void trial_warned_among(const char *says, const char *args, ...) PARE_PRINTF(2, 3);

/* Exit code 0 and no warning that has `quiet` (NULL: warnings do not matter). What it wrote is removed. */
void trial_accepted(const char *quiet, const char *args, ...) PARE_PRINTF(2, 3);

/* Exit code `code`, `says` (divided at '|') in what it printed to standard output; the output is returned and valid
 * until the next run. For verdicts, which are no errors. */
const char *trial_printed(int code, const char *says, const char *args, ...) PARE_PRINTF(3, 4);

/* The same of a model, whose name stands in the message, too. It meets one of the verbs that read models, another one
 * at each call, so that the values of a row meet them all. */
void trial_model_refused(int code, const char *model, const char *says);
void trial_model_warned(const char *model, const char *says);
void trial_model_accepted(const char *model);

/* Numbers for values beside the listed ones: the same ones in every run. */
uint64_t trial_random(void);
uint64_t trial_between(uint64_t lo, uint64_t hi);

/* Most memory that one run may take, in bytes above what it maps: checked by RLIMIT_DATA for all runs after the call;
 * 0: no limit. */
void trial_limit_data(uint64_t bytes);

/* Most address space that one run may take (RLIMIT_AS), for all runs after the call; 0: no limit. Sanitizers need more
 * than any limit: false then, and nothing is limited. */
bool trial_limit_space(uint64_t bytes);

/* The run takes at most 16 MiB and four times the header more memory than the program at rest, besides the header's
 * own pages of the mapped file. */
void trial_memory(const char *args, uint64_t header_bytes);

#endif
