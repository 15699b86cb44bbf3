/* recipe/awq.h - scales of input channels before they are rounded to integer groups: AWQ's search
 *
 * For each pair of a fold (recipe/fold.h) the scales, of 20 powers of the inputs' sizes in two forms, whose rounded
 * weights change the products least, exactly tr(D H D^T) over the matrices together. Method: docs/methods/AWQ.md. */
#ifndef PARE_RECIPE_AWQ_H
#define PARE_RECIPE_AWQ_H

#include "model/imatrix.h"
#include "quant/group_fit.h"
#include "recipe/fold.h"

typedef struct pare_awq_report {
    uint32_t n_pairs, n_scaled; /* that were looked at, and that are scaled */
    double mean_ratio;          /* what the scales left of the error, a geometric mean; NAN: of nothing */
} pare_awq_report;

/* Called before each pair, and at the end with done == n. */
typedef void (*pare_awq_fn)(uint32_t done, uint32_t n, const char *tensor, void *user);

typedef struct pare_awq_settings {
    pare_group_shape shape;
    uint64_t group;                                   /* columns that share a scale: a multiple of 16 */
    const pare_imatrix *imatrix;                      /* with second-order statistics, of m */
    bool (*fits)(const pare_tensor *t, void *format); /* whether the format packs such a matrix */
    void *format;
    pare_awq_fn each; /* NULL: nobody is told */
    void *user;
} pare_awq_settings;

/* Search the scales of f, which was found for m. A pair whose matrices the format does not pack, or without statistics
 * of all its matrices together (of experts: of each by itself), keeps 1. Errors: PARE_ERR_NUMBER (a product that is not
 * finite, a weight), those of reading m, PARE_ERR_MEMORY, PARE_ERR_INTERRUPTED */
pare_status pare_awq_search(pare_fold *f, const pare_model *m, const pare_awq_settings *settings,
                            pare_awq_report *report, pare_error *err);

/* Mean products of the inputs [first, first + n) of g, divided by what the inputs are divided by (scale: [columns], or
 * NULL), as panels (quant/output_error.h). Errors: PARE_ERR_NUMBER (not finite) */
pare_status pare_awq_panels(const pare_gram *g, const float *scale, uint64_t first, uint64_t n, const char *path,
                            float *panels, pare_error *err);

#endif
