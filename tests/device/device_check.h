/* device_check.h - rows of a table, each an operation of a device beside the same on the CPU
 *
 * A row is a function that runs one operation with several shapes and compares. What goes wrong ends the row, not the
 * program. Memory that a row takes is given back behind it. */
#ifndef PARE_TESTS_DEVICE_CHECK_H
#define PARE_TESTS_DEVICE_CHECK_H

#include "eval/backend.h"

#include <setjmp.h>

typedef struct check_memory {
    pare_backend *b; /* NULL: of the host */
    void *p;
    size_t bytes;
} check_memory;

typedef struct check {
    pare_backend *cpu, *gpu;
    bool small;       /* shapes for a device that is emulated */
    bool rounds;      /* the device rounds the factors of products to BF16 */
    const char *only; /* rows whose names hold this; NULL: all */
    int n_rows, n_failed;
    uint64_t seed;

    /* of the row that runs */
    jmp_buf leave;
    pare_error err;
    double worst;
    char shape[160], worst_shape[160];
    check_memory *memory, *kept; /* until the row's end; until the program's: the device knows weights by address */
    size_t n_memory, cap_memory, n_kept, cap_kept;
} check;

/* Run a row and print it: its largest error must not pass the tolerance. */
void check_row(check *c, const char *name, double tolerance, void (*run)(check *c, const void *arg), const void *arg);
void check_timed(check *c, const char *name, void (*run)(check *c, const void *arg),
                 const void *arg); /* prints itself */
void check_free(check *c);

/* The rest is for rows. A status that is not PARE_OK ends the row. */
void check_must(check *c, pare_status st);
void check_shape(check *c, const char *fmt, ...); /* of what is compared next, for messages */

void *check_host(check *c, size_t bytes);
void *check_kept(check *c, size_t bytes);
float *check_noise(check *c, size_t n, float scale); /* uniform in -scale .. scale */
int32_t *check_ids(check *c, uint32_t n, uint32_t below);

/* Memory of a backend: with a copy of src; filled with NaNs, with a guard behind it that check_take looks at. */
void *check_give(check *c, pare_backend *b, const void *src, size_t bytes);
void *check_poisoned(check *c, pare_backend *b, size_t bytes);
void *check_take(check *c, pare_backend *b, const void *p, size_t bytes);

/* A tensor over bytes of check_kept; n_rows 0: a vector. */
const pare_tensor *check_tensor(check *c, pare_type type, const void *data, uint64_t n_rows, uint64_t row_len);
/* The same of random weights around zero: encoded where pare can, else blocks of random bits with sane values. */
const pare_tensor *check_weights(check *c, pare_type type, uint64_t n_rows, uint64_t row_len);
/* Its weights as floats; rounded: to BF16 if the device does that. */
const pare_tensor *check_factors(check *c, const pare_tensor *w, bool rounded);
const float *check_rounded(check *c, const float *x, size_t n);

/* The row's error grows to the larger of |got - want| / |want| and a sixteenth of the largest single difference over
 * the root mean square of want; to infinity where one is not finite. */
void check_compare(check *c, const float *got, const float *want, size_t n);
void check_same(check *c, const float *got, const float *want, size_t n); /* bit for bit; a NaN is a NaN */
void check_error(check *c, double error);

/* check_operations.c, check_kv.c, check_attention.c, check_products.c, check_score.c */
void check_operations(check *c);
void check_kv(check *c);
void check_attention(check *c);
void check_products(check *c);
void check_score(check *c);

/* device_speed.c: what the device does in a second, in lines of name, shape, milliseconds and rate. Returns the number
 * of rows that failed. */
int device_speed(check *c);

/* compare_files.c: print one number, or write a file; exit codes */
int compare_files(const char *a, const char *b);
int compare_distributions(const char *a, const char *b, size_t n_vocab);
int write_ids(size_t most, const char *path); /* of standard input */

#endif
