/* pare kv on small random models whose layers are not alike: what it refuses, what it leaves out, and that its bytes
 * are those of the memory model. */
#include "cli.h"
#include "core/random.h"
#include "eval/kv.h"
#include "formats/open.h"
#include "memory/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MEASURE " -f text.txt --depths 32 --chunks 2 --heads 1 --device cpu"

/* How a family's model is changed. */
typedef struct change {
    const char *family, *name;
    void (*config)(json_t *config);
    /* Elements of a head over those of the family's, of a layer. 0: there is no such layer any more. */
    int (*wider)(int layer);
} change;

static void put_file(const char *folder, const char *name, const void *bytes, size_t n)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s/%s", cli_folder(), folder, name);
    check_write_file(path, bytes, n);
}

static void put_json(const char *folder, const char *name, const json_t *doc)
{
    char *text = json_dumps(doc, 0);
    CHECK(text != NULL);
    put_file(folder, name, text, strlen(text));
    free(text);
}

/* A token for each letter, digit, space, line break, full stop and question mark. */
static void put_tokenizer(const char *folder)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.?";
    json_t *vocab = json_pack("{s:i, s:i, s:i, s:i, s:i}", "<a>", 0, "<b>", 1, "<c>", 2, "\304\240", 3, "\304\212", 4);
    for (int i = 0; letters[i] != '\0'; i++)
        json_object_set_new(vocab, (const char[]){letters[i], '\0'}, json_integer(5 + i));
    json_t *bytes = json_pack("{s:s, s:b}", "type", "ByteLevel", "add_prefix_space", 0);
    json_t *doc = json_pack("{s:[], s:O, s:O, s:{s:s, s:o, s:[]}}", "added_tokens", "pre_tokenizer", bytes, "decoder",
                            bytes, "model", "type", "BPE", "vocab", vocab, "merges");
    CHECK(doc != NULL);
    put_json(folder, "tokenizer.json", doc);
    json_decref(bytes);
    json_decref(doc);
}

static int layer_of(const char *tensor)
{
    const char *at = strstr(tensor, "layers.");
    return at != NULL ? atoi(at + 7) : -1;
}

/* The axis of a tensor of attention that heads lie on; -1: none. */
static int axis_of_heads(const char *tensor)
{
    static const char *const first[] = {"q_proj", "k_proj", "v_proj", "q_norm", "k_norm"};
    if (strstr(tensor, "self_attn.o_proj") != NULL)
        return 1;
    for (size_t i = 0; i < sizeof first / sizeof first[0] && strstr(tensor, "self_attn.") != NULL; i++)
        if (strstr(tensor, first[i]) != NULL)
            return 0;
    return -1;
}

/* Random BF16 for each tensor of the family's file, in the shapes of the changed one. */
static void put_weights(const change *c, const char *folder)
{
    char path[512];
    size_t n = 0, n_out = 0;
    uint64_t header_bytes = 0;
    const char *name;
    json_t *row, *header = json_object();
    snprintf(path, sizeof path, "tests/families/%s/model.safetensors", c->family);
    uint8_t *from = check_read_file(source_path(path), &n);
    memcpy(&header_bytes, from, 8);
    json_t *old = json_loadb((const char *)from + 8, (size_t)header_bytes, 0, NULL);
    CHECK(old != NULL);
    free(from);
    json_object_foreach(old, name, row)
    {
        const int layer = layer_of(name), axis = axis_of_heads(name), times = layer >= 0 ? c->wider(layer) : 1;
        json_t *shape = json_object_get(row, "shape");
        json_int_t count = 1;
        if (shape == NULL || times == 0)
            continue;
        if (axis >= 0)
            json_array_set_new(shape, (size_t)axis,
                               json_integer(times * json_integer_value(json_array_get(shape, (size_t)axis))));
        for (size_t i = 0; i < json_array_size(shape); i++)
            count *= json_integer_value(json_array_get(shape, i));
        json_object_set_new(header, name,
                            json_pack("{s:s, s:O, s:[I, I]}", "dtype", "BF16", "shape", shape, "data_offsets",
                                      (json_int_t)n_out, (json_int_t)n_out + 2 * count));
        n_out += 2 * (size_t)count;
    }
    char *text = json_dumps(header, 0);
    const uint64_t len = strlen(text);
    uint8_t *out = check_malloc(8 + len + n_out);
    memcpy(out, &len, 8);
    memcpy(out + 8, text, len);
    for (size_t i = 0; i < n_out / 2; i++) { /* sign, and 0.125 up to 0.5 */
        const uint64_t bits = pare_random(7, i);
        const uint16_t value = (uint16_t)((bits & 0x8000) | (0x3e00 + bits % 0x100));
        memcpy(out + 8 + len + 2 * i, &value, 2);
    }
    put_file(folder, "model.safetensors", out, 8 + (size_t)len + n_out);
    free(out);
    free(text);
    json_decref(old);
    json_decref(header);
}

