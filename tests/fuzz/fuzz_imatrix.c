/* Both imatrix layouts on arbitrary bytes. What is accepted is then used: importances of every expert, and a merge with
 * itself, which adds every number. */
#include "formats/imatrix_file.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const pare_imatrix *im)
{
    pare_imatrix all = {.chunk_size = 512};
    for (size_t i = 0; i < im->n; i++) {
        const pare_imatrix_entry *e = &im->entries[i];
        float *out = malloc(2 * e->n_columns * sizeof *out), *mean = out + e->n_columns;
        bool any = out != NULL && pare_imatrix_pooled(e, mean);
        for (uint64_t k = 0; any && k < e->n_experts && k < 16; k++)
            pare_imatrix_importance(e, k, mean, out);
        free(out);
    }
    if (pare_imatrix_merge(&all, im, NULL) == PARE_OK)
        pare_imatrix_merge(&all, im, NULL);
    pare_imatrix_close(&all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pare_imatrix im;
    if (pare_imatrix_parse(&im, data, size, "fuzz.imatrix", NULL) == PARE_OK)
        use(&im);
    pare_imatrix_close(&im);
    return 0;
}
