#include "quant/preset.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

/* ---- the presets ------------------------------------------------------------------------------------------------ */

/* preset, name, type of an ordinary tensor, general.file_type, help */
#define PRESETS(X)                                                                                                     \
    X(Q4_0, "q4_0", Q4_0, 2, "4.5 bits, one scale for 32 weights, the oldest format")                                  \
    X(Q4_1, "q4_1", Q4_1, 3, "5.0 bits, scale and minimum for 32 weights")                                             \
    X(Q5_0, "q5_0", Q5_0, 8, "5.5 bits, one scale for 32 weights")                                                     \
    X(Q5_1, "q5_1", Q5_1, 9, "6.0 bits, scale and minimum for 32 weights")                                             \
    X(Q8_0, "q8_0", Q8_0, 7, "8.5 bits, nearly lossless")                                                              \
    X(Q2_K, "q2_k", Q2_K, 10, "2.6 bits, attention and ffn_down with more")                                            \
    X(Q2_K_S, "q2_k_s", Q2_K, 21, "2.6 bits, few tensors with more; better with importances")                          \
    X(Q3_K_S, "q3_k_s", Q3_K, 11, "3.4 bits throughout")                                                               \
    X(Q3_K_M, "q3_k_m", Q3_K, 12, "3.4 bits; attn_v, attn_output and ffn_down with 4.5 to 5.5")                        \
    X(Q3_K_L, "q3_k_l", Q3_K, 13, "3.4 bits; attn_v, attn_output and ffn_down with 5.5")                               \
    X(Q4_K_S, "q4_k_s", Q4_K, 14, "4.5 bits; attn_v and ffn_down of the first layers with 5.5")                        \
    X(Q4_K_M, "q4_k_m", Q4_K, 15, "4.5 bits; attn_v and ffn_down of half the layers with 6.6: a good default")         \
    X(Q5_K_S, "q5_k_s", Q5_K, 16, "5.5 bits throughout")                                                               \
    X(Q5_K_M, "q5_k_m", Q5_K, 17, "5.5 bits; attn_v and ffn_down of half the layers with 6.6")                         \
    X(Q6_K, "q6_k", Q6_K, 18, "6.6 bits throughout")                                                                   \
    X(IQ1_S, "iq1_s", IQ1_S, 24, "1.6 bits by codebook; needs importances")                                            \
    X(IQ1_M, "iq1_m", IQ1_M, 31, "1.75 bits by codebook; needs importances")                                           \
    X(IQ2_XXS, "iq2_xxs", IQ2_XXS, 19, "2.1 bits by codebook; needs importances")                                      \
    X(IQ2_XS, "iq2_xs", IQ2_XS, 20, "2.3 bits by codebook; needs importances")                                         \
    X(IQ2_S, "iq2_s", IQ2_XS, 28, "2.3 bits by codebook, attention with more; needs importances")                      \
    X(IQ2_M, "iq2_m", IQ2_S, 29, "2.6 bits by codebook, attention with more; needs importances")                       \
    X(IQ3_XXS, "iq3_xxs", IQ3_XXS, 23, "3.1 bits by codebook; needs importances")                                      \
    X(IQ3_XS, "iq3_xs", IQ3_S, 22, "3.1 to 3.4 bits by codebook; needs importances")                                   \
    X(IQ3_S, "iq3_s", IQ3_S, 26, "3.4 bits by codebook")                                                               \
    X(IQ3_M, "iq3_m", IQ3_S, 27, "3.4 bits by codebook; attn_v, attn_output and the first ffn_down with 4.5")          \
    X(IQ4_NL, "iq4_nl", IQ4_NL, 25, "4.5 bits, 16 unevenly spaced levels")                                             \
    X(IQ4_XS, "iq4_xs", IQ4_XS, 30, "4.25 bits, 16 unevenly spaced levels")                                            \
    X(TQ1_0, "tq1_0", TQ1_0, 36, "1.7 bits, for models trained with ternary weights")                                  \
    X(TQ2_0, "tq2_0", TQ2_0, 37, "2.1 bits, for models trained with ternary weights")                                  \
    X(MXFP4_MOE, "mxfp4_moe", MXFP4, 38, "experts in MXFP4, everything else in Q8_0")                                  \
    X(NVFP4, "nvfp4", NVFP4, 39, "4.5 bits, FP4 with a scale for 16 weights, for hardware that computes with it")      \
    X(Q1_0, "q1_0", Q1_0, 40, "1.1 bits, for models trained with binary weights")                                      \
    X(Q2_0, "q2_0", Q2_0, 41, "2.25 bits, for models trained with four levels")                                        \
    X(F16, "f16", F16, 1, "half precision")                                                                            \
    X(BF16, "bf16", BF16, 32, "bfloat16")                                                                              \
    X(F32, "f32", F32, 0, "single precision")

