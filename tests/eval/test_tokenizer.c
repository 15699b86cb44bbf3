/* eval/tokenizer: the published vectors, the reference models, ids of the `tokenizers` package, long runs, odd bytes.
 */
#include "check.h"
#include "core/json.h"
#include "eval/tokenizer.h"
#include "formats/gguf.h"
#include "formats/open.h"
#include "formats/tokenizer_files.h"
#include "model/pretokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static pare_error err;

static json_t *load(const char *path)
{
    json_t *doc = NULL;
    CHECK_OK(pare_json_load(&doc, path, 1 << 28, PARE_JSON_BIG_AS_REAL | PARE_JSON_NUL, &err), &err);
    return doc;
}

static void read_file(const char *path, pare_vocab *v)
{
    size_t n = 0;
    uint8_t *bytes = check_read_file(path, &n);
    CHECK_OK(pare_tokenizer_json_parse(v, bytes, n, path, &err), &err);
    free(bytes);
}

static void check_ids(const pare_tokenizer *t, const char *text, size_t len, unsigned flags, const int32_t *want,
                      size_t n)
{
    pare_ids ids = {0};
    CHECK_OK(pare_tokenize(t, text, len, flags, &ids, &err), &err);
    bool same = ids.n == n;
    for (size_t i = 0; i < n && same; i++)
        same = ids.ids[i] == want[i];
    if (!same)
        print_error("text of %zu bytes '%.60s': %zu ids, expected %zu\n", len, text, ids.n, n);
    CHECK(same);
    free(ids.ids);
}

static size_t ids_of(const json_t *list, int32_t **out)
{
    size_t n = json_array_size(list);
    *out = check_malloc(n * sizeof **out + 1);
    for (size_t i = 0; i < n; i++)
        (*out)[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return n;
}

/* The bytes of all ids are the text, behind prefix. */
static void check_back(const pare_tokenizer *t, const char *text, size_t len, const char *prefix)
{
    pare_ids ids = {0};
    pare_buf back = {0};
    CHECK_OK(pare_tokenize(t, text, len, PARE_TOKENIZE_SPECIAL, &ids, &err), &err);
    for (size_t i = 0; i < ids.n; i++)
        CHECK_OK(pare_detokenize(t, ids.ids[i], true, &back, &err), &err);
    size_t skip = len > 0 ? strlen(prefix) : 0;
    CHECK(back.len == len + skip && (back.len == 0 || memcmp(back.data + skip, text, len) == 0));
    pare_buf_close(&back);
    free(ids.ids);
}

static void check_cases(const pare_vocab *v, const json_t *cases, bool back)
{
    pare_tokenizer *t = NULL;
    CHECK_OK(pare_tokenizer_open(&t, v, &err), &err);
    CHECK(json_array_size(cases) > 20);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *text = json_object_get(json_array_get(cases, i), "text");
        int32_t *want = NULL;
        size_t n = ids_of(json_object_get(json_array_get(cases, i), "ids"), &want);
        check_ids(t, json_string_value(text), json_string_length(text), PARE_TOKENIZE_SPECIAL | PARE_TOKENIZE_BOS, want,
                  n);
        if (back)
            check_back(t, json_string_value(text), json_string_length(text), "");
        free(want);
    }
    pare_tokenizer_close(t);
}

/* Vocabularies that lie in the repository, with ids stored from the `tokenizers` package: as they were read, through
 * GGUF's keys, and written and read again. */
