#include "formats/hf_meta.h"
#include "core/json.h"
#include "core/map.h"
#include "formats/hf_files.h"
#include "formats/model_card.h"
#include "formats/model_id.h"
#include "formats/safe_path.h"
#include "formats/store.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CARD_BYTES = 1 << 20 };

static pare_status set_text(pare_meta *meta, const char *key, const char *text, pare_error *err)
{
    return text[0] == '\0' ? PARE_OK : pare_meta_set_str(meta, key, (pare_str){text, strlen(text)}, err);
}

/* One sampling parameter of generation_config.json; a value of another kind is left out with a warning. */
static pare_status set_sampling(pare_meta *meta, const char *key, bool integer, const json_t *v, const char *path,
                                pare_error *err)
{
    if (v == NULL || json_is_null(v))
        return PARE_OK;
    double x = json_number_value(v);
    if (!json_is_number(v) || !isfinite(x) || (integer && (x != floor(x) || fabs(x) > INT32_MAX)))
        return pare_warn(err, "%s: the value for '%s' is no %s and is left out", path, key,
                         integer ? "integer" : "number");
    return integer ? pare_meta_set_i32(meta, key, (int32_t)x, err) : pare_meta_set_f32(meta, key, (float)x, err);
}

/* generation_config.json: names of the Hub, the one that wins first. */
static pare_status add_sampling(pare_meta *meta, const char *dir, pare_error *err)
{
    static const struct {
        const char *key, *hf, *hf_other;
        bool integer;
    } rows[] = {
        {"general.sampling.top_k", "top_k", NULL, true},
        {"general.sampling.top_p", "top_p", NULL, false},
        {"general.sampling.min_p", "min_p", NULL, false},
        {"general.sampling.xtc_probability", "xtc_probability", NULL, false},
        {"general.sampling.xtc_threshold", "xtc_threshold", NULL, false},
        {"general.sampling.temp", "temperature", NULL, false},
        {"general.sampling.penalty_last_n", "penalty_last_n", NULL, true},
        {"general.sampling.penalty_repeat", "penalty_repeat", "repetition_penalty", false},
        {"general.sampling.mirostat", "mirostat", NULL, true},
        {"general.sampling.mirostat_tau", "mirostat_tau", NULL, false},
        {"general.sampling.mirostat_eta", "mirostat_eta", NULL, false},
    };
    char why[128];
    json_t *config = NULL;
    pare_path_state state;
    pare_status st = pare_path_look(&state, dir, "generation_config.json", why, sizeof why, err);
    if (st != PARE_OK || state == PARE_PATH_ABSENT)
        return st;
    char *path = pare_path_join(dir, "generation_config.json", err);
    if (path == NULL)
        return PARE_ERR_MEMORY;
    st = pare_json_load(&config, path, PARE_HF_CONFIG_BYTES, PARE_JSON_BIG_AS_REAL, err);
    for (size_t i = 0; i < sizeof rows / sizeof *rows && st == PARE_OK; i++) {
        const json_t *v = json_object_get(config, rows[i].hf);
        if (v == NULL && rows[i].hf_other != NULL)
            v = json_object_get(config, rows[i].hf_other);
        st = set_sampling(meta, rows[i].key, rows[i].integer, v, path, err);
    }
    json_decref(config);
    free(path);
    return st;
}

static void take(char *dst, const char *src)
{
    if (dst[0] == '\0')
        memcpy(dst, src, PARE_MODEL_ID_TEXT);
}

static void take_title(char *dst, const char *src)
{
    if (dst[0] == '\0')
        pare_model_id_title(dst, PARE_MODEL_ID_TEXT, src);
}

/* What a name adds to what is known already. */
static void add_name(pare_model_id *known, const char *name, uint64_t n_params)
{
    pare_model_id id;
    pare_model_id_parse(&id, name, n_params);
    take_title(known->name, id.name);
    take_title(known->organization, id.organization);
    take(known->basename, id.basename);
    take(known->finetune, id.finetune);
    take(known->version, id.version);
    take(known->size_label, id.size_label);
}

/* The folder's own name, even when it is given as "."; of a snapshot in the Hub's cache, which is called by its commit,
 * the repository's. */
char *pare_hf_folder_name(const char *dir, pare_error *err)
{
    char *real = realpath(dir, NULL);
    size_t len;
    if (real == NULL) {
        pare_fail(err, PARE_ERR_FORMAT, "%s: cannot be resolved", dir);
        return NULL;
    }
    const char *slash = strrchr(real, '/'), *repository = pare_store_snapshot(real, &len);
    if (repository != NULL) {
        const char *dashes = memmem(repository, len, "--", 2), *name = dashes != NULL ? dashes + 2 : repository;
        len -= (size_t)(name - repository);
        memmove(real, name, len);
        real[len] = '\0';
    } else if (slash != NULL) {
        memmove(real, slash + 1, strlen(slash + 1) + 1);
    }
    return real;
}

static size_t count_slashes(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += *text == '/';
    return n;
}

/* ---- the model card ---- */

