/* The forward pass against reference logits, and its wiring against a double-precision pass over a toy model. */
#include "check.h"
#include "extending.h"
#include "toy.h"

#include "core/threads.h"
#include "eval/cache.h"
#include "formats/gguf.h"
#include "formats/hf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ORACLE_SEQ = 3, ORACLE_LEN = 48 };

/* Largest and mean difference of logits, and nll of each sequence, against the files of one oracle folder. */
static void check_oracle(const pare_model *m, const char *folder)
{
    char relative[256];
    size_t n_ids_bytes, n_logit_bytes, n_nll_bytes;
    snprintf(relative, sizeof relative, "oracle/models/%s/tokens.i32", folder);
    int32_t *ids = (int32_t *)(void *)check_read_file(shared_path(relative), &n_ids_bytes);
    snprintf(relative, sizeof relative, "oracle/models/%s/logits.f32", folder);
    float *want = (float *)(void *)check_read_file(shared_path(relative), &n_logit_bytes);
    snprintf(relative, sizeof relative, "oracle/models/%s/nll.txt", folder);
    char *nll_file = (char *)check_read_file(shared_path(relative), &n_nll_bytes), nll_text[256], *rest = nll_text;
    CHECK(n_nll_bytes < sizeof nll_text);
    memcpy(nll_text, nll_file, n_nll_bytes);
    nll_text[n_nll_bytes] = 0;
    uint32_t n_vocab = m->hp.n_vocab;
    CHECK(n_ids_bytes == ORACLE_SEQ * ORACLE_LEN * sizeof *ids);
    CHECK(n_logit_bytes == ORACLE_SEQ * ORACLE_LEN * sizeof *want * n_vocab);
    pare_backend *b = NULL;
    pare_forward *f = NULL;
    pare_error err = {0};
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    CHECK_OK(pare_forward_open(&f, m, b, ORACLE_LEN, ORACLE_SEQ, &err), &err);
    CHECK_OK(pare_forward_run(f, ids, ORACLE_SEQ, ORACLE_LEN, &err), &err);
    float *got = check_malloc(ORACLE_LEN * sizeof *got * n_vocab);
    double largest = 0, sum = 0;
    for (uint32_t s = 0; s < ORACLE_SEQ; s++) {
        CHECK_OK(pare_forward_logits(f, s, 0, ORACLE_LEN, got, &err), &err);
        double nll = 0;
        for (uint32_t t = 0; t < ORACLE_LEN; t++) {
            const float *row = got + (size_t)t * n_vocab, *expected = want + ((size_t)s * ORACLE_LEN + t) * n_vocab;
            double z = 0;
            for (uint32_t v = 0; v < n_vocab; v++) {
                double d = fabs((double)row[v] - (double)expected[v]);
                largest = d > largest ? d : largest;
                sum += d;
                z += exp((double)row[v]);
            }
            CHECK(isfinite(z));
            if (t + 1 < ORACLE_LEN)
                nll += log(z) - (double)row[ids[s * ORACLE_LEN + t + 1]];
        }
        CHECK(fabs(nll / (ORACLE_LEN - 1) - strtod(rest, &rest)) < 5e-5);
    }
    printf("%s: largest difference %.2g, mean %.2g\n", folder, largest, sum / (ORACLE_SEQ * ORACLE_LEN * n_vocab));
    CHECK(largest < 5e-4);
    CHECK(sum / (ORACLE_SEQ * ORACLE_LEN * n_vocab) < 5e-5);
    check_extending(m, ids, ORACLE_SEQ, ORACLE_LEN);
    pare_forward_close(f);
    b->close(b);
    free(ids);
    free(want);
    free(nll_file);
    free(got);
}

static void check_oracle_gguf(const char *folder, const char *file)
{
    char relative[256];
    pare_model m = {0};
    pare_error err = {0};
    snprintf(relative, sizeof relative, "oracle/models/%s/%s", folder, file);
    CHECK_OK(pare_gguf_open(&m, shared_path(relative), 0, &err), &err);
    check_oracle(&m, folder);
    pare_model_close(&m);
}

static void check_oracle_folder(const char *folder)
{
    char relative[256];
    pare_model m = {0};
    pare_error err = {0};
    snprintf(relative, sizeof relative, "oracle/models/%s", folder);
    CHECK_OK(pare_hf_open(&m, shared_path(relative), 0, &err), &err);
    check_oracle(&m, folder);
    pare_model_close(&m);
}

static void every_family_of_the_table(void **state)
{
    (void)state;
    static const char *const folders[] = {"llama",      "llama_rope",    "mistral",    "qwen2",     "qwen3",
                                          "qwen3_tiny", "olmo2",         "starcoder2", "gemma2",    "gemma3_text",
                                          "gpt2",       "gpt_neox",      "mixtral",    "qwen3_moe", "phi3",
                                          "gpt_oss",    "gpt_oss_mxfp4", "falcon",    "deepseek_v2"};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        check_oracle_folder(folders[i]);
}

static void llama_with_llama3_scaling(void **state)
{
    (void)state;
    check_oracle_gguf("llama_rope", "stock-f32.gguf");
}

static void qwen3_in_bf16(void **state)
{
    (void)state;
    check_oracle_gguf("qwen3_tiny", "stock-bf16.gguf");
}

/* ---- the wiring, against a pass in double precision that is written out plainly ---- */

enum {
    VOCAB = 30,
    EMBD = 24,
    FF = 20,
    HEADS = 4,
    KV_HEADS = 2,
    DIM_K = 6,
    DIM_V = 4,
    ROT = 4,
    EXPERTS = 5,
    FF_EXPERT = 12,
    FF_SHARED = 28,
    LAYERS = 3,
    LEN = 21,
    SEQ = 2
};

typedef struct variant {
    const char *name;
    pare_wiring wiring;
    bool fused_qkv, fused_gate, biases, qk_norms, post_norms, norm_2, no_ffn_norm, positions, embd_norm, tied,
        rope_factors, sinks, shared_expert, expert_norm;
    uint32_t n_expert_used; /* of EXPERTS; 0: a dense FFN */
    uint32_t window, window_period, no_rope_period;
    float rope_base_window;
    bool window_rope_plain;
    float embd_scale, residual_scale, logit_scale, attn_scale, attn_softcap, final_softcap, rope_factor,
        rope_attn_factor;
} variant;