enum {
#define PRESET_ENUM(id, name, base, ftype, text) P_##id,
    PRESETS(PRESET_ENUM)
#undef PRESET_ENUM
        N_PRESETS
};
static_assert(N_PRESETS < 64, "a set of presets is a 64-bit mask");

static const pare_preset presets[] = {
#define TRAINED(type)                                                                                                  \
    ((type) == PARE_TYPE_TQ1_0 || (type) == PARE_TYPE_TQ2_0 || (type) == PARE_TYPE_Q1_0 || (type) == PARE_TYPE_Q2_0)
#define PRESET_ROW(id, name, base, ftype, text) {name, ftype, PARE_TYPE_##base, text, TRAINED(PARE_TYPE_##base)},
    PRESETS(PRESET_ROW)
#undef PRESET_ROW
#undef TRAINED
};

static const struct {
    const char *name;
    int preset;
} aliases[] = {{"q3_k", P_Q3_K_M}, {"q4_k", P_Q4_K_M}, {"q5_k", P_Q5_K_M}};

const pare_preset *pare_preset_at(size_t i)
{
    return i < N_PRESETS ? &presets[i] : NULL;
}

const pare_preset *pare_preset_find(const char *name)
{
    for (size_t i = 0; i < N_PRESETS; i++)
        if (strcasecmp(name, presets[i].name) == 0)
            return &presets[i];
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (strcasecmp(name, aliases[i].name) == 0)
            return &presets[aliases[i].preset];
    return NULL;
}

/* ---- what a tensor is, by its name ------------------------------------------------------------------------------- */

enum {
    HEAD = 1, /* output.weight, or token_embd in its place */
    EMBD = 2,
    ATTN_V = 4, /* with the fused forms that hold the values */
    ATTN_K = 8,
    ATTN_Q = 16,
    ATTN_OUT = 32,
    FFN_UP = 64,
    FFN_GATE = 128,
    FFN_DOWN = 256,
    OTHER = 512,
    FFN = FFN_UP | FFN_GATE | FFN_DOWN,
    ANY_ROLE = 1023
};

static unsigned role_of(const char *name)
{
    static const struct {
        const char *part;
        unsigned role;
    } parts[] = {
        {"attn_qkv.weight", ATTN_V}, {"attn_kv_b.weight", ATTN_V}, {"attn_v.weight", ATTN_V},
        {"attn_k.weight", ATTN_K},   {"attn_q.weight", ATTN_Q},    {"attn_output.weight", ATTN_OUT},
        {"ffn_up", FFN_UP},          {"ffn_gate", FFN_GATE},       {"ffn_down", FFN_DOWN},
    };
    if (strcmp(name, "output.weight") == 0)
        return HEAD;
    if (strcmp(name, "token_embd.weight") == 0 || strcmp(name, "per_layer_token_embd.weight") == 0)
        return EMBD;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strstr(name, parts[i].part) != NULL)
            return parts[i].role;
    return OTHER;
}

