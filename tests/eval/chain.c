#include "chain.h"

#include "check.h"
#include "toy.h"

#include <math.h>
#include <string.h>

static const pare_arch chain_arch = {.name = "chain", .wiring = {.norm = PARE_NORM_RMS, .rope = PARE_ROPE_NONE}};

static void fill_vocab(chain *c, const chain_token *tokens, int n, uint32_t n_vocab)
{
    pare_error err = {0};
    pare_vocab *v = &c->m.vocab;
    pare_str *texts = pare_arena_alloc(&c->m.arena, n_vocab * sizeof *texts, &err);
    int32_t *types = pare_arena_alloc(&c->m.arena, n_vocab * sizeof *types, &err);
    float *scores = pare_arena_alloc(&c->m.arena, n_vocab * sizeof *scores, &err);
    CHECK(texts != NULL && types != NULL && scores != NULL);
    pare_vocab_init(v);
    for (uint32_t i = 0; i < n_vocab; i++) {
        texts[i] = (pare_str){tokens[i].text, strlen(tokens[i].text)};
        types[i] = (int32_t)tokens[i].type;
        if (strcmp(tokens[i].text, "<s>") == 0)
            v->bos = i;
        if (strcmp(tokens[i].text, "</s>") == 0)
            v->eos = i;
    }
    v->kind = PARE_VOCAB_SPM;
    v->n_tokens = n_vocab;
    v->unk = 0;
    v->tokens = texts;
    v->types = types;
    v->scores = scores;
    CHECK(n >= (int)n_vocab);
}

void chain_open(chain *c, const chain_token *tokens, int n, int n_vocab, uint32_t n_ctx)
{
    pare_error err = {0};
    uint64_t seed = 1, rows = (uint64_t)n;
    *c = (chain){.m = {.path = "chain", .arch = &chain_arch, .has_vocab = true}};
    c->m.hp = (pare_hparams){.n_vocab = (uint32_t)n,
                             .n_ctx_train = n_ctx,
                             .n_embd = (uint32_t)n,
                             .n_ff = 1,
                             .n_head = 1,
                             .n_head_kv = 1,
                             .head_dim_k = 2,
                             .head_dim_v = 2,
                             .norm_eps = 1e-6f};
    CHECK_OK(pare_model_reserve(&c->m, 8, &err), &err);
    toy_add(&c->m, &seed, "token_embd.weight", rows, rows, 0, 0);
    toy_add(&c->m, &seed, "output_norm.weight", 0, rows, 0, 1);
    toy_add(&c->m, &seed, "output.weight", rows, rows, 0, 0);
    float *in = toy_values(&c->m, "token_embd.weight"), *out = toy_values(&c->m, "output.weight");
    for (int i = 0; i < n; i++) {
        in[i * n + i] = tokens[i].next == CHAIN_NAN ? NAN : 1;
        if (tokens[i].next >= 0)
            out[tokens[i].next * n + i] = 2;
    }
    fill_vocab(c, tokens, n, (uint32_t)n_vocab);
    CHECK_OK(pare_tokenizer_open(&c->tokenizer, &c->m.vocab, &err), &err);
    CHECK_OK(pare_backend_cpu(&c->b, &err), &err);
}

void chain_close(chain *c)
{
    pare_tokenizer_close(c->tokenizer);
    c->b->close(c->b);
    c->m.vocab = (pare_vocab){0}; /* its arrays are the model's */
    pare_model_close(&c->m);
}
