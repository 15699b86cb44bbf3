/* Rows 1 to 43 of docs/formats/HOSTILE.md: the GGUF container. Listed values, their neighbours and random ones. */
#include "rows.h"
#include "trial.h"
#include "whole.h"

#include "../formats/gguf_bytes.h"
#include "core/bytes.h"
#include "core/half.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "m.gguf"

/* What counts as "nothing was reserved": the program at rest and its threads take less than this. A sanitizer's shadow
 * memory takes more. */
#ifdef PARE_SANITIZED
enum { LITTLE_DATA = 0 };
#else
enum { LITTLE_DATA = 512 << 20 };
#endif

/* The built file, refused. Closes b. */
static void refused(int code, pare_buf *b, const char *says, ...) PARE_PRINTF(3, 4);
static void refused(int code, pare_buf *b, const char *says, ...)
{
    char text[600];
    va_list list;
    va_start(list, says);
    vsnprintf(text, sizeof text, says, list);
    va_end(list);
    trial_put_buf(FILE_NAME, b);
    pare_buf_close(b);
    trial_model_refused(code, FILE_NAME, text);
}

static void whole_warned(whole *w, const char *says)
{
    whole_put(w, FILE_NAME);
    whole_close(w);
    trial_model_warned(FILE_NAME, says);
}

static void whole_accepted(whole *w)
{
    whole_put(w, FILE_NAME);
    whole_close(w);
    trial_model_accepted(FILE_NAME);
}

/* A header, and one pair whose key is there and whose value is to follow. */
static void one_pair(pare_buf *b, const char *key)
{
    gguf_header(b, 3, 0, 1);
    gguf_str(b, key);
}

/* too short */
ROW(001)
{
    static const size_t sizes[] = {0, 1, 3, 4, 8, 16, 23};
    for (size_t i = 0; i < COUNT(sizes) + 2; i++) {
        pare_buf b = {0};
        size_t n = i < COUNT(sizes) ? sizes[i] : (size_t)trial_between(4, 23);
        gguf_header(&b, 3, 0, 0);
        b.len = n;
        refused(3, &b, "too short: %zu of 24 header bytes", n);
    }
}

/* old formats */
ROW(002)
{
    static const char *const magics[] = {"ggjt", "ggml", "lmgg", "tjgg", "ggmf", "fmgg", "ggla", "algg"};
    for (size_t i = 0; i < COUNT(magics); i++) {
        pare_buf b = {0};
        gguf_bytes(&b, magics[i], 4);
        gguf_zeros(&b, (size_t)trial_between(0, 100));
        refused(4, &b, "magic '%s'|old format gg", magics[i]);
    }
}

/* versions */
ROW(004)
{
    const uint32_t versions[] = {0, 1, 4, 5, 0xffff, 0xffffffff, (uint32_t)trial_between(6, 65535)};
    for (size_t i = 0; i < COUNT(versions); i++) {
        pare_buf b = {0};
        gguf_header(&b, versions[i], 0, 0);
        refused(4, &b, "version %" PRIu32 "|supported 2 to 3|offset 4", versions[i]);
    }
}

ROW(005)
{
    static const uint32_t versions[] = {0x03000000, 0x02000000, 0x01000000, 0x00010000};
    for (size_t i = 0; i < COUNT(versions); i++) {
        pare_buf b = {0};
        gguf_header(&b, versions[i], (uint64_t)1 << 56, (uint64_t)1 << 56);
        refused(4, &b, "big-endian|0x%08" PRIx32, versions[i]);
    }
}

/* tensor count: before anything is reserved */
ROW(006)
{
    const uint64_t counts[] = {(uint64_t)1 << 63,   (uint64_t)1 << 32,           ((uint64_t)1 << 62) + 1, UINT64_MAX, 1,
                               UINT64_MAX / 25 + 1, trial_between(2, UINT64_MAX)};
    trial_limit_data(LITTLE_DATA);
    for (size_t i = 0; i < COUNT(counts); i++) {
        pare_buf b = {0};
        gguf_header(&b, 3, counts[i], 0);
        refused(3, &b, "tensor count %" PRIu64 "|offset 8|have 0 in all", counts[i]);
    }
    whole w;
    whole_llama(&w);
    w.said_tensors = w.n_tensors + 1; /* few enough for the file's size: the data are read as if they were an entry */
    whole_refused(3, &w, "tensor");
    trial_limit_data(0);
    pare_buf none = {0}; /* a file without tensors may be looked at, not used */
    gguf_header(&none, 3, 0, 1);
    gguf_pair_str(&none, "general.architecture", "llama");
    trial_put_buf(FILE_NAME, &none);
    pare_buf_close(&none);
    trial_accepted(NULL, "inspect " FILE_NAME);
    trial_accepted(NULL, "pin " FILE_NAME " -o a.lock");
    trial_refused(3, FILE_NAME "|holds no tensors", "convert " FILE_NAME " -o out.gguf");
    trial_refused(3, FILE_NAME "|holds no tensors", "quantize " FILE_NAME " -t q8_0 -o out.gguf");
    trial_refused(3, FILE_NAME "|holds no tensors", "eval " FILE_NAME " -f text.txt --ctx 16");
    trial_refused(3, FILE_NAME "|holds no tensors", "imatrix " FILE_NAME " -f text.txt --ctx 16 -o out.gguf");
    trial_refused(3, FILE_NAME "|holds no tensors", "generate " FILE_NAME " -p a -n 1");
    trial_refused(3, FILE_NAME "|holds no tensors", "kv " FILE_NAME " -f text.txt");
    trial_refused(3, FILE_NAME "|holds no tensors", "generate sound.gguf --reference " FILE_NAME " -p a -n 1");
    trial_refused(3, FILE_NAME "|holds no tensors", "eval sound.gguf --reference " FILE_NAME " -f text.txt --ctx 16");
}

ROW(007)
{
    const uint64_t counts[] = {(uint64_t)1 << 63, 500000000, ((uint64_t)1 << 62) + 1,
                               UINT64_MAX,        1,         trial_between(2, UINT64_MAX)};
    trial_limit_data(LITTLE_DATA);
    for (size_t i = 0; i < COUNT(counts); i++) {
        pare_buf b = {0};
        gguf_header(&b, 3, 0, counts[i]);
        refused(3, &b, "metadata pair count %" PRIu64 "|offset 16|have 0 in all", counts[i]);
    }
    for (uint64_t more = 1; more < 4; more++) {
        pare_buf b = {0};
        gguf_header(&b, 3, 0, 1 + more);
        gguf_pair_str(&b, "a", "some text that leaves room for other pairs, so that the count is possible");
        refused(3, &b, "the file ends at byte %zu in metadata pair 2 of %" PRIu64, b.len, 1 + more);
    }
    trial_limit_data(0);
}

