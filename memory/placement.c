#include "memory/placement.h"

#include "memory/place_search.h"

#include <stdio.h>
#include <string.h>

pare_memory_device pare_memory_device_of(const pare_card *card)
{
    return (pare_memory_device){.name = card->title,
                                .total = card->bytes,
                                .usable = card->usable,
                                .bandwidth = card->bandwidth,
                                .half_rate = card->half_rate};
}

bool pare_runtime_at_once(const pare_memory_runtime *runtime)
{
    return strcmp(runtime->name, "vllm") == 0;
}

/* Of a mapped file llama.cpp counts all from the first tensor that lies on the host to the last one; what is between
 * them was read from there by devices and may be dropped, and a plan says so by its lower end. */
static uint64_t droppable(const pare_memory_plan *plan, int32_t place)
{
    uint64_t sum = 0;
    for (size_t i = 0; place == PARE_MEMORY_HOST && i < plan->n_parts; i++)
        if (plan->parts[i].kind == PARE_MEMORY_WEIGHTS && plan->parts[i].place == place && !plan->parts[i].assumed)
            sum += plan->parts[i].bytes - plan->parts[i].low;
    return sum;
}

uint64_t pare_plan_needs(const pare_memory_runtime *runtime, const pare_memory_plan *plan, int32_t place)
{
    const pare_memory_sum *sum = place == PARE_MEMORY_HOST ? &plan->host : &plan->device[place];
    const uint64_t reserve = pare_memory_of_kind(plan, PARE_MEMORY_RESERVE, place);
    const uint64_t spare = pare_runtime_at_once(runtime) ? 0 : reserve;
    const uint64_t at_worst = sum->high > spare ? sum->high - spare : 0;
    return (sum->bytes > at_worst ? sum->bytes : at_worst) - droppable(plan, place);
}

uint64_t pare_plan_weights(const pare_memory_plan *plan, int32_t place)
{
    return pare_memory_of_kind(plan, PARE_MEMORY_WEIGHTS, place) - droppable(plan, place);
}

bool pare_plan_fits(const pare_memory_runtime *runtime, const pare_memory_plan *plan, int32_t place, uint64_t bytes)
{
    return bytes == PARE_NO_LIMIT || pare_plan_needs(runtime, plan, place) <= bytes;
}

void pare_placement_apply(const pare_placement *p, pare_memory_model *m)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        pare_memory_tensor *t = &m->tensors[i];
        const int64_t layer = pare_memory_layer_of(t);
        if (t->place != PARE_MEMORY_BY_RUNTIME || layer < 0)
            continue;
        bool on_host = layer < p->n_host_layers || (pare_memory_is_expert(t) && layer < p->n_host_experts);
        for (uint32_t j = 0; layer == p->moved_layer && j < p->n_moved; j++) {
            const size_t len = strlen(p->moved[j]);
            const char *stem = strchr(t->name + 4, '.') + 1; /* "blk." and a number come before it */
            on_host = on_host || (strncmp(stem, p->moved[j], len) == 0 && stem[len] == '.');
        }
        if (on_host)
            t->place = PARE_MEMORY_HOST;
    }
}

typedef char size_text[32];

static const char *size_of(uint64_t bytes, size_text dst)
{
    const double mib = (double)bytes / (1 << 20);
    snprintf(dst, sizeof(size_text), mib < 1024 ? "%.1f MiB" : "%.2f GiB", mib < 1024 ? mib : mib / 1024);
    return dst;
}

/* "NVIDIA L4 (22.49 GiB)", "2 devices (48.00 GiB)", and the RAM. */
static void describe_room(const pare_place_query *q, char *dst, size_t size)
{
    uint64_t usable = 0;
    size_text text;
    for (uint32_t d = 0; d < q->n_devices; d++)
        usable += q->device[d].usable < PARE_NO_LIMIT - usable ? q->device[d].usable : 0;
    int n = 0;
    if (q->n_devices == 1 && q->device[0].name != NULL)
        n = snprintf(dst, size, "%.60s (%s)", q->device[0].name, size_of(usable, text));
    else if (q->n_devices > 0)
        n = snprintf(dst, size, "%u device%s (%s)", q->n_devices, q->n_devices > 1 ? "s" : "", size_of(usable, text));
    if (q->host_bytes != PARE_NO_LIMIT)
        snprintf(dst + n, size - (size_t)n, "%s%s of RAM", n > 0 ? " and " : "", size_of(q->host_bytes, text));
}

