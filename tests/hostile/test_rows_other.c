/* Rows 91 to 104 of docs/formats/HOSTILE.md: statistics, logits, archives, locks, signatures and records */
#include "rows.h"
#include "trial.h"
#include "whole.h"

#include "../formats/gguf_bytes.h"
#include "core/bytes.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <zstd.h>

enum { COLUMNS = WHOLE_COLUMNS, ELEM_I32 = 5, ELEM_F32 = 6, ELEM_STR = 8 };

/* The program's own output, kept in the folder. */
static void make(const char *args)
{
    char command[6000];
    snprintf(command, sizeof command,
             "cd '%s' && '%s/pare' %s --quiet >/dev/null 2>.err || { cat .err; exit 1; }; rm -f .err", trial_folder(),
             PARE_BINARY_DIR, args);
    CHECK(system(command) == 0);
}

static int set_up(void **state)
{
    (void)state;
    whole w;
    whole_llama(&w);
    whole_put(&w, "m.gguf");
    whole_close(&w);
    return 0;
}

static void imatrix_refused(int code, pare_buf *b, const char *says)
{
    char parts[300];
    trial_put_buf("im", b);
    pare_buf_close(b);
    snprintf(parts, sizeof parts, "im|%s", says);
    trial_refused(code, parts, "quantize m.gguf -t q4_0 --imatrix im -o out.gguf");
    trial_refused(code, parts, "imatrix m.gguf -f text.txt --ctx 16 --in im -o out.gguf");
}

/* One entry of the old format, as llama-imatrix wrote it before GGUF. */
static void dat(pare_buf *b, int32_t n_entries, int32_t name_len, const char *name, int32_t n_call, int32_t n_val,
                size_t n_values, float v)
{
    gguf_u32(b, (uint32_t)n_entries);
    gguf_u32(b, (uint32_t)name_len);
    gguf_bytes(b, name, strlen(name));
    gguf_u32(b, (uint32_t)n_call);
    gguf_u32(b, (uint32_t)n_val);
    for (size_t i = 0; i < n_values; i++)
        gguf_u32(b, pare_f32_to_bits(v));
    gguf_u32(b, 1); /* last call, and the name of the text */
    gguf_u32(b, 1);
    gguf_bytes(b, "t", 1);
}

#define WEIGHT "blk.0.attn_q.weight"
enum { WEIGHT_LEN = sizeof WEIGHT - 1 };

ROW(091)
{
    const int32_t entries[] = {-1, INT32_MAX, INT32_MIN, 0, (int32_t)trial_between(1000, INT32_MAX)};
    const int32_t values[] = {0, -1, INT32_MAX, INT32_MIN, 33, (int32_t)trial_between(100, INT32_MAX)};
    const int32_t lengths[] = {-1, INT32_MIN, INT32_MAX, 0, (int32_t)trial_between(1000, INT32_MAX)};
    for (size_t i = 0; i < COUNT(entries); i++) {
        pare_buf b = {0};
        dat(&b, entries[i], WEIGHT_LEN, WEIGHT, 1, COLUMNS, COLUMNS, 1);
        imatrix_refused(3, &b, "legacy imatrix|offset");
    }
    for (size_t i = 0; i < COUNT(values); i++) {
        pare_buf b = {0};
        dat(&b, 1, WEIGHT_LEN, WEIGHT, 1, values[i], COLUMNS, 1);
        b.len -= values[i] == 33 ? 9 : 0; /* one value short */
        imatrix_refused(3, &b, "legacy imatrix|");
    }
    for (size_t i = 0; i < COUNT(lengths); i++) {
        pare_buf b = {0};
        dat(&b, 1, lengths[i], WEIGHT, 1, COLUMNS, COLUMNS, 1);
        imatrix_refused(3, &b, "legacy imatrix|offset");
    }
}

