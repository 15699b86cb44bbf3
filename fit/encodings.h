/* fit/encodings.h - a model's tensors in every type that they may have, each encoded once
 *
 * State files of each type (recipe/state.h), of tensors with feedback and without, in a folder that stays: a later run
 * takes from there what was made of the same weights and statistics by the same version, and encodes the rest. */
#ifndef PARE_FIT_ENCODINGS_H
#define PARE_FIT_ENCODINGS_H

#include "recipe/recipe.h"

/* A tensor in one type. */
typedef struct pare_encoding {
    pare_type type;
    uint64_t bytes;                  /* without padding */
    double form;                     /* pare_plan_row.form, NAN: it was encoded without feedback */
    double error;                    /* relative squared error; 0: exactly the source's values */
    double weighted_error, feedback; /* as in pare_plan_row */
    bool lossless;
    const void *data; /* [bytes], as long as the encodings; NULL: the source's own */
} pare_encoding;

typedef struct pare_encoding_list {
    pare_encoding *list; /* [n] bytes ascend; 0: nothing is to be chosen */
    size_t n;
} pare_encoding_list;

typedef void (*pare_encodings_fn)(double part, const char *tensor, pare_type type, void *user);

typedef struct pare_encodings_options {
    const pare_model *model;
    const pare_imatrix *imatrix;
    const bool *allowed; /* [n_tensors, PARE_TYPE_COUNT] */
    const char *folder;
    const char *about; /* lines that say what the bytes depend on besides weights and statistics */
    pare_effort effort;
    bool allow_requantize;  /* sources that are quantized already */
    pare_encodings_fn each; /* NULL: nobody is told */
    void *user;
} pare_encodings_options;

typedef struct pare_encodings {
    pare_encoding_list *of;            /* [n_tensors] of the source's tensors */
    struct pare_encodings_type *types; /* [n_types] */
    size_t n_types;
    const pare_encodings_options *options;
    uint32_t n_encoded, n_taken;   /* tensors: by this run, by an earlier one */
    uint32_t n_without;            /* tensors, of the type that has most, whose second-order statistics do not serve */
    char without[PARE_ERROR_TEXT]; /* why, of the first */
} pare_encodings;

/* Zeroed is closed. options must outlive it. Errors: PARE_ERR_MEMORY */
pare_status pare_encodings_open(pare_encodings *e, const pare_encodings_options *options, pare_error *err);

/* What is wanted of a model in one type. */
typedef struct pare_encodings_want {
    pare_encodings *e;
    pare_type type;     /* a block */
    const bool *wanted; /* [n_tensors] of e's model; NULL: all */
} pare_encodings_want;

/* All of it, of tensors that are allowed to; one that is there already is not made again. What second-order statistics
 * have to be prepared for is prepared once for all n wants (pare_refine_together), so that these are best given
 * together; none twice the same e and type, all with the same statistics. A type whose block does not divide a row is
 * left out for that tensor. Pointers to encodings are not valid any more, those of these types and what they point to.
 * Progress is that of all wants. Errors: those of pare_quantize and pare_refine, PARE_ERR_MEMORY; a state that is
 * damaged or of something else is made anew. After an error what was there in these types may be gone, but for their
 * states */
pare_status pare_encodings_add_all(const pare_encodings_want *list, size_t n, pare_error *err);

/* One of them. */
pare_status pare_encodings_add(pare_encodings *e, pare_type type, const bool *wanted, pare_error *err);
void pare_encodings_close(pare_encodings *e);

/* NULL: the tensor is not there in this type. */
const pare_encoding *pare_encodings_find(const pare_encodings *e, size_t tensor, pare_type type);

/* ^\QNAME\E$ or the like, whatever the name is; to be freed. Errors: PARE_ERR_MEMORY */
pare_status pare_pattern_of_name(char **out, const char *name, pare_error *err);

#endif
