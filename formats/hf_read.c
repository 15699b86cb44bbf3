#include "core/json.h"
#include "core/look.h"
#include "core/output_journal.h"
#include "formats/hf.h"
#include "formats/hf_files.h"
#include "formats/hf_meta.h"
#include "formats/hf_pooling.h"
#include "formats/open.h"
#include "formats/packed.h"
#include "formats/safe_path.h"
#include "formats/safetensors.h"
#include "formats/tokenizer_files.h"
#include "model/view.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_NAMED = 10, NAME_BYTES = 256 };

/* Tensors that some programs save although they are no parameters. */
static const char *const ignored[] = {"*.rotary_emb.inv_freq", "*.attention.bias", "*.attention.masked_bias", NULL};

/* Where the parts of a model lie. */
typedef struct place {
    char *dir, *weights, *config_path;
    const char *name; /* of the folder, said by the caller, or NULL */
    bool has_index;
} place;

static void place_close(place *p)
{
    free(p->dir);
    free(p->weights);
    free(p->config_path);
    *p = (place){0};
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);
    return n >= k && strcmp(text + n - k, end) == 0;
}

/* The weights of a folder: an index first, as every program of the Hub does. */
static pare_status find_weights(place *p, pare_error *err)
{
    static const char *const names[] = {"model.safetensors.index.json", "model.safetensors"};
    static const char *const pickles[] = {"pytorch_model.bin.index.json", "pytorch_model.bin", "consolidated.00.pth"};
    char why[NAME_BYTES];
    pare_path_state state;
    pare_status st;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if ((st = pare_path_look(&state, p->dir, names[i], why, sizeof why, err)) != PARE_OK)
            return st;
        if (state == PARE_PATH_REFUSED)
            return pare_fail(err, PARE_ERR_FORMAT, "%s/%s: %s", p->dir, names[i], why);
        if (state == PARE_PATH_ABSENT)
            continue;
        p->has_index = i == 0;
        p->weights = pare_path_join(p->dir, names[i], err);
        return p->weights != NULL ? PARE_OK : PARE_ERR_MEMORY;
    }
    for (size_t i = 0; i < sizeof pickles / sizeof *pickles; i++)
        if ((st = pare_path_look(&state, p->dir, pickles[i], why, sizeof why, err)) != PARE_OK)
            return st;
        else if (state != PARE_PATH_ABSENT)
            return pare_hf_refuse_pickle(p->dir, pickles[i], err);
    return pare_fail(err, PARE_ERR_FORMAT, "%s: neither model.safetensors.index.json nor model.safetensors is there",
                     p->dir);
}

