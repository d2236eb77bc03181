#include "rrhf/workflow/measurement.h"

#include "rrhf/core/file.h"

namespace rrhf::workflow {
namespace {

namespace fs = std::filesystem;

// The settings that figures depend on, and what the files hold.
Json deciding(const config::RunConfig& config, const fs::path& folder, const Json& files) {
  Json all = config::to_json(config);
  Json of{{"model", all["model"]}, {"data", all["data"]}, {"objective", all["objective"]}, {"files", files}};
  of["data"].erase("cache");
  const fs::path path = config.model.path;
  if (path.parent_path() == folder.parent_path()) of["model"]["path"] = path.filename().string();
  const bool draws = config.data.eval.empty() || config.model.random_init;  // held-out rows, or the weights
  if (draws) of["seed"] = config.train.seed;
  return of;
}

// An object with that key; nothing where there is no such file, or it is broken: the figures can be taken again.
std::optional<Json> object_in(const fs::path& file, const char* key) {
  std::error_code failure;
  if (!fs::is_regular_file(file, failure)) return std::nullopt;
  try {
    Json object = parse_json_row(read_file(file));
    if (object.is_object() && object.contains(key)) return object;
  } catch (const JsonSyntax&) {
  }
  return std::nullopt;
}

}  // namespace

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

Measurement::Measurement(fs::path folder, config::RunConfig config, Json files)
    : folder_(std::move(folder)), config_(std::move(config)), of_(deciding(config_, folder_, files)) {}

std::optional<Json> Measurement::figures() const {
  const std::optional<Json> then = object_in(folder_ / "of.json", "files");
  if (!then) return std::nullopt;
  Json now = of_;
  for (auto& [file, hash] : now["files"].items()) {
    if (hash.is_null() && then->at("files").contains(file)) hash = then->at("files").at(file);
  }
  std::optional<Json> figures = object_in(folder_ / "figures.json", "queries");
  return now == *then && figures && figures->at("queries").is_number_integer() ? figures : std::nullopt;
}

void Measurement::prepare() const {
  make_writable_folder(folder_);
  if (!figures()) fs::remove(folder_ / "figures.json");
  write_file_atomically(folder_ / "config.json", dump_json(config::to_json(config_), 2) + "\n");
  write_file_atomically(folder_ / "of.json", dump_json(of_, 2) + "\n");
}

std::vector<std::string> Measurement::command() const {
  // A relative path may begin as a flag does.
  const fs::path folder = folder_.is_relative() ? "." / folder_ : folder_;
  return {"eval", (folder / "config.json").string(), "--json", (folder / "figures.json").string()};
}

}  // namespace rrhf::workflow
