/* quantize_model MODEL PRESET OUT.gguf LOCK - a quantized copy of a model, hashed while it is written, and its pin */
#include <pare.h>

#include <inttypes.h>
#include <stdio.h>

static void warn(const char *text, void *user)
{
    fprintf(user, "quantize_model: warning: %s\n", text);
}

/* The derived model encodes its tensors when the writer asks for them: nothing is ever held as a whole. */
static pare_status quantize(const pare_model *in, const char *preset, const char *path, const char *lock,
                            pare_error *err)
{
    pare_model out = {0};
    pare_plan plan = {0};
    pare_pin pin = {0};
    pare_write_options write = {0};
    pare_quantize_options options = {.preset = pare_preset_find(preset),
                                     .pure_type = PARE_TYPE_NONE,
                                     .output_type = PARE_TYPE_NONE,
                                     .embedding_type = PARE_TYPE_NONE};
    if (options.preset == NULL)
        return pare_fail(err, PARE_ERR_USAGE, "no preset \"%s\"", preset);
    pare_status st = pare_quantize(&out, in, &options, &plan, err);
    if (st == PARE_OK)
        st = pare_gguf_write(&out, path, &write, &pin, err);
    if (st == PARE_OK)
        st = pare_lock_write(&pin, lock, NULL, false, err);
    if (st == PARE_OK)
        printf("%s: %zu tensors, %" PRIu64 " bytes\n", path, plan.n, pare_model_n_bytes(&out));
    pare_pin_close(&pin);
    pare_model_close(&out); /* before the model that it reads from */
    return st;
}

int main(int argc, char **argv)
{
    pare_model in = {0};
    pare_error err = {0};
    if (argc != 5) {
        fprintf(stderr, "usage: quantize_model MODEL PRESET OUT.gguf LOCK\n");
        return 2;
    }
    pare_set_warn_sink(warn, stderr);
    pare_status st = pare_model_open(&in, argv[1], 0, &err);
    if (st == PARE_OK)
        st = quantize(&in, argv[2], argv[3], argv[4], &err);
    if (st != PARE_OK)
        fprintf(stderr, "quantize_model: %s\n", err.text);
    pare_model_close(&in);
    return pare_exit_code(st);
}
