#include "core/hash.h"
#include "core/json.h"
#include "core/look.h"
#include "core/output.h"
#include "formats/hf.h"
#include "formats/hf_files.h"
#include "formats/safe_path.h"
#include "formats/safetensors.h"
#include "formats/tokenizer_files.h"
#include "model/stock.h"
#include "model/view.h"
#include "quant/preset.h"
#include "quant/registry.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { NAME_BYTES = 256 };
#define DEFAULT_SHARD_BYTES UINT64_C(5000000000)

/* A folder in the making. */
typedef struct writer {
    const pare_model *m;
    pare_hparams hp; /* m's, completed with what only its tensors say */
    pare_model hub;  /* the tensors with the Hub's names and order of rows */
    pare_type type;  /* for weights that are no plain floats */
    const char *dir; /* the temporary folder */
    size_t n_seen;   /* tensors of m that have a form on the Hub */
    pare_pack pack;  /* how the matrices of the layers are packed */
} writer;

/* ---- tensors ---- */

/* The float type of the weights: that of the first matrix, BF16 when they are quantized. */
static pare_type main_type(const pare_model *m)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        pare_type type = m->tensors[i].type;
        if (m->tensors[i].n_dims > 1)
            return type == PARE_TYPE_F32 || type == PARE_TYPE_F16 ? type : PARE_TYPE_BF16;
    }
    return PARE_TYPE_BF16;
}

