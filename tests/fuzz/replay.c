/* Runs a fuzz target on every file of the folders and on the files given, once each. Where there is no libFuzzer it is
 * what keeps the seeds alive; a build with sanitizers makes it strict. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The bytes in memory of exactly their size, so that a sanitizer sees a read past the end. */
static int run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    struct stat info;
    if (f == NULL || fstat(fileno(f), &info) != 0) {
        fprintf(stderr, "%s: cannot open\n", path);
        return 1;
    }
    size_t n = (size_t)info.st_size;
    uint8_t *data = malloc(n > 0 ? n : 1);
    int failed = data == NULL || fread(data, 1, n, f) != n;
    fclose(f);
    if (failed)
        fprintf(stderr, "%s: cannot read\n", path);
    else
        LLVMFuzzerTestOneInput(data, n);
    free(data);
    return failed;
}

static int run_folder(const char *path, DIR *dir, size_t *n_files)
{
    int failed = 0;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        char file[4096];
        if (e->d_name[0] == '.')
            continue;
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        failed |= run_file(file);
        ++*n_files;
    }
    return failed;
}

int main(int argc, char **argv)
{
    size_t n_files = 0;
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        if (dir != NULL) {
            failed |= run_folder(argv[i], dir, &n_files);
            closedir(dir);
        } else {
            failed |= run_file(argv[i]);
            n_files++;
        }
    }
    printf("%zu inputs\n", n_files);
    return failed || n_files == 0;
}