/* Statistics in GGUF: one entry of `rows` rows of `columns`, each value v, with counts (n_counts 0: none). */
static void statistics(pare_buf *b, const char *name, uint64_t columns, uint64_t rows, float v, float count,
                       uint64_t n_counts)
{
    char text[80];
    gguf_header(b, 3, n_counts > 0 ? 2 : 1, 4);
    gguf_pair_str(b, "general.type", "imatrix");
    gguf_pair_array(b, "imatrix.datasets", ELEM_STR, 1);
    gguf_str(b, "t");
    gguf_pair_u32(b, "imatrix.chunk_count", 1);
    gguf_pair_u32(b, "imatrix.chunk_size", 16);
    snprintf(text, sizeof text, "%s.in_sum2", name);
    gguf_info(b, text, 2, (uint64_t[]){columns, rows}, 0, 0);
    uint64_t bytes = (4 * columns * rows + 31) / 32 * 32;
    snprintf(text, sizeof text, "%s.counts", name);
    if (n_counts > 0)
        gguf_info(b, text, 2, (uint64_t[]){1, n_counts}, 0, bytes);
    gguf_pad(b, 32);
    for (uint64_t i = 0; i < columns * rows; i++)
        gguf_u32(b, pare_f32_to_bits(v));
    gguf_pad(b, 32);
    for (uint64_t i = 0; i < n_counts; i++)
        gguf_u32(b, pare_f32_to_bits(count));
    gguf_pad(b, 32);
}

ROW(092)
{
    const uint64_t columns[] = {16, 31, 33, 64, trial_between(34, 500)};
    for (size_t i = 0; i < COUNT(columns); i++) {
        pare_buf b = {0}, old = {0};
        statistics(&b, WEIGHT, columns[i], 1, 1, 16, 1);
        imatrix_refused(3, &b, "'" WEIGHT "'");
        dat(&old, 1, WEIGHT_LEN, WEIGHT, 1, (int32_t)columns[i], columns[i], 1);
        imatrix_refused(3, &old, "'" WEIGHT "'");
    }
    pare_buf b = {0}, unknown = {0}, beside = {0};
    statistics(&b, WEIGHT, COLUMNS, 2, 1, 16, 2); /* experts where there are none */
    imatrix_refused(3, &b, "'" WEIGHT "'");
    statistics(&unknown, "blk.7.unheard.weight", COLUMNS, 1, 1, 16, 1);
    imatrix_refused(3, &unknown, "blk.7.unheard.weight"); /* all of them: statistics of another model */
    for (int i = 0; i < 2; i++) {
        gguf_u32(&beside, 2); /* one entry of the model, one that it lacks */
        for (int k = 0; k < 2; k++) {
            const char *name = k == 0 ? WEIGHT : i == 0 ? "blk.7.unheard.weight" : "other";
            gguf_u32(&beside, (uint32_t)strlen(name));
            gguf_bytes(&beside, name, strlen(name));
            gguf_u32(&beside, 1), gguf_u32(&beside, COLUMNS);
            for (int c = 0; c < COLUMNS; c++)
                gguf_u32(&beside, pare_f32_to_bits(1));
        }
        gguf_u32(&beside, 1), gguf_u32(&beside, 1), gguf_bytes(&beside, "t", 1);
        trial_put_buf("im", &beside);
        pare_buf_close(&beside);
        trial_warned_among(i == 0 ? "blk.7.unheard.weight" : "other",
                           "quantize m.gguf -t q4_0 --imatrix im -o out.gguf");
        trial_refused(3, "", "quantize m.gguf -t q4_0 --imatrix im -o out.gguf --strict");
    }
}

ROW(093)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY, -1.0f};
    for (size_t i = 0; i < COUNT(bad); i++) {
        pare_buf b = {0}, old = {0}, count = {0};
        statistics(&b, WEIGHT, COLUMNS, 1, bad[i], 16, 1);
        imatrix_refused(3, &b, "'" WEIGHT);
        dat(&old, 1, WEIGHT_LEN, WEIGHT, 1, COLUMNS, COLUMNS, bad[i]);
        imatrix_refused(3, &old, "'" WEIGHT "'");
        statistics(&count, WEIGHT, COLUMNS, 1, 1, bad[i], 1);
        imatrix_refused(3, &count, "'" WEIGHT);
    }
    pare_buf zero = {0};
    statistics(&zero, WEIGHT, COLUMNS, 1, 0, 16, 1);
    trial_put_buf("im", &zero);
    pare_buf_close(&zero);
    trial_warned_among(WEIGHT "|column", "quantize m.gguf -t q4_0 --imatrix im -o out.gguf");
}

