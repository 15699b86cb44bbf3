/* ERNIE 4.5 with experts: as without (arch_ernie4_5.c), with leading dense layers, experts by softmax with a bias for
 * the choice, weights scaled to a sum of one, and shared experts in every such layer. Layers that predict further
 * tokens are left out. Sources: transformers models/ernie4_5_moe; llama.cpp conversion/ernie.py,
 * src/models/ernie4-5-moe.cpp. */
#include "core/json.h"
#include "model/arch.h"
#include "model/arch_words.h"

#include <inttypes.h>

static const pare_hf_class classes[] = {
    {"Ernie4_5_MoeForCausalLM", "ernie4_5_moe", PARE_WINDOW_NONE,
     .absent = {.n_vocab = 103424,
                .n_head = 20,
                .n_head_kv = 4,
                .n_ff = 12288,
                .n_ctx = 131072,
                .norm_eps = 1e-5f,
                .rope_base = 500000.0f,
                .n_expert = 64,
                .n_expert_used = 6,
                .n_ff_expert = 1536,
                .n_expert_shared = 2,
                .n_layer_dense = 1,
                .tied = true},
     .experts = "moe_num_experts", .experts_used = "moe_k"},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_Q, "model.layers.%u.self_attn.q_proj", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_K, "model.layers.%u.self_attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_V, "model.layers.%u.self_attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_OUT, "model.layers.%u.self_attn.o_proj", {PARE_DIM_EMBD, PARE_DIM_O}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_GATE, "model.layers.%u.mlp.gate_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_DENSE_ONLY},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.up_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_DENSE_ONLY},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.down_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, PARE_DENSE_ONLY},
    {PARE_W_FFN_GATE_INP,
     "model.layers.%u.mlp.gate",
     {PARE_DIM_EXPERT, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_EXPERTS_ONLY},
    {PARE_W_EXPERT_BIAS,
     "model.layers.%u.mlp.moe_statics.e_score_correction_bias",
     {PARE_DIM_ONE, PARE_DIM_EXPERT},
     PARE_MAP_ROW,
     PARE_EXPERTS_ONLY | PARE_BIAS_ALONE | PARE_BIAS_OPTIONAL | PARE_NO_SUFFIX},
    {PARE_W_FFN_GATE_EXPS,
     "model.layers.%u.mlp.experts.%e.gate_proj",
     {PARE_DIM_EXPERT, PARE_DIM_FF_EXPERT, PARE_DIM_EMBD},
     PARE_MAP_STACK,
     PARE_EXPERTS_ONLY},
    {PARE_W_FFN_UP_EXPS,
     "model.layers.%u.mlp.experts.%e.up_proj",
     {PARE_DIM_EXPERT, PARE_DIM_FF_EXPERT, PARE_DIM_EMBD},
     PARE_MAP_STACK,
     PARE_EXPERTS_ONLY},
    {PARE_W_FFN_DOWN_EXPS,
     "model.layers.%u.mlp.experts.%e.down_proj",
     {PARE_DIM_EXPERT, PARE_DIM_EMBD, PARE_DIM_FF_EXPERT},
     PARE_MAP_STACK,
     PARE_EXPERTS_ONLY},
    {PARE_W_FFN_GATE_SHEXP,
     "model.layers.%u.mlp.shared_experts.gate_proj",
     {PARE_DIM_FF_SHARED, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_EXPERTS_ONLY | PARE_IF_SHARED},
    {PARE_W_FFN_UP_SHEXP,
     "model.layers.%u.mlp.shared_experts.up_proj",
     {PARE_DIM_FF_SHARED, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_EXPERTS_ONLY | PARE_IF_SHARED},
    {PARE_W_FFN_DOWN_SHEXP,
     "model.layers.%u.mlp.shared_experts.down_proj",
     {PARE_DIM_EMBD, PARE_DIM_FF_SHARED},
     PARE_MAP_SAME,
     PARE_EXPERTS_ONLY | PARE_IF_SHARED},
};

static const char *const prefixes[] = {"model.", "ernie.", NULL};
static const char *const left_out[] = {"*.mtp_block.*", "*.mtp_emb_norm.*", "*.mtp_hidden_norm.*",
                                       "*.mtp_linear_proj.*", NULL};

static const char *const meta_keys[] = {"ernie4_5-moe.block_count",
                                        "ernie4_5-moe.context_length",
                                        "ernie4_5-moe.embedding_length",
                                        "ernie4_5-moe.feed_forward_length",
                                        "ernie4_5-moe.attention.head_count",
                                        "ernie4_5-moe.attention.head_count_kv",
                                        "ernie4_5-moe.rope.scaling.type",
                                        "ernie4_5-moe.rope.scaling.factor",
                                        "ernie4_5-moe.rope.freq_base",
                                        "ernie4_5-moe.attention.layer_norm_rms_epsilon",
                                        "ernie4_5-moe.attention.key_length",
                                        "ernie4_5-moe.attention.value_length",
                                        "general.file_type",
                                        "ernie4_5-moe.expert_count",
                                        "ernie4_5-moe.expert_used_count",
                                        "ernie4_5-moe.interleave_moe_layer_step",
                                        "ernie4_5-moe.leading_dense_block_count",
                                        "ernie4_5-moe.expert_feed_forward_length",
                                        "ernie4_5-moe.expert_shared_count",
                                        "ernie4_5-moe.expert_shared_feed_forward_length",
                                        "general.quantization_version",
                                        NULL};

/* Every layer behind the leading ones has experts in all published models. */
static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    static const pare_config_switch switches[] = {{"use_bias", false}};
    const json_t *last = json_object_get(config, "moe_layer_end_index");
    uint64_t step = 1;
    bool found = false;
    pare_status st = pare_config_expect(config, path, "ernie4_5-moe", switches, 1, err);
    if (st == PARE_OK)
        st = pare_json_u64(config, path, "moe_layer_interval", 1, PARE_MAX_LAYERS, &step, &found, err);
    bool to_the_end = last == NULL || json_is_null(last) ||
                      (json_is_integer(last) &&
                       (json_integer_value(last) == -1 || json_integer_value(last) == (json_int_t)hp->n_layer - 1));
    if (st == PARE_OK && (step != 1 || !to_the_end))
        st = pare_fail(err, PARE_ERR_UNSUPPORTED,
                       "%s: 'moe_layer_interval' or 'moe_layer_end_index' ask for layers without experts among or "
                       "behind those with them",
                       path);
    return st;
}

static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    static const char key[] = "ernie4_5-moe.interleave_moe_layer_step";
    uint64_t step = 1;
    bool found = false;
    (void)hp;
    pare_status st = pare_meta_u64(meta, path, key, 1, PARE_MAX_LAYERS, &step, &found, err);
    if (st == PARE_OK && step != 1)
        st = pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: '%s' is %" PRIu64 "; 1 is supported", path, key, step);
    return st;
}

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    pare_status st = pare_meta_set_u32(meta, "ernie4_5-moe.interleave_moe_layer_step", 1, err);
    return st == PARE_OK && hp->n_ff_shared > 0
               ? pare_meta_set_u32(meta, "ernie4_5-moe.expert_shared_feed_forward_length", hp->n_ff_shared, err)
               : st;
}

