#include "memory/place_search.h"

#include "core/checked.h"
#include "memory/inverse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A search in progress: a copy of the model whose tensors can be placed, and the plan computed last. */
typedef struct search {
    const pare_place_query *query;
    pare_memory_model model;
    pare_placement *at;
    uint32_t n_blocks; /* layers of the model and its output */
    bool has_experts;
} search;

pare_status pare_place_check(const pare_place_query *q, pare_error *err)
{
    if (q->model->hp == NULL || q->model->hp->n_layer == 0 || q->model->hp->n_layer > PARE_MAX_LAYERS)
        return pare_fail(err, PARE_ERR_RANGE, "a model of %u layers: 1 to %d", q->model->hp ? q->model->hp->n_layer : 0,
                         PARE_MAX_LAYERS);
    if (q->n_devices > PARE_MEMORY_MAX_DEVICES)
        return pare_fail(err, PARE_ERR_USAGE, "%u devices: %d at most", q->n_devices, PARE_MEMORY_MAX_DEVICES);
    for (uint32_t d = 0; d < q->n_devices; d++)
        if (q->device[d].usable == 0 || (q->device[d].total != 0 && q->device[d].total < q->device[d].usable))
            return pare_fail(err, PARE_ERR_USAGE, "device %u: %llu bytes of %llu cannot be used", d,
                             (unsigned long long)q->device[d].usable, (unsigned long long)q->device[d].total);
    if (q->n_devices > 1 && pare_runtime_at_once(q->runtime) && q->model->hp->n_head % q->n_devices != 0)
        return pare_fail(err, PARE_ERR_USAGE, "%s splits heads over devices: %u do not divide %u", q->runtime->name,
                         q->n_devices, q->model->hp->n_head);
    if (pare_context_limit(&q->run) == 0)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%u sequences with cells of their own: %d is the most cells that there are", q->run.n_seq,
                         INT32_MAX);
    if (q->run.n_ctx > pare_context_limit(&q->run))
        return pare_fail(err, PARE_ERR_RANGE,
                         "a context of %llu tokens: the runtime counts them in 31 bits, %llu at most",
                         (unsigned long long)q->run.n_ctx, (unsigned long long)pare_context_limit(&q->run));
    return PARE_OK;
}

uint64_t pare_context_step(const pare_memory_run *run)
{
    return run->per_sequence && run->n_seq > 1 ? (uint64_t)PARE_CONTEXT_STEP * run->n_seq : PARE_CONTEXT_STEP;
}

uint64_t pare_context_limit(const pare_memory_run *run)
{
    const uint64_t step = pare_context_step(run);
    return INT32_MAX / step * step;
}

/* The share of its devices that vLLM is to take: what may be taken and is not reserved, in hundredths, 0.95 at most. */
static double share_of(const pare_place_query *q)
{
    double share = 0.95;
    for (uint32_t d = 0; d < q->n_devices; d++) {
        const pare_memory_device *v = &q->device[d];
        const double total = (double)(v->total > 0 ? v->total : v->usable);
        const double left = v->usable > q->run.reserve ? (double)(v->usable - q->run.reserve) : 0;
        if (left / total < share)
            share = (int)(left / total * 100) / 100.0;
    }
    return share > 0.01 ? share : 0.01;
}

