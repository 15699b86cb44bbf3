#include "cmd/fit_options.h"
#include "cmd/quantize_options.h"
#include "cmd/type_options.h"
#include "core/look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_ITEM = 128, LEAST_SIZE = 4096 /* bytes */ };

/* The next item of a list divided by commas, without the spaces around it: false behind the last. */
static bool next_item(const char **list, char item[MAX_ITEM], const char **begin)
{
    if (*list == NULL)
        return false;
    const char *comma = strchr(*list, ','), *end = comma != NULL ? comma : *list + strlen(*list);
    const char *from = *list;
    while (from < end && *from == ' ')
        from++;
    while (end > from && end[-1] == ' ')
        end--;
    const size_t len = (size_t)(end - from) < MAX_ITEM - 1 ? (size_t)(end - from) : MAX_ITEM - 1;
    memcpy(item, from, len);
    item[len] = '\0';
    *begin = *list;
    *list = comma != NULL ? comma + 1 : NULL;
    return true;
}

static pare_status add_device(cmd_fit_memory *m, const cmd_args *args, pare_memory_device device, pare_error *err)
{
    if (m->n_devices == PARE_MEMORY_MAX_DEVICES)
        return pare_fail(err, PARE_ERR_USAGE, "%s: more than %d cards", args->verb->name, PARE_MEMORY_MAX_DEVICES);
    m->devices[m->n_devices++] = device;
    return PARE_OK;
}

static pare_status bad_size(const cmd_args *args, const char *option, const char *item, pare_error *err)
{
    uint64_t bytes = 0;
    const bool is_small = cmd_parse_size(item, &bytes);
    return pare_fail(err, PARE_ERR_USAGE, "%s: --%s: '%s' is %s: 24G and 24GiB are 24 * 2^30 bytes, 24GB is 24 * 10^9",
                     args->verb->name, option, item,
                     is_small ? "less than any model takes (is a unit missing?)" : "no size");
}

static const char *next_card_name(size_t i, const void *ctx)
{
    (void)ctx;
    const pare_card *card = pare_card_at(i);
    return card != NULL ? card->name : NULL;
}

/* "rtx-409" may be short for several cards: as many of their names as fit into a line. */
static pare_status unknown_card(const cmd_args *args, const char *item, pare_error *err)
{
    enum { SHOWN = 8 };
    char names[256] = "";
    size_t n = 0, at = 0;
    const pare_card *card;
    const char *near = cmd_nearest(item, next_card_name, NULL);
    for (size_t i = 0; near == NULL && (card = pare_card_at(i)) != NULL && n < SHOWN; i++)
        if (strstr(card->name, item) != NULL && at < sizeof names) {
            at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", n > 0 ? ", " : "", card->name);
            n++;
        }
    if (near != NULL || n > 0)
        return pare_fail(err, PARE_ERR_USAGE,
                         "%s: --gpu: unknown card '%s'; did you mean %s? (pare fit --gpu list shows all)",
                         args->verb->name, item, near != NULL ? near : names);
    return pare_fail(err, PARE_ERR_USAGE,
                     "%s: --gpu: unknown card '%s'; pare fit --gpu list shows all, and --vram takes any size",
                     args->verb->name, item);
}

static pare_status parse_sizes_of_cards(cmd_fit_memory *m, const cmd_args *args, const char *list, pare_error *err)
{
    const char *begin;
    char item[MAX_ITEM];
    uint64_t bytes;
    pare_status st = PARE_OK;
    while (st == PARE_OK && next_item(&list, item, &begin))
        st = cmd_parse_size(item, &bytes) && bytes >= LEAST_SIZE
                 ? add_device(m, args, (pare_memory_device){.usable = bytes}, err)
                 : bad_size(args, "vram", item, err);
    return st;
}

