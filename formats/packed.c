#include "formats/packed.h"
#include "formats/hf_files.h"
#include "formats/packed_named.h"
#include "formats/safe_path.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 512 };

static const pare_packed_format *const formats[] = {
    &pare_packed_awq,    &pare_packed_gptq,  &pare_packed_mxfp4,  &pare_packed_compressed,
    &pare_packed_fp8,    &pare_packed_mxfp8, &pare_packed_fbgemm, &pare_packed_modelopt,
    &pare_packed_bitnet, &pare_packed_bnb,   &pare_packed_exl3,
};

/* Files that say what quantization_config would, from before there was one. */
static const struct {
    const char *file, *method;
} stand_ins[] = {
    {"quant_config.json", "awq"},
    {"quantize_config.json", "gptq"},
    {"hf_quant_config.json", "modelopt"},
};

/* ---- names ---- */

/* Length of name without the first of these ends that it has; 0: it has none. */
static size_t module_length(const char *name, const char *const *ends)
{
    size_t n = strlen(name);
    for (; *ends != NULL; ends++) {
        size_t k = strlen(*ends);
        if (n > k && strcmp(name + n - k, *ends) == 0)
            return n - k;
    }
    return 0;
}

const pare_tensor *pare_packed_part(const pare_packed *p, const char *module, const char *end)
{
    char name[NAME_BYTES];
    int n = snprintf(name, sizeof name, "%s%s", module, end);
    return n > 0 && (size_t)n < sizeof name ? pare_model_find(p->raw, name) : NULL;
}

/* Parts that primaries lack: their names, as many as a message has room for, and how many in all. */
typedef struct pare_packed_missing {
    pare_buf names;
    size_t n;
} pare_packed_missing;

pare_status pare_packed_lacks(const pare_packed *p, const char *module, const char *end, pare_error *err)
{
    pare_packed_missing *m = p->missing;
    m->n++;
    if (m->names.len > PARE_ERROR_TEXT)
        return PARE_ERR_FORMAT;
    pare_status st = pare_buf_printf(&m->names, err, "%s'%s%s'", m->n > 1 ? ", " : "", module, end);
    return st == PARE_OK ? PARE_ERR_FORMAT : st;
}

/* The message of all that lack. */
static pare_status fail_missing(const pare_packed *p, pare_error *err)
{
    return pare_fail(err, PARE_ERR_FORMAT, "%s: %zu tensors that weights packed by %s need are missing: %.*s", p->path,
                     p->missing->n, p->format->name, (int)p->missing->names.len, (const char *)p->missing->names.data);
}

const pare_tensor *pare_packed_matrix(const pare_packed *p, const char *module, const char *end, pare_type type,
                                      uint64_t n_rows, uint64_t row_len, pare_status *st, pare_error *err)
{
    const pare_tensor *t = pare_packed_part(p, module, end);
    if (t == NULL) {
        *st = pare_packed_lacks(p, module, end, err);
        return NULL;
    }
    const pare_type_info *info = pare_type_get(t->type);
    bool fits = type == PARE_TYPE_NONE ? (info->traits & PARE_TRAIT_FLOAT) != 0 : t->type == type;
    if (fits && t->n_dims == 2 && t->n_rows == n_rows && t->row_len == row_len)
        return t;
    *st = pare_fail(err, PARE_ERR_RANGE,
                    "%s: tensor '%s' has %" PRIu64 " rows of %" PRIu64 " %s, where the settings ask for %" PRIu64
                    " of %" PRIu64 " %s",
                    p->path, t->name, t->n_rows, t->row_len, info->name, n_rows, row_len,
                    type == PARE_TYPE_NONE ? "floats" : pare_type_get(type)->name);
    return NULL;
}

/* ---- settings ---- */

pare_status pare_packed_group_size(const pare_packed *p, const char *key, uint64_t *group, pare_error *err)
{
    const json_t *value = json_object_get(p->settings, key);
    *group = 0;
    if (json_is_integer(value) && json_integer_value(value) == -1)
        return PARE_OK;
    return pare_json_u64(p->settings, p->path, key, 1, UINT32_MAX, group, NULL, err);
}

pare_status pare_packed_check_group(const pare_packed *p, const pare_tensor *codes, uint64_t row_len, uint64_t group,
                                    pare_error *err)
{
    if (row_len % group == 0)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_RANGE,
                     "%s: groups of %" PRIu64 " columns ('group_size') do not divide the %" PRIu64
                     " columns that tensor '%s' holds",
                     p->path, group, row_len, codes->name);
}

static pare_status find_format(pare_packed *p, const char *method, pare_error *err)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (strcmp(formats[i]->method, method) == 0) {
            p->format = formats[i];
            return PARE_OK;
        }
    const char *known = pare_packed_known_name(method);
    if (known != NULL)
        return pare_fail(
            err, PARE_ERR_UNSUPPORTED,
            "%s: weights packed by %s are recognised, but not decoded; take the folder that they were made "
            "from",
            p->path, known);
    return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: quantization method '%s' is not supported", p->path, method);
}

/* A file that stands in for quantization_config. *file stays NULL: there is none. The caller frees it and *path. */
static pare_status load_stand_in(const char *dir, json_t **file, char **path, const char **method, pare_error *err)
{
    char why[NAME_BYTES];
    for (size_t i = 0; i < sizeof stand_ins / sizeof *stand_ins; i++) {
        pare_path_state state;
        pare_status st = pare_path_look(&state, dir, stand_ins[i].file, why, sizeof why, err);
        if (st != PARE_OK)
            return st;
        if (state == PARE_PATH_REFUSED)
            return pare_fail(err, PARE_ERR_FORMAT, "%s/%s: %s", dir, stand_ins[i].file, why);
        if (state == PARE_PATH_ABSENT)
            continue;
        *method = stand_ins[i].method;
        if ((*path = pare_path_join(dir, stand_ins[i].file, err)) == NULL)
            return PARE_ERR_MEMORY;
        return pare_json_load(file, *path, PARE_HF_CONFIG_BYTES, PARE_JSON_BIG_AS_REAL, err);
    }
    return PARE_OK;
}

