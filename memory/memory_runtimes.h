/* memory/memory_runtimes.h - what runtimes share, and the runtimes; internal to the room */
#ifndef PARE_MEMORY_MEMORY_RUNTIMES_H
#define PARE_MEMORY_MEMORY_RUNTIMES_H

#include "memory/memory_layout.h"

extern const pare_memory_runtime memory_llama, memory_vllm, memory_plain;

/* What a driver and its libraries take on each device that is used: nobody's rules say it, so it is assumed, with an
 * interval and where the numbers come from. Ends with a NULL name. */
typedef struct memory_driver_cost {
    const char *name, *depends;
    uint64_t bytes, low, high;
} memory_driver_cost;

extern const memory_driver_cost memory_cuda_ggml[], memory_cuda_torch[];

pare_status memory_plan_driver(pare_memory_plan *plan, const memory_layout *l, const memory_driver_cost *costs,
                               pare_error *err);
pare_status memory_plan_beside(pare_memory_plan *plan, const memory_layout *l, pare_error *err); /* and the reserve */
void memory_note_request(pare_memory_plan *plan, const memory_layout *l);

#endif
