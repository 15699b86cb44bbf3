/* Qwen 3.5 with experts: Qwen 3.5's layers with Qwen3-Next's experts and gated shared expert. Sources: transformers
 * models/qwen3_5_moe; llama.cpp conversion/qwen.py, src/models/qwen35moe.cpp. */
#include "model/arch_qwen35.h"

#define ABSENT                                                                                                         \
    .absent = {.n_vocab = 248320,                                                                                      \
               .n_head = 16,                                                                                           \
               .n_ctx = 32768,                                                                                         \
               .norm_eps = 1e-6f,                                                                                      \
               .n_head_kv = 2,                                                                                         \
               .head_dim = 256,                                                                                        \
               .partial_rotary = 0.25f,                                                                                \
               .n_expert = 256,                                                                                        \
               .n_expert_used = 8,                                                                                     \
               .n_ff_expert = 512,                                                                                     \
               .n_ff_shared = 512},                                                                                    \
    .head_dim_key = true, .experts = "num_experts"

static const pare_hf_class classes[] = {
    {"Qwen3_5MoeForCausalLM", "qwen3_5_moe_text", PARE_WINDOW_NONE, ABSENT},
    {"Qwen3_5MoeForConditionalGeneration", "qwen3_5_moe", PARE_WINDOW_NONE, ABSENT, .section = "text_config"},
    {0},
};

static const pare_arch_weight weights[] = {
    PARE_QWEN35_ROWS,
    {PARE_W_FFN_GATE_INP, "model.layers.%u.mlp.gate", {PARE_DIM_EXPERT, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_GATE_EXPS,
     "model.layers.%u.mlp.experts.%e.gate_proj",
     {PARE_DIM_EXPERT, PARE_DIM_FF_EXPERT, PARE_DIM_EMBD},
     PARE_MAP_STACK,
     0},
    {PARE_W_FFN_UP_EXPS,
     "model.layers.%u.mlp.experts.%e.up_proj",
     {PARE_DIM_EXPERT, PARE_DIM_FF_EXPERT, PARE_DIM_EMBD},
     PARE_MAP_STACK,
     0},
    {PARE_W_FFN_DOWN_EXPS,
     "model.layers.%u.mlp.experts.%e.down_proj",
     {PARE_DIM_EXPERT, PARE_DIM_EMBD, PARE_DIM_FF_EXPERT},
     PARE_MAP_STACK,
     0},
    {PARE_W_FFN_GATE_INP_SHEXP,
     "model.layers.%u.mlp.shared_expert_gate",
     {PARE_DIM_ONE, PARE_DIM_EMBD},
     PARE_MAP_ROW,
     0},
    {PARE_W_FFN_GATE_SHEXP,
     "model.layers.%u.mlp.shared_expert.gate_proj",
     {PARE_DIM_FF_SHARED, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     0},
    {PARE_W_FFN_UP_SHEXP,
     "model.layers.%u.mlp.shared_expert.up_proj",
     {PARE_DIM_FF_SHARED, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     0},
    {PARE_W_FFN_DOWN_SHEXP,
     "model.layers.%u.mlp.shared_expert.down_proj",
     {PARE_DIM_EMBD, PARE_DIM_FF_SHARED},
     PARE_MAP_SAME,
     0},
};

static const char *const meta_keys[] = {"qwen35moe.block_count",
                                        "qwen35moe.context_length",
                                        "qwen35moe.embedding_length",
                                        "qwen35moe.feed_forward_length",
                                        "qwen35moe.attention.head_count",
                                        "qwen35moe.attention.head_count_kv",
                                        "qwen35moe.rope.freq_base",
                                        "qwen35moe.attention.layer_norm_rms_epsilon",
                                        "qwen35moe.expert_count",
                                        "qwen35moe.expert_used_count",
                                        "qwen35moe.attention.key_length",
                                        "qwen35moe.attention.value_length",
                                        "general.file_type",
                                        "qwen35moe.expert_feed_forward_length",
                                        "qwen35moe.expert_shared_feed_forward_length",
                                        "qwen35moe.ssm.conv_kernel",
                                        "qwen35moe.ssm.state_size",
                                        "qwen35moe.ssm.group_count",
                                        "qwen35moe.ssm.time_step_rank",
                                        "qwen35moe.ssm.inner_size",
                                        "qwen35moe.attention.recurrent_layers",
                                        "qwen35moe.full_attention_interval",
                                        "qwen35moe.rope.dimension_count",
                                        "qwen35moe.rope.dimension_sections",
                                        "general.quantization_version",
                                        NULL};

static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    return pare_qwen35_from_meta(hp, meta, "qwen35moe", path, err);
}

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    return pare_qwen35_to_meta(hp, meta, "qwen35moe", err);
}

const pare_arch pare_arch_qwen35moe = {
    .name = "qwen35moe",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS,
               .act = PARE_ACT_SILU,
               .rope = PARE_ROPE_HALVES,
               .gated_ffn = true,
               .post_norm_feeds_ffn = true,
               .attn_gated = true},
    .partial_rotary = true,
    .expert_ff_key = true,
    .expert_norm = true,
    .meta_keys = meta_keys,
    .hf_prefixes = pare_qwen35_prefixes,
    .stock_rows = PARE_STOCK_ROWS_NORMED,
    .stock_positions = true,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .hf_left_out = pare_qwen35_left_out,
    .stock_ffn_factor = true,
    .from_config = pare_qwen35_from_config,
    .from_meta = from_meta,
    .to_meta = to_meta,
    .to_config = pare_qwen35_to_config,
};
