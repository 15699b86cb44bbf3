#include "gguf_cases.h"

#include "gguf_bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A file of one pair whose value the caller appends; of one tensor without data; of one F32 tensor of four bytes. */
static void one_pair(pare_buf *b)
{
    gguf_header(b, 3, 0, 1);
}

static void one_key(pare_buf *b, const char *key, size_t len)
{
    one_pair(b);
    gguf_u64(b, len);
    gguf_bytes(b, key, len);
    gguf_u32(b, 10);
    gguf_u64(b, 1);
}

static void one_info(pare_buf *b, uint32_t n_dims, const uint64_t *ne, uint32_t type, uint64_t offset)
{
    gguf_header(b, 3, 1, 0);
    gguf_info(b, "w.weight", n_dims, ne, type, offset);
    gguf_pad(b, 32);
}

static void one_name(pare_buf *b, const char *name, size_t len)
{
    gguf_header(b, 3, 1, 0);
    gguf_u64(b, len);
    gguf_bytes(b, name, len);
    gguf_u32(b, 1);
    gguf_u64(b, 1);
    gguf_u32(b, 0);
    gguf_u64(b, 0);
    gguf_pad(b, 32);
    gguf_u32(b, 0);
}

static void aligned_to(pare_buf *b, uint32_t alignment)
{
    one_pair(b);
    gguf_pair_u32(b, "general.alignment", alignment);
}

/* Two F32 tensors of eight numbers, at offsets x and y of data_bytes bytes of data. */
static void two_tensors(pare_buf *b, const char *second, uint64_t x, uint64_t y, size_t data_bytes)
{
    gguf_header(b, 3, 2, 0);
    gguf_info(b, "a.weight", 1, (uint64_t[]){8}, 0, x);
    gguf_info(b, second, 1, (uint64_t[]){8}, 0, y);
    gguf_pad(b, 32);
    gguf_zeros(b, data_bytes);
}

#define CASE(name) static void name(pare_buf *b)

/* rows 1 to 5: what is no GGUF file, or another version */
CASE(empty_file)
{
    (void)b;
}
CASE(short_header)
{
    gguf_header(b, 3, 0, 0);
    b->len = 23;
}
CASE(other_magic)
{
    gguf_bytes(b, "PK\3\4 is not a model at all", 26);
}
CASE(magic_ggjt)
{
    gguf_bytes(b, "tjgg\3\0\0\0", 8);
    gguf_zeros(b, 32);
}
CASE(magic_ggml)
{
    gguf_bytes(b, "ggml", 4);
    gguf_zeros(b, 32);
}
CASE(magic_lmgg)
{
    gguf_bytes(b, "lmgg", 4);
    gguf_zeros(b, 32);
}
CASE(lfs_pointer)
{
    const char *t = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n";
    gguf_bytes(b, t, strlen(t));
}
CASE(version_0)
{
    gguf_header(b, 0, 0, 0);
}
CASE(version_1)
{
    gguf_header(b, 1, 0, 0);
}
CASE(version_4)
{
    gguf_header(b, 4, 0, 0);
}
CASE(big_endian)
{
    gguf_header(b, 0x03000000, 0, 0);
}
CASE(big_endian_magic)
{
    gguf_bytes(b, "FUGG\0\0\0\3", 8);
    gguf_zeros(b, 16);
}

