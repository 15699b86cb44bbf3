#include "model/stock.h"

#include <inttypes.h>
#include <string.h>

enum { NAME_BYTES = 128, COMPARED_BYTES = 1 << 16 };

/* ---- completing ---- */

/* Zero bytes are zeros in every type: floats, and blocks whose scale is zero. */
static pare_status read_zeros(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    (void)row;
    (void)err;
    memset(dst, 0, (size_t)(n_rows * t->row_bytes));
    return PARE_OK;
}

/* A matrix or vector of zeros in the shape of the description; a matrix in the type that the first layer has. */
static pare_status add_zeros(pare_model *m, const pare_arch_weight *w, uint32_t layer, bool bias, pare_error *err)
{
    char name[NAME_BYTES];
    const pare_tensor *first = pare_model_weight(m, w->id, 0, "weight");
    pare_tensor t = {.name = pare_weight_name(name, sizeof name, w->id, layer, bias ? "bias" : "weight"),
                     .type = bias || first == NULL ? PARE_TYPE_F32 : first->type,
                     .read = read_zeros};
    uint32_t most = !bias ? 3 : w->dim[0] == PARE_DIM_EXPERT ? 2 : 1;
    while (t.n_dims < most && w->dim[t.n_dims] != PARE_DIM_NONE) {
        t.dim[t.n_dims] = pare_dim_size(w->dim[t.n_dims], &m->hp, layer);
        t.n_dims++;
    }
    pare_status st = pare_tensor_set_shape(&t, m->path, err);
    return st == PARE_OK ? pare_model_add(m, &t, NULL, err) : st;
}

static pare_status add_copy(pare_model *m, pare_error *err)
{
    char name[NAME_BYTES];
    const pare_tensor *embd = pare_model_weight(m, PARE_W_TOKEN_EMBD, 0, "weight");
    if (embd == NULL)
        return PARE_OK;
    pare_tensor t = *embd;
    t.name = pare_weight_name(name, sizeof name, PARE_W_OUTPUT, 0, "weight");
    m->hp.tied_output = false;
    return pare_model_add(m, &t, NULL, err);
}

static pare_status complete_one(pare_model *m, const pare_arch_weight *w, uint32_t layer, bool bias, pare_error *err)
{
    if ((w->flags & (bias ? PARE_STOCK_WANTS_BIAS : PARE_STOCK_WANTS)) == 0 || !pare_arch_applies(w, &m->hp) ||
        pare_model_weight(m, w->id, layer, bias ? "bias" : "weight") != NULL)
        return PARE_OK;
    return w->id == PARE_W_OUTPUT && !bias ? add_copy(m, err) : add_zeros(m, w, layer, bias, err);
}

/* The tensors that the loader may want, at most. */
static size_t count_wanted(const pare_model *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->arch->n_weights; i++) {
        const pare_arch_weight *w = &m->arch->weights[i];
        size_t each = ((w->flags & PARE_STOCK_WANTS) != 0) + ((w->flags & PARE_STOCK_WANTS_BIAS) != 0);
        n += each * (pare_weight_per_layer(w->id) ? m->hp.n_layer : 1);
    }
    return n;
}

pare_status pare_stock_complete(pare_model *m, pare_error *err)
{
    size_t n = m->arch != NULL ? count_wanted(m) : 0;
    pare_status st = n > 0 ? pare_model_reserve_more(m, n, err) : PARE_OK;
    for (size_t i = 0; n > 0 && i < m->arch->n_weights && st == PARE_OK; i++) {
        const pare_arch_weight *w = &m->arch->weights[i];
        uint32_t n_layers = pare_weight_per_layer(w->id) ? m->hp.n_layer : 1;
        for (uint32_t layer = 0; layer < n_layers && st == PARE_OK; layer++)
            if ((st = complete_one(m, w, layer, false, err)) == PARE_OK)
                st = complete_one(m, w, layer, true, err);
    }
    return st;
}

pare_status pare_stock_is_copy(const pare_model *m, bool *copy, pare_error *err)
{
    uint8_t a[COMPARED_BYTES], b[COMPARED_BYTES];
    const pare_arch_weight *w = pare_arch_weight_of(m->arch, PARE_W_OUTPUT);
    const pare_tensor *embd = pare_model_weight(m, PARE_W_TOKEN_EMBD, 0, "weight"),
                      *output = pare_model_weight(m, PARE_W_OUTPUT, 0, "weight");
    *copy = w != NULL && (w->flags & PARE_STOCK_WANTS) && embd != NULL && output != NULL &&
            embd->type == output->type && embd->n_rows == output->n_rows && embd->row_len == output->row_len &&
            embd->factor == NULL && output->factor == NULL && embd->row_bytes <= COMPARED_BYTES;
    uint64_t step = *copy ? COMPARED_BYTES / embd->row_bytes : 0;
    pare_status st = PARE_OK;
    for (uint64_t row = 0; *copy && row < embd->n_rows && st == PARE_OK; row += step) {
        uint64_t n = embd->n_rows - row < step ? embd->n_rows - row : step;
        if ((st = pare_tensor_read(embd, row, n, a, err)) == PARE_OK)
            st = pare_tensor_read(output, row, n, b, err);
        *copy = st == PARE_OK && memcmp(a, b, (size_t)(n * embd->row_bytes)) == 0;
    }
    return st;
}

/* ---- factors ---- */

/* llama.cpp src/models/<name>.cpp: which weights go to build_qkv, build_attn, build_ffn, build_moe_ffn and
 * build_lora_mm with their scale. build_ffn (llama-graph.cpp) would multiply biases, too, and refuses to. */
