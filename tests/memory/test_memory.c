/* Plans: figures that guides print, sizes rounded as the runtime does, what is refused, placement. */
#include "check.h"
#include "core/json.h"
#include "memory/memory.h"

#include <stdio.h>
#include <string.h>

#define KIB UINT64_C(1024)
#define MIB UINT64_C(1048576)
#define GIB UINT64_C(1073741824)

typedef struct paper {
    pare_hparams hp;
    pare_memory_model m;
} paper;

static void open_paper(paper *p, const char *name, pare_type type)
{
    char path[96];
    pare_error err = {0};
    json_t *config = NULL;
    snprintf(path, sizeof path, "tests/data/memory/%s.json", name);
    CHECK_OK(pare_json_load(&config, source_path(path), 1 << 20, PARE_JSON_BIG_AS_REAL, &err), &err);
    const pare_arch *arch =
        pare_arch_find_class(json_string_value(json_array_get(json_object_get(config, "architectures"), 0)), NULL);
    CHECK(arch != NULL);
    CHECK_OK(pare_hparams_from_config(&p->hp, arch, config, path, &err), &err);
    CHECK_OK(pare_memory_model_on_paper(&p->m, arch, &p->hp, type, &err), &err);
    json_decref(config);
}

static pare_memory_plan planned(const paper *p, const pare_memory_run *run)
{
    pare_memory_plan plan;
    pare_error err = {0};
    CHECK_OK(pare_memory_runtime_find("llama.cpp")->plan(&plan, &p->m, run, &err), &err);
    return plan;
}

static void refused(const paper *p, const pare_memory_run *run, const char *word)
{
    pare_memory_plan plan;
    pare_error err = {0};
    assert_int_equal(pare_memory_runtime_find("llama.cpp")->plan(&plan, &p->m, run, &err), PARE_ERR_USAGE);
    if (strstr(err.text, word) == NULL)
        check_failed(__FILE__, __LINE__, err.text);
}

static pare_memory_run request(uint64_t n_ctx)
{
    pare_memory_run run;
    pare_memory_run_default(&run);
    run.n_ctx = n_ctx;
    return run;
}

static uint64_t host(const pare_memory_plan *plan, pare_memory_kind kind)
{
    return pare_memory_of_kind(plan, kind, PARE_MEMORY_HOST);
}

/* ---- figures of guides: 2 x layers x heads x head size x bytes, for 1024 tokens ---- */

static uint64_t per_1k(const char *name, pare_type k, pare_type v)
{
    paper p = {0};
    pare_error err = {0};
    uint64_t bytes = 0;
    open_paper(&p, name, PARE_TYPE_F16);
    CHECK_OK(pare_memory_cache_per_token(&p.m, k, v, &bytes, &err), &err);
    pare_memory_model_close(&p.m);
    return 1024 * bytes;
}

static void test_cache_per_1k_tokens(void **state)
{
    (void)state;
    assert_int_equal(per_1k("llama-3.1-8b", PARE_TYPE_F16, PARE_TYPE_F16), 128 * MIB);
    assert_int_equal(per_1k("llama-3.1-8b", PARE_TYPE_F8_E4M3, PARE_TYPE_F8_E4M3), 64 * MIB);
    assert_int_equal(per_1k("llama-3.1-8b", PARE_TYPE_Q8_0, PARE_TYPE_Q8_0), 68 * MIB);
    assert_int_equal(per_1k("llama-3.1-8b", PARE_TYPE_Q4_0, PARE_TYPE_Q4_0), 36 * MIB);
    assert_int_equal(per_1k("qwen3-8b", PARE_TYPE_F16, PARE_TYPE_F16), 144 * MIB);
    assert_int_equal(per_1k("llama-3.1-70b", PARE_TYPE_F16, PARE_TYPE_F16), 320 * MIB);
    assert_int_equal(per_1k("qwen2.5-32b", PARE_TYPE_F16, PARE_TYPE_F16), 256 * MIB);
    /* Latent attention: one row of 512 + 64 a layer and token. */
    assert_int_equal(per_1k("deepseek-v3", PARE_TYPE_F16, PARE_TYPE_F16), 61 * 576 * 2 * KIB);
    /* Only the layers that see all grow: 8 of 48, and 12 of 48 that are not recurrent. */
    assert_int_equal(per_1k("gemma-3-12b", PARE_TYPE_F16, PARE_TYPE_F16), 8 * 2 * 8 * 256 * 2 * KIB);
    assert_int_equal(per_1k("qwen3-next-80b-a3b", PARE_TYPE_F16, PARE_TYPE_F16), 12 * 2 * 2 * 256 * 2 * KIB);
}

