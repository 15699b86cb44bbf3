/* llama.cpp: weights, caches, output buffer, compute buffers; of CUDA what its driver and libraries take beside them.
 */
#include "core/checked.h"
#include "memory/compute_build.h"
#include "memory/memory_runtimes.h"

#include <inttypes.h>
#include <stdio.h>

/* llama_context::output_reserve: logits, and states where they are wanted, of each row. */
static pare_status add_output(pare_memory_plan *plan, const memory_layout *l, pare_error *err)
{
    uint64_t rows = l->run->n_outputs_buffer > l->n_seq ? l->run->n_outputs_buffer : l->n_seq;
    uint64_t width = l->m->n_tokens;
    pare_memory_part part = {.kind = PARE_MEMORY_OUTPUT, .place = PARE_MEMORY_HOST, .name = "output buffer"};
    if (l->run->embeddings)
        width += l->hp->n_embd;
    if (!pare_mul_u64(4 * width, rows, &part.bytes))
        return memory_overflow("output buffer", err);
    part.low = part.high = part.bytes;
    snprintf(part.depends, sizeof part.depends, "%" PRIu64 " rows of %" PRIu64 " logits%s, f32", rows,
             (uint64_t)l->m->n_tokens, l->run->embeddings ? " and a state" : "");
    return memory_add_part(plan, &part, err);
}

/* ggml-cuda may change the graph, which was compared with devices that do everything (docs/methods/MEMORY.md). */
enum { DEVICE_LOW_PERCENT = 90, DEVICE_HIGH_PERCENT = 115 };

static pare_status add_compute(pare_memory_plan *plan, const memory_layout *l, pare_error *err)
{
    uint64_t bytes[CG_MAX_PLACES];
    pare_status status = cb_peak(l, bytes, err);
    for (int32_t place = PARE_MEMORY_HOST; place < (int32_t)l->run->n_devices && status == PARE_OK; place++) {
        uint64_t n = bytes[place + 1];
        pare_memory_part part = {
            .kind = PARE_MEMORY_COMPUTE, .place = place, .name = "compute buffer", .bytes = n, .low = n, .high = n};
        if (n == 0)
            continue;
        part.assumed = l->run->n_devices > 0;
        if (part.assumed) {
            part.low = n / 100 * DEVICE_LOW_PERCENT;
            if (!pare_mul_u64(n / 100 + 1, DEVICE_HIGH_PERCENT, &part.high))
                return memory_overflow("compute buffer", err);
        }
        snprintf(part.depends, sizeof part.depends,
                 "graph of %" PRIu32 " tokens, %" PRIu32 " outputs, %" PRIu64 " cells, flash attention %s%s",
                 l->n_ubatch, l->n_outputs < l->n_ubatch ? l->n_outputs : l->n_ubatch, l->cells,
                 l->flash ? "on" : "off", part.assumed ? "; not measured on devices" : "");
        status = memory_add_part(plan, &part, err);
    }
    return status;
}

static pare_status plan_llama(pare_memory_plan *out, const pare_memory_model *m, const pare_memory_run *run,
                              pare_error *err)
{
    memory_layout l;
    *out = (pare_memory_plan){0};
    pare_status status = memory_layout_of(&l, m, run, err);
    if (status == PARE_OK)
        memory_note_request(out, &l);
    if (status == PARE_OK)
        status = memory_plan_weights(out, &l, err);
    if (status == PARE_OK)
        status = memory_plan_cache(out, &l, err);
    if (status == PARE_OK)
        status = add_output(out, &l, err);
    if (status == PARE_OK)
        status = add_compute(out, &l, err);
    if (status == PARE_OK)
        status = memory_plan_driver(out, &l, memory_cuda_ggml, err);
    if (status == PARE_OK)
        status = memory_plan_beside(out, &l, err);
    memory_add_missing(out, "the program itself, its tokenizer and prompts (host, tens of MiB)");
    memory_add_missing(out, "buffers of BLAS and of threads for one operation (host)");
    memory_add_missing(out, "weights that llama.cpp repacks for the CPU at load: the same bytes, no longer mapped");
    memory_add_missing(out, "LoRA adapters, control vectors, saved prompts and slots");
    return status == PARE_OK ? memory_sum_up(out, err) : status;
}

const pare_memory_runtime memory_llama = {"llama.cpp", "llama-server and llama-cli: GGUF, CPU and GPU together",
                                          plan_llama};
