/* compressed-tensors, as llm-compressor and others store it (the package's compressors, version 0.20). A module has
 *
 *     weight_packed I32 [out, ceil(in * b / 32)]  integers of b bits, the first in the lowest; plus 2^(b - 1)
 *     weight        I8 [out, in]                  the same without packing
 *     weight        F8_E4M3 [out, in]             floats
 *     weight_packed U8 [out, in / 2]              floats of 4 bits, the first in the low nibble (of 6: 3 bytes hold 4)
 *
 * and weight_scale: one number, one a row, one a group or tile; F8_E4M3 with weight_global_scale, by which it is
 * divided (NVFP4); bytes that are exponents of 2 (MX formats). Asymmetric integers have weight_zero_point, packed down
 * the columns where the weights are packed; weight_g_idx I32 [in], the group of each column, may be there. weight_shape
 * is the shape without padding. What is said of activations and
 * of the cache is left to the runtimes. */
#include "core/bytes.h"
#include "formats/packed.h"
#include "formats/packed_grid.h"
#include "formats/packed_scaled.h"

#include <inttypes.h>
#include <string.h>

enum { MAX_GROUPS = 64, PART_CODES = 0, PART_SCALES, PART_ZEROS };

/* What config_groups say of weights. */
typedef struct scheme {
    uint64_t bits, group; /* group 0: none said */
    uint64_t tile[2];
} scheme;

typedef struct settings {
    scheme schemes[MAX_GROUPS];
    size_t n;
} settings;

/* ---- settings ---- */

/* Names of presets instead of a description carry their numbers: W4A16. Nothing else is needed of them. */
static pare_status read_scheme(const pare_packed *p, const char *group, const json_t *o, scheme *s, pare_error *err)
{
    const json_t *weights = json_object_get(o, "weights");
    bool found = false;
    if (json_is_array(o) && (group[0] == 'W' || group[0] == 'w') && group[1] >= '1' && group[1] <= '8') {
        s->bits = (uint64_t)(group[1] - '0');
        return PARE_OK;
    }
    if (json_is_array(o) || weights == NULL || json_is_null(weights))
        return PARE_OK;
    pare_status st = pare_json_u64(weights, p->path, "num_bits", 1, 16, &s->bits, &found, err);
    const json_t *size = json_object_get(weights, "group_size");
    if (st == PARE_OK && !(json_is_integer(size) && json_integer_value(size) == -1))
        st = pare_json_u64(weights, p->path, "group_size", 1, UINT32_MAX, &s->group, &found, err);
    return st == PARE_OK ? pare_packed_tile(weights, p->path, "block_structure", s->tile, err) : st;
}

/* What changes the function of the model and is not undone here. */
static pare_status refuse_settings(const pare_packed *p, pare_error *err)
{
    const json_t *transforms = json_object_get(json_object_get(p->settings, "transform_config"), "config_groups");
    const char *sparse = json_string_value(json_object_get(json_object_get(p->settings, "sparsity_config"), "format"));
    const char *format = json_string_value(json_object_get(p->settings, "format"));
    if (json_object_size(transforms) > 0)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: 'transform_config' asks for transforms of activations",
                         p->path);
    if (sparse != NULL && strcmp(sparse, "dense") != 0)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: 'sparsity_config' has the format '%s'; only 'dense' is read",
                         p->path, sparse);
    if (format != NULL && (strstr(format, "sparse") != NULL || strstr(format, "marlin") != NULL))
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: 'format' is '%s', which is not read", p->path, format);
    return PARE_OK;
}

static pare_status start(pare_packed *p, pare_error *err)
{
    const json_t *groups = json_object_get(p->settings, "config_groups"), *o;
    const char *name;
    settings *s = pare_arena_alloc(p->arena, sizeof *s, err);
    pare_status st = s != NULL ? refuse_settings(p, err) : PARE_ERR_MEMORY;
    if (st != PARE_OK)
        return st;
    if (!json_is_object(groups) || json_object_size(groups) == 0 || json_object_size(groups) > MAX_GROUPS)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: 'config_groups' is no object of 1 to %d groups", p->path,
                         MAX_GROUPS);
    json_object_foreach((json_t *)(uintptr_t)groups, name, o) /* the macro wants one that may be changed */
    {
        s->schemes[s->n] = (scheme){0};
        if (st == PARE_OK)
            st = read_scheme(p, name, o, &s->schemes[s->n++], err);
    }
    p->state = s;
    return st;
}

