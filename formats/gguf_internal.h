/* formats/gguf_internal.h - what the files of the GGUF reader and writer share. Layout: docs/formats/GGUF.md */
#ifndef PARE_FORMATS_GGUF_INTERNAL_H
#define PARE_FORMATS_GGUF_INTERNAL_H

#include "formats/gguf.h"

enum {
    GGUF_VERSION_MIN = 2,
    GGUF_VERSION = 3,       /* the newest one read, and the one written */
    GGUF_HEADER_BYTES = 24, /* magic, version, tensor count, pair count */
    GGUF_MAX_DIMS = 4,
    GGUF_MAX_NAME = 63,   /* bytes of a tensor's name: stock keeps them in 64 with a terminator */
    GGUF_MAX_KEY = 65535, /* bytes of a key, as the specification says */
    GGUF_ALIGNMENT = 32,  /* when general.alignment is absent */
    GGUF_MIN_ALIGNMENT = 8,
    GGUF_MAX_ALIGNMENT = 1 << 20,
    GGUF_MAX_PARTS = 65535, /* split.count is a u16 */
    /* The largest models have some ten thousand tensors and fifty pairs. So many take no more memory than what is
     * promised for a header, though each takes more than four times the shortest entry; a set is held twice while its
     * parts are put together. */
    GGUF_MAX_TENSORS = 1 << 17,
    GGUF_MAX_SET_TENSORS = 3 << 14,
    GGUF_MAX_PAIRS = 1 << 20
};

#define GGUF_KEY_ALIGNMENT "general.alignment"
#define GGUF_KEY_SPLIT_NO "split.no"
#define GGUF_KEY_SPLIT_COUNT "split.count"
#define GGUF_KEY_SPLIT_TENSORS "split.tensors.count"

/* What general.alignment says, or GGUF_ALIGNMENT. Errors: PARE_ERR_FORMAT (no u32), PARE_ERR_RANGE. */
pare_status pare_gguf_alignment(const pare_meta *meta, const char *path, uint32_t *alignment, pare_error *err);

/* Fill the zeroed m (but for its files) from the n bytes of one file, which must outlive it. On error m is to be
 * closed by the caller. */
pare_status pare_gguf_read(pare_model *m, const uint8_t *bytes, uint64_t n, const char *path, pare_error *err);

/* The file at path could not be mapped as a whole, which err and st say. Its header may say more: when what can be
 * mapped of it is enough to see that it is malformed, that is the error, otherwise st. */
pare_status pare_gguf_judge_front(const char *path, pare_status st, pare_error *err);

/* Turn the offsets of m's tensors, counted from the start of the data, into offsets in the file, point the tensors at
 * their bytes and check where they lie in the n bytes of their file: aligned, inside of it, not overlapping. Warns of
 * gaps, odd order, padding that is not zero (in the first n_mapped bytes) and trailing bytes. header_end: the end of
 * the tensor directory.
 * Errors: PARE_ERR_FORMAT, PARE_ERR_RANGE with the tensor and its offset; PARE_ERR_MEMORY. */
pare_status pare_gguf_place_tensors(pare_model *m, const uint8_t *bytes, uint64_t n_mapped, uint64_t n,
                                    uint64_t header_end, const char *path, pare_error *err);

/* Bytes of a key or name that go into a message: "%.*s" of the rest would push the numbers out of it. */
static inline int pare_gguf_shown(pare_str s)
{
    return s.len < 200 ? (int)s.len : 200;
}

/* "<prefix>-00002-of-00003.gguf", part counted from 1, appended to out. */
pare_status pare_gguf_part_name(pare_buf *out, const char *prefix, size_t prefix_len, uint32_t part, uint32_t n_parts,
                                pare_error *err);

#endif
