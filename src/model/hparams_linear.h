/* model/hparams_linear.h - the numbers of layers with linear attention, for the hooks of their families
 *
 * config.json: linear_conv_kernel_dim, linear_key_head_dim, linear_value_head_dim, linear_num_key_heads,
 * linear_num_value_heads, and layer_types (linear_attention, full_attention) or full_attention_interval. GGUF:
 * ssm.conv_kernel, ssm.state_size (of a key head), ssm.group_count (key heads), ssm.time_step_rank (value heads),
 * ssm.inner_size (all value heads together), attention.recurrent_layers, full_attention_interval. */
#ifndef PARE_MODEL_HPARAMS_LINEAR_H
#define PARE_MODEL_HPARAMS_LINEAR_H

#include "model/hparams.h"

/* absent: what transformers takes for keys that are left out; its layers are not looked at. */
pare_status pare_linear_from_config(pare_hparams *hp, const pare_linear_attention *absent, const json_t *config,
                                    const char *path, pare_error *err);
bool pare_linear_to_config(const pare_hparams *hp, json_t *config); /* false: no memory */

pare_status pare_linear_from_meta(pare_hparams *hp, const char *arch_name, const pare_meta *meta, const char *path,
                                  pare_error *err);
pare_status pare_linear_to_meta(const pare_hparams *hp, const char *arch_name, pare_meta *meta, pare_error *err);

#endif
