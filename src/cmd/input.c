#include "cmd/input.h"
#include "cmd/console.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pare_status read_fd(int fd, const char *name, pare_buf *out, pare_error *err)
{
    enum { STEP = 1 << 20 };
    const size_t most = (size_t)4 << 30; /* a text has no size before it ends: a device never does */
    for (;;) {
        if (out->len > most)
            return pare_fail(err, PARE_ERR_RANGE, "%s: more than %zu bytes, the largest text that is read", name, most);
        pare_status st = pare_buf_reserve(out, STEP, err);
        if (st == PARE_OK)
            st = pare_check_interrupt(err);
        if (st != PARE_OK)
            return st;
        ssize_t n = read(fd, out->data + out->len, STEP);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return pare_fail(err, errno == EISDIR ? PARE_ERR_FORMAT : PARE_ERR_IO, "%s: cannot read: %s", name,
                             strerror(errno));
        if (n == 0)
            return PARE_OK;
        out->len += (size_t)n;
        out->data[out->len] = '\0';
    }
}

/* Names of descriptors that the caller gave the program, as <(command) of a shell does: they are open already. */
static bool is_inherited(const char *path)
{
    return strcmp(path, "/dev/stdin") == 0 || strncmp(path, "/dev/fd/", 8) == 0 ||
           strncmp(path, "/proc/self/fd/", 14) == 0;
}

static pare_status check_regular(int fd, const char *path, pare_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return pare_fail(err, PARE_ERR_IO, "%s: cannot stat: %s", path, strerror(errno));
    if (S_ISREG(info.st_mode))
        return PARE_OK;
    return pare_fail(err, PARE_ERR_FORMAT, "%s: is %s, expected a regular file%s", path, pare_kind_of_file(&info),
                     S_ISDIR(info.st_mode) ? "" : ", or - for standard input");
}

pare_status cmd_read_all(const char *path, pare_buf *out, pare_error *err)
{
    if (strcmp(path, "-") == 0)
        return read_fd(STDIN_FILENO, "standard input", out, err);
    bool inherited = is_inherited(path);
    size_t start = out->len;
    int fd = open(path, O_RDONLY | O_CLOEXEC | (inherited ? 0 : O_NONBLOCK)); /* a FIFO is told, not waited for */
    if (fd < 0)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: cannot open: %s", path, strerror(errno));
    pare_status st = inherited ? PARE_OK : check_regular(fd, path, err);
    if (st == PARE_OK && (st = read_fd(fd, path, out, err)) == PARE_OK && out->len > start)
        st = pare_refuse_wrapped(out->data + start, out->len - start, path, err);
    close(fd);
    return st;
}

pare_status cmd_read_tokens(const char *path, const pare_tokenizer *tokenizer, pare_ids *out, pare_digest *digest,
                            pare_error *err)
{
    pare_buf text = {0};
    size_t bad;
    pare_status st = cmd_read_all(path, &text, err);
    if (st == PARE_OK && !pare_utf8_valid(text.data, text.len, &bad))
        st = pare_warn(err, "%s: byte %zu is not UTF-8; such bytes are taken as they are", path, bad);
    if (st == PARE_OK && digest != NULL)
        st = pare_hash_bytes(text.data, text.len, PARE_HASH_SHA256, digest, err);
    if (st == PARE_OK)
        st = pare_tokenize(tokenizer, text.len > 0 ? text.data : "", text.len, PARE_TOKENIZE_BOS, out, err);
    pare_buf_close(&text);
    if (st == PARE_OK)
        cmd_note("%s: %zu tokens", path, out->n);
    return st;
}

/* The vocabulary may leave open whether a text starts with BOS; what the tokenizer does with an empty text tells. */
static pare_status find_bos(const pare_tokenizer *tokenizer, const pare_vocab *vocab, int64_t *bos, pare_error *err)
{
    pare_ids ids = {0};
    pare_status st = pare_tokenize(tokenizer, "", 0, PARE_TOKENIZE_BOS, &ids, err);
    *bos = st == PARE_OK && ids.n > 0 && ids.ids[0] == vocab->bos ? vocab->bos : PARE_TOKEN_NONE;
    free(ids.ids);
    return st;
}

pare_status cmd_open_tokenizer(pare_tokenizer **out, const pare_model *m, int64_t *bos, pare_error *err)
{
    *out = NULL;
    if (!m->has_vocab)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: has no tokenizer", m->path);
    pare_status st = pare_tokenizer_open(out, &m->vocab, err);
    if (st == PARE_OK && bos != NULL)
        st = find_bos(*out, &m->vocab, bos, err);
    return st == PARE_OK ? st : pare_fail_in(err, st, m->path);
}

pare_status cmd_check_vocabularies(const pare_model *a, const pare_model *b, pare_error *err)
{
    size_t n_other = 0, first_other = 0;
    if (!a->has_vocab || !b->has_vocab)
        return PARE_OK; /* sizes are compared with the logits' */
    if (a->vocab.n_tokens != b->vocab.n_tokens)
        return pare_fail(err, PARE_ERR_USAGE,
                         "%s has a vocabulary of %" PRIu32 " tokens and %s one of %" PRIu32 ": they cannot be compared",
                         a->path, a->vocab.n_tokens, b->path, b->vocab.n_tokens);
    for (uint32_t i = 0; i < a->vocab.n_tokens; i++) {
        const pare_str x = a->vocab.tokens[i], y = b->vocab.tokens[i];
        if (x.len == y.len && (x.len == 0 || memcmp(x.data, y.data, x.len) == 0))
            continue;
        if (pare_vocab_type(&a->vocab, i) == PARE_TOKEN_NORMAL && pare_vocab_type(&b->vocab, i) == PARE_TOKEN_NORMAL)
            return pare_fail(err, PARE_ERR_USAGE,
                             "token %" PRIu32 " is '%.*s' in %s and '%.*s' in %s: they cannot be compared", i,
                             (int)x.len, x.data, a->path, (int)y.len, y.data, b->path);
        first_other = n_other++ == 0 ? i : first_other;
    }
    if (n_other == 0)
        return PARE_OK;
    return pare_warn(err, "%s and %s have other names for %zu special tokens, the first of them %zu", a->path, b->path,
                     n_other, first_other);
}
