/* model/hparams.h - the numbers of one model, read from GGUF metadata or from a Hub config.json, and written back */
#ifndef PARE_MODEL_HPARAMS_H
#define PARE_MODEL_HPARAMS_H

#include "model/meta.h"

#include <jansson.h>

typedef enum pare_rope_scaling {
    PARE_ROPE_PLAIN,
    PARE_ROPE_LINEAR,
    PARE_ROPE_YARN,
    PARE_ROPE_LONGROPE
} pare_rope_scaling;

/* How the states of a text's tokens become one vector: numbers of <arch>.pooling_type. */
typedef enum pare_pooling {
    PARE_POOLING_NONE = 0, /* not said, or one vector a token */
    PARE_POOLING_MEAN = 1,
    PARE_POOLING_CLS = 2, /* the first token's */
    PARE_POOLING_LAST = 3,
    PARE_POOLING_RANK = 4 /* a classifier behind the first token: a reranker */
} pare_pooling;

/* Llama 3's scaling of RoPE: wavelengths above ctx_orig / low are stretched by factor, those below ctx_orig / high
 * stay, between them it blends. GGUF has no keys for it: it stands in rope_freqs.weight, one divisor a pair. */
typedef struct pare_rope_llama3 {
    double factor, low, high; /* factor 0: not used */
    uint32_t ctx_orig;
} pare_rope_llama3;

/* LongRoPE: one divisor a pair for contexts up to the original one (hparams.rope_ctx_orig), another for longer ones.
 * GGUF has them as rope_factors_short.weight and rope_factors_long.weight. Paper: Ding et al., LongRoPE, arXiv
 * 2402.13753. */
enum { PARE_MAX_ROPE_FACTORS = 256 };
typedef struct pare_rope_longrope {
    uint32_t n; /* pairs; 0: not used */
    float short_factor[PARE_MAX_ROPE_FACTORS], long_factor[PARE_MAX_ROPE_FACTORS];
} pare_rope_longrope;

/* What becomes of a router's scores; the numbers are those of GGUF's expert_gating_func. The weights of softmax over
 * the chosen experts alone are those over all, scaled to a sum of one. */
typedef enum pare_expert_score {
    PARE_EXPERT_USUAL, /* not said: what the family does */
    PARE_EXPERT_SOFTMAX,
    PARE_EXPERT_SIGMOID,
    PARE_EXPERT_SOFTMAX_CHOSEN
} pare_expert_score;

enum { PARE_MAX_LAYERS = 4096 };

/* Some of a model's layers. */
typedef struct pare_layer_set {
    uint64_t bits[PARE_MAX_LAYERS / 64];
} pare_layer_set;

static inline bool pare_layers_have(const pare_layer_set *s, uint32_t layer)
{
    return layer < PARE_MAX_LAYERS && (s->bits[layer / 64] >> layer % 64 & 1) != 0;
}

static inline void pare_layers_add(pare_layer_set *s, uint32_t layer)
{
    s->bits[layer / 64] |= UINT64_C(1) << layer % 64;
}

/* Add the layers i of n with (i + 1) % period == 0; period 0: none. */
static inline void pare_layers_add_every(pare_layer_set *s, uint32_t n, uint32_t period)
{
    for (uint32_t i = 0; period != 0 && i < n; i++)
        if ((i + 1) % period == 0)
            pare_layers_add(s, i);
}

/* Layers with linear attention by the gated delta rule in place of attention. */
typedef struct pare_linear_attention {
    uint32_t n_head_k, n_head_v; /* of queries and keys, and of values; 0: there are no such layers */
    uint32_t head_dim_k, head_dim_v;
    uint32_t kernel; /* tokens that the convolution looks at, the own included */
    bool tiled;      /* value head h reads key head h mod n_head_k, else h / (n_head_v / n_head_k) */
    pare_layer_set layers;
} pare_linear_attention;

/* What the heads of layers with a window have otherwise than those of layers that see all; 0: as they. */
typedef struct pare_window_heads {
    uint32_t n_kv, dim, n_rot; /* key/value heads; elements of a head, and how many of them RoPE turns */
} pare_window_heads;

