/* recipe/recipe.h - one model derived from another: converted to a float type, or quantized by a plan
 *
 * A derived model's tensors encode when a writer reads them, slice by slice, so nothing is ever held as a whole. */
#ifndef PARE_RECIPE_RECIPE_H
#define PARE_RECIPE_RECIPE_H

#include "model/imatrix.h"
#include "model/model.h"
#include "quant/preset.h"

typedef struct pare_meta_edit pare_meta_edit;

typedef struct pare_type_override {
    const char *pattern; /* PCRE2, searched in the GGUF name */
    pare_type type;
} pare_type_override;

typedef struct pare_quantize_options {
    const pare_preset *preset;           /* or NULL with pure_type set: every quantizable tensor gets pure_type */
    pare_type pure_type;                 /* PARE_TYPE_NONE: by preset */
    pare_type output_type;               /* of output.weight (or tied token_embd); PARE_TYPE_NONE: by preset */
    pare_type embedding_type;            /* of token_embd; PARE_TYPE_NONE: by preset */
    const pare_type_override *overrides; /* first match wins, before the preset and behind the two above */
    size_t n_overrides;
    const char *override_option; /* that gives them, for messages; NULL: --tensor */
    const pare_imatrix *imatrix; /* importances, or NULL; must outlive the derived model */
    pare_effort effort;          /* of the encoders */
    const pare_meta_edit *edits; /* of the metadata: recipe/meta_edit.h */
    size_t n_edits;
    bool allow_requantize; /* sources that are quantized already */
    bool no_factors;       /* NVFP4 without tensors NAME.scale */
    bool allow_nonfinite;  /* leave NaN and infinity checks out; such weights encode as zero */
    bool plan_only;        /* nothing will be encoded: importances that it would need may lack */
    bool measured;         /* the caller has checked the importances and knows what types cost: neither is said again */
} pare_quantize_options;

/* One row a tensor, in the derived model's order. error: relative squared error sum (x-y)^2 / sum x^2, filled while the
 * tensor is encoded; NAN before, 0 when the values are exactly kept. weighted_error: the same with each column times
 * its importance, the expected share of the product that is lost; NAN without importances. */
typedef struct pare_plan_row {
    const char *name;
    pare_type from, wanted, to; /* wanted != to: the block does not divide the row */
    uint64_t bytes;
    double error, weighted_error;
    double feedback; /* what feedback left of the error of the product with the inputs; NAN: it was not used */
    double form;     /* that error itself, sum of e H e^T over the rows (quant/form.h); NAN without it */
    bool lossless;   /* what is decoded rounds to the source's values: to all of them; known with error */
} pare_plan_row;

typedef struct pare_plan {
    pare_plan_row *rows; /* [n] owned by the derived model's arena */
    size_t n;
    uint32_t n_fallback;
    uint32_t n_unweighted; /* tensors of the layers that were quantized without importances although there are some */
    uint32_t n_meanless;   /* tensors with importances whose mean inputs are unknown: in_sum lacks */
    uint32_t n_needing;    /* tensors whose type needs importances that lack: plan_only */
} pare_plan;

/* Make out a quantized derivation of in (which must outlive it). Metadata is copied with general.file_type and
 * general.quantization_version set; with importances also quantize.imatrix.* as stock writes them; then edited.
 * NVFP4 matrices get factors (model/factor.h) in tensors NAME.scale behind them, where stock's runtime multiplies by
 * such, unless the effort is rtn, which means ggml's bytes.
 * A block that does not divide a row is an error where a user's rule asks for the type, and the type's stand-in
 * where the preset or pure_type does.
 * Errors: PARE_ERR_UNSUPPORTED  a type without encoder; no stand-in for a row length
 *         PARE_ERR_USAGE        the source is quantized already; importances needed; a pattern that cannot be compiled
 * or has nothing to decide; a type that a tensor cannot take; metadata that may not be edited PARE_ERR_RANGE
 * importances of another model PARE_ERR_MEMORY */
pare_status pare_quantize(pare_model *out, const pare_model *in, const pare_quantize_options *options, pare_plan *plan,
                          pare_error *err);

/* Make out a derivation of in with weights in `type` (F32, F16, BF16, Q8_0), norms and other 1-D tensors in F32, as
 * stock's converter does; PARE_TYPE_NONE ("auto"): keep the float type of the source. Quantized sources are decoded,
 * except with PARE_TYPE_NONE, which keeps their blocks. */
pare_status pare_convert(pare_model *out, const pare_model *in, pare_type type, pare_plan *plan, pare_error *err);

#endif
