/* Rows 3 and 44 to 56 of docs/formats/HOSTILE.md: vocabularies, weights, split sets and projectors in GGUF files */
#include "rows.h"
#include "trial.h"
#include "whole.h"

#include "../formats/gguf_bytes.h"
#include "core/bytes.h"
#include "core/hash.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_NAME "m.gguf"
#define TOK "tokenizer.ggml."
enum { F32 = 0, F16 = 1, Q4_K = 12, ELEM_U8 = 0, ELEM_I8 = 1, ELEM_U32 = 4, ELEM_I32 = 5, ELEM_F32 = 6, ELEM_STR = 8 };

static void whole_accepted(whole *w)
{
    whole_put(w, FILE_NAME);
    whole_close(w);
    trial_model_accepted(FILE_NAME);
}

static void sound(const char *name)
{
    whole w;
    whole_llama(&w);
    whole_put(&w, name);
    whole_close(&w);
}

/* Git LFS pointers, wherever a file is read */
ROW(003)
{
    static const char pointer[] =
        "version https://git-lfs.github.com/spec/v1\n"
        "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
    static const char *const models[] = {"m.gguf", "m.safetensors", "model.safetensors.index.json", "noname"};
    static const char says[] = "LFS pointer|git lfs pull";
    for (size_t i = 0; i < COUNT(models); i++) {
        trial_put_text(models[i], pointer);
        for (int k = 0; k < 3; k++)
            trial_model_refused(3, models[i], says);
        trial_remove(models[i]);
    }
    static const char *const older[] = {"version https://hawser.github.com/spec/v1\n",
                                        "version http://git-media.io/v/2\n"};
    for (size_t i = 0; i < COUNT(older); i++) {
        pare_buf b = {0};
        CHECK(pare_buf_puts(&b, older[i], NULL) == PARE_OK);
        CHECK(pare_buf_puts(&b, strchr(pointer, '\n') + 1, NULL) == PARE_OK);
        trial_put_buf(models[i], &b);
        pare_buf_close(&b);
        trial_model_refused(3, models[i], says);
        trial_remove(models[i]);
    }
    sound(FILE_NAME);
    trial_accepted(NULL, "convert " FILE_NAME " -o hub --quiet");
    sound("keep.gguf"); /* runs that end well have what they write removed */
    static const char *const options[] = {"eval keep.gguf -f p",
                                          "eval keep.gguf --task p",
                                          "imatrix keep.gguf -f p -o o.gguf",
                                          "imatrix keep.gguf -f text.txt --ctx 16 --in p -o o.gguf",
                                          "quantize keep.gguf -t q4_0 --imatrix p -o o.gguf",
                                          "eval keep.gguf -f text.txt --ctx 16 --logits p",
                                          "tokenize keep.gguf -f p",
                                          "logits keep.gguf --tokens p -o o.bin",
                                          "verify p",
                                          "reproduce p",
                                          "report p -o o.html",
                                          "pin keep.gguf -o o.lock --recipe p",
                                          "pin keep.gguf -o o.lock --sign p",
                                          "verify keep.gguf --key p",
                                          "generate keep.gguf -f p"};
    trial_put_text("p", pointer);
    for (size_t i = 0; i < COUNT(options); i++)
        trial_refused(3, "p: |LFS pointer|git lfs pull", "%s", options[i]);
    trial_remove("p");
    trial_remove("keep.gguf");
}

