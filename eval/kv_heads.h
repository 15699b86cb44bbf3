/* eval/kv_heads.h - where a form of keys and values goes wrong: the error of attention head by head, and what the keys
 * of a head are like
 *
 * Error of query head h of a layer, o the output of attention for the keys and values as they were made, o' for those
 * that are kept, over all tokens:
 *
 *     e = sum |o' - o|^2 / sum |o|^2
 *
 * Each layer is asked by itself: both outputs come from the same queries, keys and values, which do carry what the
 * layers before did. A head breaks when
 *
 *     e > PARE_HEAD_ERROR   and   e > PARE_HEAD_TIMES times the median of all heads under this form
 *
 * so that a codec which is bad everywhere is not told head by head.
 *
 * What breaks codecs with one scale a block are channels far larger than the others, in most models because the key
 * projection has a large bias there (Qwen2.5; KIVI, arXiv 2402.02750, section 3.1). So of each head of keys, behind
 * RoPE: the channel of the largest root mean square, how many medians over the head's channels that is, and its mean
 * and deviation. */
#ifndef PARE_EVAL_KV_HEADS_H
#define PARE_EVAL_KV_HEADS_H

#include "eval/kv_pass.h"

#define PARE_HEAD_ERROR 0.1
#define PARE_HEAD_TIMES 4.0

/* Zeroed is closed. */
typedef struct pare_head_errors {
    uint32_t n_layer, n_head; /* n_head: query heads, of all layers the most */
    double *error;            /* [n_layer, n_head] owned; NAN: no such head, its output is 0 everywhere, or its layer
                                 reads the keys of an earlier one */
    double median;            /* over the heads that are there */
} pare_head_errors;

/* Of one form over the windows of t. Errors: those of pare_forward_keep and pare_kv_pass; to be closed then too */
pare_status pare_head_errors_measure(pare_head_errors *out, const pare_kv_text *t, const pare_kv_form *form,
                                     pare_error *err);
bool pare_head_breaks(const pare_head_errors *e, uint32_t layer, uint32_t head);
uint32_t pare_head_errors_broken(const pare_head_errors *e); /* how many do */
void pare_head_errors_close(pare_head_errors *e);

typedef struct pare_key_head {
    uint32_t channel; /* element of the head with the largest root mean square */
    double times; /* that over the median of the head's channels; INFINITY where the median is 0; NAN: no such head */
    double mean, deviation; /* of that channel */
} pare_key_head;

/* Zeroed is closed. */
typedef struct pare_key_heads {
    uint32_t n_layer, n_head; /* n_head: of keys, of all layers the most */
    pare_key_head *head;      /* [n_layer, n_head] owned */
} pare_key_heads;

/* Over the windows of t. Errors: PARE_ERR_MEMORY, those of pare_kv_pass; to be closed then too */
pare_status pare_key_heads_measure(pare_key_heads *out, const pare_kv_text *t, pare_error *err);
void pare_key_heads_close(pare_key_heads *k);

/* Its mean is more than twice its deviation from 0: a bias, which pare_kv_form.key_mean takes off. */
bool pare_key_head_is_biased(const pare_key_head *k);

/* The head of keys that query head `head` of a layer of m reads. */
uint32_t pare_key_head_of(const pare_model *m, uint32_t layer, uint32_t head);

#endif