static void put_text(void)
{
    char text[2000];
    for (size_t i = 0; i + 1 < sizeof text; i++)
        text[i] = "abcdefghijklmnop ABCDEFGH. 012345"[pare_random_below(3, i, 33)];
    text[sizeof text - 1] = '\0';
    put_file(".", "text.txt", text, strlen(text));
}

static const char *make(const change *c)
{
    char path[1024];
    size_t n = 0;
    snprintf(path, sizeof path, "%s/%s", cli_folder(), c->name);
    if (mkdir(path, 0777) != 0)
        return c->name; /* it is there */
    put_text();
    snprintf(path, sizeof path, "tests/families/%s/config.json", c->family);
    char *text = (char *)check_read_file(source_path(path), &n);
    json_t *config = json_loadb(text, n, 0, NULL);
    CHECK(config != NULL);
    c->config(config);
    put_json(c->name, "config.json", config);
    put_tokenizer(c->name);
    put_weights(c, c->name);
    json_decref(config);
    free(text);
    return c->name;
}

static void as_it_is(json_t *config)
{
    (void)config;
}

static int one(int layer)
{
    (void)layer;
    return 1;
}

static void set_heads(json_t *config, int window, int full)
{
    json_t *layers = json_object_get(config, "per_layer_config");
    json_object_set_new(config, "head_dim", json_integer(window));
    json_object_set_new(json_object_get(layers, "2"), "head_dim", json_integer(full));
    json_object_set_new(json_object_get(layers, "4"), "head_dim", json_integer(full));
}

/* Gemma 4: layers with a window have heads of 8, the others (2 and 4) of 16, and the last two read earlier keys. */
static void heads_64_128(json_t *config)
{
    set_heads(config, 64, 128);
}

static void heads_32_48(json_t *config)
{
    set_heads(config, 32, 48);
}

static int eight(int layer)
{
    (void)layer;
    return 8;
}

static int four_or_three(int layer)
{
    return layer == 2 || layer == 4 ? 3 : 4;
}

/* Qwen 3.5: every other layer is recurrent; heads of 16. */
static void heads_32(json_t *config)
{
    json_object_set_new(config, "head_dim", json_integer(32));
    json_object_set_new(json_object_get(config, "rope_parameters"), "mrope_section", json_pack("[i,i,i]", 2, 2, 0));
}

static int two(int layer)
{
    (void)layer;
    return 2;
}

static void recurrent_alone(json_t *config)
{
    json_object_set_new(config, "num_hidden_layers", json_integer(1));
    json_object_set_new(config, "layer_types", json_pack("[s]", "linear_attention"));
}

static int first_layer(int layer)
{
    return layer == 0;
}

static void heads_32_64(json_t *config)
{
    set_heads(config, 32, 64);
}

static int four(int layer)
{
    (void)layer;
    return 4;
}

static const change latent = {"deepseek_v2", "latent", as_it_is, one}, sinks = {"gpt_oss", "sinks", as_it_is, one};
static const change narrow = {"gemma4", "narrow", heads_32_64, four};
static const change small = {"gemma4", "small", as_it_is, one}, mixed = {"gemma4", "mixed", heads_64_128, eight},
                    uneven = {"gemma4", "uneven", heads_32_48, four_or_three},
                    hybrid = {"qwen3_5", "hybrid", heads_32, two},
                    recurrent = {"qwen3_5", "recurrent", recurrent_alone, first_layer};

static json_t *measure(int code, const change *c, const char *options)
{
    cli_result r = cli_expect(code, "$PARE kv %s" MEASURE " --json %s", make(c), options);
    return cli_json(&r);
}

static const json_t *cache_of(const json_t *doc, const char *name)
{
    const json_t *row;
    size_t i;
    json_array_foreach(json_object_get(doc, "caches"), i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "name")), name) == 0)
            return row;
    }
    print_error("no cache %s\n", name);
    CHECK(false);
    return NULL;
}

