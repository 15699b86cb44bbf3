#include "sized_model.h"

#include "check.h"

#include "core/json.h"
#include "quant/preset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_preset(const void *a, const void *b)
{
    return pare_preset_order(((const pare_memory_tensor *)a)->name, ((const pare_memory_tensor *)b)->name);
}

static void choose_types(sized_model *s, const char *preset)
{
    pare_preset_state state;
    pare_error err = {0};
    const pare_preset_model model = {.arch = s->m.arch->name,
                                     .n_layer = s->hp.n_layer,
                                     .n_head = s->hp.n_head,
                                     .n_head_kv = s->hp.n_head_kv,
                                     .n_expert = s->hp.n_expert,
                                     .has_imatrix = true};
    const char **names = check_malloc(s->m.n_tensors * sizeof *names);
    qsort(s->m.tensors, s->m.n_tensors, sizeof *s->m.tensors, by_preset);
    for (size_t i = 0; i < s->m.n_tensors; i++)
        names[i] = s->m.tensors[i].name;
    pare_preset_start(&state, pare_preset_find(preset), &model, names, s->m.n_tensors);
    for (size_t i = 0; i < s->m.n_tensors; i++) {
        pare_memory_tensor *t = &s->m.tensors[i];
        const pare_preset_tensor it = {t->name, t->n_dims, t->dim[t->n_dims - 1], t->type};
        CHECK_OK(pare_preset_choose(&state, &it, &t->type, NULL, &err), &err);
    }
    free(names);
}

static json_t *read_config(const char *config)
{
    json_t *json = config[0] == '{' ? json_loads(config, 0, NULL) : NULL;
    char path[96];
    pare_error err = {0};
    snprintf(path, sizeof path, "tests/data/memory/%s.json", config);
    if (json == NULL)
        CHECK_OK(pare_json_load(&json, source_path(path), 1 << 20, PARE_JSON_BIG_AS_REAL, &err), &err);
    return json;
}

void sized_model_init(sized_model *s, const char *config, const char *preset)
{
    pare_error err = {0};
    json_t *json = read_config(config);
    const char *class = json_string_value(json_array_get(json_object_get(json, "architectures"), 0));
    const pare_arch *arch = pare_arch_find_class(class, NULL);
    *s = (sized_model){0};
    CHECK_OK(pare_hparams_from_config(&s->hp, arch, json, config, &err), &err);
    json_decref(json);
    CHECK_OK(pare_memory_model_on_paper(&s->m, arch, &s->hp, PARE_TYPE_F16, &err), &err);
    if (preset != NULL)
        choose_types(s, preset);
    for (size_t i = 0; i < s->m.n_tensors; i++) {
        const pare_memory_tensor *t = &s->m.tensors[i];
        double n = 1;
        CHECK_OK(pare_memory_retype(&s->m, t->name, t->type, &err), &err); /* bytes follow */
        for (uint32_t d = 0; d < t->n_dims; d++)
            n *= (double)t->dim[d];
        s->n_bytes += t->n_bytes;
        s->n_weights += n;
    }
}
