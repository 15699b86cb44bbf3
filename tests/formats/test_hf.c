#include "check.h"
#include "core/bytes.h"
#include "core/hash.h"
#include "core/json.h"
#include "formats/hf.h"
#include "formats/open.h"
#include "formats/safetensors.h"
#include "recipe/recipe.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const oracles[] = {"bert",        "llama",      "llama_rope", "mistral",    "qwen2",
                                      "qwen3",       "qwen3_tiny", "olmo2",      "starcoder2", "gemma2",
                                      "gemma3_text", "gpt2",       "gpt_neox",   "mixtral",    "qwen3_moe",
                                      "phi3",        "gpt_oss",    "falcon",     "deepseek_v2"};
enum { N_ORACLES = sizeof oracles / sizeof *oracles };

static const char *oracle(const char *name, const char *file)
{
    char path[256];
    snprintf(path, sizeof path, "oracle/models/%s%s%s", name, *file != '\0' ? "/" : "", file);
    return shared_path(path);
}

/* A path below the temporary folder that nothing has yet. A static buffer (four in turn). */
static const char *fresh_path(void)
{
    static char paths[4][4200];
    static unsigned n;
    char *path = paths[n % 4];
    snprintf(path, sizeof paths[0], "%s/%u", temp_dir(), n++);
    return path;
}

/* dir/name in a static buffer (four in turn). */
static const char *at(const char *dir, const char *name)
{
    static char paths[4][4600];
    static unsigned n;
    char *path = paths[n++ % 4], made[sizeof paths[0]];
    int len = snprintf(made, sizeof made, "%s/%s", dir, name);
    CHECK(len > 0 && (size_t)len < sizeof made);
    return strcpy(path, made);
}

/* ---- what stock's converter writes (gguf_meta.txt) ---- */

/* As Python's repr writes a double. */
static void put_real(pare_buf *out, double x)
{
    char text[40];
    int digits = 1;
    do
        snprintf(text, sizeof text, "%.*g", digits, x);
    while (strtod(text, NULL) != x && ++digits <= 17);
    const char *e = strchr(text, 'e');
    if (e != NULL && atoi(e + 1) >= 0 && atoi(e + 1) < 16)
        snprintf(text, sizeof text, "%.0f", x);
    CHECK_OK(pare_buf_printf(out, NULL, "%s%s", text, strpbrk(text, ".en") == NULL ? ".0" : ""), &(pare_error){0});
}

static void put_element(pare_buf *out, const pare_meta_value *v, uint64_t i)
{
    const uint8_t *p = v->v.data;
    pare_error err = {0};
    if (v->elem == PARE_META_STRING)
        CHECK_OK(pare_buf_put(out, v->v.strings[i].data, v->v.strings[i].len, &err), &err);
    else if (v->elem == PARE_META_F32)
        put_real(out, (double)pare_load_f32le(p + 4 * i));
    else
        CHECK_OK(pare_buf_printf(out, &err, "%d", (int)(int32_t)pare_load_u32le(p + 4 * i)), &err);
}

static void hex_of(const void *data, size_t n, char hex[PARE_SHA256_HEX])
{
    pare_digest d;
    pare_error err = {0};
    CHECK_OK(pare_hash_bytes(data, n, PARE_HASH_SHA256, &d, &err), &err);
    pare_hex(hex, d.sha256, sizeof d.sha256);
}

static const char *witness_type(pare_meta_type type)
{
    static const char *const names[PARE_META_TYPE_COUNT] = {
        [PARE_META_U32] = "uint32",    [PARE_META_I32] = "int32", [PARE_META_F32] = "float32",
        [PARE_META_STRING] = "string", [PARE_META_BOOL] = "bool",
    };
    return names[type];
}

/* "key = type value", or "key = type[n] <hash>" for an array. */
static void put_value(pare_buf *out, const pare_meta_value *v)
{
    pare_error err = {0};
    char hex[PARE_SHA256_HEX];
    CHECK_OK(pare_buf_printf(out, &err, "%.*s = ", (int)v->key.len, v->key.data), &err);
    if (v->type == PARE_META_ARRAY) {
        pare_buf all = {0};
        for (uint64_t i = 0; i < v->n; i++) {
            put_element(&all, v, i);
            CHECK_OK(pare_buf_puts(&all, i + 1 < v->n ? "\n" : "", &err), &err);
        }
        hex_of(all.data, all.len, hex);
        pare_buf_close(&all);
        CHECK_OK(pare_buf_printf(out, &err, "%s[%d] %s", witness_type(v->elem), (int)v->n, hex), &err);
        return;
    }
    CHECK_OK(pare_buf_printf(out, &err, "%s ", witness_type(v->type)), &err);
    if (v->type == PARE_META_STRING)
        CHECK_OK(pare_buf_printf(out, &err, "\"%.*s\"", (int)v->v.s.len, v->v.s.data), &err);
    else if (v->type == PARE_META_F32)
        put_real(out, v->v.f);
    else if (v->type == PARE_META_BOOL)
        CHECK_OK(pare_buf_puts(out, v->v.u ? "true" : "false", &err), &err);
    else
        CHECK_OK(pare_buf_printf(out, &err, "%llu", (unsigned long long)v->v.u), &err);
}

/* The witness's line in the form of put_value: an array keeps only type, length and hash, a string loses its escapes.
 */
static char *normal_line(const char *line)
{
    char *out = check_malloc(strlen(line) + 1);
    const char *bracket = strstr(line, "] ["), *hash = strstr(line, " sha256 "), *quote = strstr(line, " = string \"");
    if (bracket != NULL && hash != NULL)
        sprintf(out, "%.*s %s", (int)(bracket + 1 - line), line, hash + 8);
    else if (quote != NULL) {
        json_t *text = json_loads(quote + 10, JSON_DECODE_ANY, NULL);
        CHECK(text != NULL);
        sprintf(out, "%.*s\"%s\"", (int)(quote + 10 - line), line, json_string_value(text));
        json_decref(text);
    } else
        strcpy(out, line);
    return out;
}

/* "name F32 [fastest, ...] bytes hash" */
static void put_tensor(pare_buf *out, const pare_tensor *t)
{
    pare_error err = {0};
    char hex[PARE_SHA256_HEX];
    size_t n = (size_t)(t->n_rows * t->row_len);
    float *x = check_malloc(n * sizeof *x);
    CHECK_OK(pare_tensor_read_f32(t, 0, t->n_rows, x, &err), &err);
    hex_of(x, n * sizeof *x, hex);
    free(x);
    CHECK_OK(pare_buf_printf(out, &err, "%s F32 [", t->name), &err);
    for (uint32_t i = t->n_dims; i > 0; i--)
        CHECK_OK(pare_buf_printf(out, &err, "%d%s", (int)t->dim[i - 1], i > 1 ? ", " : ""), &err);
    CHECK_OK(pare_buf_printf(out, &err, "] %zu %s", n * sizeof(float), hex), &err);
}

