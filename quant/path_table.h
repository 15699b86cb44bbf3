/* quant/path_table.h - what is compiled once a path: encoders, decoders, and what else is done to each weight of a row
 */
#ifndef PARE_QUANT_PATH_TABLE_H
#define PARE_QUANT_PATH_TABLE_H

#include "quant/feedback.h"
#include "quant/group_fit.h"
#include "quant/hadamard_steps.h"
#include "quant/kv_rows.h"
#include "quant/row_passes.h"
#include "quant/types.h"
#include "quant/unit_search.h"

typedef struct pare_path_table {
    pare_encode_fn encode[PARE_TYPE_COUNT];                                        /* NULL: pare has none */
    void (*decode[PARE_TYPE_COUNT])(const void *src, float *dst, size_t n_blocks); /* as in pare_type_info */

    /* quant/row_passes.h */
    size_t (*find_above)(const float *x, size_t n, float limit);
    pare_weight_range (*weight_range)(const float *w, size_t n);
    pare_row_sums (*compare)(const float *x, const float *y, const float *weight, size_t n);
    pare_mean_sums (*compare_means)(const float *x, const float *y, const float *mean, size_t n);
    bool (*group_fit)(const pare_group_shape *shape, const float *x, const float *weight, size_t n, pare_group *group,
                      uint8_t *codes); /* quant/group_fit.h */
    bool (*group_round)(const pare_group_shape *shape, const float *x, size_t n, pare_group *group, uint8_t *codes);
    void (*form_update)(double *c, size_t c_stride, size_t n_rows, size_t n_columns, const double *p, size_t p_stride,
                        const double *pt, size_t pt_stride, size_t n_terms); /* quant/form.h */
    void (*feedback_round)(const pare_form *form, const pare_feedback_levels *levels, int n_sweeps,
                           pare_feedback_slab *slab); /* quant/feedback.h */
    void (*feedback_units)(const pare_form *form, const pare_unit_book *book, const float *factor, int n_sweeps,
                           pare_feedback_slab *slab); /* quant/feedback.h */
    void (*unit_search)(const pare_unit_book *book, const pare_form_square *square, const float *target,
                        float *level); /* quant/unit_search.h */
    void (*output_error)(const float *panels, size_t n, const float *e, size_t n_rows,
                         float *out); /* quant/output_error.h */
    void (*hadamard)(const pare_rotation *r, const uint32_t *flips, float *x, size_t n,
                     bool back); /* quant/hadamard_steps.h */
    size_t (*kv_encode)(const pare_kv_rows *rows, const float *x, uint8_t *dst); /* quant/kv_rows.h */
    void (*kv_decode)(const pare_kv_rows *rows, const uint8_t *src, float *x);
    bool (*importance)(float slope, const float *column, const float *x, size_t row_len, float *w);
} pare_path_table;

/* That of the path in use. */
const pare_path_table *pare_path_now(void);

#endif