/* ---- integers ---- */

/* g->zero: rows that share a scale. */
static void read_scales(const pare_grid *g, uint64_t row, float *dst)
{
    uint64_t n = g->row_len / g->group, first = row / (uint64_t)g->zero * n;
    for (uint64_t i = 0; i < n; i++)
        dst[i] = pare_grid_float(&g->part[PART_SCALES], first + i);
}

/* The zero point of a group of a row, as a signed integer. */
static int zero_at(const pare_grid *g, uint64_t row, uint64_t group)
{
    const pare_tensor *t = &g->part[PART_ZEROS];
    uint64_t n = g->row_len / g->group;
    if (t->data == NULL)
        return 0;
    if (t->type == PARE_TYPE_I8)
        return (int8_t)t->data[row / (uint64_t)g->zero * n + group];
    return (int)pare_grid_number(t->data + 4 * group, n, (unsigned)g->bits, row) - (1 << (g->bits - 1));
}

static void read_codes(const pare_grid *g, uint64_t row, int16_t *dst)
{
    const pare_tensor *t = &g->part[PART_CODES];
    const uint8_t *data = t->data + row * t->row_bytes;
    bool packed = t->type == PARE_TYPE_I32;
    int half = 1 << (g->bits - 1);
    uint64_t last = UINT64_MAX;
    int zero = 0;
    for (uint64_t c = 0; c < g->row_len; c++) {
        uint64_t group = pare_grid_group(g, c);
        if (group != last)
            zero = zero_at(g, row, group);
        last = group;
        int code = packed ? (int)pare_grid_number(data, 1, (unsigned)g->bits, c) - half : (int)(int8_t)data[c];
        dst[c] = (int16_t)(code - zero);
    }
}

/* The bounds of the codes, from the zero points that there are. */
static void find_bounds(pare_grid *g)
{
    int half = 1 << (g->bits - 1), least = 127, most = -128;
    const pare_tensor *zeros = &g->part[PART_ZEROS];
    uint64_t step = zeros->type == PARE_TYPE_I8 ? (uint64_t)g->zero : 1;
    if (zeros->data == NULL)
        least = most = 0;
    for (uint64_t row = 0; zeros->data != NULL && row < g->n_rows; row += step)
        for (uint64_t i = 0; i < g->row_len / g->group; i++) {
            int zero = zero_at(g, row, i);
            least = zero < least ? zero : least;
            most = zero > most ? zero : most;
        }
    g->low = -half - most;
    g->high = half - 1 - least;
}

/* Take the zero points, which must be as many as the scales. */
static pare_status take_zeros(const pare_packed *p, const char *module, pare_grid *g, pare_error *err)
{
    const pare_tensor *t = pare_packed_part(p, module, ".weight_zero_point");
    bool packed = g->part[PART_CODES].type == PARE_TYPE_I32;
    if (t == NULL)
        return PARE_OK;
    uint64_t columns = g->row_len / g->group, rows = g->n_rows / (uint64_t)g->zero,
             bits = g->n_rows * (uint64_t)g->bits;
    if (packed)
        rows = bits / 32 + (bits % 32 != 0);
    bool fits = t->n_rows * t->row_len == rows * columns && (!packed || g->zero == 1) &&
                t->type == (packed ? PARE_TYPE_I32 : PARE_TYPE_I8);
    if (!fits)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s' of %" PRIu64 " rows of %" PRIu64 " %s does not go with %" PRIu64
                         " rows of %" PRIu64 " weights in groups of %" PRIu64,
                         p->path, t->name, t->n_rows, t->row_len, pare_type_get(t->type)->name, g->n_rows, g->row_len,
                         g->group);
    g->part[PART_ZEROS] = *t;
    return PARE_OK;
}

