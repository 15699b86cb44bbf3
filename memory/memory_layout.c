#include "memory/memory_layout.h"

#include "core/checked.h"

#include <inttypes.h>
#include <string.h>

enum { DEFAULT_BATCH = 2048, DEFAULT_UBATCH = 512, MAX_SEQ = 256 /* LLAMA_MAX_SEQ */ };

pare_status memory_overflow(const char *what, pare_error *err)
{
    return pare_fail(err, PARE_ERR_RANGE, "%s: more bytes than 64 bits can count", what);
}

void pare_memory_run_default(pare_memory_run *run)
{
    *run = (pare_memory_run){.cache_k = PARE_TYPE_F16, .cache_v = PARE_TYPE_F16};
}

/* ---- shapes ---- */

memory_heads memory_heads_of(const pare_hparams *hp, uint32_t layer)
{
    pare_layer_shape s = pare_layer_shape_of(hp, layer);
    if (memory_is_latent(hp))
        return (memory_heads){1, hp->n_lora_kv + hp->n_rot, 0};
    return (memory_heads){s.n_head_kv, s.head_dim_k, s.head_dim_v};
}

bool memory_layer_recurrent(const pare_hparams *hp, uint32_t layer)
{
    return hp->linear.n_head_k > 0 && pare_layers_have(&hp->linear.layers, layer);
}

bool memory_layer_has_cache(const memory_layout *l, uint32_t layer)
{
    return !memory_layer_recurrent(l->hp, layer) && pare_layer_of_keys(l->hp, layer) == layer;
}

bool memory_has_windows(const pare_memory_model *m)
{
    const pare_arch *a = m->arch;
    return m->hp->window > 0 && a->window_key && !a->stock_no_window &&
           (a->stock_window_layers == 0 || m->hp->n_layer == a->stock_window_layers);
}

bool memory_layer_windowed(const memory_layout *l, uint32_t layer)
{
    return l->windows && pare_layer_window(l->hp, layer) > 0;
}

uint64_t memory_conv_state(const pare_hparams *hp)
{
    const pare_linear_attention *a = &hp->linear;
    return a->kernel > 0 ? (uint64_t)(a->kernel - 1) *
                               ((uint64_t)a->n_head_v * a->head_dim_v + 2 * (uint64_t)a->n_head_k * a->head_dim_k)
                         : 0;
}

uint64_t memory_rule_state(const pare_hparams *hp)
{
    const pare_linear_attention *a = &hp->linear;
    return (uint64_t)a->head_dim_k * a->n_head_v * a->head_dim_v;
}

/* ---- request ---- */

static pare_status check_block(const char *which, pare_type type, uint32_t head, uint32_t layer, pare_error *err)
{
    uint32_t len = pare_type_get(type)->block_len;
    if (head % len == 0)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_USAGE,
                     "%s cache in %s: blocks of %" PRIu32 " do not divide the heads of layer %" PRIu32
                     ", which have %" PRIu32 " elements",
                     which, pare_type_get(type)->name, len, layer, head);
}

/* What the runtime refuses. */
static pare_status check_types(const memory_layout *l, pare_error *err)
{
    pare_status status = PARE_OK;
    bool latent = memory_is_latent(l->hp), v_blocks = pare_type_get(l->type_v)->block_len > 1;
    if (latent && l->type_k != l->type_v)
        return pare_fail(err, PARE_ERR_USAGE, "cache types %s and %s: latent attention has one cache for both",
                         pare_type_get(l->type_k)->name, pare_type_get(l->type_v)->name);
    if (v_blocks && !l->flash)
        return pare_fail(err, PARE_ERR_USAGE, "V cache in %s: needs flash attention", pare_type_get(l->type_v)->name);
    for (uint32_t i = 0; i < l->hp->n_layer && status == PARE_OK; i++) {
        memory_heads h = memory_heads_of(l->hp, i);
        if (memory_layer_recurrent(l->hp, i) || (l->m->arch->wiring.encoder && !l->flash))
            continue;
        status = check_block("K", l->type_k, l->flash ? h.k : h.k * h.n_kv, i, err);
        if (status == PARE_OK && h.v > 0)
            status = check_block("V", l->type_v, h.v, i, err);
    }
    return status;
}

