#include "formats/tokenizer_files.h"

#include "core/look.h"
#include "core/map.h"
#include "formats/tokenizer_parts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_TOKENIZER = 64 << 20, MAX_CONFIG = 16 << 20, MAX_GAP = 1 << 16 };

/* The documents of a folder, while it is read. */
typedef struct folder {
    const char *dir;
    const json_t *config;
    uint32_t n_vocab;
    json_t *tokenizer, *tokenizer_config; /* as they are, or made of other files */
    pare_map model;                       /* tokenizer.model */
    const char *name;                     /* of the file that has the tokens */
    bool tekken;
    pare_token_rows rows;
    pare_tokenizer_rules rules;
} folder;

static void close_folder(folder *f)
{
    json_decref(f->tokenizer);
    json_decref(f->tokenizer_config);
    pare_map_close(&f->model);
    pare_token_rows_close(&f->rows);
}

/* path becomes dir/name; *there: something of that name is. */
static pare_status look(const char *dir, const char *name, pare_buf *path, bool *there, pare_error *err)
{
    struct stat info;
    *there = false;
    path->len = 0;
    pare_status st = pare_buf_printf(path, err, "%s/%s", dir, name);
    return st == PARE_OK ? pare_look(path->data, &info, there, err) : st;
}

static pare_status load(const char *dir, const char *name, uint64_t limit, unsigned flags, json_t **out,
                        pare_error *err)
{
    pare_buf path = {0};
    bool there;
    pare_status st = look(dir, name, &path, &there, err);
    if (st == PARE_OK && there)
        st = pare_json_load(out, path.data, limit, flags | PARE_JSON_NUL, err);
    if (st == PARE_OK && *out != NULL && !json_is_object(*out))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: no JSON object", path.data);
    pare_buf_close(&path);
    return st;
}

static pare_status open_map(const char *path, pare_map *out, pare_error *err)
{
    pare_status st = pare_map_open_content(out, path, err);
    if (st == PARE_OK && (out->size == 0 || out->size > MAX_TOKENIZER))
        st = pare_fail(err, PARE_ERR_RANGE, "%s: %" PRIu64 " bytes, allowed 1 to %d", path, out->size, MAX_TOKENIZER);
    return st;
}

static pare_str text_of(const pare_map *file)
{
    return (pare_str){(const char *)file->data, (size_t)file->size};
}

/* tekken.json: nothing else in the folder says anything about its tokens. */
static pare_status make_of_tekken(folder *f, const char *path, pare_error *err)
{
    json_t *tekken = NULL;
    pare_status st = load(f->dir, f->name, MAX_TOKENIZER, PARE_JSON_DENSE, &tekken, err);
    if (st == PARE_OK)
        st = pare_tekken_document(tekken, path, &f->tokenizer, err);
    json_decref(tekken);
    json_decref(f->tokenizer_config);
    f->tokenizer_config = NULL;
    f->tekken = true;
    return st;
}

static pare_token_lists lists_of(const folder *f)
{
    return (pare_token_lists){
        .dir = f->dir, .tokenizer_config = f->tokenizer_config, .config = f->config, .n_vocab = f->n_vocab};
}

static pare_status make_of_tiktoken(folder *f, const char *path, pare_error *err)
{
    pare_token_lists lists = lists_of(f);
    pare_map file = {0};
    pare_status st = open_map(path, &file, err);
    if (st == PARE_OK)
        st = pare_tiktoken_document(text_of(&file), &lists, path, &f->tokenizer, err);
    pare_map_close(&file);
    return st;
}