ROW(094)
{
    pare_buf b = {0}, plain = {0};
    statistics(&b, WEIGHT, COLUMNS, 1, 1, 16, 0);
    imatrix_refused(3, &b, "'" WEIGHT ".in_sum2'|.counts");
    gguf_tiny(&plain); /* a GGUF file that is something else */
    imatrix_refused(3, &plain, "imatrix");
    pare_buf model = {0}; /* the same length: nothing moves */
    statistics(&model, WEIGHT, COLUMNS, 1, 1, 16, 1);
    char *type = memmem(model.data, model.len, "\7\0\0\0\0\0\0\0imatrix", 15);
    CHECK(type != NULL);
    memcpy(type + 8, "adapter", 7);
    imatrix_refused(3, &model, "'general.type' is 'adapter'");
    static const char *const texts[] = {"{}", "PK\3\4", "plain text, and no statistics at all", ""};
    for (size_t i = 0; i < COUNT(texts); i++) {
        pare_buf text = {0};
        gguf_bytes(&text, texts[i], strlen(texts[i]));
        imatrix_refused(3, &text, "imatrix");
    }
}

/* llama-perplexity's file of logits: "_logits_", window, vocabulary, windows, ids, codes */
static void kld_base(pare_buf *b, uint32_t n_ctx, int32_t n_vocab, int32_t n_chunk, size_t n_bytes)
{
    gguf_bytes(b, "_logits_", 8);
    gguf_u32(b, n_ctx);
    gguf_u32(b, (uint32_t)n_vocab);
    gguf_u32(b, (uint32_t)n_chunk);
    gguf_zeros(b, n_bytes);
}

ROW(095)
{
    static const struct {
        uint32_t n_ctx;
        int32_t n_vocab, n_chunk;
    } heads[] = {{16, 267, 1},
                 {16, WHOLE_TOKENS, -1},
                 {16, WHOLE_TOKENS, INT32_MAX},
                 {UINT32_MAX, WHOLE_TOKENS, 1},
                 {65536, WHOLE_TOKENS, 65537},
                 {16, -1, 1},
                 {16, 0, 1},
                 {0, WHOLE_TOKENS, 1},
                 {17, WHOLE_TOKENS, 1}};
    for (size_t i = 0; i < COUNT(heads); i++) {
        pare_buf b = {0};
        kld_base(&b, heads[i].n_ctx, heads[i].n_vocab, heads[i].n_chunk, 20000);
        trial_put_buf("base", &b);
        pare_buf_close(&b);
        trial_refused(3, "base", "eval m.gguf -f text.txt --ctx 16 --logits base");
    }
    make("eval m.gguf -f text.txt --ctx 16 --save-logits ref.lgt");
    trial_accepted(NULL, "eval m.gguf -f text.txt --ctx 16 --logits ref.lgt");
    trial_put_text("other.txt",
                   "Another text, which is as long as the first one and says nothing of the best of times at all.\n");
    whole w; /* a vocabulary of as many tokens, of which two changed places */
    whole_llama(&w);
    static const char *const merges[] = {"a s", "t h", "o f", "i t", "i m", "e s", "w o", "a g"};
    whole_strs(&w, "tokenizer.ggml.merges", merges, COUNT(merges));
    whole_u32(&w, "tokenizer.ggml.bos_token_id", 1);
    whole_put(&w, "other.gguf");
    whole_close(&w);
    trial_refused(3, "ref.lgt", "eval m.gguf -f other.txt --ctx 16 --logits ref.lgt");
    trial_refused(3, "ref.lgt", "eval m.gguf -f text.txt --ctx 12 --logits ref.lgt");
    trial_refused(3, "ref.lgt", "eval other.gguf -f text.txt --ctx 16 --logits ref.lgt");
    size_t n;
    uint8_t *bytes = check_read_file(trial_path("ref.lgt"), &n);
    for (int i = 0; i < 4; i++) { /* damaged, cut */
        size_t at = i == 0 ? 20 : i == 1 ? n - 3 : (size_t)trial_between(12, n - 1);
        bytes[at] ^= 0x55;
        trial_put("bad.lgt", bytes, n);
        bytes[at] ^= 0x55;
        trial_refused(3, "bad.lgt", "eval m.gguf -f text.txt --ctx 16 --logits bad.lgt");
        trial_put("bad.lgt", bytes, at);
        trial_refused(3, "bad.lgt", "eval m.gguf -f text.txt --ctx 16 --logits bad.lgt");
    }
    free(bytes);
    trial_remove("bad.lgt");
    trial_remove("other.gguf");
}

