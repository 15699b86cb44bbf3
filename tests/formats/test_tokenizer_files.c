/* formats/tokenizer_files: stock's metadata for the reference folders, both ways, and files that must be refused. */
#include "check.h"
#include "core/bytes.h"
#include "core/hash.h"
#include "formats/tokenizer_files.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static pare_error err;

/* The shortest decimal form that reads back as d, with ".0" for a whole number: Python's repr of moderate numbers. */
static void put_float(pare_buf *out, double d)
{
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, d);
        if (strtod(text, NULL) == d)
            break;
    }
    if (d == (double)(long)d)
        snprintf(text, sizeof text, "%.1f", d);
    CHECK_OK(pare_buf_puts(out, text, &err), &err);
}

/* Elements of an array as text, joined by newlines: what gguf_meta.txt hashes. */
static void join(const pare_meta_value *m, pare_buf *out)
{
    for (uint64_t i = 0; i < m->n; i++) {
        if (i > 0)
            CHECK_OK(pare_buf_puts(out, "\n", &err), &err);
        if (m->elem == PARE_META_STRING)
            CHECK_OK(pare_buf_put(out, m->v.strings[i].data, m->v.strings[i].len, &err), &err);
        else if (m->elem == PARE_META_I32)
            CHECK_OK(pare_buf_printf(out, &err, "%" PRId32, ((const int32_t *)m->v.data)[i]), &err);
        else
            put_float(out, pare_load_f32le((const uint8_t *)m->v.data + 4 * i));
    }
}

/* The line of gguf_meta.txt that a value stands for, up to the parts that only Python writes. */
static void check_line(const pare_meta_value *m, const char *line, size_t len)
{
    pare_buf text = {0};
    char sha[65] = "";
    const char *want = memmem(line, len, " = ", 3);
    CHECK(want != NULL && m->key.len == (size_t)(want - line) && memcmp(m->key.data, line, m->key.len) == 0);
    want += 3;
    if (m->type == PARE_META_ARRAY) {
        pare_digest d;
        join(m, &text);
        CHECK_OK(pare_hash_bytes(text.data, text.len, PARE_HASH_SHA256, &d, &err), &err);
        pare_hex(sha, d.sha256, 32);
        const char *at = memmem(want, (size_t)(line + len - want), "sha256 ", 7);
        if (at == NULL || memcmp(at + 7, sha, 64) != 0)
            print_error("%.*s: %s\n", (int)m->key.len, m->key.data, sha);
        CHECK(at != NULL && memcmp(at + 7, sha, 64) == 0);
    } else if (m->type == PARE_META_U32 || m->type == PARE_META_BOOL) {
        CHECK_OK(m->type == PARE_META_U32 ? pare_buf_printf(&text, &err, "uint32 %" PRIu64, m->v.u)
                                          : pare_buf_printf(&text, &err, "bool %s", m->v.u != 0 ? "true" : "false"),
                 &err);
        CHECK(text.len == (size_t)(line + len - want) && memcmp(text.data, want, text.len) == 0);
    } else if (m->type == PARE_META_STRING && memchr(m->v.s.data, '\n', m->v.s.len) == NULL) {
        CHECK(memmem(want, (size_t)(line + len - want), m->v.s.data, m->v.s.len < 20 ? m->v.s.len : 20) != NULL);
    }
    pare_buf_close(&text);
}

static void check_folder(const char *name)
{
    char path[4300];
    size_t n = 0, k = 0;
    pare_vocab v;
    pare_meta meta = {0};
    bool found = false;
    json_t *config = NULL;
    snprintf(path, sizeof path, "oracle/models/%s", name);
    const char *dir = shared_path(path);
    snprintf(path, sizeof path, "%s/config.json", dir);
    CHECK_OK(pare_json_load(&config, path, 1 << 20, PARE_JSON_BIG_AS_REAL, &err), &err);
    uint32_t rows = (uint32_t)json_integer_value(json_object_get(config, "vocab_size"));
    CHECK_OK(pare_tokenizer_files_read(&v, dir, config, rows, &found, &err), &err);
    CHECK(found);
    CHECK_OK(pare_vocab_to_meta(&v, &meta, &err), &err);
    snprintf(path, sizeof path, "%s/gguf_meta.txt", dir);
    char *text = (char *)check_read_file(path, &n);
    for (char *line = text, *end; (end = memchr(line, '\n', (size_t)(text + n - line))) != NULL; line = end + 1) {
        if (strncmp(line, "tokenizer.", 10) != 0)
            continue;
        CHECK(k < meta.n);
        check_line(&meta.values[k++], line, (size_t)(end - line));
    }
    CHECK(k == meta.n && k > 5);
    free(text);
    json_decref(config);
    pare_meta_close(&meta);
    pare_vocab_close(&v);
}

static void gives_stock_metadata(void **state)
{
    (void)state;
    static const char *const names[] = {"llama",       "llama_rope", "mistral",     "qwen2",        "qwen3",
                                        "qwen3_moe",   "qwen3_tiny", "mixtral",     "gemma2",       "phi3",
                                        "gpt2",        "gpt_neox",   "starcoder2",  "falcon",       "olmo2",
                                        "deepseek_v2", "gpt_oss",    "gemma3_text", "gpt_oss_mxfp4"};
    shared_path("oracle/models");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        check_folder(names[i]);
}

