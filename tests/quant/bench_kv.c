/* What keeping a cache costs, one thread, the path in use (or the one named):
 *
 *     bench_kv [portable|avx2|avx512 [codecs]]
 *
 * First the rotation beside memcpy of the same bytes, in turn, over buffers that fit a cache and one that does not: the
 * median of N_RUNS, in GB of vectors a second (what is read; as much is written). Then encoders and decoders of heads
 * of 64 and of 128 elements, in million values a second. */
#include "check.h"
#include "quant/hadamard.h"
#include "quant/kv_basis.h"
#include "quant/path.h"

#include <math.h>
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

enum { HEADS = 4, VALUES = 512 * 128 };

/* Bases of HEADS heads for a codec that needs some, of coordinates whose variances fall by a factor of 1,000 from the
 * first to the last, not turned; owned by the caller. NULL: it needs none. */
static float *bases_of(const pare_kv_codec *c, uint32_t dim)
{
    const size_t floats = pare_kv_basis_floats(dim), n_square = (size_t)dim * dim;
    pare_error err = {0};
    if (pare_kv_is_ready(c))
        return NULL;
    float *out = check_malloc(HEADS * floats * sizeof *out);
    double *sums = calloc(dim + 2 * n_square, sizeof *sums);
    CHECK(sums != NULL);
    const pare_kv_moments of = {sums, sums + dim, sums + dim + n_square, 1000, dim};
    for (uint32_t i = 0; i < dim; i++)
        of.square[i * (size_t)dim + i] = 1000 * pow(1000, -(double)i / dim);
    for (size_t h = 0; h < HEADS; h++)
        CHECK_OK(pare_kv_basis_make(&of, c, out + h * floats, &err), &err);
    free(sums);
    return out;
}

/* Encoder and decoder of a codec, over VALUES values of heads of dim elements: they fit the second cache, as the keys
 * of a micro-batch's layer do. */
static void bench_codec(const pare_kv_codec *of, uint32_t dim, const float *x, float *y)
{
    double encode[N_RUNS], decode[N_RUNS];
    pare_error err = {0};
    pare_kv_codec c = *of;
    float *bases = bases_of(of, dim);
    const size_t rows = (size_t)VALUES / dim / HEADS / c.group;
    uint8_t *bytes = check_malloc(rows * HEADS * pare_kv_unit_bytes(&c, dim));
    c.basis = bases;
    for (int run = 0; run < N_RUNS; run++) {
        double start = seconds(), time = 0;
        size_t n = 0;
        for (; time < 0.02; time = seconds() - start, n += VALUES)
            CHECK_OK(pare_kv_encode(&c, x, rows, HEADS, dim, bytes, &err), &err);
        encode[run] = (double)n / time * 1e-6;
        start = seconds();
        time = 0;
        n = 0;
        for (; time < 0.02; time = seconds() - start, n += VALUES)
            pare_kv_decode(&c, bytes, rows, HEADS, dim, y);
        decode[run] = (double)n / time * 1e-6;
    }
    printf("%s\t%s\t%u\t%.3f\t%.0f\t%.0f\n", c.name,
           c.sides == PARE_KV_KEYS     ? "keys"
           : c.sides == PARE_KV_VALUES ? "values"
                                       : "both",
           (unsigned)dim, pare_kv_bits(&c, dim), median(encode), median(decode));
    free(bytes);
    free(bases);
}

static void bench_codecs(void)
{
    static const uint32_t dims[] = {64, 128};
    static float x[VALUES], y[VALUES];
    for (size_t i = 0; i < VALUES; i++)
        x[i] = (float)((double)(int64_t)pare_random_bits(1, i) * 0x1p-63 +
                       (double)(int64_t)pare_random_bits(2, i) * 0x1p-63);
    puts("codec\tside\thead\tbits\tencode M/s\tdecode M/s");
    for (size_t k = 0; k < sizeof dims / sizeof *dims; k++)
        for (size_t i = 0; pare_kv_codec_at(i) != NULL; i++)
            bench_codec(pare_kv_codec_at(i), dims[k], x, y);
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
