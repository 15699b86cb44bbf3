#include "cmd/console.h"
#include "core/clock.h"
#include "core/json.h"
#include "core/progress.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static struct {
    bool quiet, verbose, colour, bar, printed_json;
    bool line_open; /* the bar stands in the current line of stderr */
} console;

/* Seconds between two states of the bar, and between two lines where there is no terminal. */
#define BAR_SECONDS 0.1
#define LINE_SECONDS 30.0

/* The window over which speed is measured: old samples are replaced in turn. */
enum { WINDOW = 32 };
static struct {
    double shown, at[WINDOW];
    uint64_t done[WINDOW];
    size_t n_samples;
    uint64_t total;
} meter;

static bool is_set(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && *value != '\0';
}

/* Standard error is a terminal that understands escapes. */
static bool is_terminal(void)
{
    const char *term = getenv("TERM");
    return isatty(STDERR_FILENO) && term != NULL && strcmp(term, "dumb") != 0;
}

/* --color wins, then NO_COLOR, then CLICOLOR_FORCE, then whether a terminal that can is there. */
static bool wants_colour(const char *when)
{
    const char *force = getenv("CLICOLOR_FORCE");
    if (when != NULL && strcmp(when, "auto") != 0)
        return strcmp(when, "always") == 0;
    if (is_set("NO_COLOR"))
        return false;
    if (force != NULL && *force != '\0' && strcmp(force, "0") != 0)
        return true;
    return is_terminal();
}

static void label(const char *word, const char *colour)
{
    if (console.colour)
        fprintf(stderr, "pare: \033[%sm%s:\033[0m ", colour, word);
    else
        fprintf(stderr, "pare: %s: ", word);
}

void cmd_progress_clear(void)
{
    if (console.line_open)
        fputs("\r\033[K", stderr);
    console.line_open = false;
}

/* The last warnings: what reads a file twice does not warn twice. */
static bool was_shown(const char *text)
{
    enum { KEPT = 16 };
    static char shown[KEPT][PARE_ERROR_TEXT];
    static size_t n;
    for (size_t i = 0; i < KEPT; i++)
        if (strcmp(shown[i], text) == 0)
            return true;
    snprintf(shown[n++ % KEPT], sizeof shown[0], "%s", text);
    return false;
}

static void show_warning(const char *text, void *user)
{
    (void)user;
    if (console.quiet || was_shown(text))
        return;
    cmd_progress_clear();
    label("warning", "33");
    fprintf(stderr, "%s\n", text);
}

void cmd_warning(const char *fmt, ...)
{
    char text[PARE_ERROR_TEXT];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    show_warning(text, NULL);
}

