/* model/hparams_parts.h - words of hyperparameters that only some families have, each part in a file of its own
 *
 * All four functions of a part do nothing for an architecture that has not got it (pare_arch.latent, .routing_keys).
 * Errors as of pare_hparams_from_config. */
#ifndef PARE_MODEL_HPARAMS_PARTS_H
#define PARE_MODEL_HPARAMS_PARTS_H

#include "model/hparams_limits.h"

/* Latent attention: ranks and the parts of a head. Behind the common rules for heads and RoPE. */
pare_status pare_latent_from_config(pare_hparams *hp, const pare_arch *arch, const pare_hf_class *class,
                                    const json_t *config, const char *path, pare_error *err);
pare_status pare_latent_from_meta(pare_hparams *hp, const pare_arch *arch, const pare_meta *meta, const char *path,
                                  pare_error *err);
pare_status pare_latent_to_config(const pare_hparams *hp, const pare_arch *arch, json_t *config, pare_error *err);
pare_status pare_latent_to_meta(const pare_hparams *hp, const pare_arch *arch, pare_meta *meta, pare_error *err);

/* Choice and weights of experts, shared experts, leading dense layers. Behind the common rules for experts. */
pare_status pare_routing_from_config(pare_hparams *hp, const pare_arch *arch, const pare_hf_class *class,
                                     const json_t *config, const char *path, pare_error *err);
pare_status pare_routing_from_meta(pare_hparams *hp, const pare_arch *arch, const pare_meta *meta, const char *path,
                                   pare_error *err);
pare_status pare_routing_to_config(const pare_hparams *hp, const pare_arch *arch, json_t *config, pare_error *err);
pare_status pare_routing_to_meta(const pare_hparams *hp, const pare_arch *arch, pare_meta *meta, pare_error *err);

/* Layers of several kinds (pare_arch.window_heads): sizes and numbers of heads, widths of FFNs, shared keys. Behind the
 * common rules for heads and windows. */
pare_status pare_kinds_from_config(pare_hparams *hp, const pare_arch *arch, const pare_hf_class *class,
                                   const json_t *config, const char *path, pare_error *err);
pare_status pare_kinds_from_meta(pare_hparams *hp, const pare_arch *arch, const pare_meta *meta, const char *path,
                                 pare_error *err);
pare_status pare_kinds_to_config(const pare_hparams *hp, const pare_arch *arch, json_t *config, pare_error *err);
pare_status pare_kinds_to_meta(const pare_hparams *hp, const pare_arch *arch, pare_meta *meta, pare_error *err);

/* Element i of an array of integers of any type; false when it is no integer type, or negative. */
bool pare_meta_element_u64(const pare_meta_value *v, uint64_t i, uint64_t *out);

#endif
