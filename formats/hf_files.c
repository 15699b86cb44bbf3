#include "formats/hf_files.h"
#include "formats/safe_path.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    bool tokenizer;
} files[] = {
    {"config.json", false},
    {"generation_config.json", false},
    {"tokenizer.json", true},
    {"tokenizer.model", true},
    {"tokenizer_config.json", true},
    {"special_tokens_map.json", true},
    {"added_tokens.json", true},
    {"vocab.json", true},
    {"merges.txt", true},
    {"vocab.txt", true},
    {"tekken.json", true},
    {"tiktoken.model", true},
    {"chat_template.jinja", true},
    {"chat_template.json", true},
    {"README.md", false},
    {"LICENSE", false},
    {"LICENSE.txt", false},
    {"LICENSE.md", false},
    {"NOTICE", false},
};

const char *pare_hf_file_name(size_t i)
{
    return i < sizeof files / sizeof *files ? files[i].name : NULL;
}

bool pare_hf_is_tokenizer_file(const char *name)
{
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (strcmp(files[i].name, name) == 0)
            return files[i].tokenizer;
    return false;
}

pare_status pare_hf_list_files(pare_model *m, const char *dir, pare_error *err)
{
    char why[256];
    m->n_side_files = 0;
    m->side_files = pare_arena_alloc(&m->arena, sizeof files / sizeof *files * sizeof *m->side_files, err);
    if (m->side_files == NULL)
        return PARE_ERR_MEMORY;
    for (size_t i = 0; pare_hf_file_name(i) != NULL; i++) {
        const char *name = pare_hf_file_name(i);
        pare_path_state state;
        pare_status st = pare_path_look(&state, dir, name, why, sizeof why, err);
        if (st != PARE_OK)
            return st;
        if (state == PARE_PATH_REFUSED)
            return pare_fail(err, PARE_ERR_FORMAT, "%s/%s: %s", dir, name, why);
        if (state == PARE_PATH_ABSENT)
            continue;
        char *path = pare_path_join(dir, name, err);
        char *kept = path != NULL ? pare_arena_copy(&m->arena, path, strlen(path), err) : NULL;
        free(path);
        if (kept == NULL)
            return PARE_ERR_MEMORY;
        m->side_files[m->n_side_files++] = (pare_side_file){name, kept};
    }
    return PARE_OK;
}

const pare_side_file *pare_hf_find_file(const pare_model *m, const char *name)
{
    for (; m != NULL; m = m->source)
        for (size_t i = 0; i < m->n_side_files; i++)
            if (strcmp(m->side_files[i].name, name) == 0)
                return &m->side_files[i];
    return NULL;
}

pare_status pare_hf_refuse_pickle(const char *dir, const char *name, pare_error *err)
{
    return pare_fail(
        err, PARE_ERR_UNSUPPORTED,
        "%s%s%s: is a Python pickle, which may run code when it is read, so it is not. This makes safetensors "
        "of it without running any: python3 -c \"import sys, torch, safetensors.torch as s; "
        "w = torch.load(sys.argv[1], map_location='cpu', weights_only=True); "
        "s.save_file({k: v.clone().contiguous() for k, v in w.items()}, sys.argv[2])\" %s "
        "model.safetensors",
        dir, *dir != '\0' ? "/" : "", name, name);
}
