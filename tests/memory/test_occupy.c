/* Plans taken on devices that are not there: the order, what rounds up, what is told, and that nothing stays taken. */
#include "check.h"

#include "memory/occupy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

enum { N = 3, MOST = 64 };

/* Devices 5, 6 and 7; allocations are rounded up to 2 MiB, as drivers do. */
typedef struct stand_in {
    uint64_t total[N], used[N], context; /* UINT64_MAX: not told */
    struct {
        void *p;
        int device;
        uint64_t bytes, asked;
    } block[MOST];
    size_t n, n_calls, fails_at, n_live;
    pare_status failure;
} stand_in;

static pare_status call(stand_in *s, pare_error *err)
{
    return ++s->n_calls == s->fails_at ? pare_fail(err, s->failure, "call %zu failed", s->n_calls) : PARE_OK;
}

static pare_status start(void *user, int device, char name[PARE_DRIVER_NAME], uint64_t *context, pare_error *err)
{
    stand_in *s = user;
    if (device < 5 || device > 7)
        return pare_fail(err, PARE_ERR_DEVICE, "no device %d", device);
    snprintf(name, PARE_DRIVER_NAME, "stand-in %d", device);
    s->used[device - 5] += s->context == UINT64_MAX ? 100 * MIB : s->context;
    *context = s->context;
    return call(s, err);
}

static pare_status info(void *user, int device, uint64_t *bytes_free, uint64_t *total, pare_error *err)
{
    stand_in *s = user;
    *total = s->total[device - 5];
    *bytes_free = *total - s->used[device - 5];
    return call(s, err);
}

static pare_status allocate(void *user, int device, uint64_t bytes, void **out, pare_error *err)
{
    stand_in *s = user;
    const uint64_t rounded = (bytes + 2 * MIB - 1) / (2 * MIB) * (2 * MIB);
    pare_status st = call(s, err);
    if (st == PARE_OK && rounded > s->total[device - 5] - s->used[device - 5])
        st = pare_fail(err, PARE_ERR_MEMORY, "no room");
    if (st != PARE_OK)
        return st;
    CHECK(bytes > 0 && s->n < MOST);
    *out = s->block[s->n].p = check_malloc(1);
    s->block[s->n].device = device;
    s->block[s->n].asked = bytes;
    s->block[s->n++].bytes = rounded;
    s->n_live++;
    s->used[device - 5] += rounded;
    return PARE_OK;
}

static void release(void *user, int device, void *p)
{
    stand_in *s = user;
    for (size_t i = 0; i < s->n; i++)
        if (s->block[i].p == p) {
            CHECK(s->block[i].device == device);
            s->used[device - 5] -= s->block[i].bytes;
            s->block[i].p = NULL;
            s->n_live--;
            free(p);
            return;
        }
    fail_msg("released what was not allocated");
}

static pare_memory_driver driver_of(stand_in *s)
{
    return (pare_memory_driver){start, info, allocate, release, s};
}

static void add(pare_memory_plan *p, pare_memory_kind kind, int32_t place, uint64_t bytes, bool assumed)
{
    pare_memory_part *part = &p->parts[p->n_parts++];
    *part = (pare_memory_part){.kind = kind, .place = place, .bytes = bytes, .assumed = assumed};
    snprintf(part->name, sizeof part->name, "part %zu", p->n_parts - 1);
}

/* As a runtime lists them: by kind on all devices, the driver's last. */
static pare_memory_plan two_devices(void)
{
    pare_memory_plan p = {0};
    for (int32_t d = -1; d < 2; d++)
        add(&p, PARE_MEMORY_WEIGHTS, d, 500 * MIB + (uint64_t)(d + 2), false); /* 0, 1, 2 */
    add(&p, PARE_MEMORY_COMPUTE, 0, 6 * MIB, false);                           /* 3 */
    add(&p, PARE_MEMORY_CACHE, 1, 33 * MIB, false);                            /* 4 */
    add(&p, PARE_MEMORY_CACHE, 0, 0, false);                                   /* 5 */
    for (int32_t d = 0; d < 2; d++) {
        add(&p, PARE_MEMORY_DRIVER, d, 300 * MIB, true); /* 6, 9: contexts */
        add(&p, PARE_MEMORY_DRIVER, d, 40 * MIB, true);  /* 7, 10 */
        add(&p, PARE_MEMORY_RESERVE, d, 1024 * MIB, false);
    }
    return p;
}