/* lengths of keys and strings */
ROW(008)
{
    enum { LEFT = 16 };
    const uint64_t lengths[] = {UINT64_MAX,     (uint64_t)1 << 63,       LEFT + 1,
                                UINT64_MAX - 7, ((uint64_t)1 << 62) + 1, trial_between(LEFT + 2, UINT64_MAX)};
    trial_limit_data(LITTLE_DATA);
    for (size_t i = 0; i < COUNT(lengths); i++) {
        pare_buf key = {0}, text = {0}, element = {0}, name = {0};
        gguf_header(&key, 3, 0, 1);
        gguf_u64(&key, lengths[i]);
        gguf_zeros(&key, LEFT);
        refused(3, &key, "key at offset 32: need %" PRIu64 " bytes, have 16", lengths[i]);
        one_pair(&text, "a.key");
        gguf_u32(&text, 8);
        gguf_u64(&text, lengths[i]);
        gguf_zeros(&text, LEFT);
        refused(3, &text, "'a.key'|need %" PRIu64 " bytes, have 16", lengths[i]);
        one_pair(&element, "a.list");
        gguf_u32(&element, 9), gguf_u32(&element, 8), gguf_u64(&element, 1);
        gguf_u64(&element, lengths[i]);
        gguf_zeros(&element, LEFT);
        refused(3, &element, "'a.list'|need %" PRIu64 " bytes, have 16", lengths[i]);
        gguf_header(&name, 3, 1, 0);
        gguf_u64(&name, lengths[i] == LEFT + 1 ? LEFT + 2 : lengths[i]);
        gguf_zeros(&name, LEFT + 1); /* as many as the smallest entry has */
        refused(3, &name, "name at offset 32: need %" PRIu64 " bytes, have 17",
                lengths[i] == LEFT + 1 ? LEFT + 2 : lengths[i]);
    }
    trial_limit_data(0);
}

static void key_of(pare_buf *b, const char *key, size_t len)
{
    gguf_header(b, 3, 0, 1);
    gguf_u64(b, len);
    gguf_bytes(b, key, len);
    gguf_u32(b, 4);
    gguf_u32(b, 1);
}

ROW(009)
{
    static char key[70000];
    const size_t bad[] = {0, 65536, (size_t)trial_between(65537, sizeof key)};
    memset(key, 'k', sizeof key);
    for (size_t i = 0; i < COUNT(bad); i++) {
        pare_buf b = {0};
        key_of(&b, key, bad[i]);
        refused(3, &b, "key|offset 24|length of %zu bytes|allowed 1 to 65535", bad[i]);
    }
    whole w;
    whole_llama(&w);
    key[65535] = '\0';
    whole_u32(&w, key, 1);
    whole_accepted(&w);
}

ROW(010)
{
    static const char good[] = "general.name";
    const uint8_t bad[] = {0, 1, 9, 10, 27, 31, 127, 128, 155, 255, (uint8_t)trial_between(128, 255)};
    for (size_t i = 0; i < COUNT(bad); i++) {
        pare_buf b = {0};
        char key[sizeof good];
        size_t at = (size_t)trial_between(0, sizeof good - 2);
        memcpy(key, good, sizeof good);
        key[at] = (char)bad[i];
        key_of(&b, key, sizeof good - 1);
        refused(3, &b, "key|offset 24|byte %zu is 0x%02x|printable ASCII", at, bad[i]);
    }
    static const char *const upper[] = {"General.Name", "general.URL", "X"};
    for (size_t i = 0; i < COUNT(upper); i++) {
        whole w;
        whole_llama(&w);
        whole_str(&w, upper[i], "x");
        whole_warned(&w, upper[i]);
    }
}

/* duplicate keys */
ROW(011)
{
    const size_t distances[] = {0, 1, 40, (size_t)trial_between(2, 300)};
    for (size_t i = 0; i < COUNT(distances); i++) {
        pare_buf b = {0};
        gguf_header(&b, 3, 0, distances[i] + 2);
        gguf_pair_u32(&b, "same.key", 1);
        for (size_t k = 0; k < distances[i]; k++) {
            char key[40];
            snprintf(key, sizeof key, "other.%zu", k);
            gguf_pair_u32(&b, key, 1);
        }
        size_t second = b.len;
        gguf_pair_str(&b, "same.key", "another type");
        refused(3, &b, "'same.key' twice|offsets 24 and %zu", second);
    }
}

ROW(012)
{
    const uint32_t types[] = {13, 14, 255, UINT32_MAX, 1u << 31, (uint32_t)trial_between(15, UINT32_MAX)};
    for (size_t i = 0; i < COUNT(types); i++) {
        pare_buf b = {0}, list = {0};
        one_pair(&b, "bad.type");
        gguf_u32(&b, types[i]);
        gguf_u64(&b, 1);
        refused(3, &b, "'bad.type'|value type %" PRIu32 "|allowed 0 to 12|offset 40", types[i]);
        one_pair(&list, "bad.list");
        gguf_u32(&list, 9), gguf_u32(&list, types[i]), gguf_u64(&list, 1);
        gguf_u64(&list, 1);
        refused(3, &list, "'bad.list'|value type %" PRIu32 "|allowed 0 to 12", types[i]);
    }
}

/* arrays of arrays */
ROW(013)
{
    for (uint32_t elem = 0; elem < 9; elem += 4) {
        pare_buf b = {0};
        one_pair(&b, "nested");
        gguf_u32(&b, 9), gguf_u32(&b, 9), gguf_u64(&b, 1);
        gguf_u32(&b, elem), gguf_u64(&b, 0);
        gguf_zeros(&b, 16);
        refused(4, &b, "'nested'|array of arrays");
    }
    const size_t depths[] = {9, 1000000, (size_t)trial_between(10, 5000)};
    for (size_t i = 0; i < COUNT(depths); i++) {
        pare_buf b = {0};
        one_pair(&b, "nested");
        gguf_u32(&b, 9);
        for (size_t k = 0; k < depths[i]; k++)
            gguf_u32(&b, 9), gguf_u64(&b, 1);
        gguf_u32(&b, 4), gguf_u64(&b, 1), gguf_u32(&b, 0);
        refused(3, &b, "'nested'|nested more than 8 deep");
    }
}

/* arrays longer than what is left */
ROW(014)
{
    static const struct {
        uint32_t elem, bytes;
    } kinds[] = {{0, 1}, {4, 4}, {7, 1}, {8, 8}, {12, 8}};
    trial_limit_data(LITTLE_DATA);
    for (size_t i = 0; i < COUNT(kinds); i++) {
        const uint64_t left = 40, fit = left / kinds[i].bytes;
        const uint64_t lengths[] = {fit + 1,           (uint64_t)1 << 63, ((uint64_t)1 << 62) + 1,
                                    (uint64_t)1 << 61, UINT64_MAX,        trial_between(fit + 1, UINT64_MAX)};
        for (size_t k = i; k < COUNT(lengths); k += 2) {
            pare_buf b = {0};
            one_pair(&b, "long.list");
            gguf_u32(&b, 9), gguf_u32(&b, kinds[i].elem), gguf_u64(&b, lengths[k]);
            gguf_zeros(&b, left);
            refused(3, &b, "'long.list'|%" PRIu64 "|have 40 in all", lengths[k]);
        }
    }
    trial_limit_data(0);
}