/* True when src holds nothing that type cannot hold exactly. */
static pare_status fits_exactly(const pare_tensor *src, pare_type type, bool *fits, pare_error *err)
{
    size_t n = (size_t)src->row_len, bytes = 0;
    *fits = false;
    uint64_t row_bytes = 0;
    if (!pare_row_bytes(type, src->row_len, &row_bytes) || (bytes = (size_t)row_bytes) == 0)
        return PARE_OK;
    float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
    void *cast = malloc(bytes);
    pare_status st = PARE_OK;
    if (x == NULL || y == NULL || cast == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for %zu floats", src->name, n);
    *fits = st == PARE_OK;
    for (uint64_t row = 0; row < src->n_rows && *fits && st == PARE_OK; row++)
        if ((st = pare_tensor_read_f32(src, row, 1, x, err)) == PARE_OK)
            *fits = pare_encode_rows(type, x, 1, n, NULL, PARE_EFFORT_DEFAULT, cast, NULL) == PARE_OK &&
                    pare_decode_rows(type, cast, 1, n, y, NULL) == PARE_OK && memcmp(x, y, n * sizeof *x) == 0;
    free(x);
    free(y);
    free(cast);
    return st;
}

/* The type that a tensor gets: its own when it is a plain float, else the folder's. Vectors and routers that a
 * converter widened to F32 go back when that loses nothing, so that a folder of BF16 weights stays one. */
static pare_status choose_type(const writer *w, const pare_tensor *src, pare_type *type, pare_error *err)
{
    bool fits = false, is_float = (pare_type_get(src->type)->traits & PARE_TRAIT_FLOAT) != 0;
    *type = is_float ? src->type : w->type;
    if (w->pack.format != NULL) {
        *type = src->type; /* may hold what the format can keep: what is not packed is cast later */
        return PARE_OK;
    }
    if (src->type != PARE_TYPE_F32 || w->type == PARE_TYPE_F32)
        return PARE_OK;
    pare_status st = fits_exactly(src, w->type, &fits, err);
    if (st == PARE_OK && fits)
        *type = w->type;
    return st;
}

/* src in that type. Floats take their factor into their values, unless a format of packed weights is to see it. */
static pare_status cast_to(writer *w, pare_tensor *t, const pare_tensor *src, pare_type type, pare_error *err)
{
    bool same = src->type == type && (src->factor == NULL || w->pack.format != NULL);
    *t = *src;
    return same ? PARE_OK : pare_view_cast(&w->hub.arena, t, src, type, err);
}

/* A matrix that the Hub stores [in, out]; weights in blocks are decoded first. */
static pare_status turn(writer *w, const pare_tensor *src, pare_tensor *t, pare_error *err)
{
    pare_tensor plain;
    pare_type type = PARE_TYPE_NONE;
    pare_status st = choose_type(w, src, &type, err);
    if (st == PARE_OK)
        st = cast_to(w, &plain, src, pare_type_get(type)->block_len == 1 ? type : w->type, err);
    return st == PARE_OK ? pare_view_transpose(&w->hub.arena, t, &plain, (pare_hf_share){0}, err) : st;
}

/* src, or its value heads in the Hub's order. Columns move element by element, so those of a type that stores blocks
 * are decoded to the folder's type before. */
static pare_status untile(writer *w, const pare_arch_weight *weight, const pare_tensor *src, pare_tensor *t,
                          pare_error *err)
{
    pare_tensor plain = *src;
    pare_status st = PARE_OK;
    *t = *src;
    for (int columns = 0; w->hp.linear.tiled && columns < 2 && st == PARE_OK; columns++) {
        if (!pare_arch_has_value_heads(weight, columns == 1))
            continue;
        if (columns == 1 && pare_type_get(src->type)->block_len != 1)
            st = cast_to(w, &plain, src, w->type, err);
        if (st == PARE_OK)
            st = pare_view_linear_tiles(&w->hub.arena, t, &plain, &w->hp, columns == 1, false, err);
    }
    return st;
}

/* Whether this weight, which floats store [in, out] or [expert, in, out], is packed. */
static bool packs_rows(const writer *w, const pare_tensor *src)
{
    const pare_pack_format *format = w->pack.format;
    return format != NULL && (src->n_dims == 2 ? format->add != NULL : format->add_experts != NULL);
}

/* The inverse of what the reader of folders does. */
static pare_status unmap(writer *w, const pare_arch_weight *weight, bool bias, const pare_tensor *from, pare_tensor *t,
                         pare_error *err)
{
    pare_tensor plain, *src = &plain;
    pare_status st = untile(w, weight, from, &plain, err);
    if (st != PARE_OK)
        return st;
    switch (weight->map) {
    case PARE_MAP_ROPE_Q:
    case PARE_MAP_ROPE_K:
        return pare_view_rope(&w->hub.arena, t, src, w->hp.head_dim_k, false, err);
    case PARE_MAP_TRANSPOSE:
        if (!bias && !packs_rows(w, src)) /* what is packed is [out, in] */
            return turn(w, src, t, err);
        break;
    case PARE_MAP_QKV_GROUPS:
        return pare_view_qkv(&w->hub.arena, t, src, &w->hp, false, err);
    case PARE_MAP_PLUS_ONE:
        if (!bias)
            return pare_view_add(&w->hub.arena, t, src, -1.0f, err);
        break;
    case PARE_MAP_SQUEEZE:
        return pare_view_unsqueeze(t, src, err);
    case PARE_MAP_MINUS_EXP:
        return pare_view_minus_exp(&w->hub.arena, t, src, false, err);
    case PARE_MAP_ROW:
        return pare_view_row(t, src, err);
    case PARE_MAP_POSITIONS:
        return pare_view_zeros_before(&w->hub.arena, t, src, w->hp.n_pos_skipped, err);
    case PARE_MAP_FILL_ROWS:
        *t = *src;
        if (t->n_dims == 2 && w->hp.n_vocab_layer > 0 && w->hp.n_vocab_layer < t->dim[0])
            t->dim[0] = w->hp.n_vocab_layer;
        return pare_tensor_set_shape(t, src->name, err);
    case PARE_MAP_LATENT_K:
    case PARE_MAP_LATENT_V:
    case PARE_MAP_LINEAR:
    case PARE_MAP_STACK:
    case PARE_MAP_SAME:
        break;
    }
    *t = *src;
    return PARE_OK;
}

/* Whether a tensor of the Hub is the matrix of a linear layer, which formats of packed weights pack. */
static bool is_linear(const writer *w, const pare_arch_weight *weight, bool bias, const pare_tensor *t)
{
    char name[NAME_BYTES];
    return !bias && pare_weight_per_layer(weight->id) && t->n_dims == 2 && t->n_rows > 1 &&
           (weight->flags & PARE_NO_SUFFIX) == 0 &&
           pare_preset_quantizes(w->m->arch->name, pare_weight_name(name, sizeof name, weight->id, 0, "weight"), 2);
}

/* What matrices have in common that runtimes unite into one, such as those of Q, K and V: a number. 0: it is alone. */
static uint64_t unite_number(const writer *w, pare_weight id, uint32_t layer, uint32_t expert)
{
    static const pare_weight united[][3] = {
        {PARE_W_ATTN_Q, PARE_W_ATTN_K, PARE_W_ATTN_V},
        {PARE_W_ATTN_Q_A, PARE_W_ATTN_KV_A, PARE_W_ATTN_KV_A},
        {PARE_W_FFN_GATE, PARE_W_FFN_UP, PARE_W_FFN_UP},
        {PARE_W_FFN_GATE_EXPS, PARE_W_FFN_UP_EXPS, PARE_W_FFN_UP_EXPS},
        {PARE_W_FFN_GATE_SHEXP, PARE_W_FFN_UP_SHEXP, PARE_W_FFN_UP_SHEXP},
    };
    enum { N_UNITED = sizeof united / sizeof *united };
    for (uint64_t i = 0; i < N_UNITED; i++)
        if (united[i][0] == id || united[i][1] == id || united[i][2] == id)
            return 1 + i + N_UNITED * (layer + (uint64_t)w->hp.n_layer * expert);
    return 0;
}

/* Add a tensor that is complete but for packing: its name and rows are the Hub's. */
static pare_status add_made(writer *w, const pare_arch_weight *weight, uint32_t layer, uint32_t expert, bool bias,
                            const pare_tensor *t, pare_error *err)
{
    static const char end[] = ".weight";
    size_t n = strlen(t->name), k = strlen(end);
    bool has_end = n > k && strcmp(t->name + n - k, end) == 0;
    pare_pack_entry entry = {.tensor = *t};
    if (w->pack.format == NULL)
        return pare_model_add(&w->hub, t, NULL, err);
    entry.tensor.name = pare_arena_copy(&w->hub.arena, t->name, n, err); /* outlives this call, in messages */
    if (entry.tensor.name == NULL)
        return PARE_ERR_MEMORY;
    if (!bias && t->n_dims == 3 && weight->map == PARE_MAP_TRANSPOSE && packs_rows(w, t))
        entry.kind = PARE_PACK_EXPERTS;
    else if (w->pack.format->add != NULL && has_end && is_linear(w, weight, bias, t))
        entry.kind = PARE_PACK_MATRIX;
    entry.united = unite_number(w, weight->id, layer, expert);
    entry.of_experts = weight->dim[0] == PARE_DIM_EXPERT;
    entry.listed = has_end && pare_weight_per_layer(weight->id) && t->n_dims == 2;
    return pare_pack_note(&w->pack, &entry, err);
}

/* Add one tensor of the Hub: src, or matrix `expert` of it, in the type and under the name that it has there. */
static pare_status add_one(writer *w, const pare_arch_weight *weight, const pare_tensor *src, uint32_t layer,
                           uint32_t expert, bool bias, pare_error *err)
{
    char name[NAME_BYTES];
    pare_type type = PARE_TYPE_NONE;
    pare_tensor part, plain, t;
    pare_status st = PARE_OK;
    if (weight->map == PARE_MAP_STACK) {
        st = pare_view_part(&w->hub.arena, &part, src, expert, err);
        src = &part;
    }
    if (st == PARE_OK)
        st = unmap(w, weight, bias, src, &plain, err);
    if (st == PARE_OK)
        st = choose_type(w, &plain, &type, err);
    if (st == PARE_OK)
        st = cast_to(w, &t, &plain, type, err);
    if (st != PARE_OK)
        return st;
    t.name = pare_arch_hf_name(name, sizeof name, weight, layer, expert, bias);
    return add_made(w, weight, layer, expert, bias, &t, err);
}

/* The weights that share a tensor of the Hub, in the order of their shares. *n: how many there are, all or none. */
static pare_status find_shares(writer *w, const pare_arch_weight *weight, uint32_t layer, bool bias,
                               const pare_tensor **parts, uint8_t *n, pare_error *err)
{
    const pare_arch *arch = w->m->arch;
    char name[NAME_BYTES];
    uint8_t n_shares = pare_arch_share(weight).count;
    *n = 0;
    for (size_t i = 0; i < arch->n_weights; i++) {
        const pare_arch_weight *other = &arch->weights[i];
        if (other->hf == NULL || strcmp(other->hf, weight->hf) != 0 || pare_arch_share(other).count != n_shares)
            continue;
        const pare_tensor *t = pare_model_weight(w->m, other->id, layer, bias ? "bias" : "weight");
        parts[pare_arch_share(other).index] = t;
        *n += t != NULL;
        w->n_seen +=
            t != NULL && !bias && t->factor != NULL && pare_model_weight(w->m, other->id, layer, "scale") != NULL;
    }
    if (*n == 0 || *n == n_shares)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_FORMAT, "%s: only %d of the %d tensors that are '%s' in a folder are there",
                     w->m->path, (int)*n, (int)n_shares, pare_arch_hf_name(name, sizeof name, weight, layer, 0, bias));
}

