#include "check.h"

#include "core/map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pare_error err;

static const char *file_with(const char *name, const void *data, size_t n)
{
    static char path[4200];
    snprintf(path, sizeof path, "%s/%s", temp_dir(), name);
    check_write_file(path, data, n);
    return path;
}

static void maps_the_bytes(void **state)
{
    (void)state;
    const char *path = file_with("a", "hello", 5);
    pare_map m, same;
    CHECK_OK(pare_map_open(&m, path, &err), &err);
    CHECK(m.size == 5 && memcmp(m.data, "hello", 5) == 0);
    assert_string_equal(m.path, path);
    CHECK_OK(pare_map_open(&same, path, &err), &err);
    CHECK(same.device == m.device && same.inode == m.inode);
    pare_map_close(&same);
    pare_map_close(&m);
    CHECK(m.data == NULL && m.path == NULL && m.size == 0);
    pare_map_close(&m);
}

static void an_empty_file_has_no_bytes(void **state)
{
    (void)state;
    pare_map m;
    CHECK_OK(pare_map_open(&m, file_with("empty", "", 0), &err), &err);
    CHECK(m.data == NULL && m.size == 0);
    pare_map_close(&m);
}

static void refuses(const char *path, const char *words)
{
    pare_map m;
    CHECK(pare_map_open(&m, path, &err) == PARE_ERR_FORMAT);
    CHECK(m.data == NULL && m.path == NULL);
    if (strstr(err.text, path) == NULL || strstr(err.text, words) == NULL)
        fail_msg("'%s' should say '%s'", err.text, words);
}

static void refuses_what_is_no_regular_file(void **state)
{
    (void)state;
    char path[4200];
    snprintf(path, sizeof path, "%s/absent", temp_dir());
    refuses(path, "cannot open");
    refuses(temp_dir(), "a folder");
    refuses("/dev/null", "a device");
    snprintf(path, sizeof path, "%s/fifo", temp_dir());
    CHECK(mkfifo(path, 0600) == 0);
    refuses(path, "a FIFO"); /* and does not hang */
}

static void finds_the_map_of_an_address(void **state)
{
    (void)state;
    pare_map m;
    uint64_t offset = 0;
    const char *path = file_with("fault", "0123456789", 10);
    CHECK_OK(pare_map_open(&m, path, &err), &err);
    const uint8_t *inside = m.data + 7;
    assert_string_equal(pare_map_find(inside, &offset), path);
    assert_int_equal(offset, 7);
    CHECK(pare_map_find(m.data + 10, &offset) == NULL);
    CHECK(pare_map_find(NULL, &offset) == NULL);
    pare_map_close(&m);
    CHECK(pare_map_find(inside, &offset) == NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_the_bytes),
        cmocka_unit_test(an_empty_file_has_no_bytes),
        cmocka_unit_test(refuses_what_is_no_regular_file),
        cmocka_unit_test(finds_the_map_of_an_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