/* vocab.json with merges.txt, or vocab.txt */
static pare_status make_of_lists(folder *f, const char *path, pare_error *err)
{
    pare_token_lists lists = lists_of(f);
    pare_map file = {0};
    pare_buf merges = {0};
    json_t *vocab = NULL, *specials = NULL, *added = NULL, *config = NULL;
    bool words = strcmp(f->name, "vocab.txt") == 0, there = true;
    pare_status st = load(f->dir, "special_tokens_map.json", MAX_CONFIG, 0, &specials, err);
    if (st == PARE_OK)
        st = load(f->dir, "added_tokens.json", MAX_CONFIG, 0, &added, err);
    if (st == PARE_OK && !words)
        st = load(f->dir, f->name, MAX_TOKENIZER, PARE_JSON_DENSE, &vocab, err);
    if (st == PARE_OK && !words)
        st = look(f->dir, "merges.txt", &merges, &there, err);
    if (st == PARE_OK && !there)
        st = pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: vocab.json without merges.txt", f->dir);
    if (st == PARE_OK)
        st = open_map(words ? path : merges.data, &file, err);
    lists.vocab = vocab;
    lists.specials = specials;
    lists.added = added;
    *(words ? &lists.pieces : &lists.merges) = text_of(&file);
    if (st == PARE_OK)
        st = pare_token_lists_document(&lists, &f->tokenizer, &config, err);
    if (st == PARE_OK) {
        json_decref(f->tokenizer_config);
        f->tokenizer_config = config;
    }
    json_decref(vocab);
    json_decref(specials);
    json_decref(added);
    pare_map_close(&file);
    pare_buf_close(&merges);
    return st;
}

/* The files that tokens are read from, the first that is there. tokenizer.json and tokenizer.model are read together.
 */
static pare_status open_folder(folder *f, pare_error *err)
{
    static const struct {
        const char *name;
        pare_status (*make)(folder *f, const char *path, pare_error *err);
    } others[] = {{"tekken.json", make_of_tekken},
                  {"tokenizer.model", NULL},
                  {"tiktoken.model", make_of_tiktoken},
                  {"vocab.json", make_of_lists},
                  {"vocab.txt", make_of_lists}};
    pare_buf path = {0};
    bool there;
    pare_status st = load(f->dir, "tokenizer.json", MAX_TOKENIZER, PARE_JSON_DENSE, &f->tokenizer, err);
    if (st == PARE_OK)
        st = load(f->dir, "tokenizer_config.json", MAX_CONFIG, PARE_JSON_BIG_AS_REAL, &f->tokenizer_config, err);
    f->name = f->tokenizer != NULL ? "tokenizer.json" : NULL;
    for (size_t i = 0; i < sizeof others / sizeof *others && f->name == NULL && st == PARE_OK; i++)
        if ((st = look(f->dir, others[i].name, &path, &there, err)) == PARE_OK && there) {
            f->name = others[i].name;
            st = others[i].make != NULL ? others[i].make(f, path.data, err) : PARE_OK;
        }
    there = false;
    if (st == PARE_OK && !f->tekken)
        st = look(f->dir, "tokenizer.model", &path, &there, err);
    if (st == PARE_OK && there) {
        f->name = "tokenizer.model";
        st = open_map(path.data, &f->model, err);
    }
    pare_buf_close(&path);
    return st;
}

static bool model_type_is(const folder *f, const char *const *names)
{
    const char *type = json_string_value(json_object_get(f->config, "model_type"));
    for (; type != NULL && *names != NULL; names++)
        if (strcmp(type, *names) == 0)
            return true;
    return false;
}

/* An added token over a SentencePiece piece. Rows behind n_vocab are left out with a warning, as stock does. */
static pare_status put_added(pare_vocab *v, folder *f, const pare_added_token *added, pare_error *err)
{
    static const char *const phi3[] = {"phi3", NULL};
    if (f->n_vocab > 0 && added->id >= f->n_vocab)
        return pare_warn(err,
                         "%s: added token %" PRIu64 " is outside of the %" PRIu32 " rows of the embedding and left out",
                         f->dir, added->id, f->n_vocab);
    if (f->n_vocab == 0 && added->id > f->rows.n + MAX_GAP)
        return pare_fail(err, PARE_ERR_RANGE, "%s: added token %" PRIu64 " is far behind the %zu tokens", f->dir,
                         added->id, f->rows.n);
    pare_token_row *row = NULL;
    pare_status st = pare_token_row_at(&f->rows, added->id, f->dir, &row, err);
    if (st != PARE_OK)
        return st;
    bool as_written = model_type_is(f, phi3);
    bool control = added->special || (!as_written && pare_token_looks_special(added->content));
    row->type = control ? PARE_TOKEN_CONTROL : PARE_TOKEN_USER_DEFINED;
    row->attrs = added->attrs;
    row->score = -1000.0F;
    row->text = pare_vocab_text(v, added->content, !control && !as_written, err);
    return row->text.data == NULL ? PARE_ERR_MEMORY : PARE_OK;
}

