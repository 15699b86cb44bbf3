/* memory/memory_layout.h - what llama.cpp makes of a request: sizes rounded, caches, which layer lies where
 *
 * Internal to the room. Sources: llama.cpp src/llama-context.cpp (constructor: n_ctx, n_batch, n_ubatch, checks of
 * cache types), src/llama-kv-cache.cpp, src/llama-kv-cache-iswa.cpp, src/llama-memory-recurrent.cpp (tensors of the
 * caches), src/llama-model.cpp (load_tensors: layers to devices). */
#ifndef PARE_MEMORY_MEMORY_LAYOUT_H
#define PARE_MEMORY_MEMORY_LAYOUT_H

#include "memory/memory.h"

/* Alignments of buffers: tensors in one lie at multiples. The CPU's is TENSOR_ALIGNMENT of ggml-impl.h, CUDA's that of
 * ggml-cuda.cu, which also fills rows of blocks up to MATRIX_ROW_PADDING. */
enum { MEMORY_ALIGN_HOST = 32, MEMORY_ALIGN_DEVICE = 128, MEMORY_DEVICE_ROW = 512, MEMORY_CELLS_STEP = 256 };

typedef struct memory_layout {
    const pare_memory_model *m;
    const pare_memory_run *run;
    const pare_hparams *hp;
    uint64_t asked; /* tokens of all sequences, not rounded */
    uint64_t n_ctx, n_ctx_seq;
    uint32_t n_seq, n_stream; /* caches of their own: 1 or n_seq */
    uint32_t n_batch, n_ubatch, n_outputs;
    bool flash;
    bool windows;                 /* layers with a window have a cache apart */
    uint64_t cells, cells_window; /* of one stream */
    pare_type type_k, type_v;
    uint32_t v_width; /* elements of values a token, of the widest layer */
} memory_layout;

pare_status memory_layout_of(memory_layout *out, const pare_memory_model *m, const pare_memory_run *run,
                             pare_error *err);

/* Latent attention as newer files have it: one cache of compressed keys, from which values are made too. */
static inline bool memory_is_latent(const pare_hparams *hp)
{
    return hp->n_lora_kv > 0 && !hp->latent_whole;
}

/* What a layer keeps: heads and their sizes as the cache holds them. */
typedef struct memory_heads {
    uint32_t n_kv, k, v; /* v 0: none are kept */
} memory_heads;
memory_heads memory_heads_of(const pare_hparams *hp, uint32_t layer);

bool memory_layer_recurrent(const pare_hparams *hp, uint32_t layer);
bool memory_layer_has_cache(const memory_layout *l, uint32_t layer); /* keys and values of its own */
bool memory_has_windows(const pare_memory_model *m);                 /* the runtime's graph of it has */
bool memory_layer_windowed(const memory_layout *l, uint32_t layer);

/* Elements of a recurrent layer's two states, a sequence: of the convolution and of the rule. */
uint64_t memory_conv_state(const pare_hparams *hp);
uint64_t memory_rule_state(const pare_hparams *hp);

/* Bytes that a layer's cache, or state, takes in its buffer. */
pare_status memory_layer_cache(const memory_layout *l, uint32_t layer, uint64_t *out, pare_error *err);

/* Bytes that a layer keeps of the tokens asked for, nothing rounded. */
pare_status memory_layer_kept(const memory_layout *l, uint32_t layer, uint64_t *out, pare_error *err);

/* Bytes of the keys and values of one token in a layer that has such. Errors: PARE_ERR_USAGE (blocks), RANGE. */
pare_status memory_token_cache(const pare_hparams *hp, uint32_t layer, pare_type k, pare_type v, uint64_t *out,
                               pare_error *err);

/* Where layer `layer` lies (n_layer: the output), and its cache. */
int32_t memory_layer_place(const memory_layout *l, uint32_t layer);
int32_t memory_cache_place(const memory_layout *l, uint32_t layer);

/* Bytes of a tensor in a buffer at place. */
pare_status memory_in_buffer(const pare_memory_tensor *t, int32_t place, uint64_t *out, pare_error *err);

/* The place of a tensor, its duplicates left out. */
int32_t memory_tensor_place(const memory_layout *l, const pare_memory_tensor *t);

/* Bytes of a tensor that a token reads when it is generated, and whether that is a row of a table. */
uint64_t memory_read_of(const pare_hparams *hp, const pare_memory_tensor *t);
bool memory_is_table(const pare_hparams *hp, const pare_memory_tensor *t);

pare_status memory_overflow(const char *what, pare_error *err); /* PARE_ERR_RANGE */

/* Parts of a plan. */
pare_status memory_add_part(pare_memory_plan *plan, const pare_memory_part *part, pare_error *err);
void memory_set_words(pare_memory_part *part, const char *name, const char *depends);
void memory_add_missing(pare_memory_plan *plan, const char *what);
pare_status memory_sum_up(pare_memory_plan *plan, pare_error *err);
pare_status memory_plan_weights(pare_memory_plan *plan, const memory_layout *l, pare_error *err);
pare_status memory_plan_cache(pare_memory_plan *plan, const memory_layout *l, pare_error *err);

#endif
