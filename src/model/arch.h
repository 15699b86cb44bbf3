/* model/arch.h - the architecture table: one file a family (arch_<name>.c) describes it for every consumer
 *
 * A description says how the family's config.json keys, GGUF keys and tensors correspond, which shapes the tensors
 * have, and how the forward pass is wired. Convert, evaluate, fold and estimate memory read the same description; none
 * of them knows a family by name. */
#ifndef PARE_MODEL_ARCH_H
#define PARE_MODEL_ARCH_H

#include "model/hparams.h"

/* What a weight is. id, name in GGUF without the suffix (".weight", ".bias"), or, before an exclamation mark,
 * all of it; %u is the layer. */
#define PARE_WEIGHTS(X)                                                                                                \
    X(TOKEN_EMBD, "token_embd")                                                                                        \
    X(TOKEN_EMBD_NORM, "token_embd_norm")                                                                              \
    X(POS_EMBD, "position_embd")                                                                                       \
    X(TOKEN_TYPES, "token_types")                                                                                      \
    X(ROPE_FREQS, "rope_freqs")                                                                                        \
    X(ROPE_FACTORS_LONG, "rope_factors_long")                                                                          \
    X(ROPE_FACTORS_SHORT, "rope_factors_short")                                                                        \
    X(OUTPUT_NORM, "output_norm")                                                                                      \
    X(OUTPUT, "output")                                                                                                \
    X(ATTN_NORM, "blk.%u.attn_norm")                                                                                   \
    X(ATTN_NORM_2, "blk.%u.attn_norm_2")                                                                               \
    X(ATTN_Q, "blk.%u.attn_q")                                                                                         \
    X(ATTN_K, "blk.%u.attn_k")                                                                                         \
    X(ATTN_V, "blk.%u.attn_v")                                                                                         \
    X(ATTN_QKV, "blk.%u.attn_qkv")                                                                                     \
    X(ATTN_Q_A, "blk.%u.attn_q_a")                                                                                     \
    X(ATTN_Q_A_NORM, "blk.%u.attn_q_a_norm")                                                                           \
    X(ATTN_Q_B, "blk.%u.attn_q_b")                                                                                     \
    X(ATTN_KV_A, "blk.%u.attn_kv_a_mqa")                                                                               \
    X(ATTN_KV_A_NORM, "blk.%u.attn_kv_a_norm")                                                                         \
    X(ATTN_KV_B, "blk.%u.attn_kv_b")                                                                                   \
    X(ATTN_K_B, "blk.%u.attn_k_b")                                                                                     \
    X(ATTN_V_B, "blk.%u.attn_v_b")                                                                                     \
    X(ATTN_OUT, "blk.%u.attn_output")                                                                                  \
    X(ATTN_Q_NORM, "blk.%u.attn_q_norm")                                                                               \
    X(ATTN_K_NORM, "blk.%u.attn_k_norm")                                                                               \
    X(ATTN_SINKS, "blk.%u.attn_sinks")                                                                                 \
    X(ATTN_POST_NORM, "blk.%u.post_attention_norm")                                                                    \
    X(ATTN_OUT_NORM, "blk.%u.attn_output_norm")                                                                        \
    X(FFN_NORM, "blk.%u.ffn_norm")                                                                                     \
    X(FFN_GATE, "blk.%u.ffn_gate")                                                                                     \
    X(FFN_UP, "blk.%u.ffn_up")                                                                                         \
    X(FFN_DOWN, "blk.%u.ffn_down")                                                                                     \
    X(FFN_POST_NORM, "blk.%u.post_ffw_norm")                                                                           \
    X(FFN_POST_NORM_1, "blk.%u.post_ffw_norm_1")                                                                       \
    X(FFN_PRE_NORM_2, "blk.%u.pre_ffw_norm_2")                                                                         \
    X(FFN_POST_NORM_2, "blk.%u.post_ffw_norm_2")                                                                       \
    X(LAYER_OUT_NORM, "blk.%u.layer_output_norm")                                                                      \
    X(ATTN_SUB_NORM, "blk.%u.attn_sub_norm")                                                                           \
    X(FFN_SUB_NORM, "blk.%u.ffn_sub_norm")                                                                             \
    X(FFN_GATE_INP, "blk.%u.ffn_gate_inp")                                                                             \
    X(FFN_GATE_INP_SCALE, "blk.%u.ffn_gate_inp.scale!")                                                                \
    X(EXPERT_BIAS, "blk.%u.exp_probs_b")                                                                               \
    X(FFN_GATE_UP_EXPS, "blk.%u.ffn_gate_up_exps")                                                                     \
    X(FFN_GATE_EXPS, "blk.%u.ffn_gate_exps")                                                                           \
    X(FFN_UP_EXPS, "blk.%u.ffn_up_exps")                                                                               \
    X(FFN_DOWN_EXPS, "blk.%u.ffn_down_exps")                                                                           \
    X(EXPERT_SCALE, "blk.%u.ffn_down_exps.scale!")                                                                     \
    X(FFN_GATE_INP_SHEXP, "blk.%u.ffn_gate_inp_shexp")                                                                 \
    X(FFN_GATE_SHEXP, "blk.%u.ffn_gate_shexp")                                                                         \
    X(FFN_UP_SHEXP, "blk.%u.ffn_up_shexp")                                                                             \
    X(FFN_DOWN_SHEXP, "blk.%u.ffn_down_shexp")                                                                         \
    X(ATTN_GATE, "blk.%u.attn_gate")                                                                                   \
    X(SSM_CONV1D, "blk.%u.ssm_conv1d")                                                                                 \
    X(SSM_DT, "blk.%u.ssm_dt")                                                                                         \
    X(SSM_A, "blk.%u.ssm_a!")                                                                                          \
    X(SSM_BETA, "blk.%u.ssm_beta")                                                                                     \
    X(SSM_ALPHA, "blk.%u.ssm_alpha")                                                                                   \
    X(SSM_BETA_ALPHA, "blk.%u.ssm_ba")                                                                                 \
    X(SSM_NORM, "blk.%u.ssm_norm")                                                                                     \
    X(SSM_OUT, "blk.%u.ssm_out")                                                                                       \
    X(LAYER_EMBD, "per_layer_token_embd")                                                                              \
    X(LAYER_MODEL_PROJ, "per_layer_model_proj")                                                                        \
    X(LAYER_PROJ_NORM, "per_layer_proj_norm")                                                                          \
    X(ALTUP_PROJ, "altup_proj")                                                                                        \
    X(ALTUP_UNEMBD, "altup_unembd_proj")                                                                               \
    X(LAYER_GATE, "blk.%u.inp_gate")                                                                                   \
    X(LAYER_PROJ, "blk.%u.proj")                                                                                       \
    X(LAYER_INPUT_NORM, "blk.%u.post_norm")                                                                            \
    X(LAYER_SCALE, "blk.%u.layer_output_scale")                                                                        \
    X(ALTUP_ROUTER, "blk.%u.altup_router")                                                                             \
    X(ALTUP_ROUTER_NORM, "blk.%u.altup_router_norm")                                                                   \
    X(ALTUP_PREDICT, "blk.%u.altup_predict_coef")                                                                      \
    X(ALTUP_CORRECT, "blk.%u.altup_correct_coef")                                                                      \
    X(ALTUP_SCALE, "blk.%u.altup_correct_scale")                                                                       \
    X(LAUREL_L, "blk.%u.laurel_l")                                                                                     \
    X(LAUREL_R, "blk.%u.laurel_r")                                                                                     \
    X(LAUREL_NORM, "blk.%u.laurel_post_norm")