/* path: a folder, a .safetensors file or an index in one. */
static pare_status place_open(place *p, const char *path, pare_error *err)
{
    struct stat info;
    bool there;
    pare_status st = pare_look(path, &info, &there, err);
    if (st != PARE_OK)
        return st;
    if (there && S_ISDIR(info.st_mode)) {
        if ((p->dir = strdup(path)) == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for a path");
        st = find_weights(p, err);
        if (st != PARE_OK)
            return st;
    } else {
        if ((p->dir = pare_path_folder(path, err)) == NULL || (p->weights = strdup(path)) == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for a path");
        p->has_index = ends_with(path, ".json");
    }
    p->config_path = pare_path_join(p->dir, "config.json", err);
    return p->config_path != NULL ? PARE_OK : PARE_ERR_MEMORY;
}

static pare_status open_weights(pare_model *m, const place *p, pare_error *err)
{
    return p->has_index ? pare_safetensors_open_index(m, p->weights, err) : pare_safetensors_open(m, p->weights, err);
}

/* 'auto_map' names Python code of the model's own, which is never run. Families that were published with such code
 * before transformers had them (Phi-3, DeepSeek) still carry it: of a class that is described here the map may name
 * that very class, and nothing else. */
static pare_status check_custom_code(const json_t *config, const char *class, const char *path, pare_error *err)
{
    const json_t *map = json_object_get(config, "auto_map");
    const char *key, *model = NULL;
    json_t *value;
    size_t n_class = strlen(class);
    if (map == NULL || json_is_null(map))
        return PARE_OK;
    json_object_foreach((json_t *)(uintptr_t)map, key, value)
    {
        const char *code = json_string_value(value);
        size_t n = code != NULL ? strlen(code) : 0;
        bool same = n > n_class && code[n - n_class - 1] == '.' && strcmp(code + n - n_class, class) == 0;
        if (strncmp(key, "AutoModel", 9) == 0 && (model == NULL || same))
            model = code != NULL ? code : "";
        if (same && pare_arch_find_class(class, NULL) != NULL)
            return PARE_OK;
    }
    return pare_fail(err, PARE_ERR_UNSUPPORTED,
                     "%s: 'auto_map' asks for code of the model's own ('%s' for architecture '%s'), which is never run",
                     path, model != NULL ? model : "", class);
}

/* Read config.json and find the architecture that it names. The caller frees *config. */
static pare_status read_config(pare_model *m, const place *p, json_t **config, pare_error *err)
{
    pare_status st = pare_json_load(config, p->config_path, PARE_HF_CONFIG_BYTES, PARE_JSON_BIG_AS_REAL, err);
    if (st != PARE_OK)
        return st;
    if (!json_is_object(*config))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: is no JSON object", p->config_path);
    const json_t *classes = json_object_get(*config, "architectures");
    const char *class = json_string_value(json_array_get(classes, 0));
    if (class == NULL)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: 'architectures' is no list with the name of a class",
                         p->config_path);
    if ((st = check_custom_code(*config, class, p->config_path, err)) != PARE_OK)
        return st;
    if ((m->arch = pare_arch_find_class(class, NULL)) == NULL)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: architecture '%s' is not supported", p->config_path, class);
    return pare_hparams_from_config(&m->hp, m->arch, *config, p->config_path, err);
}

/* A tensor of the Hub and what it, or a share of it, is. */
typedef struct entry {
    const pare_tensor *src;
    const pare_tensor *at; /* where it stands in stock's order: at this tensor, itself or a later one */
    const pare_arch_weight *weight;
    uint32_t layer, expert;
    bool bias;
    bool listed; /* stands among its like as the description lists it, else by the Hub's name */
} entry;

/* All of them, and which tensors of the Hub are among them. */
typedef struct matches {
    entry *list;
    size_t n, cap;
    bool *known; /* [raw tensors] */
} matches;

static pare_status add_match(matches *all, const entry *e, pare_error *err)
{
    if (all->n == all->cap) {
        size_t cap = all->cap > 0 ? 2 * all->cap : 256;
        entry *list = realloc(all->list, cap * sizeof *list); /* bounded by the shares of all tensors */
        if (list == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tensors", cap);
        all->list = list;
        all->cap = cap;
    }
    all->list[all->n++] = *e;
    return PARE_OK;
}

static void matches_close(matches *all)
{
    free(all->list);
    free(all->known);
}

/* Names for a message: the first ten, then dots. */
typedef struct name_list {
    pare_buf text;
    size_t n;
} name_list;

static pare_status list_name(name_list *list, const char *name, pare_error *err)
{
    if (list->n++ >= MAX_NAMED)
        return list->n == MAX_NAMED + 1 ? pare_buf_puts(&list->text, ", ...", err) : PARE_OK;
    return pare_buf_printf(&list->text, err, "%s'%s'", list->text.len > 0 ? ", " : "", name);
}

/* What classes with an output matrix call the model inside of them; a file saved from there has names without it. */
static const char *const inner[] = {"model.", "transformer.", "gpt_neox.", NULL};

static const pare_tensor *find_inner(const pare_model *raw, const char *name)
{
    for (const char *const *p = inner; *p != NULL; p++)
        if (strncmp(name, *p, strlen(*p)) == 0)
            return pare_model_find(raw, name + strlen(*p));
    return NULL;
}

/* Under this name, or with another leading part that some files have. */
static const pare_tensor *find_prefixed(const pare_arch *arch, const pare_model *raw, const char *name)
{
    const char *const *prefix = arch->hf_prefixes;
    const pare_tensor *src = pare_model_find(raw, name);
    if (src == NULL)
        src = find_inner(raw, name);
    bool has_prefix = prefix != NULL && strncmp(name, *prefix, strlen(*prefix)) == 0;
    for (const char *const *p = prefix; src == NULL && has_prefix && *++p != NULL;) {
        char other[NAME_BYTES];
        if ((size_t)snprintf(other, sizeof other, "%s%s", *p, name + strlen(*prefix)) < sizeof other)
            src = pare_model_find(raw, other);
    }
    for (const char *const *outer = arch->hf_outer; src == NULL && outer != NULL && *outer != NULL; outer++) {
        char longer[NAME_BYTES];
        if ((size_t)snprintf(longer, sizeof longer, "%s%s", *outer, name) < sizeof longer)
            src = pare_model_find(raw, longer);
    }
    return src;
}

/* The tensor of this name in one of the spellings that files of the family use; NULL: there is none. */
static const pare_tensor *find_spelled(const pare_arch *arch, const pare_model *raw, const char *name, bool bias)
{
    const pare_tensor *src = find_prefixed(arch, raw, name);
    if (src == NULL && arch->gamma_beta) {
        char older[NAME_BYTES];
        size_t stem = strlen(name) - strlen(bias ? "bias" : "weight");
        snprintf(older, sizeof older, "%.*s%s", (int)stem, name, bias ? "beta" : "gamma");
        src = find_prefixed(arch, raw, older);
    }
    return src;
}

/* AutoGPTQ gave every module that it packed a bias, of zeros where the model has none. */
static bool is_empty_bias(const pare_model *raw, const pare_tensor *t)
{
    static const char end[] = ".bias";
    char name[NAME_BYTES];
    size_t n = strlen(t->name), k = sizeof end - 1;
    if (!ends_with(t->name, end) || n + sizeof ".weight" >= sizeof name || t->data == NULL)
        return false;
    snprintf(name, sizeof name, "%.*s.weight", (int)(n - k), t->name);
    const pare_tensor *weight = pare_model_find(raw, name);
    bool zero = weight != NULL && weight->packed;
    for (uint64_t i = 0; i < t->n_bytes && zero; i++)
        zero = t->data[i] == 0;
    return zero;
}

/* Note the Hub's tensor of a weight; without one, its name when the model needs it: once, where several share it. */
static pare_status match_one(const pare_model *m, const pare_model *raw, matches *all, const pare_arch_weight *w,
                             uint32_t layer, uint32_t expert, bool bias, name_list *missing, pare_error *err)
{
    char name[NAME_BYTES];
    const pare_tensor *src =
        find_spelled(m->arch, raw, pare_arch_hf_name(name, sizeof name, w, layer, expert, bias), bias);
    bool untied = w->id == PARE_W_OUTPUT && !bias && !m->hp.tied_output;
    if (src == NULL && pare_arch_share(w).index > 0)
        return PARE_OK;
    if (src != NULL && bias && !pare_arch_requires(w, &m->hp, layer, bias) && is_empty_bias(raw, src))
        return PARE_OK;
    if (src == NULL)
        return pare_arch_requires(w, &m->hp, layer, bias) || untied ? list_name(missing, name, err) : PARE_OK;
    all->known[src - raw->tensors] = true;
    return add_match(all, &(entry){src, src, w, layer, expert, bias, false}, err);
}

/* How many tensors the Hub has of a weight. A config that promises more experts than there are tensors at all is told
 * so before each of them is looked for. */
static pare_status count_tensors(const pare_model *m, const pare_model *raw, const pare_arch_weight *w,
                                 uint32_t *n_layers, uint32_t *n_experts, pare_error *err)
{
    bool stack = w->map == PARE_MAP_STACK;
    *n_layers = w->hf == NULL ? 0 : pare_weight_per_layer(w->id) ? m->hp.n_layer : 1;
    *n_experts = (uint32_t)pare_arch_stacked(w, &m->hp);
    if (!pare_arch_applies(w, &m->hp))
        *n_layers = 0;
    bool mixed = w->dim[0] == PARE_DIM_EXPERT;
    uint64_t n_dense = mixed && m->hp.n_layer_dense < *n_layers ? m->hp.n_layer_dense : mixed ? *n_layers : 0;
    if (!stack || (*n_layers - n_dense) * *n_experts <= raw->n_tensors)
        return PARE_OK;
    return pare_fail(
        err, PARE_ERR_FORMAT,
        "%s: config.json says %" PRIu32 " %s in each of %" PRIu32 " layers, but there are only %zu tensors", m->path,
        *n_experts, w->dim[0] == PARE_DIM_EXPERT ? "experts" : "heads", *n_layers, raw->n_tensors);
}

static pare_status match_weights(const pare_model *m, const pare_model *raw, matches *all, name_list *missing,
                                 pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < m->arch->n_weights && st == PARE_OK; i++) {
        const pare_arch_weight *w = &m->arch->weights[i];
        uint32_t n_layers = 0, n_experts = 0;
        st = count_tensors(m, raw, w, &n_layers, &n_experts, err);
        for (uint32_t layer = 0; layer < n_layers && st == PARE_OK; layer++) {
            bool mixed = w->dim[0] == PARE_DIM_EXPERT,
                 here = pare_arch_allows(w, false) && (!mixed || pare_layer_has_experts(&m->hp, layer));
            for (uint32_t expert = 0; here && expert < n_experts && st == PARE_OK; expert++)
                st = match_one(m, raw, all, w, layer, expert, false, missing, err);
            if (st == PARE_OK && pare_arch_allows(w, true))
                st = match_one(m, raw, all, w, layer, 0, true, missing, err);
        }
    }
    return st;
}

static bool is_ignored(const char *name, const char *const *patterns)
{
    for (; patterns != NULL && *patterns != NULL; patterns++)
        if (fnmatch(*patterns, name, 0) == 0)
            return true;
    return false;
}

/* Of a layer behind the last one that the config promises, "model.layers.61.", as its weights of layers are called. */
static bool is_extra_layer(const pare_model *m, const char *name)
{
    const pare_arch_weight *w = pare_arch_weight_of(m->arch, PARE_W_ATTN_NORM);
    size_t stem = w != NULL && w->hf != NULL ? strcspn(w->hf, "%") : 0;
    char *end = NULL;
    if (m->hp.n_layer_extra == 0 || stem == 0 || strncmp(name, w->hf, stem) != 0 || name[stem] < '0' ||
        name[stem] > '9')
        return false;
    unsigned long layer = strtoul(name + stem, &end, 10);
    return *end == '.' && layer >= m->hp.n_layer && layer - m->hp.n_layer < m->hp.n_layer_extra;
}

/* Find out what every tensor is. Errors name all that is missing and all that is not expected. */
static pare_status match_tensors(const pare_model *m, const pare_model *raw, const place *p, matches *all,
                                 pare_error *err)
{
    name_list missing = {0}, strange = {0};
    size_t n_left_out = 0, n_extra = 0;
    pare_status st = match_weights(m, raw, all, &missing, err);
    for (size_t i = 0; i < raw->n_tensors && st == PARE_OK; i++) {
        const char *name = raw->tensors[i].name;
        if (all->known[i] || is_ignored(name, ignored) || is_ignored(name, m->arch->hf_ignored) ||
            is_empty_bias(raw, &raw->tensors[i]))
            continue;
        if (is_ignored(name, m->arch->hf_left_out))
            n_left_out++;
        else if (is_extra_layer(m, name))
            n_extra++;
        else
            st = list_name(&strange, name, err);
    }
    if (st == PARE_OK && missing.n > 0)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: %zu tensors of architecture '%s' are missing: %s%s%s", p->weights,
                       missing.n, m->arch->name, missing.text.data, strange.n > 0 ? "; not expected: " : "",
                       strange.n > 0 ? strange.text.data : "");
    if (st == PARE_OK && strange.n > 0)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: %zu tensors are no part of architecture '%s': %s", p->weights,
                       strange.n, m->arch->name, strange.text.data);
    if (st == PARE_OK && n_left_out > 0)
        st = pare_warn(err, "%s: %zu tensors of parts beside the language model are left out", p->weights, n_left_out);
    if (st == PARE_OK && n_extra > 0)
        st = pare_warn(err, "%s: %zu tensors of layers that predict further tokens are left out", p->weights, n_extra);
    pare_buf_close(&missing.text);
    pare_buf_close(&strange.text);
    return st;
}