/* ---- zstd: nothing that pare reads from outside is compressed by it, so such a file is named and refused ---- */

static void zstd_refused(pare_buf *b)
{
    static const char *const runs[] = {"inspect z",
                                       "verify z",
                                       "reproduce z",
                                       "convert z -o out.gguf",
                                       "quantize z -t q8_0 -o out.gguf",
                                       "quantize m.gguf -t q4_0 --imatrix z -o out.gguf",
                                       "eval m.gguf -f text.txt --ctx 16 --logits z",
                                       "eval m.gguf -f z --ctx 16",
                                       "eval m.gguf --task z"};
    trial_put_buf("z", b);
    pare_buf_close(b);
    trial_limit_data((uint64_t)1 << 29); /* nothing is unpacked to find out */
#ifdef PARE_SANITIZED
    trial_limit_data(0);
#endif
    for (size_t i = 0; i < COUNT(runs); i++)
        trial_refused(3, "z: |zstd", "%s", runs[i]);
    trial_limit_data(0);
}

static void frame(pare_buf *b, int window_log, size_t n)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    void *zeros = calloc(1, n), *out = check_malloc(ZSTD_compressBound(n));
    CHECK(zeros != NULL && c != NULL);
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    if (window_log > 0)
        CHECK(!ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window_log)));
    size_t packed = ZSTD_compress2(c, out, ZSTD_compressBound(n), zeros, n);
    CHECK(!ZSTD_isError(packed));
    gguf_bytes(b, out, packed);
    free(out), free(zeros);
    ZSTD_freeCCtx(c);
}

ROW(096)
{
    pare_buf window = {0}, wrong = {0}, cut = {0};
    static const uint8_t far[] = {0x28,           0xb5, 0x2f, 0xfd, 0x00,
                                  (31 - 10) << 3, 0x01, 0x00, 0x00}; /* RFC 8878: windowLog 31 */
    gguf_bytes(&window, far, sizeof far);
    zstd_refused(&window);
    frame(&wrong, 0, 5000);
    wrong.data[wrong.len - 1] ^= 1;
    zstd_refused(&wrong);
    frame(&cut, 0, 5000);
    cut.len -= 5;
    zstd_refused(&cut);
}

ROW(097)
{
    pare_buf bomb = {0}, lies = {0};
    frame(&bomb, 0, 64 << 20); /* some kilobytes that unpack to 64 MiB */
    zstd_refused(&bomb);
    static const uint8_t tera[] = {0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0,    0,    0,
                                   0,    0,    1,    0,    0,    0x01, 0x00, 0x00}; /* says 1 TiB */
    gguf_bytes(&lies, tera, sizeof tera);
    zstd_refused(&lies);
}

ROW(098)
{
    pare_buf b = {0}, skippable = {0};
    frame(&b, 0, 5000);
    gguf_u32(&b, 0x184d2a5e), gguf_u32(&b, 17); /* a seek table: one entry, its count saying more */
    gguf_u32(&b, (uint32_t)b.len - 8), gguf_u32(&b, 5000);
    gguf_u32(&b, 1000), gguf_u8(&b, 0x7c), gguf_u32(&b, 0x8f92eab1);
    zstd_refused(&b);
    gguf_u32(&skippable, 0x184d2a5e), gguf_u32(&skippable, 9);
    gguf_u32(&skippable, 0), gguf_u8(&skippable, 0), gguf_u32(&skippable, 0x8f92eab1);
    zstd_refused(&skippable);
}

/* ---- locks ---- */

static char *lock_text;

static void new_lock(void)
{
    trial_put_text("note.txt", "a file\n");
    make("pin note.txt -o t.lock");
    size_t n;
    char *bytes = (char *)check_read_file(trial_path("t.lock"), &n);
    lock_text = strndup(bytes, n);
    free(bytes);
}

