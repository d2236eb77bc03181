#include "rrhf/workflow/kept_sources.h"

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/part_file.h"

namespace rrhf::workflow {
namespace {

// What a model was made of, or is to be: a start's weights; of a run's, the model it began from and, where they count,
// the rows. They count for the training, and where a model is measured on the rows that its training left out.
Json sources_of(const AblatedModel& model, Sources& known) {
  Json sources = Json::object();
  const config::RunConfig& config = model.is_start() ? model.measurement.config() : model.run->config;
  const bool rows = !model.is_start() && (!model.trained() || model.measurement.config().data.eval.empty());
  if (model.is_start() || rows) sources[known.add_folder("model.path", config.model.path)];
  if (rows) {
    for (const std::string& file : config.data.train) sources[known.add_file("data.train", file)];
    sources[known.add_template("data.template " + config.data.template_name, config.data.template_name)];
  }
  for (auto& [key, hash] : sources.items()) hash = known.json().at(key);
  return sources;
}

}  // namespace

KeptSources::KeptSources(std::filesystem::path file) : file_(std::move(file)) {
  if (path_exists(file_)) json_ = parse_json(read_file(file_), "ablate", file_.string());
  if (!json_.is_object()) throw_input("ablate", "{}: is not an object of hashes, as it was written", file_.string());
}

Json KeptSources::require_same(const AblatedModel& model, Sources& known) const {
  Json now = sources_of(model, known), then = Json::object();
  for (const auto& [key, hash] : now.items()) {
    const bool made = model.trained() && !model.is_start();
    if (made && !json_.contains(key)) {
      throw_input("ablate", "{}: does not say what {} was trained on, so rows can't be held out of it", file_.string(),
                  model.name);
    }
    then[key] = json_.contains(key) ? json_.at(key) : hash;
  }
  if (const std::string differing = differing_keys(then, now); !differing.empty()) {
    throw_input("ablate",
                "{}: what models of this ablation were made of has changed since; put it back, or choose another "
                "output for all of them:{}",
                file_.parent_path().string(), differing);
  }
  return now;
}

void KeptSources::keep(const AblatedModel& model) {
  Sources known;
  json_.update(require_same(model, known));
  write_file_atomically(file_, dump_json(json_, 2) + "\n");
}

}  // namespace rrhf::workflow
