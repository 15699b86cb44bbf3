/* vLLM: every matrix is divided among the devices (tensor parallelism), keys and values lie in blocks of 16 tokens, and
 * the engine takes gpu_memory_utilization of each device whether it needs it or not: what the request does not need
 * becomes further blocks. Rules: vllm/v1/kv_cache_interface.py (blocks of a layer: FullAttentionSpec,
 * SlidingWindowSpec, MambaSpec), vllm/config/cache.py. The peak of intermediate results is what vLLM finds out with a
 * dummy batch when it starts; here it is assumed. Nothing of this was measured. */
#include "core/checked.h"
#include "memory/memory_runtimes.h"

#include <inttypes.h>
#include <stdio.h>

enum { BLOCK_TOKENS = 16, HALF = 2 /* bytes of a state */ };
static const double default_utilization = 0.9;

static uint32_t n_parallel(const memory_layout *l)
{
    return l->run->n_devices > 0 ? l->run->n_devices : 1;
}

static uint64_t divided(uint64_t bytes, uint32_t n)
{
    return bytes / n + (bytes % n != 0);
}

/* ---- weights ---- */

static pare_status add_weights(pare_memory_plan *plan, const memory_layout *l, bool host, pare_error *err)
{
    pare_memory_part part = {.kind = PARE_MEMORY_WEIGHTS, .place = PARE_MEMORY_HOST, .name = "weights"};
    uint32_t n = n_parallel(l);
    uint64_t count = 0;
    for (size_t i = 0; i < l->m->n_tensors; i++) {
        const pare_memory_tensor *t = &l->m->tensors[i];
        bool there = (t->place == PARE_MEMORY_HOST) == host;
        if (!there)
            continue;
        count++;
        /* Vectors lie on each device whole. */
        if (!pare_add_u64(part.bytes, host || t->n_dims < 2 ? t->n_bytes : divided(t->n_bytes, n), &part.bytes))
            return memory_overflow("weights", err);
    }
    part.low = part.high = part.bytes;
    snprintf(part.depends, sizeof part.depends, "%" PRIu64 " tensors%s", count,
             host ? ", kept in RAM (--cpu-offload-gb)" : ", matrices divided among the devices");
    pare_status status = PARE_OK;
    for (uint32_t d = 0; d < (host ? 1 : n) && count > 0 && status == PARE_OK; d++) {
        part.place = host || l->run->n_devices == 0 ? PARE_MEMORY_HOST : (int32_t)d;
        status = memory_add_part(plan, &part, err);
    }
    return status;
}

/* ---- cache ---- */