static void lock_refused(const char *from, const char *to, const char *says)
{
    char *at = strstr(lock_text, from);
    pare_buf b = {0};
    char parts[200];
    CHECK(at != NULL);
    CHECK(pare_buf_printf(&b, NULL, "%.*s%s%s", (int)(at - lock_text), lock_text, to, at + strlen(from)) == PARE_OK);
    trial_put_buf("t.lock", &b);
    pare_buf_close(&b);
    snprintf(parts, sizeof parts, "t.lock|%s", says);
    trial_refused(3, parts, "verify t.lock");
}

static void end_lock(void)
{
    free(lock_text);
    trial_remove("t.lock");
    trial_remove("SHA256SUMS");
}

ROW(099)
{
    char hash[80], bad[120];
    new_lock();
    const char *at = strstr(lock_text, "\"sha256\": \"");
    CHECK(at != NULL);
    snprintf(hash, sizeof hash, "%.64s", at + 11);
    snprintf(bad, sizeof bad, "%.63s", hash);
    lock_refused(hash, bad, "sha256");
    snprintf(bad, sizeof bad, "%s0", hash);
    lock_refused(hash, bad, "sha256");
    snprintf(bad, sizeof bad, "%s", hash);
    for (char *c = bad; *c != '\0'; c++)
        *c = *c >= 'a' && *c <= 'f' ? (char)(*c - 'a' + 'A') : *c;
    lock_refused(hash, bad, "sha256");
    snprintf(bad, sizeof bad, "g%.63s", hash);
    lock_refused(hash, bad, "sha256");
    static const char *const schemas[] = {"0", "2", "-1", "1000000000000", "\"1\"", "1.5", "null"};
    for (size_t i = 0; i < COUNT(schemas); i++) {
        snprintf(bad, sizeof bad, "\"schema\": %s", schemas[i]);
        lock_refused("\"schema\": 1", bad, "schema");
    }
    end_lock();
}

ROW(100)
{
    static const char *const names[] = {
        "/etc/passwd", "../note.txt", "x/../note.txt", "a\\u0000b", "a\\nb", "a\\\\b", "./note.txt", "", "a/",
        "a//b",        "..",          "\\u001b[2J"};
    new_lock();
    for (size_t i = 0; i < COUNT(names); i++) {
        char to[80];
        snprintf(to, sizeof to, "\"name\": \"%s\"", names[i]);
        lock_refused("\"name\": \"note.txt\"", to, "");
    }
    end_lock();
    static const char *const twins[] = {"NOTE.txt", "note.txt", "Note.TXT"};
    for (size_t i = 0; i < COUNT(twins); i++) {
        trial_put_text("note.txt", "a file\n"), trial_put_text("twin.txt", "another\n");
        make("pin note.txt twin.txt -o t.lock");
        size_t n;
        char *bytes = (char *)check_read_file(trial_path("t.lock"), &n);
        lock_text = strndup(bytes, n);
        free(bytes);
        char to[80];
        snprintf(to, sizeof to, "\"name\": \"%s\"", twins[i]);
        lock_refused("\"name\": \"twin.txt\"", to, "note.txt");
        end_lock();
    }
    trial_remove("twin.txt");
    trial_remove("note.txt");
}

/* a special file under the name that a lock lists */
static void put_special(const char *name, int kind)
{
    const char *path = trial_path(name);
    trial_remove(name);
    if (kind == 0)
        CHECK(mkdir(path, 0777) == 0);
    else if (kind == 1)
        CHECK(mkfifo(path, 0666) == 0);
    else if (kind == 2) {
        struct sockaddr_un at = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        CHECK(fd >= 0 && strlen(path) < sizeof at.sun_path);
        strcpy(at.sun_path, path);
        CHECK(bind(fd, (struct sockaddr *)&at, sizeof at) == 0);
        close(fd);
    } else
        CHECK(symlink(kind == 3 ? "/dev/zero" : "/dev/null", path) == 0);
}

