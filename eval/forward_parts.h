/* eval/forward_parts.h - what the files of the forward pass share: its state, and the part with experts
 *
 * A layer with a router (ffn_gate_inp) has experts in place of one FFN:
 *
 *   scores = router x       one a token and expert
 *   p_e = e^s_e / Z         for the k experts with the largest scores; Z sums over these k, or over all
 *   y = sum over the k of p_e down_e(act(gate_e x) * up_e x)
 *
 * and perhaps a shared expert, which every token goes through with the weight sigmoid(ffn_gate_inp_shexp x). Tokens are
 * taken expert by expert, so each matrix is decoded and multiplied once a slice.
 *
 * A layer with an FFN beside the router (Gemma 4) has both, each with norms of its own around it, on the stream s:
 *
 *   y = norm_1(FFN(ffn_norm(s))) + norm_2(experts(pre_norm_2(s)))
 *
 * With ffn_gate_inp.scale the router reads norm(s) times this scale / sqrt(n_embd), with its weight as the norm's; and
 * with ffn_down_exps.scale p_e is multiplied by element e of it. */
#ifndef PARE_EVAL_FORWARD_PARTS_H
#define PARE_EVAL_FORWARD_PARTS_H

#include "eval/cache.h"
#include "eval/kv.h"
#include "eval/router.h"

/* The tensors of one layer, or of the model as a whole, by what they are; NULL where absent. */
typedef struct pare_forward_weights {
    const pare_tensor *w[PARE_W_COUNT], *b[PARE_W_COUNT];
} pare_forward_weights;

/* A sequence of a run whose keys and values a form keeps. */
typedef struct pare_kv_sequence {
    size_t kv_row;    /* of its first token in the view; ascending */
    uint64_t group;   /* of its first group in the store, where tokens are coded in groups */
    uint32_t n;       /* tokens */
    uint32_t done[2]; /* tokens of keys, of values that are stored in this layer */
} pare_kv_sequence;

enum { PARE_FORWARD_SHARED = 34 }; /* buffers in the workspace */

