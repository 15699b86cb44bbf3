#include "memory/memory_runtimes.h"

#include <strings.h>

#define MIB UINT64_C(1048576)

/* Sources: gpustack/gguf-parser-go assumes 150 MiB of RAM and 168 to 318 MiB a CUDA device; NVIDIA's cuBLAS manual
 * (cublasSetWorkspace) gives its own workspace as 32 MiB on Hopper and 4 MiB before. Nothing of this was measured. */
const memory_driver_cost memory_cuda_ggml[] = {
    {"CUDA context and kernels", "driver, card and number of kernels; not measured", 300 * MIB, 150 * MIB, 600 * MIB},
    {"cuBLAS workspace and pools", "card and largest product; not measured", 40 * MIB, 4 * MIB, 160 * MIB},
    {"CUDA graphs", "number of operations; not measured", 16 * MIB, 0, 64 * MIB},
    {NULL, NULL, 0, 0, 0}};

/* PyTorch brings more kernels and an NCCL; graphs of many batch sizes are captured (vllm/config/compilation.py). The
 * logs that vLLM prints ("Graph capturing finished ... took") range from a few hundred MiB to above one GiB. */
const memory_driver_cost memory_cuda_torch[] = {
    {"CUDA context and kernels", "driver, card, PyTorch; not measured", 500 * MIB, 300 * MIB, 900 * MIB},
    {"cuBLAS workspace and pools", "card and largest product; not measured", 100 * MIB, 16 * MIB, 300 * MIB},
    {"CUDA graphs", "batch sizes captured (0 with --enforce-eager); not measured", 600 * MIB, 0, 2048 * MIB},
    {NULL, NULL, 0, 0, 0}};

pare_status memory_plan_driver(pare_memory_plan *plan, const memory_layout *l, const memory_driver_cost *costs,
                               pare_error *err)
{
    pare_status status = PARE_OK;
    for (uint32_t d = 0; d < l->run->n_devices; d++) {
        for (const memory_driver_cost *c = costs; c->name != NULL && status == PARE_OK; c++) {
            pare_memory_part part = {.kind = PARE_MEMORY_DRIVER,
                                     .place = (int32_t)d,
                                     .assumed = true,
                                     .bytes = c->bytes,
                                     .low = c->low,
                                     .high = c->high};
            memory_set_words(&part, c->name, c->depends);
            status = memory_add_part(plan, &part, err);
        }
    }
    return status;
}

static pare_status add_fixed(pare_memory_plan *plan, pare_memory_kind kind, int32_t place, uint64_t bytes,
                             const char *name, const char *depends, pare_error *err)
{
    pare_memory_part part = {.kind = kind, .place = place, .bytes = bytes, .low = bytes, .high = bytes};
    memory_set_words(&part, name, depends);
    return bytes > 0 ? memory_add_part(plan, &part, err) : PARE_OK;
}

pare_status memory_plan_beside(pare_memory_plan *plan, const memory_layout *l, pare_error *err)
{
    const pare_memory_run *run = l->run;
    int32_t place = run->n_devices > 0 ? 0 : PARE_MEMORY_HOST;
    uint32_t n = run->n_devices > 0 ? run->n_devices : 1;
    pare_status status = add_fixed(plan, PARE_MEMORY_BESIDE, place, run->projector_bytes, "projector",
                                   "its file; its graph is not counted", err);
    if (status == PARE_OK)
        status = add_fixed(plan, PARE_MEMORY_BESIDE, place, run->draft_bytes, "draft model",
                           "its file; its cache and graph are not counted", err);
    for (uint32_t i = 0; i < n && status == PARE_OK; i++)
        status = add_fixed(plan, PARE_MEMORY_RESERVE, run->n_devices > 0 ? (int32_t)i : PARE_MEMORY_HOST, run->reserve,
                           "reserve", "left free on request", err);
    if (run->projector_bytes > 0)
        memory_add_missing(plan, "the graph of the projector, which grows with an image's size");
    if (run->draft_bytes > 0)
        memory_add_missing(plan, "the cache and the graph of the draft model");
    return status;
}

void memory_note_request(pare_memory_plan *plan, const memory_layout *l)
{
    plan->n_ctx = l->n_ctx;
    plan->n_ctx_seq = l->n_ctx_seq;
    plan->n_batch = l->n_batch;
    plan->n_ubatch = l->n_ubatch;
}

/* ---- table ---- */

const pare_memory_runtime *pare_memory_runtime_at(size_t i)
{
    static const pare_memory_runtime *const all[] = {&memory_llama, &memory_vllm, &memory_plain};
    return i < sizeof all / sizeof *all ? all[i] : NULL;
}

const pare_memory_runtime *pare_memory_runtime_find(const char *name)
{
    const pare_memory_runtime *r;
    for (size_t i = 0; (r = pare_memory_runtime_at(i)) != NULL; i++)
        if (strcasecmp(r->name, name) == 0)
            return r;
    return NULL;
}
