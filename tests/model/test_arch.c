#include "check.h"
#include "model/model.h"
#include "model/view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pare_str str(const char *text)
{
    return (pare_str){text, strlen(text)};
}

/* Metadata of a llama of two layers: width 8, two heads, one kv head, 16 tokens. */
static void fill_meta(pare_meta *m)
{
    static const struct {
        const char *key;
        uint32_t v;
    } counts[] = {{"llama.block_count", 2},          {"llama.context_length", 64},
                  {"llama.embedding_length", 8},     {"llama.feed_forward_length", 12},
                  {"llama.attention.head_count", 2}, {"llama.attention.head_count_kv", 1},
                  {"llama.vocab_size", 16},          {"llama.rope.dimension_count", 4}};
    pare_error err = {0};
    CHECK_OK(pare_meta_set_str(m, "general.architecture", str("llama"), &err), &err);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        CHECK_OK(pare_meta_set_u32(m, counts[i].key, counts[i].v, &err), &err);
    CHECK_OK(pare_meta_set_f32(m, "llama.attention.layer_norm_rms_epsilon", 1e-5f, &err), &err);
}

static pare_status read_hparams(const pare_meta *m, pare_hparams *hp, pare_error *err)
{
    return pare_hparams_from_meta(hp, pare_arch_find("llama"), m, "t.gguf", err);
}

/* ---- the table ---- */

/* A tensor of the Hub is one weight, or as many as its rows say, each with an index of its own. */
static void check_shares(const pare_arch *arch, const pare_arch_weight *w)
{
    const pare_hf_share share = pare_arch_share(w);
    unsigned seen = 0, n = 0;
    if (w->hf == NULL)
        return;
    for (size_t i = 0; i < arch->n_weights; i++) {
        const pare_arch_weight *other = &arch->weights[i];
        if (other->hf == NULL || strcmp(other->hf, w->hf) != 0)
            continue;
        if (((w->flags ^ other->flags) &
             (PARE_IF_KV_WHOLE | PARE_IF_KV_SPLIT | PARE_IF_EXPERTS_APART | PARE_IF_EXPERTS_FUSED)) != 0)
            continue; /* a model has the one or the others */
        CHECK(pare_arch_share(other).count == share.count && pare_arch_share(other).in_turn == share.in_turn);
        CHECK(share.count == 0 || other->map != PARE_MAP_STACK);
        CHECK(other->map == w->map || (w->map == PARE_MAP_LATENT_K && other->map == PARE_MAP_LATENT_V) ||
              (w->map == PARE_MAP_LATENT_V && other->map == PARE_MAP_LATENT_K));
        seen |= 1u << pare_arch_share(other).index;
        n++;
    }
    CHECK(share.count == 0 ? n == 1 : n == share.count && seen == (1u << share.count) - 1);
}

/* Of the rows of a weight one at most is for each kind of model. */
static void check_once(const pare_arch *arch, const pare_arch_weight *w)
{
    for (unsigned kind = 0; kind < 8; kind++) {
        const pare_hparams hp = {
            .norm_pair = kind & 1, .qk_norm = (kind & 2) != 0, .residual_in_turn = (kind & 4) != 0};
        for (const pare_arch_weight *other = w + 1; other < arch->weights + arch->n_weights; other++)
            CHECK(other->id != w->id || !pare_arch_applies(w, &hp) || !pare_arch_applies(other, &hp));
    }
}

/* What stock's loader wants, or has no place for, may be there or not. */
static void check_stock(const pare_arch_weight *w)
{
    CHECK(!(w->flags & PARE_STOCK_WANTS) || (w->flags & (PARE_WEIGHT_OPTIONAL | PARE_OWN_KEYS)));
    CHECK(!(w->flags & (PARE_STOCK_WANTS_BIAS | PARE_STOCK_LACKS_BIAS)) ||
          (pare_arch_allows(w, true) && !(w->flags & PARE_BIAS_REQUIRED)));
    CHECK(!(w->flags & PARE_STOCK_WANTS_BIAS) || !(w->flags & PARE_STOCK_LACKS_BIAS));
}

static void describes_every_family_once(void **state)
{
    (void)state;
    char name[128], other[128];
    for (size_t i = 0; pare_arch_at(i) != NULL; i++) {
        const pare_arch *arch = pare_arch_at(i);
        const pare_hf_class *class = NULL;
        CHECK(pare_arch_find(arch->name) == arch);
        CHECK(pare_arch_find_class(arch->hf_classes[0].name, &class) == arch && class == arch->hf_classes);
        CHECK(
            pare_arch_weight_of(arch, PARE_W_TOKEN_EMBD) != NULL &&
            (arch->wiring.encoder || arch->wiring.bare_norms || pare_arch_weight_of(arch, PARE_W_OUTPUT_NORM) != NULL));
        for (size_t k = 0; k < arch->n_weights; k++) {
            const pare_arch_weight *w = &arch->weights[k];
            check_once(arch, w);
            CHECK((w->hf == NULL) == ((w->flags & PARE_WEIGHT_MADE) != 0));
            CHECK(w->hf == NULL || (strstr(w->hf, "%e") != NULL) == (w->map == PARE_MAP_STACK));
            CHECK(w->map != PARE_MAP_STACK ||
                  ((w->dim[0] == PARE_DIM_EXPERT || w->dim[0] == PARE_DIM_STREAM_MORE) && w->dim[2] != PARE_DIM_NONE) ||
                  ((w->dim[0] == PARE_DIM_HEAD || w->dim[0] == PARE_DIM_HEAD_KV) && w->dim[1] == PARE_DIM_HEAD_K));
            CHECK(w->dim[0] != PARE_DIM_NONE);
            check_stock(w);
            check_shares(arch, w);
            if (w->hf != NULL) { /* one Hub tensor a layer exactly where GGUF has one */
                pare_arch_hf_name(name, sizeof name, w, 0, 0, false);
                pare_arch_hf_name(other, sizeof other, w, 1, 0, false);
                CHECK((strcmp(name, other) != 0) == pare_weight_per_layer(w->id));
            }
        }
    }
    CHECK(pare_arch_find("nothing") == NULL && pare_arch_find_class("NothingForCausalLM", NULL) == NULL);
}

