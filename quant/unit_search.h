/* quant/unit_search.h - the levels of a unit of 8 weights that cost least under a quadratic form
 *
 * For codebook types: entries of levels, and signs. Sixteen rows at a time are lanes of vectors, and share the form, so
 * that the entries with the same head (quant/unit_book.h) share what that costs.
 *
 * Signs are those of the target; where their number must be even and is not, the one that costs least turns. Under
 * these signs the best entry is found among all; of entries of 4 weights, either half is found among all with the other
 * one given, in turn, from two starts. Then signs turn, as long as that costs less, and entries are searched again.
 * Where entries have their signs in them and a shift beside, the best entry is found for either shift.
 * Method, measurements: docs/methods/FEEDBACK.md. */
#ifndef PARE_QUANT_UNIT_SEARCH_H
#define PARE_QUANT_UNIT_SEARCH_H

#include "quant/form.h"
#include "quant/unit_book.h"

/* target, level: [PARE_FORM_UNIT, 16] of sixteen rows, in levels; level comes with its sign or shift. In: where several
 * units have one shift, the levels as they are, whose shift stays; else of no account. Compiled once a path. */
void pare_unit_search(const pare_unit_book *book, const pare_form_square *square, const float *target, float *level);

#endif