typedef enum pare_weight {
#define PARE_WEIGHT_ENUM(id, gguf) PARE_W_##id,
    PARE_WEIGHTS(PARE_WEIGHT_ENUM)
#undef PARE_WEIGHT_ENUM
        PARE_W_COUNT
} pare_weight;

/* GGUF name, e.g. "blk.3.attn_q.weight", into dst. Returns dst. */
char *pare_weight_name(char *dst, size_t size, pare_weight id, uint32_t layer, const char *suffix);
bool pare_weight_per_layer(pare_weight id);

typedef enum pare_rope_layout {
    PARE_ROPE_NONE,
    PARE_ROPE_INTERLEAVED, /* pairs (2i, 2i+1): GGUF llama */
    PARE_ROPE_HALVES       /* pairs (i, i + n_rot/2): GPT-NeoX, Qwen, and every Hub model */
} pare_rope_layout;

typedef enum pare_activation {
    PARE_ACT_SILU,
    PARE_ACT_GELU_ERF,
    PARE_ACT_GELU_TANH,
    PARE_ACT_RELU,
    PARE_ACT_RELU2,
    PARE_ACT_SIGMOID,
    PARE_ACT_CLAMPED_GLU /* of gate and up together, with hparams.glu_alpha and glu_limit; not a function of one */
} pare_activation;

