#include "cmd/machine.h"

#include <stdio.h>
#include <string.h>

const char *cmd_cpu_features(void)
{
    static char text[128];
#if defined(__x86_64__)
    __builtin_cpu_init();
    snprintf(text, sizeof text, "%s%s%s%s%s%s", __builtin_cpu_supports("avx") ? "avx " : "",
             __builtin_cpu_supports("avx2") ? "avx2 " : "", __builtin_cpu_supports("fma") ? "fma " : "",
             __builtin_cpu_supports("avx512f") ? "avx512f " : "", __builtin_cpu_supports("avx512vl") ? "avx512vl " : "",
             __builtin_cpu_supports("avx512vnni") ? "avx512vnni " : "");
    if (text[0] != '\0')
        text[strlen(text) - 1] = '\0';
#endif
    return text;
}

const char *cmd_cpu_model(void)
{
    static char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    char *found = NULL;
    while (f != NULL && found == NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "model name", 10) == 0 && (found = strchr(line, ':')) != NULL)
            found[strcspn(found, "\n")] = '\0';
    if (f != NULL)
        fclose(f);
    return found != NULL ? found + 2 : "unknown";
}