/* The plan's cache at a real context is that many thousands of it. */
static void test_cache_of_a_context(void **state)
{
    paper p = {0};
    pare_memory_run run = request(32768);
    (void)state;
    open_paper(&p, "llama-3.1-8b", PARE_TYPE_F16);
    pare_memory_plan plan = planned(&p, &run);
    assert_int_equal(host(&plan, PARE_MEMORY_CACHE), 32 * 128 * MIB);
    assert_int_equal(host(&plan, PARE_MEMORY_WEIGHTS), 2 * UINT64_C(8030261248) + 2 * 65 * 4096); /* norms in F32 */
    pare_memory_model_close(&p.m);
}

/* A window keeps itself and a batch, in steps of 256. */
static void test_window(void **state)
{
    paper p = {0};
    pare_memory_run run = request(32768);
    (void)state;
    open_paper(&p, "gemma-3-12b", PARE_TYPE_F16);
    uint64_t row = 2 * 8 * 256 * 2;
    pare_memory_plan plan = planned(&p, &run);
    assert_int_equal(host(&plan, PARE_MEMORY_CACHE), row * (8 * 32768 + 40 * 1536));
    run.n_ubatch = 300;
    plan = planned(&p, &run);
    assert_int_equal(host(&plan, PARE_MEMORY_CACHE), row * (8 * 32768 + 40 * 1536)); /* 1324 */
    run.n_ubatch = 200;
    plan = planned(&p, &run);
    assert_int_equal(host(&plan, PARE_MEMORY_CACHE), row * (8 * 32768 + 40 * 1280));
    run.swa_full = true;
    plan = planned(&p, &run);
    assert_int_equal(host(&plan, PARE_MEMORY_CACHE), row * 48 * 32768);
    pare_memory_model_close(&p.m);
}

/* 48 recurrent layers' states grow with sequences, not with tokens. */
static void test_recurrent_state(void **state)
{
    paper p = {0};
    pare_memory_run run = request(4096);
    (void)state;
    open_paper(&p, "qwen3-next-80b-a3b", PARE_TYPE_F16);
    uint64_t layer = 4 * (3 * (32 * 128 + 2 * 16 * 128) + 128 * 32 * 128);
    uint64_t kv = 12 * 2 * 2 * 256 * 2;
    pare_memory_plan plan = planned(&p, &run);
    assert_int_equal(host(&plan, PARE_MEMORY_CACHE), 36 * layer + kv * 4096);
    run.n_seq = 4;
    plan = planned(&p, &run);
    assert_int_equal(host(&plan, PARE_MEMORY_CACHE), 4 * 36 * layer + kv * 4096);
    pare_memory_model_close(&p.m);
}

static void test_rounding(void **state)
{
    paper p = {0};
    pare_memory_run run = request(1000);
    (void)state;
    open_paper(&p, "qwen3-8b", PARE_TYPE_F16);
    pare_memory_plan plan = planned(&p, &run);
    assert_int_equal(plan.n_ctx, 1024);
    assert_int_equal(plan.n_batch, 1000); /* no more than the context that was asked for */
    assert_int_equal(plan.n_ubatch, 512);
    run.n_seq = 3;
    run.per_sequence = true;
    plan = planned(&p, &run);
    assert_int_equal(plan.n_ctx_seq, 512); /* 1024 / 3 = 341, in steps of 256 */
    assert_int_equal(plan.n_ctx, 1536);
    run = request(0);
    plan = planned(&p, &run);
    assert_int_equal(plan.n_ctx, 40960); /* what it was trained for */
    pare_memory_model_close(&p.m);
}

static void test_output_buffer(void **state)
{
    paper p = {0};
    pare_memory_run run = request(512);
    (void)state;
    open_paper(&p, "qwen3-8b", PARE_TYPE_F16);
    run.n_seq = 4;
    pare_memory_plan plan = planned(&p, &run);
    assert_int_equal(host(&plan, PARE_MEMORY_OUTPUT), 4 * 4 * 151936);
    run.n_outputs_buffer = 512;
    run.embeddings = true;
    plan = planned(&p, &run);
    assert_int_equal(host(&plan, PARE_MEMORY_OUTPUT), 512 * 4 * (151936 + 4096));
    pare_memory_model_close(&p.m);
}

