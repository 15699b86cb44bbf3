/* Estimates against sums done by hand (fake_runtime.h) */
#include "check.h"
#include "fake_runtime.h"

#include "memory/speed.h"

#include <math.h>
#include <string.h>

static pare_speed estimate(const pare_place_query *q, const pare_speed_input *in)
{
    pare_placement p;
    pare_speed s;
    pare_error err = {0};
    CHECK_OK(pare_place(q, &p, &err), &err);
    CHECK_OK(pare_speed_estimate(&s, q, &p, in, &err), &err);
    CHECK(strcmp(s.label, "estimated, not measured") == 0);
    return s;
}

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-9 * fabs(b);
}

#define MIB (double)FAKE_MIB

static void one_device(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 10, false);
    pare_place_query q = fake_query(&f, 10000, 0, 0);
    q.device[0].bandwidth = 1000e9;
    q.device[0].half_rate = 100e12;
    q.device[0].name = "a card";
    pare_speed_input in = {
        .decode_efficiency = 0.5, .host_efficiency = 0.25, .prefill_efficiency = 0.25, .n_prompt = 1024};
    pare_speed s = estimate(&q, &in);
    /* all but the embedding, of which a row of 1024 is read, on the host */
    CHECK(s.weights == (uint64_t)(4300 * FAKE_MIB + 200 * FAKE_MIB / 1024) && s.cache == 0);
    CHECK(s.n_shares == 2 && s.share[0].weights == 4300 * FAKE_MIB && s.share[1].weights == 200 * FAKE_MIB / 1024);
    const double row = 200 * MIB / 1024;
    CHECK(near(s.decode, 1 / (4300 * MIB / 500e9 + row / (0.25 * PARE_SPEED_HOST) + 10 * 30e-6)) && s.n_layers == 10);
    CHECK(near(s.decode_limit, 1 / (4300 * MIB / 1000e9 + row / PARE_SPEED_HOST)));
    CHECK(strstr(s.decode_formula,
                 "1 / (4.509 GB / (0.5 * 1000 GB/s, a card) + 0.0002048 GB / (0.25 * 89.6 GB/s, host) + 10 * 30 us)") !=
          NULL);
    /* two operations a weight and token; 8 heads of 128 and 128 see 1024 * 1025 / 2 keys in 10 layers */
    CHECK(s.active == 4300 * MIB / 2);
    const double ops = 4300 * MIB * 1024 + 10 * 2.0 * 8 * 256 * (1024 * 1025 / 2);
    CHECK(near(s.share[0].n_ops, ops) && near(s.prefill, 1024 / (ops / 25e12)) && s.unknown == NULL);
    CHECK(strstr(s.prefill_formula, "1024 / (4.639 Tops / (0.25 * 100 Tops/s, a card))") != NULL);

    in.depth = 4096; /* 4096 bytes a token and layer */
    s = estimate(&q, &in);
    CHECK(s.cache == UINT64_C(10) * 4096 * 4096 && s.share[0].cache == s.cache);
    CHECK(near(s.decode, 1 / ((4300 * MIB + (double)s.cache) / 500e9 + row / (0.25 * PARE_SPEED_HOST) + 3e-4)));

    f.hp.window = 16; /* fewer keys are seen */
    s = estimate(&q, &in);
    CHECK(near(s.share[0].n_ops, 4300 * MIB * 1024 + 10 * 2.0 * 8 * 256 * (16 * 17 / 2 + 1008 * 16)));
}

