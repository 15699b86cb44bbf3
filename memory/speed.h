/* memory/speed.h - how fast a placed model may be: estimated, not measured
 *
 * Generating reads, for each token, all weights that the token goes through and the cache before it, each from the
 * memory that it lies in; places work one after the other (vLLM's devices at once: the slowest counts):
 *
 *     seconds a token = sum over places of (weights + cache) / (efficiency * bandwidth) + layers on devices * overhead
 *
 * Reading a prompt is bounded by arithmetic instead: two operations a weight and token, four times head size times
 * keys seen a head for attention, and, for weights on the host, their way over the bus once a micro-batch, because
 * llama.cpp multiplies batches of 32 and more on the device:
 *
 *     seconds = sum over devices of operations / (efficiency * half_rate)
 *             + micro-batches * weights on the host / link bandwidth
 *
 * The efficiencies are what is left of the makers' figures; defaults and what they rest on: docs/methods/PLACEMENT.md.
 */
#ifndef PARE_MEMORY_SPEED_H
#define PARE_MEMORY_SPEED_H

#include "memory/placement.h"

/* Zeros are the defaults. Depth and prompt are counts of tokens, the rest bytes a second and shares of 1. */
typedef struct pare_speed_input {
    uint64_t depth;            /* tokens in the cache when one is generated; 0 is 0 */
    uint64_t n_prompt;         /* tokens of the prompt whose reading is timed; default: a micro-batch */
    double host_bandwidth;     /* default PARE_SPEED_HOST: two channels of DDR5-5600 */
    double link_bandwidth;     /* host to device; default PARE_SPEED_LINK: PCIe 4.0 x16 */
    double host_rate;          /* operations a second on the host, where there is no device; 0: not known */
    double decode_efficiency;  /* of devices; default PARE_SPEED_DECODE */
    double host_efficiency;    /* default PARE_SPEED_HOST_DECODE */
    double layer_seconds;      /* what a layer on a device costs whatever it reads; default PARE_SPEED_LAYER */
    double prefill_efficiency; /* default PARE_SPEED_PREFILL */
} pare_speed_input;

#define PARE_SPEED_HOST 89.6e9
#define PARE_SPEED_LINK 31.5e9
#define PARE_SPEED_DECODE 0.8
#define PARE_SPEED_HOST_DECODE 0.5
#define PARE_SPEED_LAYER 30e-6
#define PARE_SPEED_PREFILL 0.4

typedef struct pare_speed_share {
    int32_t place;           /* device, or PARE_MEMORY_HOST */
    uint64_t weights, cache; /* bytes read a token */
    double n_ops;            /* operations of the whole prompt with the weights and caches that lie here */
    double bandwidth, rate;  /* of the place; 0: not known */
    double seconds;          /* a generated token spends here; 0: not known */
} pare_speed_share;

typedef struct pare_speed {
    pare_speed_input input; /* with the defaults filled in */
    pare_speed_share share[PARE_MEMORY_MAX_DEVICES + 1];
    uint32_t n_shares;
    uint64_t weights, cache;  /* bytes read a token, all places */
    uint32_t n_layers;        /* that lie on devices */
    double active;            /* weights that a token is multiplied with */
    double decode;            /* tokens a second; 0: not known */
    double decode_limit;      /* at the full bandwidths and without overhead: what cannot be exceeded */
    double prefill;           /* tokens a second over the prompt; 0: not known */
    char decode_formula[320]; /* with the numbers: "1 / (4.58 GB / (0.8 * 1008 GB/s, ...) + 32 * 30 us)" */
    char prefill_formula[320];
    const char *label;   /* "estimated, not measured" */
    const char *unknown; /* why a figure is 0: "no bandwidth of the device is known"; NULL: none is */
} pare_speed;

/* Estimate a placed model. query is what pare_place answered with p. Errors: PARE_ERR_USAGE (a rate or an efficiency
 * that is negative or not finite, an efficiency above 1), PARE_ERR_RANGE, those of pare_memory_cache_read. */
pare_status pare_speed_estimate(pare_speed *out, const pare_place_query *query, const pare_placement *p,
                                const pare_speed_input *input, pare_error *err);

#endif