/* README.md's front matter as an object; an empty one when there is none. The caller frees *card. */
static pare_status read_card(const char *dir, json_t **card, pare_error *err)
{
    pare_map file = {0};
    char *path = NULL;
    pare_status st = pare_path_find(&path, dir, "README.md", err);
    if (st == PARE_OK && path == NULL)
        return pare_model_card_parse(card, "", 0, err);
    if (st == PARE_OK)
        st = pare_map_open(&file, path, err);
    size_t n = file.size < MAX_CARD_BYTES ? (size_t)file.size : MAX_CARD_BYTES;
    if (st == PARE_OK)
        st = pare_model_card_parse(card, file.data != NULL ? (const char *)file.data : "", n, err);
    pare_map_close(&file);
    free(path);
    return st;
}

/* The text under the first of the keys (up to three) that has one; "" when none has. */
static const char *card_text(const json_t *card, const char *const keys[3])
{
    for (size_t i = 0; i < 3 && keys[i] != NULL; i++) {
        const char *text = json_string_value(json_object_get(card, keys[i]));
        if (text != NULL)
            return text;
    }
    return "";
}

/* A list, or a text as a list of one. */
static size_t item_count(const json_t *v)
{
    return json_is_array(v) ? json_array_size(v) : json_is_string(v) ? 1 : 0;
}

static const char *item_text(const json_t *v, size_t i)
{
    return json_string_value(json_is_array(v) ? json_array_get(v, i) : v);
}

/* All texts under two keys as one array. */
static pare_status set_texts(pare_meta *meta, const char *key, const json_t *card, const char *first,
                             const char *second, pare_error *err)
{
    const json_t *lists[2] = {json_object_get(card, first), json_object_get(card, second)};
    size_t n = item_count(lists[0]) + item_count(lists[1]), at = 0;
    pare_str *texts = n > 0 ? malloc(n * sizeof *texts) : NULL;
    if (n == 0)
        return PARE_OK;
    if (texts == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu texts", n);
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < item_count(lists[k]); i++) {
            const char *text = item_text(lists[k], i);
            texts[at++] = (pare_str){text, strlen(text)};
        }
    pare_status st = pare_meta_set_strs(meta, key, texts, n, err);
    free(texts);
    return st;
}

static pare_status set_part(pare_meta *meta, const char *group, size_t i, const char *part, const char *text,
                            pare_error *err)
{
    char key[64];
    snprintf(key, sizeof key, "general.%s.%zu.%s", group, i, part);
    return set_text(meta, key, text, err);
}

/* One model or data set that the card names: by an address, or as "org/name" of the Hub. */
static pare_status set_origin(pare_meta *meta, const char *group, size_t i, const char *text, uint64_t n_params,
                              pare_error *err)
{
    static const char *const hubs[] = {"https://huggingface.co/", "http://huggingface.co/"};
    static const char *const addresses[] = {"https://", "http://", "ssh://"};
    char title[PARE_MODEL_ID_TEXT], url[2 * PARE_MODEL_ID_TEXT + 32] = "";
    pare_model_id id = {0};
    bool address = false;
    for (size_t k = 0; k < sizeof addresses / sizeof *addresses; k++)
        address = address || strncmp(text, addresses[k], strlen(addresses[k])) == 0;
    for (size_t k = 0; k < sizeof hubs / sizeof *hubs && address; k++) {
        const char *rest = text + strlen(hubs[k]);
        if (strncmp(text, hubs[k], strlen(hubs[k])) == 0 && count_slashes(rest) == 1 && rest[0] != '/' &&
            rest[strlen(rest) - 1] != '/')
            pare_model_id_parse(&id, rest, n_params);
    }
    if (!address) {
        pare_model_id_parse(&id, text, n_params);
        if (id.organization[0] != '\0')
            snprintf(url, sizeof url, "%s%s/%s", hubs[0], id.organization, id.name);
    }
    pare_status st = set_part(meta, group, i, "name", pare_model_id_title(title, sizeof title, id.name), err);
    if (st == PARE_OK)
        st = set_part(meta, group, i, "version", id.version, err);
    if (st == PARE_OK)
        st = set_part(meta, group, i, "organization", pare_model_id_title(title, sizeof title, id.organization), err);
    return st == PARE_OK ? set_part(meta, group, i, "repo_url", address ? text : url, err) : st;
}

static pare_status set_origins(pare_meta *meta, const char *group, const json_t *card, const char *const keys[3],
                               uint64_t n_params, pare_error *err)
{
    const json_t *list = NULL;
    char key[64];
    for (size_t i = 0; i < 3 && list == NULL; i++)
        list = json_object_get(card, keys[i]);
    size_t n = item_count(list);
    if (n == 0)
        return PARE_OK;
    snprintf(key, sizeof key, "general.%s.count", group);
    pare_status st = pare_meta_set_u32(meta, key, (uint32_t)n, err);
    for (size_t i = 0; i < n && st == PARE_OK; i++)
        st = set_origin(meta, group, i, item_text(list, i), n_params, err);
    return st;
}