static void same_vocab(const pare_vocab *a, const pare_vocab *b)
{
    CHECK(a->kind == b->kind && a->n_tokens == b->n_tokens);
    CHECK(a->pre.len == b->pre.len && memcmp(a->pre.data, b->pre.data, a->pre.len) == 0);
    CHECK(a->bos == b->bos && a->eos == b->eos && a->add_bos == b->add_bos);
    for (uint32_t i = 0; i < a->n_tokens; i++) {
        CHECK(a->tokens[i].len == b->tokens[i].len &&
              memcmp(a->tokens[i].data, b->tokens[i].data, a->tokens[i].len) == 0);
        CHECK(pare_vocab_type(a, i) == pare_vocab_type(b, i));
    }
}

/* An own folder for a test. */
static const char *folder(const char *name)
{
    static char path[4200];
    snprintf(path, sizeof path, "%s/%s", temp_dir(), name);
    CHECK(mkdir(path, 0777) == 0);
    return path;
}

static void writes_what_it_reads(void **state)
{
    (void)state;
    pare_vocab v, back;
    bool found = false;
    const char *dir = folder("demo");
    CHECK_OK(pare_tokenizer_files_read(&v, source_path("tests/data/demo"), NULL, 2050, &found, &err), &err);
    CHECK(found && v.n_tokens == 2050 && pare_vocab_type(&v, 2049) == PARE_TOKEN_UNUSED);
    CHECK(pare_str_equal(v.tokens[2049], "[PAD2049]") && pare_str_equal(v.pre, "llama-bpe"));
    CHECK(v.bos == 2040 && v.eos == 2041 && v.add_bos == 1 && v.n_merges == 1784 && v.chat_template.len > 0);
    CHECK_OK(pare_tokenizer_files_write(&v, dir, &err), &err);
    CHECK_OK(pare_tokenizer_files_read(&back, dir, NULL, 2050, &found, &err), &err);
    same_vocab(&v, &back);
    CHECK(back.n_merges == v.n_merges && back.chat_template.len == v.chat_template.len);
    pare_vocab_close(&back);
    pare_vocab_close(&v);
}

static void put_file(const char *dir, const char *name, const char *text)
{
    char path[4600];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    check_write_file(path, text, strlen(text));
}

/* The vocabulary of a folder with tokens a, <|im_end|>, <e>, <f> through GGUF's keys. */
static void read_through(const char *dir, pare_vocab *v, pare_meta *meta)
{
    pare_vocab read;
    json_t *config = NULL;
    char path[4400];
    bool found = false;
    snprintf(path, sizeof path, "%s/config.json", dir);
    CHECK_OK(pare_json_load(&config, path, 1 << 20, PARE_JSON_BIG_AS_REAL, &err), &err);
    CHECK_OK(pare_tokenizer_files_read(&read, dir, config, 0, &found, &err), &err);
    CHECK_OK(pare_vocab_to_meta(&read, meta, &err), &err);
    CHECK_OK(pare_vocab_from_meta(v, meta, dir, &found, &err), &err);
    pare_vocab_close(&read);
    json_decref(config);
}

static const char special_tokenizer[] =
    "{\"added_tokens\":[{\"id\":1,\"content\":\"<|im_end|>\",\"special\":true},{\"id\":2,\"content\":\"<e>\","
    "\"special\":true},{\"id\":3,\"content\":\"<f>\",\"special\":true}],\"pre_tokenizer\":{\"type\":\"ByteLevel\","
    "\"add_prefix_space\":false},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}";