ROW(044)
{
    static const struct {
        const char *key;
        uint32_t elem;
    } lists[] = {{TOK "scores", ELEM_F32}, {TOK "token_type", ELEM_I32}};
    whole w;
    for (size_t i = 0; i < COUNT(lists); i++) {
        const uint64_t counts[] = {WHOLE_TOKENS - 1, WHOLE_TOKENS + 1, 0, 1, trial_between(2, WHOLE_TOKENS - 2)};
        for (size_t k = 0; k < COUNT(counts); k++) {
            whole_llama(&w);
            whole_spm(&w);
            pare_buf *b = whole_array(&w, lists[i].key, lists[i].elem, counts[k]);
            for (uint64_t e = 0; e < counts[k]; e++)
                gguf_u32(b, lists[i].elem == ELEM_F32 ? 0 : 1);
            whole_refused(3, &w, "'%s'|%" PRIu64 " elements for %d tokens", lists[i].key, counts[k], WHOLE_TOKENS);
        }
    }
    whole_llama(&w); /* byte-level vocabularies have no scores; without types all tokens are normal */
    whole_drop(&w, TOK "token_type");
    whole_accepted(&w);
}

ROW(045)
{
    static const struct {
        const char *key;
        uint32_t elem;
        size_t bytes;
    } lists[] = {{TOK "scores", ELEM_U8, 1},     {TOK "scores", ELEM_I32, 4},    {TOK "scores", 12, 8},
                 {TOK "token_type", ELEM_U8, 1}, {TOK "token_type", ELEM_I8, 1}, {TOK "token_type", ELEM_U32, 4},
                 {TOK "token_type", ELEM_F32, 4}};
    for (size_t i = 0; i < COUNT(lists); i++) {
        whole w;
        whole_llama(&w);
        whole_spm(&w);
        gguf_zeros(whole_array(&w, lists[i].key, lists[i].elem, WHOLE_TOKENS), lists[i].bytes * WHOLE_TOKENS);
        whole_refused(3, &w, "'%s'|expected array of", lists[i].key);
    }
}

ROW(046)
{
    static const char *const keys[] = {TOK "bos_token_id", TOK "eos_token_id", TOK "padding_token_id",
                                       TOK "unknown_token_id", TOK "eot_token_id"};
    const uint32_t ids[] = {WHOLE_TOKENS, WHOLE_TOKENS + 1, 1u << 31, UINT32_MAX,
                            (uint32_t)trial_between(WHOLE_TOKENS, UINT32_MAX)};
    whole w;
    for (size_t i = 0; i < COUNT(keys); i++) {
        for (size_t k = i % 2; k < COUNT(ids); k += 2) {
            whole_llama(&w);
            whole_u32(&w, keys[i], ids[k]);
            whole_refused(3, &w, "'%s'|%" PRIu32 "|%d tokens", keys[i], ids[k], WHOLE_TOKENS);
        }
        whole_llama(&w);
        whole_i32(&w, keys[i], -1);
        whole_refused(3, &w, "'%s'|-1|%d tokens", keys[i], WHOLE_TOKENS);
    }
}

ROW(047)
{
    static const char *const texts[] = {"<0x-1>", "<0xZZ>", "<0x100>", "<0x1>", "<0x>",
                                        "<0x+1>", "<0x 1>", "<0X0A>",  "0x0A",  ""};
    for (size_t i = 0; i < COUNT(texts); i++) {
        whole w;
        whole_llama(&w);
        whole_spm(&w);
        pare_buf *b = whole_array(&w, TOK "tokens", ELEM_STR, WHOLE_TOKENS);
        gguf_str(b, "<unk>"), gguf_str(b, "<s>"), gguf_str(b, "</s>");
        uint32_t at = 3 + (uint32_t)trial_between(0, 255);
        for (uint32_t k = 3; k < WHOLE_TOKENS; k++) {
            char text[16];
            snprintf(text, sizeof text, k < 259 ? "<0x%02X>" : "p%u", k < 259 ? k - 3 : k);
            gguf_str(b, k == at ? texts[i] : text);
        }
        whole_refused(3, &w, "token %" PRIu32, at);
    }
    static const char *const twice[] = {"<0x08>", "<0x0a>", "<0xFF>"}; /* the byte of another token */
    for (size_t i = 0; i < COUNT(twice); i++) {
        whole w;
        whole_llama(&w);
        whole_spm(&w);
        pare_buf *b = whole_array(&w, TOK "tokens", ELEM_STR, WHOLE_TOKENS);
        gguf_str(b, "<unk>"), gguf_str(b, "<s>"), gguf_str(b, "</s>");
        for (uint32_t k = 3; k < WHOLE_TOKENS; k++) {
            char text[16];
            snprintf(text, sizeof text, k < 259 ? "<0x%02X>" : "p%u", k < 259 ? k - 3 : k);
            gguf_str(b, k == 100 ? twice[i] : text);
        }
        whole_refused(3, &w, "tokens |100|same byte");
    }
}