/* Find what shares a scale: all, a row, or a group of one. */
static pare_status take_scales(const pare_packed *p, const pare_tensor *scale, uint64_t said, pare_grid *g,
                               pare_error *err)
{
    uint64_t n = scale->n_rows * scale->row_len, groups = n / g->n_rows;
    bool plain = scale->type == PARE_TYPE_F32 || scale->type == PARE_TYPE_F16 || scale->type == PARE_TYPE_BF16;
    bool whole = n == 1;
    if (!plain || (!whole && (n % g->n_rows != 0 || groups == 0 || g->row_len % groups != 0)) || g->n_rows > INT32_MAX)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s' of %" PRIu64 " rows of %" PRIu64 " %s does not go with %" PRIu64
                         " rows of %" PRIu64 " weights",
                         p->path, scale->name, scale->n_rows, scale->row_len, pare_type_get(scale->type)->name,
                         g->n_rows, g->row_len);
    g->zero = whole ? (int)g->n_rows : 1;
    g->group = whole ? g->row_len : g->row_len / groups;
    g->part[PART_SCALES] = *scale;
    if (said > 0 && g->row_len / g->group != g->row_len / said + (g->row_len % said != 0))
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: 'group_size' is %" PRIu64 ", but tensor '%s' has scales for groups of %" PRIu64, p->path,
                         said, scale->name, g->group);
    return PARE_OK;
}

/* Columns in another order of groups ("actorder": "group", which the package wrote up to version 0.12). It sorts the
 * columns by their groups and cuts the result into groups of one size, so all must have that. */
static pare_status take_order(const pare_packed *p, const char *module, pare_grid *g, pare_error *err)
{
    const pare_tensor *t = pare_packed_part(p, module, ".weight_g_idx");
    /* -1 all over: it was made, and not used */
    bool unset = t != NULL && t->type == PARE_TYPE_I32 && t->n_bytes / 4 == g->row_len;
    for (uint64_t i = 0; unset && i < t->n_bytes / 4; i++)
        unset = pare_load_u32le(t->data + 4 * i) == UINT32_MAX;
    return t == NULL || unset ? PARE_OK : pare_grid_order(p, t, true, g, err);
}

static pare_status unpack_integers(const pare_packed *p, const pare_tensor *code, const pare_tensor *scale,
                                   const char *module, const scheme *s, uint64_t n_columns, pare_tensor *out,
                                   pare_error *err)
{
    pare_grid g = {.n_rows = code->n_rows,
                   .row_len = n_columns,
                   .bits = (int)s->bits,
                   .codes = read_codes,
                   .scales = read_scales,
                   .part = {[PART_CODES] = *code}};
    pare_status st = take_scales(p, scale, s->group, &g, err);
    if (st == PARE_OK)
        st = take_zeros(p, module, &g, err);
    if (st == PARE_OK)
        st = take_order(p, module, &g, err);
    if (st != PARE_OK)
        return st;
    find_bounds(&g);
    return pare_grid_tensor(p->arena, &g, scale, out, err);
}

/* The shape without padding, from weight_shape. */
static pare_status find_shape(const pare_packed *p, const pare_tensor *code, const char *module, uint64_t *n_columns,
                              pare_error *err)
{
    const pare_tensor *shape = pare_packed_part(p, module, ".weight_shape");
    bool wide = shape != NULL && shape->type == PARE_TYPE_I64;
    if (shape == NULL)
        return pare_packed_lacks(p, module, ".weight_shape", err);
    if ((!wide && shape->type != PARE_TYPE_I32) || shape->n_rows != 1 || shape->row_len != 2)
        return pare_fail(err, PARE_ERR_RANGE, "%s: tensor '%s' is no pair of integers", p->path, shape->name);
    uint64_t rows = wide ? pare_load_u64le(shape->data) : pare_load_u32le(shape->data);
    *n_columns = wide ? pare_load_u64le(shape->data + 8) : pare_load_u32le(shape->data + 4);
    if (code->n_dims == 2 && rows == code->n_rows && *n_columns > 0 && *n_columns <= code->row_len * 32)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_RANGE,
                     "%s: tensor '%s' says %" PRIu64 " rows of %" PRIu64 " weights, '%s' has %" PRIu64
                     " rows of %" PRIu64 " words",
                     p->path, shape->name, rows, *n_columns, code->name, code->n_rows, code->row_len);
}

