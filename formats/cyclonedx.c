#include "formats/cyclonedx.h"
#include "core/json.h"
#include "formats/iri.h"
#include "formats/lock_derive.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_VERSION = 1024 }; /* characters: bom-1.6.schema.json, definitions.version */

/* As in lock_write.c: json_object_set_new(object, key, NULL) and json_array_append_new(array, NULL) are errors, so each
 * step tells whether memory lasted. */
static bool set(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0;
}

static json_t *text_json(pare_str s)
{
    return pare_json_text(s.data != NULL ? s.data : "", s.len);
}

/* The text of key, or false: absent, empty or no text. */
static bool text_of(const pare_meta *meta, const char *key, pare_str *out)
{
    const pare_meta_value *v = pare_meta_find(meta, key);
    if (v == NULL || v->type != PARE_META_STRING || v->v.s.len == 0)
        return false;
    *out = v->v.s;
    return true;
}

static bool set_text(json_t *object, const char *name, const pare_meta *meta, const char *key)
{
    pare_str text;
    return !text_of(meta, key, &text) || set(object, name, text_json(text));
}

/* The text as JSON writes it, with its escapes, is within the schema's maxLength of a version; NULL: no memory. */
static bool is_version(const json_t *text)
{
    const char *s = json_string_value(text);
    const size_t len = json_string_length(text);
    size_t n = 0;
    for (size_t i = 0; i < len; n++)
        i += pare_utf8_next(s + i, len - i, NULL);
    return n <= MAX_VERSION;
}

static bool set_version(json_t *object, const pare_meta *meta, const char *key)
{
    pare_str text;
    if (!text_of(meta, key, &text))
        return true;
    json_t *version = text_json(text);
    if (version == NULL || is_version(version))
        return set(object, "version", version);
    json_decref(version);
    return true;
}

static bool ends_with(pare_str s, const char *end)
{
    const size_t n = strlen(end);
    return s.len >= n && memcmp(s.data + s.len - n, end, n) == 0;
}

/* Warn of what the schema of CycloneDX has no room for. A licence's link is often the name of a file. */
static pare_status tell_left_out(const pare_meta *meta, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < meta->n && st == PARE_OK; i++) {
        const pare_meta_value *v = &meta->values[i];
        const bool ancestor = v->key.len > 19 && memcmp(v->key.data, "general.base_model.", 19) == 0;
        if (v->type != PARE_META_STRING || v->v.s.len == 0)
            continue;
        const bool link = pare_str_equal(v->key, "general.license.link") && memmem(v->v.s.data, v->v.s.len, "://", 3);
        const int n_key = (int)v->key.len;
        if (pare_str_equal(v->key, "general.version") || (ancestor && ends_with(v->key, ".version"))) {
            json_t *text = text_json(v->v.s);
            if (text == NULL)
                st = pare_fail(err, PARE_ERR_MEMORY, "no memory for a bill of materials");
            else if (!is_version(text))
                st = pare_warn(err, "--cyclonedx: %.*s has more than %d characters and is left out", n_key, v->key.data,
                               MAX_VERSION);
            json_decref(text);
        } else if ((link || pare_str_equal(v->key, "general.url") || pare_str_equal(v->key, "general.repo_url") ||
                    (ancestor && ends_with(v->key, ".repo_url"))) &&
                   !pare_iri_is_web(v->v.s))
            st = pare_warn(err, "--cyclonedx: %.*s is '%.*s', no http or https address (RFC 3987), and is left out",
                           n_key, v->key.data, v->v.s.len < 100 ? (int)v->v.s.len : 100, v->v.s.data);
    }
    return st;
}

/* The array of texts under key; n 0: there is none. */
static const pare_str *texts_of(const pare_meta *meta, const char *key, uint64_t *n)
{
    const pare_meta_value *v = pare_meta_find(meta, key);
    bool is = v != NULL && v->type == PARE_META_ARRAY && v->elem == PARE_META_STRING;
    *n = is ? v->n : 0;
    return is ? v->v.strings : NULL;
}

