/* formats/tokenizer_ranks.c - vocabularies as openai/tiktoken has them: pieces of bytes, each with a rank. tekken.json
 * (mistral_common, tokens/tokenizers/tekken.py) and tiktoken.model (moonshotai/Kimi-K2-Base, tokenization_kimi.py), as
 * the tokenizer.json that does the same
 *
 *   tekken.json     {"config": {"pattern", "default_vocab_size", "default_num_special_tokens"},
 *                    "vocab": [{"rank", "token_bytes" in base64}], "special_tokens": [{"rank", "token_str"}]}
 *                   Special tokens have the first ids, pieces follow in the order of their ranks; what the vocabulary
 *                   holds past default_vocab_size is not used.
 *   tiktoken.model  a line each: the bytes in base64, a space, the rank, which is the id. Special tokens follow.
 *
 * tiktoken joins the neighbours whose bytes together are the piece of the smallest rank. As merges: every cut of a
 * piece into two pieces, by the rank of the piece and then of its parts, which is what stock's converter writes for
 * tekken. */
#include "formats/tokenizer_parts.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Cuts are looked up one by one, and each becomes a text: the square of a piece's length, in time and in bytes, and at
 * most this much in all. Published files need less than 2^26. */
static const uint64_t max_work = (uint64_t)1 << 28;

/* Special tokens that have a place but no name: a file of a few bytes must not ask for millions. */
enum { MAX_UNNAMED = 1 << 16 };

/* Special tokens of files that list none, which are older than version 7 (Tekkenizer.DEPRECATED_SPECIAL_TOKENS). */
static const char *const old_specials[] = {"<unk>",
                                           "<s>",
                                           "</s>",
                                           "[INST]",
                                           "[/INST]",
                                           "[AVAILABLE_TOOLS]",
                                           "[/AVAILABLE_TOOLS]",
                                           "[TOOL_RESULTS]",
                                           "[/TOOL_RESULTS]",
                                           "[TOOL_CALLS]",
                                           "[IMG]",
                                           "<pad>",
                                           "[IMG_BREAK]",
                                           "[IMG_END]",
                                           "[PREFIX]",
                                           "[MIDDLE]",
                                           "[SUFFIX]",
                                           "[SYSTEM_PROMPT]",
                                           "[/SYSTEM_PROMPT]",
                                           "[TOOL_CONTENT]"};
enum { N_OLD_SPECIALS = sizeof old_specials / sizeof *old_specials };

typedef struct ranks {
    const char *path; /* for messages */
    pare_arena arena;
    pare_str *pieces; /* [n], raw bytes by rank */
    size_t n, cap;
    pare_index index; /* bytes -> rank */
    uint64_t work;
} ranks;

static void close_ranks(ranks *r)
{
    free(r->pieces);
    pare_index_close(&r->index);
    pare_arena_close(&r->arena);
}

static pare_status no_memory(const char *path, pare_error *err)
{
    return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for its tokens", path);
}

/* *out is what text says in base64, in the arena. */
static pare_status decode(ranks *r, pare_str text, pare_str *out, pare_error *err)
{
    size_t n_pad = 0;
    while (n_pad < 2 && n_pad < text.len && text.data[text.len - 1 - n_pad] == '=')
        n_pad++;
    bool bad = text.len == 0 || text.len % 4 != 0 || text.len > INT32_MAX;
    char *bytes = bad ? NULL : pare_arena_alloc(&r->arena, text.len, err);
    if (!bad && bytes == NULL)
        return PARE_ERR_MEMORY;
    int n = bad ? -1 : EVP_DecodeBlock((uint8_t *)bytes, (const uint8_t *)text.data, (int)text.len);
    if (n < (int)n_pad || memchr(text.data, '=', text.len - n_pad) != NULL)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: rank %zu: '%.*s' is no base64 of a piece", r->path, r->n,
                         text.len < 64 ? (int)text.len : 64, text.data == NULL ? "" : text.data);
    *out = (pare_str){bytes, (size_t)n - n_pad};
    return PARE_OK;
}