static void names_weights(void **state)
{
    (void)state;
    char name[128];
    CHECK(strcmp(pare_weight_name(name, sizeof name, PARE_W_ATTN_Q, 12, "bias"), "blk.12.attn_q.bias") == 0);
    CHECK(strcmp(pare_weight_name(name, sizeof name, PARE_W_TOKEN_EMBD, 12, "weight"), "token_embd.weight") == 0);
    const pare_arch_weight *q = pare_arch_weight_of(pare_arch_find("llama"), PARE_W_ATTN_Q);
    CHECK(strcmp(pare_arch_hf_name(name, sizeof name, q, 7, 0, false), "model.layers.7.self_attn.q_proj.weight") == 0);
}

/* ---- hyperparameters ---- */

static void reads_hyperparameters(void **state)
{
    (void)state;
    pare_meta m = {0};
    pare_hparams hp;
    pare_error err = {0};
    fill_meta(&m);
    CHECK_OK(read_hparams(&m, &hp, &err), &err);
    CHECK(hp.n_layer == 2 && hp.n_embd == 8 && hp.n_ff == 12 && hp.n_head == 2 && hp.n_head_kv == 1 &&
          hp.n_vocab == 16);
    CHECK(hp.head_dim_k == 4 && hp.head_dim_v == 4 && hp.n_rot == 4 && hp.norm_eps == 1e-5f &&
          hp.rope_base == 10000.0f);
    CHECK(hp.rope_scaling == PARE_ROPE_PLAIN && hp.window == 0);
    CHECK_OK(pare_meta_set_str(&m, "llama.rope.scaling.type", str("linear"), &err), &err);
    CHECK_OK(pare_meta_set_f32(&m, "llama.rope.scaling.factor", 4.0f, &err), &err);
    const uint32_t same[2] = {1, 1};
    CHECK_OK(pare_meta_set_array(&m, "llama.attention.head_count_kv", PARE_META_U32, same, 2, &err), &err);
    CHECK_OK(read_hparams(&m, &hp, &err), &err);
    CHECK(hp.rope_scaling == PARE_ROPE_LINEAR && hp.rope_factor == 4.0f && hp.n_head_kv == 1);
    pare_meta_close(&m);
}

static void refuses_bad_counts(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        uint32_t v;
        pare_status wanted;
        const char *words;
    } rows[] = {
        {"llama.block_count", 0, PARE_ERR_RANGE, "block_count"},
        {"llama.block_count", 1000000, PARE_ERR_RANGE, "block_count"},
        {"llama.block_count", UINT32_MAX, PARE_ERR_RANGE, "block_count"},
        {"llama.attention.head_count", 0, PARE_ERR_RANGE, "head_count"},
        {"llama.attention.head_count_kv", 0, PARE_ERR_RANGE, "head_count_kv"},
        {"llama.attention.head_count_kv", 3, PARE_ERR_RANGE, "3 key/value heads"},
        {"llama.attention.head_count", 3, PARE_ERR_RANGE, "8"},
        {"llama.embedding_length", 0, PARE_ERR_RANGE, "embedding_length"},
        {"llama.feed_forward_length", UINT32_MAX, PARE_ERR_RANGE, "feed_forward_length"},
        {"llama.context_length", 0, PARE_ERR_RANGE, "context_length"},
        {"llama.vocab_size", UINT32_MAX, PARE_ERR_RANGE, "vocab_size"},
        {"llama.attention.key_length", 0, PARE_ERR_RANGE, "key_length"},
        {"llama.rope.dimension_count", 3, PARE_ERR_RANGE, "even"},
        {"llama.rope.dimension_count", 6, PARE_ERR_RANGE, "heads of 4"},
        {"llama.rope.dimension_count", 2, PARE_ERR_RANGE, "dimension_count"},
        {"llama.expert_used_count", 2, PARE_ERR_RANGE, "expert_used_count"},
        {"llama.expert_count", 8, PARE_ERR_RANGE, "0 of 8 experts"},
        {"llama.expert_count", UINT32_MAX, PARE_ERR_RANGE, "expert_count"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pare_meta m = {0};
        pare_hparams hp;
        pare_error err = {0};
        fill_meta(&m);
        CHECK_OK(pare_meta_set_u32(&m, rows[i].key, rows[i].v, &err), &err);
        pare_status st = read_hparams(&m, &hp, &err);
        if (st != rows[i].wanted || strstr(err.text, rows[i].words) == NULL || strstr(err.text, "t.gguf") == NULL)
            fail_msg("%s = %u: status %d, '%s'", rows[i].key, rows[i].v, (int)st, err.text);
        pare_meta_close(&m);
    }
}

