/* model/pretokenizer.h - the published ways to cut text before byte-level BPE: one row a rule
 *
 * A row ties the name in GGUF (tokenizer.ggml.pre) to the steps as they stand in tokenizer.json. Reader, writer and
 * tokenizer use the same row. docs/formats/TOKENIZER.md describes the steps. */
#ifndef PARE_MODEL_PRETOKENIZER_H
#define PARE_MODEL_PRETOKENIZER_H

#include "model/vocab.h"

enum { PARE_PRE_MAX_STEPS = 8 };

typedef enum pare_pre_step_kind {
    PARE_PRE_END,         /* behind the last step */
    PARE_PRE_SPLIT,       /* "Split" by pattern, isolated: matches and what lies between them are pieces */
    PARE_PRE_DIGITS,      /* "Digits": each numeric character alone when flag is set, else runs of them */
    PARE_PRE_PUNCTUATION, /* "Punctuation": runs of it ("Contiguous") when flag is set, else each character alone */
    PARE_PRE_BYTE_LEVEL   /* "ByteLevel" without prefix space: GPT-2's pattern first when flag is set; then bytes turn
                           * into the printable alphabet, on which later steps work */
} pare_pre_step_kind;

typedef struct pare_pre_step {
    pare_pre_step_kind kind;
    bool flag;
    const char *pattern; /* of SPLIT, as published (Oniguruma syntax); else NULL */
} pare_pre_step;

typedef struct pare_pretokenizer {
    const char *name;           /* tokenizer.ggml.pre: "llama-bpe", "qwen2", "gpt-2", "falcon", ... */
    const char *const *aliases; /* further names that stock runs by the same rule, NULL-terminated, may be NULL */
    pare_pre_step steps[PARE_PRE_MAX_STEPS + 1];
    bool ignore_merges; /* a pre-token that is a token is taken as it is */
    pare_normalizer normalizer;
    bool add_bos; /* BOS when the metadata does not say */
} pare_pretokenizer;

const char *pare_normalizer_name(pare_normalizer form); /* its "type" in tokenizer.json; "none" */

const pare_pretokenizer *pare_pretokenizer_at(size_t i);        /* NULL behind the last */
const pare_pretokenizer *pare_pretokenizer_find(pare_str name); /* by name or alias; NULL unknown */

/* The row whose steps are these (ended by PARE_PRE_END), and among such rows the one that differs least in the rest.
 * NULL: no row has these steps. */
const pare_pretokenizer *pare_pretokenizer_match(const pare_pre_step *steps, bool ignore_merges,
                                                 pare_normalizer normalizer, bool add_bos);

extern const char pare_gpt2_pattern[]; /* what ByteLevel with use_regex splits by (openai/gpt-2, encoder.py) */

/* The pattern of a step for PCRE2 (UTF, UCP, MULTILINE) appended to out; nothing when the step has none. */
pare_status pare_pre_step_pcre(const pare_pre_step *step, pare_buf *out, pare_error *err);

/* The printable alphabet of byte-level BPE: the code point of each byte, and back (-1: none). openai/gpt-2, encoder.py
 */
uint32_t pare_byte_alphabet(uint8_t byte);
int pare_byte_of_alphabet(uint32_t cp);

#endif
