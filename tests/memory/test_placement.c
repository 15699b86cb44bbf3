/* Placements against all that there could be, in a runtime whose sums are done by hand (fake_runtime.h) */
#include "check.h"
#include "fake_runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* MiB that a device has to have with these layers of a dense model: the reserve of 100 outweighs the driver's interval
 * of 40. */
static uint64_t needs_dense(uint64_t n_layers, bool output, uint64_t n_ctx)
{
    return n_layers * (400 + n_ctx / 256) + (output ? 300 : 0) + 50 + n_ctx / 1024 + 20 + 100;
}

static pare_placement place_ok(const pare_place_query *q)
{
    pare_placement p;
    pare_error err = {0};
    CHECK_OK(pare_place(q, &p, &err), &err);
    return p;
}

/* The answer's plan is the runtime's for the model with the answer's places, and holds. */
static void check_plan(const pare_place_query *q, const pare_placement *p)
{
    pare_memory_model m = *q->model;
    pare_memory_plan plan;
    pare_error err = {0};
    m.tensors = check_malloc(m.n_tensors * sizeof *m.tensors);
    memcpy(m.tensors, q->model->tensors, m.n_tensors * sizeof *m.tensors);
    pare_placement_apply(p, &m);
    CHECK_OK(q->runtime->plan(&plan, &m, &p->run, &err), &err);
    assert_memory_equal(&plan, &p->plan, sizeof plan);
    for (uint32_t d = 0; d < q->n_devices; d++) {
        CHECK(pare_plan_fits(q->runtime, &plan, (int32_t)d, q->device[d].usable));
        CHECK(p->device_free[d] == q->device[d].usable - pare_plan_needs(q->runtime, &plan, (int32_t)d));
    }
    CHECK(pare_plan_fits(q->runtime, &plan, PARE_MEMORY_HOST, q->host_bytes));
    CHECK(p->run.n_devices == q->n_devices);
    free(m.tensors);
}

static void all_fits_to_the_byte(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 10, false);
    pare_place_query q = fake_query(&f, needs_dense(10, true, 1024), 0, 0);
    pare_placement p = place_ok(&q);
    CHECK(p.kind == PARE_PLACED_ON_DEVICES && p.n_layers == 11 && p.run.n_layers_on[0] == 11 && p.n_plans == 1);
    CHECK(p.device_free[0] == 0 && p.host_free == PARE_NO_LIMIT);
    check_plan(&q, &p);
    q.device[0].usable--;
    p = place_ok(&q);
    CHECK(p.kind == PARE_PLACED_LAYERS_HOST && p.n_layers == 11 && p.n_moved == 1 && p.moved_layer == 0);
    check_plan(&q, &p);

    /* Without a reserve the driver's upper end counts: 60, not 20. */
    q = fake_query(&f, needs_dense(10, true, 1024) - 100 + 40, 0, 0);
    q.run.reserve = 0;
    CHECK(place_ok(&q).kind == PARE_PLACED_ON_DEVICES);
    q.device[0].usable--;
    CHECK(place_ok(&q).kind == PARE_PLACED_LAYERS_HOST);
}

static void as_many_layers_as_fit(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 12, false);
    for (uint64_t mib = 600; mib < 5600; mib += 37) {
        pare_place_query q = fake_query(&f, mib, 0, 0);
        const pare_placement p = place_ok(&q);
        uint32_t best = 0; /* the output counts as one, and is the first to go there */
        for (uint32_t n = 1; n <= 13; n++)
            if (needs_dense(n - 1, true, 1024) <= mib)
                best = n;
        /* one more with 80 or 220 of its FFN on the host, or both; the first of the file goes back first */
        uint64_t moved = 0;
        const uint64_t over = best == 0 || best == 13 ? UINT64_MAX : needs_dense(best, true, 1024) - mib;
        if (over <= 300)
            moved = over <= 220 ? 220 : 300;
        if (over <= 220 && over > 0)
            CHECK(p.n_moved == 1 && strcmp(p.moved[0], "ffn_down") == 0);
        assert_int_equal(p.n_moved, moved == 300 ? 2 : moved > 0);
        assert_int_equal(p.n_layers, best + (moved > 0));
        CHECK(moved == 0 || p.moved_layer == 12 - best);
        CHECK(p.n_host_experts == 0 && p.n_plans <= 12);
        CHECK(p.kind == (best == 0    ? PARE_PLACED_ON_HOST
                         : best == 13 ? PARE_PLACED_ON_DEVICES
                                      : PARE_PLACED_LAYERS_HOST));
        check_plan(&q, &p);
    }
}

/* Of a mixture with all layers on the device: n whole layers' experts on the host and so many MiB of one more. */
static uint64_t needs_mixture(uint64_t n_layer, uint64_t n_host, uint64_t more)
{
    return n_layer * (100 + 4) + (n_layer - n_host) * 700 - more + 300 + 50 + 1 + 20 + 100;
}