/* Units: counts of elements unless said. */
typedef struct pare_hparams {
    uint32_t n_vocab; /* rows of the token embedding: may exceed the tokenizer's size */
    uint32_t n_layer, n_ctx_train, n_embd, n_ff, n_head, n_head_kv;
    uint32_t head_dim_k, head_dim_v; /* elements of a key head and of a value head */
    uint32_t n_lora_q, n_lora_kv;    /* latent attention: widths of what queries (0: they are not), and keys and values,
                                      * are compressed to; the last n_rot elements of a head are turned */
    bool latent_whole;               /* keys and values are made by one tensor, as in older GGUF files */
    float latent_norm_eps;           /* of the norms on the compressed; 0: norm_eps */
    uint32_t n_layer_extra;          /* layers behind the last one that a folder may have, and that are left out */
    uint32_t n_rot;                  /* leading elements of a head that RoPE turns, even */
    uint32_t n_expert, n_expert_used; /* 0: a dense FFN */
    uint32_t n_ff_expert;             /* width of one expert's FFN */
    uint32_t n_ff_shared;             /* width of the FFN beside the experts that every token goes through */
    uint32_t n_expert_shared;         /* how many experts wide that is, of families that count them */
    uint32_t n_layer_dense;           /* leading layers with one FFN in place of experts */
    pare_expert_score expert_score;
    float expert_scale; /* the weights of the experts used are multiplied by it; 0: not said, as 1 */
    uint32_t n_expert_group, n_expert_group_used; /* experts are chosen from so many groups; 0: not said, as 1 */
    uint32_t expert_group_best;    /* a group is worth the sum of so many of its best experts; 0 counts as 2 */
    bool expert_group_not_in_gguf; /* no key that stock reads says expert_group_best */
    bool experts_apart;            /* gate and up of experts are two tensors, in a family that has one of both */
    bool expert_norm;              /* the weights of the experts used are scaled to a sum of one */
    bool expert_norm_not_in_gguf;  /* no key that stock reads says expert_norm */
    uint32_t window;               /* attention sees this many tokens, itself included; 0: all before */
    pare_layer_set full;           /* layers that see all; the others have the window, if there is one */
    pare_window_heads window_heads;
    bool keys_as_values;     /* in layers that see all, values are made as keys, without a matrix of their own */
    bool window_not_in_gguf; /* stock writes no key for it (mistral): a conversion to GGUF must say so */
    bool residual_in_turn;   /* attention first, although the family's layers are parallel */
    bool norm_pair;          /* attention and FFN of a parallel layer have a norm each (Falcon) */
    bool qk_norm;            /* heads of q and k are normalised, where the family has both kinds of models */
    uint32_t act;            /* pare_activation + 1 where it is not the family's, else 0 */
    bool act_not_in_gguf;    /* no key that stock reads says act */
    pare_linear_attention linear;
    float norm_eps;
    float rope_base;
    float rope_base_window;   /* in layers with the window; 0: rope_base */
    float rope_part;          /* the first so much of all pairs turns, the others stand still; 0: not said, as 1 */
    int32_t rope_sections[4]; /* carried: of positions in time, height, width, which a text has alike */
    pare_layer_set no_rope;   /* layers whose heads do not turn */
    bool no_rope_not_in_gguf; /* no key that stock reads says which */
    pare_rope_scaling rope_scaling;
    float rope_factor;                    /* LINEAR, YARN: the scaling factor */
    pare_rope_llama3 rope_llama3;         /* from a config.json; the forward pass reads rope_freqs.weight */
    pare_rope_longrope rope_longrope;     /* the same */
    uint32_t rope_ctx_orig;               /* YARN, LONGROPE: context before scaling, 0 when not said */
    float rope_attn_factor;               /* cosines and sines are multiplied by it; 0: what the scaling says */
    float yarn_beta_fast, yarn_beta_slow; /* 0: the default of the method */
    float yarn_attn_key; /* YARN: attention_factor of a config.json, which stock's converter carries; 0: none */
    double
        yarn_log_mul; /* YARN: mscale_all_dim, by which latent attention's scores grow (model/rope_yarn.c); 0: none */
    bool yarn_exact;  /* YARN: the band between the two scalings ends at fractions of a pair */
    float embd_scale; /* token embeddings are multiplied by it; 0 counts as 1 */
    float residual_scale; /* each branch is multiplied by it before it is added; 0 counts as 1 */
    float logit_scale;    /* logits are multiplied by it; 0 counts as 1 */
    float logit_divisor;  /* and divided by this; 0 counts as 1 */
    float attn_scale;     /* of q.k; 0: 1 / sqrt(head_dim_k) */
    float attn_steeper;   /* queries at position p are multiplied by 1 + this * ln(1 + floor(p / rope_ctx_orig)) */
    bool attn_scale_not_in_gguf;       /* no key that stock reads says attn_scale */
    float alibi_max;                   /* ALiBi's largest bias a token (eval/backend.h); 0: none */
    float qkv_clamp;                   /* queries, keys and values lie between minus it and it; 0: wherever they do */
    uint32_t n_layer_shared_kv;        /* so many last layers attend to the keys of an earlier one */
    uint32_t n_ff_shared_kv;           /* width of their FFN; 0: n_ff */
    uint32_t n_embd_layer;             /* width of the vectors that each layer gets of each token; 0: none */
    uint32_t n_vocab_layer;            /* tokens that have such vectors of their own, on the Hub; 0: all */
    uint32_t n_stream;                 /* streams that AltUp keeps, the residual stream among them; 0: no AltUp */
    uint32_t laurel_rank;              /* 0: no LAuReL */
    float ffn_sparsity;                /* a gate is cut so many standard deviations above its mean ... */
    pare_layer_set sparse;             /* ... in these layers */
    float attn_softcap, final_softcap; /* cap * tanh(x / cap); 0: none */
    float glu_alpha, glu_limit;        /* of PARE_ACT_CLAMPED_GLU */
    bool glu_not_in_gguf;              /* no key that stock reads says them */
    bool tied_output;                  /* token_embd.weight is the output matrix */
    bool head_dim_key;                 /* the head size is written as a key of its own even where it could be derived */
    bool both_ways;                    /* attention sees the tokens behind as well as those before */
    bool has_pooling;                  /* pooling was said */
    pare_pooling pooling;
    uint32_t n_token_types;   /* rows of token_types.weight; texts are of the first type */
    uint32_t n_pos_skipped;   /* leading rows of the Hub's table of positions that no text reaches */
    bool attn_bias, ffn_bias; /* the config promises biases of the attention and of the FFN projections */
} pare_hparams;

