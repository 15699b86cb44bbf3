/* quant/int_block.h - blocks that hold integers times one binary16 scale: made from the integers, without any rounding
 *
 * Weights that came packed, as an integer and a scale each, keep both in such a block. */
#ifndef PARE_QUANT_INT_BLOCK_H
#define PARE_QUANT_INT_BLOCK_H

#include "quant/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The smallest block type whose blocks hold every integer low..high times a scale, for rows of row_len weights in which
 * `run` neighbours, counted from the first of the row, share their scale. PARE_TYPE_NONE: there is none. */
pare_type pare_int_block_type(int low, int high, uint64_t row_len, uint64_t run);

/* Weights per block of the longest such type: a run that is a multiple of it serves them all. */
enum { PARE_INT_BLOCK_MAX = 256 };

/* Make one block of a type that pare_int_block_type gave: codes[i] * d, codes within the bounds, d a binary16. */
void pare_int_block_put(pare_type type, const int16_t *codes, uint16_t d, void *block);

/* Whether every block of type `from`, which pare_int_block_type may have given, has an equal of type `to`, which the
 * search of `to` finds: docs/methods/BLOCK32.md, integers come back. Q5_0, which is given for 4-bit codes with zero
 * points, in Q4_1 counts: the codes and the scale are kept, and the offset is a binary16 number near to the product. */
bool pare_int_block_holds(pare_type from, pare_type to);

#endif