static void experts_go_first(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 9, true);
    for (uint64_t mib = 1450; mib < 8000; mib += 41) {
        pare_place_query q = fake_query(&f, mib, 0, 0);
        const pare_placement p = place_ok(&q);
        assert_int_equal(p.n_layers, 10);
        uint32_t fewest = 9;
        for (uint32_t n = 10; n-- > 0;)
            if (needs_mixture(9, n, 0) <= mib)
                fewest = n;
        /* of the last one, some of 100, 200 and 400 have to go; what is kept is taken in the file's order */
        uint64_t moved = 0;
        for (uint32_t i = 0; i < p.n_moved; i++)
            moved += strcmp(p.moved[i], "ffn_gate_exps") == 0 ? 100
                     : strcmp(p.moved[i], "ffn_up_exps") == 0 ? 200
                                                              : 400;
        assert_int_equal(p.n_host_experts + (p.n_moved > 0), fewest);
        if (p.n_moved > 0) {
            CHECK(moved < 700 && needs_mixture(9, p.n_host_experts, moved) <= mib);
            CHECK(needs_mixture(9, p.n_host_experts, 0) > mib);
            for (uint32_t i = 0; i < p.n_moved; i++) { /* none could have stayed */
                const uint64_t one = strcmp(p.moved[i], "ffn_gate_exps") == 0 ? 100
                                     : strcmp(p.moved[i], "ffn_up_exps") == 0 ? 200
                                                                              : 400;
                CHECK(needs_mixture(9, p.n_host_experts, moved - one) > mib);
            }
        } else if (fewest > 0) { /* not even the smallest could have stayed */
            CHECK(needs_mixture(9, fewest - 1, 600) > mib);
        }
        CHECK(p.kind == (fewest > 0 ? PARE_PLACED_EXPERTS_HOST : PARE_PLACED_ON_DEVICES));
        check_plan(&q, &p);
    }
}

static void layers_follow_the_experts(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 9, true);
    pare_place_query q = fake_query(&f, needs_mixture(9, 9, 0) - 1, 0, 0);
    const pare_placement p = place_ok(&q);
    CHECK(p.kind == PARE_PLACED_LAYERS_HOST && p.n_host_experts == 9 && p.n_moved == 0 && p.n_layers == 9);
    check_plan(&q, &p);
}

static void a_place_of_its_own_stays(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 3, true);
    pare_memory_tensor *t = pare_memory_find(&f.m, "blk.0.ffn_down_exps.weight");
    t->place = 0;
    pare_place_query q = fake_query(&f, needs_mixture(3, 3, 0) + 400, 0, 0);
    const pare_placement p = place_ok(&q);
    CHECK(p.n_host_experts == 3 && p.kind == PARE_PLACED_EXPERTS_HOST && p.device_free[0] == 0);
}

static void two_devices_hold_what_they_can(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 8, false);
    for (uint64_t a = 500; a < 3800; a += 290)
        for (uint64_t b = 300; b < 3800; b += 310) {
            pare_place_query q = fake_query(&f, a, b, 0);
            uint32_t best = 0;
            for (uint32_t n0 = 0; n0 <= 9; n0++)
                for (uint32_t n1 = 0; n0 + n1 <= 9; n1++) {
                    const uint64_t layers0 = n1 == 0 && n0 > 0 ? n0 - 1 : n0, layers1 = n1 > 0 ? n1 - 1 : 0;
                    if (needs_dense(layers0, n1 == 0 && n0 > 0, 1024) <= a && needs_dense(layers1, n1 > 0, 1024) <= b &&
                        n0 + n1 > best)
                        best = n0 + n1;
                }
            const pare_placement p = place_ok(&q);
            assert_int_equal(p.n_layers, best + (p.n_moved > 0)); /* some have room for a part of one more */
            assert_int_equal(p.run.n_layers_on[0] + p.run.n_layers_on[1], p.n_layers);
            check_plan(&q, &p);
        }
}

static void layers_follow_the_memory(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 23, false);
    pare_place_query q = fake_query(&f, 24000, 12000, 12000);
    const pare_placement p = place_ok(&q);
    CHECK(p.run.n_layers_on[0] == 12 && p.run.n_layers_on[1] == 6 && p.run.n_layers_on[2] == 6 && p.n_plans == 1);
}

