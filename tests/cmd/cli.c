#include "cli.h"

#include <dirent.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

const char *cli_folder(void)
{
    static char folder[512];
    if (folder[0] == '\0') {
        snprintf(folder, sizeof folder, "%s", temp_dir());
        setenv("PARE", PARE_BINARY_DIR "/pare", 1);
        setenv("DEMO", PARE_SOURCE_DIR "/tests/data/demo", 1);
        setenv("TEXT", PARE_SOURCE_DIR "/tests/data/demo/text.txt", 1);
        unsetenv("CLICOLOR_FORCE");
        unsetenv("PARE_CUDA_PLUGIN");
        setenv("CUDA_VISIBLE_DEVICES", "", 1); /* what is not about a device is the same with and without one */
    }
    return folder;
}

static char *slurp(const char *name)
{
    char path[600];
    size_t n = 0;
    snprintf(path, sizeof path, "%s/%s", cli_folder(), name);
    char *bytes = (char *)check_read_file(path, &n);
    char *text = realloc(bytes, n + 1);
    CHECK(text != NULL);
    text[n] = '\0';
    return text;
}

static cli_result run_command(const char *command)
{
    static cli_result last;
    char line[4096];
    free(last.out);
    free(last.err);
    int n = snprintf(line, sizeof line, "cd '%s' && { %s ; } >.stdout 2>.stderr </dev/null", cli_folder(), command);
    CHECK(n > 0 && (size_t)n < sizeof line);
    int status = system(line);
    last.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    last.out = slurp(".stdout");
    last.err = slurp(".stderr");
    return last;
}

cli_result cli_run(const char *fmt, ...)
{
    char command[3072];
    va_list args;
    va_start(args, fmt);
    vsnprintf(command, sizeof command, fmt, args);
    va_end(args);
    return run_command(command);
}

cli_result cli_expect(int code, const char *fmt, ...)
{
    char command[3072];
    va_list args;
    va_start(args, fmt);
    vsnprintf(command, sizeof command, fmt, args);
    va_end(args);
    cli_result r = run_command(command);
    if (r.code != code) {
        print_message("%s\nexit code %d, expected %d\nstdout: %s\nstderr: %s\n", command, r.code, code, r.out, r.err);
        CHECK(r.code == code);
    }
    return r;
}

json_t *cli_json(const cli_result *r)
{
    json_error_t why;
    json_t *doc = json_loads(r->out, JSON_REJECT_DUPLICATES, &why);
    if (doc == NULL)
        print_message("%s\n%s\n", why.text, r->out);
    CHECK(doc != NULL);
    CHECK(json_is_integer(json_object_get(doc, "schema")));
    return doc;
}

double cli_number(const json_t *doc, const char *key)
{
    const json_t *value = json_object_get(doc, key);
    if (!json_is_number(value))
        print_message("no number '%s'\n", key);
    CHECK(json_is_number(value));
    return json_number_value(value);
}

bool cli_contains(const char *text, const char *part)
{
    if (strstr(text, part) != NULL)
        return true;
    print_message("'%s' is not in: %s\n", part, text);
    return false;
}

size_t cli_count_lines(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n;
}

size_t cli_count_temporaries(void)
{
    size_t n = 0;
    DIR *dir = opendir(cli_folder());
    CHECK(dir != NULL);
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        n += strstr(e->d_name, ".part.") != NULL;
    closedir(dir);
    return n;
}

void cli_write_key(const char *name, EVP_PKEY *key, bool private)
{
    char path[5000];
    snprintf(path, sizeof path, "%s/%s", cli_folder(), name);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL &&
          (private ? PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) : PEM_write_PUBKEY(file, key)) == 1);
    fclose(file);
}
