/* Plans against what stock llama.cpp allocates (tests/data/memory/reference.tsv, made by scripts/memory_reference.sh):
 * every family that it loads, the reference data's models, and models of real sizes on paper. */
#include "check.h"
#include "core/json.h"
#include "formats/open.h"
#include "memory/memory.h"
#include "model/stock.h"
#include "recipe/recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct model {
    pare_model source, f16;
    pare_hparams hp;
    pare_memory_model memory;
    char name[96];
    bool paper;
} model;

typedef struct row {
    char name[96], k[16], v[16], bytes[4][24]; /* weights, cache, compute, output; "-" */
    unsigned n_ctx, n_seq, shared, flash, full, n_ubatch;
} row;

static bool parse(const char *line, row *r)
{
    return sscanf(line, "%95s %u %u %u %15s %15s %u %u %u %23s %23s %23s %23s", r->name, &r->n_ctx, &r->n_seq,
                  &r->shared, r->k, r->v, &r->flash, &r->full, &r->n_ubatch, r->bytes[0], r->bytes[1], r->bytes[2],
                  r->bytes[3]) == 13;
}

static void close_model(model *m)
{
    pare_memory_model_close(&m->memory);
    pare_model_close(&m->f16);
    pare_model_close(&m->source);
    *m = (model){0};
}

static void open_paper(model *m)
{
    char path[160];
    pare_error err = {0};
    json_t *config = NULL;
    snprintf(path, sizeof path, "tests/data/memory/%s.json", m->name + strlen("paper/"));
    CHECK_OK(pare_json_load(&config, source_path(path), 1 << 20, PARE_JSON_BIG_AS_REAL, &err), &err);
    const pare_arch *arch =
        pare_arch_find_class(json_string_value(json_array_get(json_object_get(config, "architectures"), 0)), NULL);
    CHECK(arch != NULL);
    CHECK_OK(pare_hparams_from_config(&m->hp, arch, config, path, &err), &err);
    CHECK_OK(pare_memory_model_on_paper(&m->memory, arch, &m->hp, PARE_TYPE_F16, &err), &err);
    json_decref(config);
}

/* As a conversion to F16 would be run. */
static void open_folder(model *m, const char *path)
{
    pare_error err = {0};
    pare_plan plan;
    CHECK_OK(pare_model_open(&m->source, path, 0, &err), &err);
    CHECK_OK(pare_stock_complete(&m->source, &err), &err);
    CHECK_OK(pare_convert(&m->f16, &m->source, PARE_TYPE_F16, &plan, &err), &err);
    CHECK_OK(pare_memory_model_of(&m->memory, &m->f16, &err), &err);
}

static void open_named(model *m, const char *name)
{
    char path[160];
    snprintf(m->name, sizeof m->name, "%s", name);
    m->paper = strncmp(name, "paper/", 6) == 0;
    if (m->paper) {
        open_paper(m);
        return;
    }
    bool oracle = strncmp(name, "oracle/", 7) == 0;
    snprintf(path, sizeof path, oracle ? "oracle/models/%s" : "tests/families/%s", strchr(name, '/') + 1);
    open_folder(m, oracle ? shared_path(path) : source_path(path));
}

static pare_status plan_row(const model *m, const row *r, pare_memory_plan *plan, pare_error *err)
{
    pare_memory_run run;
    pare_memory_run_default(&run);
    run.n_ctx = r->n_ctx;
    run.n_seq = r->n_seq;
    run.per_sequence = r->shared == 0;
    run.cache_k = pare_type_from_name(r->k);
    run.cache_v = pare_type_from_name(r->v);
    run.no_flash_attn = r->flash == 0;
    run.swa_full = r->full != 0;
    run.n_ubatch = r->n_ubatch;
    run.no_mmap = m->paper;
    return pare_memory_runtime_find("llama.cpp")->plan(plan, &m->memory, &run, err);
}

/* Equal byte for byte, all four; what stock refuses is refused. */
static void compare(const model *m, const row *r, const char *line)
{
    static const pare_memory_kind kinds[4] = {PARE_MEMORY_WEIGHTS, PARE_MEMORY_CACHE, PARE_MEMORY_COMPUTE,
                                              PARE_MEMORY_OUTPUT};
    pare_memory_plan plan;
    pare_error err = {0};
    pare_status st = plan_row(m, r, &plan, &err);
    if (r->bytes[0][0] == '-') {
        if (st != PARE_ERR_USAGE)
            check_failed(__FILE__, __LINE__, line);
        return;
    }
    CHECK_OK(st, &err);
    for (int i = 0; i < 4; i++) {
        uint64_t planned = pare_memory_of_kind(&plan, kinds[i], PARE_MEMORY_HOST);
        if (planned != strtoull(r->bytes[i], NULL, 10)) {
            fprintf(stderr, "%s: %llu planned\n", pare_memory_kind_name(kinds[i]), (unsigned long long)planned);
            check_failed(__FILE__, __LINE__, line);
        }
    }
}

/* ---- devices ---- */

enum { MAX_FIELDS = 40, FIRST_NUMBER = 11 };

