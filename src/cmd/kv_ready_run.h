/* cmd/kv_ready_run.h - --kv-ready: a model's weights made ready for a quantized cache before they are written */
#ifndef PARE_CMD_KV_READY_RUN_H
#define PARE_CMD_KV_READY_RUN_H

#include "cmd/outputs.h"
#include "core/hash.h"
#include "model/imatrix.h"
#include "model/model.h"

/* What was done. */
typedef struct cmd_kv_ready {
    bool done;
    uint32_t n_keys, n_values;  /* layers */
    double ratio;               /* pare_kv_ready.mean_ratio */
    char text[PARE_SHA256_HEX]; /* of --kv-text; "": none was given */
} cmd_kv_ready;

/* Where args say --kv-ready: change in, opened and complete, and im (NULL: none), its statistics, which may then be
 * quantized as any others. A dry run does not choose factors. output: a path in the folder for what takes room.
 * Errors: PARE_ERR_USAGE (--kv-text without --kv-ready), those of pare_kv_ready_*, of the text and its tokenizer */
pare_status cmd_kv_ready_apply(cmd_kv_ready *told, const cmd_args *args, pare_model *in, pare_imatrix *im,
                               const char *output, cmd_pinning *pinning, pare_error *err);

/* "kv_ready" of doc; nothing where it was not done. And a line of text. */
void cmd_kv_ready_json(json_t *doc, const cmd_kv_ready *told);
void cmd_kv_ready_print(const cmd_kv_ready *told);

#endif
