/* model/vocab: metadata in and out, and metadata that must be refused. */
#include "check.h"
#include "core/bytes.h"
#include "model/pretokenizer.h"
#include "model/vocab.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static pare_error err;

static pare_str str(const char *s)
{
    return (pare_str){s, strlen(s)};
}

/* "a", "b", "ab", "<0x0A>", with a merge, scores, types and ids. */
static void fill(pare_meta *m)
{
    const pare_str tokens[] = {str("a"), str("b"), str("ab"), str("<0x0A>")}, merges[] = {str("a b")};
    const float scores[] = {0, 0, -1, 0};
    const int32_t types[] = {1, 1, 1, 6};
    uint8_t bytes[16], words[16];
    for (int i = 0; i < 4; i++) {
        pare_store_f32le(bytes + 4 * i, scores[i]);
        pare_store_u32le(words + 4 * i, (uint32_t)types[i]);
    }
    *m = (pare_meta){0};
    CHECK_OK(pare_meta_set_str(m, "tokenizer.ggml.model", str("llama"), &err), &err);
    CHECK_OK(pare_meta_set_str(m, "tokenizer.ggml.pre", str("default"), &err), &err);
    CHECK_OK(pare_meta_set_strs(m, "tokenizer.ggml.tokens", tokens, 4, &err), &err);
    CHECK_OK(pare_meta_set_array(m, "tokenizer.ggml.scores", PARE_META_F32, bytes, 4, &err), &err);
    CHECK_OK(pare_meta_set_array(m, "tokenizer.ggml.token_type", PARE_META_I32, words, 4, &err), &err);
    CHECK_OK(pare_meta_set_strs(m, "tokenizer.ggml.merges", merges, 1, &err), &err);
    CHECK_OK(pare_meta_set_u32(m, "tokenizer.ggml.eos_token_id", 3, &err), &err);
    CHECK_OK(pare_meta_set_u32(m, "tokenizer.ggml.bos_token_id", 0, &err), &err);
    CHECK_OK(pare_meta_set_bool(m, "tokenizer.ggml.add_bos_token", false, &err), &err);
    CHECK_OK(pare_meta_set_str(m, "tokenizer.chat_template", str("{{ x }}"), &err), &err);
}

/* Read m, expecting the status and a message that holds both texts; m is closed. */
static void refuses(pare_meta *m, pare_status want, const char *key, const char *said)
{
    pare_vocab v;
    bool found = false;
    pare_status st = pare_vocab_from_meta(&v, m, "t.gguf", &found, &err);
    if (st != want || strstr(err.text, key) == NULL || strstr(err.text, said) == NULL)
        print_error("status %d, '%s'; expected %d with '%s' and '%s'\n", st, err.text, want, key, said);
    CHECK(st == want && strstr(err.text, key) != NULL && strstr(err.text, said) != NULL);
    pare_vocab_close(&v);
    pare_meta_close(m);
}

static void reads_and_writes_the_same(void **state)
{
    (void)state;
    pare_meta in, out = {0};
    pare_vocab v;
    bool found = false;
    fill(&in);
    CHECK_OK(pare_vocab_from_meta(&v, &in, "t.gguf", &found, &err), &err);
    CHECK(found && v.kind == PARE_VOCAB_SPM && v.n_tokens == 4 && v.n_merges == 1);
    CHECK(v.bos == 0 && v.eos == 3 && v.unk == PARE_TOKEN_NONE && v.add_bos == 0 && v.add_eos == -1);
    CHECK(v.scores[2] == -1.0F && pare_vocab_type(&v, 3) == PARE_TOKEN_BYTE);
    CHECK_OK(pare_vocab_to_meta(&v, &out, &err), &err);
    CHECK(out.n == in.n);
    for (size_t i = 0; i < in.n; i++) {
        pare_buf a = {0}, b = {0};
        CHECK(pare_str_equal(out.values[i].key, in.values[i].key.data));
        CHECK_OK(pare_meta_serialize(&in.values[i], &a, &err), &err);
        CHECK_OK(pare_meta_serialize(&out.values[i], &b, &err), &err);
        CHECK(a.len == b.len && memcmp(a.data, b.data, a.len) == 0);
        pare_buf_close(&a);
        pare_buf_close(&b);
    }
    pare_vocab_close(&v);
    pare_meta_close(&in);
    pare_meta_close(&out);
    CHECK_OK(pare_vocab_from_meta(&v, &out, "t.gguf", &found, &err), &err);
    CHECK(!found && v.n_tokens == 0);
}

