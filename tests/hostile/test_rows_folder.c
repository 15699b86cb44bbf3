/* Rows 64 and 74 to 90 of docs/formats/HOSTILE.md: Hub folders, their index and their tokenizer */
#include "rows.h"
#include "trial.h"
#include "whole.h"

#include "core/bytes.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char *config, *tokenizer; /* texts of the sound folder "hub" */
static pare_buf weights;         /* its model.safetensors */

static void read_into(pare_buf *b, const char *name)
{
    size_t n;
    uint8_t *bytes = check_read_file(trial_path(name), &n);
    b->len = 0;
    CHECK(pare_buf_put(b, bytes, n, NULL) == PARE_OK);
    free(bytes);
}

static int set_up(void **state)
{
    (void)state;
    whole w;
    pare_buf b = {0};
    whole_llama(&w);
    whole_put(&w, "whole.gguf");
    whole_close(&w);
    char command[5000];
    snprintf(command, sizeof command, "cd '%s' && '%s/pare' convert whole.gguf -o hub --quiet >/dev/null",
             trial_folder(), PARE_BINARY_DIR);
    CHECK(system(command) == 0);
    read_into(&b, "hub/config.json");
    config = strdup(b.data);
    read_into(&b, "hub/tokenizer.json");
    tokenizer = strdup(b.data);
    read_into(&weights, "hub/model.safetensors");
    pare_buf_close(&b);
    trial_accepted(NULL, "inspect hub");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(config), free(tokenizer);
    pare_buf_close(&weights);
    return 0;
}

static void restore(void)
{
    trial_put_text("hub/config.json", config);
    trial_put_text("hub/tokenizer.json", tokenizer);
    trial_put_buf("hub/model.safetensors", &weights);
}

/* `text` with the first `from` replaced by `to`; owned by the caller. */
static char *replaced(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    pare_buf b = {0};
    if (at == NULL)
        print_message("'%s' is not in %s\n", from, text);
    CHECK(at != NULL);
    CHECK(pare_buf_printf(&b, NULL, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) == PARE_OK);
    return b.data;
}

/* The folder is refused by verbs that change from call to call; then it is sound again. */
static void hub_refused(int code, const char *says)
{
    static const char *const verbs[] = {"convert hub -o out.gguf", "quantize hub -t q8_0 -o out.gguf",
                                        "eval hub -f text.txt --ctx 16", "inspect hub", "verify hub"};
    static size_t next; /* inspect and verify show what is valid and not supported */
    trial_refused(code, says, "%s", verbs[next++ % (code == 4 ? 3 : COUNT(verbs))]);
    restore();
}

static void config_refused(int code, const char *from, const char *to, const char *says)
{
    char *text = replaced(config, from, to);
    trial_put_text("hub/config.json", text);
    free(text);
    char parts[400];
    snprintf(parts, sizeof parts, "config.json|%s", says);
    hub_refused(code, parts);
}

static void tokenizer_refused(int code, const char *from, const char *to, const char *says)
{
    char *text = replaced(tokenizer, from, to);
    trial_put_text("hub/tokenizer.json", text);
    free(text);
    char parts[400];
    snprintf(parts, sizeof parts, "tokenizer.json|%s", says);
    hub_refused(code, parts);
}

/* a tensor that safetensors keeps for itself */
ROW(064)
{
    whole w;
    whole_llama(&w);
    whole_add(&w, "__metadata__", 0, 8, 0, 32);
    whole_put(&w, "m.gguf");
    whole_close(&w);
    trial_refused(3, "__metadata__", "convert m.gguf -o out");
    trial_accepted(NULL, "convert m.gguf -o out.gguf");
}

