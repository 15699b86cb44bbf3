/* quant/preset.h - which type each tensor gets: the stock presets (q4_k_m, iq2_xxs, ...), as llama-quantize decides
 *
 * Pure decisions over names and counts; the witnesses are tables of stock's choices (docs/PRESETS.md). */
#ifndef PARE_QUANT_PRESET_H
#define PARE_QUANT_PRESET_H

#include "quant/types.h"

typedef struct pare_preset {
    const char *name; /* "q4_k_m": lower case */
    uint32_t ftype;   /* general.file_type */
    pare_type base;   /* the type of an ordinary tensor */
    const char *text; /* one line for help */
} pare_preset;

/* Walk the presets: NULL behind the last one. Find by name without case, NULL when unknown. */
const pare_preset *pare_preset_at(size_t i);
const pare_preset *pare_preset_find(const char *name);

/* What stock's rules look at. */
typedef struct pare_preset_model {
    const char *arch; /* general.architecture */
    uint32_t n_layer, n_head, n_head_kv, n_expert;
    bool tied_output;   /* there is no output.weight: token_embd plays its part */
    bool has_imatrix;
} pare_preset_model;

typedef struct pare_preset_tensor {
    const char *name;          /* GGUF name */
    uint32_t n_dims;
    uint64_t row_len;          /* fastest dimension */
    pare_type type;            /* type in the source */
} pare_preset_tensor;

/* Walks through the tensors of one model. Stock counts attn_v, ffn_down, ... as it meets them, so feed the tensors in
 * the order of pare_preset_order (stock's own: by layer number and name). Zeroed fields except those that init sets. */
typedef struct pare_preset_state {
    const pare_preset *preset;
    pare_preset_model model;
    uint32_t i_attn_v, n_attn_v, i_ffn_down, n_ffn_down, i_ffn_gate, n_ffn_gate, i_ffn_up, n_ffn_up;
    uint32_t n_fallback; /* tensors whose row length the wanted type's block does not divide */
} pare_preset_state;

/* The order in which stock walks tensors, as a comparison of two GGUF names: tensors without a layer first, then by layer
 * number, then by name in byte order. */
int pare_preset_order(const char *name_a, const char *name_b);

/* names: the tensors of the model, to count the kinds that the rules need. preset may be NULL when only model is used. */
void pare_preset_start(pare_preset_state *s, const pare_preset *preset, const pare_preset_model *model,
                       const char *const *names, size_t n_names);

/* The type that stock gives this tensor; t->type when stock leaves it alone (norms, biases, routers, 1-D).
 * *wanted, if not NULL, is the type before the fallback for rows that the block does not divide.
 * Errors: PARE_ERR_UNSUPPORTED  no fallback exists for this row length and type; the message has both */
pare_status pare_preset_choose(pare_preset_state *s, const pare_preset_tensor *t, pare_type *type, pare_type *wanted,
                               pare_error *err);

/* True when stock quantizes this tensor at all (ends in "weight", at least 2-D, not on the list of exceptions). */
bool pare_preset_quantizes(const char *arch, const char *name, uint32_t n_dims);

/* The type that takes over where `type` does not divide row_len; PARE_TYPE_NONE when there is none. */
pare_type pare_preset_fallback(pare_type type, uint64_t row_len);

#endif
