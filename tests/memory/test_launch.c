/* Options: their spelling, and that llama.cpp's arithmetic takes them for what was planned */
#include "check.h"
#include "fake_runtime.h"

#include "memory/launch.h"

#include <stdlib.h>
#include <string.h>

static char *llama(const pare_placement *p)
{
    pare_buf b = {0};
    pare_error err = {0};
    CHECK_OK(pare_launch_llama_cpp(p, &b, &err), &err);
    return b.data;
}

static pare_placement placed(const pare_place_query *q)
{
    pare_placement p;
    pare_error err = {0};
    CHECK_OK(pare_place(q, &p, &err), &err);
    return p;
}

static void says(const pare_placement *p, const char *wanted)
{
    char *text = llama(p);
    assert_string_equal(text, wanted);
    free(text);
}

static void options_of_llama_cpp(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 10, false);
    pare_place_query q = fake_query(&f, 10000, 0, 0);
    pare_placement p = placed(&q);
    says(&p, "-ngl 11 -c 1024 -np 1 -b 2048 -ub 512 -ctk f16 -ctv f16 -fa on");
    q = fake_query(&f, 2000, 1800, 0);
    q.run.n_seq = 4;
    q.run.cache_k = PARE_TYPE_Q8_0;
    q.run.cache_v = PARE_TYPE_IQ4_NL;
    q.run.no_mmap = q.run.swa_full = q.run.cache_on_host = q.run.embeddings = q.run.no_flash_attn = true;
    p = placed(&q);
    says(&p, "-ngl 9 --tensor-split 5,4 -ot 'blk\\.2\\.(ffn_down)\\.=CPU' -c 1024 -np 4 --kv-unified -b 2048 -ub 512 "
             "-ctk q8_0 -ctv iq4_nl -fa off "
             "--swa-full --no-kv-offload --embeddings --load-mode none");
    p.run.per_sequence = true;
    char *text = llama(&p);
    CHECK(strstr(text, "-np 4 --no-kv-unified ") != NULL);
    free(text);
    q = fake_query(&f, 0, 0, 0);
    p = placed(&q);
    says(&p, "-ngl 0 -c 1024 -np 1 -b 2048 -ub 512 -ctk f16 -ctv f16 -fa on");

    fake_model_init(&f, 9, true);
    q = fake_query(&f, 1407 + 6 * 700 + 350, 0, 0);
    p = placed(&q);
    says(&p, "-ngl 10 --n-cpu-moe 2 -ot 'blk\\.2\\.(ffn_down_exps)\\.=CPU' -c 1024 -np 1 -b 2048 -ub 512 -ctk f16 -ctv "
             "f16 -fa on");
    q = fake_query(&f, 1407 + 6 * 700 + 150, 0, 0);
    p = placed(&q);
    text = llama(&p);
    CHECK(strstr(text, "--n-cpu-moe 2 -ot 'blk\\.2\\.(ffn_up_exps|ffn_down_exps)\\.=CPU' ") != NULL);
    free(text);

    pare_buf b = {0};
    pare_error err = {0};
    p.run.cache_k = PARE_TYPE_Q4_K;
    CHECK(pare_launch_llama_cpp(&p, &b, &err) == PARE_ERR_UNSUPPORTED && strstr(err.text, "q4_K") != NULL);
    p.run.cache_k = PARE_TYPE_F16;
    p.plan.n_ctx = UINT64_C(1) << 40;
    CHECK(pare_launch_llama_cpp(&p, &b, &err) == PARE_ERR_RANGE);
    pare_buf_close(&b);
}

/* llama_model_base::load_tensors, in src/llama-model.cpp: running sums divided by the whole, and the first device whose
 * quotient is above (layer - first) / layers, all in floats. */
static void splits_come_out_as_they_went_in(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (uint32_t trial = 0; trial < 400; trial++) {
        pare_placement p = {.run = {.cache_k = PARE_TYPE_F16, .cache_v = PARE_TYPE_F16}, .plan = {.n_ctx = 256}};
        p.run.n_devices = 2 + trial % 7;
        for (uint32_t d = 0; d < p.run.n_devices; d++) {
            seed = seed * 1664525u + 1013904223u;
            p.run.n_layers_on[d] = trial % 3 == 0 && d == 1 ? 0 : seed >> 26; /* up to 63 */
            p.n_layers += p.run.n_layers_on[d];
        }
        char *text = llama(&p), *at = strstr(text, "--tensor-split ") + strlen("--tensor-split ");
        float split[8] = {0}, sum = 0;
        uint32_t got[8] = {0};
        for (uint32_t d = 0; d < p.run.n_devices; d++, at++) {
            sum += strtof(at, &at);
            split[d] = sum;
        }
        for (uint32_t d = 0; d < p.run.n_devices; d++)
            split[d] /= sum;
        for (uint32_t layer = 0; layer < p.n_layers; layer++) {
            uint32_t d = 0;
            while (d < p.run.n_devices && split[d] <= (float)layer / (float)(int)p.n_layers)
                d++;
            got[d]++;
        }
        assert_memory_equal(got, p.run.n_layers_on, p.run.n_devices * sizeof *got);
        free(text);
    }
}

static void options_of_vllm(void **state)
{
    (void)state;
    fake_model f;
    fake_model_init(&f, 10, false);
    pare_place_query q = fake_query(&f, 10000, 0, 0);
    pare_placement p = placed(&q);
    pare_buf b = {0};
    pare_error err = {0};
    CHECK_OK(pare_launch_vllm(&p, 0, &b, &err), &err);
    assert_string_equal(b.data,
                        "--max-model-len 1024 --max-num-seqs 1 --kv-cache-dtype auto --gpu-memory-utilization 0.9");
    pare_buf_close(&b);
    q = fake_query(&f, 10000, 10000, 0);
    q.run.gpu_memory_utilization = 0.95;
    q.run.n_seq = 8;
    p = placed(&q);
    p.run.cache_k = p.run.cache_v = PARE_TYPE_F8_E4M3;
    CHECK_OK(pare_launch_vllm(&p, 3001 * FAKE_MIB, &b, &err), &err);
    assert_string_equal(b.data,
                        "--max-model-len 1024 --max-num-seqs 8 --kv-cache-dtype fp8 --gpu-memory-utilization 0.95 "
                        "--tensor-parallel-size 2 --cpu-offload-gb 1.47");
    p.run.cache_v = PARE_TYPE_F16;
    CHECK(pare_launch_vllm(&p, 0, &b, &err) == PARE_ERR_UNSUPPORTED);
    p.run.cache_k = p.run.cache_v = PARE_TYPE_Q4_0;
    CHECK(pare_launch_vllm(&p, 0, &b, &err) == PARE_ERR_UNSUPPORTED && strstr(err.text, "q4_0") != NULL);
    pare_buf_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_of_llama_cpp),
        cmocka_unit_test(splits_come_out_as_they_went_in),
        cmocka_unit_test(options_of_vllm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