/* What GGUF has no key for travels as tokenizer.pare.*, and only when it says something. */
/* Llama's places, where the file names no BOS; a token that is not special stays what it is. */
static void takes_usual_special_tokens(void **state)
{
    (void)state;
    for (int control = 0; control < 2; control++) {
        pare_meta m;
        pare_vocab v;
        bool found = false;
        uint8_t types[16];
        fill(&m);
        for (int i = 0; i < 4; i++)
            pare_store_u32le(types + 4 * i, i == 3 ? 6 : i == 1 && control ? 3 : 1);
        CHECK_OK(pare_meta_set_array(&m, "tokenizer.ggml.token_type", PARE_META_I32, types, 4, &err), &err);
        CHECK(pare_meta_remove(&m, "tokenizer.ggml.bos_token_id"));
        CHECK_OK(pare_vocab_from_meta(&v, &m, "t.gguf", &found, &err), &err);
        CHECK(v.bos == (control ? 1 : PARE_TOKEN_NONE) && v.eos == 3);
        pare_vocab_close(&v);
        pare_meta_close(&m);
    }
}

static void keeps_what_gguf_lacks(void **state)
{
    (void)state;
    static const uint8_t attrs[] = {0, PARE_TOKEN_RSTRIP, 0, PARE_TOKEN_LSTRIP | PARE_TOKEN_NORMALIZED};
    pare_meta in, out = {0};
    pare_vocab v, back;
    bool found = false;
    fill(&in);
    CHECK_OK(pare_vocab_from_meta(&v, &in, "t.gguf", &found, &err), &err);
    v.attrs = attrs;
    v.prefix_rule = PARE_PREFIX_FIRST;
    v.split_spaces = 1;
    v.ignore_merges = 0;
    CHECK_OK(pare_vocab_to_meta(&v, &out, &err), &err);
    CHECK(out.n == in.n + 4);
    CHECK_OK(pare_vocab_from_meta(&back, &out, "t.gguf", &found, &err), &err);
    CHECK(memcmp(back.attrs, attrs, sizeof attrs) == 0 && back.prefix_rule == PARE_PREFIX_FIRST);
    CHECK(back.split_spaces == 1 && back.ignore_merges == 0 && back.normalizer == -1);
    pare_vocab_close(&back);
    pare_vocab_close(&v);
    pare_meta_close(&in);
    pare_meta_close(&out);
}

static void refuses_wrong_counts_and_types(void **state)
{
    (void)state;
    static const uint8_t zeros[64];
    const pare_str one[] = {str("a")};
    pare_meta m;
    fill(&m);
    CHECK_OK(pare_meta_set_array(&m, "tokenizer.ggml.scores", PARE_META_F32, zeros, 3, &err), &err);
    refuses(&m, PARE_ERR_FORMAT, "tokenizer.ggml.scores", "3 elements for 4 tokens");
    fill(&m);
    CHECK_OK(pare_meta_set_array(&m, "tokenizer.ggml.scores", PARE_META_U8, zeros, 4, &err), &err);
    refuses(&m, PARE_ERR_FORMAT, "tokenizer.ggml.scores", "u8");
    fill(&m);
    CHECK_OK(pare_meta_set_array(&m, "tokenizer.ggml.token_type", PARE_META_I32, zeros, 5, &err), &err);
    refuses(&m, PARE_ERR_FORMAT, "tokenizer.ggml.token_type", "5 elements for 4 tokens");
    fill(&m);
    CHECK_OK(pare_meta_set_array(&m, "tokenizer.ggml.token_type", PARE_META_F32, zeros, 4, &err), &err);
    refuses(&m, PARE_ERR_FORMAT, "tokenizer.ggml.token_type", "f32");
    fill(&m);
    CHECK_OK(pare_meta_set_u32(&m, "tokenizer.ggml.tokens", 4, &err), &err);
    refuses(&m, PARE_ERR_FORMAT, "tokenizer.ggml.tokens", "u32");
    fill(&m);
    CHECK_OK(pare_meta_set_strs(&m, "tokenizer.ggml.tokens", one, 0, &err), &err);
    refuses(&m, PARE_ERR_RANGE, "tokenizer.ggml.tokens", "0 tokens");
    fill(&m);
    CHECK(pare_meta_remove(&m, "tokenizer.ggml.tokens"));
    refuses(&m, PARE_ERR_FORMAT, "tokenizer.ggml.tokens", "absent");
    fill(&m);
    CHECK_OK(pare_meta_set_bool(&m, "tokenizer.ggml.model", true, &err), &err);
    refuses(&m, PARE_ERR_FORMAT, "tokenizer.ggml.model", "bool");
    fill(&m);
    CHECK_OK(pare_meta_set_u32(&m, "tokenizer.ggml.add_bos_token", 1, &err), &err);
    refuses(&m, PARE_ERR_FORMAT, "tokenizer.ggml.add_bos_token", "bool");
    fill(&m);
    CHECK_OK(pare_meta_set_array(&m, "tokenizer.pare.token_attrs", PARE_META_U8, zeros, 9, &err), &err);
    refuses(&m, PARE_ERR_FORMAT, "tokenizer.pare.token_attrs", "9 elements");
    fill(&m);
    CHECK_OK(pare_meta_set_u32(&m, "tokenizer.pare.prefix_rule", 3, &err), &err);
    refuses(&m, PARE_ERR_RANGE, "tokenizer.pare.prefix_rule", "3");
}

