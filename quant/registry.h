/* quant/registry.h - encode and decode whole rows of any type */
#ifndef PARE_QUANT_REGISTRY_H
#define PARE_QUANT_REGISTRY_H

#include "quant/types.h"

#include <stddef.h>

/* Encode n_rows rows of row_len weights; row r starts at src + r * row_len.
 *   row_len  weights per row, a multiple of the type's block length
 *   weight   row_len importances >= 0 shared by every row, or NULL when all are equal; all zero counts as NULL
 *   dst      the caller's n_rows * pare_row_bytes(type, row_len) bytes, apart from src
 * Uses the calling thread only. The same input gives the same bytes on any CPU.
 * Errors: PARE_ERR_RANGE        row_len is not a multiple of the block length
 *         PARE_ERR_NUMBER       src holds a NaN or an infinity, or a value whose scale does not fit the type's
 *                               half-precision scale; the message has its column, and its row among
 *                               several; or a weight is negative or not finite
 *         PARE_ERR_UNSUPPORTED  the type has no encoder
 * On error the content of dst is unspecified. */
pare_status pare_encode_rows(pare_type type, const float *src, size_t n_rows, size_t row_len, const float *weight,
                             pare_effort effort, void *dst, pare_error *err);

/* Decode n_rows rows at src (stored one after the other) to n_rows * row_len floats.
 * Errors: PARE_ERR_RANGE (row_len), PARE_ERR_UNSUPPORTED (no decoder). */
pare_status pare_decode_rows(pare_type type, const void *src, size_t n_rows, size_t row_len, float *dst,
                             pare_error *err);

/* Multiply what n_blocks blocks stand for by a factor near 1: their binary16 scales (and mins) are multiplied and
 * rounded again; one that would overflow stays. False, and nothing is changed, when the type has other scales or none.
 */
bool pare_scale_blocks(pare_type type, void *blocks, size_t n_blocks, float factor);

/* Find the first block of n_blocks whose scale fields are not finite (NaN or infinity in F32, F16, BF16 data or in a
 * block's half scales; E8M0 byte 255): its index, or SIZE_MAX when all are finite. */
size_t pare_find_nonfinite_block(pare_type type, const void *src, size_t n_blocks);

#endif