static void test_refused(void **state)
{
    paper p = {0}, latent = {0};
    pare_memory_run run = request(512);
    (void)state;
    open_paper(&p, "qwen3-8b", PARE_TYPE_F16);
    open_paper(&latent, "deepseek-v3", PARE_TYPE_F16);
    run.cache_v = PARE_TYPE_Q8_0;
    run.no_flash_attn = true;
    refused(&p, &run, "flash attention");
    run = request(512);
    run.cache_k = PARE_TYPE_Q8_0;
    refused(&latent, &run, "latent");
    run = request(512);
    run.cache_k = run.cache_v = PARE_TYPE_Q4_K;
    refused(&p, &run, "blocks of 256");
    run = request(UINT64_C(1) << 33);
    refused(&p, &run, "32 bits");
    run = request(512);
    run.n_devices = 2;
    run.n_layers_on[0] = 30;
    run.n_layers_on[1] = 8;
    refused(&p, &run, "38 layers");
    run = request(512);
    run.n_seq = 300;
    refused(&p, &run, "300 sequences");
    pare_memory_model_close(&p.m);
    pare_memory_model_close(&latent.m);
}

/* ---- types and places ---- */

static void test_retype(void **state)
{
    paper p = {0};
    pare_error err = {0};
    (void)state;
    open_paper(&p, "qwen3-8b", PARE_TYPE_F16);
    CHECK_OK(pare_memory_retype(&p.m, "blk.7.ffn_down.weight", PARE_TYPE_Q4_K, &err), &err);
    assert_int_equal(pare_memory_find(&p.m, "blk.7.ffn_down.weight")->n_bytes, 4096 * 12288 / 256 * 144);
    assert_int_equal(pare_memory_retype(&p.m, "blk.99.ffn_down.weight", PARE_TYPE_Q4_K, &err), PARE_ERR_USAGE);
    assert_int_equal(pare_memory_retype(&p.m, "blk.0.attn_q_norm.weight", PARE_TYPE_Q4_K, &err), PARE_ERR_RANGE);
    pare_memory_model_close(&p.m);
}

/* The output and the last layers go to the device; embedding and the first layers stay. */
static void test_layers_on_devices(void **state)
{
    paper p = {0};
    pare_memory_run run = request(4096);
    (void)state;
    open_paper(&p, "qwen3-8b", PARE_TYPE_F16);
    run.no_mmap = true;
    uint64_t layer = 0, embd = 2 * UINT64_C(4096) * 151936, norm = 4 * 4096;
    for (size_t i = 0; i < p.m.n_tensors; i++)
        if (pare_memory_layer_of(&p.m.tensors[i]) == 0)
            layer += p.m.tensors[i].n_bytes;
    run.n_devices = 2;
    run.n_layers_on[0] = 10;
    run.n_layers_on[1] = 6; /* five layers and the output */
    pare_memory_plan plan = planned(&p, &run);
    assert_int_equal(host(&plan, PARE_MEMORY_WEIGHTS), embd + 21 * layer);
    assert_int_equal(pare_memory_of_kind(&plan, PARE_MEMORY_WEIGHTS, 0), 10 * layer);
    assert_int_equal(pare_memory_of_kind(&plan, PARE_MEMORY_WEIGHTS, 1), 5 * layer + embd + norm);
    assert_int_equal(pare_memory_of_kind(&plan, PARE_MEMORY_CACHE, 1), 5 * 4 * 4 * MIB);
    assert_int_equal(host(&plan, PARE_MEMORY_CACHE), 21 * 4 * 4 * MIB);
    CHECK(pare_memory_of_kind(&plan, PARE_MEMORY_COMPUTE, 1) > 512 * 4 * UINT64_C(151936));
    CHECK(pare_memory_of_kind(&plan, PARE_MEMORY_DRIVER, 0) > 0);
    run.cache_on_host = true;
    plan = planned(&p, &run);
    assert_int_equal(host(&plan, PARE_MEMORY_CACHE), 36 * 4 * 4 * MIB);
    pare_memory_model_close(&p.m);
}

static void test_experts_on_the_host(void **state)
{
    paper p = {0};
    pare_memory_run run = request(4096);
    (void)state;
    open_paper(&p, "qwen3-30b-a3b", PARE_TYPE_F16);
    run.no_mmap = true;
    run.n_devices = 1;
    run.n_layers_on[0] = 49;
    pare_memory_plan all = planned(&p, &run);
    uint64_t experts = 0;
    for (size_t i = 0; i < p.m.n_tensors; i++) {
        if (!pare_memory_is_expert(&p.m.tensors[i]))
            continue;
        p.m.tensors[i].place = PARE_MEMORY_HOST;
        experts += p.m.tensors[i].n_bytes;
    }
    pare_memory_plan split = planned(&p, &run);
    assert_int_equal(experts, 48 * 3 * UINT64_C(128) * 2048 * 768 * 2);
    assert_int_equal(pare_memory_of_kind(&all, PARE_MEMORY_WEIGHTS, 0) -
                         pare_memory_of_kind(&split, PARE_MEMORY_WEIGHTS, 0),
                     experts);
    assert_int_equal(host(&split, PARE_MEMORY_WEIGHTS) - host(&all, PARE_MEMORY_WEIGHTS), experts);
    pare_memory_model_close(&p.m);
}