static void refuses_values_out_of_range(void **state)
{
    (void)state;
    uint8_t bytes[16] = {0};
    pare_meta m;
    fill(&m);
    CHECK_OK(pare_meta_set_u32(&m, "tokenizer.ggml.bos_token_id", 4, &err), &err);
    refuses(&m, PARE_ERR_RANGE, "tokenizer.ggml.bos_token_id", "id 4");
    fill(&m);
    CHECK_OK(pare_meta_set_i32(&m, "tokenizer.ggml.eos_token_id", -1, &err), &err);
    refuses(&m, PARE_ERR_RANGE, "tokenizer.ggml.eos_token_id", "id -1");
    fill(&m);
    CHECK_OK(pare_meta_set_u32(&m, "tokenizer.ggml.padding_token_id", UINT32_MAX, &err), &err);
    refuses(&m, PARE_ERR_RANGE, "tokenizer.ggml.padding_token_id", "4294967295");
    fill(&m);
    CHECK_OK(pare_meta_set_u32(&m, "tokenizer.ggml.prefix_token_id", 99, &err), &err);
    refuses(&m, PARE_ERR_RANGE, "tokenizer.ggml.prefix_token_id", "id 99");
    fill(&m);
    CHECK_OK(pare_meta_set_str(&m, "tokenizer.ggml.bos_token_id", str("1"), &err), &err);
    refuses(&m, PARE_ERR_FORMAT, "tokenizer.ggml.bos_token_id", "string");
    fill(&m);
    pare_store_f32le(bytes + 8, NAN);
    CHECK_OK(pare_meta_set_array(&m, "tokenizer.ggml.scores", PARE_META_F32, bytes, 4, &err), &err);
    refuses(&m, PARE_ERR_NUMBER, "tokenizer.ggml.scores", "element 2 is NaN");
    fill(&m);
    pare_store_u32le(bytes + 8, 7);
    CHECK_OK(pare_meta_set_array(&m, "tokenizer.ggml.token_type", PARE_META_I32, bytes, 4, &err), &err);
    refuses(&m, PARE_ERR_RANGE, "tokenizer.ggml.token_type", "element 2 is 7");
}

static void refuses_bad_byte_tokens_and_merges(void **state)
{
    (void)state;
    static const char *const bytes[] = {"<0x-1>", "<0xZZ>", "<0x100>", "<0x1>", "<0X0A>", "0x0A", "", "<0x0A> "};
    static const struct {
        const char *merge, *said;
    } merges[] = {{"ab", "one space"},  {"a  b", "one space"}, {" ab", "one space"},
                  {"ab ", "one space"}, {"", "one space"},     {"a b c", "one space"},
                  {"a z", "right"},     {"z b", "left"},       {"b a", "makes no token"}};
    pare_meta m;
    for (size_t i = 0; i < sizeof bytes / sizeof bytes[0]; i++) {
        const pare_str tokens[] = {str("a"), str("b"), str("ab"), str(bytes[i])};
        fill(&m);
        CHECK_OK(pare_meta_set_strs(&m, "tokenizer.ggml.tokens", tokens, 4, &err), &err);
        refuses(&m, PARE_ERR_FORMAT, "token 3", "<0xHH>");
    }
    for (size_t i = 0; i < sizeof merges / sizeof merges[0]; i++) {
        const pare_str list[] = {str("a b"), str(merges[i].merge)};
        fill(&m);
        CHECK_OK(pare_meta_set_strs(&m, "tokenizer.ggml.merges", list, 2, &err), &err);
        refuses(&m, PARE_ERR_FORMAT, "merge 1", merges[i].said);
    }
}