static void put_line(const char *fmt, va_list args)
{
    cmd_progress_clear();
    fputs("pare: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
}

void cmd_say(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    if (!console.quiet)
        put_line(fmt, args);
    va_end(args);
}

void cmd_note(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    if (console.verbose)
        put_line(fmt, args);
    va_end(args);
}

void cmd_error(const char *text)
{
    cmd_progress_clear();
    label("error", "1;31");
    fprintf(stderr, "%s\n", text);
}

void cmd_error_add(pare_error *err, const char *sentence)
{
    char text[PARE_ERROR_TEXT];
    const size_t room = sizeof text - strlen(sentence) - 1;
    snprintf(text, sizeof text, "%s", err->status == PARE_ERR_INTERRUPTED ? "interrupted" : err->text);
    pare_fail(err, err->status, "%.*s%s", (int)room, text, sentence);
}

void cmd_hint(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    put_line(fmt, args);
    va_end(args);
}

/* Units a second since the oldest sample of the window. */
static double speed(double time, uint64_t done)
{
    size_t oldest = meter.n_samples < WINDOW ? 0 : meter.n_samples % WINDOW;
    double seconds = time - meter.at[oldest];
    if (meter.n_samples == 0 || seconds <= 0 || done < meter.done[oldest])
        return 0;
    return (double)(done - meter.done[oldest]) / seconds;
}

/* " 45%  12.0 MiB of 26.5 MiB  98.1 MiB/s  ETA 0:12": the numbers of a progress line. */
static void describe(char *dst, size_t size, const char *unit, uint64_t done, uint64_t total, double rate)
{
    double fraction = total > 0 ? (double)done / (double)total : 0;
    unsigned left = rate > 0 && total >= done ? (unsigned)((double)(total - done) / rate) : 0;
    if (strcmp(unit, "bytes") == 0)
        snprintf(dst, size, "%3.0f%%  %s of %s  %s/s  ETA %u:%02u", 100 * fraction, cmd_bytes(done), cmd_bytes(total),
                 cmd_bytes((uint64_t)rate), left / 60, left % 60);
    else if (unit[0] == '\0')
        snprintf(dst, size, "%3.0f%%  ETA %u:%02u", 100 * fraction, left / 60, left % 60);
    else
        snprintf(dst, size, "%3.0f%%  %" PRIu64 " of %" PRIu64 " %s  ETA %u:%02u", 100 * fraction, done, total, unit,
                 left / 60, left % 60);
}

static void draw_bar(const char *numbers, uint64_t done, uint64_t total, const char *what)
{
    enum { BAR = 20 };
    char bar[BAR + 1] = "", line[512];
    struct winsize window = {0};
    size_t filled = total > 0 && done < total ? (size_t)((double)done / (double)total * BAR) : BAR;
    for (size_t i = 0; i < BAR; i++)
        bar[i] = i < filled ? '#' : '.';
    int columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 1 ? window.ws_col - 1 : 79;
    snprintf(line, sizeof line, "[%s] %s  %s", bar, numbers, what);
    fprintf(stderr, "\r\033[K%.*s", columns, line);
    console.line_open = true;
}

/* A total that changes, or work that is undone, is the start of another job. */
static bool is_new_job(uint64_t done, uint64_t total)
{
    return meter.n_samples == 0 || total != meter.total || done < meter.done[(meter.n_samples - 1) % WINDOW];
}

static void take_sample(double time, uint64_t done)
{
    meter.at[meter.n_samples % WINDOW] = time;
    meter.done[meter.n_samples % WINDOW] = done;
    meter.n_samples++;
    meter.shown = time;
}

static void show_progress(const char *unit, uint64_t done, uint64_t total, const char *what, void *user)
{
    double time = pare_clock(), interval = console.bar ? BAR_SECONDS : LINE_SECONDS;
    char numbers[160];
    (void)user;
    if (is_new_job(done, total)) {
        meter.n_samples = 0;
        meter.total = total;
        take_sample(time, done);
        return;
    }
    if (time - meter.shown < interval)
        return;
    describe(numbers, sizeof numbers, unit, done, total, speed(time, done));
    take_sample(time, done);
    what = cmd_safe(what != NULL ? what : "", what != NULL ? strlen(what) : 0);
    if (console.bar)
        draw_bar(numbers, done, total, what);
    else
        fprintf(stderr, "pare: %s  %s\n", numbers, what);
}

bool cmd_shows_progress(void)
{
    return console.bar;
}

void cmd_console_start(const cmd_args *args)
{
    const char *when = cmd_text(args, OPT_PROGRESS);
    bool never = when == NULL || strcmp(when, "never") == 0;
    console.quiet = cmd_has(args, OPT_QUIET);
    console.verbose = cmd_has(args, OPT_VERBOSE) && !console.quiet;
    console.colour = wants_colour(cmd_text(args, OPT_COLOR));
    console.bar = !never && !console.quiet && (strcmp(when, "always") == 0 || is_terminal());
    pare_set_warn_sink(show_warning, NULL);
    if (console.bar || (console.verbose && !never))
        pare_set_progress(show_progress, NULL);
}

/* The dump escapes what JSON must; a terminal, to which it may go, acts on more. */
static void print_document(const pare_buf *text)
{
    size_t from = 0;
    for (size_t i = 0, n; i < text->len; i += n) {
        uint32_t cp = 0;
        if ((n = pare_utf8_next(text->data + i, text->len - i, &cp)) == 0)
            n = 1;
        if (cp == '\n' || !pare_char_unsafe(cp))
            continue;
        fwrite(text->data + from, 1, i - from, stdout); /* cmd_finish_stdout sees a failure */
        printf("\\u%04" PRIx32, cp);
        from = i + n;
    }
    fwrite(text->data + from, 1, text->len - from, stdout);
}

pare_status cmd_print_json(const cmd_args *args, json_t *doc, pare_error *err)
{
    pare_buf text = {0};
    json_object_set_new(doc, "schema", json_integer(CMD_SCHEMA));
    json_object_set_new(doc, "command", json_string(args->verb->name));
    pare_status st = pare_json_dump(doc, &text, err);
    cmd_progress_clear();
    if (st == PARE_OK) {
        print_document(&text);
        console.printed_json = true;
    }
    pare_buf_close(&text);
    json_decref(doc);
    return st;
}

json_t *cmd_json_error(const pare_error *err)
{
    return json_pack("{s:s, s:i, s:s}", "code", pare_status_name(err->status), "exit", pare_exit_code(err->status),
                     "message", err->text);
}

bool cmd_printed_json(void)
{
    return console.printed_json;
}

json_t *cmd_json_text(const char *text, size_t len)
{
    return pare_json_text(text, len);
}

void cmd_json_real(json_t *object, const char *key, double value)
{
    if (isfinite(value))
        json_object_set_new(object, key, json_real(value));
}

void cmd_json_u64(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

const char *cmd_safe(const char *text, size_t len)
{
    static char buffers[4][512];
    static size_t turn;
    char *dst = buffers[turn++ % 4];
    return pare_escape(dst, sizeof buffers[0], text, len);
}

const char *cmd_bytes(uint64_t n)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    static char buffers[4][32];
    static size_t turn;
    char *dst = buffers[turn++ % 4];
    double value = (double)n;
    size_t unit = 0;
    for (; value >= 1024 && unit < 4; unit++)
        value /= 1024;
    snprintf(dst, sizeof buffers[0], unit == 0 ? "%.0f %s" : "%.2f %s", value, units[unit]);
    return dst;
}

pare_status cmd_finish_stdout(pare_error *err)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return PARE_OK;
    if (errno == EPIPE) { /* `pare inspect M | head` is no failure to talk about */
        signal(SIGPIPE, SIG_DFL);
        raise(SIGPIPE);
    }
    pare_status st = pare_check_interrupt(err); /* a write that a signal broke off */
    if (st != PARE_OK)
        return st;
    return pare_fail(err, PARE_ERR_IO, "stdout: cannot write: %s", errno != 0 ? strerror(errno) : "earlier error");
}
