/* What config.json files of the dense families say, and what of it is refused. */
#include "check.h"
#include "core/json.h"
#include "model/arch.h"

#include <math.h>
#include <string.h>

/* The numbers that a config of the class gives; common members are filled in. */
static pare_status read_layers(const char *class, uint32_t n_layer, const char *members, pare_hparams *hp,
                               pare_error *err)
{
    char text[2048];
    json_t *config = NULL;
    const pare_arch *arch = pare_arch_find_class(class, NULL);
    CHECK(arch != NULL);
    snprintf(text, sizeof text,
             "{\"architectures\":[\"%s\"],\"hidden_size\":48,\"num_hidden_layers\":%u,\"num_attention_heads\":4,"
             "\"vocab_size\":80,\"intermediate_size\":64,\"num_key_value_heads\":2%s}",
             class, n_layer, members);
    CHECK_OK(pare_json_parse(&config, "config", text, strlen(text), PARE_JSON_BIG_AS_REAL, err), err);
    pare_status st = pare_hparams_from_config(hp, arch, config, "config", err);
    json_decref(config);
    return st;
}

static pare_status read_config(const char *class, const char *members, pare_hparams *hp, pare_error *err)
{
    return read_layers(class, 2, members, hp, err);
}

#define LONGROPE(factors, more)                                                                                        \
    ",\"max_position_embeddings\":64,\"rope_scaling\":{\"type\":\"longrope\",\"long_factor\":" factors                 \
    ",\"short_factor\":[1,1,1,1,1,1]" more "}"

#define CTX ",\"original_max_position_embeddings\":16"

