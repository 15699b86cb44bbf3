/* Gemma 3: Gemma 2's layers with a norm on each q and k head in place of the cap on scores; five layers with a window
 * for one that sees all, and a base of RoPE for each kind. The class that sees images has the same numbers in its
 * text_config; its other parts are left out. Sources: transformers models/gemma3; llama.cpp conversion/gemma.py,
 * src/models/gemma3.cpp. */
#include "model/arch.h"
#include "model/arch_words.h"

#include <math.h>

/* The 27B model divides queries by the square root of width / heads, not of the head size; a GGUF file tells it by its
 * layers. */
enum { LAYERS_27B = 62 };

#define ABSENT                                                                                                         \
    .absent = {.n_vocab = 262208,                                                                                      \
               .n_head = 8,                                                                                            \
               .n_head_kv = 4,                                                                                         \
               .head_dim = 256,                                                                                        \
               .n_ctx = 131072,                                                                                        \
               .norm_eps = 1e-6f,                                                                                      \
               .rope_base = 1e6f,                                                                                      \
               .window = 4096,                                                                                         \
               .tied = true},                                                                                          \
    .head_dim_key = true

static const pare_hf_class classes[] = {
    {"Gemma3ForCausalLM", "gemma3_text", PARE_WINDOW_ALWAYS, ABSENT},
    {"Gemma3ForConditionalGeneration", "gemma3", PARE_WINDOW_ALWAYS, ABSENT, .section = "text_config"},
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
    {PARE_W_ATTN_Q_NORM, "model.layers.%u.self_attn.q_norm", {PARE_DIM_HEAD_K}, PARE_MAP_PLUS_ONE, 0},
    {PARE_W_ATTN_K_NORM, "model.layers.%u.self_attn.k_norm", {PARE_DIM_HEAD_K}, PARE_MAP_PLUS_ONE, 0},
    {PARE_W_ATTN_POST_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_PLUS_ONE, 0},
    {PARE_W_FFN_NORM, "model.layers.%u.pre_feedforward_layernorm", {PARE_DIM_EMBD}, PARE_MAP_PLUS_ONE, 0},
    {PARE_W_FFN_GATE, "model.layers.%u.mlp.gate_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.up_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.down_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_POST_NORM, "model.layers.%u.post_feedforward_layernorm", {PARE_DIM_EMBD}, PARE_MAP_PLUS_ONE, 0},
};

static const char *const prefixes[] = {"model.", "language_model.model.", "model.language_model.", NULL};
static const char *const ignored[] = {"lm_head.weight", "language_model.lm_head.weight", NULL}; /* the embeddings */
static const char *const left_out[] = {"vision_tower.*", "multi_modal_projector.*", "model.vision_tower.*",
                                       "model.multi_modal_projector.*", NULL};

static const char *const meta_keys[] = {"gemma3.block_count",
                                        "gemma3.context_length",
                                        "gemma3.embedding_length",
                                        "gemma3.feed_forward_length",
                                        "gemma3.attention.head_count",
                                        "gemma3.attention.head_count_kv",
                                        "gemma3.rope.scaling.type",
                                        "gemma3.rope.scaling.factor",
                                        "gemma3.rope.freq_base",
                                        "gemma3.rope.freq_base_swa",
                                        "gemma3.attention.layer_norm_rms_epsilon",
                                        "gemma3.attention.key_length",
                                        "gemma3.attention.value_length",
                                        "general.file_type",
                                        "gemma3.final_logit_softcapping",
                                        "gemma3.attention.sliding_window",
                                        "general.quantization_version",
                                        NULL};

static const pare_config_switch causal = {"use_bidirectional_attention", false};

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    pare_status st = pare_config_cap(config, path, "final_logit_softcapping", 0, &hp->final_softcap, err);
    hp->embd_scale = sqrtf((float)hp->n_embd);
    if (st == PARE_OK)
        st = pare_query_scalar_from_config(hp, config, path, 256, LAYERS_27B, err);
    if (st == PARE_OK)
        st = pare_config_expect(config, path, "gemma3", &causal, 1, err);
    return st == PARE_OK ? pare_config_want_tied(hp, path, err) : st;
}

static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    hp->embd_scale = sqrtf((float)hp->n_embd);
    pare_status st = pare_meta_cap(meta, path, "gemma3.final_logit_softcapping", &hp->final_softcap, err);
    return st == PARE_OK ? pare_query_scalar_from_meta(hp, meta, path, "gemma3.attention.scale", LAYERS_27B, err) : st;
}

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    pare_status st = PARE_OK;
    if (hp->final_softcap > 0)
        st = pare_meta_set_f32(meta, "gemma3.final_logit_softcapping", hp->final_softcap, err);
    return st == PARE_OK ? pare_query_scalar_to_meta(hp, meta, "gemma3.attention.scale", LAYERS_27B, err) : st;
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    bool ok = pare_cap_to_config(config, "final_logit_softcapping", hp->final_softcap);
    ok = pare_query_scalar_to_config(hp, config) && ok;
    ok = json_object_set_new(config, "hidden_activation", json_string("gelu_pytorch_tanh")) == 0 && ok;
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_gemma3 = {
    .name = "gemma3",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS, .act = PARE_ACT_GELU_TANH, .rope = PARE_ROPE_HALVES, .gated_ffn = true},
    .window_key = true,
    .window_period = 6,
    .rope_base_window = 10000,
    .window_rope_plain = true,
    .space_prefix_key = true,
    .meta_keys = meta_keys,
    .hf_prefixes = prefixes,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .hf_ignored = ignored,
    .hf_left_out = left_out,
    .from_config = from_config,
    .from_meta = from_meta,
    .to_meta = to_meta,
    .to_config = to_config,
};
