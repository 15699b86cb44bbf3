/* Latent attention: a file that makes keys and values by one tensor computes what one with two does; and what a
 * config.json of such a model, or of its experts, may not say. */
#include "check.h"

#include "core/json.h"
#include "eval/cache.h"
#include "eval/kv.h"
#include "formats/hf.h"
#include "formats/open.h"
#include "memory/memory.h"
#include "model/view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEQ = 2, LEN = 24 };
static const char family[] = "tests/families/deepseek_v3";

static float *logits_of(const pare_model *m, const int32_t *ids)
{
    pare_backend *b = NULL;
    pare_forward *f = NULL;
    pare_error err = {0};
    size_t n = (size_t)LEN * m->hp.n_vocab;
    float *out = check_malloc(SEQ * n * sizeof *out);
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    CHECK_OK(pare_forward_open(&f, m, b, LEN, SEQ, &err), &err);
    CHECK_OK(pare_forward_run(f, ids, SEQ, LEN, &err), &err);
    for (uint32_t s = 0; s < SEQ; s++)
        CHECK_OK(pare_forward_logits(f, s, 0, LEN, out + s * n, &err), &err);
    pare_forward_close(f);
    b->close(b);
    return out;
}

static void one_tensor_computes_what_two_do(void **state)
{
    (void)state;
    pare_model m = {0}, older = {0};
    pare_error err = {0};
    size_t n_ids = 0;
    char path[512], name[64];
    CHECK_OK(pare_hf_open(&m, source_path(family), PARE_OPEN_NO_VOCAB, &err), &err);
    snprintf(path, sizeof path, "%s/tokens.i32", source_path(family));
    int32_t *ids = (int32_t *)(void *)check_read_file(path, &n_ids);
    CHECK(n_ids == SEQ * LEN * sizeof *ids);
    float *split = logits_of(&m, ids);
    older.path = m.path;
    older.arch = m.arch;
    older.hp = m.hp;
    older.hp.latent_whole = true;
    CHECK_OK(pare_model_reserve(&older, m.n_tensors + m.hp.n_layer, &err), &err);
    for (size_t i = 0; i < m.n_tensors; i++)
        CHECK_OK(pare_model_add(&older, &m.tensors[i], NULL, &err), &err);
    for (uint32_t layer = 0; layer < m.hp.n_layer; layer++) {
        pare_tensor whole;
        CHECK_OK(pare_view_latent_unite(&m.arena, &whole, pare_model_weight(&m, PARE_W_ATTN_K_B, layer, "weight"),
                                        pare_model_weight(&m, PARE_W_ATTN_V_B, layer, "weight"), &err),
                 &err);
        whole.name = pare_weight_name(name, sizeof name, PARE_W_ATTN_KV_B, layer, "weight");
        CHECK_OK(pare_model_add(&older, &whole, NULL, &err), &err);
    }
    float *whole = logits_of(&older, ids);
    double largest = 0;
    for (size_t i = 0; i < SEQ * LEN * (size_t)m.hp.n_vocab; i++)
        largest = fmax(largest, fabs((double)split[i] - (double)whole[i]));
    CHECK(largest < 1e-4);
    free(ids);
    free(split);
    free(whole);
    pare_model_close(&older);
    pare_model_close(&m);
}

/* The numbers of the family's config.json with a member changed. */
static pare_status read_changed(const char *member, const char *value, pare_hparams *hp, pare_error *err)
{
    char path[512];
    json_t *config = NULL, *changed = json_loads(value, JSON_DECODE_ANY, NULL);
    snprintf(path, sizeof path, "%s/config.json", source_path(family));
    CHECK_OK(pare_json_load(&config, path, 1 << 20, PARE_JSON_BIG_AS_REAL, err), err);
    CHECK(changed != NULL && json_object_set_new(config, member, changed) == 0);
    *err = (pare_error){0};
    pare_status st = pare_hparams_from_config(hp, pare_arch_find("deepseek2"), config, "c.json", err);
    json_decref(config);
    return st;
}