static bool holds_any(const char *name, const char *const *parts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strstr(name, parts[i]) != NULL)
            return true;
    return false;
}

bool pare_preset_quantizes(const char *arch, const char *name, uint32_t n_dims)
{
    static const char *const kept[] = {
        "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj",
        "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight",
        /* RWKV's small matrices */
        "time_mix_first.weight", "time_mix_w0.weight", "time_mix_w1.weight", "time_mix_w2.weight", "time_mix_v0.weight",
        "time_mix_v1.weight", "time_mix_v2.weight", "time_mix_a0.weight", "time_mix_a1.weight", "time_mix_a2.weight",
        "time_mix_g1.weight", "time_mix_g2.weight", "time_mix_decay_w1.weight", "time_mix_decay_w2.weight",
        "time_mix_lerp_fused.weight", "attn_rel_b.weight",
        /* vision and audio */
        ".position_embd", "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd", ".patch_merger",
        "a.rvq.codebook", "mm.a.code_embd"};
    static const char *const kept_glm5_next[] = {"hc_",
                                                 "indexer.attn_q_b",
                                                 "indexer.attn_k",
                                                 "indexer.proj",
                                                 "indexer_compressor_gate",
                                                 "indexer_compressor_ape",
                                                 "ssm_f_a.weight",
                                                 "ssm_f_b.weight",
                                                 "ssm_g_a.weight",
                                                 "ssm_g_b.weight",
                                                 "ssm_beta.weight",
                                                 "attn_kv_a_mqa.weight",
                                                 "attn_k_b.weight",
                                                 "attn_v_b.weight"};
    size_t len = strlen(name);
    if (n_dims < 2 || len < 6 || strcmp(name + len - 6, "weight") != 0)
        return false;
    if (strcmp(name, "position_embd.weight") == 0 || strcmp(name, "token_types.weight") == 0)
        return false;
    if (strcmp(arch, "glm5-next") == 0 &&
        holds_any(name, kept_glm5_next, sizeof kept_glm5_next / sizeof *kept_glm5_next))
        return false;
    return !holds_any(name, kept, sizeof kept / sizeof *kept);
}

/* The layer in "blk.N.", -1 when the name has none. */
static int64_t layer_of(const char *name)
{
    int64_t layer = 0;
    if (strncmp(name, "blk.", 4) != 0 || name[4] < '0' || name[4] > '9')
        return -1;
    for (const char *p = name + 4; *p >= '0' && *p <= '9' && layer <= UINT32_MAX; p++)
        layer = layer * 10 + (*p - '0');
    return layer;
}

int pare_preset_order(const char *a, const char *b)
{
    int64_t layer_a = layer_of(a), layer_b = layer_of(b);
    if (layer_a != layer_b)
        return layer_a < layer_b ? -1 : 1;
    return strcmp(a, b);
}

/* ---- the rules --------------------------------------------------------------------------------------------------- */

/* Sets of presets. */
#define BIT(id) (UINT64_C(1) << P_##id)
#define EVERY (~UINT64_C(0))
#define IQ1 (BIT(IQ1_S) | BIT(IQ1_M))
#define IQ2_LARGE (BIT(IQ2_S) | BIT(IQ2_M))
#define IQ12 (IQ1 | BIT(IQ2_XXS) | BIT(IQ2_XS) | IQ2_LARGE)
#define IQ4 (BIT(IQ4_NL) | BIT(IQ4_XS))

/* What must hold of model and tensor; all of a rule's flags. */
enum {
    GQA4 = 1, /* at least 4 query heads share a key */
    EXPERTS4 = 2,
    EXPERTS8 = 4, /* exactly 8 */
    FALCON = 8,
    NOT_FALCON = 16,
    BAILINGMOE3 = 32,
    IMATRIX = 64,
    NO_IMATRIX = 128,
    ODD_ROW = 256, /* the preset's base type does not divide the row */
    STACKED = 512  /* 3-D: one matrix an expert */
};

