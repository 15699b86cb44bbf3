#include "folder.h"
#include "formats/safe_path.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_FILES = 4 };

static char dir[] = "/tmp/pare-fuzz-XXXXXX";
static const char *names[MAX_FILES];

static void remove_folder(void)
{
    for (size_t i = 0; i < MAX_FILES && names[i] != NULL; i++) {
        char *path = pare_path_join(dir, names[i], NULL);
        if (path != NULL)
            unlink(path);
        free(path);
    }
    rmdir(dir);
}

const char *fuzz_folder(void)
{
    static bool ready;
    if (!ready && mkdtemp(dir) == NULL)
        abort();
    if (!ready)
        atexit(remove_folder);
    ready = true;
    return dir;
}

void fuzz_put(const char *name, const void *bytes, size_t n)
{
    size_t i = 0;
    while (i < MAX_FILES && names[i] != NULL && strcmp(names[i], name) != 0)
        i++;
    char *path = i < MAX_FILES ? pare_path_join(fuzz_folder(), name, NULL) : NULL;
    FILE *f = path != NULL ? fopen(path, "wb") : NULL;
    if (f == NULL || fwrite(bytes, 1, n, f) != n || fclose(f) != 0)
        abort();
    names[i] = name;
    free(path);
}
