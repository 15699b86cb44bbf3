#include "memory/speed.h"

#include "memory/memory_layout.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HOST_SHARE = PARE_MEMORY_MAX_DEVICES };

/* Sums by place; the last entry is the host. */
typedef struct loads {
    double weights[PARE_MEMORY_MAX_DEVICES + 1]; /* bytes read a token */
    double stored[PARE_MEMORY_MAX_DEVICES + 1];  /* bytes of the same tensors, experts not chosen included */
    double n_ops[PARE_MEMORY_MAX_DEVICES + 1];   /* of a prompt */
    double active;
    uint32_t n_layers; /* on devices */
} loads;

static uint32_t slot_of(int32_t place)
{
    return place < 0 ? HOST_SHARE : (uint32_t)place;
}

/* The embedding that is the output, too, is read where that is. */
static int32_t read_at(const memory_layout *at, const pare_memory_tensor *t)
{
    const bool tied = at->hp->tied_output && strcmp(t->name, "token_embd.weight") == 0;
    return tied ? memory_layer_place(at, at->hp->n_layer) : memory_tensor_place(at, t);
}

static void count_weights(const memory_layout *at, uint64_t n_prompt, loads *l)
{
    for (size_t i = 0; i < at->m->n_tensors; i++) {
        const pare_memory_tensor *t = &at->m->tensors[i];
        const uint32_t slot = slot_of(read_at(at, t));
        const double read = (double)memory_read_of(at->hp, t);
        l->weights[slot] += read;
        if (memory_is_table(at->hp, t) || t->n_dims < 2 || t->n_bytes == 0)
            continue;
        double n = read / (double)t->n_bytes; /* weights that a token is multiplied with */
        for (uint32_t d = 0; d < t->n_dims; d++)
            n *= (double)t->dim[d];
        l->stored[slot] += (double)t->n_bytes;
        l->active += n;
        l->n_ops[slot] += 2 * n * (double)n_prompt;
    }
}

/* Keys that all tokens of a prompt of n see together. */
static double keys_seen(uint64_t n, uint32_t window)
{
    const double w = window > 0 && window < n ? window : (double)n;
    return w * (w + 1) / 2 + ((double)n - w) * w;
}

static void count_attention(const memory_layout *at, uint64_t n_prompt, loads *l)
{
    const pare_hparams *hp = at->hp;
    for (uint32_t i = 0; i < hp->n_layer; i++) {
        l->n_layers += memory_layer_place(at, i) >= 0;
        if (memory_layer_recurrent(hp, i))
            continue;
        const pare_layer_shape s = pare_layer_shape_of(hp, i);
        const double wide =
            memory_is_latent(hp) ? 2.0 * hp->n_lora_kv + hp->n_rot : (double)s.head_dim_k + s.head_dim_v;
        l->n_ops[slot_of(memory_cache_place(at, i))] +=
            2 * hp->n_head * wide * keys_seen(n_prompt, pare_layer_window(hp, i));
    }
}

static pare_status check_input(const pare_speed_input *in, pare_error *err)
{
    const double rates[] = {in->host_bandwidth, in->link_bandwidth, in->host_rate};
    const double shares[] = {in->decode_efficiency, in->host_efficiency, in->prefill_efficiency};
    if (!isfinite(in->layer_seconds) || in->layer_seconds < 0)
        return pare_fail(err, PARE_ERR_USAGE, "a layer of %g seconds: it must be finite and not negative",
                         in->layer_seconds);
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
        if (!isfinite(rates[i]) || rates[i] < 0)
            return pare_fail(err, PARE_ERR_USAGE, "a rate of %g a second: it must be finite and not negative",
                             rates[i]);
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++)
        if (!(shares[i] >= 0 && shares[i] <= 1))
            return pare_fail(err, PARE_ERR_USAGE, "an efficiency of %g: it must lie between 0 and 1", shares[i]);
    return PARE_OK;
}

static void set_defaults(pare_speed_input *in, const pare_memory_plan *plan)
{
    if (in->n_prompt == 0)
        in->n_prompt = plan->n_ubatch > 0 ? plan->n_ubatch : 512;
    if (in->host_bandwidth == 0)
        in->host_bandwidth = PARE_SPEED_HOST;
    if (in->link_bandwidth == 0)
        in->link_bandwidth = PARE_SPEED_LINK;
    if (in->decode_efficiency == 0)
        in->decode_efficiency = PARE_SPEED_DECODE;
    if (in->host_efficiency == 0)
        in->host_efficiency = PARE_SPEED_HOST_DECODE;
    if (in->layer_seconds == 0)
        in->layer_seconds = PARE_SPEED_LAYER;
    if (in->prefill_efficiency == 0)
        in->prefill_efficiency = PARE_SPEED_PREFILL;
}

