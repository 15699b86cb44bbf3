/* The figures that guides to hosting models print, out of the numbers of the models' config.json */
#include "check.h"
#include "sized_model.h"

#include "memory/inverse.h"
#include "memory/launch.h"
#include "memory/speed.h"

#include <math.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static const pare_cache_types f16 = {PARE_TYPE_F16, PARE_TYPE_F16};
static const pare_cache_types q8_0 = {PARE_TYPE_Q8_0, PARE_TYPE_Q8_0};
static const pare_cache_types f8 = {PARE_TYPE_F8_E4M3, PARE_TYPE_F8_E4M3};

static uint64_t per_1024(const char *config, pare_cache_types types)
{
    sized_model s;
    pare_cache_row row;
    pare_error err = {0};
    sized_model_init(&s, config, NULL);
    CHECK_OK(pare_cache_table(&s.m, &types, 1, &row, &err), &err);
    CHECK(row.per_1000 == 1000 * row.per_token && row.per_1024 == 1024 * row.per_token);
    pare_memory_model_close(&s.m);
    return row.per_1024;
}

static void cache_of_1024_tokens(void **state)
{
    (void)state;
    /* 2 x 32 layers x 8 heads x 128 x 2 bytes = 131 KB a token, 4 GiB for 32K (gigagpu.com/?p=32004; dev.to "Q4 KV
     * Cache Fit 32K Context into 8GB VRAM"); a byte each halves it, and q8_0 has 34 bytes for 32 */
    assert_int_equal(per_1024("llama-3.1-8b", f16), 128 * MIB);
    assert_int_equal(per_1024("llama-3.1-8b", f8), 64 * MIB);
    assert_int_equal(per_1024("llama-3.1-8b", q8_0), 68 * MIB);
    /* 36 layers of 8 heads of 128: 4.5 GiB for 32K (Hacker News, item 44817396) */
    assert_int_equal(per_1024("qwen3-8b", f16), 144 * MIB);
    /* 64 layers: 4 GiB for 16K (ccm-design-engineer.netlify.app, 35B models on an RTX 4090) */
    assert_int_equal(per_1024("qwen2.5-32b", f16), 256 * MIB);
    /* 80 layers: 640 MB for a prompt of 16K on each of eight devices (TensorDirect/KVDirect, issue 2) */
    assert_int_equal(per_1024("llama-3.1-70b", f16), 320 * MIB);
}

static pare_place_query query_of(const sized_model *s, const char *card)
{
    pare_place_query q = {.model = &s->m,
                          .runtime = pare_memory_runtime_find("llama.cpp"),
                          .host_bytes = PARE_NO_LIMIT,
                          .devices_only = true,
                          .n_devices = 1};
    CHECK(q.runtime != NULL && pare_card_find(card) != NULL);
    q.device[0] = pare_memory_device_of(pare_card_find(card));
    pare_memory_run_default(&q.run);
    q.run.reserve = GIB;
    return q;
}

static pare_context_answer largest(const pare_place_query *q)
{
    pare_context_answer a;
    pare_error err = {0};
    CHECK_OK(pare_largest_context(q, false, &a, &err), &err);
    return a;
}

static bool near(double a, double b, double share)
{
    return fabs(a - b) <= share * b;
}

/* "32B at Q4_K_M: 19 GB of weights, 16K of context are about 24 GB, borderline; a cache of 8 bits makes 32K fit"
 * (ccm-design-engineer.netlify.app); the file is 19.85 GB (bartowski/Qwen2.5-32B-Instruct-GGUF). */
static void a_32b_on_24_gb(void **state)
{
    (void)state;
    sized_model s;
    pare_error err = {0};
    sized_model_init(&s, "qwen2.5-32b", "q4_k_m");
    CHECK(near(s.n_weights, 32.76e9, 0.001) && near((double)s.n_bytes, 19.85e9, 0.003));
    pare_place_query q = query_of(&s, "rtx-4090");
    const pare_context_answer a = largest(&q);
    CHECK(a.bound == PARE_CONTEXT_MEMORY && a.n_ctx >= 14 * 1024 && a.n_ctx <= 20 * 1024);
    q.run.cache_k = q.run.cache_v = PARE_TYPE_Q8_0;
    pare_context_answer more = largest(&q);
    CHECK(more.bound == PARE_CONTEXT_TRAINED && more.n_ctx == 32768);
    CHECK_OK(pare_largest_context(&q, true, &more, &err), &err);
    CHECK(more.bound == PARE_CONTEXT_MEMORY && near((double)more.n_ctx, (double)a.n_ctx * 16 / 8.5, 0.03));
    q = query_of(&s, "rtx-4080"); /* no 16 GB card has it */
    CHECK(pare_largest_context(&q, false, &more, &err) == PARE_ERR_DIFFERENCE);
    pare_memory_model_close(&s.m);
}