/* Line i of what the witness says about the converted model m: values, then tensors. False behind the last. */
static bool model_line(const pare_model *m, size_t i, pare_buf *out)
{
    out->len = 0;
    if (i < m->meta.n)
        put_value(out, &m->meta.values[i]);
    else if (i - m->meta.n < m->n_tensors)
        put_tensor(out, &m->tensors[i - m->meta.n]);
    else
        return false;
    return true;
}

static void compare_with_witness(const char *name)
{
    pare_model hub, m;
    pare_plan plan = {0};
    pare_error err = {0};
    pare_buf line = {0};
    size_t n = 0, at = 0;
    char *witness = (char *)check_read_file(oracle(name, "gguf_meta.txt"), &n);
    witness = realloc(witness, n + 1);
    witness[n] = '\0';
    CHECK_OK(pare_hf_open(&hub, oracle(name, ""), 0, &err), &err);
    CHECK_OK(pare_convert(&m, &hub, PARE_TYPE_F32, &plan, &err), &err);
    for (char *text = strtok(witness, "\n"); text != NULL; text = strtok(NULL, "\n")) {
        if (text[0] == '#')
            continue;
        char *wanted = normal_line(text);
        CHECK(model_line(&m, at++, &line));
        if (strcmp(line.data, wanted) != 0)
            fail_msg("%s: '%s' where stock writes '%s'", name, line.data, wanted);
        free(wanted);
    }
    CHECK(!model_line(&m, at, &line));
    pare_buf_close(&line);
    free(witness);
    pare_model_close(&m);
    pare_model_close(&hub);
}

static void converts_as_stock_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ORACLES; i++)
        compare_with_witness(oracles[i]);
}

static void same_as_stock(const char *name, pare_type type, const char *stock)
{
    pare_model hub, m;
    pare_plan plan = {0};
    pare_error err = {0};
    size_t n[2] = {0};
    const char *path = fresh_path();
    CHECK_OK(pare_hf_open(&hub, oracle(name, ""), 0, &err), &err);
    CHECK_OK(pare_convert(&m, &hub, type, &plan, &err), &err);
    CHECK_OK(pare_gguf_write(&m, path, &(pare_write_options){0}, NULL, &err), &err);
    uint8_t *x = check_read_file(path, &n[0]), *y = check_read_file(oracle(name, stock), &n[1]);
    CHECK(n[0] == n[1] && memcmp(x, y, n[0]) == 0);
    free(x);
    free(y);
    pare_model_close(&m);
    pare_model_close(&hub);
}

static void writes_the_bytes_that_stock_writes(void **state)
{
    (void)state;
    same_as_stock("llama_rope", PARE_TYPE_F32, "stock-f32.gguf");
    same_as_stock("qwen3_tiny", PARE_TYPE_BF16, "stock-bf16.gguf");
}

/* ---- round trips ---- */

/* The tensors that a model has on the Hub: one an expert, or one for several weights. */
static size_t count_hub_tensors(const pare_model *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->arch->n_weights; i++) {
        const pare_arch_weight *w = &m->arch->weights[i];
        uint32_t n_layers = pare_weight_per_layer(w->id) ? m->hp.n_layer : 1;
        size_t n_matrices = (size_t)pare_arch_stacked(w, &m->hp);
        if ((w->flags & PARE_WEIGHT_MADE) || !pare_arch_applies(w, &m->hp) || pare_arch_share(w).index > 0)
            continue;
        for (uint32_t layer = 0; layer < n_layers; layer++)
            n += (pare_model_weight(m, w->id, layer, "weight") != NULL ? n_matrices : 0) +
                 (pare_model_weight(m, w->id, layer, "bias") != NULL);
    }
    return n;
}

/* b, which pare wrote, has the weights of a and nothing else. What a has besides is no weight (masks, say); a may leave
 * out the leading part of all names. */
static void same_weights(const char *a, const char *b)
{
    pare_model raw, x, y;
    pare_error err = {0};
    CHECK_OK(pare_hf_open(&raw, a, PARE_OPEN_RAW, &err), &err);
    CHECK_OK(pare_hf_open(&x, a, 0, &err), &err);
    CHECK_OK(pare_hf_open(&y, b, PARE_OPEN_RAW, &err), &err);
    const char *prefix = x.arch->hf_prefixes != NULL ? x.arch->hf_prefixes[0] : "";
    size_t n_prefix = strlen(prefix);
    CHECK(y.n_tensors == count_hub_tensors(&x));
    for (size_t i = 0; i < y.n_tensors; i++) {
        const pare_tensor *t = &y.tensors[i], *s = pare_model_find(&raw, t->name);
        if (s == NULL && n_prefix > 0 && strncmp(t->name, prefix, n_prefix) == 0)
            s = pare_model_find(&raw, t->name + n_prefix);
        if (s == NULL || t->type != s->type || t->n_dims != s->n_dims ||
            memcmp(t->dim, s->dim, s->n_dims * sizeof *s->dim) != 0 ||
            memcmp(t->data, s->data, (size_t)s->n_bytes) != 0)
            fail_msg("%s: tensor '%s' is not as it was in %s", b, t->name, a);
    }
    pare_model_close(&raw);
    pare_model_close(&x);
    pare_model_close(&y);
}

/* Both folders load to the same numbers. window: the way went past GGUF, so windows are kept as well. */
static void same_hparams(const char *a, const char *b, bool window)
{
    pare_model x, y;
    pare_error err = {0};
    CHECK_OK(pare_hf_open(&x, a, 0, &err), &err);
    CHECK_OK(pare_hf_open(&y, b, 0, &err), &err);
    json_t *p = json_object(), *q = json_object();
    CHECK(x.arch == y.arch);
    CHECK_OK(pare_hparams_to_config(&x.hp, x.arch, p, &err), &err);
    CHECK_OK(pare_hparams_to_config(&y.hp, y.arch, q, &err), &err);
    if (!window) /* GGUF has no key for it */
        json_object_del(json_object_get(p, "rope_scaling"), "truncate");
    CHECK(json_equal(p, q));
    CHECK(!window || (x.hp.window == y.hp.window && memcmp(&x.hp.full, &y.hp.full, sizeof x.hp.full) == 0));
    json_decref(p);
    json_decref(q);
    pare_model_close(&x);
    pare_model_close(&y);
}

