#include "check.h"

#include "model/transpose.h"

#include <stdlib.h>
#include <string.h>

enum { GUARD = 64 };

/* What the header says, byte by byte, and nothing behind it. The source has its exact size, so a sanitizer sees what is
 * read beyond. */
static void check_turned(size_t size, uint64_t n_rows, uint64_t row_len, uint64_t first, uint64_t step,
                         uint64_t n_columns)
{
    size_t n_src = (size_t)(n_rows * row_len) * size, n_dst = (size_t)(n_rows * n_columns) * size;
    uint8_t *src = check_malloc(n_src), *dst = check_malloc(n_dst + GUARD);
    for (size_t i = 0; i < n_src; i++)
        src[i] = (uint8_t)(i * 7 + i / 256 * 3);
    memset(dst, 0xa5, n_dst + GUARD);
    pare_transpose(&(pare_turned){.src = src,
                                  .size = size,
                                  .n_rows = n_rows,
                                  .row_len = row_len,
                                  .first = first,
                                  .step = step,
                                  .n_columns = n_columns},
                   dst);
    for (uint64_t i = 0; i < n_columns; i++)
        for (uint64_t j = 0; j < n_rows; j++)
            if (memcmp(dst + (i * n_rows + j) * size, src + (j * row_len + first + i * step) * size, size) != 0)
                fail_msg("%zu bytes, %d rows of %d, columns %d + %d i, %d of them: element %d of row %d", size,
                         (int)n_rows, (int)row_len, (int)first, (int)step, (int)n_columns, (int)j, (int)i);
    for (size_t i = 0; i < GUARD; i++)
        CHECK(dst[n_dst + i] == 0xa5);
    free(src);
    free(dst);
}

/* Sizes that tiles of 8 and blocks of 32 rows divide, and those beside them. */
static void turns_any_shape(void **state)
{
    (void)state;
    static const uint64_t rows[] = {1, 7, 8, 9, 31, 32, 33, 47, 72}, columns[] = {1, 3, 4, 5, 7, 8, 9, 17, 40};
    for (size_t size = 1; size <= 8; size *= 2)
        for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++)
            for (size_t c = 0; c < sizeof columns / sizeof columns[0]; c++)
                for (uint64_t step = 1; step <= 3; step++)
                    for (uint64_t first = 0; first < step; first++)
                        check_turned(size, rows[r], columns[c] * step, first, step, columns[c]);
}

/* Some columns from the middle, as a slice of a result wants them; up to the last one, and none. */
static void turns_a_part(void **state)
{
    (void)state;
    for (uint64_t first = 0; first < 40; first++)
        for (uint64_t step = 1; step <= 2; step++)
            for (uint64_t n = 0; n == 0 || first + (n - 1) * step < 40; n++)
                check_turned(2, 9, 40, first, step, n);
    check_turned(2, 16, 41, 0, 2, 21); /* rows that are no whole number of steps */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_any_shape),
        cmocka_unit_test(turns_a_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
