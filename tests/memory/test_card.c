#include "check.h"

#include "memory/card.h"

#include <string.h>

static void every_card_is_found_by_its_name(void **state)
{
    (void)state;
    size_t n = 0;
    for (const pare_card *c; (c = pare_card_at(n)) != NULL; n++) {
        assert_ptr_equal(pare_card_find(c->name), c); /* so names differ, too */
        assert_true(c->bytes >= UINT64_C(8000) << 20 && c->usable <= c->bytes && c->usable >= c->bytes / 2);
        assert_true(c->bandwidth >= 100e9 && c->bandwidth <= 10e12);
        assert_true(c->half_rate == 0 || (c->half_rate > 10e12 && c->half_rate < 3e15));
        for (size_t i = 0; c->name[i] != '\0'; i++)
            assert_non_null(strchr("abcdefghijklmnopqrstuvwxyz0123456789-", c->name[i]));
    }
    assert_true(n > 50);
    assert_null(pare_card_at(n + 1));
}

static void names_are_read_as_people_write_them(void **state)
{
    (void)state;
    const pare_card *c = pare_card_find("rtx-4090");
    assert_non_null(c);
    assert_true(c->bytes == UINT64_C(24564) << 20 && c->usable == c->bytes && !c->nominal);
    assert_true(c->bandwidth == 1008e9 && c->compute == 89);
    assert_ptr_equal(pare_card_find("RTX 4090"), c);
    assert_ptr_equal(pare_card_find("NVIDIA GeForce RTX_4090"), c);
    assert_ptr_equal(pare_card_find("AMD Radeon RX 7900 XTX"), pare_card_find("rx-7900-xtx"));
    assert_ptr_equal(pare_card_find("Apple M4-Max 128"), pare_card_find("m4-max-128"));
    assert_null(pare_card_find("rtx-409"));
    assert_null(pare_card_find("rtx-40900"));
    assert_null(pare_card_find("nvidia"));
    assert_null(pare_card_find(""));
    assert_null(pare_card_find("a name that is much longer than the name of any card that there ever was"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_card_is_found_by_its_name),
        cmocka_unit_test(names_are_read_as_people_write_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