typedef enum pare_norm { PARE_NORM_RMS, PARE_NORM_LAYER } pare_norm;

/* How the layers are wired; what a model has of optional weights (biases, q/k norms, post norms) is seen from which
 * tensors are there. */
typedef struct pare_wiring {
    pare_norm norm;
    pare_activation act;
    pare_rope_layout rope;
    bool gated_ffn;             /* down(act(gate(x)) * up(x)), else down(act(up(x))) */
    bool parallel_residual;     /* attention and FFN read the same residual, both are added */
    bool norm_after;            /* norms only after attention and FFN (OLMo 2): no attn_norm / ffn_norm */
    bool qk_norm_whole;         /* q/k norm across all heads together, else per head */
    bool qk_norm_last;          /* q/k norm behind RoPE */
    bool in_turn_with_ffn_norm; /* layers that have a norm before the FFN of its own are not parallel (StableLM) */
    bool post_norm_feeds_ffn;   /* GGUF's post_attention_norm is the norm of the FFN's input: there is no ffn_norm */
    bool attn_gated; /* a head's query comes with a gate behind it; what it attends to is times sigmoid(gate) */
    bool v_norm;     /* heads of v are normalised, without a weight */
    bool bare_norms; /* norms have no weights (OLMo 1) */
    bool encoder;    /* no output matrix: states of tokens come out; attention looks both ways */
} pare_wiring;

/* A dimension of a tensor in terms of the hyperparameters. */
typedef enum pare_dim {
    PARE_DIM_NONE,
    PARE_DIM_VOCAB,
    PARE_DIM_EMBD,
    PARE_DIM_FF,
    PARE_DIM_Q /* n_head * head_dim_k */,
    PARE_DIM_K /* n_head_kv * head_dim_k */,
    PARE_DIM_V /* n_head_kv * head_dim_v */,
    PARE_DIM_O /* n_head * head_dim_v */,
    PARE_DIM_QKV /* Q + K + V */,
    PARE_DIM_HEAD_K,
    PARE_DIM_HEAD_V,
    PARE_DIM_HEAD_PLAIN /* head_dim_k - n_rot: what RoPE leaves of a key of latent attention */,
    PARE_DIM_LORA_Q,
    PARE_DIM_LORA_KV,
    PARE_DIM_LATENT /* LORA_KV + n_rot */,
    PARE_DIM_KV_B /* n_head * (HEAD_PLAIN + HEAD_V) */,
    PARE_DIM_HEAD,
    PARE_DIM_HEAD_KV,
    PARE_DIM_EMBD_LAYER,  /* n_embd_layer */
    PARE_DIM_EMBD_LAYERS, /* n_layer * n_embd_layer */
    PARE_DIM_STREAM,      /* n_stream */
    PARE_DIM_STREAM_PAIR, /* n_stream * n_stream */
    PARE_DIM_STREAM_MORE, /* n_stream - 1 */
    PARE_DIM_LAUREL,      /* laurel_rank */
    PARE_DIM_ROT_HALF,
    PARE_DIM_CTX,
    PARE_DIM_TOKEN_TYPES,
    PARE_DIM_FF2 /* 2 FF */,
    PARE_DIM_EXPERT,
    PARE_DIM_FF_EXPERT,
    PARE_DIM_FF_EXPERT2 /* 2 FF_EXPERT */,
    PARE_DIM_FF_SHARED,
    PARE_DIM_Q_GATED /* 2 Q */,
    PARE_DIM_LINEAR_QKV /* of linear attention: heads of q, k and v together */,
    PARE_DIM_LINEAR_V /* heads of v */,
    PARE_DIM_LINEAR_HEADS,
    PARE_DIM_LINEAR_HEADS2 /* 2 LINEAR_HEADS */,
    PARE_DIM_LINEAR_HEAD_V,
    PARE_DIM_LINEAR_KERNEL,
    PARE_DIM_ONE /* first only: a GGUF file may leave it out */
} pare_dim;
uint64_t pare_dim_size(pare_dim dim, const pare_hparams *hp, uint32_t layer); /* 1 for NONE */