ROW(048)
{
    static const char *const merges[] = {"ab", "", " ", "t h a", "zork q", " h", "t ", "t  h", "h \xc4\x80zz"};
    for (size_t i = 0; i < COUNT(merges); i++) {
        whole w;
        whole_llama(&w);
        const char *list[6] = {"t h", "a s", "o f", "i t", "i m", "e s"};
        size_t at = (size_t)trial_between(0, 5);
        list[at] = merges[i];
        whole_strs(&w, TOK "merges", list, 6);
        whole_refused(3, &w, "merge|%zu", at);
    }
}

/* Token i of n, each with another text. */
static void set_tokens(whole *w, uint32_t n)
{
    pare_buf *b = whole_array(w, TOK "tokens", ELEM_STR, n);
    for (uint32_t i = 0; i < n; i++) {
        char text[24];
        snprintf(text, sizeof text, "token%" PRIu32, i);
        gguf_str(b, text);
    }
    b = whole_array(w, TOK "token_type", ELEM_I32, n);
    for (uint32_t i = 0; i < n; i++)
        gguf_u32(b, 1);
    whole_drop(w, TOK "merges");
    whole_u32(w, TOK "bos_token_id", 0);
    whole_u32(w, TOK "eos_token_id", 0);
}

static void set_rows(whole *w, uint64_t n)
{
    static const char *const names[] = {"token_embd.weight", "output.weight"};
    for (size_t i = 0; i < COUNT(names); i++) {
        whole_tensor *t = whole_tensor_of(w, names[i]);
        t->dim[1] = n;
        t->data.len = 0;
        gguf_zeros(&t->data, (size_t)(4 * WHOLE_COLUMNS * n));
    }
}

ROW(049)
{
    const uint32_t tokens[] = {303, 305, 1, 240, 400, (uint32_t)trial_between(2, 302)};
    whole w;
    for (size_t i = 0; i < COUNT(tokens); i++)
        for (int said = 0; said < 2; said++) {
            whole_llama(&w);
            set_tokens(&w, tokens[i]);
            set_rows(&w, 304);
            if (said)
                whole_u32(&w, "llama.vocab_size", 304);
            else
                whole_drop(&w, "llama.vocab_size");
            whole_refused(3, &w, "'token_embd.weight'|304|%" PRIu32, tokens[i]);
        }
    whole_llama(&w); /* what the metadata says is neither */
    set_tokens(&w, 304);
    set_rows(&w, 304);
    whole_u32(&w, "llama.vocab_size", 320);
    whole_refused(3, &w, "'token_embd.weight'|304|320");
    whole_llama(&w); /* padding to a multiple of 64 is known */
    set_tokens(&w, 303);
    set_rows(&w, 320);
    whole_u32(&w, "llama.vocab_size", 320);
    whole_put(&w, FILE_NAME);
    whole_close(&w);
    trial_model_warned(FILE_NAME, "320 rows|303 tokens");
}

