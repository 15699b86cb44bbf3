/* Types for two memories, whatever they are: what was found is placed in both, and where nothing is said to fit nothing
 * does. Models without weights and budgets that nobody chose. */
#include "check.h"
#include "cmd/fit_room.h"
#include "fake_runtime.h"
#include "fit/accepted.h"
#include "memory/place_search.h"
#include "sized_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_TYPES = 3, MAX_TENSORS = 400 };
static const pare_type some[] = {PARE_TYPE_F16, PARE_TYPE_Q8_0, PARE_TYPE_Q4_0};

/* A model whose types are chosen: all that pare_fit has of it for this. */
typedef struct choosing {
    cmd_fit_room room;
    pare_choice list[MAX_TENSORS][N_TYPES];
    pare_choices items[MAX_TENSORS];
    size_t chosen[MAX_TENSORS];
    uint64_t least, most;
} choosing;

static uint64_t seed = 20261003;

static uint32_t next(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

/* Between low and high, small sizes more often. */
static uint64_t any_size(double low, double high)
{
    const double part = next() / 2147483648.0;
    return (uint64_t)(low + (high - low) * part * part) + next() % 4096;
}

static void open_choosing(choosing *c, const pare_memory_model *m, const cmd_fit_request *request)
{
    pare_error err = {0};
    c->room = (cmd_fit_room){.request = request, .m = *m};
    c->least = c->most = 0;
    CHECK(m->n_tensors <= MAX_TENSORS);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const double weight = 1 + next() % 1000;
        const size_t n = m->tensors[i].n_dims < 2 ? 1 : N_TYPES; /* sizes are round, so there are few sums of them */
        uint64_t low = UINT64_MAX, high = 0;
        for (size_t k = 0; k < n; k++) {
            CHECK_OK(pare_memory_retype(&c->room.m, m->tensors[i].name, some[k], &err), &err);
            c->list[i][k] = (pare_choice){m->tensors[i].n_bytes, weight * (double)(1 << (2 * k))};
            low = m->tensors[i].n_bytes < low ? m->tensors[i].n_bytes : low;
            high = m->tensors[i].n_bytes > high ? m->tensors[i].n_bytes : high;
        }
        c->items[i] = (pare_choices){c->list[i], n};
        c->least += low;
        c->most += high;
    }
}

static void types_of(const size_t *chosen, size_t n, pare_type types[MAX_TENSORS])
{
    for (size_t i = 0; i < n; i++)
        types[i] = some[chosen[i]];
}

static pare_status accept(const size_t *chosen, bool *yes, void *user, pare_error *err)
{
    choosing *c = user;
    pare_type types[MAX_TENSORS];
    types_of(chosen, c->room.m.n_tensors, types);
    return cmd_fit_room_has(&c->room, types, yes, err);
}

/* The same question of a model that was asked about nothing before. */
static bool has_afresh(const choosing *c, const pare_type *types)
{
    bool yes = false;
    pare_error err = {0};
    cmd_fit_room fresh = c->room;
    fresh.m.tensors = check_malloc(fresh.m.n_tensors * sizeof *fresh.m.tensors);
    memcpy(fresh.m.tensors, c->room.m.tensors, fresh.m.n_tensors * sizeof *fresh.m.tensors);
    for (size_t i = 0; i < fresh.m.n_tensors; i++)
        CHECK_OK(pare_memory_retype(&fresh.m, fresh.m.tensors[i].name, types[i], &err), &err);
    CHECK_OK(cmd_fit_room_has(&fresh, types, &yes, &err), &err);
    free(fresh.m.tensors);
    return yes;
}

/* What was asked before, larger or smaller, changes no answer. */
static void check_any_types(choosing *c)
{
    pare_type types[MAX_TENSORS];
    pare_error err = {0};
    bool yes;
    for (int ask = 0; ask < 4; ask++) {
        for (size_t i = 0; i < c->room.m.n_tensors; i++)
            types[i] = some[c->items[i].n == 1 ? 0 : ask == 3 ? next() % N_TYPES : (size_t)(ask * 2 % N_TYPES)];
        CHECK_OK(cmd_fit_room_has(&c->room, types, &yes, &err), &err);
        CHECK(yes == has_afresh(c, types));
    }
}

static cmd_fit_request any_request(const pare_memory_runtime *runtime, double weights)
{
    cmd_fit_request r = {.runtime = runtime};
    pare_memory_run_default(&r.run);
    r.run.n_ctx = 256 * (1 + next() % 64);
    r.run.reserve = next() % 2 ? UINT64_C(64) << 20 : 0;
    r.n_devices = next() % 4; /* none: RAM alone */
    for (uint32_t d = 0; d < r.n_devices; d++)
        r.devices[d].usable = any_size(weights / 1000, 1.2 * weights);
    r.ram = r.n_devices == 0 || next() % 4 ? any_size(weights / 1000, weights) : 0;
    return r;
}

