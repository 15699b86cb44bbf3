/* recipe/refine.h - tensors of a quantized model encoded ahead of the writer, with error feedback
 *
 * Tensors with the same inputs share what is prepared of their second-order statistics (quant/form.h), so they are
 * encoded one after the other whatever their places in the file are; their bytes wait in a state file (recipe/state.h),
 * from which a later run goes on if this one does not finish. */
#ifndef PARE_RECIPE_REFINE_H
#define PARE_RECIPE_REFINE_H

#include "model/prefix.h"
#include "recipe/recipe.h"
#include "recipe/state.h"

typedef struct pare_refine_report {
    uint32_t n_tensors;            /* encoded with feedback */
    uint32_t n_resumed;            /* of these, by an earlier run */
    uint32_t n_aimed;              /* of these, at what their inputs became */
    uint32_t n_without;            /* could have been, but for their statistics */
    char without[PARE_ERROR_TEXT]; /* why, of the first of these; "": there is none */
    double mean_ratio; /* geometric mean over the tensors of what feedback left of the error; NAN without any */
} pare_refine_report;

/* How far it is. Told before each tensor, now and then while it is encoded, and at the end with done == n. */
typedef struct pare_refine_progress {
    uint32_t done, n;   /* tensors */
    const char *tensor; /* in hand; "" at the end */
    bool begins;        /* nothing of it was done yet */
    double part;        /* of the work of this run, 0 to 1 */
} pare_refine_progress;
typedef void (*pare_refine_fn)(const pare_refine_progress *progress, void *user);

typedef struct pare_refine_settings {
    const char *output;  /* the file that out will be: the state lies beside it */
    const char *about;   /* lines that say what the bytes depend on besides weights and statistics: the program's
                            version, its options; NULL: nothing */
    bool resume;         /* go on with a state that lies there; else it is replaced */
    bool quiet;          /* tensors whose statistics do not serve are in the report, and no warning names them */
    pare_prefix *prefix; /* matrices aim at what the ones before them leave of their inputs; NULL: at their weights */
    bool (*wants)(const pare_tensor *t, void *user); /* t of out is to be encoded; others stay as they were, unless the
                                                        state has them; NULL: all are */
    pare_refine_fn each;                             /* NULL: nobody is told */
    void *user;
} pare_refine_settings;

/* Encode the tensors of out, made by pare_quantize with options, that have second-order statistics and a type that
 * takes feedback. state: zeroed; it must outlive out, is to be dropped once out is written, and closed in any case.
 * What cannot be done for a tensor is a warning that names it, and the tensor stays as it was: too few tokens for its
 * number of columns, products that have no factor. Without such statistics nothing is done. Errors: PARE_ERR_IO (no
 * room for state and model), PARE_ERR_NUMBER (a product that is not finite), PARE_ERR_MEMORY, those of pare_state_open,
 * pare_state_take, of reading and encoding, PARE_ERR_INTERRUPTED */
pare_status pare_refine(pare_model *out, const pare_quantize_options *options, pare_plan *plan,
                        const pare_refine_settings *settings, pare_state *state, pare_refine_report *report,
                        pare_error *err);

#endif