static json_t *hashes(const pare_digest *digest)
{
    char hex[PARE_SHA256_HEX];
    pare_hex(hex, digest->sha256, sizeof digest->sha256);
    return json_pack("[{s:s, s:s}]", "alg", "SHA-256", "content", hex);
}

/* Append {"type": type, "url": text of key} to references when it is an address. */
static bool refer(json_t *references, const char *type, const pare_meta *meta, const char *key)
{
    pare_str url;
    if (!text_of(meta, key, &url) || !pare_iri_is_web(url))
        return true;
    return json_array_append_new(references, json_pack("{s:s, s:o}", "type", type, "url", text_json(url))) == 0;
}

/* Set key of object to array, unless it is empty. Takes the array over. */
static bool set_filled(json_t *object, const char *key, json_t *array)
{
    if (array != NULL && json_array_size(array) == 0 && json_object_size(array) == 0) {
        json_decref(array);
        return true;
    }
    return set(object, key, array);
}

/* Licences are named, not identified: general.license is the Hub's spelling and not SPDX's. */
static bool set_license(json_t *component, const pare_meta *meta)
{
    pare_str name, link;
    if (!text_of(meta, "general.license.name", &name) && !text_of(meta, "general.license", &name))
        return true;
    json_t *license = json_pack("{s:o}", "name", text_json(name));
    bool ok = license != NULL;
    if (ok && text_of(meta, "general.license.link", &link) && pare_iri_is_web(link))
        ok = set(license, "url", text_json(link));
    return set(component, "licenses", json_pack("[{s:o}]", "license", license)) && ok;
}

/* The models that this one was made of: general.base_model.<i>.* */
static bool set_ancestors(json_t *component, const pare_meta *meta)
{
    enum { MAX_ANCESTORS = 64 };
    const pare_meta_value *count = pare_meta_find(meta, "general.base_model.count");
    uint64_t n = count != NULL && count->type == PARE_META_U32 ? count->v.u : 0;
    json_t *ancestors = json_array();
    bool ok = ancestors != NULL;
    for (uint64_t i = 0; i < n && i < MAX_ANCESTORS && ok; i++) {
        char name[64], organization[64], version[64], url[64];
        pare_str text;
        snprintf(name, sizeof name, "general.base_model.%" PRIu64 ".name", i);
        snprintf(organization, sizeof organization, "general.base_model.%" PRIu64 ".organization", i);
        snprintf(version, sizeof version, "general.base_model.%" PRIu64 ".version", i);
        snprintf(url, sizeof url, "general.base_model.%" PRIu64 ".repo_url", i);
        if (!text_of(meta, name, &text))
            continue;
        json_t *row = json_pack("{s:s}", "type", "machine-learning-model"), *references = json_array();
        ok = set_text(row, "name", meta, name) && set_text(row, "publisher", meta, organization) &&
             set_version(row, meta, version) && refer(references, "distribution", meta, url) &&
             set_filled(row, "externalReferences", references) && json_array_append_new(ancestors, row) == 0;
    }
    if (!ok || json_array_size(ancestors) == 0) {
        json_decref(ancestors);
        return ok;
    }
    return set(component, "pedigree", json_pack("{s:o}", "ancestors", ancestors));
}

/* The first tag that the Hub uses for a task. */
static bool set_task(json_t *parameters, const pare_meta *meta)
{
    static const char *const tasks[] = {"text-generation",   "text2text-generation", "feature-extraction",
                                        "fill-mask",         "sentence-similarity",  "text-classification",
                                        "image-text-to-text"};
    uint64_t n;
    const pare_str *tags = texts_of(meta, "general.tags", &n);
    for (uint64_t i = 0; i < n; i++)
        for (size_t k = 0; k < sizeof tasks / sizeof tasks[0]; k++)
            if (pare_str_equal(tags[i], tasks[k]))
                return set(parameters, "task", json_string(tasks[k]));
    return true;
}

static bool set_datasets(json_t *parameters, const pare_meta *meta)
{
    uint64_t n;
    const pare_str *names = texts_of(meta, "general.datasets", &n);
    json_t *list = json_array();
    bool ok = list != NULL;
    for (uint64_t i = 0; i < n && ok; i++)
        ok = json_array_append_new(list, json_pack("{s:s, s:o}", "type", "dataset", "name", text_json(names[i]))) == 0;
    return set_filled(parameters, "datasets", list) && ok;
}

