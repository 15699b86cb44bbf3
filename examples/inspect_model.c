/* inspect_model MODEL - the tensors of a model: a GGUF file, a Hub folder, a .safetensors file */
#include <pare.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void print_tensor(const pare_tensor *t)
{
    char name[256]; /* of an untrusted file: control bytes become \xNN */
    printf("%-40s %-8s %12" PRIu64 " bytes  [", pare_escape(name, sizeof name, t->name, strlen(t->name)),
           pare_type_get(t->type)->name, t->n_bytes);
    for (uint32_t d = 0; d < t->n_dims; d++) /* slowest dimension first */
        printf("%s%" PRIu64, d > 0 ? " " : "", t->dim[d]);
    printf("]\n");
}

int main(int argc, char **argv)
{
    pare_model m = {0};
    pare_error err = {0};
    if (argc != 2) {
        fprintf(stderr, "usage: inspect_model MODEL\n");
        return 2;
    }
    pare_status st = pare_model_open(&m, argv[1], PARE_OPEN_RAW, &err);
    if (st != PARE_OK) {
        fprintf(stderr, "inspect_model: %s\n", err.text);
        return pare_exit_code(st);
    }
    for (size_t i = 0; i < m.n_tensors; i++)
        print_tensor(&m.tensors[i]);
    printf("%zu tensors, %" PRIu64 " weights, %" PRIu64 " bytes; libpare %s\n", m.n_tensors, pare_model_n_params(&m),
           pare_model_n_bytes(&m), pare_version());
    pare_model_close(&m);
    return 0;
}
