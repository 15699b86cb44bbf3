#include "check.h"

#include "core/bytes.h"
#include "core/checked.h"

#include <string.h>

static void sizes_overflow(void **state)
{
    (void)state;
    size_t s = 0;
    uint64_t u = 0;
    CHECK(pare_add_size(1, 2, &s) && s == 3);
    CHECK(pare_add_size(SIZE_MAX, 0, &s) && s == SIZE_MAX);
    CHECK(!pare_add_size(SIZE_MAX, 1, &s));
    CHECK(pare_mul_size(1u << 31, 4, &s) && s == (size_t)1 << 33);
    CHECK(!pare_mul_size(SIZE_MAX / 2 + 1, 2, &s));
    CHECK(pare_mul_size(SIZE_MAX, 0, &s) && s == 0);
    CHECK(pare_add_u64(UINT64_MAX - 1, 1, &u) && u == UINT64_MAX);
    CHECK(!pare_add_u64(UINT64_MAX, UINT64_MAX, &u));
    CHECK(pare_mul_u64(UINT32_MAX, UINT32_MAX, &u) && u == 18446744065119617025u);
    CHECK(!pare_mul_u64((uint64_t)1 << 32, (uint64_t)1 << 32, &u));
}

static void aligns_up(void **state)
{
    (void)state;
    uint64_t u = 0;
    CHECK(pare_align_u64(0, 32, &u) && u == 0);
    CHECK(pare_align_u64(1, 32, &u) && u == 32);
    CHECK(pare_align_u64(32, 32, &u) && u == 32);
    CHECK(pare_align_u64(33, 32, &u) && u == 64);
    CHECK(pare_align_u64(7, 1, &u) && u == 7);
    CHECK(pare_align_u64(UINT64_MAX - 31, 32, &u) && u == UINT64_MAX - 31);
    CHECK(!pare_align_u64(UINT64_MAX - 30, 32, &u));
}

static void range_ends_inside(void **state)
{
    (void)state;
    CHECK(pare_in_range(0, 0, 0));
    CHECK(pare_in_range(10, 0, 10));
    CHECK(pare_in_range(4, 6, 10));
    CHECK(!pare_in_range(4, 7, 10));
    CHECK(!pare_in_range(11, 0, 10));
    CHECK(!pare_in_range(UINT64_MAX, 2, 10));
    CHECK(!pare_in_range(2, UINT64_MAX, 10));
}

static void loads_and_stores_at_any_address(void **state)
{
    (void)state;
    static const uint8_t want[8] = {0xf8, 0xf7, 0xf6, 0xf5, 0xf4, 0xf3, 0xf2, 0xf1};
    for (size_t shift = 0; shift < 8; shift++) {
        uint8_t bytes[16] = {0};
        pare_store_u64le(bytes + shift, 0xf1f2f3f4f5f6f7f8u);
        CHECK(memcmp(bytes + shift, want, 8) == 0);
        CHECK(pare_load_u64le(bytes + shift) == 0xf1f2f3f4f5f6f7f8u);
        CHECK(pare_load_u32le(bytes + shift) == 0xf5f6f7f8u);
        CHECK(pare_load_u16le(bytes + shift) == 0xf7f8u);
        pare_store_f32le(bytes + shift, -1.5f);
        CHECK(pare_load_u32le(bytes + shift) == 0xbfc00000u && pare_load_f32le(bytes + shift) == -1.5f);
        pare_store_u16le(bytes + shift, 0x1234);
        CHECK(bytes[shift] == 0x34 && bytes[shift + 1] == 0x12);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_overflow),
        cmocka_unit_test(aligns_up),
        cmocka_unit_test(range_ends_inside),
        cmocka_unit_test(loads_and_stores_at_any_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