ROW(050)
{
    const size_t lengths[] = {(1 << 20) + 1, 50 << 20, (size_t)trial_between((1 << 20) + 2, 2 << 20)};
    char *text = check_malloc(50 << 20);
    memset(text, 'x', 50 << 20);
    whole w;
    for (size_t i = 0; i < COUNT(lengths); i++) {
        whole_llama(&w);
        whole_text(&w, "tokenizer.chat_template", text, lengths[i]);
        whole_refused(3, &w, "'tokenizer.chat_template'|%zu bytes, at most 1048576", lengths[i]);
    }
    free(text);
    static const char *const keys[] = {"tokenizer.chat_template", "tokenizer.chat_template.tool_use"};
    for (size_t i = 0; i < 4; i++) { /* with a tokenizer and without one */
        whole_llama(&w);
        if (i >= 2)
            whole_drop(&w, TOK "model");
        whole_u32(&w, keys[i % 2], 5);
        whole_refused(3, &w, "'%s'|u32|expected string", keys[i % 2]);
    }
    static const char harmful[] =
        "{{ ''.__class__.__mro__[1].__subclasses__() }}{% for x in range(10**9) %}{% endfor %}";
    whole_llama(&w);
    whole_str(&w, "tokenizer.chat_template", harmful);
    whole_put(&w, "template.gguf");
    whole_close(&w);
    trial_accepted(NULL, "generate template.gguf -p It -n 1");
    trial_accepted(NULL, "convert template.gguf -o out");
    /* its hash is in the lock: of the value as it lies in the file, type and length before the text */
    pare_buf value = {0};
    pare_digest digest;
    char hex[65];
    gguf_u32(&value, ELEM_STR);
    gguf_str(&value, harmful);
    CHECK(pare_hash_bytes(value.data, value.len, PARE_HASH_SHA256, &digest, NULL) == PARE_OK);
    pare_hex(hex, digest.sha256, sizeof digest.sha256);
    pare_buf_close(&value);
    trial_put_text("pin.lock", "");
    trial_accepted(NULL, "pin template.gguf -o pin.lock --force");
    size_t n = 0;
    char *lock = (char *)check_read_file(trial_path("pin.lock"), &n);
    CHECK(memmem(lock, n, "tokenizer.chat_template", 23) != NULL && memmem(lock, n, hex, 64) != NULL);
    free(lock);
    trial_remove("pin.lock");
    trial_remove("SHA256SUMS");
    trial_remove("template.gguf");
}

/* One bad number somewhere in a matrix. */
static void put_number(whole *w, const char *name, float v, size_t *at)
{
    whole_tensor *t = whole_tensor_of(w, name);
    *at = (size_t)trial_between(0, t->data.len / 4 - 1);
    pare_store_u32le((uint8_t *)t->data.data + 4 * *at, pare_f32_to_bits(v));
}