/* Which layers, i of n; divisions drop the fraction. */
typedef enum where {
    ALL_LAYERS,
    FIRST_2,
    FIRST_4,
    FIRST_8TH,  /* i < n/8 */
    FIRST_16TH, /* i < n/16 */
    MIDDLE,     /* n/8 <= i < 7n/8 */
    MORE_BITS,  /* i < n/8, i >= 7n/8, or every third layer between */
    NTH_8TH     /* as FIRST_8TH, i counting tensors even where experts make more than one a layer */
} where;

typedef struct rule {
    uint64_t presets;
    unsigned roles, when;
    where where;
    pare_type type;
} rule;

#define BASE PARE_TYPE_NONE /* the preset's own type; ends the search */

/* The first row that matches decides; none: the base type. */
static const rule rules[] = {
    {BIT(MXFP4_MOE), HEAD, 0, ALL_LAYERS, PARE_TYPE_Q8_0},
    {EVERY, HEAD, FALCON, ALL_LAYERS, PARE_TYPE_Q8_0},
    {EVERY, HEAD, ODD_ROW, ALL_LAYERS, PARE_TYPE_Q8_0},
    {IQ12 | BIT(IQ3_XXS), HEAD, 0, ALL_LAYERS, PARE_TYPE_Q5_K},
    {EVERY & ~BIT(Q8_0), HEAD, 0, ALL_LAYERS, PARE_TYPE_Q6_K},

    {BIT(MXFP4_MOE), ANY_ROLE & ~FFN, BAILINGMOE3, ALL_LAYERS, PARE_TYPE_Q8_0},
    {BIT(MXFP4_MOE), ANY_ROLE, STACKED, ALL_LAYERS, PARE_TYPE_MXFP4},
    {BIT(MXFP4_MOE), ANY_ROLE, 0, ALL_LAYERS, PARE_TYPE_Q8_0},

    {IQ1 | BIT(IQ2_XXS) | BIT(IQ2_XS), EMBD, 0, ALL_LAYERS, PARE_TYPE_Q2_K},
    {IQ2_LARGE | BIT(IQ3_XXS), EMBD, 0, ALL_LAYERS, PARE_TYPE_IQ3_S},
    {BIT(TQ1_0) | BIT(TQ2_0) | BIT(Q2_0) | BIT(NVFP4), EMBD, 0, ALL_LAYERS, PARE_TYPE_Q4_K},

    {IQ12, ATTN_V, GQA4, ALL_LAYERS, PARE_TYPE_Q4_K},
    {IQ12, ATTN_V, EXPERTS4, ALL_LAYERS, PARE_TYPE_Q4_K},
    {IQ2_LARGE, ATTN_V, 0, ALL_LAYERS, PARE_TYPE_IQ3_S},
    {IQ12, ATTN_V, 0, ALL_LAYERS, PARE_TYPE_Q2_K},
    {IQ12, ATTN_K, EXPERTS8, ALL_LAYERS, PARE_TYPE_Q4_K},
    {IQ2_LARGE, FFN_DOWN, 0, NTH_8TH, PARE_TYPE_IQ3_S},
    {IQ12, FFN_DOWN, 0, NTH_8TH, PARE_TYPE_Q2_K},
    {IQ12, ATTN_OUT, EXPERTS8, ALL_LAYERS, PARE_TYPE_Q5_K},
    {IQ1, ATTN_OUT, 0, ALL_LAYERS, PARE_TYPE_IQ2_XXS},
    {IQ2_LARGE, ATTN_OUT, 0, ALL_LAYERS, PARE_TYPE_IQ3_S},
    {IQ12, ANY_ROLE, 0, ALL_LAYERS, BASE},

    {EVERY, ATTN_V | ATTN_K, EXPERTS8, ALL_LAYERS, PARE_TYPE_Q8_0},
    {BIT(Q2_K), ATTN_V, GQA4, ALL_LAYERS, PARE_TYPE_Q4_K},
    {BIT(Q2_K), ATTN_V, 0, ALL_LAYERS, PARE_TYPE_Q3_K},
    {BIT(Q2_K_S), ATTN_V, GQA4, ALL_LAYERS, PARE_TYPE_Q4_K},
    {BIT(IQ3_XXS), ATTN_V, GQA4, ALL_LAYERS, PARE_TYPE_Q4_K},
    {BIT(IQ3_XXS), ATTN_V, NO_IMATRIX, ALL_LAYERS, PARE_TYPE_IQ3_S},
    {BIT(IQ3_XS) | BIT(IQ3_S), ATTN_V, GQA4, ALL_LAYERS, PARE_TYPE_Q4_K},
    {BIT(IQ3_M), ATTN_V, 0, ALL_LAYERS, PARE_TYPE_Q4_K},
    {BIT(Q3_K_M), ATTN_V, 0, FIRST_2, PARE_TYPE_Q5_K},
    {BIT(Q3_K_M), ATTN_V, 0, ALL_LAYERS, PARE_TYPE_Q4_K},
    {BIT(Q3_K_L), ATTN_V, 0, ALL_LAYERS, PARE_TYPE_Q5_K},
    {IQ4, ATTN_V, GQA4, ALL_LAYERS, PARE_TYPE_Q5_K},
    {BIT(Q4_K_M) | BIT(Q5_K_M), ATTN_V, 0, MORE_BITS, PARE_TYPE_Q6_K},
    {BIT(Q4_K_S), ATTN_V, 0, FIRST_4, PARE_TYPE_Q5_K},

    {BIT(IQ3_XS), ATTN_K | ATTN_Q, 0, ALL_LAYERS, PARE_TYPE_IQ3_XXS},
    {BIT(IQ3_XXS), ATTN_K | ATTN_Q, 0, ALL_LAYERS, PARE_TYPE_IQ2_S},

    {BIT(Q2_K), FFN_DOWN, 0, ALL_LAYERS, PARE_TYPE_Q3_K},
    {BIT(Q2_K_S), FFN_DOWN, 0, FIRST_8TH, PARE_TYPE_Q4_K},
    {BIT(IQ3_XXS), FFN_DOWN, NO_IMATRIX, FIRST_8TH, PARE_TYPE_Q4_K},
    {BIT(IQ3_XXS), FFN_DOWN, NO_IMATRIX, ALL_LAYERS, PARE_TYPE_Q3_K},
    {BIT(Q3_K_M), FFN_DOWN, 0, FIRST_16TH, PARE_TYPE_Q5_K},
    {BIT(Q3_K_M), FFN_DOWN, NOT_FALCON, ALL_LAYERS, PARE_TYPE_Q4_K},
    {BIT(Q3_K_M), FFN_DOWN, 0, MORE_BITS, PARE_TYPE_Q4_K},
    {BIT(IQ3_M), FFN_DOWN, 0, FIRST_8TH, PARE_TYPE_Q4_K},
    {BIT(IQ3_M), FFN_DOWN, EXPERTS8, MORE_BITS, PARE_TYPE_Q4_K},
    {BIT(Q3_K_L), FFN_DOWN, FALCON, ALL_LAYERS, PARE_TYPE_Q4_K},
    {BIT(Q3_K_L), FFN_DOWN, 0, ALL_LAYERS, PARE_TYPE_Q5_K},
    {BIT(Q4_K_M), FFN_DOWN, FALCON, FIRST_16TH, PARE_TYPE_Q6_K},
    {BIT(Q4_K_M), FFN_DOWN, FALCON, MORE_BITS, PARE_TYPE_Q5_K},
    {BIT(Q4_K_M), FFN_DOWN, NOT_FALCON, MORE_BITS, PARE_TYPE_Q6_K},
    {BIT(Q5_K_M), FFN_DOWN, 0, MORE_BITS, PARE_TYPE_Q6_K},
    {BIT(Q4_K_S), FFN_DOWN, NOT_FALCON, FIRST_8TH, PARE_TYPE_Q5_K},
    {IQ4, FFN_DOWN, NO_IMATRIX, FIRST_8TH, PARE_TYPE_Q5_K},
    {BIT(Q4_0), FFN_DOWN, IMATRIX, FIRST_8TH, PARE_TYPE_Q4_1},
    {BIT(Q5_0), FFN_DOWN, IMATRIX, FIRST_8TH, PARE_TYPE_Q5_1},

    {BIT(Q3_K_L), ATTN_OUT, FALCON, ALL_LAYERS, PARE_TYPE_Q4_K},
    {EVERY, ATTN_OUT, FALCON, ALL_LAYERS, BASE},
    {BIT(Q2_K) | BIT(Q3_K_S) | BIT(Q3_K_M) | BIT(Q4_K_S) | BIT(Q4_K_M) | BIT(IQ3_XXS) | BIT(IQ3_XS) | BIT(IQ3_S) |
         BIT(IQ3_M) | IQ4,
     ATTN_OUT, EXPERTS8, ALL_LAYERS, PARE_TYPE_Q5_K},
    {EVERY, ATTN_OUT, EXPERTS8, ALL_LAYERS, BASE},
    {BIT(Q2_K), ATTN_OUT, 0, ALL_LAYERS, PARE_TYPE_Q3_K},
    {BIT(IQ3_XXS), ATTN_OUT, 0, ALL_LAYERS, PARE_TYPE_IQ3_S},
    {BIT(Q3_K_M) | BIT(IQ3_M), ATTN_OUT, 0, ALL_LAYERS, PARE_TYPE_Q4_K},
    {BIT(Q3_K_L), ATTN_OUT, 0, ALL_LAYERS, PARE_TYPE_Q5_K},

    {BIT(IQ3_XS), FFN_GATE | FFN_UP, 0, MIDDLE, PARE_TYPE_IQ3_XXS},
};