/* There is nothing to measure: one line, and no text is read. */
static void refuses_models_without_a_cache(void **state)
{
    (void)state;
    cli_result r = cli_expect(4, "$PARE kv %s -f absent.txt", source_path("tests/families/bert"));
    CHECK(cli_contains(r.err, "bert: attention looks both ways: no cache is kept"));
    r = cli_expect(4, "$PARE kv %s -f absent.txt", make(&recurrent));
    CHECK(cli_contains(r.err, "recurrent: no layer has keys and values"));
    r = cli_expect(4, "$PARE kv recurrent -f absent.txt --cache all");
    CHECK(cli_contains(r.err, "recurrent: no layer has keys and values"));
}

/* A codec that some layer's heads cannot be kept in: asked for it is an error, of a list it is left out. */
static void refuses_heads_of_other_sizes(void **state)
{
    (void)state;
    cli_result r = cli_expect(2, "$PARE kv %s" MEASURE " --cache q8_0", make(&small));
    CHECK(cli_contains(r.err, "layer 0 has keys of 8 elements a head; q8_0 takes a multiple of 32"));
    r = cli_expect(2, "$PARE kv %s" MEASURE " --cache f16/q8_0", make(&uneven));
    CHECK(cli_contains(r.err, "layer 2 has values of 48 elements a head; q8_0 takes a multiple of 32"));
    r = cli_expect(0, "$PARE kv uneven" MEASURE " --limit 9");
    CHECK(cli_contains(r.out, "left out, since the model cannot be kept so: 9 of the caches; q8_0: uneven: layer 2 has "
                              "keys of 48 elements a head; q8_0 takes a multiple of 32"));
    CHECK(cli_contains(r.out, "recommended: f16 ") && !cli_contains(r.out, "\nq8_0"));
    json_t *doc = measure(0, &small, "--limit 9");
    CHECK(json_array_size(json_object_get(doc, "caches")) == 1 &&
          json_array_size(json_object_get(doc, "left_out")) == 9);
    json_decref(doc);
}

/* Why a cache was left out; "": it was not. */
static const char *why_not(const json_t *doc, const char *name)
{
    const json_t *row;
    size_t i;
    json_array_foreach(json_object_get(doc, "left_out"), i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "name")), name) == 0)
            return json_string_value(json_object_get(row, "why"));
    }
    return "";
}