static void refuses_configs_that_contradict_themselves(void **state)
{
    (void)state;
    static const struct {
        const char *member, *value, *words;
        pare_status status;
    } bad[] = {
        {"n_group", "5", "groups must divide", PARE_ERR_RANGE},
        {"topk_group", "5", "groups", PARE_ERR_RANGE},
        {"topk_group", "0", "groups", PARE_ERR_RANGE},
        {"n_group", "12", "hold 2", PARE_ERR_RANGE},
        {"first_k_dense_replace", "4", "4 leading dense layers of 3", PARE_ERR_RANGE},
        {"moe_layer_freq", "2", "'moe_layer_freq' is 2", PARE_ERR_UNSUPPORTED},
        {"scoring_func", "\"softmax\"", "'scoring_func' is 'softmax'", PARE_ERR_UNSUPPORTED},
        {"scoring_func", "\"other\"", "'scoring_func' is 'other'", PARE_ERR_UNSUPPORTED},
        {"topk_method", "\"other\"", "'topk_method' is 'other'", PARE_ERR_UNSUPPORTED},
        {"routed_scaling_factor", "-1", "'routed_scaling_factor' is -1", PARE_ERR_RANGE},
        {"n_shared_experts", "16000000", "n_shared_experts", PARE_ERR_RANGE},
        {"rope_interleave", "false", "'rope_interleave' is false", PARE_ERR_UNSUPPORTED},
        {"num_key_value_heads", "1", "'num_key_value_heads' is 1", PARE_ERR_RANGE},
        {"kv_lora_rank", "0", "kv_lora_rank", PARE_ERR_RANGE},
        {"qk_rope_head_dim", "7", "RoPE over 7", PARE_ERR_RANGE},
    };
    pare_hparams hp;
    pare_error err = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pare_status st = read_changed(bad[i].member, bad[i].value, &hp, &err);
        if (st != bad[i].status || strstr(err.text, bad[i].words) == NULL)
            fail_msg("%s = %s: status %d, '%s'", bad[i].member, bad[i].value, (int)st, err.text);
    }
    CHECK_OK(read_changed("q_lora_rank", "null", &hp, &err), &err);
    CHECK(hp.n_lora_q == 0 && hp.n_lora_kv == 16 && hp.head_dim_k == 24 && hp.head_dim_v == 12 && hp.n_rot == 8);
    CHECK(pare_stored_heads(&hp) == 1 && pare_cache_width(&hp, 0) == 16 + 8);
    CHECK(hp.n_expert_group == 4 && hp.n_expert_group_used == 2 && hp.expert_score == PARE_EXPERT_SIGMOID &&
          hp.expert_norm && hp.n_layer_dense == 1 && hp.n_ff_shared == 16);
}

/* A layer behind the last is left out, with a warning; one that nothing promises is not. */
static void leaves_out_layers_that_predict_further(void **state)
{
    (void)state;
    pare_hparams hp;
    pare_error err = {0};
    CHECK_OK(read_changed("num_nextn_predict_layers", "2", &hp, &err), &err);
    CHECK(hp.n_layer_extra == 2);
    CHECK_OK(read_changed("num_nextn_predict_layers", "null", &hp, &err), &err);
    CHECK(hp.n_layer_extra == 1);
}

/* A text that is continued: the cache holds one vector a token, of the memory model's bytes, and gives the logits of a
 * window; in floats, in a form that keeps floats, and coded. */
