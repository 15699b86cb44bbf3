#include "model/projector.h"

#include "core/bytes.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_SIDE = 1 << 16,  /* pixels */
    MAX_PATCHES = 1024,  /* along a side: stock's clip.cpp has buckets for so many positions */
    MAX_LAYERS = 512,    /* as stock's limit for language models */
    MAX_WIDTH = 1 << 20, /* columns */
    MAX_SMALL = 4096,    /* factors, windows, counts of heads: the largest in use are below 256 */
    MAX_CHUNK = 1 << 15, /* frames of sound: stock multiplies a chunk's length by itself in 32 bits */
    MAX_PINPOINTS = 64   /* numbers: stock's list has room for 32 pairs */
};
#define MAX_PIXELS ((uint64_t)1 << 28) /* of an image; the largest in use is 2^24 */

static const struct {
    const char *key;
    uint64_t min, max;
} integers[] = {
    {"clip.vision.image_size", 1, MAX_SIDE},
    {"clip.vision.patch_size", 1, MAX_SIDE},
    {"clip.vision.image_min_pixels", 1, MAX_PIXELS},
    {"clip.vision.image_max_pixels", 1, MAX_PIXELS},
    {"clip.vision.preproc_image_size", 1, MAX_SIDE},
    {"clip.vision.preproc_min_tiles", 0, MAX_SMALL},
    {"clip.vision.preproc_max_tiles", 0, MAX_SMALL},
    {"clip.vision.projector.scale_factor", 1, MAX_SMALL},
    {"clip.vision.projector.query_side", 1, MAX_SMALL},
    {"clip.vision.projector.window_side", 1, MAX_SMALL},
    {"clip.vision.spatial_merge_size", 1, MAX_SMALL},
    {"clip.vision.n_wa_pattern", 0, MAX_SMALL},
    {"clip.vision.window_size", 0, MAX_SIDE},
    {"clip.vision.expert_used_count", 0, MAX_SMALL},
    {"clip.vision.sam.head_count", 1, MAX_SMALL},
    {"clip.vision.sam.block_count", 1, MAX_LAYERS},
    {"clip.vision.sam.embedding_length", 1, MAX_WIDTH},
    {"clip.audio.num_mel_bins", 1, MAX_SMALL},
    {"clip.audio.projector.stack_factor", 1, MAX_SMALL},
    {"clip.audio.chunk_size", 1, MAX_CHUNK},
    {"clip.audio.conv_kernel_size", 1, MAX_SMALL},
    {"clip.audio.max_pos_emb", 1, MAX_CHUNK},
    {"clip.audio.projector.window_size", 1, MAX_SMALL},
    {"clip.audio.projector.downsample_rate", 1, MAX_SMALL},
    {"clip.audio.projector.head_count", 1, MAX_SMALL},
    {"clip.audio.rvq.num_quantizers", 0, MAX_SMALL},
    {"clip.audio.window_size", 0, MAX_CHUNK},
    {"clip.audio.local_block_count", 0, MAX_LAYERS},
    {"clip.audio.local_group_size", 1, MAX_SMALL},
    {"clip.audio.subsampling_factor", 1, MAX_SMALL},
    {"clip.minicpmv_query_num", 0, MAX_SMALL},
};

/* Of each encoder: "clip.<encoder>.<suffix>". */
static const char *const encoders[] = {"vision", "audio", "gen.audio"};
static const struct {
    const char *suffix;
    uint64_t min, max;
} layer_integers[] = {
    {"embedding_length", 1, MAX_WIDTH},     {"feed_forward_length", 0, MAX_WIDTH},
    {"block_count", 1, MAX_LAYERS},         {"projection_dim", 0, MAX_WIDTH},
    {"attention.head_count", 1, MAX_SMALL}, {"attention.head_count_kv", 1, MAX_SMALL},
    {"attention.head_dim", 1, MAX_SMALL},
};

bool pare_projector_is_one(const pare_meta *meta)
{
    const pare_meta_value *arch = pare_meta_find(meta, "general.architecture");
    return arch != NULL && arch->type == PARE_META_STRING && pare_str_equal(arch->v.s, "clip");
}

