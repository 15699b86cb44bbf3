/* The mutators: what they make fits, is the same for the same seed, and gets further into the readers than bytes
 * changed at random do. */
#include "check.h"
#include "core/text.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "mutate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 4096, RUNS = 6000, MAX_KINDS = 400, KIND = 24 };

static size_t n_asked;

/* In libFuzzer's place: one byte. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max)
{
    n_asked++;
    if (size == 0 && max > 0)
        data[size++] = 0;
    if (size > 0)
        data[n_asked * 7919 % size] ^= (uint8_t)(1 + n_asked % 255);
    return size;
}

typedef size_t (*mutate_fn)(uint8_t *data, size_t size, size_t max, unsigned seed);
typedef pare_status (*parse_fn)(pare_model *m, const void *bytes, size_t n, const char *path, pare_error *err);

static size_t mutate_byte(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    fuzz_chance c = {seed};
    (void)max;
    data[fuzz_below(&c, size)] = (uint8_t)fuzz_random(&c);
    return size;
}

/* How many inputs were accepted, and how many messages there were that differ in their letters. */
typedef struct outcome {
    size_t n_ok, n_kinds;
    char kinds[MAX_KINDS][KIND];
} outcome;

static void note_kind(outcome *o, const char *message)
{
    char kind[KIND] = "";
    size_t n = 0;
    const char *colon = strstr(message, "fuzz: ");
    for (const char *p = colon != NULL ? colon + 6 : message; *p != '\0' && n < KIND - 1; p++)
        if ((*p >= 'a' && *p <= 'z') || *p == ' ')
            kind[n++] = *p;
    for (size_t i = 0; i < o->n_kinds; i++)
        if (strcmp(o->kinds[i], kind) == 0)
            return;
    if (o->n_kinds < MAX_KINDS)
        memcpy(o->kinds[o->n_kinds++], kind, sizeof kind);
}

/* Mutants of the seed, and of those up to three more. */
static outcome *run(const char *seed_path, mutate_fn mutate, parse_fn parse)
{
    size_t n_seed;
    uint8_t *seed = check_read_file(source_path(seed_path), &n_seed), *data = check_malloc(ROOM);
    outcome *o = check_malloc(sizeof *o);
    memset(o, 0, sizeof *o);
    CHECK(n_seed <= ROOM / 2);
    for (unsigned i = 0; i < RUNS; i++) {
        pare_model m;
        pare_error err = {0};
        size_t n = n_seed;
        memcpy(data, seed, n_seed);
        for (unsigned k = 0; k <= i % 4; k++) {
            n = mutate(data, n, ROOM, 4 * i + k);
            CHECK(n <= ROOM);
        }
        if (parse(&m, data, n, "fuzz", &err) == PARE_OK)
            o->n_ok++;
        else
            note_kind(o, err.text);
        pare_model_close(&m);
    }
    free(seed);
    free(data);
    return o;
}

static void check_further(const char *seed, mutate_fn mutate, parse_fn parse)
{
    outcome *aware = run(seed, mutate, parse), *bytes = run(seed, mutate_byte, parse);
    print_message("%s: %zu of %d accepted, %zu kinds of errors; bytes at random: %zu, %zu\n", seed, aware->n_ok, RUNS,
                  aware->n_kinds, bytes->n_ok, bytes->n_kinds);
    CHECK(aware->n_ok >= RUNS / 20);
    CHECK(aware->n_kinds >= bytes->n_kinds * 5 / 4 && aware->n_kinds >= 20);
    free(aware);
    free(bytes);
}

static void gguf_gets_further(void **state)
{
    (void)state;
    check_further("tests/fuzz/corpus/fuzz_gguf/tiny", fuzz_mutate_gguf, pare_gguf_parse);
}

static void safetensors_gets_further(void **state)
{
    (void)state;
    check_further("tests/fuzz/corpus/fuzz_safetensors/two", fuzz_mutate_safetensors, pare_safetensors_parse);
}

static void is_repeatable(mutate_fn mutate, const char *path)
{
    size_t n;
    uint8_t *seed = check_read_file(source_path(path), &n), *a = check_malloc(ROOM), *b = check_malloc(ROOM);
    size_t n_changed = 0;
    for (unsigned i = 0; i < 200; i++) {
        memcpy(a, seed, n);
        memcpy(b, seed, n);
        size_t asked = n_asked, n_a = mutate(a, n, ROOM, i);
        if (n_asked == asked)
            CHECK(mutate(b, n, ROOM, i) == n_a && memcmp(a, b, n_a) == 0);
        n_changed += n_a != n || memcmp(a, seed, n) != 0;
    }
    CHECK(n_changed > 150);
    free(seed);
    free(a);
    free(b);
}

static void the_same_for_the_same_seed(void **state)
{
    (void)state;
    is_repeatable(fuzz_mutate_gguf, "tests/fuzz/corpus/fuzz_gguf/tiny");
    is_repeatable(fuzz_mutate_safetensors, "tests/fuzz/corpus/fuzz_safetensors/two");
}

/* Whatever the bytes are, also when there is no room for more of them. */
static void stays_in_its_room(void **state)
{
    (void)state;
    fuzz_chance c = {1};
    for (unsigned i = 0; i < 20000; i++) {
        size_t n = fuzz_below(&c, 300), max = n + fuzz_below(&c, 40);
        uint8_t *data = check_malloc(max + 1);
        for (size_t k = 0; k < n; k++)
            data[k] = (uint8_t)(fuzz_below(&c, 3) == 0 ? fuzz_random(&c) : 0);
        if (i % 2 == 0 && n >= 24)
            memcpy(data, "GGUF\3\0\0\0\2\0\0\0\0\0\0\0\3\0\0\0\0\0\0", 24);
        else if (n > 20)
            memcpy(data, "\12\0\0\0\0\0\0\0{\"a\":[1,2]", 18);
        data[max] = 0x5a;
        CHECK(fuzz_mutate_gguf(data, n, max, i) <= max && data[max] == 0x5a);
        CHECK(fuzz_mutate_safetensors(data, n, max, i) <= max && data[max] == 0x5a);
        free(data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf_gets_further),
        cmocka_unit_test(safetensors_gets_further),
        cmocka_unit_test(the_same_for_the_same_seed),
        cmocka_unit_test(stays_in_its_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
