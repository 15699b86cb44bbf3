/* Bundles and, since a fuzzer signs nothing, statements with arbitrary content. */
#include "formats/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse_statement(const void *data, size_t size)
{
    pare_bundle bundle;
    pare_error err = {0};
    pare_bundle_parse(&bundle, "fuzz/model.sig", data, size, &err);
    pare_bundle_close(&bundle);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pare_envelope envelope;
    pare_error err = {0};
    if (pare_envelope_parse(&envelope, "fuzz/model.sig", data, size, &err) == PARE_OK)
        parse_statement(envelope.payload.data, envelope.payload.len);
    pare_envelope_close(&envelope);
    parse_statement(data, size);
    return 0;
}