/* How the Hub's values become GGUF's. */
typedef enum pare_weight_map {
    PARE_MAP_SAME,
    PARE_MAP_ROPE_Q,     /* rows reordered from halves to interleaved pairs, head by head (n_head heads) */
    PARE_MAP_ROPE_K,     /* the same with n_head_kv heads */
    PARE_MAP_TRANSPOSE,  /* stored [in, out], of experts [expert, in, out] */
    PARE_MAP_PLUS_ONE,   /* norm weights stored minus one */
    PARE_MAP_QKV_GROUPS, /* heads fused as [q ... q k v] a kv head become [all q, all k, all v] */
    PARE_MAP_STACK,      /* the Hub has a matrix an expert, or a vector a head (%e in its name), as many as dim[0]
                          * says, GGUF all of them in one tensor */
    PARE_MAP_ROW,        /* one row, in older GGUF files a vector */
    PARE_MAP_LATENT_K,   /* latent attention's share of a Hub matrix that makes keys (model/view.h), */
    PARE_MAP_LATENT_V,   /* and values: flags PARE_SHARE(0, 2) and PARE_SHARE(1, 2) */
    PARE_MAP_LINEAR,     /* linear attention's heads, or their gate, of a Hub matrix that makes both: shares as above */
    PARE_MAP_SQUEEZE,    /* the Hub has a dimension of one in the middle */
    PARE_MAP_MINUS_EXP,  /* -e^x of the Hub's values */
    PARE_MAP_FILL_ROWS,  /* the Hub has hparams.n_vocab_layer rows; GGUF n_vocab, of which those behind are the first */
    PARE_MAP_POSITIONS   /* the Hub has hparams.n_pos_skipped rows in front that no text reaches */
} pare_weight_map;

enum {
    PARE_WEIGHT_OPTIONAL = 1,
    PARE_BIAS_OPTIONAL = 2,
    PARE_BIAS_REQUIRED = 4,
    PARE_BIAS_ATTN = 8,         /* optional, but required where hparams.attn_bias says so */
    PARE_BIAS_FFN = 16,         /* the same with ffn_bias */
    PARE_NO_SUFFIX = 32,        /* the Hub's tensor has no ".weight", and its bias "_bias" in place of ".bias" */
    PARE_WEIGHT_MADE = 64,      /* not on the Hub (hf is NULL): the converter computes it, where the model needs it */
    PARE_DENSE_ONLY = 128,      /* absent in a layer with experts */
    PARE_EXPERTS_ONLY = 256,    /* only there */
    PARE_LINEAR_ONLY = 1 << 19, /* only in a layer with linear attention */
    PARE_ATTENTION_ONLY = 1 << 29, /* absent there */
    PARE_OWN_KEYS = 1 << 30, /* optional in layers that attend to another one's keys (hparams.n_layer_shared_kv) */
    /* Only in models for which the hyperparameters say so; other rows may describe the same weight of others: */
    PARE_IF_SHARED = 1 << 9,        /* experts have a shared one beside them: n_ff_shared */
    PARE_IF_Q_WHOLE = 1 << 10,      /* not n_lora_q: queries are made in one step */
    PARE_IF_Q_COMPRESSED = 1 << 11, /* n_lora_q */
    PARE_IF_KV_WHOLE = 1 << 12,     /* latent_whole */
    PARE_IF_KV_SPLIT = 1 << 13,     /* not latent_whole */
    PARE_IF_NORM_PAIR = 1 << 14,    /* norm_pair */
    PARE_IF_ONE_NORM = 1 << 15,     /* not norm_pair */
    PARE_IF_QK_NORM = 1 << 16,      /* qk_norm */
    PARE_IF_IN_TURN = 1 << 17,      /* residual_in_turn */
    PARE_BIAS_ALONE = 1 << 18,      /* there is a bias and no weight; with PARE_NO_SUFFIX its name is whole */
};