/* Add the tensor of the Hub that this weight, the first share of it, has with others. */
static pare_status add_united(writer *w, const pare_arch_weight *weight, uint32_t layer, bool bias, pare_error *err)
{
    enum { MAX_SHARES = 16 };
    const pare_tensor *src[MAX_SHARES] = {NULL};
    pare_tensor parts[MAX_SHARES], united, t;
    pare_hf_share share = pare_arch_share(weight);
    pare_type type = PARE_TYPE_NONE, first = PARE_TYPE_NONE;
    char name[NAME_BYTES];
    uint8_t n = 0;
    pare_status st = find_shares(w, weight, layer, bias, src, &n, err);
    w->n_seen += n;
    for (uint8_t i = 0; i < n && st == PARE_OK; i++) {
        st = choose_type(w, src[i], &type, err);
        first = i == 0 || first == type ? type : w->type;
        bool factors_differ = w->pack.format != NULL && i > 0 && (src[i]->factor != NULL || src[0]->factor != NULL);
        first = factors_differ ? PARE_TYPE_F32 : first; /* one tensor has one */
    }
    for (uint8_t i = 0; i < n && st == PARE_OK; i++)
        st = cast_to(w, &parts[i], src[i], first, err);
    if (st != PARE_OK || n == 0)
        return st;
    if (weight->map == PARE_MAP_LATENT_K)
        st = pare_view_latent_unite(&w->hub.arena, &united, &parts[0], &parts[1], err);
    else if (weight->map == PARE_MAP_LINEAR)
        st = pare_view_linear_unite(&w->hub.arena, &united, parts, &w->hp, err);
    else
        st = pare_view_unite(&w->hub.arena, &united, parts, share, bias, err);
    if (st == PARE_OK)
        st = unmap(w, weight, bias, &united, &t, err);
    t.name = pare_arch_hf_name(name, sizeof name, weight, layer, 0, bias);
    return st == PARE_OK ? add_made(w, weight, layer, 0, bias, &t, err) : st;
}