static void refuses_what_is_not_described(void **state)
{
    (void)state;
    static const struct {
        const char *class, *members;
        pare_status wanted;
        const char *words;
    } rows[] = {
        {"FalconForCausalLM", ",\"alibi\":true", PARE_ERR_UNSUPPORTED, "'alibi' is true"},
        {"FalconForCausalLM", ",\"bias\":true", PARE_ERR_UNSUPPORTED, "'bias' is true"},
        {"FalconForCausalLM", ",\"parallel_attn\":false", PARE_ERR_UNSUPPORTED, "'parallel_attn' is false"},
        {"FalconForCausalLM", ",\"num_ln_in_parallel_attn\":3", PARE_ERR_RANGE, "num_ln_in_parallel_attn"},
        {"FalconForCausalLM", ",\"new_decoder_architecture\":true,\"num_kv_heads\":5", PARE_ERR_RANGE, "num_kv_heads"},
        {"FalconForCausalLM", ",\"activation\":\"gelu_11\"", PARE_ERR_UNSUPPORTED, "gelu_11"},
        {"PhiForCausalLM", ",\"qk_layernorm\":true", PARE_ERR_UNSUPPORTED, "qk_layernorm"},
        {"GPTBigCodeForCausalLM", ",\"multi_query\":false", PARE_ERR_UNSUPPORTED, "multi_query"},
        {"GraniteForCausalLM", ",\"logits_scaling\":0", PARE_ERR_RANGE, "logits_scaling"},
        {"GraniteForCausalLM", ",\"residual_multiplier\":-1", PARE_ERR_RANGE, "residual_multiplier"},
        {"GraniteForCausalLM", ",\"embedding_multiplier\":\"12\"", PARE_ERR_FORMAT, "embedding_multiplier"},
        {"BloomForCausalLM", ",\"apply_residual_connection_post_layernorm\":true", PARE_ERR_UNSUPPORTED, "residual"},
        {"MptForCausalLM", ",\"attn_config\":{\"alibi\":false}", PARE_ERR_UNSUPPORTED, "alibi"},
        {"MptForCausalLM", ",\"expansion_ratio\":1000000", PARE_ERR_RANGE, "expansion_ratio"},
        {"GPTJForCausalLM", ",\"rotary_dim\":14", PARE_ERR_RANGE, "14"},
        {"MiniCPMForCausalLM", ",\"dim_model_base\":-5", PARE_ERR_RANGE, "dim_model_base"},
        {"Phi3ForCausalLM", LONGROPE("[1,1,1,1,1,1]", ""), PARE_ERR_FORMAT, "original_max_position_embeddings"},
        {"Phi3ForCausalLM", LONGROPE("[1,1,1,1,1]", CTX), PARE_ERR_RANGE, "'short_factor' has 6"},
        {"Phi3ForCausalLM", LONGROPE("[]", CTX), PARE_ERR_RANGE, "long_factor"},
        {"Phi3ForCausalLM", LONGROPE("[1,1,0,1,1,1]", CTX), PARE_ERR_RANGE, "entry 2 of 'long_factor'"},
        {"Phi3ForCausalLM", LONGROPE("[1,1,\"2\",1,1,1]", CTX), PARE_ERR_RANGE, "long_factor"},
        {"Phi3ForCausalLM", ",\"partial_rotary_factor\":0.5" LONGROPE("[1,1,1,1,1,1]", CTX), PARE_ERR_RANGE, "3 pairs"},
        {"Phi3ForCausalLM", LONGROPE("[1,1,1,1,1,1]", ",\"original_max_position_embeddings\":1"), PARE_ERR_RANGE,
         "original_max_position_embeddings"},
        {"LlamaForCausalLM", LONGROPE("[1,1,1,1,1,1]", ""), PARE_ERR_UNSUPPORTED, "longrope"},
        {"HunYuanDenseV1ForCausalLM", ",\"rope_scaling\":{\"type\":\"dynamic\",\"alpha\":-3}", PARE_ERR_RANGE, "alpha"},
        {"Gemma4ForCausalLM", ",\"enable_moe_block\":true", PARE_ERR_FORMAT, "num_experts"},
        {"Ernie4_5_MoeForCausalLM", ",\"moe_num_experts\":8,\"moe_layer_interval\":2", PARE_ERR_UNSUPPORTED,
         "moe_layer_interval"},
        {"Ernie4_5_MoeForCausalLM", ",\"moe_num_experts\":8,\"moe_layer_end_index\":0", PARE_ERR_UNSUPPORTED,
         "moe_layer_end_index"},
        {"Ernie4_5_MoeForCausalLM", ",\"moe_num_experts\":8,\"use_bias\":true", PARE_ERR_UNSUPPORTED, "use_bias"},
        {"Gemma4ForCausalLM", ",\"enable_moe_block\":1", PARE_ERR_FORMAT, "enable_moe_block"},
        {"Gemma4ForCausalLM", ",\"enable_moe_block\":true,\"num_experts\":4,\"top_k_experts\":5", PARE_ERR_RANGE,
         "top_k_experts"},
        {"Gemma4ForCausalLM", ",\"use_bidirectional_attention\":\"all\"", PARE_ERR_UNSUPPORTED, "is 'all'"},
        {"Gemma4ForCausalLM", ",\"num_kv_shared_layers\":2", PARE_ERR_RANGE, "num_kv_shared_layers"},
        {"Gemma4ForCausalLM", ",\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":2}", PARE_ERR_UNSUPPORTED,
         "rope_parameters"},
        {"Gemma4ForCausalLM", ",\"rope_parameters\":{\"rope_type\":\"proportional\",\"factor\":2}",
         PARE_ERR_UNSUPPORTED, "'factor' of RoPE scaling 'proportional' is 2"},
        {"Gemma4ForCausalLM", ",\"attention_k_eq_v\":true,\"num_global_key_value_heads\":3", PARE_ERR_RANGE,
         "3 key/value heads"},
        {"Gemma4ForCausalLM", ",\"per_layer_config\":{\"2\":{\"head_dim\":8}}", PARE_ERR_RANGE, "1 layers that are"},
        {"Gemma4ForCausalLM", ",\"per_layer_config\":{\"0\":{\"hidden_size\":8}}", PARE_ERR_UNSUPPORTED,
         "'hidden_size'"},
        {"LlamaForCausalLM", ",\"rope_scaling\":{\"type\":\"proportional\",\"partial_rotary_factor\":2}",
         PARE_ERR_RANGE, "partial_rotary_factor"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pare_hparams hp;
        pare_error err = {0};
        pare_status st = read_config(rows[i].class, rows[i].members, &hp, &err);
        if (st != rows[i].wanted || strstr(err.text, rows[i].words) == NULL)
            fail_msg("%s %s: status %d, '%s'", rows[i].class, rows[i].members, st, err.text);
    }
}

