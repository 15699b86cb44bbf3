/* recipe/nvfp4_factors.h - which matrices of a model get a factor when they become NVFP4, and which share one */
#ifndef PARE_RECIPE_NVFP4_FACTORS_H
#define PARE_RECIPE_NVFP4_FACTORS_H

#include "model/factor.h"

/* of[i] [in->n_tensors, zeroed]: the factors of tensor i, in out's arena, where wanted[i] and stock's runtime
 * multiplies by them (model/stock.h); else NULL. Nothing is read yet. Whoever closes out destroys their locks. Errors:
 * PARE_ERR_MEMORY. */
pare_status pare_nvfp4_factors(pare_model *out, const pare_model *in, const bool *wanted, pare_factor **of,
                               pare_error *err);

#endif