static void gives_stored_ids(void **state)
{
    (void)state;
    json_t *doc = load(source_path("tests/data/tokenizer/expected.json")), *cases;
    const char *file;
    int n_files = 0;
    json_object_foreach(json_object_get(doc, "files"), file, cases)
    {
        char dir[4200];
        snprintf(dir, sizeof dir, "%s/%d", temp_dir(), n_files++);
        CHECK(mkdir(dir, 0777) == 0);
        pare_vocab v, through, again;
        pare_meta meta = {0};
        bool found = false;
        read_file(source_path(file), &v);
        check_cases(&v, cases, strstr(file, "demo") != NULL);
        CHECK_OK(pare_vocab_to_meta(&v, &meta, &err), &err);
        CHECK_OK(pare_vocab_from_meta(&through, &meta, file, &found, &err), &err);
        check_cases(&through, cases, false);
        CHECK_OK(pare_tokenizer_files_write(&through, dir, &err), &err);
        CHECK_OK(pare_tokenizer_files_read(&again, dir, NULL, 0, &found, &err), &err);
        check_cases(&again, cases, false);
        pare_vocab_close(&v);
        pare_vocab_close(&through);
        pare_vocab_close(&again);
        pare_meta_close(&meta);
    }
    json_decref(doc);
}

/* The files of one folder of folders.json, written into a folder of the test. */
static const char *write_folder(const char *name, json_t *files)
{
    static char dir[4200];
    char path[4400];
    const char *file;
    json_t *text;
    snprintf(dir, sizeof dir, "%s/folder_%s", temp_dir(), name);
    CHECK(mkdir(dir, 0777) == 0);
    json_object_foreach(files, file, text)
    {
        snprintf(path, sizeof path, "%s/%s", dir, file);
        check_write_file(path, json_string_value(text), json_string_length(text));
    }
    return dir;
}

/* Folders without tokenizer.json, with the ids of transformers, mistral_common and tiktoken: as they are, and through
 * GGUF's keys and tokenizer.json. */
static void gives_ids_of_folders(void **state)
{
    (void)state;
    json_t *doc = load(source_path("tests/data/tokenizer/folders.json")), *one;
    const char *name;
    json_object_foreach(doc, name, one)
    {
        const json_t *cases = json_object_get(one, "cases");
        pare_vocab v, through, again;
        pare_meta meta = {0};
        bool found = false;
        uint32_t rows = (uint32_t)json_integer_value(json_object_get(one, "rows"));
        char *dir = strdup(write_folder(name, json_object_get(one, "files")));
        char name_back[64];
        snprintf(name_back, sizeof name_back, "%s_back", name);
        char *back = strdup(write_folder(name_back, NULL));
        print_message("%s\n", name);
        CHECK_OK(pare_tokenizer_files_read(&v, dir, NULL, rows, &found, &err), &err);
        CHECK(found && v.n_tokens == rows);
        check_cases(&v, cases, false);
        CHECK_OK(pare_vocab_to_meta(&v, &meta, &err), &err);
        CHECK_OK(pare_vocab_from_meta(&through, &meta, dir, &found, &err), &err);
        check_cases(&through, cases, false);
        CHECK_OK(pare_tokenizer_files_write(&through, back, &err), &err);
        CHECK_OK(pare_tokenizer_files_read(&again, back, NULL, rows, &found, &err), &err);
        check_cases(&again, cases, false);
        pare_vocab_close(&v);
        pare_vocab_close(&through);
        pare_vocab_close(&again);
        pare_meta_close(&meta);
        free(dir);
        free(back);
    }
    json_decref(doc);
}

/* Models of SentencePiece with the ids of its own program. */
static void gives_ids_of_sentencepiece(void **state)
{
    (void)state;
    json_t *doc = load(source_path("tests/data/tokenizer/expected.json")), *cases;
    const char *file;
    json_object_foreach(json_object_get(doc, "sentencepiece"), file, cases)
    {
        pare_vocab v, through;
        pare_meta meta = {0};
        bool found = false;
        size_t n = 0;
        uint8_t *bytes = check_read_file(source_path(file), &n);
        CHECK_OK(pare_sentencepiece_parse(&v, bytes, n, file, &err), &err);
        check_cases(&v, cases, false);
        CHECK_OK(pare_vocab_to_meta(&v, &meta, &err), &err);
        CHECK_OK(pare_vocab_from_meta(&through, &meta, file, &found, &err), &err);
        check_cases(&through, cases, false);
        pare_vocab_close(&v);
        pare_vocab_close(&through);
        pare_meta_close(&meta);
        free(bytes);
    }
    json_decref(doc);
}

