/* tests/memory/paper_model.c - a GGUF file of a model that there is only a config.json of, without the weights' bytes
 *
 *   paper_model CONFIG.json TYPE OUT.gguf
 *
 * The file has the right size and no content behind its header (a hole, where the file system has such), which is all
 * that llama.cpp needs to say what it would allocate. For scripts/memory_reference.sh. */
#include "core/json.h"
#include "core/text.h"
#include "memory/memory.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int fail(const char *what)
{
    fprintf(stderr, "paper_model: %s\n", what);
    return 1;
}

static void put(FILE *f, const void *data, size_t n)
{
    fwrite(data, 1, n, f);
}

static void put_u64(FILE *f, uint64_t v)
{
    put(f, &v, sizeof v);
}

static void put_str(FILE *f, const char *s, size_t n)
{
    put_u64(f, n);
    put(f, s, n);
}

static bool put_meta(FILE *f, const pare_meta *meta, pare_error *err)
{
    pare_buf b = {0};
    bool ok = true;
    for (size_t i = 0; i < meta->n && ok; i++) {
        b.len = 0;
        ok = pare_meta_serialize(&meta->values[i], &b, err) == PARE_OK;
        put_str(f, meta->values[i].key.data, meta->values[i].key.len);
        put(f, b.data, b.len);
    }
    pare_buf_close(&b);
    return ok;
}

static uint64_t put_tensors(FILE *f, const pare_memory_model *m)
{
    uint64_t offset = 0;
    for (size_t i = 0; i < m->n_tensors; i++) {
        const pare_memory_tensor *t = &m->tensors[i];
        uint32_t n = t->n_dims, type = (uint32_t)pare_type_get(t->type)->gguf;
        put_str(f, t->name, strlen(t->name));
        put(f, &n, sizeof n);
        while (n-- > 0)
            put_u64(f, t->dim[n]);
        put(f, &type, sizeof type);
        put_u64(f, offset);
        offset += (t->n_bytes + 31) & ~UINT64_C(31);
    }
    return offset;
}

static int write_model(const pare_memory_model *m, const char *path, pare_error *err)
{
    pare_meta meta = {0};
    uint32_t version = 3;
    FILE *f = fopen(path, "wb");
    if (f == NULL)
        return fail(path);
    pare_str name = {m->arch->name, strlen(m->arch->name)};
    bool ok = pare_meta_set_str(&meta, "general.architecture", name, err) == PARE_OK &&
              pare_hparams_to_meta(m->hp, m->arch, 1, &meta, err) == PARE_OK;
    put(f, "GGUF", 4);
    put(f, &version, sizeof version);
    put_u64(f, m->n_tensors);
    put_u64(f, meta.n);
    ok = ok && put_meta(f, &meta, err);
    uint64_t bytes = put_tensors(f, m);
    long end = (ftell(f) + 31) & ~31L;
    ok = fflush(f) == 0 && ftruncate(fileno(f), end + (long)bytes) == 0 && ok;
    fclose(f);
    pare_meta_close(&meta);
    return ok ? 0 : fail(err->text);
}

int main(int argc, char **argv)
{
    static pare_hparams hp;
    pare_error err = {0};
    pare_memory_model m = {0};
    json_t *config = NULL;
    if (argc != 4)
        return fail("usage: paper_model CONFIG.json TYPE OUT.gguf");
    if (pare_json_load(&config, argv[1], 1 << 20, PARE_JSON_BIG_AS_REAL, &err) != PARE_OK)
        return fail(err.text);
    const char *class = json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    const pare_arch *arch = class != NULL ? pare_arch_find_class(class, NULL) : NULL;
    if (arch == NULL || pare_hparams_from_config(&hp, arch, config, argv[1], &err) != PARE_OK ||
        pare_memory_model_on_paper(&m, arch, &hp, pare_type_from_name(argv[2]), &err) != PARE_OK)
        return fail(arch == NULL ? "no such architecture" : err.text);
    int rc = write_model(&m, argv[3], &err);
    pare_memory_model_close(&m);
    json_decref(config);
    return rc;
}