/* a file that is a hole behind its header */
static void sparse_list(uint32_t elem, uint64_t n, uint64_t file_bytes, const char *says)
{
    pare_buf b = {0};
    one_pair(&b, "many");
    gguf_u32(&b, 9), gguf_u32(&b, elem), gguf_u64(&b, n);
    trial_put_buf(FILE_NAME, &b);
    pare_buf_close(&b);
    CHECK(truncate(trial_path(FILE_NAME), (off_t)file_bytes) == 0);
    trial_model_refused(3, FILE_NAME, says);
    trial_remove(FILE_NAME);
}

ROW(015)
{
    trial_limit_data(LITTLE_DATA);
    sparse_list(8, (uint64_t)1 << 30, (uint64_t)9 << 30, "'many'|array");
    sparse_list(8, ((uint64_t)1 << 25) + 1, (uint64_t)9 << 30, "'many'|33554433 strings|allowed are 33554432");
    sparse_list(0, (uint64_t)1 << 31, (uint64_t)9 << 30, "'many'|1073741");
    trial_limit_data(0);
    if (!trial_limit_space((uint64_t)4 << 30)) /* no room for the file: its header is judged all the same */
        return;
    sparse_list(8, (uint64_t)1 << 30, (uint64_t)9 << 30, "'many'|array");
    sparse_list(0, (uint64_t)1 << 31, (uint64_t)9 << 30, "'many'|1073741");
    whole w;
    whole_llama(&w);
    whole_tensor *t = whole_add(&w, "past.the.end", 0, (uint64_t)1 << 40, 0, 0);
    t->placed = true;
    t->offset = 1 << 20;
    whole_put(&w, FILE_NAME);
    CHECK(truncate(trial_path(FILE_NAME), (off_t)9 << 30) == 0);
    trial_model_refused(3, FILE_NAME, "'past.the.end'|need 4398046511104 bytes");
    whole_remove(&w, "past.the.end"); /* a sound header: no room */
    whole_put(&w, FILE_NAME);
    whole_close(&w);
    CHECK(truncate(trial_path(FILE_NAME), (off_t)9 << 30) == 0);
    trial_refused(5, FILE_NAME "|cannot map 9663676416 bytes", "inspect " FILE_NAME);
    trial_refused(5, FILE_NAME "|cannot map 9663676416 bytes", "convert " FILE_NAME " -o out.gguf");
    trial_remove(FILE_NAME);
    trial_limit_space(0);
}

ROW(016)
{
    const uint8_t values[] = {2, 255, 128, (uint8_t)trial_between(3, 254)};
    for (size_t i = 0; i < COUNT(values); i++) {
        pare_buf b = {0}, list = {0};
        one_pair(&b, "a.flag");
        gguf_u32(&b, 7);
        size_t at = b.len;
        gguf_u8(&b, values[i]);
        refused(3, &b, "'a.flag'|offset %zu is %u|allowed 0 and 1", at, values[i]);
        one_pair(&list, "flags");
        gguf_u32(&list, 9), gguf_u32(&list, 7), gguf_u64(&list, 3);
        gguf_u8(&list, 0), gguf_u8(&list, 1);
        at = list.len;
        gguf_u8(&list, values[i]);
        refused(3, &list, "'flags'|offset %zu is %u|allowed 0 and 1", at, values[i]);
    }
}

static const struct {
    const char *bytes;
    size_t n;
} no_utf8[] = {{"a\xff", 2},    {"\xc0\xaf", 2}, {"a\xed\xa0\x80", 4},        {"\xf5\x80\x80\x80", 4},
               {"\xe2\x82", 2}, {"\x80", 1},     {"x\xf8\x88\x80\x80\x80", 6}};

ROW(017)
{
    for (size_t i = 0; i < COUNT(no_utf8); i++) {
        whole w;
        pare_buf name = {0};
        whole_llama(&w);
        pare_buf *b = whole_array(&w, "tokenizer.ggml.merges", 8, 1); /* texts of tokens: warned of and kept */
        gguf_str(b, "t h");
        b = whole_array(&w, "general.tags", 8, 2);
        gguf_str(b, "fine");
        gguf_u64(b, no_utf8[i].n);
        gguf_bytes(b, no_utf8[i].bytes, no_utf8[i].n);
        whole_warned(&w, "general.tags|1 of 2 strings are not UTF-8|the first is 1");
        whole_llama(&w);
        whole_text(&w, "general.architecture", no_utf8[i].bytes, no_utf8[i].n);
        whole_refused(3, &w, "general.architecture");
        gguf_header(&name, 3, 1, 0);
        gguf_u64(&name, no_utf8[i].n);
        gguf_bytes(&name, no_utf8[i].bytes, no_utf8[i].n);
        gguf_u32(&name, 1), gguf_u64(&name, 1), gguf_u32(&name, 0), gguf_u64(&name, 0);
        gguf_pad(&name, 32);
        gguf_u32(&name, 0);
        refused(3, &name, "tensor 1 of 1|is not UTF-8");
    }
    /* token texts of SentencePiece keep their bytes */
    whole w;
    whole_llama(&w);
    whole_spm(&w);
    pare_buf *b = whole_value(&w, "tokenizer.ggml.tokens");
    gguf_u32(b, 9), gguf_u32(b, 8), gguf_u64(b, WHOLE_TOKENS);
    gguf_str(b, "<unk>"), gguf_str(b, "<s>"), gguf_str(b, "</s>");
    for (int i = 3; i < WHOLE_TOKENS; i++) {
        char text[8];
        snprintf(text, sizeof text, i < 259 ? "<0x%02X>" : "\xff%c", i < 259 ? i - 3 : 'a' + i % 26);
        gguf_str(b, text);
    }
    whole_warned(&w, "tokenizer.ggml.tokens|strings are not UTF-8");
}

ROW(018)
{
    for (int i = 0; i < 6; i++) {
        whole w;
        whole_llama(&w);
        static const char key[] = "general.alignment";
        if (i == 0)
            whole_i32(&w, key, 32);
        else if (i == 1)
            whole_str(&w, key, "32");
        else if (i == 2)
            whole_u64(&w, key, 32);
        else if (i == 3)
            whole_u16(&w, key, 32);
        else if (i == 4)
            whole_f32(&w, key, 32.0f);
        else
            whole_u32s(&w, key, 4, &w.alignment, 1);
        whole_refused(3, &w, "'general.alignment'|offset |of type |expected u32");
    }
}

static void alignment_refused(uint32_t alignment)
{
    whole w;
    whole_llama(&w);
    whole_u32(&w, "general.alignment", alignment);
    whole_refused(3, &w, "'general.alignment'|is %" PRIu32 "|power of two from 8 to 1048576", alignment);
}

ROW(019)
{
    const uint32_t values[] = {0, 1, 2, 4, 6, 12, 24, 33, 48, 3 * (uint32_t)trial_between(1, 1000)};
    for (size_t i = 0; i < COUNT(values); i++)
        alignment_refused(values[i]);
    for (uint32_t a = 8; a <= 4096; a *= 8) {
        whole w;
        whole_llama(&w);
        w.alignment = a;
        whole_u32(&w, "general.alignment", a);
        whole_accepted(&w);
    }
}