/* Lists of ends travel: under a key of their own only when a reader would not know them by their texts. */
static void carries_ends_of_text(void **state)
{
    (void)state;
    static const struct {
        const char *config, *generation;
        int64_t eos;
        uint32_t n;
        int32_t ends[2];
        bool listed;
    } cases[] = {
        {"{\"eos_token_id\":[2,3]}", NULL, 2, 2, {2, 3}, true},
        {"{\"eos_token_id\":2}", "{\"eos_token_id\":[3,2]}", 2, 2, {3, 2}, true},
        {"{\"eos_token_id\":[2,1]}", NULL, 2, 1, {1}, false},
        {"{\"eos_token_id\":[3]}", NULL, 3, 1, {1}, false},
        {"{\"text_config\":{\"eos_token_id\":[3,2]}}", NULL, 3, 2, {3, 2}, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char name[16];
        snprintf(name, sizeof name, "ends%zu", i);
        const char *dir = folder(name);
        pare_vocab v;
        pare_meta meta = {0};
        put_file(dir, "tokenizer.json", special_tokenizer);
        put_file(dir, "config.json", cases[i].config);
        if (cases[i].generation != NULL)
            put_file(dir, "generation_config.json", cases[i].generation);
        read_through(dir, &v, &meta);
        CHECK(v.eos == cases[i].eos && v.n_ends == cases[i].n && v.ends_listed == cases[i].listed);
        for (uint32_t k = 0; k < v.n_ends; k++)
            CHECK(v.ends[k] == cases[i].ends[k]);
        CHECK((pare_meta_find(&meta, "tokenizer.pare.eos_token_ids") != NULL) == cases[i].listed);
        pare_vocab_close(&v);
        pare_meta_close(&meta);
    }
    const char *dir = folder("ends");
    pare_vocab v;
    bool found = false;
    put_file(dir, "tokenizer.json", special_tokenizer);
    json_t *config = json_pack("{s:[i,i]}", "eos_token_id", 2, -1);
    CHECK(pare_tokenizer_files_read(&v, dir, config, 0, &found, &err) == PARE_ERR_FORMAT);
    CHECK(strstr(err.text, "eos_token_id") != NULL);
    json_decref(config);
}

/* chat_template.jinja and its neighbours, with a tokenizer_config.json that has none, one that names the file, or none.
 */
static void carries_chat_templates(void **state)
{
    (void)state;
    static const char *const configs[] = {NULL, "{}", "{\"chat_template\":\"{% include 'chat_template.jinja' %}\"}",
                                          "{\"chat_template\":\"own\"}",
                                          "{\"chat_template\":[{\"name\":\"default\",\"template\":\"list\"},"
                                          "{\"name\":\"rag\",\"template\":\"r\"}]}"};
    static const char *const want[] = {"{{ file }}\n", "{{ file }}\n", "{{ file }}\n", "own", "list"};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        char name[16], more[4400];
        snprintf(name, sizeof name, "chat%zu", i);
        const char *dir = folder(name);
        pare_vocab v;
        pare_meta meta = {0};
        put_file(dir, "tokenizer.json", special_tokenizer);
        put_file(dir, "config.json", "{}");
        put_file(dir, "chat_template.jinja", "{{ file }}\n");
        snprintf(more, sizeof more, "%s/additional_chat_templates", dir);
        CHECK(mkdir(more, 0777) == 0);
        put_file(more, "tool-use.jinja", "t");
        put_file(more, "notes.txt", "n");
        if (configs[i] != NULL)
            put_file(dir, "tokenizer_config.json", configs[i]);
        read_through(dir, &v, &meta);
        CHECK(pare_str_equal(v.chat_template, want[i]));
        CHECK(v.n_named_templates == (i == 3 ? 0 : 1));
        if (i != 3)
            CHECK(pare_str_equal(v.named_templates[0].name, i == 4 ? "rag" : "tool_use") &&
                  pare_str_equal(v.named_templates[0].text, i == 4 ? "r" : "t"));
        pare_vocab_close(&v);
        pare_meta_close(&meta);
    }
}

static void writes_sentencepiece_as_json(void **state)
{
    (void)state;
    size_t n = 0;
    pare_vocab v, back;
    char path[4300];
    const char *dir = folder("spm");
    uint8_t *bytes = check_read_file(source_path("tests/data/tokenizer/spm.model"), &n);
    CHECK_OK(pare_sentencepiece_parse(&v, bytes, n, "spm.model", &err), &err);
    CHECK(v.n_tokens == 640 && v.kind == PARE_VOCAB_SPM && pare_vocab_type(&v, 3) == PARE_TOKEN_BYTE);
    v.remove_extra_whitespaces = -1;
    CHECK_OK(pare_tokenizer_files_write(&v, dir, &err), &err);
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    free(bytes);
    bytes = check_read_file(path, &n);
    CHECK_OK(pare_tokenizer_json_parse(&back, bytes, n, path, &err), &err);
    CHECK(back.kind == PARE_VOCAB_SPM && back.n_tokens == v.n_tokens);
    pare_vocab_close(&back);
    pare_vocab_close(&v);
    free(bytes);
}

static void sentencepiece_survives_every_cut(void **state)
{
    (void)state;
    size_t n = 0, n_good = 0;
    uint8_t *whole = check_read_file(source_path("tests/data/tokenizer/spm.model"), &n);
    for (size_t len = 0; len < n; len += len < 600 || len > n - 600 ? 1 : 7) {
        pare_vocab v;
        uint8_t *cut = check_malloc(len + 1);
        memcpy(cut, whole, len);
        pare_status st = pare_sentencepiece_parse(&v, cut, len, "cut.model", &err);
        n_good += st == PARE_OK;
        CHECK(st == PARE_OK || st == PARE_ERR_FORMAT || st == PARE_ERR_UNSUPPORTED);
        pare_vocab_close(&v);
        free(cut);
    }
    CHECK(n_good < 20); /* a cut between two fields leaves a shorter model */
    free(whole);
}

/* A tokenizer.json of four tokens with the parts given, as JSON texts; NULL leaves the usual one. */
typedef struct parts {
    const char *vocab, *merges, *added, *normalizer, *pre, *decoder, *post, *model;
} parts;

static pare_status parse(const parts *p)
{
    pare_buf text = {0};
    pare_vocab v;
    memset(&err, 0, sizeof err);
    CHECK_OK(pare_buf_printf(
                 &text, &err,
                 "{\"added_tokens\":%s,\"normalizer\":%s,\"pre_tokenizer\":%s,\"decoder\":%s,\"post_processor\":%s,"
                 "\"model\":{%s,\"vocab\":%s,\"merges\":%s}}",
                 p->added == NULL ? "[]" : p->added, p->normalizer == NULL ? "null" : p->normalizer,
                 p->pre == NULL ? "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}" : p->pre,
                 p->decoder == NULL ? "{\"type\":\"ByteLevel\"}" : p->decoder, p->post == NULL ? "null" : p->post,
                 p->model == NULL ? "\"type\":\"BPE\"" : p->model,
                 p->vocab == NULL ? "{\"a\":0,\"b\":1,\"ab\":2,\"c\":3}" : p->vocab,
                 p->merges == NULL ? "[\"a b\"]" : p->merges),
             &err);
    pare_status st = pare_tokenizer_json_parse(&v, text.data, text.len, "t.json", &err);
    pare_vocab_close(&v);
    pare_buf_close(&text);
    return st;
}

