#include "formats/packed_scaled.h"

#include <inttypes.h>
#include <math.h>

static uint64_t tiles_of(uint64_t n, uint64_t tile)
{
    return n / tile + (n % tile != 0);
}

/* Find what shares a scale. */
static bool find_blocks(pare_codes *how, const uint64_t tile[2])
{
    const pare_tensor *s = how->scale;
    uint64_t rows = how->dim[how->n_dims - 2], columns = how->dim[how->n_dims - 1];
    uint64_t matrices = how->n_dims == 3 ? how->dim[0] : 1, n = s->n_rows * s->row_len;
    uint64_t down = s->n_dims > 1 ? s->n_rows / matrices : 0, across = s->row_len;
    how->block_rows = rows;
    how->block_cols = columns;
    if (tile[0] > 0 && s->n_dims > 1 && down == tiles_of(rows, tile[0]) && across == tiles_of(columns, tile[1])) {
        how->block_rows = tile[0];
        how->block_cols = tile[1];
    } else if (n == matrices * rows) /* counted above: both numbers are below that of the weights */
        how->block_rows = 1;
    else if (n != matrices && down == rows && across > 0 && columns % across == 0) {
        how->block_rows = 1;
        how->block_cols = columns / across;
    } else
        return n == matrices;
    return true;
}

pare_status pare_packed_scaled(const pare_packed *p, const pare_codes *how, const uint64_t tile[2], pare_tensor *out,
                               pare_error *err)
{
    pare_codes h = *how;
    pare_tensor made = {0};
    pare_status st = PARE_OK;
    h.n_dims = how->code->n_dims;
    if (h.n_dims < 2 || h.n_dims > 3 || how->code->n_rows == 0 || how->code->row_len == 0)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s' of %" PRIu32 " dimensions is no matrix of codes for '%s'", p->path,
                         how->code->name, h.n_dims, how->scale->name);
    for (uint32_t i = 0; i < h.n_dims; i++)
        h.dim[i] = how->code->dim[i];
    h.dim[h.n_dims - 2] *= how->ternary ? 4 : 1;
    if (!find_blocks(&h, tile))
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s' of %" PRIu64 " rows of %" PRIu64 " scales does not go with '%s' of %" PRIu64
                         " rows of %" PRIu64 " codes%s",
                         p->path, how->scale->name, how->scale->n_rows, how->scale->row_len, how->code->name,
                         how->code->n_rows, how->code->row_len,
                         tile[0] > 0 ? ", in tiles as the settings say or without them" : "");
    if (!pare_view_fp4(p->arena, &made, &h, &st, err))
        st = pare_view_codes(p->arena, &made, &h, err);
    if (st != PARE_OK)
        return st;
    made.name = out->name;
    made.file = out->file;
    made.offset = out->offset;
    *out = made;
    return PARE_OK;
}

pare_status pare_packed_scalar(const pare_packed *p, const char *module, const char *end, float absent, float *out,
                               pare_error *err)
{
    const pare_tensor *t = pare_packed_part(p, module, end);
    *out = absent;
    if (t == NULL)
        return PARE_OK;
    if (t->n_rows != 1 || t->row_len != 1)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s' has %" PRIu64 " rows of %" PRIu64 ", expected one number", p->path, t->name,
                         t->n_rows, t->row_len);
    pare_status st = pare_tensor_read_f32(t, 0, 1, out, err);
    if (st == PARE_OK && (!isfinite(*out) || *out == 0))
        st =
            pare_fail(err, PARE_ERR_NUMBER, "%s: tensor '%s' is %g, which is no scale", p->path, t->name, (double)*out);
    return st;
}

pare_status pare_packed_tile(const json_t *settings, const char *path, const char *key, uint64_t tile[2],
                             pare_error *err)
{
    const json_t *list = json_object_get(settings, key);
    if (list == NULL || json_is_null(list))
        return PARE_OK;
    for (size_t i = 0; i < 2; i++) {
        json_int_t n = json_integer_value(json_array_get(list, i));
        if (json_array_size(list) != 2 || n < 1 || n > INT32_MAX)
            return pare_fail(err, PARE_ERR_RANGE, "%s: '%s' is no list of two numbers from 1 to %d", path, key,
                             INT32_MAX);
        tile[i] = (uint64_t)n;
    }
    return PARE_OK;
}