/* The piece of the next rank. */
static pare_status put_piece(ranks *r, pare_str text, pare_error *err)
{
    int64_t old = PARE_INDEX_NONE;
    pare_str bytes = {0};
    if (r->n >= PARE_MAX_VOCAB)
        return pare_fail(err, PARE_ERR_RANGE, "%s: more than %d pieces", r->path, PARE_MAX_VOCAB);
    if (r->n == r->cap) {
        size_t cap = r->cap < 1024 ? 1024 : 2 * r->cap;
        pare_str *pieces = realloc(r->pieces, cap * sizeof *pieces);
        if (pieces == NULL)
            return no_memory(r->path, err);
        r->pieces = pieces;
        r->cap = cap;
    }
    pare_status st = decode(r, text, &bytes, err);
    r->work += (uint64_t)bytes.len * bytes.len;
    if (st == PARE_OK && bytes.len == 0)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: the piece of rank %zu is empty", r->path, r->n);
    if (st == PARE_OK && r->work > max_work)
        st = pare_fail(err, PARE_ERR_RANGE, "%s: rank %zu: pieces are too long to find their merges", r->path, r->n);
    if (st == PARE_OK)
        st = pare_index_add(&r->index, bytes, (int64_t)r->n, &old, err);
    if (st == PARE_OK && old != PARE_INDEX_NONE)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: ranks %" PRId64 " and %zu are of the same bytes", r->path, old, r->n);
    if (st == PARE_OK)
        r->pieces[r->n++] = bytes;
    return st;
}

/* ---- merges ---- */

static pare_status put_alphabet(pare_buf *out, pare_str bytes, pare_error *err)
{
    char text[4];
    pare_status st = PARE_OK;
    for (size_t i = 0; i < bytes.len && st == PARE_OK; i++)
        st = pare_buf_put(out, text, pare_utf8_put(text, pare_byte_alphabet((uint8_t)bytes.data[i])), err);
    return st;
}

typedef struct cut {
    int64_t left, right; /* ranks */
} cut;

static int by_ranks(const void *a, const void *b)
{
    const cut *x = a, *y = b;
    return x->left != y->left ? (x->left > y->left) - (x->left < y->left)
                              : (x->right > y->right) - (x->right < y->right);
}

typedef struct cuts {
    cut *list;
    size_t n, cap;
} cuts;

static pare_status find_cuts(const ranks *r, pare_str s, cuts *c, pare_error *err)
{
    c->n = 0;
    if (c->cap < s.len) {
        cut *list = realloc(c->list, s.len * sizeof *list);
        if (list == NULL)
            return no_memory(r->path, err);
        c->list = list;
        c->cap = s.len;
    }
    for (size_t i = 1; i < s.len; i++) {
        int64_t left = pare_index_find(&r->index, (pare_str){s.data, i});
        int64_t right = left < 0 ? -1 : pare_index_find(&r->index, (pare_str){s.data + i, s.len - i});
        if (left >= 0 && right >= 0)
            c->list[c->n++] = (cut){left, right};
    }
    if (c->n > 1)
        qsort(c->list, c->n, sizeof *c->list, by_ranks);
    return PARE_OK;
}

static pare_status put_merges(const ranks *r, json_t *merges, pare_error *err)
{
    cuts c = {0};
    pare_buf line = {0};
    pare_status st = PARE_OK;
    for (size_t rank = 0; rank < r->n && st == PARE_OK; rank++) {
        st = find_cuts(r, r->pieces[rank], &c, err);
        for (size_t i = 0; i < c.n && st == PARE_OK; i++) {
            line.len = 0;
            st = put_alphabet(&line, r->pieces[c.list[i].left], err);
            if (st == PARE_OK)
                st = pare_buf_puts(&line, " ", err);
            if (st == PARE_OK)
                st = put_alphabet(&line, r->pieces[c.list[i].right], err);
            if (st == PARE_OK && json_array_size(merges) >= PARE_MAX_VOCAB)
                st = pare_fail(err, PARE_ERR_RANGE, "%s: more than %d merges", r->path, PARE_MAX_VOCAB);
            if (st == PARE_OK && json_array_append_new(merges, json_stringn(line.data, line.len)) != 0)
                st = no_memory(r->path, err);
        }
    }
    pare_buf_close(&line);
    free(c.list);
    return st;
}

/* ---- the document ---- */

/* {"id", "content", ...} behind the others in added. */
static int put_special(json_t *added, size_t id, pare_str text)
{
    return json_array_append_new(added, json_pack("{s:I, s:o, s:b, s:b}", "id", (json_int_t)id, "content",
                                                  json_stringn(text.data, text.len), "special", 1, "normalized", 0));
}

