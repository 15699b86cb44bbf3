#include "recipe/calibration.h"

#include "model/sample.h"

#include <inttypes.h>

/* Columns of expert i without any importance. */
static uint64_t count_zeros(const pare_imatrix_entry *e, uint64_t i)
{
    uint64_t n = 0;
    for (uint64_t c = 0; c < e->n_columns; c++)
        n += !(e->sum2[i * e->n_columns + c] > 0);
    return n;
}

static double count_of(const pare_imatrix_entry *e, uint64_t i)
{
    return e->counts[e->n_counts == 1 ? 0 : i];
}

/* Columns that were always zero in the experts that saw a token. */
static pare_status check_values(const pare_imatrix *im, const pare_imatrix_entry *e, pare_error *err)
{
    uint64_t n_zero = 0, n_columns = 0;
    for (uint64_t i = 0; i < e->n_experts; i++) {
        if (!(count_of(e, i) > 0))
            continue;
        n_columns += e->n_columns;
        n_zero += count_zeros(e, i);
    }
    if (n_zero == n_columns)
        return pare_warn(err, "%s: tensor '%s': every importance is zero; its columns count alike", im->path, e->name);
    if (n_zero > 0)
        return pare_warn(err, "%s: tensor '%s': %" PRIu64 " of %" PRIu64 " columns have no importance", im->path,
                         e->name, n_zero, n_columns);
    return PARE_OK;
}

/* One warning a layer, with the experts that no token reached. */
static pare_status warn_of_unseen(const pare_imatrix *im, pare_error *err)
{
    const pare_imatrix_entry *e;
    uint32_t layer = 0;
    uint64_t n = 0;
    pare_status st = PARE_OK;
    for (size_t at = 0; st == PARE_OK && (e = pare_imatrix_next_experts(im, &at, &layer)) != NULL;) {
        pare_buf list = {0};
        st = pare_imatrix_unseen(e, &n, &list, err);
        if (st == PARE_OK && n > 0 && n < e->n_experts)
            st = pare_warn(err,
                           "%s: layer %" PRIu32 ": %" PRIu64 " of %" PRIu64
                           " experts saw no token; they get the mean importances of the others: %s",
                           im->path, layer, n, e->n_experts, list.data);
        pare_buf_close(&list);
    }
    return st;
}

static pare_status check_entry(const pare_imatrix *im, const pare_imatrix_entry *entry, const pare_tensor *t,
                               pare_error *err)
{
    pare_imatrix_entry e = *entry;
    if (!pare_imatrix_reshape(&e, pare_tensor_matrices(t), t->row_len))
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s': statistics of %" PRIu64 " times %" PRIu64
                         " columns; the model's tensor has %" PRIu64 " times %" PRIu64 ": they are of another model",
                         im->path, e.name, e.n_experts, e.n_columns, pare_tensor_matrices(t), t->row_len);
    return check_values(im, &e, err);
}

/* Weights of another model have nothing to do with the sample of the one that was run. */
static pare_status check_sample(const pare_imatrix *im, const pare_model *m, pare_error *err)
{
    float sample[PARE_SAMPLE_SIZE];
    bool known = false;
    pare_status st = im->sample != NULL ? pare_model_sample(m, sample, &known, err) : PARE_OK;
    if (st != PARE_OK || !known || !pare_sample_differs(im->sample, sample))
        return st;
    return pare_fail(
        err, PARE_ERR_RANGE,
        "%s: they are of another model: its token embedding differs from that of %s by %.0f %% of its size", im->path,
        m->path, 100 * pare_sample_difference(im->sample, sample));
}

pare_status pare_calibration_check(const pare_imatrix *im, const pare_model *m, pare_error *err)
{
    const pare_imatrix_entry *stranger = NULL;
    size_t n_strangers = 0;
    pare_status st = check_sample(im, m, err);
    for (size_t i = 0; i < im->n && st == PARE_OK; i++) {
        const pare_tensor *t = pare_model_find(m, im->entries[i].name);
        if (t != NULL)
            st = check_entry(im, &im->entries[i], t, err);
        else if (n_strangers++ == 0)
            stranger = &im->entries[i];
    }
    if (st == PARE_OK && n_strangers < im->n)
        st = warn_of_unseen(im, err);
    if (st != PARE_OK || n_strangers == 0)
        return st;
    if (n_strangers == im->n)
        return pare_fail(
            err, PARE_ERR_RANGE,
            "%s: none of its %zu entries names a tensor of %s (the first is '%s'): they are of another model", im->path,
            im->n, m->path, stranger->name);
    return pare_warn(err, "%s: %zu of %zu entries name no tensor of %s, the first is '%s'", im->path, n_strangers,
                     im->n, m->path, stranger->name);
}

bool pare_calibration_find(const pare_imatrix *im, const pare_tensor *t, pare_imatrix_entry *out)
{
    const pare_imatrix_entry *e = im != NULL ? pare_imatrix_find(im, t->name) : NULL;
    if (e == NULL)
        return false;
    *out = *e;
    if (!pare_imatrix_reshape(out, pare_tensor_matrices(t), t->row_len))
        return false;
    for (uint64_t i = 0; i < out->n_experts; i++)
        if (count_of(out, i) > 0 && count_zeros(out, i) < out->n_columns)
            return true;
    return false;
}

char *pare_calibration_why_without(char *dst, size_t size, const pare_imatrix *im, const pare_gram *g, const char *why)
{
    if (why != NULL)
        snprintf(dst, size, "%s", why);
    else
        snprintf(dst, size, "%s: tensor '%s': %.0f tokens are too few for the products of %" PRIu64 " columns",
                 im->path, g->name, g->count, g->n_columns);
    return dst;
}

pare_status pare_calibration_warn_without(const pare_imatrix *im, const pare_gram *g, const char *why, uint32_t n,
                                          const char *done, pare_error *err)
{
    char text[PARE_ERROR_TEXT];
    return pare_warn(err, "%s; %s %s without feedback", pare_calibration_why_without(text, sizeof text, im, g, why),
                     n > 1 ? "it and those with the same inputs are" : "it is", done);
}