static void experts_are_read_by_their_share(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 10, true);
    pare_place_query q = fake_query(&f, 10000, 0, 0);
    q.device[0].bandwidth = 1000e9;
    q.device[0].half_rate = 100e12;
    const pare_speed_input in = {.n_prompt = 700, .host_bandwidth = 50e9, .link_bandwidth = 20e9};
    pare_speed s = estimate(&q, &in);
    CHECK(s.share[0].weights == (uint64_t)(10 * (100 + 700 / 4) + 300) * FAKE_MIB);
    CHECK(s.active == (10 * (100 + 700 / 4) + 300) * MIB / 2);
    CHECK(s.input.decode_efficiency == PARE_SPEED_DECODE && s.input.prefill_efficiency == PARE_SPEED_PREFILL);

    q = fake_query(&f, 1511 + 7 * 700, 0, 0); /* three layers' experts go */
    q.device[0].bandwidth = 1000e9;
    q.device[0].half_rate = 100e12;
    s = estimate(&q, &in);
    const double row = 200 * MIB / 1024;
    CHECK(s.share[1].weights == (uint64_t)(3 * 175 * FAKE_MIB + 200 * FAKE_MIB / 1024));
    CHECK(near(s.decode, 1 / ((10 * 100 + 7 * 175 + 300) * MIB / (PARE_SPEED_DECODE * 1000e9) +
                              (3 * 175 * MIB + row) / (PARE_SPEED_HOST_DECODE * 50e9) + 10 * PARE_SPEED_LAYER)));
    /* all experts cross the bus for each of two micro-batches */
    const double ops = s.share[0].n_ops + s.share[1].n_ops;
    CHECK(near(s.prefill, 700 / (ops / (PARE_SPEED_PREFILL * 100e12) + 2 * 3 * 700 * MIB / 20e9)));
    CHECK(near(s.share[1].n_ops, 3 * 175 * MIB * 700));
    CHECK(strstr(s.prefill_formula, "2 * 2.202 GB / (20 GB/s, bus))") != NULL);
}

static void layers_are_read_where_they_lie(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 10, false);
    pare_place_query q = fake_query(&f, 2250, 1500, 0);
    q.device[0].bandwidth = q.device[1].bandwidth = 500e9;
    q.device[1].bandwidth = 400e9;
    const pare_speed_input in = {.depth = 1000, .decode_efficiency = 1, .host_efficiency = 1, .layer_seconds = 1e-3};
    pare_placement p;
    pare_speed s;
    pare_error err = {0};
    CHECK_OK(pare_place(&q, &p, &err), &err);
    CHECK_OK(pare_speed_estimate(&s, &q, &p, &in, &err), &err);
    const uint64_t on0 = p.run.n_layers_on[0], on1 = p.run.n_layers_on[1] - 1, left = 10 - on0 - on1;
    CHECK(on0 > 0 && on1 > 0 && left > 0);
    CHECK(s.share[0].weights == on0 * 400 * FAKE_MIB && s.share[1].weights == (on1 * 400 + 300) * FAKE_MIB);
    CHECK(s.share[2].weights == left * 400 * FAKE_MIB + 200 * FAKE_MIB / 1024);
    CHECK(s.share[0].cache == on0 * 4096 * 1000 && s.share[2].cache == left * 4096 * 1000);
    CHECK(near(s.decode,
               1 / (s.share[0].seconds + s.share[1].seconds + s.share[2].seconds + (double)(on0 + on1) * 1e-3)) &&
          s.share[2].seconds > 0);
    CHECK(s.prefill == 0 && strstr(s.unknown, "multiplies") != NULL && s.prefill_formula[0] == '\0');
}

/* vLLM's devices read their parts at once, and what is in RAM over a bus each. */
static void devices_that_work_at_once(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 9, false);
    pare_memory_runtime vllm = fake_runtime;
    vllm.name = "vllm";
    pare_place_query q = fake_query(&f, 1700, 1700, 0);
    q.runtime = &vllm;
    q.device[0].bandwidth = q.device[1].bandwidth = 1000e9;
    q.device[0].half_rate = q.device[1].half_rate = 50e12;
    const pare_speed_input in = {.link_bandwidth = 20e9, .host_efficiency = 1, .n_prompt = 512};
    pare_placement p;
    pare_error err = {0};
    CHECK_OK(pare_place(&q, &p, &err), &err);
    CHECK(p.n_host_layers > 0 && p.run.n_layers_on[0] == 5 && p.run.n_layers_on[1] == 5);
    const pare_speed s = estimate(&q, &in);
    const double slowest = s.share[0].seconds > s.share[1].seconds ? s.share[0].seconds : s.share[1].seconds;
    const double in_ram = p.n_host_layers * 400 * MIB, row = 200 * MIB / 1024;
    CHECK(near(s.decode, 1 / (slowest + (in_ram + row) / 40e9 + 9 * PARE_SPEED_LAYER)));
    CHECK(strncmp(s.decode_formula, "1 / (max(", 9) == 0 && strstr(s.decode_formula, "device 1)) + ") != NULL);
    const double ops = s.share[0].n_ops > s.share[1].n_ops ? s.share[0].n_ops : s.share[1].n_ops;
    CHECK(near(s.prefill, 512 / (ops / (PARE_SPEED_PREFILL * 50e12) + s.share[2].n_ops / (PARE_SPEED_PREFILL * 100e12) +
                                 in_ram / 40e9)));
    q.device[0].usable = q.device[1].usable = 8000 * FAKE_MIB; /* all of it: the bracket is closed all the same */
    const pare_speed all = estimate(&q, &in);
    CHECK(strstr(all.prefill_formula, "device 1))") != NULL && all.decode > s.decode);
}

