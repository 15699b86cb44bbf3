/* memory/launch.h - a placement as options to paste behind a runtime's command
 *
 * Spellings are those of the sources that docs/methods/PLACEMENT.md names: llama.cpp's common/arg.cpp and vLLM's
 * vllm/config and vllm/engine/arg_utils.py. Options are separated by one space, values with characters that a shell
 * reads stand in single quotes, and neither the model nor an address is among them. */
#ifndef PARE_MEMORY_LAUNCH_H
#define PARE_MEMORY_LAUNCH_H

#include "core/text.h"
#include "memory/placement.h"

/* For llama-server and the other tools of llama.cpp: "-ngl 33 -c 8192 -np 1 ...". Every number that the plan rests on
 * is there, also where it is the default of a release. Errors: PARE_ERR_UNSUPPORTED (a cache type that llama.cpp does
 * not take), PARE_ERR_RANGE (a context beyond an int), PARE_ERR_MEMORY. */
pare_status pare_launch_llama_cpp(const pare_placement *p, pare_buf *out, pare_error *err);

/* For vllm serve: "--max-model-len 8192 ...". host_weights: bytes of weights that it is to keep in RAM, all devices
 * together: pare_plan_weights(&p->plan, PARE_MEMORY_HOST) where the plan is vLLM's. Errors: PARE_ERR_UNSUPPORTED (a
 * cache type that vLLM does not have), PARE_ERR_MEMORY. */
pare_status pare_launch_vllm(const pare_placement *p, uint64_t host_weights, pare_buf *out, pare_error *err);

#endif