static pare_status add_tensor(writer *w, const pare_arch_weight *weight, uint32_t layer, bool bias, pare_error *err)
{
    const pare_tensor *src = pare_model_weight(w->m, weight->id, layer, bias ? "bias" : "weight");
    pare_hf_share share = pare_arch_share(weight);
    if (share.count > 0)
        return share.index == 0 ? add_united(w, weight, layer, bias, err) : PARE_OK;
    if (src == NULL)
        return PARE_OK;
    if (weight->id == PARE_W_OUTPUT && !bias && w->hp.tied_output) {
        w->n_seen++; /* the embedding again */
        return PARE_OK;
    }
    w->n_seen += 1 + (pare_model_weight(w->m, weight->id, layer, "scale") != NULL && src->factor != NULL && !bias);
    if (weight->flags & PARE_WEIGHT_MADE)
        return PARE_OK; /* stands in config.json */
    pare_status st = PARE_OK;
    uint32_t n = (uint32_t)pare_arch_stacked(weight, &w->hp);
    for (uint32_t expert = 0; expert < n && st == PARE_OK; expert++)
        st = add_one(w, weight, src, layer, expert, bias, err);
    return st;
}

/* How many tensors the folder has at most: packed, up to five for one. */
static size_t count_tensors(const writer *w)
{
    const pare_arch *arch = w->m->arch;
    size_t n = w->m->n_tensors;
    for (size_t i = 0; i < arch->n_weights; i++)
        if (arch->weights[i].map == PARE_MAP_STACK)
            n += (size_t)pare_arch_stacked(&arch->weights[i], &w->hp) * w->hp.n_layer;
    return w->pack.format != NULL ? 5 * n : n;
}

