// What to change when memory runs out.
#pragma once

#include <c10/util/Exception.h>

#include <cstdint>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "rrhf/config/run_config.h"
#include "rrhf/core/error.h"
#include "rrhf/model/llama_config.h"
#include "rrhf/train/memory_plan.h"

namespace rrhf::train {

/// A setting that would make a run smaller.
struct Saving {
  std::string setting;     ///< as a command line has it
  std::int64_t bytes = 0;  ///< a device, by the memory plan
  std::string condition;   ///< of the setting, if it has one, and what it takes elsewhere
};

/// Those of a config that are not taken yet, each by itself, the largest first.
std::vector<Saving> possible_savings(const model::LlamaConfig& model, const config::RunConfig& config,
                                     const Sharing& sharing);

/// The same as lines of a message.
std::string memory_advice(const model::LlamaConfig& model, const config::RunConfig& config, const Sharing& sharing);

/// Why a run that is planned so can't be on a machine whose memory is Sharing::host, where `local_ranks` of it are to
/// be: nothing where it may fit. Several ranks share the work of a pack in ways that a plan does not tell: of that, one
/// rank's is counted.
std::optional<std::string> why_too_large(const MemoryPlan& plan, int local_ranks, const Sharing& sharing);

/// Of work without gradients by the same settings, an evaluation or scoring: lines as above.
std::string inference_advice(const model::LlamaConfig& model, const config::RunConfig& config, bool cpu);

/// A line each: what to write, and what it would save.
std::string saving_lines(std::span<const Saving> savings);

/// True for what LibTorch throws where a GPU or the machine has no memory left.
bool is_out_of_memory(const c10::Error& failure);

/// Does `work`. Where there is too little memory for it, throws Error "memory" with the lines that `advice` gives.
template <class Work, class Advice>
decltype(auto) with_memory_advice(Work&& work, Advice&& advice) {
  std::string failure;
  try {
    return std::forward<Work>(work)();
  } catch (const c10::Error& error) {
    if (!is_out_of_memory(error)) throw;
    failure = error.what_without_backtrace();
  } catch (const std::bad_alloc&) {
  }
  throw_error("memory", "there is too little memory for this{}{}{}", std::forward<Advice>(advice)(),
              failure.empty() ? "" : "\n", failure);
}

}  // namespace rrhf::train
