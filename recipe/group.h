/* recipe/group.h - matrices of the layers as integer groups, chosen with calibration statistics ahead of the writer
 *
 * Packed folders (AWQ, GPTQ, compressed-tensors) hold integers times a scale for each group of columns. Their writer
 * finds these in the weights, and weights that are such integers already keep their very values. So what is chosen here
 * is handed over as weights: exact values, in blocks that wait in a spool. Method: docs/methods/AWQ.md. */
#ifndef PARE_RECIPE_GROUP_H
#define PARE_RECIPE_GROUP_H

#include "core/spool.h"
#include "quant/group_fit.h"
#include "recipe/fold.h"
#include "recipe/recipe.h"

typedef enum pare_group_method {
    PARE_GROUP_RTN,      /* scales that cover the extremes, nearest codes */
    PARE_GROUP_SEARCH,   /* small error under the importances */
    PARE_GROUP_CLIP,     /* as rtn, where the largest weights of a group may give way (quant/group_clip.h) */
    PARE_GROUP_FEEDBACK, /* and codes that make up for each other's errors, where there are second-order statistics */
} pare_group_method;

typedef struct pare_group_report {
    uint32_t n_tensors;  /* chosen here */
    uint32_t n_feedback; /* of these with feedback */
    uint32_t n_without;  /* could have been, but for their statistics */
    double mean_ratio;   /* as in pare_refine_report */
} pare_group_report;

/* Called before each tensor, and at the end with done == n. */
typedef void (*pare_group_fn)(uint32_t done, uint32_t n, const char *tensor, void *user);

typedef struct pare_group_settings {
    pare_group_shape shape;
    int64_t group; /* columns that share a scale; -1: a whole row */
    pare_group_method method;
    pare_effort effort;
    const pare_imatrix *imatrix; /* or NULL; checked against the model here, unless there is a fold */
    const pare_fold *fold;       /* that the model's inputs, but not the statistics, are scaled by; NULL: none */
    bool (*fits)(const pare_tensor *t, void *format); /* whether the format packs such a matrix */
    void *format;
    const char *output; /* that the spool lies beside */
    pare_group_fn each; /* NULL: nobody is told */
    void *user;
} pare_group_settings;

/* Choose what the matrices of out's layers become: out is one of pare_convert that keeps all types, and a known
 * architecture. spool: zeroed; it must outlive out. A matrix that the format does not pack stays as it is, with those
 * that multiply the same inputs; so does one without importances, unless the method needs none. Errors: PARE_ERR_IO (no
 * room), PARE_ERR_NUMBER (a weight or product that is not finite), PARE_ERR_RANGE (statistics of another model),
 * PARE_ERR_MEMORY, PARE_ERR_INTERRUPTED */
pare_status pare_group_choose(pare_model *out, pare_plan *plan, const pare_group_settings *settings, pare_spool *spool,
                              pare_group_report *report, pare_error *err);

#endif