static void a_tied_output_is_read_whole(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 4, false);
    f.hp.tied_output = true;
    f.m.n_tensors--; /* output.weight is the last */
    pare_place_query q = fake_query(&f, 10000, 0, 0);
    q.device[0].bandwidth = 1000e9;
    const pare_speed_input in = {0};
    const pare_speed s = estimate(&q, &in);
    CHECK(s.share[0].weights == (4 * 400 + 200) * FAKE_MIB && s.share[1].weights == 0);
}

static void what_is_not_known_is_no_number(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 4, false);
    pare_place_query q = fake_query(&f, 10000, 0, 0);
    pare_speed_input in = {0};
    pare_speed s = estimate(&q, &in);
    CHECK(s.decode == 0 && s.decode_limit == 0 && s.prefill == 0 && s.decode_formula[0] == '\0');
    CHECK(strstr(s.unknown, "bandwidth") != NULL);
    q.n_devices = 0; /* the host's bandwidth has a default, what it multiplies has none */
    s = estimate(&q, &in);
    CHECK(s.decode > 0 && s.prefill == 0 && s.unknown != NULL);
    in.host_rate = 1e12;
    s = estimate(&q, &in);
    CHECK(s.decode > 0 && s.prefill > 0 && s.unknown == NULL && strstr(s.prefill_formula, "bus") == NULL);
    q = fake_query(&f, 1500, 0, 0);
    q.device[0].bandwidth = 1000e9;
    q.device[0].half_rate = 100e12;
    in.n_prompt = 31;
    s = estimate(&q, &in);
    CHECK(s.prefill == 0 && strstr(s.unknown, "32") != NULL && s.decode > 0);
    in.n_prompt = 32;
    CHECK(estimate(&q, &in).prefill > 0);
}

static void refuses_numbers_that_are_none(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 4, false);
    pare_place_query q = fake_query(&f, 10000, 0, 0);
    pare_placement p;
    pare_speed s;
    pare_error err = {0};
    CHECK_OK(pare_place(&q, &p, &err), &err);
    const pare_speed_input bad[] = {
        {.host_bandwidth = -1},      {.host_bandwidth = NAN},    {.link_bandwidth = INFINITY},   {.host_rate = -0.5},
        {.decode_efficiency = 1.01}, {.decode_efficiency = NAN}, {.prefill_efficiency = -0.001}, {.host_efficiency = 2},
        {.layer_seconds = -1e-9},    {.layer_seconds = NAN}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(pare_speed_estimate(&s, &q, &p, &bad[i], &err) == PARE_ERR_USAGE);
    q.device[0].bandwidth = 1e12;
    const pare_speed_input far = {.n_prompt = UINT64_MAX, .depth = UINT64_C(1) << 62};
    const pare_status status = pare_speed_estimate(&s, &q, &p, &far, &err);
    CHECK(status == PARE_ERR_RANGE); /* the cache overflows */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_device),
        cmocka_unit_test(experts_are_read_by_their_share),
        cmocka_unit_test(layers_are_read_where_they_lie),
        cmocka_unit_test(devices_that_work_at_once),
        cmocka_unit_test(a_tied_output_is_read_whole),
        cmocka_unit_test(what_is_not_known_is_no_number),
        cmocka_unit_test(refuses_numbers_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