static void add_weight(pare_model *m, uint64_t *seed, const variant *v, pare_weight id, uint32_t layer, uint64_t n_rows,
                       uint64_t row_len)
{
    char name[64];
    pare_weight_name(name, sizeof name, id, layer, "weight");
    toy_add(m, seed, name, n_rows, row_len, n_rows != 0 ? 0.5f : 0.3f, n_rows != 0 ? 0 : 1);
    bool norm = n_rows == 0, layer_norm = v->wiring.norm == PARE_NORM_LAYER;
    if (norm ? layer_norm : v->biases && id != PARE_W_TOKEN_EMBD && id != PARE_W_POS_EMBD)
        toy_add(m, seed, pare_weight_name(name, sizeof name, id, layer, "bias"), 0, norm ? row_len : n_rows, 0.3f, 0);
}

static void add_experts(pare_model *m, uint64_t *seed, const variant *v, uint32_t i)
{
    char name[64];
    add_weight(m, seed, v, PARE_W_FFN_GATE_INP, i, EXPERTS, EMBD);
    toy_add_stack(m, seed, pare_weight_name(name, sizeof name, PARE_W_FFN_GATE_EXPS, i, "weight"), EXPERTS, FF_EXPERT,
                  EMBD, 0.5f);
    toy_add_stack(m, seed, pare_weight_name(name, sizeof name, PARE_W_FFN_UP_EXPS, i, "weight"), EXPERTS, FF_EXPERT,
                  EMBD, 0.5f);
    toy_add_stack(m, seed, pare_weight_name(name, sizeof name, PARE_W_FFN_DOWN_EXPS, i, "weight"), EXPERTS, EMBD,
                  FF_EXPERT, 0.5f);
    if (!v->shared_expert)
        return;
    add_weight(m, seed, v, PARE_W_FFN_GATE_INP_SHEXP, i, 1, EMBD);
    add_weight(m, seed, v, PARE_W_FFN_GATE_SHEXP, i, FF_SHARED, EMBD);
    add_weight(m, seed, v, PARE_W_FFN_UP_SHEXP, i, FF_SHARED, EMBD);
    add_weight(m, seed, v, PARE_W_FFN_DOWN_SHEXP, i, EMBD, FF_SHARED);
}

static void add_layer(pare_model *m, uint64_t *seed, const variant *v, uint32_t i)
{
    const pare_wiring *w = &v->wiring;
    if (!w->norm_after) {
        add_weight(m, seed, v, PARE_W_ATTN_NORM, i, 0, EMBD);
        if (!v->no_ffn_norm)
            add_weight(m, seed, v, PARE_W_FFN_NORM, i, 0, EMBD);
    }
    if (v->norm_2)
        add_weight(m, seed, v, PARE_W_ATTN_NORM_2, i, 0, EMBD);
    if (w->norm_after || v->post_norms) {
        add_weight(m, seed, v, PARE_W_ATTN_POST_NORM, i, 0, EMBD);
        add_weight(m, seed, v, PARE_W_FFN_POST_NORM, i, 0, EMBD);
    }
    if (v->fused_qkv) {
        add_weight(m, seed, v, PARE_W_ATTN_QKV, i, HEADS * DIM_K + KV_HEADS * (DIM_K + DIM_V), EMBD);
    } else {
        add_weight(m, seed, v, PARE_W_ATTN_Q, i, HEADS * DIM_K, EMBD);
        add_weight(m, seed, v, PARE_W_ATTN_K, i, KV_HEADS * DIM_K, EMBD);
        add_weight(m, seed, v, PARE_W_ATTN_V, i, KV_HEADS * DIM_V, EMBD);
    }
    if (v->qk_norms) {
        add_weight(m, seed, v, PARE_W_ATTN_Q_NORM, i, 0, w->qk_norm_whole ? HEADS * DIM_K : DIM_K);
        add_weight(m, seed, v, PARE_W_ATTN_K_NORM, i, 0, w->qk_norm_whole ? KV_HEADS * DIM_K : DIM_K);
    }
    if (v->sinks)
        add_weight(m, seed, v, PARE_W_ATTN_SINKS, i, 0, HEADS);
    add_weight(m, seed, v, PARE_W_ATTN_OUT, i, EMBD, HEADS * DIM_V);
    if (v->n_expert_used > 0) {
        add_experts(m, seed, v, i);
        return;
    }
    if (w->gated_ffn && !v->fused_gate)
        add_weight(m, seed, v, PARE_W_FFN_GATE, i, FF, EMBD);
    add_weight(m, seed, v, PARE_W_FFN_UP, i, v->fused_gate ? 2 * FF : FF, EMBD);
    add_weight(m, seed, v, PARE_W_FFN_DOWN, i, EMBD, FF);
}

