#include "rrhf/distributed/verdict.h"

#include <sstream>

namespace rrhf::distributed {

std::string to_word(const Verdict& verdict) {
  return fmt::format("{} {} {} {}", verdict.rank, verdict.exit_code, verdict.spoken ? 1 : 0, verdict.text);
}

Verdict from_word(const std::string& word) {
  Verdict verdict;
  std::istringstream stream(word);
  stream >> verdict.rank >> verdict.exit_code >> verdict.spoken;
  if (!stream || stream.get() != ' ') throw_error("distributed", "{} is no verdict", word);
  verdict.text.assign(std::istreambuf_iterator<char>(stream), {});
  return verdict;
}

Verdict verdict_of(const Place& place, const std::exception& failure) {
  const auto* error = dynamic_cast<const Error*>(&failure);
  // Other messages may carry a trace of C++ frames after the first line.
  const std::string_view what = failure.what();
  return {.rank = place.rank,
          .exit_code = error == nullptr ? 1 : error->exit_code(),
          .spoken = true,
          .text = fmt::format("rank {} on {} failed: {}", place.rank, place.host,
                              what.substr(0, error == nullptr ? what.find('\n') : what.npos))};
}

}  // namespace rrhf::distributed
