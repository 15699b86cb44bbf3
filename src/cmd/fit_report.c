#include "cmd/fit_report.h"
#include "cmd/summary.h"
#include "cmd/console.h"
#include "memory/launch.h"

#include <inttypes.h>
#include <string.h>

#define MIB 1048576.0

static const char *type_name(pare_type type)
{
    return pare_type_get(type)->name;
}

static pare_status print_json_cards(const cmd_args *args, pare_error *err)
{
    json_t *doc = json_object(), *list = json_array();
    const pare_card *card;
    for (size_t i = 0; (card = pare_card_at(i)) != NULL; i++) {
        json_t *item = json_object();
        json_object_set_new(item, "name", json_string(card->name));
        json_object_set_new(item, "title", json_string(card->title));
        cmd_json_u64(item, "bytes", card->bytes);
        cmd_json_u64(item, "usable", card->usable);
        cmd_json_real(item, "bandwidth", card->bandwidth);
        if (card->half_rate > 0)
            cmd_json_real(item, "half_rate", card->half_rate);
        json_array_append_new(list, item);
    }
    json_object_set_new(doc, "cards", list);
    cmd_json_resources(doc);
    return cmd_print_json(args, doc, err);
}

pare_status cmd_fit_print_cards(const cmd_args *args, pare_error *err)
{
    const pare_card *card;
    if (cmd_has(args, OPT_JSON))
        return print_json_cards(args, err);
    printf("%-18s %-44s %10s %10s %10s %14s\n", "name", "", "MiB", "usable", "GB/s", "16-bit Tflop/s");
    for (size_t i = 0; (card = pare_card_at(i)) != NULL; i++) {
        printf("%-18s %-44s %9.0f%s %10.0f %10.0f ", card->name, card->title, (double)card->bytes / MIB,
               card->nominal ? "n" : " ", (double)card->usable / MIB, card->bandwidth / 1e9);
        if (card->half_rate > 0)
            printf("%14.1f\n", card->half_rate / 1e12);
        else
            printf("%14s\n", "not known");
    }
    printf("\nn: as the maker states it; the others as the driver reports them\n");
    return PARE_OK;
}

static const char *device_name(const cmd_fit_plan *p, int32_t place, char name[64])
{
    if (place == PARE_MEMORY_HOST)
        snprintf(name, 64, "RAM");
    else if (p->request->n_devices == 1)
        snprintf(name, 64, "card");
    else
        snprintf(name, 64, "card %d", (int)place);
    return name;
}

void cmd_fit_print_head(const cmd_fit_plan *p)
{
    const cmd_fit_request *r = p->request;
    const pare_hparams *hp = &p->model->hp;
    char name[64];
    printf("%s: %.4g billion weights, %" PRIu32 " layers, trained for %" PRIu32 " tokens of context\n",
           cmd_safe(p->model->path, strlen(p->model->path)), (double)pare_model_n_params(p->model) / 1e9, hp->n_layer,
           hp->n_ctx_train);
    printf("%s, %" PRIu64 " tokens of context in %" PRIu32 " sequence%s, cache %s for keys and %s for values\n",
           r->runtime->name, p->n_ctx, r->run.n_seq, r->run.n_seq == 1 ? "" : "s", type_name(r->run.cache_k),
           type_name(r->run.cache_v));
    for (uint32_t i = 0; i < r->n_devices; i++)
        printf("%s: %s%s%.0f MiB (%.2f GiB, %.2f GB), of which %.0f MiB stay free\n", device_name(p, (int32_t)i, name),
               r->devices[i].name != NULL ? r->devices[i].name : "", r->devices[i].name != NULL ? ", " : "",
               (double)r->devices[i].usable / MIB, (double)r->devices[i].usable / MIB / 1024,
               (double)r->devices[i].usable / 1e9, (double)r->run.reserve / MIB);
    if (r->ram > 0)
        printf("RAM: %.0f MiB (%.2f GiB, %.2f GB)", (double)r->ram / MIB, (double)r->ram / MIB / 1024,
               (double)r->ram / 1e9);
    if (r->ram > 0 && r->n_devices == 0)
        printf(", of which %.0f MiB stay free", (double)r->run.reserve / MIB);
    if (r->ram > 0)
        putchar('\n');
    putchar('\n');
}