static pare_status start(search *s, const pare_place_query *q, pare_placement *out, pare_error *err)
{
    *s = (search){.query = q, .model = *q->model, .at = out, .n_blocks = q->model->hp->n_layer + 1};
    *out = (pare_placement){.run = q->run};
    out->run.n_devices = q->n_devices;
    if (q->n_devices > 0 && pare_runtime_at_once(q->runtime) && q->run.gpu_memory_utilization == 0)
        out->run.gpu_memory_utilization = share_of(q);
    for (uint32_t d = 0; d < PARE_MEMORY_MAX_DEVICES; d++) {
        out->run.n_layers_on[d] = 0;
        out->run.device_bytes[d] = d >= q->n_devices        ? 0
                                   : q->device[d].total > 0 ? q->device[d].total
                                                            : q->device[d].usable;
    }
    const size_t n_bytes = (q->model->n_tensors + 1) * sizeof *s->model.tensors;
    if ((s->model.tensors = malloc(n_bytes)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tensors", q->model->n_tensors);
    memcpy(s->model.tensors, q->model->tensors, q->model->n_tensors * sizeof *s->model.tensors);
    for (size_t i = 0; i < s->model.n_tensors && !s->has_experts; i++)
        s->has_experts = pare_memory_is_expert(&s->model.tensors[i]);
    return PARE_OK;
}

static void stop(search *s)
{
    free(s->model.tensors);
}

/* Compute the plan of what s->at says. */
static pare_status compute(search *s, pare_error *err)
{
    memcpy(s->model.tensors, s->query->model->tensors, s->model.n_tensors * sizeof *s->model.tensors);
    pare_placement_apply(s->at, &s->model);
    s->at->n_plans++;
    return s->query->runtime->plan(&s->at->plan, &s->model, &s->at->run, err);
}

static bool devices_hold(const search *s)
{
    for (uint32_t d = 0; d < s->query->n_devices; d++)
        if (!pare_plan_fits(s->query->runtime, &s->at->plan, (int32_t)d, s->query->device[d].usable))
            return false;
    return true;
}

/* n_layers in the proportions of the devices' memory, or evenly where all work at once: largest remainders, so that the
 * sum is exact. */
static void share_layers(const pare_place_query *q, uint32_t n_layers, uint32_t on[PARE_MEMORY_MAX_DEVICES])
{
    double sum = 0, rest[PARE_MEMORY_MAX_DEVICES];
    uint32_t given = 0;
    const bool alike = pare_runtime_at_once(q->runtime);
    for (uint32_t d = 0; d < q->n_devices; d++)
        sum += alike ? 1 : (double)q->device[d].usable;
    for (uint32_t d = 0; d < q->n_devices; d++) {
        const double part = n_layers * ((alike ? 1 : (double)q->device[d].usable) / sum);
        on[d] = (uint32_t)part;
        rest[d] = part - on[d];
        given += on[d];
    }
    while (given < n_layers) {
        uint32_t best = 0;
        for (uint32_t d = 1; d < q->n_devices; d++)
            if (rest[d] > rest[best])
                best = d;
        on[best]++;
        rest[best] -= 1;
        given++;
    }
}

/* Fill the devices up from the last one, each with as many layers as it holds while the others wait on the device
 * before it. *fits: all n_layers have found room. */
static pare_status fill_layers(search *s, uint32_t n_layers, bool *fits, pare_error *err)
{
    uint32_t *on = s->at->run.n_layers_on, left = n_layers;
    memset(on, 0, sizeof s->at->run.n_layers_on);
    for (uint32_t d = s->query->n_devices; d-- > 1;) {
        uint32_t holds = 0, over = left + 1;
        while (over - holds > 1) {
            const uint32_t n = holds + (over - holds) / 2;
            on[d] = n;
            on[d - 1] = left - n;
            pare_status status = compute(s, err);
            if (status != PARE_OK)
                return status;
            if (pare_plan_fits(s->query->runtime, &s->at->plan, (int32_t)d, s->query->device[d].usable))
                holds = n;
            else
                over = n;
        }
        on[d] = holds;
        left -= holds;
    }
    on[0] = left;
    pare_status status = compute(s, err);
    *fits = status == PARE_OK && devices_hold(s);
    return status;
}

/* Put n_layers on the devices. The host is not looked at. */
static pare_status spread(search *s, uint32_t n_layers, bool *fits, pare_error *err)
{
    s->at->n_layers = n_layers;
    share_layers(s->query, n_layers, s->at->run.n_layers_on);
    pare_status status = compute(s, err);
    *fits = status == PARE_OK && devices_hold(s);
    if (status != PARE_OK || *fits || s->query->n_devices < 2 || pare_runtime_at_once(s->query->runtime))
        return status;
    return fill_layers(s, n_layers, fits, err);
}

/* The smallest count of layers, 1 to all of them, with which every layer fits on the devices; all of them and *fits is
 * false where there is none. count is a member of s->at; 0 is known not to do. */
static pare_status fewest_moved(search *s, uint32_t *count, bool *fits, pare_error *err)
{
    uint32_t few = 0, enough = s->n_blocks - 1;
    *count = enough;
    pare_status status = spread(s, s->n_blocks, fits, err);
    if (status != PARE_OK || !*fits)
        return status;
    while (enough - few > 1) {
        *count = few + (enough - few) / 2;
        if ((status = spread(s, s->n_blocks, fits, err)) != PARE_OK)
            return status;
        *(*fits ? &enough : &few) = *count;
    }
    *count = enough;
    return spread(s, s->n_blocks, fits, err);
}

/* The name of a tensor behind its layer, up to the suffix: "blk.3.ffn_up_exps.weight" is ffn_up_exps. False: it has
 * characters that must not get into a pattern or a shell, or too many. */
static bool stem_of(const pare_memory_tensor *t, char stem[32])
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
    const char *from = strchr(t->name + 4, '.') + 1; /* "blk." and a number come before it */
    const size_t len = strcspn(from, ".");
    snprintf(stem, 32, "%s", len < 32 ? from : "");
    stem[len < 32 ? len : 0] = '\0';
    return len < 32 && strspn(from, plain) == len;
}

/* List the matrices of a layer that can go to the host by name: its experts, or those of its FFN. False: they cannot.
 */
static bool list_matrices(search *s, uint32_t layer, bool experts)
{
    pare_placement *p = s->at;
    p->moved_layer = layer;
    p->n_moved = 0;
    for (size_t i = 0; i < s->model.n_tensors; i++) {
        const pare_memory_tensor *t = &s->model.tensors[i];
        char stem[32];
        if (pare_memory_layer_of(t) != (int32_t)layer || pare_memory_is_expert(t) != experts)
            continue;
        const bool plain = stem_of(t, stem);
        if (!experts && strcmp(stem, "ffn_up") != 0 && strcmp(stem, "ffn_gate") != 0 && strcmp(stem, "ffn_down") != 0)
            continue;
        uint32_t j = 0;
        while (j < p->n_moved && strcmp(p->moved[j], stem) != 0)
            j++;
        if (!plain || j == PARE_MAX_MOVED)
            return false;
        if (j == p->n_moved)
            memcpy(p->moved[p->n_moved++], stem, sizeof stem);
    }
    return p->n_moved > 0;
}

/* With the listed matrices on the host it fits: those go back that have room, in the file's order. *any: one did. */
static pare_status put_back(search *s, uint32_t n_layers, bool *any, pare_error *err)
{
    pare_placement *p = s->at;
    bool fits;
    *any = false;
    for (uint32_t j = 0; j < p->n_moved;) {
        char stem[sizeof p->moved[0]];
        memcpy(stem, p->moved[j], sizeof stem);
        p->n_moved--;
        memmove(p->moved[j], p->moved[j + 1], (p->n_moved - j) * sizeof stem);
        pare_status status = spread(s, n_layers, &fits, err);
        if (status != PARE_OK)
            return status;
        *any = *any || fits;
        if (fits)
            continue;
        memmove(p->moved[j + 1], p->moved[j], (p->n_moved - j) * sizeof stem);
        memcpy(p->moved[j], stem, sizeof stem);
        p->n_moved++;
        j++;
    }
    return spread(s, n_layers, &fits, err);
}

/* The last layer whose experts moved keeps those that there is room for. */
static pare_status split_experts(search *s, pare_error *err)
{
    pare_placement *p = s->at;
    bool any = false;
    const uint32_t n = p->n_host_experts;
    pare_status status = PARE_OK;
    if (list_matrices(s, n - 1, true)) {
        p->n_host_experts = n - 1;
        status = put_back(s, s->n_blocks, &any, err);
    }
    if (status != PARE_OK || any)
        return status;
    p->n_host_experts = n;
    p->n_moved = 0;
    return spread(s, s->n_blocks, &any, err);
}

/* One layer more than fits, with as much of its FFN on the host as it takes. */
static pare_status split_layer(search *s, pare_error *err)
{
    pare_placement *p = s->at;
    const uint32_t n = p->n_layers;
    bool fits = false;
    pare_status status = PARE_OK;
    if (n > 0 && n < s->n_blocks && list_matrices(s, s->n_blocks - n - 1, false)) {
        status = spread(s, n + 1, &fits, err);
        if (status == PARE_OK && fits)
            return put_back(s, n + 1, &fits, err);
    }
    p->n_moved = 0;
    return status == PARE_OK ? spread(s, n, &fits, err) : status;
}

/* The most layers that the devices hold; *fits is false where they do not even hold what comes with none. */
static pare_status move_layers(search *s, bool *fits, pare_error *err)
{
    uint32_t holds = 0, over = s->n_blocks; /* over: known not to fit */
    while (over - holds > 1) {
        const uint32_t n = holds + (over - holds) / 2;
        pare_status status = spread(s, n, fits, err);
        if (status != PARE_OK)
            return status;
        *(*fits ? &holds : &over) = n;
    }
    return spread(s, holds, fits, err);
}

/* Layers from a slower device to a faster one, as many as fit: places work one after the other, so each layer is read
 * at its device's bandwidth. The experts stay where they are. */
static pare_status move_to_faster(search *s, uint32_t slow, uint32_t fast, pare_error *err)
{
    uint32_t *on = s->at->run.n_layers_on;
    const uint32_t had_slow = on[slow], had_fast = on[fast];
    uint32_t moves = 0, over = had_slow + 1;
    pare_status status = PARE_OK;
    while (status == PARE_OK && over - moves > 1) {
        const uint32_t n = moves + (over - moves) / 2;
        on[slow] = had_slow - n;
        on[fast] = had_fast + n;
        if ((status = compute(s, err)) == PARE_OK)
            *(devices_hold(s) ? &moves : &over) = n;
    }
    on[slow] = had_slow - moves;
    on[fast] = had_fast + moves;
    return status == PARE_OK ? compute(s, err) : status;
}

/* Fill the fastest first, from the slowest on. */
static pare_status prefer_fast(search *s, pare_error *err)
{
    const pare_memory_device *device = s->query->device;
    uint32_t order[PARE_MEMORY_MAX_DEVICES], n = 0; /* devices of known bandwidth, the fastest first */
    for (uint32_t d = 0; d < s->query->n_devices; d++) {
        if (!(device[d].bandwidth > 0))
            continue;
        uint32_t i = n++;
        for (; i > 0 && device[order[i - 1]].bandwidth < device[d].bandwidth; i--)
            order[i] = order[i - 1];
        order[i] = d;
    }
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = n; j-- > i + 1;) {
            if (device[order[i]].bandwidth <= device[order[j]].bandwidth || s->at->run.n_layers_on[order[j]] == 0)
                continue;
            pare_status status = move_to_faster(s, order[j], order[i], err);
            if (status != PARE_OK)
                return status;
        }
    return PARE_OK;
}