/* A character map out of a file is not trusted: whatever its bytes say, text comes out or the map is refused. */
static void hostile_maps_do_no_harm(void **state)
{
    (void)state;
    static const char text[] = "\xef\xac\x81 e\xcc\x81 the\xe3\x80\x80\xe2\x85\xa3 fox";
    size_t n = 0;
    uint32_t seed = 1, n_opened = 0;
    uint8_t *bytes = check_read_file(source_path("tests/data/tokenizer/unigram.model"), &n);
    for (int round = 0; round < 3000; round++) {
        pare_vocab v;
        pare_tokenizer *t = NULL;
        pare_ids ids = {0};
        CHECK_OK(pare_sentencepiece_parse(&v, bytes, n, "unigram.model", &err), &err);
        uint32_t size = v.charsmap_bytes;
        CHECK(size > 100);
        seed = seed * 1664525 + 1013904223;
        uint32_t kept = round % 3 == 0 ? seed % size : size;
        uint8_t *map = check_malloc(kept + 1); /* exact, so that a sanitizer sees a read past it */
        memcpy(map, v.charsmap, kept);
        for (int k = 0; k < 4 && kept > 0; k++) {
            seed = seed * 1664525 + 1013904223;
            map[(seed >> 8) % (k == 0 ? (kept < 8 ? kept : 8) : kept)] ^= (uint8_t)(seed >> 24);
        }
        v.charsmap = map;
        v.charsmap_bytes = kept;
        v.map_graphemes = round % 2;
        if (pare_tokenizer_open(&t, &v, &err) == PARE_OK) {
            n_opened++;
            CHECK_OK(pare_tokenize(t, text, sizeof text - 1, 0, &ids, &err), &err);
        } else
            CHECK(err.status == PARE_ERR_FORMAT && strstr(err.text, "precompiled_charsmap") != NULL);
        pare_tokenizer_close(t);
        pare_vocab_close(&v);
        free(ids.ids);
        free(map);
    }
    CHECK(n_opened > 100 && n_opened < 2900);
    free(bytes);
}

/* The same ids when the vocabulary went through GGUF's keys: what they lack travels beside them. */
static void keeps_ids_through_metadata(void **state)
{
    (void)state;
    static const char *const files[] = {"tests/data/tokenizer/flags.json", "tests/data/tokenizer/metaspace.json",
                                        "tests/data/tokenizer/spm.json", "tests/data/tokenizer/split.json"};
    static const char text[] = "a  <l> b <r>  word <x>  a ab  <s> e\xcc\x81";
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        pare_vocab v, back;
        pare_meta meta = {0};
        pare_tokenizer *t = NULL, *u = NULL;
        pare_ids ids = {0};
        bool found = false;
        read_file(source_path(files[i]), &v);
        CHECK_OK(pare_vocab_to_meta(&v, &meta, &err), &err);
        CHECK_OK(pare_vocab_from_meta(&back, &meta, files[i], &found, &err), &err);
        CHECK_OK(pare_tokenizer_open(&t, &v, &err), &err);
        CHECK_OK(pare_tokenizer_open(&u, &back, &err), &err);
        CHECK_OK(pare_tokenize(t, text, strlen(text), PARE_TOKENIZE_SPECIAL, &ids, &err), &err);
        check_ids(u, text, strlen(text), PARE_TOKENIZE_SPECIAL, ids.ids, ids.n);
        free(ids.ids);
        pare_tokenizer_close(t);
        pare_tokenizer_close(u);
        pare_vocab_close(&back);
        pare_vocab_close(&v);
        pare_meta_close(&meta);
    }
}

