/* quant/unit_book.h - the choices that a codebook type has for a unit of 8 weights, in the order of their search
 *
 * An entry is 8 weights with 3 levels, or 4 weights with 8 levels, two entries a unit. Entries stand by their heads, so
 * that those with the same head share what it costs:
 *
 *     8 weights   head: weights 0..3, base 3, the first one highest      tail: weights 4..7, the same
 *     4 weights   head: weights 0 and 1, base 8                          tail: weights 2 and 3 */
#ifndef PARE_QUANT_UNIT_BOOK_H
#define PARE_QUANT_UNIT_BOOK_H

#include "quant/grid_search.h"

enum { PARE_UNIT_ENTRIES = 2048, PARE_UNIT_HEADS = 81, PARE_UNIT_LEVELS = 8, PARE_UNIT_PATTERNS = 81 * 81 };

typedef struct pare_unit_book {
    int entry_len, n_levels, n_heads;
    bool even;                           /* the number of minus signs in a unit is even */
    float shift;                         /* added to a unit's levels, or taken away; 0: levels have signs instead */
    bool one_shift;                      /* several units have the same */
    float level[PARE_UNIT_LEVELS];       /* [n_levels] ascending, without signs or shift */
    uint16_t first[PARE_UNIT_HEADS + 1]; /* entries first[h] .. first[h + 1] - 1 have head h */
    uint8_t tail[PARE_UNIT_ENTRIES];     /* of each entry, in this order, which is not the grid's */
    float value[PARE_UNIT_ENTRIES * 8];  /* [n_entries, entry_len] levels */
    uint16_t number[PARE_UNIT_PATTERNS]; /* [n_heads, n_heads] the grid's number for a head with a tail */
} pare_unit_book;

/* The shape of a type that is coded by units; NULL: the type is not. */
const pare_grid_shape *pare_unit_shape(pare_type type);

void pare_unit_book_init(pare_unit_book *book, const pare_grid_shape *shape);

/* The grid's number of the entry with these levels. */
unsigned pare_unit_book_find(const pare_unit_book *book, const float *levels);

#endif
