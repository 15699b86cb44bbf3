#include "eval/collect_state.h"

#include "core/text.h"
#include "formats/gguf.h"
#include "formats/open.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KIND "imatrix-unfinished"
#define KEY_WHAT "pare.imatrix.unfinished.what"
#define KEY_MODEL "pare.imatrix.unfinished.model"
#define KEY_RUN "pare.imatrix.unfinished.run"
#define KEY_WINDOWS "pare.imatrix.unfinished.windows"

enum { MAX_NAME = 63 }; /* bytes of a tensor's name in GGUF */

static const double max_count = 9007199254740992.0; /* 2^53 */

char *pare_collect_state_triangles(const char *path, pare_error *err)
{
    pare_buf text = {0};
    return pare_buf_printf(&text, err, "%s.gram", path) == PARE_OK ? text.data : NULL;
}

void pare_collect_state_remove(const char *path)
{
    char *triangles = pare_collect_state_triangles(path, NULL);
    unlink(path); /* first: without it the other one is of no use */
    if (triangles != NULL)
        unlink(triangles);
    free(triangles);
}

pare_status pare_collect_state_start(pare_model *s, const char *path, size_t n, pare_error *err)
{
    enum { PARTS = 4 };
    *s = (pare_model){.format = PARE_FORMAT_GGUF, .path = path, .alignment = 32};
    return pare_model_reserve(s, n * PARTS + 1, err);
}

/* False: no GGUF file holds such a name. */
static bool full_name(char name[MAX_NAME + 1], const char *tensor, const char *part)
{
    int len = snprintf(name, MAX_NAME + 1, "%s.%s", tensor, part);
    return len > 0 && len <= MAX_NAME;
}

pare_status pare_collect_state_add(pare_model *s, const char *name, const char *part, const double *sums, uint64_t n,
                                   pare_error *err)
{
    char full[MAX_NAME + 1];
    if (!full_name(full, name, part))
        return pare_fail(err, PARE_ERR_RANGE, "%s: the name '%s.%s' is too long for a GGUF file", s->path, name, part);
    pare_tensor t = {.name = full, .type = PARE_TYPE_F64, .n_dims = 1, .dim = {n}, .data = (const uint8_t *)sums};
    pare_status st = pare_tensor_set_shape(&t, s->path, err);
    return st == PARE_OK ? pare_model_add(s, &t, NULL, err) : st;
}

static pare_str str_of(const char *text)
{
    return (pare_str){text, strlen(text)};
}

pare_status pare_collect_state_write(pare_model *s, const pare_collect_point *at, pare_error *err)
{
    const pare_write_options options = {.force = true};
    pare_status st = pare_meta_set_str(&s->meta, "general.type", str_of(KIND), err);
    if (st == PARE_OK)
        st = pare_meta_set_str(&s->meta, KEY_WHAT, str_of(at->what), err);
    if (st == PARE_OK)
        st = pare_meta_set_str(&s->meta, KEY_MODEL, str_of(at->model), err);
    if (st == PARE_OK)
        st = pare_meta_set_u32(&s->meta, KEY_RUN, at->run, err);
    if (st == PARE_OK)
        st = pare_meta_set_u32(&s->meta, KEY_WINDOWS, at->n_windows, err);
    return st == PARE_OK ? pare_gguf_write(s, s->path, &options, NULL, err) : st;
}

static pare_status read_text(const pare_model *s, const char *key, char *out, size_t size, pare_error *err)
{
    const pare_meta_value *v = pare_meta_find(&s->meta, key);
    if (v == NULL || v->type != PARE_META_STRING || v->v.s.len >= size || memchr(v->v.s.data, 0, v->v.s.len) != NULL)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: no unfinished statistics of pare imatrix: no key '%s' that fits",
                         s->path, key);
    memcpy(out, v->v.s.data, v->v.s.len);
    out[v->v.s.len] = '\0';
    return PARE_OK;
}

