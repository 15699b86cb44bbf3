/* A file of very many tensors is pinned and verified in memory that its header and its lock bound. */
#include "cli.h"
#include "gguf_bytes.h"

#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* Tensors of one float each; returns the bytes of the header. */
static size_t write_model(const char *name, uint64_t n)
{
    pare_buf b = {0};
    char path[5000], tensor[64];
    gguf_header(&b, 3, n, 1);
    gguf_pair_str(&b, "general.architecture", "unheard-of");
    for (uint64_t i = 0; i < n; i++) {
        snprintf(tensor, sizeof tensor, "blk.%llu.tensor.weight", (unsigned long long)i);
        gguf_info(&b, tensor, 1, &(uint64_t){1}, 0, 32 * i);
    }
    gguf_pad(&b, 32);
    size_t header = b.len;
    gguf_zeros(&b, 32 * (size_t)n);
    snprintf(path, sizeof path, "%s/%s", cli_folder(), name);
    check_write_file(path, b.data, b.len);
    pare_buf_close(&b);
    return header;
}

/* KiB, of the largest program that was run so far. */
static size_t peak_kib(void)
{
    struct rusage usage;
    CHECK(getrusage(RUSAGE_CHILDREN, &usage) == 0);
    return (size_t)usage.ru_maxrss;
}

static void memory_is_bounded(void **state)
{
    (void)state;
    enum { N = 30000, KIB = 1024 };
    char path[5000];
    struct stat lock;
    cli_expect(0, "mkdir small large");
    write_model("small/m.gguf", 1);
    size_t header = write_model("large/m.gguf", N);
    cli_expect(0, "$PARE pin small/m.gguf -o small/pare.lock -q && $PARE verify small/pare.lock -q");
    size_t empty = peak_kib();
    cli_expect(0, "$PARE pin large/m.gguf -o large/pare.lock -q");
    size_t pin = peak_kib() - empty;
    cli_result r = cli_expect(0, "$PARE verify large/pare.lock --json -q");
    size_t verify = peak_kib() - empty;
    json_t *doc = cli_json(&r);
    CHECK(cli_number(doc, "n_tensors") == N);
    json_decref(doc);
    snprintf(path, sizeof path, "%s/large/pare.lock", cli_folder());
    CHECK(stat(path, &lock) == 0);
    size_t bound = (16 << 10) + 4 * (header + (size_t)lock.st_size) / KIB;
    print_message("pin %zu KiB, verify %zu KiB more than with one tensor; at most %zu\n", pin, verify, bound);
#ifndef PARE_SANITIZED
    CHECK(pin < bound && verify < bound);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
