#include "check.h"

#include "core/background.h"
#include "core/progress.h"
#include "core/threads.h"

#include <string.h>

typedef struct state {
    atomic_bool started;
    int n_told, n_threads;
} state;

static void count(const char *unit, uint64_t done, uint64_t total, const char *what, void *user)
{
    (void)unit, (void)done, (void)total, (void)what;
    ++*(int *)user;
}

static pare_status see_thread(size_t i, int thread, void *ctx, pare_error *err)
{
    (void)i, (void)err;
    state *s = ctx;
    s->n_threads = thread + 1 > s->n_threads ? thread + 1 : s->n_threads;
    return PARE_OK;
}

static pare_status fail_quietly(void *ctx, pare_error *err)
{
    pare_progress("bytes", 1, 2, "x");
    CHECK(pare_is_background());
    CHECK_OK(pare_parallel(100, see_thread, ctx, err), err);
    return pare_fail(err, PARE_ERR_RANGE, "no good");
}

static void its_error_comes_back(void **unused)
{
    (void)unused;
    pare_background b = {0};
    pare_error err = {0};
    state s = {0};
    CHECK_OK(pare_background_join(&b, &err), &err); /* none */
    pare_set_progress(count, &s.n_told);
    pare_set_threads(4);
    CHECK_OK(pare_background_start(&b, fail_quietly, &s, &err), &err);
    CHECK(!pare_is_background() && pare_background_join(&b, &err) == PARE_ERR_RANGE);
    CHECK(strcmp(err.text, "no good") == 0 && s.n_told == 0 && s.n_threads == 1);
    pare_set_progress(NULL, NULL);
    pare_set_threads(0);
    CHECK_OK(pare_background_join(&b, &err), &err); /* only once */
    pare_background_stop(&b);
}

static pare_status run_until_stopped(void *ctx, pare_error *err)
{
    state *s = ctx;
    pare_status st;
    atomic_store(&s->started, true);
    while ((st = pare_check_interrupt(err)) == PARE_OK)
        continue;
    return st;
}

static void it_is_interrupted_alone(void **unused)
{
    (void)unused;
    pare_background b = {0};
    pare_error err = {0};
    state s = {0};
    CHECK_OK(pare_background_start(&b, run_until_stopped, &s, &err), &err);
    while (!atomic_load(&s.started))
        continue;
    CHECK(!pare_interrupted());
    pare_background_stop(&b);
    CHECK(!b.running && b.status == PARE_ERR_INTERRUPTED && !pare_interrupted());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_error_comes_back),
        cmocka_unit_test(it_is_interrupted_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
