/* What a program that links the installed library looks like: open a model, say how many tensors it has. */
#include <pare.h>

#include <stdio.h>

int main(int argc, char **argv)
{
    pare_model m = {0};
    pare_error err = {0};
    if (argc != 2 || pare_model_open(&m, argv[1], 0, &err) != PARE_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    printf("%zu tensors\n", m.n_tensors);
    pare_model_close(&m);
    return 0;
}
