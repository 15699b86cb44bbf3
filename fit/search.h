/* fit/search.h - the types of a model's tensors that make the least divergence in a file of so many bytes
 *
 * Each tensor is encoded in every type that it may have, once, with feedback (recipe/refine.h), into a folder that
 * stays; single swaps, run from their layer to the end of the model, say what a tensor's errors cost in divergence
 * (fit/sensitivity.h); a knapsack over tensors and types finds the plan (fit/allocate.h), which is then run as a whole,
 * corrected, and improved by swaps that the real divergence of the whole decides. Another budget reuses encodings and
 * measurements. docs/methods/ALLOCATION.md
 *
 *     pare_fit_open      checks
 *     pare_fit_measure   encodes and measures (long; goes on where an earlier run broke off)
 *     pare_fit_solve     once a budget
 *     pare_fit_make      the model that is to be written: pare_gguf_write, of exactly result.bytes */
#ifndef PARE_FIT_SEARCH_H
#define PARE_FIT_SEARCH_H

#include "eval/backend.h"
#include "fit/slowness.h"
#include "recipe/recipe.h"

typedef struct pare_fit pare_fit;

/* What is in hand. */
typedef enum pare_fit_stage {
    PARE_FIT_ENCODE, /* part of the tensors in their types */
    PARE_FIT_SWAPS,  /* part of the single swaps */
    PARE_FIT_SEARCH  /* whole plans: kld is the best so far, part that of the time */
} pare_fit_stage;

typedef struct pare_fit_progress {
    pare_fit_stage stage;
    double part;      /* 0 to 1 of this stage */
    const char *what; /* a tensor, a type or "" */
    double kld;       /* NAN until PARE_FIT_SEARCH */
} pare_fit_progress;
typedef void (*pare_fit_fn)(const pare_fit_progress *progress, void *user);

/* *yes: may a plan of these types be chosen? types [n_tensors], in the order of the source's tensors, of those without
 * a choice too. Asked about plans that were not run, some dozens of times a budget. An error ends the search. */
typedef pare_status (*pare_fit_accept_fn)(const pare_type *types, bool *yes, void *user, pare_error *err);

/* Everything borrowed, and to outlive the fit. Zero is the default of every field that says none. */
typedef struct pare_fit_options {
    const pare_model *model;
    const pare_imatrix *imatrix; /* with second-order statistics, or NULL: then types that need importances are out */
    bool allow_requantize;       /* sources that are quantized already */
    bool imatrix_later; /* there will be one of all tensors: for pare_fit_range, some hundred bytes less than with what
                           the file then says of it, and pare_fit_smallest; nothing else may be asked */
    pare_backend *backend;
    const int32_t *ids; /* [n_ids] calibration text: other than what the result is judged by */
    size_t n_ids;
    int64_t bos;             /* as in pare_measure */
    uint32_t n_ctx;          /* 0: 512 */
    uint32_t n_windows;      /* that whole plans are run on: at most so many, spread over the text; 0: 32 */
    uint32_t n_swap_windows; /* of these, that single swaps are run on; 0: 12 */
    uint32_t n_last_windows; /* that the plan which comes out is run on, these and more; 0: 64 */
    const char *folder;  /* for encodings and measurements, made if it is not there. They stay, and are used again if
                            version, model, statistics, text and windows are the same, else made anew */
    const char *version; /* of the program: part of what the folder is for */

    const pare_type *types; /* [n_types] that may be chosen; NULL: all blocks that stock llama.cpp loads, but for those
                               of models trained to them (TQ1_0, TQ2_0, Q1_0, Q2_0) */
    size_t n_types;
    double min_bits;                /* none of fewer bits a weight; 0: any */
    pare_fit_target prefer_fast;    /* leave out types slow on it: fit/slowness.h; PARE_FIT_ANYWHERE: none is */
    const pare_type_override *keep; /* [n_keep] tensors and their types, first match wins, whatever the above say */
    size_t n_keep;
    const pare_meta_edit *edits; /* [n_edits] of the file's metadata: they count in its bytes */
    size_t n_edits;
    pare_effort effort;      /* of the encoders */
    uint64_t sample_weights; /* matrices of more than four times as many are encoded in all types on so many weights'
                                rows only, and as a whole where they are run; 0: 2^20; UINT64_MAX: none. With such
                                matrices by_swaps is out of single swaps alone until a plan was run */
    bool no_refit;           /* leave the first norm's gains (recipe/refit.h) */
    uint32_t n_rounds;       /* of swaps around the plan, each followed by another plan; 0: none */
    double seconds; /* no further round once a budget has taken so long; 0: no limit. Nothing else looks at a clock */

    pare_fit_accept_fn accept; /* NULL: every plan within its budget may be chosen. Else a budget is what its file takes
                                * at most, and result->budget how much of it was found to be accepted */
    pare_fit_fn each;          /* NULL: nobody is told. Called from the caller's thread, as is accept */
    void *user;                /* of both */
} pare_fit_options;

