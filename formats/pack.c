#include "formats/pack.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

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

json_t *pare_pack_kept(const pare_pack *pack, const char *first)
{
    json_t *list = json_array();
    bool ok = list != NULL && (first == NULL || json_array_append_new(list, json_string(first)) == 0);
    const char *at = pack->kept.len > 0 ? (const char *)pack->kept.data : "", *end;
    for (; ok && (end = strchr(at, '\n')) != NULL; at = end + 1)
        ok = json_array_append_new(list, json_stringn(at, (size_t)(end - at))) == 0;
    if (ok)
        return list;
    json_decref(list);
    return NULL;
}

pare_status pare_pack_group(const pare_pack *pack, const pare_tensor *weight, uint64_t unit, uint64_t *group,
                            pare_error *err)
{
    *group = pack->options.group > 0 ? (uint64_t)pack->options.group : weight->row_len;
    if (weight->row_len % *group == 0 && *group % unit == 0)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_RANGE,
                     "tensor '%s': its rows of %" PRIu64 " columns are not made of groups of %" PRIu64
                     " (--group-size; for '%s' a multiple of %" PRIu64 ", or -1 for whole rows)",
                     weight->name, weight->row_len, *group, pack->format->name, unit);
}

pare_status pare_pack_add(pare_model *hub, const pare_tensor *t, const char *module, const char *end, pare_error *err)
{
    char name[512];
    pare_tensor named = *t;
    int n = snprintf(name, sizeof name, "%s%s", module, end);
    if (n < 0 || (size_t)n >= sizeof name)
        return pare_fail(err, PARE_ERR_RANGE, "tensor '%s': its name is too long", module);
    named.name = name;
    return pare_model_add(hub, &named, NULL, err);
}