static void make_model(pare_model *m, pare_arch *arch, const variant *v)
{
    uint64_t seed = 21;
    pare_error err = {0};
    *arch = (pare_arch){.name = v->name, .wiring = v->wiring, .window_rope_plain = v->window_rope_plain};
    *m = (pare_model){.path = v->name, .arch = arch};
    m->hp = (pare_hparams){.n_vocab = VOCAB,
                           .n_layer = LAYERS,
                           .n_ctx_train = LEN,
                           .n_embd = EMBD,
                           .n_ff = FF,
                           .n_expert = v->n_expert_used > 0 ? EXPERTS : 0,
                           .n_expert_used = v->n_expert_used,
                           .n_ff_expert = v->n_expert_used > 0 ? FF_EXPERT : 0,
                           .n_ff_shared = v->shared_expert ? FF_SHARED : 0,
                           .expert_norm = v->expert_norm,
                           .n_head = HEADS,
                           .n_head_kv = KV_HEADS,
                           .head_dim_k = DIM_K,
                           .head_dim_v = DIM_V,
                           .n_rot = ROT,
                           .norm_eps = 1e-3f,
                           .rope_base = 50,
                           .rope_base_window = v->rope_base_window,
                           .window = v->window,
                           .embd_scale = v->embd_scale,
                           .residual_scale = v->residual_scale,
                           .logit_scale = v->logit_scale,
                           .attn_scale = v->attn_scale,
                           .attn_softcap = v->attn_softcap,
                           .final_softcap = v->final_softcap,
                           .tied_output = v->tied,
                           .rope_scaling = v->rope_factor != 0 ? PARE_ROPE_LINEAR : PARE_ROPE_PLAIN,
                           .rope_factor = v->rope_factor,
                           .rope_attn_factor = v->rope_attn_factor};
    CHECK_OK(pare_model_reserve(m, 128, &err), &err);
    add_weight(m, &seed, v, PARE_W_TOKEN_EMBD, 0, VOCAB, EMBD);
    if (v->positions)
        add_weight(m, &seed, v, PARE_W_POS_EMBD, 0, LEN, EMBD);
    if (v->embd_norm)
        add_weight(m, &seed, v, PARE_W_TOKEN_EMBD_NORM, 0, 0, EMBD);
    if (v->rope_factors)
        toy_add(m, &seed, "rope_freqs.weight", 0, ROT / 2, 0.4f, 2);
    add_weight(m, &seed, v, PARE_W_OUTPUT_NORM, 0, 0, EMBD);
    if (!v->tied)
        add_weight(m, &seed, v, PARE_W_OUTPUT, 0, VOCAB, EMBD);
    for (uint32_t i = 0; i < LAYERS; i++)
        add_layer(m, &seed, v, i);
    pare_layers_add_every(&m->hp.full, LAYERS, v->window_period);
    pare_layers_add_every(&m->hp.no_rope, LAYERS, v->no_rope_period);
}

static const float *values(const pare_model *m, pare_weight id, uint32_t layer, const char *suffix)
{
    char name[64];
    return toy_values(m, pare_weight_name(name, sizeof name, id, layer, suffix));
}

/* y = rows [row, row + n_rows) of W x + b */
static void slow_linear(const pare_model *m, pare_weight id, uint32_t layer, size_t row, size_t n_rows, const double *x,
                        size_t n, double *y)
{
    const float *w = values(m, id, layer, "weight"), *b = values(m, id, layer, "bias");
    for (size_t r = 0; r < n_rows; r++) {
        y[r] = b != NULL ? (double)b[row + r] : 0;
        for (size_t j = 0; j < n; j++)
            y[r] += (double)w[(row + r) * n + j] * x[j];
    }
}

static void slow_norm(const pare_model *m, pare_weight id, uint32_t layer, double *x, size_t width)
{
    const float *w = values(m, id, layer, "weight"), *b = values(m, id, layer, "bias");
    double mean = 0, square = 0;
    if (w == NULL)
        return;
    for (size_t i = 0; m->arch->wiring.norm == PARE_NORM_LAYER && i < width; i++)
        mean += x[i] / (double)width;
    for (size_t i = 0; i < width; i++)
        square += (x[i] - mean) * (x[i] - mean) / (double)width;
    for (size_t i = 0; i < width; i++)
        x[i] = (x[i] - mean) / sqrt(square + (double)m->hp.norm_eps) * (double)w[i] + (b != NULL ? (double)b[i] : 0);
}

static void slow_heads(const pare_model *m, pare_weight norm, uint32_t layer, int n_head, int t, double *x)
{
    bool local = pare_layer_window(&m->hp, layer) > 0, plain = local && m->arch->window_rope_plain;
    double base = (double)(local && m->hp.rope_base_window != 0 ? m->hp.rope_base_window : m->hp.rope_base);
    const float *factors = plain ? NULL : toy_values(m, "rope_freqs.weight");
    bool whole = m->arch->wiring.qk_norm_whole;
    for (int h = 0; h < (whole ? 1 : n_head); h++)
        slow_norm(m, norm, layer, x + h * DIM_K, whole ? (size_t)n_head * DIM_K : DIM_K);
    for (int h = 0; h < n_head && m->arch->wiring.rope != PARE_ROPE_NONE && !pare_layers_have(&m->hp.no_rope, layer);
         h++)
        for (int i = 0; i < ROT / 2; i++) {
            bool halves = m->arch->wiring.rope == PARE_ROPE_HALVES;
            double *a = x + h * DIM_K + (halves ? i : 2 * i), *b = x + h * DIM_K + (halves ? i + ROT / 2 : 2 * i + 1);
            double angle = t * pow(base, -2.0 * i / ROT), was = *a;
            angle /= factors != NULL ? (double)factors[i] : 1;
            angle /= m->hp.rope_scaling == PARE_ROPE_LINEAR && !plain ? (double)m->hp.rope_factor : 1;
            double size = m->hp.rope_attn_factor != 0 && !plain ? (double)m->hp.rope_attn_factor : 1;
            *a = size * (was * cos(angle) - *b * sin(angle));
            *b = size * (was * sin(angle) + *b * cos(angle));
        }
}

typedef struct slow_state {
    double x[LEN][EMBD], in[LEN][EMBD], branch[LEN][EMBD];
    double q[LEN][HEADS * DIM_K], k[LEN][KV_HEADS * DIM_K], v[LEN][KV_HEADS * DIM_V];
} slow_state;

