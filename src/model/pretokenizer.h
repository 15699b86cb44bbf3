/* model/pretokenizer.h - the published split patterns of byte-level BPE tokenizers: one row a pattern set
 *
 * A row ties the name in GGUF (tokenizer.ggml.pre), the regular expressions as they stand in tokenizer.json, and how
 * they are applied. Reader, writer and tokenizer use the same row. */
#ifndef PARE_MODEL_PRETOKENIZER_H
#define PARE_MODEL_PRETOKENIZER_H

#include "core/text.h"

enum { PARE_PRE_MAX_PATTERNS = 8 };

typedef struct pare_pretokenizer {
    const char *name;             /* canonical tokenizer.ggml.pre: "llama-bpe", "qwen2", "gpt-2", "falcon", ... */
    const char *const *aliases;   /* further names that stock maps to the same rule, NULL-terminated, may be NULL */
    const char *patterns[PARE_PRE_MAX_PATTERNS]; /* PCRE2 syntax (UTF, UCP), applied one after the other, isolated */
    const char *const *hf_forms;  /* canonical JSON texts of the pre_tokenizer (sorted keys, compact) that mean this row */
    bool ignore_merges;           /* a pre-token that is a token is taken as it is */
    bool nfc;                     /* normalizer NFC comes first */
} pare_pretokenizer;

const pare_pretokenizer *pare_pretokenizer_at(size_t i); /* NULL behind the last */
const pare_pretokenizer *pare_pretokenizer_find(pare_str name); /* by name or alias; NULL unknown */

#endif