/* Pieces from id first on, and rules; pre_tokenizer is a new reference. */
static pare_status make_document(const ranks *r, size_t first, json_t *added, json_t *pre_tokenizer, json_t **doc,
                                 pare_error *err)
{
    json_t *vocab = json_object(), *merges = json_array();
    pare_buf text = {0};
    pare_status st = vocab == NULL || merges == NULL ? no_memory(r->path, err) : PARE_OK;
    for (size_t i = 0; i < r->n && st == PARE_OK; i++) {
        text.len = 0;
        st = put_alphabet(&text, r->pieces[i], err);
        if (st == PARE_OK &&
            json_object_setn_new(vocab, text.data, text.len, json_integer((json_int_t)(first + i))) != 0)
            st = no_memory(r->path, err);
    }
    if (st == PARE_OK)
        st = put_merges(r, merges, err);
    if (st == PARE_OK)
        *doc = json_pack("{s:O, s:O, s:{s:s, s:b, s:O, s:O}}", "added_tokens", added, "pre_tokenizer", pre_tokenizer,
                         "model", "type", "BPE", "ignore_merges", 1, "vocab", vocab, "merges", merges);
    if (st == PARE_OK && *doc == NULL)
        st = no_memory(r->path, err);
    pare_buf_close(&text);
    json_decref(vocab);
    json_decref(merges);
    json_decref(pre_tokenizer);
    return st;
}

static json_t *split_by(const char *pattern)
{
    return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, {s:s, s:b, s:b}]}", "type", "Sequence", "pretokenizers",
                     "type", "Split", "pattern", "Regex", pattern, "behavior", "Isolated", "invert", 0, "type",
                     "ByteLevel", "add_prefix_space", 0, "use_regex", 0);
}

/* ---- tekken.json ---- */

static pare_status read_tekken_pieces(ranks *r, const json_t *vocab, size_t n, pare_error *err)
{
    pare_status st = PARE_OK;
    if (json_array_size(vocab) < n)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: vocab has %zu pieces, the sizes in config need %zu", r->path,
                         json_array_size(vocab), n);
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        const json_t *entry = json_array_get(vocab, i);
        uint64_t rank = 0;
        pare_str text = {0};
        st = pare_json_u64(entry, r->path, "rank", 0, PARE_MAX_VOCAB, &rank, NULL, err);
        if (st == PARE_OK && rank != i)
            st = pare_fail(err, PARE_ERR_FORMAT, "%s: entry %zu of vocab has rank %" PRIu64, r->path, i, rank);
        if (st == PARE_OK)
            st = pare_json_str(entry, r->path, "token_bytes", &text, NULL, err);
        if (st == PARE_OK)
            st = put_piece(r, text, err);
        if (st == PARE_OK && i < 256 && (r->pieces[i].len != 1 || (uint8_t)r->pieces[i].data[0] != i))
            st = pare_fail(err, PARE_ERR_FORMAT, "%s: entry %zu of vocab is not the byte of that value", r->path, i);
    }
    return st;
}

static size_t count_listed(const json_t *list)
{
    return list == NULL ? (size_t)N_OLD_SPECIALS : json_array_size(list);
}

static pare_status check_tekken_specials(const ranks *r, const json_t *list, size_t n, pare_error *err)
{
    size_t n_listed = count_listed(list);
    if (n_listed > n)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: %zu special tokens, default_num_special_tokens is %zu", r->path,
                         n_listed, n);
    if (n - n_listed > MAX_UNNAMED)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: default_num_special_tokens is %zu, at most %d beyond the %zu special tokens", r->path, n,
                         MAX_UNNAMED, n_listed);
    return PARE_OK;
}

/* texts[rank] of the special tokens, n in all; what the file leaves out is <SPECIAL_rank>. */
static pare_status read_tekken_specials(ranks *r, const json_t *list, pare_str *texts, size_t n, pare_error *err)
{
    size_t n_listed = count_listed(list);
    pare_status st = PARE_OK;
    for (size_t i = 0; i < n_listed && st == PARE_OK; i++) {
        uint64_t rank = i;
        pare_str text = list == NULL ? (pare_str){old_specials[i], strlen(old_specials[i])} : (pare_str){0};
        const json_t *entry = json_array_get(list, i);
        if (list != NULL)
            st = pare_json_u64(entry, r->path, "rank", 0, n_listed - 1, &rank, NULL, err);
        if (st == PARE_OK && list != NULL)
            st = pare_json_str(entry, r->path, "token_str", &text, NULL, err);
        if (st == PARE_OK && texts[rank].data != NULL)
            st = pare_fail(err, PARE_ERR_FORMAT, "%s: two special tokens have rank %" PRIu64, r->path, rank);
        if (st == PARE_OK)
            texts[rank] = text;
    }
    for (size_t i = n_listed; i < n && st == PARE_OK; i++) {
        char name[32];
        int len = snprintf(name, sizeof name, "<SPECIAL_%zu>", i);
        texts[i] = (pare_str){pare_arena_copy(&r->arena, name, (size_t)len, err), (size_t)len};
        st = texts[i].data == NULL ? PARE_ERR_MEMORY : PARE_OK;
    }
    return st;
}