static void take_stock(search *s)
{
    pare_placement *p = s->at;
    const pare_place_query *q = s->query;
    for (uint32_t d = 0; d < q->n_devices; d++) {
        const uint64_t taken = pare_plan_needs(q->runtime, &p->plan, (int32_t)d);
        p->device_free[d] = q->device[d].usable > taken ? q->device[d].usable - taken : 0;
    }
    const uint64_t taken = pare_plan_needs(q->runtime, &p->plan, PARE_MEMORY_HOST);
    p->host_free = q->host_bytes == PARE_NO_LIMIT ? PARE_NO_LIMIT : q->host_bytes > taken ? q->host_bytes - taken : 0;
    const bool dense_moved = p->n_moved > 0 && strstr(p->moved[0], "_exps") == NULL;
    if (p->n_layers == 0)
        p->kind = PARE_PLACED_ON_HOST;
    else if (p->n_layers < s->n_blocks || p->n_host_layers > 0 || dense_moved)
        p->kind = PARE_PLACED_LAYERS_HOST;
    else
        p->kind = p->n_host_experts + p->n_moved > 0 ? PARE_PLACED_EXPERTS_HOST : PARE_PLACED_ON_DEVICES;
}

static pare_status descend(search *s, bool *fits, pare_error *err)
{
    const pare_place_query *q = s->query;
    if (q->n_devices == 0) {
        *fits = true;
        return compute(s, err);
    }
    pare_status status = spread(s, s->n_blocks, fits, err);
    if (status != PARE_OK || *fits || q->devices_only)
        return status;
    if (pare_runtime_at_once(q->runtime))
        return fewest_moved(s, &s->at->n_host_layers, fits, err);
    if (s->has_experts) {
        status = fewest_moved(s, &s->at->n_host_experts, fits, err);
        if (status != PARE_OK || *fits)
            return status != PARE_OK ? status : split_experts(s, err);
    }
    status = move_layers(s, fits, err);
    return status == PARE_OK && *fits ? split_layer(s, err) : status;
}

