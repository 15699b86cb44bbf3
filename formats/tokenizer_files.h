/* formats/tokenizer_files.h - the tokenizer files of a Hub folder to a vocabulary, and back */
#ifndef PARE_FORMATS_TOKENIZER_FILES_H
#define PARE_FORMATS_TOKENIZER_FILES_H

#include "core/json.h"
#include "model/vocab.h"

/* Fill v from the files of the Hub folder dir: tokenizer.json, else tekken.json, tokenizer.model (SentencePiece),
 * tiktoken.model, vocab.json with merges.txt, or vocab.txt; tokenizer.json and tokenizer.model are both read where
 * stock's converter reads both. tokenizer_config.json, config.json, added_tokens.json and chat_template.jinja add
 * special ids, flags and the chat template; as in stock, special_tokens_map.json does so only for vocab.json and
 * vocab.txt.
 *   config   the folder's config.json
 *   n_vocab  rows of the embedding: missing ids become "[PAD<id>]" tokens of type unused, as stock writes them
 * The pre-tokenizer is recognised by its pattern (model/pretokenizer.h). Strings are copies in v's arena.
 * *found is false when the folder has no tokenizer. Errors: PARE_ERR_FORMAT, PARE_ERR_RANGE, and PARE_ERR_UNSUPPORTED
 * naming the unknown pattern, normalizer, pre-tokenizer or model type. */
pare_status pare_tokenizer_files_read(pare_vocab *v, const char *dir, const json_t *config, uint32_t n_vocab,
                                      bool *found, pare_error *err);

/* For fuzzing and tests: tokenizer.json, or a SentencePiece model, in memory. */
pare_status pare_tokenizer_json_parse(pare_vocab *v, const void *bytes, size_t n, const char *path, pare_error *err);
pare_status pare_sentencepiece_parse(pare_vocab *v, const void *bytes, size_t n, const char *path, pare_error *err);

/* Write tokenizer.json and tokenizer_config.json for v into dir, so that the `tokenizers` library gives the same ids.
 * Errors: PARE_ERR_UNSUPPORTED when the vocabulary kind or pre-tokenizer has no such form; PARE_ERR_IO. */
pare_status pare_tokenizer_files_write(const pare_vocab *v, const char *dir, pare_error *err);

#endif
