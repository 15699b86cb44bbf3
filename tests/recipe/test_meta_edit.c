/* Metadata that the user sets: what is read, what is refused, and what must still hold afterwards. */
#include "check.h"
#include "recipe/meta_edit.h"

#include <string.h>

static char warnings[1024];

static void keep_warning(const char *text, void *user)
{
    (void)user;
    strncat(warnings, text, sizeof warnings - strlen(warnings) - 1);
}

static void open_model(pare_model *m)
{
    static const pare_str words[] = {{"a", 1}, {"b", 1}};
    pare_error err = {0};
    *m = (pare_model){.path = "model.gguf"};
    CHECK_OK(pare_meta_set_str(&m->meta, "general.architecture", (pare_str){"zork", 4}, &err), &err);
    CHECK_OK(pare_meta_set_u32(&m->meta, "zork.context_length", 512, &err), &err);
    CHECK_OK(pare_meta_set_f32(&m->meta, "zork.rope.freq_base", 10000, &err), &err);
    CHECK_OK(pare_meta_set_bool(&m->meta, "zork.flag", true, &err), &err);
    CHECK_OK(pare_meta_set_i32(&m->meta, "zork.offset", -4, &err), &err);
    CHECK_OK(pare_meta_set_strs(&m->meta, "tokenizer.ggml.tokens", words, 2, &err), &err);
}

/* Apply edits to a fresh model; *m is open afterwards. */
static pare_status edit(pare_model *m, const char *const *texts, size_t n, pare_error *err)
{
    pare_meta_edit edits[4];
    pare_status st = PARE_OK;
    open_model(m);
    warnings[0] = '\0';
    pare_set_warn_sink(keep_warning, NULL);
    for (size_t i = 0; i < n && st == PARE_OK; i++)
        st = pare_meta_edit_parse(&edits[i], texts[i], err);
    if (st == PARE_OK)
        st = pare_meta_edits_apply(m, edits, n, err);
    pare_set_warn_sink(NULL, NULL);
    return st;
}

/* The value that one edit leaves, which must succeed. */
static pare_meta_value value_of(const char *text, const char *key)
{
    pare_model m;
    pare_error err = {0};
    CHECK_OK(edit(&m, &text, 1, &err), &err);
    const pare_meta_value *v = pare_meta_find(&m.meta, key);
    CHECK(v != NULL);
    pare_meta_value copy = *v;
    pare_model_close(&m); /* a string's bytes go with it */
    return copy;
}

static void refused(const char *text, const char *why)
{
    pare_model m;
    pare_error err = {0};
    if (edit(&m, &text, 1, &err) != PARE_ERR_USAGE || strstr(err.text, why) == NULL)
        fail_msg("%s gives '%s', expected '%s'", text, err.text, why);
    pare_model_close(&m);
}

static void stock_types_become_ggufs(void **state)
{
    (void)state;
    pare_meta_value v = value_of("new.key=int:7", "new.key");
    CHECK(v.type == PARE_META_U32 && v.v.u == 7);
    v = value_of("new.key=int:-7", "new.key");
    CHECK(v.type == PARE_META_I32 && v.v.i == -7);
    v = value_of("new.key=int:5000000000", "new.key");
    CHECK(v.type == PARE_META_U64 && v.v.u == 5000000000u);
    v = value_of("new.key=int:-9223372036854775808", "new.key");
    CHECK(v.type == PARE_META_I64 && v.v.i == INT64_MIN);
    v = value_of("new.key=float:0.1", "new.key");
    CHECK(v.type == PARE_META_F32 && v.v.f == (double)0.1f);
    v = value_of("new.key=bool:true", "new.key");
    CHECK(v.type == PARE_META_BOOL && v.v.u == 1);
    v = value_of("new.key=str:a=b:c", "new.key");
    CHECK(v.type == PARE_META_STRING && v.v.s.len == 5);
    v = value_of("new.key=str:", "new.key");
    CHECK(v.v.s.len == 0);
}

