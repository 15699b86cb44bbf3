#include "model/sample.h"

#include <math.h>
#include <stdlib.h>

enum { FIRST_ROW = 3, ROW_STEP = 31 };

/* Independent samples differ by 1.4 in the mean, a codebook of one bit by 0.6. */
static const double LIMIT = 0.8;

pare_status pare_model_sample(const pare_model *m, float *out, bool *known, pare_error *err)
{
    const pare_tensor *t = pare_model_find(m, "token_embd.weight");
    pare_status st = PARE_OK;
    *known = false;
    if (t == NULL || t->n_rows == 0 || t->row_len < PARE_SAMPLE_COLUMNS)
        return PARE_OK;
    float *row = malloc((size_t)t->row_len * sizeof *row);
    if (row == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for a row", t->name);
    bool finite = true;
    for (uint64_t i = 0; i < PARE_SAMPLE_ROWS && st == PARE_OK; i++) {
        st = pare_tensor_read_f32(t, (FIRST_ROW + ROW_STEP * i) % t->n_rows, 1, row, err);
        for (uint64_t k = 0; k < PARE_SAMPLE_COLUMNS && st == PARE_OK; k++) {
            *out = row[k * (t->row_len / PARE_SAMPLE_COLUMNS)];
            finite = finite && isfinite(*out++);
        }
    }
    free(row);
    *known = st == PARE_OK && finite;
    return st;
}

double pare_sample_difference(const float *a, const float *b)
{
    double of_a = 0, of_b = 0, apart = 0;
    for (int i = 0; i < PARE_SAMPLE_SIZE; i++) {
        double d = (double)a[i] - (double)b[i];
        of_a += (double)a[i] * (double)a[i];
        of_b += (double)b[i] * (double)b[i];
        apart += d * d;
    }
    double larger = of_a > of_b ? of_a : of_b;
    return larger > 0 ? sqrt(apart / larger) : 0;
}

bool pare_sample_differs(const float *a, const float *b)
{
    return pare_sample_difference(a, b) > LIMIT;
}
