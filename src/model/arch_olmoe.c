/* OLMoE: norms before attention and FFN, one RMS norm over all q (and all k) heads together, a router with experts in
 * place of the FFN, whose weights are not scaled to one. Sources: transformers models/olmoe; llama.cpp
 * conversion/olmo.py. */
#include "model/arch.h"

static const pare_hf_class classes[] = {
    {"OlmoeForCausalLM", "olmoe", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 4096, .norm_eps = 1e-5f, .n_expert = 64, .n_expert_used = 8}, .experts = "num_experts",
     .norm_topk_key = true},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL | PARE_STOCK_WANTS},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_Q, "model.layers.%u.self_attn.q_proj", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_K, "model.layers.%u.self_attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_V, "model.layers.%u.self_attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_OUT,
     "model.layers.%u.self_attn.o_proj",
     {PARE_DIM_EMBD, PARE_DIM_O},
     PARE_MAP_SAME,
     PARE_BIAS_ATTN | PARE_STOCK_LACKS_BIAS},
    {PARE_W_ATTN_Q_NORM, "model.layers.%u.self_attn.q_norm", {PARE_DIM_Q}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_K_NORM, "model.layers.%u.self_attn.k_norm", {PARE_DIM_K}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
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
};

/* No published model clips q, k and v, and GGUF has no key that this family's reader takes. */
static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    const json_t *clip = json_object_get(config, "clip_qkv");
    (void)hp;
    if (clip == NULL || json_is_null(clip))
        return PARE_OK;
    return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: 'clip_qkv' is not supported for architecture 'olmoe'", path);
}

const pare_arch pare_arch_olmoe = {
    .name = "olmoe",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS,
               .act = PARE_ACT_SILU,
               .rope = PARE_ROPE_HALVES,
               .gated_ffn = true,
               .qk_norm_whole = true},
    .stock_head_dim = true,
    .stock_own_kv = true,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .from_config = from_config,
};