/* What was asked, of the first columns. */
static pare_memory_run run_of(char **f, bool in_buffer)
{
    pare_memory_run run;
    pare_memory_run_default(&run);
    run.n_ctx = strtoull(f[1], NULL, 10);
    run.n_seq = (uint32_t)strtoul(f[2], NULL, 10);
    run.per_sequence = f[3][0] == '0';
    run.cache_k = pare_type_from_name(f[4]);
    run.cache_v = pare_type_from_name(f[5]);
    run.no_flash_attn = f[6][0] == '0';
    run.swa_full = f[7][0] == '1';
    run.n_ubatch = (uint32_t)strtoul(f[8], NULL, 10);
    run.no_mmap = in_buffer;
    return run;
}

static void put_experts(pare_memory_model *m, int32_t place)
{
    for (size_t i = 0; i < m->n_tensors; i++)
        if (pare_memory_is_expert(&m->tensors[i]))
            m->tensors[i].place = place;
}

static bool near(uint64_t planned, uint64_t stock, double share)
{
    double d = (double)planned - (double)stock;
    return (d < 0 ? -d : d) <= share * (double)stock;
}

/* Caches are equal; weights but for vectors of a few bytes; compute buffers within 3 %, of encoders and with
 * AltUp's streams 4 %. */
static void compare_place(const pare_memory_plan *plan, int32_t place, char **number, const char *line, double share)
{
    static const pare_memory_kind kinds[3] = {PARE_MEMORY_WEIGHTS, PARE_MEMORY_CACHE, PARE_MEMORY_COMPUTE};
    const double shares[3] = {0.002, 0, share};
    for (int i = 0; i < 3; i++) {
        uint64_t planned = pare_memory_of_kind(plan, kinds[i], place);
        if (near(planned, strtoull(number[i], NULL, 10), shares[i]))
            continue;
        fprintf(stderr, "%s at %d: %llu planned\n", pare_memory_kind_name(kinds[i]), (int)place,
                (unsigned long long)planned);
        check_failed(__FILE__, __LINE__, line);
    }
}

static void compare_devices(model *m, char *line)
{
    char *f[MAX_FIELDS], copy[1024];
    int n = 0;
    pare_memory_plan plan;
    pare_error err = {0};
    snprintf(copy, sizeof copy, "%s", line);
    for (char *p = strtok(line, "\t\n"); p != NULL && n < MAX_FIELDS; p = strtok(NULL, "\t\n"))
        f[n++] = p;
    CHECK(n > FIRST_NUMBER + 4 && (n - FIRST_NUMBER) % 4 == 0);
    if (strcmp(m->name, f[0]) != 0) {
        close_model(m);
        open_named(m, f[0]);
    }
    pare_memory_run run = run_of(f, true);
    for (char *p = f[9]; *p != '\0'; p += *p == ',')
        run.n_layers_on[run.n_devices++] = (uint32_t)strtoul(p, &p, 10);
    CHECK((int)run.n_devices + 1 == (n - FIRST_NUMBER) / 4);
    put_experts(&m->memory, strcmp(f[10], "host") == 0 ? PARE_MEMORY_HOST : PARE_MEMORY_BY_RUNTIME);
    CHECK_OK(pare_memory_runtime_find("llama.cpp")->plan(&plan, &m->memory, &run, &err), &err);
    bool far = m->memory.hp->n_stream > 0 || m->memory.arch->wiring.encoder;
    for (int32_t place = PARE_MEMORY_HOST; place < (int32_t)run.n_devices; place++)
        compare_place(&plan, place, &f[FIRST_NUMBER + 4 * (place + 1)], copy, far ? 0.04 : 0.03);
}

/* ---- tables ---- */

static void compare_line(model *m, char *line)
{
    row r;
    CHECK(parse(line, &r));
    if (strcmp(m->name, r.name) != 0) {
        close_model(m);
        open_named(m, r.name);
    }
    compare(m, &r, line);
}

static size_t compare_all(const char *path, const char *prefix, void (*compare_one)(model *, char *))
{
    char line[1024];
    model m = {0};
    size_t n = 0;
    FILE *f = fopen(source_path(path), "r");
    CHECK(f != NULL);
    while (fgets(line, sizeof line, f) != NULL) {
        if (line[0] == '#' || strncmp(line, prefix, strlen(prefix)) != 0)
            continue;
        compare_one(&m, line);
        n++;
    }
    fclose(f);
    close_model(&m);
    return n;
}

#define REFERENCE "tests/data/memory/reference.tsv"
#define DEVICES "tests/data/memory/devices.tsv"

static void test_families(void **state)
{
    (void)state;
    CHECK(compare_all(REFERENCE, "families/", compare_line) > 400);
}

static void test_oracle(void **state)
{
    (void)state;
    (void)shared_path("oracle/models"); /* skips without it */
    CHECK(compare_all(REFERENCE, "oracle/", compare_line) > 400);
}

static void test_real_sizes(void **state)
{
    (void)state;
    CHECK(compare_all(REFERENCE, "paper/", compare_line) > 70);
}

static void test_layers_on_devices(void **state)
{
    (void)state;
    CHECK(compare_all(DEVICES, "", compare_devices) > 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_families), cmocka_unit_test(test_oracle),
                                       cmocka_unit_test(test_real_sizes), cmocka_unit_test(test_layers_on_devices)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