static bool in_layers(where w, int64_t i, int64_t n)
{
    switch (w) {
    case FIRST_2:
        return i < 2;
    case FIRST_4:
        return i < 4;
    case FIRST_16TH:
        return i < n / 16;
    case MIDDLE:
        return i >= n / 8 && i < 7 * n / 8;
    case MORE_BITS:
        return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
    case FIRST_8TH:
    case NTH_8TH:
        return i < n / 8;
    case ALL_LAYERS:
        break;
    }
    return true;
}

/* ---- choosing ---------------------------------------------------------------------------------------------------- */

/* One call of choose: the tensor as the rules see it, and its number among those of its role. */
typedef struct question {
    const pare_preset_tensor *tensor;
    uint64_t preset;
    unsigned role, facts;
    uint32_t nth, n; /* of the tensors of this role */
} question;

void pare_preset_start(pare_preset_state *s, const pare_preset *preset, const pare_preset_model *model,
                       const char *const *names, size_t n_names)
{
    *s = (pare_preset_state){.preset = preset, .model = *model};
    s->model.tied_output = true;
    for (size_t i = 0; i < n_names; i++) {
        unsigned role = role_of(names[i]);
        s->n_attn_v += role == ATTN_V;
        if (role == HEAD)
            s->model.tied_output = false;
    }
}