static pare_status add_tekken_specials(ranks *r, const json_t *list, size_t n, json_t *added, pare_error *err)
{
    pare_index seen = {0};
    pare_status st = check_tekken_specials(r, list, n, err);
    pare_str *texts = st == PARE_OK ? pare_arena_alloc(&r->arena, n * sizeof *texts, err) : NULL;
    if (st == PARE_OK)
        st = texts == NULL ? PARE_ERR_MEMORY : read_tekken_specials(r, list, texts, n, err);
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        int64_t old = PARE_INDEX_NONE;
        st = pare_index_add(&seen, texts[i], (int64_t)i, &old, err);
        if (st == PARE_OK && old != PARE_INDEX_NONE)
            st = pare_fail(err, PARE_ERR_FORMAT, "%s: special tokens %" PRId64 " and %zu are both '%.*s'", r->path, old,
                           i, texts[i].len < 64 ? (int)texts[i].len : 64, texts[i].data);
        if (st == PARE_OK && put_special(added, i, texts[i]) != 0)
            st = no_memory(r->path, err);
    }
    pare_index_close(&seen);
    return st;
}

pare_status pare_tekken_document(const json_t *tekken, const char *path, json_t **tokenizer, pare_error *err)
{
    ranks r = {.path = path};
    const json_t *settings = json_object_get(tekken, "config"), *specials = json_object_get(tekken, "special_tokens");
    const pare_str said = pare_text_of(json_object_get(settings, "pattern"));
    const char *pattern = said.data != NULL && memchr(said.data, 0, said.len) == NULL ? said.data : NULL;
    uint64_t n_all = 0, n_special = 0;
    json_t *added = json_array();
    *tokenizer = NULL;
    pare_status st = added == NULL ? no_memory(path, err) : PARE_OK;
    if (st == PARE_OK && (pattern == NULL || (specials != NULL && !json_is_array(specials) && !json_is_null(specials))))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: %s", path,
                       pattern == NULL ? "config has no pattern, or one with a NUL" : "special_tokens is no array");
    if (st == PARE_OK)
        st = pare_json_u64(settings, path, "default_num_special_tokens", 1, PARE_MAX_VOCAB, &n_special, NULL, err);
    if (st == PARE_OK)
        st = pare_json_u64(settings, path, "default_vocab_size", n_special + 256, PARE_MAX_VOCAB, &n_all, NULL, err);
    if (st == PARE_OK)
        st = read_tekken_pieces(&r, json_object_get(tekken, "vocab"), (size_t)(n_all - n_special), err);
    if (st == PARE_OK)
        st = add_tekken_specials(&r, json_is_array(specials) ? specials : NULL, (size_t)n_special, added, err);
    if (st == PARE_OK)
        st = make_document(&r, (size_t)n_special, added, split_by(pattern), tokenizer, err);
    json_decref(added);
    close_ranks(&r);
    return st;
}

