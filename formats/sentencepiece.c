/* formats/sentencepiece.c - tokenizer.model: the protocol buffer of SentencePiece (sentencepiece_model.proto)
 *
 *   ModelProto      1 repeated SentencePiece, 2 TrainerSpec, 3 NormalizerSpec
 *   SentencePiece   1 piece (text), 2 score (float), 3 type (numbered as in GGUF)
 *   TrainerSpec     3 model_type: 1 unigram, 2 BPE, 3 word, 4 char; 24 treat_whitespace_as_suffix
 *   NormalizerSpec  2 precompiled_charsmap, 3 add_dummy_prefix, 4 remove_extra_whitespaces, 5 escape_whitespaces
 *
 * A field is a key (number << 3 | wire type) and its value: varint, 8 bytes, length and bytes, or 4 bytes. */
#include "core/bytes.h"
#include "core/text.h"
#include "formats/tokenizer_files.h"
#include "formats/tokenizer_parts.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { UNIGRAM = 1, BPE = 2 }; /* model_type */

typedef enum wire { WIRE_VARINT = 0, WIRE_8 = 1, WIRE_BYTES = 2, WIRE_4 = 5 } wire;

typedef struct field {
    uint32_t number;
    wire type;
    uint64_t value;      /* of a varint */
    const uint8_t *data; /* of the others */
    size_t len;
} field;

typedef struct reader {
    const uint8_t *start, *at, *end; /* start is that of the file, for offsets */
    const char *path;
} reader;

static pare_status broken(const reader *r, const char *what, pare_error *err)
{
    return pare_fail(err, PARE_ERR_FORMAT, "%s: offset %zu: %s", r->path, (size_t)(r->at - r->start), what);
}

static pare_status read_varint(reader *r, uint64_t *out, pare_error *err)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (r->at == r->end)
            return broken(r, "a number is cut off", err);
        uint8_t byte = *r->at++;
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return PARE_OK;
    }
    return broken(r, "a number of more than 10 bytes", err);
}

static pare_status read_field(reader *r, field *f, pare_error *err)
{
    uint64_t key = 0, len = 0;
    pare_status st = read_varint(r, &key, err);
    if (st != PARE_OK)
        return st;
    *f = (field){.number = (uint32_t)(key >> 3), .type = (wire)(key & 7)};
    if (key >> 3 == 0 || key >> 3 > 0x1fffffff)
        return broken(r, "a field number outside of 1 to 2^29 - 1", err);
    if (f->type == WIRE_VARINT)
        return read_varint(r, &f->value, err);
    if (f->type == WIRE_BYTES)
        st = read_varint(r, &len, err);
    else if (f->type == WIRE_8 || f->type == WIRE_4)
        len = f->type == WIRE_8 ? 8 : 4;
    else
        return broken(r, "a wire type that SentencePiece does not use", err);
    if (st != PARE_OK)
        return st;
    if (len > (uint64_t)(r->end - r->at))
        return broken(r, "a field reaches behind the end", err);
    f->data = r->at;
    f->len = (size_t)len;
    r->at += len;
    return PARE_OK;
}

static reader inside(const reader *r, const field *f)
{
    return (reader){r->start, f->data, f->data + f->len, r->path};
}

/* True when f is field `number` of the wire type; a known number of another type is an error in *st. */
static bool is_field(const reader *r, const field *f, uint32_t number, wire type, pare_status *st, pare_error *err)
{
    if (f->number != number)
        return false;
    if (f->type != type)
        *st = broken(r, "a field has another type than sentencepiece_model.proto says", err);
    return f->type == type;
}

static pare_status read_piece(pare_vocab *v, pare_token_rows *rows, reader r, pare_error *err)
{
    pare_token_row row = {.type = PARE_TOKEN_NORMAL};
    pare_status st = PARE_OK;
    while (r.at < r.end && st == PARE_OK) {
        field f;
        st = read_field(&r, &f, err);
        if (st != PARE_OK)
            return st;
        if (is_field(&r, &f, 1, WIRE_BYTES, &st, err))
            row.text = pare_vocab_text(v, (pare_str){(const char *)f.data, f.len}, false, err);
        else if (is_field(&r, &f, 2, WIRE_4, &st, err))
            row.score = pare_load_f32le(f.data);
        else if (is_field(&r, &f, 3, WIRE_VARINT, &st, err))
            row.type = f.value >= PARE_TOKEN_NORMAL && f.value <= PARE_TOKEN_BYTE ? (int32_t)f.value : 0;
    }
    if (st != PARE_OK)
        return st;
    if (row.type == 0)
        return broken(&r, "a piece of an unknown type", err);
    if (row.text.data == NULL || row.text.len == 0)
        return broken(&r, "a piece without text", err);
    if (!isfinite(row.score))
        return pare_fail(err, PARE_ERR_NUMBER, "%s: piece %zu: the score is not finite", r.path, rows->n);
    pare_token_row *at = NULL;
    st = pare_token_row_at(rows, rows->n, r.path, &at, err);
    if (st == PARE_OK)
        *at = row;
    return st;
}

