/* DeepSeek V2 and V3 (R1, Moonlight, Kimi K2), GLM 4.7 Flash: latent attention, leading dense layers, then experts with
 * shared ones beside them; V3 scores them by a sigmoid, with a bias for the choice and groups. YaRN also scales the
 * scores of attention. Sources: transformers models/deepseek_v2 and deepseek_v3; llama.cpp conversion/deepseek.py,
 * src/models/deepseek2.cpp. */
#include "core/json.h"
#include "model/arch.h"

/* transformers' norms of the compressed queries, keys and values have this epsilon, whatever the config says. */
static const float latent_norm_eps = 1e-6f;

/* Stock's reader takes models with so many layers, or with so many and that vocabulary, for the Lite form, which has no
 * compressed queries; all others must have the key. */
enum { LITE_LAYERS = 27, LITE_LAYERS_2 = 26, LITE_LAYERS_3 = 48, LITE_VOCAB_3 = 128256 };

static const pare_hf_class classes[] = {
    {"DeepseekV2ForCausalLM", "deepseek_v2", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 2048,
                .norm_eps = 1e-6f,
                .n_expert = 64,
                .n_ff_expert = 1407,
                .n_expert_shared = 2,
                .expert_scale = 1,
                .lora_q = 1536,
                .lora_kv = 512,
                .head_rot = 64,
                .head_plain = 128,
                .head_v = 128},
     .experts = "n_routed_experts", .expert_score = PARE_EXPERT_SOFTMAX, .expert_group_best = 1, .norm_topk_key = true},
    {"DeepseekV3ForCausalLM", "deepseek_v3", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 4096,
                .norm_eps = 1e-6f,
                .n_expert = 256,
                .n_expert_used = 8,
                .n_ff_expert = 2048,
                .n_expert_shared = 1,
                .n_layer_dense = 3,
                .n_expert_group = 8,
                .n_expert_group_used = 4,
                .expert_scale = 2.5f,
                .norm_topk = true,
                .lora_q = 1536,
                .lora_kv = 512,
                .head_rot = 64,
                .head_plain = 128,
                .head_v = 128},
     .experts = "n_routed_experts", .expert_score = PARE_EXPERT_SIGMOID, .norm_topk_key = true},
    {"Glm4MoeLiteForCausalLM", "glm4_moe_lite", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 202752,
                .norm_eps = 1e-5f,
                .n_expert = 64,
                .n_expert_used = 4,
                .n_ff_expert = 1536,
                .n_expert_shared = 1,
                .n_layer_dense = 1,
                .n_expert_group = 1,
                .n_expert_group_used = 1,
                .expert_scale = 1.8f,
                .norm_topk = true,
                .lora_q = 768,
                .lora_kv = 512,
                .head_rot = 64,
                .head_plain = 192,
                .head_v = 256},
     .experts = "n_routed_experts", .expert_score = PARE_EXPERT_SIGMOID, .norm_topk_key = true},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_Q,
     "model.layers.%u.self_attn.q_proj",
     {PARE_DIM_Q, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_IF_Q_WHOLE | PARE_STOCK_NO_FACTOR},
    {PARE_W_ATTN_Q_A,
     "model.layers.%u.self_attn.q_a_proj",
     {PARE_DIM_LORA_Q, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_IF_Q_COMPRESSED},
    {PARE_W_ATTN_Q_A_NORM,
     "model.layers.%u.self_attn.q_a_layernorm",
     {PARE_DIM_LORA_Q},
     PARE_MAP_SAME,
     PARE_IF_Q_COMPRESSED},
    {PARE_W_ATTN_Q_B,
     "model.layers.%u.self_attn.q_b_proj",
     {PARE_DIM_Q, PARE_DIM_LORA_Q},
     PARE_MAP_SAME,
     PARE_IF_Q_COMPRESSED},
    {PARE_W_ATTN_KV_A,
     "model.layers.%u.self_attn.kv_a_proj_with_mqa",
     {PARE_DIM_LATENT, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     0},
    {PARE_W_ATTN_KV_A_NORM, "model.layers.%u.self_attn.kv_a_layernorm", {PARE_DIM_LORA_KV}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_K_B,
     "model.layers.%u.self_attn.kv_b_proj",
     {PARE_DIM_HEAD, PARE_DIM_LORA_KV, PARE_DIM_HEAD_PLAIN},
     PARE_MAP_LATENT_K,
     PARE_IF_KV_SPLIT | PARE_SHARE(0, 2)},
    {PARE_W_ATTN_V_B,
     "model.layers.%u.self_attn.kv_b_proj",
     {PARE_DIM_HEAD, PARE_DIM_HEAD_V, PARE_DIM_LORA_KV},
     PARE_MAP_LATENT_V,
     PARE_IF_KV_SPLIT | PARE_SHARE(1, 2)},
    {PARE_W_ATTN_KV_B,
     "model.layers.%u.self_attn.kv_b_proj",
     {PARE_DIM_KV_B, PARE_DIM_LORA_KV},
     PARE_MAP_SAME,
     PARE_IF_KV_WHOLE},
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
     "model.layers.%u.mlp.gate.e_score_correction_bias",
     {PARE_DIM_EXPERT},
     PARE_MAP_SAME,
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

static const char *const meta_keys[] = {"deepseek2.block_count",
                                        "deepseek2.context_length",
                                        "deepseek2.embedding_length",
                                        "deepseek2.feed_forward_length",
                                        "deepseek2.attention.head_count",
                                        "deepseek2.attention.head_count_kv",
                                        "deepseek2.rope.scaling.type",
                                        "deepseek2.rope.scaling.factor",
                                        "deepseek2.rope.scaling.original_context_length",
                                        "deepseek2.rope.scaling.yarn_attn_factor",
                                        "deepseek2.rope.scaling.yarn_beta_fast",
                                        "deepseek2.rope.scaling.yarn_beta_slow",
                                        "deepseek2.rope.freq_base",
                                        "deepseek2.attention.layer_norm_rms_epsilon",
                                        "deepseek2.expert_count",
                                        "deepseek2.expert_used_count",
                                        "deepseek2.expert_group_count",
                                        "deepseek2.expert_group_used_count",
                                        "deepseek2.expert_gating_func",
                                        "deepseek2.attention.key_length",
                                        "deepseek2.attention.value_length",
                                        "general.file_type",
                                        "deepseek2.leading_dense_block_count",
                                        "deepseek2.vocab_size",
                                        "deepseek2.attention.q_lora_rank",
                                        "deepseek2.attention.kv_lora_rank",
                                        "deepseek2.attention.key_length_mla",
                                        "deepseek2.attention.value_length_mla",
                                        "deepseek2.expert_feed_forward_length",
                                        "deepseek2.expert_shared_count",
                                        "deepseek2.expert_weights_scale",
                                        "deepseek2.expert_weights_norm",
                                        "deepseek2.rope.dimension_count",
                                        "deepseek2.rope.scaling.yarn_log_multiplier",
                                        "general.quantization_version",
                                        NULL};

/* transformers' V2 scales no weights to a sum of one, the code that was published with the models then left out
 * routed_scaling_factor, and stock's runtime does both: no published model asks for it. */
static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    (void)config;
    hp->latent_norm_eps = latent_norm_eps;
    if (hp->expert_norm && hp->expert_score == PARE_EXPERT_SOFTMAX)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: 'norm_topk_prob' is true, which programs understand in different ways for softmax scores",
                         path);
    return PARE_OK;
}

