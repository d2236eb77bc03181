// What training with a config will take, before anything is loaded. Results go to stdout.
#include <cmath>
#include <optional>

#include "rrhf/checkpoint/hf_folder.h"
#include "rrhf/cli/command.h"
#include "rrhf/cli/model_verbs.h"
#include "rrhf/cli/verbs.h"
#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/train/device.h"
#include "rrhf/train/display.h"
#include "rrhf/train/memory_plan.h"
#include "rrhf/train/step_work.h"
#include "rrhf/train/trainer.h"

namespace rrhf::cli {
namespace {

void print_line(const char* part, std::int64_t bytes, const std::string& note = "") {
  fmt::print("  {:<14}{:>9}{}{}\n", part, bytes_text(bytes), note.empty() ? "" : "   ", note);
}

// Plans for GPUs are made where there are none.
bool on_cpu(DeviceChoice device) {
  return device == DeviceChoice::cpu || (device == DeviceChoice::automatic && train::choose_device(device).is_cpu());
}

// Devices and how they share: flags, and where there are none the config.
train::Sharing sharing_of(const cxxopts::ParseResult& arguments, const config::RunConfig& config) {
  train::Sharing sharing{
      .devices = number_of(arguments, "devices", 1, 1), .mode = config.parallel.mode, .cpu = on_cpu(config.device)};
  if (arguments.count("sharding") == 0) return sharing;
  const auto mode = choice_named<ParallelMode>(arguments["sharding"].as<std::string>());
  if (!mode) throw_input("usage", "--sharding must be one of {}", choice_list<ParallelMode>());
  sharing.mode = *mode;
  return sharing;
}

// Reads and tokenizes what the run would, but no weights.
std::optional<train::StepShape> shape_of_data(const config::RunConfig& config, bool cpu) {
  if (config.data.train.empty()) return std::nullopt;
  const train::ModelFolder folder = train::open_model_folder(config);
  const train::Split data = train::split_run_data(folder, config);
  train::require_queries(data.train, config, "data.train");
  if (data.held_out.rows() > 0) train::require_queries(data.held_out, config, "held-out rows");
  return train::step_shape(data, folder.config, config, cpu);
}

void print_step(const train::StepShape& shape, bool from_data, const train::Sharing& sharing) {
  const double devices = static_cast<double>(sharing.devices);
  fmt::print("pack   {} tokens in the largest, {} of them label rows{}\n", with_commas(shape.largest_pack.tokens),
             with_commas(shape.largest_pack.label_rows), from_data ? "" : " (no data.train to look at: taken as full)");
  if (!from_data) {
    fmt::print("step   {} queries, whose tokens data.train would tell; the {} on {} tokens at a time\n",
               with_commas(shape.queries), sharing.devices == 1 ? "device works" : "devices work",
               with_commas(shape.largest_pack.tokens * sharing.devices));
    return;
  }
  fmt::print("step   {} queries, {} tokens in {:.1f} packs", with_commas(shape.queries), short_number(shape.tokens),
             shape.packs);
  if (devices > shape.packs) {
    fmt::print(": too few for {} devices, of which {:.0f} have nothing to do\n", sharing.devices,
               devices - std::ceil(shape.packs));
  } else {
    fmt::print("; a device: {} tokens in {:.0f} packs or fewer\n", short_number(shape.tokens / devices),
               std::ceil(shape.packs / devices));
  }
}

// What the program itself holds: libraries, the data's texts and tokens, a matrix product's buffers. This process has
// just done what the run does before it loads the model.
std::int64_t program_bytes(const config::RunConfig& config) {
  train::measure_matrix_rate(at::kCPU, model::scalar_type(config.model.dtype));
  return train::peak_memory();
}

void print_memory(const train::MemoryPlan& plan, std::optional<std::int64_t> program) {
  fmt::print("memory a device\n");
  print_line("weights", plan.weights);
  print_line("gradients", plan.gradients);
  print_line("optimizer", plan.optimizer);
  if (plan.passing > 0) print_line("passing", plan.passing, "layers made whole while they are used");
  print_line("activations", plan.activations, plan.evaluating ? "of an evaluation, which takes more than a step" : "");
  print_line("logits", plan.logits);
  if (plan.host > 0) print_line("host", plan.host, "in the machine's own memory, not in the sum");
  if (plan.kernels > 0) print_line("kernels", plan.kernels, "of the library's matrix products");
  print_line("heap", plan.heap, "between the blocks of activations and logits");
  if (program) print_line("program", *program, "libraries, data");
  print_line("sum", plan.total() + program.value_or(0), program ? "" : "without the CUDA context and its libraries");
}

void print_largest_pack(std::int64_t memory, std::int64_t program, const model::LlamaConfig& model,
                        const config::RunConfig& config, const train::Sharing& sharing) {
  const auto largest = train::largest_pack_within(model, config, sharing, memory - program);
  if (largest) {
    fmt::print("{} a device holds packs of {} tokens (train.tokens_per_pack)\n", bytes_text(memory),
               with_commas(*largest));
  } else {
    fmt::print("{} a device is too little for this model, however small the packs\n", bytes_text(memory));
  }
}

}  // namespace

void model_plan(int argc, const char* const* argv) {
  cxxopts::Options options("rrhf model plan",
                           "Memory a device by part and tokens a step of training with a config. Reads the model's "
                           "config.json and the data, no weights.");
  add_config_flags(options);
  options.add_options()("devices", "Devices that train together", cxxopts::value<std::string>()->default_value("1"),
                        "N")("sharding", "replicated or sharded, instead of the config's parallel.mode",
                             cxxopts::value<std::string>(), "HOW")("memory", "Say how large a pack fits into so much",
                                                                   cxxopts::value<std::string>(), "SIZE");
  options.parse_positional({"config"});
  options.positional_help("CONFIG.json");
  const auto arguments = parse(options, argc, argv);
  if (!arguments) return;
  std::optional<std::int64_t> memory;
  if (arguments->count("memory") > 0) memory = parse_bytes((*arguments)["memory"].as<std::string>());
  const config::RunConfig config = resolve_config(*arguments);
  config::require_fitting_forms(config);
  const train::Sharing sharing = sharing_of(*arguments, config);
  if (config.model.path.empty()) throw_input("config", "model.path is not set: name a folder with config.json");
  const model::LlamaConfig model = checkpoint::load_config(config.model.path);
  const std::optional<train::StepShape> measured = shape_of_data(config, sharing.cpu);
  const train::StepShape shape = measured.value_or(train::full_packs(config, sharing.cpu));
  const train::MemoryPlan plan = train::plan_memory(model, config, shape, sharing);

  fmt::print("model  LLaMA {} ({} x {}, {} heads), {} on {}; {} device{}{}\n",
             short_number(static_cast<double>(model.parameter_count())), model.num_hidden_layers, model.hidden_size,
             model.num_attention_heads, name_of(config.model.dtype), sharing.cpu ? "cpu" : "cuda", sharing.devices,
             sharing.devices == 1 ? "" : "s", sharing.devices == 1 ? "" : fmt::format(", {}", name_of(sharing.mode)));
  print_step(shape, measured.has_value(), sharing);
  if (shape.largest_evaluated) {
    fmt::print("eval   {} tokens in the largest pack\n", with_commas(shape.largest_evaluated->tokens));
  }
  const std::optional<std::int64_t> program = sharing.cpu ? std::optional(program_bytes(config)) : std::nullopt;
  print_memory(plan, program);
  if (memory) print_largest_pack(*memory, program.value_or(0), model, config, sharing);
}

}  // namespace rrhf::cli