/* Metadata of a qwen3moe or qwen2moe, changed by one key (v 0: left out). */
static pare_status read_mixture(const char *arch, const char *changed, uint32_t v, pare_hparams *hp, pare_error *err)
{
    static const struct {
        const char *suffix;
        uint32_t v;
    } counts[] = {{"block_count", 2},          {"context_length", 64},      {"embedding_length", 8},
                  {"feed_forward_length", 12}, {"attention.head_count", 2}, {"vocab_size", 16},
                  {"expert_count", 4},         {"expert_used_count", 2}};
    pare_meta m = {0};
    char key[96];
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        snprintf(key, sizeof key, "%s.%s", arch, counts[i].suffix);
        if (strcmp(counts[i].suffix, changed) != 0)
            CHECK_OK(pare_meta_set_u32(&m, key, counts[i].v, err), err);
    }
    snprintf(key, sizeof key, "%s.%s", arch, changed);
    if (v > 0)
        CHECK_OK(pare_meta_set_u32(&m, key, v, err), err);
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", arch);
    CHECK_OK(pare_meta_set_f32(&m, key, 1e-6f, err), err);
    pare_status st = pare_hparams_from_meta(hp, pare_arch_find(arch), &m, "t.gguf", err);
    pare_meta_close(&m);
    return st;
}

static void reads_the_numbers_of_experts(void **state)
{
    (void)state;
    pare_hparams hp;
    pare_error err = {0};
    CHECK_OK(read_mixture("qwen3moe", "", 0, &hp, &err), &err);
    CHECK(hp.n_expert == 4 && hp.n_expert_used == 2 && hp.n_ff_expert == 6 && hp.n_ff_shared == 0 && hp.expert_norm);
    CHECK_OK(read_mixture("qwen2moe", "expert_feed_forward_length", 5, &hp, &err), &err);
    CHECK(hp.n_ff_expert == 5 && hp.n_ff_shared == 12 && !hp.expert_norm);
    CHECK_OK(read_mixture("qwen2moe", "expert_shared_feed_forward_length", 7, &hp, &err), &err);
    CHECK(hp.n_ff_expert == 6 && hp.n_ff_shared == 7);
    CHECK_OK(read_mixture("llama", "", 0, &hp, &err), &err);
    CHECK(hp.n_ff_expert == 12 && hp.expert_norm);
    static const struct {
        const char *arch, *key;
        uint32_t v;
        pare_status wanted;
    } bad[] = {{"qwen3moe", "expert_count", 0, PARE_ERR_FORMAT},
               {"qwen3moe", "expert_count", 1, PARE_ERR_RANGE}, /* two are used */
               {"qwen3moe", "expert_count", 1 << 20, PARE_ERR_RANGE},
               {"qwen3moe", "expert_used_count", 5, PARE_ERR_RANGE},
               {"qwen3moe", "expert_used_count", 0, PARE_ERR_RANGE},
               {"qwen3moe", "expert_feed_forward_length", UINT32_MAX, PARE_ERR_RANGE},
               {"llama", "expert_count", 0, PARE_ERR_RANGE}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (read_mixture(bad[i].arch, bad[i].key, bad[i].v, &hp, &err) != bad[i].wanted ||
            strstr(err.text, "expert") == NULL)
            fail_msg("%s.%s = %u: '%s'", bad[i].arch, bad[i].key, bad[i].v, err.text);
}

static void refuses_missing_keys(void **state)
{
    (void)state;
    static const char *const keys[] = {"llama.block_count",          "llama.context_length",
                                       "llama.embedding_length",     "llama.feed_forward_length",
                                       "llama.attention.head_count", "llama.attention.layer_norm_rms_epsilon"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        pare_meta m = {0};
        pare_hparams hp;
        pare_error err = {0};
        fill_meta(&m);
        CHECK(pare_meta_remove(&m, keys[i]));
        CHECK(read_hparams(&m, &hp, &err) == PARE_ERR_FORMAT && strstr(err.text, keys[i]) != NULL);
        pare_meta_close(&m);
    }
}

static void refuses_bad_floats(void **state)
{
    (void)state;
    static const char *const keys[] = {"llama.attention.layer_norm_rms_epsilon", "llama.rope.freq_base",
                                       "llama.rope.scaling.factor"};
    const float bad[] = {NAN, INFINITY, -INFINITY, 0.0f, -1.0f};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            pare_meta m = {0};
            pare_hparams hp;
            pare_error err = {0};
            fill_meta(&m);
            CHECK_OK(pare_meta_set_f32(&m, keys[k], bad[i], &err), &err);
            CHECK(read_hparams(&m, &hp, &err) == PARE_ERR_RANGE && strstr(err.text, keys[k]) != NULL);
            pare_meta_close(&m);
        }
}

