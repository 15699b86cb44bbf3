/* gguf_bytes.h - build GGUF files byte by byte, right and wrong ones */
#ifndef PARE_TESTS_GGUF_BYTES_H
#define PARE_TESTS_GGUF_BYTES_H

#include "core/text.h"

/* All append to b and end the test on failure. Values start with their type, so `pair` is key, then one of them. */
void gguf_u8(pare_buf *b, uint8_t v);
void gguf_u32(pare_buf *b, uint32_t v);
void gguf_u64(pare_buf *b, uint64_t v);
void gguf_bytes(pare_buf *b, const void *data, size_t n);
void gguf_str(pare_buf *b, const char *text); /* u64 length, bytes */

void gguf_header(pare_buf *b, uint32_t version, uint64_t n_tensors, uint64_t n_pairs);
void gguf_pair_u16(pare_buf *b, const char *key, uint16_t v);
void gguf_pair_u32(pare_buf *b, const char *key, uint32_t v);
void gguf_pair_i32(pare_buf *b, const char *key, int32_t v);
void gguf_pair_str(pare_buf *b, const char *key, const char *v);
void gguf_pair_array(pare_buf *b, const char *key, uint32_t elem, uint64_t n); /* the elements follow */

/* ne: GGUF's order, fastest first. */
void gguf_info(pare_buf *b, const char *name, uint32_t n_dims, const uint64_t *ne, uint32_t type, uint64_t offset);
void gguf_pad(pare_buf *b, size_t alignment);
void gguf_zeros(pare_buf *b, size_t n);

/* A small right file: five pairs with an array of strings, an F32 tensor of 2 x 3 and a Q8_0 tensor of one block; ends
 * at the last weight. */
void gguf_tiny(pare_buf *b);

#endif
