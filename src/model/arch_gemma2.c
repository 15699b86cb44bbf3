/* Gemma 2: norms before and after attention and FFN, stored minus one; soft caps on attention scores and logits; every
 * other layer sees a window; embeddings times sqrt(width). Sources: transformers models/gemma2; llama.cpp
 * conversion/gemma.py, src/models/gemma2.cpp. */
#include "model/arch.h"
#include "model/arch_words.h"

#include <math.h>

/* The 27B model divides queries by the square root of width / heads, not of the head size; a GGUF file tells it by its
 * layers. */
enum { DEFAULT_WINDOW = 4096, LAYERS_27B = 46 };

/* Stock's runtime divides by the caps in any case and takes those of the published models where a key is missing: no
 * cap is one that no float comes near. */
#define NO_CAP 1e6f

static const pare_hf_class classes[] = {
    {"Gemma2ForCausalLM", "gemma2", PARE_WINDOW_ALWAYS,
     .absent =
         {.n_ctx = 8192, .norm_eps = 1e-6f, .n_head_kv = 4, .head_dim = 256, .window = DEFAULT_WINDOW, .tied = true},
     .head_dim_key = true},
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
    {PARE_W_ATTN_POST_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_PLUS_ONE, 0},
    {PARE_W_FFN_NORM, "model.layers.%u.pre_feedforward_layernorm", {PARE_DIM_EMBD}, PARE_MAP_PLUS_ONE, 0},
    {PARE_W_FFN_GATE, "model.layers.%u.mlp.gate_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.up_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.down_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_POST_NORM, "model.layers.%u.post_feedforward_layernorm", {PARE_DIM_EMBD}, PARE_MAP_PLUS_ONE, 0},
};

static const char *const ignored[] = {"lm_head.weight", NULL}; /* always the embeddings */

static const char *const meta_keys[] = {"gemma2.context_length",
                                        "gemma2.embedding_length",
                                        "gemma2.block_count",
                                        "gemma2.feed_forward_length",
                                        "gemma2.attention.head_count",
                                        "gemma2.attention.head_count_kv",
                                        "gemma2.attention.layer_norm_rms_epsilon",
                                        "gemma2.attention.key_length",
                                        "gemma2.attention.value_length",
                                        "general.file_type",
                                        "gemma2.attn_logit_softcapping",
                                        "gemma2.final_logit_softcapping",
                                        "gemma2.attention.sliding_window",
                                        "general.quantization_version",
                                        NULL};

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    pare_status st = pare_config_cap(config, path, "attn_logit_softcapping", 50, &hp->attn_softcap, err);
    if (st == PARE_OK)
        st = pare_config_cap(config, path, "final_logit_softcapping", 30, &hp->final_softcap, err);
    hp->embd_scale = sqrtf((float)hp->n_embd);
    if (st == PARE_OK)
        st = pare_config_want_tied(hp, path, err);
    return st == PARE_OK ? pare_query_scalar_from_config(hp, config, path, 256, LAYERS_27B, err) : st;
}

static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    hp->attn_softcap = 50;
    hp->final_softcap = 30;
    hp->embd_scale = sqrtf((float)hp->n_embd);
    pare_status st = pare_meta_cap(meta, path, "gemma2.attn_logit_softcapping", &hp->attn_softcap, err);
    if (st == PARE_OK)
        st = pare_meta_cap(meta, path, "gemma2.final_logit_softcapping", &hp->final_softcap, err);
    hp->attn_softcap = hp->attn_softcap < NO_CAP ? hp->attn_softcap : 0;
    hp->final_softcap = hp->final_softcap < NO_CAP ? hp->final_softcap : 0;
    return st == PARE_OK ? pare_query_scalar_from_meta(hp, meta, path, "gemma2.attention.scale", LAYERS_27B, err) : st;
}

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    float attn = hp->attn_softcap > 0 ? hp->attn_softcap : NO_CAP;
    float final = hp->final_softcap > 0 ? hp->final_softcap : NO_CAP;
    pare_status st = pare_meta_set_f32(meta, "gemma2.attn_logit_softcapping", attn, err);
    if (st == PARE_OK)
        st = pare_meta_set_f32(meta, "gemma2.final_logit_softcapping", final, err);
    return st == PARE_OK ? pare_query_scalar_to_meta(hp, meta, "gemma2.attention.scale", LAYERS_27B, err) : st;
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    bool ok = pare_cap_to_config(config, "attn_logit_softcapping", hp->attn_softcap);
    ok = pare_cap_to_config(config, "final_logit_softcapping", hp->final_softcap) && ok;
    ok = pare_query_scalar_to_config(hp, config) && ok;
    ok = json_object_set_new(config, "hidden_activation", json_string("gelu_pytorch_tanh")) == 0 && ok;
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_gemma2 = {
    .name = "gemma2",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS, .act = PARE_ACT_GELU_TANH, .rope = PARE_ROPE_HALVES, .gated_ffn = true},
    .window_key = true,
    .window_absent = DEFAULT_WINDOW,
    .window_period = 2,
    .space_prefix_key = true,
    .meta_keys = meta_keys,
    .stock_window = true,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .hf_ignored = ignored,
    .from_config = from_config,
    .from_meta = from_meta,
    .to_meta = to_meta,
    .to_config = to_config,
};