static pare_status read_trainer(reader r, uint64_t *model_type, pare_error *err)
{
    pare_status st = PARE_OK;
    *model_type = UNIGRAM; /* the default of the format */
    while (r.at < r.end && st == PARE_OK) {
        field f;
        st = read_field(&r, &f, err);
        if (st != PARE_OK)
            return st;
        if (is_field(&r, &f, 3, WIRE_VARINT, &st, err))
            *model_type = f.value;
        if (is_field(&r, &f, 24, WIRE_VARINT, &st, err) && f.value != 0)
            return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: spaces behind words (treat_whitespace_as_suffix)", r.path);
    }
    return st;
}

static pare_status read_normalizer(pare_vocab *v, reader r, pare_error *err)
{
    pare_status st = PARE_OK;
    while (r.at < r.end && st == PARE_OK) {
        field f;
        st = read_field(&r, &f, err);
        if (st != PARE_OK)
            return st;
        if (is_field(&r, &f, 2, WIRE_BYTES, &st, err) && f.len > 0) {
            v->charsmap = (const uint8_t *)pare_arena_copy(&v->arena, (const char *)f.data, f.len, err);
            v->charsmap_bytes = (uint32_t)f.len; /* files are smaller than 4 GiB */
            if (v->charsmap == NULL)
                return PARE_ERR_MEMORY;
        }
        if (is_field(&r, &f, 3, WIRE_VARINT, &st, err))
            v->add_space_prefix = f.value != 0;
        if (is_field(&r, &f, 4, WIRE_VARINT, &st, err))
            v->remove_extra_whitespaces = f.value != 0;
        if (is_field(&r, &f, 5, WIRE_VARINT, &st, err) && f.value == 0)
            return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: normalizer that keeps spaces (escape_whitespaces)",
                             r.path);
    }
    return st;
}

static pare_status warn_raw_bytes(const pare_token_rows *rows, const char *path, pare_error *err)
{
    size_t n_bad = 0, first = 0;
    for (size_t i = 0; i < rows->n; i++)
        if (!pare_utf8_valid(rows->rows[i].text.data, rows->rows[i].text.len, NULL) && n_bad++ == 0)
            first = i;
    if (n_bad == 0)
        return PARE_OK;
    return pare_warn(err, "%s: %zu of %zu pieces are not UTF-8, the first is %zu", path, n_bad, rows->n, first);
}

pare_status pare_sentencepiece_fill(pare_vocab *v, pare_token_rows *rows, const void *bytes, size_t n, const char *path,
                                    pare_error *err)
{
    static const char *const kinds[] = {"none (no trainer specification)", "unigram", "BPE", "word", "char"};
    const uint8_t *data = bytes;
    reader r = {data, data, data + n, path};
    uint64_t model_type = 0;
    pare_status st = PARE_OK;
    v->kind = PARE_VOCAB_SPM;
    v->add_space_prefix = v->remove_extra_whitespaces = 1; /* defaults of the format */
    while (r.at < r.end && st == PARE_OK) {
        field f;
        st = read_field(&r, &f, err);
        if (st != PARE_OK)
            return st;
        if (is_field(&r, &f, 1, WIRE_BYTES, &st, err))
            st = read_piece(v, rows, inside(&r, &f), err);
        else if (is_field(&r, &f, 2, WIRE_BYTES, &st, err))
            st = read_trainer(inside(&r, &f), &model_type, err);
        else if (is_field(&r, &f, 3, WIRE_BYTES, &st, err))
            st = read_normalizer(v, inside(&r, &f), err);
    }
    if (st == PARE_OK && model_type != UNIGRAM && model_type != BPE)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: SentencePiece model of type %s, supported are unigram and BPE",
                         path, model_type < sizeof kinds / sizeof kinds[0] ? kinds[model_type] : "unknown");
    if (st == PARE_OK && model_type == UNIGRAM) { /* the converter says all of a unigram vocabulary */
        v->kind = PARE_VOCAB_UGM;
        v->prefix_rule = PARE_PREFIX_EACH;
        return warn_raw_bytes(rows, path, err);
    }
    if (st == PARE_OK && v->charsmap != NULL)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: normalizer with a precompiled character map", path);
    /* What GGUF readers take for granted is not said there. */
    v->add_space_prefix = v->add_space_prefix == 1 ? -1 : 0;
    v->remove_extra_whitespaces = v->remove_extra_whitespaces == 1 ? 1 : -1;
    return st == PARE_OK ? warn_raw_bytes(rows, path, err) : st;
}

pare_status pare_sentencepiece_parse(pare_vocab *v, const void *bytes, size_t n, const char *path, pare_error *err)
{
    pare_token_rows rows = {0};
    pare_vocab_init(v);
    pare_status st = pare_sentencepiece_fill(v, &rows, bytes, n, path, err);
    if (st == PARE_OK)
        st = pare_token_rows_finish(&rows, v, 0, path, err);
    if (st == PARE_OK) {
        v->model = v->kind == PARE_VOCAB_UGM ? (pare_str){"t5", 2} : (pare_str){"llama", 5};
        v->pre = (pare_str){"default", 7};
        st = pare_vocab_check(v, path, err);
    }
    pare_token_rows_close(&rows);
    if (st != PARE_OK)
        pare_vocab_close(v);
    return st;
}
