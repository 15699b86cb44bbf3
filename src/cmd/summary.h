/* cmd/summary.h - how models are shown: types, tensors, plans, resources */
#ifndef PARE_CMD_SUMMARY_H
#define PARE_CMD_SUMMARY_H

#include "recipe/recipe.h"

double cmd_bits_per_weight(const pare_model *m); /* stored bits of the tensors over their number of weights; 0: none */

/* One row a type: name, number of tensors, weights, bytes. */
void cmd_print_types(const pare_model *m);
json_t *cmd_json_types(const pare_model *m);

json_t *cmd_json_shape(const pare_tensor *t);
void cmd_shape_text(char *dst, size_t size, const pare_tensor *t); /* "[2048, 256]" */

/* [{name, from, to, bytes, error, weighted_error, wanted}]; errors are left out while they are not known, wanted when it
 * is `to` */
json_t *cmd_json_plan(const pare_plan *plan);
void cmd_print_plan(const pare_plan *plan);
void cmd_print_fallbacks(const pare_plan *plan);

double cmd_seconds(void);             /* since the program started */
uint64_t cmd_peak_rss_bytes(void);    /* of this process, mapped files included */
void cmd_json_resources(json_t *doc); /* "seconds", "peak_rss_bytes" */

#endif