/* A token reads 8 of 128 experts and one row of the embedding. */
static void test_read_per_token(void **state)
{
    paper p = {0};
    pare_error err = {0};
    uint64_t bytes = 0, all = 0;
    (void)state;
    open_paper(&p, "qwen3-30b-a3b", PARE_TYPE_F16);
    for (size_t i = 0; i < p.m.n_tensors; i++)
        all += p.m.tensors[i].n_bytes;
    uint64_t experts = 48 * 3 * UINT64_C(128) * 2048 * 768 * 2, embd = UINT64_C(151936) * 2048 * 2;
    CHECK_OK(pare_memory_read_per_token(&p.m, &bytes, &err), &err);
    assert_int_equal(bytes, all - experts + experts / 16 - embd + 2048 * 2);
    pare_memory_model_close(&p.m);
}

static void test_cache_read_at_depth(void **state)
{
    paper p = {0};
    pare_error err = {0};
    uint64_t bytes = 0;
    (void)state;
    open_paper(&p, "gemma-3-12b", PARE_TYPE_F16);
    CHECK_OK(pare_memory_cache_read(&p.m, PARE_TYPE_F16, PARE_TYPE_F16, 8192, &bytes, &err), &err);
    assert_int_equal(bytes, 2 * 8 * 256 * 2 * UINT64_C(1) * (8 * 8192 + 40 * 1024));
    pare_memory_model_close(&p.m);
}

static void test_sums(void **state)
{
    paper p = {0};
    pare_memory_run run = request(4096);
    pare_memory_sum sums[2] = {{0}};
    (void)state;
    open_paper(&p, "qwen3-8b", PARE_TYPE_F16);
    run.n_devices = 1;
    run.n_layers_on[0] = 37;
    run.reserve = GIB;
    run.projector_bytes = 600 * MIB;
    run.draft_bytes = 500 * MIB;
    pare_memory_plan plan = planned(&p, &run);
    for (size_t i = 0; i < plan.n_parts; i++) {
        const pare_memory_part *part = &plan.parts[i];
        CHECK(part->low <= part->bytes && part->bytes <= part->high);
        CHECK(part->name[0] != '\0' && part->depends[0] != '\0');
        sums[part->place + 1].bytes += part->bytes;
        sums[part->place + 1].low += part->low;
        sums[part->place + 1].high += part->high;
    }
    assert_memory_equal(&sums[0], &plan.host, sizeof sums[0]);
    assert_memory_equal(&sums[1], &plan.device[0], sizeof sums[1]);
    assert_int_equal(pare_memory_of_kind(&plan, PARE_MEMORY_RESERVE, 0), GIB);
    assert_int_equal(pare_memory_of_kind(&plan, PARE_MEMORY_BESIDE, 0), 1100 * MIB);
    CHECK(plan.n_missing > 0);
    pare_memory_model_close(&p.m);
}

static void test_overflow(void **state)
{
    paper p = {0};
    pare_memory_run run = request(512);
    pare_memory_plan plan;
    pare_error err = {0};
    (void)state;
    open_paper(&p, "qwen3-8b", PARE_TYPE_F16);
    p.m.tensors[3].n_bytes = UINT64_MAX - 100;
    assert_int_equal(pare_memory_runtime_find("llama.cpp")->plan(&plan, &p.m, &run, &err), PARE_ERR_RANGE);
    p.m.tensors[3].n_bytes = 0;
    run.draft_bytes = UINT64_MAX - 100;
    assert_int_equal(pare_memory_runtime_find("llama.cpp")->plan(&plan, &p.m, &run, &err), PARE_ERR_RANGE);
    pare_memory_model_close(&p.m);
}

