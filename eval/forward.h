/* eval/forward.h - the forward pass of a described architecture over a backend
 *
 * The pass is wired by the model's description (pare_wiring, pare_hparams) and by which optional weights are there; it
 * knows no family by name. Method and formulas: docs/methods/EVALUATION.md. */
#ifndef PARE_EVAL_FORWARD_H
#define PARE_EVAL_FORWARD_H

#include "eval/backend.h"
#include "eval/kv.h"

typedef struct pare_forward pare_forward;

/* Prepare m (known architecture, weights present and checked) for runs of up to n_seq sequences of up to n_ctx tokens.
 * m and b must outlive it. All activation memory is allocated here.
 * Errors: PARE_ERR_UNSUPPORTED (architecture; latent attention, RoPE scaling that pare does not compute; more positions
 * than a learned position table has), PARE_ERR_FORMAT (missing weights), PARE_ERR_RANGE (shape of a weight),
 * PARE_ERR_MEMORY. */
pare_status pare_forward_open(pare_forward **out, const pare_model *m, pare_backend *b, uint32_t n_ctx, uint32_t n_seq,
                              pare_error *err);
/* The same for up to n_tokens tokens at once, of sequences of up to n_ctx: whole ones, or the next tokens of sequences
 * in a cache (eval/cache.h). */
pare_status pare_forward_open_tokens(pare_forward **out, const pare_model *m, pare_backend *b, uint32_t n_ctx,
                                     uint32_t n_tokens, pare_error *err);
void pare_forward_close(pare_forward *f); /* NULL is allowed */

/* From now on keys and values are kept as the form says (eval/kv.h); before the first run. Errors: those of
 * pare_kv_check, PARE_ERR_MEMORY. A run then also fails with
 * PARE_ERR_NUMBER where a key or value has no finite code. */
pare_status pare_forward_keep(pare_forward *f, const pare_kv_form *form, pare_error *err);

/* While a form is kept: for every layer and slice, what attention gave for the keys and values as they were made
 * (exact), and what for those that are kept (kept): [n, n_head, head_dim], device memory, valid during the call.
 * Doubles the cost of attention. Before the first run; not with a cache. */
typedef pare_status (*pare_watch_fn)(uint32_t layer, uint32_t n, uint32_t n_head, uint32_t head_dim, const float *exact,
                                     const float *kept, void *user, pare_error *err);
pare_status pare_forward_watch(pare_forward *f, pare_watch_fn fn, void *user, pare_error *err);

/* For every layer and slice the keys behind RoPE, before anything is done to them: [n, width], device memory. NULL: no
 * more calls. */
typedef pare_status (*pare_keys_fn)(uint32_t layer, uint32_t n, uint32_t width, const float *keys, void *user,
                                    pare_error *err);
void pare_forward_observe_keys(pare_forward *f, pare_keys_fn fn, void *user);
/* The same of its queries, [n, n_head * head_dim_k]; not of latent attention. */
void pare_forward_observe_queries(pare_forward *f, pare_keys_fn fn, void *user);

/* For every layer and slice what attention is about to read, as it was made: a, whose q, k and v are device memory, F32
 * and behind RoPE, and how the keys were turned (n_rot 0: not at all). Valid during the call; not of latent attention,
 * nor of a cache. NULL: no more calls. */
typedef pare_status (*pare_heads_fn)(uint32_t layer, const pare_attention *a, const pare_rope *keys, void *user,
                                     pare_error *err);
void pare_forward_observe_heads(pare_forward *f, pare_heads_fn fn, void *user);

/* Run n_seq independent sequences of n tokens each through all layers, each from position 0. ids: [n_seq, n]. The
 * hidden states before the output matrix stay until the next run and are read through pare_forward_logits. Errors:
 * PARE_ERR_RANGE (an id outside of the vocabulary), PARE_ERR_USAGE (more than was prepared for), PARE_ERR_NUMBER (the
 * score of an expert is not finite), PARE_ERR_INTERRUPTED, those of reading the weights. */
pare_status pare_forward_run(pare_forward *f, const int32_t *ids, uint32_t n_seq, uint32_t n, pare_error *err);

/* The same when only logits of positions first, first + 1, ... of each sequence will be read: the last layer leaves out
 * the others. The logits are the same. */