static void refuses(const parts *p, pare_status want, const char *said)
{
    pare_status st = parse(p);
    if (st != want || strstr(err.text, said) == NULL)
        print_error("status %d, '%s'; expected %d with '%s'\n", st, err.text, want, said);
    CHECK(st == want && strstr(err.text, said) != NULL && strstr(err.text, "t.json") != NULL);
}

static void refuses_bad_ids(void **state)
{
    (void)state;
    CHECK_OK(parse(&(parts){0}), &err);
    refuses(&(parts){.vocab = "{\"a\":0,\"b\":1,\"ab\":3}"}, PARE_ERR_FORMAT, "id 3 has missing ids below it: 'ab'");
    refuses(&(parts){.vocab = "{\"a\":0,\"b\":1,\"ab\":1}"}, PARE_ERR_FORMAT, "id 1 is of 'b' and 'ab'");
    refuses(&(parts){.vocab = "{\"a\":0,\"b\":16777216}"}, PARE_ERR_RANGE, "16777216");
    refuses(&(parts){.vocab = "{\"a\":-1}"}, PARE_ERR_FORMAT, "'a'");
    refuses(&(parts){.vocab = "{\"a\":1.5}"}, PARE_ERR_FORMAT, "'a'");
    refuses(&(parts){.vocab = "[]"}, PARE_ERR_FORMAT, "vocab");
    refuses(&(parts){.vocab = "{}", .merges = "[]"}, PARE_ERR_FORMAT, "no tokens");
    refuses(&(parts){.vocab = "{\"a\":0,\"a\":1}"}, PARE_ERR_FORMAT, "offset");
    refuses(&(parts){.added = "[{\"id\":2,\"content\":\"<s>\"}]"}, PARE_ERR_FORMAT, "id 2 is of 'ab' and '<s>'");
    refuses(&(parts){.added = "[{\"id\":4,\"content\":\"c\"}]"}, PARE_ERR_FORMAT, "id 4");
    refuses(&(parts){.added = "[{\"id\":9,\"content\":\"<s>\"}]"}, PARE_ERR_FORMAT,
            "id 9 has missing ids below it: '<s>'");
    refuses(&(parts){.added = "[{\"id\":16777216,\"content\":\"<s>\"}]"}, PARE_ERR_RANGE, "16777216");
    refuses(&(parts){.added = "[{\"id\":4,\"content\":\"\"}]"}, PARE_ERR_FORMAT, "empty");
    refuses(&(parts){.added = "[7]"}, PARE_ERR_FORMAT, "object");
    refuses(&(parts){.merges = "[\"a b\",\"a z\"]"}, PARE_ERR_FORMAT, "merge 1");
    refuses(&(parts){.merges = "[\"ab\"]"}, PARE_ERR_FORMAT, "merge 0");
    refuses(&(parts){.merges = "[\"a b c\"]"}, PARE_ERR_FORMAT, "merge 0");
    refuses(&(parts){.merges = "[\"b a\"]"}, PARE_ERR_FORMAT, "makes no token");
    refuses(&(parts){.merges = "[[\"a\"]]"}, PARE_ERR_FORMAT, "entry 0");
    refuses(&(parts){.merges = "[3]"}, PARE_ERR_FORMAT, "entry 0");
}

