/* What stock llama.cpp's loader wants of a GGUF file: what is added for it, and what the warnings say. That it loads
 * the files is looked at with scripts/check_stock.sh. */
#include "check.h"
#include "core/json.h"
#include "model/stock.h"

#include <stdio.h>
#include <string.h>

static char told[2048]; /* the warnings, one behind the other */

static void keep_warning(const char *text, void *user)
{
    (void)user;
    snprintf(told + strlen(told), sizeof told - strlen(told), "%s\n", text);
}

/* A model of the class without tensors. The members come behind common ones, of which they may repeat none. */
static void start(pare_model *m, const char *class, const char *members)
{
    char text[2048];
    json_t *config = NULL;
    pare_error err = {0};
    *m = (pare_model){.path = "in", .arch = pare_arch_find_class(class, NULL)};
    CHECK(m->arch != NULL);
    snprintf(text, sizeof text,
             "{\"architectures\":[\"%s\"],\"hidden_size\":48,\"num_attention_heads\":4,\"vocab_size\":80,"
             "\"intermediate_size\":64%s}",
             class, members);
    CHECK_OK(pare_json_parse(&config, "config", text, strlen(text), PARE_JSON_BIG_AS_REAL, &err), &err);
    CHECK_OK(pare_hparams_from_config(&m->hp, m->arch, config, "config", &err), &err);
    json_decref(config);
}

static pare_status read_row(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    (void)err;
    float *out = dst;
    for (uint64_t i = 0; i < n_rows * t->row_len; i++)
        out[i] = (float)(row * t->row_len + i + 1);
    return PARE_OK;
}

static void add(pare_model *m, const char *name, uint64_t rows, uint64_t columns)
{
    pare_error err = {0};
    pare_tensor t = {.name = name,
                     .type = PARE_TYPE_F32,
                     .n_dims = rows > 0 ? 2 : 1,
                     .dim = {rows > 0 ? rows : columns, columns},
                     .read = read_row};
    CHECK_OK(pare_tensor_set_shape(&t, "in", &err), &err);
    CHECK_OK(pare_model_reserve_more(m, 1, &err), &err);
    CHECK_OK(pare_model_add(m, &t, NULL, &err), &err);
}

#define LAYERS(n) ",\"num_hidden_layers\":" n
#define TWO_KV LAYERS("2") ",\"num_key_value_heads\":2"
#define FULL ",\"layer_types\":[\"full_attention\",\"full_attention\"]"
#define TEN(x) x "," x "," x "," x "," x "," x "," x "," x "," x "," x
#define GEMMA3N(part)                                                                                                  \
    LAYERS("20")                                                                                                       \
    ",\"num_key_value_heads\":2,\"num_kv_shared_layers\":0,\"activation_sparsity_pattern\":[" TEN(part) "," TEN("0") "]"
#define EXPERTS ",\"num_experts\":4,\"num_experts_per_tok\":2"

