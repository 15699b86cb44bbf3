#include "formats/pack.h"
#include "model/view.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 512, MAX_NAMED = 10 };

static const pare_pack_format *const formats[] = {
    &pare_pack_awq,   &pare_pack_gptq,  &pare_pack_compressed,    &pare_pack_fp8,
    &pare_pack_nvfp4, &pare_pack_mxfp4, &pare_pack_mxfp4_experts,
};

const pare_pack_format *pare_pack_find(const char *name)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (strcmp(formats[i]->name, name) == 0)
            return formats[i];
    return NULL;
}

void pare_pack_close(pare_pack *pack)
{
    pare_buf_close(&pack->kept);
    pare_buf_close(&pack->packed);
    free(pack->entries);
    pack->entries = NULL;
    pack->n_entries = pack->cap_entries = 0;
}

json_t *pare_pack_modules(const pare_buf *lines, const char *first)
{
    json_t *list = json_array();
    bool ok = list != NULL && (first == NULL || json_array_append_new(list, json_string(first)) == 0);
    const char *at = lines->len > 0 ? (const char *)lines->data : "", *end;
    for (; ok && (end = strchr(at, '\n')) != NULL; at = end + 1)
        ok = json_array_append_new(list, json_stringn(at, (size_t)(end - at))) == 0;
    if (ok)
        return list;
    json_decref(list);
    return NULL;
}

/* ---- groups ---- */

uint64_t pare_pack_group(const pare_pack *pack, const pare_tensor *weight)
{
    return pack->options.group > 0 ? (uint64_t)pack->options.group : weight->row_len;
}

pare_status pare_pack_check_group(const pare_pack *pack, const pare_tensor *weight, uint64_t unit, pare_error *err)
{
    uint64_t group = pare_pack_group(pack, weight);
    if (weight->row_len % group == 0 && group % unit == 0)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_RANGE,
                     "tensor '%s': its rows of %" PRIu64 " columns are not made of groups of %" PRIu64
                     " (--group-size; for '%s' a multiple of %" PRIu64 ", or -1 for whole rows)",
                     weight->name, weight->row_len, group, pack->format->name, unit);
}

/* ---- which matrices are packed ---- */