/* numbers that are not finite, or too large */
ROW(051)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    size_t at;
    whole w;
    for (size_t i = 0; i < COUNT(bad); i++) {
        whole_llama(&w);
        put_number(&w, "blk.1.ffn_up.weight", bad[i], &at);
        whole_put(&w, FILE_NAME);
        whole_close(&w);
        char says[200];
        snprintf(says, sizeof says, FILE_NAME "|'blk.1.ffn_up.weight'|row %zu, column %zu", at / WHOLE_COLUMNS,
                 at % WHOLE_COLUMNS);
        trial_refused(3, says, "quantize " FILE_NAME " -t q8_0 -o out.gguf");
        trial_refused(3, says, "quantize " FILE_NAME " -t q4_0 --pure -o out.gguf --pin");
        trial_warned(says, "convert " FILE_NAME " --dtype bf16 -o out.gguf");
        trial_warned("'blk.1.ffn_up.weight'", "convert " FILE_NAME " -o out.gguf");
        trial_accepted(NULL, "quantize " FILE_NAME " -t q8_0 -o out.gguf --allow-nonfinite");
        trial_printed(1, "blk.1.ffn_up.weight|not finite", "verify " FILE_NAME);
    }
    whole_llama(&w); /* in 16 bits */
    whole_tensor *t = whole_add(&w, "half.weight", F16, 32, 4, 256);
    pare_store_u16le((uint8_t *)t->data.data + 2 * 70, 0x7c00);
    whole_put(&w, FILE_NAME);
    whole_close(&w);
    trial_refused(3, FILE_NAME "|'half.weight'|row 2, column 6", "quantize " FILE_NAME " -t q8_0 -o out.gguf");
    trial_warned_among("'half.weight'|row 2, column 6", "convert " FILE_NAME " -o out.gguf");
    static const uint16_t scales[] = {0x7e00, 0x7c00, 0xfc00, 0x7fff};
    for (size_t i = 0; i < COUNT(scales); i++) { /* the scale of a block */
        whole_llama(&w);
        t = whole_add(&w, "blocks.weight", Q4_K, 256, 3, 3 * 144);
        pare_store_u16le((uint8_t *)t->data.data + 2 * 144 + (i % 2 == 0 ? 0 : 2), scales[i]);
        whole_put(&w, FILE_NAME);
        whole_close(&w);
        trial_refused(3, FILE_NAME "|'blocks.weight'|row 2, column 0",
                      "quantize " FILE_NAME " -t q8_0 -o out.gguf --requantize");
        trial_warned_among("'blocks.weight'|row 2", "convert " FILE_NAME " -o out.gguf");
        trial_printed(1, "blocks.weight|block 2", "verify " FILE_NAME);
    }
    static const float large[] = {3e38f, -3e38f, 1e30f};
    static const char *const types[] = {"q8_0", "q4_0", "q6_k", "q2_k", "iq4_nl", "nvfp4", "mxfp4", "tq2_0"};
    for (size_t i = 0; i < COUNT(types); i++) { /* finite, and no block of the type can hold it */
        whole_llama(&w);
        put_number(&w, "blk.0.attn_q.weight", large[i % COUNT(large)], &at);
        whole_put(&w, FILE_NAME);
        whole_close(&w);
        char says[200];
        snprintf(says, sizeof says,
                 FILE_NAME "|'blk.0.attn_q.weight'|row %zu|column %zu|too large for the scale of type",
                 at / WHOLE_COLUMNS, at % WHOLE_COLUMNS);
        trial_refused(3, says, "quantize " FILE_NAME " -t %s --pure -o out.gguf", types[i]);
    }
    static const char *const formats[] = {"fp8", "nvfp4", "mxfp4", "compressed-tensors --group-size 32"};
    for (size_t i = 0; i < COUNT(formats);
         i++) { /* the folders of packed weights, too; rows of q are in another order */
        whole_llama(&w);
        put_number(&w, "blk.0.ffn_up.weight", i % 2 == 0 ? 3e38f : -3e38f, &at);
        whole_put(&w, FILE_NAME);
        whole_close(&w);
        char says[200];
        snprintf(says, sizeof says, FILE_NAME "|up_proj.weight'|row %zu|column |too large for ", at / WHOLE_COLUMNS);
        trial_refused(3, says, "convert " FILE_NAME " --format %s -o out", formats[i]);
    }
}

enum { PARTS = 3 };

static const char *part_name(int part)
{
    static char names[4][40];
    static int next;
    char *name = names[next++ % 4];
    snprintf(name, sizeof names[0], "set-%05d-of-%05d.gguf", part, PARTS);
    return name;
}

/* The model in three parts; `bend` changes one before it is written. */
static void put_set(int bent, void (*bend)(whole *w))
{
    for (int part = 1; part <= PARTS; part++) {
        whole w;
        whole_llama(&w);
        size_t n = w.n_tensors, first = n * (size_t)(part - 1) / PARTS, end = n * (size_t)part / PARTS;
        for (size_t i = n; i-- > 0;)
            if (i < first || i >= end)
                whole_remove(&w, w.tensors[i].name);
        while (part > 1 && w.n_pairs > 0) {
            char key[80];
            snprintf(key, sizeof key, "%.*s", (int)w.pairs[0].key.len, w.pairs[0].key.data);
            whole_drop(&w, key);
        }
        whole_u16(&w, "split.no", (uint16_t)(part - 1));
        whole_u16(&w, "split.count", PARTS);
        whole_i32(&w, "split.tensors.count", (int32_t)n);
        if (part == bent)
            bend(&w);
        whole_put(&w, part_name(part));
        whole_close(&w);
    }
}

