/* cmd/kv_report.h - what `pare kv` measured: for people, and as a document */
#ifndef PARE_CMD_KV_REPORT_H
#define PARE_CMD_KV_REPORT_H

#include "cmd/kv_choose.h"

#include <jansson.h>

enum { CMD_KV_SENTENCE = 640 };

/* The recommendation in a sentence or two, out [CMD_KV_SENTENCE]. */
void cmd_kv_sentence(const cmd_kv_run *r, const cmd_kv_choice *choice, char *out);

/* Why a head breaks: "layer 0, head 3: error 1.2; channel 31 of key head 1 is ...", out [CMD_KV_SENTENCE]. */
void cmd_kv_head_sentence(const cmd_kv_run *r, size_t form, uint32_t layer, uint32_t head, char *out);

void cmd_kv_print(const cmd_kv_run *r, const cmd_kv_choice *choice);

/* *out: owned by the caller; "device" and resources are not in it. Errors: PARE_ERR_MEMORY */
pare_status cmd_kv_json(json_t **out, const cmd_kv_run *r, const cmd_kv_choice *choice, pare_error *err);

#endif
