#include "rrhf/train/display.h"

#include <ATen/Parallel.h>

#include <fmt/ranges.h>

#include <fstream>
#include <string>

#include "rrhf/train/device.h"

namespace rrhf::train {
namespace {

using Clock = std::chrono::steady_clock;

// A number of a metrics line, which may be null.
std::string figure(const Json& metrics, const char* key, const char* format, double scale = 1) {
  const Json& value = metrics.at(key);
  return value.is_null() ? "-" : fmt::format(fmt::runtime(format), value.get<double>() * scale);
}

}  // namespace

void log_run_header(const config::RunConfig& config, const model::Llama& llama, const EncodedSet& set,
                    const PartBytes& bytes, std::optional<std::int64_t> memory_cap) {
  const model::LlamaConfig& shape = llama.config();
  const bool cuda = llama.device().is_cuda();
  log("rrhf {}   LLaMA {} ({} x {}, {} heads)   {} on {}{}   seed {}", RRHF_VERSION,
      short_number(static_cast<double>(shape.parameter_count())), shape.num_hidden_layers, shape.hidden_size,
      shape.num_attention_heads, name_of(config.model.dtype), cuda ? "cuda" : "cpu",
      cuda ? "" : ", " + counted(at::get_num_threads(), "thread", "threads"), config.train.seed);
  if (llama.lora() != nullptr) {
    const std::int64_t trained = shape.num_hidden_layers * llama.lora()->parameters_of_layer();
    std::vector<std::string_view> modules;
    for (const Projection module : config.lora.modules) modules.push_back(name_of(module));
    const bool all = config.lora.modules == LoraOptions().modules;
    log("lora     rank {}, alpha {}, beside {}: {} weights are trained, {:.2f} % as many as there are",
        llama.lora()->rank(), config.lora.alpha, all ? "every projection" : fmt::format("{}", fmt::join(modules, " ")),
        short_number(static_cast<double>(trained)),
        100 * static_cast<double>(trained) / static_cast<double>(shape.parameter_count()));
  }
  const std::string skipped =
      set.skipped_count() == 0 ? "" : fmt::format("; {} skipped: {}/skipped.txt", set.skipped_count(), config.output);
  log("data     {}, k {:.1f} on average, {} tokens padded -> {} packed ({:.2f}x){}",
      counted(set.size(), "query", "queries"), set.mean_responses(),
      short_number(static_cast<double>(set.padded_tokens())), short_number(static_cast<double>(set.packed_tokens())),
      static_cast<double>(set.padded_tokens()) / static_cast<double>(set.packed_tokens()), skipped);
  const std::int64_t state = bytes.gradients + bytes.optimizer, held = bytes.weights + (bytes.on_host ? 0 : state);
  log("memory   weights {}  gradients {}  optimizer {}{}  = {} before activations, of {}", bytes_text(bytes.weights),
      bytes_text(bytes.gradients), bytes_text(bytes.optimizer), bytes.on_host ? " (these two on the host)" : "",
      bytes_text(held), bytes_text(memory_cap.value_or(memory_of(llama.device()))));
}

void log_evaluation(const Json& evaluation, std::int64_t step) {
  log("eval     step {}  ranking accuracy {} %  margin {}  perplexity of the best {}  loss {} ({})", step,
      figure(evaluation, "rank_accuracy", "{:.1f}", 100), figure(evaluation, "margin", "{:.3f}"),
      figure(evaluation, "perplexity", "{:.3f}"), figure(evaluation, "loss", "{:.4f}"),
      counted(evaluation.at("queries").get<std::int64_t>(), "query", "queries"));
}

StepDisplay::StepDisplay(std::int64_t first_step, std::int64_t steps)
    : start_(Clock::now()), first_step_(first_step), steps_(steps) {}

void StepDisplay::update(std::int64_t steps_done, const Json& metrics) {
  const auto text = [&] {
    const double elapsed = std::chrono::duration<double>(Clock::now() - start_).count();
    const double left =
        elapsed / static_cast<double>(steps_done - first_step_) * static_cast<double>(steps_ - steps_done);
    const Json& timing = metrics.at("timing");
    // The higher the rank, the sooner a part is left out on a narrow terminal.
    return fit_parts({{fmt::format("step {}/{}", steps_done, steps_)},
                      {fmt::format("epoch {:.2f}", metrics.at("epoch").get<double>()), 4},
                      {fmt::format("loss {}", figure(metrics, "loss", "{:.3f}"))},
                      {fmt::format("(rank {} + sft {})", figure(metrics, "rank_loss", "{:.3f}"),
                                   figure(metrics, "sft_loss", "{:.3f}")),
                       2},
                      {fmt::format("accuracy {} %", figure(metrics, "rank_accuracy", "{:.1f}", 100)), 1},
                      {fmt::format("grad {}", figure(metrics, "grad_norm", "{:.2f}")), 6},
                      {fmt::format("lr {}", figure(metrics, "learning_rate", "{:.2g}")), 5},
                      {fmt::format("{} tok/s", short_number(timing.at("tokens_per_second").get<double>()))},
                      {fmt::format("({:.0f} % of peak)", 100 * timing.at("speed_of_light").get<double>()), 3},
                      {fmt::format("ETA {}", clock_time(left))}},
                     steps_done == steps_ ? std::string::npos : status_width());
  };
  if (steps_done == steps_) {
    progress_.finish(text());
  } else {
    progress_.update(text);
  }
}

std::int64_t peak_memory() {
  // Not getrusage's ru_maxrss, which a process inherits from whatever started it.
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6)) * 1024;
  }
  return 0;
}

}  // namespace rrhf::train
