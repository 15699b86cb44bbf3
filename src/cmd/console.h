/* cmd/console.h - what the user sees: the result on stdout; progress, warnings and errors on stderr */
#ifndef PARE_CMD_CONSOLE_H
#define PARE_CMD_CONSOLE_H

#include "cmd/options.h"

#include <jansson.h>
#include <stdio.h>

enum { CMD_SCHEMA = 1 }; /* of every JSON document; keys are only added within a number */

/* Take --quiet, --verbose, --progress and --color from args and the environment; from then on warnings and progress of
 * the library appear on stderr. */
void cmd_console_start(const cmd_args *args);

void cmd_say(const char *fmt, ...) PARE_PRINTF(1, 2);  /* "pare: ...", unless --quiet */
void cmd_note(const char *fmt, ...) PARE_PRINTF(1, 2); /* "pare: ...", with --verbose */
/* "pare: warning: ..." of something that the user asked for: no error in strict mode, unlike pare_warn. */
void cmd_warning(const char *fmt, ...) PARE_PRINTF(1, 2);
void cmd_error(const char *text); /* "pare: error: ..." */
/* Add a sentence to what err says; an interruption says nothing but that. */
void cmd_error_add(pare_error *err, const char *sentence);
void cmd_hint(const char *fmt, ...) PARE_PRINTF(1, 2); /* "pare: ...", always */
void cmd_progress_clear(void);                         /* end the line that the progress bar stands in */
bool cmd_shows_progress(void);                         /* a bar is shown */

/* Print doc, which is taken over, as the one JSON document of this run, with "schema" and "command" added.
 * Errors: PARE_ERR_MEMORY */
pare_status cmd_print_json(const cmd_args *args, json_t *doc, pare_error *err);
json_t *cmd_json_error(const pare_error *err); /* {"code", "exit", "message"} */
bool cmd_printed_json(void);

/* Setters that take bytes out of a file: what is not UTF-8 is escaped. real: NaN and infinities are left out. */
json_t *cmd_json_text(const char *text, size_t len);
void cmd_json_real(json_t *object, const char *key, double value);
void cmd_json_u64(json_t *object, const char *key, uint64_t value);

/* Text of a file, safe to print: a static buffer, four in turn. */
const char *cmd_safe(const char *text, size_t len);
/* "1.43 MiB": a static buffer, four in turn. */
const char *cmd_bytes(uint64_t n);

/* Flush stdout and say whether all of it arrived. A reader that closed the pipe ends the program as SIGPIPE does. */
pare_status cmd_finish_stdout(pare_error *err);

#endif
