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
    bool trained;     /* for models whose weights were trained to lie on the type's few levels, and bad for others */
} pare_preset;

/* Walk the presets: NULL behind the last one. Find by name without case, NULL when unknown. */
const pare_preset *pare_preset_at(size_t i);
const pare_preset *pare_preset_find(const char *name);

/* What stock's rules look at. */
typedef struct pare_preset_model {
    const char *arch;                              /* general.architecture */
    uint32_t n_layer, n_head, n_head_kv, n_expert; /* where layers differ, those of layer 0; n_expert 0: dense */
    bool tied_output; /* there is no output.weight: token_embd plays its part. Set by pare_preset_start */
    bool has_imatrix;
} pare_preset_model;

typedef struct pare_preset_tensor {
    const char *name; /* GGUF name */
    uint32_t n_dims;  /* leading (slowest) dimensions of 1 do not count: 1 x 256 is 1-D, as in stock */
    uint64_t row_len; /* fastest dimension */
    pare_type type;   /* type in the source */
} pare_preset_tensor;

/* Walks through the tensors of one model. Stock counts attn_v, ffn_down, ... as it meets them, so feed every tensor
 * once, in the order of pare_preset_order. */
typedef struct pare_preset_state {
    const pare_preset *preset;
    pare_preset_model model;
    uint32_t n_attn_v;                                   /* in the whole model */
    uint32_t i_attn_v, i_ffn_down, i_ffn_gate, i_ffn_up; /* met so far */
    uint32_t n_fallback; /* tensors whose row length the wanted type's block does not divide */
} pare_preset_state;

/* Compares two tensor names as qsort does: by layer, those outside of the layers first, then by bytes. */
int pare_preset_order(const char *a, const char *b);

/* names: every tensor of the model, in any order, to count the kinds that the rules need. preset, model->arch and the
 * names must outlive s. */
void pare_preset_start(pare_preset_state *s, const pare_preset *preset, const pare_preset_model *model,
                       const char *const *names, size_t n_names);

/* The type that stock gives this tensor; t->type when stock leaves it alone (norms, biases, routers, 1-D).
 * *wanted, if not NULL, is the type before the fallback for rows that the block does not divide.
 * Errors: PARE_ERR_UNSUPPORTED  no fallback exists for this row length and type, or a rule goes by the layer and the
 *                               name of an expert tensor has none; the message has both */
pare_status pare_preset_choose(pare_preset_state *s, const pare_preset_tensor *t, pare_type *type, pare_type *wanted,
                               pare_error *err);

/* True when stock quantizes this tensor at all (ends in "weight", at least 2-D, not on the list of exceptions). */
bool pare_preset_quantizes(const char *arch, const char *name, uint32_t n_dims);

/* The type that takes over where `type` does not divide row_len (`type` itself where it does); PARE_TYPE_NONE when
 * there is none. */
pare_type pare_preset_fallback(pare_type type, uint64_t row_len);

/* True when this tensor must not be quantized to `type` without importances, because the result would be useless. As
 * stock's rule but for Q2_K inside q2_k_s, which stock refuses too and whose search here works without. */
bool pare_preset_needs_weight(const char *name, pare_type type);

#endif
