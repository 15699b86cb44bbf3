/* Every model of tests/families on the emulated device, in float32, beside the CPU: each description is wired of
 * operations that both have. */
#include "cli.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEN = 8 }; /* tokens: the emulator takes its time */

static float *logits(const char *folder, const char *device, size_t *n)
{
    char path[1024];
    cli_expect(0, "$PARE logits %s --tokens ids.i32 --length %d --device %s --compute f32 -o out.f32 --force -q",
               folder, LEN, device);
    snprintf(path, sizeof path, "%s/out.f32", cli_folder());
    return (float *)(void *)check_read_file(path, n);
}

static void check_family(const char *name)
{
    char folder[512], path[1024];
    size_t n = 0, n_cpu = 0;
    double largest = 0, size = 0;
    snprintf(path, sizeof path, "tests/families/%s", name);
    snprintf(folder, sizeof folder, "%s", source_path(path));
    snprintf(path, sizeof path, "%s/tokens.i32", folder);
    uint8_t *ids = check_read_file(path, &n);
    CHECK(n >= LEN * sizeof(int32_t));
    snprintf(path, sizeof path, "%s/ids.i32", cli_folder());
    check_write_file(path, ids, LEN * sizeof(int32_t));
    free(ids);
    float *device = logits(folder, "cuda", &n), *cpu = logits(folder, "cpu", &n_cpu);
    CHECK(n == n_cpu && n > 0);
    for (size_t i = 0; i < n / sizeof *cpu; i++) {
        CHECK(isfinite(device[i]));
        largest = fmax(largest, fabs((double)device[i] - (double)cpu[i]));
        size = fmax(size, fabs((double)cpu[i]));
    }
    printf("%s: device and CPU differ by %.2g of %.2g\n", name, largest, size);
    CHECK(largest <= 5e-5 * fmax(1, size));
    free(device);
    free(cpu);
}

static void every_family_runs_on_a_device(void **state)
{
    size_t n = 0;
    const struct dirent *entry;
    (void)state;
    cli_folder(); /* made first: it takes what the user has set out of the environment */
    setenv("PARE_CUDA_PLUGIN", PARE_BINARY_DIR "/pare-cuda-emulated.so", 1);
    DIR *dir = opendir(source_path("tests/families"));
    CHECK(dir != NULL);
    for (; (entry = readdir(dir)) != NULL;)
        if (strchr(entry->d_name, '.') == NULL && strcmp(entry->d_name, "__pycache__") != 0) {
            check_family(entry->d_name);
            n++;
        }
    closedir(dir);
    CHECK(n > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_family_runs_on_a_device)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
