/* A folder's config.json with arbitrary content, as hyperparameters of every described family and back; the same bytes
 * as a README.md's front matter. */
#include "core/json.h"
#include "formats/model_card.h"
#include "model/arch.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was accepted must be writable in both forms. */
static void write_back(const pare_hparams *hp, const pare_arch *arch)
{
    pare_meta meta = {0};
    pare_error err = {0};
    json_t *config = json_object();
    if (pare_hparams_to_meta(hp, arch, 0, &meta, &err) != PARE_OK || config == NULL)
        abort();
    pare_hparams_to_config(hp, arch, config, &err);
    for (uint32_t layer = 0; layer < hp->n_layer; layer++)
        pare_layer_window(hp, layer);
    json_decref(config);
    pare_meta_close(&meta);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pare_hparams hp;
    pare_error err = {0};
    json_t *config = NULL, *card = NULL;
    if (pare_json_parse(&config, "config.json", data, size, PARE_JSON_BIG_AS_REAL, &err) == PARE_OK)
        for (size_t i = 0; pare_arch_at(i) != NULL; i++)
            if (pare_hparams_from_config(&hp, pare_arch_at(i), config, "config.json", &err) == PARE_OK)
                write_back(&hp, pare_arch_at(i));
    pare_model_card_parse(&card, (const char *)data, size, &err);
    json_decref(config);
    json_decref(card);
    return 0;
}
