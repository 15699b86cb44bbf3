/* stock_logits - logits of a GGUF model by llama.cpp, for scripts/check_stock.sh
 *
 *   stock_logits MODEL.gguf TOKENS.i32 N_SEQUENCES LENGTH OUT.f32
 *
 * Float32 cache, no flash attention, one sequence at a time; a model without a tokenizer is loaded without one. */
#include <gguf.h>
#include <llama.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void quiet(enum ggml_log_level level, const char *text, void *user)
{
    (void)user;
    if (level >= GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

static int fail(const char *what, const char *name)
{
    fprintf(stderr, "stock_logits: %s: %s\n", what, name);
    return 1;
}

/* The rows of the embedding, which a model without a tokenizer must say as <architecture>.vocab_size. */
static void say_vocab(struct llama_model_kv_override *o, const char *path)
{
    struct ggml_context *tensors = NULL;
    struct gguf_context *file = gguf_init_from_file(path, (struct gguf_init_params){true, &tensors});
    if (file == NULL)
        return;
    o->tag = LLAMA_KV_OVERRIDE_TYPE_INT;
    snprintf(o->key, sizeof o->key, "%s.vocab_size",
             gguf_get_val_str(file, gguf_find_key(file, "general.architecture")));
    o->val_i64 = ggml_get_tensor(tensors, "token_embd.weight")->ne[1];
    ggml_free(tensors);
    gguf_free(file);
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return fail("usage", "MODEL TOKENS N LENGTH OUT");
    int n_seq = atoi(argv[3]), length = atoi(argv[4]);
    struct llama_model_kv_override overrides[3] = {{.tag = LLAMA_KV_OVERRIDE_TYPE_STR, .key = "tokenizer.ggml.model"}};
    snprintf(overrides[0].val_str, sizeof overrides[0].val_str, "none");
    say_vocab(&overrides[1], argv[1]);
    llama_log_set(quiet, NULL);
    llama_backend_init();
    struct llama_model_params mp = llama_model_default_params();
    mp.n_gpu_layers = 0;
    mp.use_extra_bufts = false;
    if (getenv("KEEP_TOKENIZER") == NULL)
        mp.kv_overrides = overrides;
    struct llama_model *model = llama_model_load_from_file(argv[1], mp);
    if (model == NULL)
        return fail("cannot load", argv[1]);
    FILE *in = fopen(argv[2], "rb"), *out = fopen(argv[5], "wb");
    if (in == NULL || out == NULL)
        return fail("cannot open", in == NULL ? argv[2] : argv[5]);
    int n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    for (int s = 0; s < n_seq; s++) {
        struct llama_context_params cp = llama_context_default_params();
        cp.n_ctx = cp.n_batch = cp.n_ubatch = (uint32_t)length;
        cp.n_threads = cp.n_threads_batch = 1;
        cp.type_k = cp.type_v = GGML_TYPE_F32;
        cp.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
        struct llama_context *context = llama_init_from_model(model, cp);
        struct llama_batch batch = llama_batch_init(length, 0, 1);
        for (int i = 0; i < length; i++) {
            if (fread(&batch.token[i], sizeof(int), 1, in) != 1)
                return fail("too short", argv[2]);
            batch.pos[i] = i;
            batch.n_seq_id[i] = 1;
            batch.seq_id[i][0] = 0;
            batch.logits[i] = 1;
        }
        batch.n_tokens = length;
        if (context == NULL || llama_decode(context, batch) != 0)
            return fail("cannot run", argv[1]);
        for (int i = 0; i < length; i++)
            fwrite(llama_get_logits_ith(context, i), sizeof(float), (size_t)n_vocab, out);
        llama_batch_free(batch);
        llama_free(context);
    }
    llama_model_free(model);
    return fclose(out) == 0 ? 0 : fail("cannot write", argv[5]);
}