/* Stock's size class "70B", whose values are shared by so many heads that more bits for them cost next to nothing. */
static bool is_70b(const pare_preset_model *m)
{
    if (strcmp(m->arch, "llama") == 0 || strcmp(m->arch, "llama-embed") == 0)
        return m->n_layer == 80 && m->n_head != m->n_head_kv && m->n_expert != 8;
    if (strcmp(m->arch, "jais2") == 0)
        return m->n_layer == 68;
    return m->n_layer == 80 &&
           (strcmp(m->arch, "qwen2") == 0 || strcmp(m->arch, "deci") == 0 || strcmp(m->arch, "olmo") == 0);
}

static unsigned facts_of(const pare_preset_state *s, const pare_preset_tensor *t)
{
    const pare_preset_model *m = &s->model;
    unsigned facts = m->n_head_kv != 0 && m->n_head / m->n_head_kv >= 4 ? GQA4 : 0;
    facts |= m->n_expert >= 4 ? EXPERTS4 : 0;
    facts |= m->n_expert == 8 ? EXPERTS8 : 0;
    facts |= strcmp(m->arch, "falcon") == 0 ? FALCON : NOT_FALCON;
    facts |= strcmp(m->arch, "bailingmoe3") == 0 ? BAILINGMOE3 : 0;
    facts |= m->has_imatrix ? IMATRIX : NO_IMATRIX;
    facts |= t->row_len % pare_type_get(s->preset->base)->block_len != 0 ? ODD_ROW : 0;
    facts |= t->n_dims > 2 ? STACKED : 0;
    return facts;
}

