/* recipe/derive.h - what convert and quantize share: a model whose tensors encode another model's when they are read */
#ifndef PARE_RECIPE_DERIVE_H
#define PARE_RECIPE_DERIVE_H

#include "model/factor.h"
#include "quant/form.h"
#include "recipe/aim.h"
#include "recipe/recipe.h"

/* Start out as a derivation of in: metadata copied, vocabulary and hyperparameters taken over, no tensors yet, room for
 * all, each with a factor; plan->rows allocated. */
pare_status pare_derive_start(pare_model *out, const pare_model *in, pare_plan *plan, pare_error *err);

typedef enum pare_derive_flags {
    PARE_DERIVE_CHECK = 1, /* a NaN or an infinity in the source is PARE_ERR_NUMBER */
    PARE_DERIVE_ZERO = 2   /* a NaN or an infinity encodes as zero */
} pare_derive_flags;

/* What becomes of a tensor. */
typedef struct pare_derive_how {
    pare_effort effort;
    bool lookup;          /* a table of embeddings that multiplies nothing */
    pare_type wanted, to; /* as in pare_plan_row */
    unsigned flags;
    const pare_imatrix *imatrix; /* NULL: every column counts alike. Must outlive the derived model */
    pare_factor
        *factor; /* of the source's tensor: its weights are divided by it, and it is the tensor behind,
                  * NAME.scale.         NULL: none. It lives in the derived model's arena and is closed with it */
} pare_derive_how;

/* Add t of the source as type how->to. The next row of the plan describes it. With to == t->type the stored bytes are
 * kept as they are, and their factor with them as the tensor behind; else a factor becomes part of the weights.
 * Errors: PARE_ERR_UNSUPPORTED (no encoder), PARE_ERR_RANGE (row length), PARE_ERR_MEMORY. */
pare_status pare_derive_add(pare_model *out, const pare_tensor *t, const pare_derive_how *how, pare_plan *plan,
                            pare_error *err);

/* Whether the tensor, one of a derived model, can be encoded with feedback (quant/feedback.h). */
bool pare_derive_takes_feedback(const pare_tensor *t);

/* How many rows of the tensor in hand are done. Called from one thread. */
typedef void (*pare_derive_fn)(uint64_t n_rows, void *user);

/* Encode all of such a tensor now, on all threads, with feedback under form, its weights or, unless aim is NULL, what
 * they aim at, to `to` [t->n_bytes], which must outlive
 * the derived model: what is read of the tensor afterwards comes from there. each: NULL, or called now and then.
 * Errors: those of reading the tensor. */
pare_status pare_derive_encode(const pare_tensor *t, const pare_form *form, const pare_aim *aim, int n_sweeps, void *to,
                               pare_derive_fn each, void *user, pare_error *err);

/* The same for one expert's matrix under a form of its own inputs (recipe/expert_gram.h); form NULL: without feedback.
 * The experts in their order; the tensor is done with the last one. */
pare_status pare_derive_encode_expert(const pare_tensor *t, uint64_t expert, const pare_form *form, int n_sweeps,
                                      void *to, pare_derive_fn each, void *user, pare_error *err);

/* Bytes that were made otherwise, such as by an earlier run; the tensor's row of the plan is known, too. */
void pare_derive_restore(const pare_tensor *t, const void *bytes);
bool pare_derive_is_stored(const pare_tensor *t); /* by either of the two */
const void *pare_derive_stored(const pare_tensor *t); /* these bytes; NULL: they are not */

/* Know t->factor of such a tensor, where it has one: as reading it would. */
pare_status pare_derive_find_factor(const pare_tensor *t, pare_error *err);

/* From now on the tensor, one of a derived model that keeps its source's values, is of `type`, made already: what is
 * read of it comes from `bytes`, which must outlive the derived model. Errors: PARE_ERR_RANGE (row length). */
pare_status pare_derive_store(pare_tensor *t, pare_type type, const void *bytes, pare_error *err);

/* True when a converter to GGUF keeps this tensor in float32: one-dimensional, a norm, a router, positions. */
bool pare_derive_keeps_f32(const pare_tensor *t);

/* general.file_type of a model whose matrices have this float type (or Q8_0). */
uint32_t pare_derive_file_type(pare_type type);

#endif
