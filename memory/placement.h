/* memory/placement.h - where a model's layers and experts go, so that it fits into what is there and is fast
 *
 * Searches over the plans of a runtime (memory/memory.h), each computed in full: nothing is extrapolated. In this
 * order, the first that fits:
 *   1. every layer on the devices;
 *   2. of mixtures: the experts of the first N layers on the host, N as small as it can be, the last of
 *      them with as few of its matrices as can be (llama.cpp's --n-cpu-moe and -ot);
 *   3. whole layers on the host, the first ones, as few as can be (-ngl), the last of them with as
 *      little of its FFN as can be (-ot); of mixtures with all experts on the host;
 *   4. all of them on the host.
 * vLLM splits every matrix over all devices, each of which gets as much as the smallest holds, and moves the parameters
 * of the first layers to the host, as few as can be (--cpu-offload-gb).
 * Several devices of other runtimes get layers in proportion to their memory; where that does not fit, each is filled
 * up in turn from the last one. Where their bandwidths are known and differ, faster ones then take over what they have
 * room for. Rules and sources: docs/methods/PLACEMENT.md.
 *
 * A place holds its sum when the plan's bytes, reserve included, are no more than it has, and the upper ends of the
 * intervals without the reserve are not either: the reserve is what assumptions may be wrong by. vLLM never goes beyond
 * its share and has fewer blocks of cache instead, so of its plans the upper ends count with the reserve. */
#ifndef PARE_MEMORY_PLACEMENT_H
#define PARE_MEMORY_PLACEMENT_H

#include "memory/card.h"
#include "memory/memory.h"

#define PARE_NO_LIMIT UINT64_MAX

typedef struct pare_memory_device {
    const char *name; /* for messages; NULL: "device N" */
    uint64_t total;   /* what the driver says is there; 0: usable */
    uint64_t usable;  /* what may be taken of it */
    double bandwidth; /* bytes a second; 0: not known */
    double half_rate; /* operations with 16-bit floats a second; 0: not known */
} pare_memory_device;

pare_memory_device pare_memory_device_of(const pare_card *card);

/* What is asked. Borrows all that it points at. */
typedef struct pare_place_query {
    const pare_memory_model *model; /* tensors with a place of their own keep it */
    const pare_memory_runtime *runtime;
    pare_memory_run run; /* n_devices, n_layers_on and device_bytes are not read: the answer has them, and
                          * of vLLM gpu_memory_utilization where it was 0 */
    pare_memory_device device[PARE_MEMORY_MAX_DEVICES];
    uint32_t n_devices;
    uint64_t host_bytes; /* RAM that may be taken; PARE_NO_LIMIT: as much as it needs */
    bool devices_only;   /* only 1: the host gets no more than the runtime keeps there anyway */
} pare_place_query;

typedef enum pare_placement_kind {
    PARE_PLACED_ON_DEVICES,   /* 1 */
    PARE_PLACED_EXPERTS_HOST, /* 2 */
    PARE_PLACED_LAYERS_HOST,  /* 3 */
    PARE_PLACED_ON_HOST       /* 4, or there are no devices */
} pare_placement_kind;

enum { PARE_MAX_MOVED = 8 };

/* Owns nothing. */
typedef struct pare_placement {
    pare_placement_kind kind;
    pare_memory_run run;            /* as asked, with what is on the devices */
    pare_memory_plan plan;          /* of run, and of the model after pare_placement_apply */
    uint32_t n_layers;              /* on the devices, the output counting as one: -ngl */
    uint32_t n_host_experts;        /* the experts of the first so many layers lie on the host */
    char moved[PARE_MAX_MOVED][32]; /* so do these matrices of moved_layer: "ffn_up_exps" */
    uint32_t n_moved, moved_layer;
    uint32_t n_host_layers;                        /* vLLM: the weights of the first so many layers lie on the host */
    uint64_t device_free[PARE_MEMORY_MAX_DEVICES]; /* beyond what the plan takes, reserve included */
    uint64_t host_free;                            /* PARE_NO_LIMIT where there is no limit */
    uint32_t n_plans;                              /* that were computed */
} pare_placement;

/* Whether the runtime's devices work on each layer at once (vLLM's tensor parallelism), not one after the other. */
bool pare_runtime_at_once(const pare_memory_runtime *runtime);

/* Errors: PARE_ERR_DIFFERENCE (nothing fits: the message has the largest context that would, or how many bytes are
 * missing where, and what it would take), PARE_ERR_USAGE (too many devices; a device of 0 bytes; of vLLM a number of
 * devices that does not divide the heads), PARE_ERR_RANGE (a context beyond 31 bits, no layers), those of the runtime's
 * plan, PARE_ERR_MEMORY. */
pare_status pare_place(const pare_place_query *query, pare_placement *out, pare_error *err);

/* Give the model's tensors the places of the answer, which is what its plan was computed of. */
void pare_placement_apply(const pare_placement *p, pare_memory_model *m);

/* What a plan takes of one place (device, or PARE_MEMORY_HOST) by the rule above, and how much of it are weights. Of a
 * mapped file only the tensors that lie on the host count there, not what is between them. */
uint64_t pare_plan_needs(const pare_memory_runtime *runtime, const pare_memory_plan *plan, int32_t place);
uint64_t pare_plan_weights(const pare_memory_plan *plan, int32_t place);

/* Whether that is no more than bytes; PARE_NO_LIMIT: always. */
bool pare_plan_fits(const pare_memory_runtime *runtime, const pare_memory_plan *plan, int32_t place, uint64_t bytes);

#endif
