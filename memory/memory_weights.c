/* Weights by placement. On the host they are mapped: llama.cpp counts from the first tensor that lies there to the last
 * one, whatever is between (llama_model_loader::get_mapping_range). On a device, and without mmap, each tensor lies at
 * a multiple of the buffer's alignment. */
#include "core/checked.h"
#include "memory/memory_layout.h"

#include <stdio.h>
#include <string.h>

typedef struct place_sum {
    uint64_t n, buffer;   /* tensors; bytes of them in a buffer */
    uint64_t first, last; /* of the file */
} place_sum;

static pare_status count_in(place_sum *s, const pare_memory_tensor *t, int32_t place, uint64_t offset, pare_error *err)
{
    uint64_t bytes, end;
    pare_status status = memory_in_buffer(t, place, &bytes, err);
    if (status != PARE_OK)
        return status;
    if (!pare_add_u64(s->buffer, bytes, &s->buffer) || !pare_add_u64(offset, t->n_bytes, &end))
        return memory_overflow("weights", err);
    if (s->n == 0)
        s->first = offset;
    s->last = end;
    s->n++;
    return PARE_OK;
}

/* The embedding is the output too, and is loaded once more where that lies. */
static bool has_copy(const memory_layout *l)
{
    return l->hp->tied_output && !l->m->arch->stock_output_is_embd && !l->m->arch->wiring.encoder;
}

/* RoPE's factors lie wherever a layer does, the embedding also where it is the output. */
static bool lies_on(const memory_layout *l, const pare_memory_tensor *t, int32_t place)
{
    int32_t own = memory_tensor_place(l, t);
    if (own == place)
        return true;
    if (t->place != PARE_MEMORY_BY_RUNTIME)
        return false;
    if (has_copy(l) && strcmp(t->name, "token_embd.weight") == 0)
        return memory_layer_place(l, l->hp->n_layer) == place;
    if (strncmp(t->name, "rope_", 5) != 0)
        return false;
    for (uint32_t i = 0; i < l->hp->n_layer; i++)
        if (memory_layer_place(l, i) == place)
            return true;
    return false;
}

static uint32_t times_on(const memory_layout *l, const pare_memory_tensor *t, int32_t place)
{
    bool twice = place == PARE_MEMORY_HOST && l->run->no_mmap && l->hp->tied_output && l->m->arch->stock_output_twice &&
                 strcmp(t->name, "token_embd.weight") == 0 && memory_layer_place(l, l->hp->n_layer) == PARE_MEMORY_HOST;
    return lies_on(l, t, place) ? 1 + twice : 0;
}

static pare_status add_place(pare_memory_plan *plan, const memory_layout *l, int32_t place, pare_error *err)
{
    place_sum s = {0};
    uint64_t offset = 0;
    for (size_t i = 0; i < l->m->n_tensors; i++) {
        const pare_memory_tensor *t = &l->m->tensors[i];
        pare_status status = PARE_OK;
        for (uint32_t n = times_on(l, t, place); n > 0 && status == PARE_OK; n--)
            status = count_in(&s, t, place, offset, err);
        if (status != PARE_OK)
            return status;
        if (!pare_add_u64(offset, t->n_bytes, &offset) || !pare_align_u64(offset, l->m->alignment, &offset))
            return memory_overflow("weights", err);
    }
    if (s.n == 0)
        return PARE_OK;
    bool mapped = place == PARE_MEMORY_HOST && !l->run->no_mmap;
    pare_memory_part part = {.kind = PARE_MEMORY_WEIGHTS, .place = place, .name = "weights", .low = s.buffer};
    part.bytes = mapped ? s.last - s.first : s.buffer;
    part.high = part.bytes;
    if (part.low > part.bytes || l->run->n_devices == 0)
        part.low = part.bytes;
    snprintf(part.depends, sizeof part.depends, "%llu tensors%s%s", (unsigned long long)s.n,
             mapped ? ", mapped" : ", in a buffer",
             part.low < part.bytes ? ": what is mapped between them, and read from devices, counts" : "");
    return memory_add_part(plan, &part, err);
}

pare_status memory_plan_weights(pare_memory_plan *plan, const memory_layout *l, pare_error *err)
{
    pare_status status = add_place(plan, l, PARE_MEMORY_HOST, err);
    for (uint32_t i = 0; i < l->run->n_devices && status == PARE_OK; i++)
        status = add_place(plan, l, (int32_t)i, err);
    return status;
}