/* Tokens, in blocks, that one sequence needs in a layer at most. */
static uint64_t blocks_of(const memory_layout *l, uint32_t layer, uint64_t n_ctx_seq)
{
    uint64_t tokens = n_ctx_seq, more = 0;
    if (memory_layer_windowed(l, layer) && !l->run->swa_full) {
        uint64_t window = (uint64_t)pare_layer_window(l->hp, layer) - 1 + l->n_batch;
        tokens = window < tokens ? window : tokens;
        more = 1; /* a window may begin within a block */
    }
    return (tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS + more;
}

/* Heads of keys and values are divided; where there are fewer than devices, and of latent attention, each has all. */
static pare_status layer_bytes(const memory_layout *l, uint32_t layer, uint64_t n_ctx_seq, uint64_t n_seq,
                               uint64_t *out, pare_error *err)
{
    uint32_t n = n_parallel(l);
    memory_heads h = memory_heads_of(l->hp, layer);
    *out = 0;
    if (memory_layer_recurrent(l->hp, layer)) {
        *out = divided(4 * n_seq * (memory_conv_state(l->hp) + memory_rule_state(l->hp)), n);
        return PARE_OK;
    }
    if (pare_layer_of_keys(l->hp, layer) != layer)
        return PARE_OK;
    pare_status status = memory_token_cache(l->hp, layer, l->type_k, l->type_v, out, err);
    if (status != PARE_OK)
        return status;
    if (!memory_is_latent(l->hp))
        *out = *out / h.n_kv * divided(h.n_kv, n);
    bool fits =
        pare_mul_u64(*out, BLOCK_TOKENS * n_seq, out) && pare_mul_u64(*out, blocks_of(l, layer, n_ctx_seq), out);
    return fits ? PARE_OK : memory_overflow("cache", err);
}

static pare_status add_cache(pare_memory_plan *plan, const memory_layout *l, pare_error *err)
{
    uint32_t n = n_parallel(l);
    uint64_t n_seq = l->run->per_sequence ? l->n_seq : 1, n_ctx_seq = l->asked / n_seq;
    pare_memory_part part = {.kind = PARE_MEMORY_CACHE, .name = "KV cache blocks"};
    pare_status status = PARE_OK;
    for (uint32_t i = 0; i < l->hp->n_layer && status == PARE_OK; i++) {
        uint64_t bytes;
        status = layer_bytes(l, i, n_ctx_seq, memory_layer_recurrent(l->hp, i) ? l->n_seq : n_seq, &bytes, err);
        if (status == PARE_OK && !pare_add_u64(part.bytes, bytes, &part.bytes))
            return memory_overflow("cache", err);
    }
    part.low = part.high = part.bytes;
    snprintf(part.depends, sizeof part.depends,
             "%" PRIu64 " x %" PRIu64 " tokens in blocks of %d, %s; vLLM fills the rest of its share with more", n_seq,
             n_ctx_seq, BLOCK_TOKENS, pare_type_get(l->type_k)->name);
    for (uint32_t d = 0; d < n && part.bytes > 0 && status == PARE_OK; d++) {
        part.place = l->run->n_devices == 0 ? PARE_MEMORY_HOST : (int32_t)d;
        status = memory_add_part(plan, &part, err);
    }
    return status;
}

/* ---- intermediate results ---- */

/* Of a batch: residual, its norm and a copy; what a layer's FFN is wide, or its heads; of mixtures the chosen experts'
 * inputs and outputs; and logits of each sequence as states and twice as floats for sampling. */
static double activation_bytes(const memory_layout *l)
{
    const pare_hparams *hp = l->hp;
    double n = n_parallel(l), tokens = l->n_batch, widest = 0;
    for (uint32_t i = 0; i < hp->n_layer; i++) {
        pare_layer_shape s = pare_layer_shape_of(hp, i);
        double ff = 3.0 * s.n_ff / n, heads = (2.0 * hp->n_head * s.head_dim_k + 2.0 * s.n_head_kv * s.head_dim_k) / n;
        if (pare_layer_has_experts(hp, i))
            ff = hp->n_expert_used * (3.0 * hp->n_ff_expert / n + hp->n_embd) + 3.0 * hp->n_ff_shared / n;
        widest = ff > widest ? ff : widest;
        widest = heads > widest ? heads : widest;
    }
    return HALF * tokens * (3.0 * hp->n_embd + widest) + (HALF + 4.0 + 4.0) * l->n_seq * hp->n_vocab;
}

static pare_status add_activations(pare_memory_plan *plan, const memory_layout *l, pare_error *err)
{
    pare_memory_part part = {.kind = PARE_MEMORY_COMPUTE, .assumed = true, .name = "intermediate results"};
    double bytes = activation_bytes(l);
    pare_status status = PARE_OK;
    if (bytes > 1e18)
        return memory_overflow("intermediate results", err);
    part.bytes = (uint64_t)bytes;
    part.low = part.bytes / 2;
    part.high = 2 * part.bytes;
    snprintf(part.depends, sizeof part.depends, "a batch of %" PRIu32 " tokens, logits of %" PRIu32 "; not measured",
             l->n_batch, l->n_seq);
    for (uint32_t d = 0; d < n_parallel(l) && status == PARE_OK; d++) {
        part.place = l->run->n_devices == 0 ? PARE_MEMORY_HOST : (int32_t)d;
        status = memory_add_part(plan, &part, err);
    }
    return status;
}

/* ---- share ---- */

/* What vLLM leaves of each device; a larger reserve that was asked for counts instead. */
static pare_status add_outside(pare_memory_plan *plan, const memory_layout *l, pare_error *err)
{
    double share = l->run->gpu_memory_utilization > 0 ? l->run->gpu_memory_utilization : default_utilization;
    pare_status status = PARE_OK;
    for (uint32_t d = 0; d < l->run->n_devices && status == PARE_OK; d++) {
        uint64_t outside = (uint64_t)((1 - share) * (double)l->run->device_bytes[d]);
        pare_memory_part part = {.kind = PARE_MEMORY_RESERVE, .place = (int32_t)d};
        part.bytes = outside > l->run->reserve ? outside : l->run->reserve;
        part.low = part.high = part.bytes;
        snprintf(part.name, sizeof part.name, "left free");
        if (outside > l->run->reserve)
            snprintf(part.depends, sizeof part.depends, "gpu_memory_utilization %.3g of the device", share);
        else
            snprintf(part.depends, sizeof part.depends, "reserve on request; gpu_memory_utilization %.3g leaves less",
                     share);
        if (part.bytes > 0)
            status = memory_add_part(plan, &part, err);
    }
    return status;
}

static pare_status check(const memory_layout *l, pare_error *err)
{
    double share = l->run->gpu_memory_utilization;
    if (pare_type_get(l->type_k)->block_len > 1 || pare_type_get(l->type_v)->block_len > 1 || l->type_k != l->type_v)
        return pare_fail(err, PARE_ERR_USAGE, "cache types %s and %s: vLLM has one type for both, of 16 or 8 bits",
                         pare_type_get(l->type_k)->name, pare_type_get(l->type_v)->name);
    if (share < 0 || share > 1 || share != share)
        return pare_fail(err, PARE_ERR_USAGE, "gpu_memory_utilization %g: above 0, at most 1", share);
    if (l->run->n_devices > 1 && l->hp->n_head % l->run->n_devices != 0)
        return pare_fail(err, PARE_ERR_USAGE, "%" PRIu32 " devices do not divide %" PRIu32 " heads", l->run->n_devices,
                         l->hp->n_head);
    return PARE_OK;
}

static pare_status plan_vllm(pare_memory_plan *out, const pare_memory_model *m, const pare_memory_run *run,
                             pare_error *err)
{
    memory_layout l;
    pare_memory_run beside = *run;
    beside.reserve = 0;
    *out = (pare_memory_plan){0};
    pare_status status = memory_layout_of(&l, m, run, err);
    if (status == PARE_OK)
        status = check(&l, err);
    for (int host = 0; host < 2 && status == PARE_OK; host++)
        status = add_weights(out, &l, host == 1, err);
    if (status == PARE_OK && !m->arch->wiring.encoder)
        status = add_cache(out, &l, err);
    if (status == PARE_OK)
        status = add_activations(out, &l, err);
    if (status == PARE_OK)
        status = memory_plan_driver(out, &l, memory_cuda_torch, err);
    if (status == PARE_OK)
        status = add_outside(out, &l, err);
    l.run = &beside;
    if (status == PARE_OK)
        status = memory_plan_beside(out, &l, err);
    memory_add_missing(out, "Python, PyTorch and the engine's processes (host, several GiB)");
    memory_add_missing(out, "workspaces of attention and expert kernels beyond the intermediate results");
    if (status != PARE_OK)
        return status;
    memory_note_request(out, &l);
    out->n_ctx = l.asked;
    out->n_ctx_seq = run->per_sequence ? l.asked / l.n_seq : l.asked;
    return memory_sum_up(out, err);
}

const pare_memory_runtime memory_vllm = {"vllm", "vLLM: tensors divided among GPUs, cache in blocks", plan_vllm};