/* a file that is cut while it is read: the length in the directory counts, whatever was mapped */
ROW(074)
{
    const size_t cuts[] = {1, weights.len / 2, weights.len - 20, (size_t)trial_between(2, weights.len / 2)};
    for (size_t i = 0; i < COUNT(cuts); i++) {
        trial_put("hub/model.safetensors", weights.data, weights.len - cuts[i]);
        hub_refused(3, "model.safetensors|");
    }
    pid_t child = fork(); /* cuts and mends the file while pare reads it */
    CHECK(child >= 0);
    if (child == 0) {
        for (;;) {
            if (truncate(trial_path("hub/model.safetensors"), 4096) != 0)
                _exit(1);
            int fd = open(trial_path("hub/model.safetensors"), O_WRONLY);
            if (fd < 0 || pwrite(fd, weights.data, weights.len, 0) < 0)
                _exit(1);
            close(fd);
        }
    }
    for (int i = 0; i < 6; i++) {
        char command[5000];
        snprintf(command, sizeof command,
                 "cd '%s' && '%s/pare' quantize hub -t q8_0 -o cut.gguf --force --quiet >/dev/null 2>cut.err",
                 trial_folder(), PARE_BINARY_DIR);
        int status = system(command), code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
        size_t n;
        free(check_read_file(trial_path("cut.err"), &n));
        CHECK(code == 0 || ((code == 3 || code == 5) && n > 0)); /* whole, or told: never a signal */
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    trial_remove("cut.gguf");
    trial_remove("cut.err");
    restore();
}

/* what a run left that was killed while its files got their names */
static void names_that_were_not_given(void **state)
{
    (void)state;
    trial_put_text("hub/config.json.pare.set.7", "pare set 2\n");
    trial_warned("hub/config.json.pare.set.7|killed", "inspect hub");
    trial_remove("hub/config.json.pare.set.7");
    trial_accepted("killed", "inspect hub");
}

/* another dtype over the same bytes */
ROW(075)
{
    char *text = replaced(config, "\"torch_dtype\": \"float32\"", "\"torch_dtype\": \"bfloat16\"");
    trial_put_text("hub/config.json", text);
    free(text);
    trial_warned("config.json|bfloat16|f32", "convert hub -o out.gguf");
    restore();
    trial_put_text("hub/pare.lock", "");
    trial_accepted(NULL, "pin hub -o hub/pare.lock --force");
    char *at = memmem(weights.data, weights.len, "\"F32\"", 5);
    CHECK(at != NULL);
    memcpy(at, "\"I32\"", 5);
    trial_put_buf("hub/model.safetensors", &weights);
    trial_printed(1, "model.safetensors|i32", "verify hub/pare.lock");
    memcpy(at, "\"F32\"", 5);
    trial_remove("hub/pare.lock");
    trial_remove("hub/SHA256SUMS");
    restore();
}

/* ---- sets with an index: tensor t<i> in a shard of its own ---- */

static void put_shard(const char *name, const char *tensor)
{
    char header[200];
    pare_buf b = {0};
    uint8_t first[8];
    snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", tensor);
    pare_store_u64le(first, strlen(header));
    CHECK(pare_buf_put(&b, first, 8, NULL) == PARE_OK && pare_buf_puts(&b, header, NULL) == PARE_OK &&
          pare_buf_put(&b, "0123456789abcdef", 16, NULL) == PARE_OK);
    trial_put_buf(name, &b);
    pare_buf_close(&b);
}

static void put_index(const char *map, const char *total)
{
    pare_buf b = {0};
    CHECK(pare_buf_printf(&b, NULL, "{\"metadata\":{\"total_size\":%s},\"weight_map\":%s}", total, map) == PARE_OK);
    trial_put_buf("set/model.safetensors.index.json", &b);
    pare_buf_close(&b);
}

static void new_set(void)
{
    trial_remove("set");
    CHECK(mkdir(trial_path("set"), 0777) == 0);
    put_shard("set/a.safetensors", "t0");
    put_shard("set/b.safetensors", "t1");
    put_index("{\"t0\":\"a.safetensors\",\"t1\":\"b.safetensors\"}", "32");
}

#define INDEX "set/model.safetensors.index.json"

static void map_refused(const char *map, const char *says)
{
    char parts[400];
    put_index(map, "32");
    snprintf(parts, sizeof parts, INDEX "|%s", says);
    trial_refused(3, parts, "inspect " INDEX);
    trial_refused(3, parts, "pin " INDEX " -o o.lock");
}

ROW(076)
{
    static const char *const paths[] = {"../../x.safetensors",
                                        "/etc/passwd",
                                        "a\\\\..\\\\b",
                                        "..",
                                        "../a.safetensors",
                                        "./a.safetensors",
                                        "x/../a.safetensors",
                                        "a.safetensors/",
                                        "//a.safetensors",
                                        "",
                                        "a\\nb",
                                        "\\\\\\\\host\\\\share",
                                        "x//a.safetensors",
                                        "C:\\\\a.safetensors"};
    new_set();
    put_shard("a.safetensors", "t0"); /* what ../a.safetensors would reach */
    trial_accepted(NULL, "inspect " INDEX);
    for (size_t i = 0; i < COUNT(paths); i++) {
        char map[200];
        snprintf(map, sizeof map, "{\"t0\":\"%s\",\"t1\":\"b.safetensors\"}", paths[i]);
        map_refused(map, "weight_map|'t0'|plain relative path");
        trial_refused(3, INDEX "|weight_map|'t0'|plain relative path", "pin set -o set/o.lock");
    }
    map_refused("{\"t0\":\"a\\u0000b\",\"t1\":\"b.safetensors\"}", "offset 51|weight_map|NUL");
    trial_remove("a.safetensors");
}

ROW(077)
{
    static const char *const targets[] = {"/etc/passwd",
                                          "../outside.safetensors",
                                          "../../etc/hosts",
                                          "b.safetensors",
                                          "../../blobs/xyz",
                                          "../../blobs/0123456789abcdef0123456789abcdef01234567/..",
                                          "../../blobs/0123456789ABCDEF0123456789abcdef01234567"};
    new_set();
    put_shard("outside.safetensors", "t0");
    for (size_t i = 0; i < COUNT(targets); i++) {
        unlink(trial_path("set/a.safetensors"));
        CHECK(symlink(targets[i], trial_path("set/a.safetensors")) == 0);
        trial_refused(3, INDEX "|a.safetensors|symbolic link", "inspect " INDEX);
    }
    trial_remove("set/a.safetensors"); /* a folder on the way that is a link */
    CHECK(mkdir(trial_path("elsewhere"), 0777) == 0);
    put_shard("elsewhere/a.safetensors", "t0");
    CHECK(symlink("../elsewhere", trial_path("set/sub")) == 0);
    map_refused("{\"t0\":\"sub/a.safetensors\",\"t1\":\"b.safetensors\"}", "sub|symbolic link");
    trial_remove("elsewhere");
    trial_remove("outside.safetensors");
    /* the Hub's cache */
    static const char blob[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    char path[200], target[120];
    CHECK(mkdir(trial_path("cache"), 0777) == 0 && mkdir(trial_path("cache/blobs"), 0777) == 0 &&
          mkdir(trial_path("cache/snapshots"), 0777) == 0 && mkdir(trial_path("cache/snapshots/c0"), 0777) == 0);
    snprintf(path, sizeof path, "cache/blobs/%s", blob);
    put_shard(path, "t0");
    snprintf(target, sizeof target, "../../blobs/%s", blob);
    CHECK(symlink(target, trial_path("cache/snapshots/c0/a.safetensors")) == 0);
    trial_put_text("cache/snapshots/c0/model.safetensors.index.json", "{\"weight_map\":{\"t0\":\"a.safetensors\"}}");
    trial_accepted(NULL, "inspect cache/snapshots/c0/model.safetensors.index.json");
    trial_put_text("c.lock", "");
    trial_accepted(NULL, "pin cache/snapshots/c0 -o c.lock --force");
    trial_remove("c.lock");
    trial_remove("SHA256SUMS");
    trial_remove("cache");
}

ROW(078)
{
    new_set();
    map_refused("{\"t0\":\"none.safetensors\",\"t1\":\"gone.safetensors\"}",
                "2 faults|none.safetensors|gone.safetensors");
    map_refused("{\"t0\":\"a.safetensors\",\"t1\":\"b.safetensors\",\"t2\":\"a.safetensors\"}",
                "1 fault:|t2|a.safetensors");
    map_refused("{\"t0\":\"gone.safetensors\",\"other\":\"b.safetensors\"}",
                "3 faults|gone.safetensors|tensor other|tensor t1");
    map_refused("{\"t0\":\"a.safetensors\",\"other\":\"b.safetensors\"}", "t1|b.safetensors|other");
    map_refused("{\"x\":\"a.safetensors\",\"y\":\"b.safetensors\"}", "4 faults|tensor x|tensor y|t0|t1");
}

ROW(079)
{
    new_set();
    map_refused("{\"t0\":\"a.safetensors\",\"t1\":\"b.safetensors\",\"t0\":\"b.safetensors\"}", "t0");
    map_refused("{\"t0\":\"a.safetensors\",\"t1\":\"b.safetensors\",\"\\u0074\\u0030\":\"b.safetensors\"}",
                "duplicate");
    put_shard("set/b.safetensors", "t0");
    map_refused("{\"t0\":\"a.safetensors\",\"t1\":\"b.safetensors\"}", "t0|b.safetensors");
    map_refused("{\"t0\":\"b.safetensors\",\"t1\":\"a.safetensors\"}", "t0|a.safetensors");
}

ROW(080)
{
    static const char *const totals[] = {
        "31", "0", "33", "1000000000000", "9223372036854775807", "9223372036854775808", "18446744073709551616"};
    new_set();
    for (size_t i = 0; i < COUNT(totals); i++) {
        char says[80];
        put_index("{\"t0\":\"a.safetensors\",\"t1\":\"b.safetensors\"}", totals[i]);
        snprintf(says, sizeof says, "total_size is %s|32 bytes", totals[i]);
        trial_warned(says, "inspect " INDEX);
    }
    trial_remove("set");
}

/* ---- config.json ---- */

/* What a kind of RoPE scaling needs, and what it may be; of GGUF's keys in test_rows_gguf. */
ROW(025)
{
#define LLAMA3(factor, low, high, ctx) "\"rope_scaling\": {\"rope_type\":\"llama3\"" factor low high ctx "}"
#define F ",\"factor\":8.0"
#define L ",\"low_freq_factor\":1.0"
#define H ",\"high_freq_factor\":4.0"
#define C ",\"original_max_position_embeddings\":16"
    static const char from[] = "\"rope_scaling\": null", ctx[] = "original_max_position_embeddings";
    static const struct {
        const char *to, *says;
    } bad[] = {
        {LLAMA3("", L, H, C), "factor"},
        {LLAMA3(F, "", H, C), "low_freq_factor"},
        {LLAMA3(F, L, "", C), "high_freq_factor"},
        {LLAMA3(F, L, H, ""), ctx},
        {LLAMA3("", "", "", ""), "factor"},
        {LLAMA3(",\"factor\":0", L, H, C), "'factor'|is 0"},
        {LLAMA3(",\"factor\":-8", L, H, C), "'factor'|is -8"},
        {LLAMA3(",\"factor\":null", L, H, C), "'factor'|missing"},
        {LLAMA3(",\"factor\":\"8\"", L, H, C), "'factor'|a string"},
        {LLAMA3(",\"factor\":1e999", L, H, C), ""},
        {LLAMA3(",\"factor\":NaN", L, H, C), ""},
        {LLAMA3(",\"factor\":Infinity", L, H, C), ""},
        {LLAMA3(F, ",\"low_freq_factor\":0", H, C), "'low_freq_factor'"},
        {LLAMA3(F, ",\"low_freq_factor\":4.0", H, C), "'low_freq_factor'|below 'high_freq_factor'"},
        {LLAMA3(F, L, ",\"high_freq_factor\":-4", C), "'high_freq_factor'"},
        {LLAMA3(F, L, H, ",\"original_max_position_embeddings\":0"), ctx},
        {LLAMA3(F, L, H, ",\"original_max_position_embeddings\":16.5"), ctx},
        {"\"rope_scaling\": {\"type\":\"linear\"}", "'factor'"},
        {"\"rope_scaling\": {\"type\":\"linear\",\"factor\":0}", "'factor'"},
        {"\"rope_scaling\": {\"type\":\"yarn\"}", "'factor'"},
        {"\"rope_scaling\": {\"type\":\"yarn\",\"original_max_position_embeddings\":null}", "'factor'"},
        {"\"rope_scaling\": {\"type\":\"yarn\",\"factor\":-1}", "'factor'"},
        {"\"rope_scaling\": {\"type\":\"yarn\",\"factor\":2,\"beta_fast\":0}", "'beta_fast'"},
        {"\"rope_scaling\": {\"type\":\"yarn\",\"factor\":2,\"attention_factor\":-1}", "'attention_factor'"},
        {"\"rope_scaling\": [8]", "'rope_scaling'|no object"},
    };
    static const char *const numbers[] = {"\"rope_theta\":", "\"rms_norm_eps\":"};
    static const char *const values[] = {"0", "-1e-5", "1e-60", "1e40", "\"1e-5\"", "1e400"};
    for (size_t i = 0; i < COUNT(bad); i++)
        config_refused(3, from, bad[i].to, bad[i].says);
    for (size_t i = 0; i < COUNT(values) * COUNT(numbers); i++) {
        char to[80];
        snprintf(to, sizeof to, "%s %s, \"ignored\":", numbers[i % 2], values[i / 2]);
        config_refused(3, numbers[i % 2], to, i / 2 + 1 < COUNT(values) ? i % 2 ? "rms_norm_eps" : "rope_theta" : "");
    }
#undef LLAMA3
#undef F
#undef L
#undef H
#undef C
}

ROW(081)
{
    static const char *const values[] = {"0",   "-1", "1000000000",          "\"32\"", "32.5", "null", "true",
                                         "[2]", "{}", "9223372036854775808", "1e400",  "513",  "3"};
    for (size_t i = 0; i < COUNT(values); i++) {
        char to[80];
        snprintf(to, sizeof to, "\"num_hidden_layers\": %s", values[i]);
        if (i + 1 < COUNT(values) && strcmp(values[i], "513") != 0)
            config_refused(3, "\"num_hidden_layers\": 2", to,
                           strcmp(values[i], "1e400") == 0 ? "" : "num_hidden_layers");
        else {
            char *text = replaced(config, "\"num_hidden_layers\": 2", to);
            trial_put_text("hub/config.json", text);
            free(text);
            hub_refused(3, "hub|missing");
        }
    }
}

ROW(082)
{
    char *text;
    static const char *const heads[] = {"3", "5", "7"};
    for (size_t i = 0; i < COUNT(heads); i++) {
        char to[60];
        snprintf(to, sizeof to, "\"num_attention_heads\": %s", heads[i]);
        text = replaced(config, "\"num_attention_heads\": 2", to);
        trial_put_text("hub/config.json", text);
        free(text);
        hub_refused(3, "config.json: 'hidden_size': |attention heads");
    }
    static const char *const kv[] = {"3", "4", "64"};
    for (size_t i = 0; i < COUNT(kv); i++) {
        char to[60], says[100];
        snprintf(to, sizeof to, "\"num_key_value_heads\": %s", kv[i]);
        snprintf(says, sizeof says, "'num_key_value_heads': %s key/value heads do not divide 2", kv[i]);
        config_refused(3, "\"num_key_value_heads\": 1", to, says);
    }
    config_refused(3, "\"num_key_value_heads\": 1", "\"num_key_value_heads\": 0", "num_key_value_heads");
    config_refused(3, "\"num_attention_heads\": 2", "\"num_attention_heads\": 0", "num_attention_heads");
}

ROW(083)
{
    const uint32_t sizes[] = {WHOLE_TOKENS - 1, WHOLE_TOKENS + 1, 320,
                              (uint32_t)trial_between(WHOLE_TOKENS + 2, 100000)};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        char from[40], to[40], says[60];
        snprintf(from, sizeof from, "\"vocab_size\": %d", WHOLE_TOKENS);
        snprintf(to, sizeof to, "\"vocab_size\": %" PRIu32, sizes[i]);
        char *text = replaced(config, from, to);
        trial_put_text("hub/config.json", text);
        free(text);
        snprintf(says, sizeof says, "hub|%d|%" PRIu32, WHOLE_TOKENS, sizes[i]);
        hub_refused(3, says);
    }
}

ROW(084)
{
    static const char *const maps[] = {
        "{\"AutoModelForCausalLM\": \"modeling_evil.EvilForCausalLM\"}",
        "{\"AutoConfig\": \"configuration_evil.EvilConfig\", \"AutoModel\": \"x--y.Z\"}"};
    for (size_t i = 0; i < COUNT(maps); i++) {
        char to[200];
        snprintf(to, sizeof to, "{ \"auto_map\": %s,", maps[i]);
        config_refused(4, "{", to, "auto_map|never run");
    }
    config_refused(4, "LlamaForCausalLM", "EvilForCausalLM", "EvilForCausalLM");
    config_refused(3, "LlamaForCausalLM", "LlamaForCausalLM\\u0000x", "holds a NUL");
    config_refused(3, "\"torch_dtype\": \"float", "\"torch_dtype\": \"\\u0000", "holds a NUL");
    config_refused(3, "\"model_type\": \"llama", "\"model_type\": \"llama\\u0000", "holds a NUL");
}

ROW(085)
{
    static const char *const methods[] = {"frobnicate", "quanto", "hqq"};
    for (size_t i = 0; i < COUNT(methods); i++) {
        char to[120];
        snprintf(to, sizeof to, "{ \"quantization_config\": {\"quant_method\": \"%s\", \"bits\": 4},", methods[i]);
        char *text = replaced(config, "{", to);
        trial_put_text("hub/config.json", text);
        free(text);
        trial_refused(4, "config.json|", "quantize hub -t q4_0 -o out.gguf");
        trial_refused(4, "config.json|", "convert hub -o out.gguf");
        restore();
    }
    static const char *const settings[] = {
        "\"gptq\", \"bits\": 4, \"group_size\": 32, \"desc_act\": false, \"sym\": true",
        "\"awq\", \"bits\": 4, \"group_size\": 32, \"version\": \"gemm\", \"zero_point\": true",
        "\"mxfp4\"",
        "\"bitsandbytes\", \"load_in_4bit\": true, \"bnb_4bit_quant_type\": \"nf4\"",
        "\"bitsandbytes\", \"load_in_8bit\": true",
        "\"fp8\", \"weight_block_size\": [128, 128]",
        "\"bitnet\", \"linear_class\": \"bitlinear\", \"quantization_mode\": \"offline\"",
        "\"modelopt\", \"quant_algo\": \"NVFP4\"",
        "\"exl3\", \"bits\": 4.0, \"head_bits\": 6, \"version\": \"0.0.1\"",
        "\"compressed-tensors\", \"format\": \"float-quantized\", \"config_groups\": {\"group_0\": {\"targets\": "
        "[\"Linear\"], \"weights\": {\"num_bits\": 8, \"type\": \"float\", \"strategy\": \"channel\", \"symmetric\": "
        "true}}}"};
    for (size_t i = 0; i < COUNT(settings); i++) { /* a way that pare reads, and the weights lie there as floats */
        char to[400];
        snprintf(to, sizeof to, "{ \"quantization_config\": {\"quant_method\": %s},", settings[i]);
        char *text = replaced(config, "{", to);
        trial_put_text("hub/config.json", text);
        free(text);
        trial_refused(4, "hub|quantization_config|--requantize", "quantize hub -t q4_0 --pure -o out.gguf");
        trial_accepted(NULL, "quantize hub -t q4_0 --pure -o out.gguf --requantize");
        trial_warned("config.json|quantization_config|no weight is packed", "convert hub -o out.gguf");
        trial_warned("config.json|quantization_config|no weight is packed", "inspect hub");
        if (i == 0)
            trial_refused(4, "quantization_config|--requantize", "fit hub --size 3M -f %s --effort fast -o out.gguf",
                          source_path("tests/data/demo/text.txt"));
        restore();
    }
    trial_remove("packed"); /* packed in a way that pare reads: not without being asked, since it loses more */
    trial_accepted(NULL, "convert hub -o out --format gptq --group-size 32");
    char command[5000];
    snprintf(command, sizeof command,
             "cd '%s' && '%s/pare' convert hub -o packed --format gptq --group-size 32 --quiet >/dev/null 2>&1",
             trial_folder(), PARE_BINARY_DIR);
    CHECK(system(command) == 0);
    trial_refused(4, "packed|quantization_config|--requantize", "quantize packed -t iq4_nl --pure -o out.gguf");
    trial_accepted(NULL, "quantize packed -t q4_0 --pure -o out.gguf --requantize");
    trial_accepted(NULL, "convert packed -o out.gguf");
    trial_remove("packed");
}

ROW(086)
{
    char *big = check_malloc(200u << 20);
    memset(big, ' ', 200u << 20);
    memcpy(big, config, strlen(config));
    trial_put("hub/config.json", big, 200u << 20);
    hub_refused(3, "config.json|209715200 bytes");
    trial_put("hub/config.json", big, (4u << 20) + 1);
    free(big);
    hub_refused(3, "config.json|4194305 bytes|4194304");
    const size_t depths[] = {100000, 3000, (size_t)trial_between(2100, 50000)};
    for (size_t i = 0; i < COUNT(depths); i++)
        for (int kind = 0; kind < 2; kind++) {
            pare_buf b = {0};
            CHECK(pare_buf_puts(&b, "{\"a\":", NULL) == PARE_OK);
            for (size_t k = 0; k < depths[i]; k++)
                CHECK(pare_buf_puts(&b, kind == 0 ? "[" : "{\"b\":", NULL) == PARE_OK);
            trial_put_buf("hub/config.json", &b);
            pare_buf_close(&b);
            hub_refused(3, "config.json|offset ");
        }
    restore();
    pare_buf b = {0}; /* small values, fifty times their text in memory */
    CHECK(pare_buf_put(&b, config, strrchr(config, '}') - config, NULL) == PARE_OK &&
          pare_buf_puts(&b, ",\"x\":[[]", NULL) == PARE_OK);
    for (int i = 0; i < 500000; i++)
        CHECK(pare_buf_puts(&b, ",[]", NULL) == PARE_OK);
    CHECK(pare_buf_puts(&b, "]}", NULL) == PARE_OK);
    trial_put_buf("hub/config.json", &b);
    hub_refused(3, "config.json|offset |small values");
    pare_buf_close(&b);
}

ROW(087)
{
    static const char *const lengths[] = {"1000000000000000019884624838656", "1000000000000000000000000000000", "1e30",
                                          "512"};
    pare_buf old = {0};
    read_into(&old, "hub/tokenizer_config.json");
    for (size_t i = 0; i < COUNT(lengths); i++) {
        char to[100];
        snprintf(to, sizeof to, "{ \"model_max_length\": %s,", lengths[i]);
        char *at = strstr(old.data, "\"model_max_length\""),
             *text = replaced(at != NULL ? "{ \"add_bos_token\": true }" : old.data, "{", to);
        trial_put_text("hub/tokenizer_config.json", text);
        free(text);
        trial_accepted(NULL, "inspect hub");
        trial_accepted(NULL, "convert hub -o out.gguf");
    }
    trial_put_buf("hub/tokenizer_config.json", &old);
    pare_buf_close(&old);
}

/* Chat templates of a folder; those of a GGUF file are in test_rows_model. */
ROW(050)
{
    static const char *const bad[] = {"5",
                                      "true",
                                      "{}",
                                      "[5]",
                                      "[{\"name\":\"default\"}]",
                                      "[{\"name\":\"\",\"template\":\"x\"}]",
                                      "[{\"name\":1,\"template\":\"x\"}]"};
    pare_buf old = {0};
    read_into(&old, "hub/tokenizer_config.json");
    for (size_t i = 0; i < COUNT(bad); i++) {
        char text[100];
        snprintf(text, sizeof text, "{\"chat_template\": %s}", bad[i]);
        trial_put_text("hub/tokenizer_config.json", text);
        hub_refused(3, "hub|chat_template");
    }
    trial_put_buf("hub/tokenizer_config.json", &old);
    pare_buf_close(&old);
}

/* ---- tokenizer.json ---- */

ROW(088)
{
    tokenizer_refused(3, "\"th\": 256", "\"th\": 300", "300"); /* a hole at 256 */
    tokenizer_refused(3, "\"th\": 256", "\"th\": 257", "257"); /* an id twice */
    tokenizer_refused(3, "\"th\": 256", "\"th\": 16777217", "16777217");
    tokenizer_refused(3, "\"th\": 256", "\"th\": -1", "'th'");
    tokenizer_refused(3, "\"th\": 256", "\"th\": 4294967552", "4294967552");
    tokenizer_refused(3, "\"th\": 256", "\"th\": \"256\"", "th");
    tokenizer_refused(3, "\"th\": 256", "\"th\": 256, \"th\": 256", "th");
    char *text = replaced(tokenizer, "\"content\": \"</s>\"", "\"content\": \"<x>\""),
         *at = strstr(text, "\"id\": 265");
    CHECK(at != NULL);
    memcpy(at, "\"id\": 258", 9); /* an added token on the id of another one */
    trial_put_text("hub/tokenizer.json", text);
    free(text);
    hub_refused(3, "tokenizer.json|258");
    tokenizer_refused(3, "\"content\": \"</s>\"", "\"content\": \"<s>\"", "265|'<s>'"); /* a text with two ids */
}

static void split_refused(int code, const char *pattern, const char *says)
{
    pare_buf b = {0};
    CHECK(pare_buf_printf(
              &b, NULL,
              "\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": "
              "{\"Regex\": \"%s\"}, \"behavior\": \"Isolated\", \"invert\": false}, {\"type\": \"ByteLevel\", "
              "\"use_regex\": false}]}, \"x_pre\":",
              pattern) == PARE_OK);
    tokenizer_refused(code, "\"pre_tokenizer\":", b.data, says);
    pare_buf_close(&b);
}

ROW(089)
{
    static const char *const parts[] = {"normalizer", "pre_tokenizer", "decoder"};
    static const struct {
        const char *part, *name;
    } kinds[] = {{"{\"type\": \"Frobnicate\"}", "Frobnicate"},
                 {"{\"type\": \"Unheard\", \"pattern\": {\"String\": \"x\"}}", "Unheard"},
                 {"{\"type\": \"ByteLevel\\u0000x\"}", "ByteLevel\\u0000x"}}; /* not a known one and a tail */
    for (size_t i = 0; i < COUNT(parts); i++)
        for (size_t k = 0; k < COUNT(kinds); k++) {
            char from[40], to[160];
            pare_buf b = {0};
            snprintf(from, sizeof from, "\"%s\":", parts[i]);
            snprintf(to, sizeof to, "\"%s\": %s, \"x_%s\":", parts[i], kinds[k].part, parts[i]);
            char *text = replaced(tokenizer, from, to);
            trial_put_text("hub/tokenizer.json", text);
            free(text);
            CHECK(pare_buf_printf(&b, NULL, "tokenizer.json|%s|%s", parts[i], kinds[k].name) == PARE_OK);
            hub_refused(4, b.data);
            pare_buf_close(&b);
        }
    tokenizer_refused(4, "\"type\": \"BPE\"", "\"type\": \"Frobnicate\"", "Frobnicate");
    tokenizer_refused(4, "\"type\": \"BPE\"", "\"type\": \"BPE\\u0000x\"", "model type 'BPE\\x00x'");
    split_refused(4, "[aeiou]+\\u0000", "[aeiou]+\\u0000");
}

ROW(090)
{
    static const char *const broken[] = {
        "(", "[a-", "a)", "*x", "(?<n>a", "[z-a]", "\\\\p{", "\\\\p{Nonsense}", "a{2,1}", "(?P<1>x)", "\\\\"};
    for (size_t i = 0; i < COUNT(broken); i++)
        split_refused(3, broken[i], "pre_tokenizer|does not compile");
    split_refused(3, "a\\u0000(", "does not compile");
    split_refused(4, "[aeiou]+|[^aeiou]+", "[aeiou]+"); /* compiles, and no rule that pare knows */
    pare_buf nested = {0};
    for (int i = 0; i < 5000; i++)
        CHECK(pare_buf_puts(&nested, "(", NULL) == PARE_OK);
    split_refused(3, nested.data, "does not compile");
    pare_buf_close(&nested);
    static const char *const runs[] = {"a", " ", "1", "\n", ".", "\xc3\xa9", "\xe4\xb8\xad"};
    for (size_t i = 0; i < COUNT(runs); i++) { /* a long run of one kind, within the trial's time */
        pare_buf text = {0};
        for (int k = 0; k < 1 << (i == 0 ? 20 : 16); k++)
            CHECK(pare_buf_puts(&text, runs[i], NULL) == PARE_OK);
        trial_put_buf("run.txt", &text);
        pare_buf_close(&text);
        trial_accepted(NULL, "tokenize hub -f run.txt");
    }
    trial_remove("run.txt");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_025),
        cmocka_unit_test(row_050),
        cmocka_unit_test(row_064),
        cmocka_unit_test(row_074),
        cmocka_unit_test(names_that_were_not_given),
        cmocka_unit_test(row_075),
        cmocka_unit_test(row_076),
        cmocka_unit_test(row_077),
        cmocka_unit_test(row_078),
        cmocka_unit_test(row_079),
        cmocka_unit_test(row_080),
        cmocka_unit_test(row_081),
        cmocka_unit_test(row_082),
        cmocka_unit_test(row_083),
        cmocka_unit_test(row_084),
        cmocka_unit_test(row_085),
        cmocka_unit_test(row_086),
        cmocka_unit_test(row_087),
        cmocka_unit_test(row_088),
        cmocka_unit_test(row_089),
        cmocka_unit_test(row_090),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
