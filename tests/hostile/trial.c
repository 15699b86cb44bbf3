#include "trial.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_ARGS = 40, LIMIT_SECONDS = 60 };

typedef struct result {
    int code;
    char *out, *err; /* terminated, of the last run */
    char command[2048];
    uint64_t peak; /* bytes of memory, pages of files among them */
} result;

static result last;
static uint64_t data_limit, space_limit;

static const char *logs(void)
{
    static char folder[4200];
    if (folder[0] == '\0') {
        snprintf(folder, sizeof folder, "%s/logs", temp_dir());
        CHECK(mkdir(folder, 0777) == 0);
    }
    return folder;
}

static void put_at(const char *folder, const char *name, const void *bytes, size_t n)
{
    char path[4400];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    check_write_file(path, bytes, n);
}

const char *trial_folder(void)
{
    static char folder[4200];
    if (folder[0] == '\0') {
        snprintf(folder, sizeof folder, "%s/in", temp_dir());
        CHECK(mkdir(folder, 0777) == 0);
        setenv("CUDA_VISIBLE_DEVICES", "", 1);
        setenv("OMP_NUM_THREADS", "1", 1); /* most runs end before there is work to divide */
        unsetenv("CLICOLOR_FORCE");
        static const char text[] = "It was the best of times, it was the worst of times, it was the age of wisdom.\n";
        put_at(folder, "text.txt", text, sizeof text - 1);
    }
    return folder;
}

const char *trial_path(const char *name)
{
    static char paths[4][4400];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", trial_folder(), name);
    return path;
}

void trial_put(const char *name, const void *bytes, size_t n)
{
    put_at(trial_folder(), name, bytes, n);
}

void trial_put_buf(const char *name, const pare_buf *b)
{
    trial_put(name, b->data, b->len);
}

