#include "cmd/build.h"
#include "cmd/console.h"
#include "cmd/device.h"
#include "cmd/doc.h"
#include "cmd/machine.h"
#include "core/threads.h"
#include "eval/backend.h"

#include <cblas.h>
#include <openssl/crypto.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>
#include <utf8proc.h>
#include <xxhash.h>
#include <zstd.h>

/* The variables that pare or its libraries read. */
static const char *const variables[] = {
    "OMP_NUM_THREADS", "OMP_PROC_BIND", "OMP_PLACES",           "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE", "NO_COLOR",
    "CLICOLOR_FORCE",  "TERM",          "CUDA_VISIBLE_DEVICES", "CUDA_MODULE_LOADING",  "PARE_CUDA_PLUGIN",
    "HF_HOME",         "HF_HUB_CACHE",  "OLLAMA_MODELS",
};

static const char *xxhash_version(void)
{
    static char text[32];
    unsigned v = XXH_versionNumber();
    snprintf(text, sizeof text, "%u.%u.%u", v / 10000, v / 100 % 100, v % 100);
    return text;
}

static const char *pcre2_version(void)
{
    static char text[64];
    if (pcre2_config(PCRE2_CONFIG_VERSION, NULL) < (int)sizeof text)
        pcre2_config(PCRE2_CONFIG_VERSION, text);
    return text;
}

static const char *openssl_version(void)
{
    return OpenSSL_version(OPENSSL_VERSION);
}

static const char *openblas_version(void)
{
    return openblas_get_config();
}

static const struct {
    const char *name;
    const char *(*version)(void);
} libraries[] = {
    {"jansson", jansson_version_str}, {"openblas", openblas_version},
    {"openssl", openssl_version},     {"bf16 products", pare_cpu_bf16_library},
    {"pcre2", pcre2_version},         {"utf8proc", utf8proc_version},
    {"xxhash", xxhash_version},       {"zstd", ZSTD_versionString},
};

enum { N_LIBRARIES = sizeof libraries / sizeof libraries[0], N_VARIABLES = sizeof variables / sizeof variables[0] };

static uint64_t memory_bytes(void)
{
    struct sysinfo info;
    return sysinfo(&info) == 0 ? (uint64_t)info.totalram * info.mem_unit : 0;
}

void cmd_doc_version(FILE *out)
{
    fprintf(out, "pare %s\ncommit %s\ncompiler %s (%s)\ncpu features %s\n", CMD_BUILD_VERSION, CMD_BUILD_COMMIT,
            CMD_BUILD_COMPILER, CMD_BUILD_TARGET, cmd_cpu_features());
    cmd_devices_print_plugin(out);
    for (size_t i = 0; i < N_LIBRARIES; i++)
        fprintf(out, "%s %s\n", libraries[i].name, libraries[i].version());
}

static json_t *env_json(void)
{
    json_t *doc = json_object(), *versions = json_object(), *environment = json_object(),
           *names = json_pack("[s]", "cpu");
    json_object_set_new(doc, "version", json_string(CMD_BUILD_VERSION));
    json_object_set_new(doc, "commit", json_string(CMD_BUILD_COMMIT));
    json_object_set_new(doc, "compiler", json_string(CMD_BUILD_COMPILER));
    json_object_set_new(doc, "target", json_string(CMD_BUILD_TARGET));
    json_object_set_new(doc, "cpu", json_string(cmd_cpu_model()));
    json_object_set_new(doc, "cpu_features", json_string(cmd_cpu_features()));
    json_object_set_new(doc, "cpus_online", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    json_object_set_new(doc, "threads", json_integer(pare_threads()));
    cmd_json_u64(doc, "memory_bytes", memory_bytes());
    json_object_set_new(doc, "cuda_toolkit", CMD_BUILD_CUDA[0] != '\0' ? json_string(CMD_BUILD_CUDA) : json_null());
    json_object_set_new(doc, "devices", names);
    json_object_set_new(doc, "cuda", cmd_devices_env(names));
    for (size_t i = 0; i < N_LIBRARIES; i++)
        json_object_set_new(versions, libraries[i].name, json_string(libraries[i].version()));
    json_object_set_new(doc, "libraries", versions);
    for (size_t i = 0; i < N_VARIABLES; i++) {
        const char *value = getenv(variables[i]);
        json_object_set_new(environment, variables[i],
                            value != NULL ? cmd_json_text(value, strlen(value)) : json_null());
    }
    json_object_set_new(doc, "environment", environment);
    return doc;
}

pare_status cmd_env(const cmd_args *args, pare_error *err)
{
    if (cmd_has(args, OPT_JSON))
        return cmd_print_json(args, env_json(), err);
    cmd_doc_version(stdout);
    printf("\ncpu %s\ncpus online %ld\nthreads %d\nmemory %s\n", cmd_cpu_model(), sysconf(_SC_NPROCESSORS_ONLN),
           pare_threads(), cmd_bytes(memory_bytes()));
    cmd_devices_print(stdout);
    printf("cuda toolkit at build %s\n\nenvironment\n", CMD_BUILD_CUDA[0] != '\0' ? CMD_BUILD_CUDA : "not found");
    for (size_t i = 0; i < N_VARIABLES; i++) {
        const char *value = getenv(variables[i]);
        printf("  %s%s%s\n", variables[i], value != NULL ? "=" : " (not set)",
               value != NULL ? cmd_safe(value, strlen(value)) : "");
    }
    return PARE_OK;
}
