/* Bytes set aside in a file, without a name or with one. */
#include "check.h"

#include "core/spool.h"

#include <dirent.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

static const char *in_folder(const char *name)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s", temp_dir(), name);
    return path;
}

static size_t count_entries(void)
{
    size_t n = 0;
    DIR *dir = opendir(in_folder(""));
    CHECK(dir != NULL);
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n - 2; /* . and .. */
}

static void bytes_stay_until_it_is_closed(void **state)
{
    (void)state;
    enum { SIZE = 3000001 };
    pare_spool s;
    pare_error err = {0};
    char old[1024];
    CHECK_OK(pare_spool_open(&s, in_folder("model.gguf"), SIZE, &err), &err);
    CHECK(s.size == SIZE && count_entries() == 0);
    for (size_t i = 0; i < SIZE; i++)
        CHECK(s.data[i] == 0);
    memset(s.data, 7, SIZE);
    CHECK(s.data[0] == 7 && s.data[SIZE - 1] == 7 && count_entries() == 0);
    pare_spool_close(&s);
    CHECK(s.data == NULL && s.size == 0);
    pare_spool_close(&s);
    CHECK_OK(pare_spool_open(&s, in_folder("model.gguf"), 0, &err), &err);
    CHECK(s.data == NULL);
    CHECK(getcwd(old, sizeof old) != NULL && chdir(in_folder("")) == 0);
    CHECK_OK(pare_spool_open(&s, "model.gguf", 10, &err), &err); /* without a folder in its name */
    CHECK(count_entries() == 0 && chdir(old) == 0);
    pare_spool_close(&s);
}

static void refuses(const char *beside, uint64_t size, pare_status status, const char *part)
{
    pare_spool s;
    pare_error err = {0};
    CHECK(pare_spool_open(&s, beside, size, &err) == status);
    if (strstr(err.text, part) == NULL || strstr(err.text, beside) == NULL)
        fail_msg("%s", err.text);
    CHECK(s.data == NULL && s.size == 0 && count_entries() == 0);
}

static void what_does_not_fit_is_said_at_once(void **state)
{
    (void)state;
    struct rlimit old, small;
    refuses(in_folder("a"), (uint64_t)1 << 60, PARE_ERR_IO, "disk full");
    refuses(in_folder("a"), UINT64_MAX, PARE_ERR_MEMORY, "cannot be set aside");
    refuses(in_folder("absent/a"), 10, PARE_ERR_IO, "No such file or directory");
    CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0);
    small = (struct rlimit){100000, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    refuses(in_folder("a"), 3000000, PARE_ERR_IO, "File too large");
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, SIG_DFL);
}

static void a_named_one_stays(void **state)
{
    (void)state;
    pare_spool s, other;
    pare_error err = {0};
    bool reused = true;
    char path[1024];
    snprintf(path, sizeof path, "%s", in_folder("named"));
    CHECK_OK(pare_spool_open_named(&s, path, 5000, true, &reused, &err), &err);
    CHECK(!reused && s.size == 5000 && s.data[0] == 0 && s.data[4999] == 0 && count_entries() == 1);
    memset(s.data, 9, 5000);
    for (int reuse = 0; reuse < 2; reuse++) { /* nobody else's while it is open, and left as it is */
        CHECK(pare_spool_open_named(&other, path, 5000, reuse, &reused, &err) == PARE_ERR_IO);
        CHECK(strstr(err.text, "named: another process is at work with it") != NULL && other.data == NULL);
        CHECK(count_entries() == 1 && s.data[4999] == 9);
    }
    pare_spool_close(&s);
    CHECK_OK(pare_spool_open_named(&s, path, 70, true, &reused, &err), &err);
    CHECK(reused && s.size == 5000 && s.data[0] == 9 && s.data[4999] == 9);
    pare_spool_close(&s);
    CHECK_OK(pare_spool_open_named(&s, path, 70, false, &reused, &err), &err);
    CHECK(!reused && s.size == 70 && s.data[0] == 0 && s.data[69] == 0);
    pare_spool_close(&s);
    CHECK(truncate(path, 0) == 0); /* a run was killed between open and ftruncate: it holds nothing */
    CHECK_OK(pare_spool_open_named(&s, path, 70, true, &reused, &err), &err);
    CHECK(!reused && s.size == 70 && s.data[0] == 0 && s.data[69] == 0);
    pare_spool_close(&s);
    CHECK(unlink(path) == 0 && symlink("elsewhere", path) == 0);
    CHECK(pare_spool_open_named(&s, path, 70, false, &reused, &err) == PARE_ERR_IO && count_entries() == 1);
    CHECK(unlink(path) == 0 && mkfifo(path, 0600) == 0);
    CHECK(pare_spool_open_named(&s, path, 70, true, &reused, &err) == PARE_ERR_FORMAT);
    CHECK(strstr(err.text, "is no regular file") != NULL && unlink(path) == 0);
    CHECK(pare_spool_open_named(&s, path, (uint64_t)1 << 60, false, &reused, &err) == PARE_ERR_IO);
    CHECK(s.data == NULL && count_entries() == 0);
}

/* Also where the file system is memory: another program fills it, and a write through the mapping is a signal. */
static void room_in_memory_is_taken_at_once(void **state)
{
    (void)state;
    enum { SIZE = 1 << 20 };
    struct statfs fs;
    struct stat info;
    pare_spool s;
    pare_error err = {0};
    bool reused;
    char path[64];
    if (statfs("/dev/shm", &fs) != 0 || fs.f_type != TMPFS_MAGIC) {
        print_message("SKIP room_in_memory_is_taken_at_once: /dev/shm is no tmpfs\n");
        skip();
    }
    snprintf(path, sizeof path, "/dev/shm/pare-test-spool.%ld", (long)getpid());
    CHECK_OK(pare_spool_open_named(&s, path, SIZE, false, &reused, &err), &err);
    CHECK(stat(path, &info) == 0 && unlink(path) == 0 && info.st_size == SIZE && info.st_blocks * 512 >= SIZE);
    pare_spool_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_stay_until_it_is_closed),
        cmocka_unit_test(a_named_one_stays),
        cmocka_unit_test(room_in_memory_is_taken_at_once),
        cmocka_unit_test(what_does_not_fit_is_said_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