/* remove_extra_whitespaces: spaces at the ends go, several count as one. */
static void squeezes_spaces(void **state)
{
    (void)state;
    pare_vocab v;
    pare_tokenizer *t = NULL;
    pare_ids ids = {0};
    read_file(source_path("tests/data/tokenizer/spm.json"), &v);
    v.remove_extra_whitespaces = 1;
    CHECK_OK(pare_tokenizer_open(&t, &v, &err), &err);
    CHECK_OK(pare_tokenize(t, "the end of", 10, 0, &ids, &err), &err);
    check_ids(t, "   the  end    of  ", 19, 0, ids.ids, ids.n);
    check_ids(t, "   ", 3, 0, NULL, 0);
    check_ids(t, "the end of \u2581", 14, 0, ids.ids, ids.n); /* as SentencePiece: its mark at the end is a space */
    free(ids.ids);
    pare_tokenizer_close(t);
    pare_vocab_close(&v);
}

/* BPE on marks and not on bytes, as stock writes it under two names: under "gpt2" with spaces in user-defined tokens.
 */
static void merges_marks(void **state)
{
    (void)state;
    static const char *const texts[] = {"<pad>", "<bos>",   "a",      "b",      "\u2581",
                                        "  ",    "\u2581a", "<0xC3>", "<0xA9>", "\n"};
    static const char *const joins[] = {"\u2581 \u2581", "\u2581 a"};
    static const int32_t types[] = {3, 3, 1, 1, 1, 4, 1, 6, 6, 1}, want[] = {2, 5, 6, 7, 8, 9, 6};
    enum { N = sizeof texts / sizeof texts[0] };
    for (int form = 0; form < 2; form++) {
        pare_meta meta = {0};
        pare_str tokens[N], merges[2];
        pare_vocab v;
        pare_tokenizer *t = NULL;
        bool found = false;
        for (size_t i = 0; i < N; i++)
            tokens[i] = (pare_str){texts[i], strlen(texts[i])};
        if (form == 1)
            tokens[5] = (pare_str){"\u2581\u2581", 6};
        for (size_t i = 0; i < 2; i++)
            merges[i] = (pare_str){joins[i], strlen(joins[i])};
        const char *model = form == 0 ? "gpt2" : "gemma4";
        CHECK_OK(pare_meta_set_str(&meta, "tokenizer.ggml.model", (pare_str){model, strlen(model)}, &err), &err);
        if (form == 0)
            CHECK_OK(pare_meta_set_str(&meta, "tokenizer.ggml.pre", (pare_str){"gemma4", 6}, &err), &err);
        CHECK_OK(pare_meta_set_strs(&meta, "tokenizer.ggml.tokens", tokens, N, &err), &err);
        CHECK_OK(pare_meta_set_array(&meta, "tokenizer.ggml.token_type", PARE_META_I32, types, N, &err), &err);
        CHECK_OK(pare_meta_set_strs(&meta, "tokenizer.ggml.merges", merges, 2, &err), &err);
        CHECK_OK(pare_vocab_from_meta(&v, &meta, "m", &found, &err), &err);
        CHECK(found && v.kind == PARE_VOCAB_SPM && v.bos == PARE_TOKEN_NONE && v.eos == PARE_TOKEN_NONE);
        CHECK_OK(pare_tokenizer_open(&t, &v, &err), &err);
        check_ids(t, "a   a\u00e9\n a", 10, PARE_TOKENIZE_BOS, want, sizeof want / sizeof want[0]);
        pare_tokenizer_close(t);
        pare_vocab_close(&v);
        pare_meta_close(&meta);
    }
}

/* Without the flag the text of a control token is text; the BOS comes only when it is asked for. */
static void special_tokens_are_text_unless_asked_for(void **state)
{
    (void)state;
    static const char text[] = "<|eot_id|>";
    pare_vocab v;
    pare_tokenizer *t = NULL;
    pare_ids ids = {0};
    read_file(source_path("tests/data/demo/tokenizer.json"), &v);
    CHECK_OK(pare_tokenizer_open(&t, &v, &err), &err);
    CHECK_OK(pare_tokenize(t, text, strlen(text), 0, &ids, &err), &err);
    CHECK(ids.n > 1);
    for (size_t i = 0; i < ids.n; i++)
        CHECK(pare_vocab_type(&v, (uint32_t)ids.ids[i]) == PARE_TOKEN_NORMAL);
    const int32_t special = 2044, with_bos[] = {2040, 2044};
    check_ids(t, text, strlen(text), PARE_TOKENIZE_SPECIAL, &special, 1);
    check_ids(t, text, strlen(text), PARE_TOKENIZE_SPECIAL | PARE_TOKENIZE_BOS, with_bos, 2);
    pare_buf out = {0};
    CHECK_OK(pare_detokenize(t, special, false, &out, &err), &err);
    CHECK(out.len == 0);
    CHECK(pare_detokenize(t, 2048, false, &out, &err) == PARE_ERR_RANGE);
    CHECK(pare_detokenize(t, -1, false, &out, &err) == PARE_ERR_RANGE);
    pare_buf_close(&out);
    free(ids.ids);
    pare_tokenizer_close(t);
    pare_vocab_close(&v);
}