/* added_tokens.json: text -> id, the oldest form. */
static pare_status put_added_file(pare_vocab *v, folder *f, pare_error *err)
{
    json_t *doc = NULL, *value;
    const char *key;
    size_t len;
    pare_status st = load(f->dir, "added_tokens.json", MAX_CONFIG, 0, &doc, err);
    json_object_keylen_foreach(doc, key, len, value)
    {
        pare_added_token added = {.content = {key, len}};
        if (st != PARE_OK)
            break;
        st = pare_json_u64(doc, f->dir, key, 0, PARE_MAX_VOCAB - 1, &added.id, NULL, err);
        if (st == PARE_OK)
            st = put_added(v, f, &added, err);
        if (st == PARE_OK && added.id < f->rows.n)
            f->rows.rows[added.id].type = PARE_TOKEN_USER_DEFINED;
    }
    json_decref(doc);
    return st;
}

/* tokenizer_config.json: added_tokens_decoder, id (as text) -> token. */
static pare_status put_added_decoder(pare_vocab *v, folder *f, pare_error *err)
{
    const char *key;
    json_t *value;
    pare_status st = PARE_OK;
    json_object_foreach(json_object_get(f->tokenizer_config, "added_tokens_decoder"), key, value)
    {
        pare_added_token added = {0};
        st = pare_added_token_id(key, f->dir, &added.id, err);
        if (st == PARE_OK)
            st = pare_added_token_read(value, f->dir, &added, err);
        if (st == PARE_OK)
            st = put_added(v, f, &added, err);
        if (st != PARE_OK)
            return st;
    }
    return st;
}

/* tokenizer.json beside tokenizer.model: tokens that no other file has, and the flags of all. */
static pare_status put_added_json(pare_vocab *v, folder *f, pare_error *err)
{
    static const char *const phi3[] = {"phi3", NULL};
    const json_t *list = json_object_get(f->tokenizer, "added_tokens");
    pare_status st = PARE_OK;
    for (size_t i = 0; i < json_array_size(list) && st == PARE_OK; i++) {
        const json_t *entry = json_array_get(list, i);
        pare_added_token added = {0};
        st = pare_added_token_read(entry, f->dir, &added, err);
        if (st == PARE_OK)
            st = pare_json_u64(entry, f->dir, "id", 0, PARE_MAX_VOCAB - 1, &added.id, NULL, err);
        bool new = added.id >= f->rows.n || f->rows.rows[added.id].text.data == NULL;
        if (st == PARE_OK && (new || model_type_is(f, phi3)))
            st = put_added(v, f, &added, err);
        else if (st == PARE_OK)
            f->rows.rows[added.id].attrs = added.attrs;
    }
    return st;
}

static pare_status read_sentencepiece(pare_vocab *v, folder *f, const char *path, pare_error *err)
{
    pare_status st = pare_sentencepiece_fill(v, &f->rows, f->model.data, (size_t)f->model.size, path, err);
    if (st == PARE_OK && f->n_vocab > 0 && f->rows.n > f->n_vocab) {
        st = pare_warn(err, "%s: %zu pieces for %" PRIu32 " rows of the embedding, the last are left out", path,
                       f->rows.n, f->n_vocab);
        f->rows.n = f->n_vocab;
    }
    if (st == PARE_OK)
        st = put_added_file(v, f, err);
    if (st == PARE_OK)
        st = put_added_decoder(v, f, err);
    if (st == PARE_OK)
        st = put_added_json(v, f, err);
    if (st == PARE_OK && f->tokenizer != NULL) {
        st = pare_tokenizer_rules_read(f->tokenizer, path, &f->rules, err);
        if (st == PARE_OK) {
            st = pare_tokenizer_rules_apply(&f->rules, v, path, err);
            if (v->kind != PARE_VOCAB_UGM)
                v->remove_extra_whitespaces = -1;
        }
    }
    return st;
}