static void names_what_stock_does_not_load(void **state)
{
    static const struct {
        const char *class, *members, *tensor, *words; /* words NULL: no warning */
    } rows[] = {
        {"Qwen3ForCausalLM", TWO_KV, "blk.1.attn_q.bias", NULL},
        {"Qwen3ForCausalLM", TWO_KV, "blk.1.attn_output.bias",
         "no place for 'blk.1.attn_output.bias' (1 such tensors; 'attention_bias' in config.json)"},
        {"ArceeForCausalLM", TWO_KV, "blk.0.ffn_up.bias", "'mlp_bias' in config.json"},
        {"Ernie4_5ForCausalLM", TWO_KV, "blk.0.ffn_gate.bias", "'use_bias' in config.json"},
        {"LlamaForCausalLM", TWO_KV, "blk.0.ffn_up.bias", NULL},
        {"OlmoeForCausalLM", TWO_KV EXPERTS, NULL, "'num_key_value_heads' is 2"},
        {"OlmoeForCausalLM", LAYERS("2") EXPERTS ",\"num_key_value_heads\":4", NULL, NULL},
        {"CohereForCausalLM", TWO_KV ",\"head_dim\":16", NULL, "4 heads of 16 ('head_dim') make 64"},
        {"CohereForCausalLM", TWO_KV, NULL, NULL},
        {"CohereForCausalLM", TWO_KV ",\"use_qk_norm\":true", NULL, "'use_qk_norm'"},
        {"CohereForCausalLM", LAYERS("64") ",\"use_qk_norm\":true", NULL, NULL},
        {"Qwen2ForCausalLM", TWO_KV ",\"head_dim\":24", NULL, "('head_dim') make 96"},
        {"LlamaForCausalLM", TWO_KV ",\"head_dim\":24", NULL, NULL},
        {"Gemma2ForCausalLM", TWO_KV FULL, NULL, "wants a layer with an attention window ('layer_types')"},
        {"Gemma2ForCausalLM", TWO_KV ",\"layer_types\":[\"full_attention\",\"sliding_attention\"]", NULL, NULL},
        {"Phi3ForCausalLM", TWO_KV ",\"sliding_window\":7,\"max_position_embeddings\":64", NULL, "leaves out"},
        {"Phi3ForCausalLM", TWO_KV ",\"sliding_window\":64,\"max_position_embeddings\":64", NULL, NULL},
        {"BitNetForCausalLM", TWO_KV ",\"tie_word_embeddings\":false", NULL, "'tie_word_embeddings'"},
        {"Gemma3nForCausalLM", GEMMA3N("0.95"), NULL, NULL},
        {"Gemma3nForCausalLM", GEMMA3N("0.9"), NULL, "cuts 0.95 of the gates"},
        {"Exaone4ForCausalLM", TWO_KV FULL ",\"sliding_window\":7", NULL, "turns the heads of all layers"},
        {"Exaone4ForCausalLM", TWO_KV FULL, NULL, "turns the heads of all layers"}, /* a window by default */
        {"Exaone4ForCausalLM", TWO_KV FULL ",\"sliding_window\":null", NULL, NULL},
        {"Exaone4ForCausalLM", LAYERS("64") ",\"num_key_value_heads\":2,\"sliding_window\":7", NULL, NULL},
        {"Exaone4ForCausalLM", LAYERS("64") ",\"num_key_value_heads\":2,\"sliding_window\":null", NULL,
         "in every model of 64 layers"},
        {"GPTJForCausalLM", ",\"n_layer\":2,\"rotary_dim\":8", NULL, "does not know architecture 'gptj'"},
    };
    (void)state;
    pare_set_warn_sink(keep_warning, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pare_model m;
        pare_error err = {0};
        start(&m, rows[i].class, rows[i].members);
        if (rows[i].tensor != NULL)
            add(&m, rows[i].tensor, 0, 48);
        told[0] = '\0';
        CHECK_OK(pare_stock_warn(&m, "out.gguf", &err), &err);
        if (rows[i].words == NULL ? told[0] != '\0' : strstr(told, rows[i].words) == NULL)
            printf("row %zu: %s\n", i, told);
        CHECK(rows[i].words == NULL ? told[0] == '\0' : strstr(told, rows[i].words) != NULL);
        pare_model_close(&m);
    }
    pare_set_warn_sink(NULL, NULL);
}

/* llama.cpp src/models/<name>.cpp */
static void names_what_stock_does_not_multiply(void **state)
{
    static const struct {
        const char *class, *members, *tensor, *bias;
        pare_weight id;
        bool multiplies;
    } rows[] = {
        {"LlamaForCausalLM", TWO_KV, "blk.1.ffn_up.weight", NULL, PARE_W_FFN_UP, true},
        {"LlamaForCausalLM", TWO_KV, "blk.1.ffn_up.weight", "blk.1.ffn_up.bias", PARE_W_FFN_UP, false},
        {"LlamaForCausalLM", TWO_KV, "blk.1.attn_q.weight", "blk.1.attn_q.bias", PARE_W_ATTN_Q, true},
        {"LlamaForCausalLM", TWO_KV, "blk.1.attn_norm.weight", NULL, PARE_W_ATTN_NORM, false},
        {"Qwen2ForCausalLM", TWO_KV, "blk.1.ffn_up.weight", NULL, PARE_W_FFN_UP, false},
        {"Qwen2ForCausalLM", TWO_KV, "blk.1.attn_v.weight", NULL, PARE_W_ATTN_V, true},
        {"Gemma3nForCausalLM", GEMMA3N("0.95"), "blk.1.attn_q.weight", NULL, PARE_W_ATTN_Q, false},
        {"Gemma3nForCausalLM", GEMMA3N("0.95"), "blk.1.attn_k.weight", NULL, PARE_W_ATTN_K, true},
    };
    (void)state;
    const float factor = 0.5f;
    pare_set_warn_sink(keep_warning, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pare_model m;
        pare_error err = {0};
        start(&m, rows[i].class, rows[i].members);
        add(&m, rows[i].tensor, 2, 48);
        if (rows[i].bias != NULL)
            add(&m, rows[i].bias, 0, 48);
        CHECK(pare_stock_has_factor(&m, rows[i].id, 1) == rows[i].multiplies);
        told[0] = '\0';
        CHECK_OK(pare_stock_warn(&m, "out.gguf", &err), &err);
        CHECK(told[0] == '\0');
        m.tensors[0].factor = &factor;
        CHECK_OK(pare_stock_warn(&m, "out.gguf", &err), &err);
        CHECK((told[0] == '\0') == rows[i].multiplies);
        CHECK(rows[i].multiplies || (strstr(told, "does not multiply by the scale of") != NULL &&
                                     strstr(told, rows[i].tensor) != NULL && strstr(told, "(1 such") != NULL));
        pare_model_close(&m);
    }
    pare_set_warn_sink(NULL, NULL);
}

