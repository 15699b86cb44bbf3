#include "check.h"

#include "core/map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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

/* How many of n pages from data on are in memory. */
static size_t resident(const uint8_t *data, size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), found = 0;
    char line[256];
    unsigned long first, end, kib;
    bool ours = false;
    FILE *f = fopen("/proc/self/smaps", "r");
    CHECK(f != NULL);
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "%lx-%lx ", &first, &end) == 2)
            ours = first <= (uintptr_t)data && (uintptr_t)data < end;
        else if (ours && sscanf(line, "Rss: %lu kB", &kib) == 1)
            found = kib * 1024 / page;
    }
    fclose(f);
    CHECK(found <= n);
    return found;
}

static uint32_t sum_of(const uint8_t *data, size_t n)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = sum * 31 + data[i];
    return sum;
}

/* Released bytes leave memory, many pieces or one, and are the file's when they are read again. What is released of a
 * map that is closed is forgotten: memory of another kind may lie there. */
static void released_pages_go_and_come_back(void **state)
{
    (void)state;
    enum { PIECE = 10000, N = 900, PAGES = 2197 };
    char path[512], other[512];
    pare_map m, small;
    pare_error err = {0};
    uint8_t *data = check_malloc((size_t)PIECE * N);
    for (size_t i = 0; i < (size_t)PIECE * N; i++)
        data[i] = (uint8_t)(i * 7 + i / 1000);
    snprintf(path, sizeof path, "%s/large", temp_dir());
    check_write_file(path, data, (size_t)PIECE * N);
    snprintf(other, sizeof other, "%s/small", temp_dir());
    check_write_file(other, data, PIECE);
    CHECK_OK(pare_map_open(&m, path, &err), &err);
    uint32_t sum = sum_of(m.data, (size_t)m.size);
    CHECK(sum == sum_of(data, (size_t)m.size) && resident(m.data, PAGES + 1) > PAGES / 2);
    for (size_t i = 0; i < N; i++)
        pare_map_release(m.data + i * PIECE, PIECE);
    CHECK(resident(m.data, PAGES + 1) < PAGES / 2 + 100); /* but for the last few MiB, which wait for more */
    CHECK(sum_of(m.data, (size_t)m.size) == sum);
    pare_map_release(m.data, PIECE); /* waits */
    uint8_t *at = (uint8_t *)(uintptr_t)m.data;
    size_t size = (size_t)m.size;
    pare_map_close(&m);
    uint8_t *own = mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(own == at);
    memset(own, 5, size);
    CHECK_OK(pare_map_open(&small, other, &err), &err);
    pare_map_release(small.data, PIECE); /* no neighbour: what waited would go now */
    CHECK(own[0] == 5 && own[4096] == 5);
    pare_map_close(&small);
    munmap(own, size);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_the_bytes),
        cmocka_unit_test(an_empty_file_has_no_bytes),
        cmocka_unit_test(refuses_what_is_no_regular_file),
        cmocka_unit_test(finds_the_map_of_an_address),
        cmocka_unit_test(released_pages_go_and_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