static void remove_set(void)
{
    for (int part = 1; part <= PARTS; part++)
        trial_remove(part_name(part));
}

ROW(052)
{
    put_set(0, NULL);
    trial_model_accepted(part_name(1));
    for (int missing = 2; missing <= PARTS; missing++) {
        put_set(0, NULL);
        trial_remove(part_name(missing));
        for (int i = 0; i < 4; i++)
            trial_model_refused(3, part_name(1), part_name(missing));
    }
    trial_remove(part_name(2));
    trial_model_refused(3, part_name(1), "2 of 3 parts missing|set-00002-of-00003.gguf|set-00003-of-00003.gguf");
    remove_set();
}

static void no_is_2(whole *w)
{
    whole_u16(w, "split.no", 2);
}

ROW(053)
{
    /* a set that starts at part 2: which file is needed. (A whole set opens by any of its parts.) */
    put_set(0, NULL);
    trial_remove(part_name(1));
    for (int part = 2; part <= PARTS; part++)
        for (int i = 0; i < 3; i++)
            trial_model_refused(3, part_name(part), "missing|set-00001-of-00003.gguf");
    put_set(1, no_is_2);
    for (int i = 0; i < 3; i++)
        trial_model_refused(3, part_name(1), "split.no|its name must be set-00003-of-00003.gguf");
    put_set(2, no_is_2);
    trial_refused(3, "set-00002-of-00003.gguf|split.no|is 2|must be 1", "verify %s", part_name(1));
    put_set(0, NULL);
    size_t n;
    uint8_t *bytes = check_read_file(trial_path(part_name(1)), &n);
    trial_put("renamed.gguf", bytes, n);
    free(bytes);
    trial_model_refused(3, "renamed.gguf", "split.no|its name must be ");
    trial_remove("renamed.gguf");
    trial_put_text("set-00001-of-00003.gguf.pare.set.7", "pare set 2\n"); /* a run was killed between two names */
    trial_warned("set-00001-of-00003.gguf.pare.set.7|killed", "inspect %s", part_name(2));
    trial_remove("set-00001-of-00003.gguf.pare.set.7");
    remove_set();
}

static void count_is_4(whole *w)
{
    whole_u16(w, "split.count", 4);
}

static void other_arch(whole *w)
{
    whole_str(w, "general.architecture", "qwen2");
}

static void other_tokenizer(whole *w)
{
    whole_str(w, TOK "model", "llama");
}

static void other_bos(whole *w)
{
    whole_u32(w, TOK "bos_token_id", 1);
}

static void other_layers(whole *w)
{
    whole_u32(w, "llama.block_count", 3);
}

static void other_eps(whole *w)
{
    whole_f32(w, "llama.attention.layer_norm_rms_epsilon", 0.5f);
}

static void repeated_tensor(whole *w)
{
    whole_add(w, "token_embd.weight", F32, 8, 0, 32);
    whole_remove(w, w->tensors[0].name);
}

ROW(054)
{
    static const struct {
        void (*bend)(whole *w);
        const char *says;
    } cases[] = {{count_is_4, "split.count|is 4"},
                 {other_arch, "general.architecture|not of one model"},
                 {other_tokenizer, TOK "model|not of one model"},
                 {other_bos, TOK "bos_token_id|not of one model"},
                 {other_layers, "'llama.block_count'|not of one model"},
                 {other_eps, "'llama.attention.layer_norm_rms_epsilon'|not of one model"},
                 {repeated_tensor, "'token_embd.weight'|is in "}}; /* row 28 across parts */
    for (size_t i = 0; i < COUNT(cases); i++)
        for (int part = 2; part <= PARTS; part++) {
            put_set(part, cases[i].bend);
            trial_refused(3, cases[i].says, "inspect %s", part_name(1));
            trial_refused(3, cases[i].says, "quantize %s -t q8_0 -o out.gguf", part_name(1));
        }
    remove_set();
}