static pare_status unpack_words(const pare_packed *p, const pare_tensor *code, const pare_tensor *scale,
                                const char *module, pare_tensor *out, pare_error *err)
{
    const settings *s = p->state;
    uint64_t n_columns = 0, bits = 0;
    pare_status st = find_shape(p, code, module, &n_columns, err);
    if (st != PARE_OK)
        return st;
    for (size_t i = 0; i < s->n; i++) {
        bits = s->schemes[i].bits;
        if (bits >= 1 && bits <= 8 && (n_columns * bits + 31) / 32 == code->row_len)
            return unpack_integers(p, code, scale, module, &s->schemes[i], n_columns, out, err);
    }
    return pare_fail(err, PARE_ERR_RANGE,
                     "%s: tensor '%s' has %" PRIu64 " words a row of %" PRIu64
                     " weights, which no 'num_bits' of 'config_groups' gives (the last says %" PRIu64 ")",
                     p->path, code->name, code->row_len, n_columns, bits);
}

/* ---- floats ---- */

static pare_status unpack_floats(const pare_packed *p, const pare_tensor *code, const pare_tensor *scale,
                                 const char *module, pare_tensor *out, pare_error *err)
{
    const settings *s = p->state;
    uint64_t tile[2] = {0};
    float global = 1;
    pare_tensor typed = *code;
    if (pare_packed_part(p, module, ".weight_g_idx") != NULL)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: tensor '%s.weight_g_idx' orders the columns of floats",
                         p->path, module);
    pare_status st = pare_packed_scalar(p, module, ".weight_global_scale", 1, &global, err);
    for (size_t i = 0; i < s->n && tile[0] == 0; i++)
        memcpy(tile, s->schemes[i].tile, sizeof tile);
    bool exponents = scale->type == PARE_TYPE_U8, six = scale->row_len * 24 == code->row_len;
    if (st == PARE_OK && code->type == PARE_TYPE_U8)
        st = pare_view_retype(&typed, code, exponents && six ? PARE_TYPE_F6_E2M3 : PARE_TYPE_F4, err);
    const pare_codes how = {.code = &typed, .scale = scale, .scale_is_exponent = exponents, .factor = 1.0f / global};
    return st == PARE_OK ? pare_packed_scaled(p, &how, tile, out, err) : st;
}

static pare_status unpack(const pare_packed *p, const pare_tensor *primary, const char *module, pare_tensor *out,
                          pare_error *err)
{
    const settings *s = p->state;
    const pare_tensor *scale = pare_packed_part(p, module, ".weight_scale");
    bool plain = pare_packed_part(p, module, ".weight") == primary;
    if (scale == NULL && plain) {
        *out = *primary;
        return PARE_OK;
    }
    if (scale == NULL)
        return pare_packed_lacks(p, module, ".weight_scale", err);
    if (primary->type == PARE_TYPE_I32 && !plain)
        return unpack_words(p, primary, scale, module, out, err);
    if (primary->type == PARE_TYPE_I8 && primary->n_dims == 2 && s->schemes[0].tile[0] == 0) {
        scheme bytes = {.bits = 8};
        return unpack_integers(p, primary, scale, module, &bytes, primary->row_len, out, err);
    }
    return unpack_floats(p, primary, scale, module, out, err);
}

const pare_packed_format pare_packed_compressed = {
    .method = "compressed-tensors",
    .name = "compressed-tensors",
    .primaries = (const char *const[]){".weight_packed", ".weight", NULL},
    .parts = (const char *const[]){".weight_scale", ".weight_zero_point", ".weight_global_scale", ".weight_shape",
                                   ".weight_g_idx", ".input_scale", ".input_zero_point", ".input_global_scale",
                                   ".output_scale", ".output_zero_point", NULL},
    .runtime = (const char *const[]){".k_scale", ".v_scale", ".q_scale", ".k_zero_point", ".v_zero_point",
                                     ".q_zero_point", ".k_global_scale", ".v_global_scale", ".q_global_scale", NULL},
    .result = ".weight",
    .start = start,
    .unpack = unpack,
};
