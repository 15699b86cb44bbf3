/* pare.lock and SHA256SUMS with arbitrary content. */
#include "formats/lock_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pare_lock lock;
    pare_error err = {0};
    pare_lock_parse(&lock, "fuzz/pare.lock", data, size, &err);
    pare_lock_close(&lock);
    pare_sums_parse(&lock, "fuzz/SHA256SUMS", data, size, &err);
    pare_lock_close(&lock);
    return 0;
}
