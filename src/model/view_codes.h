/* model/view_codes.h - matrices that a checkpoint holds as codes of few bits and scales, as ordinary tensors
 *
 *   weight[r][c] = code[r][c] * scale * factor        scale: of the block that r and c are in
 *
 * A block is `block_rows` by `block_cols` weights of one matrix; the last ones may be smaller. Scales are stored block
 * by block, row by row: one for the whole matrix, one a row, one a group of a row, or one a tile. */
#ifndef PARE_MODEL_VIEW_CODES_H
#define PARE_MODEL_VIEW_CODES_H

#include "model/model.h"

typedef enum pare_code_kind {
    PARE_CODE_PLAIN,  /* an element a weight in its own type: FP8, INT8 */
    PARE_CODE_E2M1,   /* floats of 4 bits (quant/minifloat.h), the first of a byte in its low nibble */
    PARE_CODE_TERNARY /* 2 bits that hold a weight plus 1: rows r, r + n, r + 2 n, r + 3 n lie in stored row r of n, the
                         first in the lowest bits */
} pare_code_kind;

typedef struct pare_codes {
    pare_code_kind kind;
    uint32_t n_dims;
    uint64_t dim[3]; /* the matrix, or matrices of one shape one behind the other */
    uint64_t block_rows, block_cols;
    const pare_tensor *code;  /* its rows are those of the weights, but for TERNARY */
    const pare_tensor *scale; /* one a block, in any type that has a decoder; whatever its dimensions */
    bool scale_is_exponent;   /* bytes e that stand for 2^(e - 127) */
    bool divide;              /* by the scale */
    float factor;             /* of all weights; 1 where there is none */
} pare_codes;

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
