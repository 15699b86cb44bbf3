/* model/imatrix.h - calibration statistics in memory: how large the inputs of each weight matrix were on some text
 *
 * For column c of a matrix that multiplies activations x, over all tokens t: sum2[c] = sum x_t[c]^2 and sum[c] =
 * sum x_t[c]. The mean square sum2 / count says what an error in the weights of that column costs. Experts of one
 * tensor have statistics of their own: each saw other tokens. Method: docs/methods/IMPORTANCE.md, files:
 * docs/formats/IMATRIX.md. */
#ifndef PARE_MODEL_IMATRIX_H
#define PARE_MODEL_IMATRIX_H

#include "core/map.h"
#include "core/spool.h"
#include "core/text.h"
#include "quant/gram.h"

typedef struct pare_imatrix_entry {
    const char *name; /* of the weight, as in GGUF */
    uint64_t n_experts, n_columns;
    uint64_t n_counts; /* n_experts, or 1: all experts share the count (files with one mean for all) */
    float *sum2;       /* [n_experts, n_columns], >= 0 and finite */
    float *sum;        /* the same shape, or NULL when the file has none */
    double *counts;    /* [n_counts] tokens: whole numbers >= 0 */
} pare_imatrix_entry;

/* Zeroed is empty. The arena owns all entries, names and arrays. */
typedef struct pare_imatrix {
    const char *path; /* of the file, for messages; NULL: none */
    pare_imatrix_entry *entries;
    size_t n, cap;
    pare_index by_name;
    pare_str *datasets; /* [n_datasets] names of the texts, as their makers wrote them */
    size_t n_datasets;
    uint32_t chunk_count; /* windows seen */
    uint32_t chunk_size;  /* tokens a window; 0: unknown, and counts and sums are in windows (legacy files) */
    float *sample;        /* [PARE_SAMPLE_SIZE] of the model that they were made with (model/sample.h); NULL: unknown */
    pare_grams grams;     /* second-order statistics of some matrices, all of which have entries; often none */
    pare_map map;         /* of the file that triangles of grams lie in, */
    pare_spool spool;     /* or what they were collected to */
    pare_arena arena;
} pare_imatrix;

void pare_imatrix_close(pare_imatrix *im);

/* Add an entry of that shape, all zero, with room for sums when with_sum. A name that is there already is
 * PARE_ERR_FORMAT. *out points into im->entries and is valid until the next addition. */
pare_status pare_imatrix_add(pare_imatrix *im, const char *name, uint64_t n_experts, uint64_t n_columns,
                             uint64_t n_counts, bool with_sum, pare_imatrix_entry **out, pare_error *err);
pare_status pare_imatrix_add_dataset(pare_imatrix *im, pare_str name, pare_error *err);

/* Remember what the model was: sample [PARE_SAMPLE_SIZE] is copied. Errors: PARE_ERR_MEMORY */
pare_status pare_imatrix_set_sample(pare_imatrix *im, const float *sample, pare_error *err);

const pare_imatrix_entry *pare_imatrix_find(const pare_imatrix *im, const char *name); /* NULL: absent */

/* See an entry that is one long row as n_experts rows of n_columns: what a legacy file, or a tensor of three dimensions
 * outside of experts, holds. True when the entry has that shape now. */
bool pare_imatrix_reshape(pare_imatrix_entry *e, uint64_t n_experts, uint64_t n_columns);

/* Add the statistics of src to im: sums and counts add, entries that im lacks are taken over, datasets are listed one
 * after the other. Activation sums stay only where both have them, and second-order statistics if both have those of
 * the same matrices; a warning says when they go. im->chunk_size must be set; a src that counts windows (chunk_size 0)
 * is scaled by it.
 * Errors: PARE_ERR_RANGE (an entry has another shape; a sum is no longer finite), PARE_ERR_MEMORY. */
pare_status pare_imatrix_merge(pare_imatrix *im, const pare_imatrix *src, pare_error *err);

/* The entries of experts, one a layer: each call gives the next one, from *at = 0 on, whose layer ("blk.3.") or tokens
 * are others than those of the entries before; gate, up and down of a layer see the same tokens. NULL: no more. */
const pare_imatrix_entry *pare_imatrix_next_experts(const pare_imatrix *im, size_t *at, uint32_t *layer);

/* How many experts saw no token, and which: "5, 17, 100-103" is put into list, unless that is NULL. */
pare_status pare_imatrix_unseen(const pare_imatrix_entry *e, uint64_t *n, pare_buf *list, pare_error *err);

/* The mean square of each column over the tokens of all experts: out [n_columns]. False when there is nothing but
 * zeros: then there are no importances. */
bool pare_imatrix_pooled(const pare_imatrix_entry *e, float *out);

/* The importance of each column for expert `expert`: out [n_columns]; pooled is what pare_imatrix_pooled made. Without
 * experts it is sum2 / count. An expert's own mean squares are drawn towards the pooled ones, scaled to the expert's
 * size, as if PARE_PRIOR_TOKENS further tokens had looked like those; an expert that saw no token, or only zeros, gets
 * the pooled ones as they are. */
enum { PARE_PRIOR_TOKENS = 32 };
void pare_imatrix_importance(const pare_imatrix_entry *e, uint64_t expert, const float *pooled, float *out);

/* The mean input of each column for expert `expert`: out [n_columns] = sum / count. False when the sums are unknown, or
 * the expert saw fewer than PARE_MEAN_TOKENS tokens, of which the mean would say more about them than about others. */
enum { PARE_MEAN_TOKENS = 128 };
bool pare_imatrix_mean(const pare_imatrix_entry *e, uint64_t expert, float *out);

#endif