/* Further ones of these: n_embd_layer; experts_apart, or not. */
#define PARE_IF_LAYER_INPUTS (UINT64_C(1) << 31)
#define PARE_IF_EXPERTS_APART (UINT64_C(1) << 32)
#define PARE_IF_EXPERTS_FUSED (UINT64_C(1) << 33)

/* Where a model may differ from what stock's loader expects of the family (model/stock.h). Without a word it is:
 * weights and biases that the description allows are loaded, those that it does not require are not missed. */
#define PARE_STOCK_WANTS (UINT64_C(1) << 40)      /* it always loads the weight: zeros, of OUTPUT the embedding */
#define PARE_STOCK_WANTS_BIAS (UINT64_C(1) << 41) /* it always loads the bias: zeros */
#define PARE_STOCK_LACKS_BIAS (UINT64_C(1) << 42) /* it has no place for the bias */
#define PARE_STOCK_NO_FACTOR (UINT64_C(1) << 43)  /* its graph does not multiply by NAME.scale, which it loads */

/* A tensor of the Hub that is `count` weights of one shape in GGUF, each of which has a row in the description with the
 * same name: they share its rows (out), after the map, and the elements of its bias.
 *
 *   PARE_SHARE      block by block   w0 w0 w0 w1 w1 w1
 *   PARE_SHARE_IN_TURN               w0 w1 w0 w1 w0 w1
 *
 * Flags of the row of share `index`; count is 2 to 15. */
#define PARE_SHARE(index, count) ((unsigned)(count) << 24 | (unsigned)(index) << 20)
#define PARE_SHARE_IN_TURN(index, count) (PARE_SHARE(index, count) | 1u << 28)

typedef struct pare_hf_share {
    uint8_t index, count; /* count 0: the whole tensor */
    bool in_turn;
} pare_hf_share;

typedef struct pare_arch_weight {
    pare_weight id;
    const char *hf;  /* Hub name without suffix, %u is the layer, %e the expert: "model.layers.%u.self_attn.q_proj" */
    pare_dim dim[3]; /* in GGUF, slowest first, PARE_DIM_NONE-terminated; a bias has the first one, of experts two;
                        alone all */
    pare_weight_map map;
    uint64_t flags;
} pare_arch_weight;

/* What a class of the Hub makes of config.json's sliding_window. */
typedef enum pare_window_rule {
    PARE_WINDOW_NONE,   /* it has no window, whatever the config says (llama) */
    PARE_WINDOW_ALWAYS, /* in every layer, or where layer_types says so (mistral) */
    /* only with use_sliding_window: */
    PARE_WINDOW_SWITCHED,         /* from layer max_window_layers on, or as layer_types says (qwen2) */
    PARE_WINDOW_SWITCHED_IN_TURN, /* in layers 0, 2, 4 ... before max_window_layers, or as layer_types says (qwen2_moe)
                                   */
    PARE_WINDOW_SWITCHED_ALL      /* in every layer, whatever layer_types says (qwen3_moe) */
} pare_window_rule;

