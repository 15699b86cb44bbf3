/* What stock ggml stores of rows of 128 floats, as a cache write does: the type's reference encoder, or ("cpu") what
 * the CPU backend calls, vector code for q8_0. SHA-256 of it beside tests/quant/kv_digests.tsv:
 *
 *   cc -O2 -I GGML/include kv_stock.c -o kv_stock -L LIBS -lggml-cpu -lggml-base -lggml
 *   test_kv_codec input | ./kv_stock q4_0 ref | sha256sum */
#include "ggml-cpu.h"
#include "ggml.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { ROW = 128 };

int main(int argc, char **argv)
{
    float x[ROW];
    uint8_t bytes[ROW * sizeof *x];
    int type = 0;
    while (argc == 3 && type < GGML_TYPE_COUNT &&
           (ggml_type_name(type) == NULL || strcmp(ggml_type_name(type), argv[1]) != 0))
        type++;
    if (argc != 3 || type == GGML_TYPE_COUNT)
        return 2;
    ggml_cpu_init();
    while (fread(x, sizeof x, 1, stdin) == 1) {
        if (strcmp(argv[2], "cpu") == 0)
            ggml_get_type_traits_cpu(type)->from_float(x, bytes, ROW);
        else
            ggml_get_type_traits(type)->from_float_ref(x, bytes, ROW);
        fwrite(bytes, ggml_row_size(type, ROW), 1, stdout);
    }
    return 0;
}