/* -1, 0, 1 for tensors in stock's order: file by file, in each by name. */
static int by_place(const pare_tensor *x, const pare_tensor *y)
{
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    return strcmp(x->name, y->name);
}

static bool is_blocks(const entry *e)
{
    return pare_type_get(e->src->type)->block_len > 1;
}

/* Weights in blocks come first, which stock's converter takes as they are before it looks at others. The matrices of
 * experts stand where the last one of their layer is met, weight by weight in the order of the Hub's names. */
static int by_file_and_name(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    int order = (int)is_blocks(y) - (int)is_blocks(x);
    if (order == 0)
        order = by_place(x->at, y->at);
    if (order == 0)
        order = x->listed ? (x->weight > y->weight) - (x->weight < y->weight) : strcmp(x->weight->hf, y->weight->hf);
    if (order == 0)
        order = (int)pare_arch_share(x->weight).index - (int)pare_arch_share(y->weight).index;
    return order != 0 ? order : (x->expert > y->expert) - (x->expert < y->expert);
}

/* The weights of one layer that stand together: all those of experts, else each by itself. */
static size_t group_of(const pare_model *m, const entry *e)
{
    size_t n = m->arch->n_weights, own = (size_t)(e->weight - m->arch->weights);
    return e->layer * (n + 1) + (e->weight->dim[0] == PARE_DIM_EXPERT ? n : own);
}

