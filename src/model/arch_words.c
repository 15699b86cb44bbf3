#include "model/arch_words.h"
#include "core/json.h"
#include "model/hparams_limits.h"

pare_status pare_config_expect(const json_t *config, const char *path, const char *arch_name,
                               const pare_config_switch *switches, size_t n, pare_error *err)
{
    for (size_t i = 0; i < n; i++) {
        bool found = false, on = switches[i].usual;
        pare_status st = pare_json_bool(config, path, switches[i].key, &on, &found, err);
        if (st == PARE_OK && on != switches[i].usual)
            st = pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: '%s' is %s, which architecture '%s' is not described with",
                           path, switches[i].key, on ? "true" : "false", arch_name);
        if (st != PARE_OK)
            return st;
    }
    return PARE_OK;
}

static pare_status check_positive(double v, const char *path, const char *key, float *out, pare_error *err)
{
    if (!pare_hparams_positive(v, 1e9) || (float)v == 0.0f)
        return pare_fail(err, PARE_ERR_RANGE, "%s: '%s' is %g, allowed is above 0 up to 1e9", path, key, v);
    *out = (float)v;
    return PARE_OK;
}

pare_status pare_config_positive(const json_t *config, const char *path, const char *key, float *out, pare_error *err)
{
    bool found = false;
    double v = 0;
    pare_status st = pare_json_f64(config, path, key, &v, &found, err);
    return st == PARE_OK && found ? check_positive(v, path, key, out, err) : st;
}

pare_status pare_meta_positive(const pare_meta *meta, const char *path, const char *key, float *out, pare_error *err)
{
    bool found = false;
    double v = 0;
    pare_status st = pare_meta_f64(meta, path, key, &v, &found, err);
    return st == PARE_OK && found ? check_positive(v, path, key, out, err) : st;
}

bool pare_config_rename(json_t *config, const char *const (*names)[2])
{
    bool ok = true;
    for (; (*names)[0] != NULL; names++) {
        json_t *value = json_object_get(config, (*names)[0]);
        ok = ok && (value == NULL || json_object_set(config, (*names)[1], value) == 0);
        json_object_del(config, (*names)[0]);
    }
    return ok;
}

void pare_config_drop(json_t *config, const char *const *keys)
{
    for (; *keys != NULL; keys++)
        json_object_del(config, *keys);
}
