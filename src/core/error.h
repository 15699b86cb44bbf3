/* core/error.h - how a function says that it failed, and how the program hears a warning
 *
 * Every function that can fail returns a pare_status and, at the point of failure, fills the caller's pare_error with
 * one line: file, field or tensor, offset, what was found, what is allowed. Callers pass it up unchanged. */
#ifndef PARE_CORE_ERROR_H
#define PARE_CORE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum pare_status {
    PARE_OK = 0,
    PARE_ERR_DIFFERENCE,  /* the comparison ran and found a difference            exit 1 */
    PARE_ERR_USAGE,       /* the caller asked for something that makes no sense   exit 2 */
    PARE_ERR_FORMAT,      /* an input breaks its format, or cannot be opened      exit 3 */
    PARE_ERR_RANGE,       /* a value in an input is outside of what is allowed    exit 3 */
    PARE_ERR_NUMBER,      /* a NaN or an infinity where a finite number must be   exit 3 */
    PARE_ERR_UNSUPPORTED, /* valid input that pare cannot handle                  exit 4 */
    PARE_ERR_IO,          /* reading or writing failed: disk full, no permission  exit 5 */
    PARE_ERR_MEMORY,      /* no memory                                            exit 6 */
    PARE_ERR_DEVICE,      /* a device failed or is absent                         exit 6 */
    PARE_ERR_INTERRUPTED  /* SIGHUP, SIGINT or SIGTERM was seen         exit 129, 130, 143 */
} pare_status;

enum { PARE_ERROR_TEXT = 1024 };

/* Owned by the caller, never allocates. Zero it before the first use. */
typedef struct pare_error {
    pare_status status;
    char text[PARE_ERROR_TEXT]; /* one line of printable UTF-8 without a newline */
} pare_error;

#if defined(__GNUC__)
#define PARE_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#else
#define PARE_PRINTF(fmt, first)
#endif

/* Fill err (may be NULL) and return status. Control bytes and bytes that are not UTF-8 in the formatted text become
 * \xNN, so a name out of a hostile file can be passed as it is. */
pare_status pare_fail(pare_error *err, pare_status status, const char *fmt, ...) PARE_PRINTF(3, 4);

/* "<path>: cannot open: ..." for an errno: PARE_ERR_FORMAT where the name or the permission is wrong, PARE_ERR_MEMORY
 * without memory, PARE_ERR_IO otherwise. */
pare_status pare_fail_open(pare_error *err, const char *path, int number);

/* Put "<path>: " before the message of err (may be NULL), unless it begins so, and return status. For callers that know
 * the file that a callee, which works on what was read from it, cannot name. */
pare_status pare_fail_in(pare_error *err, pare_status status, const char *path);

/* Report something odd that is no error. In strict mode it is one: the text goes into err and PARE_ERR_FORMAT comes
 * back. Otherwise the text goes to the sink and PARE_OK comes back. Thread-safe. */
pare_status pare_warn(pare_error *err, const char *fmt, ...) PARE_PRINTF(2, 3);

/* Who receives warnings: text is one sanitised line. NULL (the start value) drops them. Set before threads start. */
typedef void (*pare_warn_sink)(const char *text, void *user);
void pare_set_warn_sink(pare_warn_sink sink, void *user);
void pare_set_strict(bool strict);

/* The exit code that the command line promises for a status. */
int pare_exit_code(pare_status status);

/* The status as a word for JSON: "ok", "difference", "usage", "format", ... */
const char *pare_status_name(pare_status status);

/* True once SIGHUP, SIGINT or SIGTERM was seen. Long loops test it and return PARE_ERR_INTERRUPTED through
 * pare_check_interrupt. pare_set_interrupted is async-signal-safe. */
bool pare_interrupted(void);
void pare_set_interrupted(int signal_number);
pare_status pare_check_interrupt(pare_error *err);

#endif