/* The attention factor follows from the contexts unless the config says it. */
static void reads_longrope(void **state)
{
    (void)state;
    pare_hparams hp;
    pare_error err = {0};
    CHECK_OK(read_config("Phi3ForCausalLM", ",\"original_max_position_embeddings\":16" LONGROPE("[1,2,3,4,5,6]", ""),
                         &hp, &err),
             &err);
    CHECK(hp.rope_scaling == PARE_ROPE_LONGROPE && hp.rope_ctx_orig == 16 && hp.rope_longrope.n == 6);
    CHECK(hp.rope_longrope.long_factor[5] == 6 && hp.rope_longrope.short_factor[5] == 1);
    CHECK(fabs((double)hp.rope_attn_factor - sqrt(1.5)) < 1e-6); /* 64 / 16 = 4: 1 + ln 4 / ln 16 */
    CHECK_OK(read_config("Phi3ForCausalLM", LONGROPE("[1,2,3,4,5,6]", CTX ",\"attention_factor\":1.25"), &hp, &err),
             &err);
    CHECK(hp.rope_attn_factor == 1.25f);
}

/* Key/value heads of Falcon's three kinds; which norms they have. */
static void counts_falcons_heads(void **state)
{
    (void)state;
    pare_hparams hp;
    pare_error err = {0};
    CHECK_OK(read_config("FalconForCausalLM", ",\"num_kv_heads\":4", &hp, &err), &err);
    CHECK(hp.n_head_kv == 1 && !hp.norm_pair);
    CHECK_OK(read_config("FalconForCausalLM", ",\"multi_query\":false", &hp, &err), &err);
    CHECK(hp.n_head_kv == 4 && !hp.norm_pair);
    CHECK_OK(read_config("FalconForCausalLM", ",\"new_decoder_architecture\":true,\"num_kv_heads\":2", &hp, &err),
             &err);
    CHECK(hp.n_head_kv == 2 && hp.norm_pair);
    CHECK_OK(read_config("FalconForCausalLM",
                         ",\"new_decoder_architecture\":true,\"num_kv_heads\":2,\"num_ln_in_parallel_attn\":1", &hp,
                         &err),
             &err);
    CHECK(hp.n_head_kv == 2 && !hp.norm_pair);
}

static void keeps_another_activation(void **state)
{
    (void)state;
    pare_hparams hp, back;
    pare_error err = {0};
    pare_meta meta = {0};
    pare_str name;
    const pare_arch *arch = pare_arch_find("bitnet");
    CHECK_OK(read_config("BitNetForCausalLM", ",\"hidden_act\":\"relu2\"", &hp, &err), &err);
    CHECK(pare_arch_act(arch, &hp) == PARE_ACT_RELU2 && hp.act_not_in_gguf);
    CHECK_OK(pare_hparams_to_meta(&hp, arch, 0, &meta, &err), &err);
    CHECK_OK(pare_meta_name(&meta, "meta", "bitnet.hidden_activation", &name, NULL, &err), &err);
    CHECK(pare_str_equal(name, "relu2"));
    CHECK_OK(pare_hparams_from_meta(&back, arch, &meta, "meta", &err), &err);
    CHECK(pare_arch_act(arch, &back) == PARE_ACT_RELU2);
    pare_meta_close(&meta);
    CHECK_OK(read_config("BitNetForCausalLM", ",\"hidden_act\":\"silu\"", &hp, &err), &err);
    CHECK(hp.act == 0 && !hp.act_not_in_gguf);
}