/* BOS in front and EOS behind exactly when the vocabulary says so and the caller asks. */
static void edges_follow_the_vocabulary(void **state)
{
    (void)state;
    for (int rule = 0; rule < 4; rule++) {
        pare_vocab v;
        pare_tokenizer *t = NULL;
        pare_ids bare = {0}, edged = {0};
        read_file(source_path("tests/data/demo/tokenizer.json"), &v);
        v.bos = 2040;
        v.eos = 2041;
        v.add_bos = rule & 1;
        v.add_eos = rule >> 1;
        CHECK_OK(pare_tokenizer_open(&t, &v, &err), &err);
        CHECK_OK(pare_tokenize(t, "the king", 8, 0, &bare, &err), &err);
        CHECK_OK(pare_tokenize(t, "the king", 8, PARE_TOKENIZE_BOS, &edged, &err), &err);
        size_t front = v.add_bos == 1, behind = v.add_eos == 1;
        CHECK(bare.n > 0 && edged.n == bare.n + front + behind);
        CHECK(memcmp(edged.ids + front, bare.ids, bare.n * sizeof *bare.ids) == 0);
        CHECK(front == 0 || edged.ids[0] == 2040);
        CHECK(behind == 0 || edged.ids[edged.n - 1] == 2041);
        free(bare.ids);
        free(edged.ids);
        pare_tokenizer_close(t);
        pare_vocab_close(&v);
    }
}

static char *read_text(const char *path, size_t *n)
{
    return (char *)check_read_file(path, n);
}

/* One of shared/vocab: texts behind each other in .inp, ids a line in .out. */
static void check_vectors(const char *name)
{
    static const char cut[] = "\n__ggml_vocab_test__\n";
    char file[64];
    size_t n_in = 0, n_out = 0, n_cases = 0;
    snprintf(file, sizeof file, "vocab/%s.gguf", name);
    pare_model m = {0};
    pare_vocab v;
    pare_tokenizer *t = NULL;
    bool found = false;
    CHECK_OK(pare_gguf_open(&m, shared_path(file), PARE_OPEN_RAW, &err), &err);
    CHECK_OK(pare_vocab_from_meta(&v, &m.meta, file, &found, &err), &err);
    CHECK_OK(pare_tokenizer_open(&t, &v, &err), &err);
    snprintf(file, sizeof file, "vocab/%s.gguf.inp", name);
    char *in = read_text(shared_path(file), &n_in);
    snprintf(file, sizeof file, "vocab/%s.gguf.out", name);
    char *out = read_text(shared_path(file), &n_out);
    const char *text = in, *line = out;
    for (const char *end; (end = memmem(text, (size_t)(in + n_in - text), cut, strlen(cut))) != NULL; n_cases++) {
        int32_t want[4096];
        size_t n = 0;
        const char *stop = memchr(line, '\n', (size_t)(out + n_out - line));
        CHECK(stop != NULL);
        for (const char *p = line; p < stop && n < 4096;) {
            char *next = NULL;
            long id = strtol(p, &next, 10);
            if (next == p || next > stop)
                break;
            want[n++] = (int32_t)id;
            p = next;
        }
        check_ids(t, text, (size_t)(end - text), 0, want, n);
        text = end + strlen(cut);
        line = stop + 1;
    }
    CHECK(n_cases > 40);
    free(in);
    free(out);
    pare_tokenizer_close(t);
    pare_vocab_close(&v);
    pare_model_close(&m);
}