ROW(020)
{
    for (uint32_t a = 1u << 21; a != 0; a <<= 1)
        if (a <= 1u << 22 || a >= 1u << 30)
            alignment_refused(a);
    alignment_refused(UINT32_MAX);
}

ROW(021)
{
    static char name[10241];
    whole w;
    whole_llama(&w);
    whole_drop(&w, "general.architecture");
    whole_refused(3, &w, "'general.architecture' is missing");
    whole_llama(&w);
    whole_u32(&w, "general.architecture", 3);
    whole_refused(3, &w, "'general.architecture'|of type u32");
    const size_t lengths[] = {0, 65, 10240, (size_t)trial_between(66, 10240)};
    for (size_t i = 0; i < COUNT(lengths); i++) {
        memset(name, 'l', lengths[i]);
        whole_llama(&w);
        whole_text(&w, "general.architecture", name, lengths[i]);
        whole_refused(3, &w, "'general.architecture'|has %zu bytes, allowed 1 to 64", lengths[i]);
    }
    static const char *const odd[] = {"lla ma", "\x1b[31mllama", "llama\n", "l\x7f"};
    for (size_t i = 0; i < COUNT(odd); i++) {
        whole_llama(&w);
        whole_str(&w, "general.architecture", odd[i]);
        whole_refused(3, &w, "'general.architecture'|printable ASCII");
    }
    static const struct {
        const char *key, *text;
    } names[] = {{"general.architecture", "llama"},
                 {"general.type", "model"},
                 {"llama.rope.scaling.type", "none"},
                 {"tokenizer.ggml.model", "gpt2"},
                 {"tokenizer.ggml.pre", "gpt-2"}};
    for (size_t i = 0; i < COUNT(names); i++) { /* a NUL behind a sound text is seen, and shown */
        whole_llama(&w);
        whole_text(&w, names[i].key, names[i].text, strlen(names[i].text) + 1);
        whole_refused(3, &w, "'%s'|offset |'%s\\x00'|printable ASCII", names[i].key, names[i].text);
    }
}

/* architectures that pare does not know */
ROW(022)
{
    static const char *const names[] = {"frob", "llama9000", "x"};
    for (size_t i = 0; i < COUNT(names); i++) {
        whole w;
        whole_llama(&w);
        whole_str(&w, "general.architecture", names[i]);
        whole_put(&w, FILE_NAME);
        whole_close(&w);
        trial_accepted(NULL, "inspect " FILE_NAME);
        trial_accepted(NULL, "convert " FILE_NAME " -o out.gguf");
        trial_accepted(NULL, "pin " FILE_NAME " -o a.lock");
        trial_accepted(NULL, "verify " FILE_NAME);
        trial_refused(4, names[i], "eval " FILE_NAME " -f text.txt --ctx 16");
        trial_refused(4, names[i], "fit " FILE_NAME " --vram 8G");
        trial_refused(4, names[i], "imatrix " FILE_NAME " -f text.txt --ctx 16 -o im.gguf");
        trial_refused(4, names[i], "generate " FILE_NAME " -p a -n 1");
        trial_refused(4, names[i], "generate sound.gguf --reference " FILE_NAME " -p a -n 1");
        trial_refused(4, names[i], "eval sound.gguf --reference " FILE_NAME " -f text.txt --ctx 16");
        trial_refused(4, names[i], "compare sound.gguf " FILE_NAME " -f text.txt --ctx 16");
        trial_refused(4, names[i], "kv " FILE_NAME " -f text.txt");
        trial_refused(4, names[i], "eval " FILE_NAME " -f text.txt --ctx 16 --cache-k q8_0");
        trial_refused(4, "architecture", "convert " FILE_NAME " --kv-ready -o out.gguf");
    }
}

ROW(023)
{
    const uint32_t counts[] = {0, 1, 3, 513, 1000000, UINT32_MAX, 1u << 31, (uint32_t)trial_between(4, UINT32_MAX)};
    for (size_t i = 0; i < COUNT(counts); i++) {
        whole w;
        whole_llama(&w);
        whole_u32(&w, "llama.block_count", counts[i]);
        whole_refused(3, &w, "block_count|%" PRIu32, counts[i]);
    }
    whole w;
    whole_llama(&w);
    whole_i32(&w, "llama.block_count", -1);
    whole_refused(3, &w, "block_count|is -1");
    whole_llama(&w);
    whole_remove(&w, "blk.1.attn_q.weight");
    whole_refused(3, &w, "blk.1.attn_q.weight|missing");
    static const char *const layers[] = {"-1", "00", "+1", "01", "2", "4294967296", "18446744073709551616"};
    for (size_t i = 0; i < COUNT(layers); i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%s.attn_norm.weight", layers[i]);
        whole_llama(&w);
        whole_add(&w, name, 0, 1, 0, 4);
        whole_refused(3, &w, "'%s'|offset |is of layer", name);
    }
}

ROW(024)
{
    static const char heads[] = "llama.attention.head_count", kv[] = "llama.attention.head_count_kv";
    static const uint32_t two[] = {2, 2}, three[] = {1, 1, 1}, none[] = {1, 0}, one[] = {1};
    whole w;
    const uint32_t bad_heads[] = {0, 3, 1u << 31, UINT32_MAX, (uint32_t)trial_between(33, UINT32_MAX)};
    for (size_t i = 0; i < COUNT(bad_heads); i++) {
        whole_llama(&w);
        whole_u32(&w, heads, bad_heads[i]);
        whole_refused(3, &w, "%s",
                      bad_heads[i] == 3 ? "offset |'llama.embedding_length': a width of 32|3 attention heads"
                                        : "attention.head_count");
    }
    const uint32_t bad_kv[] = {3, 4, 5, (uint32_t)trial_between(6, 1000)};
    for (size_t i = 0; i < COUNT(bad_kv); i++) {
        whole_llama(&w);
        whole_u32(&w, kv, bad_kv[i]);
        whole_refused(3, &w, "offset |'llama.attention.head_count_kv': %" PRIu32 " key/value heads do not divide 2",
                      bad_kv[i]);
    }
    whole_llama(&w);
    whole_u32(&w, kv, 0);
    whole_refused(3, &w, "head_count_kv|is 0");
    whole_llama(&w);
    whole_u32s(&w, kv, 4, three, 3);
    whole_refused(3, &w, "head_count_kv|3 elements|2 layers");
    whole_llama(&w);
    whole_u32s(&w, kv, 4, one, 1);
    whole_refused(3, &w, "head_count_kv|1 elements|2 layers");
    whole_llama(&w);
    whole_u32s(&w, kv, 4, none, 2);
    whole_refused(3, &w, "head_count_kv|element 1");
    whole_llama(&w);
    whole_u32s(&w, heads, 4, two, 2);
    whole_accepted(&w);
    const uint32_t bad_rot[] = {15, 18};
    for (size_t i = 0; i < COUNT(bad_rot); i++) {
        whole_llama(&w);
        whole_u32(&w, "llama.rope.dimension_count", bad_rot[i]);
        whole_refused(3, &w, "offset |'llama.rope.dimension_count': RoPE over %" PRIu32, bad_rot[i]);
    }
    /* layers that differ: what fits is not supported, what does not is damaged */
    static const struct {
        const char *key, *says;
        uint32_t values[2];
        int code;
    } differing[] = {
        {"llama.attention.head_count_kv", "layer 1: 3 key/value heads do not divide 2", {1, 3}, 3},
        {"llama.attention.head_count_kv", "differs from layer to layer", {1, 2}, 4},
        {"llama.attention.head_count", "layer 0: a width of 32 is not divisible by 3", {3, 2}, 3},
        {"llama.attention.head_count", "differs from layer to layer", {4, 2}, 4},
        {"llama.feed_forward_length", "of layer 1 is 33, tensor 'blk.1.ffn_down.weight' has rows of 32", {32, 33}, 3},
    };
    for (size_t i = 0; i < COUNT(differing); i++) {
        whole_llama(&w);
        whole_u32s(&w, differing[i].key, 4, differing[i].values, 2);
        whole_put(&w, FILE_NAME);
        whole_close(&w);
        char says[200];
        snprintf(says, sizeof says, FILE_NAME "|%s|%s", differing[i].key, differing[i].says);
        trial_refused(differing[i].code, says, "convert " FILE_NAME " -o out.gguf");
        if (differing[i].code == 4)
            trial_accepted(NULL, "verify " FILE_NAME);
        else
            trial_refused(3, says, "verify " FILE_NAME);
    }
}

