/* model/view.h - a tensor that shows another one's values rearranged or shifted, produced when it is read
 *
 * *out takes name, file and offset of src and the shape of the result; its read function needs *src no more, because
 * the arena holds a copy (the bytes that src reads must stay). n_dims of src is 1 or 2 unless said. */
#ifndef PARE_MODEL_VIEW_H
#define PARE_MODEL_VIEW_H

#include "model/model.h"

/* Rows (of a vector: elements) reordered within each head of head_dim, between the two orders of RoPE's pairs:
 *
 *   halves (Hub)   0 1 2 3 ... d-1, the partners are i and i + d/2
 *   pairs (GGUF)   0 d/2 1 d/2+1 ..., the partners are neighbours
 *
 * to_pairs turns the first into the second, else back. Errors: PARE_ERR_RANGE (rows are no multiple of an even
 * head_dim), PARE_ERR_UNSUPPORTED (a vector in a block type), PARE_ERR_MEMORY. */
pare_status pare_view_rope(pare_arena *arena, pare_tensor *out, const pare_tensor *src, uint32_t head_dim,
                           bool to_pairs, pare_error *err);

/* Rows (of a vector: elements) of q, k and v fused head by head, reordered:
 *
 *   groups (Hub)   for each kv head: its q heads, k, v
 *   parts (GGUF)   all q heads, all k heads, all v heads
 *
 * to_parts turns the first into the second, else back. hp: heads and their size, the same for k and v. Errors as above.
 */
pare_status pare_view_qkv(pare_arena *arena, pare_tensor *out, const pare_tensor *src, const pare_hparams *hp,
                          bool to_parts, pare_error *err);

/* out[i][j] = src[j][i], of three dimensions matrix by matrix; with a share only of those columns of src. Errors:
 * PARE_ERR_RANGE (no matrix, shares are not equal), PARE_ERR_UNSUPPORTED (a block type), PARE_ERR_MEMORY. */
pare_status pare_view_transpose(pare_arena *arena, pare_tensor *out, const pare_tensor *src, pare_hf_share share,
                                pare_error *err);

/* n matrices or vectors of one shape and type, one behind the other, as one tensor with a further dimension. The array
 * is copied. Errors: PARE_ERR_RANGE (another shape), PARE_ERR_UNSUPPORTED (another type), PARE_ERR_MEMORY. */
pare_status pare_view_stack(pare_arena *arena, pare_tensor *out, const pare_tensor *parts, uint64_t n, pare_error *err);

/* Back: matrix i of a tensor of three dimensions, vector i of one of two; i < src->dim[0]. Errors: PARE_ERR_RANGE
 * (other dimensions), PARE_ERR_MEMORY. */
pare_status pare_view_part(pare_arena *arena, pare_tensor *out, const pare_tensor *src, uint64_t i, pare_error *err);

/* One of `count` equal shares of the rows of each matrix of src (of two or three dimensions); per_element: of the
 * elements of each row (of one or two). Errors: PARE_ERR_RANGE (shares are not equal), PARE_ERR_UNSUPPORTED (elements
 * of a block type), PARE_ERR_MEMORY. */
pare_status pare_view_share(pare_arena *arena, pare_tensor *out, const pare_tensor *src, pare_hf_share share,
                            bool per_element, pare_error *err);

/* Back: the tensor that parts[0 .. how.count) of one shape and type are the shares of. The array is copied. Errors as
 * above, or PARE_ERR_RANGE (another shape), PARE_ERR_UNSUPPORTED (another type). */
pare_status pare_view_unite(pare_arena *arena, pare_tensor *out, const pare_tensor *parts, pare_hf_share how,
                            bool per_element, pare_error *err);

/* Rows first, first + 1, ... of a matrix; and back: n rows of zeros before those of src. Errors: PARE_ERR_RANGE (no
 * matrix, or no row is left), PARE_ERR_MEMORY. */
pare_status pare_view_rows(pare_arena *arena, pare_tensor *out, const pare_tensor *src, uint64_t first,
                           pare_error *err);
pare_status pare_view_zeros_before(pare_arena *arena, pare_tensor *out, const pare_tensor *src, uint64_t n,
                                   pare_error *err);

