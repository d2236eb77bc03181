#include "rrhf/train/run_folder.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <sstream>

#include "rrhf/core/aside.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"
#include "rrhf/core/staged_folder.h"

namespace rrhf::train {
namespace fs = std::filesystem;
namespace {

// Settings that change how a run is carried out but not what it computes.
const std::set<std::string> free_settings{"output",
                                          "device",
                                          "data.cache",
                                          "train.tokens_per_pack",
                                          "checkpoint.every_steps",
                                          "checkpoint.keep",
                                          "checkpoint.dtype",
                                          "eval.every_steps",
                                          "optimizer.place",
                                          "optimizer.update",
                                          "train.recompute",
                                          "train.layer_inputs",
                                          "train.deterministic",
                                          "parallel.mode",
                                          "parallel.shard_size",
                                          "parallel.backend",
                                          "parallel.timeout_s",
                                          "sample.batch",
                                          "iterate.rounds"};

void flatten(const Json& json, const std::string& prefix, std::map<std::string, Json>& out) {
  for (const auto& [key, value] : json.items()) {
    const std::string path = prefix.empty() ? key : prefix + "." + key;
    if (value.is_object()) {
      flatten(value, path, out);
    } else {
      out[path] = value;
    }
  }
}

// Root passes every permission bit, so this catches early what begin() would find after the model was loaded.
void require_writable_ancestor(const fs::path& path) {
  fs::path ancestor = fs::absolute(path);
  std::error_code failure;
  while (!fs::exists(ancestor, failure) && ancestor.has_relative_path()) ancestor = ancestor.parent_path();
  if (!fs::is_directory(ancestor, failure)) {
    throw_input("output", "{}: {} is a file, not a folder", path.string(), ancestor.string());
  }
  if (::access(ancestor.c_str(), W_OK) != 0) {
    throw_input("output", "{}: {} is not writable: {}", path.string(), ancestor.string(), std::strerror(errno));
  }
}

// Logs of ranks may be there before rank 0 looks, and what a run that was killed in begin() had been writing aside.
bool holds_no_run(const fs::path& folder) {
  if (!fs::is_directory(folder)) return missing_or_empty(folder);
  return std::ranges::all_of(fs::directory_iterator(folder), [](const fs::directory_entry& entry) {
    const std::string name = entry.path().filename().string();
    return name == "logs" || aside_name(name).has_value();
  });
}

}  // namespace

void require_output(const config::RunConfig& config) {
  if (!config.output.empty()) return;
  throw_input("config", "output is not set: without a config file there is no name for runs/NAME (--set output=DIR)");
}

void require_training_settings(const config::RunConfig& config) {
  InputErrors errors;
  errors.collect([&] { require_model_path(config); });
  errors.collect([&] {
    if (config.data.train.empty()) throw_input("config", "data.train is not set: name a file of ranked responses");
  });
  errors.collect([&] { require_output(config); });
  errors.require_none();
}

RunFolder::RunFolder(const config::RunConfig& config, bool resume, bool writes, Kind kind)
    : path_(config.output), config_(config::to_json(config)), writes_(writes) {
  require_output(config);
  require_writable_ancestor(path_);
  if (holds_no_run(path_)) return;
  require_kind(kind);
  if (!resume) {
    throw_input("output", "{}: is not empty; add --resume to go on with the run in it, or choose another output",
                path_.string());
  }
  if (!path_exists(path_ / "config.json")) throw_input("output", "{}: holds no run to resume", path_.string());
  require_same_settings();
}

// A run of one kind in the folder of the other would leave a folder that neither can go on with.
void RunFolder::require_kind(Kind kind) const {
  if (kind == Kind::training && path_exists(path_ / "inputs.json")) {
    throw_input("output",
                "{}: holds a run of rrhf iterate, which goes on with rrhf iterate --resume; choose another output",
                path_.string());
  }
  if (kind == Kind::iterated && path_exists(path_ / "metrics.jsonl")) {
    throw_input("output", "{}: holds a run of rrhf train; choose another output", path_.string());
  }
}

void RunFolder::require_same_settings() const {
  std::map<std::string, Json> now, then;
  flatten(config_, "", now);
  const fs::path file = path_ / "config.json";
  // A run of an older program lacks the settings that came later: it ran as their defaults have it.
  flatten(config::to_json({}), "", then);
  flatten(parse_json(read_file(file), "output", file.string()), "", then);
  std::string differing;
  for (const auto& [key, value] : now) {
    if (free_settings.contains(key) || then[key] == value) continue;
    differing += fmt::format("\n  {}: the run has {}, now {}", key, then[key].dump(), value.dump());
  }
  if (!differing.empty())
    throw_input("output", "{}: can't be resumed with other settings:{}", path_.string(), differing);
}

bool RunFolder::finished() const { return path_exists(path_ / "model" / "config.json"); }

void RunFolder::begin(std::int64_t first_step, std::span<const SkippedRow> skipped) {
  if (!writes_) return;
  make_writable_folder(path_);
  lock_.emplace(path_);
  for (const fs::path& folder : {path_, path_ / "checkpoints"}) remove_abandoned(folder);
  write_file_atomically(path_ / "config.json", dump_json(config_, 2) + "\n");
  if (!skipped.empty()) {
    write_file_atomically(path_ / "skipped.txt", [&](std::ostream& out) {
      for (const SkippedRow& row : skipped) out << row.where.text() << ": " << row.why << '\n';
    });
  }
  keep_metrics_until(first_step);
  metrics_.open(path_ / "metrics.jsonl", std::ios::app);
}

// Visits the lines of metrics.jsonl until `visit` says false, or up to the torn last line of a run that was killed.
void RunFolder::each_metric(const std::function<bool(const Json& json, const std::string& line)>& visit) const {
  const fs::path file = path_ / "metrics.jsonl";
  if (!path_exists(file)) return;
  std::istringstream lines(read_file(file));
  for (std::string line; std::getline(lines, line);) {
    try {
      const Json json = parse_json_row(line);
      if (!json.is_object() || !visit(json, line)) return;
    } catch (const JsonSyntax&) {
      return;
    }
  }
}

bool RunFolder::evaluated(std::int64_t step) const {
  bool found = false;
  each_metric([&](const Json& json, const std::string&) {
    found = json.value("event", "") == "eval" && json.value("step", std::int64_t{-1}) == step;
    return !found;
  });
  return found;
}

void RunFolder::keep_metrics_until(std::int64_t step) const {
  const fs::path file = path_ / "metrics.jsonl";
  std::string kept;
  std::int64_t steps = 0;
  each_metric([&](const Json& json, const std::string& line) {
    const bool earlier = step > 0 && json.value("step", step + 1) <= step;
    if (earlier) kept += line + "\n";
    steps += earlier && !json.contains("event");
    return earlier;
  });
  if (steps < step) {
    warn("{}: has lines of {} of the {} steps before the checkpoint; the others are lost", file.string(), steps, step);
  }
  if (path_exists(file)) write_file_atomically(file, kept);
}

void RunFolder::write_metrics(const Json& line) {
  if (!writes_) return;
  metrics_ << dump_json(line) << std::endl;
  if (!metrics_)
    throw_error("output", "{}: could not be written: {}", (path_ / "metrics.jsonl").string(), std::strerror(errno));
}

}  // namespace rrhf::train