ROW(101)
{
    static const char *const kinds[] = {"folder", "FIFO", "socket", "symbolic link", "symbolic link"};
    for (int k = 0; k < (int)COUNT(kinds); k++) {
        trial_put_text("note.txt", "a file\n");
        make("pin note.txt -o t.lock");
        put_special("note.txt", k);
        char says[80];
        snprintf(says, sizeof says, "note.txt|%s", kinds[k]);
        CHECK(strstr(trial_printed(3, says, "verify t.lock --quiet"), "refused") != NULL);
        trial_printed(3, says, "verify SHA256SUMS --quiet");
        trial_remove("note.txt");
        trial_remove("t.lock");
        trial_remove("SHA256SUMS");
    }
    /* as an input itself, of every option that reads a file: told, not waited for */
    static const char *const runs[] = {"inspect s",
                                       "verify s",
                                       "convert s -o o.gguf",
                                       "quantize s -t q8_0 -o o.gguf",
                                       "pin s -o o.lock",
                                       "quantize m.gguf -t q4_0 --imatrix s -o o.gguf",
                                       "imatrix m.gguf -f s -o o.gguf",
                                       "imatrix m.gguf -f text.txt --ctx 16 --in s -o o.gguf",
                                       "eval m.gguf -f s",
                                       "eval m.gguf --task s",
                                       "eval m.gguf -f text.txt --ctx 16 --logits s",
                                       "eval m.gguf -f text.txt --ctx 16 --reference s",
                                       "tokenize m.gguf -f s",
                                       "logits m.gguf --tokens s -o o.bin",
                                       "generate m.gguf -f s",
                                       "verify m.gguf --key s",
                                       "pin m.gguf -o o.lock --sign s",
                                       "pin m.gguf -o o.lock --recipe s",
                                       "report s -o o.html",
                                       "kv m.gguf -f s",
                                       "compare m.gguf m.gguf -f s",
                                       "fit m.gguf --size 1M -f s -o o.gguf"};
    for (size_t i = 0; i < COUNT(runs); i++) {
        static const char *const told[] = {"folder", "FIFO", "socket", "device"};
        int kind = (int)(i + 1) % 4;
        if (kind == 0 && i < 5) /* a folder may be a model */
            kind = 1;
        put_special("s", kind);
        char says[80];
        snprintf(says, sizeof says, "s|%s", kind == 2 || strstr(runs[i], "reference") != NULL ? "" : told[kind]);
        trial_refused(3, says, "%s", runs[i]);
        if (kind != 1) {
            put_special("s", 1);
            trial_refused(3, "s|FIFO", "%s", runs[i]);
        }
    }
    trial_remove("s");
    char command[6000]; /* what the caller opened is read */
    snprintf(
        command, sizeof command,
        "cd '%s' && '%s/pare' tokenize m.gguf -f /dev/stdin <text.txt >/dev/null && cat text.txt | '%s/pare' tokenize "
        "m.gguf -f - >/dev/null && bash -c \"'%s/pare' tokenize m.gguf -f <(cat text.txt) >/dev/null\"",
        trial_folder(), PARE_BINARY_DIR, PARE_BINARY_DIR, PARE_BINARY_DIR);
    CHECK(system(command) == 0);
}

ROW(102)
{
    static const char line[] = "a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447  note.txt";
    char text[300];
    trial_put_text("note.txt", "a file\n");
    snprintf(text, sizeof text, "\xef\xbb\xbf%s\n", line);
    trial_put_text("SHA256SUMS", text);
    trial_refused(3, "SHA256SUMS|byte order mark", "verify SHA256SUMS");
    snprintf(text, sizeof text, "%s\r\n", line);
    trial_put_text("SHA256SUMS", text);
    trial_refused(3, "SHA256SUMS|CR", "verify SHA256SUMS");
    snprintf(text, sizeof text, "%s\n%s\r\n", "b948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447  other",
             line);
    trial_put_text("SHA256SUMS", text);
    trial_refused(3, "SHA256SUMS|line 2|CR", "verify SHA256SUMS");
    char wide[2 * sizeof line + 2] = {'\xff', '\xfe'}; /* UTF-16 */
    for (size_t i = 0; i + 1 < sizeof line; i++)
        wide[2 + 2 * i] = line[i];
    trial_put("SHA256SUMS", wide, 2 * sizeof line);
    trial_refused(3, "SHA256SUMS|byte order mark", "verify SHA256SUMS");
    trial_put("SHA256SUMS", wide + 2, 2 * sizeof line - 2);
    trial_refused(3, "SHA256SUMS|is no lock and no SHA256SUMS", "verify SHA256SUMS");
    trial_put_text("SHA256SUMS", "");
    trial_refused(3, "SHA256SUMS|is no lock and no SHA256SUMS", "verify SHA256SUMS");
    snprintf(text, sizeof text, "%.64s\tnote.txt\n", line);
    trial_put_text("SHA256SUMS", text);
    trial_refused(3, "SHA256SUMS|line 1: expected 64", "verify SHA256SUMS");
    snprintf(text, sizeof text, "g%s\n", line + 1);
    trial_put_text("SHA256SUMS", text);
    trial_refused(3, "SHA256SUMS|line 1: expected 64", "verify SHA256SUMS");
    trial_remove("SHA256SUMS");
}

