/* The inverse questions against plans of every candidate, in a runtime whose sums are done by hand */
#include "check.h"
#include "fake_runtime.h"

#include "memory/inverse.h"

#include <stdlib.h>
#include <string.h>

static bool fits_at(const pare_place_query *query, uint64_t n_ctx)
{
    pare_place_query q = *query;
    pare_placement p;
    pare_error err = {0};
    q.run.n_ctx = n_ctx;
    const pare_status status = pare_place(&q, &p, &err);
    CHECK(status == PARE_OK || status == PARE_ERR_DIFFERENCE);
    return status == PARE_OK;
}

static pare_context_answer largest(const pare_place_query *q, bool beyond)
{
    pare_context_answer a;
    pare_error err = {0};
    CHECK_OK(pare_largest_context(q, beyond, &a, &err), &err);
    CHECK(a.placement.run.n_ctx == a.n_ctx && a.placement.plan.n_ctx == a.n_ctx);
    return a;
}

static void the_largest_context_is_exact(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 10, false);
    for (uint64_t mib = 4500; mib < 5200; mib += 97) {
        pare_place_query q = fake_query(&f, mib, 0, 0);
        q.devices_only = true;
        const pare_context_answer a = largest(&q, false);
        CHECK(a.bound == PARE_CONTEXT_MEMORY && a.n_ctx % PARE_CONTEXT_STEP == 0);
        uint64_t n_ctx = 0;
        while (fits_at(&q, n_ctx + 256))
            n_ctx += 256;
        assert_int_equal(a.n_ctx, n_ctx);
    }
    fake_model_init(&f, 10, true); /* with experts in RAM */
    pare_place_query q = fake_query(&f, 4000, 0, 0);
    const pare_context_answer a = largest(&q, false);
    CHECK(a.placement.kind == PARE_PLACED_EXPERTS_HOST || a.placement.kind == PARE_PLACED_LAYERS_HOST ||
          a.bound == PARE_CONTEXT_TRAINED);
    CHECK(fits_at(&q, a.n_ctx));
}

static void what_caps_a_context(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 10, false);
    pare_place_query q = fake_query(&f, 100000, 0, 0);
    q.devices_only = true;
    pare_context_answer a = largest(&q, false);
    CHECK(a.bound == PARE_CONTEXT_TRAINED && a.n_ctx == 32768);
    a = largest(&q, true);
    CHECK(a.bound == PARE_CONTEXT_MEMORY && a.n_ctx > 1000000 && !fits_at(&q, a.n_ctx + 256));
    q.device[0].usable = UINT64_C(1) << 50;
    a = largest(&q, true);
    CHECK(a.bound == PARE_CONTEXT_RUNTIME && a.n_ctx == (INT32_MAX / 256) * 256);
    f.hp.n_ctx_train = 1000; /* no multiple of the step, and less than four */
    a = largest(&q, false);
    CHECK(a.bound == PARE_CONTEXT_TRAINED && a.n_ctx == 1000);
    f.hp.n_ctx_train = 100;
    CHECK(largest(&q, false).n_ctx == 100);
    f.hp.n_ctx_train = 4096;
    q.run.n_seq = 3;
    CHECK(largest(&q, false).n_ctx == 4096);
    q.run.per_sequence = true; /* each has as many */
    CHECK(largest(&q, false).n_ctx == 3 * 4096);
    q.run.n_seq = UINT32_MAX; /* 256 cells each are more than there can be */
    pare_error err = {0};
    CHECK(pare_largest_context(&q, false, &a, &err) == PARE_ERR_RANGE &&
          strstr(err.text, "4294967295 sequences") != NULL);
    q.run.n_seq = 3;
    q.device[0].usable = 4900 * FAKE_MIB;
    a = largest(&q, false);
    CHECK(a.bound == PARE_CONTEXT_MEMORY && a.n_ctx % (3 * 256) == 0 && !fits_at(&q, a.n_ctx + 3 * 256));
    f.hp.n_ctx_train = 0; /* not said */
    q.run.per_sequence = false;
    CHECK(largest(&q, false).bound == PARE_CONTEXT_MEMORY);
}