/* Where the layers lie, in few words. */
static void describe_place(const cmd_fit_candidate *c, char *out, size_t size)
{
    const pare_placement *p = &c->placement;
    switch (p->kind) {
    case PARE_PLACED_ON_DEVICES:
        snprintf(out, size, "all on the cards");
        break;
    case PARE_PLACED_EXPERTS_HOST:
        snprintf(out, size, "experts of %" PRIu32 " layers in RAM", p->n_host_experts);
        break;
    case PARE_PLACED_LAYERS_HOST:
        snprintf(out, size, "%" PRIu32 " layers on the cards", p->n_layers);
        break;
    case PARE_PLACED_ON_HOST:
        snprintf(out, size, "in RAM");
        break;
    }
}

static uint64_t bytes_on_devices(const pare_memory_plan *plan)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < PARE_MEMORY_MAX_DEVICES; i++)
        sum += plan->device[i].bytes;
    return sum;
}

static void print_row(const cmd_fit_plan *p, const cmd_fit_candidate *c)
{
    char where[64] = "does not fit", largest[48] = "-", speed[32] = "-", taken[32] = "-", host[32] = "-";
    if (c->status == PARE_OK) {
        describe_place(c, where, sizeof where);
        snprintf(taken, sizeof taken, "%.0f", (double)bytes_on_devices(&c->placement.plan) / MIB);
        snprintf(host, sizeof host, "%.0f", (double)c->placement.plan.host.bytes / MIB);
        if (c->speed.decode > 0)
            snprintf(speed, sizeof speed, "%.3g", c->speed.decode);
    }
    if (c->largest > 0)
        snprintf(largest, sizeof largest, "%" PRIu64 "%s", c->largest,
                 c->bound == PARE_CONTEXT_TRAINED ? " (trained)" : "");
    printf("%-12s %10.3f %6.2f %10s %10s %18s %10s  %s%s%s\n", c->name, (double)c->file_bytes / 1e9, c->bits, taken,
           host, largest, speed, where, c->needs_imatrix ? "; needs statistics" : "",
           c == p->best ? "  <- the largest that fits" : "");
}

/* What "fits" means: memory/placement.h. */
static void print_rule(const cmd_fit_plan *p)
{
    const bool with_reserve = p->request->run.reserve > 0;
    printf("\nfits: what is expected%s is no more than is there, nor are the upper ends of the intervals%s\n",
           with_reserve ? ", with the reserve," : "",
           with_reserve && !pare_runtime_at_once(p->request->runtime) ? " without it" : "");
}

void cmd_fit_print_candidates(const cmd_fit_plan *p)
{
    printf("%-12s %10s %6s %10s %10s %18s %10s\n", "", "file, GB", "bits", "cards, MiB", "RAM, MiB", "context at most",
           "tokens/s *");
    for (size_t i = p->n; i-- > 0;)
        print_row(p, &p->candidates[i]);
    print_rule(p);
    printf("* estimated, not measured: of one text, with the context full\n");
}

static void print_sum(const cmd_fit_plan *p, int32_t place, const pare_memory_sum *sum)
{
    char name[64];
    if (sum->high == 0)
        return;
    printf("  %-8s %-28s %10.1f", device_name(p, place, name), "together", (double)sum->bytes / MIB);
    if (sum->low != sum->high)
        printf("   %.1f to %.1f", (double)sum->low / MIB, (double)sum->high / MIB);
    putchar('\n');
}

static void print_parts(const cmd_fit_plan *p, const pare_memory_plan *plan)
{
    char name[64];
    printf("  %-8s %-28s %10s\n", "", "", "MiB");
    for (size_t i = 0; i < plan->n_parts; i++) {
        const pare_memory_part *part = &plan->parts[i];
        if (part->high == 0)
            continue;
        printf("  %-8s %-28s %10.1f   ", device_name(p, part->place, name), part->name, (double)part->bytes / MIB);
        if (part->low != part->high)
            printf("%.1f to %.1f%s; ", (double)part->low / MIB, (double)part->high / MIB,
                   part->assumed ? ", assumed" : "");
        printf("%s\n", part->depends);
    }
    for (uint32_t i = 0; i < p->request->n_devices; i++)
        print_sum(p, (int32_t)i, &plan->device[i]);
    print_sum(p, PARE_MEMORY_HOST, &plan->host);
    for (size_t i = 0; i < plan->n_missing; i++)
        printf("%s%s%s", i == 0 ? "  not counted: " : "; ", plan->missing[i], i + 1 == plan->n_missing ? "\n" : "");
}

