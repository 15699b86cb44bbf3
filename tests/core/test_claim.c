/* Runs that are killed, and runs at the same time: processes of their own, ended with SIGKILL before each call that
 * changes a folder, in turn. */
#include "check.h"
#include "core/claim.h"
#include "core/output_set.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static pare_error err;
static char folder[4200];
static int kill_at; /* the call that the process does not survive, counted down; 0: none */
static bool no_exchange;

/* The linker sends the library's calls here. */
int __real_fsync(int fd);
int __real_link(const char *from, const char *to);
int __real_rename(const char *from, const char *to);
int __real_unlink(const char *path);
int __wrap_fsync(int fd);
int __wrap_link(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __wrap_unlink(const char *path);
long __wrap_syscall(long number, ...);
long __real_syscall(long number, ...);

static void step(void)
{
    if (kill_at > 0 && --kill_at == 0)
        kill(getpid(), SIGKILL);
}

int __wrap_fsync(int fd)
{
    step();
    return __real_fsync(fd);
}

int __wrap_link(const char *from, const char *to)
{
    step();
    return __real_link(from, to);
}

int __wrap_rename(const char *from, const char *to)
{
    step();
    return __real_rename(from, to);
}

int __wrap_unlink(const char *path)
{
    step();
    return __real_unlink(path);
}

long __wrap_syscall(long number, ...)
{
    long a[6];
    va_list args;
    va_start(args, number);
    for (size_t i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (number == SYS_renameat2) {
        step();
        errno = EINVAL; /* as a file system without it says */
        if (no_exchange)
            return -1;
    }
    return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static int fresh_folder(void **state)
{
    (void)state;
    static int n;
    snprintf(folder, sizeof folder, "%s/%d", temp_dir(), n++);
    kill_at = 0;
    no_exchange = false;
    return mkdir(folder, 0700);
}

static const char *at(const char *name)
{
    static char paths[4][4400];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static bool exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

static bool holds(const char *path, const char *text)
{
    size_t n = 0;
    if (!exists(path))
        return false;
    uint8_t *data = check_read_file(path, &n);
    bool same = n == strlen(text) && memcmp(data, text, n) == 0;
    free(data);
    return same;
}

static int count_entries(const char *path)
{
    int n = 0;
    DIR *dir = opendir(path);
    while (dir != NULL && readdir(dir) != NULL)
        n++;
    if (dir != NULL)
        closedir(dir);
    return n - 2;
}

/* Runs act in a process that ends before call `nth`; true when it got to its end. */
static bool survives(pare_status (*act)(unsigned flags), unsigned flags, int nth)
{
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        kill_at = nth;
        pare_status st = act(flags);
        _exit(st == PARE_OK ? 0 : 1);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return false;
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return true;
}

/* The next run on the name: it opens the output, and gives up. */
static void next_run(const char *path, bool is_folder)
{
    pare_outdir d;
    pare_output *out = NULL;
    if (is_folder) {
        pare_status st = pare_outdir_open(&d, path, PARE_OUTPUT_FORCE, &err);
        CHECK_OK(st, &err);
        pare_outdir_close(&d);
    } else {
        CHECK_OK(pare_output_open(&out, path, 0, PARE_OUTPUT_FORCE, &err), &err);
        pare_output_close(out);
    }
}

static pare_status write_one(unsigned flags)
{
    return pare_output_file(at("a"), "new", 3, flags, &err);
}

static void a_killed_file_is_the_old_or_the_new(void **state)
{
    (void)state;
    for (unsigned flags = 0; flags <= PARE_OUTPUT_FORCE; flags++) {
        bool done = false;
        int n_kills = 0;
        for (; !done; n_kills++) {
            unlink(at("a"));
            if (flags != 0)
                check_write_file(at("a"), "old", 3);
            done = survives(write_one, flags, n_kills + 1);
            CHECK(holds(at("a"), "new") || (flags != 0 ? holds(at("a"), "old") : !exists(at("a"))));
            CHECK(!done || holds(at("a"), "new"));
            next_run(at("a"), false);
            CHECK(count_entries(folder) == exists(at("a")));
        }
        CHECK(n_kills >= 3);
    }
}

static const char *const names[] = {"model", "lock", "sums"};
enum { N_FILES = sizeof names / sizeof *names };

static pare_status write_set(unsigned flags)
{
    pare_output_set set = {0};
    pare_status st = PARE_OK;
    for (size_t i = 0; i < N_FILES && st == PARE_OK; i++)
        st = pare_output_set_add_file(&set, at(names[i]), "new", 3, flags | (i > 0 ? PARE_OUTPUT_DESCRIBES : 0), &err);
    if (st == PARE_OK)
        st = pare_output_set_publish(&set, &err);
    pare_output_set_close(&set);
    return st;
}

static int count_that_hold(const char *text)
{
    int n = 0;
    for (size_t i = 0; i < N_FILES; i++)
        n += holds(at(names[i]), text);
    return n;
}

static void a_killed_set_is_the_old_or_the_new(void **state)
{
    (void)state;
    for (unsigned flags = 0; flags <= PARE_OUTPUT_FORCE; flags++) {
        bool done = false;
        int n_kills = 0, n_between = 0;
        for (; !done; n_kills++) {
            for (size_t i = 0; i < N_FILES; i++) {
                unlink(at(names[i]));
                if (flags != 0)
                    check_write_file(at(names[i]), "old", 3);
            }
            done = survives(write_set, flags, n_kills + 1);
            for (size_t i = 1; i < N_FILES && exists(at("model")); i++) /* no lock beside a model that it is not of */
                CHECK(!exists(at(names[i])) || holds(at(names[i]), "new") == holds(at("model"), "new"));
            int n_new = count_that_hold("new"), n_old = count_that_hold("old");
            n_between += n_new != N_FILES && (n_new > 0 || n_old != (flags != 0 ? N_FILES : 0));
            CHECK(!done || n_new == N_FILES);
            for (size_t i = 0; i < N_FILES; i++)
                next_run(at(names[i]), false);
            n_new = count_that_hold("new");
            n_old = count_that_hold("old");
            CHECK(n_new == N_FILES || (n_new == 0 && n_old == (flags != 0 ? N_FILES : 0)));
            CHECK(count_entries(folder) == n_new + n_old);
        }
        CHECK(n_kills > 10 && n_between > 0);
    }
}

/* What was to appear without force leaves what someone else put there meanwhile. */
static void a_journal_replaces_only_with_force(void **state)
{
    (void)state;
    int nth = 1;
    for (;; nth++) { /* up to the first name that is given */
        CHECK(!survives(write_set, 0, nth));
        if (count_that_hold("new") == 1)
            break;
        next_run(at("model"), false);
        for (size_t i = 0; i < N_FILES; i++)
            unlink(at(names[i]));
    }
    check_write_file(at("model"), "theirs", 6);
    next_run(at("model"), false);
    CHECK(holds(at("model"), "theirs") && count_entries(folder) == N_FILES);
}

/* A journal that is cut, or that names what is no temporary of its folder, moves nothing. */
/* A temporary, and a journal that text is, with its inode. */
static void write_journal_of(const char *temporary, const char *text)
{
    struct stat info;
    char journal[200];
    check_write_file(at(temporary), "part", 4);
    CHECK(stat(at(temporary), &info) == 0);
    const char *digits = strstr(text, "%llu");
    size_t head = digits != NULL ? (size_t)(digits - text) : strlen(text);
    int n = digits != NULL ? snprintf(journal, sizeof journal, "%.*s%llu%s", (int)head, text,
                                      (unsigned long long)info.st_ino, digits + 4)
                           : snprintf(journal, sizeof journal, "%s", text);
    check_write_file(at("a.pare.set.7"), journal, (size_t)n);
}

static void a_foreign_journal_moves_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {
        /* %llu: the temporary's inode */
        "",
        "pare set 2\n",
        "pare set 2\n1 %llu\na.pare.part.7\na\n",
        "pare set 1\n1 %llu\na.pare.part.7\na\nend\n",
        "pare set 2\n1 1%llu\na.pare.part.7\na\nend\n",
        "pare set 2\n1\na.pare.part.7\na\nend\n",
        "pare set 2\n1 %llu\nkept\na\nend\n",
        "pare set 2\n1 %llu\n../x.pare.part.7\n../x\nend\n",
        "pare set 2\n1 %llu\na.pare.part.7\nkept\nend\n",
        "pare set 2\n1 %llu\na.pare.part.7\nend\n",
        "pare set 2\nend\nend\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        check_write_file(at("kept"), "kept", 4);
        write_journal_of("a.pare.part.7", texts[i]);
        next_run(at("a"), false);
        CHECK(holds(at("kept"), "kept") && count_entries(folder) == 1);
    }
    write_journal_of("a.pare.part.7", "pare set 2\n1 %llu\na.pare.part.7\na\nend\n"); /* and a whole one does */
    next_run(at("b"), false);
    CHECK(holds(at("a"), "part") && count_entries(folder) == 2);
}

static pare_status write_folder(unsigned flags)
{
    pare_outdir d;
    char path[8800];
    pare_status st = pare_outdir_open(&d, at("dir"), flags, &err);
    for (size_t i = 0; i < N_FILES && st == PARE_OK; i++) {
        snprintf(path, sizeof path, "%s/%s", d.tmp, names[i]);
        st = pare_output_file(path, "new", 3, 0, &err);
    }
    if (st == PARE_OK)
        st = pare_outdir_commit(&d, &err);
    pare_outdir_close(&d);
    return st;
}

static void make_old_folder(void)
{
    char command[4600];
    snprintf(command, sizeof command, "rm -rf '%s'", at("dir"));
    CHECK(system(command) == 0 && mkdir(at("dir"), 0777) == 0);
    check_write_file(at("dir/old"), "old", 3);
}

/* everywhere: not only after the next run, but at every moment. */
static void folders(bool everywhere)
{
    bool done = false;
    int n_kills = 0, n_moved_back = 0;
    for (; !done; n_kills++) {
        make_old_folder();
        done = survives(write_folder, PARE_OUTPUT_FORCE, n_kills + 1);
        CHECK(!everywhere || exists(at("dir")));
        n_moved_back += !exists(at("dir"));
        next_run(at("dir"), true);
        bool is_new = exists(at("dir/model"));
        CHECK(is_new || !done);
        CHECK(is_new ? count_entries(at("dir")) == N_FILES : holds(at("dir/old"), "old"));
        CHECK(count_entries(folder) == 1);
    }
    CHECK(n_kills > 7 && (everywhere || n_moved_back > 0));
}

static void a_killed_folder_is_the_old_or_the_new(void **state)
{
    (void)state;
    folders(true);
}

static void a_folder_moved_aside_comes_back(void **state)
{
    (void)state;
    no_exchange = true;
    folders(false);
}

/* ---- at the same time ---- */

typedef enum holding { HOLDS_OPEN, HOLDS_FINISHED, HOLDS_FOLDER, N_HOLDING } holding;

/* A process that holds an output, until it is killed. */
static pid_t start_holder(holding how)
{
    int ready[2];
    char byte;
    CHECK(pipe(ready) == 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        pare_output *out = NULL;
        pare_outdir d;
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody waiting */
        pare_status st =
            how == HOLDS_FOLDER ? pare_outdir_open(&d, at("x"), 0, &err) : pare_output_open(&out, at("x"), 0, 0, &err);
        if (st == PARE_OK && how == HOLDS_FINISHED)
            st = pare_output_finish(out, &err);
        if (st != PARE_OK || write(ready[1], "r", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    CHECK(child > 0 && read(ready[0], &byte, 1) == 1);
    close(ready[0]);
    return child;
}

static void a_second_run_is_refused(void **state)
{
    (void)state;
    for (holding how = 0; how < N_HOLDING; how++) {
        pare_output *out = NULL;
        pare_outdir d;
        char number[32];
        pid_t holder = start_holder(how);
        snprintf(number, sizeof number, "process %ld", (long)holder);
        CHECK(pare_output_open(&out, at("x"), 0, PARE_OUTPUT_FORCE, &err) == PARE_ERR_IO && out == NULL);
        CHECK(strstr(err.text, number) != NULL && strstr(err.text, at("x")) != NULL);
        CHECK(pare_outdir_open(&d, at("x"), PARE_OUTPUT_FORCE, &err) == PARE_ERR_IO);
        CHECK(count_entries(folder) == 1);                           /* the holder's is there, and nothing else */
        CHECK_OK(pare_output_open(&out, at("y"), 0, 0, &err), &err); /* another name is free */
        pare_output_close(out);
        CHECK(kill(holder, SIGKILL) == 0 && waitpid(holder, NULL, 0) == holder);
        CHECK(count_entries(folder) == 1);
        CHECK_OK(pare_output_file(at("x"), "x", 1, 0, &err), &err);
        CHECK(holds(at("x"), "x") && count_entries(folder) == 1);
        CHECK(unlink(at("x")) == 0);
    }
}

/* One run in one process twice is two runs. */
static void one_process_holds_a_name_once(void **state)
{
    (void)state;
    pare_output *out = NULL, *second = NULL;
    CHECK_OK(pare_output_open(&out, at("x"), 0, 0, &err), &err);
    CHECK(pare_output_open(&second, at("x"), 0, 0, &err) == PARE_ERR_USAGE);
    CHECK(strstr(err.text, "x: two outputs of this run have this name") != NULL);
    CHECK_OK(pare_output_commit(out, &err), &err);
    pare_output_close(out);
    CHECK(count_entries(folder) == 1);
}

/* Many processes start at once: one of them writes, or they write one after another; what is there is whole. */
static void of_many_at_once_each_is_whole_or_refused(void **state)
{
    (void)state;
    enum { N = 8, BYTES = 300000 };
    int n_done = 0;
    pid_t children[N];
    fflush(NULL);
    for (int i = 0; i < N; i++)
        if ((children[i] = fork()) == 0) {
            uint8_t *bytes = malloc(BYTES);
            if (bytes == NULL)
                _exit(1);
            memset(bytes, 'a' + i, BYTES);
            pare_status st = pare_output_file(at("x"), bytes, BYTES, PARE_OUTPUT_FORCE, &err);
            _exit(st == PARE_OK ? 0 : st == PARE_ERR_IO && strstr(err.text, "another run") != NULL ? 2 : 1);
        }
    for (int i = 0; i < N; i++) {
        int status = -1;
        CHECK(waitpid(children[i], &status, 0) == children[i]);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) != 1);
        n_done += WEXITSTATUS(status) == 0;
    }
    size_t n = 0;
    uint8_t *data = check_read_file(at("x"), &n);
    CHECK(n_done >= 1 && n == BYTES && memcmp(data, data + 1, BYTES - 1) == 0);
    free(data);
    CHECK(count_entries(folder) == 1);
}

/* No descriptor is left for a folder that was made: it goes again. */
static void a_folder_that_cannot_be_opened_is_gone(void **state)
{
    (void)state;
    struct rlimit old, few;
    pare_error err = {0};
    char *tmp = NULL;
    int fd = -1, next = dup(0);
    CHECK(next >= 0 && close(next) == 0 && getrlimit(RLIMIT_NOFILE, &old) == 0);
    few = (struct rlimit){(rlim_t)next, old.rlim_max};
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    pare_status st = pare_claim_create(at("x"), PARE_CLAIM_MARK, PARE_CLAIM_FOLDER, &tmp, &fd, &err);
    CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
    CHECK(st == PARE_ERR_IO && tmp == NULL && fd == -1 && strstr(err.text, "Too many open files") != NULL);
    CHECK(count_entries(folder) == 0);
}

/* Only what has this program's mark, a number and the output's name is a temporary of it. */
static void nothing_else_is_removed(void **state)
{
    (void)state;
    static const char *const kept[] = {"x.part.1",        "x.pare.part.", "x.pare.part.1a",     "y.pare.part.1",
                                       "x.y.pare.part.1", ".pare.part.1", "x.pare.part.1.older"};
    enum { N = sizeof kept / sizeof *kept };
    for (size_t i = 0; i < N; i++)
        check_write_file(at(kept[i]), "kept", 4);
    check_write_file(at("x.pare.part.1"), "litter", 6);
    CHECK(symlink(at("x.part.1"), at("x.pare.part.2")) == 0);
    CHECK(mkfifo(at("x.pare.part.3"), 0600) == 0);
    CHECK(mkdir(at("x.pare.part.4"), 0700) == 0 && mkdir(at("x.pare.part.4/deep"), 0700) == 0);
    next_run(at("x"), false);
    for (size_t i = 0; i < N; i++)
        CHECK(holds(at(kept[i]), "kept"));
    CHECK(!exists(at("x.pare.part.1")) && exists(at("x.pare.part.4/deep")) && count_entries(folder) == N + 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_killed_file_is_the_old_or_the_new, fresh_folder),
        cmocka_unit_test_setup(a_killed_set_is_the_old_or_the_new, fresh_folder),
        cmocka_unit_test_setup(a_journal_replaces_only_with_force, fresh_folder),
        cmocka_unit_test_setup(a_foreign_journal_moves_nothing, fresh_folder),
        cmocka_unit_test_setup(a_killed_folder_is_the_old_or_the_new, fresh_folder),
        cmocka_unit_test_setup(a_folder_moved_aside_comes_back, fresh_folder),
        cmocka_unit_test_setup(a_second_run_is_refused, fresh_folder),
        cmocka_unit_test_setup(one_process_holds_a_name_once, fresh_folder),
        cmocka_unit_test_setup(of_many_at_once_each_is_whole_or_refused, fresh_folder),
        cmocka_unit_test_setup(a_folder_that_cannot_be_opened_is_gone, fresh_folder),
        cmocka_unit_test_setup(nothing_else_is_removed, fresh_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
