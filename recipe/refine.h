/* recipe/refine.h - tensors of a quantized model encoded ahead of the writer, with error feedback
 *
 * Tensors with the same inputs share what is prepared of their second-order statistics (quant/form.h), so they are
 * encoded one after the other whatever their places in the file are; their bytes wait in a state file (recipe/state.h),
 * from which a later run goes on if this one does not finish. Several models of the same statistics can be encoded at
 * once: then what was prepared serves all of them. */
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
    bool lenient;        /* with resume: a state that is damaged or of another run is replaced, too, and a tensor that
                            was encoded from something else is encoded again; else these are errors */
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

/* One of several models: what pare_refine takes. */
typedef struct pare_refine_job {
    pare_model *out;
    const pare_quantize_options *options; /* the imatrix is that of all jobs */
    pare_plan *plan;
    const pare_refine_settings *settings; /* without prefix; progress is that of all jobs together, told to the one that
                                             has the tensor in hand, and at the end to the first */
    pare_state *state;                    /* zeroed */
    pare_refine_report report;            /* filled */
} pare_refine_job;

/* The same for several models, with the same bytes: for each of the statistics, and each unit that rounding goes by,
 * one form is prepared and all tensors of all jobs that take it are encoded; no more than one form exists at a time.
 * Where experts have products of their own, an expert of all these tensors at a time, so that none of them is complete
 * before the last expert. On an error some states may not be open; all are to be closed. Errors: as above */
pare_status pare_refine_together(pare_refine_job *jobs, size_t n, pare_error *err);

#endif