/* The cache read at the input's depth, dealt out as the plan deals out the cache. */
static pare_status cache_shares(const pare_place_query *q, const pare_placement *p, uint64_t depth,
                                double cache[PARE_MEMORY_MAX_DEVICES + 1], uint64_t *sum, pare_error *err)
{
    *sum = 0;
    pare_status status =
        depth == 0 ? PARE_OK : pare_memory_cache_read(q->model, p->run.cache_k, p->run.cache_v, depth, sum, err);
    if (status != PARE_OK)
        return status;
    double all = 0;
    for (int32_t place = PARE_MEMORY_HOST; place < (int32_t)q->n_devices; place++)
        all += cache[slot_of(place)] = (double)pare_memory_of_kind(&p->plan, PARE_MEMORY_CACHE, place);
    for (uint32_t i = 0; i <= HOST_SHARE; i++)
        cache[i] = all > 0 ? cache[i] / all * (double)*sum : 0;
    return PARE_OK;
}

/* Append to a formula; what does not fit is "...". */
static void say(char *dst, size_t size, const char *fmt, ...) PARE_PRINTF(3, 4);

static void say(char *dst, size_t size, const char *fmt, ...)
{
    const size_t len = strlen(dst);
    char term[128];
    va_list args;
    va_start(args, fmt);
    vsnprintf(term, sizeof term, fmt, args);
    va_end(args);
    if (len + strlen(term) + 5 < size)
        memcpy(dst + len, term, strlen(term) + 1);
    else if (len < 3 || strcmp(dst + len - 3, "...") != 0)
        memcpy(dst + len, " ...", 5);
}

static const char *name_of_place(const pare_place_query *q, int32_t place, char buf[24])
{
    if (place < 0)
        return "host";
    if (q->device[place].name != NULL)
        return q->device[place].name;
    snprintf(buf, 24, "device %d", place);
    return buf;
}

/* What the places before take, and the next one: one after the other, or, of devices that work at once, the slowest. */
static double together(double sum, double seconds, int32_t place, bool at_once)
{
    return !at_once || place < 0 ? sum + seconds : sum > seconds ? sum : seconds;
}

/* What stands before a place's term. Devices come first, then the host; "max(" of those that work at once is open. */
static const char *join(bool first, int32_t place, bool at_once)
{
    if (at_once && place < 0)
        return ") + ";
    return first ? "" : at_once ? ", " : " + ";
}

static void estimate_decode(pare_speed *out, const pare_place_query *q, bool at_once)
{
    char *formula = out->decode_formula;
    const size_t size = sizeof out->decode_formula;
    double seconds = 0, least = 0;
    bool open = at_once;
    snprintf(formula, size, at_once ? "1 / (max(" : "1 / (");
    const size_t start = strlen(formula);
    for (uint32_t i = 0; i < out->n_shares; i++) {
        pare_speed_share *s = &out->share[i];
        const double bytes = (double)s->weights + (double)s->cache;
        const double e = s->place < 0 ? out->input.host_efficiency : out->input.decode_efficiency;
        char buf[24];
        if (bytes <= 0)
            continue;
        if (s->bandwidth <= 0) {
            formula[0] = '\0';
            out->unknown = "the bandwidth of a device is not known";
            return;
        }
        s->seconds = bytes / (e * s->bandwidth);
        seconds = together(seconds, s->seconds, s->place, at_once);
        least = together(least, bytes / s->bandwidth, s->place, at_once);
        say(formula, size, "%s%.4g GB / (%g * %.5g GB/s, %.32s)", join(strlen(formula) == start, s->place, at_once),
            bytes / 1e9, e, s->bandwidth / 1e9, name_of_place(q, s->place, buf));
        open = open && s->place >= 0;
    }
    if (open)
        say(formula, size, ")");
    if (out->n_layers > 0)
        say(formula, size, " + %u * %g us", out->n_layers, out->input.layer_seconds * 1e6);
    say(formula, size, ")");
    if (seconds > 0) {
        out->decode = 1 / (seconds + out->n_layers * out->input.layer_seconds);
        out->decode_limit = 1 / least;
    }
}

static const char *why_no_prefill(const pare_speed *out, const pare_place_query *q, const loads *l, uint64_t batch)
{
    if (q->n_devices > 0 && l->stored[HOST_SHARE] > 0 && (batch < 32 || out->input.n_prompt < 32))
        return "micro-batches under 32 tokens are multiplied on the host";
    for (uint32_t i = 0; i < out->n_shares; i++)
        if (out->share[i].n_ops > 0 && out->share[i].rate <= 0)
            return "how fast a place multiplies is not known";
    return NULL;
}

