#include "rrhf/core/error.h"
#include "rrhf/data/reader.h"

namespace rrhf::data {
namespace {

constexpr std::int64_t most_named = 20;

std::string line_of(const Problem& problem) { return fmt::format("{}: {}", problem.where.text(), problem.message); }

}  // namespace

void RowErrors::add(Problem error) {
  if (++count_ <= most_named) first_.push_back(std::move(error));
}

void RowErrors::require_none(std::string_view lister) const {
  if (count_ == 0) return;
  if (count_ == 1) {
    throw_input("data", "{}{}", line_of(first_[0]),
                lister.empty() ? "" : fmt::format(". ({} looks at a whole file)", lister));
  }
  std::string lines;
  for (const Problem& error : first_) lines += "\n  " + line_of(error);
  if (count_ > most_named) {
    lines += fmt::format("\n  and {} more", count_ - most_named);
    if (!lister.empty()) lines += fmt::format(": {} lists all", lister);
  }
  throw_input("data", "{} errors:{}", count_, lines);
}

void require_no_errors(const std::vector<Problem>& problems, std::string_view lister) {
  RowErrors errors;
  for (const Problem& problem : problems) {
    if (problem.severity == Severity::error) errors.add(problem);
  }
  errors.require_none(lister);
}

}  // namespace rrhf::data
