/* The files of folders without tokenizer.json on arbitrary bytes. The first byte says which: 't' tekken.json, 'k' the
 * lines of a tiktoken.model, 'w' vocab.txt, else vocab.json, a NUL, merges.txt; behind a last NUL, if there is one,
 * stands tokenizer_config.json. What comes out is read as tokenizer.json and run. */
#include "formats/tokenizer_files.h"
#include "formats/tokenizer_parts.h"
#include "vocab.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(const json_t *doc)
{
    pare_vocab v;
    pare_error err = {0};
    char *bytes = json_dumps(doc, JSON_COMPACT);
    if (bytes != NULL && pare_tokenizer_json_parse(&v, bytes, strlen(bytes), "fuzz.json", &err) == PARE_OK) {
        fuzz_use_vocab(&v);
        pare_vocab_close(&v);
    }
    free(bytes);
}

/* Up to the next NUL; *rest moves behind it. */
static pare_str part(pare_str *rest)
{
    const char *end = rest->len > 0 ? memchr(rest->data, 0, rest->len) : NULL;
    pare_str out = {rest->data, end == NULL ? rest->len : (size_t)(end - rest->data)};
    size_t n = out.len + (end != NULL);
    *rest = (pare_str){rest->data + n, rest->len - n};
    return out;
}

static json_t *object_of(pare_str text)
{
    json_t *doc = NULL;
    pare_error err = {0};
    if (pare_json_parse(&doc, "fuzz.json", text.data, text.len, PARE_JSON_BIG_AS_REAL | PARE_JSON_NUL, &err) ==
            PARE_OK &&
        json_is_object(doc))
        return doc;
    json_decref(doc);
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *tokenizer = NULL, *config = NULL, *vocab = NULL, *around = NULL;
    pare_error err = {0};
    if (size == 0)
        return 0;
    pare_str rest = {(const char *)data + 1, size - 1}, first = part(&rest);
    pare_token_lists in = {.dir = "fuzz", .n_vocab = 64};
    if (data[0] == 't') {
        vocab = object_of(first);
        (void)pare_tekken_document(vocab, "tekken.json", &tokenizer, &err);
    } else if (data[0] == 'k') {
        in.n_vocab = 0;
        in.tokenizer_config = around = object_of(part(&rest));
        (void)pare_tiktoken_document(first, &in, "tiktoken.model", &tokenizer, &err);
    } else {
        in.vocab = vocab = data[0] == 'w' ? NULL : object_of(first);
        *(data[0] == 'w' ? &in.pieces : &in.merges) = data[0] == 'w' ? first : part(&rest);
        in.tokenizer_config = in.added = in.specials = around = object_of(part(&rest));
        (void)pare_token_lists_document(&in, &tokenizer, &config, &err);
    }
    if (tokenizer != NULL)
        run(tokenizer);
    json_decref(tokenizer);
    json_decref(config);
    json_decref(vocab);
    json_decref(around);
    return 0;
}