static void a_cache_holds_no_values_of_their_own(void **state)
{
    (void)state;
    static const char *const names[] = {NULL, "f32", "bf16"};
    static const pare_type types[] = {PARE_TYPE_F32, PARE_TYPE_F32, PARE_TYPE_BF16};
    pare_model m = {0};
    pare_memory_model paper = {0};
    pare_backend *b = NULL;
    pare_error err = {0};
    char path[512];
    size_t n_ids = 0;
    CHECK_OK(pare_hf_open(&m, source_path(family), PARE_OPEN_NO_VOCAB, &err), &err);
    CHECK_OK(pare_memory_model_of(&paper, &m, &err), &err);
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    snprintf(path, sizeof path, "%s/tokens.i32", source_path(family));
    int32_t *ids = (int32_t *)(void *)check_read_file(path, &n_ids);
    const size_t n_vocab = m.hp.n_vocab;
    float *want = check_malloc(LEN * n_vocab * sizeof *want), *got = check_malloc(n_vocab * sizeof *got),
          *plain = check_malloc(LEN * n_vocab * sizeof *plain);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const pare_kv_form form = {.k = names[i] != NULL ? pare_kv_codec_find(names[i], PARE_KV_KEYS) : NULL};
        pare_forward *whole = NULL, *f = NULL;
        pare_cache c = {0};
        uint64_t bytes = 0;
        double largest = 0, coded = 0;
        CHECK_OK(pare_forward_open(&whole, &m, b, LEN, 1, &err), &err);
        CHECK_OK(pare_forward_open_tokens(&f, &m, b, LEN, LEN, &err), &err);
        if (form.k != NULL) {
            CHECK_OK(pare_forward_keep(whole, &form, &err), &err);
            CHECK_OK(pare_forward_keep(f, &form, &err), &err);
        }
        CHECK_OK(pare_forward_run(whole, ids, 1, LEN, &err), &err);
        CHECK_OK(pare_forward_logits(whole, 0, 0, LEN, i == 0 ? plain : want, &err), &err);
        const float *expected = i == 0 ? plain : want;
        CHECK_OK(pare_cache_open(&c, f, 2, &err), &err);
        CHECK_OK(pare_memory_cache_per_token(&paper, types[i], types[i], &bytes, &err), &err);
        CHECK(c.n_bytes == 2 * LEN * bytes);
        while (c.n[1] < LEN) { /* of the second sequence, whose rows begin behind the first's */
            const uint32_t n = c.n[1] == 0 ? 5 : LEN - c.n[1] < 3 ? LEN - c.n[1] : 3;
            CHECK_OK(pare_cache_extend(&c, &(pare_extension){1, n, ids + c.n[1]}, 1, &err), &err);
            CHECK_OK(pare_cache_logits(&c, got, &err), &err);
            for (size_t v = 0; v < n_vocab; v++) {
                const size_t at = (c.n[1] - 1) * n_vocab + v;
                largest = fmax(largest, fabs((double)got[v] - (double)expected[at]));
                coded = fmax(coded, fabs((double)got[v] - (double)plain[at]));
            }
        }
        CHECK(largest < 1e-5 && (types[i] == PARE_TYPE_F32) == (coded < 1e-5));
        CHECK_OK(pare_cache_copy(&c, 1, 0, LEN - 1, &err), &err);
        CHECK_OK(pare_cache_extend(&c, &(pare_extension){0, 1, ids + LEN - 1}, 1, &err), &err);
        CHECK_OK(pare_cache_logits(&c, got, &err), &err);
        for (size_t v = 0; v < n_vocab; v++)
            CHECK(fabsf(got[v] - expected[(LEN - 1) * n_vocab + v]) < 1e-5f);
        pare_cache_close(&c);
        pare_forward_close(f);
        pare_forward_close(whole);
    }
    free(plain);
    free(want);
    free(got);
    free(ids);
    b->close(b);
    pare_memory_model_close(&paper);
    pare_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_tensor_computes_what_two_do),
        cmocka_unit_test(a_cache_holds_no_values_of_their_own),
        cmocka_unit_test(refuses_configs_that_contradict_themselves),
        cmocka_unit_test(leaves_out_layers_that_predict_further),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