/* How many experts, and how they are chosen. */
static void refuse_numbers_of_experts(void)
{
    whole w;
    const uint32_t used[][2] = {{2, 3}, {8, 9}, {2, UINT32_MAX}, {0, 1}, {4, (uint32_t)trial_between(5, 1000)}};
    for (size_t i = 0; i < COUNT(used); i++) {
        whole_llama(&w);
        whole_u32(&w, "llama.expert_count", used[i][0]);
        whole_u32(&w, "llama.expert_used_count", used[i][1]);
        whole_refused(3, &w, "expert");
    }
    /* keys of how experts are chosen, which this architecture does not read */
    static const struct {
        const char *key, *says;
        uint32_t value;
    } routing[] = {{"llama.expert_group_count", "groups must divide", 3},
                   {"llama.expert_group_used_count", "expert_group_used_count", 2},
                   {"llama.expert_shared_count", "expert_shared_count", 1u << 31},
                   {"llama.leading_dense_block_count", "3 leading dense layers of 2", 3},
                   {"llama.expert_gating_func", "expert_gating_func", 4}};
    for (size_t i = 0; i < COUNT(routing); i++) {
        whole_llama(&w);
        whole_u32(&w, "llama.expert_count", 4);
        whole_u32(&w, "llama.expert_used_count", 2);
        whole_u32(&w, routing[i].key, routing[i].value);
        whole_refused(3, &w, "%s", routing[i].says);
    }
    whole_llama(&w); /* sound, and another choice of experts than is made here */
    whole_u32(&w, "llama.expert_count", 4);
    whole_u32(&w, "llama.expert_used_count", 2);
    whole_u32(&w, "llama.expert_group_count", 2);
    whole_u32(&w, "llama.expert_group_used_count", 1);
    whole_put(&w, FILE_NAME);
    whole_close(&w);
    trial_refused(4, "'llama.expert_group_count' is 2", "quantize " FILE_NAME " -t q8_0 --pure -o out.gguf");
}

ROW(025)
{
    static const struct {
        const char *key;
        float value;
    } floats[] = {{"llama.attention.layer_norm_rms_epsilon", NAN},
                  {"llama.attention.layer_norm_rms_epsilon", INFINITY},
                  {"llama.attention.layer_norm_rms_epsilon", 0.0f},
                  {"llama.attention.layer_norm_rms_epsilon", -1e-5f},
                  {"llama.rope.freq_base", NAN},
                  {"llama.rope.freq_base", -INFINITY},
                  {"llama.rope.freq_base", 0.0f},
                  {"llama.rope.freq_base", -10000.0f},
                  {"llama.rope.scaling.factor", NAN},
                  {"llama.rope.scaling.factor", INFINITY},
                  {"llama.rope.scaling.factor", 0.0f},
                  {"llama.rope.scaling.factor", -2.0f},
                  {"llama.rope.scale_linear", NAN},
                  {"llama.rope.scale_linear", -1.0f}};
    whole w;
    for (size_t i = 0; i < COUNT(floats); i++) {
        whole_llama(&w);
        whole_f32(&w, floats[i].key, floats[i].value);
        if (strstr(floats[i].key, "scaling") != NULL)
            whole_str(&w, "llama.rope.scaling.type", "linear");
        whole_refused(3, &w, "'%s'", floats[i].key);
    }
    /* one rule for all, whether or not the architecture reads the key */
    static const char *const positive[] = {"attention.scale",
                                           "logit_scale",
                                           "residual_scale",
                                           "embedding_scale",
                                           "rope.scaling.attn_factor",
                                           "attention.output_scale",
                                           "rope.scaling.yarn_beta_fast",
                                           "rope.freq_base_swa"};
    static const char *const limits[] = {"attn_logit_softcapping", "final_logit_softcapping", "attention.clamp_kqv",
                                         "expert_weights_scale", "attention.max_alibi_bias"};
    static const float bad[] = {NAN, INFINITY, -INFINITY, -1.0f, 0.0f};
    for (size_t i = 0; i < COUNT(positive) + COUNT(limits); i++)
        for (size_t k = i % 2; k < COUNT(bad); k += 2) {
            char key[80];
            bool limit = i >= COUNT(positive);
            snprintf(key, sizeof key, "llama.%s", limit ? limits[i - COUNT(positive)] : positive[i]);
            whole_llama(&w);
            whole_f32(&w, key, bad[k]);
            if (limit && bad[k] == 0.0f)
                whole_accepted(&w);
            else
                whole_refused(3, &w, "'%s'|offset ", key);
        }
    static const char unread[] = "llama.some.new_number";
    whole_llama(&w);
    whole_f32(&w, unread, NAN);
    whole_refused(3, &w, "'%s'|finite", unread);
    whole_llama(&w);
    pare_buf *list = whole_array(&w, unread, 6, 2);
    gguf_u32(list, pare_f32_to_bits(1.0f));
    gguf_u32(list, pare_f32_to_bits(INFINITY));
    whole_refused(3, &w, "'%s'|element 1|finite", unread);
    whole_llama(&w);
    whole_f32(&w, unread, -2.0f);
    whole_accepted(&w);
    refuse_numbers_of_experts();
}

static void named(pare_buf *b, const char *name, size_t len)
{
    gguf_header(b, 3, 1, 0);
    gguf_u64(b, len);
    gguf_bytes(b, name, len);
    gguf_u32(b, 1), gguf_u64(b, 1), gguf_u32(b, 0), gguf_u64(b, 0);
    gguf_pad(b, 32);
    gguf_zeros(b, 4);
}