static void one_tensor_more(whole *w)
{
    whole_i32(w, "split.tensors.count", 22);
}

static void huge_count(whole *w)
{
    whole_i32(w, "split.tensors.count", INT32_MAX);
}

static void negative_count(whole *w)
{
    whole_i32(w, "split.tensors.count", -1);
}

static void extra_tensor(whole *w)
{
    whole_add(w, "extra.weight", F32, 8, 0, 32);
}

ROW(055)
{
    static void (*const bends[])(whole * w) = {one_tensor_more, huge_count, negative_count, extra_tensor};
    for (size_t i = 0; i < COUNT(bends); i++)
        for (int part = 1; part <= PARTS; part++) {
            put_set(part, bends[i]);
            trial_refused(3, "split.tensors.count", "inspect %s", part_name(1));
            trial_refused(3, "split.tensors.count", "convert %s -o out.gguf", part_name(1));
        }
    remove_set();
}

/* A projector as stock's converter writes one, without its weights but for a tensor. */
static void projector(whole *w)
{
    static const float mean[] = {0.48f, 0.46f, 0.41f}, deviation[] = {0.27f, 0.26f, 0.28f};
    static const uint32_t pinpoints[] = {336, 672, 672, 336};
    uint32_t bits[3];
    *w = (whole){.version = 3, .alignment = 32};
    whole_str(w, "general.architecture", "clip");
    whole_bool(w, "clip.has_vision_encoder", 1);
    whole_bool(w, "clip.has_audio_encoder", 1);
    whole_str(w, "clip.projector_type", "mlp");
    whole_u32(w, "clip.vision.image_size", 336);
    whole_u32(w, "clip.vision.patch_size", 14);
    whole_u32(w, "clip.vision.embedding_length", 64);
    whole_u32(w, "clip.vision.feed_forward_length", 128);
    whole_u32(w, "clip.vision.block_count", 2);
    whole_u32(w, "clip.vision.projection_dim", 32);
    whole_u32(w, "clip.vision.attention.head_count", 4);
    whole_f32(w, "clip.vision.attention.layer_norm_epsilon", 1e-6f);
    whole_u32(w, "clip.vision.image_min_pixels", 3136);
    whole_u32(w, "clip.vision.image_max_pixels", 12845056);
    for (int i = 0; i < 3; i++)
        bits[i] = pare_f32_to_bits(mean[i]);
    whole_u32s(w, "clip.vision.image_mean", ELEM_F32, bits, 3);
    for (int i = 0; i < 3; i++)
        bits[i] = pare_f32_to_bits(deviation[i]);
    whole_u32s(w, "clip.vision.image_std", ELEM_F32, bits, 3);
    whole_u32s(w, "clip.vision.image_grid_pinpoints", ELEM_I32, pinpoints, 4);
    whole_u32(w, "clip.audio.chunk_size", 200);
    whole_u32(w, "clip.audio.num_mel_bins", 80);
    whole_add(w, "mm.0.weight", F32, 64, 32, 4 * 64 * 32);
}

static void projector_refused(const char *key, uint32_t v)
{
    whole w;
    projector(&w);
    whole_u32(&w, key, v);
    whole_put(&w, FILE_NAME);
    whole_close(&w);
    trial_refused(3, key, "inspect " FILE_NAME);
    trial_refused(3, key, "verify " FILE_NAME);
    trial_refused(3, key, "convert " FILE_NAME " -o out.gguf");
}

static void list_refused(const char *key, uint32_t elem, size_t n, uint32_t bits)
{
    whole w;
    projector(&w);
    pare_buf *b = whole_array(&w, key, elem, n);
    for (size_t i = 0; i < n; i++)
        gguf_u32(b, bits);
    whole_put(&w, FILE_NAME);
    whole_close(&w);
    trial_refused(3, key, "inspect " FILE_NAME);
    trial_refused(3, key, "convert " FILE_NAME " -o out.gguf");
}