/* The family's words in place of the common ones. */
static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    static const char *const common[] = {"attention_bias", "mlp_bias",   "first_k_dense_replace", "n_shared_experts",
                                         "n_group",        "topk_group", "routed_scaling_factor", "scoring_func",
                                         "topk_method",    NULL};
    bool usual = hp->n_expert_group <= 1 && (hp->expert_scale == 0 || hp->expert_scale == 1.0f) &&
                 (hp->expert_score == PARE_EXPERT_USUAL || hp->expert_score == PARE_EXPERT_SOFTMAX);
    if (!usual)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "a config.json of architecture 'ernie4_5-moe' has no words for groups of experts, scaled "
                         "weights or scores other than softmax");
    pare_config_drop(config, common);
    const struct {
        const char *key;
        uint32_t v;
    } members[] = {{"moe_layer_start_index", hp->n_layer_dense},
                   {"moe_layer_end_index", hp->n_layer - 1},
                   {"moe_layer_interval", 1},
                   {"moe_num_shared_experts", hp->n_expert_shared}};
    bool ok = json_object_set_new(config, "use_bias", json_false()) == 0;
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        ok = json_object_set_new(config, members[i].key, json_integer(members[i].v)) == 0 && ok;
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_ernie4_5_moe = {
    .name = "ernie4_5-moe",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS, .act = PARE_ACT_SILU, .rope = PARE_ROPE_INTERLEAVED, .gated_ffn = true},
    .experts_as_listed = true,
    .expert_ff_key = true,
    .expert_norm = true,
    .routing_keys = true,
    .meta_keys = meta_keys,
    .hf_prefixes = prefixes,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .hf_left_out = left_out,
    .from_config = from_config,
    .from_meta = from_meta,
    .to_meta = to_meta,
    .to_config = to_config,
};
