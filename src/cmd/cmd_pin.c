#include "cmd/console.h"
#include "cmd/outputs.h"
#include "formats/lock.h"

#include <stdlib.h>
#include <string.h>

static pare_status scan_all(pare_pin *pin, const cmd_args *args, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < args->n_operands && st == PARE_OK; i++)
        st = pare_pin_scan(pin, args->operands[i], err);
    return st;
}

enum { EXTRA_MAX_BYTES = 64 << 20 };

/* The object in the file that an option names, or that object's member; NULL when the option is not given. */
static pare_status load_extra(json_t **out, const char *path, const char *member, pare_error *err)
{
    json_t *doc = NULL;
    *out = NULL;
    if (path == NULL)
        return PARE_OK;
    pare_status st = pare_json_load(&doc, path, EXTRA_MAX_BYTES, false, err);
    json_t *found = member != NULL ? json_object_get(doc, member) : doc;
    if (st == PARE_OK && !json_is_object(found))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: expected a JSON object%s%s", path,
                       member != NULL ? " with an object " : "", member != NULL ? member : "");
    if (st == PARE_OK)
        *out = json_incref(found);
    json_decref(doc);
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

static pare_status write_files(pare_pin *pin, const cmd_args *args, const cmd_outputs *outputs, const char *sums,
                               pare_error *err)
{
    bool force = cmd_has(args, OPT_FORCE);
    json_t *recipe = NULL, *measurements = NULL;
    pare_output_set set = {0};
    pare_status st = load_extra(&recipe, cmd_text(args, OPT_RECIPE), "recipe", err);
    if (st == PARE_OK)
        st = load_extra(&measurements, cmd_text(args, OPT_MEASUREMENTS), NULL, err);
    if (st == PARE_OK)
        st = scan_all(pin, args, err);
    if (st == PARE_OK)
        st = cmd_outputs_check_pinned(outputs, pin, err);
    const pare_lock_extra extra = {.recipe = recipe, .measurements = measurements};
    if (st == PARE_OK)
        st = pare_lock_add(&set, pin, cmd_text(args, OPT_OUTPUT), &extra, force, err);
    if (st == PARE_OK)
        st = pare_sums_add(&set, pin, sums, force, err);
    if (st == PARE_OK)
        st = pare_output_set_publish(&set, err);
    pare_output_set_close(&set);
    json_decref(recipe);
    json_decref(measurements);
    return st;
}

pare_status cmd_pin(const cmd_args *args, pare_error *err)
{
    const char *lock = cmd_text(args, OPT_OUTPUT);
    cmd_outputs outputs = {.inputs = (const char *const *)args->operands, .n_inputs = args->n_operands};
    pare_pin pin = {0};
    char *sums = NULL;
    pare_status st = cmd_sums_beside(&sums, args, lock, err);
    cmd_outputs_add(&outputs, "--output", lock);
    cmd_outputs_add(&outputs, "--sums", sums);
    if (st == PARE_OK)
        st = cmd_outputs_check(&outputs, NULL, cmd_has(args, OPT_FORCE), err);
    if (st == PARE_OK)
        st = write_files(&pin, args, &outputs, sums, err);
    if (st == PARE_OK)
        st = report(args, &pin, lock, err);
    pare_pin_close(&pin);
    free(sums);
    return st;
}
