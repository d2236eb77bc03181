#include <algorithm>
#include <set>

#include "rrhf/core/error.h"
#include "rrhf/data/encode.h"
#include "rrhf/data/reader.h"

namespace rrhf::data {
namespace {

std::string line_of(const Problem& problem) { return fmt::format("{}: {}", problem.where.text(), problem.message); }

double file_bytes(const std::filesystem::path& path) {
  std::error_code failure;
  const auto size = std::filesystem::file_size(path, failure);
  return failure ? 0 : static_cast<double>(size);
}

}  // namespace

Dataset read_all(const std::vector<std::filesystem::path>& paths, DataFormat format,
                 const std::function<void(double)>& on_progress) {
  double all_bytes = 0;
  for (const auto& path : paths) all_bytes += file_bytes(path);
  Dataset dataset;
  double bytes_before = 0;
  for (const auto& path : paths) {
    const double bytes = file_bytes(path);
    RowReader reader(path, format);
    while (auto row = reader.next()) {
      if (row->example) dataset.rows.push_back(std::move(*row->example));
      std::ranges::move(row->problems, std::back_inserter(dataset.problems));
      if (on_progress && all_bytes > 0) on_progress((bytes_before + bytes * reader.share_read()) / all_bytes);
    }
    bytes_before += bytes;
  }
  return dataset;
}

void require_no_errors(const std::vector<Problem>& problems, std::string_view lister) {
  constexpr std::size_t most_named = 20;
  std::vector<const Problem*> errors;
  for (const Problem& problem : problems) {
    if (problem.severity == Severity::error) errors.push_back(&problem);
  }
  if (errors.empty()) return;
  if (errors.size() == 1) {
    throw_input("data", "{}{}", line_of(*errors[0]),
                lister.empty() ? "" : fmt::format(". ({} looks at a whole file)", lister));
  }
  std::string lines;
  for (std::size_t i = 0; i < std::min(most_named, errors.size()); ++i) lines += "\n  " + line_of(*errors[i]);
  if (errors.size() > most_named) {
    lines += fmt::format("\n  and {} more", errors.size() - most_named);
    if (!lister.empty()) lines += fmt::format(": {} lists all", lister);
  }
  throw_input("data", "{} errors:{}", errors.size(), lines);
}

std::string no_pair_message(ResponseChoice responses) {
  return fmt::format(
      "no pair in the whole file: no row has two {}responses with unequal scores, so there is nothing to rank "
      "(objective.rank_loss none trains on the best responses alone)",
      responses == ResponseChoice::all ? "" : fmt::format("of its {} ", name_of(responses)));
}

void require_usable(const Dataset& dataset, bool needs_pairs, ResponseChoice responses) {
  require_no_errors(dataset.problems);
  if (dataset.rows.empty()) throw_input("data", "there are no rows");
  if (!needs_pairs) return;
  std::vector<std::string> files;  // in their order
  std::set<std::string> ranked;
  for (const RankedExample& row : dataset.rows) {
    if (files.empty() || files.back() != row.where.file) files.push_back(row.where.file);
    if (has_pair(row, responses)) ranked.insert(row.where.file);
  }
  std::erase_if(files, [&](const std::string& file) { return ranked.contains(file); });
  std::string lines;
  for (const std::string& file : files)
    lines += fmt::format("{}{}: {}", lines.empty() ? "" : "\n", file, no_pair_message(responses));
  if (!lines.empty()) throw InputError("data", lines);
}

}  // namespace rrhf::data