pare_status pare_place_search(const pare_place_query *query, pare_placement *out, bool *fits, pare_error *err)
{
    search s;
    *fits = false;
    pare_status status = start(&s, query, out, err);
    if (status == PARE_OK)
        status = descend(&s, fits, err);
    if (status == PARE_OK && *fits && !pare_runtime_at_once(query->runtime))
        status = prefer_fast(&s, err);
    if (status == PARE_OK) {
        take_stock(&s);
        *fits = *fits && pare_plan_fits(query->runtime, &out->plan, PARE_MEMORY_HOST, query->host_bytes);
    }
    stop(&s);
    return status;
}

pare_status pare_place_longest(const pare_place_query *query, uint64_t step, uint64_t limit, pare_placement *out,
                               uint64_t *n_ctx, pare_error *err)
{
    pare_place_query q = *query;
    const uint64_t n_steps = limit / step + (limit % step != 0);
    uint64_t holds = 0, over = n_steps + 1, n = n_steps; /* in steps; the last may be a shorter one */
    uint32_t n_plans = 0;
    bool fits = false;
    while (over - holds > 1) {
        q.run.n_ctx = n == n_steps ? limit : n * step;
        pare_status status = pare_place_search(&q, out, &fits, err);
        if (status != PARE_OK)
            return status;
        n_plans += out->n_plans;
        *(fits ? &holds : &over) = n;
        n = holds + (over - holds) / 2;
    }
    *n_ctx = holds == n_steps ? limit : holds * step;
    if (holds > 0 && !fits) { /* out is that of a longer one */
        q.run.n_ctx = *n_ctx;
        pare_status status = pare_place_search(&q, out, &fits, err);
        if (status != PARE_OK)
            return status;
        n_plans += out->n_plans;
    }
    out->n_plans = n_plans;
    return PARE_OK;
}
