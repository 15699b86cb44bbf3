/* tests/eval/induction.h - a model that finds by construction: what stood behind the same words before, it says again
 * (Olsson et al., In-context Learning and Induction Heads, 2022); scripts/induction_model.py without noise */
#ifndef PARE_TESTS_EVAL_INDUCTION_H
#define PARE_TESTS_EVAL_INDUCTION_H

#include "model/model.h"

/* A llama of two layers of four heads of 64, for contexts of a few hundred tokens. Its memory is the model's. */
void induction_open(pare_model *m, uint32_t n_vocab);

#endif