static pare_status parse_cards(cmd_fit_memory *m, const cmd_args *args, const char *list, pare_error *err)
{
    const char *begin;
    char item[MAX_ITEM];
    pare_status st = PARE_OK;
    while (st == PARE_OK && next_item(&list, item, &begin)) {
        const pare_card *card = pare_card_find(item);
        if (item[0] == '\0')
            return pare_fail(err, PARE_ERR_USAGE,
                             "%s: --gpu: the name of a card is wanted, as rtx-4090; pare fit --gpu list shows all",
                             args->verb->name);
        st = card != NULL ? add_device(m, args, pare_memory_device_of(card), err) : unknown_card(args, item, err);
    }
    return st;
}

static double bytes_of_cards(const cmd_fit_memory *m)
{
    double sum = 0;
    for (uint32_t i = 0; i < m->n_devices; i++)
        sum += (double)m->devices[i].usable;
    return sum;
}

static int compare_memories(const void *a, const void *b)
{
    const double x = bytes_of_cards(a), y = bytes_of_cards(b);
    return x < y ? -1 : x > y;
}

/* Each --vram, or each --gpu, is a budget; where there is one of either, their cards are there together. */
static pare_status parse_devices(cmd_fit_request *r, const cmd_args *args, pare_error *err)
{
    const size_t n_sizes = cmd_count(args, OPT_VRAM), n_cards = cmd_count(args, OPT_GPU), n = n_sizes + n_cards;
    const bool together = n_sizes < 2 && n_cards < 2;
    pare_status st = PARE_OK;
    if (n == 0)
        return PARE_OK;
    if (!together && n_sizes > 0 && n_cards > 0)
        return pare_fail(err, PARE_ERR_USAGE, "fit: several --%s are budgets, each of its own: not with --%s",
                         n_sizes > 1 ? "vram" : "gpu", n_sizes > 1 ? "gpu" : "vram");
    if (n > CMD_FIT_MAX_BUDGETS)
        return pare_fail(err, PARE_ERR_USAGE, "fit: more than %d budgets", CMD_FIT_MAX_BUDGETS);
    r->memories = calloc(n, sizeof *r->memories);
    if (r->memories == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu budgets", n);
    for (size_t i = 0, at = 0; i < args->n_given && st == PARE_OK; i++) { /* cards are counted as they were given */
        const cmd_option_id id = args->given[i].option->id;
        if (id != OPT_VRAM && id != OPT_GPU)
            continue;
        st = (id == OPT_VRAM ? parse_sizes_of_cards : parse_cards)(&r->memories[at], args, args->given[i].text, err);
        at += !together;
    }
    r->n_memories = together ? 0 : n;
    if (st != PARE_OK)
        return st;
    qsort(r->memories, r->n_memories, sizeof *r->memories, compare_memories);
    memcpy(r->devices, r->memories[0].devices, sizeof r->devices);
    r->n_devices = r->memories[0].n_devices;
    return PARE_OK;
}

static int compare_sizes(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static pare_status parse_sizes(cmd_fit_request *r, const cmd_args *args, pare_error *err)
{
    const char *list = cmd_text(args, OPT_SIZE), *begin;
    char item[MAX_ITEM];
    while (next_item(&list, item, &begin)) {
        if (r->n_sizes == CMD_FIT_MAX_BUDGETS)
            return pare_fail(err, PARE_ERR_USAGE, "fit: --size: more than %d sizes", CMD_FIT_MAX_BUDGETS);
        if (!cmd_parse_size(item, &r->sizes[r->n_sizes]) || r->sizes[r->n_sizes] < LEAST_SIZE)
            return bad_size(args, "size", item, err);
        r->n_sizes++;
    }
    qsort(r->sizes, r->n_sizes, sizeof *r->sizes, compare_sizes);
    return PARE_OK;
}

static pare_status parse_types(cmd_fit_request *r, const cmd_args *args, pare_error *err)
{
    const char *list = cmd_text(args, OPT_TYPES), *begin;
    char item[MAX_ITEM];
    pare_status st = PARE_OK;
    while (st == PARE_OK && next_item(&list, item, &begin)) {
        pare_type type;
        bool there = false;
        st = cmd_parse_type(args, "types", item, &type, err);
        for (size_t i = 0; i < r->n_types; i++)
            there |= st == PARE_OK && r->types[i] == type;
        if (st == PARE_OK && !there)
            r->types[r->n_types++] = type;
    }
    return st;
}

static pare_status file_bytes(const cmd_args *args, cmd_option_id id, const char *option, uint64_t *out,
                              pare_error *err)
{
    struct stat about;
    const char *path = cmd_text(args, id);
    *out = 0;
    bool there;
    if (path == NULL)
        return PARE_OK;
    pare_status st = pare_look(path, &about, &there, err);
    if (st != PARE_OK)
        return st;
    if (!there || !S_ISREG(about.st_mode))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: --%s: is no file", path, option);
    *out = (uint64_t)about.st_size;
    return PARE_OK;
}

/* --kv is both of --cache-k and --cache-v. */
static pare_status parse_cache(cmd_fit_request *r, const cmd_args *args, pare_error *err)
{
    pare_type both, k, v;
    pare_status st = cmd_parse_type_option(args, OPT_KV, "kv", &both, err);
    if (st == PARE_OK)
        st = cmd_parse_type_option(args, OPT_CACHE_K, "cache-k", &k, err);
    if (st == PARE_OK)
        st = cmd_parse_type_option(args, OPT_CACHE_V, "cache-v", &v, err);
    if (st != PARE_OK)
        return st;
    if (both != PARE_TYPE_NONE && (k != PARE_TYPE_NONE || v != PARE_TYPE_NONE))
        return pare_fail(err, PARE_ERR_USAGE, "fit: --kv is --cache-k and --cache-v together: give one or the others");
    if (both != PARE_TYPE_NONE)
        k = v = both;
    if (k != PARE_TYPE_NONE)
        r->run.cache_k = k;
    if (v != PARE_TYPE_NONE)
        r->run.cache_v = v;
    return PARE_OK;
}

static pare_status parse_run(cmd_fit_request *r, const cmd_args *args, pare_error *err)
{
    pare_memory_run_default(&r->run);
    if (cmd_has(args, OPT_CONTEXT))
        r->run.n_ctx = cmd_number(args, OPT_CONTEXT);
    r->run.n_seq = (uint32_t)cmd_number(args, OPT_SEQUENCES);
    if (cmd_has(args, OPT_UBATCH))
        r->run.n_ubatch = (uint32_t)cmd_number(args, OPT_UBATCH);
    r->run.no_flash_attn = cmd_has(args, OPT_NO_FLASH_ATTN);
    r->run.reserve = cmd_number(args, OPT_RESERVE);
    pare_status st = parse_cache(r, args, err);
    if (st == PARE_OK)
        st = file_bytes(args, OPT_PROJECTOR, "projector", &r->run.projector_bytes, err);
    return st == PARE_OK ? file_bytes(args, OPT_DRAFT, "draft", &r->run.draft_bytes, err) : st;
}

/* The first of these options [n] that was given, by its name; NULL: none. */
static const char *first_given(const cmd_args *args, const cmd_option_id *options, size_t n)
{
    for (size_t i = 0; i < args->n_given; i++)
        for (size_t k = 0; k < n; k++)
            if (args->given[i].option->id == options[k])
                return args->given[i].option->name;
    return NULL;
}

/* Options that would do nothing beside the others. */
static pare_status check_idle(const cmd_fit_request *r, const cmd_args *args, pare_error *err)
{
    static const cmd_option_id of_choice[] =
        {OPT_TYPES,       OPT_MIN_BITS, OPT_PREFER_FAST, OPT_SEQUENTIAL, OPT_SEQUENTIAL_MEMORY, OPT_TASK,
         OPT_TASK_FORMAT, OPT_SHOTS,    OPT_N_SHOT,      OPT_LIMIT,      OPT_DESCRIPTION,       OPT_TASK_CTX},
                               of_text[] = {OPT_TEST, OPT_STATE, OPT_IMATRIX, OPT_EFFORT,
                                            OPT_PIN,  OPT_LOCK,  OPT_SUMS,    OPT_SIGN},
                               of_output[] = {OPT_PIN, OPT_LOCK, OPT_SUMS, OPT_SIGN},
                               of_memory[] = {OPT_CONTEXT,   OPT_KV,     OPT_CACHE_K, OPT_CACHE_V,
                                              OPT_SEQUENCES, OPT_UBATCH, OPT_RESERVE, OPT_NO_FLASH_ATTN,
                                              OPT_PROJECTOR, OPT_DRAFT,  OPT_RUNTIME};
    const char *name = NULL;
    if (!cmd_fit_chooses(args))
        name = first_given(args, of_choice, sizeof of_choice / sizeof *of_choice);
    if (name == NULL && !cmd_has(args, OPT_FILE))
        name = first_given(args, of_text, sizeof of_text / sizeof *of_text);
    if (name != NULL)
        return pare_fail(err, PARE_ERR_USAGE, "fit: --%s is of the choice of types by a text: -f TEXT%s", name,
                         cmd_has(args, OPT_PLAN_ONLY) ? ", without --plan-only" : "");
    if (!cmd_has(args, OPT_OUTPUT) &&
        (name = first_given(args, of_output, sizeof of_output / sizeof *of_output)) != NULL)
        return pare_fail(err, PARE_ERR_USAGE, "fit: --%s is of the file that --output names", name);
    if (cmd_has(args, OPT_TABLE) && cmd_has(args, OPT_CONTEXT))
        return pare_fail(err, PARE_ERR_USAGE, "fit: --table shows the contexts that fit: not with --ctx");
    if ((r->n_sizes > 0 || r->pareto) &&
        (name = first_given(args, of_memory, sizeof of_memory / sizeof *of_memory)) != NULL)
        return pare_fail(err, PARE_ERR_USAGE, "fit: --%s is of memory, of which --%s says nothing: give --vram", name,
                         r->pareto ? "pareto" : "size");
    return PARE_OK;
}

pare_status cmd_fit_memory_parse(cmd_fit_request *r, const cmd_args *args, pare_error *err)
{
    const char *runtime = cmd_text(args, OPT_RUNTIME);
    r->ram = cmd_number(args, OPT_RAM);
    r->runtime = pare_memory_runtime_find(runtime != NULL ? runtime : "llama.cpp");
    pare_status st = parse_devices(r, args, err);
    return st == PARE_OK ? parse_run(r, args, err) : st;
}

static pare_status check(const cmd_fit_request *r, const cmd_args *args, pare_error *err)
{
    const bool sizes = r->n_sizes > 0, memory = r->n_devices > 0 || r->ram > 0;
    const size_t n = r->pareto ? CMD_FIT_MAX_BUDGETS : cmd_fit_n_budgets(r);
    if (!sizes && !memory && !r->pareto)
        return pare_fail(err, PARE_ERR_USAGE,
                         "fit: how much memory is there? Give --vram SIZE, --gpu NAME, --ram SIZE, --size SIZE of the "
                         "file, or --pareto for a front over sizes");
    if (r->pareto && (sizes || memory))
        return pare_fail(err, PARE_ERR_USAGE,
                         "fit: --pareto finds its sizes itself: not with --size, --vram, --gpu and --ram");
    if (n > 1 && args->n_operands > 1)
        return pare_fail(err, PARE_ERR_USAGE, "fit: several models are compared under one budget: not under several");
    if (sizes && memory)
        return pare_fail(err, PARE_ERR_USAGE, "fit: --size is a budget of its own: not with --vram, --gpu and --ram");
    if (sizes && !cmd_has(args, OPT_FILE))
        return pare_fail(err, PARE_ERR_USAGE, "fit: --size is a budget to choose types for, by a text: -f TEXT");
    if (sizes && cmd_has(args, OPT_PLAN_ONLY))
        return pare_fail(err, PARE_ERR_USAGE, "fit: --plan-only plans memory, of which --size says nothing");
    if (r->pareto && !cmd_fit_chooses(args))
        return pare_fail(err, PARE_ERR_USAGE, "fit: --pareto is a front of types chosen by a text: -f TEXT%s",
                         cmd_has(args, OPT_PLAN_ONLY) ? ", without --plan-only" : "");
    if (n > 1 && !cmd_fit_chooses(args))
        return pare_fail(err, PARE_ERR_USAGE,
                         "fit: several budgets are a front, of types chosen by a text: -f TEXT%s; several cards at "
                         "once are divided by commas",
                         cmd_has(args, OPT_PLAN_ONLY) ? ", without --plan-only" : "");
    if (cmd_has(args, OPT_OUTPUT) && !cmd_has(args, OPT_FILE))
        return pare_fail(err, PARE_ERR_USAGE, "fit: --output needs a text to choose by: -f TEXT");
    if (cmd_has(args, OPT_OUTPUT) && n > 1)
        return pare_fail(err, PARE_ERR_USAGE,
                         "fit: several budgets make no one --output; without it the front is shown");
    if (cmd_has(args, OPT_OUTPUT) && cmd_has(args, OPT_PLAN_ONLY))
        return pare_fail(err, PARE_ERR_USAGE, "fit: --plan-only writes nothing: not with --output");
    if (cmd_has(args, OPT_REPORT) && cmd_has(args, OPT_PLAN_ONLY))
        return pare_fail(err, PARE_ERR_USAGE, "fit: --plan-only measures nothing: not with --report");
    if (cmd_has(args, OPT_SEQUENTIAL_MEMORY) && !cmd_has(args, OPT_SEQUENTIAL))
        return pare_fail(err, PARE_ERR_USAGE, "fit: --sequential-memory needs --sequential");
    if (cmd_has(args, OPT_MEASURE_LOG) && !cmd_has(args, OPT_MEASURE))
        return pare_fail(err, PARE_ERR_USAGE, "fit: --measure-log is of --measure");
    if (cmd_has(args, OPT_MEASURE) && r->n_devices == 0)
        return pare_fail(err, PARE_ERR_USAGE, "fit: --measure is of memory of cards: --vram or --gpu");
    if (cmd_has(args, OPT_MEASURE) && (cmd_fit_chooses(args) || cmd_has(args, OPT_TABLE) || args->n_operands > 1))
        return pare_fail(err, PARE_ERR_USAGE,
                         "fit: --measure is of the plan of one MODEL: not with --table, nor with -f TEXT but for "
                         "--plan-only (plan for the file that was made)");
    if (r->preset != NULL && cmd_fit_chooses(args))
        return pare_fail(err, PARE_ERR_USAGE, "fit: --type says the types, so there is nothing to choose by --file");
    return check_idle(r, args, err);
}

size_t cmd_fit_n_budgets(const cmd_fit_request *r)
{
    return r->n_sizes > 0 ? r->n_sizes : r->n_memories > 0 ? r->n_memories : 1;
}

bool cmd_fit_chooses(const cmd_args *args)
{
    return cmd_has(args, OPT_FILE) && !cmd_has(args, OPT_PLAN_ONLY);
}

pare_status cmd_fit_request_parse(cmd_fit_request *r, const cmd_args *args, pare_error *err)
{
    *r = (cmd_fit_request){.min_bits = cmd_real(args, OPT_MIN_BITS),
                           .effort = cmd_effort(args),
                           .pareto = cmd_has(args, OPT_PARETO),
                           .allow_requantize = cmd_has(args, OPT_ALLOW_REQUANTIZE) || cmd_has(args, OPT_REQUANTIZE)};
    const char *fast = cmd_text(args, OPT_PREFER_FAST), *type = cmd_text(args, OPT_TYPE);
    if (fast != NULL)
        r->prefer_fast = PARE_FIT_CPU;
    if (type != NULL && (r->preset = pare_preset_find(type)) == NULL)
        return cmd_unknown_type(args, "type", type, true, err);
    pare_status st = cmd_fit_memory_parse(r, args, err);
    if (st == PARE_OK)
        st = parse_sizes(r, args, err);
    if (st == PARE_OK)
        st = parse_types(r, args, err);
    if (st == PARE_OK)
        st = cmd_parse_type_rules(args, OPT_KEEP, "keep", &r->keep, &r->n_keep, err);
    return st == PARE_OK ? check(r, args, err) : st;
}

void cmd_fit_request_close(cmd_fit_request *r)
{
    cmd_type_rules_free(r->keep, r->n_keep);
    free(r->memories);
    *r = (cmd_fit_request){0};
}
