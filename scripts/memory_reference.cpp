/* scripts/memory_reference.cpp - what stock llama.cpp allocates for a model, in bytes, for scripts/memory_reference.sh
 *
 *   memory_reference NAME MODEL.gguf [--no-alloc] [--layers 20,13|all|half|two|third [--experts-on-host]] CASES...
 *
 * A case is n_ctx,n_seq,unified,cache_k,cache_v,flash,swa_full,n_ubatch. One line a case:
 *
 *   NAME case... weights cache compute output
 *
 * With --layers, so many layers on each of as many devices that are not there (stand_in_device.h), nothing mapped: what
 * was given, then four numbers for the host and for each device. "-" where stock refuses to make the context; with devices
 * no line. --no-alloc: nothing is loaded (the file may lack its weights); weights
 * are then counted as they lie in a buffer, else as they are mapped. CPU backend. Built against stock's own headers, with
 * -fno-access-control, because its logs round to 0.01 MiB. */
#include "gguf.h"
#include "llama-context.h"
#include "llama-model.h"
#include "llama.h"
#include "stand_in_device.h"

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

static const char *layers; /* "20,13", "all", "half", "two" (all on two), "third" (a third on each of two); NULL: no devices */
static bool experts_on_host;
static float split[stand_in::MOST];

/* Words become numbers. */
static const char *count_layers(const char *text, const char *path)
{
    static char out[64];
    gguf_context *file = gguf_init_from_file(path, gguf_init_params{true, nullptr});
    if (file == nullptr)
        return text;
    std::string key = std::string(gguf_get_val_str(file, gguf_find_key(file, "general.architecture"))) + ".block_count";
    unsigned n = gguf_get_val_u32(file, gguf_find_key(file, key.c_str())) + 1;
    gguf_free(file);
    if (strcmp(text, "all") == 0)
        snprintf(out, sizeof out, "%u", n);
    else if (strcmp(text, "half") == 0)
        snprintf(out, sizeof out, "%u", n / 2);
    else if (strcmp(text, "two") == 0)
        snprintf(out, sizeof out, "%u,%u", n - n / 2, n / 2);
    else if (strcmp(text, "third") == 0)
        snprintf(out, sizeof out, "%u,%u", n / 3, n / 3);
    else
        return text;
    return out;
}

static size_t parse_layers(const char *text)
{
    size_t n = 0;
    for (const char *p = text; p != nullptr && n < stand_in::MOST; p = strchr(p, ','), p = p ? p + 1 : p)
        split[n++] = (float)atoi(p);
    return n;
}

static void place(llama_model_params &mp)
{
    static llama_model_tensor_buft_override experts[2] = {{"ffn_(up|down|gate|gate_up)_exps", nullptr}, {nullptr, nullptr}};
    static float shares[128];
    mp.n_gpu_layers = 0;
    for (size_t i = 0; i < stand_in::n_devices; i++)
        mp.n_gpu_layers += (int)(shares[i] = split[i]);
    experts[0].buft = ggml_backend_cpu_buffer_type();
    mp.tensor_split = shares;
    if (experts_on_host)
        mp.tensor_buft_overrides = experts;
}

static llama_model *load(const char *path, bool no_alloc)
{
    llama_model_params mp = llama_model_default_params();
    mp.n_gpu_layers = 0;
    mp.use_extra_bufts = false;
    mp.no_alloc = no_alloc;
    if (layers != nullptr)
        place(mp);
    if (no_alloc || layers != nullptr)
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
    size_t sums[1 + stand_in::MOST][3] = {};
    for (const auto &entry : ctx->memory_breakdown()) {
        size_t at = stand_in::is_own(entry.first) ? 1 + (size_t)(entry.first - stand_in::types) : 0;
        sums[at][0] += entry.second.model;
        sums[at][1] += entry.second.context;
        sums[at][2] += entry.second.compute;
    }
    size_t output = ggml_backend_buffer_get_size(ctx->buf_output.get());
    printf("%s\t%u\t%u\t%u\t%s\t%s\t%u\t%u\t%u", name, n_ctx, n_seq, unified, k, v, flash, full, n_ubatch);
    if (layers != nullptr)
        printf("\t%s\t%s", layers, experts_on_host ? "host" : "-");
    for (size_t i = 0; i <= stand_in::n_devices; i++)
        printf("\t%zu\t%zu\t%zu\t%zu", sums[i][0], sums[i][1], sums[i][2], i == 0 ? output : 0);
    printf("\n");
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
        if (layers == nullptr) /* with devices the same */
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
    bool no_alloc = false;
    for (; first < argc && strncmp(argv[first], "--", 2) == 0; first++) {
        if (strcmp(argv[first], "--no-alloc") == 0)
            no_alloc = true;
        else if (strcmp(argv[first], "--layers") == 0 && first + 1 < argc)
            stand_in::add(parse_layers(layers = count_layers(argv[++first], argv[2])));
        else if (strcmp(argv[first], "--experts-on-host") == 0)
            experts_on_host = true;
    }
    llama_model *model = load(argv[2], no_alloc);
    if (model == nullptr) {
        fprintf(stderr, "memory_reference: %s: stock does not load it\n", argv[1]);
        return 1;
    }
    for (int i = first; i < argc; i++)
        measure_apart(argv[1], model, argv[i]);
    llama_model_free(model);
    return 0;
}
