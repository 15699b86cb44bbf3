/* recipe/expert_gram.h - the form of one expert's inputs: its own products, and everybody's where it saw few tokens
 *
 * With X_e the sum of products over the n_e tokens of expert e, P the mean products over the tokens of all, and S_e
 * the diagonal that gives S_e P S_e the expert's own importances,
 *
 *     H_e = a X_e / n_e + (1 - a) S_e P S_e,    a = n_e / (n_e + columns)
 *
 * docs/methods/FEEDBACK.md */
#ifndef PARE_RECIPE_EXPERT_GRAM_H
#define PARE_RECIPE_EXPERT_GRAM_H

#include "model/imatrix.h"

/* Zeroed is closed. */
typedef struct pare_expert_grams {
    const pare_gram *all;
    const pare_imatrix_entry *entry;
    float *pooled;  /* P, a triangle */
    float *mean;    /* pare_imatrix_pooled */
    float *column;  /* of the expert in hand: its importances, */
    double *scale;  /* S_e */
    uint8_t *lower; /* H_e */
} pare_expert_grams;

/* all: with triangles for each expert, over the tokens of entry. Errors: PARE_ERR_MEMORY, PARE_ERR_RANGE (entry is of
 * something else, all products are zero), PARE_ERR_NUMBER (a product that is not finite, or of no token) */
pare_status pare_expert_grams_open(pare_expert_grams *x, const pare_gram *all, const pare_imatrix_entry *entry,
                                   const char *path, pare_error *err);
void pare_expert_grams_close(pare_expert_grams *x);

/* The form of an expert as mean products (count 1), valid until the next call. */
pare_status pare_expert_grams_make(pare_expert_grams *x, uint64_t expert, pare_gram *out, pare_error *err);

/* What the inputs of an expert are to those of all, column by column: sqrt(own / pooled) within 1/16 and 16. */
float pare_expert_factor(float own, float pooled);

#endif