void trial_put_text(const char *name, const char *text)
{
    trial_put(name, text, strlen(text));
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

void trial_remove(const char *name)
{
    nftw(trial_path(name), remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* All that lies in the folder: a name a line. Owned by the caller. */
static char *list_all(void)
{
    struct dirent **entries;
    pare_buf list = {0};
    int n = scandir(trial_folder(), &entries, NULL, alphasort);
    CHECK(n >= 0);
    for (int i = 0; i < n; i++) {
        CHECK(pare_buf_printf(&list, NULL, "%s\n", entries[i]->d_name) == PARE_OK);
        free(entries[i]);
    }
    free(entries);
    return list.data;
}

/* Remove what `before` does not list; how much that was. */
static size_t remove_new(const char *before)
{
    char *now = list_all(), *save = NULL;
    size_t n = 0;
    for (char *name = strtok_r(now, "\n", &save); name != NULL; name = strtok_r(NULL, "\n", &save)) {
        char line[300];
        snprintf(line, sizeof line, "%s\n", name);
        const char *at = strstr(before, line);
        while (at != NULL && at != before && at[-1] != '\n')
            at = strstr(at + 1, line);
        if (at == NULL) {
            trial_remove(name);
            n++;
        }
    }
    free(now);
    return n;
}

static char *slurp(const char *name)
{
    char path[4400];
    size_t n = 0;
    snprintf(path, sizeof path, "%s/%s", logs(), name);
    char *bytes = (char *)check_read_file(path, &n);
    char *text = realloc(bytes, n + 1);
    CHECK(text != NULL);
    text[n] = '\0';
    for (size_t i = 0, k; i < n; i += k) { /* also a NUL, which would hide the rest */
        uint32_t cp = 0;
        k = pare_utf8_next(text + i, n - i, &cp);
        if (k == 0 || (cp != '\n' && pare_char_unsafe(cp)))
            fail_msg("%s\nraw byte 0x%02x at %zu of std%s", last.command, (unsigned char)text[i], i, name);
    }
    return text;
}

static void start(char *const *argv)
{
    int null = open("/dev/null", O_RDONLY);
    char out[4400], err[4400];
    snprintf(out, sizeof out, "%s/out", logs());
    snprintf(err, sizeof err, "%s/err", logs());
    int o = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0666), e = open(err, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (chdir(trial_folder()) != 0 || dup2(null, 0) < 0 || dup2(o, 1) < 0 || dup2(e, 2) < 0)
        _exit(126);
    if (data_limit > 0)
        setrlimit(RLIMIT_DATA, &(struct rlimit){data_limit, data_limit});
    if (space_limit > 0)
        setrlimit(RLIMIT_AS, &(struct rlimit){space_limit, space_limit});
    alarm(LIMIT_SECONDS);
    execv(argv[0], argv);
    _exit(127);
}

static const result *run(const char *args, bool strict)
{
    static char pare[] = PARE_BINARY_DIR "/pare", strict_option[] = "--strict";
    char *copy = strdup(args), *save = NULL, *argv[MAX_ARGS + 2] = {pare};
    int n = 1, status = 0;
    CHECK(copy != NULL);
    for (char *a = strtok_r(copy, " ", &save); a != NULL && n < MAX_ARGS; a = strtok_r(NULL, " ", &save))
        argv[n++] = a;
    if (strict)
        argv[n++] = strict_option;
    snprintf(last.command, sizeof last.command, "pare %s%s", args, strict ? " --strict" : "");
    trial_folder();
    logs();
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        start(argv);
    struct rusage used;
    while (wait4(child, &status, 0, &used) < 0)
        CHECK(errno == EINTR);
    last.peak = (uint64_t)used.ru_maxrss * 1024;
    free(copy);
    free(last.out);
    free(last.err);
    last.out = last.err = NULL;
    last.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    last.out = slurp("out");
    last.err = slurp("err");
    return &last;
}

static void fault(const result *r, const char *what, const char *more)
{
    print_message("%s\n%s%s\nexit code %d\nstdout: %.1500s\nstderr: %.3000s\n", r->command, what, more, r->code, r->out,
                  r->err);
    fail_msg("%s%s", what, more);
}

/* The line of text that starts with prefix and has all of `says`. */
static bool has_line(const char *text, const char *prefix, const char *says)
{
    for (const char *line = text; *line != '\0';) {
        size_t n = strcspn(line, "\n");
        bool all = strncmp(line, prefix, strlen(prefix)) == 0;
        for (const char *part = says; all && part != NULL; part = strchr(part, '|')) {
            part += *part == '|';
            size_t k = strcspn(part, "|");
            all = k == 0 || memmem(line, n, part, k) != NULL;
        }
        if (all)
            return true;
        line += n + (line[n] == '\n');
    }
    return false;
}

static size_t count_errors(const result *r)
{
    static const char mark[] = "pare: error: ";
    size_t n = 0;
    for (const char *at = r->err; (at = strstr(at, mark)) != NULL; at += sizeof mark - 1)
        n += at == r->err || at[-1] == '\n';
    return n;
}

static void expect(int code, const char *args, bool strict)
{
    char *before = list_all();
    const result *r = run(args, strict);
    size_t n_new = remove_new(before);
    free(before);
    if (r->code != code) {
        char want[40];
        snprintf(want, sizeof want, "expected exit code %d", code);
        fault(r, want, "");
    }
    if (code > 1 && n_new > 0)
        fault(r, "something was left behind", "");
    if (count_errors(r) != (code > 1))
        fault(r, "not one error line", "");
}

static void expect_error(int code, const char *says, const char *args, bool strict)
{
    expect(code, args, strict);
    if (!has_line(last.err, "pare: error: ", says))
        fault(&last, "the error does not say: ", says);
}

#define FORMAT(buffer, fmt)                                                                                            \
    do {                                                                                                               \
        va_list list;                                                                                                  \
        va_start(list, fmt);                                                                                           \
        vsnprintf(buffer, sizeof buffer, fmt, list);                                                                   \
        va_end(list);                                                                                                  \
    } while (0)

void trial_refused(int code, const char *says, const char *args, ...)
{
    char line[2000];
    FORMAT(line, args);
    expect_error(code, says, line, false);
}

void trial_warned(const char *says, const char *args, ...)
{
    char line[2000];
    FORMAT(line, args);
    expect(0, line, false);
    if (!has_line(last.err, "pare: warning: ", says))
        fault(&last, "no warning says: ", says);
    expect_error(3, says, line, true);
}

void trial_warned_among(const char *says, const char *args, ...)
{
    char line[2000];
    FORMAT(line, args);
    expect(0, line, false);
    if (!has_line(last.err, "pare: warning: ", says))
        fault(&last, "no warning says: ", says);
}

void trial_accepted(const char *quiet, const char *args, ...)
{
    char line[2000];
    FORMAT(line, args);
    expect(0, line, false);
    if (quiet != NULL && has_line(last.err, "pare: warning: ", quiet))
        fault(&last, "a warning that should not be: ", quiet);
}

const char *trial_printed(int code, const char *says, const char *args, ...)
{
    char line[2000];
    FORMAT(line, args);
    expect(code, line, false);
    for (const char *part = says; part != NULL; part = strchr(part, '|')) {
        char text[256];
        part += *part == '|';
        snprintf(text, sizeof text, "%.*s", (int)strcspn(part, "|"), part);
        if (strstr(last.out, text) == NULL)
            fault(&last, "the output does not say: ", text);
    }
    return last.out;
}

static const char *const verbs[] = {"inspect %s",
                                    "quantize %s -t q8_0 -o out.gguf --pin",
                                    "verify %s",
                                    "inspect --metadata --tensors --json %s",
                                    "convert %s -o out.gguf",
                                    "eval %s -f text.txt --ctx 16",
                                    "imatrix %s -f text.txt --ctx 16 -o out.gguf"};

static const char *next_verb(void)
{
    static size_t next;
    return verbs[next++ % (sizeof verbs / sizeof verbs[0])];
}

static void model_refused(int code, const char *verb, const char *model, const char *says)
{
    char line[1000], parts[1000];
    pare_buf b = {0};
    snprintf(parts, sizeof parts, "%s|%s", model, says);
    const char *at = strstr(verb, "%s");
    CHECK(pare_buf_printf(&b, NULL, "%.*s%s%s", (int)(at - verb), verb, model, at + 2) == PARE_OK);
    snprintf(line, sizeof line, "%s", b.data);
    pare_buf_close(&b);
    expect_error(code, parts, line, false);
}

void trial_model_refused(int code, const char *model, const char *says)
{
    model_refused(code, next_verb(), model, says);
}

void trial_model_warned(const char *model, const char *says)
{
    trial_warned(says, "inspect %s", model);
    trial_warned(says, "convert %s -o out.gguf", model);
}

void trial_model_accepted(const char *model)
{
    trial_accepted(NULL, "inspect %s", model);
    trial_accepted(NULL, "verify %s", model);
}

uint64_t trial_random(void)
{
    static uint64_t x = 0x9e3779b97f4a7c15u; /* xorshift64* (Vigna 2016) */
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    return x * 0x2545f4914f6cdd1du;
}

uint64_t trial_between(uint64_t lo, uint64_t hi)
{
    uint64_t span = hi - lo;
    return lo + (span == UINT64_MAX ? trial_random() : trial_random() % (span + 1));
}

void trial_limit_data(uint64_t bytes)
{
    data_limit = bytes;
}

bool trial_limit_space(uint64_t bytes)
{
#ifdef PARE_SANITIZED
    (void)bytes;
    return false;
#else
    space_limit = bytes;
    return true;
#endif
}

void trial_memory(const char *args, uint64_t header_bytes)
{
#ifdef PARE_SANITIZED
    (void)args, (void)header_bytes;
#else
    run("--version", false);
    uint64_t rest = last.peak, allowed = rest + (16 << 20) + 5 * header_bytes;
    const result *r = run(args, false);
    CHECK(r->code == 0);
    if (r->peak > allowed)
        print_message("%s: %.1f MB, of which %.1f at rest; allowed %.1f\n", args, (double)r->peak / 1e6,
                      (double)rest / 1e6, (double)allowed / 1e6);
    CHECK(r->peak <= allowed);
#endif
}