static void no_context_at_all(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 10, false);
    pare_place_query q = fake_query(&f, 4000, 0, 0);
    q.devices_only = true;
    pare_context_answer a;
    pare_error err = {0};
    CHECK(pare_largest_context(&q, false, &a, &err) == PARE_ERR_DIFFERENCE);
    CHECK(strstr(err.text, "a context of 256 tokens does not fit") != NULL &&
          strstr(err.text, "more on the device") != NULL);
    q.n_devices = 17;
    CHECK(pare_largest_context(&q, false, &a, &err) == PARE_ERR_USAGE);
}

static void the_table_has_the_largest_contexts(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 10, false);
    pare_place_query q = fake_query(&f, 1, 1, 1);
    q.devices_only = true;
    const uint64_t sizes[] = {4000 * FAKE_MIB, 5000 * FAKE_MIB, 100000 * FAKE_MIB};
    const pare_cache_types types[] = {{PARE_TYPE_F16, PARE_TYPE_F16}};
    uint64_t cells[3] = {7, 7, 7};
    pare_error err = {0};
    CHECK_OK(pare_context_table(&q, false, sizes, 3, types, 1, cells, &err), &err);
    CHECK(cells[0] == 0 && cells[1] > 0 && cells[1] < 32768 && cells[2] == 32768);
    pare_place_query one = fake_query(&f, 5000, 0, 0);
    one.devices_only = true;
    CHECK(largest(&one, false).n_ctx == cells[1]);
    q.run.n_seq = 99; /* what the runtime refuses is no empty cell */
    CHECK(pare_context_table(&q, false, sizes, 3, types, 1, cells, &err) == PARE_ERR_RANGE);
    size_t n = 0;
    while (pare_common_card_sizes[n] != 0) {
        CHECK(n == 0 || pare_common_card_sizes[n] > pare_common_card_sizes[n - 1]);
        n++;
    }
    CHECK(n > 10);
}

static void the_largest_model_that_fits(void **state)
{
    (void)state;
    static fake_model models[4];
    pare_memory_model list[4];
    const uint32_t layers[] = {8, 14, 30, 14};
    for (size_t i = 0; i < 4; i++) {
        fake_model_init(&models[i], layers[i], false);
        list[i] = models[i].m;
    }
    pare_memory_find(&list[3], "blk.2.ffn_up.weight")->n_bytes += FAKE_MIB; /* as many weights, in more bytes */
    pare_place_query q = fake_query(&models[0], 8000, 0, 0);
    q.devices_only = true;
    pare_model_verdict v[4];
    size_t best;
    pare_error err = {0};
    CHECK_OK(pare_largest_model(&q, list, 4, v, &best, &err), &err);
    CHECK(best == 3 && v[0].status == PARE_OK && v[1].status == PARE_OK && v[3].status == PARE_OK);
    CHECK(v[2].status == PARE_ERR_DIFFERENCE && strstr(v[2].why, "does not fit") != NULL);
    CHECK(v[1].n_weights == v[3].n_weights && v[1].n_bytes + FAKE_MIB == v[3].n_bytes);
    CHECK(v[0].n_bytes == (200 + 300 + 8 * 400) * FAKE_MIB && v[0].n_weights == (double)v[0].n_bytes / 2);
    q.device[0].usable = 1000 * FAKE_MIB;
    CHECK_OK(pare_largest_model(&q, list, 4, v, &best, &err), &err);
    CHECK(best == 4);
    CHECK(pare_largest_model(&q, list, 0, v, &best, &err) == PARE_ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_largest_context_is_exact),
        cmocka_unit_test(what_caps_a_context),
        cmocka_unit_test(no_context_at_all),
        cmocka_unit_test(the_table_has_the_largest_contexts),
        cmocka_unit_test(the_largest_model_that_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
