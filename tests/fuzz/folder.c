#include "folder.h"
#include "formats/safe_path.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];
static const char *names[FUZZ_MAX_FILES];

static char *join(const char *name)
{
    char *path = pare_path_join(dir, name, NULL);
    if (path == NULL)
        abort();
    return path;
}

static void remove_folder(void)
{
    for (size_t i = 0; i < FUZZ_MAX_FILES && names[i] != NULL; i++) {
        char *path = join(names[i]);
        unlink(path);
        for (char *slash; (slash = strrchr(path, '/')) - path > (ptrdiff_t)strlen(dir);) {
            *slash = '\0';
            rmdir(path); /* the last file of it goes last */
        }
        free(path);
    }
    rmdir(dir);
}

const char *fuzz_folder(void)
{
    static bool ready;
    if (ready)
        return dir;
    strcpy(dir, "/dev/shm/pare-fuzz-XXXXXX"); /* in memory, where there is such a place: ten times as many runs */
    if (mkdtemp(dir) == NULL) {
        strcpy(dir, "/tmp/pare-fuzz-XXXXXX");
        if (mkdtemp(dir) == NULL)
            abort();
    }
    atexit(remove_folder);
    ready = true;
    return dir;
}

static void note_name(const char *name)
{
    size_t i = 0;
    while (i < FUZZ_MAX_FILES && names[i] != NULL && strcmp(names[i], name) != 0)
        i++;
    if (i == FUZZ_MAX_FILES)
        abort();
    names[i] = name;
}

void fuzz_put(const char *name, const void *bytes, size_t n)
{
    fuzz_folder();
    note_name(name);
    char *path = join(name), *slash;
    for (slash = path + strlen(dir) + 1; (slash = strchr(slash, '/')) != NULL; *slash++ = '/') {
        *slash = '\0';
        mkdir(path, 0700); /* or it is there */
    }
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(bytes, 1, n, f) != n || fclose(f) != 0)
        abort();
    free(path);
}

void fuzz_put_sections(const char *const *list, size_t n_names, const void *bytes, size_t n)
{
    const uint8_t *at = bytes, *end = at + n;
    for (size_t i = 0; i < n_names; i++) {
        const uint8_t *zero = at < end ? memchr(at, 0, (size_t)(end - at)) : NULL, *stop = zero != NULL ? zero : end;
        if (at < stop) {
            fuzz_put(list[i], at, (size_t)(stop - at));
        } else {
            fuzz_folder();
            char *path = join(list[i]);
            unlink(path);
            free(path);
        }
        at = zero != NULL ? zero + 1 : end;
    }
}
