#include "rrhf/cli/model_command.h"

#include <array>

#include "rrhf/cli/model_verbs.h"
#include "rrhf/cli/verbs.h"

namespace rrhf::cli {
namespace {

constexpr std::array verbs{
    Verb{"init", "make a LLaMA with random weights from a config.json", model_init},
    Verb{"info", "parameters, shapes, dtypes, vocabulary, memory, tokenizer", model_info},
    Verb{"convert", "write a folder anew as safetensors, in another dtype or other shards", model_convert},
    Verb{"merge", "make a model of a LoRA adapter and its base", model_merge},
    Verb{"plan", "memory a device and tokens a step of training with a config, before anything is loaded", model_plan},
    Verb{"resize", "give the vocabulary more or fewer rows, or a [PAD] token", model_resize},
};

}  // namespace

void model_command(int argc, const char* const* argv) {
  run_verb("Makes, looks at and changes model folders.", verbs, argc, argv);
}

}  // namespace rrhf::cli