static void print_speed(const pare_speed *s)
{
    if (s->decode > 0)
        printf("  %.3g tokens/s (%s): %s\n", s->decode, s->label, s->decode_formula);
    if (s->prefill > 0)
        printf("  %.4g tokens/s of a prompt (%s): %s\n", s->prefill, s->label, s->prefill_formula);
    if (s->unknown != NULL)
        printf("  no estimate of all speeds: %s\n", s->unknown);
}

/* The options of the runtimes that can run it so. */
static pare_status launch(const cmd_fit_plan *p, const cmd_fit_candidate *c, pare_buf *llama, pare_buf *vllm,
                          pare_error *err)
{
    pare_error why = {0};
    pare_status st = PARE_OK;
    if (strcmp(p->request->runtime->name, "vllm") != 0)
        st = pare_launch_llama_cpp(&c->placement, llama, &why);
    else
        st = pare_launch_vllm(&c->placement, pare_plan_weights(&c->placement.plan, PARE_MEMORY_HOST), vllm, &why);
    if (st == PARE_ERR_UNSUPPORTED) {
        cmd_say("%s", why.text);
        return PARE_OK;
    }
    if (st != PARE_OK)
        *err = why;
    return st;
}

pare_status cmd_fit_print_candidate(const cmd_fit_plan *p, const cmd_fit_candidate *c, pare_error *err)
{
    pare_buf llama = {0}, vllm = {0};
    char where[64];
    describe_place(c, where, sizeof where);
    printf("%s: %s\n", c->name, where);
    print_parts(p, &c->placement.plan);
    print_speed(&c->speed);
    pare_status st = launch(p, c, &llama, &vllm, err);
    if (st == PARE_OK && llama.len > 0)
        printf("  llama-server -m MODEL %s\n", llama.data);
    if (st == PARE_OK && vllm.len > 0)
        printf("  vllm serve MODEL %s\n", vllm.data);
    pare_buf_close(&llama);
    pare_buf_close(&vllm);
    return st;
}

pare_status cmd_fit_print_cache(const pare_model *m, pare_error *err)
{
    static const pare_cache_types types[] = {{PARE_TYPE_F16, PARE_TYPE_F16},
                                             {PARE_TYPE_Q8_0, PARE_TYPE_Q8_0},
                                             {PARE_TYPE_Q8_0, PARE_TYPE_Q4_0},
                                             {PARE_TYPE_Q4_0, PARE_TYPE_Q4_0}};
    enum { N = sizeof types / sizeof *types };
    pare_cache_row rows[N];
    pare_memory_model mm = {0};
    pare_status st = pare_memory_model_of(&mm, m, err);
    if (st == PARE_OK)
        st = pare_cache_table(&mm, types, N, rows, err);
    if (st == PARE_OK)
        printf("\ncache for 1024 tokens far from the start of a text:");
    for (size_t i = 0; st == PARE_OK && i < N; i++)
        if (rows[i].per_1024 > 0)
            printf("%s %s/%s %s", i > 0 ? "," : "", type_name(types[i].k), type_name(types[i].v),
                   cmd_bytes(rows[i].per_1024));
    if (st == PARE_OK)
        putchar('\n');
    pare_memory_model_close(&mm);
    return st;
}

json_t *cmd_fit_json_devices(const pare_memory_device *devices, uint32_t n)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < n; i++) {
        json_t *device = json_object();
        if (devices[i].name != NULL)
            json_object_set_new(device, "name", json_string(devices[i].name));
        cmd_json_u64(device, "bytes", devices[i].usable);
        json_array_append_new(list, device);
    }
    return list;
}

json_t *cmd_fit_json_request(const cmd_fit_plan *p)
{
    const cmd_fit_request *r = p->request;
    json_t *doc = json_object();
    json_object_set_new(doc, "runtime", json_string(r->runtime->name));
    cmd_json_u64(doc, "n_ctx", p->n_ctx);
    cmd_json_u64(doc, "n_sequences", r->run.n_seq);
    json_object_set_new(doc, "cache_k", json_string(type_name(r->run.cache_k)));
    json_object_set_new(doc, "cache_v", json_string(type_name(r->run.cache_v)));
    cmd_json_u64(doc, "reserve_bytes", r->run.reserve);
    json_object_set_new(doc, "devices", cmd_fit_json_devices(r->devices, r->n_devices));
    if (r->ram > 0)
        cmd_json_u64(doc, "ram_bytes", r->ram);
    return doc;
}