/* Every other general.* key of one value is a property of the card, under its own name. */
static bool add_property(json_t *properties, const pare_meta_value *v)
{
    static const char *const elsewhere[] = {"general.name",         "general.version",      "general.description",
                                            "general.author",       "general.organization", "general.architecture",
                                            "general.license.name", "general.license.link", "general.license",
                                            "general.url",          "general.repo_url",     "general.alignment"};
    char number[64];
    pare_str value = {number, 0};
    if (v->key.len < 8 || strncmp(v->key.data, "general.", 8) != 0 ||
        (v->key.len > 19 && strncmp(v->key.data, "general.base_model.", 19) == 0))
        return true;
    for (size_t i = 0; i < sizeof elsewhere / sizeof elsewhere[0]; i++)
        if (pare_str_equal(v->key, elsewhere[i]))
            return true;
    if (v->type == PARE_META_STRING)
        value = v->v.s;
    else if (v->type == PARE_META_U8 || v->type == PARE_META_U16 || v->type == PARE_META_U32 ||
             v->type == PARE_META_U64)
        value.len = (size_t)snprintf(number, sizeof number, "%" PRIu64, v->v.u);
    else
        return true;
    return json_array_append_new(properties,
                                 json_pack("{s:o, s:o}", "name", text_json(v->key), "value", text_json(value))) == 0;
}

static json_t *make_card(const pare_meta *meta)
{
    json_t *card = json_object(), *parameters = json_object(), *properties = json_array();
    bool ok = card != NULL && parameters != NULL && properties != NULL && set_task(parameters, meta) &&
              set_text(parameters, "modelArchitecture", meta, "general.architecture") && set_datasets(parameters, meta);
    for (size_t i = 0; i < meta->n && ok; i++)
        ok = add_property(properties, &meta->values[i]);
    ok = set_filled(card, "modelParameters", parameters) && ok;
    ok = set_filled(card, "properties", properties) && ok;
    if (!ok) {
        json_decref(card);
        return NULL;
    }
    return card;
}

/* The only file with tensors, or NULL: there are none, or several. */
static const pare_pin_file *only_weights(const pare_pin *p)
{
    const pare_pin_file *found = NULL;
    for (size_t i = 0; i < p->n_files; i++) {
        if (p->files[i].n_tensors > 0 && found != NULL)
            return NULL;
        if (p->files[i].n_tensors > 0)
            found = &p->files[i];
    }
    return found;
}

static bool set_tags(json_t *component, const pare_meta *meta)
{
    uint64_t n;
    const pare_str *tags = texts_of(meta, "general.tags", &n);
    json_t *list = json_array();
    bool ok = list != NULL;
    for (uint64_t i = 0; i < n && ok; i++)
        ok = json_array_append_new(list, text_json(tags[i])) == 0;
    return set_filled(component, "tags", list) && ok;
}

static json_t *make_model(const pare_pin *p, const pare_meta *meta, const char *name)
{
    const pare_pin_file *weights = only_weights(p);
    json_t *c = json_pack("{s:s, s:s, s:o}", "type", "machine-learning-model", "bom-ref", "model", "name",
                          pare_json_text(name, strlen(name)));
    json_t *references = json_array();
    pare_str author;
    bool ok = c != NULL && set_text(c, "name", meta, "general.name") && set_version(c, meta, "general.version") &&
              set_text(c, "description", meta, "general.description") &&
              set_text(c, "publisher", meta, "general.organization") && set_license(c, meta) && set_tags(c, meta) &&
              set_ancestors(c, meta) && set(c, "modelCard", make_card(meta));
    if (ok && text_of(meta, "general.author", &author))
        ok = set(c, "authors", json_pack("[{s:o}]", "name", text_json(author)));
    if (ok && weights != NULL)
        ok = set(c, "hashes", hashes(&weights->digest));
    ok = ok && references != NULL && refer(references, "website", meta, "general.url") &&
         refer(references, "distribution", meta, "general.repo_url");
    if (!set_filled(c, "externalReferences", references) || !ok) {
        json_decref(c);
        return NULL;
    }
    return c;
}