static void faster_devices_are_filled_first(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 15, false);
    pare_place_query q = fake_query(&f, 4000, 4000, 3000);
    q.device[0].bandwidth = 300e9;
    q.device[1].bandwidth = 1000e9;
    q.device[2].bandwidth = 600e9;
    const pare_placement p = place_ok(&q);
    CHECK(p.kind == PARE_PLACED_ON_DEVICES);
    check_plan(&q, &p);
    CHECK(needs_dense(p.run.n_layers_on[1], false, 1024) <= 4000 &&
          needs_dense(p.run.n_layers_on[1] + 1, false, 1024) > 4000);
    CHECK(needs_dense(p.run.n_layers_on[2], true, 1024) > 3000); /* one of them is the output */
    q.device[0].bandwidth = q.device[1].bandwidth = q.device[2].bandwidth = 1000e9;
    const pare_placement even = place_ok(&q);
    CHECK(even.run.n_layers_on[0] == even.run.n_layers_on[1]);
}

/* Names of tensors out of a file do not get into a command that is pasted. */
static void odd_names_are_not_repeated(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 3, true);
    pare_place_query q = fake_query(&f, needs_mixture(3, 1, 300), 0, 0);
    CHECK(place_ok(&q).n_moved > 0);
    for (size_t i = 0; i < f.m.n_tensors; i++)
        if (strstr(f.names[i], "ffn_up_exps") != NULL)
            snprintf(f.names[i] + strlen("blk.0."), 30, "'; echo _exps.weight");
    pare_placement p = place_ok(&q);
    CHECK(p.n_moved == 0 && p.n_host_experts == 2);
    check_plan(&q, &p);
    for (size_t i = 0; i < f.m.n_tensors; i++)
        if (strstr(f.names[i], "echo") != NULL)
            snprintf(f.names[i] + strlen("blk.0."), 42, "a_name_that_has_more_letters_exps.b");
    CHECK(place_ok(&q).n_moved == 0);
}

/* vLLM's devices share every layer, so each has as much as the smallest; the first layers' weights go to RAM. */
static void vllm_moves_the_first_layers(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 11, true);
    pare_memory_runtime vllm = fake_runtime;
    vllm.name = "vllm";
    pare_place_query q = fake_query(&f, 30000, 10000, 0);
    q.runtime = &vllm;
    q.device[0].bandwidth = 2e12;
    q.device[1].bandwidth = 1e12;
    pare_placement p = place_ok(&q);
    CHECK(p.kind == PARE_PLACED_ON_DEVICES && p.run.n_layers_on[0] == 6 && p.run.n_layers_on[1] == 6);
    q.n_devices = 1;
    for (uint64_t mib = 600; mib < 9600; mib += 170) {
        q.device[0].usable = mib * FAKE_MIB;
        uint32_t fewest = 0; /* 800 a layer, and its cache stays; the driver's upper end counts beside the reserve */
        while (fewest < 11 && (11 - fewest) * 800 + 11 * 4 + 300 + 50 + 1 + 60 + 100 > mib)
            fewest++;
        p = place_ok(&q);
        assert_int_equal(p.n_host_layers, fewest);
        CHECK(p.n_layers == 12 && p.n_host_experts == 0);
        const int left = (int)((mib - 100) * 100 / mib);
        CHECK((int)(p.run.gpu_memory_utilization * 100 + 0.5) == (left < 95 ? left : 95));
        CHECK(p.kind == (fewest > 0 ? PARE_PLACED_LAYERS_HOST : PARE_PLACED_ON_DEVICES));
        check_plan(&q, &p);
        CHECK(pare_plan_weights(&p.plan, PARE_MEMORY_HOST) == (200 + fewest * 800) * FAKE_MIB);
    }
}

static void refused(const pare_place_query *q, pare_status wanted, const char *words)
{
    pare_placement p;
    pare_error err = {0};
    const pare_status status = pare_place(q, &p, &err);
    if (status != wanted || strstr(err.text, words) == NULL)
        fail_msg("status %d, '%s'; wanted %d and '%s'", (int)status, err.text, (int)wanted, words);
}