/* Put the matrices of experts of each layer where the last one stands. */
static pare_status place_experts(const pare_model *m, entry *entries, size_t n, pare_error *err)
{
    const pare_tensor **last = calloc((size_t)m->hp.n_layer * (m->arch->n_weights + 1), sizeof *last);
    if (last == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " layers", m->path, m->hp.n_layer);
    for (size_t i = 0; i < n; i++) {
        const entry *e = &entries[i];
        if (e->weight->map == PARE_MAP_STACK &&
            (last[group_of(m, e)] == NULL || by_place(last[group_of(m, e)], e->src) < 0))
            last[group_of(m, e)] = e->src;
    }
    for (size_t i = 0; i < n; i++)
        if (entries[i].weight->map == PARE_MAP_STACK) {
            entries[i].at = last[group_of(m, &entries[i])];
            entries[i].listed = m->arch->experts_as_listed;
        }
    free(last);
    return PARE_OK;
}

static pare_status check_type(const pare_model *m, const pare_tensor *src, pare_error *err)
{
    const pare_type_info *info = pare_type_get(src->type);
    if (!(info->traits & PARE_TRAIT_INTEGER) && info->decode != NULL) /* a float, or was packed: formats/packed.h */
        return PARE_OK;
    return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: tensor '%s' has type %s, weights are expected in a float type",
                     m->path, src->name, info->name);
}

