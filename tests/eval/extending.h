/* extending.h - a forward pass over a cache gives what the same tokens at once do */
#ifndef PARE_TESTS_EXTENDING_H
#define PARE_TESTS_EXTENDING_H

#include "model/model.h"

/* Extend n_seq sequences of `len` tokens each in pieces of different sizes, several at once, and one of them from a
 * copy of another's start; every piece's last logits are those of running the sequences whole. ids: [n_seq, len] */
void check_extending(const pare_model *m, const int32_t *ids, uint32_t n_seq, uint32_t len);

#endif