static void a_number_takes_the_type_that_is_there(void **state)
{
    (void)state;
    pare_meta_value v = value_of("zork.offset=int:7", "zork.offset");
    CHECK(v.type == PARE_META_I32 && v.v.i == 7);
    v = value_of("zork.context_length=int:4096", "zork.context_length");
    CHECK(v.type == PARE_META_U32 && v.v.u == 4096 && warnings[0] == '\0');
    v = value_of("zork.rope.freq_base=float:5e5", "zork.rope.freq_base");
    CHECK(v.type == PARE_META_F32 && v.v.f == 500000);
    refused("zork.context_length=int:-1", "is of type u32 in the model, which cannot hold the value");
    refused("zork.context_length=int:4294967296", "cannot hold");
    refused("zork.rope.freq_base=int:5", "is of type f32 in the model, not an integer");
    refused("zork.flag=int:1", "is of type bool in the model");
    v = value_of("zork.context_length=u64:4096", "zork.context_length");
    CHECK(v.type == PARE_META_U64 && strstr(warnings, "is of type u32 in the model and becomes u64") != NULL);
}

static void ranges_and_syntax_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"new.key", "expected KEY=TYPE:VALUE"},
        {"new.key=7", "expected KEY=TYPE:VALUE"},
        {"=int:7", "a key is made of"},
        {"New.key=int:7", "a key is made of"},
        {"new..key=int:7", "a key is made of"},
        {".key=int:7", "a key is made of"},
        {"new.=int:7", "a key is made of"},
        {"new key=int:7", "a key is made of"},
        {"n\xc3\xa9w=int:7", "a key is made of"},
        {"new.key=long:7", "unknown type 'long'"},
        {"new.key=:7", "unknown type ''"},
        {"new.key=int:", "is no whole number"},
        {"new.key=int:7x", "is no whole number"},
        {"new.key=int:1.5", "is no whole number"},
        {"new.key=int:+7", "is no whole number"},
        {"new.key=int:99999999999999999999", "outside of the range"},
        {"new.key=u8:256", "outside of the range of u8"},
        {"new.key=u8:-1", "outside of the range of u8"},
        {"new.key=i8:-129", "outside of the range of i8"},
        {"new.key=i16:32768", "outside of the range of i16"},
        {"new.key=i64:9223372036854775808", "outside of the range of i64"},
        {"new.key=u64:18446744073709551616", "outside of the range of u64"},
        {"new.key=float:nan", "no finite number"},
        {"new.key=float:inf", "no finite number"},
        {"new.key=f32:1e39", "no finite number that f32 holds"},
        {"new.key=f64:", "no finite number"},
        {"new.key=f64: 1", "no finite number"},
        {"new.key=bool:1", "neither true nor false"},
        {"new.key=str:\xff", "not UTF-8"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refused(bad[i].text, bad[i].why);
    CHECK(value_of("new.key=i8:-128", "new.key").v.i == -128);
    CHECK(value_of("new.key=u64:18446744073709551615", "new.key").v.u == UINT64_MAX);
    CHECK(value_of("new.key=f64:1e300", "new.key").v.f == 1e300);
}

static void what_is_not_the_users_is_refused(void **state)
{
    (void)state;
    static const char *const own[] = {"general.file_type=int:1", "general.quantization_version=u32:3",
                                      "quantize.imatrix.file=str:x"};
    static const char *const layout[] = {"general.architecture=str:llama", "general.alignment=u32:64",
                                         "split.count=u16:3", "zork.block_count=int:2"};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        refused(own[i], "pare writes it");
    for (size_t i = 0; i < sizeof layout / sizeof layout[0]; i++)
        refused(layout[i], "it says how the file is to be read");
    refused("tokenizer.ggml.tokens=str:x", "is an array of 2 in the model");
    static const char *const twice[] = {"new.key=int:1", "other=int:1", "new.key=int:2"};
    pare_model m;
    pare_error err = {0};
    CHECK(edit(&m, twice, 3, &err) == PARE_ERR_USAGE && strstr(err.text, "'new.key' is given twice") != NULL);
    pare_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stock_types_become_ggufs),
        cmocka_unit_test(a_number_takes_the_type_that_is_there),
        cmocka_unit_test(ranges_and_syntax_are_checked),
        cmocka_unit_test(what_is_not_the_users_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
