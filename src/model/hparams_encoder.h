/* model/hparams_encoder.h - the numbers that only models with states as their result have: which way attention looks,
 * pooling, token types. Called by the common readers and writers (hparams.h) for every family. */
#ifndef PARE_MODEL_HPARAMS_ENCODER_H
#define PARE_MODEL_HPARAMS_ENCODER_H

#include "model/arch.h"

/* Behind the counts. Errors: PARE_ERR_FORMAT, PARE_ERR_RANGE with key, value and limit. */
pare_status pare_hparams_encoder_from_config(pare_hparams *hp, const pare_arch *arch, const pare_hf_class *class,
                                             const json_t *config, const char *path, pare_error *err);
pare_status pare_hparams_encoder_from_meta(pare_hparams *hp, const pare_arch *arch, const pare_meta *meta,
                                           const char *path, pare_error *err);

/* <arch>.attention.causal and <arch>.pooling_type; the number of token types, which stock's converter keeps among the
 * keys of the tokenizer. */
pare_status pare_hparams_encoder_to_meta(const pare_hparams *hp, const pare_arch *arch, pare_meta *meta,
                                         pare_error *err);
pare_status pare_hparams_token_types_to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err);
pare_status pare_hparams_encoder_to_config(const pare_hparams *hp, json_t *config, pare_error *err);

/* "mean", "cls", "last"; NULL for the others. */
const char *pare_pooling_name(pare_pooling pooling);
pare_pooling pare_pooling_find(const char *name); /* NONE for NULL and for what is no such name */

#endif
