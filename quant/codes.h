/* quant/codes.h - the codes of a block apart from its scales: what can be chosen anew while the scales stay
 *
 * For types whose weights are coded one by one. A code stands for base + step * code, or step * level(code); which base
 * and step is up to the block's scales and found by decoding codes that are known. */
#ifndef PARE_QUANT_CODES_H
#define PARE_QUANT_CODES_H

#include "quant/types.h"

typedef struct pare_codes {
    unsigned n;                                     /* codes 0 .. n - 1; at most 256 */
    int (*level)(unsigned code);                    /* NULL: equal steps. May give two codes the same level */
    void (*get)(const void *block, uint8_t *codes); /* codes: a block's length of them */
    void (*put)(void *block, const uint8_t *codes); /* everything else in the block stays */
} pare_codes;

/* NULL: the type codes several weights together, or is a plain float. */
const pare_codes *pare_type_codes(pare_type type);

#endif
