/* What scripts/gpu_check.sh asks of files, on machines without other tools for it. */
#include "device_check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct pair {
    FILE *a, *b;
} pair;

static bool open_pair(pair *p, const char *a, const char *b)
{
    *p = (pair){fopen(a, "rb"), fopen(b, "rb")};
    return p->a != NULL && p->b != NULL;
}

static void close_pair(pair *p)
{
    if (p->a != NULL)
        fclose(p->a);
    if (p->b != NULL)
        fclose(p->b);
}

/* The next n floats of both; false at the end. *fine: neither ends before the other. */
static bool read_both(const pair *p, float *x, float *y, size_t n, bool *fine)
{
    size_t got_x = fread(x, sizeof *x, n, p->a), got_y = fread(y, sizeof *y, n, p->b);
    *fine = got_x == got_y && (got_x == 0 || got_x == n);
    return *fine && got_x == n;
}

static int unlike(const char *a, const char *b)
{
    fprintf(stderr, "pare-check-device: %s, %s: absent, or of different lengths\n", a, b);
    return 3;
}

int compare_files(const char *a, const char *b)
{
    pair p;
    float x, y;
    double worst = 0;
    bool fine = open_pair(&p, a, b);
    while (fine && read_both(&p, &x, &y, 1, &fine)) {
        double d = fabs((double)x - (double)y);
        worst = isnan(d) ? INFINITY : d > worst ? d : worst;
    }
    close_pair(&p);
    if (!fine)
        return unlike(a, b);
    printf("%.3e\n", worst);
    return 0;
}

static double log_sum(const float *x, size_t n)
{
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        max = fmax(max, (double)x[i]);
    for (size_t i = 0; i < n; i++)
        sum += exp((double)x[i] - max);
    return max + log(sum);
}

int compare_distributions(const char *a, const char *b, size_t n_vocab)
{
    pair p;
    double total = 0;
    size_t n = 0;
    float *x = malloc((n_vocab + 1) * sizeof *x), *y = malloc((n_vocab + 1) * sizeof *y);
    bool fine = open_pair(&p, a, b) && x != NULL && y != NULL && n_vocab > 0;
    while (fine && read_both(&p, x, y, n_vocab, &fine)) {
        double sum_x = log_sum(x, n_vocab), sum_y = log_sum(y, n_vocab);
        for (size_t i = 0; i < n_vocab; i++) {
            double log_p = (double)x[i] - sum_x;
            total += exp(log_p) * (log_p - ((double)y[i] - sum_y));
        }
        n++;
    }
    close_pair(&p);
    free(x);
    free(y);
    if (!fine || n == 0)
        return unlike(a, b);
    printf("%.3e\n", total / (double)n);
    return 0;
}

int write_ids(size_t most, const char *path)
{
    FILE *f = fopen(path, "wb");
    int32_t id;
    size_t n = 0;
    while (f != NULL && n < most && scanf("%*[^0-9]") >= 0 && scanf("%d", &id) == 1 &&
           fwrite(&id, sizeof id, 1, f) == 1)
        n++;
    while (getchar() != EOF) { /* who writes is not interrupted */
    }
    if (f == NULL || fclose(f) != 0 || n < most) {
        fprintf(stderr, "pare-check-device: %s: %zu of %zu ids\n", path, n, most);
        return 3;
    }
    return 0;
}
