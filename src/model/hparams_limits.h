/* model/hparams_limits.h - what either source of hyperparameters is held to */
#ifndef PARE_MODEL_HPARAMS_LIMITS_H
#define PARE_MODEL_HPARAMS_LIMITS_H

#include "model/arch.h"
#include "model/vocab.h"

enum {
    PARE_MAX_EMBD = 1 << 20,
    PARE_MAX_FF = 1 << 24,
    PARE_MAX_HEADS = 1 << 14,
    PARE_MAX_HEAD_DIM = 1 << 16,
    PARE_MAX_EXPERTS = 1 << 14
};
#define PARE_MAX_CTX UINT32_C(0x7fffffff)

/* Where a source says what does not fit, for messages: "'hidden_size'", "offset 77: 'llama.embedding_length'". */
typedef struct pare_hparams_places {
    const char *path;
    char embd[200], heads_kv[200], rot[200];
} pare_hparams_places;

/* Fill what follows from other values (kv heads, head size, rotary size, when 0) and check how the values fit together:
 * divisors, even rotary size, finite and positive floats. The same rules for both sources.
 * Errors: PARE_ERR_RANGE with the place. */
pare_status pare_hparams_settle(pare_hparams *hp, const pare_hparams_places *at, pare_error *err);

/* A set of layers as an array of bools (or integers), one a layer: true for those that are in it (`in`), or for the
 * others. Errors: PARE_ERR_RANGE (fewer elements than layers, another type). */
pare_status pare_layers_from_meta(pare_layer_set *s, const pare_meta_value *v, bool in, uint32_t n_layer,
                                  const char *path, pare_error *err);
pare_status pare_layers_to_meta(const pare_layer_set *s, bool in, uint32_t n_layer, pare_meta *meta, const char *key,
                                pare_error *err);

/* Which layers see how far: hp's window and full, from one source or to the other. The counts of layers and of the
 * context are there already. */
pare_status pare_window_from_config(pare_hparams *hp, const pare_arch *arch, const pare_hf_class *class,
                                    const json_t *config, const char *path, pare_error *err);
pare_status pare_window_from_meta(pare_hparams *hp, const pare_arch *arch, const pare_meta *meta, const char *path,
                                  pare_error *err);
pare_status pare_window_to_meta(const pare_hparams *hp, const pare_arch *arch, pare_meta *meta, pare_error *err);
bool pare_window_to_config(const pare_hparams *hp, const pare_arch *arch, const pare_hf_class *class,
                           json_t *config); /* false: no memory */

/* Set hp->act from the name of an activation, out of a file. Errors: PARE_ERR_UNSUPPORTED. */
pare_status pare_hparams_set_act(pare_hparams *hp, const pare_arch *arch, pare_str name, const char *path,
                                 const char *key, pare_error *err);

/* True when v, out of a file, is finite and in (0, max]. */
bool pare_hparams_positive(double v, double max);

#endif