static void estimate_prefill(pare_speed *out, const pare_place_query *q, const pare_placement *p, const loads *l,
                             bool at_once)
{
    char *formula = out->prefill_formula;
    const uint64_t batch = p->plan.n_ubatch > 0 ? p->plan.n_ubatch : 512;
    const char *why = why_no_prefill(out, q, l, batch);
    if (why != NULL) {
        out->unknown = out->unknown != NULL ? out->unknown : why;
        return;
    }
    const double e = out->input.prefill_efficiency, n = (double)out->input.n_prompt, over_bus = l->stored[HOST_SHARE];
    const double link = out->input.link_bandwidth * (at_once ? q->n_devices : 1);
    double seconds = 0;
    bool open = at_once;
    snprintf(formula, sizeof out->prefill_formula, "%.0f / (%s", n, at_once ? "max(" : "");
    const size_t start = strlen(formula);
    for (uint32_t i = 0; i < out->n_shares; i++) {
        const pare_speed_share *s = &out->share[i];
        char buf[24];
        if (s->n_ops <= 0)
            continue;
        seconds = together(seconds, s->n_ops / (e * s->rate), s->place, at_once);
        say(formula, sizeof out->prefill_formula, "%s%.4g Tops / (%g * %.5g Tops/s, %.32s)",
            join(strlen(formula) == start, s->place, at_once), s->n_ops / 1e12, e, s->rate / 1e12,
            name_of_place(q, s->place, buf));
        open = open && s->place >= 0;
    }
    if (open)
        say(formula, sizeof out->prefill_formula, ")");
    if (q->n_devices > 0 && over_bus > 0) {
        const double batches = ceil(n / (double)batch);
        seconds += batches * over_bus / link;
        say(formula, sizeof out->prefill_formula, " + %.0f * %.4g GB / (%.4g GB/s, bus)", batches, over_bus / 1e9,
            link / 1e9);
    }
    say(formula, sizeof out->prefill_formula, ")");
    if (seconds > 0)
        out->prefill = n / seconds;
}

/* The sums over the model as it was placed. */
static pare_status count_loads(const pare_memory_model *model, const pare_placement *p, uint64_t n_prompt, loads *l,
                               pare_error *err)
{
    pare_memory_model m = *model;
    m.tensors = malloc((m.n_tensors + 1) * sizeof *m.tensors);
    if (m.tensors == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tensors", m.n_tensors);
    memcpy(m.tensors, model->tensors, m.n_tensors * sizeof *m.tensors);
    pare_placement_apply(p, &m);
    const memory_layout at = {.m = &m, .run = &p->run, .hp = m.hp}; /* what places are found by */
    count_weights(&at, n_prompt, l);
    count_attention(&at, n_prompt, l);
    free(m.tensors);
    return PARE_OK;
}

/* How fast a place reads and multiplies. What llama.cpp has on the host it multiplies on its first device when it reads
 * a prompt; vLLM reads its weights on the host through the bus (UVA), each device its part, and multiplies on all. */
static void set_rates(pare_speed_share *s, const pare_place_query *q, const pare_speed_input *in, bool at_once)
{
    if (s->place >= 0) {
        s->bandwidth = q->device[s->place].bandwidth;
        s->rate = q->device[s->place].half_rate;
        return;
    }
    const uint32_t n = at_once ? q->n_devices : 1;
    s->bandwidth = in->host_bandwidth;
    if (at_once && n > 0 && n * in->link_bandwidth < in->host_bandwidth)
        s->bandwidth = n * in->link_bandwidth;
    s->rate = q->n_devices > 0 ? n * q->device[0].half_rate : in->host_rate;
}

pare_status pare_speed_estimate(pare_speed *out, const pare_place_query *query, const pare_placement *p,
                                const pare_speed_input *input, pare_error *err)
{
    *out = (pare_speed){.input = *input, .label = "estimated, not measured"};
    pare_status status = check_input(input, err);
    if (status != PARE_OK)
        return status;
    set_defaults(&out->input, &p->plan);
    double cache[PARE_MEMORY_MAX_DEVICES + 1] = {0};
    if ((status = cache_shares(query, p, out->input.depth, cache, &out->cache, err)) != PARE_OK)
        return status;
    loads l = {0};
    if ((status = count_loads(query->model, p, out->input.n_prompt, &l, err)) != PARE_OK)
        return status;
    const bool at_once = query->n_devices > 0 && pare_runtime_at_once(query->runtime);
    for (int32_t d = 0; d <= (int32_t)query->n_devices; d++) {
        pare_speed_share *s = &out->share[out->n_shares++];
        s->place = d == (int32_t)query->n_devices ? PARE_MEMORY_HOST : d;
        const uint32_t slot = slot_of(s->place);
        s->weights = (uint64_t)l.weights[slot];
        s->cache = (uint64_t)cache[slot];
        s->n_ops = l.n_ops[slot];
        set_rates(s, query, &out->input, at_once);
        out->weights += s->weights;
    }
    out->active = l.active;
    out->n_layers = l.n_layers;
    estimate_decode(out, query, at_once);
    estimate_prefill(out, query, p, &l, at_once);
    return PARE_OK;
}