static inline bool pare_layer_has_experts(const pare_hparams *hp, uint32_t layer)
{
    return hp->n_expert > 0 && layer >= hp->n_layer_dense;
}

/* Key/value heads as a GGUF file counts them and a cache holds them: latent attention has one for all. */
static inline uint32_t pare_stored_heads(const pare_hparams *hp)
{
    return hp->n_lora_kv > 0 && !hp->latent_whole ? 1 : hp->n_head_kv;
}

/* Tokens that attention of a layer sees, itself included; 0: all before. */
static inline uint32_t pare_layer_window(const pare_hparams *hp, uint32_t layer)
{
    return pare_layers_have(&hp->full, layer) ? 0 : hp->window;
}

/* What layers may differ in. */
typedef struct pare_layer_shape {
    uint32_t n_head_kv, head_dim_k, head_dim_v, n_rot, n_ff;
} pare_layer_shape;

static inline pare_layer_shape pare_layer_shape_of(const pare_hparams *hp, uint32_t layer)
{
    pare_layer_shape s = {hp->n_head_kv, hp->head_dim_k, hp->head_dim_v, hp->n_rot, hp->n_ff};
    const pare_window_heads *w = &hp->window_heads;
    bool windowed = pare_layer_window(hp, layer) > 0;
    if (windowed && w->n_kv > 0)
        s.n_head_kv = w->n_kv;
    if (windowed && w->dim > 0)
        s.head_dim_k = s.head_dim_v = w->dim;
    if (windowed && w->n_rot > 0)
        s.n_rot = w->n_rot;
    if (hp->n_ff_shared_kv > 0 && layer >= hp->n_layer - hp->n_layer_shared_kv)
        s.n_ff = hp->n_ff_shared_kv;
    return s;
}

/* Elements that a cache holds of a token in a layer with attention, keys and values together; of latent attention
 * values are elements of the keys. */
