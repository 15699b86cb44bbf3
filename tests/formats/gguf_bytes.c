#include "gguf_bytes.h"

#include "check.h"
#include "core/bytes.h"

#include <string.h>

void gguf_bytes(pare_buf *b, const void *data, size_t n)
{
    pare_error err = {0};
    CHECK_OK(pare_buf_put(b, data, n, &err), &err);
}

void gguf_u8(pare_buf *b, uint8_t v)
{
    gguf_bytes(b, &v, 1);
}

void gguf_u32(pare_buf *b, uint32_t v)
{
    uint8_t bytes[4];
    pare_store_u32le(bytes, v);
    gguf_bytes(b, bytes, sizeof bytes);
}

void gguf_u64(pare_buf *b, uint64_t v)
{
    uint8_t bytes[8];
    pare_store_u64le(bytes, v);
    gguf_bytes(b, bytes, sizeof bytes);
}

void gguf_str(pare_buf *b, const char *text)
{
    gguf_u64(b, strlen(text));
    gguf_bytes(b, text, strlen(text));
}

void gguf_header(pare_buf *b, uint32_t version, uint64_t n_tensors, uint64_t n_pairs)
{
    gguf_bytes(b, "GGUF", 4);
    gguf_u32(b, version);
    gguf_u64(b, n_tensors);
    gguf_u64(b, n_pairs);
}

void gguf_pair_u16(pare_buf *b, const char *key, uint16_t v)
{
    gguf_str(b, key);
    gguf_u32(b, 2);
    gguf_u8(b, (uint8_t)v);
    gguf_u8(b, (uint8_t)(v >> 8));
}

void gguf_pair_u32(pare_buf *b, const char *key, uint32_t v)
{
    gguf_str(b, key);
    gguf_u32(b, 4);
    gguf_u32(b, v);
}

void gguf_pair_i32(pare_buf *b, const char *key, int32_t v)
{
    gguf_str(b, key);
    gguf_u32(b, 5);
    gguf_u32(b, (uint32_t)v);
}

void gguf_pair_str(pare_buf *b, const char *key, const char *v)
{
    gguf_str(b, key);
    gguf_u32(b, 8);
    gguf_str(b, v);
}

void gguf_pair_array(pare_buf *b, const char *key, uint32_t elem, uint64_t n)
{
    gguf_str(b, key);
    gguf_u32(b, 9);
    gguf_u32(b, elem);
    gguf_u64(b, n);
}

void gguf_info(pare_buf *b, const char *name, uint32_t n_dims, const uint64_t *ne, uint32_t type, uint64_t offset)
{
    gguf_str(b, name);
    gguf_u32(b, n_dims);
    for (uint32_t i = 0; i < n_dims; i++)
        gguf_u64(b, ne[i]);
    gguf_u32(b, type);
    gguf_u64(b, offset);
}

void gguf_zeros(pare_buf *b, size_t n)
{
    while (n-- > 0)
        gguf_u8(b, 0);
}

void gguf_pad(pare_buf *b, size_t alignment)
{
    gguf_zeros(b, (alignment - b->len % alignment) % alignment);
}

void gguf_tiny(pare_buf *b)
{
    gguf_header(b, 3, 2, 5);
    gguf_pair_str(b, "general.architecture", "tiny");
    gguf_pair_u32(b, "tiny.block_count", 7);
    gguf_pair_array(b, "tiny.words", 8, 2);
    gguf_str(b, "one");
    gguf_str(b, "");
    gguf_pair_array(b, "tiny.flags", 7, 3);
    gguf_bytes(b, "\0\1\1", 3);
    gguf_pair_i32(b, "tiny.negative", -5);
    gguf_info(b, "a.weight", 2, (uint64_t[]){3, 2}, 0, 0);
    gguf_info(b, "b.weight", 1, (uint64_t[]){32}, 8, 32);
    gguf_pad(b, 32);
    for (uint32_t i = 0; i < 6; i++)
        gguf_u32(b, pare_f32_to_bits((float)i));
    gguf_pad(b, 32);
    for (uint8_t i = 0; i < 34; i++)
        gguf_u8(b, i);
}