static void slow_attention(const pare_model *m, uint32_t layer, slow_state *s)
{
    const pare_hparams *hp = &m->hp;
    const float *sinks = values(m, PARE_W_ATTN_SINKS, layer, "weight");
    bool fused = values(m, PARE_W_ATTN_QKV, layer, "weight") != NULL;
    bool windowed = pare_layer_window(hp, layer) != 0;
    double scale = hp->attn_scale != 0 ? (double)hp->attn_scale : 1 / sqrt(DIM_K);
    for (int t = 0; t < LEN; t++) {
        size_t n_q = HEADS * DIM_K, n_k = KV_HEADS * DIM_K, n_v = KV_HEADS * DIM_V;
        slow_linear(m, fused ? PARE_W_ATTN_QKV : PARE_W_ATTN_Q, layer, 0, n_q, s->in[t], EMBD, s->q[t]);
        slow_linear(m, fused ? PARE_W_ATTN_QKV : PARE_W_ATTN_K, layer, fused ? n_q : 0, n_k, s->in[t], EMBD, s->k[t]);
        slow_linear(m, fused ? PARE_W_ATTN_QKV : PARE_W_ATTN_V, layer, fused ? n_q + n_k : 0, n_v, s->in[t], EMBD,
                    s->v[t]);
        slow_heads(m, PARE_W_ATTN_Q_NORM, layer, HEADS, t, s->q[t]);
        slow_heads(m, PARE_W_ATTN_K_NORM, layer, KV_HEADS, t, s->k[t]);
    }
    for (int t = 0; t < LEN; t++) {
        double out[HEADS * DIM_V] = {0};
        for (int h = 0; h < HEADS; h++) {
            double weight[LEN] = {0}, sum = sinks != NULL ? exp((double)sinks[h]) : 0;
            int kv = h / (HEADS / KV_HEADS);
            for (int j = windowed && t >= (int)hp->window ? t - (int)hp->window + 1 : 0; j <= t; j++) {
                double score = 0;
                for (int d = 0; d < DIM_K; d++)
                    score += scale * s->q[t][h * DIM_K + d] * s->k[j][kv * DIM_K + d];
                if (hp->attn_softcap != 0)
                    score = (double)hp->attn_softcap * tanh(score / (double)hp->attn_softcap);
                sum += weight[j] = exp(score);
            }
            for (int j = 0; j <= t; j++)
                for (int d = 0; d < DIM_V; d++)
                    out[h * DIM_V + d] += weight[j] / sum * s->v[j][kv * DIM_V + d];
        }
        slow_linear(m, PARE_W_ATTN_OUT, layer, 0, EMBD, out, HEADS * DIM_V, s->branch[t]);
    }
}

/* y += weight * down(silu(gate x) * up x), with the matrices from row `first` on of the three weights */
static void slow_expert(const pare_model *m, const pare_weight ids[3], uint32_t layer, size_t matrix, size_t n_ff,
                        const double *x, double weight, double *y)
{
    double gate[FF_SHARED], up[FF_SHARED], out[EMBD];
    slow_linear(m, ids[0], layer, matrix * n_ff, n_ff, x, EMBD, gate);
    slow_linear(m, ids[1], layer, matrix * n_ff, n_ff, x, EMBD, up);
    for (size_t i = 0; i < n_ff; i++)
        up[i] *= gate[i] / (1 + exp(-gate[i]));
    slow_linear(m, ids[2], layer, matrix * EMBD, EMBD, up, n_ff, out);
    for (int i = 0; i < EMBD; i++)
        y[i] += weight * out[i];
}

static void slow_experts(const pare_model *m, uint32_t layer, slow_state *s)
{
    static const pare_weight routed[] = {PARE_W_FFN_GATE_EXPS, PARE_W_FFN_UP_EXPS, PARE_W_FFN_DOWN_EXPS};
    static const pare_weight shared[] = {PARE_W_FFN_GATE_SHEXP, PARE_W_FFN_UP_SHEXP, PARE_W_FFN_DOWN_SHEXP};
    for (int t = 0; t < LEN; t++) {
        double score[EXPERTS], all = 0, chosen = 0, gate = 0;
        bool used[EXPERTS] = {false};
        memset(s->branch[t], 0, sizeof s->branch[t]);
        slow_linear(m, PARE_W_FFN_GATE_INP, layer, 0, EXPERTS, s->in[t], EMBD, score);
        for (int e = 0; e < EXPERTS; e++) {
            uint32_t n_better = 0;
            for (int other = 0; other < EXPERTS; other++)
                n_better += score[other] > score[e];
            used[e] = n_better < m->hp.n_expert_used;
            all += exp(score[e]);
            chosen += used[e] ? exp(score[e]) : 0;
        }
        for (size_t e = 0; e < EXPERTS; e++)
            if (used[e])
                slow_expert(m, routed, layer, e, FF_EXPERT, s->in[t],
                            exp(score[e]) / (m->hp.expert_norm ? chosen : all), s->branch[t]);
        if (m->hp.n_ff_shared == 0)
            continue;
        slow_linear(m, PARE_W_FFN_GATE_INP_SHEXP, layer, 0, 1, s->in[t], EMBD, &gate);
        slow_expert(m, shared, layer, 0, FF_SHARED, s->in[t], 1 / (1 + exp(-gate)), s->branch[t]);
    }
}

static void slow_ffn(const pare_model *m, uint32_t layer, slow_state *s)
{
    if (m->hp.n_expert > 0) {
        slow_experts(m, layer, s);
        return;
    }
    bool gated = m->arch->wiring.gated_ffn, fused = gated && values(m, PARE_W_FFN_GATE, layer, "weight") == NULL;
    for (int t = 0; t < LEN; t++) {
        double gate[FF], up[FF];
        slow_linear(m, PARE_W_FFN_UP, layer, fused ? FF : 0, FF, s->in[t], EMBD, up);
        if (gated)
            slow_linear(m, fused ? PARE_W_FFN_UP : PARE_W_FFN_GATE, layer, 0, FF, s->in[t], EMBD, gate);
        for (int i = 0; i < FF; i++) {
            double x = gated ? gate[i] : up[i];
            x = m->arch->wiring.act == PARE_ACT_SILU ? x / (1 + exp(-x)) : 0.5 * x * (1 + erf(x / sqrt(2)));
            up[i] = gated ? x * up[i] : x;
        }
        slow_linear(m, PARE_W_FFN_DOWN, layer, 0, EMBD, up, FF, s->branch[t]);
    }
}

/* The input of a part: the stream under that norm, or as it is. */
static void slow_input(const pare_model *m, pare_weight norm, uint32_t layer, slow_state *s)
{
    memcpy(s->in, s->x, sizeof s->in);
    for (int t = 0; t < LEN; t++)
        slow_norm(m, norm, layer, s->in[t], EMBD);
}