/* Layers of two kinds, in the words of newer and older files, and in GGUF. */
static void reads_layers_of_two_kinds(void **state)
{
    (void)state;
    pare_hparams hp, back;
    pare_error err = {0};
    pare_meta meta = {0};
    json_t *config = json_object();
    const pare_arch *arch = pare_arch_find("gemma4");
    static const char common[] = ",\"head_dim\":8,\"use_double_wide_mlp\":true,"
                                 "\"num_kv_shared_layers\":2,\"layer_types\":[\"sliding_attention\","
                                 "\"full_attention\",\"sliding_attention\",\"full_attention\"]";
    char members[1024];
    snprintf(members, sizeof members, "%s,\"global_head_dim\":16,\"num_global_key_value_heads\":1", common);
    CHECK_OK(read_layers("Gemma4ForCausalLM", 4, members, &hp, &err), &err);
    CHECK(hp.n_head_kv == 2 && hp.window_heads.n_kv == 2); /* the key counts where keys are values */
    snprintf(members, sizeof members,
             "%s,\"global_head_dim\":64,\"per_layer_config\":{\"1\":{\"head_dim\":16,\"num_key_value_heads\":1},"
             "\"3\":{\"num_key_value_heads\":1,\"head_dim\":16}}",
             common);
    CHECK_OK(read_layers("Gemma4ForCausalLM", 4, members, &hp, &err), &err);
    pare_layer_shape windowed = pare_layer_shape_of(&hp, 0), full = pare_layer_shape_of(&hp, 3);
    CHECK(windowed.head_dim_k == 8 && windowed.n_head_kv == 2 && windowed.n_rot == 8 && windowed.n_ff == 64);
    CHECK(full.head_dim_k == 16 && full.n_head_kv == 1 && full.n_rot == 16 && full.n_ff == 128);
    CHECK(hp.rope_part == 0.25f && pare_cache_width(&hp, 0) == 32 && pare_cache_width(&hp, 1) == 32);
    CHECK_OK(pare_hparams_to_config(&hp, arch, config, &err), &err);
    CHECK_OK(pare_hparams_from_config(&back, arch, config, "config", &err), &err);
    CHECK(memcmp(&hp, &back, sizeof hp) == 0);
    CHECK_OK(pare_hparams_to_meta(&hp, arch, 0, &meta, &err), &err);
    CHECK_OK(pare_hparams_from_meta(&back, arch, &meta, "meta", &err), &err);
    for (uint32_t i = 0; i < 4; i++) {
        pare_layer_shape a = pare_layer_shape_of(&hp, i), b = pare_layer_shape_of(&back, i);
        CHECK(memcmp(&a, &b, sizeof a) == 0);
    }
    static const int32_t others[4] = {2, 1, 2, 2};
    CHECK_OK(pare_meta_set_array(&meta, "gemma4.attention.head_count_kv", PARE_META_I32, others, 4, &err), &err);
    CHECK(pare_hparams_from_meta(&back, arch, &meta, "meta", &err) == PARE_ERR_UNSUPPORTED &&
          strstr(err.text, "'gemma4.attention.head_count_kv' of layer 3 is 2") != NULL);
    pare_meta_close(&meta);
    json_decref(config);
}

/* Experts beside the FFN, which a switch turns on. */
static void reads_experts_behind_a_switch(void **state)
{
    (void)state;
    pare_hparams hp, back;
    pare_error err = {0};
    json_t *config = json_object();
    const pare_arch *arch = pare_arch_find("gemma4");
    static const char members[] = ",\"num_experts\":4,\"top_k_experts\":3,\"moe_intermediate_size\":24,"
                                  "\"layer_types\":[\"sliding_attention\",\"full_attention\"],"
                                  "\"enable_moe_block\":";
    char text[512];
    snprintf(text, sizeof text, "%sfalse", members);
    CHECK_OK(read_config("Gemma4ForCausalLM", text, &hp, &err), &err);
    CHECK(hp.n_expert == 0 && hp.n_expert_used == 0);
    snprintf(text, sizeof text, "%strue", members);
    CHECK_OK(read_config("Gemma4ForCausalLM", text, &hp, &err), &err);
    CHECK(hp.n_expert == 4 && hp.n_expert_used == 3 && hp.n_ff_expert == 24 && hp.n_ff == 64 && hp.expert_norm);
    CHECK_OK(pare_hparams_to_config(&hp, arch, config, &err), &err);
    CHECK(json_is_true(json_object_get(config, "enable_moe_block")));
    CHECK_OK(pare_hparams_from_config(&back, arch, config, "config", &err), &err);
    CHECK(memcmp(&hp, &back, sizeof hp) == 0);
    json_decref(config);
}

static void finds_the_part_that_turns(void **state)
{
    (void)state;
    pare_hparams hp = {.n_rot = 16, .rope_part = 0.25f};
    float factors[8], part = 0;
    pare_rope_part_factors(&hp, factors);
    CHECK(factors[0] == 1 && factors[1] == 1 && factors[2] == 1e30f && factors[7] == 1e30f);
    CHECK(pare_rope_part_find(&hp, factors, &part) && part == 0.25f);
    factors[5] = 1;
    CHECK(!pare_rope_part_find(&hp, factors, &part));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_is_not_described), cmocka_unit_test(reads_longrope),
        cmocka_unit_test(counts_falcons_heads),          cmocka_unit_test(keeps_another_activation),
        cmocka_unit_test(reads_layers_of_two_kinds),     cmocka_unit_test(reads_experts_behind_a_switch),
        cmocka_unit_test(finds_the_part_that_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