/* The placement, computed again from the outside, is within both memories. */
static void check_placed(const choosing *c, const pare_type *types)
{
    pare_placement p;
    pare_place_query q;
    pare_error err = {0};
    pare_memory_plan plan;
    pare_memory_model m = c->room.m;
    const cmd_fit_request *r = c->room.request;
    m.tensors = check_malloc(m.n_tensors * sizeof *m.tensors);
    memcpy(m.tensors, c->room.m.tensors, m.n_tensors * sizeof *m.tensors);
    for (size_t i = 0; i < m.n_tensors; i++)
        CHECK_OK(pare_memory_retype(&m, m.tensors[i].name, types[i], &err), &err);
    cmd_fit_query(&q, r, &m);
    CHECK_OK(pare_place(&q, &p, &err), &err);
    pare_placement_apply(&p, &m);
    CHECK_OK(r->runtime->plan(&plan, &m, &p.run, &err), &err);
    for (uint32_t d = 0; d < r->n_devices; d++)
        CHECK(pare_plan_needs(r->runtime, &plan, (int32_t)d) <= r->devices[d].usable);
    CHECK(r->ram == 0 || pare_plan_needs(r->runtime, &plan, PARE_MEMORY_HOST) <= r->ram);
    CHECK(r->ram > 0 || p.kind == PARE_PLACED_ON_DEVICES);
    free(m.tensors);
}

/* True: something was found. */
static bool try_one(const pare_memory_model *m, const cmd_fit_request *request)
{
    static choosing c;
    pare_type types[MAX_TENSORS];
    pare_allocation got = {0};
    pare_error err = {0};
    bool found = false, yes;
    open_choosing(&c, m, request);
    CHECK_OK(pare_allocate(c.items, m->n_tensors, c.least, c.chosen, &got, &err), &err);
    types_of(c.chosen, m->n_tensors, types);
    const pare_status st = cmd_fit_room_check(&c.room, types, &err);
    CHECK_OK(cmd_fit_room_has(&c.room, types, &yes, &err), &err);
    CHECK(yes == (st == PARE_OK) && (st == PARE_OK || st == PARE_ERR_DIFFERENCE));
    if (st != PARE_OK) { /* and it is said what it would take */
        CHECK(strstr(err.text, "does not fit into ") != NULL && strstr(err.text, " more ") != NULL);
        return false;
    }
    CHECK_OK(pare_allocate_accepted(c.items, m->n_tensors, c.least, c.most, accept, &c, c.chosen, &got, &found, &err),
             &err);
    types_of(c.chosen, m->n_tensors, types);
    check_placed(&c, types);
    check_any_types(&c);
    return true;
}

static void sums_by_hand(void **state)
{
    size_t n_found = 0, n_none = 0;
    (void)state;
    for (int round = 0; round < 200; round++) {
        static fake_model f;
        fake_model_init(&f, 2 + next() % 14, round % 2);
        const cmd_fit_request r = any_request(&fake_runtime, 4e9 * (double)f.hp.n_layer / 8);
        const bool found = try_one(&f.m, &r);
        n_found += found;
        n_none += !found;
    }
    CHECK(n_found > 50 && n_none > 30);
}

static void sums_of_runtimes(void **state)
{
    static const char *const configs[] = {
        "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": 1024, "
        "\"intermediate_size\": 2816, \"num_attention_heads\": 8, "
        "\"num_key_value_heads\": 4, \"num_hidden_layers\": 6, \"vocab_size\": 32000, \"max_position_embeddings\": "
        "32768, "
        "\"rms_norm_eps\": 1e-5, \"tie_word_embeddings\": false}",
        "{\"architectures\": [\"MixtralForCausalLM\"], \"model_type\": \"mixtral\", \"hidden_size\": 768, "
        "\"intermediate_size\": 1536, \"num_attention_heads\": 8, "
        "\"num_key_value_heads\": 8, \"num_hidden_layers\": 5, \"vocab_size\": 32000, \"max_position_embeddings\": "
        "32768, "
        "\"rms_norm_eps\": 1e-5, \"num_local_experts\": 8, \"num_experts_per_tok\": 2, \"tie_word_embeddings\": true}"};
    size_t n_found = 0, n_none = 0;
    (void)state;
    for (int round = 0; round < 24; round++) {
        sized_model s;
        sized_model_init(&s, configs[round % 2], NULL);
        cmd_fit_request r = any_request(pare_memory_runtime_at(round % 6 == 5 ? 1 : 0), (double)s.n_bytes);
        if (round % 6 == 5 && r.n_devices == 3)
            r.n_devices = 2; /* they divide the heads */
        for (uint32_t d = 0; d < r.n_devices; d++)
            r.devices[d].usable += (uint64_t)(next() % 2400) << 20; /* a driver's context, buffers, or too little */
        r.ram += r.ram > 0 ? (uint64_t)(next() % 600) << 20 : 0;
        const bool found = try_one(&s.m, &r);
        n_found += found;
        n_none += !found;
        pare_memory_model_close(&s.m);
    }
    CHECK(n_found > 4 && n_none > 4);
}

/* What nobody can ask for is no plan that does not fit, but an error. */
static void senseless_requests_are_errors(void **state)
{
    static fake_model f;
    static choosing c;
    pare_type types[MAX_TENSORS];
    pare_error err = {0};
    bool yes = true;
    (void)state;
    fake_model_init(&f, 4, false);
    cmd_fit_request r = any_request(&fake_runtime, 1e9);
    r.run.n_ctx = UINT64_C(1) << 40;
    open_choosing(&c, &f.m, &r);
    memset(c.chosen, 0, sizeof c.chosen);
    types_of(c.chosen, f.m.n_tensors, types);
    CHECK(cmd_fit_room_has(&c.room, types, &yes, &err) == PARE_ERR_RANGE && !yes);
    CHECK(strstr(err.text, "1099511627776 tokens") != NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sums_by_hand), cmocka_unit_test(sums_of_runtimes),
                                       cmocka_unit_test(senseless_requests_are_errors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
