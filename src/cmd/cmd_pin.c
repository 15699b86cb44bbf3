#include "cmd/console.h"
#include "cmd/outputs.h"
#include "cmd/repository.h"
#include "core/look.h"
#include "core/map.h"
#include "formats/bundle_names.h"
#include "formats/cyclonedx.h"
#include "formats/lock.h"
#include "formats/lock_lineage.h"
#include "formats/lock_names.h"
#include "formats/lock_read.h"
#include "formats/open.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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
    pare_status st = pare_json_load(&doc, path, EXTRA_MAX_BYTES, PARE_JSON_NUL, err);
    json_t *found = member != NULL ? json_object_get(doc, member) : doc;
    if (st == PARE_OK && !json_is_object(found))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: expected a JSON object%s%s", path,
                       member != NULL ? " with an object " : "", member != NULL ? member : "");
    if (st == PARE_OK)
        *out = json_incref(found);
    json_decref(doc);
    return st;
}

/* What an earlier lock says of how its files were made, and of what. */
static pare_status load_recipe(json_t **recipe, json_t **parents, const char *path, pare_error *err)
{
    json_t *doc = NULL;
    pare_status st = load_extra(recipe, path, "recipe", err);
    if (st == PARE_OK)
        st = load_extra(&doc, path, NULL, err);
    if (st == PARE_OK && doc != NULL && (st = pare_lock_check_lineage(doc, path, err)) == PARE_OK)
        *parents = json_incref(json_object_get(doc, "parents"));
    json_decref(doc);
    return st;
}

static pare_status report(const cmd_args *args, const pare_pin *pin, const cmd_signing *signing, pare_error *err)
{
    const char *lock = cmd_text(args, OPT_OUTPUT);
    size_t n_tensors = 0;
    for (size_t i = 0; i < pin->n_files; i++)
        n_tensors += pin->files[i].n_tensors;
    if (cmd_has(args, OPT_JSON)) {
        json_t *doc = json_object();
        json_object_set_new(doc, "output", cmd_json_text(lock, strlen(lock)));
        cmd_json_u64(doc, "bytes", cmd_pin_bytes(pin));
        cmd_json_u64(doc, "n_tensors", n_tensors);
        cmd_json_files(doc, pin);
        cmd_signing_json(doc, signing);
        return cmd_print_json(args, doc, err);
    }
    cmd_progress_clear();
    printf("%s: %zu files, %s, %zu tensors pinned\n", cmd_safe(lock, strlen(lock)), pin->n_files,
           cmd_bytes(cmd_pin_bytes(pin)), n_tensors);
    cmd_signing_print(signing);
    return PARE_OK;
}

/* Whoever pins the folder gives it away: the private key must not lie in it. */
static pare_status refuse_key(const pare_pin *pin, const char *path, pare_error *err)
{
    struct stat key;
    bool there = false, same;
    pare_status st = path != NULL ? pare_look(path, &key, &there, err) : PARE_OK;
    for (size_t i = 0; there && i < pin->n_files && st == PARE_OK; i++)
        if ((st = pare_look_same(pin->files[i].path, &key, &same, err)) == PARE_OK && same)
            return pare_fail(err, PARE_ERR_USAGE, "%s: the private key is one of the files to pin; keep it elsewhere",
                             path);
    return st;
}

static pare_status holds(bool *does, const char *path, const char *mark, pare_error *err)
{
    pare_map file;
    pare_status st = pare_map_open(&file, path, err);
    *does = st == PARE_OK && file.size > 0 && memmem(file.data, (size_t)file.size, mark, strlen(mark)) != NULL;
    if (st == PARE_OK)
        pare_map_close(&file);
    return st;
}

/* What an earlier run wrote at path, a file that holds mark (NULL: any), is going to be replaced: it is not pinned. */
static pare_status forget_old(pare_pin *pin, const char *path, const char *mark, pare_error *err)
{
    struct stat old;
    bool there = false, same, ours = true;
    pare_status st = path != NULL ? pare_look(path, &old, &there, err) : PARE_OK;
    for (size_t i = 0; there && i < pin->n_files && st == PARE_OK; i++) {
        if ((st = pare_look_same(pin->files[i].path, &old, &same, err)) != PARE_OK || !same)
            continue;
        if (mark != NULL)
            st = holds(&ours, path, mark, err);
        if (st != PARE_OK || !ours)
            return st;
        pare_pin_file_close(&pin->files[i]);
        memmove(&pin->files[i], &pin->files[i + 1], (pin->n_files - i - 1) * sizeof *pin->files);
        pin->n_files--;
        return PARE_OK;
    }
    return st;
}

static bool opens(pare_model *m, const char *path, pare_error *err)
{
    return pare_model_open(m, path, PARE_OPEN_NO_VOCAB, err) == PARE_OK ||
           pare_model_open(m, path, PARE_OPEN_RAW, NULL) == PARE_OK;
}

