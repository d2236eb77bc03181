// What to change when memory runs out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "rrhf/config/run_config.h"
#include "rrhf/model/llama_config.h"
#include "rrhf/train/memory_plan.h"

namespace rrhf::train {

/// A setting that would make a run smaller.
struct Saving {
  std::string setting;     ///< as --set takes it
  std::int64_t bytes = 0;  ///< a device, by the memory plan
  std::string condition;   ///< of the setting, if it has one
};

/// Those of a config that are not taken yet, each by itself, the largest first.
std::vector<Saving> possible_savings(const model::LlamaConfig& model, const config::RunConfig& config,
                                     const Sharing& sharing);

/// The same as lines of a message.
std::string memory_advice(const model::LlamaConfig& model, const config::RunConfig& config, const Sharing& sharing);

}  // namespace rrhf::train