/* Number the tensor among those of its role and step the counter. */
static void count(pare_preset_state *s, question *q)
{
    uint32_t *seen = q->role == ATTN_V     ? &s->i_attn_v
                     : q->role == FFN_DOWN ? &s->i_ffn_down
                     : q->role == FFN_GATE ? &s->i_ffn_gate
                     : q->role == FFN_UP   ? &s->i_ffn_up
                                           : NULL;
    q->nth = seen != NULL ? (*seen)++ : 0;
    q->n = q->role == ATTN_V ? s->n_attn_v : s->model.n_layer;
}

/* Does the rule's range of layers hold the tensor? Experts do not come in the order of the layers, so there the name
 * says which layer it is. */
static pare_status rule_layers(const rule *r, const question *q, uint32_t n_expert, bool *hit, pare_error *err)
{
    int64_t i = q->nth;
    if (n_expert > 1 && (q->role & FFN) != 0 && r->where != ALL_LAYERS && r->where != NTH_8TH) {
        i = layer_of(q->tensor->name);
        if (i < 0 || i >= q->n)
            return pare_fail(
                err, PARE_ERR_UNSUPPORTED,
                "tensor '%s': the preset goes by the layer, and the name has none below the model's %" PRIu32,
                q->tensor->name, q->n);
    }
    *hit = in_layers(r->where, i, q->n);
    return PARE_OK;
}

static pare_status apply_rules(const pare_preset_state *s, const question *q, pare_type *type, pare_error *err)
{
    *type = s->preset->base;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const rule *r = &rules[i];
        bool hit = false;
        if ((r->presets & q->preset) == 0 || (r->roles & q->role) == 0 || (r->when & ~q->facts) != 0)
            continue;
        pare_status st = rule_layers(r, q, s->model.n_expert, &hit, err);
        if (st != PARE_OK)
            return st;
        if (hit) {
            *type = r->type == BASE ? s->preset->base : r->type;
            break;
        }
    }
    if (q->role == ATTN_V && (q->preset & (IQ12 | BIT(MXFP4_MOE))) == 0 && is_70b(&s->model) &&
        (*type == PARE_TYPE_Q3_K || *type == PARE_TYPE_Q4_K))
        *type = PARE_TYPE_Q5_K;
    return PARE_OK;
}

/* Stock holds a few tensors of this family at Q8_0 whatever the preset. */
static bool held_at_q8(const char *arch, const char *name)
{
    static const char *const parts[] = {"attn_q_a", "attn_q_b", "nextn.eh_proj"};
    return strcmp(arch, "glm5-next") == 0 && holds_any(name, parts, sizeof parts / sizeof *parts);
}

