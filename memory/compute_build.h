/* memory/compute_build.h - the graph that llama.cpp reserves for a model, put together from hyperparameters and wiring
 *
 * Internal to the room. Operations that overwrite the one source that nobody else needs are left out where they always
 * do: biases, weights of norms, scales, soft caps. They change neither the peak nor the order of what is left. Sources:
 * llama.cpp src/llama-graph.cpp (build_*), src/llama-kv-cache.cpp (get_k, get_v, cpy_k, cpy_v and the inputs),
 * src/models of the family, src/llama-context.cpp (graph_reserve: how many tokens and outputs). */
#ifndef PARE_MEMORY_COMPUTE_BUILD_H
#define PARE_MEMORY_COMPUTE_BUILD_H

#include "memory/compute_graph.h"
#include "memory/memory_layout.h"

/* Inputs of attention of one cache: of layers that see all, or of those with a window. */
typedef struct cb_cache {
    cg_tensor *mask, *k_rows, *v_rows; /* NULL until they are needed */
    cg_tensor *k_turn, *v_turn;        /* Hadamard matrices for caches in blocks, NULL: none */
} cb_cache;

typedef struct cb_build {
    cg_graph g;
    const memory_layout *l;
    const pare_hparams *hp;
    const pare_arch *arch;
    const pare_memory_tensor **by_name; /* [n_tensors] sorted */
    uint64_t n_tokens, n_seqs, n_outputs;
    uint32_t layer;     /* whose cache is made */
    bool force_norms;   /* all layers lie on devices */
    cb_cache caches[2]; /* [1]: with a window */
    cg_tensor *tokens, *positions, *out_rows, *attn_scale, *states, *layer_inputs;
} cb_build;

/* A weight, NULL where the model has none such. */
cg_tensor *cb_weight(cb_build *b, pare_weight id, uint32_t layer);
bool cb_has(cb_build *b, pare_weight id, uint32_t layer);

/* W x, and x where there is no such weight. */
cg_tensor *cb_mul(cb_build *b, pare_weight id, uint32_t layer, cg_tensor *x);

cg_tensor *cb_norm(cb_build *b, cg_tensor *x);                                    /* of the family's kind */
cg_tensor *cb_norm_rms(cb_build *b, cg_tensor *x);                                /* root mean square */
cg_tensor *cb_norm_if(cb_build *b, pare_weight id, uint32_t layer, cg_tensor *x); /* x where there is no weight */

cg_tensor *cb_embed(cb_build *b);
cg_tensor *cb_positions(cb_build *b);
cg_tensor *cb_out_rows(cb_build *b);
cg_tensor *cb_turn(cb_build *b, uint32_t layer, cg_tensor *x); /* RoPE */

/* Attention to the cache without its output matrix. k and v NULL: the layer has none of its own. v_latent: the matrix
 * that makes values of what is attended to, NULL: none. */
cg_tensor *cb_attend(cb_build *b, uint32_t layer, cg_tensor *q, cg_tensor *k, cg_tensor *v, cg_tensor *v_latent);

cg_tensor *cb_ffn(cb_build *b, uint32_t layer, cg_tensor *x);
cg_tensor *cb_experts(cb_build *b, uint32_t layer, cg_tensor *x, cg_tensor *logits); /* and the shared one's */

cg_tensor *cb_attention(cb_build *b, uint32_t layer, cg_tensor *x);        /* with its output matrix */
cg_tensor *cb_attention_latent(cb_build *b, uint32_t layer, cg_tensor *x); /* the same */
cg_tensor *cb_attention_linear(cb_build *b, uint32_t layer, cg_tensor *x); /* the same */

cg_tensor *cb_layer_inputs(cb_build *b, cg_tensor *x);   /* [n_embd_layer, n_tokens, n_layer] */
cg_tensor *cb_layer_input(cb_build *b, uint32_t layer);  /* [n_embd_layer, n_tokens] */
cg_tensor *cb_slice(cb_build *b, cg_tensor *a);          /* one matrix of a, whichever */
cg_tensor *cb_layers_streams(cb_build *b, cg_tensor *x); /* AltUp's layers, all of them */

/* Bytes of the buffers of intermediate results: host first, then each device. */
pare_status cb_peak(const memory_layout *l, uint64_t out[CG_MAX_PLACES], pare_error *err);

#endif