pare_status pare_tekken_specials(pare_vocab *v, const char *path, pare_error *err)
{
    const struct {
        const char *text;
        int64_t *id;
    } ids[] = {{"<s>", &v->bos}, {"</s>", &v->eos}, {"<unk>", &v->unk}, {"<pad>", &v->pad}};
    static const char *const keys[] = {"tokenizer.ggml.model",
                                       "tokenizer.ggml.pre",
                                       "tokenizer.ggml.merges",
                                       "tokenizer.ggml.bos_token_id",
                                       "tokenizer.ggml.eos_token_id",
                                       "tokenizer.ggml.unknown_token_id",
                                       "tokenizer.ggml.padding_token_id",
                                       "tokenizer.ggml.tokens",
                                       "tokenizer.ggml.scores",
                                       "tokenizer.ggml.token_type",
                                       "tokenizer.ggml.add_bos_token",
                                       "tokenizer.ggml.add_eos_token"};
    float *scores = pare_arena_alloc(&v->arena, v->n_tokens * sizeof *scores, err);
    if (scores == NULL)
        return PARE_ERR_MEMORY;
    for (size_t k = 0; k < sizeof ids / sizeof *ids; k++) {
        for (uint32_t i = 0; i < v->n_tokens && *ids[k].id < 0; i++)
            if (pare_vocab_type(v, i) == PARE_TOKEN_CONTROL && pare_str_equal(v->tokens[i], ids[k].text))
                *ids[k].id = i;
        if (*ids[k].id < 0)
            return pare_fail(err, PARE_ERR_FORMAT, "%s: there is no special token '%s'", path, ids[k].text);
    }
    v->scores = scores; /* zeros, as stock's converter writes them */
    v->add_bos = 1;
    v->add_eos = 0;
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
        pare_vocab_note_key(v, keys[k]);
    return PARE_OK;
}

/* ---- tiktoken.model ---- */

static pare_status read_lines(ranks *r, pare_str rest, pare_error *err)
{
    pare_str line;
    pare_status st = PARE_OK;
    while (st == PARE_OK && pare_next_line(&rest, &line)) {
        char want[24];
        if (line.len == 0)
            continue;
        const char *space = memchr(line.data, ' ', line.len);
        size_t n = space == NULL ? line.len : (size_t)(space - line.data);
        int len = snprintf(want, sizeof want, " %zu", r->n);
        if (line.len - n != (size_t)len || memcmp(line.data + n, want, (size_t)len) != 0)
            return pare_fail(err, PARE_ERR_FORMAT, "%s: '%.*s' is not a piece in base64 with rank %zu behind it",
                             r->path, line.len < 64 ? (int)line.len : 64, line.data, r->n);
        st = put_piece(r, (pare_str){line.data, n}, err);
    }
    return st == PARE_OK && r->n == 0 ? pare_fail(err, PARE_ERR_FORMAT, "%s: no pieces", r->path) : st;
}

/* Special tokens follow the pieces: as added_tokens_decoder names them, the others <|reserved_token_id|>; there are 258
 * places, of which the embedding may have fewer. */
static pare_status add_reserved(const ranks *r, const json_t *decoder, uint32_t n_vocab, json_t *added, pare_error *err)
{
    enum { N_PLACES = 258 };
    size_t end = r->n + N_PLACES;
    if (n_vocab > 0 && n_vocab < end)
        end = n_vocab;
    for (size_t id = r->n; id < end; id++) {
        char text[40];
        snprintf(text, sizeof text, "%zu", id);
        pare_str content = pare_text_of(json_object_get(json_object_get(decoder, text), "content"));
        if (content.data == NULL) {
            int len = snprintf(text, sizeof text, "<|reserved_token_%zu|>", id);
            content = (pare_str){text, (size_t)len};
        }
        if (put_special(added, id, content) != 0)
            return no_memory(r->path, err);
    }
    return PARE_OK;
}

pare_status pare_tiktoken_document(pare_str lines, const pare_token_lists *around, const char *path, json_t **tokenizer,
                                   pare_error *err)
{
    static const char name[] = "TikTokenTokenizer";
    ranks r = {.path = path};
    const pare_pretokenizer *row = pare_pretokenizer_find((pare_str){"kimi-k2", 7});
    pare_str class = pare_text_of(json_object_get(around->tokenizer_config, "tokenizer_class"));
    *tokenizer = NULL;
    if (class.data == NULL || !pare_str_equal(class, name))
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: how text is cut is known for tokenizer_class '%s' only, this is '%.*s'", path, name,
                         class.len < 64 ? (int)class.len : 64, class.data == NULL ? "" : class.data);
    json_t *added = json_array();
    pare_status st = added == NULL ? no_memory(path, err) : read_lines(&r, lines, err);
    if (st == PARE_OK)
        st = add_reserved(&r, json_object_get(around->tokenizer_config, "added_tokens_decoder"), around->n_vocab, added,
                          err);
    if (st == PARE_OK)
        st = make_document(&r, 0, added, split_by(row->steps[0].pattern), tokenizer, err);
    json_decref(added);
    close_ranks(&r);
    return st;
}