static void parts_are_taken_in_order_and_read(void **state)
{
    const pare_memory_plan plan = two_devices();
    const int number[] = {7, 5};
    static const uint64_t asked[] = {500 * MIB + 2, 500 * MIB + 3, 33 * MIB, 6 * MIB, 40 * MIB, 40 * MIB};
    stand_in s = {.total = {2000 * MIB, 1, 3000 * MIB}, .context = 250 * MIB};
    const pare_memory_driver d = driver_of(&s);
    pare_occupied o;
    pare_error err = {0};
    (void)state;
    s.used[0] = 10 * MIB; /* somebody else's */
    CHECK_OK(pare_occupy(&o, &plan, number, 2, &d, &err), &err);
    CHECK(o.fits && o.n_devices == 2 && s.n == sizeof asked / sizeof *asked && s.n_live == 0);
    for (size_t i = 0; i < s.n; i++)
        CHECK(s.block[i].asked == asked[i]);
    CHECK(s.block[0].device == 7 && s.block[1].device == 5);
    CHECK(o.parts[0].how == PARE_OCCUPIED_NOT && o.parts[5].how == PARE_OCCUPIED_NOT);
    CHECK(o.parts[1].how == PARE_OCCUPIED_ALLOCATED && o.parts[1].actual == (int64_t)(502 * MIB));
    CHECK(o.parts[3].actual == (int64_t)(6 * MIB) && o.parts[4].actual == (int64_t)(34 * MIB));
    CHECK(o.parts[6].how == PARE_OCCUPIED_CONTEXT && o.parts[6].actual == (int64_t)(250 * MIB));
    CHECK(o.parts[7].how == PARE_OCCUPIED_ASSUMED && o.parts[8].how == PARE_OCCUPIED_NOT);
    CHECK(strcmp(o.device[0].name, "stand-in 7") == 0 && o.device[0].number == 7 && o.device[0].total == 3000 * MIB);
    CHECK(o.device[0].predicted == (300 + 500 + 6 + 40) * MIB + 2);
    CHECK(o.device[0].actual == (int64_t)((250 + 502 + 6 + 40) * MIB));
    CHECK(o.device[1].free_before == (2000 - 260) * MIB && o.device[1].free_after == o.device[1].free_before);
    CHECK(o.device[1].free_with == (2000 - 260 - 502 - 34 - 40) * MIB);
    CHECK(s.used[0] == 260 * MIB && s.used[2] == 250 * MIB);

    s.context = UINT64_MAX; /* a driver that does not tell */
    CHECK_OK(pare_occupy(&o, &plan, number, 2, &d, &err), &err);
    CHECK(o.parts[6].how == PARE_OCCUPIED_NOT && o.device[0].predicted == (500 + 6 + 40) * MIB + 2);
    CHECK(o.device[0].actual == (int64_t)((502 + 6 + 40) * MIB));
}

static void no_room_is_told_and_all_given_back(void **state)
{
    const pare_memory_plan plan = two_devices();
    const int number[] = {5, 6};
    stand_in s = {.total = {2000 * MIB, 640 * MIB}, .context = 100 * MIB};
    const pare_memory_driver d = driver_of(&s);
    pare_occupied o;
    pare_error err = {0};
    (void)state;
    CHECK_OK(pare_occupy(&o, &plan, number, 2, &d, &err), &err); /* 100 + 502 + 34 of 640, and no 40 more */
    CHECK(!o.fits && s.n_live == 0 && s.used[1] == 100 * MIB);
    CHECK(strstr(o.why, "device 6 (stand-in 6): no room for part 10: 40.0 MiB wanted, 4.0 MiB free of 640.0 MiB"));
    CHECK(o.parts[4].how == PARE_OCCUPIED_ALLOCATED && o.parts[10].how == PARE_OCCUPIED_NOT);
    CHECK(o.parts[7].how == PARE_OCCUPIED_ASSUMED && o.device[1].free_with == 4 * MIB);
}

/* Whichever call fails: an error, and nothing stays taken. */
static void errors_leave_nothing_behind(void **state)
{
    const pare_memory_plan plan = two_devices();
    const int number[] = {5, 6}, same[] = {5, 5}, absent[] = {5, 9};
    size_t n_failed = 0;
    (void)state;
    for (size_t at = 1; at < 60; at++) {
        stand_in s = {.total = {2000 * MIB, 2000 * MIB}, .context = 1, .fails_at = at, .failure = PARE_ERR_DEVICE};
        const pare_memory_driver d = driver_of(&s);
        pare_occupied o;
        pare_error err = {0};
        const pare_status st = pare_occupy(&o, &plan, number, 2, &d, &err);
        CHECK(s.n_live == 0 && (st == PARE_OK || (st == PARE_ERR_DEVICE && strstr(err.text, "failed") != NULL)));
        n_failed += st != PARE_OK;
        CHECK(st != PARE_OK || at > 4 + 6 * 3); /* the last readings are no reason to fail */
    }
    assert_int_equal(n_failed, 4 + 6 * 3);
    stand_in s = {.total = {2000 * MIB, 2000 * MIB}};
    const pare_memory_driver d = driver_of(&s);
    pare_occupied o;
    pare_error err = {0};
    CHECK(pare_occupy(&o, &plan, same, 2, &d, &err) == PARE_ERR_USAGE && s.n_calls == 0);
    CHECK(pare_occupy(&o, &plan, number, 1, &d, &err) == PARE_ERR_USAGE && strstr(err.text, "on device 1") != NULL);
    CHECK(pare_occupy(&o, &plan, absent, 2, &d, &err) == PARE_ERR_DEVICE && s.n_live == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(parts_are_taken_in_order_and_read),
                                       cmocka_unit_test(no_room_is_told_and_all_given_back),
                                       cmocka_unit_test(errors_leave_nothing_behind)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
