#include "recipe/derive.h"

/* The float type that most weights of the matrices have: what "auto" names the file after. */
static pare_type prevailing_type(const pare_model *m)
{
    uint64_t weights[PARE_TYPE_COUNT] = {0};
    pare_type best = PARE_TYPE_F32;
    for (size_t i = 0; i < m->n_tensors; i++) {
        const pare_tensor *t = &m->tensors[i];
        if (t->n_dims < 2)
            continue;
        weights[t->type] += t->n_rows * t->row_len;
        if (weights[t->type] > weights[best])
            best = t->type;
    }
    return best;
}

/* The type of t in the converted model. */
static pare_type choose(const pare_tensor *t, pare_type type, bool from_hub)
{
    const pare_type_info *info = pare_type_get(t->type);
    uint64_t row_bytes = 0;
    if (info->traits & PARE_TRAIT_INTEGER)
        return t->type;
    bool plain = (info->traits & PARE_TRAIT_FLOAT) != 0;
    if (pare_derive_keeps_f32(t))
        return type == PARE_TYPE_NONE && (!plain || !from_hub) ? t->type : PARE_TYPE_F32;
    if (type != PARE_TYPE_NONE)
        return pare_row_bytes(type, t->row_len, &row_bytes) ? type : PARE_TYPE_F16; /* stock's fallback */
    return info->gguf >= 0 && t->type != PARE_TYPE_F64 ? t->type : PARE_TYPE_F32;
}

pare_status pare_convert(pare_model *out, const pare_model *in, pare_type type, pare_plan *plan, pare_error *err)
{
    pare_status st = pare_derive_start(out, in, plan, err);
    if (st != PARE_OK)
        return st;
    for (size_t i = 0; i < in->n_tensors && st == PARE_OK; i++) {
        const pare_tensor *t = &in->tensors[i];
        pare_type to = choose(t, type, in->format != PARE_FORMAT_GGUF);
        bool fell_back = type != PARE_TYPE_NONE && to != type && to != t->type && !pare_derive_keeps_f32(t);
        const pare_derive_how how = {.wanted = fell_back ? type : to, .to = to, .effort = PARE_EFFORT_RTN};
        st = pare_derive_add(out, t, &how, plan, err);
    }
    pare_type named = type != PARE_TYPE_NONE ? type : prevailing_type(in);
    bool hub = in->format != PARE_FORMAT_GGUF; /* whose reader wrote the key where the family has it */
    if (st == PARE_OK && (hub ? pare_meta_find(&in->meta, "general.file_type") != NULL : type != PARE_TYPE_NONE))
        st = pare_meta_set_u32(&out->meta, "general.file_type", pare_derive_file_type(named), err);
    if (st == PARE_OK && in->format != PARE_FORMAT_GGUF)
        st = pare_meta_set_u32(&out->meta, "general.quantization_version", 2, err);
    if (st != PARE_OK)
        pare_model_close(out);
    return st;
}
