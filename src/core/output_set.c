#include "core/output_set.h"

#include <stdlib.h>

pare_status pare_output_set_add(pare_output_set *set, pare_output *out, pare_error *err)
{
    if (set->n == set->cap) {
        size_t cap = set->cap > 0 ? 2 * set->cap : 8;
        pare_output **more = reallocarray(set->items, cap, sizeof(pare_output *));
        if (more == NULL) {
            pare_output_close(out);
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu outputs", cap);
        }
        set->items = more;
        set->cap = cap;
    }
    set->items[set->n++] = out;
    return PARE_OK;
}

pare_status pare_output_set_add_file(pare_output_set *set, const char *path, const void *data, size_t n, unsigned flags,
                                     pare_error *err)
{
    pare_output *out = NULL;
    pare_status st = pare_output_open(&out, path, n, flags, err);
    if (st == PARE_OK && (st = pare_output_write(out, data, n, err)) == PARE_OK)
        st = pare_output_finish(out, err);
    if (st == PARE_OK)
        return pare_output_set_add(set, out, err);
    pare_output_close(out);
    return st;
}

pare_status pare_output_set_publish(pare_output_set *set, pare_error *err)
{
    pare_status st = pare_output_publishing(err);
    if (st != PARE_OK)
        return st;
    size_t i = set->n;
    while (i > 0 && (st = pare_output_publish(set->items[i - 1], err)) == PARE_OK)
        i--;
    for (; st != PARE_OK && i < set->n; i++)
        pare_output_withdraw(set->items[i]);
    pare_output_published();
    return st;
}

void pare_output_set_close(pare_output_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        pare_output_close(set->items[i]);
    free(set->items);
    *set = (pare_output_set){0};
}
