/* config.json to hyperparameters and back; metadata is tested with the architecture table (test_arch.c) */
#include "check.h"
#include "model/arch.h"

#include <stdio.h>
#include <string.h>

/* The hyperparameters of a model of four layers of the class, with the members of patch (JSON) over the base. */
static pare_status read_config(const char *class, const char *patch, pare_hparams *hp, pare_error *err)
{
    static const char base[] = "{\"hidden_size\":64,\"intermediate_size\":96,\"num_attention_heads\":4,"
                               "\"num_key_value_heads\":2,\"num_hidden_layers\":4,\"vocab_size\":100,"
                               "\"max_position_embeddings\":256,\"rms_norm_eps\":1e-6}";
    const pare_arch *arch = pare_arch_find_class(class, NULL);
    json_t *config = json_loads(base, 0, NULL), *changes = json_loads(patch, 0, NULL);
    CHECK(arch != NULL && config != NULL && changes != NULL);
    json_object_update(config, changes);
    json_object_set_new(config, "architectures", json_pack("[s]", class));
    pare_status st = pare_hparams_from_config(hp, arch, config, "config.json", err);
    json_decref(config);
    json_decref(changes);
    return st;
}

static pare_hparams read_ok(const char *class, const char *patch)
{
    pare_hparams hp;
    pare_error err = {0};
    CHECK_OK(read_config(class, patch, &hp, &err), &err);
    return hp;
}

static void refused(const char *class, const char *patch, pare_status wanted, const char *words)
{
    pare_hparams hp;
    pare_error err = {0};
    pare_status st = read_config(class, patch, &hp, &err);
    if (st != wanted || strstr(err.text, words) == NULL || strstr(err.text, "config.json") == NULL)
        fail_msg("%s: status %d, '%s'; wanted %d and '%s'", patch, (int)st, err.text, (int)wanted, words);
}

static void reads_both_spellings_of_rope(void **state)
{
    (void)state;
    static const char *const same[] = {
        "{\"rope_theta\":5e5,\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}",
        "{\"rope_theta\":5e5,\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2.0}}",
        "{\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":2,\"rope_theta\":500000}}",
        "{\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"linear\",\"factor\":2,\"rope_theta\":500000}}}",
        "{\"rope_theta\":5e5,\"rope_parameters\":null,\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}",
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        pare_hparams hp = read_ok("LlamaForCausalLM", same[i]);
        CHECK(hp.rope_base == 500000.0f && hp.rope_scaling == PARE_ROPE_LINEAR && hp.rope_factor == 2.0f);
    }
    pare_hparams plain = read_ok("LlamaForCausalLM", "{\"rope_scaling\":null}");
    CHECK(plain.rope_base == 10000.0f && plain.rope_scaling == PARE_ROPE_PLAIN);
    plain = read_ok("LlamaForCausalLM", "{\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":7}}");
    CHECK(plain.rope_base == 7.0f && plain.rope_scaling == PARE_ROPE_PLAIN);
}

static void reads_yarn_and_llama3(void **state)
{
    (void)state;
    pare_hparams hp = read_ok(
        "Qwen2ForCausalLM", "{\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"original_max_position_embeddings\":64,"
                            "\"attention_factor\":1.5,\"beta_fast\":16}}");
    CHECK(hp.rope_scaling == PARE_ROPE_YARN && hp.rope_factor == 4.0f && hp.rope_ctx_orig == 64 &&
          hp.rope_attn_factor == 1.5f && hp.yarn_beta_fast == 16.0f && hp.yarn_beta_slow == 0.0f);
    hp = read_ok(
        "LlamaForCausalLM",
        "{\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":16,\"low_freq_factor\":1,\"high_freq_factor\":4,"
        "\"original_max_position_embeddings\":64}}");
    CHECK(hp.rope_scaling == PARE_ROPE_PLAIN && hp.rope_llama3.factor == 16 && hp.rope_llama3.low == 1 &&
          hp.rope_llama3.high == 4 && hp.rope_llama3.ctx_orig == 64);
    refused("LlamaForCausalLM", "{\"rope_scaling\":{\"rope_type\":\"llama3\"}}", PARE_ERR_FORMAT, "factor");
    refused("Qwen2ForCausalLM",
            "{\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":16,\"low_freq_factor\":1,\"high_freq_factor\":4,"
            "\"original_max_position_embeddings\":64}}",
            PARE_ERR_UNSUPPORTED, "llama3");
    refused("Qwen2ForCausalLM", "{\"rope_scaling\":{\"type\":\"yarn\"}}", PARE_ERR_FORMAT, "factor");
    refused("Qwen2ForCausalLM", "{\"rope_scaling\":{\"type\":\"longrope\",\"factor\":2}}", PARE_ERR_UNSUPPORTED,
            "longrope");
    refused("Qwen2ForCausalLM", "{\"rope_parameters\":{\"rope_theta\":-1}}", PARE_ERR_RANGE, "rope_theta");
}

