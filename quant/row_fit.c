#include "quant/row_fit.h"

#include "quant/importance.h"
#include "quant/path_table.h"
#include "quant/registry.h"

#include <math.h>
#include <string.h>

/* The first of the stretches of len weights, from block to block, that moves an offset with the least change of its
 * weights: sum m^2 / c is largest there. */
static size_t find_stretch(const pare_row_fit *fit, size_t block_len)
{
    double lever = 0, most = -1;
    size_t best = 0;
    for (size_t i = 0; i < fit->n; i++) {
        double m = (double)fit->mean[i];
        lever += fit->column[i] > 0 ? m * m / (double)fit->column[i] : 0;
        if (i >= fit->len) {
            m = (double)fit->mean[i - fit->len];
            lever -= fit->column[i - fit->len] > 0 ? m * m / (double)fit->column[i - fit->len] : 0;
        }
        if (i + 1 >= fit->len && (i + 1 - fit->len) % block_len == 0 && lever > most) {
            most = lever;
            best = i + 1 - fit->len;
        }
    }
    return best;
}

void pare_row_fit_init(pare_row_fit *fit, pare_type type, pare_effort effort, float slope, size_t n,
                       const float *column, const float *mean, const pare_row_buffers *b)
{
    const pare_type_info *info = pare_type_get(type);
    *fit = (pare_row_fit){.type = type,
                          .source = PARE_TYPE_F32,
                          .effort = effort,
                          .n = n,
                          .slope = slope,
                          .column = column,
                          .mean = mean,
                          .passes = 1};
    fit->weighted = slope == 0 && pare_importance_of_weights(0, column, NULL, n, b->weight);
    bool fine = info->block_bytes >= info->block_len;
    if (column == NULL || mean == NULL || effort == PARE_EFFORT_RTN || effort == PARE_EFFORT_FAST ||
        (fine && effort == PARE_EFFORT_DEFAULT))
        return;
    size_t parts = effort == PARE_EFFORT_BEST ? 2 : 8;
    fit->passes = effort == PARE_EFFORT_BEST ? 4 : 1;
    fit->len = n / parts / info->block_len * info->block_len;
    if (fit->len == 0)
        fit->len = info->block_len;
    fit->at = find_stretch(fit, info->block_len);
}

/* Whether some y is farther from x than the coarsest of the plain floats rounds: then there is no need to try. */
static bool is_far(const float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (fabsf(x[i] - y[i]) > 0x1p-7f * fabsf(x[i]) + 0x1p-24f)
            return true;
    return false;
}

bool pare_row_rounds_to(pare_type source, const float *x, const float *y, size_t n)
{
    enum { RUN = 32, MAX_BYTES = 8 };
    bool rounds = (pare_type_get(source)->traits & PARE_TRAIT_FLOAT) && pare_encoder(source) != NULL;
    for (size_t at = 0; at < n; at += RUN) {
        size_t len = n - at < RUN ? n - at : RUN;
        float back[RUN];
        uint8_t bytes[RUN * MAX_BYTES];
        if (is_far(x + at, y + at, len))
            return false;
        memcpy(back, y + at, len * sizeof *back);
        if (rounds && (pare_encode_rows(source, back, 1, len, NULL, PARE_EFFORT_RTN, bytes, NULL) != PARE_OK ||
                       pare_decode_rows(source, bytes, 1, len, back, NULL) != PARE_OK))
            return false;
        for (size_t i = 0; i < len; i++)
            if (back[i] != x[at + i])
                return false;
    }
    return true;
}

/* Least squares leaves a row smaller than it was, which costs a model more than its squared error says: the scales are
 * multiplied until the row's product with the source is that of the source with itself. *factor: by what. */
static pare_status restore_size(const pare_row_fit *fit, const pare_row_buffers *b, void *dst, pare_row_sums *sums,
                                float *factor, pare_error *err)
{
    double energy = fit->column != NULL ? sums->weighted_energy : sums->energy;
    double product = fit->column != NULL ? sums->weighted_product : sums->product;
    float f = product > 0 ? (float)(energy / product) : 1;
    *factor = 1;
    if (!(fabsf(f - 1) > 0x1p-12f) || !(f < 2) ||
        !pare_scale_blocks(fit->type, dst, fit->n / pare_type_get(fit->type)->block_len, f))
        return PARE_OK;
    *factor = f;
    pare_status st = pare_decode_rows(fit->type, dst, 1, fit->n, b->y, err);
    if (st == PARE_OK)
        *sums = pare_path_now()->compare(b->x, b->y, fit->column, fit->n);
    return st;
}