struct pare_forward {
    const pare_model *m;
    pare_backend *b;
    uint32_t n_ctx, max_tokens;
    uint32_t slice_tokens;      /* that pass through a layer at once: only x, k and v are kept for more */
    uint32_t n_seq, n;          /* of the last run; an extension of a cache is one sequence of all its tokens */
    uint32_t n_rows;            /* n_seq * n */
    uint32_t at;                /* the first row of the slice that is in a layer */
    bool slice_ends;            /* pare_forward_end_slice has been called for it */
    pare_attention_span *spans; /* [n_spans] of the last run, room for max_tokens */
    uint32_t n_spans;
    int32_t *positions;              /* [n_rows], host memory, room for max_tokens */
    uint32_t first;                  /* position from which on each sequence's logits will be read */
    uint32_t n_kept;                 /* rows of x with these, behind the last layer, when first > 0 */
    pare_attention_span *kept_spans; /* of the slice that is in the last layer, without the rows before; room for one */
    int32_t *kept_positions, *kept_rows;
    pare_cache *cache; /* that the run extends: it holds the keys and values; NULL: k and v do */
    pare_forward_weights model, *layers;
    const pare_tensor **all; /* [n_all] of the weights, which b holds for this pass; NULL: it does not */
    size_t n_all;
    uint32_t n_q, n_k, n_v, n_o; /* widths: n_head * head_dim and so on, the largest of all layers */
    float *x;                    /* [tokens, n_embd]: the residual stream; behind a pass what goes to the output */
    bool x_is_normal;            /* behind the last norm: pare_forward_score_side has been called for the last run */
    float *cos_sin;              /* [n_ctx, n_rot / 2, 2] */
    struct {
        float *inputs;            /* [tokens, n_layer * n_embd_layer] */
        float *inputs_made;       /* [slice, the same] */
        float *input, *gate;      /* [slice, n_embd_layer] */
        float *more;              /* [n_stream - 1][tokens, n_embd] */
        float *predicted;         /* [n_stream][slice, n_embd] */
        float *scores;            /* [slice, n_stream] */
        float *coefficients;      /* [slice, n_stream^2] */
        float *low;               /* [slice, laurel_rank] */
    } streams;                    /* in the workspace; forward_streams.c */
    float *kept_k[2], *kept_v[2]; /* in the workspace: keys and values that later layers share; 1: with a window */
    float *cos_sin_window;        /* the same for layers with a window; NULL: no other angles than those */
    /* In the workspace that the passes of a backend share: */
    float *k, *v;      /* [tokens, n_k], [tokens, n_v] of one layer */
    float *h, *branch; /* [slice, n_embd]: input and output of a part of a layer */
    float *q, *o;      /* [slice, n_q], [slice, n_o] */
    float *gate, *up;  /* [slice, the widest FFN] */
    struct {
        float *a;     /* [slice, n_lora_q, or n_lora_kv + n_rot]: the compressed */
        float *q;     /* [slice, n_head, head_dim_k] */
        float *rot;   /* [slice, n_head, n_rot]: what RoPE turns */
        float *heads; /* [slice, n_head, n_lora_kv]: sums of latent values; or keys and values that are made together */
        float *in, *out; /* [slice, one head] */
    } latent;            /* NULL in models without */
    struct {
        float *scores;   /* [slice, n_expert] */
        float *in, *out; /* [slice, n_embd] of the tokens of one expert */
        float *host;     /* the scores in host memory, or NULL where they are there already */
        int32_t *every;  /* 0, 1, 2, ...: the tokens of the shared expert */
        float *share;    /* [slice] their weights, host memory */
        float *bias;     /* [n_expert] for the choice, of the layer, host memory; */
        float *scale;    /* and of the experts' weights */
        pare_routing routing;
    } experts;     /* NULL in a dense model */
    float *q_gate; /* [slice, 2 n_q]: queries with their gates, then [slice, n_q]: the gates; see wiring.attn_gated */
    float *gates;
    struct {
        float *qkv, *mixed; /* [slice, heads of q, k and v] before and behind the convolution */
        float *z;           /* [slice, heads of v]: the gate of what comes out */
        float *pair;        /* [slice, 2 n_head_v]: beta and alpha as their weight has them */
        float *alpha, *beta;
        float *past, *state; /* of the sequence that a slice has the first or last part of, without a cache */
        int32_t *slots;      /* [slice] */
    } linear;                /* of models with linear attention */
    struct {
        bool on;
        pare_kv_form form;
        float *k, *v;               /* in the workspace: units of a layer */
        float *raw;                 /* and keys before RoPE, [tokens, n_k] */
        float *half;                /* and a slice in F16 */
        float *mean;                /* device memory, as form.key_mean */
        pare_kv_codec *codecs[2];   /* [n_layer] of keys, of values: calibrated ones, with bases in device memory */
        pare_kv_sequence *seqs;     /* [n_seqs] of the run, room for max_tokens */
        pare_attention_span *spans; /* of a step, room for slice_tokens */
        uint32_t n_seqs;
        pare_watch_fn watch; /* or NULL */
        void *watch_user;
        float *exact_k, *exact_v, *exact_o; /* in the workspace: as they were made, of a layer; what comes of them */
    } kv;                                   /* forward_kv.c */
    pare_keys_fn keys;                      /* or NULL */
    void *keys_user;
    pare_keys_fn queries; /* or NULL */
    void *queries_user;
    pare_heads_fn heads; /* or NULL */
    void *heads_user;
    struct {
        float **buffer;
        size_t offset;
    } shared[PARE_FORWARD_SHARED];
    size_t n_shared, shared_bytes; /* bytes: of the workspace */
    uint64_t n_bytes;              /* of memory of its own */
    pare_observe_fn observe;       /* or NULL */
    void *observe_user;
};

/* What the pass cannot compute yet. Each is a part of a layer of its own: a second form of attention or of the
 * feed-forward part, chosen by the weights that are there. */
pare_status pare_forward_check_supported(const pare_model *m, uint32_t n_ctx, pare_error *err);

/* Are all weights there that the pass reads, with the shapes that the hyperparameters say? */
pare_status pare_forward_check_weights(const pare_forward *f, pare_error *err);

/* Gate and up stand one above the other in one matrix of 2 n_ff rows. */
bool pare_forward_gate_is_fused(const pare_forward *f, const pare_forward_weights *l);

/* A matrix that must be there with these dimensions; a vector that must have n elements where it is there. */
pare_status pare_forward_want_matrix(const pare_forward *f, const pare_forward_weights *l, pare_weight id,
                                     uint32_t layer, uint64_t n_rows, uint64_t row_len, pare_error *err);
pare_status pare_forward_want_vector(const pare_forward *f, const pare_tensor *t, uint64_t n, pare_error *err);

/* A part of the workspace for n_rows by width floats: *buffer points to it while the pass runs. */
pare_status pare_forward_share(pare_forward *f, float **buffer, uint64_t n_rows, uint64_t width, pare_error *err);