static void adds_what_stock_wants(void **state)
{
    pare_model m;
    pare_error err = {0};
    float a[48], b[48];
    bool copy = true;
    (void)state;
    start(&m, "GPTNeoXForCausalLM",
          LAYERS("2") ",\"tie_word_embeddings\":true,\"attention_bias\":false,\"rotary_pct\":0.5");
    add(&m, "token_embd.weight", 80, 48);
    add(&m, "blk.1.attn_output.bias", 0, 48); /* stays what it is */
    CHECK_OK(pare_stock_is_copy(&m, &copy, &err), &err);
    CHECK(!copy);
    for (int times = 0; times < 2; times++) {
        CHECK_OK(pare_stock_complete(&m, &err), &err);
        CHECK(m.n_tensors == 6 && !m.hp.tied_output);
    }
    CHECK_OK(pare_stock_is_copy(&m, &copy, &err), &err);
    CHECK(copy);
    CHECK_OK(pare_tensor_read(pare_model_find(&m, "token_embd.weight"), 79, 1, a, &err), &err);
    CHECK_OK(pare_tensor_read(pare_model_find(&m, "output.weight"), 79, 1, b, &err), &err);
    CHECK(a[0] == 79 * 48 + 1 && memcmp(a, b, sizeof a) == 0);
    CHECK_OK(pare_tensor_read(pare_model_find(&m, "blk.0.attn_output.bias"), 0, 1, a, &err), &err);
    CHECK_OK(pare_tensor_read(pare_model_find(&m, "blk.1.attn_output.bias"), 0, 1, b, &err), &err);
    CHECK(a[0] == 0 && a[47] == 0 && b[47] == 48);
    const pare_tensor *fused = pare_model_find(&m, "blk.1.attn_qkv.bias");
    CHECK(fused != NULL && fused->n_dims == 1 && fused->row_len == 144 && fused->type == PARE_TYPE_F32);
    pare_model_close(&m);
    start(&m, "LlamaForCausalLM", TWO_KV ",\"tie_word_embeddings\":true"); /* stock takes the embedding by itself */
    add(&m, "token_embd.weight", 80, 48);
    CHECK_OK(pare_stock_complete(&m, &err), &err);
    CHECK(m.n_tensors == 1);
    pare_model_close(&m);
}

static pare_status read_last_changed(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    pare_status st = read_row(t, row, n_rows, dst, err);
    if (row + n_rows == t->n_rows)
        ((float *)dst)[n_rows * t->row_len - 1] += 1;
    return st;
}

/* What differs in one number from the embedding, in its factor or in its shape, is no copy of it. */
static void sees_other_outputs(void **state)
{
    pare_model m;
    pare_error err = {0};
    bool copy = false;
    const float factor = 0.5f;
    (void)state;
    start(&m, "StableLmForCausalLM", TWO_KV ",\"tie_word_embeddings\":true,\"partial_rotary_factor\":0.5");
    add(&m, "token_embd.weight", 80, 48);
    add(&m, "output.weight", 80, 48);
    CHECK_OK(pare_stock_is_copy(&m, &copy, &err), &err);
    CHECK(copy);
    m.tensors[1].read = read_last_changed;
    CHECK_OK(pare_stock_is_copy(&m, &copy, &err), &err);
    CHECK(!copy);
    m.tensors[1].read = read_row;
    m.tensors[1].factor = &factor;
    CHECK_OK(pare_stock_is_copy(&m, &copy, &err), &err);
    CHECK(!copy);
    m.tensors[1].factor = NULL;
    m.tensors[1].n_rows--;
    CHECK_OK(pare_stock_is_copy(&m, &copy, &err), &err);
    CHECK(!copy);
    pare_model_close(&m);
    start(&m, "StableLmForCausalLM", TWO_KV ",\"tie_word_embeddings\":true,\"partial_rotary_factor\":0.5");
    add(&m, "token_embd.weight", 2, 1 << 15); /* rows too long to be compared */
    add(&m, "output.weight", 2, 1 << 15);
    CHECK_OK(pare_stock_is_copy(&m, &copy, &err), &err);
    CHECK(!copy);
    pare_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_what_stock_does_not_load),
                                       cmocka_unit_test(names_what_stock_does_not_multiply),
                                       cmocka_unit_test(adds_what_stock_wants), cmocka_unit_test(sees_other_outputs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
