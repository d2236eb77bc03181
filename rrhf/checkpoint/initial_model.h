// A model folder with random weights, drawn and written tensor by tensor.
#pragma once

#include <cstdint>
#include <filesystem>

#include "rrhf/core/choices.h"
#include "rrhf/model/llama_config.h"

namespace rrhf::checkpoint {

struct InitModel {
  model::LlamaConfig config;
  std::filesystem::path tokenizer;  ///< folder whose tokenizer files are carried along
  std::filesystem::path out;
  std::uint64_t seed = 42;
  Dtype dtype = Dtype::float32;
};

/// The weights are those of model::draw_initial(): the seed means the same whatever the dtype. One tensor is in memory
/// at a time, in float32. The folder is built aside and appears when complete; StopSignals ends the work with
/// Interrupted and nothing left. Throws InputError when `out` is not free, Error when it can't be written.
void init_model(const InitModel& settings);

}  // namespace rrhf::checkpoint