/* rows 6 to 8: counts and lengths */
CASE(tensor_count_2_63)
{
    gguf_header(b, 3, (uint64_t)1 << 63, 0);
}
CASE(tensor_count_2_32)
{
    gguf_header(b, 3, (uint64_t)1 << 32, 0);
}
CASE(pair_count_2_63)
{
    gguf_header(b, 3, 0, (uint64_t)1 << 63);
}
CASE(pair_count_5e8)
{
    gguf_header(b, 3, 0, 500000000);
}
CASE(pair_count_plus_one)
{
    gguf_header(b, 3, 0, 2);
    gguf_pair_str(b, "a", "some text that leaves room");
}
CASE(key_length_max)
{
    one_pair(b);
    gguf_u64(b, UINT64_MAX);
    gguf_zeros(b, 16);
}
CASE(key_length_2_63)
{
    one_pair(b);
    gguf_u64(b, (uint64_t)1 << 63);
    gguf_zeros(b, 16);
}
CASE(key_length_left_plus_one)
{
    one_pair(b);
    gguf_u64(b, 17);
    gguf_zeros(b, 16);
}
CASE(string_length_max)
{
    one_pair(b);
    gguf_str(b, "k");
    gguf_u32(b, 8);
    gguf_u64(b, UINT64_MAX);
}
CASE(string_length_2_63)
{
    one_pair(b);
    gguf_str(b, "k");
    gguf_u32(b, 8);
    gguf_u64(b, (uint64_t)1 << 63);
}
CASE(string_length_left_plus_one)
{
    one_pair(b);
    gguf_str(b, "k");
    gguf_u32(b, 8);
    gguf_u64(b, 1);
}

/* rows 9 to 11: keys */
CASE(key_empty)
{
    one_key(b, "", 0);
}
CASE(key_65535)
{
    char *k = malloc(65536);
    memset(k, 'k', 65536);
    one_key(b, k, 65535);
    free(k);
}
CASE(key_65536)
{
    char *k = malloc(65536);
    memset(k, 'k', 65536);
    one_key(b, k, 65536);
    free(k);
}
CASE(key_nul)
{
    one_key(b, "a\0b", 3);
}
CASE(key_control)
{
    one_key(b, "a\033b", 3);
}
CASE(key_not_ascii)
{
    one_key(b, "caf\xc3\xa9", 5);
}
CASE(key_upper_case)
{
    one_key(b, "General.Name", 12);
}
CASE(key_twice)
{
    gguf_header(b, 3, 0, 3);
    gguf_pair_u32(b, "same", 1);
    gguf_pair_u32(b, "other", 1);
    gguf_pair_str(b, "same", "x");
}

/* rows 12 to 17: values */
static void value_type(pare_buf *b, uint32_t type)
{
    one_pair(b);
    gguf_str(b, "k");
    gguf_u32(b, type);
    gguf_zeros(b, 32);
}
CASE(value_type_13)
{
    value_type(b, 13);
}
CASE(value_type_255)
{
    value_type(b, 255);
}
CASE(value_type_minus_1)
{
    value_type(b, UINT32_MAX);
}
CASE(element_type_13)
{
    one_pair(b);
    gguf_pair_array(b, "k", 13, 1);
    gguf_zeros(b, 32);
}
CASE(array_of_arrays)
{
    one_pair(b);
    gguf_pair_array(b, "k", 9, 1);
    gguf_u32(b, 0);
    gguf_u64(b, 1);
    gguf_u8(b, 7);
}
CASE(array_of_no_arrays)
{
    one_pair(b);
    gguf_pair_array(b, "k", 9, 0);
}
CASE(arrays_a_million_deep)
{
    one_pair(b);
    gguf_pair_array(b, "k", 9, 1);
    for (int i = 0; i < 1000000; i++) {
        gguf_u32(b, 9);
        gguf_u64(b, 1);
    }
}
CASE(array_of_arrays_cut)
{
    one_pair(b);
    gguf_pair_array(b, "k", 9, (uint64_t)1 << 60);
    gguf_zeros(b, 12);
}
CASE(array_too_long)
{
    one_pair(b);
    gguf_pair_array(b, "k", 10, 5);
    gguf_zeros(b, 39);
}
CASE(array_length_2_63)
{
    one_pair(b);
    gguf_pair_array(b, "k", 10, (uint64_t)1 << 63);
    gguf_zeros(b, 39);
}
CASE(array_length_2_61)
{
    one_pair(b);
    gguf_pair_array(b, "k", 10, (uint64_t)1 << 61);
    gguf_zeros(b, 39);
}
CASE(strings_too_many)
{
    one_pair(b);
    gguf_pair_array(b, "k", 8, 5);
    gguf_zeros(b, 39);
}
CASE(string_in_array_too_long)
{
    one_pair(b);
    gguf_pair_array(b, "k", 8, 2);
    gguf_u64(b, 9);
    gguf_zeros(b, 8);
}
CASE(bool_2)
{
    one_pair(b);
    gguf_str(b, "k");
    gguf_u32(b, 7);
    gguf_u8(b, 2);
}
CASE(bool_255)
{
    one_pair(b);
    gguf_str(b, "k");
    gguf_u32(b, 7);
    gguf_u8(b, 255);
}
CASE(bool_2_in_array)
{
    one_pair(b);
    gguf_pair_array(b, "k", 7, 3);
    gguf_bytes(b, "\0\1\2", 3);
}
CASE(text_not_utf8)
{
    one_pair(b);
    gguf_pair_array(b, "tokenizer.ggml.tokens", 8, 2);
    gguf_str(b, "fine");
    gguf_str(b, "\xff\xfe");
}