static void gives_published_vectors(void **state)
{
    (void)state;
    static const char *const names[] = {"falcon", "gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2"};
    shared_path("vocab");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        check_vectors(names[i]);
}

/* A reference folder: the first 48 ids of each of its texts. Through metadata, as a converted model has them. */
static void check_folder(const char *name)
{
    char path[128];
    const char *dir;
    size_t n_bytes = 0;
    pare_vocab from_files, v;
    pare_meta meta = {0};
    pare_tokenizer *t = NULL;
    bool found = false;
    snprintf(path, sizeof path, "oracle/models/%s", name);
    dir = shared_path(path);
    char file[4200];
    snprintf(file, sizeof file, "%s/config.json", dir);
    json_t *config = load(file);
    snprintf(file, sizeof file, "%s/texts.json", dir);
    json_t *texts = load(file);
    snprintf(file, sizeof file, "%s/tokens.i32", dir);
    int32_t *want = (int32_t *)(void *)check_read_file(file, &n_bytes);
    CHECK_OK(pare_tokenizer_files_read(&from_files, dir, config,
                                       (uint32_t)json_integer_value(json_object_get(config, "vocab_size")), &found,
                                       &err),
             &err);
    CHECK_OK(pare_vocab_to_meta(&from_files, &meta, &err), &err);
    CHECK_OK(pare_vocab_from_meta(&v, &meta, name, &found, &err), &err);
    CHECK_OK(pare_tokenizer_open(&t, &v, &err), &err);
    CHECK(n_bytes == 3 * 48 * sizeof *want && json_array_size(texts) == 3);
    for (size_t i = 0; i < 3; i++) {
        const json_t *text = json_array_get(texts, i);
        pare_ids ids = {0};
        CHECK_OK(pare_tokenize(t, json_string_value(text), json_string_length(text),
                               PARE_TOKENIZE_BOS | PARE_TOKENIZE_SPECIAL, &ids, &err),
                 &err);
        if (v.add_eos == 1 && ids.n > 48) /* cut as the Hub's library cuts: the closing token stays */
            ids.ids[47] = ids.ids[ids.n - 1];
        CHECK(ids.n >= 48 && memcmp(ids.ids, want + 48 * i, 48 * sizeof *want) == 0);
        free(ids.ids);
    }
    pare_tokenizer_close(t);
    pare_vocab_close(&v);
    pare_vocab_close(&from_files);
    pare_meta_close(&meta);
    json_decref(config);
    json_decref(texts);
    free(want);
}

static void gives_ids_of_reference_models(void **state)
{
    (void)state;
    static const char *const names[] = {"llama",     "llama_rope",  "mistral",    "qwen2",       "qwen3",
                                        "qwen3_moe", "qwen3_tiny",  "mixtral",    "gemma2",      "phi3",
                                        "gpt2",      "gpt_neox",    "starcoder2", "falcon",      "olmo2",
                                        "bert",      "deepseek_v2", "gpt_oss",    "gemma3_text", "gpt_oss_mxfp4"};
    shared_path("oracle/models");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        check_folder(names[i]);
}

static pare_str arena_text(pare_vocab *v, const char *text, size_t n)
{
    return (pare_str){pare_arena_copy(&v->arena, text, n, &err), n};
}

/* A vocabulary of the 256 bytes, with the rule of row p. */
static void byte_vocab(pare_vocab *v, const pare_pretokenizer *p)
{
    pare_vocab_init(v);
    pare_str *tokens = pare_arena_alloc(&v->arena, 256 * sizeof *tokens, &err);
    for (uint32_t b = 0; b < 256; b++) {
        char text[4];
        tokens[b] = arena_text(v, text, pare_utf8_put(text, pare_byte_alphabet((uint8_t)b)));
    }
    v->kind = PARE_VOCAB_BPE;
    v->pre = (pare_str){p->name, strlen(p->name)};
    v->tokens = tokens;
    v->n_tokens = 256;
}