/* Give the tensor, which views borrow, a name that lives as long as m. */
static pare_status keep_name(pare_model *m, pare_tensor *src, pare_error *err)
{
    src->name = pare_arena_copy(&m->arena, src->name, strlen(src->name), err);
    return src->name != NULL ? PARE_OK : PARE_ERR_MEMORY;
}

/* Cut what a program filled up before it packed it (pare_tensor.padded) to what this weight has by its table. What the
 * table cannot tell, or is something else, stays for the check of the shape. */
static pare_status cut_padding(const pare_model *m, const entry *e, pare_tensor *src, pare_error *err)
{
    uint32_t n = 0, pad = src->padded, skipped;
    while (n < 3 && e->weight->dim[n] != PARE_DIM_NONE)
        n++;
    n -= e->bias && n > 1;
    if (pad == 0 || src->n_dims > n)
        return PARE_OK;
    skipped = n - src->n_dims; /* the number of experts */
    for (uint32_t i = 0; i < src->n_dims; i++) {
        uint64_t size = pare_dim_size(e->weight->dim[skipped + i], &m->hp, e->layer);
        if (size > 0 && src->dim[i] > size && src->dim[i] - size < pad)
            src->dim[i] = size;
    }
    return pare_tensor_set_shape(src, m->path, err);
}

/* The Hub's tensor, or the share of it that this weight is, in GGUF's orientation. A type that stores blocks has them
 * along the inputs, so its rows are the outputs already. */
static pare_status orient(pare_model *m, const entry *e, pare_tensor *src, pare_tensor *t, pare_error *err)
{
    pare_hf_share share = pare_arch_share(e->weight);
    *t = *src;
    bool turned = src->packed && src->n_dims == 2; /* programs pack such a matrix as they do others: [out, in] */
    if (e->weight->map == PARE_MAP_TRANSPOSE && !e->bias && !is_blocks(e) && !turned)
        return pare_view_transpose(&m->arena, t, src, share, err);
    if (e->weight->map == PARE_MAP_POSITIONS)
        return pare_view_rows(&m->arena, t, src, m->hp.n_pos_skipped, err);
    if (e->weight->map == PARE_MAP_FILL_ROWS)
        return pare_view_fill_rows(&m->arena, t, src, m->hp.n_vocab, err);
    if (e->weight->map == PARE_MAP_LATENT_K || e->weight->map == PARE_MAP_LATENT_V)
        return pare_view_latent_part(&m->arena, t, src, &m->hp, e->weight->map == PARE_MAP_LATENT_K, err);
    if (e->weight->map == PARE_MAP_LINEAR)
        return pare_view_linear_part(&m->arena, t, src, &m->hp, share.index == 1, err);
    if (e->weight->map == PARE_MAP_SQUEEZE)
        return pare_view_squeeze(t, src, err);
    return share.count > 0 ? pare_view_share(&m->arena, t, src, share, e->bias, err) : PARE_OK;
}