static void slow_add(const pare_model *m, pare_weight norm, uint32_t layer, slow_state *s)
{
    for (int t = 0; t < LEN; t++) {
        slow_norm(m, norm, layer, s->branch[t], EMBD);
        for (int i = 0; i < EMBD; i++)
            s->x[t][i] += s->branch[t][i] * (m->hp.residual_scale != 0 ? (double)m->hp.residual_scale : 1);
    }
}

static void slow_logits(const pare_model *m, const variant *v, const int32_t *ids, double logits[LEN][VOCAB])
{
    slow_state *s = check_malloc(sizeof *s);
    const float *embd = toy_values(m, "token_embd.weight"), *positions = toy_values(m, "position_embd.weight");
    for (int t = 0; t < LEN; t++) {
        for (int i = 0; i < EMBD; i++) {
            s->x[t][i] = (double)embd[ids[t] * EMBD + i] * (v->embd_scale != 0 ? (double)v->embd_scale : 1);
            s->x[t][i] += positions != NULL ? (double)positions[t * EMBD + i] : 0;
        }
        slow_norm(m, PARE_W_TOKEN_EMBD_NORM, 0, s->x[t], EMBD);
    }
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        pare_weight ffn_norm = v->no_ffn_norm ? PARE_W_ATTN_NORM : PARE_W_FFN_NORM;
        slow_state *before = check_malloc(sizeof *before);
        memcpy(before, s, sizeof *before);
        slow_input(m, v->norm_2 ? PARE_W_ATTN_NORM_2 : PARE_W_ATTN_NORM, layer, s);
        slow_attention(m, layer, s);
        slow_add(m, PARE_W_ATTN_POST_NORM, layer, s);
        slow_state *ffn = v->wiring.parallel_residual ? before : s; /* which stream the FFN reads */
        slow_input(m, ffn_norm, layer, ffn);
        slow_ffn(m, layer, ffn);
        memmove(s->branch, ffn->branch, sizeof s->branch);
        slow_add(m, PARE_W_FFN_POST_NORM, layer, s);
        free(before);
    }
    for (int t = 0; t < LEN; t++) {
        slow_norm(m, PARE_W_OUTPUT_NORM, 0, s->x[t], EMBD);
        slow_linear(m, v->tied ? PARE_W_TOKEN_EMBD : PARE_W_OUTPUT, 0, 0, VOCAB, s->x[t], EMBD, logits[t]);
        for (int i = 0; i < VOCAB; i++) {
            logits[t][i] *= v->logit_scale != 0 ? (double)v->logit_scale : 1;
            if (v->final_softcap != 0)
                logits[t][i] = (double)v->final_softcap * tanh(logits[t][i] / (double)v->final_softcap);
        }
    }
    free(s);
}

static void check_variant(const variant *v)
{
    pare_model m;
    pare_arch arch;
    pare_backend *b = NULL;
    pare_forward *f = NULL;
    pare_error err = {0};
    uint64_t seed = 22;
    int32_t ids[SEQ * LEN];
    static double want[LEN][VOCAB];
    float got[LEN * VOCAB];
    make_model(&m, &arch, v);
    for (int i = 0; i < SEQ * LEN; i++)
        ids[i] = (int32_t)((toy_random(&seed) + 1) / 2 * (VOCAB - 1));
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    CHECK_OK(pare_forward_open(&f, &m, b, LEN, SEQ, &err), &err);
    CHECK(pare_forward_bytes(f) > SEQ * LEN * EMBD * sizeof(float));
    double largest = 0;
    for (uint32_t first = 0; first < LEN; first += 10) { /* all positions, then the later ones */
        CHECK_OK(pare_forward_run_from(f, ids, SEQ, LEN, first, &err), &err);
        for (uint32_t s = 0; s < SEQ; s++) {
            slow_logits(&m, v, ids + s * LEN, want);
            CHECK_OK(pare_forward_logits(f, s, first, LEN - first, got, &err), &err);
            for (uint32_t t = first; t < LEN; t++)
                for (int i = 0; i < VOCAB; i++)
                    largest = fmax(largest, fabs((double)got[(t - first) * VOCAB + (uint32_t)i] - want[t][i]));
        }
    }
    if (!(largest < 1e-4)) {
        printf("%s: largest difference %g\n", v->name, largest);
        CHECK(largest < 1e-4);
    }
    check_extending(&m, ids, SEQ, LEN);
    pare_forward_close(f);
    b->close(b);
    pare_model_close(&m);
}

static void every_wiring(void **state)
{
    (void)state;
    const pare_wiring llama = {.rope = PARE_ROPE_INTERLEAVED, .gated_ffn = true},
                      neox = {.rope = PARE_ROPE_HALVES, .gated_ffn = true};
    pare_wiring parallel = {
        .norm = PARE_NORM_LAYER, .act = PARE_ACT_GELU_ERF, .rope = PARE_ROPE_HALVES, .parallel_residual = true};
    pare_wiring plain = {.norm = PARE_NORM_LAYER, .act = PARE_ACT_GELU_ERF}, whole = neox;
    whole.norm_after = whole.qk_norm_whole = true;
    const variant list[] = {
        {.name = "llama", .wiring = llama},
        {.name = "biases everywhere", .wiring = llama, .biases = true},
        {.name = "tied, frequency factors", .wiring = llama, .tied = true, .rope_factors = true},
        {.name = "linear scaling", .wiring = llama, .rope_factor = 4},
        {.name = "queries and keys grow with their angles", .wiring = neox, .rope_attn_factor = 1.4f},
        {.name = "window", .wiring = llama, .window = 5},
        {.name = "window with period, sinks", .wiring = neox, .window = 4, .window_period = 2, .sinks = true},
        {.name = "another base in the window",
         .wiring = neox,
         .window = 6,
         .window_period = 3,
         .rope_base_window = 700},
        {.name = "no scaling in the window",
         .wiring = llama,
         .window = 6,
         .window_period = 3,
         .rope_factors = true,
         .rope_factor = 3,
         .rope_attn_factor = 1.2f,
         .window_rope_plain = true},
        {.name = "a layer that does not turn", .wiring = neox, .no_rope_period = 2},
        {.name = "q and k norms", .wiring = neox, .qk_norms = true},
        {.name = "norms after, whole q and k norms", .wiring = whole, .qk_norms = true},
        {.name = "sandwich norms, caps, scales",
         .wiring = neox,
         .post_norms = true,
         .attn_softcap = 3,
         .final_softcap = 4,
         .embd_scale = 2.5f,
         .residual_scale = 0.7f,
         .logit_scale = 1.3f,
         .attn_scale = 0.6f},
        {.name = "fused qkv and gate", .wiring = neox, .fused_qkv = true, .fused_gate = true},
        {.name = "fused with biases", .wiring = neox, .fused_qkv = true, .fused_gate = true, .biases = true},
        {.name = "parallel, two norms", .wiring = parallel, .fused_qkv = true, .biases = true},
        {.name = "parallel, one norm", .wiring = parallel, .no_ffn_norm = true},
        {.name = "parallel, attn_norm_2", .wiring = parallel, .no_ffn_norm = true, .norm_2 = true},
        {.name = "experts", .wiring = neox, .n_expert_used = 2, .expert_norm = true},
        {.name = "experts, weights as they are", .wiring = llama, .n_expert_used = 3},
        {.name = "one expert a token, and a shared one", .wiring = neox, .n_expert_used = 1, .shared_expert = true},
        {.name = "all experts", .wiring = neox, .n_expert_used = EXPERTS},
        {.name = "learned positions", .wiring = plain, .positions = true, .embd_norm = true, .biases = true},
    };
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        check_variant(&list[i]);
}