/* "A 70B on 24 GB: at Q4_K_M 42.5 GB, does not fit; at Q2_K 26 GB, spills; at 2.06 bits about 18 GB, fits"
 * (runaihome.com "How to Run a 70B Model on a Single 24GB GPU", gingerlabs.ai "70b on single rtx 4090"); the files of
 * bartowski/Meta-Llama-3.1-70B-Instruct-GGUF are 42.52, 26.38 and 19.10 GB. */
static void a_70b_on_24_gb(void **state)
{
    (void)state;
    static const struct {
        const char *preset;
        double bytes;
        bool fits;
    } rows[] = {{"q4_k_m", 42.52e9, false}, {"q2_k", 26.38e9, false}, {"iq2_xxs", 19.10e9, true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sized_model s;
        pare_context_answer a;
        pare_error err = {0};
        sized_model_init(&s, "llama-3.1-70b", rows[i].preset);
        CHECK(near((double)s.n_bytes, rows[i].bytes, 0.003));
        pare_place_query q = query_of(&s, "rtx-3090");
        CHECK(pare_largest_context(&q, false, &a, &err) == (rows[i].fits ? PARE_OK : PARE_ERR_DIFFERENCE));
        CHECK(!rows[i].fits || (a.n_ctx >= 4096 && a.n_ctx <= 20480));
        if (i == 0) { /* "a single 24 GB card holds barely half of it": 38 to 44 of 81 */
            q.devices_only = false;
            q.run.n_ctx = 8192;
            pare_placement p;
            CHECK_OK(pare_place(&q, &p, &err), &err);
            CHECK(p.kind == PARE_PLACED_LAYERS_HOST && p.n_layers >= 34 && p.n_layers <= 44);
            q.n_devices = 2; /* and two hold all of it */
            q.device[1] = q.device[0];
            CHECK_OK(pare_place(&q, &p, &err), &err);
            CHECK(p.kind == PARE_PLACED_ON_DEVICES && p.run.n_layers_on[0] + p.run.n_layers_on[1] == 81);
        }
        pare_memory_model_close(&s.m);
    }
}

/* A mixture of 30B of which 3B are active: Q4_K_M has 18.6 GB (bartowski/Qwen_Qwen3-30B-A3B-GGUF: 18.63), so a 12 GB
 * card has its experts in RAM, at a speed that its active tenth allows. */
static void a_mixture_on_12_gb(void **state)
{
    (void)state;
    sized_model s;
    pare_placement p;
    pare_speed speed;
    pare_error err = {0};
    sized_model_init(&s, "qwen3-30b-a3b", "q4_k_m");
    CHECK(near(s.n_weights, 30.53e9, 0.001) && near((double)s.n_bytes, 18.6e9, 0.01));
    pare_place_query q = query_of(&s, "rtx-4070");
    q.devices_only = false;
    q.run.n_ctx = 16384;
    CHECK_OK(pare_place(&q, &p, &err), &err);
    CHECK(p.kind == PARE_PLACED_EXPERTS_HOST && p.n_layers == 49);
    CHECK(p.n_host_experts >= 16 && p.n_host_experts <= 30);
    const pare_speed_input in = {0};
    CHECK_OK(pare_speed_estimate(&speed, &q, &p, &in, &err), &err);
    CHECK(near(speed.active, 3.04e9, 0.03)); /* 3.3B with the embedding, which is looked up */
    CHECK(speed.decode > 40 && speed.decode < speed.decode_limit && speed.decode_limit < 200);
    q.host_bytes = 2 * GIB;
    CHECK(pare_place(&q, &p, &err) == PARE_ERR_DIFFERENCE && strstr(err.text, "more RAM") != NULL);
    pare_memory_model_close(&s.m);
}

/* "Llama 3.1 8B at FP16 is already 16.1 GB: it does not fit in a 16 GB card once activation is counted"
 * (gigagpu.com/?p=32004), and does on 24 GB; two cards of 16 GB share it. */
static void an_8b_in_vllm(void **state)
{
    (void)state;
    sized_model s;
    pare_placement p;
    pare_buf b = {0};
    pare_error err = {0};
    sized_model_init(&s, "llama-3.1-8b", NULL);
    CHECK(near((double)s.n_bytes, 16.06e9, 0.001));
    pare_place_query q = query_of(&s, "rtx-4080");
    q.runtime = pare_memory_runtime_find("vllm");
    q.run.n_ctx = 16384;
    CHECK(q.runtime != NULL && pare_place(&q, &p, &err) == PARE_ERR_DIFFERENCE);
    q.devices_only = false;
    CHECK_OK(pare_place(&q, &p, &err), &err);
    CHECK(p.n_host_layers > 4 && p.n_host_layers < 24 && p.kind == PARE_PLACED_LAYERS_HOST);
    const uint64_t in_ram = pare_plan_weights(&p.plan, PARE_MEMORY_HOST);
    CHECK(near((double)in_ram, p.n_host_layers * 436.2e6, 0.01)); /* 218 M weights a layer */
    CHECK_OK(pare_launch_vllm(&p, in_ram, &b, &err), &err);
    CHECK(strstr(b.data, "--max-model-len 16384 ") != NULL && strstr(b.data, " --cpu-offload-gb ") != NULL);
    pare_buf_close(&b);

    q.n_devices = 2;
    q.device[1] = q.device[0];
    CHECK_OK(pare_place(&q, &p, &err), &err);
    CHECK(p.kind == PARE_PLACED_ON_DEVICES && p.run.gpu_memory_utilization == 0.93); /* but for 1 GiB of 16376 MiB */
    CHECK_OK(pare_launch_vllm(&p, 0, &b, &err), &err);
    assert_string_equal(b.data, "--max-model-len 16384 --max-num-seqs 1 --kv-cache-dtype auto --gpu-memory-utilization "
                                "0.93 --tensor-parallel-size 2");
    pare_buf_close(&b);
    q.n_devices = 1;
    q.device[0] = pare_memory_device_of(pare_card_find("rtx-3090"));
    q.devices_only = true;
    const pare_context_answer a = largest(&q);
    CHECK(a.n_ctx > 16384 && a.n_ctx < 49152 && a.bound == PARE_CONTEXT_MEMORY);
    pare_memory_model_close(&s.m);
}

/* Published runs of llama.cpp, estimated within two fifths and never above the limit: llama 7B F16 on an RTX 3090
 * (llama.cpp pull request 4766), Qwen3-8B at Q4_K_M on an RTX 5090 (CambrianTech/continuum pull request 1627), and
 * Qwen3-30B-A3B at Q4_K_M with the experts of 36 layers in RAM of 102 GB/s beside 448 GB/s (AlexsJones/llmfit pull
 * request 755). */
static void speeds_that_were_measured(void **state)
{
    (void)state;
    static const char llama_7b[] =
        "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":4096,\"intermediate_size\":11008,\"num_attention_"
        "heads\":32,\"num_key_value_heads\":32,"
        "\"num_hidden_layers\":32,\"vocab_size\":32000,\"max_position_embeddings\":4096,\"rms_norm_eps\":1e-5}";
    static const struct {
        const char *config, *preset, *card;
        double measured;
    } rows[] = {{llama_7b, NULL, "rtx-3090", 48.52},
                {"qwen3-8b", "q4_k_m", "rtx-5090", 221.7},
                {"qwen3-30b-a3b", "q4_k_m", "rtx-3070", 36.7}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sized_model s;
        pare_placement p;
        pare_speed speed;
        pare_error err = {0};
        sized_model_init(&s, rows[i].config, rows[i].preset);
        pare_place_query q = query_of(&s, rows[i].card);
        q.run.n_ctx = 1024;
        q.devices_only = false;
        CHECK_OK(pare_place(&q, &p, &err), &err);
        if (i == 2)
            p.n_host_experts = 36;
        const pare_speed_input in = {.depth = 128, .host_bandwidth = i == 2 ? 102e9 : 0};
        CHECK_OK(pare_speed_estimate(&speed, &q, &p, &in, &err), &err);
        CHECK(speed.decode_limit > rows[i].measured && near(speed.decode, rows[i].measured, 0.4));
        uint64_t read;
        CHECK_OK(pare_memory_read_per_token(&s.m, &read, &err), &err);
        CHECK(near((double)speed.weights, (double)read, 1e-6));
        pare_memory_model_close(&s.m);
    }
}

/* Context by memory, as guides print it: more memory or a smaller cache is never a shorter context. */
static void the_table_rises(void **state)
{
    (void)state;
    sized_model s;
    pare_error err = {0};
    sized_model_init(&s, "llama-3.1-8b", "q4_k_m");
    CHECK(near((double)s.n_bytes, 4.92e9, 0.003)); /* bartowski/Meta-Llama-3.1-8B-Instruct-GGUF */
    const pare_place_query q = query_of(&s, "rtx-3060");
    const uint64_t sizes[] = {4 * GIB, 8 * GIB, 12 * GIB, 24 * GIB, 48 * GIB};
    const pare_cache_types types[] = {f16, q8_0, {PARE_TYPE_Q4_0, PARE_TYPE_Q4_0}};
    uint64_t cells[15];
    CHECK_OK(pare_context_table(&q, false, sizes, 5, types, 3, cells, &err), &err);
    for (size_t i = 0; i < 15; i++) {
        CHECK(i % 3 == 0 || cells[i] >= cells[i - 1]);
        CHECK(i < 3 || cells[i] >= cells[i - 3]);
    }
    /* an 8 GB card cannot hold 32K in f16, and can with 8 bits (dev.to, as above) */
    CHECK(cells[0] == 0 && cells[3] < 32768 && cells[3] > 8192 && cells[4] > 24 * 1024 && cells[12] == 131072);
    pare_memory_model_close(&s.m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cache_of_1024_tokens),
        cmocka_unit_test(a_32b_on_24_gb),
        cmocka_unit_test(a_70b_on_24_gb),
        cmocka_unit_test(a_mixture_on_12_gb),
        cmocka_unit_test(an_8b_in_vllm),
        cmocka_unit_test(speeds_that_were_measured),
        cmocka_unit_test(the_table_rises),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
