/* Files that appear together: all or none, whatever happens between the first name and the last. */
#include "check.h"
#include "core/output_set.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int __real_link(const char *from, const char *to);
int __wrap_link(const char *from, const char *to);

static const char *const names[] = {"model.gguf", "pare.lock", "SHA256SUMS"};
enum { N_FILES = sizeof names / sizeof names[0] };

static struct {
    bool abandons; /* a signal's handler wants to end the program at every link */
    bool refused;  /* it was told that it cannot */
    int n_links;
    char order[N_FILES][32];
} seen;

int __wrap_link(const char *from, const char *to)
{
    if (seen.abandons)
        seen.refused = !pare_output_abandon();
    if (seen.n_links < N_FILES)
        snprintf(seen.order[seen.n_links++], sizeof seen.order[0], "%s", strrchr(to, '/') + 1);
    return __real_link(from, to);
}

static const char *path_of(const char *folder, const char *name)
{
    static char path[4][600];
    static unsigned turn;
    char *out = path[turn++ % 4];
    snprintf(out, sizeof path[0], "%s/%s", folder, name);
    return out;
}

static bool exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

/* A folder of its own for each test. */
static const char *fresh_folder(const char *name)
{
    static char folder[256];
    snprintf(folder, sizeof folder, "%s/%s", temp_dir(), name);
    CHECK(mkdir(folder, 0777) == 0);
    return folder;
}

static void fill(pare_output_set *set, const char *folder, unsigned flags)
{
    pare_error err = {0};
    memset(&seen, 0, sizeof seen);
    for (size_t i = 0; i < N_FILES; i++)
        CHECK_OK(pare_output_set_add_file(set, path_of(folder, names[i]), names[i], strlen(names[i]), flags, &err),
                 &err);
    for (size_t i = 0; i < N_FILES; i++)
        CHECK(!exists(path_of(folder, names[i])));
}

static size_t count_entries(const char *folder)
{
    size_t n = 0;
    char command[600];
    snprintf(command, sizeof command, "ls -A '%s' | wc -l", folder);
    FILE *f = popen(command, "r");
    CHECK(f != NULL && fscanf(f, "%zu", &n) == 1);
    pclose(f);
    return n;
}

static void all_appear_the_first_one_last(void **state)
{
    (void)state;
    const char *folder = fresh_folder("all");
    pare_output_set set = {0};
    pare_error err = {0};
    fill(&set, folder, 0);
    CHECK_OK(pare_output_set_publish(&set, &err), &err);
    pare_output_set_close(&set);
    CHECK(count_entries(folder) == N_FILES && seen.n_links == N_FILES);
    for (size_t i = 0; i < N_FILES; i++)
        CHECK(strcmp(seen.order[i], names[N_FILES - 1 - i]) == 0);
    size_t n = 0;
    uint8_t *bytes = check_read_file(path_of(folder, names[1]), &n);
    CHECK(n == strlen(names[1]) && memcmp(bytes, names[1], n) == 0);
    free(bytes);
}

static void a_set_that_is_not_published_leaves_nothing(void **state)
{
    (void)state;
    const char *folder = fresh_folder("none");
    pare_output_set set = {0};
    fill(&set, folder, 0);
    CHECK(count_entries(folder) == N_FILES);
    pare_output_set_close(&set);
    CHECK(count_entries(folder) == 0);
}

static void what_appeared_is_taken_back(void **state)
{
    (void)state;
    const char *folder = fresh_folder("back");
    pare_output_set set = {0};
    pare_error err = {0};
    fill(&set, folder, 0);
    check_write_file(path_of(folder, names[0]), "mine", 4); /* someone else's, since the start */
    CHECK(pare_output_set_publish(&set, &err) == PARE_ERR_USAGE && strstr(err.text, names[0]) != NULL);
    pare_output_set_close(&set);
    CHECK(count_entries(folder) == 1 && exists(path_of(folder, names[0])));
}

static void no_handler_ends_the_program_between_two_names(void **state)
{
    (void)state;
    const char *folder = fresh_folder("between");
    pare_output_set set = {0};
    pare_error err = {0};
    fill(&set, folder, 0);
    seen.abandons = true;
    CHECK_OK(pare_output_set_publish(&set, &err), &err);
    CHECK(seen.refused);
    pare_output_set_close(&set);
    CHECK(count_entries(folder) == N_FILES);
}

/* Before the first name the handler wins: it removes all, and nothing appears any more. The state is final, hence a
 * process of its own. */
static void an_abandoned_set_never_appears(void **state)
{
    (void)state;
    const char *folder = fresh_folder("abandoned");
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        pare_output_set set = {0};
        pare_error err = {0};
        fill(&set, folder, 0);
        bool gone = pare_output_abandon() && count_entries(folder) == 0 && pare_output_abandon();
        _exit(gone && pare_output_set_publish(&set, &err) == PARE_ERR_INTERRUPTED && count_entries(folder) == 0 ? 0
                                                                                                                : 1);
    }
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* In place, of the same size, with the time of modification set back; and another file under the name. */
static void a_source_that_changed_is_told(void **state)
{
    (void)state;
    const char *folder = fresh_folder("source");
    char source[600], other[600];
    snprintf(source, sizeof source, "%s/source", folder);
    snprintf(other, sizeof other, "%s/other", folder);
    for (int how = 0; how < 3; how++) {
        struct stat info;
        pare_output_set set = {0};
        pare_error err = {0};
        check_write_file(source, "source", 6);
        check_write_file(other, "source", 6);
        CHECK(stat(source, &info) == 0);
        const pare_identity id = pare_identity_of(&info);
        fill(&set, folder, 0);
        CHECK_OK(pare_output_set_source(&set, source, &id, &err), &err);
        for (bool waits = how == 1; waits; waits = info.st_ctim.tv_nsec == id.changed % 1000000000) { /* a tick */
            FILE *f = fopen(source, "r+");
            CHECK(f != NULL && fputs("SOURCE", f) >= 0 && fclose(f) == 0);
            const struct timespec times[2] = {info.st_atim, info.st_mtim};
            CHECK(utimensat(AT_FDCWD, source, times, 0) == 0 && stat(source, &info) == 0);
        }
        if (how == 2)
            CHECK(rename(other, source) == 0);
        pare_status st = pare_output_set_publish(&set, &err);
        CHECK(how == 0 ? st == PARE_OK : st == PARE_ERR_IO && strstr(err.text, source) != NULL);
        pare_output_set_close(&set);
        for (size_t i = 0; i < N_FILES; i++)
            CHECK((unlink(path_of(folder, names[i])) == 0) == (how == 0));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_appear_the_first_one_last),
        cmocka_unit_test(a_set_that_is_not_published_leaves_nothing),
        cmocka_unit_test(what_appeared_is_taken_back),
        cmocka_unit_test(no_handler_ends_the_program_between_two_names),
        cmocka_unit_test(a_source_that_changed_is_told),
        cmocka_unit_test(an_abandoned_set_never_appears),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
