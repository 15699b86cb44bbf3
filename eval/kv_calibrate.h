/* eval/kv_calibrate.h - bases of calibrated codecs (quant/kv_basis.h) for a model, out of a text
 *
 * Of each key/value head, over all tokens of the windows but the first PARE_KV_CALIBRATION_SKIP of each, whose keys and
 * values are unlike the others' (arXiv 2309.17453) and would be most of the variance: mean and covariance of keys
 * before RoPE and of values. And what errors cost, with p the softmax's weights:
 *
 *     keys    M = sum over queries q at t and keys at s of p (1 - p) R(s)^T q q^T R(s): an error e in the key at s
 *             changes the score by q . R(s) e, and the softmax by p (1 - p) of it. Every 16th query, and of its keys 8
 *             drawn by p (1 - p)
 *     values  M = sum over query heads h that read it of E [sum over s of p^2] O_h^T O_h, O_h: the columns of the
 *             attention output for h */
#ifndef PARE_EVAL_KV_CALIBRATE_H
#define PARE_EVAL_KV_CALIBRATE_H

#include "eval/kv.h"
#include "eval/kv_pass.h"
#include "quant/kv_basis.h"

enum { PARE_KV_CALIBRATION_SKIP = 4 };

typedef struct pare_kv_calibration pare_kv_calibration;

/* Run the windows of t. t->m must outlive it. Errors: PARE_ERR_UNSUPPORTED (latent attention; attention that looks both
 * ways), PARE_ERR_MEMORY, those of pare_kv_pass */
pare_status pare_kv_calibrate(pare_kv_calibration **out, const pare_kv_text *t, pare_error *err);
void pare_kv_calibration_close(pare_kv_calibration *c); /* NULL is allowed */

/* Give form, whose k and v are set, the codecs of layers with their bases where k or v is calibrated; they are c's, and
 * made once for each codec. Errors: PARE_ERR_USAGE (a head size that the codec cannot take), those of
 * pare_kv_basis_make */
pare_status pare_kv_calibration_apply(pare_kv_calibration *c, pare_kv_form *form, pare_error *err);

/* What was summed up for a key/value head of a layer; NULL: the layer has no keys and values of its own. Valid while c
 * is.
 */
const pare_kv_moments *pare_kv_calibration_moments(const pare_kv_calibration *c, pare_kv_side which, uint32_t layer,
                                                   uint32_t head);

/* Does a side of form want one? */
bool pare_kv_wants_calibration(const pare_kv_form *form);

#endif