/* rows 18 to 20: alignment */
CASE(alignment_i32)
{
    one_pair(b);
    gguf_pair_i32(b, "general.alignment", 32);
}
CASE(alignment_string)
{
    one_pair(b);
    gguf_pair_str(b, "general.alignment", "32");
}
CASE(alignment_0)
{
    aligned_to(b, 0);
}
CASE(alignment_4)
{
    aligned_to(b, 4);
}
CASE(alignment_24)
{
    aligned_to(b, 24);
}
CASE(alignment_2_21)
{
    aligned_to(b, 1u << 21);
}
CASE(alignment_2_31)
{
    aligned_to(b, 1u << 31);
}
CASE(alignment_8)
{
    aligned_to(b, 8);
}

/* rows 26 to 28: names */
static const char long_name[] = "0123456789012345678901234567890123456789012345678901234567890123";
CASE(name_63)
{
    one_name(b, long_name, 63);
}
CASE(name_64)
{
    one_name(b, long_name, 64);
}
CASE(name_empty)
{
    one_name(b, "", 0);
}
CASE(name_nul)
{
    one_name(b, "a\0b", 3);
}
CASE(name_escape)
{
    one_name(b, "a\033[2Jb", 6);
}
CASE(name_climbs)
{
    one_name(b, "a/../b", 6);
}
CASE(name_climbs_back)
{
    one_name(b, "..\\b", 4);
}
CASE(name_not_utf8)
{
    one_name(b, "a\xff", 2);
}
CASE(name_twice)
{
    two_tensors(b, "a.weight", 0, 32, 64);
}

/* rows 29 to 33, 36: shapes */
CASE(dims_5)
{
    one_info(b, 5, (uint64_t[]){1, 1, 1, 1, 1}, 0, 0);
}
CASE(dims_max)
{
    gguf_header(b, 3, 1, 0);
    gguf_str(b, "w");
    gguf_u32(b, UINT32_MAX);
    gguf_zeros(b, 64);
}
CASE(dims_0)
{
    one_info(b, 0, NULL, 0, 0);
    gguf_u32(b, 0);
}
CASE(dim_0)
{
    one_info(b, 2, (uint64_t[]){4, 0}, 0, 0);
}
CASE(row_of_0)
{
    one_info(b, 2, (uint64_t[]){0, 4}, 8, 0);
}
CASE(dim_2_63)
{
    one_info(b, 1, (uint64_t[]){(uint64_t)1 << 63}, 24, 0);
}
CASE(dims_int64_max_times_2)
{
    one_info(b, 4, (uint64_t[]){INT64_MAX, 2, 1, 1}, 24, 0);
    gguf_zeros(b, 64);
}
CASE(dims_wrap_to_minus_16)
{
    one_info(b, 3, (uint64_t[]){4, ((uint64_t)1 << 30) - 1, ((uint64_t)1 << 30) + 1}, 0, 0);
    gguf_zeros(b, 64);
}
CASE(dims_wrap_to_0)
{
    one_info(b, 4, (uint64_t[]){(uint64_t)1 << 32, (uint64_t)1 << 32, 1, 1}, 24, 0);
    gguf_zeros(b, 64);
}
CASE(dim_2_42_plus_1)
{
    one_info(b, 2, (uint64_t[]){((uint64_t)1 << 42) + 1, 64}, 0, 0);
    gguf_zeros(b, 64);
}
CASE(row_no_multiple)
{
    one_info(b, 1, (uint64_t[]){33}, 8, 0);
    gguf_zeros(b, 68);
}

