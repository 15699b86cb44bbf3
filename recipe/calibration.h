/* recipe/calibration.h - calibration statistics meet a model: which tensor has which importances
 *
 * Rules, and what is done with them: docs/methods/IMPORTANCE.md. */
#ifndef PARE_RECIPE_CALIBRATION_H
#define PARE_RECIPE_CALIBRATION_H

#include "model/imatrix.h"
#include "model/model.h"

/* Are these statistics of this model? Warns of entries that name no tensor, of columns and experts that saw nothing.
 * Errors: PARE_ERR_RANGE (an entry does not fit its tensor; no entry names a tensor; they were made with other weights,
 * where they say with which), those of reading weights, those of warnings in strict mode.
 */
pare_status pare_calibration_check(const pare_imatrix *im, const pare_model *m, pare_error *err);

/* The entry of t in t's own shape, a copy that borrows im's arrays. False: there is none, or it saw nothing. im was
 * checked against t's model. */
bool pare_calibration_find(const pare_imatrix *im, const pare_tensor *t, pare_imatrix_entry *out);

/* Why the statistics g of im do not serve: why, or NULL: of too few tokens. Returns dst. */
char *pare_calibration_why_without(char *dst, size_t size, const pare_imatrix *im, const pare_gram *g, const char *why);

/* Warn that n > 0 tensors, all that share the statistics g of im, are `done` ("encoded") without feedback. why: a
 * sentence that names file and tensor, as errors do; NULL: g is of too few tokens. Errors: that of warnings in strict
 * mode */
pare_status pare_calibration_warn_without(const pare_imatrix *im, const pare_gram *g, const char *why, uint32_t n,
                                          const char *done, pare_error *err);

#endif
