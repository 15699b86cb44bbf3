/* Activations by their names in config.json, and where a model has another than its family. */
#include "model/hparams_limits.h"

#include <string.h>

static pare_status find(pare_activation *out, pare_str name, const char *path, const char *key, pare_error *err)
{
    static const struct {
        const char *name;
        pare_activation act;
    } acts[] = {
        {"silu", PARE_ACT_SILU},
        {"swish", PARE_ACT_SILU},
        {"gelu", PARE_ACT_GELU_ERF},
        {"swiglu", PARE_ACT_SILU},
        {"gelu_new", PARE_ACT_GELU_TANH},
        {"relu", PARE_ACT_RELU},
        {"gelu_pytorch_tanh", PARE_ACT_GELU_TANH},
        {"relu2", PARE_ACT_RELU2},
        {"gelu_fast", PARE_ACT_GELU_TANH},
        {"silu", PARE_ACT_CLAMPED_GLU},
    };
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        if (pare_str_equal(name, acts[i].name)) {
            *out = acts[i].act;
            return PARE_OK;
        }
    return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: '%s' is '%.*s', an activation that is not known", path, key,
                     (int)(name.len < 64 ? name.len : 64), name.data);
}

const char *pare_activation_name(pare_activation act)
{
    static const char *const names[] = {
        [PARE_ACT_SILU] = "silu", [PARE_ACT_GELU_ERF] = "gelu", [PARE_ACT_GELU_TANH] = "gelu_pytorch_tanh",
        [PARE_ACT_RELU] = "relu", [PARE_ACT_RELU2] = "relu2",   [PARE_ACT_CLAMPED_GLU] = "silu"};
    return names[act];
}

pare_activation pare_arch_act(const pare_arch *arch, const pare_hparams *hp)
{
    return hp->act > 0 ? (pare_activation)(hp->act - 1) : arch->wiring.act;
}

pare_status pare_hparams_set_act(pare_hparams *hp, const pare_arch *arch, pare_str name, const char *path,
                                 const char *key, pare_error *err)
{
    pare_activation act = arch->wiring.act;
    pare_status st = find(&act, name, path, key, err);
    bool usual = strcmp(pare_activation_name(act), pare_activation_name(arch->wiring.act)) == 0;
    hp->act = usual ? 0 : act + 1;
    if (st == PARE_OK && !usual && arch->wiring.act == PARE_ACT_CLAMPED_GLU)
        st = pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: '%s' is '%s', which architecture '%s' is not described with",
                       path, key, pare_activation_name(act), arch->name);
    return st;
}
