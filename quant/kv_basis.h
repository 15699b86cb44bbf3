/* quant/kv_basis.h - coordinates of a head of keys or values in which few matter, out of what a text makes of it
 *
 * Of the vectors x of a head: mean m, covariance C, and M such that an error e costs e^T M e. With M = L L^T and L^T C
 * L = U diag(v) U^T, v descending,
 *
 *     y_i = u_i . L^T (x - m) / sqrt(v_i)        x = m + sum over i of y_i sqrt(v_i) L^-T u_i
 *
 * are uncorrelated, of variance 1, and an error d_i in y_i costs v_i d_i^2, whatever the others are (Karhunen-Loeve; of
 * keys and values as KVTC has it, arXiv 2511.01815, there without M). Bits go one by one to the coordinate whose cost
 * they lower most: v_i D(b_i), D(b) the Lloyd-Max error of a normal number, of least sum since D is convex (Shoham and
 * Gersho 1988; Gersho and Gray, Vector Quantization, 8.3).
 *
 * A basis is floats, of one head of dim elements:
 *
 *     | m [dim] | forward [dim, dim]: row i gives y_i | back [dim, dim]: row i is added y_i times |
 *     | bits [dim]: 0 to 10 | cost [dim]: v_i over the largest, 0 without bits | */
#ifndef PARE_QUANT_KV_BASIS_H
#define PARE_QUANT_KV_BASIS_H

#include "quant/kv_codec.h"

/* Of a head, sums over n vectors; all doubles. */
typedef struct pare_kv_moments {
    double *sum;    /* [dim] x */
    double *square; /* [dim, dim] x x^T */
    double *metric; /* [dim, dim] M, symmetric, not negative; all 0: errors cost alike */
    uint64_t n;
    uint32_t dim;
} pare_kv_moments;

/* The basis for a codec of family TRANSFORM that can take dim elements: out [pare_kv_basis_floats(dim)]. What varies
 * less than 1e-12 of what varies most is not coded. Errors: PARE_ERR_NUMBER (sums that are not finite, or no vectors),
 * PARE_ERR_MEMORY */
pare_status pare_kv_basis_make(const pare_kv_moments *of, const pare_kv_codec *c, float *out, pare_error *err);

#endif
