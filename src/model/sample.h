/* model/sample.h - some weights by which a model is known again, whatever it has been encoded as
 *
 * A spread of the token embedding's elements: rows 3, 34, 65, ... and in each eight columns. Encoding in two bits moves
 * them by a third of their size and finetuning by less; those of another model have nothing to do with them. */
#ifndef PARE_MODEL_SAMPLE_H
#define PARE_MODEL_SAMPLE_H

#include "model/model.h"

enum { PARE_SAMPLE_ROWS = 32, PARE_SAMPLE_COLUMNS = 8, PARE_SAMPLE_SIZE = PARE_SAMPLE_ROWS * PARE_SAMPLE_COLUMNS };

/* out [PARE_SAMPLE_SIZE]; *known: false where m has no token embedding, or one with fewer columns than are taken, or
 * whose elements are not finite. Errors: those of reading weights, PARE_ERR_MEMORY */
pare_status pare_model_sample(const pare_model *m, float *out, bool *known, pare_error *err);

/* What two samples differ by, in parts of the larger one's size (root of the sum of squares); 0 when both are zero. */
double pare_sample_difference(const float *a, const float *b);

/* Samples of two models: they differ by more than any encoding or finetuning makes. */
bool pare_sample_differs(const float *a, const float *b);

#endif
