/* cmd/fit_plan.h - which presets of a model fit into the memory that was asked about, and how each would be run */
#ifndef PARE_CMD_FIT_PLAN_H
#define PARE_CMD_FIT_PLAN_H

#include "cmd/fit_options.h"
#include "memory/inverse.h"
#include "memory/speed.h"
#include "model/model.h"

/* The model in one set of types. */
typedef struct cmd_fit_candidate {
    const char *name;          /* of the preset; "as it is" */
    const pare_preset *preset; /* NULL: as it is */
    bool needs_imatrix;        /* some of its types are of no use without statistics */
    uint64_t file_bytes;
    double bits;        /* stored bits of the tensors over their weights */
    pare_status status; /* PARE_OK: it fits; PARE_ERR_DIFFERENCE: it does not; PARE_ERR_UNSUPPORTED: no such file */
    char why[PARE_ERROR_TEXT];
    pare_placement placement; /* where it fits */
    uint64_t largest;         /* context that fits; 0: none does */
    pare_context_bound bound;
    pare_speed speed; /* where it fits */
} cmd_fit_candidate;

/* Zeroed is closed. */
typedef struct cmd_fit_plan {
    const pare_model *model; /* borrowed */
    const cmd_fit_request *request;
    uint64_t n_ctx;                /* asked for, or what the model was trained for */
    cmd_fit_candidate *candidates; /* [n] owned; ascending by file_bytes */
    size_t n;
    const cmd_fit_candidate
        *best; /* the largest file that fits, of types of which it makes sense to say so; NULL: none */
} cmd_fit_plan;

/* A context that the model was not trained for works in no runtime without a change to RoPE. */
void cmd_fit_warn_of_context(const cmd_fit_request *request, const pare_model *m);

/* A query of how m, as the request says, would be run. Borrows all; n_ctx 0 becomes what m was trained for. */
void cmd_fit_query(pare_place_query *query, const cmd_fit_request *request, const pare_memory_model *m);

/* Of those for any model, if there are such: a candidate of p; NULL: it has none. */
const cmd_fit_candidate *cmd_fit_smallest(const cmd_fit_plan *p);

/* No candidate fits: why, and what the smallest would take. Returns PARE_ERR_DIFFERENCE */
pare_status cmd_fit_refuse(const cmd_fit_plan *p, pare_error *err);

/* Look at --type, or at the model as it is and at all presets that make it smaller. Errors: those of planning that are
 * about the request and not about one candidate */
pare_status cmd_fit_plan_make(cmd_fit_plan *p, const cmd_fit_request *request, const pare_model *model,
                              pare_error *err);

/* The same of one model with the types that it has. */
pare_status cmd_fit_candidate_make(cmd_fit_candidate *c, const cmd_fit_request *request, const pare_model *typed,
                                   pare_error *err);
void cmd_fit_plan_close(cmd_fit_plan *p);

#endif
