/* quant/grid_search.h - grid entries, signs and scales of super-blocks of 256 weights: the search behind IQ2_XXS,
 * IQ2_XS, IQ2_S, IQ3_XXS and IQ3_S
 *
 * Entries and signs are the best there are for the scales; the scales of the blocks the best for d; d itself is
 * searched. Method, sources and measurements: docs/methods/IQ_SEARCH.md. */
#ifndef PARE_QUANT_GRID_SEARCH_H
#define PARE_QUANT_GRID_SEARCH_H

#include "quant/grid_hull.h"
#include "quant/types.h"

#include <stddef.h>

enum {
    PARE_GRID_LEN = 256, /* weights of a super-block */
    PARE_GRID_CELLS = PARE_GRID_LEN / PARE_GRID_CELL,
    PARE_GRID_BLOCKS = 16 /* at most */
};

/* One super-block: weight = d * (2 scale + 1) * unit * level, negative where the sign bit is set. Of shapes with a
 * shift weight = d * (2 scale + 1) * (level + shift), less the shift in cells whose signs are all set; the others have
 * none. */
typedef struct pare_grid_fit {
    uint16_t d; /* binary16 */
    uint8_t scale[PARE_GRID_BLOCKS];
    uint16_t entry[PARE_GRID_CELLS][2]; /* the second one when an entry is 4 weights */
    uint8_t signs[PARE_GRID_CELLS];     /* bit j: weight j of the cell is negative */
    double error;                       /* weighted sum of squares that this leaves */
} pare_grid_fit;

/* What a type can hold. */
typedef struct pare_grid_shape {
    int n_blocks;             /* 8 or 16, each with a scale */
    int entry_len, n_entries; /* as in pare_grid_book */
    unsigned (*grid)(unsigned index);
    int (*level)(unsigned entry, int j);
    pare_grid_book *book; /* zeros until the first use; NULL: of a shape with a shift, which has a search of its own */
    bool even;            /* the number of minus signs in a cell is even */
    float unit;
    float shift;    /* 0: levels are magnitudes, and a cell has signs */
    bool one_shift; /* all cells of a block have the same */
    size_t block_bytes;
    void (*pack)(const pare_grid_fit *fit, void *block);
    void (*unpack)(const void *block, pare_grid_fit *fit); /* its inverse; error: 0 */
} pare_grid_shape;

/* Search one super-block. x: PARE_GRID_LEN weights, finite, below 2^31 in magnitude. w: > 0, how much the square of an
 * error counts. book: of the shape's grid. */
void pare_grid_search(const pare_grid_shape *shape, const pare_grid_book *book, const float *x, const float *w,
                      pare_effort effort, pare_grid_fit *fit);

/* Encode one row; the contract of pare_encode_fn. A super-block whose scale does not fit a binary16 gets an
 * infinite one. */
void pare_grid_encode(const pare_grid_shape *shape, const float *src, size_t row_len, const float *weight,
                      pare_effort effort, void *dst);

#endif