/* n_ctx in steps of 256, and so each sequence's where they are apart. */
static pare_status size_context(memory_layout *l, uint64_t asked, pare_error *err)
{
    uint64_t n = asked > 0 ? asked : l->hp->n_ctx_train;
    if (n == 0)
        return pare_fail(err, PARE_ERR_USAGE, "no context size, and the model does not say what it was trained for");
    if (n > UINT32_MAX - MEMORY_CELLS_STEP)
        return pare_fail(err, PARE_ERR_USAGE, "a context of %" PRIu64 " tokens: the runtime counts in 32 bits", n);
    l->asked = n;
    uint32_t batch = l->run->n_batch > 0 ? l->run->n_batch : DEFAULT_BATCH;
    uint32_t ubatch = l->run->n_ubatch > 0 ? l->run->n_ubatch : DEFAULT_UBATCH;
    bool causal = !l->m->arch->wiring.encoder && !l->hp->both_ways;
    l->n_batch = causal && n < batch ? (uint32_t)n : batch;
    l->n_ubatch = l->n_batch < ubatch ? l->n_batch : ubatch;
    (void)pare_align_u64(n, MEMORY_CELLS_STEP, &l->n_ctx);
    l->n_ctx_seq = l->n_ctx;
    if (l->run->per_sequence) {
        (void)pare_align_u64(l->n_ctx / l->n_seq, MEMORY_CELLS_STEP, &l->n_ctx_seq);
        if (l->n_ctx_seq == 0)
            return pare_fail(err, PARE_ERR_USAGE, "a context of %" PRIu64 " tokens for %" PRIu32 " sequences", n,
                             l->n_seq);
        l->n_ctx = l->n_ctx_seq * l->n_seq;
    }
    return PARE_OK;
}

/* llama_kv_cache_iswa: the window of so many sequences, and what a batch adds before the oldest are gone. */
static uint64_t window_cells(const pare_hparams *hp, uint32_t n_seq, uint32_t n_ubatch, uint64_t cells)
{
    const uint64_t window = (uint64_t)hp->window * n_seq + n_ubatch;
    uint64_t out = 0;
    (void)pare_align_u64(window < cells ? window : cells, MEMORY_CELLS_STEP, &out);
    return out;
}

uint64_t pare_memory_window_tokens(const pare_memory_model *m, uint64_t n)
{
    const uint32_t n_ubatch = n < DEFAULT_UBATCH ? (uint32_t)n : DEFAULT_UBATCH;
    const uint64_t cells = memory_has_windows(m) ? window_cells(m->hp, 1, n_ubatch, n) : n;
    return cells < n ? cells : n;
}

static void size_window(memory_layout *l)
{
    l->windows = memory_has_windows(l->m);
    l->cells = l->n_ctx_seq;
    l->cells_window = window_cells(l->hp, l->run->per_sequence ? 1 : l->n_seq, l->n_ubatch, l->cells);
    if (l->run->swa_full)
        l->cells_window = l->cells;
}

pare_status memory_layout_of(memory_layout *out, const pare_memory_model *m, const pare_memory_run *run,
                             pare_error *err)
{
    memory_layout l = {.m = m, .run = run, .hp = m->hp, .flash = !run->no_flash_attn};
    uint64_t on_devices = 0;
    l.n_seq = run->n_seq > 0 ? run->n_seq : 1;
    if (l.n_seq > MAX_SEQ)
        return pare_fail(err, PARE_ERR_USAGE, "%" PRIu32 " sequences: at most %d", l.n_seq, MAX_SEQ);
    if (run->cache_k >= PARE_TYPE_COUNT || run->cache_v >= PARE_TYPE_COUNT)
        return pare_fail(err, PARE_ERR_USAGE, "no type for the cache");
    if (run->n_devices > PARE_MEMORY_MAX_DEVICES)
        return pare_fail(err, PARE_ERR_USAGE, "%" PRIu32 " devices: at most %d", run->n_devices,
                         PARE_MEMORY_MAX_DEVICES);
    for (uint32_t i = 0; i < run->n_devices; i++)
        on_devices += run->n_layers_on[i];
    if (on_devices > (uint64_t)m->hp->n_layer + 1)
        return pare_fail(err, PARE_ERR_USAGE, "%" PRIu64 " layers on devices: the model has %" PRIu32 " and the output",
                         on_devices, m->hp->n_layer);
    l.n_stream = run->per_sequence ? l.n_seq : 1;
    l.type_k = run->cache_k;
    l.type_v = run->cache_v;
    pare_status status = size_context(&l, run->n_ctx, err);
    if (status != PARE_OK)
        return status;
    l.n_outputs = run->n_outputs > 0 ? run->n_outputs : l.n_batch;
    size_window(&l);
    for (uint32_t i = 0; i < m->hp->n_layer; i++) {
        memory_heads h = memory_heads_of(m->hp, i);
        if (!memory_layer_recurrent(m->hp, i) && h.n_kv * h.v > l.v_width)
            l.v_width = h.n_kv * h.v;
    }
    *out = l;
    return check_types(out, err);
}

/* ---- buffers ---- */

static uint64_t alignment_at(int32_t place)
{
    return place == PARE_MEMORY_HOST ? MEMORY_ALIGN_HOST : MEMORY_ALIGN_DEVICE;
}