/* The bytes and all pairs of them, merged in the order of the bytes: any two neighbours in a piece merge, so that ids
 * show where pieces end. */
static void pair_vocab(pare_vocab *v, const pare_pretokenizer *p)
{
    enum { N = 256 + 65536 };
    byte_vocab(v, p);
    const pare_str *bytes = v->tokens;
    pare_str *tokens = pare_arena_alloc(&v->arena, N * sizeof *tokens, &err);
    pare_str *merges = pare_arena_alloc(&v->arena, 65536 * sizeof *merges, &err);
    memcpy(tokens, bytes, 256 * sizeof *tokens);
    for (uint32_t i = 0; i < 65536; i++) {
        char text[16];
        pare_str a = bytes[i >> 8], b = bytes[i & 255];
        int n = snprintf(text, sizeof text, "%.*s%.*s", (int)a.len, a.data, (int)b.len, b.data);
        tokens[256 + i] = arena_text(v, text, (size_t)n);
        n = snprintf(text, sizeof text, "%.*s %.*s", (int)a.len, a.data, (int)b.len, b.data);
        merges[i] = arena_text(v, text, (size_t)n);
    }
    v->tokens = tokens;
    v->n_tokens = N;
    v->merges = merges;
    v->n_merges = 65536;
}

/* Every row cuts text as `tokenizers` does with the same pre_tokenizer. */
static void rows_cut_as_published(void **state)
{
    (void)state;
    json_t *doc = load(source_path("tests/data/tokenizer/rows.json"));
    const json_t *texts = json_object_get(doc, "texts");
    const pare_pretokenizer *p;
    CHECK(json_array_size(texts) > 10);
    for (size_t row = 0; (p = pare_pretokenizer_at(row)) != NULL; row++) {
        const json_t *cases = json_object_get(json_object_get(doc, "rows"), p->name);
        pare_vocab v;
        pare_tokenizer *t = NULL;
        pair_vocab(&v, p);
        CHECK_OK(pare_tokenizer_open(&t, &v, &err), &err);
        CHECK(json_array_size(cases) == json_array_size(texts));
        for (size_t i = 0; i < json_array_size(texts); i++) {
            const json_t *text = json_array_get(texts, i);
            int32_t *want = NULL;
            size_t n = ids_of(json_array_get(cases, i), &want);
            check_ids(t, json_string_value(text), json_string_length(text), 0, want, n);
            free(want);
        }
        pare_tokenizer_close(t);
        pare_vocab_close(&v);
    }
    json_decref(doc);
}

/* Runs of one character, alone and with another end, through every rule: each must finish within the match limit. */
static void long_runs_finish(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    static const char *const units[] = {"a", " ", "\n", "1", "'", ".", "\xc3\xa9", "\xe4\xb8\xad", "A"};
    char *text = check_malloc(N + 8);
    const pare_pretokenizer *p;
    for (size_t row = 0; (p = pare_pretokenizer_at(row)) != NULL; row++) {
        pare_vocab v;
        pare_tokenizer *t = NULL;
        byte_vocab(&v, p);
        CHECK_OK(pare_tokenizer_open(&t, &v, &err), &err);
        for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
            size_t len = 0, n = strlen(units[u]);
            for (; len + n <= (u == 0 ? N : N / 8); len += n)
                memcpy(text + len, units[u], n);
            text[len++] = 'x';
            pare_ids ids = {0};
            CHECK_OK(pare_tokenize(t, text, len, 0, &ids, &err), &err);
            CHECK(ids.n == len);
            free(ids.ids);
        }
        pare_tokenizer_close(t);
        pare_vocab_close(&v);
    }
    free(text);
}

