#include "whole.h"
#include "trial.h"

#include "../formats/gguf_bytes.h"
#include "core/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOK "tokenizer.ggml."
enum { U16 = 2, U32 = 4, I32 = 5, F32 = 6, BOOL = 7, STR = 8, ARR = 9, U64 = 10 };

void whole_close(whole *w)
{
    for (size_t i = 0; i < w->n_pairs; i++)
        pare_buf_close(&w->pairs[i].value);
    for (size_t i = 0; i < w->n_tensors; i++)
        pare_buf_close(&w->tensors[i].data);
    pare_arena_close(&w->keep);
    *w = (whole){0};
}

static whole_pair *find_pair(whole *w, const char *key)
{
    for (size_t i = 0; i < w->n_pairs; i++)
        if (pare_str_equal(w->pairs[i].key, key))
            return &w->pairs[i];
    return NULL;
}

pare_buf *whole_value(whole *w, const char *key)
{
    whole_pair *p = find_pair(w, key);
    if (p == NULL) {
        CHECK(w->n_pairs < WHOLE_PAIRS);
        p = &w->pairs[w->n_pairs++];
        size_t n = strlen(key);
        *p = (whole_pair){.key = {pare_arena_copy(&w->keep, key, n, NULL), n}};
        CHECK(p->key.data != NULL);
    }
    p->value.len = 0;
    return &p->value;
}

void whole_drop(whole *w, const char *key)
{
    whole_pair *p = find_pair(w, key);
    CHECK(p != NULL);
    pare_buf_close(&p->value);
    memmove(p, p + 1, (size_t)(w->pairs + w->n_pairs - p - 1) * sizeof *p);
    w->n_pairs--;
}

void whole_u32(whole *w, const char *key, uint32_t v)
{
    pare_buf *b = whole_value(w, key);
    gguf_u32(b, U32);
    gguf_u32(b, v);
}

void whole_i32(whole *w, const char *key, int32_t v)
{
    pare_buf *b = whole_value(w, key);
    gguf_u32(b, I32);
    gguf_u32(b, (uint32_t)v);
}

void whole_u16(whole *w, const char *key, uint16_t v)
{
    pare_buf *b = whole_value(w, key);
    gguf_u32(b, U16);
    gguf_u8(b, (uint8_t)v);
    gguf_u8(b, (uint8_t)(v >> 8));
}

void whole_u64(whole *w, const char *key, uint64_t v)
{
    pare_buf *b = whole_value(w, key);
    gguf_u32(b, U64);
    gguf_u64(b, v);
}

void whole_f32(whole *w, const char *key, float v)
{
    pare_buf *b = whole_value(w, key);
    gguf_u32(b, F32);
    gguf_u32(b, pare_f32_to_bits(v));
}

void whole_bool(whole *w, const char *key, uint8_t v)
{
    pare_buf *b = whole_value(w, key);
    gguf_u32(b, BOOL);
    gguf_u8(b, v);
}

void whole_text(whole *w, const char *key, const void *text, size_t len)
{
    pare_buf *b = whole_value(w, key);
    gguf_u32(b, STR);
    gguf_u64(b, len);
    gguf_bytes(b, text, len);
}

void whole_str(whole *w, const char *key, const char *text)
{
    whole_text(w, key, text, strlen(text));
}

pare_buf *whole_array(whole *w, const char *key, uint32_t elem, uint64_t n)
{
    pare_buf *b = whole_value(w, key);
    gguf_u32(b, ARR);
    gguf_u32(b, elem);
    gguf_u64(b, n);
    return b;
}

void whole_strs(whole *w, const char *key, const char *const *texts, size_t n)
{
    pare_buf *b = whole_array(w, key, STR, n);
    for (size_t i = 0; i < n; i++)
        gguf_str(b, texts[i]);
}

void whole_u32s(whole *w, const char *key, uint32_t elem, const uint32_t *values, size_t n)
{
    pare_buf *b = whole_array(w, key, elem, n);
    for (size_t i = 0; i < n; i++)
        gguf_u32(b, values[i]);
}

whole_tensor *whole_tensor_of(whole *w, const char *name)
{
    for (size_t i = 0; i < w->n_tensors; i++)
        if (strcmp(w->tensors[i].name, name) == 0)
            return &w->tensors[i];
    CHECK(false);
    return NULL;
}