/* ---- tensors ---- */

/* What becomes of tensor t: unpacked, left out since its module's primary is, or kept. */
static pare_status add_one(const pare_packed *p, const pare_tensor *t, pare_model *out, size_t *n_packed,
                           pare_error *err)
{
    char module[NAME_BYTES], name[NAME_BYTES];
    size_t primary = module_length(t->name, p->format->primaries),
           n = primary > 0 ? primary : module_length(t->name, p->format->parts);
    const char *result = p->format->result != NULL ? p->format->result : t->name + n;
    if (primary == 0 && p->format->runtime != NULL && module_length(t->name, p->format->runtime) > 0)
        return PARE_OK;
    if (n == 0)
        return pare_model_add(out, t, NULL, err);
    if (strlen(t->name) + strlen(result) >= sizeof name)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: tensor '%s': its name is too long", p->path, t->name);
    memcpy(module, t->name, n);
    module[n] = '\0';
    if (primary == 0) {
        bool taken = false;
        for (const char *const *end = p->format->primaries; *end != NULL && !taken; end++)
            taken = pare_packed_part(p, module, *end) != NULL;
        return taken ? PARE_OK : pare_model_add(out, t, NULL, err);
    }
    snprintf(name, sizeof name, "%s%s", module, result);
    pare_tensor made = {.name = name, .file = t->file, .offset = t->offset};
    pare_status st = p->format->unpack(p, t, module, &made, err);
    made.packed = made.data == NULL; /* else it is a tensor of the files as it lies there */
    *n_packed += made.packed;
    return st == PARE_OK ? pare_model_add(out, &made, NULL, err) : st;
}

/* The bias of a matrix that is filled up is filled up, too. */
static void mark_biases(const pare_model *m)
{
    char name[NAME_BYTES];
    for (size_t i = 0; i < m->n_tensors; i++) {
        size_t n = module_length(m->tensors[i].name, (const char *const[]){".weight", NULL});
        if (m->tensors[i].padded == 0 || n == 0)
            continue;
        snprintf(name, sizeof name, "%.*s.bias", (int)n, m->tensors[i].name);
        const pare_tensor *bias = pare_model_find(m, name);
        if (bias != NULL)
            m->tensors[bias - m->tensors].padded = m->tensors[i].padded;
    }
}

static pare_status unpack_all(const pare_packed *p, pare_model *raw, pare_error *err)
{
    pare_model out = {.format = raw->format, .alignment = raw->alignment};
    pare_status st = pare_model_reserve(&out, raw->n_tensors, err);
    size_t n_packed = 0;
    for (size_t i = 0, n_missing = 0; i < raw->n_tensors && st == PARE_OK; i++) {
        st = add_one(p, &raw->tensors[i], &out, &n_packed, err);
        if (st == PARE_ERR_FORMAT && p->missing->n > n_missing)
            st = PARE_OK; /* for now: all that is missing is listed at once */
        n_missing = p->missing->n;
    }
    if (st == PARE_OK && p->missing->n > 0)
        st = fail_missing(p, err);
    if (st == PARE_OK && n_packed == 0)
        st = pare_warn(err, "%s: 'quantization_config' says %s, and no weight is packed so: they are read as they are",
                       p->path, p->format->name);
    if (st != PARE_OK) {
        pare_model_close(&out);
        return pare_fail_in(err, st, p->path);
    }
    out.claims = n_packed == 0 ? p->format->name : NULL;
    mark_biases(&out);
    out.files = raw->files; /* the mapped bytes stay */
    out.n_files = raw->n_files;
    raw->files = NULL;
    raw->n_files = 0;
    pare_model_close(raw);
    *raw = out;
    return PARE_OK;
}

pare_status pare_packed_open(pare_model *raw, pare_arena *arena, const char *dir, const json_t *config,
                             const char *config_path, pare_error *err)
{
    pare_packed p = {
        .raw = raw, .arena = arena, .config = config, .settings = json_object_get(config, "quantization_config")};
    pare_packed_missing missing = {0};
    json_t *file = NULL;
    char *path = NULL;
    const char *method = NULL;
    pare_status st = PARE_OK;
    p.missing = &missing;
    if (p.settings == NULL || json_is_null(p.settings)) {
        st = load_stand_in(dir, &file, &path, &method, err);
        p.settings = file;
    } else
        method = json_string_value(json_object_get(p.settings, "quant_method"));
    if (st == PARE_OK && p.settings == NULL)
        st = pare_packed_refuse_traces(raw, config_path, err);
    if (st != PARE_OK || p.settings == NULL)
        goto done;
    p.path = path != NULL ? path : config_path;
    if (!json_is_object(p.settings))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: the settings of the quantization are no JSON object", p.path);
    else if (method == NULL)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: 'quantization_config' has no 'quant_method' that is a text", p.path);
    if (st == PARE_OK)
        st = find_format(&p, method, err);
    if (st == PARE_OK && p.format->start != NULL)
        st = p.format->start(&p, err);
    if (st == PARE_OK)
        st = unpack_all(&p, raw, err);
done:
    pare_buf_close(&missing.names);
    json_decref(file);
    free(path);
    return st;
}
