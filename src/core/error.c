#include "core/error.h"
#include "core/background.h"
#include "core/text.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static pthread_mutex_t sink_lock = PTHREAD_MUTEX_INITIALIZER;
static pare_warn_sink warn_sink;
static void *warn_user;
static bool strict_mode;
static atomic_int interrupt_signal; /* set by a signal's handler, read by all threads */

/* fmt is formatted at twice the room, so that escaping cuts the end and not the middle of an escape. */
static void format_line(char *dst, size_t size, const char *fmt, va_list args)
{
    char raw[2 * PARE_ERROR_TEXT];
    int n = vsnprintf(raw, sizeof raw, fmt, args);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof raw ? (size_t)n : sizeof raw - 1;
    pare_escape(dst, size, raw, len);
}

pare_status pare_fail(pare_error *err, pare_status status, const char *fmt, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, fmt);
        err->status = status;
        format_line(err->text, sizeof err->text, fmt, args);
        va_end(args);
    }
    return status;
}

pare_status pare_fail_open(pare_error *err, const char *path, int number)
{
    static const int inputs[] = {ENOENT, ENOTDIR, EACCES, EPERM, ELOOP, ENAMETOOLONG, ENXIO, EISDIR};
    pare_status st = number == ENOMEM ? PARE_ERR_MEMORY : PARE_ERR_IO;
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        if (number == inputs[i])
            st = PARE_ERR_FORMAT;
    return pare_fail(err, st, "%s: cannot open: %s", path, strerror(number));
}

pare_status pare_fail_in(pare_error *err, pare_status status, const char *path)
{
    size_t n = strlen(path);
    if (err == NULL || (strncmp(err->text, path, n) == 0 && err->text[n] == ':'))
        return status;
    char text[PARE_ERROR_TEXT];
    memcpy(text, err->text, sizeof text);
    return pare_fail(err, status, "%s: %s", path, text);
}

pare_status pare_warn(pare_error *err, const char *fmt, ...)
{
    char line[PARE_ERROR_TEXT];
    va_list args;
    va_start(args, fmt);
    format_line(line, sizeof line, fmt, args);
    va_end(args);
    if (strict_mode)
        return pare_fail(err, PARE_ERR_FORMAT, "%s (--strict)", line);
    pthread_mutex_lock(&sink_lock);
    if (warn_sink != NULL)
        warn_sink(line, warn_user);
    pthread_mutex_unlock(&sink_lock);
    return PARE_OK;
}

void pare_set_warn_sink(pare_warn_sink sink, void *user)
{
    pthread_mutex_lock(&sink_lock);
    warn_sink = sink;
    warn_user = user;
    pthread_mutex_unlock(&sink_lock);
}

void pare_set_strict(bool strict)
{
    strict_mode = strict;
}

/* One row a status: its exit code and its name. */
static const struct {
    int exit_code;
    const char *name;
} status_rows[] = {
    [PARE_OK] = {0, "ok"},
    [PARE_ERR_DIFFERENCE] = {1, "difference"},
    [PARE_ERR_USAGE] = {2, "usage"},
    [PARE_ERR_FORMAT] = {3, "format"},
    [PARE_ERR_RANGE] = {3, "range"},
    [PARE_ERR_NUMBER] = {3, "number"},
    [PARE_ERR_UNSUPPORTED] = {4, "unsupported"},
    [PARE_ERR_IO] = {5, "io"},
    [PARE_ERR_MEMORY] = {6, "memory"},
    [PARE_ERR_DEVICE] = {6, "device"},
    [PARE_ERR_INTERRUPTED] = {130, "interrupted"},
};

int pare_exit_code(pare_status status)
{
    const int signal_number = atomic_load(&interrupt_signal);
    if (status == PARE_ERR_INTERRUPTED && signal_number != 0)
        return 128 + signal_number;
    return status_rows[status].exit_code;
}

const char *pare_status_name(pare_status status)
{
    return status_rows[status].name;
}

bool pare_interrupted(void)
{
    return atomic_load(&interrupt_signal) != 0 || pare_background_stopped();
}

void pare_set_interrupted(int signal_number)
{
    atomic_store(&interrupt_signal, signal_number);
}

pare_status pare_check_interrupt(pare_error *err)
{
    if (!pare_interrupted())
        return PARE_OK;
    return pare_fail(err, PARE_ERR_INTERRUPTED, "interrupted; what was unfinished is removed");
}
