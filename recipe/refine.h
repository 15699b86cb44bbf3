/* recipe/refine.h - tensors of a quantized model encoded ahead of the writer, with error feedback
 *
 * Tensors with the same inputs share what is prepared of their second-order statistics (quant/form.h), so they are
 * encoded one after the other whatever their places in the file are; their bytes wait in a spool. */
#ifndef PARE_RECIPE_REFINE_H
#define PARE_RECIPE_REFINE_H

#include "core/spool.h"
#include "recipe/recipe.h"

typedef struct pare_refine_report {
    uint32_t n_tensors; /* encoded with feedback */
    uint32_t n_without; /* could have been, but for their statistics */
    double mean_ratio;  /* geometric mean over the tensors of what feedback left of the error; NAN without any */
} pare_refine_report;

/* Called before each tensor, and at the end with done == n. */
typedef void (*pare_refine_fn)(uint32_t done, uint32_t n, const char *tensor, void *user);

/* Encode the tensors of out, made by pare_quantize with options, that have second-order statistics and a type that
 * takes feedback. spool: zeroed; it lies beside `beside` (core/spool.h), and must outlive out. What cannot be done for
 * a tensor is a warning that names it, and the tensor stays as it was: too few tokens for its number of columns,
 * products that have no factor. Without such statistics nothing is done. Errors: PARE_ERR_IO (no room for spool and
 * model), PARE_ERR_NUMBER (a product that is not finite), PARE_ERR_MEMORY, those of reading and encoding,
 * PARE_ERR_INTERRUPTED */
pare_status pare_refine(pare_model *out, const pare_quantize_options *options, pare_plan *plan, const char *beside,
                        pare_spool *spool, pare_refine_report *report, pare_refine_fn each, void *user,
                        pare_error *err);

#endif