/* Stock's runtime takes these for models with whole queries. */
static bool is_lite(const pare_hparams *hp)
{
    return hp->n_layer == LITE_LAYERS || hp->n_layer == LITE_LAYERS_2 ||
           (hp->n_layer == LITE_LAYERS_3 && hp->n_vocab == LITE_VOCAB_3);
}

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    pare_status st = pare_meta_set_u32(meta, "deepseek2.vocab_size", hp->n_vocab, err);
    if (st == PARE_OK && hp->n_lora_q == 0 && !is_lite(hp))
        st = pare_meta_set_u32(meta, "deepseek2.attention.q_lora_rank", 0, err);
    return st;
}

static const char *stock_differs(const pare_hparams *hp)
{
    return hp->n_lora_q > 0 && is_lite(hp)
               ? "does not load it: in models of so many layers it wants whole queries ('q_lora_rank' null)"
               : NULL;
}

const pare_arch pare_arch_deepseek2 = {
    .name = "deepseek2",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS, .act = PARE_ACT_SILU, .rope = PARE_ROPE_INTERLEAVED, .gated_ffn = true},
    .expert_ff_key = true,
    .latent = true,
    .routing_keys = true,
    .extra_layers = true,
    .yarn_scores = true,
    .meta_keys = meta_keys,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .from_config = from_config,
    .to_meta = to_meta,
    .stock_differs = stock_differs,
};
