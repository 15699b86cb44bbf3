/* tests/eval/toy.h - random numbers and small models in memory for the evaluator's tests */
#ifndef PARE_TESTS_EVAL_TOY_H
#define PARE_TESTS_EVAL_TOY_H

#include "eval/backend.h"

/* The next of a fixed sequence in [-1, 1). */
float toy_random(uint64_t *state);
float *toy_array(uint64_t *state, size_t n, float scale); /* owned by the caller */

/* A tensor over values that the caller keeps: F32, [n_rows, row_len]; n_rows 0: a vector. */
pare_tensor toy_tensor(const char *name, const float *values, uint64_t n_rows, uint64_t row_len);

/* Add a tensor of random values to a model; its values live in the model's arena. base is added to each value. */
void toy_add(pare_model *m, uint64_t *state, const char *name, uint64_t n_rows, uint64_t row_len, float scale,
             float base);
/* The same of three dimensions, [n_matrices, n_rows, row_len]. */
void toy_add_stack(pare_model *m, uint64_t *state, const char *name, uint64_t n_matrices, uint64_t n_rows,
                   uint64_t row_len, float scale);
/* The values of a tensor made by toy_add; NULL when the model has none of that name. */
float *toy_values(const pare_model *m, const char *name);

/* A llama of two layers with random weights, trained for 64 tokens; noise shifts every weight of the FFN, for a model
 * to compare with. */
void toy_llama(pare_model *m, uint32_t n_vocab, float noise);
/* The same with other heads. */
void toy_llama_of(pare_model *m, uint32_t n_vocab, float noise, uint32_t n_head, uint32_t n_head_kv, uint32_t dim);

/* A mixture of one layer whose attention adds nothing, so that its experts see the normalised embeddings: rows of 16
 * weights, of 24 in the experts' down, 20 tokens. */
enum { TOY_EXPERTS = 6, TOY_USED = 2 };
void toy_mixture(pare_model *m);

/* Make a CPU backend one whose memory is not the host's, as that of a device is. What is downloaded from it is counted
 * in bytes. */
void toy_pretend_device(pare_backend *b);
extern size_t toy_downloaded;

#endif
