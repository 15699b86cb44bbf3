#include "cmd/model_diff.h"
#include "cmd/console.h"
#include "cmd/summary.h"

#include <string.h>

static void found(json_t *list, const char *kind, const char *name, size_t len, const char *text)
{
    json_array_append_new(list,
                          json_pack("{s:s, s:o, s:s}", "kind", kind, "name", cmd_json_text(name, len), "text", text));
}

static const pare_meta_value *find_value(const pare_meta *meta, pare_str key)
{
    int64_t i = pare_index_find(&meta->by_key, key);
    return i == PARE_INDEX_NONE ? NULL : &meta->values[i];
}

static pare_status same_value(const pare_meta_value *x, const pare_meta_value *y, bool *same, pare_error *err)
{
    pare_buf left = {0}, right = {0};
    pare_status st = pare_meta_serialize(x, &left, err);
    if (st == PARE_OK)
        st = pare_meta_serialize(y, &right, err);
    *same = left.len == right.len && (left.len == 0 || memcmp(left.data, right.data, left.len) == 0);
    pare_buf_close(&left);
    pare_buf_close(&right);
    return st;
}

static pare_status diff_metadata(const pare_model *a, const pare_model *b, json_t *list, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < a->meta.n && st == PARE_OK; i++) {
        const pare_meta_value *x = &a->meta.values[i], *y = find_value(&b->meta, x->key);
        bool same = false;
        if (y == NULL)
            found(list, "metadata", x->key.data, x->key.len, "only in the first");
        else if ((st = same_value(x, y, &same, err)) == PARE_OK && !same)
            found(list, "metadata", x->key.data, x->key.len, "another value");
    }
    for (size_t i = 0; i < b->meta.n; i++)
        if (find_value(&a->meta, b->meta.values[i].key) == NULL)
            found(list, "metadata", b->meta.values[i].key.data, b->meta.values[i].key.len, "only in the second");
    return st;
}

static bool same_shape(const pare_tensor *x, const pare_tensor *y)
{
    return x->n_dims == y->n_dims && memcmp(x->dim, y->dim, x->n_dims * sizeof x->dim[0]) == 0;
}

static void diff_tensor(const pare_tensor *x, const pare_tensor *y, json_t *list)
{
    char text[512], left[200], right[200];
    if (!same_shape(x, y)) {
        cmd_shape_text(left, sizeof left, x);
        cmd_shape_text(right, sizeof right, y);
        snprintf(text, sizeof text, "shape %s and %s", left, right);
    } else if (x->type != y->type)
        snprintf(text, sizeof text, "type %s and %s", pare_type_get(x->type)->name, pare_type_get(y->type)->name);
    else if (x->data != NULL && y->data != NULL && memcmp(x->data, y->data, x->n_bytes) != 0)
        snprintf(text, sizeof text, "other weights");
    else
        return;
    found(list, "tensor", x->name, strlen(x->name), text);
}

pare_status cmd_model_diff(const pare_model *a, const pare_model *b, json_t *list, pare_error *err)
{
    pare_status st = diff_metadata(a, b, list, err);
    for (size_t i = 0; i < a->n_tensors && st == PARE_OK; i++) {
        const pare_tensor *x = &a->tensors[i], *y = pare_model_find(b, x->name);
        if (y == NULL)
            found(list, "tensor", x->name, strlen(x->name), "only in the first");
        else
            diff_tensor(x, y, list);
        st = pare_check_interrupt(err);
    }
    for (size_t i = 0; i < b->n_tensors && st == PARE_OK; i++)
        if (pare_model_find(a, b->tensors[i].name) == NULL)
            found(list, "tensor", b->tensors[i].name, strlen(b->tensors[i].name), "only in the second");
    return st;
}