static json_t *json_place(int32_t place)
{
    return place == PARE_MEMORY_HOST ? json_string("host") : json_integer(place);
}

static void json_sum(json_t *doc, const pare_memory_sum *sum)
{
    cmd_json_u64(doc, "bytes", sum->bytes);
    cmd_json_u64(doc, "low", sum->low);
    cmd_json_u64(doc, "high", sum->high);
}

static json_t *json_parts(const pare_memory_plan *plan)
{
    json_t *list = json_array();
    for (size_t i = 0; i < plan->n_parts; i++) {
        const pare_memory_part *part = &plan->parts[i];
        json_t *row = json_object();
        json_object_set_new(row, "kind", json_string(pare_memory_kind_name(part->kind)));
        json_object_set_new(row, "place", json_place(part->place));
        json_object_set_new(row, "name", json_string(part->name));
        json_object_set_new(row, "depends_on", json_string(part->depends));
        json_object_set_new(row, "assumed", json_boolean(part->assumed));
        json_sum(row, &(pare_memory_sum){part->bytes, part->low, part->high});
        json_array_append_new(list, row);
    }
    return list;
}

static pare_status json_details(json_t *doc, const cmd_fit_plan *p, const cmd_fit_candidate *c, pare_error *err)
{
    const pare_memory_plan *plan = &c->placement.plan;
    json_t *missing = json_array();
    pare_buf llama = {0}, vllm = {0};
    json_object_set_new(doc, "parts", json_parts(plan));
    for (size_t i = 0; i < plan->n_missing; i++)
        json_array_append_new(missing, json_string(plan->missing[i]));
    json_object_set_new(doc, "not_counted", missing);
    pare_status st = launch(p, c, &llama, &vllm, err);
    if (llama.len > 0)
        json_object_set_new(doc, "llama_cpp_options", json_string(llama.data));
    if (vllm.len > 0)
        json_object_set_new(doc, "vllm_options", json_string(vllm.data));
    pare_buf_close(&llama);
    pare_buf_close(&vllm);
    return st;
}

static json_t *json_speed(const pare_speed *s)
{
    json_t *doc = json_object();
    json_object_set_new(doc, "label", json_string(s->label));
    if (s->decode > 0)
        cmd_json_real(doc, "decode_tokens_per_second", s->decode);
    if (s->prefill > 0)
        cmd_json_real(doc, "prefill_tokens_per_second", s->prefill);
    json_object_set_new(doc, "decode_formula", json_string(s->decode_formula));
    json_object_set_new(doc, "prefill_formula", json_string(s->prefill_formula));
    return doc;
}

pare_status cmd_fit_json_candidate(json_t **out, const cmd_fit_plan *p, const cmd_fit_candidate *c, bool parts,
                                   pare_error *err)
{
    json_t *doc = json_object();
    *out = doc;
    json_object_set_new(doc, "name", json_string(c->name));
    cmd_json_u64(doc, "file_bytes", c->file_bytes);
    cmd_json_real(doc, "bits_per_weight", c->bits);
    json_object_set_new(doc, "needs_imatrix", json_boolean(c->needs_imatrix));
    json_object_set_new(doc, "fits", json_boolean(c->status == PARE_OK));
    cmd_json_u64(doc, "largest_context", c->largest);
    if (c->status != PARE_OK) {
        json_object_set_new(doc, "why", cmd_json_text(c->why, strlen(c->why)));
        return PARE_OK;
    }
    char where[64];
    json_t *devices = json_array(), *host = json_object();
    describe_place(c, where, sizeof where);
    json_object_set_new(doc, "placement", json_string(where));
    cmd_json_u64(doc, "n_layers_on_devices", c->placement.n_layers);
    for (uint32_t i = 0; i < p->request->n_devices; i++) {
        json_t *device = json_object();
        json_sum(device, &c->placement.plan.device[i]);
        cmd_json_u64(device, "free", c->placement.device_free[i]);
        json_array_append_new(devices, device);
    }
    json_sum(host, &c->placement.plan.host);
    json_object_set_new(doc, "devices", devices);
    json_object_set_new(doc, "host", host);
    json_object_set_new(doc, "speed", json_speed(&c->speed));
    return parts ? json_details(doc, p, c, err) : PARE_OK;
}