static const pare_hf_write_options plain = {0};

static void same_file(const char *a, const char *b, const char *name)
{
    size_t n[2] = {0};
    if (access(at(a, name), R_OK) != 0)
        return;
    uint8_t *x = check_read_file(at(a, name), &n[0]), *y = check_read_file(at(b, name), &n[1]);
    CHECK(n[0] == n[1] && memcmp(x, y, n[0]) == 0);
    free(x);
    free(y);
}

static void folder_to_folder(const char *name)
{
    pare_model m;
    pare_error err = {0};
    pare_pin pin = {0};
    char source[4200];
    const char *dir = fresh_path();
    snprintf(source, sizeof source, "%s", oracle(name, ""));
    CHECK_OK(pare_hf_open(&m, source, 0, &err), &err);
    CHECK_OK(pare_hf_write(&m, dir, PARE_TYPE_NONE, &plain, &pin, &err), &err);
    same_weights(source, dir);
    same_hparams(source, dir, true);
    for (size_t i = 0; i < m.n_side_files; i++)
        same_file(source, dir, m.side_files[i].name);
    CHECK(pin.n_files == m.n_side_files + 1);
    for (size_t i = 0; i < pin.n_files; i++)
        CHECK(strncmp(pin.files[i].path, dir, strlen(dir)) == 0 && access(pin.files[i].path, R_OK) == 0);
    CHECK(pare_hf_write(&m, dir, PARE_TYPE_NONE, &plain, NULL, &err) == PARE_ERR_USAGE);
    pare_pin_close(&pin);
    pare_model_close(&m);
}

static void folder_to_gguf_to_folder(const char *folder)
{
    pare_model m, derived, gguf;
    pare_plan plan = {0};
    pare_error err = {0};
    const pare_write_options one_file = {0};
    char source[4200];
    const char *path = fresh_path(), *dir = fresh_path();
    snprintf(source, sizeof source, "%s", folder);
    CHECK_OK(pare_hf_open(&m, source, 0, &err), &err);
    CHECK_OK(pare_convert(&derived, &m, PARE_TYPE_NONE, &plan, &err), &err);
    CHECK_OK(pare_gguf_write(&derived, path, &one_file, NULL, &err), &err);
    CHECK_OK(pare_gguf_open(&gguf, path, 0, &err), &err);
    CHECK_OK(pare_hf_write(&gguf, dir, PARE_TYPE_NONE, &plain, NULL, &err), &err);
    same_weights(source, dir);
    same_hparams(source, dir, false);
    pare_model_close(&gguf);
    pare_model_close(&derived);
    pare_model_close(&m);
}

static void folders_come_back_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ORACLES; i++)
        folder_to_folder(oracles[i]);
}

static void folders_come_back_from_gguf(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ORACLES; i++)
        folder_to_gguf_to_folder(oracle(oracles[i], ""));
}

static void refuses_to_replace_its_input(void **state)
{
    (void)state;
    pare_model m;
    pare_error err = {0};
    const pare_hf_write_options force = {.force = true};
    CHECK_OK(pare_hf_open(&m, source_path("tests/data/demo"), PARE_OPEN_NO_VOCAB, &err), &err);
    CHECK(pare_hf_write(&m, source_path("tests/data/demo/"), PARE_TYPE_NONE, &force, NULL, &err) == PARE_ERR_USAGE);
    CHECK(strstr(err.text, "input") != NULL);
    pare_model_close(&m);
}

/* ---- folders made here ---- */