/* "license" may be a list, which stock joins with commas. */
static pare_status set_license(pare_meta *meta, const json_t *card, pare_error *err)
{
    const json_t *v = json_object_get(card, "license");
    pare_buf text = {0};
    pare_status st = PARE_OK;
    for (size_t i = 0; i < item_count(v) && st == PARE_OK; i++)
        st = pare_buf_printf(&text, err, "%s%s", i > 0 ? "," : "", item_text(v, i));
    if (st == PARE_OK && text.len > 0)
        st = set_text(meta, "general.license", text.data, err);
    pare_buf_close(&text);
    return st;
}

/* What stands behind size_label in stock's order. */
static pare_status set_card_rest(pare_meta *meta, const json_t *card, uint64_t n_params, pare_error *err)
{
    static const struct {
        const char *key, *names[3];
    } texts[] = {
        {"general.license.name", {"license_name"}},      {"general.license.link", {"license_link"}},
        {"general.source.url", {"url", "model_url"}},    {"general.source.doi", {"doi", "model_doi"}},
        {"general.source.uuid", {"uuid", "model_uuid"}}, {"general.source.repo_url", {"repo_url", "model_repo_url"}}};
    static const char *const bases[3] = {"base_model", "base_models", "base_model_sources"};
    static const char *const datasets[3] = {"datasets", "dataset", "dataset_sources"};
    pare_status st = set_license(meta, card, err);
    for (size_t i = 0; i < sizeof texts / sizeof *texts && st == PARE_OK; i++)
        st = set_text(meta, texts[i].key, card_text(card, texts[i].names), err);
    if (st == PARE_OK)
        st = set_origins(meta, "base_model", card, bases, n_params, err);
    if (st == PARE_OK)
        st = set_origins(meta, "dataset", card, datasets, n_params, err);
    if (st == PARE_OK)
        st = set_texts(meta, "general.tags", card, "tags", "pipeline_tag", err);
    return st == PARE_OK ? set_texts(meta, "general.languages", card, "languages", "language", err) : st;
}

/* Names: the card's word as it is, else what the folder's name says. */
static pare_status set_names(pare_meta *meta, const json_t *card, const pare_model_id *id, pare_error *err)
{
    const struct {
        const char *key, *names[3], *other;
    } texts[] = {{"general.name", {"name", "model_name"}, id->name},
                 {"general.author", {"author", "model_author", "model_creator"}, ""},
                 {"general.version", {"version", "model_version"}, id->version},
                 {"general.organization", {"organization", "model_organization"}, id->organization},
                 {"general.finetune", {"finetune", "model_finetune"}, id->finetune},
                 {"general.basename", {"basename", "model_basename", "model_type"}, id->basename},
                 {"general.description", {"description", "model_description"}, ""},
                 {"general.size_label", {"size_label", "model_size_label"}, id->size_label}};
    pare_status st = PARE_OK;
    for (size_t i = 0; i < sizeof texts / sizeof *texts && st == PARE_OK; i++) {
        const char *said = card_text(card, texts[i].names);
        st = set_text(meta, texts[i].key, said[0] != '\0' ? said : texts[i].other, err);
    }
    return st;
}

/* The size as stock says it: of a mixture of experts their number and what one of them has, with what all share. */
static void size_of(const pare_model *m, char dst[PARE_MODEL_ID_TEXT])
{
    uint64_t n_params = 0;
    size_t at = 0;
    for (size_t i = 0; i < m->n_tensors; i++) {
        const pare_tensor *t = &m->tensors[i];
        bool expert = strstr(t->name, "_exps.") != NULL;
        n_params += t->n_rows * t->row_len / (expert ? pare_tensor_matrices(t) : 1);
    }
    if (m->hp.n_expert > 0)
        at = (size_t)snprintf(dst, PARE_MODEL_ID_TEXT, "%" PRIu32 "x", m->hp.n_expert);
    pare_size_label(dst + at, PARE_MODEL_ID_TEXT - at, n_params);
}

pare_status pare_hf_meta_general(pare_model *m, const char *dir, const char *name, const json_t *config,
                                 pare_error *err)
{
    pare_model_id id = {0};
    json_t *card = NULL;
    uint64_t n_params = pare_model_n_params(m);
    const char *trained_as = json_string_value(json_object_get(config, "_name_or_path"));
    char *folder = name == NULL ? pare_hf_folder_name(dir, err) : NULL;
    if (name == NULL && folder == NULL)
        return PARE_ERR_FORMAT;
    if (trained_as != NULL && count_slashes(trained_as) <= 1) /* more: a path on somebody's computer */
        add_name(&id, trained_as, n_params);
    add_name(&id, name != NULL ? name : folder, n_params);
    if (id.size_label[0] == '\0')
        size_of(m, id.size_label);
    pare_status st = read_card(dir, &card, err);
    if (st == PARE_OK)
        st = set_text(&m->meta, "general.architecture", m->arch->name, err);
    if (st == PARE_OK)
        st = set_text(&m->meta, "general.type", "model", err);
    if (st == PARE_OK)
        st = add_sampling(&m->meta, dir, err);
    if (st == PARE_OK)
        st = set_names(&m->meta, card, &id, err);
    if (st == PARE_OK)
        st = set_card_rest(&m->meta, card, n_params, err);
    json_decref(card);
    free(folder);
    return st;
}
