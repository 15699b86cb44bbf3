#include "cmd/console.h"
#include "cmd/outputs.h"
#include "formats/lock.h"

#include <string.h>

static pare_status scan_all(pare_pin *pin, const cmd_args *args, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < args->n_operands && st == PARE_OK; i++)
        st = pare_pin_scan(pin, args->operands[i], err);
    return st;
}

static pare_status report(const cmd_args *args, const pare_pin *pin, const char *lock, pare_error *err)
{
    size_t n_tensors = 0;
    for (size_t i = 0; i < pin->n_files; i++)
        n_tensors += pin->files[i].n_tensors;
    if (cmd_has(args, OPT_JSON)) {
        json_t *doc = json_object();
        json_object_set_new(doc, "output", cmd_json_text(lock, strlen(lock)));
        cmd_json_u64(doc, "bytes", cmd_pin_bytes(pin));
        cmd_json_u64(doc, "n_tensors", n_tensors);
        cmd_json_files(doc, pin);
        return cmd_print_json(args, doc, err);
    }
    cmd_progress_clear();
    printf("%s: %zu files, %s, %zu tensors pinned\n", cmd_safe(lock, strlen(lock)), pin->n_files,
           cmd_bytes(cmd_pin_bytes(pin)), n_tensors);
    return PARE_OK;
}

pare_status cmd_pin(const cmd_args *args, pare_error *err)
{
    const char *lock = cmd_text(args, OPT_OUTPUT), *sums = cmd_text(args, OPT_SUMS);
    bool force = cmd_has(args, OPT_FORCE);
    const pare_lock_extra extra = {0};
    cmd_outputs outputs = {.inputs = (const char *const *)args->operands, .n_inputs = args->n_operands};
    pare_pin pin = {0};
    cmd_outputs_add(&outputs, "--output", lock);
    cmd_outputs_add(&outputs, "--sums", sums);
    pare_status st = cmd_outputs_check(&outputs, NULL, force, err);
    if (st == PARE_OK)
        st = scan_all(&pin, args, err);
    if (st == PARE_OK)
        st = pare_lock_write(&pin, lock, &extra, force, err);
    if (st == PARE_OK && sums != NULL)
        st = pare_sums_write(&pin, sums, force, err);
    if (st == PARE_OK)
        st = report(args, &pin, lock, err);
    pare_pin_close(&pin);
    return st;
}