pare_status pare_forward_run_from(pare_forward *f, const int32_t *ids, uint32_t n_seq, uint32_t n, uint32_t first,
                                  pare_error *err);

/* The same for sequences of different lengths n[i], one behind the other in ids. For pare_forward_logits their tokens
 * are one sequence. */
pare_status pare_forward_run_each(pare_forward *f, const int32_t *ids, const uint32_t *n, uint32_t n_seq,
                                  pare_error *err);

/* Logits of positions [pos, pos + n) of sequence seq of the last run: out [n, n_vocab], host memory. Here and below:
 * PARE_ERR_UNSUPPORTED for an encoder, which has no output matrix. */
pare_status pare_forward_logits(pare_forward *f, uint32_t seq, uint32_t pos, uint32_t n, float *out, pare_error *err);

/* The states of positions [pos, pos + n) of sequence seq of the last run, behind the last norm where there is one: out
 * [n, n_embd], host memory. */
pare_status pare_forward_states(pare_forward *f, uint32_t seq, uint32_t pos, uint32_t n, float *out, pare_error *err);

/* What pare_backend.score takes for the *n positions that the last run has kept, sequence by sequence, each from the
 * run's `first` on. x stays valid until the next run, and so do the functions above and below. */
pare_status pare_forward_score_side(pare_forward *f, pare_score_side *out, uint32_t *n, pare_error *err);

/* Logits of n tokens of the last run, each counted from the run's first one: out [n, n_vocab], host memory. */
pare_status pare_forward_logits_at(pare_forward *f, const int32_t *tokens, uint32_t n, float *out, pare_error *err);

/* What pare_backend.score, which must be there, says of n tokens of the last run, counted as above, and of a target of
 * each: out [n]. */
pare_status pare_forward_score_at(pare_forward *f, const int32_t *tokens, const int32_t *targets, uint32_t n,
                                  pare_position_score *out, pare_error *err);

/* Call fn for every matrix that the pass multiplies with, before it does, once a batch of tokens, with the inputs x:
 * [n, w->row_len] in device memory, valid during the call. A weight that is multiplied in parts is reported once.
 * matrix: which one of w's (pare_tensor_matrices): the expert, else 0; x are then the inputs of the tokens that the
 * expert was chosen for, and experts that none chose are not reported. An error of fn ends the run. fn NULL: no more
 * calls. */
typedef pare_status (*pare_observe_fn)(const pare_tensor *w, uint32_t matrix, const float *x, uint32_t n, void *user,
                                       pare_error *err);
void pare_forward_observe(pare_forward *f, pare_observe_fn fn, void *user);

/* One layer at a time, for states that the caller keeps: x [n_seq * n, n_embd], host memory. They are all that goes
 * from layer to layer (false: not in this model, and these functions are not for it). */
bool pare_forward_is_layered(const pare_forward *f);

/* x = the states before layer 0. ids and errors as in pare_forward_run. */
pare_status pare_forward_embed(pare_forward *f, const int32_t *ids, uint32_t n_seq, uint32_t n, float *x,
                               pare_error *err);

/* x, the states before the layer, become those behind it. Behind the last one, number n_layer, nothing is computed, and
 * what reads the last run reads this one. */
pare_status pare_forward_layer(pare_forward *f, uint32_t layer, uint32_t n_seq, uint32_t n, float *x, pare_error *err);

/* While fn observes: the states that the layer's products are added to, of the tokens that x is of (unless it is an
 * expert's), device memory. And what fn returns when it has seen enough of the layer for these tokens:
 * pare_forward_layer goes on with others, and their states mean nothing afterwards. */
const float *pare_forward_stream(const pare_forward *f);
pare_status pare_forward_end_slice(pare_forward *f);

/* err says that a logit of the sequence ids [n] is not finite: run it once more, and add the first tensor that is
 * multiplied with such a value, and at which position, or that it comes out of the last layer, or that all are finite
 * before the output norm. True: one is not. Takes the place of what was observed. */
bool pare_forward_trace(pare_forward *f, const int32_t *ids, uint32_t n, pare_error *err);

/* Bytes of activation memory that the pass needs: its own, and the backend's workspace, which passes share. */
uint64_t pare_forward_bytes(const pare_forward *f);

#endif