static void refuses_bad_layer_arrays(void **state)
{
    (void)state;
    static const uint32_t three[3] = {2, 2, 2}, zero[2] = {2, 0}, differ[2] = {2, 1};
    static const int32_t negative[2] = {2, -2};
    static const struct {
        pare_meta_type elem;
        const void *data;
        size_t n;
        pare_status wanted;
    } rows[] = {
        {PARE_META_U32, three, 3, PARE_ERR_RANGE}, {PARE_META_U32, three, 1, PARE_ERR_RANGE},
        {PARE_META_U32, zero, 2, PARE_ERR_RANGE},  {PARE_META_I32, negative, 2, PARE_ERR_RANGE},
        {PARE_META_F32, three, 2, PARE_ERR_RANGE}, {PARE_META_U32, differ, 2, PARE_ERR_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pare_meta m = {0};
        pare_hparams hp;
        pare_error err = {0};
        fill_meta(&m);
        CHECK_OK(pare_meta_set_array(&m, "llama.attention.head_count", rows[i].elem, rows[i].data, rows[i].n, &err),
                 &err);
        CHECK(read_hparams(&m, &hp, &err) == rows[i].wanted && strstr(err.text, "head_count") != NULL);
        pare_meta_close(&m);
    }
}

static void names_an_unknown_rope_scaling(void **state)
{
    (void)state;
    pare_meta m = {0};
    pare_hparams hp;
    pare_error err = {0};
    fill_meta(&m);
    CHECK_OK(pare_meta_set_str(&m, "llama.rope.scaling.type", str("spiral"), &err), &err);
    CHECK(read_hparams(&m, &hp, &err) == PARE_ERR_UNSUPPORTED && strstr(err.text, "spiral") != NULL);
    pare_meta_close(&m);
}

/* ---- a model against its description ---- */

static const uint8_t zeros[4096];

static void add(pare_model *m, const char *name, uint64_t rows, uint64_t cols)
{
    pare_error err = {0};
    pare_tensor t = {
        .name = name, .type = PARE_TYPE_F32, .n_dims = cols > 0 ? 2 : 1, .dim = {rows, cols}, .data = zeros};
    CHECK_OK(pare_tensor_set_shape(&t, "t.gguf", &err), &err);
    CHECK_OK(pare_model_add(m, &t, NULL, &err), &err);
}

/* A model with every weight that llama needs, but skip. */
static void make_model(pare_model *m, const char *skip, uint32_t n_layer)
{
    pare_error err = {0};
    char name[128];
    *m = (pare_model){.path = "t.gguf", .arch = pare_arch_find("llama")};
    fill_meta(&m->meta);
    CHECK_OK(read_hparams(&m->meta, &m->hp, &err), &err);
    CHECK_OK(pare_model_reserve(m, 64, &err), &err);
    for (size_t i = 0; i < m->arch->n_weights; i++) {
        const pare_arch_weight *w = &m->arch->weights[i];
        for (uint32_t layer = 0; layer < (pare_weight_per_layer(w->id) ? n_layer : 1); layer++) {
            pare_weight_name(name, sizeof name, w->id, layer, "weight");
            if (pare_arch_requires(w, &m->hp, layer, false) && (skip == NULL || strcmp(name, skip) != 0))
                add(m, name, pare_dim_size(w->dim[0], &m->hp, layer),
                    w->dim[1] == PARE_DIM_NONE ? 0 : pare_dim_size(w->dim[1], &m->hp, layer));
        }
    }
}

static void check_fails(pare_model *m, pare_status wanted, const char *words)
{
    pare_error err = {0};
    pare_status st = pare_arch_check(m, &err);
    if (st != wanted || strstr(err.text, words) == NULL)
        fail_msg("status %d, '%s'; wanted %d and '%s'", (int)st, err.text, (int)wanted, words);
    pare_model_close(m);
}

static void checks_the_weights(void **state)
{
    (void)state;
    pare_model m;
    pare_error err = {0};
    make_model(&m, NULL, 2);
    CHECK_OK(pare_arch_check(&m, &err), &err);
    CHECK(m.hp.tied_output);
    add(&m, "output.weight", 16, 8);
    CHECK_OK(pare_arch_check(&m, &err), &err);
    CHECK(!m.hp.tied_output);
    pare_model_close(&m);

    make_model(&m, "blk.1.ffn_up.weight", 2);
    check_fails(&m, PARE_ERR_FORMAT, "'blk.1.ffn_up.weight'");
    make_model(&m, NULL, 1); /* fewer layers than block_count */
    check_fails(&m, PARE_ERR_FORMAT, "'blk.1.attn_q.weight'");
    make_model(&m, NULL, 3); /* more */
    check_fails(&m, PARE_ERR_RANGE, "blk.2.");
    make_model(&m, NULL, 2);
    add(&m, "blk.18446744073709551616.attn_q.weight", 8, 8);
    check_fails(&m, PARE_ERR_RANGE, "block_count");
    make_model(&m, "blk.0.attn_k.weight", 2);
    add(&m, "blk.0.attn_k.weight", 8, 8);
    check_fails(&m, PARE_ERR_RANGE, "[8, 8], the hyperparameters want [4, 8]");
    make_model(&m, "token_embd.weight", 2);
    add(&m, "token_embd.weight", 17, 8);
    check_fails(&m, PARE_ERR_RANGE, "17 rows");
    make_model(&m, "output_norm.weight", 2);
    add(&m, "output_norm.weight", 0, 0);
    check_fails(&m, PARE_ERR_RANGE, "output_norm.weight");
}

static void wants_experts_or_a_dense_ffn(void **state)
{
    (void)state;
    const pare_arch *llama = pare_arch_find("llama");
    const pare_hparams dense = {0}, mixture = {.n_expert = 8, .n_expert_used = 2};
    const pare_arch_weight *up = pare_arch_weight_of(llama, PARE_W_FFN_UP),
                           *exps = pare_arch_weight_of(llama, PARE_W_FFN_UP_EXPS);
    CHECK(pare_arch_requires(up, &dense, 0, false) && !pare_arch_requires(up, &mixture, 0, false));
    CHECK(!pare_arch_requires(exps, &dense, 0, false) && pare_arch_requires(exps, &mixture, 0, false));
}

static void guesses_counts_of_an_unknown_architecture(void **state)
{
    (void)state;
    static const uint32_t heads[2] = {6, 8};
    pare_meta m = {0};
    pare_hparams hp;
    pare_error err = {0};
    CHECK_OK(pare_meta_set_u32(&m, "x.block_count", 3, &err), &err);
    CHECK_OK(pare_meta_set_array(&m, "x.attention.head_count", PARE_META_U32, heads, 2, &err), &err);
    CHECK_OK(pare_meta_set_str(&m, "x.attention.head_count_kv", str("four"), &err), &err);
    pare_hparams_guess(&hp, "x", &m);
    CHECK(hp.n_layer == 3 && hp.n_head == 6 && hp.n_head_kv == 0 && hp.n_expert == 0);
    pare_meta_close(&m);
}

static char warned[256];

static void keep_warning(const char *text, void *user)
{
    (void)user;
    snprintf(warned, sizeof warned, "%s", text);
}

static void warns_of_tensors_it_does_not_know(void **state)
{
    (void)state;
    pare_model m;
    pare_error err = {0};
    make_model(&m, NULL, 2);
    add(&m, "blk.0.attn_sparkle.weight", 8, 0);
    pare_set_warn_sink(keep_warning, NULL);
    CHECK_OK(pare_arch_check(&m, &err), &err);
    pare_set_warn_sink(NULL, NULL);
    CHECK(strstr(warned, "1 of 21 tensors") != NULL);
    pare_model_close(&m);
}

/* ---- llama3 RoPE ---- */

/* Bits that stock's converter writes (PyTorch, which divides a number by a tensor in two roundings). */
static void divisors_are_those_of_stock(void **state)
{
    (void)state;
    static const struct {
        pare_hparams hp;
        uint32_t bits[4];
    } rows[] = {
        {{.n_rot = 24, .rope_base = 10000.0f, .rope_llama3 = {8, 1, 4, 64}},
         {0x3f800000, 0x3f800000, 0x400731c0, 0x40f55b38}},
        {{.n_rot = 20, .rope_base = 20000.0f, .rope_llama3 = {7, 1.5, 6, 100}},
         {0x3f800000, 0x3f823024, 0x40686145, 0x40e00000}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        float factors[12];
        pare_rope_llama3_factors(&rows[i].hp, factors);
        CHECK(memcmp(factors, rows[i].bits, sizeof rows[i].bits) == 0);
    }
}

static void finds_the_scaling_behind_divisors(void **state)
{
    (void)state;
    pare_hparams hp = {.n_rot = 128, .rope_base = 500000.0f, .rope_llama3 = {32, 1, 4, 8192}};
    pare_rope_llama3 found;
    float factors[64];
    pare_rope_llama3_factors(&hp, factors);
    CHECK(factors[0] == 1.0f && factors[63] == 32.0f);
    CHECK(pare_rope_llama3_find(&hp, factors, &found));
    CHECK(found.factor == 32 && found.low == 1 && found.high == 4 && found.ctx_orig == 8192);
    factors[30] *= 1.0000001f; /* the last bit is no other scaling */
    CHECK(pare_rope_llama3_find(&hp, factors, &found) && found.ctx_orig == 8192);
    factors[30] *= 1.001f;
    CHECK(!pare_rope_llama3_find(&hp, factors, &found));
}

/* ---- views ---- */

static void splits_fused_heads_both_ways(void **state)
{
    (void)state;
    /* Two kv heads with two q heads each, heads of 2: groups q0 q1 k0 v0 | q2 q3 k1 v1 */
    static const int heads[8] = {0, 1, 4, 5, 2, 6, 3, 7};
    const pare_hparams hp = {.n_head = 4, .n_head_kv = 2, .head_dim_k = 2, .head_dim_v = 2};
    float x[16], y[16], z[16];
    for (int i = 0; i < 16; i++)
        x[i] = (float)i;
    for (uint32_t n_dims = 1; n_dims <= 2; n_dims++) { /* a bias, then a weight of one column */
        pare_tensor t = {.name = "qkv", .type = PARE_TYPE_F32, .n_dims = n_dims, .data = (const uint8_t *)x}, parts,
                    back;
        pare_arena arena = {0};
        pare_error err = {0};
        t.dim[0] = 16;
        t.dim[1] = 1;
        CHECK_OK(pare_tensor_set_shape(&t, "x", &err), &err);
        CHECK_OK(pare_view_qkv(&arena, &parts, &t, &hp, true, &err), &err);
        CHECK_OK(pare_view_qkv(&arena, &back, &parts, &hp, false, &err), &err);
        CHECK_OK(pare_tensor_read(&parts, 0, t.n_rows, y, &err), &err);
        CHECK_OK(pare_tensor_read(&back, 0, t.n_rows, z, &err), &err);
        for (int i = 0; i < 16; i++)
            CHECK(y[i] == (float)(2 * heads[i / 2] + i % 2) && z[i] == x[i]);
        const pare_hparams other = {.n_head = 4, .n_head_kv = 4, .head_dim_k = 2, .head_dim_v = 2};
        CHECK(pare_view_qkv(&arena, &parts, &t, &other, true, &err) == PARE_ERR_RANGE);
        pare_arena_close(&arena);
    }
}

static void reorders_rows_both_ways(void **state)
{
    (void)state;
    float x[12 * 2];
    for (int i = 0; i < 24; i++)
        x[i] = (float)i;
    pare_tensor t = {.name = "q", .type = PARE_TYPE_F32, .n_dims = 2, .dim = {12, 2}, .data = (const uint8_t *)x},
                pairs, back;
    pare_arena arena = {0};
    pare_error err = {0};
    float y[24] = {0}, z[24] = {0};
    static const int order[6] = {0, 3, 1, 4, 2, 5}; /* heads of 6: halves 0 1 2 | 3 4 5 */
    CHECK_OK(pare_tensor_set_shape(&t, "x", &err), &err);
    CHECK_OK(pare_view_rope(&arena, &pairs, &t, 6, true, &err), &err);
    CHECK_OK(pare_tensor_read(&pairs, 0, 12, y, &err), &err);
    for (int r = 0; r < 12; r++)
        CHECK(y[2 * r] == (float)(2 * (r / 6 * 6 + order[r % 6])));
    CHECK_OK(pare_tensor_read(&pairs, 7, 1, z, &err), &err); /* any row alone */
    CHECK(memcmp(z, y + 14, 2 * sizeof *z) == 0);
    CHECK_OK(pare_view_rope(&arena, &back, &pairs, 6, false, &err), &err);
    CHECK_OK(pare_tensor_read(&back, 0, 12, z, &err), &err);
    CHECK(memcmp(z, x, sizeof x) == 0);
    CHECK(pare_view_rope(&arena, &back, &t, 5, true, &err) == PARE_ERR_RANGE);
    CHECK(pare_view_rope(&arena, &back, &t, 8, true, &err) == PARE_ERR_RANGE);
    pare_tensor bias = {.name = "b", .type = PARE_TYPE_F32, .n_dims = 1, .dim = {12}, .data = (const uint8_t *)x};
    CHECK_OK(pare_tensor_set_shape(&bias, "x", &err), &err);
    CHECK_OK(pare_view_rope(&arena, &pairs, &bias, 6, true, &err), &err);
    CHECK_OK(pare_tensor_read(&pairs, 0, 1, y, &err), &err);
    for (int r = 0; r < 12; r++)
        CHECK(y[r] == (float)(r / 6 * 6 + order[r % 6]));
    pare_arena_close(&arena);
}

static void transposes_adds_and_casts(void **state)
{
    (void)state;
    const float x[6] = {1, 2, 3, 4, 5, 6};
    pare_tensor t = {.name = "w", .type = PARE_TYPE_F32, .n_dims = 2, .dim = {2, 3}, .data = (const uint8_t *)x}, v;
    pare_arena arena = {0};
    pare_error err = {0};
    float y[6] = {0};
    static const float turned[6] = {1, 4, 2, 5, 3, 6};
    CHECK_OK(pare_tensor_set_shape(&t, "x", &err), &err);
    CHECK_OK(pare_view_transpose(&arena, &v, &t, (pare_hf_share){0}, &err), &err);
    CHECK(v.dim[0] == 3 && v.dim[1] == 2);
    CHECK_OK(pare_tensor_read(&v, 0, 3, y, &err), &err);
    CHECK(memcmp(y, turned, sizeof y) == 0);
    CHECK_OK(pare_tensor_read(&v, 1, 1, y, &err), &err);
    CHECK(y[0] == 2 && y[1] == 5);
    CHECK_OK(pare_view_add(&arena, &v, &t, 1.0f, &err), &err);
    CHECK_OK(pare_tensor_read(&v, 1, 1, y, &err), &err);
    CHECK(y[0] == 5 && y[1] == 6 && y[2] == 7);
    CHECK_OK(pare_view_cast(&arena, &v, &t, PARE_TYPE_BF16, &err), &err);
    CHECK(v.n_bytes == 12);
    CHECK_OK(pare_tensor_read_f32(&v, 0, 2, y, &err), &err);
    CHECK(memcmp(y, x, sizeof y) == 0);
    CHECK(pare_view_cast(&arena, &v, &t, PARE_TYPE_Q8_0, &err) == PARE_ERR_UNSUPPORTED);
    pare_arena_close(&arena);
}

/* Two experts of [4 in, 6 out]: gate and up share the columns. Every way of reading rows gives the same. */
static void shares_and_unites(void **state)
{
    (void)state;
    float x[2][4][6], y[64], all[64];
    pare_arena arena = {0};
    pare_error err = {0};
    for (int i = 0; i < 48; i++)
        (&x[0][0][0])[i] = (float)i;
    pare_tensor t = {.name = "w", .type = PARE_TYPE_F32, .n_dims = 3, .dim = {2, 4, 6}, .data = (const uint8_t *)x};
    CHECK_OK(pare_tensor_set_shape(&t, "x", &err), &err);
    for (int in_turn = 0; in_turn < 2; in_turn++) {
        pare_tensor v[2], w[2], whole, turned, back;
        for (uint8_t k = 0; k < 2; k++) {
            const pare_hf_share share = {k, 2, in_turn != 0};
            CHECK_OK(pare_view_transpose(&arena, &v[k], &t, share, &err), &err);
            CHECK(v[k].n_dims == 3 && v[k].dim[0] == 2 && v[k].dim[1] == 3 && v[k].dim[2] == 4);
            for (uint64_t row = 0; row < 6; row++)
                for (uint64_t n = 0; row + n <= 6; n++) {
                    CHECK_OK(pare_tensor_read(&v[k], row, n, y, &err), &err);
                    for (uint64_t i = 0; i < n * 4; i++) {
                        uint64_t r = row + i / 4, o = r % 3;
                        CHECK(y[i] == x[r / 3][i % 4][in_turn ? 2 * o + k : 3 * k + o]);
                    }
                }
            /* the rows of the transposed tensor shared, and the columns of the tensor as it is */
            CHECK_OK(pare_view_transpose(&arena, &turned, &t, (pare_hf_share){0}, &err), &err);
            CHECK_OK(pare_view_share(&arena, &w[k], &turned, share, false, &err), &err);
            for (uint64_t row = 0; row < 6; row++) {
                CHECK_OK(pare_tensor_read(&w[k], row, 6 - row, y, &err), &err);
                CHECK_OK(pare_tensor_read(&v[k], row, 6 - row, all, &err), &err);
                CHECK(memcmp(y, all, (size_t)(6 - row) * 4 * sizeof *y) == 0);
            }
        }
        CHECK_OK(pare_view_unite(&arena, &whole, v, (pare_hf_share){0, 2, in_turn != 0}, false, &err), &err);
        CHECK_OK(pare_view_transpose(&arena, &back, &whole, (pare_hf_share){0}, &err), &err);
        CHECK(back.dim[1] == 4 && back.dim[2] == 6);
        for (uint64_t row = 0; row < 8; row++) {
            CHECK_OK(pare_tensor_read(&back, row, 8 - row, y, &err), &err);
            CHECK(memcmp(y, &x[0][0][0] + row * 6, (size_t)(8 - row) * 6 * sizeof *y) == 0);
        }
    }
    CHECK(pare_view_share(&arena, &t, &t, (pare_hf_share){0, 3, false}, false, &err) == PARE_ERR_RANGE);
    CHECK(pare_view_transpose(&arena, &t, &t, (pare_hf_share){0, 5, false}, &err) == PARE_ERR_RANGE);
    pare_arena_close(&arena);
}

/* A bias of gate and up in one: the elements of a row, of each expert's row. */
static void shares_and_unites_elements(void **state)
{
    (void)state;
    float x[3][4], y[12];
    pare_arena arena = {0};
    pare_error err = {0};
    for (int i = 0; i < 12; i++)
        (&x[0][0])[i] = (float)i;
    for (uint32_t n_dims = 1; n_dims <= 2; n_dims++)
        for (int in_turn = 0; in_turn < 2; in_turn++) {
            pare_tensor t = {
                .name = "b", .n_dims = n_dims, .dim = {n_dims == 1 ? 4 : 3, 4}, .data = (const uint8_t *)x};
            pare_tensor v[2], back;
            CHECK_OK(pare_tensor_set_shape(&t, "x", &err), &err);
            for (uint8_t k = 0; k < 2; k++) {
                CHECK_OK(pare_view_share(&arena, &v[k], &t, (pare_hf_share){k, 2, in_turn != 0}, true, &err), &err);
                CHECK(v[k].row_len == 2 && v[k].n_rows == t.n_rows);
                CHECK_OK(pare_tensor_read(&v[k], 0, v[k].n_rows, y, &err), &err);
                for (uint64_t i = 0; i < 2 * t.n_rows; i++)
                    CHECK(y[i] == x[i / 2][in_turn ? 2 * (i % 2) + k : 2 * k + i % 2]);
            }
            CHECK_OK(pare_view_unite(&arena, &back, v, (pare_hf_share){0, 2, in_turn != 0}, true, &err), &err);
            CHECK(back.n_dims == n_dims && back.row_len == 4);
            CHECK_OK(pare_tensor_read(&back, 0, back.n_rows, y, &err), &err);
            CHECK(memcmp(y, x, (size_t)back.n_bytes) == 0);
            v[1].dim[n_dims - 1] = 1;
            CHECK(pare_view_unite(&arena, &back, v, (pare_hf_share){0, 2, false}, true, &err) == PARE_ERR_RANGE);
        }
    pare_arena_close(&arena);
}

static void stacks_and_takes_apart(void **state)
{
    (void)state;
    float x[3][6], y[18];
    pare_tensor parts[3], all, one;
    pare_arena arena = {0};
    pare_error err = {0};
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 6; k++)
            x[i][k] = (float)(10 * i + k);
        parts[i] = (pare_tensor){.name = "w", .n_dims = 2, .dim = {2, 3}, .data = (const uint8_t *)x[i]};
        CHECK_OK(pare_tensor_set_shape(&parts[i], "x", &err), &err);
    }
    CHECK_OK(pare_view_stack(&arena, &all, parts, 3, &err), &err);
    CHECK(all.n_dims == 3 && all.dim[0] == 3 && all.dim[1] == 2 && all.dim[2] == 3 && all.n_rows == 6);
    CHECK(pare_tensor_matrices(&all) == 3 && pare_tensor_matrices(&parts[0]) == 1);
    for (uint64_t row = 0; row < 6; row++)
        for (uint64_t n = 0; row + n <= 6; n++) {
            CHECK_OK(pare_tensor_read(&all, row, n, y, &err), &err);
            CHECK(memcmp(y, &x[0][0] + 3 * row, n * 3 * sizeof *y) == 0);
            pare_tensor_release(&all, row, n);
        }
    CHECK(pare_tensor_read(&all, 4, 3, y, &err) == PARE_ERR_RANGE);
    CHECK_OK(pare_view_part(&arena, &one, &all, 2, &err), &err);
    CHECK(one.n_dims == 2 && one.n_rows == 2);
    CHECK_OK(pare_tensor_read(&one, 1, 1, y, &err), &err);
    CHECK(y[0] == 23 && y[2] == 25);
    pare_tensor_release(&one, 0, 2);
    CHECK(pare_tensor_read(&one, 1, 2, y, &err) == PARE_ERR_RANGE);
    CHECK(pare_view_part(&arena, &one, &all, 3, &err) == PARE_ERR_RANGE);
    CHECK_OK(pare_view_part(&arena, &one, &parts[0], 1, &err), &err);
    CHECK(one.n_dims == 1 && one.n_rows == 1 && one.row_len == 3);
    CHECK(pare_view_part(&arena, &all, &one, 0, &err) == PARE_ERR_RANGE);
    CHECK_OK(pare_view_stack(&arena, &all, parts, 3, &err), &err);
    CHECK(pare_view_row(&one, &parts[0], &err) == PARE_ERR_RANGE);
    parts[1].dim[0] = 3;
    CHECK(pare_view_stack(&arena, &all, parts, 3, &err) == PARE_ERR_RANGE);
    parts[1].dim[0] = 2;
    parts[2].type = PARE_TYPE_F16;
    CHECK(pare_view_stack(&arena, &all, parts, 3, &err) == PARE_ERR_UNSUPPORTED);
    CHECK(pare_view_stack(&arena, &all, parts, 0, &err) == PARE_ERR_RANGE);
    pare_arena_close(&arena);
}

