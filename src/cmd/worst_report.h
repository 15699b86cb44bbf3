/* cmd/worst_report.h - --worst N: the tokens that differ most, with their context */
#ifndef PARE_CMD_WORST_REPORT_H
#define PARE_CMD_WORST_REPORT_H

#include "cmd/text_run.h"
#include "eval/worst.h"

/* Listens to the scores of model 0. worst must outlive the run. */
cmd_listener cmd_worst_listener(pare_worst *worst);

/* worst is sorted. Errors: PARE_ERR_MEMORY */
pare_status cmd_print_worst(const pare_worst *worst, const cmd_args *args, const pare_tokenizer *tokenizer,
                            pare_error *err);
pare_status cmd_json_worst(json_t *doc, const pare_worst *worst, const pare_tokenizer *tokenizer, pare_error *err);

#endif