ROW(056)
{
    const uint32_t one = pare_f32_to_bits(0.5f);
    whole w;
    projector(&w);
    whole_accepted(&w);
    static const char mean[] = "clip.vision.image_mean", deviation[] = "clip.vision.image_std",
                      pinpoints[] = "clip.vision.image_grid_pinpoints";
    for (size_t n = 0; n < 3; n++)
        list_refused(n % 2 == 0 ? mean : deviation, ELEM_F32, n, one);
    list_refused(deviation, ELEM_F32, 2, one);
    list_refused(mean, ELEM_I32, 3, 1);
    list_refused(deviation, ELEM_F32, 3, 0);
    list_refused(mean, ELEM_F32, 3, pare_f32_to_bits(NAN));
    for (size_t n = 1; n < 8; n += 2)
        list_refused(pinpoints, ELEM_I32, n, 336);
    list_refused(pinpoints, ELEM_I32, 66, 336);
    list_refused(pinpoints, ELEM_I32, 2, 0);
    list_refused(pinpoints, ELEM_I32, 2, UINT32_MAX);
    const uint32_t chunks[] = {0, 65537, 46341, UINT32_MAX, (uint32_t)trial_between(32769, UINT32_MAX)};
    for (size_t i = 0; i < COUNT(chunks); i++)
        projector_refused("clip.audio.chunk_size", chunks[i]);
    const uint32_t patches[] = {0, 337, UINT32_MAX, (uint32_t)trial_between(338, UINT32_MAX)};
    for (size_t i = 0; i < COUNT(patches); i++)
        projector_refused("clip.vision.patch_size", patches[i]);
    const uint32_t pixels[] = {0, 46340u * 46340u, UINT32_MAX, 12845057, (uint32_t)trial_between(1u << 29, UINT32_MAX)};
    for (size_t i = 0; i < COUNT(pixels); i++)
        projector_refused("clip.vision.image_min_pixels", pixels[i]);
    projector_refused("clip.vision.image_max_pixels", 46340u * 46340u);
    projector_refused("clip.vision.image_size", 0);
    projector_refused("clip.vision.image_size", 1u << 20);
    projector_refused("clip.vision.block_count", 513);
    projector_refused("clip.vision.block_count", 0);
    projector_refused("clip.audio.block_count", 0);
    projector(&w); /* MobileNetV5 has stages in the place of layers */
    whole_str(&w, "clip.vision.projector_type", "gemma3nv");
    whole_u32(&w, "clip.vision.block_count", 0);
    whole_accepted(&w);
    static const float bad[] = {NAN, INFINITY, 0.0f, -1.0f};
    for (size_t i = 0; i < COUNT(bad); i++) {
        projector(&w);
        whole_f32(&w, i == 0 ? "clip.vision.feature_scale" : "clip.audio.attention.layer_norm_epsilon", bad[i]);
        whole_refused(3, &w, "'clip.");
    }
    projector_refused("clip.vision.attention.head_count", 0);
    projector_refused("clip.vision.attention.head_count", 5);
    projector(&w); /* a grid of more patches than stock has room for */
    whole_u32(&w, "clip.vision.image_size", 1025 * 14);
    whole_put(&w, FILE_NAME);
    whole_close(&w);
    trial_refused(3, FILE_NAME "|clip.vision.patch_size|14350|1024 patches", "inspect " FILE_NAME);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_003), cmocka_unit_test(row_044), cmocka_unit_test(row_045), cmocka_unit_test(row_046),
        cmocka_unit_test(row_047), cmocka_unit_test(row_048), cmocka_unit_test(row_049), cmocka_unit_test(row_050),
        cmocka_unit_test(row_051), cmocka_unit_test(row_052), cmocka_unit_test(row_053), cmocka_unit_test(row_054),
        cmocka_unit_test(row_055), cmocka_unit_test(row_056),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