/* More tokens than pass through a layer at once: each sequence as if it were alone. */
static void check_large_batch(const variant *v)
{
    enum { MANY = 2048 / LEN + 2 };
    pare_model m;
    pare_arch arch;
    pare_backend *b = NULL;
    pare_forward *f = NULL;
    pare_error err = {0};
    uint64_t seed = 23;
    static int32_t ids[MANY * LEN];
    static double want[LEN][VOCAB];
    float got[LEN * VOCAB];
    make_model(&m, &arch, v);
    for (int i = 0; i < MANY * LEN; i++)
        ids[i] = (int32_t)((toy_random(&seed) + 1) / 2 * (VOCAB - 1));
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    CHECK_OK(pare_forward_open(&f, &m, b, LEN, MANY, &err), &err);
    CHECK_OK(pare_forward_run(f, ids, MANY, LEN, &err), &err);
    for (uint32_t s = 0; s < MANY; s += MANY - 1) {
        slow_logits(&m, v, ids + s * LEN, want);
        CHECK_OK(pare_forward_logits(f, s, 0, LEN, got, &err), &err);
        for (int i = 0; i < LEN * VOCAB; i++)
            CHECK(fabs((double)got[i] - want[i / VOCAB][i % VOCAB]) < 1e-4);
    }
    pare_forward_close(f);
    b->close(b);
    pare_model_close(&m);
}

static void a_large_batch_is_cut_into_slices(void **state)
{
    (void)state;
    check_large_batch(&(const variant){.name = "batch", .wiring = {.gated_ffn = true}});
    check_large_batch(&(const variant){.name = "batch", .wiring = {.gated_ffn = true}, .n_expert_used = 2});
}

/* Three layers with a window of 5 let a token see 12 others, and RoPE turns by distance: the end of a sequence longer
 * than a slice is as if it stood alone, from its 13th token on. */
static void a_long_sequence_is_cut_into_slices(void **state)
{
    (void)state;
    enum { LONG = 2048 + 5, SEEN = LAYERS * 4, CUT = LONG - LEN };
    const variant v = {.name = "long", .wiring = {.rope = PARE_ROPE_HALVES, .gated_ffn = true}, .window = 5};
    pare_model m;
    pare_arch arch;
    pare_backend *b = NULL;
    pare_forward *f = NULL;
    pare_error err = {0};
    uint64_t seed = 24;
    static int32_t ids[2 * LONG];
    static double want[LEN][VOCAB];
    static float got[LONG * VOCAB];
    make_model(&m, &arch, &v);
    for (int i = 0; i < 2 * LONG; i++)
        ids[i] = (int32_t)((toy_random(&seed) + 1) / 2 * (VOCAB - 1));
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    CHECK_OK(pare_forward_open(&f, &m, b, LONG, 2, &err), &err);
    CHECK_OK(pare_forward_run_from(f, ids, 2, LONG, CUT + SEEN, &err), &err); /* the first slice ends behind that */
    for (uint32_t s = 0; s < 2; s++) {
        CHECK_OK(pare_forward_logits(f, s, CUT + SEEN, LEN - SEEN, got, &err), &err);
        slow_logits(&m, &v, ids + s * LONG + CUT, want);
        for (int i = 0; i < (LEN - SEEN) * VOCAB; i++)
            CHECK(fabs((double)got[i] - want[SEEN + i / VOCAB][i % VOCAB]) < 1e-4);
    }
    CHECK_OK(pare_forward_run(f, ids, 2, LONG, &err), &err);
    for (uint32_t s = 0; s < 2; s++) {
        CHECK_OK(pare_forward_logits(f, s, 0, LONG, got, &err), &err);
        slow_logits(&m, &v, ids + s * LONG, want);
        for (int i = 0; i < LEN * VOCAB; i++)
            CHECK(fabs((double)got[i] - want[i / VOCAB][i % VOCAB]) < 1e-4);
        slow_logits(&m, &v, ids + s * LONG + CUT, want);
        for (int i = SEEN * VOCAB; i < LEN * VOCAB; i++)
            CHECK(fabs((double)got[CUT * VOCAB + i] - want[i / VOCAB][i % VOCAB]) < 1e-4);
    }
    pare_forward_close(f);
    b->close(b);
    pare_model_close(&m);
}

/* Passes over a backend share the memory that they need while they run: one that needs more moves it, and what the
 * other left for its logits is not in it. */