/* Two devices: half of each matrix, half of the heads, norms on both; blocks of 16 tokens; a tenth is left free. */
static void test_vllm(void **state)
{
    paper p = {0};
    pare_memory_run run = request(1000);
    pare_memory_plan plan;
    pare_error err = {0};
    const pare_memory_runtime *vllm = pare_memory_runtime_find("vLLM");
    (void)state;
    open_paper(&p, "llama-3.1-8b", PARE_TYPE_BF16);
    run.n_seq = 2;
    run.per_sequence = true;
    run.n_devices = 2;
    run.device_bytes[0] = run.device_bytes[1] = 20 * GIB;
    CHECK_OK(vllm->plan(&plan, &p.m, &run, &err), &err);
    uint64_t norms = 65 * 4096, weights = 2 * (UINT64_C(8030261248) - norms);
    assert_int_equal(pare_memory_of_kind(&plan, PARE_MEMORY_WEIGHTS, 0), weights / 2 + 4 * norms);
    assert_int_equal(pare_memory_of_kind(&plan, PARE_MEMORY_CACHE, 1), 2 * 512 * 64 * KIB); /* 500 tokens */
    assert_int_equal(plan.n_ctx_seq, 500);
    CHECK(pare_memory_of_kind(&plan, PARE_MEMORY_RESERVE, 0) >= 2 * GIB - 1 &&
          pare_memory_of_kind(&plan, PARE_MEMORY_RESERVE, 0) <= 2 * GIB + 1);
    run.reserve = 3 * GIB;
    CHECK_OK(vllm->plan(&plan, &p.m, &run, &err), &err);
    assert_int_equal(pare_memory_of_kind(&plan, PARE_MEMORY_RESERVE, 0), 3 * GIB);
    run.n_devices = 3;
    assert_int_equal(vllm->plan(&plan, &p.m, &run, &err), PARE_ERR_USAGE);
    run.n_devices = 1;
    run.cache_k = run.cache_v = PARE_TYPE_Q8_0;
    assert_int_equal(vllm->plan(&plan, &p.m, &run, &err), PARE_ERR_USAGE);
    pare_memory_model_close(&p.m);
}

/* A window's layers need the window, a batch and one block more. */
static void test_vllm_window(void **state)
{
    paper p = {0};
    pare_memory_run run = request(32768);
    pare_memory_plan plan;
    pare_error err = {0};
    (void)state;
    open_paper(&p, "gemma-3-12b", PARE_TYPE_BF16);
    run.n_devices = 1;
    CHECK_OK(pare_memory_runtime_find("vllm")->plan(&plan, &p.m, &run, &err), &err);
    uint64_t block = 16 * 2 * 8 * 256 * 2;
    assert_int_equal(pare_memory_of_kind(&plan, PARE_MEMORY_CACHE, 0),
                     block * (8 * 2048 + 40 * ((1023 + 2048 + 15) / 16 + 1)));
    pare_memory_model_close(&p.m);
}

static void test_plain(void **state)
{
    paper p = {0};
    pare_memory_run run = request(1000);
    pare_memory_plan plan;
    pare_error err = {0};
    const pare_memory_runtime *plain = pare_memory_runtime_find("plain");
    (void)state;
    open_paper(&p, "gemma-3-12b", PARE_TYPE_F16);
    CHECK_OK(plain->plan(&plan, &p.m, &run, &err), &err);
    assert_int_equal(host(&plan, PARE_MEMORY_CACHE), 48 * 1000 * 2 * 8 * 256 * 2);
    run.n_ctx = 10000;
    CHECK_OK(plain->plan(&plan, &p.m, &run, &err), &err);
    assert_int_equal(host(&plan, PARE_MEMORY_CACHE), (8 * 10000 + 40 * 1024) * UINT64_C(2) * 8 * 256 * 2);
    assert_int_equal(plan.n_ctx, 10000);
    assert_int_equal(plan.host.bytes, host(&plan, PARE_MEMORY_CACHE) + host(&plan, PARE_MEMORY_WEIGHTS));
    pare_memory_model_close(&p.m);
}

static void test_runtimes(void **state)
{
    (void)state;
    assert_string_equal(pare_memory_runtime_at(0)->name, "llama.cpp");
    CHECK(pare_memory_runtime_find("LLAMA.CPP") == pare_memory_runtime_at(0));
    CHECK(pare_memory_runtime_find("nothing") == NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cache_per_1k_tokens),
                                       cmocka_unit_test(test_cache_of_a_context),
                                       cmocka_unit_test(test_window),
                                       cmocka_unit_test(test_recurrent_state),
                                       cmocka_unit_test(test_rounding),
                                       cmocka_unit_test(test_output_buffer),
                                       cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_retype),
                                       cmocka_unit_test(test_layers_on_devices),
                                       cmocka_unit_test(test_experts_on_the_host),
                                       cmocka_unit_test(test_read_per_token),
                                       cmocka_unit_test(test_cache_read_at_depth),
                                       cmocka_unit_test(test_sums),
                                       cmocka_unit_test(test_overflow),
                                       cmocka_unit_test(test_runtimes),
                                       cmocka_unit_test(test_vllm),
                                       cmocka_unit_test(test_vllm_window),
                                       cmocka_unit_test(test_plain)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
