/* Throughput of the encoders, in million weights a second of one thread:
 *
 *     bench_encoders [TYPE ...]        all block types when none is named
 *
 * One line a type, effort and kind of weights, one column a path that this machine can run. Processor time, so that a
 * busy machine disturbs little; the best of several runs. */
#include "quant/rows.h"

#include "quant/path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROW_LEN = 4096, N_ROWS = 8, N_RUNS = 5 };

static const char *const effort_names[] = {"default", "best", "fast", "rtn"};

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* A run takes 20 ms or longer. */
static double million_a_second(pare_encode_fn encode, const float *x, const float *weight, pare_effort effort,
                               uint8_t *dst)
{
    double best = 0;
    for (int run = 0; run < N_RUNS; run++) {
        size_t n = 0;
        double start = seconds(), time = 0;
        for (size_t row = 0; time < 0.02; row = (row + 1) % N_ROWS) {
            encode(x + row * ROW_LEN, ROW_LEN, weight, effort, dst);
            n += ROW_LEN;
            time = seconds() - start;
        }
        double speed = (double)n / time * 1e-6;
        best = speed > best ? speed : best;
    }
    return best;
}

static void bench(pare_type type, const float *x, const float *weight)
{
    uint8_t *dst = check_malloc(ROW_LEN * sizeof(float));
    for (int k = 0; k < 8; k++) {
        pare_effort effort = (pare_effort)(k / 2);
        printf("%s\t%s\t%s", pare_type_get(type)->name, k % 2 == 1 ? "yes" : "no", effort_names[effort]);
        for (int p = 0; p < PARE_PATH_COUNT; p++) {
            if (!pare_path_available((pare_path)p))
                continue;
            pare_path_use((pare_path)p);
            printf("\t%.1f", million_a_second(pare_encoder(type), x, k % 2 == 1 ? weight : NULL, effort, dst));
        }
        putchar('\n');
        fflush(stdout);
    }
    free(dst);
}

int main(int argc, char **argv)
{
    static float x[N_ROWS * ROW_LEN], weight[ROW_LEN];
    fill_row(x, N_ROWS * ROW_LEN, 1);
    fill_importances(weight, ROW_LEN);
    for (size_t i = 0; i < ROW_LEN; i++)
        weight[i] += 1.0f / 64; /* encoders are given weights above 0 */
    printf("type\tweighted\teffort");
    for (int p = 0; p < PARE_PATH_COUNT; p++)
        if (pare_path_available((pare_path)p))
            printf("\t%s", pare_path_name((pare_path)p));
    putchar('\n');
    for (int t = 0; t < PARE_TYPE_COUNT; t++) {
        bool named = argc == 1 && pare_type_get((pare_type)t)->block_len > 1;
        for (int i = 1; i < argc; i++)
            named |= pare_type_from_name(argv[i]) == (pare_type)t;
        if (named && pare_encoder((pare_type)t) != NULL)
            bench((pare_type)t, x, weight);
    }
    return 0;
}
