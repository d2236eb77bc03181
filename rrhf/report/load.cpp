#include <algorithm>
#include <cmath>
#include <iterator>
#include <system_error>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/unicode.h"
#include "rrhf/report/report.h"

namespace rrhf::report {
namespace fs = std::filesystem;
namespace {

void take_numbers(const Json& object, const std::string& prefix, Row& row) {
  for (const auto& [name, value] : object.items()) {
    if (value.is_object()) {
      take_numbers(value, prefix + name + ".", row);
    } else if (value.is_number() && std::isfinite(value.get<double>())) {
      row.values[prefix + name] = value.get<double>();
    }
  }
}

// A resumed run does some steps again: what it wrote before about this step and later ones no longer counts.
void append(std::vector<Row>& rows, Row row) {
  while (!rows.empty() && rows.back().step >= row.step) rows.pop_back();
  rows.push_back(std::move(row));
}

// Takes one line; false when it is not a metrics line.
bool take_line(std::string_view line, RunRecord& run) {
  Json json;
  try {
    json = parse_json_row(line);
  } catch (const JsonSyntax&) {
    return false;
  }
  if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer()) return false;
  Row row;
  row.step = json["step"].get<std::int64_t>();
  const bool evaluation = json.contains("event") && json["event"] == "eval";
  if (json.contains("event") && !evaluation) return true;  // an event of another kind has no curve
  take_numbers(json, "", row);
  append(evaluation ? run.evaluations : run.steps, std::move(row));
  return true;
}

void take_metrics(const std::string& text, const std::filesystem::path& path, RunRecord& run) {
  std::size_t number = 0, taken = 0;
  std::string_view rest = text;
  while (!rest.empty()) {
    const auto end = rest.find('\n');
    const bool torn = end == std::string_view::npos;
    const std::string_view line = strip(rest.substr(0, end));
    rest.remove_prefix(torn ? rest.size() : end + 1);
    ++number;
    if (line.empty()) continue;
    if (take_line(line, run)) {
      ++taken;
    } else {
      run.notes.push_back(
          fmt::format("metrics.jsonl:{}: {}", number,
                      torn ? "the last line is incomplete and was left out" : "not a line of metrics, left out"));
    }
  }
  if (taken == 0 && !run.notes.empty())
    throw_input("report", "{}: none of its lines is a line of metrics", path.string());
}

// "runs/a/" is runs/a.
fs::path full_path(const fs::path& folder) {
  return fs::weakly_canonical(folder.has_filename() ? folder : folder.parent_path());
}

fs::path end_of(const fs::path& path, std::ptrdiff_t parts) {
  fs::path end;
  for (auto at = path.end(); parts > 0 && at != path.begin(); --parts) {
    --at;
    end = end.empty() ? *at : *at / end;
  }
  return end;
}

// " RUN/round-001 RUN/round-002": the trainings in folders below, two deep at most, "" where there are none.
std::string runs_in(const fs::path& folder) {
  std::vector<std::string> runs;
  std::error_code failure;
  fs::recursive_directory_iterator at(folder, fs::directory_options::skip_permission_denied, failure);
  for (; !failure && at != fs::recursive_directory_iterator(); at.increment(failure)) {
    if (at.depth() >= 2) at.disable_recursion_pending();
    if (at->path().filename() == "metrics.jsonl") runs.push_back(at->path().parent_path().string());
  }
  std::ranges::sort(runs);
  std::string list;
  for (const std::string& run : runs) list += " " + shell_word(run);
  return list;
}

[[noreturn]] void throw_no_run(const fs::path& folder) {
  const std::string runs = runs_in(folder), where = folder.string();
  if (runs.empty()) {
    throw_input("report", "{}: there is no metrics.jsonl; a run's folder is what `output` named in its config", where);
  }
  if (path_exists(folder / "grid.json")) {
    throw_input("report", "{0}: holds an ablation, whose page is {0}/report.html; name runs of it to report:{1}", where,
                runs);
  }
  if (path_exists(folder / "inputs.json")) {
    throw_input("report", "{}: holds a run of rrhf iterate; name the rounds to report:{}", where, runs);
  }
  throw_input("report", "{}: holds runs; name those to report:{}", where, runs);
}

Json load_config(const std::filesystem::path& path, RunRecord& run) {
  if (!path_exists(path)) {
    run.notes.push_back("there is no config.json: settings are not shown");
    return {};
  }
  return parse_json(read_file(path), "report", path.string());
}

}  // namespace

std::optional<double> Row::value(std::string_view name) const {
  const auto found = values.find(name);
  return found == values.end() ? std::nullopt : std::optional(found->second);
}

RunRecord load_run(const std::filesystem::path& folder) {
  const auto metrics = folder / "metrics.jsonl";
  if (!path_exists(metrics)) throw_no_run(folder);
  RunRecord run;
  run.folder = folder;
  run.name = full_path(folder).filename().string();
  take_metrics(read_file(metrics), metrics, run);
  run.config = load_config(folder / "config.json", run);
  return run;
}

std::vector<RunRecord> load_runs(std::span<const fs::path> folders) {
  std::vector<RunRecord> runs;
  std::vector<fs::path> paths;
  for (const fs::path& folder : folders) {
    runs.push_back(load_run(folder));
    paths.push_back(full_path(folder));
  }
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const std::ptrdiff_t most = std::distance(paths[i].begin(), paths[i].end());
    const auto shared = [&](std::ptrdiff_t parts) {
      return std::ranges::any_of(paths, [&](const fs::path& other) {
        return other != paths[i] && end_of(other, parts) == end_of(paths[i], parts);
      });
    };
    std::ptrdiff_t parts = 1;
    while (parts < most && shared(parts)) ++parts;
    runs[i].name = end_of(paths[i], parts).string();
  }
  return runs;
}

const Row* best_evaluation(const RunRecord& run) {
  const Row* best = nullptr;
  for (const Row& row : run.evaluations) {
    const auto accuracy = row.value("rank_accuracy");
    if (accuracy && (!best || *accuracy > *best->value("rank_accuracy"))) best = &row;
  }
  return best;
}

}  // namespace rrhf::report
