#include "rrhf/workflow/measurement.h"

#include "rrhf/core/file.h"

namespace rrhf::workflow {

config::RunConfig measure_of_run(const config::RunConfig& measure, const config::RunConfig& run) {
  config::RunConfig config = measure;
  config.model.path = run.model.path;
  config.model.random_init = run.model.random_init;
  config.data.template_name = run.data.template_name;
  config.data.encoding = run.data.encoding;
  config.data.bos_token = run.data.bos_token;
  config.data.special_tokens = run.data.special_tokens;
  config.output = "";
  if (measure.data.eval.empty() || run.model.random_init) config.train.seed = run.train.seed;
  if (!measure.data.eval.empty()) {
    config.data.train.clear();
    config.data.eval_fraction = 0;
  }
  return config;
}

Measurement::Measurement(std::filesystem::path folder, config::RunConfig config)
    : folder_(std::move(folder)), config_(std::move(config)) {}

std::string Measurement::settings() const { return dump_json(config::to_json(config_), 2) + "\n"; }

std::optional<Json> Measurement::figures() const {
  const auto file = folder_ / "config.json", figures = folder_ / "figures.json";
  if (!path_exists(figures) || !path_exists(file) || read_file(file) != settings()) return std::nullopt;
  return parse_json(read_file(figures), "ablate", figures.string());
}

void Measurement::prepare() const {
  make_writable_folder(folder_);
  const auto file = folder_ / "config.json";
  if (path_exists(file) && read_file(file) == settings()) return;
  std::filesystem::remove(folder_ / "figures.json");
  write_file_atomically(file, settings());
}

std::vector<std::string> Measurement::command() const {
  // A relative path may begin as a flag does.
  const std::filesystem::path folder = folder_.is_relative() ? "." / folder_ : folder_;
  return {"eval", (folder / "config.json").string(), "--json", (folder / "figures.json").string()};
}

}  // namespace rrhf::workflow