static void names_what_it_does_not_know(void **state)
{
    (void)state;
    refuses(&(parts){.normalizer = "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"NFKD\"}]}"},
            PARE_ERR_UNSUPPORTED, "NFKD");
    refuses(&(parts){.normalizer = "{\"type\":\"Nmt\"}"}, PARE_ERR_UNSUPPORTED, "Nmt");
    refuses(&(parts){.normalizer = "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"}]}"},
            PARE_ERR_UNSUPPORTED, "Lowercase");
    refuses(&(parts){.pre = "{\"type\":\"Whitespace\"}"}, PARE_ERR_UNSUPPORTED, "Whitespace");
    refuses(
        &(parts){.pre =
                     "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},{\"type\":\"ByteLevel\"}]}"},
        PARE_ERR_UNSUPPORTED, "ByteLevel");
    refuses(&(parts){.model = "\"type\":\"BPE\",\"unk_token\":\"c\",\"fuse_unk\":true"}, PARE_ERR_UNSUPPORTED,
            "fuse_unk");
    refuses(&(parts){.pre = "null"}, PARE_ERR_UNSUPPORTED, "BPE");
    refuses(
        &(parts){.pre =
                     "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x+\"},"
                     "\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                     "\"use_regex\":false}]}"},
        PARE_ERR_UNSUPPORTED, "'x+'");
    refuses(
        &(parts){.pre = "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Removed\",\"invert\":false}"},
        PARE_ERR_UNSUPPORTED, "Removed");
    refuses(
        &(parts){.pre = "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Removed\",\"invert\":false}"},
        PARE_ERR_FORMAT, "the pattern '(' does not compile");
    refuses(&(parts){.decoder = "{\"type\":\"CTC\"}"}, PARE_ERR_UNSUPPORTED, "CTC");
    refuses(&(parts){.post = "{\"type\":\"Sandwich\"}"}, PARE_ERR_UNSUPPORTED, "Sandwich");
    refuses(&(parts){.post = "{\"no\":1}"}, PARE_ERR_FORMAT, "post_processor");
    refuses(&(parts){.model = "\"type\":\"WordLevel\""}, PARE_ERR_UNSUPPORTED, "WordLevel");
    refuses(&(parts){.model = "\"type\":\"Unigram\""}, PARE_ERR_UNSUPPORTED, "Unigram");
    refuses(&(parts){.model = "\"type\":\"WordPiece\""}, PARE_ERR_UNSUPPORTED, "WordPiece");
    refuses(&(parts){.normalizer = "{\"type\":\"BertNormalizer\"}"}, PARE_ERR_UNSUPPORTED, "BertNormalizer");
    refuses(&(parts){.pre = "{\"type\":\"BertPreTokenizer\"}",
                     .model = "\"type\":\"WordPiece\",\"continuing_subword_prefix\":\"@\""},
            PARE_ERR_UNSUPPORTED, "'@'");
    refuses(&(parts){.pre = "{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\"}",
                     .model = "\"type\":\"Unigram\",\"unk_id\":2",
                     .vocab = "[[\"a\",-1.0],[\"b\",-2.0]]"},
            PARE_ERR_RANGE, "unk_id");
    refuses(&(parts){.pre = "{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\"}",
                     .model = "\"type\":\"Unigram\"",
                     .vocab = "[[\"a\"],[\"b\",-2.0]]"},
            PARE_ERR_FORMAT, "entry 0");
    refuses(&(parts){.model = "\"type\":\"BPE\",\"dropout\":0.1"}, PARE_ERR_UNSUPPORTED, "dropout");
    refuses(&(parts){.model = "\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\""}, PARE_ERR_UNSUPPORTED,
            "end_of_word_suffix");
}

static void refuses_hostile_documents(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "null",
                                        "[]",
                                        "{}",
                                        "{\"model\":7}",
                                        "{\"model\":{}}",
                                        "{\"model\":{\"type\":7}}",
                                        "{\"added_tokens\":[],\"model\":{\"type\":\"BPE\"}} x",
                                        "\xff"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        pare_vocab v;
        pare_status st = pare_tokenizer_json_parse(&v, texts[i], strlen(texts[i]), "t.json", &err);
        CHECK(st == PARE_ERR_FORMAT || st == PARE_ERR_UNSUPPORTED);
        pare_vocab_close(&v);
    }
    enum { DEEP = 50000 };
    char *deep = check_malloc(2 * DEEP);
    memset(deep, '[', 2 * DEEP);
    pare_vocab v;
    CHECK(pare_tokenizer_json_parse(&v, deep, 2 * DEEP, "deep.json", &err) == PARE_ERR_FORMAT);
    pare_vocab_close(&v);
    free(deep);
}

/* model_max_length 10^30 stands in real files. */
static void takes_huge_model_max_length(void **state)
{
    (void)state;
    static const char tokenizer[] =
        "{\"added_tokens\":[{\"id\":1,\"content\":\"<s>\",\"special\":true}],\"pre_tokenizer\":"
        "{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"model\":{\"type\":\"BPE\",\"vocab\":"
        "{\"a\":0},\"merges\":[]}}";
    static const char config[] = "{\"model_max_length\":1000000000000000019884624838656,\"bos_token\":\"<s>\","
                                 "\"chat_template\":[{\"name\":\"default\",\"template\":\"d\"},{\"name\":\"tool use\","
                                 "\"template\":\"t\"}]}";
    char path[4300];
    pare_vocab v;
    bool found = false;
    const char *dir = folder("huge");
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    check_write_file(path, tokenizer, strlen(tokenizer));
    snprintf(path, sizeof path, "%s/tokenizer_config.json", dir);
    check_write_file(path, config, strlen(config));
    CHECK_OK(pare_tokenizer_files_read(&v, dir, NULL, 0, &found, &err), &err);
    CHECK(found && v.bos == 1 && pare_str_equal(v.pre, "gpt-2"));
    CHECK(pare_str_equal(v.chat_template, "d") && v.n_named_templates == 1);
    CHECK(pare_str_equal(v.named_templates[0].name, "tool_use"));
    pare_vocab_close(&v);
    CHECK(pare_tokenizer_files_read(&v, dir, NULL, 1, &found, &err) == PARE_ERR_RANGE);
    CHECK_OK(pare_tokenizer_files_read(&v, source_path("tests"), NULL, 0, &found, &err), &err);
    CHECK(!found);
}

/* A folder of folders.json with one part of one of its files, the first of its kind, replaced. */
typedef struct broken {
    const char *folder, *file, *from, *to;
    pare_status want;
    const char *said;
} broken;