/* ---- signatures ---- */

static void write_key(const char *name, EVP_PKEY *key, bool private)
{
    FILE *f = fopen(trial_path(name), "w");
    CHECK(f != NULL &&
          (private ? PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) : PEM_write_PUBKEY(f, key)) == 1);
    fclose(f);
}

static json_t *load_bundle(void)
{
    json_t *doc = json_load_file(trial_path("signed/model.sig"), 0, NULL);
    CHECK(doc != NULL);
    return doc;
}

static void put_bundle(json_t *doc)
{
    CHECK(json_dump_file(doc, trial_path("signed/model.sig"), 0) == 0);
    json_decref(doc);
}

/* The statement that is signed, changed and signed again with the owner's key, so that only its content is wrong. */
static void sign_again(EVP_PKEY *key, void (*bend)(json_t *statement))
{
    json_t *doc = load_bundle(), *envelope = json_object_get(doc, "dsseEnvelope");
    const char *payload = json_string_value(json_object_get(envelope, "payload"));
    size_t n = strlen(payload);
    unsigned char *bytes = check_malloc(n);
    int len = EVP_DecodeBlock(bytes, (const unsigned char *)payload, (int)n);
    len -= (payload[n - 1] == '=') + (payload[n - 2] == '=');
    json_t *statement = json_loadb((char *)bytes, (size_t)len, 0, NULL);
    CHECK(statement != NULL);
    bend(statement);
    char *text = json_dumps(statement, JSON_COMPACT), *encoded = check_malloc(2 * strlen(text) + 8);
    EVP_EncodeBlock((unsigned char *)encoded, (unsigned char *)text, (int)strlen(text));
    json_object_set_new(envelope, "payload", json_string(encoded));
    pare_buf pae = {0};
    CHECK(pare_buf_printf(&pae, NULL, "DSSEv1 28 application/vnd.in-toto+json %zu %s", strlen(text), text) == PARE_OK);
    unsigned char signature[256];
    size_t n_signature = sizeof signature;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    CHECK(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
          EVP_DigestSign(ctx, signature, &n_signature, (unsigned char *)pae.data, pae.len) == 1);
    EVP_MD_CTX_free(ctx);
    EVP_EncodeBlock((unsigned char *)encoded, signature, (int)n_signature);
    json_object_set_new(json_array_get(json_object_get(envelope, "signatures"), 0), "sig", json_string(encoded));
    pare_buf_close(&pae);
    free(bytes), free(text), free(encoded);
    json_decref(statement);
    put_bundle(doc);
}

static void other_root(json_t *s)
{
    json_t *digest = json_object_get(json_array_get(json_object_get(s, "subject"), 0), "digest");
    json_object_set_new(digest, "sha256",
                        json_string("a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447"));
}

static void no_resources(json_t *s)
{
    json_array_clear(json_object_get(json_object_get(s, "predicate"), "resources"));
}

static void unchanged(json_t *s)
{
    (void)s;
}

