#include "check.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void check_failed(const char *file, int line, const char *text)
{
    fail_msg("%s:%d: %s", file, line, text);
}

/* Under AddressSanitizer an allocation that cannot be must fail as it does in production, not end the program. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static const char *shared_root(void)
{
    const char *root = getenv("PARE_SHARED");
    return root != NULL && *root != '\0' ? root : PARE_SOURCE_DIR "/../shared";
}

bool have_shared(void)
{
    struct stat info;
    return stat(shared_root(), &info) == 0;
}

const char *shared_path(const char *relative)
{
    static char paths[4][4096];
    static int next;
    char *path = paths[next++ % 4];
    struct stat info;
    snprintf(path, sizeof paths[0], "%s/%s", shared_root(), relative);
    if (stat(path, &info) == 0)
        return path;
    const char *required = getenv("PARE_REQUIRE_SHARED");
    if (required != NULL && strcmp(required, "1") == 0)
        fail_msg("%s is absent, and PARE_REQUIRE_SHARED=1 demands it", path);
    printf("SKIP reference data: %s is absent\n", path);
    fflush(stdout);
    skip();
    return NULL;
}

const char *source_path(const char *relative)
{
    static char paths[4][4096];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", PARE_SOURCE_DIR, relative);
    return path;
}

void *check_malloc(size_t n)
{
    void *p = malloc(n > 0 ? n : 1);
    if (p == NULL)
        fail_msg("no memory for %zu bytes", n);
    return p;
}

uint8_t *check_read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        fail_msg("cannot open %s", path);
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    uint8_t *data = check_malloc((size_t)size);
    if (size > 0 && fread(data, 1, (size_t)size, f) != (size_t)size)
        fail_msg("cannot read %s", path);
    fclose(f);
    *n = (size_t)size;
    return data;
}

void check_write_file(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (f == NULL)
        fail_msg("cannot create %s", path);
    if (n > 0 && fwrite(data, 1, n, f) != n)
        fail_msg("cannot write %s", path);
    if (fclose(f) != 0)
        fail_msg("cannot close %s", path);
}

static char dir_path[4096];

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

static void remove_dir(void)
{
    nftw(dir_path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *temp_dir(void)
{
    if (dir_path[0] == '\0') {
        const char *base = getenv("TMPDIR");
        snprintf(dir_path, sizeof dir_path, "%s/pare-test-XXXXXX", base != NULL ? base : "/tmp");
        if (mkdtemp(dir_path) == NULL)
            fail_msg("cannot create %s", dir_path);
        atexit(remove_dir);
    }
    return dir_path;
}