/* On devices the last row of blocks is filled up; a block longer than that divides every row that it holds. */
static uint64_t row_padding(pare_type type, uint64_t row_len, int32_t place)
{
    uint64_t more = 0;
    bool padded = place != PARE_MEMORY_HOST && pare_type_get(type)->block_len > 1 && row_len % MEMORY_DEVICE_ROW != 0;
    return padded && pare_row_bytes(type, MEMORY_DEVICE_ROW - row_len % MEMORY_DEVICE_ROW, &more) ? more : 0;
}

/* ---- cache ---- */

int32_t memory_cache_place(const memory_layout *l, uint32_t layer)
{
    return l->run->cache_on_host ? PARE_MEMORY_HOST : memory_layer_place(l, layer);
}

/* One tensor of the cache: rows of `width` elements, as many as cells and streams. */
static bool add_rows(pare_type type, uint64_t width, uint64_t rows, int32_t place, uint64_t *sum)
{
    uint64_t bytes;
    return pare_row_bytes(type, width, &bytes) && pare_mul_u64(bytes, rows, &bytes) &&
           pare_add_u64(bytes, row_padding(type, width, place), &bytes) &&
           pare_align_u64(bytes, alignment_at(place), &bytes) && pare_add_u64(*sum, bytes, sum);
}

pare_status memory_layer_cache(const memory_layout *l, uint32_t layer, uint64_t *out, pare_error *err)
{
    int32_t place = memory_cache_place(l, layer);
    uint64_t rows = (memory_layer_windowed(l, layer) ? l->cells_window : l->cells) * l->n_stream;
    memory_heads h = memory_heads_of(l->hp, layer);
    bool fits = true;
    *out = 0;
    if (l->m->arch->wiring.encoder)
        return PARE_OK;
    if (memory_layer_recurrent(l->hp, layer))
        fits = add_rows(PARE_TYPE_F32, memory_conv_state(l->hp), l->n_seq, place, out) &&
               add_rows(PARE_TYPE_F32, memory_rule_state(l->hp), l->n_seq, place, out);
    else if (memory_layer_has_cache(l, layer))
        /* Without flash attention values are stored across, a head's element a row, all layers alike. */
        fits = add_rows(l->type_k, (uint64_t)h.n_kv * h.k, rows, place, out) &&
               (h.v == 0 || add_rows(l->type_v, l->flash ? (uint64_t)h.n_kv * h.v : l->v_width, rows, place, out));
    return fits ? PARE_OK : memory_overflow("cache", err);
}

/* ---- places ---- */

int32_t memory_layer_place(const memory_layout *l, uint32_t layer)
{
    uint64_t n = 0, before = 0, total = (uint64_t)l->hp->n_layer + 1;
    for (uint32_t i = 0; i < l->run->n_devices; i++)
        n += l->run->n_layers_on[i];
    if (layer < total - n)
        return PARE_MEMORY_HOST;
    for (uint32_t i = 0; i < l->run->n_devices; i++) {
        before += l->run->n_layers_on[i];
        if (layer - (total - n) < before)
            return (int32_t)i;
    }
    return PARE_MEMORY_HOST;
}

/* llama-arch.cpp: tensors of the input layer, which always stay on the host; what else has no layer goes with the
 * output, or with the first layer. */
int32_t memory_tensor_place(const memory_layout *l, const pare_memory_tensor *t)
{
    static const char *const input[] = {"token_embd.weight", "position_embd.weight", "token_types.weight",
                                        "per_layer_token_embd.weight"};
    static const char *const first[] = {"rope_", "token_embd_norm", "per_layer_model_proj", "per_layer_proj_norm"};
    int32_t layer = pare_memory_layer_of(t);
    if (t->place != PARE_MEMORY_BY_RUNTIME)
        return t->place;
    if (layer >= 0)
        return memory_layer_place(l, (uint32_t)layer < l->hp->n_layer ? (uint32_t)layer : l->hp->n_layer);
    for (size_t i = 0; i < sizeof input / sizeof *input; i++)
        if (strcmp(t->name, input[i]) == 0)
            return PARE_MEMORY_HOST;
    for (size_t i = 0; i < sizeof first / sizeof *first; i++)
        if (strncmp(t->name, first[i], strlen(first[i])) == 0)
            return memory_layer_place(l, 0);
    return memory_layer_place(l, l->hp->n_layer);
}

pare_status memory_in_buffer(const pare_memory_tensor *t, int32_t place, uint64_t *out, pare_error *err)
{
    uint64_t bytes, row_len = t->n_dims > 0 ? t->dim[t->n_dims - 1] : 1;
    if (!pare_add_u64(t->n_bytes, row_padding(t->type, row_len, place), &bytes) ||
        !pare_align_u64(bytes, alignment_at(place), out))
        return memory_overflow(t->name, err);
    return PARE_OK;
}
