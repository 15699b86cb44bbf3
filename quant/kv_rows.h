/* quant/kv_rows.h - rows of a cache, encoded and decoded by the path in use */
#ifndef PARE_QUANT_KV_ROWS_H
#define PARE_QUANT_KV_ROWS_H

#include "quant/kv_codec.h"

/* Rows of n_head units of u, `group` tokens each; unit_bytes: of one. */
typedef struct pare_kv_rows {
    pare_kv_unit unit;
    uint32_t n_head, group;
    size_t unit_bytes, n;
} pare_kv_rows;

/* Returns the first unit that cannot be encoded, counted row by row, or SIZE_MAX. */
size_t pare_kv_encode_rows(const pare_kv_rows *rows, const float *x, uint8_t *dst);
void pare_kv_decode_rows(const pare_kv_rows *rows, const uint8_t *src, float *x);

/* The same of one family, several units at a time: the same bytes. *bad: what pare_kv_encode_rows returns. False: there
 * is no memory for it, and nothing was done. */
bool pare_kv_product_encode_rows(const pare_kv_rows *rows, const float *x, uint8_t *dst, size_t *bad);
bool pare_kv_product_decode_rows(const pare_kv_rows *rows, const uint8_t *src, float *x);
bool pare_kv_transform_encode_rows(const pare_kv_rows *rows, const float *x, uint8_t *dst, size_t *bad);
bool pare_kv_transform_decode_rows(const pare_kv_rows *rows, const uint8_t *src, float *x);

#endif
