// A model's figures under given settings, taken once.
//
// FOLDER/config.json    the settings: `rrhf eval FOLDER/config.json` gives the figures again, where nothing has moved
//        figures.json   as `rrhf eval --json` writes them
//        of.json        what they are figures of: the settings that decide them, hashes of rows and template; that the
//                       model's weights are the same is for others to know
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "rrhf/config/run_config.h"
#include "rrhf/core/json.h"

namespace rrhf::workflow {

/// What all models of an ablation are measured by, for the model of one run: score, losses, rows and precision are
/// those of `measure`, alike for all; how a row is laid out for the model (template, encoding, special tokens) is as
/// the run trained it. Where rows are held out of data.train, they are those the run's seed held out. model.path is the
/// run's start.
config::RunConfig measure_of_run(const config::RunConfig& measure, const config::RunConfig& run);

class Measurement {
 public:
  /// `files` are hashes of what is read beside the model, by name; null for a file that is gone.
  Measurement(std::filesystem::path folder, config::RunConfig config, Json files);

  const std::filesystem::path& folder() const noexcept { return folder_; }
  const config::RunConfig& config() const noexcept { return config_; }
  const Json& files() const { return of_.at("files"); }

  /// The figures, if they have been taken of the same, as far as files that are gone can tell. A model of the training
  /// that the folder lies in may have moved with it.
  std::optional<Json> figures() const;

  /// Writes the settings, and drops figures of something else.
  void prepare() const;

  /// The command that takes the figures, after prepare().
  std::vector<std::string> command() const;

 private:
  std::filesystem::path folder_;
  config::RunConfig config_;
  Json of_;
};

}  // namespace rrhf::workflow