/* Of the source's tensor at the same place. */
typedef struct pare_fit_row {
    const char *name;
    pare_type type; /* chosen; the source's (or F32) where there is nothing to choose */
    uint64_t bytes; /* in the file, with what lies between tensors */
    double kld;     /* what the model of single swaps says that it adds to the divergence; 0 where nothing is chosen */
    bool chosen, kept; /* there was a choice; a pattern of `keep` decided */
} pare_fit_row;

typedef struct pare_fit_result {
    uint64_t budget, bytes;   /* of the file */
    double bits;              /* a weight: 8 bytes / weights */
    double predicted;         /* mean divergence of the whole in nat a token, by running the plan on n_windows */
    double error;             /* standard error of it, as text of this kind differs; 0: there was one window */
    uint32_t n_windows;       /* of the text */
    double by_swaps;          /* the same before it was run, out of single swaps and the plans run until then */
    double spread;            /* how far such figures are off: fit/whole.h; NAN: nobody knows */
    double bound;             /* no plan is expected below that, out of single swaps */
    double start, end;        /* by running on the windows of plans: before swaps around the plan, and after */
    uint32_t n_runs, n_swaps; /* whole or partial runs; swaps that were taken */
    pare_fit_row *rows;       /* [n_rows] owned: pare_fit_result_close */
    size_t n_rows;
} pare_fit_result;

/* Errors: PARE_ERR_USAGE  a text of less than two windows; a pattern as in pare_quantize; no type left for a tensor
 *         PARE_ERR_UNSUPPORTED  an architecture that cannot be run; a source that is quantized already
 *         PARE_ERR_RANGE  statistics of another model
 *         PARE_ERR_MEMORY */
pare_status pare_fit_open(pare_fit **out, const pare_fit_options *options, pare_error *err);
void pare_fit_close(pare_fit *f); /* NULL is allowed */

/* Bytes of the smallest and of the largest file that the types allow. */
void pare_fit_range(const pare_fit *f, uint64_t *least, uint64_t *most);

/* The types of a smallest file, as pare_fit_accept_fn has them, to ask about before anything is measured. */
void pare_fit_smallest(const pare_fit *f, pare_type *types);

/* Errors: PARE_ERR_IO (no room in the folder, another process has it), those of encoding and of passes,
 * PARE_ERR_INTERRUPTED: what is done so far stays in the folder */
pare_status pare_fit_measure(pare_fit *f, pare_error *err);

/* The plan of least divergence that was found for a file of at most budget bytes. Measures first, unless that is done.
 * Errors: PARE_ERR_DIFFERENCE (the smallest file is larger: result->bytes has it, the message too; or not
 * accepted), those above */
pare_status pare_fit_solve(pare_fit *f, uint64_t budget, pare_fit_result *result, pare_error *err);
void pare_fit_result_close(pare_fit_result *r); /* zeroed is closed */

/* What single swaps say of the best plan for a budget, without a run of it: for a table over many budgets. *kld as
 * result.predicted, *bytes as result.bytes. Errors: those of pare_fit_solve */
pare_status pare_fit_estimate(pare_fit *f, uint64_t budget, double *kld, uint64_t *bytes, pare_error *err);

/* The mean divergence of any such plan on the windows of the text, run as a whole: types [n_tensors], in the order of
 * the source's tensors, each among the choices of the tensor. For presets to compare with, what a user wrote.
 * Errors: PARE_ERR_USAGE (a type that the tensor has not), those of passes */
pare_status pare_fit_try(pare_fit *f, const pare_type *types, double *kld, uint64_t *bytes, pare_error *err);

/* out: the model that r plans, or, where the caller has changed types of its rows, that they plan, all of it encoded;
 * to be closed before f is asked for anything else. plan as pare_quantize makes it. Errors: PARE_ERR_MEMORY, those of
 * pare_quantize and pare_refit
 */
pare_status pare_fit_make(pare_fit *f, const pare_fit_result *r, pare_model *out, pare_plan *plan, pare_error *err);

/* The same model with nothing encoded yet and the norms as they are, for an encoder of the caller's own; then what that
 * one left gets the bytes of pare_fit_make. Errors: those of pare_fit_make */
pare_status pare_fit_derive(pare_fit *f, const pare_fit_result *r, pare_model *out, pare_plan *plan, pare_error *err);
pare_status pare_fit_fill(pare_fit *f, const pare_fit_result *r, pare_model *out, pare_plan *plan, pare_error *err);

#endif
