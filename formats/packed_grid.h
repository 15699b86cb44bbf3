/* formats/packed_grid.h - an ordinary tensor of weights that are stored as integers times scales
 *
 *     weight[r][c] = code[r][c] * scale[r][group of c]        code: the zero point is subtracted already
 *
 * Formats differ in where code and scale lie, and say so by two functions. The tensor is read in the block type that
 * holds both without rounding (quant/int_block.h) where the scales are binary16 numbers and groups do not cut blocks,
 * else in F32, where the product of a scale of up to 16 significant bits and a code of up to 8 is exact too. */
#ifndef PARE_FORMATS_PACKED_GRID_H
#define PARE_FORMATS_PACKED_GRID_H

#include "formats/packed.h"

enum { PARE_GRID_PARTS = 4 };

typedef struct pare_grid {
    uint64_t n_rows, row_len; /* the shape of the weight */
    uint64_t group;           /* columns of a group, divides row_len */
    const uint32_t *group_of; /* [row_len] the group of each column, below row_len / group; NULL: column / group */
    int low, high;            /* bounds of the codes */

    /* Write the row_len codes, and the row_len / group scales, of row r. Reentrant. */
    void (*codes)(const struct pare_grid *g, uint64_t row, int16_t *dst);
    void (*scales)(const struct pare_grid *g, uint64_t row, float *dst);

    /* For these two; they mean what the format says. Parts lie in mapped files: data is set. */
    pare_tensor part[PARE_GRID_PARTS];
    int bits, zero;
    bool by_rows;
} pare_grid;

/* Complete *out, whose name, file and offset are set: a matrix that g describes. g is copied to the arena. scales:
 * where all of g's scales stand, to find out whether they are binary16 numbers. Errors: PARE_ERR_RANGE (a shape that
 * overflows), PARE_ERR_MEMORY; reading gives PARE_ERR_MEMORY. */
pare_status pare_grid_tensor(pare_arena *arena, const pare_grid *g, const pare_tensor *scales, pare_tensor *out,
                             pare_error *err);

static inline uint64_t pare_grid_group(const pare_grid *g, uint64_t column)
{
    return g->group_of != NULL ? g->group_of[column] : column / g->group;
}

/* Take g->group_of from t, I32 [row_len]; it stays NULL where t says what is so without it. even: each group must have
 * g->group columns. Errors: PARE_ERR_RANGE (another shape or type, a group that there is not), PARE_ERR_MEMORY. */
pare_status pare_grid_order(const pare_packed *p, const pare_tensor *t, bool even, pare_grid *g, pare_error *err);

/* Element i, a float, of a tensor in F32, F16 or BF16 whose data is set. */
float pare_grid_float(const pare_tensor *t, uint64_t i);

/* Number i of the stream of b-bit numbers, b up to 8, in the little-endian 32-bit words at data, `step` words apart:
 * the first in the lowest bits, and on from word to word. */
unsigned pare_grid_number(const uint8_t *data, uint64_t step, unsigned b, uint64_t i);

#endif
