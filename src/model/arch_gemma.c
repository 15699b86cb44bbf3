/* Gemma 1: Llama's layers with GeGLU, norms stored minus one, and embeddings times sqrt(width). Sources: transformers
 * models/gemma; llama.cpp conversion/gemma.py, src/models/gemma.cpp. */
#include "model/arch.h"
#include "model/arch_words.h"

#include <math.h>

static const pare_hf_class classes[] = {
    {"GemmaForCausalLM", "gemma", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 8192, .norm_eps = 1e-6f, .n_head_kv = 16, .head_dim = 256, .tied = true}, .head_dim_key = true,
     .act_alias = "gelu"},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_PLUS_ONE, 0},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_PLUS_ONE, 0},
    {PARE_W_ATTN_Q, "model.layers.%u.self_attn.q_proj", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_K, "model.layers.%u.self_attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_V, "model.layers.%u.self_attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_OUT, "model.layers.%u.self_attn.o_proj", {PARE_DIM_EMBD, PARE_DIM_O}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_PLUS_ONE, 0},
    {PARE_W_FFN_GATE, "model.layers.%u.mlp.gate_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.up_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.down_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, 0},
};

static const char *const ignored[] = {"lm_head.weight", NULL}; /* always the embeddings */

static const char *const meta_keys[] = {"gemma.context_length",
                                        "gemma.embedding_length",
                                        "gemma.block_count",
                                        "gemma.feed_forward_length",
                                        "gemma.attention.head_count",
                                        "gemma.attention.head_count_kv",
                                        "gemma.attention.layer_norm_rms_epsilon",
                                        "gemma.attention.key_length",
                                        "gemma.attention.value_length",
                                        "general.file_type",
                                        "general.quantization_version",
                                        NULL};

static const pare_config_switch causal = {"use_bidirectional_attention", false};

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    hp->embd_scale = sqrtf((float)hp->n_embd);
    pare_status st = pare_config_expect(config, path, "gemma", &causal, 1, err);
    return st == PARE_OK ? pare_config_want_tied(hp, path, err) : st;
}

static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    (void)meta;
    (void)path;
    (void)err;
    hp->embd_scale = sqrtf((float)hp->n_embd);
    return PARE_OK;
}

const pare_arch pare_arch_gemma = {
    .name = "gemma",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS, .act = PARE_ACT_GELU_TANH, .rope = PARE_ROPE_HALVES, .gated_ffn = true},
    .space_prefix_key = true,
    .meta_keys = meta_keys,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .hf_ignored = ignored,
    .from_config = from_config,
    .from_meta = from_meta,
};
