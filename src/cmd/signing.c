#include "cmd/signing.h"
#include "cmd/console.h"
#include "core/map.h"
#include "formats/safe_path.h"

#include <stdlib.h>
#include <string.h>

pare_status cmd_signing_open(cmd_signing *s, const cmd_args *args, const char *lock, pare_error *err)
{
    const char *given = cmd_text(args, OPT_SIGNATURE);
    *s = (cmd_signing){0};
    if (!cmd_has(args, OPT_SIGN))
        return given == NULL ? PARE_OK
                             : pare_fail(err, PARE_ERR_USAGE, "%s: --signature needs --sign", args->verb->name);
    char *folder = pare_path_folder(lock, err);
    if (folder != NULL) {
        s->beside = pare_path_join(folder, "model.sig", err);
        s->signature = given != NULL ? strdup(given) : pare_path_join(folder, "model.sig", err);
    }
    free(folder);
    if (s->beside == NULL || s->signature == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a name");
    return pare_ec_key_load(&s->key, cmd_text(args, OPT_SIGN), PARE_EC_SIGN, err);
}

pare_status cmd_signing_pin_output(pare_pin *pin, const pare_output_set *set, size_t behind, const char *path,
                                   pare_error *err)
{
    pare_map file;
    pare_pin_file *f = NULL;
    const char *temporary = pare_output_temporary(set->items[set->n - 1 - behind]);
    pare_status st = pare_map_open(&file, temporary, err);
    if (st == PARE_OK && (st = pare_pin_add_file(pin, path, &f, err)) == PARE_OK &&
        (st = pare_pin_store_at(f, temporary, err)) == PARE_OK)
        st = pare_hash_bytes(file.data, (size_t)file.size, PARE_HASH_BOTH, &f->digest, err);
    pare_map_close(&file);
    return st;
}

pare_status cmd_signing_add(const cmd_signing *s, pare_output_set *set, const pare_pin *pin, const char *lock,
                            const char *sums, bool force, pare_error *err)
{
    pare_pin all = {0};
    pare_pin_file *f = NULL;
    pare_status st = PARE_OK;
    if (s->signature == NULL)
        return PARE_OK;
    for (size_t i = 0; i < pin->n_files && st == PARE_OK; i++)
        if ((st = pare_pin_add_file(&all, pin->files[i].path, &f, err)) == PARE_OK)
            f->digest = pin->files[i].digest;
    if (st == PARE_OK)
        st = cmd_signing_pin_output(&all, set, 1, lock, err);
    if (st == PARE_OK)
        st = cmd_signing_pin_output(&all, set, 0, sums, err);
    if (st == PARE_OK)
        st = pare_bundle_add(set, &all, s->beside, s->signature, s->called, &s->key, force, err);
    pare_pin_close(&all);
    return st;
}

void cmd_signing_json(json_t *doc, const cmd_signing *s)
{
    if (s->signature == NULL)
        return;
    json_object_set_new(doc, "signature", cmd_json_text(s->signature, strlen(s->signature)));
    json_object_set_new(doc, "key", json_string(s->key.hint));
}

void cmd_signing_print(const cmd_signing *s)
{
    if (s->signature != NULL)
        printf("%s: signed with the %s key %.16s\n", cmd_safe(s->signature, strlen(s->signature)), s->key.curve,
               s->key.hint);
}

void cmd_signing_close(cmd_signing *s)
{
    pare_ec_key_close(&s->key);
    free(s->beside);
    free(s->signature);
    *s = (cmd_signing){0};
}