/* E[(e . a)^2], and the offset sum m e. */
static double product_error(const pare_row_fit *fit, const pare_row_buffers *b, const pare_row_sums *sums,
                            double *offset)
{
    pare_mean_sums means = pare_path_now()->compare_means(b->x, b->y, fit->mean, fit->n);
    *offset = means.offset;
    return sums->weighted_error - means.squares + means.offset * means.offset;
}

/* Move the targets of the stretch, under the weights of errors the least that moves its product with the mean by
 * offset. False when no stretch can. */
static bool move_targets(const pare_row_fit *fit, const pare_row_buffers *b, double offset)
{
    const float *mean = fit->mean + fit->at, *weight = b->weight + fit->at;
    double lever = 0;
    for (size_t i = 0; i < fit->len; i++)
        lever += (double)(mean[i] * mean[i] / weight[i]);
    float step = (float)(offset / lever);
    if (!isfinite(step))
        return false;
    for (size_t i = 0; i < fit->len; i++)
        b->target[i] += step * (mean[i] / weight[i]);
    return true;
}

/* Encode the stretch for its targets; the row stays as it was, and *better is false, when that makes it no better. */
static pare_status try_targets(const pare_row_fit *fit, const pare_row_buffers *b, uint8_t *dst, float factor,
                               pare_row_sums *sums, double *error, double *offset, bool *better, pare_error *err)
{
    const pare_type_info *info = pare_type_get(fit->type);
    size_t n_blocks = fit->len / info->block_len, bytes = n_blocks * info->block_bytes;
    uint8_t *stretch = dst + fit->at / info->block_len * info->block_bytes;
    memcpy(b->replaced, stretch, bytes);
    *better = false;
    if (pare_encode_rows(fit->type, b->target, 1, fit->len, b->weight + fit->at, fit->effort, stretch, NULL) ==
        PARE_OK) {
        if (factor != 1)
            pare_scale_blocks(fit->type, stretch, n_blocks, factor);
        pare_status st = pare_decode_rows(fit->type, stretch, 1, fit->len, b->y + fit->at, err);
        if (st != PARE_OK)
            return st;
        pare_row_sums now = pare_path_now()->compare(b->x, b->y, fit->column, fit->n);
        double new_offset, new_error = product_error(fit, b, &now, &new_offset);
        if (new_error < *error) {
            *sums = now;
            *error = new_error;
            *offset = new_offset;
            *better = true;
            return PARE_OK;
        }
    }
    memcpy(stretch, b->replaced, bytes);
    return pare_decode_rows(fit->type, stretch, 1, fit->len, b->y + fit->at, err);
}

/* Take away the row's offset for the mean input, as far as codes can. */
static pare_status restore_mean(const pare_row_fit *fit, const pare_row_buffers *b, void *dst, float factor,
                                pare_row_sums *sums, pare_error *err)
{
    double offset, error = product_error(fit, b, sums, &offset);
    bool better = true;
    pare_status st = PARE_OK;
    memcpy(b->target, b->x + fit->at, fit->len * sizeof *b->target);
    for (int pass = 0; pass < fit->passes && better && st == PARE_OK; pass++) {
        if (!(offset * offset > error / 64) || !move_targets(fit, b, offset))
            break;
        st = try_targets(fit, b, dst, factor, sums, &error, &offset, &better, err);
    }
    return st;
}

pare_status pare_row_fit_encode(const pare_row_fit *fit, const pare_row_buffers *b, void *dst, pare_row_sums *sums,
                                pare_error *err)
{
    float factor = 1;
    bool weighted = fit->weighted ||
                    (fit->slope > 0 && pare_importance_of_weights(fit->slope, fit->column, b->x, fit->n, b->weight));
    pare_status st = pare_encode_rows(fit->type, b->x, 1, fit->n, weighted ? b->weight : NULL, fit->effort, dst, err);
    if (st == PARE_OK)
        st = pare_decode_rows(fit->type, dst, 1, fit->n, b->y, err);
    if (st != PARE_OK)
        return st;
    *sums = pare_path_now()->compare(b->x, b->y, fit->column, fit->n);
    if (pare_row_rounds_to(fit->source, b->x, b->y, fit->n))
        return PARE_OK;
    if (fit->effort != PARE_EFFORT_RTN)
        st = restore_size(fit, b, dst, sums, &factor, err);
    if (st == PARE_OK && weighted && fit->len > 0)
        st = restore_mean(fit, b, dst, factor, sums, err);
    return st;
}