/* The Hub's tensor as GGUF has it. */
static pare_status map_one(pare_model *m, const entry *e, pare_tensor *t, pare_error *err)
{
    pare_tensor src = *e->src;
    pare_weight_map map = e->weight->map;
    pare_status st = check_type(m, &src, err);
    if (st == PARE_OK)
        st = keep_name(m, &src, err);
    if (st == PARE_OK)
        st = cut_padding(m, e, &src, err);
    if (st == PARE_OK)
        st = orient(m, e, &src, t, err);
    if (st == PARE_OK)
        st = pare_arch_check_shape(t, e->weight, e->bias, &m->hp, e->layer, m->path, err);
    if (st == PARE_OK && (map == PARE_MAP_ROPE_Q || map == PARE_MAP_ROPE_K))
        st = pare_view_rope(&m->arena, t, &src, m->hp.head_dim_k, true, err);
    else if (st == PARE_OK && map == PARE_MAP_QKV_GROUPS)
        st = pare_view_qkv(&m->arena, t, &src, &m->hp, true, err);
    else if (st == PARE_OK && map == PARE_MAP_MINUS_EXP)
        st = pare_view_minus_exp(&m->arena, t, &src, true, err);
    else if (st == PARE_OK && map == PARE_MAP_PLUS_ONE && !e->bias)
        st = pare_view_add(&m->arena, t, &src, 1.0f, err);
    for (int columns = 0; m->hp.linear.tiled && columns < 2 && st == PARE_OK; columns++)
        if (pare_arch_has_value_heads(e->weight, columns == 1)) {
            src = *t;
            st = pare_view_linear_tiles(&m->arena, t, &src, &m->hp, columns == 1, true, err);
        }
    return st;
}

/* Matrices that were packed may have got types that differ, such as Q4_0 and Q5_0 after their zero points: F32 holds
 * them all. */
static pare_status find_common_type(pare_model *m, pare_tensor *parts, uint32_t n, pare_error *err)
{
    bool differ = false, packed = false;
    pare_status st = PARE_OK;
    for (uint32_t i = 0; i < n; i++) {
        differ = differ || parts[i].type != parts[0].type;
        packed = packed || parts[i].packed;
    }
    for (uint32_t i = 0; i < n && differ && packed && st == PARE_OK; i++) {
        const pare_tensor part = parts[i];
        if (part.type != PARE_TYPE_F32)
            st = pare_view_cast(&m->arena, &parts[i], &part, PARE_TYPE_F32, err);
        parts[i].packed = true;
    }
    return st;
}

/* The matrices of all experts, or the vectors of all heads, e[0 .. n), as one tensor. */
static pare_status map_experts(pare_model *m, const entry *e, pare_tensor *t, pare_error *err)
{
    uint32_t n = (uint32_t)pare_arch_stacked(e->weight, &m->hp);
    pare_tensor *parts = malloc(n * sizeof *parts);
    pare_status st = PARE_OK;
    if (parts == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " experts", m->path, n);
    for (uint32_t i = 0; i < n && st == PARE_OK; i++) {
        parts[i] = *e[i].src;
        if ((st = check_type(m, &parts[i], err)) == PARE_OK)
            st = keep_name(m, &parts[i], err);
        if (st == PARE_OK)
            st = cut_padding(m, &e[i], &parts[i], err);
    }
    if (st == PARE_OK)
        st = find_common_type(m, parts, n, err);
    if (st == PARE_OK)
        st = pare_view_stack(&m->arena, t, parts, n, err);
    if (st == PARE_OK)
        st = pare_arch_check_shape(t, e->weight, false, &m->hp, e->layer, m->path, err);
    free(parts);
    return st;
}

static pare_status read_floats(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    (void)row; /* one row */
    (void)err;
    if (n_rows > 0)
        memcpy(dst, t->ctx, (size_t)t->n_bytes);
    return PARE_OK;
}

/* A vector of floats under a weight's name; they live as long as m. */
static pare_status add_floats(pare_model *m, pare_weight id, uint32_t layer, const char *suffix, const float *floats,
                              uint64_t n, pare_error *err)
{
    char name[NAME_BYTES];
    pare_tensor t = {.name = pare_weight_name(name, sizeof name, id, layer, suffix),
                     .type = PARE_TYPE_F32,
                     .n_dims = 1,
                     .dim = {n},
                     .read = read_floats,
                     .ctx = floats};
    pare_status st = pare_tensor_set_shape(&t, m->path, err);
    return st == PARE_OK ? pare_model_add(m, &t, NULL, err) : st;
}

/* Add what the Hub's tensors from e on are, and say how many of them that took. A factor is a tensor of its own where
 * the runtimes of GGUF look for one, else a part of the values. */