/* rows 34, 35: types */
CASE(type_4)
{
    one_info(b, 1, (uint64_t[]){32}, 4, 0);
    gguf_zeros(b, 64);
}
CASE(type_31)
{
    one_info(b, 1, (uint64_t[]){32}, 31, 0);
    gguf_zeros(b, 64);
}
CASE(type_36)
{
    one_info(b, 1, (uint64_t[]){32}, 36, 0);
    gguf_zeros(b, 64);
}
CASE(type_43)
{
    one_info(b, 1, (uint64_t[]){32}, 43, 0);
    gguf_zeros(b, 64);
}
CASE(type_98)
{
    one_info(b, 1, (uint64_t[]){32}, 98, 0);
    gguf_zeros(b, 64);
}
CASE(type_1e9)
{
    one_info(b, 1, (uint64_t[]){32}, 1000000000, 0);
    gguf_zeros(b, 64);
}
CASE(type_max)
{
    one_info(b, 1, (uint64_t[]){32}, UINT32_MAX, 0);
    gguf_zeros(b, 64);
}

/* rows 37 to 43: places */
CASE(offset_unaligned)
{
    one_info(b, 1, (uint64_t[]){1}, 0, 4);
    gguf_zeros(b, 64);
}
CASE(offset_behind_the_end)
{
    one_info(b, 1, (uint64_t[]){1}, 0, 64);
    gguf_zeros(b, 64);
}
CASE(offset_max)
{
    one_info(b, 1, (uint64_t[]){1}, 0, UINT64_MAX - 31);
    gguf_zeros(b, 64);
}
CASE(empty_behind_the_end)
{
    one_info(b, 1, (uint64_t[]){0}, 0, 1 << 20);
}
CASE(past_the_end_by_one)
{
    one_info(b, 1, (uint64_t[]){16}, 0, 0);
    gguf_zeros(b, 63);
}
CASE(overlap)
{
    two_tensors(b, "b.weight", 0, 0, 64);
}
CASE(overlap_in_part)
{
    gguf_header(b, 3, 2, 0);
    gguf_info(b, "a.weight", 1, (uint64_t[]){8}, 0, 32);
    gguf_info(b, "b.weight", 1, (uint64_t[]){9}, 0, 0);
    gguf_pad(b, 32);
    gguf_zeros(b, 64);
}
CASE(gap)
{
    two_tensors(b, "b.weight", 0, 64, 96);
}
CASE(gap_at_the_start)
{
    two_tensors(b, "b.weight", 32, 64, 96);
}
CASE(odd_order)
{
    two_tensors(b, "b.weight", 32, 0, 64);
}
CASE(trailing)
{
    two_tensors(b, "b.weight", 0, 32, 64);
    gguf_bytes(b, "PK", 2);
}
CASE(dirty_padding)
{
    one_info(b, 1, (uint64_t[]){1}, 0, 0);
    gguf_zeros(b, 6);
    gguf_u8(b, 1);
    gguf_zeros(b, 24);
    gguf_u8(b, 'x');
}
CASE(cut_in_the_last_padding)
{
    one_info(b, 1, (uint64_t[]){1}, 0, 0);
    gguf_zeros(b, 31);
}
CASE(cut_in_the_first_padding)
{
    two_tensors(b, "b.weight", 0, 32, 0);
    b->len -= 4;
}
CASE(tiny)
{
    gguf_tiny(b);
}
CASE(tiny_padded)
{
    gguf_tiny(b);
    gguf_pad(b, 32);
}
CASE(nothing_in_it)
{
    gguf_header(b, 3, 0, 0);
}