static void knows_the_window_of_a_layer(void **state)
{
    (void)state;
    pare_hparams every = {.window = 16}, some = every;
    pare_layers_add_every(&every.full, PARE_MAX_LAYERS, 0);
    pare_layers_add_every(&some.full, PARE_MAX_LAYERS, 6);
    CHECK(pare_layer_window(&every, 0) == 16 && pare_layer_window(&every, 5) == 16);
    CHECK(pare_layer_window(&some, 4) == 16 && pare_layer_window(&some, 5) == 0 && pare_layer_window(&some, 11) == 0);
    CHECK(pare_layer_window(&some, 63) == 16 && pare_layer_window(&some, 65) == 0 &&
          pare_layer_window(&some, PARE_MAX_LAYERS - 4) == 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(describes_every_family_once),
        cmocka_unit_test(names_weights),
        cmocka_unit_test(reads_hyperparameters),
        cmocka_unit_test(refuses_bad_counts),
        cmocka_unit_test(reads_the_numbers_of_experts),
        cmocka_unit_test(refuses_missing_keys),
        cmocka_unit_test(refuses_bad_floats),
        cmocka_unit_test(refuses_bad_layer_arrays),
        cmocka_unit_test(names_an_unknown_rope_scaling),
        cmocka_unit_test(checks_the_weights),
        cmocka_unit_test(wants_experts_or_a_dense_ffn),
        cmocka_unit_test(guesses_counts_of_an_unknown_architecture),
        cmocka_unit_test(warns_of_tensors_it_does_not_know),
        cmocka_unit_test(divisors_are_those_of_stock),
        cmocka_unit_test(finds_the_scaling_behind_divisors),
        cmocka_unit_test(splits_fused_heads_both_ways),
        cmocka_unit_test(reorders_rows_both_ways),
        cmocka_unit_test(transposes_adds_and_casts),
        cmocka_unit_test(shares_and_unites),
        cmocka_unit_test(shares_and_unites_elements),
        cmocka_unit_test(stacks_and_takes_apart),
        cmocka_unit_test(knows_the_window_of_a_layer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
