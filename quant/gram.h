/* quant/gram.h - second-order statistics: how the inputs of weight matrices went together on some text
 *
 *     H[i][j] = sum over tokens of x_i x_j
 *
 * for the inputs x of a matrix: with it an error D in the weights changes the product by tr(D H D^T) in all. Matrices
 * that multiply the same inputs (q, k and v; gate and up) share one H; the experts of a tensor have one each, over
 * their own tokens, or share one over the tokens of all of them. Method: docs/methods/FEEDBACK.md, files:
 * docs/formats/IMATRIX.md. */
#ifndef PARE_QUANT_GRAM_H
#define PARE_QUANT_GRAM_H

#include "core/text.h"

typedef struct pare_gram {
    const char *name;     /* of the first matrix with these inputs, as in GGUF */
    uint64_t n_columns;   /* n */
    double count;         /* tokens, of all experts: a whole number > 0 */
    uint64_t n_experts;   /* that have an H of their own; 0, 1: one H for all tokens */
    const uint8_t *lower; /* [n_experts, n (n + 1) / 2] F32, little endian: the rows of each H up to its diagonal */
    uint8_t *own;         /* the same where it lies in the arena and can be added to, else NULL */
} pare_gram;

/* Zeroed is empty. Names and what it allocates live in the arena; `lower` may lie elsewhere. */
typedef struct pare_grams {
    pare_gram *list;
    size_t n, cap;
    pare_index by_matrix; /* name of a matrix -> index into list */
    const char **matrix;  /* [n_matrices] the names that by_matrix knows, in the order of pare_grams_link */
    size_t n_matrices, cap_matrices;
    pare_arena arena;
} pare_grams;

void pare_grams_close(pare_grams *g);

/* Bytes of a triangle of n columns; false on overflow. */
bool pare_gram_bytes(uint64_t n_columns, uint64_t *out);
bool pare_gram_all_bytes(const pare_gram *g, uint64_t *out); /* of those of all experts */

/* Add statistics of n_columns inputs, for the matrix `name` and those that are linked to it; lower: the triangle, which
 * must outlive g, or NULL for zeros in g's arena, which *zeros then points to.
 * Errors: PARE_ERR_FORMAT (the matrix has some already), PARE_ERR_MEMORY */
pare_status pare_grams_add(pare_grams *g, const char *name, uint64_t n_columns, double count, const uint8_t *lower,
                           uint8_t **zeros, pare_error *err);

/* The same with a triangle for each expert, one behind the other. */
pare_status pare_grams_add_experts(pare_grams *g, const char *name, uint64_t n_columns, uint64_t n_experts,
                                   double count, const uint8_t *lower, uint8_t **zeros, pare_error *err);

/* The matrix multiplies the same inputs as `like`. Errors: PARE_ERR_FORMAT (like has none; the matrix has some
 * already), PARE_ERR_MEMORY */
pare_status pare_grams_link(pare_grams *g, const char *matrix, const char *like, pare_error *err);

const pare_gram *pare_grams_find(const pare_grams *g, const char *matrix); /* NULL: absent */

/* Add src to g: those of the same matrices add up; when either is of other matrices, nothing is left of both, and *kept
 * is false. An empty g takes all over. Errors: PARE_ERR_RANGE (another number of columns), PARE_ERR_MEMORY */
pare_status pare_grams_merge(pare_grams *g, const pare_grams *src, bool *kept, pare_error *err);

#endif
