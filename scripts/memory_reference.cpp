/* scripts/memory_reference.cpp - what stock llama.cpp allocates for a model, in bytes, for scripts/memory_reference.sh
 *
 *   memory_reference NAME MODEL.gguf [--no-alloc] CASES...
 *
 * A case is n_ctx,n_seq,unified,cache_k,cache_v,flash,swa_full,n_ubatch. One line a case:
 *
 *   NAME case... weights cache compute output
 *
 * "-" where stock refuses to make the context. --no-alloc: nothing is loaded (the file may lack its weights); weights
 * are then counted as they lie in a buffer, else as they are mapped. CPU backend. Built against stock's own headers, with
 * -fno-access-control, because its logs round to 0.01 MiB. */
#include "gguf.h"
#include "llama-context.h"
#include "llama-model.h"
#include "llama.h"

#include <cstdio>
#include <cstring>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

static bool verbose = getenv("MEMORY_REFERENCE_LOG") != nullptr;

static void log_line(enum ggml_log_level level, const char *text, void *)
{
    if (verbose || level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

static ggml_type type_named(const std::string &name)
{
    for (int i = 0; i < GGML_TYPE_COUNT; i++)
        if (ggml_type_name((ggml_type)i) != nullptr && name == ggml_type_name((ggml_type)i))
            return (ggml_type)i;
    fprintf(stderr, "memory_reference: no type %s\n", name.c_str());
    exit(2);
}

static llama_model *load(const char *path, bool no_alloc)
{
    llama_model_params mp = llama_model_default_params();
    mp.n_gpu_layers = 0;
    mp.use_extra_bufts = false;
    mp.no_alloc = no_alloc;
    if (no_alloc)
        mp.load_mode = LLAMA_LOAD_MODE_NONE;
    llama_model_kv_override overrides[3] = {};
    overrides[0].tag = LLAMA_KV_OVERRIDE_TYPE_STR;
    strcpy(overrides[0].key, "tokenizer.ggml.model");
    strcpy(overrides[0].val_str, "none");
    ggml_context *tensors = nullptr;
    gguf_context *file = gguf_init_from_file(path, gguf_init_params{true, &tensors});
    if (file == nullptr)
        return nullptr;
    if (gguf_find_key(file, "tokenizer.ggml.model") < 0) { /* it must be said that there is no tokenizer */
        overrides[1].tag = LLAMA_KV_OVERRIDE_TYPE_INT;
        snprintf(overrides[1].key, sizeof overrides[1].key, "%s.vocab_size",
                 gguf_get_val_str(file, gguf_find_key(file, "general.architecture")));
        overrides[1].val_i64 = ggml_get_tensor(tensors, "token_embd.weight")->ne[1];
        mp.kv_overrides = overrides;
    }
    ggml_free(tensors);
    gguf_free(file);
    return llama_model_load_from_file(path, mp);
}

static void measure(const char *name, llama_model *model, const char *spec)
{
    unsigned n_ctx, n_seq, unified, flash, full, n_ubatch;
    char k[16], v[16];
    if (sscanf(spec, "%u,%u,%u,%15[^,],%15[^,],%u,%u,%u", &n_ctx, &n_seq, &unified, k, v, &flash, &full, &n_ubatch) != 8) {
        fprintf(stderr, "memory_reference: case %s\n", spec);
        exit(2);
    }
    llama_context_params cp = llama_context_default_params();
    cp.n_ctx = n_ctx;
    cp.n_seq_max = n_seq;
    cp.kv_unified = unified != 0;
    cp.type_k = type_named(k);
    cp.type_v = type_named(v);
    cp.flash_attn_type = flash ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    cp.swa_full = full != 0;
    cp.n_ubatch = n_ubatch;
    cp.n_batch = 2048;
    llama_context *ctx = llama_init_from_model(model, cp);
    if (ctx == nullptr)
        exit(1);
    size_t weights = 0, cache = 0, compute = 0;
    for (const auto &entry : ctx->memory_breakdown()) {
        weights += entry.second.model;
        cache += entry.second.context;
        compute += entry.second.compute;
    }
    printf("%s\t%u\t%u\t%u\t%s\t%s\t%u\t%u\t%u", name, n_ctx, n_seq, unified, k, v, flash, full, n_ubatch);
    printf("\t%zu\t%zu\t%zu\t%zu\n", weights, cache, compute, ggml_backend_buffer_get_size(ctx->buf_output.get()));
    llama_free(ctx);
}

/* In a process of its own: stock refuses some requests by aborting. */
static void measure_apart(const char *name, llama_model *model, const char *spec)
{
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        measure(name, model, spec);
        exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0) {
        perror("memory_reference");
        exit(2);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        std::string fields(spec);
        for (char &c : fields)
            c = c == ',' ? '\t' : c;
        printf("%s\t%s\t-\t-\t-\t-\n", name, fields.c_str());
    }
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: memory_reference NAME MODEL.gguf [--no-alloc] CASES...\n");
        return 2;
    }
    llama_log_set(log_line, nullptr);
    llama_backend_init();
    int first = 3;
    bool no_alloc = strcmp(argv[3], "--no-alloc") == 0;
    llama_model *model = load(argv[2], no_alloc);
    if (model == nullptr) {
        fprintf(stderr, "memory_reference: %s: stock does not load it\n", argv[1]);
        return 1;
    }
    for (int i = first + no_alloc; i < argc; i++)
        measure_apart(argv[1], model, argv[i]);
    llama_model_free(model);
    return 0;
}