/* Of all codecs those that the model cannot be kept in, whatever the reason, with that reason. */
static void leaves_out_what_cannot_be_kept(void **state)
{
    (void)state;
#define SHORT " -f text.txt --depths 4 --chunks 2 --heads 1 --device cpu --limit 99 --json --rotate off"
    static const struct {
        const change *model;
        const char *kivi;
    } rows[] = {{&small, "which pare does not do where layers share keys"},
                {&latent, "which pare does not do where attention is latent"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *doc = NULL;
        cli_result r = cli_expect(0, "$PARE kv %s" SHORT " --cache all", make(rows[i].model));
        doc = cli_json(&r);
        CHECK(json_is_string(json_object_get(cache_of(doc, "f16"), "name")) && *why_not(doc, "f16") == '\0');
        CHECK(cli_contains(why_not(doc, "kivi4"), rows[i].kivi) && *why_not(doc, "turbo3") != '\0');
        CHECK(cli_contains(why_not(doc, "channel4/f16"), rows[i].kivi));
        CHECK(cli_contains(why_not(doc, "q8_0"), "elements a head; q8_0 takes a multiple of 32"));
        json_decref(doc);
    }
    cli_result r = cli_expect(0, "$PARE kv latent" SHORT " --cache f16,f32 --verbose");
    CHECK(!cli_contains(r.err, "is left out"));
    r = cli_expect(4, "$PARE kv latent" SHORT " --cache kivi4"); /* asked for by name it is an error */
    CHECK(cli_contains(r.err, "where attention is latent"));
    r = cli_expect(2, "$PARE kv latent" SHORT " --cache f16/f32");
    CHECK(cli_contains(r.err, "f32 for values alone: latent attention keeps one vector"));
}

/* Keys less their mean where sinks are logits: that row is left out, and the others are measured. */
static void leaves_out_the_mean(void **state)
{
    (void)state;
    cli_result r = cli_expect(0,
                              "$PARE kv %s -f text.txt --depths 4 --chunks 2 --heads 1 --device cpu --limit 99 "
                              "--json --cache turbo3,turbo2,f16 --mean text.txt --research",
                              make(&sinks));
    json_t *doc = cli_json(&r);
    CHECK(json_array_size(json_object_get(doc, "caches")) == 3);
    CHECK(json_array_size(json_object_get(doc, "left_out")) == 2);
    CHECK(cli_contains(why_not(doc, "turbo3 -mean"), "keys cannot be kept without their mean"));
    json_decref(doc);
}

/* Latent attention has no values of their own: they are coded as keys are, and said to be. */
static void latent_values_are_what_keys_are(void **state)
{
    (void)state;
    cli_result r =
        cli_expect(0, "$PARE eval %s -f text.txt -c 4 --chunks 2 --device cpu --cache-k bf16", make(&latent));
    CHECK(cli_contains(r.out, "cache: keys bf16 (rotation off), values bf16 (rotation off)"));
}

static bool is_research(const json_t *doc, const char *name)
{
    return json_is_true(json_object_get(cache_of(doc, name), "research"));
}

/* Layers of two head sizes: figures of all heads that there are; llama.cpp's rotation where it does it, which the first
 * layer's heads decide. */
static void measures_layers_that_differ(void **state)
{
    (void)state;
    json_t *doc = measure(0, &narrow, "--cache q4_0 --limit 9");
    CHECK(json_array_size(json_object_get(doc, "caches")) == 2);
    CHECK(is_research(doc, "q4_0 full") && !is_research(doc, "q4_0"));
    json_decref(doc);
    doc = measure(0, &mixed, "--cache q8_0,q4_0,turbo3 --limit 9 --report mixed.html");
    CHECK(json_array_size(json_object_get(doc, "caches")) == 5);
    CHECK(!is_research(doc, "q8_0 llama") && !is_research(doc, "q4_0 llama") && is_research(doc, "turbo3 full"));
    const char *chosen = json_string_value(json_object_get(json_object_get(doc, "recommendation"), "name"));
    CHECK(strncmp(chosen, "q4_0", 4) == 0); /* turbo3 is smaller */
    const json_t *q4_0 = cache_of(doc, "q4_0"), *turbo3 = cache_of(doc, "turbo3 full"),
                 *length = json_array_get(json_object_get(q4_0, "lengths"), 0),
                 *errors = json_object_get(json_object_get(q4_0, "heads"), "errors");
    CHECK(strcmp(json_string_value(json_object_get(q4_0, "rotation_keys")), "off") == 0);
    CHECK(strcmp(json_string_value(json_object_get(turbo3, "rotation_values")), "full") == 0);
    CHECK(cli_number(length, "kld_mean") > 0);
    CHECK(cli_number(length, "kld_mean") >
          cli_number(json_array_get(json_object_get(cache_of(doc, "q8_0"), "lengths"), 0), "kld_mean"));
    CHECK(json_array_size(errors) == 5);
    for (size_t l = 0; l < 5; l++) {
        CHECK(json_array_size(json_array_get(errors, l)) == 4);
        for (size_t h = 0; h < 4; h++) {
            const json_t *error = json_array_get(json_array_get(errors, l), h);
            CHECK(l < 3 ? json_number_value(error) > 0 : json_is_null(error)); /* the others read those layers' keys */
        }
    }
    json_decref(doc);
    CHECK(cli_contains(cli_expect(0, "cat mixed.html").out, "Error of attention, q4_0</title>"));
}

/* Keys and values of n tokens, a multiple of 256, in llama.cpp's plan. */
static uint64_t bytes_of_memory(const pare_model *m, const char *k, const char *v, uint64_t n)
{
    pare_error err = {0};
    pare_memory_model paper = {0};
    pare_memory_plan *plan = check_malloc(sizeof *plan);
    pare_memory_run run;
    uint64_t sum = 0;
    CHECK_OK(pare_memory_model_of(&paper, m, &err), &err);
    pare_memory_run_default(&run);
    run.n_ctx = n;
    run.cache_k = pare_kv_codec_find(k, PARE_KV_KEYS)->type;
    run.cache_v = pare_kv_codec_find(v, PARE_KV_VALUES)->type;
    CHECK_OK(pare_memory_runtime_at(0)->plan(plan, &paper, &run, &err), &err);
    CHECK(plan->n_ctx == n);
    for (size_t i = 0; i < plan->n_parts; i++)
        if (plan->parts[i].kind == PARE_MEMORY_CACHE && strncmp(plan->parts[i].name, "KV cache", 8) == 0)
            sum += plan->parts[i].bytes;
    pare_memory_model_close(&paper);
    free(plan);
    return sum;
}

static void bytes_are_those_of_memory(void **state)
{
    static const char *const types[] = {"f32", "bf16", "f16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"};
    static const change *const models[] = {&mixed, &hybrid};
    enum { N = sizeof types / sizeof types[0] };
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char path[1024], options[400] = "--rotate off --limit 99 --cache ", pair[40];
        pare_error err = {0};
        pare_model m;
        for (int k = 0; k < N; k++) { /* each alone, and with the one behind it */
            snprintf(pair, sizeof pair, "%s%s,%s/%s", k > 0 ? "," : "", types[k], types[k], types[(k + 1) % N]);
            strcat(options, pair);
        }
        json_t *doc = measure(0, models[i], options);
        snprintf(path, sizeof path, "%s/%s", cli_folder(), models[i]->name);
        CHECK_OK(pare_model_open(&m, path, 0, &err), &err);
        CHECK(json_array_size(json_object_get(doc, "caches")) == 2 * N);
        for (int k = 0; k < N; k++) {
            snprintf(pair, sizeof pair, "%s/%s", types[k], types[(k + 1) % N]);
            CHECK(cli_number(cache_of(doc, types[k]), "bytes_1024_tokens") ==
                  (double)bytes_of_memory(&m, types[k], types[k], 1024));
            CHECK(cli_number(cache_of(doc, pair), "bytes_1024_tokens") ==
                  (double)bytes_of_memory(&m, types[k], types[(k + 1) % N], 1024));
        }
        /* Two layers of 2 heads of 64 whose window is shorter than what a micro-batch adds to it; one of 128, keys and
         * values; the last two have none of their own. */
        if (i == 0)
            CHECK(bytes_of_memory(&m, "f16", "f16", 1024) == 2ULL * 2 * 2 * (768 * (64 + 64) + 1024 * 128));
        pare_model_close(&m);
        json_decref(doc);
    }
}