ROW(026)
{
    static char name[300];
    const size_t lengths[] = {64, 65, 300, (size_t)trial_between(66, 299)};
    memset(name, 'n', sizeof name);
    for (size_t i = 0; i < COUNT(lengths); i++) {
        pare_buf b = {0};
        named(&b, name, lengths[i]);
        refused(3, &b, "name|offset 24|length of %zu bytes, allowed 1 to 63", lengths[i]);
    }
    whole w;
    whole_llama(&w);
    name[63] = '\0';
    whole_add(&w, name, 0, 1, 0, 4);
    whole_accepted(&w);
}

ROW(027)
{
    static const struct {
        const char *bytes;
        size_t n;
    } names[] = {{"", 0},
                 {"a\0b", 3},
                 {"x/../y", 6},
                 {"..", 2},
                 {"a\\..\\b", 6},
                 {"a\x1b[2J", 5},
                 {"a\nb", 3},
                 {"\x7f", 1},
                 {"a\xc2\x9b"
                  "2J",
                  5}, /* a C1 control: CSI in one character */
                 {"a\xe2\x80\xae"
                  "b",
                  5}, /* U+202E turns the direction of what follows */
                 {"\xe2\x81\xa6"
                  "b",
                  4}, /* U+2066 */
                 {"/etc/passwd", 11},
                 {"../x", 4},
                 {"a/../b", 6},
                 {"a/..", 4},
                 {"C:\\x", 4},
                 {"\\\\host\\x", 8},
                 {"\xef\xbb\xbf"
                  "a",
                  4},                  /* U+FEFF */
                 {"a\xe2\x80\x8b", 4}, /* U+200B */
                 {"a\xe3\x85\xa4", 4}, /* U+3164, a filler */
                 {"a\xef\xb8\x8f", 4}, /* U+FE0F, a variation selector */
                 {"a\xf3\xa0\x81\x81", 5} /* U+E0041, a tag */};
    for (size_t i = 0; i < COUNT(names); i++) {
        pare_buf b = {0};
        named(&b, names[i].bytes, names[i].n);
        refused(3, &b, "name|offset 24");
    }
    static const char *const fine[] = {"vision/blk.0/w", "a/b/c", "..a", "a../b", "\xc3\xa9"};
    whole w;
    for (size_t i = 0; i < COUNT(fine); i++) {
        whole_llama(&w);
        whole_add(&w, fine[i], 0, 1, 0, 4);
        whole_accepted(&w);
    }
    /* what may be in values is escaped when it is printed: the trial looks for control bytes */
    whole_llama(&w);
    whole_text(&w, "general.name", "\x1b[31m\n\0\x7f", 8);
    whole_put(&w, FILE_NAME);
    whole_close(&w);
    trial_printed(0, "\\x1b[31m", "inspect --metadata " FILE_NAME);
}

/* duplicate names: in a file here, across parts in row 54's file */
ROW(028)
{
    static const char *const names[] = {"blk.0.attn_q.weight", "output.weight", "token_embd.weight"};
    for (size_t i = 0; i < COUNT(names); i++) {
        whole w;
        whole_llama(&w);
        whole_add(&w, names[i], 0, WHOLE_COLUMNS, 0, 4 * WHOLE_COLUMNS);
        whole_refused(3, &w, "'%s' twice|offsets ", names[i]);
    }
}

ROW(029)
{
    const uint32_t counts[] = {5, 6, 8, 255, UINT32_MAX, (uint32_t)trial_between(9, UINT32_MAX)};
    for (size_t i = 0; i < COUNT(counts); i++) {
        whole w;
        whole_llama(&w);
        whole_tensor_of(&w, "blk.0.ffn_up.weight")->n_dims = counts[i];
        whole_refused(3, &w, "'blk.0.ffn_up.weight'|%" PRIu32 " dimensions|allowed 0 to 4", counts[i]);
    }
    whole w;
    whole_llama(&w);
    whole_add(&w, "a.scalar", 0, 1, 0, 4)->n_dims = 0;
    whole_accepted(&w);
}

ROW(030)
{
    static const char *const needed[] = {"blk.0.ffn_up.weight", "output_norm.weight", "token_embd.weight",
                                         "blk.1.attn_k.weight"};
    whole w;
    for (size_t i = 0; i < COUNT(needed); i++)
        for (int k = 0; k < 2; k++) {
            whole_llama(&w);
            whole_tensor_of(&w, needed[i])->dim[k] = 0;
            if (whole_tensor_of(&w, needed[i])->n_dims > (uint32_t)k)
                whole_refused(3, &w, "'%s'", needed[i]);
            else
                whole_close(&w);
        }
    whole_llama(&w);
    whole_add(&w, "empty.rows", 0, 5, 0, 0)->dim[0] = 0;
    whole_add(&w, "empty.columns", 8, 0, 7, 0);
    whole_accepted(&w);
}

static void dims_refused(uint32_t type, uint64_t a, uint64_t b, uint64_t c, uint64_t d, const char *says)
{
    whole w;
    whole_llama(&w);
    whole_tensor *t = whole_tensor_of(&w, "blk.0.ffn_up.weight");
    t->n_dims = 4;
    t->type = type;
    t->dim[0] = a, t->dim[1] = b, t->dim[2] = c, t->dim[3] = d;
    whole_refused(3, &w, "'blk.0.ffn_up.weight'%s", says);
}

/* products that wrap */
ROW(031)
{
    dims_refused(0, (uint64_t)1 << 63, 1, 1, 1, "|9223372036854775808");
    dims_refused(0, INT64_MAX, 1, 1, 1, "|overflow");
    dims_refused(24, INT64_MAX, 2, 1, 1, ""); /* I8 */
    dims_refused(24, INT64_MAX, 3, 1, 1, "");
    dims_refused(0, UINT64_MAX, 1, 1, 1, "|18446744073709551615");
    dims_refused(0, (uint64_t)1 << 32, (uint64_t)1 << 32, 1, 1, "");
    dims_refused(0, 32, (uint64_t)1 << 20, (uint64_t)1 << 20, (uint64_t)1 << 20, "");
    dims_refused(8, 32 * trial_between((uint64_t)1 << 40, (uint64_t)1 << 58), trial_between(32, 64), 1, 1, "");
}

ROW(032)
{
    dims_refused(0, 4, ((uint64_t)1 << 30) - 1, ((uint64_t)1 << 30) + 1, 1, "");
    dims_refused(0, 4, ((uint64_t)1 << 29) - 1, ((uint64_t)1 << 29) + 1, 4, "");
    dims_refused(1, 8, ((uint64_t)1 << 30) - 1, ((uint64_t)1 << 30) + 1, 1, "");
    dims_refused(0, 32, trial_between((uint64_t)1 << 20, (uint64_t)1 << 40), 1, 1, "|need ");
}