/* Stock's converter for the Llama family copies add_prefix_space, in front of all other keys. */
static void read_prefix_flag(pare_vocab *v, const folder *f)
{
    static const char *const family[] = {"llama", "mistral", "mixtral", "granite", NULL};
    const json_t *flag = json_object_get(f->tokenizer_config, "add_prefix_space");
    if (!json_is_boolean(flag) || !model_type_is(f, family))
        return;
    v->add_space_prefix = json_is_true(flag);
    pare_vocab_note_key(v, "tokenizer.ggml.add_space_prefix");
}

static pare_status read_tokens(pare_vocab *v, folder *f, const char *path, pare_error *err)
{
    if (f->model.data != NULL)
        return read_sentencepiece(v, f, path, err);
    pare_status st = pare_tokenizer_json_fill(v, &f->rows, f->tokenizer, path, &f->rules, err);
    return st == PARE_OK ? pare_tokenizer_rules_apply(&f->rules, v, path, err) : st;
}

/* The unknown token where no companion file names it. */
static void find_unknown(pare_vocab *v, const pare_tokenizer_rules *rules)
{
    pare_str text = rules->unk;
    for (uint32_t i = 0; i < v->n_tokens && v->unk == PARE_TOKEN_NONE; i++)
        if (v->kind == PARE_VOCAB_UGM
                ? pare_vocab_type(v, i) == PARE_TOKEN_UNKNOWN
                : text.len > 0 && v->tokens[i].len == text.len && memcmp(v->tokens[i].data, text.data, text.len) == 0)
            v->unk = i;
}