/* Below the window, above it, and between it and the cells that a micro-batch needs besides. */
static void windows_keep_what_memory_says(void **state)
{
    static const uint32_t windows[] = {6, 256, 700, 4096};
    static const char *const types[] = {"f16", "q8_0", "q4_0"};
    (void)state;
    char path[1024];
    pare_error err = {0};
    pare_model m;
    uint64_t few = 0;
    make(&mixed);
    snprintf(path, sizeof path, "%s/mixed", cli_folder());
    CHECK_OK(pare_model_open(&m, path, 0, &err), &err);
    for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++)
        for (uint64_t n = 256; n <= 8192; n *= 2)
            for (size_t k = 0; k < sizeof types / sizeof types[0]; k++) {
                const pare_memory_model paper = {.arch = m.arch, .hp = &m.hp};
                const pare_kv_form form = {.k = pare_kv_codec_find(types[k], PARE_KV_KEYS),
                                           .v = pare_kv_codec_find("f16", PARE_KV_VALUES)};
                uint64_t bytes = 0;
                m.hp.window = windows[i];
                const uint64_t kept = pare_memory_window_tokens(&paper, n);
                CHECK_OK(pare_kv_bytes(&form, &m, n, kept, &bytes, &err), &err);
                CHECK(bytes == bytes_of_memory(&m, types[k], "f16", n));
                few += kept < n;
                CHECK(kept <= n && kept >= (windows[i] < n ? windows[i] : n));
            }
    CHECK(few > 0);
    pare_model_close(&m);
}

int main(void)
{
    setenv("OMP_NUM_THREADS", "1", 1); /* threads of models so small do nothing but wait */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_models_without_a_cache),  cmocka_unit_test(refuses_heads_of_other_sizes),
        cmocka_unit_test(leaves_out_what_cannot_be_kept),  cmocka_unit_test(leaves_out_the_mean),
        cmocka_unit_test(latent_values_are_what_keys_are), cmocka_unit_test(measures_layers_that_differ),
        cmocka_unit_test(bytes_are_those_of_memory),       cmocka_unit_test(windows_keep_what_memory_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