static void check_broken(const json_t *folders, const broken *b, size_t nr)
{
    const json_t *one = json_object_get(folders, b->folder);
    char path[4400], name[32];
    const char *file;
    json_t *text;
    pare_vocab v;
    bool found = false;
    snprintf(name, sizeof name, "broken%zu", nr);
    const char *dir = folder(name);
    json_object_foreach(json_object_get(one, "files"), file, text)
    {
        const char *s = json_string_value(text), *at = strcmp(file, b->file) == 0 ? strstr(s, b->from) : NULL;
        pare_buf out = {0};
        CHECK(strcmp(file, b->file) != 0 || at != NULL);
        CHECK_OK(pare_buf_put(&out, s, at == NULL ? strlen(s) : (size_t)(at - s), &err), &err);
        CHECK_OK(at == NULL ? PARE_OK : pare_buf_puts(&out, b->to, &err), &err);
        CHECK_OK(at == NULL ? PARE_OK : pare_buf_puts(&out, at + strlen(b->from), &err), &err);
        snprintf(path, sizeof path, "%s/%s", dir, file);
        check_write_file(path, out.data, out.len);
        pare_buf_close(&out);
    }
    memset(&err, 0, sizeof err);
    uint32_t rows = (uint32_t)json_integer_value(json_object_get(one, "rows"));
    pare_status st = pare_tokenizer_files_read(&v, dir, NULL, rows, &found, &err);
    if (st != b->want || strstr(err.text, b->said) == NULL)
        print_error("%s, %s: status %d, '%s'; expected %d with '%s'\n", b->folder, b->to, st, err.text, b->want,
                    b->said);
    CHECK(st == b->want && strstr(err.text, b->said) != NULL && strstr(err.text, dir) != NULL);
    pare_vocab_close(&v);
}