static void note_keys(pare_vocab *v)
{
    static const char *const keys[] = {"tokenizer.ggml.model",  "tokenizer.ggml.pre",        "tokenizer.ggml.tokens",
                                       "tokenizer.ggml.scores", "tokenizer.ggml.token_type", "tokenizer.ggml.merges"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        pare_vocab_note_key(v, keys[i]);
}

/* What stands for text without tokens: the unknown token that the model names. */
static pare_status set_unknown(pare_vocab *v, const pare_tokenizer_rules *rules, const char *path, pare_error *err)
{
    pare_index ids = {0};
    pare_status st = PARE_OK;
    size_t n_bytes = 0;
    for (uint32_t i = 0; i < v->n_tokens && st == PARE_OK; i++)
        st = pare_index_add(&ids, v->tokens[i], i, NULL, err);
    int64_t unk = rules->unk.data == NULL ? PARE_INDEX_NONE : pare_index_find(&ids, rules->unk);
    for (int b = 0; b < 256; b++) {
        char text[4];
        pare_str one = {text, pare_utf8_put(text, pare_byte_alphabet((uint8_t)b))};
        n_bytes += pare_index_find(&ids, one) != PARE_INDEX_NONE;
    }
    pare_index_close(&ids);
    if (st != PARE_OK || unk == PARE_INDEX_NONE)
        return st;
    if (v->kind == PARE_VOCAB_SPM) {
        v->unk = v->unk < 0 ? unk : v->unk;
        v->unk_each = rules->fuse_unk || rules->byte_fallback ? -1 : 1;
    } else if (n_bytes < 256) {
        if (rules->fuse_unk)
            return pare_fail(err, PARE_ERR_UNSUPPORTED,
                             "%s: model.fuse_unk beside %zu bytes without tokens is not supported", path,
                             256 - n_bytes);
        v->missing = unk;
    }
    return PARE_OK;
}

static pare_status name_kind(pare_vocab *v, const folder *f, const char *path, pare_error *err)
{
    if (v->kind == PARE_VOCAB_BPE) {
        v->model = (pare_str){"gpt2", 4};
        return pare_tokenizer_json_name(v, &f->rules, path, err);
    }
    v->model = (pare_str){"llama", 5};
    v->pre = (pare_str){"default", 7};
    if (v->kind == PARE_VOCAB_WPM) {
        v->model = (pare_str){"bert", 4};
        v->pre = (pare_str){"bert-bge", 8}; /* of all WordPiece vocabularies: the name says nothing */
        return PARE_OK;
    }
    if (v->kind == PARE_VOCAB_UGM) {
        v->model = (pare_str){"t5", 2};
        return PARE_OK;
    }
    pare_status st = f->model.data != NULL ? PARE_OK : pare_tokenizer_json_scores(v, err);
    if (st != PARE_OK || v->n_merges == 0 || v->add_space_prefix != 0)
        return st;
    /* Scores cannot say what these merges do: other readers follow the merges under this name. */
    v->add_bos = v->add_bos < 0 ? v->bos >= 0 : v->add_bos;
    v->model = v->pre = (pare_str){"gemma4", 6};
    if (v->add_bos == 0 || v->bos < 0) { /* stock puts BOS in front of any text of Gemma 4 */
        v->model = (pare_str){"gpt2", 4};
        v->pre = (pare_str){"sarvam-moe", 10};
    }
    return PARE_OK;
}

static pare_status fill(pare_vocab *v, folder *f, const char *path, pare_error *err)
{
    pare_special_sources from = {f->dir, path, f->tokenizer, f->tokenizer_config, f->config};
    pare_status st = read_tokens(v, f, path, err);
    if (st == PARE_OK)
        read_prefix_flag(v, f);
    if (st == PARE_OK)
        st = pare_token_rows_finish(&f->rows, v, f->n_vocab, path, err);
    if (st == PARE_OK && f->tekken)
        st = pare_tekken_specials(v, path, err);
    note_keys(v);
    if (st == PARE_OK)
        st = pare_tokenizer_specials(v, &from, err);
    pare_vocab_complete(v);
    bool merges = v->kind == PARE_VOCAB_BPE || v->kind == PARE_VOCAB_SPM;
    if (st == PARE_OK && !merges)
        find_unknown(v, &f->rules);
    if (st == PARE_OK && f->model.data == NULL && merges)
        st = set_unknown(v, &f->rules, path, err);
    if (st == PARE_OK)
        st = pare_vocab_check(v, path, err);
    return st == PARE_OK ? name_kind(v, f, path, err) : st;
}

pare_status pare_tokenizer_files_read(pare_vocab *v, const char *dir, const json_t *config, uint32_t n_vocab,
                                      bool *found, pare_error *err)
{
    folder f = {.dir = dir, .config = config, .n_vocab = n_vocab};
    pare_buf path = {0};
    *v = (pare_vocab){0};
    *found = false;
    pare_status st = open_folder(&f, err);
    if (st == PARE_OK && (f.tokenizer != NULL || f.model.data != NULL)) {
        *found = true;
        pare_vocab_init(v);
        st = pare_buf_printf(&path, err, "%s/%s", dir, f.name);
        if (st == PARE_OK)
            st = fill(v, &f, path.data, err);
        if (st != PARE_OK)
            pare_vocab_close(v);
    }
    pare_buf_close(&path);
    close_folder(&f);
    return st;
}

pare_status pare_tokenizer_json_parse(pare_vocab *v, const void *bytes, size_t n, const char *path, pare_error *err)
{
    folder f = {.dir = NULL};
    pare_vocab_init(v);
    pare_status st = n > MAX_TOKENIZER
                         ? pare_fail(err, PARE_ERR_RANGE, "%s: %zu bytes, at most %d", path, n, MAX_TOKENIZER)
                         : pare_json_parse(&f.tokenizer, path, bytes, n, PARE_JSON_DENSE | PARE_JSON_NUL, err);
    f.dir = path;
    if (st == PARE_OK)
        st = fill(v, &f, path, err);
    close_folder(&f);
    if (st != PARE_OK)
        pare_vocab_close(v);
    return st;
}