/* What a placement that does not fit lacks: "it takes 3.20 GiB more on the device". */
static void describe_lack(const pare_place_query *q, const pare_placement *p, char *dst, size_t size)
{
    size_text more, whole;
    uint64_t lack = 0, needed = 0, usable = 0;
    for (uint32_t d = 0; d < q->n_devices; d++) {
        const uint64_t n = pare_plan_needs(q->runtime, &p->plan, (int32_t)d);
        needed += n;
        usable += q->device[d].usable;
        lack += n > q->device[d].usable ? n - q->device[d].usable : 0;
    }
    if (lack > 0) { /* layers can be dealt out otherwise: the sums count, where they do not fit either */
        if (needed > usable)
            lack = needed - usable;
        snprintf(dst, size, "it takes %s more on the device%s (%s in all)", size_of(lack, more),
                 q->n_devices > 1 ? "s" : "", size_of(needed, whole));
        return;
    }
    needed = pare_plan_needs(q->runtime, &p->plan, PARE_MEMORY_HOST);
    lack = needed > q->host_bytes ? needed - q->host_bytes : 0;
    snprintf(dst, size, "it takes %s more RAM (%s in all)", size_of(lack, more), size_of(needed, whole));
}

/* The device without which it fits: each that is used takes a driver's context and a reserve, whatever lies on it.
 * q->n_devices: there is none. */
static pare_status find_needless(const pare_place_query *q, uint32_t *device, pare_error *err)
{
    pare_status status = PARE_OK;
    bool fits = false;
    *device = q->n_devices;
    for (uint32_t d = 0; d < q->n_devices && q->n_devices > 1 && !fits && status == PARE_OK; d++) {
        pare_place_query fewer = *q;
        pare_placement p;
        pare_error why = {0};
        fewer.n_devices--;
        memmove(&fewer.device[d], &fewer.device[d + 1], (fewer.n_devices - d) * sizeof fewer.device[0]);
        if (pare_place_check(&fewer, &why) == PARE_OK) /* so many may not divide the heads */
            status = pare_place_search(&fewer, &p, &fits, err);
        if (status == PARE_OK && fits)
            *device = d;
    }
    return status;
}

static pare_status fail_with_advice(const pare_place_query *q, const pare_placement *short_of, pare_error *err)
{
    char room[160], lack[160], instead[160];
    const uint64_t asked = short_of->plan.n_ctx > 0 ? short_of->plan.n_ctx : q->run.n_ctx;
    const uint64_t step = pare_context_step(&q->run);
    uint64_t longest = 0;
    describe_room(q, room, sizeof room);
    describe_lack(q, short_of, lack, sizeof lack);
    pare_placement p;
    if (asked > step) {
        pare_status status = pare_place_longest(q, step, asked - 1, &p, &longest, err);
        if (status != PARE_OK)
            return status;
        longest = longest / step * step;
    }
    if (longest > 0) {
        snprintf(instead, sizeof instead, "%llu tokens fit", (unsigned long long)longest);
    } else {
        snprintf(instead, sizeof instead, "no shorter context fits");
        if (asked > step) {
            char least[160];
            describe_lack(q, &p, least, sizeof least);
            snprintf(instead, sizeof instead, "with %llu tokens %.120s", (unsigned long long)step, least);
        }
    }
    uint32_t needless;
    pare_status status = find_needless(q, &needless, err);
    if (status != PARE_OK)
        return status;
    if (needless < q->n_devices)
        snprintf(instead, sizeof instead, "without device %u it fits", needless);
    return pare_fail(err, PARE_ERR_DIFFERENCE, "a context of %llu tokens does not fit into %s%s: %s; %s",
                     (unsigned long long)asked, room, q->devices_only ? " without layers in RAM" : "", lack, instead);
}

pare_status pare_place(const pare_place_query *query, pare_placement *out, pare_error *err)
{
    bool fits = false;
    pare_status status = pare_place_check(query, err);
    if (status == PARE_OK)
        status = pare_place_search(query, out, &fits, err);
    return status != PARE_OK || fits ? status : fail_with_advice(query, out, err);
}
