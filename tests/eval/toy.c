#include "toy.h"

#include "check.h"

#include <stdio.h>
#include <string.h>

float toy_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u; /* Knuth, MMIX */
    return (float)(int32_t)(*state >> 32) / 2147483648.0f;
}

float *toy_array(uint64_t *state, size_t n, float scale)
{
    float *x = check_malloc((n > 0 ? n : 1) * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = scale * toy_random(state);
    return x;
}

pare_tensor toy_tensor(const char *name, const float *values, uint64_t n_rows, uint64_t row_len)
{
    pare_tensor t = {.name = name, .type = PARE_TYPE_F32, .data = (const uint8_t *)(const void *)values};
    pare_error err = {0};
    if (n_rows != 0)
        t.dim[t.n_dims++] = n_rows;
    t.dim[t.n_dims++] = row_len;
    CHECK_OK(pare_tensor_set_shape(&t, "toy", &err), &err);
    return t;
}

void toy_add(pare_model *m, uint64_t *state, const char *name, uint64_t n_rows, uint64_t row_len, float scale,
             float base)
{
    pare_error err = {0};
    size_t n = (size_t)(n_rows != 0 ? n_rows : 1) * row_len;
    float *values = pare_arena_alloc(&m->arena, n * sizeof *values, &err);
    CHECK(values != NULL);
    for (size_t i = 0; i < n; i++)
        values[i] = base + scale * toy_random(state);
    pare_tensor t = toy_tensor(name, values, n_rows, row_len);
    CHECK_OK(pare_model_add(m, &t, NULL, &err), &err);
}

void toy_add_stack(pare_model *m, uint64_t *state, const char *name, uint64_t n_matrices, uint64_t n_rows,
                   uint64_t row_len, float scale)
{
    pare_error err = {0};
    toy_add(m, state, name, n_matrices * n_rows, row_len, scale, 0);
    pare_tensor *t = (pare_tensor *)(uintptr_t)pare_model_find(m, name);
    t->n_dims = 3;
    t->dim[0] = n_matrices;
    t->dim[1] = n_rows;
    t->dim[2] = row_len;
    CHECK_OK(pare_tensor_set_shape(t, "toy", &err), &err);
}

float *toy_values(const pare_model *m, const char *name)
{
    const pare_tensor *t = pare_model_find(m, name);
    return t != NULL ? (float *)(uintptr_t)t->data : NULL;
}

void toy_llama_of(pare_model *m, uint32_t n_vocab, float noise, uint32_t n_head, uint32_t n_head_kv, uint32_t dim)
{
    const uint32_t n_q = n_head * dim, n_k = n_head_kv * dim;
    char name[64];
    pare_error err = {0};
    uint64_t seed = 11, noise_seed = 12;
    *m = (pare_model){.path = noise != 0 ? "noisy" : "toy", .arch = pare_arch_find("llama")};
    CHECK(m->arch != NULL);
    m->hp = (pare_hparams){.n_vocab = n_vocab,
                           .n_layer = 2,
                           .n_ctx_train = 64,
                           .n_embd = 24,
                           .n_ff = 20,
                           .n_head = n_head,
                           .n_head_kv = n_head_kv,
                           .head_dim_k = dim,
                           .head_dim_v = dim,
                           .n_rot = dim,
                           .norm_eps = 1e-5f,
                           .rope_base = 10000};
    CHECK_OK(pare_model_reserve(m, 32, &err), &err);
    toy_add(m, &seed, "token_embd.weight", n_vocab, 24, 1, 0);
    toy_add(m, &seed, "output_norm.weight", 0, 24, 0.1f, 1);
    toy_add(m, &seed, "output.weight", n_vocab, 24, 0.6f, 0);
    for (int i = 0; i < 2; i++) {
        const struct {
            const char *format;
            uint64_t n_rows, row_len;
            float base;
        } list[] = {{"blk.%d.attn_norm.weight", 0, 24, 1}, {"blk.%d.ffn_norm.weight", 0, 24, 1},
                    {"blk.%d.attn_q.weight", n_q, 24, 0},  {"blk.%d.attn_k.weight", n_k, 24, 0},
                    {"blk.%d.attn_v.weight", n_k, 24, 0},  {"blk.%d.attn_output.weight", 24, n_q, 0},
                    {"blk.%d.ffn_gate.weight", 20, 24, 0}, {"blk.%d.ffn_up.weight", 20, 24, 0},
                    {"blk.%d.ffn_down.weight", 24, 20, 0}};
        for (size_t k = 0; k < sizeof list / sizeof list[0]; k++) {
            snprintf(name, sizeof name, list[k].format, i);
            toy_add(m, &seed, name, list[k].n_rows, list[k].row_len, 0.4f, list[k].base);
            if (strstr(name, "ffn_") != NULL)
                for (uint64_t j = 0; j < (list[k].n_rows ? list[k].n_rows : 1) * list[k].row_len; j++)
                    toy_values(m, name)[j] += noise * toy_random(&noise_seed);
        }
    }
}

void toy_llama(pare_model *m, uint32_t n_vocab, float noise)
{
    toy_llama_of(m, n_vocab, noise, 4, 2, 6);
}

void toy_mixture(pare_model *m)
{
    enum { EMBD = 16, FF = 24, VOCAB = 20 };
    uint64_t seed = 8;
    pare_error err = {0};
    *m = (pare_model){.path = "toy", .arch = pare_arch_find("llama")};
    m->hp = (pare_hparams){.n_vocab = VOCAB,
                           .n_layer = 1,
                           .n_ctx_train = 64,
                           .n_embd = EMBD,
                           .n_ff = FF,
                           .n_expert = TOY_EXPERTS,
                           .n_expert_used = TOY_USED,
                           .n_ff_expert = FF,
                           .expert_norm = true,
                           .n_head = 2,
                           .n_head_kv = 2,
                           .head_dim_k = 8,
                           .head_dim_v = 8,
                           .n_rot = 8,
                           .norm_eps = 1e-5f,
                           .rope_base = 1e4f};
    CHECK_OK(pare_model_reserve(m, 16, &err), &err);
    toy_add(m, &seed, "token_embd.weight", VOCAB, EMBD, 1, 0);
    toy_add(m, &seed, "output_norm.weight", 0, EMBD, 0.1f, 1);
    toy_add(m, &seed, "blk.0.attn_norm.weight", 0, EMBD, 0.1f, 1);
    toy_add(m, &seed, "blk.0.ffn_norm.weight", 0, EMBD, 0.1f, 1);
    toy_add(m, &seed, "blk.0.attn_qkv.weight", 3 * EMBD, EMBD, 0.3f, 0);
    toy_add(m, &seed, "blk.0.attn_output.weight", EMBD, EMBD, 0, 0);
    toy_add(m, &seed, "blk.0.ffn_gate_inp.weight", TOY_EXPERTS, EMBD, 1, 0);
    toy_add_stack(m, &seed, "blk.0.ffn_gate_exps.weight", TOY_EXPERTS, FF, EMBD, 0.5f);
    toy_add_stack(m, &seed, "blk.0.ffn_up_exps.weight", TOY_EXPERTS, FF, EMBD, 0.5f);
    toy_add_stack(m, &seed, "blk.0.ffn_down_exps.weight", TOY_EXPERTS, EMBD, FF, 0.5f);
}

size_t toy_downloaded;

static pare_status count_download(pare_backend *b, void *dst, const void *src, size_t bytes, pare_error *err)
{
    toy_downloaded += bytes;
    return b->copy(b, dst, src, bytes, err);
}

void toy_pretend_device(pare_backend *b)
{
    toy_downloaded = 0;
    b->host_memory = false;
    b->download = count_download;
}