/* An array of n_min to n_max elements of the type, or NULL with *st set: PARE_OK when it is absent. */
static const pare_meta_value *list_of(const pare_meta *meta, const char *path, const char *key, bool floats,
                                      uint64_t n_min, uint64_t n_max, pare_status *st, pare_error *err)
{
    const pare_meta_value *v = pare_meta_find(meta, key);
    *st = PARE_OK;
    if (v == NULL)
        return NULL;
    bool same = v->type == PARE_META_ARRAY &&
                (floats ? v->elem == PARE_META_F32 : v->elem == PARE_META_I32 || v->elem == PARE_META_U32);
    if (!same)
        *st =
            pare_fail(err, PARE_ERR_FORMAT, "%s: key '%s' at offset %" PRIu64 ": type %s%s%s, expected an array of %s",
                      path, key, v->offset, pare_meta_type_name(v->type), v->type == PARE_META_ARRAY ? " of " : "",
                      v->type == PARE_META_ARRAY ? pare_meta_type_name(v->elem) : "", floats ? "f32" : "i32 or u32");
    else if (v->n < n_min || v->n > n_max)
        *st = pare_fail(err, PARE_ERR_RANGE,
                        "%s: key '%s' at offset %" PRIu64 " has %" PRIu64 " elements, allowed %" PRIu64 " to %" PRIu64,
                        path, key, v->offset, v->n, n_min, n_max);
    return *st == PARE_OK ? v : NULL;
}

/* Three finite numbers, one a colour; positive ones where they divide. */
static pare_status check_colours(const pare_meta *meta, const char *path, const char *key, bool divides,
                                 pare_error *err)
{
    pare_status st;
    const pare_meta_value *v = list_of(meta, path, key, true, 3, 3, &st, err);
    for (uint64_t i = 0; v != NULL && i < v->n; i++) {
        float x = pare_load_f32le((const uint8_t *)v->v.data + 4 * i);
        if (!isfinite(x) || (divides && !(x > 0)))
            return pare_fail(err, PARE_ERR_NUMBER, "%s: key '%s' at offset %" PRIu64 ": element %" PRIu64 " is %g, %s",
                             path, key, v->offset, i, (double)x,
                             divides ? "allowed is above 0" : "expected a finite number");
    }
    return st;
}

static pare_status check_pinpoints(const pare_meta *meta, const char *path, pare_error *err)
{
    static const char key[] = "clip.vision.image_grid_pinpoints";
    pare_status st;
    const pare_meta_value *v = list_of(meta, path, key, false, 0, MAX_PINPOINTS, &st, err);
    if (v != NULL && v->n % 2 != 0)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: key '%s' at offset %" PRIu64 " has %" PRIu64 " elements, an odd number for pairs", path,
                         key, v->offset, v->n);
    for (uint64_t i = 0; v != NULL && i < v->n; i++) {
        uint32_t side = pare_load_u32le((const uint8_t *)v->v.data + 4 * i);
        if (side < 1 || side > MAX_SIDE)
            return pare_fail(err, PARE_ERR_RANGE,
                             "%s: key '%s' at offset %" PRIu64 ": element %" PRIu64 " is %" PRIu32 ", allowed 1 to %d",
                             path, key, v->offset, i, side, MAX_SIDE);
    }
    return st;
}

/* Numbers that are there; 0 for those that are not. */
static uint64_t number(const pare_meta *meta, const char *key)
{
    uint64_t v = 0;
    bool found = false;
    return pare_meta_u64(meta, "", key, 0, UINT64_MAX, &v, &found, NULL) == PARE_OK ? v : 0;
}

static pare_status check_image(const pare_meta *meta, const char *path, pare_error *err)
{
    uint64_t side = number(meta, "clip.vision.image_size"), patch = number(meta, "clip.vision.patch_size");
    uint64_t least = number(meta, "clip.vision.image_min_pixels"), most = number(meta, "clip.vision.image_max_pixels");
    if (side > 0 && patch > 0 && (patch > side || side / patch > MAX_PATCHES))
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: key 'clip.vision.patch_size' at offset %" PRIu64 " is %" PRIu64 " for images of %" PRIu64
                         " pixels: allowed are 1 to %d patches along a side",
                         path, pare_meta_find(meta, "clip.vision.patch_size")->offset, patch, side, MAX_PATCHES);
    if (least > 0 && most > 0 && least > most)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: key 'clip.vision.image_min_pixels' at offset %" PRIu64 " is %" PRIu64
                         ", more than image_max_pixels, %" PRIu64,
                         path, pare_meta_find(meta, "clip.vision.image_min_pixels")->offset, least, most);
    return PARE_OK;
}

