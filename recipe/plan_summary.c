#include "recipe/plan_summary.h"
#include "quant/registry.h"

#include <math.h>

static double badness(const pare_plan_row *row)
{
    double error = isfinite(row->weighted_error) ? row->weighted_error : row->error;
    return row->to != row->from && isfinite(error) ? error : 0;
}

size_t pare_plan_worst(const pare_plan *plan, const pare_plan_row **out, size_t n)
{
    size_t found = 0;
    for (size_t i = 0; i < plan->n && n > 0; i++) {
        const pare_plan_row *row = &plan->rows[i];
        if (!(badness(row) > 0) || (found == n && !(badness(row) > badness(out[n - 1]))))
            continue;
        size_t at = found < n ? found++ : n - 1;
        for (; at > 0 && badness(out[at - 1]) < badness(row); at--)
            out[at] = out[at - 1];
        out[at] = row;
    }
    return found;
}

/* Types with a grid of their own on one side at least: that another float holds a wider one exactly is no news. */
static bool has_grid(const pare_plan_row *row)
{
    const pare_type_info *from = pare_type_get(row->from), *to = pare_type_get(row->to);
    return to->block_len > 1 || ((from->traits & PARE_TRAIT_FLOAT) && from->block_bytes == 1);
}

size_t pare_plan_count_lossless(const pare_plan *plan)
{
    size_t n = 0;
    for (size_t i = 0; i < plan->n; i++) {
        const pare_plan_row *row = &plan->rows[i];
        n += row->to != row->from && has_grid(row) && row->lossless;
    }
    return n;
}

/* The relative squared error of a type on normally distributed weights. */
static pare_status typical_error(pare_type type, double *error, pare_error *err)
{
    enum { N = 4096, MAX_BYTES = N * 8 };
    float x[N], y[N];
    uint8_t bytes[MAX_BYTES];
    uint32_t seed = 1;
    double lost = 0, energy = 0;
    for (int i = 0; i < N; i++) { /* twelve uniform numbers have the variance 1 and are as good as normal */
        x[i] = -6;
        for (int k = 0; k < 12; k++) {
            seed = seed * 1664525u + 1013904223u;
            x[i] += (float)(seed >> 8) * 0x1p-24f;
        }
        x[i] *= 0.02f; /* the size of weights: scales of 8 bits are not as fine everywhere */
    }
    pare_status st = pare_encode_rows(type, x, 1, N, NULL, PARE_EFFORT_DEFAULT, bytes, err);
    if (st != PARE_OK || (st = pare_decode_rows(type, bytes, 1, N, y, err)) != PARE_OK)
        return st;
    for (int i = 0; i < N; i++) {
        lost += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        energy += (double)x[i] * (double)x[i];
    }
    *error = lost / energy;
    return PARE_OK;
}

/* typical_error, measured once a type. */
static pare_status known_error(pare_type type, double known[PARE_TYPE_COUNT], double *error, pare_error *err)
{
    pare_status st = PARE_OK;
    if (known[type] < 0 && pare_encoder(type) != NULL)
        st = typical_error(type, &known[type], err);
    *error = known[type] > 0 ? known[type] : 0;
    return st;
}

pare_status pare_plan_requantized(const pare_plan *plan, const pare_model *out, pare_requantized *sum, pare_error *err)
{
    double known[PARE_TYPE_COUNT], n_weights = 0;
    pare_status st = PARE_OK;
    *sum = (pare_requantized){0};
    for (int type = 0; type < PARE_TYPE_COUNT; type++)
        known[type] = -1;
    for (size_t i = 0; i < plan->n && st == PARE_OK; i++) {
        const pare_plan_row *row = &plan->rows[i];
        double n = (double)out->tensors[i].n_rows * (double)out->tensors[i].row_len, source = 0, target = 0;
        if (row->to == row->from || (pare_type_get(row->from)->traits & PARE_TRAIT_FLOAT))
            continue;
        st = known_error(row->from, known, &source, err);
        if (st == PARE_OK)
            st = known_error(row->to, known, &target, err);
        sum->n_tensors++;
        sum->n_from[row->from]++;
        sum->source_error += n * source;
        sum->expected_error += n * target;
        sum->added_error += n * row->error;
        n_weights += n;
    }
    if (n_weights > 0) {
        sum->source_error /= n_weights;
        sum->expected_error /= n_weights;
        sum->added_error /= n_weights;
    }
    return st;
}
