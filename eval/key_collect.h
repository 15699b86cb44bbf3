/* eval/key_collect.h - keys and queries behind RoPE, as a text makes them (model/key_sample.h) */
#ifndef PARE_EVAL_KEY_COLLECT_H
#define PARE_EVAL_KEY_COLLECT_H

#include "eval/backend.h"
#include "eval/windows.h"
#include "model/key_sample.h"
#include "model/model.h"

enum { PARE_KEY_SAMPLE = 512 }; /* keys of a layer that are kept, evenly spread over the windows */

/* Run m over the windows of the text: out [n_layer], zeroed before, to be closed by the caller one by one whatever is
 * returned; layers without keys of their own stay closed. Queries count with the layer whose keys they read.
 * Errors: PARE_ERR_USAGE (a text of no window), PARE_ERR_UNSUPPORTED (latent attention), PARE_ERR_MEMORY, those of a
 * pass */
pare_status pare_key_collect(pare_key_sample *out, const pare_model *m, pare_backend *b, const int32_t *ids, size_t n,
                             int64_t bos, const pare_window_plan *plan, pare_error *err);

#endif