bool pare_stock_has_factor(const pare_model *m, pare_weight id, uint32_t layer)
{
    static const pare_weight attention[] = {PARE_W_ATTN_Q,   PARE_W_ATTN_K,   PARE_W_ATTN_V,
                                            PARE_W_ATTN_QKV, PARE_W_ATTN_OUT, PARE_W_OUTPUT};
    const pare_arch_weight *w = pare_arch_weight_of(m->arch, id);
    if (w == NULL || !pare_arch_has_factor(m->arch, id) || (w->flags & PARE_STOCK_NO_FACTOR))
        return false;
    for (size_t i = 0; i < sizeof attention / sizeof *attention; i++)
        if (attention[i] == id)
            return true;
    return m->arch->stock_ffn_factor && pare_model_weight(m, id, layer, "bias") == NULL;
}

/* ---- warning ---- */

/* The key of config.json, in quotes, that switches the biases of a weight. */
static const char *bias_key(const pare_arch *arch, const pare_arch_weight *w)
{
    const char *key = w->flags & PARE_BIAS_FFN ? "'mlp_bias'" : "'attention_bias'";
    return arch->bias_key != NULL ? arch->bias_key : key;
}

/* Tensors that the loader has no place for: the first one, and how many there are. */
static pare_status warn_of_tensors(const pare_model *m, const char *path, pare_error *err)
{
    const char *first = NULL, *key = NULL;
    size_t n = 0;
    for (size_t i = 0; i < m->arch->n_weights; i++) {
        const pare_arch_weight *w = &m->arch->weights[i];
        uint32_t n_layers = w->flags & PARE_STOCK_LACKS_BIAS ? m->hp.n_layer : 0;
        for (uint32_t layer = 0; layer < n_layers; layer++) {
            const pare_tensor *t = pare_model_weight(m, w->id, layer, "bias");
            n += t != NULL;
            if (t != NULL && first == NULL) {
                first = t->name;
                key = bias_key(m->arch, w);
            }
        }
    }
    if (n == 0)
        return PARE_OK;
    return pare_warn(err,
                     "%s: stock llama.cpp does not load it: in architecture '%s' it has no place for '%s' (%zu such "
                     "tensors; %s in config.json)",
                     path, m->arch->name, first, n, key);
}

/* Factors that it does not multiply by: the first one, and how many there are. */
static pare_status warn_of_factors(const pare_model *m, const char *path, pare_error *err)
{
    const pare_tensor *first = NULL;
    size_t n = 0;
    for (size_t i = 0; i < m->arch->n_weights; i++) {
        pare_weight id = m->arch->weights[i].id;
        uint32_t n_layers = pare_weight_per_layer(id) ? m->hp.n_layer : 1;
        for (uint32_t layer = 0; layer < n_layers; layer++) {
            const pare_tensor *t = pare_model_weight(m, id, layer, "weight");
            if (t == NULL || t->factor == NULL || pare_stock_has_factor(m, id, layer))
                continue;
            n++;
            first = first != NULL ? first : t;
        }
    }
    if (n == 0)
        return PARE_OK;
    return pare_warn(err,
                     "%s: stock llama.cpp computes something else: in architecture '%s' it does not multiply by the "
                     "scale of '%s' (%zu such tensors); convert --dtype bf16 makes it part of the weights",
                     path, m->arch->name, first->name, n);
}

static pare_status warn_of_heads(const pare_model *m, const char *path, pare_error *err)
{
    const pare_hparams *hp = &m->hp;
    uint64_t width = (uint64_t)hp->n_head * hp->head_dim_k;
    pare_status st = PARE_OK;
    if (m->arch->stock_head_dim && width != hp->n_embd)
        st = pare_warn(err,
                       "%s: stock llama.cpp does not load it: %" PRIu32 " heads of %" PRIu32
                       " ('head_dim') make %" PRIu64 ", in architecture '%s' it wants the width of the model, %" PRIu32,
                       path, hp->n_head, hp->head_dim_k, width, m->arch->name, hp->n_embd);
    if (st == PARE_OK && m->arch->stock_own_kv && hp->n_head_kv != hp->n_head)
        st = pare_warn(err,
                       "%s: stock llama.cpp does not load it: 'num_key_value_heads' is %" PRIu32
                       ", in architecture '%s' it wants one for each of %" PRIu32 " heads",
                       path, hp->n_head_kv, m->arch->name, hp->n_head);
    return st;
}

static bool has_linear_layer(const pare_hparams *hp)
{
    for (uint32_t i = 0; i < hp->n_layer; i++)
        if (pare_layers_have(&hp->linear.layers, i))
            return true;
    return false;
}

pare_status pare_stock_warn(const pare_model *m, const char *path, pare_error *err)
{
    const pare_arch *arch = m->arch;
    pare_status st = warn_of_tensors(m, path, err);
    if (st == PARE_OK)
        st = warn_of_factors(m, path, err);
    if (st == PARE_OK)
        st = warn_of_heads(m, path, err);
    bool no_window = arch->stock_window && m->hp.window == 0;
    bool no_linear = pare_arch_weight_of(arch, PARE_W_SSM_OUT) != NULL && !has_linear_layer(&m->hp);
    if (st == PARE_OK && no_window)
        st = pare_warn(err,
                       "%s: stock llama.cpp does not load it: in architecture '%s' it wants a layer with an attention "
                       "window ('layer_types')",
                       path, arch->name);
    if (st == PARE_OK && no_linear)
        st = pare_warn(err,
                       "%s: stock llama.cpp does not run it: in architecture '%s' it wants a layer with linear "
                       "attention ('layer_types')",
                       path, arch->name);
    const char *rest = arch->stock_differs != NULL ? arch->stock_differs(&m->hp) : NULL;
    if (st == PARE_OK && rest != NULL)
        st = pare_warn(err, "%s: stock llama.cpp %s", path, rest);
    return st;
}