/* MobileNetV5, the vision encoder of Gemma 3n, has stages in the place of layers: stock's converter writes 0. */
static bool has_stages(const pare_meta *meta)
{
    static const char *const keys[] = {"clip.projector_type", "clip.vision.projector_type"};
    bool is = false;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const pare_meta_value *type = pare_meta_find(meta, keys[i]);
        is |= type != NULL && type->type == PARE_META_STRING && pare_str_equal(type->v.s, "gemma3nv");
    }
    return is;
}

static pare_status check_layers(const pare_meta *meta, const char *encoder, const char *path, pare_error *err)
{
    char key[96], divided[96];
    bool found;
    uint64_t v;
    pare_status st = PARE_OK;
    for (size_t i = 0; i < sizeof layer_integers / sizeof layer_integers[0] && st == PARE_OK; i++) {
        snprintf(key, sizeof key, "clip.%s.%s", encoder, layer_integers[i].suffix);
        uint64_t min = strcmp(key, "clip.vision.block_count") == 0 && has_stages(meta) ? 0 : layer_integers[i].min;
        st = pare_meta_u64(meta, path, key, min, layer_integers[i].max, &v, &found, err);
    }
    double eps = 0;
    snprintf(key, sizeof key, "clip.%s.attention.layer_norm_epsilon", encoder);
    if (st == PARE_OK)
        st = pare_meta_f64(meta, path, key, &eps, &found, err);
    if (st == PARE_OK && found && !(isfinite(eps) && eps > 0 && eps <= 1))
        st = pare_fail(err, PARE_ERR_RANGE, "%s: key '%s' at offset %" PRIu64 " is %g, allowed is above 0 up to 1",
                       path, key, pare_meta_find(meta, key)->offset, eps);
    if (st != PARE_OK)
        return st;
    snprintf(divided, sizeof divided, "clip.%s.embedding_length", encoder);
    uint64_t width = number(meta, divided);
    snprintf(key, sizeof key, "clip.%s.attention.head_dim", encoder);
    bool has_dim = number(meta, key) > 0;
    snprintf(key, sizeof key, "clip.%s.attention.head_count", encoder);
    uint64_t heads = number(meta, key);
    if (heads > 0 && width > 0 && !has_dim && width % heads != 0)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: key '%s' at offset %" PRIu64 " is %" PRIu64 ", which does not divide '%s', %" PRIu64,
                         path, key, pare_meta_find(meta, key)->offset, heads, divided, width);
    return PARE_OK;
}

pare_status pare_projector_check(const pare_meta *meta, const char *path, pare_error *err)
{
    static const char *const flags[] = {"clip.has_vision_encoder", "clip.has_audio_encoder",
                                        "clip.has_gen_audio_encoder", "clip.use_gelu", "clip.use_silu"};
    static const char *const texts[] = {"clip.projector_type", "clip.vision.projector_type",
                                        "clip.audio.projector_type", "clip.gen.audio.projector_type",
                                        "clip.vision.mm_patch_merge_type"};
    pare_status st = PARE_OK;
    bool found, flag;
    uint64_t v;
    pare_str text;
    for (size_t i = 0; i < sizeof flags / sizeof flags[0] && st == PARE_OK; i++)
        st = pare_meta_bool(meta, path, flags[i], &flag, &found, err);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && st == PARE_OK; i++)
        st = pare_meta_name(meta, path, texts[i], &text, &found, err);
    for (size_t i = 0; i < sizeof integers / sizeof integers[0] && st == PARE_OK; i++)
        st = pare_meta_u64(meta, path, integers[i].key, integers[i].min, integers[i].max, &v, &found, err);
    for (size_t i = 0; i < sizeof encoders / sizeof encoders[0] && st == PARE_OK; i++)
        st = check_layers(meta, encoders[i], path, err);
    if (st == PARE_OK)
        st = check_colours(meta, path, "clip.vision.image_mean", false, err);
    if (st == PARE_OK)
        st = check_colours(meta, path, "clip.vision.image_std", true, err);
    if (st == PARE_OK)
        st = check_pinpoints(meta, path, err);
    return st == PARE_OK ? check_image(meta, path, err) : st;
}