static pare_status add_mapped(pare_model *m, const entry *e, size_t *n_used, pare_error *err)
{
    char name[NAME_BYTES];
    pare_weight id = e->weight->id;
    bool stack = e->weight->map == PARE_MAP_STACK;
    pare_tensor t, plain;
    pare_status st = stack ? map_experts(m, e, &t, err) : map_one(m, e, &t, err);
    *n_used = (size_t)pare_arch_stacked(e->weight, &m->hp);
    if (st == PARE_OK && t.factor != NULL && (e->bias || !pare_arch_has_factor(m->arch, id))) {
        st = pare_view_cast(&m->arena, &plain, &t, PARE_TYPE_F32, err);
        t = plain;
    }
    if (st != PARE_OK)
        return st;
    t.name = pare_weight_name(name, sizeof name, id, e->layer, e->bias ? "bias" : "weight");
    st = pare_model_add(m, &t, NULL, err);
    if (st == PARE_OK && t.factor != NULL)
        st = add_floats(m, id, e->layer, "scale", t.factor, pare_tensor_matrices(&t), err);
    return st;
}

/* A vector that the Hub has as numbers in config.json. n: PARE_MAX_ROPE_FACTORS at most, or pairs of a head */
static pare_status add_factors(pare_model *m, pare_weight id, const float *factors, uint32_t n, pare_error *err)
{
    float *copy = pare_arena_alloc(&m->arena, n * sizeof *copy, err);
    if (copy == NULL)
        return PARE_ERR_MEMORY;
    memcpy(copy, factors, n * sizeof *copy);
    return add_floats(m, id, 0, "weight", copy, n, err);
}

/* rope_freqs.weight */
static pare_status add_rope_freqs(pare_model *m, pare_error *err)
{
    uint32_t n = m->hp.n_rot / 2;
    float *factors = malloc(n * sizeof *factors);
    if (factors == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " factors", m->path, n);
    if (m->hp.rope_part > 0)
        pare_rope_part_factors(&m->hp, factors);
    else
        pare_rope_llama3_factors(&m->hp, factors);
    pare_status st = add_factors(m, PARE_W_ROPE_FREQS, factors, n, err);
    free(factors);
    return st;
}

/* The tensors that stock's converter makes of numbers. It writes this key with them, before all others. */
static pare_status add_longrope_factors(pare_model *m, pare_error *err)
{
    const pare_rope_longrope *s = &m->hp.rope_longrope;
    char key[NAME_BYTES];
    snprintf(key, sizeof key, "%s.rope.scaling.attn_factor", m->arch->name);
    pare_str name = {m->arch->name, strlen(m->arch->name)};
    pare_status st = pare_meta_set_str(&m->meta, "general.architecture", name, err);
    if (st == PARE_OK)
        st = pare_meta_set_f32(&m->meta, key, m->hp.rope_attn_factor, err);
    if (st == PARE_OK)
        st = add_factors(m, PARE_W_ROPE_FACTORS_LONG, s->long_factor, s->n, err);
    return st == PARE_OK ? add_factors(m, PARE_W_ROPE_FACTORS_SHORT, s->short_factor, s->n, err) : st;
}

static pare_status add_rope_factors(pare_model *m, pare_error *err)
{
    if (m->hp.rope_llama3.factor > 0 || m->hp.rope_part > 0)
        return add_rope_freqs(m, err);
    return m->hp.rope_longrope.n > 0 ? add_longrope_factors(m, err) : PARE_OK;
}