static inline uint64_t pare_cache_width(const pare_hparams *hp, uint32_t layer)
{
    bool latent = hp->n_lora_kv > 0 && !hp->latent_whole;
    pare_layer_shape s = pare_layer_shape_of(hp, layer);
    return latent ? (uint64_t)hp->n_lora_kv + hp->n_rot
                  : (uint64_t)s.n_head_kv * ((uint64_t)s.head_dim_k + s.head_dim_v);
}

/* out[n_rot / 2]: the angle of each pair from one position to the next, with linear scaling or YaRN. */
void pare_rope_turns(const pare_hparams *hp, double *out);

/* What cosines and sines are multiplied by, and what attention scores are. */
double pare_rope_magnitude(const pare_hparams *hp);
double pare_rope_score_scale(const pare_hparams *hp);

/* The first of these by YaRN, from the two numbers of a config.json; 0: not said. */
double pare_yarn_magnitude(const pare_hparams *hp, double mscale, double mscale_all_dim);

/* The same two by the numbers that stock's runtime reads for latent attention: rope.scaling.attn_factor, and the
 * factor of the logarithm (0: the key is missing). */
void pare_yarn_to_stock(const pare_hparams *hp, double *attn_factor, double *log_mul);
void pare_yarn_from_stock(pare_hparams *hp, double attn_factor, double log_mul);

/* The layer whose keys and values this one attends to: itself, or the last one before those without keys that has a
 * window as this one has, or none as it has none. */
static inline uint32_t pare_layer_of_keys(const pare_hparams *hp, uint32_t layer)
{
    uint32_t first = hp->n_layer - (hp->n_layer_shared_kv < hp->n_layer ? hp->n_layer_shared_kv : hp->n_layer);
    if (layer < first || hp->n_layer_shared_kv == 0)
        return layer;
    for (uint32_t i = first; i-- > 0;)
        if ((pare_layer_window(hp, i) > 0) == (pare_layer_window(hp, layer) > 0))
            return i;
    return layer;
}

/* Fill out[n_rot / 2] with the divisors of rope_freqs.weight for llama3 scaling. */
void pare_rope_llama3_factors(const pare_hparams *hp, float *out);

/* The scaling whose divisors are factors[n_rot / 2], up to the last bits; false when there is none among the published
 * forms (low 1, high 4, original context a power of two). */
bool pare_rope_llama3_find(const pare_hparams *hp, const float *factors, pare_rope_llama3 *out);

/* The same for rope_part: 1 for a pair that turns, and a number that brings an angle to nothing. */
void pare_rope_part_factors(const pare_hparams *hp, float *out);
bool pare_rope_part_find(const pare_hparams *hp, const float *factors, float *out);

struct pare_arch;

/* Read and check. Every count is bounded, divisors are not zero, floats are finite and positive where they must be.
 * From metadata, n_vocab is <arch>.vocab_size, else the number of tokens, else 0; tied_output is left to
 * pare_arch_check, which sees the tensors.
 * Errors: PARE_ERR_FORMAT, PARE_ERR_RANGE, PARE_ERR_UNSUPPORTED with key, value and limit. */
pare_status pare_hparams_from_meta(pare_hparams *hp, const struct pare_arch *arch, const pare_meta *meta,
                                   const char *path, pare_error *err);
pare_status pare_hparams_from_config(pare_hparams *hp, const struct pare_arch *arch, const json_t *config,
                                     const char *path, pare_error *err);

/* The counts of layers, heads and experts that <arch_name>.* gives, for a file whose architecture has no description;
 * what is absent or makes no sense stays 0. A value a layer counts with its first element. */
void pare_hparams_guess(pare_hparams *hp, const char *arch_name, const pare_meta *meta);

/* Write <arch>.* keys in stock's order, general.file_type (as given) and general.quantization_version among them where
 * stock's converter has them; and the Hub's config.json keys (into an object). */
pare_status pare_hparams_to_meta(const pare_hparams *hp, const struct pare_arch *arch, uint32_t file_type,
                                 pare_meta *meta, pare_error *err);
pare_status pare_hparams_to_config(const pare_hparams *hp, const struct pare_arch *arch, json_t *config,
                                   pare_error *err);

#endif
