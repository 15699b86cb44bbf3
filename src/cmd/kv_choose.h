/* cmd/kv_choose.h - which of the measured caches `pare kv` recommends */
#ifndef PARE_CMD_KV_CHOOSE_H
#define PARE_CMD_KV_CHOOSE_H

#include "cmd/kv_run.h"

#define CMD_KV_NONE SIZE_MAX

typedef struct cmd_kv_choice {
    size_t form;    /* recommended; CMD_KV_NONE: none is */
    size_t closest; /* where none is: the one of the least divergence that might have been; CMD_KV_NONE: none might */
} cmd_kv_choice;

/* The mean KL divergence of a form at the length where it is largest, and that length. */
pare_estimate cmd_kv_worst(const cmd_kv_run *r, size_t form, uint32_t *depth);

/* The smallest cache whose mean divergence is at most the limit at every length, of the smallest the one that diverges
 * least. Caches that no known program keeps count with `research` alone, and with a budget those that leave room for
 * n_ctx tokens alone (0: any). Those whose exact last tokens fill the longest window never count. */
cmd_kv_choice cmd_kv_choose(const cmd_kv_run *r, double limit, bool research, uint64_t n_ctx);

#endif
