/* cmd/fit_report.h - what fit prints */
#ifndef PARE_CMD_FIT_REPORT_H
#define PARE_CMD_FIT_REPORT_H

#include "cmd/fit_choose.h"

#include <jansson.h>

pare_status cmd_fit_print_cards(const cmd_args *args, pare_error *err); /* --gpu list */

/* The model, the memory, how it is run: two lines above all else. */
void cmd_fit_print_head(const cmd_fit_plan *p);

/* A row each candidate. */
void cmd_fit_print_candidates(const cmd_fit_plan *p);

/* Everything about one that fits: parts, places, what was not counted, estimated speed, options to run it with.
 * Errors: those of memory/launch.h, PARE_ERR_MEMORY */
pare_status cmd_fit_print_candidate(const cmd_fit_plan *p, const cmd_fit_candidate *c, pare_error *err);

/* Bytes of the cache by its types, for 1,000 tokens. */
pare_status cmd_fit_print_cache(const pare_model *m, pare_error *err);

/* One budget: what was chosen, predicted and measured, and presets of about its size; several: a row each. */
pare_status cmd_fit_print_outcomes(const cmd_fit_job *j, pare_error *err);
pare_status cmd_fit_json_outcomes(json_t **out, const cmd_fit_job *j, pare_error *err);

/* Several models under one budget: bits for a byte of text, which is the same for every vocabulary. best: the index of
 * the one with the least. */
size_t cmd_fit_best_model(const cmd_fit_job *jobs, size_t n);
void cmd_fit_print_models(const cmd_fit_job *jobs, size_t n);

/* Context by memory of a card and type of the cache, of the plan's best candidate: --table. */
pare_status cmd_fit_print_table(const cmd_args *args, const cmd_fit_plan *p, pare_error *err);

/* What fits of each model; best: the largest of them, n: none fits, as failed says. */
pare_status cmd_fit_print_largest(const cmd_args *args, const cmd_fit_plan *plans, size_t n, size_t best,
                                  const pare_error *failed, pare_error *err);

json_t *cmd_fit_json_devices(const pare_memory_device *devices, uint32_t n); /* [{"name", "bytes"}] */
json_t *cmd_fit_json_request(const cmd_fit_plan *p);
pare_status cmd_fit_json_candidate(json_t **out, const cmd_fit_plan *p, const cmd_fit_candidate *c, bool parts,
                                   pare_error *err);

#endif