static pare_status map_tensors(pare_model *m, pare_model *raw, const place *p, pare_error *err)
{
    matches all = {.known = calloc(raw->n_tensors > 0 ? raw->n_tensors : 1, sizeof *all.known)};
    if (all.known == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu tensors", p->weights, raw->n_tensors);
    pare_status st = match_tensors(m, raw, p, &all, err);
    if (st == PARE_OK)
        st = pare_model_reserve(m, 2 * all.n + 2, err); /* each may have a factor */
    if (st == PARE_OK)
        st = add_rope_factors(m, err);
    if (st == PARE_OK)
        st = place_experts(m, all.list, all.n, err);
    if (st == PARE_OK && all.n > 0)
        qsort(all.list, all.n, sizeof *all.list, by_file_and_name);
    for (size_t i = 0, n = 0; i < all.n && st == PARE_OK; i += n)
        st = add_mapped(m, &all.list[i], &n, err);
    matches_close(&all);
    m->files = raw->files; /* the mapped bytes are m's from here on */
    m->n_files = raw->n_files;
    raw->files = NULL;
    raw->n_files = 0;
    return st;
}

/* The type that most of the weights have, as stock's converter guesses it: that of the first matrix. Of those that were
 * not packed: what is packed has no float type. */
static pare_type main_type(const pare_model *m)
{
    for (size_t i = 0; i < m->n_tensors; i++)
        if (m->tensors[i].n_dims > 1 && !m->tensors[i].packed)
            return m->tensors[i].type;
    return PARE_TYPE_F32;
}

/* general.file_type (llama.h, enum llama_ftype) of a file with weights in type. */
static uint32_t file_type_of(pare_type type)
{
    return type == PARE_TYPE_F32 ? 0 : type == PARE_TYPE_BF16 ? 32 : 1;
}

/* The config says in which type the weights are; a file that says something else was changed afterwards, or lies. */
static pare_status check_dtype(const pare_model *m, const json_t *config, const char *config_path, pare_error *err)
{
    static const struct {
        const char *name;
        pare_type type;
    } types[] = {{"float32", PARE_TYPE_F32},
                 {"float16", PARE_TYPE_F16},
                 {"bfloat16", PARE_TYPE_BF16},
                 {"float64", PARE_TYPE_F64}};
    const char *said = json_string_value(json_object_get(config, "torch_dtype"));
    if (said == NULL)
        said = json_string_value(json_object_get(config, "dtype"));
    for (size_t i = 0; said != NULL && i < sizeof types / sizeof *types; i++)
        if (strcmp(said, types[i].name) == 0 && types[i].type != main_type(m))
            return pare_warn(err, "%s: says weights of %s, the file has %s", config_path, said,
                             pare_type_get(main_type(m))->name);
    return PARE_OK;
}

static pare_status read_tokenizer(pare_model *m, const place *p, const json_t *config, pare_error *err)
{
    pare_status st = pare_tokenizer_files_read(&m->vocab, p->dir, config, m->hp.n_vocab, &m->has_vocab, err);
    if (st == PARE_OK && !m->has_vocab)
        return pare_warn(err, "%s: has no tokenizer; neither will what is made of it", p->dir);
    if (m->arch->space_prefix_key && m->vocab.add_space_prefix >= 0)
        pare_vocab_note_key(&m->vocab, "tokenizer.ggml.add_space_prefix");
    return st == PARE_OK ? pare_vocab_to_meta(&m->vocab, &m->meta, err) : st;
}

static pare_status open_mapped(pare_model *m, const place *p, unsigned flags, pare_error *err)
{
    json_t *config = NULL;
    pare_model raw = {0};
    pare_status st = read_config(m, p, &config, err);
    if (st == PARE_OK)
        st = pare_hf_read_pooling(&m->hp, p->dir, err);
    if (st == PARE_OK)
        st = open_weights(&raw, p, err);
    if (st == PARE_OK)
        st = pare_packed_open(&raw, &m->arena, p->dir, config, p->config_path, err);
    m->claims = raw.claims;
    if (st == PARE_OK)
        st = map_tensors(m, &raw, p, err);
    if (st == PARE_OK)
        st = check_dtype(m, config, p->config_path, err);
    if (st == PARE_OK)
        st = pare_hf_meta_general(m, p->dir, p->name, config, err);
    if (st == PARE_OK)
        st = pare_hparams_to_meta(&m->hp, m->arch, file_type_of(main_type(m)), &m->meta, err);
    if (st == PARE_OK && !(flags & PARE_OPEN_NO_VOCAB))
        st = read_tokenizer(m, p, config, err);
    if (st == PARE_OK)
        st = pare_arch_check(m, err);
    pare_model_close(&raw);
    json_decref(config);
    return st;
}

pare_status pare_hf_open(pare_model *m, const char *path, unsigned flags, pare_error *err)
{
    return pare_hf_open_as(m, path, NULL, flags, err);
}

pare_status pare_hf_open_as(pare_model *m, const char *path, const char *name, unsigned flags, pare_error *err)
{
    place p = {0};
    *m = (pare_model){0};
    pare_status st = place_open(&p, path, err);
    p.name = name;
    if (st == PARE_OK)
        st = pare_journal_warn(p.dir, "", err);
    if (st == PARE_OK && (flags & PARE_OPEN_RAW))
        st = open_weights(m, &p, err);
    m->format = PARE_FORMAT_HF;
    m->alignment = 32;
    if (st == PARE_OK && (m->path = pare_arena_copy(&m->arena, path, strlen(path), err)) == NULL)
        st = PARE_ERR_MEMORY;
    if (st == PARE_OK)
        st = pare_hf_list_files(m, p.dir, err);
    if (st == PARE_OK && !(flags & PARE_OPEN_RAW))
        st = open_mapped(m, &p, flags, err);
    place_close(&p);
    if (st != PARE_OK)
        pare_model_close(m);
    return st;
}