static pare_status map_tensors(writer *w, pare_error *err)
{
    const pare_arch *arch = w->m->arch;
    pare_status st = pare_model_reserve(&w->hub, count_tensors(w), err);
    for (size_t i = 0; i < arch->n_weights && st == PARE_OK; i++) {
        const pare_arch_weight *weight = &arch->weights[i];
        uint32_t n = pare_weight_per_layer(weight->id) ? w->hp.n_layer : 1;
        for (uint32_t layer = 0; pare_arch_applies(weight, &w->hp) && layer < n && st == PARE_OK; layer++) {
            if (pare_arch_allows(weight, false))
                st = add_tensor(w, weight, layer, false, err);
            if (st == PARE_OK && pare_arch_allows(weight, true))
                st = add_tensor(w, weight, layer, true, err);
        }
    }
    if (st == PARE_OK && pare_model_find(w->m, "__metadata__") != NULL)
        st = pare_fail(err, PARE_ERR_FORMAT,
                       "%s: tensor '__metadata__': the name is safetensors' own, no tensor of such a file may have it",
                       w->m->path);
    if (st == PARE_OK && w->n_seen < w->m->n_tensors)
        st =
            pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: %zu of %zu tensors have no name in a folder of architecture '%s'",
                      w->m->path, w->m->n_tensors - w->n_seen, w->m->n_tensors, arch->name);
    if (st == PARE_OK && w->pack.format != NULL)
        st = pare_pack_all(&w->pack, &w->hub, w->type, err);
    if (st == PARE_OK && w->pack.format != NULL && w->pack.format->finish != NULL)
        st = w->pack.format->finish(&w->hub, err);
    return st;
}

static pare_status write_weights(writer *w, uint64_t shard_bytes, pare_pin *pin, pare_error *err)
{
    const char **names = malloc(w->hub.n_tensors > 0 ? w->hub.n_tensors * sizeof *names : 1);
    if (names == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu names", w->m->path, w->hub.n_tensors);
    for (size_t i = 0; i < w->hub.n_tensors; i++)
        names[i] = w->hub.tensors[i].name;
    pare_status st = pare_safetensors_write(&w->hub, names, w->dir, shard_bytes, pin, err);
    free(names);
    return st;
}

/* ---- configuration ---- */

/* The biases that are there as the two switches that config.json has for them. */
static pare_status complete_biases(writer *w, uint64_t flag, const char *key, bool *on, pare_error *err)
{
    const pare_arch *arch = w->m->arch;
    size_t n_there = 0, n_all = 0;
    for (size_t i = 0; i < arch->n_weights; i++)
        for (uint32_t layer = 0; (arch->weights[i].flags & flag) && layer < w->hp.n_layer; layer++, n_all++)
            n_there += pare_model_weight(w->m, arch->weights[i].id, layer, "bias") != NULL;
    *on = n_there > 0;
    if (n_there == 0 || n_there == n_all)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_UNSUPPORTED,
                     "%s: %zu of the %zu tensors that '%s' in config.json switches are there", w->m->path, n_there,
                     n_all, key);
}

/* rope_factors_long.weight and rope_factors_short.weight as the lists of config.json. */
static pare_status complete_longrope(writer *w, pare_error *err)
{
    const pare_tensor *far = pare_model_weight(w->m, PARE_W_ROPE_FACTORS_LONG, 0, "weight"),
                      *near = pare_model_weight(w->m, PARE_W_ROPE_FACTORS_SHORT, 0, "weight");
    pare_rope_longrope *s = &w->hp.rope_longrope;
    if (far == NULL || near == NULL || s->n > 0)
        return PARE_OK;
    if (far->row_len > PARE_MAX_ROPE_FACTORS)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: tensor '%s' has %" PRIu64 " factors, %d are possible",
                         w->m->path, far->name, far->row_len, PARE_MAX_ROPE_FACTORS);
    s->n = (uint32_t)far->row_len; /* near has as many: both were checked against the head */
    pare_status st = pare_tensor_read_f32(far, 0, 1, s->long_factor, err);
    return st == PARE_OK ? pare_tensor_read_f32(near, 0, 1, s->short_factor, err) : st;
}

