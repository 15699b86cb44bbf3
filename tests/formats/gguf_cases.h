/* gguf_cases.h - bad and odd GGUF files, one function each; the test of the reader and the fuzzer's seeds share them */
#ifndef PARE_TESTS_GGUF_CASES_H
#define PARE_TESTS_GGUF_CASES_H

#include "core/text.h"

typedef struct gguf_case {
    const char *name;
    void (*build)(pare_buf *b);
    pare_status want; /* PARE_OK with text: a warning that has it, and PARE_ERR_FORMAT under --strict */
    const char *text; /* part of the message */
} gguf_case;

extern const gguf_case gguf_cases[];
extern const size_t n_gguf_cases;

#endif