/* A class of the Hub that this description serves, with what transformers takes for keys that its config.json leaves
 * out. 0 means: derived (kv heads from heads, head size from hidden_size / heads), or required. */
typedef struct pare_hf_class {
    const char *name;       /* "LlamaForCausalLM" */
    const char *model_type; /* config.json's model_type: "llama" */
    pare_window_rule window;
    struct {
        uint32_t n_head_kv, head_dim, n_ctx, window, window_first;
        uint32_t head_dim_full; /* of pare_arch.window_heads */
        uint32_t n_expert, n_expert_used, n_ff_expert, n_ff_shared;
        uint32_t n_vocab, n_head, n_ff;
        uint32_t n_layer_dense, n_expert_shared, n_expert_group, n_expert_group_used; /* of pare_arch.routing_keys */
        float expert_scale;
        bool norm_topk;
        uint32_t lora_q, lora_kv, head_rot, head_plain, head_v; /* of pare_arch.latent */
        uint32_t ff_factor;                                     /* the FFN is so many times as wide as the model */
        float norm_eps, rope_base, partial_rotary;
        bool tied;
    } absent;
    bool head_dim_key;        /* transformers fills in head_dim: key_length and value_length are always written */
    const char *experts;      /* key of the number of experts: "num_experts"; NULL: a dense model */
    const char *experts_if;   /* a key that must be true for the model to have them; NULL: every one has */
    const char *experts_used; /* key of the number that a token goes through; NULL: "num_experts_per_tok" */
    const char *shared;       /* key of the width of a shared expert; NULL: shared_expert_intermediate_size where every
                               * model of the family has one, else none (PARE_IF_SHARED) */
    const char *section;    /* member of config.json that has the numbers, "text_config"; NULL: they stand at the top */
    const char *act_alias;  /* a further word for the family's activation: "gelu" for what Gemma makes of it */
    bool rope_stated;       /* transformers takes a scaling of RoPE where config.json has none: it must have one */
    const char *act_absent; /* the activation where config.json names none; NULL: the family's */
    pare_expert_score expert_score; /* of this class; USUAL: the family's */
    uint32_t expert_group_best;     /* hparams.expert_group_best; 0: two */
    bool skips_pad_positions;       /* positions of a text count from pad_token_id + 1 */
    bool norm_topk_key; /* norm_topk_prob says whether experts' weights are normalised (absent: absent.norm_topk), else
                           the family */
} pare_hf_class;

struct pare_model;
struct pare_tensor;

/* Stock's graph: where it drops the rows of tokens whose logits are not wanted, */
typedef enum pare_stock_rows {
    PARE_STOCK_ROWS_LAST_LAYER, /* behind the last layer's attention */
    PARE_STOCK_ROWS_BEFORE_NORM,
    PARE_STOCK_ROWS_STATES, /* the same, and all rows are kept too */
    PARE_STOCK_ROWS_NORMED  /* behind the output norm, of which all rows are kept too */
} pare_stock_rows;

/* and which two of a parallel layer's input, attention and FFN it adds first. */
typedef enum pare_stock_sum {
    PARE_STOCK_SUM_FFN_ATTN,
    PARE_STOCK_SUM_ATTN_FFN, /* attention is computed before the FFN */
    PARE_STOCK_SUM_FFN_INPUT,
    PARE_STOCK_SUM_ATTN_INPUT
} pare_stock_sum;