ROW(033)
{
    const uint64_t dims[] = {((uint64_t)1 << 42) + 1, (uint64_t)1 << 40,
                             trial_between((uint64_t)1 << 30, (uint64_t)1 << 52)};
    for (size_t i = 0; i < COUNT(dims); i++)
        for (int k = 0; k < 2; k++) {
            whole w;
            whole_llama(&w);
            whole_tensor_of(&w, "token_embd.weight")->dim[k] = dims[i];
            whole_refused(3, &w, "'token_embd.weight'");
        }
}

static void type_refused(uint32_t type, const char *says)
{
    whole w;
    whole_llama(&w);
    whole_tensor_of(&w, "blk.0.ffn_up.weight")->type = type;
    whole_refused(4, &w, "'blk.0.ffn_up.weight'|type number %" PRIu32 "%s", type, says);
}

ROW(034)
{
    static const uint32_t removed[] = {4, 5, 31, 32, 33, 36, 37, 38};
    for (size_t i = 0; i < COUNT(removed); i++)
        type_refused(removed[i], "|removed");
}

ROW(035)
{
    type_refused(98, "|ik_llama");
    type_refused(137, "|ik_llama");
    const uint32_t unknown[] = {43, 63, 1000000000, UINT32_MAX, 1u << 31, (uint32_t)trial_between(1000, UINT32_MAX)};
    for (size_t i = 0; i < COUNT(unknown); i++)
        type_refused(unknown[i], "");
}

ROW(036)
{
    static const uint32_t types[] = {2, 8, 12, 14, 20, 39};
    for (size_t i = 0; i < COUNT(types); i++) {
        whole w;
        whole_llama(&w);
        uint64_t ne0 = i == 0 ? 33 : 256 * trial_between(1, 9) + trial_between(1, 31);
        whole_add(&w, "odd.weight", types[i], ne0, 2, 4096);
        whole_refused(3, &w, "'odd.weight'|%" PRIu64 "|block of", ne0);
    }
}

static void place(whole *w, const char *name, uint64_t offset)
{
    whole_tensor *t = whole_tensor_of(w, name);
    t->placed = true;
    t->offset = offset;
}

ROW(037)
{
    const uint64_t offsets[] = {1, 16, 31, 4, 32 * trial_between(1, 100) + trial_between(1, 31)};
    for (size_t i = 0; i < COUNT(offsets); i++) {
        whole w;
        whole_llama(&w);
        place(&w, "output_norm.weight", offsets[i]);
        whole_refused(3, &w, "'output_norm.weight'|offset %" PRIu64 "|multiple of the alignment 32", offsets[i]);
    }
}

ROW(038)
{
    const uint64_t offsets[] = {(uint64_t)1 << 40, (uint64_t)1 << 63, UINT64_MAX - 31,
                                32 * trial_between(1 << 20, (uint64_t)1 << 50)};
    for (size_t i = 0; i < COUNT(offsets); i++) {
        whole w;
        whole_llama(&w);
        place(&w, "blk.1.ffn_norm.weight", offsets[i]);
        whole_refused(3, &w, "'blk.1.ffn_norm.weight'");
    }
    pare_buf b = {0};
    gguf_header(&b, 3, 1, 0); /* one byte less than the tensor wants */
    gguf_info(&b, "w.weight", 1, (uint64_t[]){16}, 0, 0);
    gguf_pad(&b, 32);
    gguf_zeros(&b, 63);
    refused(3, &b, "'w.weight'|need 64 bytes, have 63");
}

ROW(039)
{
    whole w;
    whole_llama(&w);
    place(&w, "output_norm.weight", 0);
    whole_refused(3, &w, "overlaps|'output_norm.weight'|'token_embd.weight'");
    whole_llama(&w); /* by one alignment */
    place(&w, "output_norm.weight", 4 * WHOLE_COLUMNS * WHOLE_TOKENS - 32);
    whole_refused(3, &w, "overlaps|'output_norm.weight'");
    whole_llama(&w);
    place(&w, "blk.1.ffn_norm.weight", 32 * trial_between(1, 1000));
    whole_refused(3, &w, "overlaps|'blk.1.ffn_norm.weight'");
}

ROW(040)
{
    whole w;
    whole_llama(&w);
    whole_tensor *t = whole_add(&w, "extra.weight", 0, 8, 0, 96); /* more data than the tensor has: a gap behind it */
    whole_add(&w, "last.weight", 0, 8, 0, 32);
    CHECK(t->data.len == 96);
    whole_warned(&w, "1 gaps between tensors|'last.weight'|stock llama.cpp refuses it");
    whole_llama(&w);
    whole_add(&w, "a.weight", 0, 8, 0, 32);
    whole_add(&w, "b.weight", 0, 8, 0, 32);
    uint64_t at = 0;
    for (size_t i = 0; i + 2 < w.n_tensors; i++)
        at += w.tensors[i].data.len;
    place(&w, "a.weight", at + 32);
    place(&w, "b.weight", at);
    whole_warned(&w, "not in the order of their offsets|'b.weight'|stock llama.cpp refuses it");
}

static void put_with_tail(const char *tail, size_t n)
{
    whole w;
    pare_buf b = {0};
    whole_llama(&w);
    whole_bytes(&w, &b);
    gguf_bytes(&b, tail, n);
    trial_put_buf(FILE_NAME, &b);
    pare_buf_close(&b);
    whole_close(&w);
}

ROW(041)
{
    static const char tail[] = "PK\3\4 an archive behind the model";
    const size_t lengths[] = {1, sizeof tail, (size_t)trial_between(2, sizeof tail)};
    for (size_t i = 0; i < COUNT(lengths); i++) {
        char says[100];
        put_with_tail(tail, lengths[i]);
        snprintf(says, sizeof says, "%zu bytes behind the last tensor|from offset ", lengths[i]);
        trial_model_warned(FILE_NAME, says);
    }
}

ROW(042)
{
    const size_t counts[] = {1, 7, (size_t)trial_between(1, 28)};
    for (size_t i = 0; i < COUNT(counts); i++) {
        whole w;
        char says[100];
        whole_llama(&w);
        whole_tensor *t = whole_add(&w, "short.weight", 0, 1, 0, 32);
        memset(t->data.data + 4, 0x5a, counts[i]);
        whole_add(&w, "last.weight", 0, 8, 0, 32);
        snprintf(says, sizeof says, "%zu bytes of padding are not zero|the first at offset ", counts[i]);
        whole_warned(&w, says);
    }
}

/* Cut in every part of the file; all verbs say the same. */
ROW(043)
{
    whole w;
    pare_buf b = {0};
    whole_llama(&w);
    size_t header = 0;
    for (size_t i = 0; i < w.n_pairs; i++)
        header += 8 + w.pairs[i].key.len + w.pairs[i].value.len;
    whole_bytes(&w, &b);
    size_t data = 0;
    for (size_t i = 0; i < w.n_tensors; i++)
        data += w.tensors[i].data.len;
    const struct {
        size_t at;
        const char *says;
    } cuts[] = {{24 + header / 2, "need |have "},
                {24 + header - 1, "metadata pair|need |have "},
                {24 + header + 60, "tensor count 21|have 60 in all"},
                {b.len - data - 37, "tensor info 21 of 21|need |have "},
                {b.len - data - 1, "'token_embd.weight'|need |have "},
                {b.len - data + 1, "'token_embd.weight'|need |have "},
                {b.len - 1, "'blk.1.ffn_norm.weight'|need 128 bytes, have 127"},
                {(size_t)trial_between(24 + header / 2, b.len - 1), "need |have "}};
    for (size_t i = 0; i < COUNT(cuts); i++) {
        trial_put(FILE_NAME, b.data, cuts[i].at);
        trial_model_refused(3, FILE_NAME, cuts[i].says);
    }
    pare_buf_close(&b);
    whole_close(&w);
}

