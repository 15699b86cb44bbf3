#include "formats/packed_named.h"

#include <string.h>

/* quant_method; what it is called; how a tensor's name ends that only this format has, "": nothing that tells it */
static const struct {
    const char *method, *name, *end;
} known[] = {
    {"exl2", "EXL2 (ExLlamaV2)", ".q_weight"},
    {"hqq", "HQQ", ".W_q"},
    {"aqlm", "AQLM", ".codebooks"},
    {"quip", "QuIP#", ".Qidxs"},
    {"qtip", "QTIP", ".tlut"},
    {"vptq", "VPTQ", ".centroids.weight"},
    {"spqr", "SpQR", ".dense_weights"},
    {"higgs", "HIGGS", ".tables2"},
    {"quanto", "Quanto", ".weight._data"},
    {"quark", "AMD Quark", ""},
    {"torchao", "TorchAO", ""},
    {"eetq", "EETQ", ""},
    {"fp_quant", "FP-Quant", ""},
    {"sinq", "SINQ", ""},
    {"metal", "MLX's affine groups", ""},
    {"fouroversix", "Four Over Six", ""},
    /* decoded, where config.json says so */
    {"exl3", "EXL3 (ExLlamaV3)", ".trellis"},
    {"gptq", "GPTQ or AWQ", ".qweight"},
    {"compressed-tensors", "compressed-tensors", ".weight_packed"},
    {"bitsandbytes", "bitsandbytes", ".weight.absmax"},
};
enum { N_KNOWN = sizeof known / sizeof *known };

const char *pare_packed_known_name(const char *method)
{
    for (size_t i = 0; i < N_KNOWN; i++)
        if (strcmp(known[i].method, method) == 0)
            return known[i].name;
    return NULL;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);
    return k > 0 && n > k && strcmp(text + n - k, end) == 0;
}

pare_status pare_packed_refuse_traces(const pare_model *raw, const char *config_path, pare_error *err)
{
    for (size_t i = 0; i < raw->n_tensors; i++)
        for (size_t k = 0; k < N_KNOWN; k++)
            if (ends_with(raw->tensors[i].name, known[k].end))
                return pare_fail(err, PARE_ERR_UNSUPPORTED,
                                 "%s: has no 'quantization_config', but tensor '%s' is of weights packed by %s",
                                 config_path, raw->tensors[i].name, known[k].name);
    return PARE_OK;
}
