#include "induction.h"

#include "check.h"
#include "toy.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The residual: the token's code; those of the tokens 1 .. MATCH before it; what is copied; a one. RoPE's base is 1e16:
 * the first TURNING elements of a head turn by 1 to 0.003 a token, those from STILL on by less than 1e-4. */
enum {
    DIM = 64,
    MATCH = 4,
    COPY = (MATCH + 1) * DIM,
    ONE = COPY + DIM,
    WIDTH = ONE + 8,
    TURNING = 12,
    STILL = 18,
};

static float *row(float *matrix, int head, int element)
{
    return matrix + (size_t)(head * DIM + element) * WIDTH;
}

/* A new tensor, all zero. */
static float *zeros(pare_model *m, int layer, const char *name, uint64_t n_rows, uint64_t row_len)
{
    char full[64];
    uint64_t seed = 1;
    snprintf(full, sizeof full, "blk.%d.%s.weight", layer, name);
    toy_add(m, &seed, full, n_rows, row_len, 0, 0);
    return toy_values(m, full);
}

typedef struct attention {
    float *q, *k, *v, *out;
} attention;

static attention add_layer(pare_model *m, int layer)
{
    static const char *const norms[] = {"attn_norm", "ffn_norm"};
    const int all = MATCH * DIM;
    for (int i = 0; i < 2; i++) {
        float *gain = zeros(m, layer, norms[i], 0, WIDTH);
        for (int j = 0; j < WIDTH; j++)
            gain[j] = 1;
    }
    zeros(m, layer, "ffn_gate", 1, WIDTH);
    zeros(m, layer, "ffn_up", 1, WIDTH);
    zeros(m, layer, "ffn_down", WIDTH, 1);
    return (attention){.q = zeros(m, layer, "attn_q", all, WIDTH),
                       .k = zeros(m, layer, "attn_k", all, WIDTH),
                       .v = zeros(m, layer, "attn_v", all, WIDTH),
                       .out = zeros(m, layer, "attn_output", WIDTH, all)};
}

/* A head whose values are the token's code, times a factor, and go to the residual from `to` on. norm: of the residual.
 */
static void carry(attention *a, int head, int to, float factor, float norm)
{
    for (int i = 0; i < DIM; i++) {
        row(a->v, head, i)[i] = factor * norm;
        a->out[(size_t)(to + i) * MATCH * DIM + head * DIM + i] = 1;
    }
}

/* Head h finds the token h + 1 back: constant keys and queries, whose pairs are in phase at that distance. */
static void find_by_distance(attention *a, float norm)
{
    for (int h = 0; h < MATCH; h++) {
        for (int p = 0; p < TURNING / 2; p++) {
            const double turn = pow(10, -p / 2.0);
            const float size = (float)sqrt(80 * sqrt(turn)); /* the next token's score is 5 lower */
            row(a->k, h, 2 * p)[ONE] = size * norm;
            row(a->q, h, 2 * p)[ONE] = size * norm * (float)cos(-(h + 1) * turn);
            row(a->q, h, 2 * p + 1)[ONE] = size * norm * (float)sin(-(h + 1) * turn);
        }
        carry(a, h, (h + 1) * DIM, 1, norm);
    }
}

/* Every head compares the MATCH tokens before a place with the last ones, each through a random matrix of its own. */
static void find_by_words(attention *a, float norm)
{
    const float scale = (float)sqrt(5 * sqrt(DIM) / (DIM - STILL)); /* the score is 5 for a token that matches */
    uint64_t seed = 3;
    for (int h = 0; h < MATCH; h++) {
        for (int i = STILL; i < DIM; i++)
            for (int j = 0; j < MATCH * DIM; j++) {
                const float x = toy_random(&seed) > 0 ? scale * norm : -scale * norm;
                row(a->q, h, i)[j] = x;
                row(a->k, h, i)[j + DIM] = x;
            }
        carry(a, h, COPY, 1.0f / MATCH, norm);
    }
}

void induction_open(pare_model *m, uint32_t n_vocab)
{
    pare_error err = {0};
    uint64_t seed = 1;
    *m = (pare_model){.path = "induction", .arch = pare_arch_find("llama")};
    m->hp = (pare_hparams){.n_vocab = n_vocab,
                           .n_layer = 2,
                           .n_ctx_train = 512,
                           .n_embd = WIDTH,
                           .n_ff = 1,
                           .n_head = MATCH,
                           .n_head_kv = MATCH,
                           .head_dim_k = DIM,
                           .head_dim_v = DIM,
                           .n_rot = DIM,
                           .norm_eps = 1e-6f,
                           .rope_base = 1e16f};
    CHECK_OK(pare_model_reserve(m, 24, &err), &err);
    toy_add(m, &seed, "token_embd.weight", n_vocab, WIDTH, 0, 0);
    toy_add(m, &seed, "output_norm.weight", 0, WIDTH, 0, 1);
    toy_add(m, &seed, "output.weight", n_vocab, WIDTH, 0, 0);
    float *in = toy_values(m, "token_embd.weight"), *out = toy_values(m, "output.weight");
    for (uint32_t i = 0; i < n_vocab; i++) {
        in[(size_t)i * WIDTH + ONE] = 1;
        for (int j = 0; j < DIM; j++) { /* codes of length 1 */
            const float x = toy_random(&seed) > 0 ? 0.125f : -0.125f;
            in[(size_t)i * WIDTH + j] = x;
            out[(size_t)i * WIDTH + COPY + j] = 2 * x;
        }
    }
    attention first = add_layer(m, 0), second = add_layer(m, 1);
    find_by_distance(&first, (float)sqrt(2.0 / WIDTH));         /* a code and a one */
    find_by_words(&second, (float)sqrt((2.0 + MATCH) / WIDTH)); /* MATCH codes more */
}