static const char base_config[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":8,\"intermediate_size\":12,"
    "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"num_hidden_layers\":2,\"vocab_size\":16,"
    "\"max_position_embeddings\":64,\"rms_norm_eps\":1e-5,\"tie_word_embeddings\":true,\"torch_dtype\":\"float32\"}";

/* Members of patch replace those of the base; the text "-" removes one. */
static json_t *patched(const char *patch)
{
    json_t *config = json_loads(base_config, 0, NULL), *changes = json_loads(patch, 0, NULL), *v;
    const char *key;
    CHECK(config != NULL && changes != NULL);
    json_object_update(config, changes);
    json_object_foreach(changes, key, v) if (json_is_string(v) && strcmp(json_string_value(v), "-") == 0)
        json_object_del(config, key);
    json_decref(changes);
    return config;
}

typedef struct tiny {
    const char *patch;         /* of the config */
    const char *drop, *rename; /* a tensor left out; the name that it gets instead */
    uint64_t vocab_rows;       /* of the embedding; 0: as the config's base says */
} tiny;

static void add_zeros(pare_model *m, const tiny *t, const char *name, uint64_t rows, uint64_t cols, void *zeros)
{
    pare_error err = {0};
    pare_tensor tensor = {
        .name = name, .type = PARE_TYPE_F32, .n_dims = cols > 0 ? 2 : 1, .dim = {rows, cols}, .data = zeros};
    if (t->drop != NULL && strcmp(t->drop, name) == 0) {
        if (t->rename == NULL)
            return;
        tensor.name = t->rename;
    }
    CHECK_OK(pare_tensor_set_shape(&tensor, "tiny", &err), &err);
    CHECK_OK(pare_model_add(m, &tensor, NULL, &err), &err);
}

/* A llama of two layers with weights of zero in a new folder; its path, in a static buffer. */
static const char *make_folder(const tiny *t)
{
    const char *dir = fresh_path();
    static const struct {
        const char *name;
        uint64_t rows, cols;
    } layer[] = {{"input_layernorm", 8, 0},  {"self_attn.q_proj", 8, 8},         {"self_attn.k_proj", 4, 8},
                 {"self_attn.v_proj", 4, 8}, {"self_attn.o_proj", 8, 8},         {"mlp.gate_proj", 12, 8},
                 {"mlp.up_proj", 12, 8},     {"post_attention_layernorm", 8, 0}, {"mlp.down_proj", 8, 12}};
    pare_model m = {.path = "tiny"};
    pare_error err = {0};
    pare_buf text = {0};
    const char *names[32];
    char name[128], path[4500];
    void *zeros = calloc(1, 4096);
    CHECK(zeros != NULL);
    CHECK_OK(pare_model_reserve(&m, 32, &err), &err);
    add_zeros(&m, t, "model.embed_tokens.weight", t->vocab_rows > 0 ? t->vocab_rows : 16, 8, zeros);
    add_zeros(&m, t, "model.norm.weight", 8, 0, zeros);
    for (unsigned i = 0; i < 2; i++)
        for (size_t k = 0; k < sizeof layer / sizeof *layer; k++) {
            snprintf(name, sizeof name, "model.layers.%u.%s.weight", i, layer[k].name);
            add_zeros(&m, t, name, layer[k].rows, layer[k].cols, zeros);
        }
    for (size_t i = 0; i < m.n_tensors; i++)
        names[i] = m.tensors[i].name;
    CHECK(mkdir(dir, 0777) == 0);
    CHECK_OK(pare_safetensors_write(&m, names, dir, 0, NULL, &err), &err);
    json_t *config = patched(t->patch != NULL ? t->patch : "{}");
    CHECK_OK(pare_json_dump(config, &text, &err), &err);
    snprintf(path, sizeof path, "%s/config.json", dir);
    check_write_file(path, text.data, text.len);
    json_decref(config);
    pare_buf_close(&text);
    pare_model_close(&m);
    free(zeros);
    return dir;
}

static void opens(const tiny *t, pare_model *m)
{
    pare_error err = {0};
    CHECK_OK(pare_hf_open(m, make_folder(t), 0, &err), &err);
}

static void refused(const tiny *t, pare_status wanted, const char *words)
{
    pare_model m;
    pare_error err = {0};
    pare_status st = pare_hf_open(&m, make_folder(t), 0, &err);
    if (st != wanted || strstr(err.text, words) == NULL)
        fail_msg("%s: status %d, '%s'; wanted %d and '%s'", t->patch != NULL ? t->patch : "(weights)", (int)st,
                 err.text, (int)wanted, words);
    CHECK(m.tensors == NULL && m.files == NULL);
}

/* ---- mixtures of experts, made of their descriptions ---- */

enum { RAMP = 16384 };

static void put_tensor_of(pare_model *m, const pare_arch_weight *w, uint32_t layer, uint32_t expert, bool bias,
                          const pare_hparams *hp, const float *ramp, const char *drop)
{
    char name[128];
    pare_error err = {0};
    uint32_t first = w->map == PARE_MAP_STACK;
    pare_tensor t = {.name = pare_arch_hf_name(name, sizeof name, w, layer, expert, bias), .type = PARE_TYPE_F32};
    uint64_t dim[3];
    uint32_t n = 0, n_shares = pare_arch_share(w).count;
    for (; n < 3 && w->dim[n] != PARE_DIM_NONE; n++)
        dim[n] = pare_dim_size(w->dim[n], hp, layer);
    if (n_shares > 0)
        dim[n - 2] *= n_shares;
    if (bias && n > 1)
        n--;
    else if (w->map == PARE_MAP_TRANSPOSE) {
        uint64_t rows = dim[n - 2];
        dim[n - 2] = dim[n - 1];
        dim[n - 1] = rows;
    }
    t.n_dims = n - first;
    memcpy(t.dim, dim + first, t.n_dims * sizeof *dim);
    t.data = (const uint8_t *)(ramp + m->n_tensors);
    CHECK_OK(pare_tensor_set_shape(&t, "mixture", &err), &err);
    CHECK(t.n_bytes + m->n_tensors * sizeof *ramp <= RAMP * sizeof *ramp);
    if (drop == NULL || strcmp(drop, name) != 0)
        CHECK_OK(pare_model_add(m, &t, NULL, &err), &err);
}

static void put_weights(pare_model *m, const pare_arch *arch, const pare_hparams *hp, const float *ramp,
                        const char *drop)
{
    for (size_t i = 0; i < arch->n_weights; i++) {
        const pare_arch_weight *w = &arch->weights[i];
        uint32_t n_layers = pare_weight_per_layer(w->id) ? hp->n_layer : 1;
        uint32_t n_experts = w->map == PARE_MAP_STACK ? hp->n_expert : 1;
        if (!pare_arch_requires(w, hp, 0, false) || pare_arch_share(w).index > 0)
            continue;
        for (uint32_t layer = 0; layer < n_layers; layer++) {
            for (uint32_t e = 0; e < n_experts; e++)
                put_tensor_of(m, w, layer, e, false, hp, ramp, drop);
            if (pare_arch_requires(w, hp, 0, true))
                put_tensor_of(m, w, layer, 0, true, hp, ramp, drop);
        }
    }
}

/* A folder of that class with three experts, of which a token takes two; patch changes its config afterwards. */
static const char *make_mixture(const char *class_name, const char *patch, const char *drop)
{
    const pare_hf_class *class = NULL;
    const pare_arch *arch = pare_arch_find_class(class_name, &class);
    const char *dir = fresh_path(), *names[128];
    char text[512], path[4500];
    pare_model m = {.path = "mixture"};
    pare_hparams hp;
    pare_error err = {0};
    pare_buf dump = {0};
    float *ramp = check_malloc(RAMP * sizeof *ramp);
    for (int i = 0; i < RAMP; i++)
        ramp[i] = (float)i;
    snprintf(text, sizeof text,
             "{\"architectures\":[\"%s\"],\"model_type\":\"%s\",\"%s\":3,\"num_experts_per_tok\":2,"
             "\"moe_intermediate_size\":6,\"shared_expert_intermediate_size\":10,\"shared_intermediate_size\":10,"
             "\"norm_topk_prob\":true,\"rope_scaling\":{\"rope_type\":\"default\"}}",
             class_name, class->model_type, class->experts);
    json_t *config = patched(text), *changes = json_loads(patch, 0, NULL);
    CHECK_OK(pare_hparams_from_config(&hp, arch, config, "mixture", &err), &err);
    CHECK_OK(pare_model_reserve(&m, 128, &err), &err);
    put_weights(&m, arch, &hp, ramp, drop);
    for (size_t i = 0; i < m.n_tensors; i++)
        names[i] = m.tensors[i].name;
    CHECK(mkdir(dir, 0777) == 0);
    CHECK_OK(pare_safetensors_write(&m, names, dir, 0, NULL, &err), &err);
    CHECK(json_object_update(config, changes) == 0);
    CHECK_OK(pare_json_dump(config, &dump, &err), &err);
    snprintf(path, sizeof path, "%s/config.json", dir);
    check_write_file(path, dump.data, dump.len);
    json_decref(changes);
    json_decref(config);
    pare_buf_close(&dump);
    pare_model_close(&m);
    free(ramp);
    return dir;
}

static void mixtures_come_back_from_gguf(void **state)
{
    (void)state;
    size_t n_classes = 0;
    for (size_t i = 0; pare_arch_at(i) != NULL; i++)
        for (const pare_hf_class *c = pare_arch_at(i)->hf_classes; c->name != NULL; c++) {
            bool linear = pare_arch_weight_of(pare_arch_at(i), PARE_W_SSM_CONV1D) != NULL;
            if (c->experts == NULL || pare_arch_at(i)->routing_keys || linear ||
                c->section != NULL) /* these have fixtures: tests/families */
                continue;
            n_classes++;
            folder_to_gguf_to_folder(make_mixture(c->name, "{}", NULL));
            folder_to_gguf_to_folder(make_mixture(c->name, "{\"norm_topk_prob\":false}", NULL));
        }
    CHECK(n_classes >= 4);
}

/* A file saved from the model inside of its class: no name has the leading part. */
static void finds_the_weights_of_the_model_inside(void **state)
{
    (void)state;
    pare_model raw, m;
    pare_error err = {0};
    const char *whole = make_mixture("MixtralForCausalLM", "{}", NULL), *names[128], *dir = fresh_path();
    char path[4500];
    size_t n_config;
    CHECK_OK(pare_hf_open(&raw, whole, PARE_OPEN_RAW, &err), &err);
    for (size_t i = 0; i < raw.n_tensors; i++)
        names[i] = raw.tensors[i].name + (strncmp(raw.tensors[i].name, "model.", 6) == 0 ? 6 : 0);
    CHECK(mkdir(dir, 0777) == 0);
    CHECK_OK(pare_safetensors_write(&raw, names, dir, 0, NULL, &err), &err);
    snprintf(path, sizeof path, "%s/config.json", whole);
    uint8_t *config = check_read_file(path, &n_config);
    snprintf(path, sizeof path, "%s/config.json", dir);
    check_write_file(path, config, n_config);
    free(config);
    CHECK_OK(pare_hf_open(&m, dir, 0, &err), &err);
    CHECK(m.n_tensors > 0 && pare_model_find(&m, "blk.1.ffn_down_exps.weight") != NULL);
    pare_model_close(&m);
    pare_model_close(&raw);
}

static char told[1024];

static void keep_warning(const char *text, void *user)
{
    (void)user;
    snprintf(told, sizeof told, "%s", text);
}

/* config.json of the folder `plain` as that of a class that has sight, too, into dir. */
static void wrap_config(const char *plain, const char *dir)
{
    json_t *text = json_load_file(at(plain, "config.json"), 0, NULL);
    json_t *config = json_pack("{s:[s], s:s, s:o, s:{}}", "architectures", "Gemma4ForConditionalGeneration",
                               "model_type", "gemma4", "text_config", text, "vision_config");
    CHECK(config != NULL && json_dump_file(config, at(dir, "config.json"), 0) == 0);
    json_decref(config);
}

/* Gemma 4 inside of its class with sight: other names, and tensors that are no part of it. */
static void finds_gemma4_beside_its_sight(void **state)
{
    (void)state;
    static const uint8_t zeros[64];
    pare_model raw, text, whole;
    pare_error err = {0};
    char folder[4200], names[256][128];
    const char *list[256], *dir = fresh_path();
    pare_tensor sight = {
        .name = "model.vision_tower.patch", .type = PARE_TYPE_BF16, .n_dims = 2, .dim = {4, 8}, .data = zeros};
    snprintf(folder, sizeof folder, "%s", source_path("tests/families/gemma4moe"));
    CHECK_OK(pare_hf_open(&raw, folder, PARE_OPEN_RAW, &err), &err);
    CHECK(raw.n_tensors < 255 && mkdir(dir, 0777) == 0);
    CHECK_OK(pare_tensor_set_shape(&sight, "test", &err), &err);
    CHECK_OK(pare_model_reserve_more(&raw, 1, &err), &err);
    CHECK_OK(pare_model_add(&raw, &sight, NULL, &err), &err);
    for (size_t i = 0; i < raw.n_tensors; i++) {
        const char *name = raw.tensors[i].name;
        bool inside = strncmp(name, "model.", 6) == 0 && strcmp(name, sight.name) != 0;
        snprintf(names[i], sizeof names[i], "%s%s", inside ? "model.language_model." : "", name + (inside ? 6 : 0));
        list[i] = names[i];
    }
    CHECK_OK(pare_safetensors_write(&raw, list, dir, 0, NULL, &err), &err);
    wrap_config(folder, dir);
    pare_set_warn_sink(keep_warning, NULL);
    CHECK_OK(pare_hf_open(&text, folder, 0, &err), &err);
    told[0] = '\0';
    CHECK_OK(pare_hf_open(&whole, dir, PARE_OPEN_NO_VOCAB, &err), &err);
    pare_set_warn_sink(NULL, NULL);
    CHECK(strstr(told, ": 1 tensors of parts beside the language model") != NULL);
    CHECK(whole.n_tensors == text.n_tensors && whole.arch == text.arch);
    for (size_t i = 0; i < text.n_tensors; i++) {
        const pare_tensor *a = &text.tensors[i], *b = pare_model_find(&whole, a->name);
        CHECK(b != NULL && a->type == b->type && a->n_bytes == b->n_bytes);
        uint8_t *x = check_malloc((size_t)a->n_bytes), *y = check_malloc((size_t)a->n_bytes);
        CHECK_OK(pare_tensor_read(a, 0, a->n_rows, x, &err), &err);
        CHECK_OK(pare_tensor_read(b, 0, b->n_rows, y, &err), &err);
        assert_memory_equal(x, y, (size_t)a->n_bytes);
        free(x);
        free(y);
    }
    same_hparams(folder, dir, true);
    pare_model_close(&raw);
    pare_model_close(&text);
    pare_model_close(&whole);
}

static void reads_the_numbers_of_experts(void **state)
{
    (void)state;
    pare_model m;
    pare_error err = {0};
    CHECK_OK(pare_hf_open(&m, make_mixture("Qwen2MoeForCausalLM", "{\"norm_topk_prob\":false}", NULL), 0, &err), &err);
    CHECK(m.hp.n_expert == 3 && m.hp.n_expert_used == 2 && m.hp.n_ff == 12 && m.hp.n_ff_expert == 6 &&
          m.hp.n_ff_shared == 10 && !m.hp.expert_norm && !m.hp.expert_norm_not_in_gguf);
    const pare_tensor *down = pare_model_find(&m, "blk.1.ffn_down_exps.weight");
    CHECK(down->n_dims == 3 && down->dim[0] == 3 && down->dim[1] == 8 && down->dim[2] == 6);
    float all[3 * 8 * 6], some[8 * 6];
    CHECK_OK(pare_tensor_read_f32(down, 0, 24, all, &err), &err);
    CHECK_OK(pare_tensor_read_f32(down, 5, 8, some, &err), &err); /* out of two experts */
    CHECK(memcmp(some, all + 5 * 6, sizeof some) == 0 && all[8 * 6] == all[0] + 1);
    pare_model_close(&m);
    CHECK_OK(pare_hf_open(&m, make_mixture("Qwen3MoeForCausalLM", "{\"norm_topk_prob\":false}", NULL), 0, &err), &err);
    CHECK(!m.hp.expert_norm && m.hp.expert_norm_not_in_gguf && m.hp.n_ff_shared == 0);
    pare_model_close(&m);
    CHECK_OK(pare_hf_open(&m, make_mixture("MixtralForCausalLM", "{}", NULL), 0, &err), &err);
    CHECK(m.hp.expert_norm && m.hp.n_ff_expert == 12);
    pare_model_close(&m);
}

static void refuses_experts_that_do_not_fit(void **state)
{
    (void)state;
    static const struct {
        const char *class, *patch, *drop;
        pare_status wanted;
        const char *words;
    } rows[] = {
        {"Qwen3MoeForCausalLM", "{\"num_experts\":0}", NULL, PARE_ERR_RANGE, "num_experts"},
        {"Qwen3MoeForCausalLM", "{\"num_experts\":4}", NULL, PARE_ERR_FORMAT, "mlp.experts.3.gate_proj"},
        {"Qwen3MoeForCausalLM", "{\"num_experts\":2}", NULL, PARE_ERR_FORMAT, "no part of architecture"},
        {"Qwen3MoeForCausalLM", "{\"num_experts\":16384}", NULL, PARE_ERR_FORMAT, "16384 experts in each of 2"},
        {"Qwen3MoeForCausalLM", "{\"num_experts\":16385}", NULL, PARE_ERR_RANGE, "num_experts"},
        {"Qwen3MoeForCausalLM", "{\"num_experts_per_tok\":4}", NULL, PARE_ERR_RANGE, "num_experts_per_tok"},
        {"Qwen3MoeForCausalLM", "{\"num_experts_per_tok\":0}", NULL, PARE_ERR_RANGE, "num_experts_per_tok"},
        {"Qwen3MoeForCausalLM", "{\"num_experts_per_tok\":null}", NULL, PARE_ERR_RANGE, "8 of 3 experts"},
        {"Qwen3MoeForCausalLM", "{\"moe_intermediate_size\":7}", NULL, PARE_ERR_RANGE, "[3, 8, 7]"},
        {"Qwen3MoeForCausalLM", "{\"decoder_sparse_step\":2}", NULL, PARE_ERR_UNSUPPORTED, "decoder_sparse_step"},
        {"Qwen3MoeForCausalLM", "{\"mlp_only_layers\":[1]}", NULL, PARE_ERR_UNSUPPORTED, "mlp_only_layers"},
        {"Qwen3MoeForCausalLM", "{}", "model.layers.1.mlp.experts.2.up_proj.weight", PARE_ERR_FORMAT,
         "experts.2.up_proj"},
        {"Qwen2MoeForCausalLM", "{\"shared_expert_intermediate_size\":9}", NULL, PARE_ERR_RANGE, "want [8, 9]"},
        {"Qwen2MoeForCausalLM", "{}", "model.layers.0.mlp.shared_expert_gate.weight", PARE_ERR_FORMAT,
         "shared_expert_gate"},
        {"MixtralForCausalLM", "{\"intermediate_size\":11}", NULL, PARE_ERR_RANGE, "[3, 11, 8]"},
        {"MixtralForCausalLM", "{}", "model.layers.0.block_sparse_moe.gate.weight", PARE_ERR_FORMAT, "moe.gate"},
        {"OlmoeForCausalLM", "{\"clip_qkv\":8}", NULL, PARE_ERR_UNSUPPORTED, "clip_qkv"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pare_model m;
        pare_error err = {0};
        pare_status st = pare_hf_open(&m, make_mixture(rows[i].class, rows[i].patch, rows[i].drop), 0, &err);
        if (st != rows[i].wanted || strstr(err.text, rows[i].words) == NULL)
            fail_msg("%s: status %d, '%s'; wanted %d and '%s'", rows[i].patch, (int)st, err.text, (int)rows[i].wanted,
                     rows[i].words);
    }
}

static void refuses_bad_configs(void **state)
{
    (void)state;
    static const struct {
        const char *patch;
        pare_status wanted;
        const char *words;
    } rows[] = {
        {"{\"num_hidden_layers\":0}", PARE_ERR_RANGE, "num_hidden_layers"},
        {"{\"num_hidden_layers\":-1}", PARE_ERR_RANGE, "num_hidden_layers"},
        {"{\"num_hidden_layers\":1000000000}", PARE_ERR_RANGE, "num_hidden_layers"},
        {"{\"num_hidden_layers\":\"32\"}", PARE_ERR_FORMAT, "num_hidden_layers"},
        {"{\"num_hidden_layers\":32.5}", PARE_ERR_FORMAT, "num_hidden_layers"},
        {"{\"num_hidden_layers\":\"-\"}", PARE_ERR_FORMAT, "num_hidden_layers"},
        {"{\"num_hidden_layers\":1}", PARE_ERR_FORMAT, "model.layers.1."},
        {"{\"num_hidden_layers\":3}", PARE_ERR_FORMAT, "model.layers.2."},
        {"{\"hidden_size\":9}", PARE_ERR_RANGE, "9"},
        {"{\"hidden_size\":16}", PARE_ERR_RANGE, "shape"},
        {"{\"num_key_value_heads\":4}", PARE_ERR_RANGE, "4 key/value heads"},
        {"{\"num_attention_heads\":4,\"num_key_value_heads\":3}", PARE_ERR_RANGE, "3 key/value heads"},
        {"{\"num_attention_heads\":0}", PARE_ERR_RANGE, "num_attention_heads"},
        {"{\"head_dim\":5}", PARE_ERR_RANGE, "even"},
        {"{\"vocab_size\":17}", PARE_ERR_RANGE, "embed_tokens"},
        {"{\"vocab_size\":0}", PARE_ERR_RANGE, "vocab_size"},
        {"{\"intermediate_size\":13}", PARE_ERR_RANGE, "shape"},
        {"{\"rms_norm_eps\":0}", PARE_ERR_RANGE, "rms_norm_eps"},
        {"{\"rms_norm_eps\":-1e-5}", PARE_ERR_RANGE, "rms_norm_eps"},
        {"{\"rms_norm_eps\":\"1e-5\"}", PARE_ERR_FORMAT, "rms_norm_eps"},
        {"{\"rope_theta\":0}", PARE_ERR_RANGE, "rope_theta"},
        {"{\"rope_scaling\":{\"type\":\"linear\"}}", PARE_ERR_FORMAT, "factor"},
        {"{\"rope_scaling\":{\"type\":\"linear\",\"factor\":-2}}", PARE_ERR_RANGE, "factor"},
        {"{\"rope_scaling\":{\"type\":\"spiral\",\"factor\":2}}", PARE_ERR_UNSUPPORTED, "spiral"},
        {"{\"rope_scaling\":[1]}", PARE_ERR_FORMAT, "rope_scaling"},
        {"{\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,\"high_freq_factor\":1,"
         "\"original_max_position_embeddings\":16}}",
         PARE_ERR_RANGE, "llama3"},
        {"{\"partial_rotary_factor\":0.5}", PARE_ERR_UNSUPPORTED, "partial_rotary_factor"},
        {"{\"hidden_act\":\"quick_gelu\"}", PARE_ERR_UNSUPPORTED, "quick_gelu"},
        {"{\"attention_bias\":true}", PARE_ERR_FORMAT, "q_proj.bias"},
        {"{\"attention_bias\":1}", PARE_ERR_FORMAT, "attention_bias"},
        {"{\"tie_word_embeddings\":false}", PARE_ERR_FORMAT, "lm_head.weight"},
        {"{\"architectures\":[\"HyenaForCausalLM\"]}", PARE_ERR_UNSUPPORTED, "HyenaForCausalLM"},
        {"{\"architectures\":[]}", PARE_ERR_FORMAT, "architectures"},
        {"{\"architectures\":\"LlamaForCausalLM\"}", PARE_ERR_FORMAT, "architectures"},
        {"{\"auto_map\":{\"AutoModel\":\"x.Y\"}}", PARE_ERR_UNSUPPORTED, "'x.Y' for architecture 'LlamaForCausalLM'"},
        {"{\"auto_map\":{\"AutoModel\":\"x.NoLlamaForCausalLM\",\"AutoConfig\":7}}", PARE_ERR_UNSUPPORTED, "auto_map"},
        {"{\"auto_map\":[]}", PARE_ERR_UNSUPPORTED, "auto_map"},
        {"{\"architectures\":[\"HyenaForCausalLM\"],\"auto_map\":{\"AutoModel\":\"x.HyenaForCausalLM\"}}",
         PARE_ERR_UNSUPPORTED, "'x.HyenaForCausalLM'"},
        {"{\"quantization_config\":{\"bits\":4}}", PARE_ERR_FORMAT, "quant_method"},
        {"{\"quantization_config\":[4]}", PARE_ERR_FORMAT, "no JSON object"},
        {"{\"quantization_config\":{\"quant_method\":\"squeeze\"}}", PARE_ERR_UNSUPPORTED, "method 'squeeze'"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        refused(&(tiny){.patch = rows[i].patch}, rows[i].wanted, rows[i].words);
}

static void names_missing_and_strange_tensors(void **state)
{
    (void)state;
    refused(&(tiny){.drop = "model.layers.1.mlp.up_proj.weight"}, PARE_ERR_FORMAT,
            "'model.layers.1.mlp.up_proj.weight'");
    refused(&(tiny){.drop = "model.norm.weight", .rename = "model.final.weight"}, PARE_ERR_FORMAT,
            "not expected: 'model.final.weight'");
    refused(&(tiny){.vocab_rows = 20}, PARE_ERR_RANGE, "[20, 8]");
    refused(&(tiny){.patch = "{\"num_key_value_heads\":2}"}, PARE_ERR_RANGE, "self_attn.k_proj");
}

static void ignores_what_is_no_weight(void **state)
{
    (void)state;
    pare_model m;
    pare_error err = {0};
    const char *dir = make_folder(
        &(tiny){.drop = "model.layers.1.mlp.up_proj.weight", .rename = "model.layers.1.self_attn.rotary_emb.inv_freq"});
    CHECK(pare_hf_open(&m, dir, 0, &err) == PARE_ERR_FORMAT);
    CHECK(strstr(err.text, "not expected") == NULL); /* only the weight is missed */
}

/* Code that was published for a class that is described here is not needed. */
static void needs_no_code_for_a_known_class(void **state)
{
    (void)state;
    pare_model m;
    opens(&(tiny){.patch = "{\"auto_map\":{\"AutoConfig\":\"c.LlamaConfig\",\"AutoModelForCausalLM\":"
                           "\"m.LlamaForCausalLM\"}}"},
          &m);
    pare_model_close(&m);
    opens(&(tiny){.patch = "{\"auto_map\":null}"}, &m);
    pare_model_close(&m);
}

static void takes_the_defaults_of_the_class(void **state)
{
    (void)state;
    pare_model m;
    opens(&(tiny){.patch = "{\"rms_norm_eps\":\"-\",\"max_position_embeddings\":\"-\"}"}, &m);
    CHECK(m.hp.norm_eps == 1e-6f && m.hp.n_ctx_train == 2048 && m.hp.rope_base == 10000.0f && m.hp.head_dim_k == 4);
    CHECK(m.hp.tied_output && m.hp.window == 0);
    pare_model_close(&m);
}

/* The config's word on the type of the weights is compared with the weights; general.file_type follows the weights. */
static void believes_the_weights_and_not_the_config(void **state)
{
    (void)state;
    pare_model m;
    pare_error err = {0};
    uint64_t file_type = 99;
    opens(&(tiny){.patch = "{\"torch_dtype\":\"bfloat16\"}"}, &m);
    CHECK_OK(pare_meta_u64(&m.meta, m.path, "general.file_type", 0, 99, &file_type, NULL, &err), &err);
    assert_int_equal(file_type, 0);
    pare_model_close(&m);
    CHECK_OK(pare_hf_open(&m, source_path("tests/data/demo"), PARE_OPEN_NO_VOCAB, &err), &err);
    CHECK_OK(pare_meta_u64(&m.meta, m.path, "general.file_type", 0, 99, &file_type, NULL, &err), &err);
    assert_int_equal(file_type, 32); /* mostly BF16 */
    pare_model_close(&m);
    pare_set_strict(true);
    refused(&(tiny){.patch = "{\"torch_dtype\":\"bfloat16\"}"}, PARE_ERR_FORMAT, "bfloat16, the file has f32");
    pare_set_strict(false);
}

static void reads_windows(void **state)
{
    (void)state;
    static const struct {
        const char *patch;
        uint32_t window, layer0, layer1;
        bool lost;
    } rows[] = {
        {"{\"sliding_window\":16}", 0, 0, 0, false}, /* the llama class has none */
        {"{\"architectures\":[\"MistralForCausalLM\"],\"sliding_window\":16}", 16, 16, 16, true},
        {"{\"architectures\":[\"MistralForCausalLM\"],\"sliding_window\":64}", 64, 64, 64, false}, /* never acts */
        {"{\"architectures\":[\"MistralForCausalLM\"],\"sliding_window\":null}", 0, 0, 0, false},
        {"{\"architectures\":[\"MistralForCausalLM\"]}", 4096, 4096, 4096, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pare_model m;
        opens(&(tiny){.patch = rows[i].patch}, &m);
        CHECK(m.hp.window == rows[i].window && m.hp.window_not_in_gguf == rows[i].lost);
        CHECK(pare_layer_window(&m.hp, 0) == rows[i].layer0 && pare_layer_window(&m.hp, 1) == rows[i].layer1);
        pare_model_close(&m);
    }
}

static void opens_a_file_beside_its_config(void **state)
{
    (void)state;
    pare_model m;
    pare_error err = {0};
    char path[4500];
    snprintf(path, sizeof path, "%s/model.safetensors", make_folder(&(tiny){0}));
    CHECK_OK(pare_hf_open(&m, path, 0, &err), &err);
    CHECK(m.n_tensors == 20 && pare_model_find(&m, "blk.1.attn_q.weight") != NULL);
    pare_model_close(&m);
}

static void refuses_other_weights(void **state)
{
    (void)state;
    pare_model m;
    pare_error err = {0};
    char path[4500];
    const char *dir = fresh_path();
    CHECK(mkdir(dir, 0777) == 0);
    check_write_file(strcat(strcpy(path, dir), "/config.json"), "{}", 2);
    CHECK(pare_hf_open(&m, dir, 0, &err) == PARE_ERR_FORMAT);
    snprintf(path, sizeof path, "%s/pytorch_model.bin", dir);
    check_write_file(path, "x", 1);
    CHECK(pare_hf_open(&m, dir, 0, &err) == PARE_ERR_UNSUPPORTED);
    CHECK(strstr(err.text, "pytorch_model.bin") != NULL);
}

/* dir/name becomes a link with this text to where its content goes. */
static void move_and_link(const char *dir, const char *name, const char *to, const char *text)
{
    CHECK(rename(at(dir, name), to) == 0 && symlink(text, at(dir, name)) == 0);
}

static void follows_links_only_as_the_hubs_cache_has_them(void **state)
{
    (void)state;
#define BLOB "0123456789abcdef0123456789abcdef01234567"
    pare_model m;
    pare_error err = {0};
    const char *cache = fresh_path();
    char snapshot[4600];
    strcpy(snapshot, at(cache, "snapshots/1"));
    CHECK(mkdir(cache, 0777) == 0 && mkdir(at(cache, "snapshots"), 0777) == 0 && mkdir(at(cache, "blobs"), 0777) == 0);
    CHECK(rename(make_folder(&(tiny){0}), snapshot) == 0);
    CHECK(rename(at(snapshot, "model.safetensors"), at(cache, "blobs/" BLOB)) == 0);
    CHECK(symlink("../../blobs/" BLOB, at(snapshot, "model.safetensors")) == 0);
    CHECK_OK(pare_hf_open(&m, snapshot, 0, &err), &err);
    pare_model_close(&m);
#undef BLOB
    static const char *const names[] = {"model.safetensors", "config.json"};
    for (size_t i = 0; i < 2; i++) {
        const char *dir = make_folder(&(tiny){0}), *target = fresh_path();
        move_and_link(dir, names[i], target, target);
        CHECK(pare_hf_open(&m, dir, 0, &err) == PARE_ERR_FORMAT && strstr(err.text, names[i]) != NULL);
        CHECK(remove(at(dir, names[i])) == 0 && mkfifo(at(dir, names[i]), 0666) == 0);
        CHECK(pare_hf_open(&m, dir, 0, &err) == PARE_ERR_FORMAT && strstr(err.text, names[i]) != NULL); /* no waiting */
    }
}

static void refuses_a_large_or_deep_config(void **state)
{
    (void)state;
    pare_model m;
    pare_error err = {0};
    char path[4500];
    const char *dir = make_folder(&(tiny){0});
    snprintf(path, sizeof path, "%s/config.json", dir);
    CHECK(truncate(path, 200 << 20) == 0); /* sparse */
    CHECK(pare_hf_open(&m, dir, 0, &err) == PARE_ERR_RANGE && strstr(err.text, "config.json") != NULL);
    char *deep = check_malloc(100000);
    memset(deep, '[', 100000);
    check_write_file(path, deep, 100000);
    CHECK(pare_hf_open(&m, dir, 0, &err) == PARE_ERR_FORMAT && strstr(err.text, "config.json") != NULL);
    free(deep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(converts_as_stock_does),
        cmocka_unit_test(writes_the_bytes_that_stock_writes),
        cmocka_unit_test(folders_come_back_the_same),
        cmocka_unit_test(folders_come_back_from_gguf),
        cmocka_unit_test(refuses_to_replace_its_input),
        cmocka_unit_test(mixtures_come_back_from_gguf),
        cmocka_unit_test(finds_the_weights_of_the_model_inside),
        cmocka_unit_test(finds_gemma4_beside_its_sight),
        cmocka_unit_test(reads_the_numbers_of_experts),
        cmocka_unit_test(refuses_experts_that_do_not_fit),
        cmocka_unit_test(refuses_bad_configs),
        cmocka_unit_test(names_missing_and_strange_tensors),
        cmocka_unit_test(ignores_what_is_no_weight),
        cmocka_unit_test(needs_no_code_for_a_known_class),
        cmocka_unit_test(takes_the_defaults_of_the_class),
        cmocka_unit_test(believes_the_weights_and_not_the_config),
        cmocka_unit_test(reads_windows),
        cmocka_unit_test(opens_a_file_beside_its_config),
        cmocka_unit_test(refuses_other_weights),
        cmocka_unit_test(follows_links_only_as_the_hubs_cache_has_them),
        cmocka_unit_test(refuses_a_large_or_deep_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