whole_tensor *whole_add(whole *w, const char *name, uint32_t type, uint64_t ne0, uint64_t ne1, size_t n_bytes)
{
    CHECK(w->n_tensors < WHOLE_TENSORS);
    whole_tensor *t = &w->tensors[w->n_tensors++];
    *t = (whole_tensor){.n_dims = ne1 > 0 ? 2 : 1, .dim = {ne0, ne1 > 0 ? ne1 : 1, 1, 1, 1}, .type = type};
    t->name_len = strlen(name);
    snprintf(t->name, sizeof t->name, "%s", name);
    gguf_zeros(&t->data, n_bytes);
    return t;
}

void whole_remove(whole *w, const char *name)
{
    whole_tensor *t = whole_tensor_of(w, name);
    pare_buf_close(&t->data);
    memmove(t, t + 1, (size_t)(w->tensors + w->n_tensors - t - 1) * sizeof *t);
    w->n_tensors--;
}

static void add_floats(whole *w, const char *name, uint64_t ne0, uint64_t ne1)
{
    size_t n = (size_t)(ne0 * (ne1 > 0 ? ne1 : 1));
    whole_tensor *t = whole_add(w, name, 0, ne0, ne1, 4 * n);
    for (size_t i = 0; i < n; i++) {
        float v = ne1 == 0 ? 1.0f : ((float)(trial_random() % 2001) - 1000.0f) / 8000.0f;
        pare_store_u32le((uint8_t *)t->data.data + 4 * i, pare_f32_to_bits(v));
    }
}

/* The printable stand-in of a byte in byte-level BPE (GPT-2's bytes_to_unicode). */
static size_t byte_token(unsigned byte, char *out)
{
    bool plain = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    uint32_t cp = byte, n_before = 0;
    if (!plain) {
        for (unsigned b = 0; b < byte; b++)
            n_before += !((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174);
        cp = 256 + n_before;
    }
    return pare_utf8_put(out, cp);
}

static const char *const merged[WHOLE_MERGED][2] = {{"t", "h"}, {"a", "s"}, {"o", "f"}, {"i", "t"},
                                                    {"i", "m"}, {"e", "s"}, {"w", "o"}, {"a", "g"}};

static void put_vocabulary(whole *w)
{
    pare_buf *b = whole_array(w, TOK "tokens", STR, WHOLE_TOKENS);
    for (unsigned i = 0; i < WHOLE_BYTES; i++) {
        char text[5] = {0};
        byte_token(i, text);
        gguf_str(b, text);
    }
    for (int i = 0; i < WHOLE_MERGED; i++) {
        char text[3] = {merged[i][0][0], merged[i][1][0], 0};
        gguf_str(b, text);
    }
    gguf_str(b, "<s>"), gguf_str(b, "</s>");
    b = whole_array(w, TOK "token_type", I32, WHOLE_TOKENS);
    for (int i = 0; i < WHOLE_TOKENS; i++)
        gguf_u32(b, i < WHOLE_BYTES + WHOLE_MERGED ? 1 : 3);
    b = whole_array(w, TOK "merges", STR, WHOLE_MERGED);
    for (int i = 0; i < WHOLE_MERGED; i++) {
        char text[4] = {merged[i][0][0], ' ', merged[i][1][0], 0};
        gguf_str(b, text);
    }
    whole_u32(w, TOK "bos_token_id", WHOLE_BYTES + WHOLE_MERGED);
    whole_u32(w, TOK "eos_token_id", WHOLE_BYTES + WHOLE_MERGED + 1);
    whole_bool(w, TOK "add_bos_token", 1);
}

void whole_spm(whole *w)
{
    static const char *const pieces[] = {"\xe2\x96\x81",
                                         "a",
                                         "b",
                                         ("\xe2\x96\x81"
                                          "a"),
                                         "ab",
                                         "t",
                                         "h"};
    enum { N_PIECES = sizeof pieces / sizeof pieces[0] };
    char text[8];
    whole_drop(w, TOK "merges");
    whole_drop(w, TOK "pre");
    whole_str(w, TOK "model", "llama");
    pare_buf *b = whole_array(w, TOK "tokens", STR, 3 + 256 + N_PIECES);
    gguf_str(b, "<unk>"), gguf_str(b, "<s>"), gguf_str(b, "</s>");
    for (unsigned i = 0; i < 256; i++) {
        snprintf(text, sizeof text, "<0x%02X>", i);
        gguf_str(b, text);
    }
    for (int i = 0; i < N_PIECES; i++)
        gguf_str(b, pieces[i]);
    CHECK((int)WHOLE_TOKENS == 3 + 256 + N_PIECES);
    b = whole_array(w, TOK "scores", F32, WHOLE_TOKENS);
    for (int i = 0; i < WHOLE_TOKENS; i++)
        gguf_u32(b, pare_f32_to_bits((float)-i));
    b = whole_array(w, TOK "token_type", I32, WHOLE_TOKENS);
    for (int i = 0; i < WHOLE_TOKENS; i++)
        gguf_u32(b, i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1);
    whole_u32(w, TOK "bos_token_id", 1);
    whole_u32(w, TOK "eos_token_id", 2);
    whole_u32(w, TOK "unknown_token_id", 0);
}

void whole_llama(whole *w)
{
    static const char *const matrices[] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                           "ffn_gate", "ffn_up", "ffn_down"};
    *w = (whole){.version = 3, .alignment = 32};
    whole_str(w, "general.architecture", "llama");
    whole_str(w, "general.name", "whole");
    whole_u32(w, "llama.block_count", 2);
    whole_u32(w, "llama.context_length", 64);
    whole_u32(w, "llama.embedding_length", WHOLE_COLUMNS);
    whole_u32(w, "llama.feed_forward_length", WHOLE_COLUMNS);
    whole_u32(w, "llama.attention.head_count", 2);
    whole_u32(w, "llama.attention.head_count_kv", 1);
    whole_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    whole_f32(w, "llama.rope.freq_base", 10000.0f);
    whole_u32(w, "llama.rope.dimension_count", WHOLE_COLUMNS / 2);
    whole_u32(w, "llama.vocab_size", WHOLE_TOKENS);
    whole_str(w, TOK "model", "gpt2");
    whole_str(w, TOK "pre", "gpt-2");
    put_vocabulary(w);
    add_floats(w, "token_embd.weight", WHOLE_COLUMNS, WHOLE_TOKENS);
    add_floats(w, "output_norm.weight", WHOLE_COLUMNS, 0);
    add_floats(w, "output.weight", WHOLE_COLUMNS, WHOLE_TOKENS);
    for (int layer = 0; layer < 2; layer++) {
        char name[64];
        for (size_t i = 0; i < sizeof matrices / sizeof matrices[0]; i++) {
            snprintf(name, sizeof name, "blk.%d.%s.weight", layer, matrices[i]);
            add_floats(w, name, WHOLE_COLUMNS, i == 1 || i == 2 ? WHOLE_COLUMNS / 2 : WHOLE_COLUMNS);
        }
        snprintf(name, sizeof name, "blk.%d.attn_norm.weight", layer);
        add_floats(w, name, WHOLE_COLUMNS, 0);
        snprintf(name, sizeof name, "blk.%d.ffn_norm.weight", layer);
        add_floats(w, name, WHOLE_COLUMNS, 0);
    }
}

