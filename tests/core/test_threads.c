#include "check.h"

#include "core/threads.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 5000 };

typedef struct job {
    atomic_int calls[N];
    atomic_int bad_thread;
    size_t fail_from; /* indices from here on fail */
} job;

static pare_status work(size_t i, int thread, void *ctx, pare_error *err)
{
    job *j = ctx;
    atomic_fetch_add(&j->calls[i], 1);
    if (thread < 0 || thread >= pare_threads())
        atomic_store(&j->bad_thread, 1);
    if (i >= j->fail_from)
        return pare_fail(err, PARE_ERR_RANGE, "index %zu", i);
    return PARE_OK;
}

static void runs_every_index_once(void **state)
{
    (void)state;
    job *j = calloc(1, sizeof *j);
    j->fail_from = SIZE_MAX;
    for (int threads = 1; threads <= 8; threads *= 2) {
        pare_error err = {0};
        pare_set_threads(threads);
        CHECK(pare_threads() == threads);
        CHECK_OK(pare_parallel(N, work, j, &err), &err);
    }
    for (size_t i = 0; i < N; i++)
        assert_int_equal(atomic_load(&j->calls[i]), 4);
    CHECK(atomic_load(&j->bad_thread) == 0);
    CHECK_OK(pare_parallel(0, work, j, NULL), &(pare_error){0});
    pare_set_threads(0);
    CHECK(pare_threads() >= 1);
    free(j);
}

/* The message is that of the smallest failing index, whatever the threads do. */
static void reports_the_smallest_failure(void **state)
{
    (void)state;
    job *j = calloc(1, sizeof *j);
    for (int round = 0; round < 200; round++) {
        pare_error err = {0};
        pare_set_threads(1 + round % 8);
        j->fail_from = (size_t)round * 7;
        CHECK(pare_parallel(N, work, j, &err) == PARE_ERR_RANGE);
        char want[32];
        snprintf(want, sizeof want, "index %zu", j->fail_from);
        assert_string_equal(err.text, want);
        assert_int_equal(err.status, PARE_ERR_RANGE);
    }
    CHECK(pare_parallel(N, work, j, NULL) == PARE_ERR_RANGE);
    pare_set_threads(0);
    free(j);
}

static pare_status outer(size_t i, int thread, void *ctx, pare_error *err)
{
    (void)i, (void)thread;
    return pare_parallel(10, work, ctx, err);
}

static void nests_serially(void **state)
{
    (void)state;
    job *j = calloc(1, sizeof *j);
    pare_error err = {0};
    j->fail_from = SIZE_MAX;
    pare_set_threads(4);
    CHECK_OK(pare_parallel(20, outer, j, &err), &err);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(atomic_load(&j->calls[i]), 20);
    pare_set_threads(0);
    free(j);
}

static void the_environment_sets_the_default(void **state)
{
    (void)state;
    setenv("OMP_NUM_THREADS", "3", 1);
    assert_int_equal(pare_threads(), 3);
    static const char *const odd[] = {"", "0", "-2", "many", "99999999999999999999"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        setenv("OMP_NUM_THREADS", odd[i], 1);
        CHECK(pare_threads() >= 1 && pare_threads() < 4096);
    }
    unsetenv("OMP_NUM_THREADS");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_every_index_once),
        cmocka_unit_test(reports_the_smallest_failure),
        cmocka_unit_test(nests_serially),
        cmocka_unit_test(the_environment_sets_the_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
