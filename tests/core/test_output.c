#include "check.h"

#include "core/output.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static pare_error err;

/* A fresh folder for one test, and paths in it (four in turn). */
static char folder[4200];

static int fresh_folder(void **state)
{
    (void)state;
    static int n;
    snprintf(folder, sizeof folder, "%s/%d", temp_dir(), n++);
    return mkdir(folder, 0700);
}

static const char *in_folder(const char *name)
{
    static char paths[4][4300];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static int count_entries(const char *path)
{
    DIR *dir = opendir(path);
    int n = 0;
    while (dir != NULL && readdir(dir) != NULL)
        n++;
    if (dir != NULL)
        closedir(dir);
    return n - 2; /* . and .. */
}

static bool holds(const char *path, const char *text)
{
    size_t n;
    uint8_t *data = check_read_file(path, &n);
    bool same = n == strlen(text) && memcmp(data, text, n) == 0;
    free(data);
    return same;
}

static bool exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

/* The linker sends the library's calls of fsync, link and rename here: an 's', 'l' or 'r' each. */
int __real_fsync(int fd);
int __real_link(const char *from, const char *to);
int __real_rename(const char *from, const char *to);
int __wrap_fsync(int fd);
int __wrap_link(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);

static char calls[16];
static size_t n_calls;
static bool sync_fails, link_fails;

static void record(char call)
{
    if (n_calls + 1 < sizeof calls)
        calls[n_calls++] = call;
}

int __wrap_fsync(int fd)
{
    record('s');
    if (!sync_fails)
        return __real_fsync(fd);
    errno = EIO;
    return -1;
}

int __wrap_link(const char *from, const char *to)
{
    record('l');
    if (!link_fails)
        return __real_link(from, to);
    errno = EPERM; /* as a file system without hard links says */
    return -1;
}

int __wrap_rename(const char *from, const char *to)
{
    record('r');
    return __real_rename(from, to);
}

/* Bytes are on the disk before the name is, and then the name is too. */
static void syncs_before_and_after_the_name(void **state)
{
    (void)state;
    static const struct {
        unsigned flags;
        bool link_fails;
        const char *calls;
    } rows[] = {{0, false, "sls"}, {0, true, "slrs"}, {PARE_OUTPUT_FORCE, false, "srs"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[8];
        snprintf(name, sizeof name, "f%zu", i);
        memset(calls, 0, sizeof calls);
        n_calls = 0;
        link_fails = rows[i].link_fails;
        CHECK_OK(pare_output_file(in_folder(name), "x", 1, rows[i].flags, &err), &err);
        link_fails = false;
        assert_string_equal(calls, rows[i].calls);
        CHECK(holds(in_folder(name), "x"));
    }
    sync_fails = true;
    pare_status st = pare_output_file(in_folder("lost"), "x", 1, 0, &err);
    sync_fails = false;
    CHECK(st == PARE_ERR_IO && strstr(err.text, "cannot sync") != NULL);
    CHECK(!exists(in_folder("lost")));
    assert_int_equal(count_entries(folder), 3);
}

static pare_output *open_output(const char *path, uint64_t n_bytes, unsigned flags)
{
    pare_output *out = NULL;
    CHECK_OK(pare_output_open(&out, path, n_bytes, flags, &err), &err);
    return out;
}

static void appears_at_commit(void **state)
{
    (void)state;
    const char *path = in_folder("a");
    pare_output *out = open_output(path, 3000000, 0); /* more is reserved than written */
    CHECK_OK(pare_output_write(out, "ab", 2, &err), &err);
    CHECK_OK(pare_output_zeros(out, 2000000, &err), &err);
    CHECK_OK(pare_output_write(out, "c", 1, &err), &err);
    assert_int_equal(pare_output_offset(out), 2000003);
    CHECK(!exists(path));
    CHECK_OK(pare_output_commit(out, &err), &err);
    pare_output_close(out);
    assert_int_equal(count_entries(folder), 1);
    size_t n;
    uint8_t *data = check_read_file(path, &n);
    CHECK(n == 2000003 && memcmp(data, "ab\0\0", 4) == 0 && data[n - 1] == 'c');
    free(data);
}

/* Small pieces that are gathered and large ones that are not, in another order than they have in the file. */
static void bytes_go_to_their_places(void **state)
{
    (void)state;
    enum { LARGE = 100000 };
    pare_output *out = NULL;
    uint8_t *large = check_malloc(LARGE);
    memset(large, 'l', LARGE);
    CHECK_OK(pare_output_open(&out, in_folder("file"), 3 * LARGE, 0, &err), &err);
    CHECK_OK(pare_output_write(out, "ab", 2, &err), &err);
    CHECK_OK(pare_output_seek(out, LARGE + 10, &err), &err);
    CHECK_OK(pare_output_write(out, "end", 3, &err), &err);
    CHECK_OK(pare_output_seek(out, 2, &err), &err);
    CHECK_OK(pare_output_write(out, "c", 1, &err), &err);
    CHECK_OK(pare_output_write(out, large, LARGE, &err), &err);
    CHECK(pare_output_offset(out) == LARGE + 3);
    CHECK(pare_output_seek(out, UINT64_MAX, &err) == PARE_ERR_IO && pare_output_offset(out) == LARGE + 3);
    CHECK_OK(pare_output_seek(out, 1, &err), &err); /* behind neither of the others */
    CHECK_OK(pare_output_write(out, "b", 1, &err), &err);
    CHECK_OK(pare_output_seek(out, 0, &err), &err);
    CHECK_OK(pare_output_commit(out, &err), &err);
    pare_output_close(out);
    size_t n;
    uint8_t *data = check_read_file(in_folder("file"), &n);
    CHECK(n == LARGE + 13 && memcmp(data, "abc", 3) == 0 && memcmp(data + 3, large, LARGE) == 0);
    CHECK(memcmp(data + LARGE + 3, "\0\0\0\0\0\0\0end", 10) == 0);
    free(data);
    free(large);
}

static void vanishes_without_commit(void **state)
{
    (void)state;
    pare_output *out = open_output(in_folder("a"), 100, 0);
    CHECK_OK(pare_output_write(out, "ab", 2, &err), &err);
    assert_int_equal(count_entries(folder), 1);
    pare_output_close(out);
    assert_int_equal(count_entries(folder), 0);
    pare_output_close(NULL);
}

static void finish_waits_for_publish(void **state)
{
    (void)state;
    pare_output *out = open_output(in_folder("a"), 0, 0);
    CHECK(pare_output_publish(out, &err) == PARE_ERR_USAGE);
    CHECK_OK(pare_output_finish(out, &err), &err);
    CHECK(!exists(in_folder("a")));
    CHECK_OK(pare_output_publish(out, &err), &err);
    pare_output_close(out);
    CHECK(holds(in_folder("a"), ""));

    out = open_output(in_folder("b"), 0, 0); /* finished but never published: gone */
    CHECK_OK(pare_output_finish(out, &err), &err);
    pare_output_close(out);
    assert_int_equal(count_entries(folder), 1);
}

static void force_replaces(void **state)
{
    (void)state;
    const char *path = in_folder("a");
    pare_output *out = NULL;
    check_write_file(path, "old", 3);
    CHECK(pare_output_open(&out, path, 0, 0, &err) == PARE_ERR_USAGE && out == NULL);
    CHECK(strstr(err.text, "--force") != NULL);

    out = open_output(path, 0, PARE_OUTPUT_FORCE); /* an abandoned run keeps the old file */
    CHECK_OK(pare_output_write(out, "half", 4, &err), &err);
    pare_output_close(out);
    CHECK(holds(path, "old"));

    CHECK_OK(pare_output_file(path, "new", 3, PARE_OUTPUT_FORCE, &err), &err);
    CHECK(holds(path, "new"));
    CHECK(pare_output_file(path, "x", 1, 0, &err) == PARE_ERR_USAGE);
    CHECK(holds(path, "new"));
    assert_int_equal(count_entries(folder), 1);
}

static void does_not_replace_a_file_that_appeared(void **state)
{
    (void)state;
    const char *path = in_folder("a");
    pare_output *out = open_output(path, 0, 0);
    CHECK_OK(pare_output_write(out, "mine", 4, &err), &err);
    check_write_file(path, "theirs", 6);
    CHECK(pare_output_commit(out, &err) == PARE_ERR_USAGE);
    pare_output_close(out);
    CHECK(holds(path, "theirs"));
    assert_int_equal(count_entries(folder), 1);
}

static void refuses_places_that_cannot_be(void **state)
{
    (void)state;
    pare_output *out = NULL;
    CHECK(pare_output_open(&out, folder, 0, PARE_OUTPUT_FORCE, &err) == PARE_ERR_USAGE);
    CHECK(pare_output_open(&out, in_folder("none/a"), 0, 0, &err) == PARE_ERR_IO);
    CHECK(pare_output_open(&out, "/dev/null", 0, PARE_OUTPUT_FORCE, &err) == PARE_ERR_USAGE);
    CHECK(pare_output_open(&out, "/dev/full", 0, PARE_OUTPUT_FORCE, &err) == PARE_ERR_USAGE);
    CHECK(exists("/dev/null"));
    CHECK(mkfifo(in_folder("fifo"), 0600) == 0);
    CHECK(pare_output_open(&out, in_folder("fifo"), 0, PARE_OUTPUT_FORCE, &err) == PARE_ERR_USAGE);
    CHECK(out == NULL);
    assert_int_equal(count_entries(folder), 1);
}

/* The temporary name can be guessed: a link planted there must not lead the output to another file. */
static void does_not_follow_a_planted_link(void **state)
{
    (void)state;
    char planted[4400];
    pare_output *out = NULL;
    check_write_file(in_folder("victim"), "precious", 8);
    snprintf(planted, sizeof planted, "%s.pare.part.%ld", in_folder("a"), (long)getpid());
    CHECK(symlink(in_folder("victim"), planted) == 0);
    CHECK(pare_output_open(&out, in_folder("a"), 0, PARE_OUTPUT_FORCE, &err) == PARE_ERR_IO && out == NULL);
    CHECK(holds(in_folder("victim"), "precious"));
}

static void a_full_disk_is_told_at_the_start(void **state)
{
    (void)state;
    pare_output *out = NULL;
    CHECK(pare_output_open(&out, in_folder("a"), (uint64_t)1 << 62, 0, &err) == PARE_ERR_IO);
    CHECK(out == NULL && strstr(err.text, "disk full") != NULL);
    assert_int_equal(count_entries(folder), 0);
}

/* RLIMIT_FSIZE stands for a disk that fills up: write fails with EFBIG once SIGXFSZ is ignored. */
static void a_full_disk_leaves_nothing(void **state)
{
    (void)state;
    struct rlimit old, small;
    CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0);
    small = (struct rlimit){100000, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    const char *path = in_folder("a");
    CHECK_OK(pare_output_file(path, "old", 3, 0, &err), &err);

    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    pare_output *reserved = NULL, *out = NULL;
    pare_status st_reserved = pare_output_open(&reserved, path, 3000000, PARE_OUTPUT_FORCE, &err);
    pare_status st = pare_output_open(&out, path, 0, PARE_OUTPUT_FORCE, &err);
    if (st == PARE_OK)
        st = pare_output_zeros(out, 3000000, &err);
    if (st == PARE_OK)
        st = pare_output_commit(out, &err);
    pare_output_close(out);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, SIG_DFL);

    CHECK(st_reserved == PARE_ERR_IO && reserved == NULL);
    CHECK(st == PARE_ERR_IO && strstr(err.text, "offset") != NULL);
    CHECK(holds(path, "old"));
    assert_int_equal(count_entries(folder), 1);
}

static void a_folder_appears_at_commit(void **state)
{
    (void)state;
    pare_outdir d;
    CHECK_OK(pare_outdir_open(&d, in_folder("model//"), 0, &err), &err); /* trailing slashes are no part of the name */
    char file[8600];
    snprintf(file, sizeof file, "%s/a", d.tmp);
    CHECK_OK(pare_output_file(file, "x", 1, 0, &err), &err);
    CHECK(!exists(in_folder("model")));
    CHECK_OK(pare_outdir_commit(&d, &err), &err);
    pare_outdir_close(&d);
    CHECK(holds(in_folder("model/a"), "x"));

    CHECK_OK(pare_outdir_open(&d, in_folder("other"), 0, &err), &err);
    snprintf(file, sizeof file, "%s/a", d.tmp);
    CHECK_OK(pare_output_file(file, "x", 1, 0, &err), &err);
    pare_outdir_close(&d); /* abandoned */
    assert_int_equal(count_entries(folder), 1);
}

static void a_folder_is_replaced_whole(void **state)
{
    (void)state;
    pare_outdir d;
    CHECK(mkdir(in_folder("model"), 0700) == 0);
    check_write_file(in_folder("model/old"), "old", 3);
    CHECK(pare_outdir_open(&d, in_folder("model"), 0, &err) == PARE_ERR_USAGE);
    CHECK(d.tmp == NULL);
    CHECK_OK(pare_outdir_open(&d, in_folder("model"), PARE_OUTPUT_FORCE, &err), &err);
    char file[8600];
    snprintf(file, sizeof file, "%s/new", d.tmp);
    check_write_file(file, "new", 3);
    CHECK(holds(in_folder("model/old"), "old"));
    CHECK_OK(pare_outdir_commit(&d, &err), &err);
    pare_outdir_close(&d);
    CHECK(holds(in_folder("model/new"), "new") && !exists(in_folder("model/old")));
    assert_int_equal(count_entries(folder), 1);
}

static void another_name_is_given(void **state)
{
    (void)state;
    pare_output *out = NULL;
    check_write_file(in_folder("second"), "old", 3);
    CHECK_OK(pare_output_open(&out, in_folder("first"), 0, 0, &err), &err);
    CHECK_OK(pare_output_write(out, "new", 3, &err), &err);
    CHECK_OK(pare_output_redirect(out, in_folder("second"), PARE_OUTPUT_FORCE, &err), &err);
    CHECK_OK(pare_output_commit(out, &err), &err);
    pare_output_close(out);
    CHECK(holds(in_folder("second"), "new") && !exists(in_folder("first")));
    assert_int_equal(count_entries(folder), 1);
}

/* With force only a folder of regular files goes; anything else stays untouched, and that is told before the work. */
static void a_folder_with_folders_is_kept(void **state)
{
    (void)state;
    pare_outdir d;
    CHECK(mkdir(in_folder("home"), 0700) == 0 && mkdir(in_folder("home/docs"), 0700) == 0);
    check_write_file(in_folder("home/letter"), "dear", 4);
    CHECK(pare_outdir_open(&d, in_folder("home"), PARE_OUTPUT_FORCE, &err) == PARE_ERR_USAGE);
    CHECK(strstr(err.text, "docs") != NULL);

    CHECK(rmdir(in_folder("home/docs")) == 0); /* and when it changes while the work runs */
    CHECK_OK(pare_outdir_open(&d, in_folder("home"), PARE_OUTPUT_FORCE, &err), &err);
    CHECK(mkdir(in_folder("home/docs"), 0700) == 0);
    CHECK(pare_outdir_commit(&d, &err) == PARE_ERR_USAGE);
    pare_outdir_close(&d);
    CHECK(holds(in_folder("home/letter"), "dear") && exists(in_folder("home/docs")));
    assert_int_equal(count_entries(folder), 1);

    check_write_file(in_folder("file"), "x", 1);
    CHECK(pare_outdir_open(&d, in_folder("file"), PARE_OUTPUT_FORCE, &err) == PARE_ERR_USAGE);
    CHECK(pare_outdir_open(&d, in_folder("none/model"), 0, &err) == PARE_ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(appears_at_commit, fresh_folder),
        cmocka_unit_test_setup(syncs_before_and_after_the_name, fresh_folder),
        cmocka_unit_test_setup(bytes_go_to_their_places, fresh_folder),
        cmocka_unit_test_setup(vanishes_without_commit, fresh_folder),
        cmocka_unit_test_setup(finish_waits_for_publish, fresh_folder),
        cmocka_unit_test_setup(force_replaces, fresh_folder),
        cmocka_unit_test_setup(does_not_replace_a_file_that_appeared, fresh_folder),
        cmocka_unit_test_setup(another_name_is_given, fresh_folder),
        cmocka_unit_test_setup(refuses_places_that_cannot_be, fresh_folder),
        cmocka_unit_test_setup(does_not_follow_a_planted_link, fresh_folder),
        cmocka_unit_test_setup(a_full_disk_is_told_at_the_start, fresh_folder),
        cmocka_unit_test_setup(a_full_disk_leaves_nothing, fresh_folder),
        cmocka_unit_test_setup(a_folder_appears_at_commit, fresh_folder),
        cmocka_unit_test_setup(a_folder_is_replaced_whole, fresh_folder),
        cmocka_unit_test_setup(a_folder_with_folders_is_kept, fresh_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