/* rope_freqs.weight as the numbers that it was made from. */
static pare_status complete_rope(writer *w, pare_error *err)
{
    const pare_tensor *t = pare_model_weight(w->m, PARE_W_ROPE_FREQS, 0, "weight");
    if (t == NULL || w->hp.rope_llama3.factor > 0 || w->hp.rope_part > 0)
        return PARE_OK;
    float *factors = malloc(t->row_len * sizeof *factors);
    if (factors == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory", t->name);
    pare_status st = pare_tensor_read_f32(t, 0, 1, factors, err);
    if (st == PARE_OK && !pare_rope_part_find(&w->hp, factors, &w->hp.rope_part) &&
        !pare_rope_llama3_find(&w->hp, factors, &w->hp.rope_llama3))
        st = pare_fail(err, PARE_ERR_UNSUPPORTED,
                       "%s: tensor '%s' holds a RoPE scaling that config.json has no words for", w->m->path, t->name);
    free(factors);
    return st;
}

/* A GGUF file may have the embedding twice, for the sake of its readers. */
static pare_status complete_output(writer *w, pare_error *err)
{
    bool copy = false;
    if (pare_hf_find_file(w->m, "config.json") != NULL) /* a folder's says whether it is tied */
        return PARE_OK;
    pare_status st = pare_stock_is_copy(w->m, &copy, err);
    w->hp.tied_output = w->hp.tied_output || copy;
    return st;
}

static pare_status complete_hparams(writer *w, pare_error *err)
{
    w->hp = w->m->hp;
    pare_status st = complete_biases(w, PARE_BIAS_ATTN, "attention_bias", &w->hp.attn_bias, err);
    if (st == PARE_OK)
        st = complete_biases(w, PARE_BIAS_FFN, "mlp_bias", &w->hp.ffn_bias, err);
    if (st == PARE_OK)
        st = complete_output(w, err);
    if (st == PARE_OK)
        st = complete_longrope(w, err);
    return st == PARE_OK ? complete_rope(w, err) : st;
}

static const char *dtype_word(pare_type type)
{
    return type == PARE_TYPE_F32 ? "float32" : type == PARE_TYPE_F16 ? "float16" : "bfloat16";
}

static pare_status write_json(const writer *w, const char *name, const json_t *doc, pare_error *err)
{
    pare_buf text = {0};
    char *path = pare_path_join(w->dir, name, err);
    pare_status st = path == NULL ? PARE_ERR_MEMORY : pare_json_dump(doc, &text, err);
    if (st == PARE_OK)
        st = pare_output_file(path, text.data, text.len, 0, err);
    pare_buf_close(&text);
    free(path);
    return st;
}

static pare_status copy_file(const writer *w, const pare_side_file *file, pare_error *err)
{
    pare_map map = {0};
    char *path = pare_path_join(w->dir, file->name, err);
    pare_status st = path == NULL ? PARE_ERR_MEMORY : pare_map_open_content(&map, file->path, err);
    if (st == PARE_OK)
        st = pare_output_file(path, map.data != NULL ? (const void *)map.data : "", (size_t)map.size, 0, err);
    pare_map_close(&map);
    free(path);
    return st;
}

/* The special ids under the names of config.json and generation_config.json. none: what there is not is null, where a
 * class would take an id of its own for a key that is absent. */
static bool put_ids(json_t *doc, const pare_model *m, bool none)
{
    const struct {
        const char *key;
        int64_t id;
    } ids[] = {{"bos_token_id", m->vocab.bos}, {"eos_token_id", m->vocab.eos}, {"pad_token_id", m->vocab.pad}};
    bool ok = true;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        bool there = m->has_vocab && ids[i].id >= 0;
        if (there || none)
            ok = json_object_set_new(doc, ids[i].key, there ? json_integer(ids[i].id) : json_null()) == 0 && ok;
    }
    if (m->has_vocab && m->vocab.ends_listed) {
        json_t *ends = json_array();
        for (uint32_t i = 0; i < m->vocab.n_ends; i++)
            ok = json_array_append_new(ends, json_integer(m->vocab.ends[i])) == 0 && ok;
        ok = json_object_set_new(doc, "eos_token_id", ends) == 0 && ok;
    }
    return ok;
}

/* Does the source's config.json describe further parts beside the language model, which the folder is without? */
static bool has_further_parts(const json_t *config)
{
    const char *name = json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    const pare_hf_class *class = NULL;
    return name != NULL && pare_arch_find_class(name, &class) != NULL && class->section != NULL;
}

