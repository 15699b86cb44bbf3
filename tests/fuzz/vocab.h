/* What the targets of tokenizers do with a vocabulary that was accepted. */
#ifndef PARE_TESTS_FUZZ_VOCAB_H
#define PARE_TESTS_FUZZ_VOCAB_H

#include "model/vocab.h"

/* A text with bytes, digits, a special token and no UTF-8 goes through v's tokenizer and back. */
void fuzz_use_vocab(const pare_vocab *v);

#endif
