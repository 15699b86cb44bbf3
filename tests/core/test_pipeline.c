#include "check.h"

#include "core/background.h"
#include "core/pipeline.h"
#include "core/threads.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { N = 700, LANES = 3, NEVER = N + 1, BUFFER = 256 << 10, LARGE = 600 << 10 };

/* Pieces 0 .. N - 1: each holds its number, over and over; some are large, some lie ready, some are empty. */
typedef struct job {
    uint64_t next, done, taken[LANES];
    atomic_int in_lane[LANES];
    uint64_t bad_make, bad_take; /* from here on pieces fail */
    atomic_size_t bytes, most_bytes;
    uint8_t ready[N];
} job;

static size_t size_of(uint64_t number)
{
    return number % 50 == 7 ? LARGE : number % 10 == 3 ? 0 : 1 + (size_t)(number * 977 % 5000);
}

static size_t cost_of(const pare_piece *piece)
{
    return (piece->n_bytes > BUFFER ? piece->n_bytes : BUFFER) + piece->extra_bytes;
}

static bool next_piece(pare_piece *piece, void *user)
{
    job *j = user;
    if (j->next == N)
        return false;
    *piece = (pare_piece){.id = {j->next}, .n_bytes = size_of(j->next), .extra_bytes = 1000};
    if (j->next % 10 == 4) {
        piece->n_bytes = 1;
        piece->data = &j->ready[j->next];
    }
    j->next++;
    size_t now = atomic_fetch_add(&j->bytes, cost_of(piece)) + cost_of(piece);
    if (now > atomic_load(&j->most_bytes))
        atomic_store(&j->most_bytes, now); /* next is called by one thread at a time */
    return true;
}

static pare_status make(const pare_piece *piece, void *buffer, void *user, pare_error *err)
{
    job *j = user;
    uint64_t number = piece->id[0];
    if (number >= j->bad_make)
        return pare_fail(err, PARE_ERR_NUMBER, "piece %d", (int)number);
    CHECK((buffer == NULL) == (number % 10 == 4));
    if (buffer != NULL)
        memset(buffer, (int)(number % 251), piece->n_bytes);
    else
        j->ready[number] = (uint8_t)(number % 251);
    return PARE_OK;
}

static pare_status take(size_t lane, const pare_piece *piece, void *user, pare_error *err)
{
    job *j = user;
    CHECK(atomic_fetch_add(&j->in_lane[lane], 1) == 0); /* one at a time */
    CHECK(lane > 0 || !pare_is_background());
    uint64_t number = j->taken[lane]++;
    const uint8_t *data = piece->data;
    CHECK(piece->id[0] == number);
    for (size_t i = 0; i < piece->n_bytes; i += 1 + piece->n_bytes / 7)
        CHECK(data[i] == number % 251);
    atomic_fetch_sub(&j->in_lane[lane], 1);
    return lane == 1 && number >= j->bad_take ? pare_fail(err, PARE_ERR_IO, "taking %d", (int)number) : PARE_OK;
}

static void done(const pare_piece *piece, void *user)
{
    job *j = user;
    CHECK(piece->id[0] == j->done);
    j->done++;
    atomic_fetch_sub(&j->bytes, cost_of(piece));
}

static pare_status run(job *j, size_t max_bytes, pare_error *err)
{
    const pare_pipeline pipeline = {next_piece, make, take, LANES, done, j, max_bytes};
    j->next = j->done = 0;
    memset(j->taken, 0, sizeof j->taken);
    atomic_store(&j->bytes, 0);
    atomic_store(&j->most_bytes, 0);
    return pare_pipeline_run(&pipeline, err);
}

static void every_lane_takes_all_in_order(void **state)
{
    (void)state;
    static job j;
    static const int threads[] = {1, 2, 7, 64};
    j.bad_make = j.bad_take = NEVER;
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        pare_error err = {0};
        pare_set_threads(threads[i]);
        CHECK_OK(run(&j, 8 << 20, &err), &err);
        CHECK(j.done == N && j.bytes == 0);
        for (size_t lane = 0; lane < LANES; lane++)
            CHECK(j.taken[lane] == N);
    }
    pare_set_threads(0);
}

/* One further piece is described before there is room for it. */
static void memory_is_bounded(void **state)
{
    (void)state;
    static job j;
    pare_error err = {0};
    j.bad_make = j.bad_take = NEVER;
    pare_set_threads(64);
    CHECK_OK(run(&j, 4 << 20, &err), &err);
    CHECK(j.most_bytes <= (4 << 20) + LARGE + 1000);
    CHECK_OK(run(&j, 1, &err), &err); /* less than any piece: one after the other */
    CHECK(j.done == N && j.most_bytes <= 2 * LARGE + 2000);
    pare_set_threads(0);
}

static void tells_the_first_failure(void **state)
{
    (void)state;
    static job j;
    for (int round = 0; round < 40; round++) {
        pare_error err = {0};
        char want[32];
        pare_set_threads(1 + round % 9);
        j.bad_make = (uint64_t)round * 17;
        j.bad_take = NEVER;
        CHECK(run(&j, 8 << 20, &err) == PARE_ERR_NUMBER);
        snprintf(want, sizeof want, "piece %d", round * 17);
        assert_string_equal(err.text, want);
        assert_int_equal(err.status, PARE_ERR_NUMBER);
        j.bad_make = NEVER;
        j.bad_take = (uint64_t)round * 17;
        CHECK(run(&j, 8 << 20, &err) == PARE_ERR_IO);
        CHECK(j.taken[1] == j.bad_take + 1);
        snprintf(want, sizeof want, "taking %d", round * 17);
        assert_string_equal(err.text, want);
    }
    pare_set_threads(0);
}

/* With one thread: while that is in the first lane, the pieces before go through the others. */
static pare_status take_beside(size_t lane, const pare_piece *piece, void *user, pare_error *err)
{
    atomic_int *n_beside = user;
    time_t start = time(NULL);
    if (lane > 0 && pare_is_background())
        atomic_fetch_add(n_beside, 1);
    while (lane == 0 && piece->id[0] == 1 && atomic_load(n_beside) < LANES - 1)
        if (time(NULL) > start + 60)
            return pare_fail(err, PARE_ERR_DEVICE, "the others wait");
    return PARE_OK;
}

static bool next_of_two(pare_piece *piece, void *user)
{
    static uint64_t number;
    (void)user;
    *piece = (pare_piece){.id = {number % 3}};
    return number++ % 3 < 2;
}

static pare_status make_nothing(const pare_piece *piece, void *buffer, void *user, pare_error *err)
{
    (void)piece, (void)buffer, (void)user, (void)err;
    return PARE_OK;
}

static void further_lanes_need_no_thread_of_the_work(void **state)
{
    (void)state;
    atomic_int n_beside = 0;
    const pare_pipeline pipeline = {next_of_two, make_nothing, take_beside, LANES, NULL, &n_beside, 8 << 20};
    pare_error err = {0};
    pare_set_threads(1);
    CHECK_OK(pare_pipeline_run(&pipeline, &err), &err);
    CHECK(n_beside >= LANES - 1);
    pare_set_threads(0);
}

static void nothing_to_do_is_done(void **state)
{
    (void)state;
    static job j;
    const pare_pipeline pipeline = {next_piece, make, take, LANES, NULL, &j, 1};
    pare_error err = {0};
    j.next = N;
    CHECK_OK(pare_pipeline_run(&pipeline, &err), &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_lane_takes_all_in_order), cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(tells_the_first_failure),       cmocka_unit_test(further_lanes_need_no_thread_of_the_work),
        cmocka_unit_test(nothing_to_do_is_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