/* The files, and in refs what the model consists of. */
static json_t *make_files(const pare_pin *p, json_t *refs)
{
    json_t *files = json_array();
    bool ok = files != NULL;
    for (size_t i = 0; i < p->n_files && ok; i++) {
        const pare_pin_file *f = &p->files[i];
        char size[32];
        json_t *name = pare_json_text(f->name, strlen(f->name));
        pare_buf ref = {0};
        snprintf(size, sizeof size, "%" PRIu64, f->digest.n_bytes);
        ok = name != NULL && pare_buf_printf(&ref, NULL, "file:%s", json_string_value(name)) == PARE_OK &&
             json_array_append_new(refs, json_string(ref.data)) == 0 &&
             json_array_append_new(files, json_pack("{s:s, s:s, s:O, s:o, s:[{s:s, s:s}]}", "type", "file", "bom-ref",
                                                    ref.data, "name", name, "hashes", hashes(&f->digest), "properties",
                                                    "name", "pare:size", "value", size)) == 0;
        pare_buf_close(&ref);
        json_decref(name);
    }
    if (!ok) {
        json_decref(files);
        return NULL;
    }
    return files;
}

/* A UUID of version 8 (RFC 9562, 5.8) out of the document's own hash: the same files have the same one. */
static pare_status set_serial(json_t *doc, pare_error *err)
{
    pare_buf text = {0};
    pare_digest d;
    pare_status st = pare_json_dump(doc, &text, err);
    if (st == PARE_OK)
        st = pare_hash_bytes(text.data, text.len, PARE_HASH_SHA256, &d, err);
    if (st == PARE_OK) {
        char hex[PARE_SHA256_HEX];
        d.sha256[6] = (uint8_t)(0x80 | (d.sha256[6] & 0x0f));
        d.sha256[8] = (uint8_t)(0x80 | (d.sha256[8] & 0x3f));
        pare_hex(hex, d.sha256, 16);
        json_t *serial = json_sprintf("urn:uuid:%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
        if (!set(doc, "serialNumber", serial))
            st = pare_fail(err, PARE_ERR_MEMORY, "no memory for a bill of materials");
    }
    pare_buf_close(&text);
    return st;
}

pare_status pare_cyclonedx_add(pare_output_set *outputs, const pare_pin *p, const pare_meta *meta, const char *name,
                               const char *path, bool force, pare_error *err)
{
    pare_buf text = {0};
    pare_status st = tell_left_out(meta, err);
    if (st != PARE_OK)
        return st;
    json_t *refs = json_array(), *files = make_files(p, refs), *model = make_model(p, meta, name);
    json_t *doc = json_pack("{s:s, s:s, s:s, s:i, s:{s:{s:[{s:s, s:s, s:s}]}, s:O}, s:O, s:[{s:s, s:O}]}", "$schema",
                            "http://cyclonedx.org/schema/bom-1.6.schema.json", "bomFormat", "CycloneDX", "specVersion",
                            "1.6", "version", 1, "metadata", "tools", "components", "type", "application", "name",
                            "pare", "version", PARE_VERSION, "component", model, "components", files, "dependencies",
                            "ref", "model", "dependsOn", refs);
    st = doc != NULL ? pare_lock_set_time(json_object_get(doc, "metadata"), "timestamp", err)
                     : pare_fail(err, PARE_ERR_MEMORY, "no memory for a bill of materials");
    if (st == PARE_OK && (st = set_serial(doc, err)) == PARE_OK && (st = pare_json_dump(doc, &text, err)) == PARE_OK)
        st = pare_output_set_add_file(outputs, path, text.data, text.len,
                                      PARE_OUTPUT_DESCRIBES | (force ? PARE_OUTPUT_FORCE : 0), err);
    json_decref(doc);
    json_decref(model);
    json_decref(files);
    json_decref(refs);
    pare_buf_close(&text);
    return st;
}