/* config.json: the source's with the dtype that now is true, or one made from the hyperparameters. */
static pare_status write_config(writer *w, pare_error *err)
{
    const pare_side_file *old = pare_hf_find_file(w->m, "config.json");
    json_t *doc = NULL;
    pare_status st = PARE_OK;
    if (old != NULL)
        st = pare_json_load(&doc, old->path, PARE_HF_CONFIG_BYTES, PARE_JSON_BIG_AS_REAL, err);
    if (st == PARE_OK && has_further_parts(doc)) {
        json_decref(doc);
        doc = NULL;
        old = NULL;
    }
    if (st == PARE_OK && old == NULL && (doc = json_object()) == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
    if (st == PARE_OK && old == NULL)
        st = pare_hparams_to_config(&w->hp, w->m->arch, doc, err);
    if (st != PARE_OK)
        goto done;
    const char *key = json_object_get(doc, "dtype") != NULL ? "dtype" : "torch_dtype";
    const char *said = json_string_value(json_object_get(doc, key)), *dtype = NULL;
    bool packed = w->pack.format != NULL;
    dtype = dtype_word(packed ? w->type : main_type(&w->hub));
    bool still_true = said != NULL ? strcmp(said, dtype) == 0 : main_type(&w->hub) == main_type(w->m);
    if (old != NULL && still_true && !packed && json_object_get(doc, "quantization_config") == NULL) {
        st = copy_file(w, old, err);
        goto done;
    }
    json_object_del(doc, "quantization_config");
    bool ok = !packed || json_object_set_new(doc, "quantization_config", w->pack.format->settings(&w->pack)) == 0;
    if (!ok || json_object_set_new(doc, key, json_string(dtype)) != 0 || (old == NULL && !put_ids(doc, w->m, true)))
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
    if (st == PARE_OK)
        st = write_json(w, "config.json", doc, err);
done:
    json_decref(doc);
    return st;
}

static pare_status write_generation_config(const writer *w, pare_error *err)
{
    json_t *doc = json_pack("{s:b}", "_from_model_config", true);
    pare_status st = PARE_OK;
    if (doc == NULL || !put_ids(doc, w->m, false))
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for a generation_config.json");
    if (st == PARE_OK)
        st = write_json(w, "generation_config.json", doc, err);
    json_decref(doc);
    return st;
}

/* Everything but the weights and config.json: carried where the source had it, else made. */
static pare_status write_files(const writer *w, pare_error *err)
{
    bool has_tokenizer = false, has_generation = false;
    pare_status st = PARE_OK;
    for (size_t i = 0; pare_hf_file_name(i) != NULL && st == PARE_OK; i++) {
        const char *name = pare_hf_file_name(i);
        const pare_side_file *file = pare_hf_find_file(w->m, name);
        if (file == NULL || strcmp(name, "config.json") == 0)
            continue;
        has_tokenizer = has_tokenizer || pare_hf_is_tokenizer_file(name);
        has_generation = has_generation || strcmp(name, "generation_config.json") == 0;
        st = copy_file(w, file, err);
    }
    if (st == PARE_OK && !has_generation && pare_hf_find_file(w->m, "config.json") == NULL)
        st = write_generation_config(w, err);
    if (st == PARE_OK && !has_tokenizer && w->m->has_vocab)
        st = pare_tokenizer_files_write(&w->m->vocab, w->dir, err);
    return st;
}

/* ---- the folder ---- */

static pare_status pin_file(pare_pin *pin, const char *path, pare_error *err)
{
    pare_map map = {0};
    pare_digest digest;
    pare_pin_file *pinned = NULL;
    pare_status st = pare_map_open(&map, path, err);
    if (st == PARE_OK)
        st = pare_hash_bytes(map.data != NULL ? (const void *)map.data : "", (size_t)map.size, PARE_HASH_BOTH, &digest,
                             err);
    if (st == PARE_OK && (st = pare_pin_add_file(pin, path, &pinned, err)) == PARE_OK)
        pinned->digest = digest;
    pare_map_close(&map);
    return st;
}

/* Record the files that are no weights. */
static pare_status complete_pin(pare_pin *pin, const pare_outdir *out, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; pare_hf_file_name(i) != NULL && st == PARE_OK; i++) {
        char *path = NULL;
        st = pare_path_find(&path, out->tmp, pare_hf_file_name(i), err);
        if (path != NULL)
            st = pin_file(pin, path, err);
        free(path);
    }
    if (st == PARE_OK)
        st = pare_pin_add_folder(pin, out->tmp, err);
    return st;
}