/* out[0][i] = src[i]: a vector, or what is a matrix of one row already, as such a matrix. Nothing moves.
 * Errors: PARE_ERR_RANGE (more than one row). */
pare_status pare_view_row(pare_tensor *out, const pare_tensor *src, pare_error *err);

/* Latent attention's keys, or values, of a matrix of the Hub that makes both, head by head:
 *
 *   Hub    [n_head (n_k + n_v), rank]     for each head its rows for keys without rotation, then those for values
 *   GGUF   [n_head, rank, n_k]            keys, each head transposed: it turns queries into the latent space
 *          [n_head, n_v, rank]            values
 *
 * n_k is head_dim_k - n_rot, n_v head_dim_v of hp. Keys of a block type are decoded to F32. unite goes back, from two
 * tensors of one plain type. Errors: PARE_ERR_RANGE (shapes, types), PARE_ERR_MEMORY. */
pare_status pare_view_latent_part(pare_arena *arena, pare_tensor *out, const pare_tensor *src, const pare_hparams *hp,
                                  bool keys, pare_error *err);
pare_status pare_view_latent_unite(pare_arena *arena, pare_tensor *out, const pare_tensor *keys,
                                   const pare_tensor *values, pare_error *err);

/* Of linear attention (hparams.linear): the Hub's weight has the rows of each key head's group together, [q k v z] with
 * the value heads that it serves, GGUF one tensor of all q, all k, all v (gate: of all z) of it. unite: back, from the
 * two. Errors: PARE_ERR_RANGE (shape), PARE_ERR_MEMORY. */
pare_status pare_view_linear_part(pare_arena *arena, pare_tensor *out, const pare_tensor *src, const pare_hparams *hp,
                                  bool gate, pare_error *err);
pare_status pare_view_linear_unite(pare_arena *arena, pare_tensor *out, const pare_tensor parts[2],
                                   const pare_hparams *hp, pare_error *err);

/* Where GGUF has the value heads of linear attention in another order (hparams.linear.tiled): head v of key head k,
 * which stands at k share + v on the Hub, at v n_head_k + k. They are the last rows of src, or its last elements: of
 * each row (columns) or of a vector. Errors: PARE_ERR_RANGE (shape), PARE_ERR_UNSUPPORTED (elements of a block type),
 * PARE_ERR_MEMORY. */
pare_status pare_view_linear_tiles(pare_arena *arena, pare_tensor *out, const pare_tensor *src, const pare_hparams *hp,
                                   bool columns, bool to_gguf, pare_error *err);

/* -e^x of each element in F32; to_gguf false: back, log(-x). Errors: PARE_ERR_MEMORY; reading back gives
 * PARE_ERR_NUMBER for what is not negative. */
pare_status pare_view_minus_exp(pare_arena *arena, pare_tensor *out, const pare_tensor *src, bool to_gguf,
                                pare_error *err);

/* [n, 1, m] as [n, m], what is one already as it is; and back. Nothing moves. Errors: PARE_ERR_RANGE (other shapes). */
pare_status pare_view_squeeze(pare_tensor *out, const pare_tensor *src, pare_error *err);
pare_status pare_view_unsqueeze(pare_tensor *out, const pare_tensor *src, pare_error *err);

/* A matrix of n_rows rows: src's, then its first row again and again; n_rows is not below src's. Errors: PARE_ERR_RANGE
 * (no matrix, more rows), PARE_ERR_MEMORY. */
pare_status pare_view_fill_rows(pare_arena *arena, pare_tensor *out, const pare_tensor *src, uint64_t n_rows,
                                pare_error *err);

/* src + add in F32, whatever the type of src. Errors: PARE_ERR_MEMORY. */
pare_status pare_view_add(pare_arena *arena, pare_tensor *out, const pare_tensor *src, float add, pare_error *err);

/* src in another float type, rounded as that type's encoder does. type is one of the plain floats that have an encoder.
 * Errors: PARE_ERR_UNSUPPORTED (type), PARE_ERR_MEMORY; reading gives PARE_ERR_NUMBER for what is not finite. */
pare_status pare_view_cast(pare_arena *arena, pare_tensor *out, const pare_tensor *src, pare_type type,
                           pare_error *err);

#endif