/* The widths of queries, keys, values and attention's output in one layer. */
typedef struct pare_forward_widths {
    uint32_t n_q, n_k, n_v, n_o;
} pare_forward_widths;
pare_forward_widths pare_forward_widths_of(const pare_forward *f, uint32_t layer);

/* Tell the backend which weights this pass will ask for, so that it keeps copies of them until it is closed. */
pare_status pare_forward_hold(pare_forward *f, pare_error *err);
void pare_forward_drop(pare_forward *f);

/* Tell the backend that the matrices of this layer come next, or of the output, for n_layer. */
pare_status pare_forward_expect(pare_forward *f, uint32_t layer, pare_error *err);

/* Point these buffers into the workspace, which another pass may have moved since. */
pare_status pare_forward_enter_workspace(pare_forward *f, pare_error *err);

/* y = x W^T + bias for rows [row, row + n_rows) of a weight */
pare_status pare_forward_linear(pare_forward *f, const pare_forward_weights *l, pare_weight id, uint32_t row,
                                uint32_t n_rows, const float *x, uint32_t n, float *y, pare_error *err);

/* y = norm(x) with the weight of that name over n groups of `width` */
pare_status pare_forward_normalize(pare_forward *f, const pare_forward_weights *l, pare_weight id, const float *x,
                                   uint64_t n, uint32_t width, float *y, pare_error *err);

/* Tokens that pass through a layer together. */
typedef struct pare_forward_slice {
    size_t first; /* row of x */
    uint32_t n;   /* tokens */
    const int32_t *positions;
    const pare_attention_span *spans;
    uint32_t n_spans;
} pare_forward_slice;

/* Keys and values of x, the input of the layer's attention, behind those of the tokens before it; then
 * f->o = attention of x to all keys that are there. */
/* forward_streams.c. Memory; behind the embeddings; before a layer; behind its attention, whose input was `in`; behind
 * the layer. Each does nothing where the model has no such part; the last one's work needs every token. */
pare_status pare_forward_reserve_streams(pare_forward *f, pare_error *err);
pare_status pare_forward_check_streams(const pare_forward *f, pare_error *err);
pare_status pare_forward_spread(pare_forward *f, const int32_t *ids, const pare_forward_slice *s, pare_error *err);
pare_status pare_forward_predict(pare_forward *f, const pare_forward_weights *l, const pare_forward_slice *s,
                                 pare_error *err);
pare_status pare_forward_laurel(pare_forward *f, const pare_forward_weights *l, const float *in,
                                const pare_forward_slice *s, pare_error *err);
pare_status pare_forward_close_layer(pare_forward *f, const pare_forward_weights *l, uint32_t layer,
                                     const pare_forward_slice *s, pare_error *err);
bool pare_forward_closes_layers(const pare_forward *f);

/* Row 0 of where a pass has the keys and values of a layer. */
float *pare_forward_keys(const pare_forward *f, uint32_t layer);
float *pare_forward_values(const pare_forward *f, uint32_t layer);

/* RoPE of heads of a layer at the slice's positions; n_rot 0: the layer has none. */
pare_rope pare_forward_rope_of(const pare_forward *f, uint32_t layer, uint32_t n_head, const pare_forward_slice *s);

/* forward_kv.c, while a form is kept. A sequence of the run; keys k of a slice before RoPE; keys and values of a slice
 * when they are made; attention of a slice, whose queries are rotated in place. */
void pare_forward_add_sequence(pare_forward *f, uint32_t n, size_t kv_row);
pare_status pare_forward_keep_raw(pare_forward *f, uint32_t layer, const pare_forward_slice *s, float *k,
                                  pare_error *err);
pare_status pare_forward_keep_slice(pare_forward *f, uint32_t layer, const pare_forward_slice *s, pare_error *err);
pare_status pare_forward_attend_kept(pare_forward *f, uint32_t layer, const pare_forward_slice *s, pare_attention *a,
                                     pare_error *err);
void pare_forward_release_kv(pare_forward *f);

/* The same in a cache (kept_cache.c). Of a sequence's bytes on one side of a layer, *all in number, how many from their
 * beginning its first n tokens need; its views, where attention needs some; does the form keep recent tokens, so that a
 * sequence cannot go back? */
uint64_t pare_forward_kept_bytes(pare_forward *f, uint32_t layer, pare_kv_side which, uint32_t n_ctx, uint32_t n,
                                 uint64_t *all);