/* Merging a run of one letter: the halves of a power of two, and what is left. */
static void long_runs_merge(void **state)
{
    (void)state;
    enum { N = 1000003 };
    static const char *const files[] = {"tests/data/demo/tokenizer.json", "tests/data/tokenizer/spm.json"};
    char *text = check_malloc(N);
    memset(text, 'e', N);
    for (size_t i = 0; i < 2; i++) {
        pare_vocab v;
        pare_tokenizer *t = NULL;
        pare_buf back = {0};
        pare_ids ids = {0};
        read_file(source_path(files[i]), &v);
        CHECK_OK(pare_tokenizer_open(&t, &v, &err), &err);
        CHECK_OK(pare_tokenize(t, text, N, 0, &ids, &err), &err);
        for (size_t k = 0; k < ids.n; k++)
            CHECK_OK(pare_detokenize(t, ids.ids[k], false, &back, &err), &err);
        size_t lead = v.kind == PARE_VOCAB_SPM ? 1 : 0;
        CHECK(back.len == N + lead && memcmp(back.data + lead, text, N) == 0);
        pare_buf_close(&back);
        free(ids.ids);
        pare_tokenizer_close(t);
        pare_vocab_close(&v);
    }
    free(text);
}

/* Bytes that are no UTF-8 come back as they were. */
static void odd_bytes_survive(void **state)
{
    (void)state;
    static const char *const texts[] = {"\xff",         "a\xc3",     "\xe2\x82", "ok \x80\x81\xfe end",
                                        "\xed\xa0\x80", "\xc0\xaf x"};
    static const char *const files[] = {"tests/data/demo/tokenizer.json", "tests/data/tokenizer/spm.json"};
    for (size_t f = 0; f < 2; f++) {
        pare_vocab v;
        pare_tokenizer *t = NULL;
        read_file(source_path(files[f]), &v);
        CHECK_OK(pare_tokenizer_open(&t, &v, &err), &err);
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
            check_back(t, texts[i], strlen(texts[i]), f == 0 ? "" : " ");
        pare_tokenizer_close(t);
        pare_vocab_close(&v);
    }
    /* with NFC in front */
    pare_vocab v;
    pare_tokenizer *t = NULL;
    byte_vocab(&v, pare_pretokenizer_find((pare_str){"qwen2", 5}));
    CHECK_OK(pare_tokenizer_open(&t, &v, &err), &err);
    const int32_t composed[] = {0xff, 0xc3, 0xa9};
    check_ids(t,
              "\xff"
              "e\xcc\x81",
              4, 0, composed, 3);
    pare_tokenizer_close(t);
    pare_vocab_close(&v);
}

static void refuses_what_it_cannot_run(void **state)
{
    (void)state;
    pare_vocab v;
    pare_tokenizer *t = NULL;
    byte_vocab(&v, pare_pretokenizer_at(0));
    v.pre = (pare_str){"klingon", 7};
    CHECK(pare_tokenizer_open(&t, &v, &err) == PARE_ERR_UNSUPPORTED);
    CHECK(t == NULL && strstr(err.text, "klingon") != NULL);
    v.kind = PARE_VOCAB_UNKNOWN;
    v.model = (pare_str){"rwkv", 4};
    CHECK(pare_tokenizer_open(&t, &v, &err) == PARE_ERR_UNSUPPORTED);
    CHECK(strstr(err.text, "rwkv") != NULL);
    pare_vocab_close(&v);
    pare_tokenizer_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_stored_ids),
        cmocka_unit_test(gives_ids_of_folders),
        cmocka_unit_test(gives_ids_of_sentencepiece),
        cmocka_unit_test(hostile_maps_do_no_harm),
        cmocka_unit_test(keeps_ids_through_metadata),
        cmocka_unit_test(squeezes_spaces),
        cmocka_unit_test(merges_marks),
        cmocka_unit_test(special_tokens_are_text_unless_asked_for),
        cmocka_unit_test(edges_follow_the_vocabulary),
        cmocka_unit_test(gives_published_vectors),
        cmocka_unit_test(gives_ids_of_reference_models),
        cmocka_unit_test(rows_cut_as_published),
        cmocka_unit_test(long_runs_finish),
        cmocka_unit_test(long_runs_merge),
        cmocka_unit_test(odd_bytes_survive),
        cmocka_unit_test(refuses_what_it_cannot_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