static void pair_f32(pare_buf *b, const char *key, uint32_t bits)
{
    gguf_str(b, key);
    gguf_u32(b, 6);
    gguf_u32(b, bits);
}

static void llama_pairs(pare_buf *b)
{
    gguf_pair_str(b, "general.architecture", "llama");
    gguf_pair_u32(b, "llama.block_count", 1);
    gguf_pair_u32(b, "llama.context_length", 8);
    gguf_pair_u32(b, "llama.embedding_length", 4);
    gguf_pair_u32(b, "llama.feed_forward_length", 4);
    gguf_pair_u32(b, "llama.attention.head_count", 2);
    pair_f32(b, "llama.attention.layer_norm_rms_epsilon", 0x3727c5ac);
}

static void llama_tensors(pare_buf *b, uint64_t n_tokens)
{
    static const char *const matrices[] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                           "ffn_gate", "ffn_up", "ffn_down"};
    uint64_t offset = (16 * n_tokens + 31) / 32 * 32;
    char name[64];
    gguf_info(b, "token_embd.weight", 2, (uint64_t[]){4, n_tokens}, 0, 0);
    for (size_t i = 0; i < 7; i++, offset += 64) {
        snprintf(name, sizeof name, "blk.0.%s.weight", matrices[i]);
        gguf_info(b, name, 2, (uint64_t[]){4, 4}, 0, offset);
    }
    for (size_t i = 0; i < 3; i++, offset += 32)
        gguf_info(b,
                  i == 0   ? "output_norm.weight"
                  : i == 1 ? "blk.0.attn_norm.weight"
                           : "blk.0.ffn_norm.weight",
                  1, (uint64_t[]){4}, 0, offset);
    gguf_pad(b, 32);
    gguf_zeros(b, offset);
}

/* Whole models of the least size, one with each kind of tokenizer. */
CASE(llama_bpe)
{
    gguf_header(b, 3, 11, 12);
    llama_pairs(b);
    gguf_pair_str(b, "tokenizer.ggml.model", "gpt2");
    gguf_pair_str(b, "tokenizer.ggml.pre", "llama-bpe");
    gguf_pair_array(b, "tokenizer.ggml.tokens", 8, 3);
    gguf_str(b, "a"), gguf_str(b, "b"), gguf_str(b, "ab");
    gguf_pair_array(b, "tokenizer.ggml.token_type", 5, 3);
    gguf_u32(b, 1), gguf_u32(b, 1), gguf_u32(b, 1);
    gguf_pair_array(b, "tokenizer.ggml.merges", 8, 1);
    gguf_str(b, "a b");
    llama_tensors(b, 3);
}
CASE(llama_spm)
{
    gguf_header(b, 3, 11, 13);
    llama_pairs(b);
    gguf_pair_str(b, "tokenizer.ggml.model", "llama");
    gguf_pair_array(b, "tokenizer.ggml.tokens", 8, 4);
    gguf_str(b, "<unk>"), gguf_str(b, "<s>"), gguf_str(b, "<0x0A>"), gguf_str(b, "a");
    gguf_pair_array(b, "tokenizer.ggml.scores", 6, 4);
    gguf_zeros(b, 16);
    gguf_pair_array(b, "tokenizer.ggml.token_type", 5, 4);
    gguf_u32(b, 2), gguf_u32(b, 3), gguf_u32(b, 6), gguf_u32(b, 1);
    gguf_pair_u32(b, "tokenizer.ggml.bos_token_id", 1);
    gguf_pair_u32(b, "tokenizer.ggml.unknown_token_id", 0);
    llama_tensors(b, 4);
}

#define BAD(name, text)                                                                                                \
    {                                                                                                                  \
#name, name, PARE_ERR_FORMAT, text                                                                             \
    }
#define RANGE(name, text)                                                                                              \
    {                                                                                                                  \
#name, name, PARE_ERR_RANGE, text                                                                              \
    }