void whole_bytes(const whole *w, pare_buf *out)
{
    gguf_header(out, w->version, w->said_tensors > 0 ? w->said_tensors : w->n_tensors,
                w->said_pairs > 0 ? w->said_pairs : w->n_pairs);
    for (size_t i = 0; i < w->n_pairs; i++) {
        gguf_u64(out, w->pairs[i].key.len);
        gguf_bytes(out, w->pairs[i].key.data, w->pairs[i].key.len);
        gguf_bytes(out, w->pairs[i].value.data, w->pairs[i].value.len);
    }
    uint64_t at = 0;
    for (size_t i = 0; i < w->n_tensors; i++) {
        const whole_tensor *t = &w->tensors[i];
        gguf_u64(out, t->name_len);
        gguf_bytes(out, t->name, t->name_len);
        gguf_u32(out, t->n_dims);
        for (uint32_t k = 0; k < t->n_dims && k < 5; k++)
            gguf_u64(out, t->dim[k]);
        gguf_u32(out, t->type);
        gguf_u64(out, t->placed ? t->offset : at);
        at += (t->data.len + w->alignment - 1) / w->alignment * w->alignment;
    }
    gguf_pad(out, w->alignment);
    size_t start = out->len;
    for (size_t i = 0; i < w->n_tensors; i++) {
        const pare_buf *data = &w->tensors[i].data;
        if (data->len > 0)
            gguf_bytes(out, data->data, data->len);
        gguf_zeros(out, (w->alignment - (out->len - start) % w->alignment) % w->alignment);
    }
}

void whole_put(const whole *w, const char *name)
{
    pare_buf b = {0};
    whole_bytes(w, &b);
    trial_put_buf(name, &b);
    pare_buf_close(&b);
}

void whole_refused(int code, whole *w, const char *says, ...)
{
    static const char name[] = "m.gguf";
    char text[600];
    va_list list;
    va_start(list, says);
    vsnprintf(text, sizeof text, says, list);
    va_end(list);
    whole_put(w, name);
    whole_close(w);
    trial_model_refused(code, name, text);
}