/* n different names as short as can be: letters and digits, least in front. */
static const char *short_name(uint64_t i, char name[8])
{
    static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    size_t n = 0;
    do
        name[n++] = letters[i % 36];
    while ((i /= 36) > 0);
    name[n] = '\0';
    return name;
}

static void put_u16(pare_buf *b, int v)
{
    gguf_u8(b, (uint8_t)v), gguf_u8(b, (uint8_t)(v >> 8));
}

/* The directory of n scalars, parts of a set of n_parts: no entry of a header is shorter. */
static uint64_t put_scalars(const char *file, uint64_t first, uint64_t n, uint64_t n_all, int part, int n_parts)
{
    pare_buf b = {0};
    char name[8];
    gguf_header(&b, 3, n, n_parts > 1 ? 4 : 1);
    gguf_pair_str(&b, "general.architecture", "unheard");
    if (n_parts > 1) {
        gguf_str(&b, "split.no"), gguf_u32(&b, 2), put_u16(&b, part);
        gguf_str(&b, "split.count"), gguf_u32(&b, 2), put_u16(&b, n_parts);
        gguf_str(&b, "split.tensors.count"), gguf_u32(&b, 5), gguf_u32(&b, (uint32_t)n_all);
    }
    for (uint64_t i = 0; i < n; i++)
        gguf_info(&b, short_name(first + i, name), 0, NULL, 0, 32 * i);
    gguf_pad(&b, 32);
    uint64_t header = b.len;
    trial_put_buf(file, &b);
    pare_buf_close(&b);
    CHECK(truncate(trial_path(file), (off_t)(header + 32 * n)) == 0);
    return header;
}

/* Many small things in a header: as many as may be. */
static void memory_while_parsing(void **state)
{
    (void)state;
    enum { N_TENSORS = 1 << 17, N_SET = 3 << 14, N_KEYS = 1 << 20, N_TEXTS = 500000 };
    pare_buf b = {0};
    char name[8];
    trial_memory("inspect " FILE_NAME, put_scalars(FILE_NAME, 0, N_TENSORS, N_TENSORS, 0, 1));
    put_scalars(FILE_NAME, 0, N_TENSORS + 1, N_TENSORS + 1, 0, 1);
    trial_model_refused(3, FILE_NAME, "tensor count 131073 at offset 8|131072");
    for (uint64_t first = 1; first <= N_SET - 1; first += N_SET / 2 - 1) { /* of 1, about half and all but one */
        uint64_t both = put_scalars("set-00001-of-00002.gguf", 0, first, N_SET, 0, 2);
        both += put_scalars("set-00002-of-00002.gguf", first, N_SET - first, N_SET, 1, 2);
        trial_memory("inspect set-00001-of-00002.gguf", both);
    }
    trial_remove("set-00001-of-00002.gguf");
    trial_remove("set-00002-of-00002.gguf");
    static const char *const three[] = {"set-00001-of-00003.gguf", "set-00002-of-00003.gguf",
                                        "set-00003-of-00003.gguf"};
    for (int part = 0; part < 3; part++) /* more than all parts may have in each: told by the first */
        put_scalars(three[part], (uint64_t)part * N_TENSORS, N_TENSORS, N_SET, part, 3);
    trial_refused(3, "split.tensors.count|49152|131072 tensors up to set-00001-of-00003.gguf", "inspect %s", three[1]);
    for (int part = 0; part < 3; part++)
        trial_remove(three[part]);
    for (uint64_t n = N_KEYS; n <= N_KEYS + 1; n++) {
        b.len = 0;
        gguf_header(&b, 3, 0, n);
        gguf_pair_str(&b, "general.architecture", "unheard");
        for (uint64_t i = 0; i + 1 < n; i++) {
            gguf_str(&b, short_name(i, name));
            gguf_u32(&b, 0), gguf_u8(&b, 1);
        }
        trial_put_buf(FILE_NAME, &b);
        if (n == N_KEYS)
            trial_memory("inspect " FILE_NAME, b.len);
        else
            trial_model_refused(3, FILE_NAME, "metadata pair count 1048577 at offset 16|1048576");
    }
    b.len = 0;
    gguf_header(&b, 3, 0, 2);
    gguf_pair_str(&b, "general.architecture", "unheard");
    gguf_pair_array(&b, "a.list", 8, N_TEXTS);
    for (int i = 0; i < N_TEXTS; i++)
        gguf_u64(&b, 0);
    trial_put_buf(FILE_NAME, &b);
    trial_memory("inspect " FILE_NAME, b.len);
    pare_buf_close(&b);
}

static int set_up(void **state)
{
    (void)state;
    whole w;
    whole_llama(&w);
    whole_put(&w, "sound.gguf");
    whole_close(&w);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_001),
        cmocka_unit_test(row_002),
        cmocka_unit_test(row_004),
        cmocka_unit_test(row_005),
        cmocka_unit_test(row_006),
        cmocka_unit_test(row_007),
        cmocka_unit_test(row_008),
        cmocka_unit_test(row_009),
        cmocka_unit_test(row_010),
        cmocka_unit_test(row_011),
        cmocka_unit_test(row_012),
        cmocka_unit_test(row_013),
        cmocka_unit_test(row_014),
        cmocka_unit_test(row_015),
        cmocka_unit_test(row_016),
        cmocka_unit_test(row_017),
        cmocka_unit_test(row_018),
        cmocka_unit_test(row_019),
        cmocka_unit_test(row_020),
        cmocka_unit_test(row_021),
        cmocka_unit_test(row_022),
        cmocka_unit_test(row_023),
        cmocka_unit_test(row_024),
        cmocka_unit_test(row_025),
        cmocka_unit_test(row_026),
        cmocka_unit_test(row_027),
        cmocka_unit_test(row_028),
        cmocka_unit_test(row_029),
        cmocka_unit_test(row_030),
        cmocka_unit_test(row_031),
        cmocka_unit_test(row_032),
        cmocka_unit_test(row_033),
        cmocka_unit_test(row_034),
        cmocka_unit_test(row_035),
        cmocka_unit_test(row_036),
        cmocka_unit_test(row_037),
        cmocka_unit_test(row_038),
        cmocka_unit_test(row_039),
        cmocka_unit_test(row_040),
        cmocka_unit_test(row_041),
        cmocka_unit_test(row_042),
        cmocka_unit_test(row_043),
        cmocka_unit_test(memory_while_parsing),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