#define CANNOT(name, text)                                                                                             \
    {                                                                                                                  \
#name, name, PARE_ERR_UNSUPPORTED, text                                                                        \
    }
#define ODD(name, text)                                                                                                \
    {                                                                                                                  \
#name, name, PARE_OK, text                                                                                     \
    }
#define FINE(name)                                                                                                     \
    {                                                                                                                  \
#name, name, PARE_OK, NULL                                                                                     \
    }

const gguf_case gguf_cases[] = {
    BAD(empty_file, "too short: 0 of 24 header bytes"),
    BAD(short_header, "too short: 23 of 24 header bytes"),
    BAD(other_magic, "magic 'PK\\x03\\x04' at offset 0, expected 'GGUF'"),
    CANNOT(magic_ggjt, "old format ggjt"),
    CANNOT(magic_ggml, "old format ggml"),
    CANNOT(magic_lmgg, "old format ggml"),
    BAD(lfs_pointer, "run git lfs pull"),
    CANNOT(version_0, "version 0 at offset 4, supported 2 to 3"),
    CANNOT(version_1, "version 1 at offset 4, supported 2 to 3"),
    CANNOT(version_4, "version 4 at offset 4, supported 2 to 3"),
    CANNOT(big_endian, "big-endian"),
    CANNOT(big_endian_magic, "big-endian"),
    RANGE(tensor_count_2_63, "tensor count 9223372036854775808 at offset 8"),
    RANGE(tensor_count_2_32, "tensor count 4294967296 at offset 8"),
    RANGE(pair_count_2_63, "pair count 9223372036854775808 at offset 16"),
    RANGE(pair_count_5e8, "pair count 500000000 at offset 16"),
    BAD(pair_count_plus_one, "the file ends at byte 71 in metadata pair 2 of 2"),
    BAD(key_length_max, "need 18446744073709551615 bytes, have 16"),
    BAD(key_length_2_63, "need 9223372036854775808 bytes, have 16"),
    BAD(key_length_left_plus_one, "need 17 bytes, have 16"),
    BAD(string_length_max, "pair 1 of 1 ('k')"),
    BAD(string_length_2_63, "need 9223372036854775808 bytes, have 0"),
    BAD(string_length_left_plus_one, "need 1 bytes, have 0"),
    RANGE(key_empty, "length of 0 bytes, allowed 1 to 65535"),
    FINE(key_65535),
    RANGE(key_65536, "length of 65536 bytes, allowed 1 to 65535"),
    BAD(key_nul, "byte 1 is 0x00"),
    BAD(key_control, "byte 1 is 0x1b"),
    BAD(key_not_ascii, "byte 3 is 0xc3"),
    ODD(key_upper_case, "'General.Name'"),
    BAD(key_twice, "key 'same' twice, at offsets 24 and 65"),
    BAD(value_type_13, "key 'k': value type 13"),
    BAD(value_type_255, "key 'k': value type 255"),
    BAD(value_type_minus_1, "key 'k': value type 4294967295"),
    BAD(element_type_13, "key 'k': value type 13"),
    CANNOT(array_of_arrays, "key 'k': an array of arrays"),
    CANNOT(array_of_no_arrays, "key 'k': an array of arrays"),
    RANGE(arrays_a_million_deep, "nested more than 8 deep"),
    BAD(array_of_arrays_cut, "array of arrays"),
    BAD(array_too_long, "5 u64 elements: need 8 bytes each, have 39"),
    BAD(array_length_2_63, "9223372036854775808 u64 elements"),
    BAD(array_length_2_61, "2305843009213693952 u64 elements"),
    BAD(strings_too_many, "5 string elements"),
    BAD(string_in_array_too_long, "need 9 bytes, have 8"),
    RANGE(bool_2, "key 'k': bool at offset 37 is 2"),
    RANGE(bool_255, "is 255, allowed 0 and 1"),
    RANGE(bool_2_in_array, "key 'k': bool at offset 51 is 2"),
    ODD(text_not_utf8, "1 of 2 strings are not UTF-8, the first is 1"),
    BAD(alignment_i32, "'general.alignment' at offset 24 is of type i32, expected u32"),
    BAD(alignment_string, "is of type string, expected u32"),
    RANGE(alignment_0, "is 0, allowed is a power of two from 8 to 1048576"),
    RANGE(alignment_4, "is 4, allowed"),
    RANGE(alignment_24, "is 24, allowed"),
    RANGE(alignment_2_21, "is 2097152, allowed"),
    RANGE(alignment_2_31, "is 2147483648, allowed"),
    FINE(alignment_8),
    FINE(name_63),
    RANGE(name_64, "length of 64 bytes, allowed 1 to 63"),
    RANGE(name_empty, "length of 0 bytes, allowed 1 to 63"),
    BAD(name_nul, "has a control byte"),
    BAD(name_escape, "'a\\x1b[2Jb'"),
    BAD(name_climbs, "has a component '..'"),
    BAD(name_climbs_back, "has a backslash"),
    BAD(name_not_utf8, "'a\\xff' of tensor 1 of 1 at offset 24 is not UTF-8"),
    BAD(name_twice, "tensor 'a.weight' twice"),
    RANGE(dims_5, "5 dimensions at offset 40, allowed 0 to 4"),
    RANGE(dims_max, "4294967295 dimensions"),
    FINE(dims_0),
    FINE(dim_0),
    FINE(row_of_0),
    RANGE(dim_2_63, "dimension 9223372036854775808 at offset 44"),
    RANGE(dims_int64_max_times_2, "(tensor info at offset 24)"),
    RANGE(dims_wrap_to_minus_16, "'w.weight'"),
    RANGE(dims_wrap_to_0, "'w.weight'"),
    RANGE(dim_2_42_plus_1, "'w.weight' at offset 96: need 1125899906842880 bytes, have 64"),
    RANGE(row_no_multiple, "33"),
    CANNOT(type_4, "type number 4 at offset 52: removed type"),
    CANNOT(type_31, "type number 31 at offset 52: removed type"),
    CANNOT(type_36, "type number 36 at offset 52: removed type"),
    CANNOT(type_43, "type number 43"),
    CANNOT(type_98, "type number 98"),
    CANNOT(type_1e9, "type number 1000000000"),
    CANNOT(type_max, "type number 4294967295"),
    RANGE(offset_unaligned, "offset 4 in the data is no multiple of the alignment 32"),
    RANGE(offset_behind_the_end, "need 4 bytes, have 0 (the file has 128)"),
    RANGE(offset_max, "'w.weight': offset 18446744073709551584 in the data overflows"),
    RANGE(empty_behind_the_end, "need 0 bytes, have 0"),
    RANGE(past_the_end_by_one, "tensor 'w.weight' at offset 64: need 64 bytes, have 63"),
    RANGE(overlap, "overlaps tensor 'a.weight'"),
    RANGE(overlap_in_part, "tensor 'a.weight' at offset 160 overlaps tensor 'b.weight' at offset 128 of 36 bytes"),
    ODD(gap, "1 gaps between tensors, the first of 32 bytes before tensor 'b.weight'"),
    ODD(gap_at_the_start, "the first of 32 bytes before tensor 'a.weight'"),
    ODD(odd_order, "tensors are not in the order of their offsets"),
    ODD(trailing, "2 bytes behind the last tensor, from offset 192"),
    ODD(dirty_padding, "2 bytes of padding are not zero, the first at offset 70"),
    BAD(cut_in_the_last_padding, "need 28 bytes, have 27"),
    RANGE(cut_in_the_first_padding, "tensor 'a.weight' at offset 128: need 32 bytes, have 0 (the file has 124)"),
    FINE(tiny),
    FINE(tiny_padded),
    FINE(nothing_in_it),
    FINE(llama_bpe),
    FINE(llama_spm),
};
const size_t n_gguf_cases = sizeof gguf_cases / sizeof gguf_cases[0];
