// A run's output folder: config.json, metrics.jsonl, skipped.txt, checkpoints/, model/.
#pragma once

#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "rrhf/config/run_config.h"
#include "rrhf/core/file.h"
#include "rrhf/train/inputs.h"

namespace rrhf::train {

/// Throws InputError when the config names no output.
void require_output(const config::RunConfig& config);

/// Throws InputError that names all of model.path, data.train and output that are not set.
void require_training_settings(const config::RunConfig& config);

class RunFolder {
 public:
  enum class Kind { training, iterated };  ///< of `rrhf train`, of `rrhf iterate` as a whole

  /// Looks at the folder without touching it. Throws InputError when it holds something and `resume` is not said, when
  /// it holds a run of the other kind, when `resume` is said and the run in it has other settings, or when nothing can
  /// be written there. Without `writes`, as on all ranks but the first, begin() and write_metrics() do nothing.
  RunFolder(const config::RunConfig& config, bool resume, bool writes, Kind kind = Kind::training);

  const std::filesystem::path& path() const noexcept { return path_; }

  /// True when the folder already holds the finished model.
  bool finished() const;

  /// True when metrics.jsonl holds the evaluation after this many steps.
  bool evaluated(std::int64_t step) const;

  /// Creates the folder with config.json and, for skipped rows, skipped.txt; keeps the metrics of steps up to
  /// `first_step` and drops later ones, which a stopped run may have left, as it may have half-written checkpoints.
  /// Throws InputError while another process writes into the folder.
  void begin(std::int64_t first_step, std::span<const SkippedRow> skipped);

  /// Appends a line to metrics.jsonl.
  void write_metrics(const Json& line);

 private:
  void require_kind(Kind kind) const;
  void require_same_settings() const;
  void keep_metrics_until(std::int64_t step) const;
  void each_metric(const std::function<bool(const Json& json, const std::string& line)>& visit) const;

  std::filesystem::path path_;
  Json config_;
  bool writes_;
  std::optional<FolderLock> lock_;
  std::ofstream metrics_;
};

}  // namespace rrhf::train
