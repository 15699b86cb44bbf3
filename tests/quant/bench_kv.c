/* What keeping a cache costs, one thread, the path in use (or the one named):
 *
 *     bench_kv [portable|avx2|avx512 [codecs]]
 *
 * First the rotation beside memcpy of the same bytes, in turn, over buffers that fit a cache and one that does not: the
 * median of N_RUNS, in GB of vectors a second (what is read; as much is written). Then encoders and decoders, in
 * million values a second. */
#include "check.h"
#include "quant/hadamard.h"
#include "quant/kv_codec.h"
#include "quant/path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N_RUNS = 9 };

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v)
{
    qsort(v, N_RUNS, sizeof *v, compare);
    return v[N_RUNS / 2];
}

/* Keeps the compiler from dropping or joining copies. */
static void *(*volatile copy)(void *, const void *, size_t) = memcpy;

static void bench_rotation(const pare_rotation *r, size_t n_bytes, float *x, float *y)
{
    size_t n = n_bytes / (r->dim * sizeof *x), bytes = n * r->dim * sizeof *x;
    size_t repeats = ((size_t)1 << 28) / bytes;
    double turn[N_RUNS], move[N_RUNS];
    for (int run = 0; run < N_RUNS; run++) {
        double start = seconds();
        for (size_t k = 0; k < repeats; k++)
            pare_rotate(r, x, n); /* orthogonal: sizes stay */
        turn[run] = (double)(bytes * repeats) / (seconds() - start) * 1e-9;
        start = seconds();
        for (size_t k = 0; k < repeats; k++)
            copy(y, x, bytes);
        move[run] = (double)(bytes * repeats) / (seconds() - start) * 1e-9;
    }
    double t = median(turn), m = median(move);
    printf("%u\t%u\t%s\t%zu KiB\t%.1f\t%.1f\t%.2f\n", r->dim, r->largest, r->seed != 0 ? "yes" : "no", n_bytes >> 10, t,
           m, t / m);
}

static void bench_rotations(void)
{
    static const pare_rotation rows[] = {{128, 128, 0}, {128, 128, 1}, {128, 64, 1}, {64, 64, 1},
                                         {80, 128, 1},  {192, 128, 1}, {256, 256, 1}};
    static const size_t sizes[] = {(size_t)1 << 14, (size_t)1 << 18, (size_t)1 << 23, (size_t)1 << 28};
    float *x = check_malloc((size_t)1 << 28), *y = check_malloc((size_t)1 << 28);
    for (size_t i = 0; i < (size_t)1 << 26; i++)
        x[i] = (float)(i % 101) - 50;
    memset(y, 1, (size_t)1 << 28);
    puts("dim\tblock\tsigns\tbuffer\tGB/s\tmemcpy\tratio");
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            bench_rotation(&rows[k], sizes[s], x, y);
    free(x);
    free(y);
}

/* Encoder and decoder of a codec, over N_VALUES values of heads of 128: they fit the second cache, as the keys of a
 * micro-batch's layer do. */
static void bench_codec(const pare_kv_codec *c, const float *x, float *y)
{
    enum { DIM = 128, TOKENS = 512, N_VALUES = TOKENS * DIM };
    double encode[N_RUNS], decode[N_RUNS];
    pare_error err = {0};
    uint8_t *bytes = check_malloc(TOKENS / c->group * pare_kv_unit_bytes(c, DIM));
    for (int run = 0; run < N_RUNS; run++) {
        double start = seconds(), time = 0;
        size_t n = 0;
        for (; time < 0.02; time = seconds() - start, n += N_VALUES)
            CHECK_OK(pare_kv_encode(c, x, TOKENS / c->group, 1, DIM, bytes, &err), &err);
        encode[run] = (double)n / time * 1e-6;
        start = seconds();
        time = 0;
        n = 0;
        for (; time < 0.02; time = seconds() - start, n += N_VALUES)
            pare_kv_decode(c, bytes, TOKENS / c->group, 1, DIM, y);
        decode[run] = (double)n / time * 1e-6;
    }
    printf("%s\t%s\t%.3f\t%.0f\t%.0f\n", c->name,
           c->sides == PARE_KV_KEYS     ? "keys"
           : c->sides == PARE_KV_VALUES ? "values"
                                        : "both",
           pare_kv_bits(c, DIM), median(encode), median(decode));
    free(bytes);
}

static void bench_codecs(void)
{
    static float x[512 * 128], y[512 * 128];
    for (size_t i = 0; i < 512 * 128; i++)
        x[i] = (float)((double)(int64_t)pare_random_bits(1, i) * 0x1p-63 +
                       (double)(int64_t)pare_random_bits(2, i) * 0x1p-63);
    puts("codec\tside\tbits\tencode M/s\tdecode M/s");
    for (size_t i = 0; pare_kv_codec_at(i) != NULL; i++)
        bench_codec(pare_kv_codec_at(i), x, y);
}

int main(int argc, char **argv)
{
    for (int p = 0; argc > 1 && p < PARE_PATH_COUNT; p++)
        if (strcmp(argv[1], pare_path_name((pare_path)p)) == 0 && pare_path_available((pare_path)p))
            pare_path_use((pare_path)p);
    printf("path: %s\n", pare_path_name(pare_path_current()));
    if (argc < 3 || strcmp(argv[2], "codecs") != 0)
        bench_rotations();
    bench_codecs();
    return 0;
}