static void passes_share_a_workspace(void **state)
{
    (void)state;
    const variant v = {.name = "shared", .wiring = {.rope = PARE_ROPE_HALVES, .gated_ffn = true}};
    pare_model m;
    pare_arch arch;
    pare_backend *b = NULL;
    pare_forward *small = NULL, *large = NULL;
    pare_error err = {0};
    int32_t ids[3 * LEN];
    static double want[LEN][VOCAB];
    float got[LEN * VOCAB];
    make_model(&m, &arch, &v);
    for (int i = 0; i < 3 * LEN; i++)
        ids[i] = i * 7 % VOCAB;
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    CHECK_OK(pare_forward_open(&small, &m, b, LEN, 1, &err), &err);
    CHECK_OK(pare_forward_run(small, ids, 1, LEN, &err), &err);
    CHECK_OK(pare_forward_open(&large, &m, b, LEN, 3, &err), &err);
    CHECK_OK(pare_forward_run(large, ids, 3, LEN, &err), &err);
    slow_logits(&m, &v, ids, want);
    for (int turn = 0; turn < 2; turn++) {
        CHECK_OK(pare_forward_logits(turn == 0 ? small : large, 0, 0, LEN, got, &err), &err);
        for (int i = 0; i < LEN * VOCAB; i++)
            CHECK(fabs((double)got[i] - want[i / VOCAB][i % VOCAB]) < 1e-4);
    }
    pare_forward_close(large);
    pare_forward_close(small);
    b->close(b);
    pare_model_close(&m);
}

static pare_status open_status(pare_model *m, uint32_t n_ctx, pare_error *err)
{
    pare_backend *b = NULL;
    pare_forward *f = NULL;
    CHECK_OK(pare_backend_cpu(&b, err), err);
    pare_status st = pare_forward_open(&f, m, b, n_ctx, 1, err);
    pare_forward_close(f);
    b->close(b);
    return st;
}

static void says_what_it_cannot_compute(void **state)
{
    (void)state;
    const variant v = {.name = "toy", .wiring = {.rope = PARE_ROPE_HALVES, .gated_ffn = true}, .positions = true};
    pare_model m;
    pare_arch arch;
    pare_error err = {0};
    make_model(&m, &arch, &v);
    CHECK_OK(open_status(&m, LEN, &err), &err);
    CHECK(open_status(&m, LEN + 1, &err) == PARE_ERR_UNSUPPORTED && strstr(err.text, "positions") != NULL);
    pare_hparams honest = m.hp;
    m.hp.n_head = m.hp.n_head_kv = 1 << 20;
    m.hp.head_dim_k = 1 << 12; /* their product wraps to 0 in 32 bits */
    CHECK(open_status(&m, LEN, &err) == PARE_ERR_UNSUPPORTED && strstr(err.text, "heads") != NULL);
    m.hp = honest;
    m.hp.n_head_kv = 3;
    CHECK(open_status(&m, LEN, &err) == PARE_ERR_RANGE);
    m.hp = honest;
    m.hp.n_ff++;
    CHECK(open_status(&m, LEN, &err) == PARE_ERR_RANGE && strstr(err.text, "blk.0.ffn_up.weight") != NULL);
    m.hp.n_ff--;
    m.hp.n_layer++;
    CHECK(open_status(&m, LEN, &err) == PARE_ERR_FORMAT && strstr(err.text, "'blk.3.attn_q.weight'") != NULL);
    m.hp.n_layer--;
    m.arch = NULL;
    CHECK(open_status(&m, LEN, &err) == PARE_ERR_UNSUPPORTED);
    pare_model_close(&m);
}

static void refuses_experts_that_do_not_fit(void **state)
{
    (void)state;
    const variant v = {.name = "toy", .wiring = {.rope = PARE_ROPE_HALVES, .gated_ffn = true}, .n_expert_used = 2};
    pare_model m;
    pare_arch arch;
    pare_error err = {0};
    make_model(&m, &arch, &v);
    CHECK_OK(open_status(&m, LEN, &err), &err);
    pare_hparams honest = m.hp;
    m.hp.n_expert = 0;
    CHECK(open_status(&m, LEN, &err) == PARE_ERR_RANGE && strstr(err.text, "2 of 0") != NULL);
    m.hp.n_expert = EXPERTS;
    m.hp.n_expert_used = EXPERTS + 1;
    CHECK(open_status(&m, LEN, &err) == PARE_ERR_RANGE && strstr(err.text, "6 of 5") != NULL);
    m.hp.n_expert_used = 0;
    CHECK(open_status(&m, LEN, &err) == PARE_ERR_RANGE);
    m.hp = honest;
    m.hp.n_expert = 1 << 14;
    CHECK(open_status(&m, LEN, &err) == PARE_ERR_RANGE && strstr(err.text, "ffn_gate_inp") != NULL);
    m.hp = honest;
    m.hp.n_ff_expert++;
    CHECK(open_status(&m, LEN, &err) == PARE_ERR_RANGE && strstr(err.text, "ffn_gate_exps") != NULL);
    m.hp = honest;
    pare_tensor *down = (pare_tensor *)(uintptr_t)pare_model_find(&m, "blk.1.ffn_down_exps.weight");
    down->dim[0] = EMBD; /* as many rows, cut into other matrices */
    down->dim[1] = EXPERTS;
    CHECK(open_status(&m, LEN, &err) == PARE_ERR_RANGE && strstr(err.text, "24 matrices") != NULL);
    down->dim[0] = EXPERTS;
    down->dim[1] = EMBD;
    arch.wiring.gated_ffn = false;
    CHECK(open_status(&m, LEN, &err) == PARE_ERR_UNSUPPORTED);
    pare_model_close(&m);
}

static void a_router_that_is_not_finite_ends_the_run(void **state)
{
    (void)state;
    const variant v = {.name = "toy", .wiring = {.rope = PARE_ROPE_HALVES, .gated_ffn = true}, .n_expert_used = 2};
    pare_model m;
    pare_arch arch;
    pare_backend *b = NULL;
    pare_forward *f = NULL;
    pare_error err = {0};
    const int32_t ids[] = {1, 2, 3};
    make_model(&m, &arch, &v);
    toy_values(&m, "blk.1.ffn_gate_inp.weight")[3 * EMBD] = NAN;
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    CHECK_OK(pare_forward_open(&f, &m, b, 3, 1, &err), &err);
    CHECK(pare_forward_run(f, ids, 1, 3, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "toy: tensor 'blk.1.ffn_gate_inp.weight': the score of expert 3 at token 0") != NULL);
    pare_forward_close(f);
    b->close(b);
    pare_model_close(&m);
}

