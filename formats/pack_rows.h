/* formats/pack_rows.h - tensors made of the rows of another one that lie across them
 *
 * GPTQ and AWQ store a weight [out, in] as [in, out]: whoever makes one row of that needs all rows of the weight. So
 * the whole tensor is made when its first row is asked for, by all threads that ask, some rows of the weight each; it
 * is dropped when its last row was taken. */
#ifndef PARE_FORMATS_PACK_ROWS_H
#define PARE_FORMATS_PACK_ROWS_H

#include "formats/pack.h"
#include "quant/group_fit.h"

/* A group of a row of the weight as it will be stored, for a tensor that is being made. */
typedef struct pare_pack_item {
    uint64_t row, column; /* of the first weight */
    uint64_t group;       /* column / weights of a group */
    pare_group fit;
    const uint8_t *codes; /* [n] */
    uint64_t n;
    int bits;
} pare_pack_item;

/* Put the item where it belongs in `whole`, the bytes of tensor t, which begin as zeros. Items of rows whose numbers
 * differ when divided by PARE_PACK_UNIT are put by different threads at once. */
enum { PARE_PACK_UNIT = 32 };
typedef void (*pare_pack_put)(const pare_tensor *t, const pare_pack_item *item, uint8_t *whole);

/* Complete *t, whose type and dimensions are set: weight's rows are cut into groups, fitted (quant/group_fit.h), and
 * put. t's own memory lies in hub's arena; closing hub drops what is left. Reading gives PARE_ERR_NUMBER, with row and
 * column, for a weight that is not finite or too large. */
pare_status pare_pack_rows(pare_model *hub, pare_tensor *t, const pare_tensor *weight, uint64_t group,
                           const pare_group_shape *shape, pare_pack_put put, pare_error *err);

#endif