static void refuses_broken_folders(void **state)
{
    (void)state;
    static const char tekken[] = "tekken.json", lines[] = "tiktoken.model", vocab[] = "vocab.json",
                      merges[] = "merges.txt", config[] = "tokenizer_config.json";
    static const broken all[] = {
        {"decoder", vocab, "\"!\": 0", "\"!\": 1", PARE_ERR_FORMAT, "id 1 is of"},
        {"decoder", vocab, "\"!\": 0", "\"!\": 16777216", PARE_ERR_RANGE, "16777216"},
        {"decoder", vocab, "\"!\": 0", "\"!\": -1", PARE_ERR_FORMAT, "'!'"},
        {"decoder", vocab, "\"!\": 0", "\"!\": 0, \"!\": 0", PARE_ERR_FORMAT, "offset"},
        {"decoder", vocab, "{", "[", PARE_ERR_FORMAT, "vocab.json"},
        {"decoder", merges, "\n", "\nt h e\n", PARE_ERR_FORMAT, "merges.txt: line 2: 't h e' is not two pieces"},
        {"decoder", merges, "\n", "\nt  h\n", PARE_ERR_FORMAT, "line 2"},
        {"decoder", merges, "\n", "\n th\n", PARE_ERR_FORMAT, "line 2"},
        {"decoder", merges, "\n", "\nth \n", PARE_ERR_FORMAT, "line 2"},
        {"decoder", merges, "\n", "\nno piece\n", PARE_ERR_FORMAT, "merge 0"},
        {"decoder", merges, "\n", "\n\xff x\n", PARE_ERR_FORMAT, "merges.txt: offset 14: not UTF-8"},
        {"decoder", config, "GPT2Tokenizer", "NoTokenizer", PARE_ERR_UNSUPPORTED, "'NoTokenizer'"},
        {"decoder", config, "GPT2Tokenizer", "BertTokenizer", PARE_ERR_UNSUPPORTED, "'BertTokenizer'"},
        {"decoder", config, "\"311\"", "\"x\"", PARE_ERR_RANGE, "id 'x'"},
        {"decoder", config, "\"311\"", "\"99999999\"", PARE_ERR_RANGE, "99999999"},
        {"decoder", config, "\"311\"", "\"7\"", PARE_ERR_FORMAT, "id 7 is of"},
        {"decoder", config, "\"311\"", "\"316\"", PARE_ERR_FORMAT, "id 311 is missing below"},
        {"decoder", config, "\"content\": \"<|x|>\"", "\"content\": 7", PARE_ERR_FORMAT, "no text"},
        {"legacy", "added_tokens.json", "310", "\"310\"", PARE_ERR_FORMAT, "'id'"},
        {"legacy", "added_tokens.json", "310", "4", PARE_ERR_FORMAT, "id 4 is of"},
        {"words", "vocab.txt", "[CLS]\n", "[CLS]\n[PAD]\r\n", PARE_ERR_FORMAT, "lines 1 and 4 are both '[PAD]'"},
        {"words", "vocab.txt", "[CLS]\n", "[CLS]\n\xc3\n", PARE_ERR_FORMAT, "not UTF-8"},
        {"words", config, "BertTokenizer", "GPT2Tokenizer", PARE_ERR_UNSUPPORTED, "vocab.txt"},
        {"tekken", tekken, "\"rank\": 300", "\"rank\": 299", PARE_ERR_FORMAT, "entry 300 of vocab has rank 299"},
        {"tekken", tekken, "\"rank\": 3,", "\"rank\": -3,", PARE_ERR_RANGE, "rank"},
        {"tekken", tekken, "\"AQ==\"", "\"AQ=\"", PARE_ERR_FORMAT, "rank 1: 'AQ=' is no base64"},
        {"tekken", tekken, "\"AQ==\"", "\"A===\"", PARE_ERR_FORMAT, "is no base64"},
        {"tekken", tekken, "\"AQ==\"", "\"=Q==\"", PARE_ERR_FORMAT, "is no base64"},
        {"tekken", tekken, "\"AQ==\"", "\"A!==\"", PARE_ERR_FORMAT, "is no base64"},
        {"tekken", tekken, "\"AQ==\"", "\"\"", PARE_ERR_FORMAT, "is no base64"},
        {"tekken", tekken, "\"AQ==\"", "\"AA==\"", PARE_ERR_FORMAT, "ranks 0 and 1 are of the same bytes"},
        {"tekken", tekken, "\"AQ==\"", "\"AQEB\"", PARE_ERR_FORMAT, "entry 1 of vocab is not the byte"},
        {"tekken", tekken, "\"AQ==\"", "7", PARE_ERR_FORMAT, "token_bytes"},
        {"tekken", tekken, "\"default_vocab_size\": 328", "\"default_vocab_size\": 1328", PARE_ERR_FORMAT, "need 1306"},
        {"tekken", tekken, "\"default_vocab_size\": 328", "\"default_vocab_size\": 20", PARE_ERR_RANGE, "vocab_size"},
        {"tekken", tekken, "tokens\": 22", "tokens\": 0", PARE_ERR_RANGE, "special_tokens"},
        {"tekken", tekken, "tokens\": 22", "tokens\": 19", PARE_ERR_FORMAT, "20 special tokens"},
        {"tekken", tekken, "328, \"default_num_special_tokens\": 22",
         "16777216, \"default_num_special_tokens\": 16776910", PARE_ERR_RANGE, "at most 65536 beyond the 20"},
        {"tekken", tekken, "\"pattern\": \"", "\"pattern\": \"x|", PARE_ERR_UNSUPPORTED, "'x|"},
        {"tekken", tekken, "\"pattern\"", "\"other\"", PARE_ERR_FORMAT, "no pattern"},
        {"tekken", tekken, "\"vocab\"", "\"special_tokens\": 7, \"vocab\"", PARE_ERR_FORMAT, "special_tokens"},
        {"tekken", tekken, "\"vocab\"",
         "\"special_tokens\": [{\"rank\": 0, \"token_str\": \"<s>\"}, {\"rank\": 0, "
         "\"token_str\": \"</s>\"}], \"vocab\"",
         PARE_ERR_FORMAT, "two special tokens have rank 0"},
        {"tekken", tekken, "\"vocab\"",
         "\"special_tokens\": [{\"rank\": 1, \"token_str\": \"<s>\"}, {\"rank\": 0, "
         "\"token_str\": \"<s>\"}], \"vocab\"",
         PARE_ERR_FORMAT, "0 and 1 are both '<s>'"},
        {"tekken", tekken, "\"vocab\"", "\"special_tokens\": [{\"rank\": 0, \"token_str\": \"<s>\"}], \"vocab\"",
         PARE_ERR_FORMAT, "no special token '</s>'"},
        {"tiktoken", lines, " 300\n", " 301\n", PARE_ERR_FORMAT, "with rank 300 behind it"},
        {"tiktoken", lines, " 300\n", "\n", PARE_ERR_FORMAT, "with rank 300 behind it"},
        {"tiktoken", lines, "AQ== 1\n", "AA== 1\n", PARE_ERR_FORMAT, "same bytes"},
        {"tiktoken", lines, "AQ== 1\n", "!! 1\n", PARE_ERR_FORMAT, "is no base64"},
        {"tiktoken", config, "TikTokenTokenizer", "QWenTokenizer", PARE_ERR_UNSUPPORTED, "'QWenTokenizer'"},
    };
    json_t *folders = NULL;
    CHECK_OK(pare_json_load(&folders, source_path("tests/data/tokenizer/folders.json"), 1 << 20, PARE_JSON_NUL, &err),
             &err);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        check_broken(folders, &all[i], i);
    json_decref(folders);
}

/* Special tokens of the class that are no pieces need a row; what an old file says of them counts where there is no
 * newer one. */
static void special_tokens_need_rows(void **state)
{
    (void)state;
    const char *dir = folder("rows");
    pare_vocab v;
    bool found = false;
    put_file(dir, "vocab.json", "{\"a\": 0, \"b\": 1}");
    put_file(dir, "merges.txt", "#version: 0.2\n");
    put_file(dir, "special_tokens_map.json", "{\"bos_token\": \"b\"}");
    put_file(dir, "tokenizer_config.json",
             "{\"tokenizer_class\": \"GPT2Tokenizer\", \"bos_token\": \"a\", \"eos_token\": \"a\"}");
    for (uint32_t rows = 2; rows < 4; rows++) {
        CHECK_OK(pare_tokenizer_files_read(&v, dir, NULL, rows, &found, &err), &err);
        CHECK(found && v.n_tokens == rows && v.bos == 1 && v.eos == 0);
        CHECK(rows == 2 || pare_str_equal(v.tokens[2], "<|endoftext|>")); /* unk_token of the class */
        pare_vocab_close(&v);
    }
    put_file(dir, "tokenizer_config.json",
             "{\"tokenizer_class\": \"GPT2Tokenizer\", \"bos_token\": \"a\", \"added_tokens_decoder\": {}}");
    CHECK_OK(pare_tokenizer_files_read(&v, dir, NULL, 3, &found, &err), &err);
    CHECK(found && v.bos == 0);
    pare_vocab_close(&v);
}