pare_status pare_preset_choose(pare_preset_state *s, const pare_preset_tensor *t, pare_type *type, pare_type *wanted,
                               pare_error *err)
{
    pare_type choice = s->preset->base;
    if (!pare_preset_quantizes(s->model.arch, t->name, t->n_dims)) {
        choice = t->type;
    } else if ((pare_type_get(choice)->traits & PARE_TRAIT_FLOAT) == 0 && held_at_q8(s->model.arch, t->name)) {
        choice = PARE_TYPE_Q8_0;
    } else if ((pare_type_get(choice)->traits & PARE_TRAIT_FLOAT) == 0) {
        question q = {.tensor = t, .preset = UINT64_C(1) << (s->preset - presets), .facts = facts_of(s, t)};
        q.role = role_of(t->name);
        if (q.role == EMBD && s->model.tied_output)
            q.role = HEAD;
        count(s, &q);
        pare_status st = apply_rules(s, &q, &choice, err);
        if (st != PARE_OK)
            return st;
    }
    if (wanted != NULL)
        *wanted = choice;
    *type = choice;
    if (t->row_len % pare_type_get(choice)->block_len == 0)
        return PARE_OK;
    *type = pare_preset_fallback(choice, t->row_len);
    s->n_fallback++;
    if (*type == PARE_TYPE_NONE)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "tensor '%s': rows of %" PRIu64 " weights are no multiple of the %" PRIu32
                         " of a %s block, and no other type stands in for it",
                         t->name, t->row_len, pare_type_get(choice)->block_len, pare_type_get(choice)->name);
    return PARE_OK;
}

pare_type pare_preset_fallback(pare_type type, uint64_t row_len)
{
    static const struct {
        pare_type type, stand_in;
    } rows[] = {
        {PARE_TYPE_IQ1_S, PARE_TYPE_IQ4_NL},   {PARE_TYPE_IQ1_M, PARE_TYPE_IQ4_NL},
        {PARE_TYPE_IQ2_XXS, PARE_TYPE_IQ4_NL}, {PARE_TYPE_IQ2_XS, PARE_TYPE_IQ4_NL},
        {PARE_TYPE_IQ2_S, PARE_TYPE_IQ4_NL},   {PARE_TYPE_IQ3_XXS, PARE_TYPE_IQ4_NL},
        {PARE_TYPE_IQ3_S, PARE_TYPE_IQ4_NL},   {PARE_TYPE_IQ4_XS, PARE_TYPE_IQ4_NL},
        {PARE_TYPE_Q2_0, PARE_TYPE_Q4_0},      {PARE_TYPE_Q2_K, PARE_TYPE_Q4_0},
        {PARE_TYPE_Q3_K, PARE_TYPE_Q4_0},      {PARE_TYPE_TQ1_0, PARE_TYPE_Q4_0},
        {PARE_TYPE_TQ2_0, PARE_TYPE_Q4_0},     {PARE_TYPE_Q4_K, PARE_TYPE_Q5_0},
        {PARE_TYPE_Q5_K, PARE_TYPE_Q5_1},      {PARE_TYPE_Q6_K, PARE_TYPE_Q8_0},
        {PARE_TYPE_NVFP4, PARE_TYPE_IQ4_NL}, /* ours: stock cannot write NVFP4 */
    };
    uint32_t block_len = pare_type_get(type)->block_len;
    if (row_len % block_len == 0)
        return type;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].type == type)
            return row_len % pare_type_get(rows[i].stand_in)->block_len == 0 ? rows[i].stand_in : PARE_TYPE_F16;
    return block_len <= 32 ? PARE_TYPE_F16 : PARE_TYPE_NONE;
}

bool pare_preset_needs_weight(const char *name, pare_type type)
{
    return role_of(name) != HEAD && role_of(name) != EMBD &&
           (pare_type_get(type)->traits & PARE_TRAIT_NEEDS_WEIGHT) != 0;
}