/* Replacing the folder that is being read would pull the weights away from under the reader. */
static pare_status refuse_input(const pare_model *m, const char *dir, pare_error *err)
{
    struct stat out;
    bool there, same;
    pare_status st = pare_look(dir, &out, &there, err);
    if (st != PARE_OK || !there)
        return st;
    for (; m != NULL; m = m->source)
        for (size_t i = 0; i < m->n_files; i++) {
            char *folder = pare_path_folder(m->files[i].path, err);
            if (folder == NULL)
                return PARE_ERR_MEMORY;
            st = pare_look_same(folder, &out, &same, err);
            free(folder);
            if (st != PARE_OK)
                return st;
            if (same)
                return pare_fail(err, PARE_ERR_USAGE, "%s: is the folder of the input '%s'", dir, m->files[i].path);
        }
    return PARE_OK;
}

/* The tensors of the folder: w->hub. */
static pare_status plan_folder(writer *w, const pare_model *m, pare_type dtype, const pare_hf_write_options *options,
                               pare_error *err)
{
    *w = (writer){.m = m, .hub.path = m->path};
    if (m->arch == NULL)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: its architecture is not described, so its tensors have no names in a folder", m->path);
    if (options->pack != NULL) {
        w->pack = (pare_pack){.format = options->pack, .options = options->pack_options};
        dtype = dtype == PARE_TYPE_NONE ? options->pack->dtype : dtype;
    }
    w->type = dtype == PARE_TYPE_NONE ? main_type(m) : dtype;
    if (w->type != PARE_TYPE_F32 && w->type != PARE_TYPE_F16 && w->type != PARE_TYPE_BF16)
        return pare_fail(err, PARE_ERR_USAGE, "weights of a folder are F32, F16 or BF16, not %s",
                         pare_type_get(w->type)->name);
    pare_status st = w->pack.format != NULL ? w->pack.format->check(&w->pack.options, err) : PARE_OK;
    if (st == PARE_OK)
        st = complete_hparams(w, err);
    if (st == PARE_OK)
        st = map_tensors(w, err);
    if (st == PARE_OK && w->pack.format != NULL && w->pack.n_packed == 0)
        st = pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: architecture '%s' has no matrix that '%s' packs", m->path,
                       m->arch->name, w->pack.format->name);
    if (st == PARE_OK && !options->quiet)
        st = pare_pack_tell(&w->pack, m->path, err);
    return st;
}

static void writer_close(writer *w)
{
    pare_model_close(&w->hub);
    pare_pack_close(&w->pack);
}

pare_status pare_hf_size(const pare_model *m, pare_type dtype, const pare_hf_write_options *options, uint64_t *n_bytes,
                         pare_error *err)
{
    writer w;
    pare_status st = plan_folder(&w, m, dtype, options, err);
    *n_bytes = st == PARE_OK ? pare_model_n_bytes(&w.hub) : 0;
    writer_close(&w);
    return st;
}

pare_status pare_hf_write(const pare_model *m, const char *dir, pare_type dtype, const pare_hf_write_options *options,
                          pare_pin *pin, pare_error *err)
{
    writer w;
    pare_outdir out = {0};
    uint64_t shard_bytes = options->shard_bytes > 0 ? options->shard_bytes : DEFAULT_SHARD_BYTES;
    pare_status st = plan_folder(&w, m, dtype, options, err);
    if (st == PARE_OK)
        st = refuse_input(m, dir, err);
    if (st == PARE_OK)
        st = pare_outdir_open(&out, dir, options->force ? PARE_OUTPUT_FORCE : 0, err);
    w.dir = out.tmp;
    w.hub.path = dir;
    if (st == PARE_OK)
        st = write_config(&w, err);
    if (st == PARE_OK)
        st = write_files(&w, err);
    if (st == PARE_OK)
        st = write_weights(&w, shard_bytes, pin, err);
    if (st == PARE_OK && pin != NULL)
        st = complete_pin(pin, &out, err);
    if (st == PARE_OK && options->complete != NULL)
        st = options->complete(options->complete_ctx, pin, out.tmp, err);
    if (st == PARE_OK && pin != NULL)
        st = pare_pin_move(pin, out.tmp, out.path, err);
    if (st == PARE_OK)
        st = pare_model_check_files(m, err);
    if (st == PARE_OK)
        st = pare_outdir_commit(&out, err);
    pare_outdir_close(&out);
    writer_close(&w);
    if (st == PARE_ERR_NUMBER || st == PARE_ERR_UNSUPPORTED || st == PARE_ERR_RANGE)
        st = pare_fail_in(err, st, m->path); /* the input's fault */
    return st;
}