typedef struct pare_arch {
    const char *name;                /* general.architecture */
    const pare_hf_class *hf_classes; /* ends with a NULL name; the first is the one written for a GGUF source */
    pare_wiring wiring;
    bool partial_rotary;     /* RoPE may turn a part of a head: rope.dimension_count says how much */
    bool window_key;         /* stock's readers of the family know attention.sliding_window (and ..._pattern) */
    uint32_t window_absent;  /* the window that they take where the key is missing; 0: none */
    uint32_t window_period;  /* every so-manieth layer sees all where nothing else says it; 0: none does */
    bool window_pattern_key; /* the converter writes sliding_window_pattern, a bool a layer; else it stands only where
                              * window_period does not say it */
    float rope_base_window; /* RoPE's base in layers with a window where a GGUF file says none; 0: that of the others */
    bool window_rope_plain; /* scaling of RoPE is for the layers that see all */
    bool window_heads;      /* heads of layers with a window may have another size and number, and layers without keys
                             * of their own another FFN (hparams_kinds.c) */
    bool experts_as_listed; /* the converter writes a layer's matrices of experts in the order of the rows of weights,
                             * else of the Hub's names */
    bool expert_ff_key;     /* GGUF has expert_feed_forward_length; else experts are as wide as feed_forward_length */
    bool expert_norm;       /* hparams.expert_norm where nothing else says it: what stock's runtime does */
    pare_expert_score expert_score; /* hparams.expert_score where nothing says it; USUAL counts as SOFTMAX */
    bool latent; /* keys and values are made of a latent vector a token: q_lora_rank and so on (hparams_latent.c) */
    bool routing_keys; /* DeepSeek's words for experts, which stock reads too: groups, shared and dense ones, scores,
                        * weights' norm and scale (hparams_routing.c) */
    bool extra_layers; /* layers behind the last one predict further tokens: they are left out */
    bool yarn_scores;  /* YaRN's mscale_all_dim scales the scores; GGUF has a tenth of it */
    bool space_prefix_key;        /* the converter says add_space_prefix behind all other keys of the tokenizer */
    const char *const *meta_keys; /* the keys that stock's converter writes, in its order, NULL-terminated; others come
                                   * behind them where they say more than a reader takes for granted. NULL: the common
                                   * order */
    const char *const *hf_prefixes; /* the leading part of the Hub's names, then what may stand in its place ("": it is
                                     * left out), NULL-terminated; or NULL */
    const char *const *hf_outer; /* leading parts that some files have in front of the Hub's names, NULL-terminated, or
                                  * NULL */
    bool gamma_beta;             /* older files end the names of a norm's weight and bias in ".gamma" and ".beta" */
    const pare_arch_weight *weights; /* model-wide ones and per layer, in any order */
    size_t n_weights;
    const char *const
        *hf_ignored; /* fnmatch patterns of further Hub tensors that are no weights, NULL-terminated, may be NULL */

    const char *const
        *hf_left_out; /* the same for parts beside the language model (sight, hearing): a warning says so */

    /* What stock's loader takes for granted (model/stock.h). */
    bool stock_head_dim;          /* heads times their size are the width of the model */
    bool stock_own_kv;            /* each head has a key/value head of its own */
    bool stock_window;            /* some layer has a window */
    bool stock_no_window;         /* its graph has none, whatever the key says */
    uint32_t stock_window_layers; /* its graph has windows in models of so many layers only; 0: in all */
    bool stock_output_twice;      /* a tied output on the host is read a second time, unless it is mapped */
    bool stock_output_is_embd;    /* it multiplies by the embedding itself, which stays on the host */
    bool stock_positions;         /* it counts positions of time, height and width for a text too */
    pare_stock_rows stock_rows;
    pare_stock_sum stock_sum;
    bool stock_ffn_factor; /* its graph multiplies products of the FFN by NAME.scale, as it does those of attention */
    const char *bias_key;  /* of config.json, in quotes: switches biases; NULL: 'attention_bias' and 'mlp_bias' */
    /* What else it does not do as the model says: the rest of a sentence "stock llama.cpp ..."; NULL: nothing. */
    const char *(*stock_differs)(const pare_hparams *hp);

    /* What the common rules (hparams_*.c) do not cover; each may be NULL and runs after them. path names the file. */
    pare_status (*from_config)(pare_hparams *hp, const json_t *config, const char *path, pare_error *err);
    pare_status (*from_meta)(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err);
    pare_status (*to_meta)(const pare_hparams *hp, pare_meta *meta, pare_error *err);
    pare_status (*to_config)(const pare_hparams *hp, json_t *config, pare_error *err);
} pare_arch;