static void refuses_wrong_runs(void **state)
{
    (void)state;
    const variant v = {.name = "toy", .wiring = {.rope = PARE_ROPE_HALVES, .gated_ffn = true}};
    pare_model m;
    pare_arch arch;
    pare_backend *b = NULL;
    pare_forward *f = NULL;
    pare_error err = {0};
    int32_t ids[8] = {1, 2, 3, 4, 5, 6, 7, VOCAB};
    float logits[8 * VOCAB];
    make_model(&m, &arch, &v);
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    CHECK_OK(pare_forward_open(&f, &m, b, 7, 1, &err), &err);
    CHECK(pare_forward_logits(f, 0, 0, 1, logits, &err) == PARE_ERR_USAGE); /* nothing ran yet */
    CHECK(pare_forward_run(f, ids, 1, 8, &err) == PARE_ERR_USAGE &&
          pare_forward_run(f, ids, 2, 7, &err) == PARE_ERR_USAGE);
    CHECK(pare_forward_run(f, ids + 4, 1, 4, &err) == PARE_ERR_RANGE && strstr(err.text, "id 30") != NULL);
    ids[7] = -1;
    CHECK(pare_forward_run(f, ids + 4, 1, 4, &err) == PARE_ERR_RANGE);
    CHECK_OK(pare_forward_run(f, ids, 1, 7, &err), &err);
    CHECK(pare_forward_logits(f, 0, 6, 2, logits, &err) == PARE_ERR_USAGE);
    CHECK(pare_forward_logits(f, 1, 0, 1, logits, &err) == PARE_ERR_USAGE);
    CHECK_OK(pare_forward_logits(f, 0, 6, 1, logits, &err), &err);
    CHECK(pare_forward_run_from(f, ids, 1, 7, 7, &err) == PARE_ERR_USAGE);
    CHECK_OK(pare_forward_run_from(f, ids, 1, 7, 5, &err), &err);
    CHECK(pare_forward_logits(f, 0, 4, 1, logits, &err) == PARE_ERR_USAGE && strstr(err.text, "from 5 on") != NULL);
    CHECK(pare_forward_logits_at(f, (const int32_t[]){6}, 1, logits, &err) == PARE_ERR_USAGE);
    CHECK_OK(pare_forward_logits(f, 0, 5, 2, logits, &err), &err);
    pare_forward_close(f);
    b->close(b);
    pare_model_close(&m);
}

static void refuses_wrong_extensions(void **state)
{
    (void)state;
    const variant v = {.name = "toy", .wiring = {.rope = PARE_ROPE_HALVES, .gated_ffn = true}};
    pare_model m;
    pare_arch arch;
    pare_backend *b = NULL;
    pare_forward *f = NULL;
    pare_cache c = {0};
    pare_error err = {0};
    const int32_t ids[8] = {1, 2, 3, 4, 5, 6, 7, VOCAB};
    float logits[2 * VOCAB];
    make_model(&m, &arch, &v);
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    CHECK_OK(pare_forward_open_tokens(&f, &m, b, 6, 5, &err), &err);
    CHECK(pare_cache_open(&c, f, 0, &err) == PARE_ERR_USAGE);
    CHECK_OK(pare_cache_open(&c, f, 2, &err), &err);
    CHECK(pare_cache_logits(&c, logits, &err) == PARE_ERR_USAGE); /* nothing ran yet */
    const pare_extension wrong[][2] = {
        {{2, 1, ids}, {0, 1, ids}}, /* no such sequence */
        {{1, 1, ids}, {1, 1, ids}}, /* twice */
        {{0, 0, ids}, {1, 1, ids}}, /* nothing */
        {{0, 3, ids}, {1, 3, ids}}, /* too many at once */
        {{0, 1, ids + 7}, {1, 1, ids}},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK(pare_cache_extend(&c, wrong[i], 2, &err) == (i < 4 ? PARE_ERR_USAGE : PARE_ERR_RANGE));
        CHECK(c.n[0] == 0 && c.n[1] == 0);
        CHECK(pare_cache_logits(&c, logits, &err) == PARE_ERR_USAGE);
    }
    CHECK_OK(pare_cache_extend(&c, &(pare_extension){0, 4, ids}, 1, &err), &err);
    CHECK(pare_cache_extend(&c, &(pare_extension){0, 3, ids}, 1, &err) == PARE_ERR_USAGE);
    CHECK(strstr(err.text, "3 tokens behind the 4 of sequence 0; the context holds 6") != NULL);
    CHECK_OK(pare_cache_cut(&c, 0, 5, &err), &err); /* no longer than it is */
    CHECK_OK(pare_cache_cut(&c, 9, 0, &err), &err);
    CHECK(c.n[0] == 4);
    CHECK(pare_cache_copy(&c, 0, 1, 5, &err) == PARE_ERR_USAGE && pare_cache_copy(&c, 0, 0, 1, &err) == PARE_ERR_USAGE);
    CHECK_OK(pare_forward_run(f, ids, 1, 5, &err), &err); /* whole sequences do not disturb the cache */
    CHECK(pare_cache_logits(&c, logits, &err) == PARE_ERR_USAGE);
    CHECK(c.n[0] == 4);
    pare_cache_close(&c);
    pare_forward_close(f);
    b->close(b);
    pare_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_wiring),
        cmocka_unit_test(a_large_batch_is_cut_into_slices),
        cmocka_unit_test(a_long_sequence_is_cut_into_slices),
        cmocka_unit_test(passes_share_a_workspace),
        cmocka_unit_test(says_what_it_cannot_compute),
        cmocka_unit_test(refuses_experts_that_do_not_fit),
        cmocka_unit_test(a_router_that_is_not_finite_ends_the_run),
        cmocka_unit_test(refuses_wrong_runs),
        cmocka_unit_test(refuses_wrong_extensions),
        cmocka_unit_test(every_family_of_the_table),
        cmocka_unit_test(llama_with_llama3_scaling),
        cmocka_unit_test(qwen3_in_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