pare_status pare_pack_note(pare_pack *pack, const pare_pack_entry *entry, pare_error *err)
{
    if (pack->n_entries == pack->cap_entries) {
        size_t cap = pack->cap_entries > 0 ? 2 * pack->cap_entries : 256;
        pare_pack_entry *list = realloc(pack->entries, cap * sizeof *list); /* bounded by the tensors of the folder */
        if (list == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tensors", cap);
        pack->entries = list;
        pack->cap_entries = cap;
    }
    pack->entries[pack->n_entries++] = *entry;
    return PARE_OK;
}

/* Find what does not fit. *why: the first of it. */
static pare_status find_unfit(pare_pack *pack, pare_error *why)
{
    for (size_t i = 0; i < pack->n_entries; i++) {
        pare_pack_entry *e = &pack->entries[i];
        pare_error err = {0};
        if (e->kind != PARE_PACK_MATRIX || pack->format->fits == NULL)
            continue;
        pare_status st = pack->format->fits(pack, &e->tensor, &err);
        e->unfit = st != PARE_OK;
        if (st != PARE_OK && pack->n_unfit++ == 0)
            *why = err;
        if (st != PARE_OK && e->of_experts) {
            *why = err;
            return st;
        }
    }
    return PARE_OK;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Runtimes take the matrices that they unite all packed or all as floats. */
static pare_status spread_unfit(pare_pack *pack, pare_error *err)
{
    size_t n = 0;
    uint64_t *united = malloc((pack->n_unfit + 1) * sizeof *united);
    if (united == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu numbers", pack->n_unfit);
    for (size_t i = 0; i < pack->n_entries; i++)
        if (pack->entries[i].unfit && pack->entries[i].united != 0)
            united[n++] = pack->entries[i].united;
    qsort(united, n, sizeof *united, by_number);
    for (size_t i = 0; i < pack->n_entries; i++) {
        pare_pack_entry *e = &pack->entries[i];
        if (e->kind == PARE_PACK_MATRIX && !e->unfit &&
            bsearch(&e->united, united, n, sizeof *united, by_number) != NULL) {
            e->unfit = true;
            pack->n_unfit++;
        }
    }
    free(united);
    return PARE_OK;
}

static pare_status add_entry(pare_pack *pack, pare_model *hub, const pare_pack_entry *e, pare_type type,
                             pare_error *err)
{
    static const char end[] = ".weight";
    const pare_tensor *t = &e->tensor;
    int n = (int)(strlen(t->name) - strlen(end)); /* used where the name has this end */
    pare_tensor made = *t;
    char module[NAME_BYTES];
    pare_status st = PARE_OK;
    pack->united = e->united;
    if (e->kind == PARE_PACK_EXPERTS)
        return pack->format->add_experts(hub, t, t->name, err);
    if (e->kind == PARE_PACK_MATRIX && !e->unfit) {
        snprintf(module, sizeof module, "%.*s", n, t->name);
        st = pare_buf_printf(&pack->packed, err, "%s\n", module);
        return st == PARE_OK ? pack->format->add(pack, hub, t, module, err) : st;
    }
    if (e->unfit || e->listed)
        st = pare_buf_printf(&pack->kept, err, "%.*s\n", n, t->name);
    if (st == PARE_OK && t->type != type)
        st = pare_view_cast(&hub->arena, &made, t, type, err);
    made.name = t->name;
    return st == PARE_OK ? pare_model_add(hub, &made, NULL, err) : st;
}

pare_status pare_pack_all(pare_pack *pack, pare_model *hub, pare_type type, pare_error *err)
{
    pare_error why = {0};
    pack->type = type;
    pare_status st = find_unfit(pack, &why);
    if (st == PARE_ERR_RANGE)
        return pare_fail(err, st, "%s; readers take the matrices of experts all packed or all as floats", why.text);
    if ((st = spread_unfit(pack, err)) != PARE_OK)
        return st;
    for (size_t i = 0; i < pack->n_entries; i++)
        pack->n_packed += pack->entries[i].kind != PARE_PACK_FLOATS && !pack->entries[i].unfit;
    if (pack->n_packed == 0 && pack->n_unfit > 0)
        return pare_fail(err, PARE_ERR_RANGE, "%s; no matrix could be packed", why.text);
    for (size_t i = 0; i < pack->n_entries && st == PARE_OK; i++)
        st = add_entry(pack, hub, &pack->entries[i], type, err);
    return st;
}

static pare_status tell_of_experts(const pare_pack *pack, const char *path, pare_error *err)
{
    bool asks = pack->format != NULL && pack->format->experts_differ != NULL;
    for (size_t i = 0; asks && i < pack->n_entries; i++) {
        const pare_pack_entry *e = &pack->entries[i];
        bool expert = e->of_experts && e->kind == PARE_PACK_MATRIX;
        const char *rest = expert ? pack->format->experts_differ(pack, &e->tensor) : NULL;
        if (rest != NULL)
            return pare_warn(err, "%s: '%s' and other experts: %s", path, e->tensor.name, rest);
    }
    return PARE_OK;
}

static pare_status tell_of_floats(const pare_pack *pack, const char *path, pare_error *err)
{
    pare_buf names = {0};
    pare_error why = {0};
    size_t n = 0;
    pare_status st = PARE_OK;
    if (pack->n_unfit == 0)
        return PARE_OK;
    for (size_t i = 0; i < pack->n_entries && st == PARE_OK; i++) {
        const pare_pack_entry *e = &pack->entries[i];
        if (!e->unfit)
            continue;
        if (why.text[0] == '\0')
            pack->format->fits(pack, &e->tensor, &why);
        if (n++ < MAX_NAMED)
            st = pare_buf_printf(&names, err, "%s'%s'", n > 1 ? ", " : "", e->tensor.name);
    }
    if (st == PARE_OK)
        st = pare_warn(err, "%s: %zu of %zu matrices stay floats: %.*s%s; %s", path, n, n + pack->n_packed,
                       (int)names.len, (const char *)names.data, n > MAX_NAMED ? ", ..." : "", why.text);
    pare_buf_close(&names);
    return st;
}

pare_status pare_pack_tell(const pare_pack *pack, const char *path, pare_error *err)
{
    pare_status st = tell_of_floats(pack, path, err);
    return st == PARE_OK ? tell_of_experts(pack, path, err) : st;
}

pare_status pare_pack_add(pare_model *hub, const pare_tensor *t, const char *module, const char *end, pare_error *err)
{
    char name[NAME_BYTES];
    pare_tensor named = *t;
    int n = snprintf(name, sizeof name, "%s%s", module, end);
    if (n < 0 || (size_t)n >= sizeof name)
        return pare_fail(err, PARE_ERR_RANGE, "tensor '%s': its name is too long", module);
    named.name = name;
    return pare_model_add(hub, &named, NULL, err);
}
