/* model/view_codes.h - matrices that a checkpoint holds as codes of few bits and scales, as ordinary tensors
 *
 *   weight[r][c] = code[r][c] * scale * factor        scale: of the block that r and c are in
 *
 * A block is `block_rows` by `block_cols` weights of one matrix; the last ones may be smaller. Scales are stored block
 * by block, row by row: one for the whole matrix, one a row, one a group of a row, or one a tile. */
#ifndef PARE_MODEL_VIEW_CODES_H
#define PARE_MODEL_VIEW_CODES_H

#include "model/model.h"

typedef struct pare_codes {
    uint32_t n_dims;
    uint64_t dim[3]; /* the matrix, or matrices of one shape one behind the other */
    uint64_t block_rows, block_cols;
    const pare_tensor *code;  /* its rows are those of the weights, of a type that has a decoder: FP8, INT8, F4 */
    bool ternary;             /* code holds bytes, each 4 numbers of 2 bits, weights plus 1: rows r, r + n, r + 2 n and
                                 r + 3 n lie in stored row r of n, the first in the lowest bits */
    const pare_tensor *scale; /* one a block, in any type that has a decoder; whatever its dimensions */
    bool scale_is_exponent;   /* bytes e that stand for 2^(e - 127) */
    bool divide;              /* by the scale */
    float factor;             /* of all weights; 1 where there is none */
} pare_codes;

/* t as if stored in type, whose bytes its own are: packed numbers that the container calls bytes.
 * Errors: PARE_ERR_RANGE (a row is no multiple of a block). */
pare_status pare_view_retype(pare_tensor *out, const pare_tensor *t, pare_type type, pare_error *err);

/* Make out the matrix in BF16 where all of its weights are sure to be held by that, else in F32, each rounded once.
 * out->name is how->code's. Scales of F32 are read to find out.
 * Errors: PARE_ERR_RANGE   codes or scales that the matrix cannot have; both shapes are in the message
 *         PARE_ERR_NUMBER  a scale or the factor is not finite (of other types: found when rows are read)
 *         PARE_ERR_UNSUPPORTED, PARE_ERR_MEMORY */
pare_status pare_view_codes(pare_arena *arena, pare_tensor *out, const pare_codes *how, pare_error *err);

/* The blocks of MXFP4 (32 weights share an exponent) or NVFP4 (16 share an E4M3, out->factor is how->factor) that hold
 * the same weights. Returns false when neither does: other codes, other blocks, a row that is no multiple of a block.
 * Where it returns true *st is the status, with the errors above; scales that the blocks lack (NaN, a sign) are
 * PARE_ERR_NUMBER when rows are read. */
bool pare_view_fp4(pare_arena *arena, pare_tensor *out, const pare_codes *how, pare_status *st, pare_error *err);

#endif