static void derives_head_sizes(void **state)
{
    (void)state;
    CHECK(read_ok("LlamaForCausalLM", "{}").head_dim_k == 16 &&
          read_ok("LlamaForCausalLM", "{\"head_dim\":null}").head_dim_k == 16);
    CHECK(read_ok("LlamaForCausalLM", "{\"head_dim\":32}").head_dim_k == 32);
    CHECK(read_ok("LlamaForCausalLM", "{\"num_key_value_heads\":null}").n_head_kv == 4);
    CHECK(read_ok("Qwen3ForCausalLM", "{}").head_dim_k == 128); /* the class's default, whatever the width */
    CHECK(!read_ok("Qwen2ForCausalLM", "{}").head_dim_key &&
          read_ok("Qwen2ForCausalLM", "{\"head_dim\":16}").head_dim_key);
    CHECK(read_ok("LlamaForCausalLM", "{}").head_dim_key);
}

static void reads_windows_of_qwen(void **state)
{
    (void)state;
    static const struct {
        const char *patch;
        uint32_t windows[4];
        bool lost;
    } rows[] = {
        {"{\"sliding_window\":16}", {0, 0, 0, 0}, false},                             /* not switched on */
        {"{\"sliding_window\":16,\"use_sliding_window\":true}", {0, 0, 0, 0}, false}, /* from layer 28 on */
        {"{\"sliding_window\":16,\"use_sliding_window\":true,\"max_window_layers\":2}", {0, 0, 16, 16}, true},
        {"{\"sliding_window\":16,\"use_sliding_window\":true,\"max_window_layers\":0}", {16, 16, 16, 16}, true},
        {"{\"sliding_window\":300,\"use_sliding_window\":true,\"max_window_layers\":0}", {300, 300, 300, 300}, false},
        {"{\"sliding_window\":16,\"use_sliding_window\":true,\"layer_types\":[\"sliding_attention\",\"full_attention\","
         "\"sliding_attention\","
         "\"full_attention\"]}",
         {16, 0, 16, 0},
         true},
        {"{\"sliding_window\":16,\"use_sliding_window\":true,\"layer_types\":[\"full_attention\",\"full_attention\","
         "\"full_attention\","
         "\"sliding_attention\"]}",
         {0, 0, 0, 16},
         true},
        {"{\"sliding_window\":16,\"use_sliding_window\":true,\"layer_types\":[\"full_attention\",\"full_attention\","
         "\"full_attention\","
         "\"full_attention\"]}",
         {0, 0, 0, 0},
         false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pare_hparams hp = read_ok("Qwen2ForCausalLM", rows[i].patch);
        for (uint32_t layer = 0; layer < 4; layer++)
            CHECK(pare_layer_window(&hp, layer) == rows[i].windows[layer]);
        CHECK(hp.window_not_in_gguf == rows[i].lost);
    }
}

/* Classes with experts do something else with use_sliding_window. */
static void reads_windows_of_mixtures(void **state)
{
    (void)state;
#define EXPERTS                                                                                                        \
    "\"num_experts\":4,\"num_experts_per_tok\":2,"                                                                     \
    "\"moe_intermediate_size\":8,\"shared_expert_intermediate_size\":8,\"sliding_window\":16,"
    static const struct {
        const char *class, *patch;
        uint32_t windows[4];
    } rows[] = {
        {"Qwen3MoeForCausalLM", "{" EXPERTS "\"use_sliding_window\":true,\"max_window_layers\":3}", {16, 16, 16, 16}},
        {"Qwen3MoeForCausalLM", "{" EXPERTS "\"use_sliding_window\":false}", {0, 0, 0, 0}},
        {"Qwen2MoeForCausalLM", "{" EXPERTS "\"use_sliding_window\":true}", {16, 0, 16, 0}},
        {"Qwen2MoeForCausalLM", "{" EXPERTS "\"use_sliding_window\":true,\"max_window_layers\":1}", {16, 0, 0, 0}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pare_hparams hp = read_ok(rows[i].class, rows[i].patch);
        for (uint32_t layer = 0; layer < 4; layer++)
            CHECK(pare_layer_window(&hp, layer) == rows[i].windows[layer]);
    }
}

/* transformers writes the number of experts under either name, whatever the class calls it. */
static void reads_counts_of_experts_by_any_name(void **state)
{
    (void)state;
    static const char *const names[] = {"num_experts", "num_local_experts"};
    static const char *const classes[] = {"Qwen3MoeForCausalLM", "Qwen2MoeForCausalLM", "OlmoeForCausalLM",
                                          "MixtralForCausalLM"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (size_t j = 0; j < sizeof classes / sizeof *classes; j++) {
            char patch[128];
            snprintf(patch, sizeof patch, "{\"%s\":5,\"num_experts_per_tok\":2}", names[i]);
            CHECK(read_ok(classes[j], patch).n_expert == 5);
        }
}

/* What transformers takes where the config is silent, when it is not what most of the family have. */
static void knows_what_silence_means(void **state)
{
    (void)state;
    pare_hparams hp = read_ok("BitNetForCausalLM", "{}");
    CHECK(pare_arch_act(pare_arch_find("bitnet"), &hp) == PARE_ACT_RELU2);
    hp = read_ok("BitNetForCausalLM", "{\"hidden_act\":\"silu\"}");
    CHECK(pare_arch_act(pare_arch_find("bitnet"), &hp) == PARE_ACT_SILU);
    refused("GptOssForCausalLM", "{" EXPERTS "\"rope_theta\":150000}", PARE_ERR_FORMAT, "rope_scaling");
    refused("GptOssForCausalLM", "{" EXPERTS "\"rope_scaling\":null}", PARE_ERR_FORMAT, "rope_scaling");
    refused("Gemma2ForCausalLM", "{\"tie_word_embeddings\":false}", PARE_ERR_UNSUPPORTED, "tie_word_embeddings");
    CHECK(read_ok("Qwen2MoeForCausalLM", "{" EXPERTS "\"norm_topk_prob\":false}").attn_bias);
    CHECK(!read_ok("Qwen2MoeForCausalLM", "{" EXPERTS "\"qkv_bias\":false}").attn_bias);
}
#undef EXPERTS

/* Stock divides by Gemma 2's caps in any case: none is a very large one, and none again when it is read. */
static void writes_caps_that_stock_can_divide_by(void **state)
{
    (void)state;
    const pare_arch *arch = pare_arch_find("gemma2");
    pare_hparams hp = read_ok("Gemma2ForCausalLM", "{\"attn_logit_softcapping\":null}"), again = hp;
    pare_meta meta = {0};
    pare_error err = {0};
    double cap = 0;
    CHECK_OK(arch->to_meta(&hp, &meta, &err), &err);
    CHECK_OK(pare_meta_f64(&meta, "m", "gemma2.attn_logit_softcapping", &cap, NULL, &err), &err);
    CHECK(hp.attn_softcap == 0.0f && cap >= 1e5);
    CHECK_OK(arch->from_meta(&again, &meta, "m", &err), &err);
    CHECK(again.attn_softcap == 0.0f && again.final_softcap == 30.0f);
    pare_meta_close(&meta);
}

static void refuses_bad_windows(void **state)
{
    (void)state;
#define ON "\"sliding_window\":16,\"use_sliding_window\":true"
    refused("Qwen2ForCausalLM", "{" ON ",\"sliding_window\":0}", PARE_ERR_RANGE, "sliding_window");
    refused("Qwen2ForCausalLM", "{" ON ",\"layer_types\":[\"full_attention\"]}", PARE_ERR_RANGE, "layer_types");
    refused("Qwen2ForCausalLM", "{" ON ",\"layer_types\":[1,2,3,4]}", PARE_ERR_UNSUPPORTED, "layer_types");
    refused("Qwen2ForCausalLM",
            "{" ON ",\"layer_types\":[\"linear_attention\",\"full_attention\",\"full_attention\",\"full_attention\"]}",
            PARE_ERR_UNSUPPORTED, "linear_attention");
    const pare_hparams any = read_ok(
        "Qwen2ForCausalLM",
        "{" ON ",\"layer_types\":[\"sliding_attention\",\"full_attention\",\"full_attention\",\"sliding_attention\"]}");
    CHECK(pare_layer_window(&any, 0) == 16 && pare_layer_window(&any, 1) == 0 && pare_layer_window(&any, 2) == 0 &&
          pare_layer_window(&any, 3) == 16 && any.window_not_in_gguf);
#undef ON
}

/* What a small model of some families must say that others need not; NULL: its numbers have names of their own, or it
 * cannot say all of those below, and its fixture in tests/families must do. */
static const char *further_keys(const pare_arch *arch)
{
    static const char *const rows[][2] = {
        {"gptj", NULL}, {"nomic-bert", NULL}, {"gemma4", NULL}, {"gemma3n", ",\"num_kv_shared_layers\":0"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(arch->name, rows[i][0]) == 0)
            return rows[i][1];
    return "";
}

/* Every family: config -> numbers -> config -> numbers, and -> metadata -> numbers. */
static void goes_round_for_every_family(void **state)
{
    (void)state;
    for (size_t i = 0; pare_arch_at(i) != NULL; i++) {
        const pare_arch *arch = pare_arch_at(i);
        if (arch->routing_keys || further_keys(arch) == NULL)
            continue;
        pare_error err = {0};
        pare_meta meta = {0};
        bool turns = arch->wiring.rope != PARE_ROPE_NONE; /* the others have no words for kv heads either */
        char patch[512];
        snprintf(patch, sizeof patch, "{%s,\"intermediate_size\":256%s}",
                 turns ? "\"head_dim\":8,\"rope_theta\":1234.5,\"rope_scaling\":{\"type\":\"linear\",\"factor\":3}"
                       : "\"num_key_value_heads\":null",
                 further_keys(arch));
        pare_hparams hp = read_ok(arch->hf_classes[0].name, patch);
        pare_hparams again, from_meta;
        json_t *config = json_object();
        printf("%s\n", arch->name);
        CHECK_OK(pare_hparams_to_config(&hp, arch, config, &err), &err);
        CHECK_OK(pare_hparams_from_config(&again, arch, config, "config.json", &err), &err);
        CHECK(memcmp(&again, &hp, sizeof hp) == 0);
        CHECK_OK(pare_hparams_to_meta(&hp, arch, 0, &meta, &err), &err);
        CHECK_OK(pare_hparams_from_meta(&from_meta, arch, &meta, "m.gguf", &err), &err);
        CHECK(from_meta.n_layer == 4 && from_meta.n_ctx_train == 256 && from_meta.n_embd == 64 &&
              from_meta.n_ff == 256 && from_meta.n_head == 4 && from_meta.n_head_kv == hp.n_head_kv &&
              from_meta.head_dim_k == hp.head_dim_k && from_meta.n_rot == hp.n_rot &&
              from_meta.norm_eps == hp.norm_eps);
        CHECK(!turns || (from_meta.rope_base == 1234.5f && from_meta.rope_scaling == PARE_ROPE_LINEAR &&
                         from_meta.rope_factor == 3.0f));
        CHECK(arch->window_key ? from_meta.window == hp.window : from_meta.window == 0);
        CHECK(from_meta.attn_scale == 0 || from_meta.attn_scale == hp.attn_scale);
        json_decref(config);
        pare_meta_close(&meta);
    }
}

/* What transformers is strict about: an integer where it wants one, biases that are on unless the config says no. */
static void writes_what_transformers_reads(void **state)
{
    (void)state;
    pare_error err = {0};
    json_t *config = json_object();
    pare_hparams hp = read_ok("Gemma2ForCausalLM", "{\"query_pre_attn_scalar\":48}");
    CHECK(hp.attn_scale_not_in_gguf); /* 48 is no head size */
    CHECK_OK(pare_hparams_to_config(&hp, pare_arch_find("gemma2"), config, &err), &err);
    CHECK(json_is_integer(json_object_get(config, "query_pre_attn_scalar")) &&
          json_integer_value(json_object_get(config, "query_pre_attn_scalar")) == 48);
    json_decref(config);
    config = json_object();
    hp =
        read_ok("GPTNeoXForCausalLM", "{\"rotary_pct\":0.5,\"rotary_emb_base\":30000,\"use_parallel_residual\":false}");
    CHECK(hp.attn_bias && hp.residual_in_turn && hp.n_rot == 8 && hp.rope_base == 30000.0f);
    CHECK_OK(pare_hparams_to_config(&hp, pare_arch_find("gptneox"), config, &err), &err);
    CHECK(json_is_true(json_object_get(config, "attention_bias")) &&
          json_is_false(json_object_get(config, "use_parallel_residual")) &&
          json_number_value(json_object_get(config, "rotary_pct")) == 0.5);
    json_decref(config);
    hp = read_ok("GPTNeoXForCausalLM", "{\"attention_bias\":false}");
    CHECK(!hp.attn_bias);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_both_spellings_of_rope),
        cmocka_unit_test(reads_yarn_and_llama3),
        cmocka_unit_test(derives_head_sizes),
        cmocka_unit_test(reads_windows_of_qwen),
        cmocka_unit_test(reads_windows_of_mixtures),
        cmocka_unit_test(reads_counts_of_experts_by_any_name),
        cmocka_unit_test(knows_what_silence_means),
        cmocka_unit_test(writes_caps_that_stock_can_divide_by),
        cmocka_unit_test(refuses_bad_windows),
        cmocka_unit_test(goes_round_for_every_family),
        cmocka_unit_test(writes_what_transformers_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