static void refuses_bad_chat_templates(void **state)
{
    (void)state;
    pare_meta m;
    char *text = check_malloc(PARE_MAX_CHAT_TEMPLATE + 1);
    memset(text, 'x', PARE_MAX_CHAT_TEMPLATE + 1);
    fill(&m);
    CHECK_OK(pare_meta_set_str(&m, "tokenizer.chat_template", (pare_str){text, PARE_MAX_CHAT_TEMPLATE + 1}, &err),
             &err);
    refuses(&m, PARE_ERR_RANGE, "tokenizer.chat_template", "1048577 bytes");
    fill(&m);
    CHECK_OK(pare_meta_set_str(&m, "tokenizer.chat_template.tool", (pare_str){text, PARE_MAX_CHAT_TEMPLATE + 1}, &err),
             &err);
    refuses(&m, PARE_ERR_RANGE, "tokenizer.chat_template.tool", "1048577 bytes");
    fill(&m);
    CHECK_OK(pare_meta_set_str(&m, "tokenizer.chat_template", str("a\xff"), &err), &err);
    refuses(&m, PARE_ERR_FORMAT, "tokenizer.chat_template", "byte 1");
    free(text);
    pare_vocab v;
    bool found = false;
    fill(&m);
    CHECK_OK(pare_meta_set_str(&m, "tokenizer.chat_template.tool", str("t"), &err), &err);
    CHECK_OK(pare_vocab_from_meta(&v, &m, "t.gguf", &found, &err), &err);
    CHECK(v.n_named_templates == 1 && pare_str_equal(v.named_templates[0].name, "tool"));
    CHECK(pare_str_equal(v.named_templates[0].text, "t") && pare_str_equal(v.chat_template, "{{ x }}"));
    pare_vocab_close(&v);
    pare_meta_close(&m);
}

/* Token texts that are not UTF-8 are kept; the readers warn of them, once. */
static void keeps_raw_bytes(void **state)
{
    (void)state;
    const pare_str tokens[] = {str("a"), str("b"), str("ab"), str("<0x0A>"), str("\xff")};
    pare_meta m = {0};
    pare_vocab v;
    bool found = false;
    CHECK_OK(pare_meta_set_str(&m, "tokenizer.ggml.model", str("llama"), &err), &err);
    CHECK_OK(pare_meta_set_strs(&m, "tokenizer.ggml.tokens", tokens, 5, &err), &err);
    CHECK_OK(pare_vocab_from_meta(&v, &m, "t.gguf", &found, &err), &err);
    CHECK(v.tokens[4].len == 1);
    pare_vocab_close(&v);
    pare_meta_close(&m);
}

static void rows_are_found_by_name_and_steps(void **state)
{
    (void)state;
    const pare_pretokenizer *p;
    for (size_t i = 0; (p = pare_pretokenizer_at(i)) != NULL; i++) {
        CHECK(pare_pretokenizer_find(str(p->name)) == p);
        CHECK(pare_pretokenizer_match(p->steps, p->ignore_merges, p->normalizer, p->add_bos) == p);
        for (const char *const *a = p->aliases; a != NULL && *a != NULL; a++)
            CHECK(pare_pretokenizer_find(str(*a)) == p);
    }
    CHECK(pare_pretokenizer_find(str("")) == NULL && pare_pretokenizer_find(str("qwen")) == NULL);
    const pare_pre_step unknown[] = {{PARE_PRE_DIGITS, false, NULL}, {PARE_PRE_END, false, NULL}};
    CHECK(pare_pretokenizer_match(unknown, false, false, false) == NULL);
}

static void alphabet_goes_both_ways(void **state)
{
    (void)state;
    CHECK(pare_byte_alphabet(' ') == 0x120 && pare_byte_alphabet('\n') == 0x10a && pare_byte_alphabet('a') == 'a');
    CHECK(pare_byte_alphabet(0xad) == 0x143 && pare_byte_of_alphabet(0x144) == -1 && pare_byte_of_alphabet(' ') == -1);
    for (int b = 0; b < 256; b++)
        CHECK(pare_byte_of_alphabet(pare_byte_alphabet((uint8_t)b)) == b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_writes_the_same),
        cmocka_unit_test(takes_usual_special_tokens),
        cmocka_unit_test(keeps_what_gguf_lacks),
        cmocka_unit_test(refuses_wrong_counts_and_types),
        cmocka_unit_test(refuses_values_out_of_range),
        cmocka_unit_test(refuses_bad_byte_tokens_and_merges),
        cmocka_unit_test(refuses_bad_chat_templates),
        cmocka_unit_test(keeps_raw_bytes),
        cmocka_unit_test(rows_are_found_by_name_and_steps),
        cmocka_unit_test(alphabet_goes_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