ROW(103)
{
    EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
    write_key("key.pem", key, true);
    write_key("key.pub", key, false);
    write_key("other.pub", other, false);
    CHECK(mkdir(trial_path("signed"), 0777) == 0);
    trial_put_text("signed/note.txt", "a file\n");
    make("pin signed -o signed/pare.lock --sign key.pem");
    trial_printed(0, "signature: ok", "verify signed --key key.pub");
    size_t n;
    uint8_t *good = check_read_file(trial_path("signed/model.sig"), &n);
    sign_again(key, unchanged); /* the change below is what matters, not signing again */
    trial_printed(0, "signature: ok", "verify signed --key key.pub");
    static const char *const types[] = {"application/json", "", "application/vnd.in-toto+json;v=2", "text/plain"};
    static const char run[] = "verify signed --key key.pub";
    for (size_t i = 0; i < COUNT(types); i++) {
        json_t *doc = load_bundle();
        json_object_set_new(json_object_get(doc, "dsseEnvelope"), "payloadType", json_string(types[i]));
        put_bundle(doc);
        trial_refused(3, "model.sig|payloadType", run);
    }
    for (int signatures = 0; signatures <= 3; signatures++) {
        trial_put("signed/model.sig", good, n);
        json_t *doc = load_bundle(), *list = json_object_get(json_object_get(doc, "dsseEnvelope"), "signatures");
        json_t *one = json_deep_copy(json_array_get(list, 0));
        json_array_clear(list);
        for (int i = 0; i < signatures; i++)
            json_array_append(list, one);
        json_decref(one);
        put_bundle(doc);
        if (signatures == 1)
            trial_printed(0, "signature: ok", run);
        else
            trial_refused(3, "model.sig|signature", run);
    }
    trial_put_text("signed/model.sig", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
    trial_refused(3, "model.sig: |LFS pointer", run);
    trial_put("signed/model.sig", good, n);
    sign_again(key, other_root);
    trial_refused(3, "model.sig|", run);
    trial_put("signed/model.sig", good, n);
    sign_again(key, no_resources);
    trial_refused(3, "model.sig|", run);
    trial_put("signed/model.sig", good, n);
    /* another key, and another file: results of the signature and of the files apart */
    trial_printed(1, "signature: different", "verify signed --key other.pub");
    trial_put_text("signed/note.txt", "another\n");
    trial_printed(1, "note.txt", run);
    free(good);
    EVP_PKEY_free(key), EVP_PKEY_free(other);
    trial_remove("signed");
}

/* ---- records ---- */

ROW(104)
{
    make("eval m.gguf -f text.txt --ctx 16 --record r.json");
    trial_printed(0, "record: ok|figures: ok|files: ok", "verify r.json");
    size_t n;
    char *model = (char *)check_read_file(trial_path("m.gguf"), &n);
    size_t places[] = {n - 1, n / 2, (size_t)trial_between(n / 2, n - 1)};
    for (size_t i = 0; i < COUNT(places); i++) { /* another model under the name */
        model[places[i]] ^= 1;
        trial_put("m.gguf", model, n);
        model[places[i]] ^= 1;
        trial_printed(1, "model|files: different", "verify r.json");
    }
    char *at = memmem(model, n, "whole", 5); /* its metadata */
    CHECK(at != NULL);
    *at = 'W';
    trial_put("m.gguf", model, n);
    trial_printed(1, "model|files: different", "verify r.json");
    *at = 'w';
    trial_put("m.gguf", model, n);
    free(model);
    trial_put_text("text.txt", "It was the worst of times, it was the best of times, it was the age of wisdom.\n");
    trial_printed(1, "text|files: different", "verify r.json");
    json_t *doc = json_load_file(trial_path("r.json"), 0, NULL);
    CHECK(doc != NULL && json_is_object(doc));
    char *text = json_dumps(doc, JSON_INDENT(1));
    char *hash = strstr(text, "sha256\": \"");
    CHECK(hash != NULL);
    hash[10] = hash[10] == '0' ? '1' : '0';
    trial_put_text("r.json", text); /* the record itself */
    free(text);
    json_decref(doc);
    trial_printed(1, "record: different", "verify r.json");
    doc = json_load_file(trial_path("r.json"), 0, NULL); /* a record whatever its white space, and not as it was */
    CHECK(doc != NULL && json_dump_file(doc, trial_path("r.json"), JSON_COMPACT) == 0);
    json_decref(doc);
    trial_printed(1, "record: different", "verify r.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_091), cmocka_unit_test(row_092), cmocka_unit_test(row_093), cmocka_unit_test(row_094),
        cmocka_unit_test(row_095), cmocka_unit_test(row_096), cmocka_unit_test(row_097), cmocka_unit_test(row_098),
        cmocka_unit_test(row_099), cmocka_unit_test(row_100), cmocka_unit_test(row_101), cmocka_unit_test(row_102),
        cmocka_unit_test(row_103), cmocka_unit_test(row_104),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
