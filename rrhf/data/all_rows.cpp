#include "rrhf/data/all_rows.h"

#include <algorithm>
#include <optional>
#include <set>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/data/encode.h"

namespace rrhf::data {
namespace {

double file_bytes(const std::filesystem::path& path) {
  std::error_code failure;
  const auto size = std::filesystem::file_size(path, failure);
  return failure ? 0 : static_cast<double>(size);
}

void require_files(const std::vector<std::filesystem::path>& files) {
  std::string missing;
  for (const auto& file : files) {
    if (!path_exists(file)) missing += fmt::format("{}{}: No such file", missing.empty() ? "" : "\n", file.string());
  }
  if (!missing.empty()) throw InputError("data", missing);
}

void note_warning(RowFacts& facts, const Problem& warning) {
  RowFacts::Notes& notes = warning.of_pairs ? facts.pair_notes : facts.notes;
  if (notes.count++ > 0) return;
  notes.file = facts.files.size() - 1;
  notes.where = warning.where;
  notes.where.file.clear();
  notes.message = warning.message;
}

void visit_row(ReadRow& row, const RowChecks& checks, RowFacts& facts, RowErrors& errors,
               const std::function<void(const RankedExample&)>& visit, bool all_readable) {
  for (Problem& problem : row.problems) {
    if (problem.severity == Severity::error) {
      errors.add(std::move(problem));
    } else {
      note_warning(facts, problem);
    }
  }
  if (!row.example) return;
  if (checks.prompt_template != nullptr) {
    if (auto mistake = settings_mistake(*row.example, *checks.prompt_template, checks.responses)) {
      return errors.add({Severity::error, row.where, std::move(*mistake)});
    }
  }
  if (std::string warning = stop_warning(*row.example, checks.stop_responses); !warning.empty()) {
    note_warning(facts, {Severity::warning, row.where, std::move(warning)});
  }
  RowFacts::File& file = facts.files.back();
  file.rows += 1;
  file.pairs = file.pairs || has_pair(*row.example, checks.responses);
  if (all_readable && !errors.any()) visit(*row.example);
}

}  // namespace

std::int64_t RowFacts::rows() const {
  std::int64_t sum = 0;
  for (const File& file : files) sum += file.rows;
  return sum;
}

RowFacts visit_rows(const std::vector<std::filesystem::path>& files, const RowChecks& checks,
                    const std::function<void(const RankedExample&)>& visit,
                    const std::function<void(double)>& on_progress) {
  require_files(files);
  double all_bytes = 0;
  for (const auto& file : files) all_bytes += file_bytes(file);
  RowFacts facts;
  RowErrors errors;
  InputErrors unreadable;
  double bytes_before = 0;
  for (const auto& file : files) {
    const double bytes = file_bytes(file);
    facts.files.emplace_back();
    std::optional<RowReader> reader;
    const auto next = [&]() -> std::optional<ReadRow> {
      try {
        if (!reader) reader.emplace(file, checks.format, checks.responses);
        return reader->next();
      } catch (const InputError& failure) {  // the other files may hold more to be mended
        unreadable.add(failure);
        return std::nullopt;
      }
    };
    while (auto row = next()) {
      visit_row(*row, checks, facts, errors, visit, !unreadable.any());
      if (on_progress && all_bytes > 0) on_progress((bytes_before + bytes * reader->share_read()) / all_bytes);
    }
    bytes_before += bytes;
  }
  try {
    errors.require_none();
  } catch (const InputError& of_rows) {
    unreadable.add(of_rows);
  }
  unreadable.require_none();
  if (facts.rows() == 0) throw_input("data", "there are no rows");
  return facts;
}

void require_pairs(const RowFacts& facts, const std::vector<std::filesystem::path>& files, ResponseChoice responses) {
  std::set<std::filesystem::path> named;
  std::string lines;
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (facts.files[i].rows == 0 || facts.files[i].pairs || !named.insert(files[i]).second) continue;
    lines += fmt::format("{}{}: {}", lines.empty() ? "" : "\n", files[i].string(), no_pair_message(responses));
  }
  if (!lines.empty()) throw InputError("data", lines);
}

std::string no_pair_message(ResponseChoice responses) {
  return fmt::format(
      "no pair in the whole file: no row has two {}responses with unequal scores, so there is nothing to rank "
      "(objective.rank_loss none trains on the best responses alone)",
      responses == ResponseChoice::all ? "" : fmt::format("of its {} ", name_of(responses)));
}

}  // namespace rrhf::data