/* The one model that is pinned: an operand, or what lies in a folder that is none itself. */
static pare_status open_described(pare_model *m, const char **name, const pare_pin *pin, const cmd_args *args,
                                  pare_error *err)
{
    pare_error why = {0};
    size_t n_weights = 0;
    bool found = false;
    for (size_t i = 0; i < args->n_operands && !found; i++)
        found = opens(m, *name = args->operands[i], &why);
    for (size_t i = 0; i < pin->n_files; i++) {
        bool weights = pin->files[i].n_tensors > 0;
        n_weights += weights;
        if (weights && !found)
            found = opens(m, *name = pin->files[i].path, &why);
    }
    if (!found)
        return pare_fail(err, PARE_ERR_USAGE, "--cyclonedx describes a model: %s", why.text);
    if (m->n_files != n_weights)
        return pare_fail(err, PARE_ERR_USAGE,
                         "--cyclonedx describes one model: %s has %zu files with tensors, and %zu are pinned", *name,
                         m->n_files, n_weights);
    return PARE_OK;
}

/* The bill of materials; where it lies beside the lock or below, it is pinned as the other files are. */
static pare_status describe(pare_output_set *set, pare_pin *pin, const cmd_args *args, pare_error *err)
{
    const char *path = cmd_text(args, OPT_CYCLONEDX), *lock = cmd_text(args, OPT_OUTPUT), *name = lock;
    pare_model m = {0};
    if (path == NULL)
        return PARE_OK;
    pare_status st = open_described(&m, &name, pin, args, err);
    if (st == PARE_OK && (st = pare_lock_set_names(pin, lock, err)) == PARE_OK)
        st = pare_cyclonedx_add(set, pin, &m.meta, cmd_base_name(name), path, cmd_has(args, OPT_FORCE), err);
    pare_model_close(&m);
    if (st != PARE_OK)
        return st;
    pare_pin alone = {0};
    pare_pin_file *f = NULL;
    st = pare_pin_add_file(&alone, path, &f, err);
    bool inside = st == PARE_OK && pare_lock_set_names(&alone, lock, NULL) == PARE_OK;
    pare_pin_close(&alone);
    return inside ? cmd_signing_pin_output(pin, set, 0, path, err) : st;
}

static pare_status write_files(pare_pin *pin, const cmd_args *args, const cmd_outputs *outputs, const char *sums,
                               const cmd_signing *signing, pare_error *err)
{
    bool force = cmd_has(args, OPT_FORCE);
    const char *lock = cmd_text(args, OPT_OUTPUT);
    json_t *recipe = NULL, *measurements = NULL, *parents = NULL, *repository = NULL;
    pare_output_set set = {0};
    pare_status st = cmd_repository_find(&repository, cmd_text(args, OPT_HF), args->operands, args->n_operands, err);
    if (st == PARE_OK)
        st = load_recipe(&recipe, &parents, cmd_text(args, OPT_RECIPE), err);
    if (st == PARE_OK)
        st = load_extra(&measurements, cmd_text(args, OPT_MEASUREMENTS), NULL, err);
    if (st == PARE_OK)
        st = scan_all(pin, args, err);
    if (st == PARE_OK)
        st = refuse_key(pin, cmd_text(args, OPT_SIGN), err);
    if (st == PARE_OK)
        st = forget_old(pin, signing->signature, PARE_BUNDLE_MEDIA_TYPE, err);
    if (st == PARE_OK && pare_lock_is_one(sums))
        st = forget_old(pin, sums, NULL, err);
    if (st == PARE_OK)
        st = forget_old(pin, cmd_text(args, OPT_CYCLONEDX), "\"bomFormat\": \"CycloneDX\"", err);
    if (st == PARE_OK)
        st = cmd_outputs_check_pinned(outputs, pin, err);
    if (st == PARE_OK)
        st = describe(&set, pin, args, err);
    const pare_lock_extra extra = {.recipe = recipe,
                                   .measurements = measurements,
                                   .parents = parents,
                                   .repository = repository,
                                   .beside = {sums, signing->signature}};
    if (st == PARE_OK)
        st = pare_lock_add(&set, pin, lock, &extra, force, err);
    if (st == PARE_OK)
        st = pare_sums_add(&set, pin, sums, force, err);
    if (st == PARE_OK)
        st = cmd_signing_add(signing, &set, pin, lock, sums, force, err);
    if (st == PARE_OK)
        st = pare_output_set_publish(&set, err);
    pare_output_set_close(&set);
    json_decref(recipe);
    json_decref(measurements);
    json_decref(parents);
    json_decref(repository);
    return st;
}

pare_status cmd_pin(const cmd_args *args, pare_error *err)
{
    const char *lock = cmd_text(args, OPT_OUTPUT);
    cmd_outputs outputs = {.inputs = (const char *const *)args->operands, .n_inputs = args->n_operands};
    pare_pin pin = {0};
    char *sums = NULL;
    cmd_signing signing = {0};
    pare_status st = cmd_sums_beside(&sums, args, lock, err);
    if (st == PARE_OK)
        st = cmd_signing_open(&signing, args, lock, err);
    cmd_outputs_add(&outputs, "--output", lock);
    cmd_outputs_add(&outputs, "--sums", sums);
    cmd_outputs_add(&outputs, "--signature", signing.signature);
    cmd_outputs_add(&outputs, "--cyclonedx", cmd_text(args, OPT_CYCLONEDX));
    if (st == PARE_OK)
        st = cmd_outputs_check(&outputs, NULL, cmd_has(args, OPT_FORCE), err);
    if (st == PARE_OK)
        st = write_files(&pin, args, &outputs, sums, &signing, err);
    if (st == PARE_OK)
        st = report(args, &pin, &signing, err);
    pare_pin_close(&pin);
    cmd_signing_close(&signing);
    free(sums);
    return st;
}