static pare_status read_point(const pare_model *s, pare_collect_point *at, pare_error *err)
{
    uint64_t run = 0, n_windows = 0;
    char kind[sizeof KIND];
    pare_status st = read_text(s, "general.type", kind, sizeof kind, err);
    if (st == PARE_OK && strcmp(kind, KIND) != 0)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: no unfinished statistics of pare imatrix", s->path);
    if (st == PARE_OK)
        st = read_text(s, KEY_WHAT, at->what, sizeof at->what, err);
    if (st == PARE_OK)
        st = read_text(s, KEY_MODEL, at->model, sizeof at->model, err);
    if (st == PARE_OK)
        st = pare_meta_u64(&s->meta, s->path, KEY_RUN, 0, INT32_MAX, &run, NULL, err);
    if (st == PARE_OK)
        st = pare_meta_u64(&s->meta, s->path, KEY_WINDOWS, 0, INT32_MAX, &n_windows, NULL, err);
    at->run = (uint32_t)run;
    at->n_windows = (uint32_t)n_windows;
    return st;
}

pare_status pare_collect_state_open(pare_model *s, const char *path, pare_collect_point *at, pare_error *err)
{
    pare_status st = pare_gguf_open(s, path, PARE_OPEN_RAW, err);
    if (st != PARE_OK)
        return st;
    if ((st = read_point(s, at, err)) != PARE_OK)
        pare_model_close(s);
    return st;
}

static const pare_tensor *find(const pare_model *s, const char *name, const char *part)
{
    char full[MAX_NAME + 1];
    return full_name(full, name, part) ? pare_model_find(s, full) : NULL;
}

bool pare_collect_state_has(const pare_model *s, const char *name, const char *part)
{
    return find(s, name, part) != NULL;
}

pare_status pare_collect_state_get(const pare_model *s, const char *name, const char *part, double *sums, uint64_t n,
                                   pare_error *err)
{
    const pare_tensor *t = find(s, name, part);
    if (t == NULL || t->type != PARE_TYPE_F64 || t->n_rows * t->row_len != n) /* checked by the GGUF reader */
        return pare_fail(err, PARE_ERR_FORMAT, "%s: no %" PRIu64 " sums '%s.%s': it is damaged", s->path, n, name,
                         part);
    pare_status st = pare_tensor_read(t, 0, t->n_rows, sums, err);
    for (uint64_t i = 0; i < n && st == PARE_OK; i++)
        if (!isfinite(sums[i]))
            st = pare_fail(err, PARE_ERR_NUMBER, "%s: sum %" PRIu64 " of '%s.%s' is %g: it is damaged", s->path, i,
                           name, part, sums[i]);
    return st;
}

pare_status pare_collect_state_count(const pare_model *s, const char *name, const char *part, uint64_t *counts,
                                     uint64_t n, pare_error *err)
{
    const pare_tensor *t = find(s, name, part);
    double *values = t != NULL ? malloc((size_t)t->n_bytes + 1) : NULL;
    pare_status st = t != NULL && values == NULL
                         ? pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu64 " counts", s->path, n)
                         : pare_collect_state_get(s, name, part, values, n, err);
    for (uint64_t i = 0; i < n && st == PARE_OK; i++) {
        if (!(values[i] >= 0) || values[i] > max_count || values[i] != floor(values[i]))
            st = pare_fail(err, PARE_ERR_RANGE, "%s: count %" PRIu64 " of '%s.%s' is %g: it is damaged", s->path, i,
                           name, part, values[i]);
        else
            counts[i] = (uint64_t)values[i];
    }
    free(values);
    return st;
}

pare_status pare_collect_state_check(const char *path, const pare_collect_point *at, const pare_collect_point *now,
                                     pare_error *err)
{
    if (strcmp(at->what, now->what) != 0)
        return pare_fail(err, PARE_ERR_USAGE, "%s: another run's: it is of %s, this run of %s", path, at->what,
                         now->what);
    if (strcmp(at->model, now->model) != 0)
        return pare_fail(err, PARE_ERR_USAGE,
                         "%s: of another model, or of a machine that computes otherwise: the first windows gave other "
                         "inputs (%s, here %s)",
                         path, at->model, now->model);
    return PARE_OK;
}