/* The families, from the list that the build makes of PARE_ARCHS in src/model/CMakeLists.txt. NULL: unknown. */
const pare_arch *pare_arch_at(size_t i); /* NULL behind the last */
const pare_arch *pare_arch_find(const char *gguf_name);
const pare_arch *pare_arch_find_class(const char *hf_class, const pare_hf_class **out); /* out may be NULL */

/* Hub name of a weight's tensor (w->hf is not NULL), e.g. "model.layers.3.mlp.up_proj.weight". expert counts only
 * where the Hub has a tensor an expert. Returns dst. */
char *pare_arch_hf_name(char *dst, size_t size, const pare_arch_weight *w, uint32_t layer, uint32_t expert, bool bias);

/* The class for a model with these numbers: the family's first that has experts, or has none, as the model, and scores
 * them as it does; and has a window as the model, where the family's GGUF files say so. */
const pare_hf_class *pare_arch_class_for(const pare_arch *arch, const pare_hparams *hp);
pare_expert_score pare_arch_expert_score(const pare_arch *arch, const pare_hparams *hp); /* never USUAL */

/* The key of config.json for the width of the shared expert; NULL: there is none. */
const char *pare_arch_shared_key(const pare_arch *arch, const pare_hf_class *hf_class);

/* A family whose every model has experts. */
bool pare_arch_needs_experts(const pare_arch *arch);

/* Whether a model with these numbers has a place for the weight. */
bool pare_arch_applies(const pare_arch_weight *w, const pare_hparams *hp);

/* The tensors that the Hub has of one weight of one layer: more than one for PARE_MAP_STACK. */
uint64_t pare_arch_stacked(const pare_arch_weight *w, const pare_hparams *hp);

/* What a layer applies between its matrices: the family's, or what the model says instead. */
pare_activation pare_arch_act(const pare_arch *arch, const pare_hparams *hp);
const char *pare_activation_name(pare_activation act); /* in config.json */

pare_hf_share pare_arch_share(const pare_arch_weight *w);

/* Whether a model with these numbers may have, and in this layer must have, the weight (or its bias). */
bool pare_arch_allows(const pare_arch_weight *w, bool bias);
bool pare_arch_requires(const pare_arch_weight *w, const pare_hparams *hp, uint32_t layer, bool bias);

/* Whether rows (or elements of a vector), or columns, of the weight are value heads of linear attention, whose order
 * GGUF may turn around (hparams.linear.tiled). */
bool pare_arch_has_value_heads(const pare_arch_weight *w, bool columns);

/* The description of a weight, NULL when the family has none such. */
const pare_arch_weight *pare_arch_weight_of(const pare_arch *arch, pare_weight id);

/* Whether stock's runtime multiplies by a tensor NAME.scale, which may go with the weight; not where that is a weight
 * of the family itself. */
bool pare_arch_has_factor(const pare_arch *arch, pare_weight id);

/* Compare the shape of t with what hp says of the weight (of its bias: one vector). path is for messages.
 * Errors: PARE_ERR_RANGE with both shapes. */
pare_status pare_arch_check_shape(const struct pare_tensor *t, const pare_arch_weight *w, bool bias,
                                  const pare_hparams *hp, uint32_t layer, const char *path, pare_error *err);

/* Complete m->hp with what only the tensors say (tied_output; n_vocab where the metadata has none) and check that
 * every weight that the architecture needs is there with the shape that hp says, and that the layers present are
 * block_count. Weights get their factors from NAME.scale. Tensors that the description does not know are a warning.
 * Errors: PARE_ERR_FORMAT (missing: all of them are named, up to ten), PARE_ERR_RANGE (shape, count of layers). */
pare_status pare_arch_check(struct pare_model *m, pare_error *err);

/* Says of a model with arch NULL what it calls its architecture. PARE_ERR_UNSUPPORTED; PARE_ERR_FORMAT when it holds no
 * tensors. */
pare_status pare_arch_refuse_unknown(const struct pare_model *m, pare_error *err);

#endif
