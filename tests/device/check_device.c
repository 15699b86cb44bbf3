/* check_device.c - every operation of a device beside the CPU's: pare-check-device
 *
 *   pare-check-device [--small] [--f32] [--no-blas] [--device N] [--only TEXT]    the table of operations
 *   pare-check-device --compare A B             the largest difference of two files of floats
 *   pare-check-device --divergence A B N        mean KL(A || B) of two files of logits of N tokens
 *   pare-check-device --ids N FILE <JSON        the first N numbers as int32
 *   pare-check-device --speed [...]                                           what the device does in a second
 *
 * Exit codes: 0; 1: an operation is outside of its tolerance; 2: usage; 6: there is no device. */
#include "device_check.h"

#include "gpu/plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct arguments {
    pare_gpu_options device;
    bool small, speed;
    const char *only;
} arguments;

static bool parse(int argc, char **argv, arguments *a)
{
    *a = (arguments){0};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--small") == 0)
            a->small = true;
        else if (strcmp(argv[i], "--f32") == 0)
            a->device.f32 = true;
        else if (strcmp(argv[i], "--no-blas") == 0)
            a->device.no_blas = true;
        else if (strcmp(argv[i], "--speed") == 0)
            a->speed = true;
        else if (value == NULL)
            return false;
        else if (strcmp(argv[i++], "--device") == 0)
            a->device.device = atoi(value);
        else if (strcmp(argv[i - 1], "--only") == 0)
            a->only = value;
        else
            return false;
    }
    return true;
}

static pare_status open_both(const arguments *a, check *c, pare_error *err)
{
    const pare_gpu_plugin *plugin = NULL;
    pare_gpu_device devices[16];
    int n = 0;
    pare_status st = pare_gpu_load(&plugin, err);
    if (st != PARE_OK || (st = plugin->list(devices, 16, &n, err)) != PARE_OK ||
        (st = plugin->open(&c->gpu, &a->device, err)) != PARE_OK)
        return st;
    const pare_gpu_device *d = &devices[a->device.device < n ? a->device.device : 0];
    printf("device: %s, compute capability %d.%d, %d multiprocessors, %.1f GiB; %s; products %s by %s\n", d->name,
           d->major, d->minor, d->n_multiprocessors, (double)d->bytes / (1 << 30), plugin->toolkit, c->gpu->compute,
           plugin->products(c->gpu));
    return pare_backend_cpu(&c->cpu, err);
}

static int check_all(check *c)
{
    printf("%-34s %9s  %7s\n", "operation", "error", "limit");
    check_operations(c);
    check_kv(c);
    check_attention(c);
    check_products(c);
    check_score(c);
    printf("operations: %d of %d as on the CPU\n", c->n_rows - c->n_failed, c->n_rows);
    return c->n_rows == 0 || c->n_failed > 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
    arguments a;
    check c = {0};
    pare_error err = {0};
    int code = 6;
    if (argc == 4 && strcmp(argv[1], "--compare") == 0)
        return compare_files(argv[2], argv[3]);
    if (argc == 5 && strcmp(argv[1], "--divergence") == 0)
        return compare_distributions(argv[2], argv[3], strtoul(argv[4], NULL, 10));
    if (argc == 4 && strcmp(argv[1], "--ids") == 0)
        return write_ids(strtoul(argv[2], NULL, 10), argv[3]);
    if (!parse(argc, argv, &a)) {
        fprintf(stderr, "usage: pare-check-device [--small] [--f32] [--no-blas] [--device N] [--only TEXT] "
                        "[--speed]\n");
        return 2;
    }
    if (open_both(&a, &c, &err) != PARE_OK) {
        fprintf(stderr, "pare-check-device: %s\n", err.text);
    } else {
        c.small = a.small;
        c.only = a.only;
        c.rounds = strcmp(c.gpu->compute, "bf16") == 0;
        code = a.speed ? device_speed(&c) : check_all(&c);
    }
    check_free(&c);
    if (c.gpu != NULL)
        c.gpu->close(c.gpu);
    if (c.cpu != NULL)
        c.cpu->close(c.cpu);
    return code;
}
