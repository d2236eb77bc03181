#include "rrhf/reward/merge.h"

#include <fmt/ranges.h>

#include <cmath>
#include <unordered_map>
#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/core/unicode.h"
#include "rrhf/data/frames.h"
#include "rrhf/data/row_fields.h"

namespace rrhf::reward {
namespace {

constexpr std::size_t shown_characters = 60;

std::string in_quotes(std::string_view text) { return dump_json(shorten(text, shown_characters)); }

// One entry of the file.
struct Entry {
  std::optional<std::int64_t> row, response_index;
  std::optional<std::string> query, response;
  std::vector<double> scores;  // one, or one a response with `whole_row`
  bool whole_row = false;
};

class Merger {
 public:
  explicit Merger(std::span<const Row> rows) : rows_(rows) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      rows_of_query_[rows[i].query].push_back(i);
      merged_.scores.emplace_back(rows[i].responses.size());
      given_at_.emplace_back(rows[i].responses.size());
    }
  }

  void take(const data::Frame& frame) {
    where_ = frame.where.text();
    if (!frame.broken.empty()) return mismatch(frame.broken);
    ++merged_.entries;
    try {
      const Json json = parse_json_row(frame.text);
      if (!json.is_object()) return mismatch(fmt::format("the entry is {}; an object is needed", describe(json)));
      if (const auto entry = read(json)) place(*entry);
    } catch (const JsonSyntax& syntax) {
      mismatch(fmt::format("not JSON: {} (byte {})", syntax.reason(), syntax.byte()));
    }
  }