pare_status pare_forward_reserve_view(pare_forward *f, pare_cache *c, pare_error *err);
bool pare_forward_keeps_recent(const pare_forward *f);

/* Whether the layer's values are its keys as its matrix makes them. */
bool pare_forward_keys_as_values(const pare_forward *f, const pare_forward_weights *l, uint32_t layer);

pare_status pare_forward_make_keys(pare_forward *f, const pare_forward_weights *l, uint32_t layer,
                                   const pare_forward_slice *s, const float *x, pare_error *err);
pare_status pare_forward_attend(pare_forward *f, const pare_forward_weights *l, uint32_t layer,
                                const pare_forward_slice *s, const float *x, pare_error *err);

/* up = the gated unit of n elements of gate and up, or act(up) */
pare_status pare_forward_activate(pare_forward *f, size_t n, pare_error *err);

/* Layers of linear attention, as their tensors say. Sizes in floats: of the last inputs of the convolution, and of the
 * state, of one sequence. recur: f->o = the layer's heads for x, its input, behind norm and gate. */
bool pare_forward_is_recurrent(const pare_forward_weights *l);
size_t pare_forward_past_size(const pare_forward *f);
size_t pare_forward_state_size(const pare_forward *f);
pare_status pare_forward_check_recurrent(const pare_forward *f, const pare_forward_weights *l, uint32_t layer,
                                         pare_error *err);
pare_status pare_forward_reserve_recurrent(pare_forward *f, uint64_t slice, pare_error *err);
pare_status pare_forward_recur(pare_forward *f, const pare_forward_weights *l, uint32_t layer,
                               const pare_forward_slice *s, const float *x, pare_error *err);

/* Plan a run: begin, then the sequences one behind the other. A sequence's n tokens stand at positions n_past and up,
 * its keys from kv_row on, in f->k and f->v or in the cache. */
void pare_forward_begin(pare_forward *f, pare_cache *cache);
void pare_forward_add(pare_forward *f, uint32_t n, uint32_t n_past, size_t kv_row);

/* Run the tokens of the plan through all layers. On error there is no last run. */
pare_status pare_forward_pass(pare_forward *f, const int32_t *ids, pare_error *err);

/* Latent attention (forward_latent.c): widths of queries, keys and values as the cache holds them; memory; weights. */
bool pare_forward_is_latent(const pare_forward *f);

/* A cache holds no values of their own: they are the leading elements of its keys. a->v: those of the slice's sequences,
 * out of keys in floats as the cache has them, in rows of f->cache->view[1]. */
bool pare_forward_values_in_keys(const pare_forward *f);
pare_status pare_forward_take_values(pare_forward *f, const float *k, const pare_forward_slice *s, pare_attention *a,
                                     pare_error *err);
void pare_forward_latent_widths(pare_forward *f);
pare_status pare_forward_reserve_latent(pare_forward *f, uint64_t slice, pare_error *err);
pare_status pare_forward_check_latent(const pare_forward *f, const pare_forward_weights *l, uint32_t layer,
                                      pare_error *err);

/* Keys and values of x into k and v; queries of x, and what *a needs besides its spans, keys and values; and what comes
 * behind attention, into f->o. */
pare_status pare_forward_latent_keys(pare_forward *f, const pare_forward_weights *l, const pare_forward_slice *s,
                                     const float *x, float *k, float *v, pare_error *err);
pare_status pare_forward_latent_queries(pare_forward *f, const pare_forward_weights *l, const pare_forward_slice *s,
                                        const float *x, pare_attention *a, pare_error *err);
pare_status pare_forward_latent_values(pare_forward *f, const pare_forward_weights *l, const pare_forward_slice *s,
                                       pare_error *err);

/* Whether the layer has experts, as its tensors say; a model that says so has them where no dense FFN is. */
bool pare_forward_has_experts(const pare_forward *f, const pare_forward_weights *l);
pare_status pare_forward_check_experts(const pare_forward *f, const pare_forward_weights *l, uint32_t layer,
                                       pare_error *err);

/* slice: tokens at once. Nothing in a dense model. */
pare_status pare_forward_reserve_experts(pare_forward *f, uint64_t slice, pare_error *err);
void pare_forward_release_experts(pare_forward *f);

/* y = the experts' part of x for n tokens, at most a slice. routed: what a router with a norm of its own reads. */
pare_status pare_forward_experts(pare_forward *f, const pare_forward_weights *l, const float *x, const float *routed,
                                 uint32_t n, float *y, pare_error *err);

#endif
