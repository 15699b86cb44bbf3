#include "quant/kv_rows.h"

#include "quant/kv_unit.h"

static const float *basis_of(const pare_kv_rows *rows, uint32_t head)
{
    return rows->unit.basis != NULL ? rows->unit.basis + head * pare_kv_basis_floats(rows->unit.dim) : NULL;
}

size_t pare_kv_encode_rows(const pare_kv_rows *rows, const float *x, uint8_t *dst)
{
    pare_kv_unit u = rows->unit;
    size_t stride = (size_t)rows->n_head * u.dim, bad;
    if (u.family == PARE_KV_PRODUCT && pare_kv_product_encode_rows(rows, x, dst, &bad))
        return bad;
    if (u.family == PARE_KV_TRANSFORM && pare_kv_transform_encode_rows(rows, x, dst, &bad))
        return bad;
    for (size_t i = 0; i < rows->n; i++, x += rows->group * stride)
        for (uint32_t h = 0; h < rows->n_head; h++, dst += rows->unit_bytes) {
            u.basis = basis_of(rows, h);
            if (!pare_kv_unit_encode(&u, x + (size_t)h * u.dim, stride, dst))
                return i * rows->n_head + h;
        }
    return SIZE_MAX;
}

void pare_kv_decode_rows(const pare_kv_rows *rows, const uint8_t *src, float *x)
{
    pare_kv_unit u = rows->unit;
    size_t stride = (size_t)rows->n_head * u.dim;
    if (u.family == PARE_KV_PRODUCT && pare_kv_product_decode_rows(rows, src, x))
        return;
    if (u.family == PARE_KV_TRANSFORM && pare_kv_transform_decode_rows(rows, src, x))
        return;
    for (size_t i = 0; i < rows->n; i++, x += rows->group * stride)
        for (uint32_t h = 0; h < rows->n_head; h++, src += rows->unit_bytes) {
            u.basis = basis_of(rows, h);
            pare_kv_unit_decode(&u, src, x + (size_t)h * u.dim, stride);
        }
}