  Merged finish() && {
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      for (std::size_t j = 0; j < rows_[i].responses.size(); ++j) {
        if (merged_.scores[i][j]) continue;
        merged_.missing.push_back(
            fmt::format("{}: response {} ({})", rows_[i].where.text(), j, in_quotes(rows_[i].responses[j])));
      }
    }
    return std::move(merged_);
  }

 private:
  void mismatch(std::string message) { merged_.mismatches.push_back(fmt::format("{}: {}", where_, message)); }

  std::optional<std::int64_t> number(const Json& json, const char* key, bool& good) {
    const auto found = json.find(key);
    if (found == json.end()) return std::nullopt;
    if (found->is_number_integer()) return found->get<std::int64_t>();
    mismatch(fmt::format("\"{}\" must be a whole number, is {}", key, describe(*found)));
    good = false;
    return std::nullopt;
  }

  std::optional<std::string> text(const Json& json, const char* key, bool& good) {
    const auto found = json.find(key);
    if (found == json.end()) return std::nullopt;
    if (found->is_string()) return found->get<std::string>();
    mismatch(fmt::format("\"{}\" must be a text, is {}", key, describe(*found)));
    good = false;
    return std::nullopt;
  }

  // The score or scores; false after a noted mistake.
  bool read_scores(const Json& json, Entry& entry) {
    entry.whole_row = json.contains("scores");
    const char* key = entry.whole_row ? "scores" : "score";
    const auto found = json.find(key);
    if (found == json.end())
      return mismatch(fmt::format("has no \"score\": its keys are {}", data::list_keys(json))), false;
    if (entry.whole_row && !found->is_array()) return mismatch("\"scores\" must be a list of numbers"), false;
    const Json list = entry.whole_row ? *found : Json::array({*found});
    for (const Json& score : list) {
      if (!score.is_number() || !std::isfinite(score.get<double>())) {
        return mismatch(fmt::format("\"{}\": {} is no finite number", key, describe(score))), false;
      }
      entry.scores.push_back(score.get<double>());
    }
    return true;
  }

  std::optional<Entry> read(const Json& json) {
    Entry entry;
    bool good = read_scores(json, entry);
    for (const char* key : {"response", "response_index", "score"}) {
      if (!entry.whole_row || !json.contains(key)) continue;
      return mismatch(fmt::format("has \"scores\", of a whole row, and \"{}\", of one response; one is needed", key)),
             std::nullopt;
    }
    entry.row = number(json, "row", good);
    entry.response_index = number(json, "response_index", good);
    entry.query = text(json, "query", good);
    entry.response = text(json, "response", good);
    if (!good) return std::nullopt;
    if (!entry.row && !entry.query) return mismatch("names no row: \"row\" or \"query\" is needed"), std::nullopt;
    if (!entry.whole_row && !entry.response_index && !entry.response) {
      return mismatch("names no response: \"response_index\" or \"response\" is needed"), std::nullopt;
    }
    return entry;
  }

  // The rows an entry speaks of; none after a noted mistake.
  std::vector<std::size_t> rows_of(const Entry& entry) {
    if (!entry.row) {
      const auto found = rows_of_query_.find(*entry.query);
      if (found != rows_of_query_.end()) return found->second;
      mismatch(fmt::format("no row has the query {}", in_quotes(*entry.query)));
      return {};
    }
    if (*entry.row < 0 || *entry.row >= std::ssize(rows_)) {
      mismatch(fmt::format("there is no row {}: the data have rows 0 to {}", *entry.row, rows_.size() - 1));
      return {};
    }
    const auto row = static_cast<std::size_t>(*entry.row);
    if (entry.query && *entry.query != rows_[row].query) {
      mismatch(
          fmt::format("row {} has the query {}, not {}", row, in_quotes(rows_[row].query), in_quotes(*entry.query)));
      return {};
    }
    return {row};
  }

  void place(const Entry& entry) {
    bool found = false;
    const std::vector<std::size_t> rows = rows_of(entry);
    for (const std::size_t row : rows) found |= place_in(entry, row);
    if (!rows.empty() && !found && !entry.response_index && entry.response) {
      const std::string response = in_quotes(*entry.response);
      mismatch(rows.size() == 1 ? fmt::format("row {} has no response {}", rows[0], response)
                                : fmt::format("no row with this query has the response {}", response));
    }
  }

  // True where the entry's response is in the row.
  bool place_in(const Entry& entry, std::size_t row) {
    const std::vector<std::string>& responses = rows_[row].responses;
    if (entry.whole_row) {
      if (entry.scores.size() != responses.size()) {
        mismatch(
            fmt::format("{} scores for row {}, which has {} responses", entry.scores.size(), row, responses.size()));
      } else {
        for (std::size_t i = 0; i < responses.size(); ++i) set(row, i, entry.scores[i]);
      }
      return true;
    }
    if (entry.response_index) {
      const std::int64_t index = *entry.response_index;
      if (index < 0 || index >= std::ssize(responses)) {
        mismatch(fmt::format("row {} has no response {}: it has {}", row, index, responses.size()));
      } else if (entry.response && *entry.response != responses[static_cast<std::size_t>(index)]) {
        mismatch(fmt::format("response {} of row {} is {}, not {}", index, row,
                             in_quotes(responses[static_cast<std::size_t>(index)]), in_quotes(*entry.response)));
      } else {
        set(row, static_cast<std::size_t>(index), entry.scores[0]);
      }
      return true;
    }
    bool found = false;
    for (std::size_t i = 0; i < responses.size(); ++i) {
      if (responses[i] != *entry.response) continue;
      set(row, i, entry.scores[0]);
      found = true;
    }
    return found;
  }

  void set(std::size_t row, std::size_t response, double score) {
    auto& place = merged_.scores[row][response];
    if (place && *place != score) {
      mismatch(fmt::format("gives response {} of row {} the score {}, {} gave it {}", response, row, score,
                           given_at_[row][response], *place));
      return;
    }
    place = score;
    given_at_[row][response] = where_;
  }

  std::span<const Row> rows_;
  std::unordered_map<std::string_view, std::vector<std::size_t>> rows_of_query_;
  std::vector<std::vector<std::string>> given_at_;  // which entry gave each score
  std::string where_;
  Merged merged_;
};

}  // namespace

Merged merge_scores(const std::filesystem::path& file, std::span<const Row> rows) {
  data::FrameReader frames(file);
  Merger merger(rows);
  while (const auto frame = frames.next()) merger.take(*frame);
  return std::move(merger).finish();
}

void require_complete(const Merged& merged, bool allow_missing) {
  std::string message;
  if (!merged.mismatches.empty()) {
    message = fmt::format("{} of {} entries do not fit the data:\n  {}", with_commas(std::ssize(merged.mismatches)),
                          with_commas(merged.entries), fmt::join(merged.mismatches, "\n  "));
  }
  if (!merged.missing.empty() && !allow_missing) {
    message += fmt::format("{}{} responses are left without a score (--allow-missing leaves them out):\n  {}",
                           message.empty() ? "" : "\n", with_commas(std::ssize(merged.missing)),
                           fmt::join(merged.missing, "\n  "));
  }
  if (!message.empty()) throw_input("merge", "{}", message);
}

}  // namespace rrhf::reward