/* A piece's cuts are as many texts as it has bytes, each as long as it. */
static void refuses_pieces_of_many_cuts(void **state)
{
    (void)state;
    enum { N_TEXT = (1 << 14) / 3 * 4 + 8 }; /* base64 of a little more than 2^14 bytes */
    const char *dir = folder("long");
    char *line = check_malloc(N_TEXT + 8);
    pare_vocab v;
    bool found = false;
    memset(line, 'A', N_TEXT);
    memcpy(line + N_TEXT, " 0\n", 4);
    put_file(dir, "tiktoken.model", line);
    put_file(dir, "tokenizer_config.json", "{\"tokenizer_class\":\"TikTokenTokenizer\"}");
    CHECK(pare_tokenizer_files_read(&v, dir, NULL, 259, &found, &err) == PARE_ERR_RANGE);
    CHECK(strstr(err.text, "rank 0: pieces are too long") != NULL);
    pare_vocab_close(&v);
    free(line);
}

/* Cuts of one piece go by the ranks of their parts, as in stock's converter for tekken.json. */
static void orders_merges_by_rank(void **state)
{
    (void)state;
    static const char *const want[] = {"a a", "a b", "aa b", "a ab", "b c", "a bc", "ab c"};
    pare_vocab v;
    bool found = false;
    const char *dir = folder("ranks");
    put_file(dir, "tiktoken.model", "YWE= 0\nYQ== 1\nYg== 2\nYWI= 3\nYWFi 4\nYw== 5\nYmM= 6\nYWJj 7\n");
    put_file(dir, "tokenizer_config.json", "{\"tokenizer_class\":\"TikTokenTokenizer\"}");
    CHECK_OK(pare_tokenizer_files_read(&v, dir, NULL, 300, &found, &err), &err); /* 258 special tokens are named */
    CHECK(found && pare_str_equal(v.pre, "kimi-k2") && v.n_merges == sizeof want / sizeof *want);
    CHECK(pare_str_equal(v.tokens[4], "aab") && pare_str_equal(v.tokens[8], "<|reserved_token_8|>"));
    CHECK(pare_str_equal(v.tokens[265], "<|reserved_token_265|>") && pare_str_equal(v.tokens[266], "[PAD266]"));
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        CHECK(pare_str_equal(v.merges[i], want[i]));
    pare_vocab_close(&v);
}

/* Reference folders without their tokenizer.json give the vocabulary that they give with it. */
static void needs_no_tokenizer_json(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt2", "qwen2", "qwen3", "bert"};
    static const char *const files[] = {"vocab.json", "merges.txt", "vocab.txt", "tokenizer_config.json",
                                        "special_tokens_map.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char from[4300], path[4400];
        pare_vocab with, without;
        bool found = false;
        snprintf(path, sizeof path, "oracle/models/%s", names[i]);
        snprintf(from, sizeof from, "%s", shared_path(path));
        const char *dir = folder(names[i]);
        for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
            struct stat info;
            size_t n = 0;
            snprintf(path, sizeof path, "%s/%s", from, files[k]);
            if (stat(path, &info) != 0)
                continue;
            uint8_t *bytes = check_read_file(path, &n);
            snprintf(path, sizeof path, "%s/%s", dir, files[k]);
            check_write_file(path, bytes, n);
            free(bytes);
        }
        CHECK_OK(pare_tokenizer_files_read(&with, from, NULL, 704, &found, &err), &err);
        CHECK_OK(pare_tokenizer_files_read(&without, dir, NULL, 704, &found, &err), &err);
        without.add_bos = with.add_bos < 0 ? without.add_bos : with.add_bos; /* "false", which it is without saying */
        same_vocab(&with, &without);
        CHECK(with.n_merges == without.n_merges && with.add_sep == without.add_sep &&
              with.lowercase == without.lowercase);
        for (uint32_t m = 0; m < with.n_merges; m++)
            CHECK(with.merges[m].len == without.merges[m].len &&
                  memcmp(with.merges[m].data, without.merges[m].data, with.merges[m].len) == 0);
        pare_vocab_close(&with);
        pare_vocab_close(&without);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_stock_metadata),
        cmocka_unit_test(writes_what_it_reads),
        cmocka_unit_test(carries_ends_of_text),
        cmocka_unit_test(carries_chat_templates),
        cmocka_unit_test(writes_sentencepiece_as_json),
        cmocka_unit_test(sentencepiece_survives_every_cut),
        cmocka_unit_test(refuses_bad_ids),
        cmocka_unit_test(names_what_it_does_not_know),
        cmocka_unit_test(refuses_hostile_documents),
        cmocka_unit_test(takes_huge_model_max_length),
        cmocka_unit_test(refuses_broken_folders),
        cmocka_unit_test(special_tokens_need_rows),
        cmocka_unit_test(refuses_pieces_of_many_cuts),
        cmocka_unit_test(orders_merges_by_rank),
        cmocka_unit_test(needs_no_tokenizer_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
