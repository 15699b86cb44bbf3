#include "memory/launch.h"

#include <math.h>
#include <string.h>

/* Cache types that llama.cpp takes: kv_cache_types in common/arg.cpp. Its names are ours in lower case. */
static bool llama_takes(pare_type t)
{
    static const pare_type types[] = {PARE_TYPE_F32,  PARE_TYPE_F16,    PARE_TYPE_BF16, PARE_TYPE_Q8_0, PARE_TYPE_Q4_0,
                                      PARE_TYPE_Q4_1, PARE_TYPE_IQ4_NL, PARE_TYPE_Q5_0, PARE_TYPE_Q5_1};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i] == t)
            return true;
    return false;
}

/* --tensor-split: layers of each device. llama.cpp divides their running sums by the whole and puts layer j of n on the
 * first device whose quotient is above j / n, so counts of layers come out as they went in. */
static pare_status put_split(const pare_placement *p, pare_buf *out, pare_error *err)
{
    for (uint32_t d = 0; d < p->run.n_devices; d++) {
        pare_status status = pare_buf_printf(out, err, d == 0 ? " --tensor-split %u" : ",%u", p->run.n_layers_on[d]);
        if (status != PARE_OK)
            return status;
    }
    return PARE_OK;
}

/* Where the experts are: whole layers by their number, matrices of one more by their names. */
static pare_status put_experts(const pare_placement *p, pare_buf *out, pare_error *err)
{
    pare_status status = PARE_OK;
    if (p->n_host_experts > 0)
        status = pare_buf_printf(out, err, " --n-cpu-moe %u", p->n_host_experts);
    for (uint32_t j = 0; status == PARE_OK && j < p->n_moved; j++) {
        if (j == 0)
            status = pare_buf_printf(out, err, " -ot 'blk\\.%u\\.(", p->moved_layer);
        if (status == PARE_OK)
            status = pare_buf_printf(out, err, "%s%s", j > 0 ? "|" : "", p->moved[j]);
        if (status == PARE_OK && j + 1 == p->n_moved)
            status = pare_buf_puts(out, ")\\.=CPU'", err);
    }
    return status;
}

pare_status pare_launch_llama_cpp(const pare_placement *p, pare_buf *out, pare_error *err)
{
    const pare_memory_run *run = &p->run;
    const pare_type types[] = {run->cache_k, run->cache_v};
    for (size_t i = 0; i < 2; i++)
        if (!llama_takes(types[i]))
            return pare_fail(err, PARE_ERR_UNSUPPORTED, "llama.cpp has no cache of type %s",
                             types[i] < PARE_TYPE_COUNT ? pare_type_get(types[i])->name : "none");
    if (p->plan.n_ctx > INT32_MAX)
        return pare_fail(err, PARE_ERR_RANGE, "llama.cpp takes no context of %llu tokens",
                         (unsigned long long)p->plan.n_ctx);
    const uint32_t n_seq = run->n_seq > 0 ? run->n_seq : 1;
    pare_status status = pare_buf_printf(out, err, "-ngl %u", p->n_layers);
    if (status == PARE_OK && run->n_devices > 1)
        status = put_split(p, out, err);
    if (status == PARE_OK)
        status = put_experts(p, out, err);
    if (status == PARE_OK)
        status = pare_buf_printf(out, err, " -c %llu -np %u%s -b %u -ub %u -ctk %s -ctv %s -fa %s",
                                 (unsigned long long)p->plan.n_ctx, n_seq,
                                 n_seq == 1          ? ""
                                 : run->per_sequence ? " --no-kv-unified"
                                                     : " --kv-unified",
                                 p->plan.n_batch, p->plan.n_ubatch, pare_type_get(run->cache_k)->name,
                                 pare_type_get(run->cache_v)->name, run->no_flash_attn ? "off" : "on");
    static const char *const flags[] = {" --swa-full", " --no-kv-offload", " --embeddings", " --load-mode none"};
    const bool wanted[] = {run->swa_full, run->cache_on_host, run->embeddings, run->no_mmap};
    for (size_t i = 0; status == PARE_OK && i < sizeof flags / sizeof *flags; i++)
        if (wanted[i])
            status = pare_buf_puts(out, flags[i], err);
    return status;
}

/* --kv-cache-dtype: "auto" is the model's own type, which has two bytes. */
static const char *vllm_cache(pare_type t)
{
    static const struct {
        pare_type type;
        const char *word;
    } words[] = {
        {PARE_TYPE_F16, "auto"}, {PARE_TYPE_BF16, "auto"}, {PARE_TYPE_F8_E4M3, "fp8"}, {PARE_TYPE_F8_E5M2, "fp8_e5m2"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (words[i].type == t)
            return words[i].word;
    return NULL;
}

pare_status pare_launch_vllm(const pare_placement *p, uint64_t host_weights, pare_buf *out, pare_error *err)
{
    const pare_memory_run *run = &p->run;
    const char *dtype = run->cache_k == run->cache_v ? vllm_cache(run->cache_k) : NULL;
    if (dtype == NULL)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "vLLM has no cache with keys of type %s and values of type %s",
                         run->cache_k < PARE_TYPE_COUNT ? pare_type_get(run->cache_k)->name : "none",
                         run->cache_v < PARE_TYPE_COUNT ? pare_type_get(run->cache_v)->name : "none");
    const uint32_t n_devices = run->n_devices > 0 ? run->n_devices : 1;
    const double utilization = run->gpu_memory_utilization > 0 ? run->gpu_memory_utilization : 0.9;
    pare_status status = pare_buf_printf(
        out, err, "--max-model-len %llu --max-num-seqs %u --kv-cache-dtype %s --gpu-memory-utilization %.4g",
        (unsigned long long)p->plan.n_ctx_seq, run->n_seq > 0 ? run->n_seq : 1, dtype, utilization);
    if (status == PARE_OK && n_devices > 1)
        status = pare_buf_printf(out, err, " --tensor-parallel-size %u", n_devices);
    if (status == PARE_OK && host_weights > 0) { /* GiB a device, rounded up */
        const double gib = ceil((double)host_weights / n_devices / (1 << 30) * 100) / 100;
        status = pare_buf_printf(out, err, " --cpu-offload-gb %.2f", gib);
    }
    return status;
}