static void says_what_would_fit(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 10, false);
    pare_place_query q = fake_query(&f, needs_dense(10, true, 4096), 0, 0);
    q.device[0].name = "a card";
    q.devices_only = true;
    q.run.n_ctx = 8192;
    refused(&q, PARE_ERR_DIFFERENCE,
            "a context of 8192 tokens does not fit into a card (4.53 GiB) without layers in RAM: ");
    refused(&q, PARE_ERR_DIFFERENCE, "it takes 164.0 MiB more on the device (4.69 GiB in all); 4096 tokens fit");
    q.run.n_ctx = 4096;
    CHECK(place_ok(&q).kind == PARE_PLACED_ON_DEVICES);

    q.run.n_ctx = 1024;
    q.device[0].usable = 2000 * FAKE_MIB;
    refused(&q, PARE_ERR_DIFFERENCE, "; with 256 tokens it takes ");
    q.run.n_ctx = 256;
    refused(&q, PARE_ERR_DIFFERENCE, "; no shorter context fits");

    q.devices_only = false; /* layers may lie in RAM, but there is little of it */
    q.run.n_ctx = 2048;
    q.host_bytes = 1000 * FAKE_MIB;
    refused(&q, PARE_ERR_DIFFERENCE, "a card (1.95 GiB) and 1000.0 MiB of RAM: it takes ");
    pare_error err = {0};
    pare_placement p;
    CHECK(pare_place(&q, &p, &err) == PARE_ERR_DIFFERENCE);
    const char *all = strstr(err.text, "more RAM (");
    CHECK(all != NULL);
    q.host_bytes = (uint64_t)(atof(all + strlen("more RAM (")) * 1024 + 10) * FAKE_MIB; /* said with two decimals */
    CHECK(place_ok(&q).kind == PARE_PLACED_LAYERS_HOST);
    q.host_bytes -= 20 * FAKE_MIB;
    refused(&q, PARE_ERR_DIFFERENCE, "RAM");

    /* Two devices: 10 layers of 401, the output with 300 and 170.25 for each device itself. The sums lack less than the
     * device that the layers which find no room are counted on. */
    q = fake_query(&f, 2000, 2000, 0);
    q.devices_only = true;
    q.run.n_ctx = 256;
    refused(&q, PARE_ERR_DIFFERENCE,
            "it takes 650.5 MiB more on the devices (4.54 GiB in all); no shorter context fits");
    q = fake_query(&f, 10000, 150, 0); /* too small for what a device takes without layers */
    q.devices_only = true;
    refused(&q, PARE_ERR_DIFFERENCE, "; without device 1 it fits");
    q = fake_query(&f, 150, 10000, 0);
    q.devices_only = true;
    refused(&q, PARE_ERR_DIFFERENCE, "; without device 0 it fits");

    q = fake_query(&f, 10000, 0, 0);
    q.run.n_ctx = 2048;
    q.n_devices = 0;
    q.host_bytes = 1000 * FAKE_MIB;
    refused(
        &q, PARE_ERR_DIFFERENCE,
        "does not fit into 1000.0 MiB of RAM: it takes 3.62 GiB more RAM (4.60 GiB in all); with 256 tokens it takes");
    q.host_bytes = 64 * 1024 * FAKE_MIB;
    p = place_ok(&q);
    CHECK(p.kind == PARE_PLACED_ON_HOST && p.n_layers == 0 && p.run.n_devices == 0);
}

static void refuses_hostile_numbers(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 10, false);
    pare_place_query q = fake_query(&f, 10000, 10000, 0);
    q.n_devices = PARE_MEMORY_MAX_DEVICES + 1;
    refused(&q, PARE_ERR_USAGE, "17 devices: 16 at most");
    q = fake_query(&f, 10000, 0, 0);
    q.n_devices = 2; /* the second has nothing */
    refused(&q, PARE_ERR_USAGE, "device 1: 0 bytes");
    q = fake_query(&f, 10000, 0, 0);
    q.device[0].total = 5;
    refused(&q, PARE_ERR_USAGE, "of 5 cannot be used");
    q = fake_query(&f, 10000, 0, 0);
    q.run.n_ctx = UINT64_C(1) << 40;
    refused(&q, PARE_ERR_RANGE, "1099511627776 tokens");
    q.run.n_ctx = UINT64_MAX;
    refused(&q, PARE_ERR_RANGE, "18446744073709551615 tokens");
    q = fake_query(&f, 10000, 0, 0);
    q.run.n_seq = 99; /* what the runtime refuses */
    refused(&q, PARE_ERR_RANGE, "ninety-nine");
    q = fake_query(&f, 10000, 10000, 10000);
    for (uint32_t d = 0; d < 3; d++)
        q.device[d].usable = UINT64_MAX - d;
    CHECK(place_ok(&q).kind == PARE_PLACED_ON_DEVICES);
    pare_memory_runtime vllm = fake_runtime;
    vllm.name = "vllm";
    q.runtime = &vllm;
    refused(&q, PARE_ERR_USAGE, "3 do not divide 8");
    q.runtime = &fake_runtime;
    f.hp.n_layer = 0;
    refused(&q, PARE_ERR_RANGE, "0 layers");
    f.hp.n_layer = UINT32_MAX;
    refused(&q, PARE_ERR_RANGE, "4294967295 layers");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_fits_to_the_byte),       cmocka_unit_test(as_many_layers_as_fit),
        cmocka_unit_test(experts_go_first),           cmocka_unit_test(layers_follow_the_experts),
        cmocka_unit_test(a_place_of_its_own_stays),   cmocka_unit_test(two_devices_hold_what_they_can),
        cmocka_unit_test(layers_follow_the_memory),   cmocka_unit_test(faster_devices_are_filled_first),
        cmocka_unit_test(odd_names_are_not_repeated), cmocka_unit_test(vllm_moves_the_first_layers),
        cmocka_unit_test(says_what_would_fit),        cmocka_unit_test(refuses_hostile_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
