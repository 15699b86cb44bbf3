#include "fake_runtime.h"

#include "check.h"

#include <stdio.h>
#include <string.h>

static void add_tensor(fake_model *f, const char *name, uint64_t rows, uint64_t mib)
{
    const size_t i = f->m.n_tensors++;
    CHECK(i < FAKE_MAX_TENSORS);
    snprintf(f->names[i], sizeof f->names[i], "%s", name);
    f->tensors[i] = (pare_memory_tensor){.name = f->names[i],
                                         .type = PARE_TYPE_F16,
                                         .n_dims = 2,
                                         .dim = {rows, mib * FAKE_MIB / 2 / rows},
                                         .n_bytes = mib * FAKE_MIB,
                                         .place = PARE_MEMORY_BY_RUNTIME};
}

void fake_model_init(fake_model *f, uint32_t n_layer, bool experts)
{
    static const struct {
        const char *stem;
        uint64_t mib;
        bool of_experts, of_ffn;
    } kinds[] = {{"attn_q", 100, false, false},     {"ffn_up", 80, false, true},
                 {"ffn_down", 220, false, true},    {"ffn_gate_exps", 100, true, false},
                 {"ffn_up_exps", 200, true, false}, {"ffn_down_exps", 400, true, false}};
    *f = (fake_model){0};
    f->hp = (pare_hparams){.n_layer = n_layer,
                           .n_ctx_train = 32768,
                           .n_embd = 1024,
                           .n_head = 8,
                           .n_head_kv = 8,
                           .head_dim_k = 128,
                           .head_dim_v = 128,
                           .n_expert = experts ? 8 : 0,
                           .n_expert_used = experts ? 2 : 0};
    f->m = (pare_memory_model){
        .arch = pare_arch_find("llama"), .hp = &f->hp, .n_tokens = 1024, .alignment = 32, .tensors = f->tensors};
    add_tensor(f, "token_embd.weight", 1024, 200);
    for (uint32_t layer = 0; layer < n_layer; layer++)
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            char name[40];
            snprintf(name, sizeof name, "blk.%u.%s.weight", layer, kinds[k].stem);
            if (experts ? !kinds[k].of_ffn : !kinds[k].of_experts)
                add_tensor(f, name, 1024, kinds[k].mib);
        }
    add_tensor(f, "output.weight", 1024, 300);
}

static int32_t place_of_block(const pare_memory_run *run, uint32_t n_layer, uint32_t block)
{
    uint32_t first = n_layer + 1;
    for (uint32_t d = 0; d < run->n_devices; d++)
        first -= run->n_layers_on[d];
    for (uint32_t d = 0; d < run->n_devices; d++) {
        if (block >= first && block < first + run->n_layers_on[d])
            return (int32_t)d;
        first += run->n_layers_on[d];
    }
    return PARE_MEMORY_HOST;
}

static void put(pare_memory_plan *plan, pare_memory_kind kind, int32_t place, uint64_t bytes, uint64_t low,
                uint64_t high)
{
    pare_memory_sum *sum = place == PARE_MEMORY_HOST ? &plan->host : &plan->device[place];
    plan->parts[plan->n_parts++] = (pare_memory_part){
        .kind = kind, .place = place, .assumed = low < high, .bytes = bytes, .low = low, .high = high};
    sum->bytes += bytes;
    sum->low += low;
    sum->high += high;
}

static pare_status plan_fake(pare_memory_plan *plan, const pare_memory_model *m, const pare_memory_run *run,
                             pare_error *err)
{
    const uint32_t n_layer = m->hp->n_layer;
    uint64_t weights[PARE_MEMORY_MAX_DEVICES + 1] = {0}, layers[PARE_MEMORY_MAX_DEVICES + 1] = {0}, n_on = 0;
    *plan = (pare_memory_plan){.n_ctx_seq = run->n_ctx, .n_batch = 2048, .n_ubatch = 512};
    plan->n_ctx = run->n_ctx > 0 ? run->n_ctx : m->hp->n_ctx_train;
    for (uint32_t d = 0; d < run->n_devices; d++)
        n_on += run->n_layers_on[d];
    CHECK(run->n_devices <= PARE_MEMORY_MAX_DEVICES && n_on <= n_layer + 1);
    if (run->n_seq == 99)
        return pare_fail(err, PARE_ERR_RANGE, "ninety-nine sequences");
    for (size_t i = 0; i < m->n_tensors; i++) {
        const pare_memory_tensor *t = &m->tensors[i];
        const int32_t layer = pare_memory_layer_of(t);
        int32_t place = t->place;
        if (place == PARE_MEMORY_BY_RUNTIME)
            place = strcmp(t->name, "token_embd.weight") == 0
                        ? PARE_MEMORY_HOST
                        : place_of_block(run, n_layer, layer >= 0 ? (uint32_t)layer : n_layer);
        weights[place + 1] += t->n_bytes;
    }
    for (uint32_t layer = 0; layer < n_layer; layer++)
        layers[place_of_block(run, n_layer, layer) + 1]++;
    for (int32_t place = PARE_MEMORY_HOST; place < (int32_t)run->n_devices; place++) {
        const uint64_t cache = layers[place + 1] * (plan->n_ctx * FAKE_MIB / 256);
        const uint64_t compute = place < 0 ? 30 * FAKE_MIB : 50 * FAKE_MIB + plan->n_ctx * FAKE_MIB / 1024;
        const uint64_t reserve = place >= 0 || run->n_devices == 0 ? run->reserve : 0;
        put(plan, PARE_MEMORY_WEIGHTS, place, weights[place + 1], weights[place + 1], weights[place + 1]);
        put(plan, PARE_MEMORY_CACHE, place, cache, cache, cache);
        put(plan, PARE_MEMORY_COMPUTE, place, compute, compute, compute);
        put(plan, PARE_MEMORY_RESERVE, place, reserve, reserve, reserve);
        if (place >= 0)
            put(plan, PARE_MEMORY_DRIVER, place, 20 * FAKE_MIB, 10 * FAKE_MIB, 60 * FAKE_MIB);
    }
    return PARE_OK;
}

const pare_memory_runtime fake_runtime = {"fake", "sums that can be done by hand", plan_fake};

pare_place_query fake_query(const fake_model *f, uint64_t mib0, uint64_t mib1, uint64_t mib2)
{
    const uint64_t mib[] = {mib0, mib1, mib2};
    pare_place_query q = {.model = &f->m, .runtime = &fake_runtime, .host_bytes = PARE_NO_LIMIT};
    q.run = (pare_memory_run){
        .n_ctx = 1024, .n_seq = 1, .cache_k = PARE_TYPE_F16, .cache_v = PARE_TYPE_F16, .reserve = 100 * FAKE_MIB};
    for (uint32_t d = 0; d < 3; d++)
        if (mib[d] > 0)
            q.device[q.n_devices++].usable = mib[d] * FAKE_MIB;
    return q;
}
