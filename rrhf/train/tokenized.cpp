#include "rrhf/train/tokenized.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <span>
#include <utility>
#include <variant>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"
#include "rrhf/core/sha256.h"
#include "rrhf/data/all_rows.h"
#include "rrhf/data/encode.h"
#include "rrhf/data/token_cache.h"
#include "rrhf/text/prompt_template.h"
#include "rrhf/train/inputs.h"

namespace rrhf::train {
namespace fs = std::filesystem;
namespace {

// To be raised with any change to what rows become: to the readers, the tokenizer, the encoding or the file.
constexpr int reading_version = 4;

// $XDG_CACHE_HOME/rrhf/tokens, else ~/.cache/rrhf/tokens; nothing where there is no home.
std::optional<fs::path> users_cache() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return fs::path(value == nullptr ? "" : value);
  };
  if (const fs::path cache = variable("XDG_CACHE_HOME"); cache.is_absolute()) return cache / "rrhf" / "tokens";
  if (const fs::path home = variable("HOME"); home.is_absolute()) return home / ".cache" / "rrhf" / "tokens";
  return std::nullopt;
}

// The folder to keep tokens of these files in, or nothing.
std::optional<fs::path> cache_folder(const std::vector<fs::path>& files, const std::string& setting) {
  if (setting == "off") return std::nullopt;
  std::uintmax_t bytes = 0;
  for (const fs::path& file : files) {
    std::error_code failure;
    if (!fs::is_regular_file(file, failure)) return std::nullopt;  // the reader says what is wrong
    bytes += fs::file_size(file, failure);
  }
  if (setting != "auto") return fs::path(setting);
  if (bytes < static_cast<std::uintmax_t>(least_cached_bytes)) return std::nullopt;
  const std::optional<fs::path> folder = users_cache();
  try {
    if (folder) make_writable_folder(*folder);
    return folder;
  } catch (const InputError& failure) {
    warn("{}; tokens are kept in memory (data.cache names another folder)", failure.what());
    return std::nullopt;
  }
}

std::string hash_with_bar(const fs::path& file) {
  Progress progress;
  const auto size = static_cast<double>(fs::file_size(file));
  double done = 0;
  return sha256_of_file(file, [&](std::int64_t bytes) {
    done += static_cast<double>(bytes);
    progress.update([&] { return fmt::format("hashing data   {}", bar(std::min(1.0, done / size))); });
  });
}

// Encodes rows some hundreds at a time on all threads, and writes them in their order.
class RowBatches {
 public:
  RowBatches(const data::RowEncoder& encoder, data::TokenWriter& writer) : encoder_(encoder), writer_(writer) {}

  void add(const data::RankedExample& row) {
    rows_.push_back(row);
    bytes_ += row.query.size();
    for (const std::string& response : row.responses) bytes_ += response.size();
    if (rows_.size() == most_rows || bytes_ >= most_bytes) flush();
  }

  // To be called after the last row.
  void flush() {
    std::vector<std::variant<data::EncodedQuery, data::Skipped>> encoded(rows_.size());
    at::parallel_for(0, std::ssize(rows_), 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const auto at = static_cast<std::size_t>(i);
        encoded[at] = encoder_.encode(rows_[at], i);
      }
    });
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      if (const auto* query = std::get_if<data::EncodedQuery>(&encoded[i])) {
        writer_.add(*query);
      } else {
        writer_.add(std::get<data::Skipped>(encoded[i]), rows_[i].where);
      }
    }
    rows_.clear();
    bytes_ = 0;
  }

 private:
  static constexpr std::size_t most_rows = 512, most_bytes = std::size_t{8} << 20;

  const data::RowEncoder& encoder_;
  data::TokenWriter& writer_;
  std::vector<data::RankedExample> rows_;
  std::size_t bytes_ = 0;
};

class FileTokenizer {
 public:
  FileTokenizer(const std::vector<std::string>& files, const fs::path& model_folder, const text::Tokenizer& tokenizer,
                const config::RunConfig& config)
      : files_(files.begin(), files.end()),
        model_folder_(model_folder),
        tokenizer_(tokenizer),
        config_(config),
        template_(text::PromptTemplate::named(config.data.template_name)),
        encoder_(tokenizer, template_, encode_options(config)) {}

  TokenizedFiles run() const {
    const std::optional<fs::path> folder = cache_folder(files_, config_.data.cache);
    if (!folder) return {in_memory(), files_};
    TokenizedFiles result{cached(*folder), files_};
    log("tokens   {} kept in {}", counted(result.rows.size(), "row", "rows"), folder->string());
    return result;
  }

 private:
  data::TokenRows in_memory() const {
    std::string bytes;
    write([&](std::string_view piece) { bytes += piece; }, "");
    return data::TokenRows::in_memory(std::move(bytes));
  }

  data::TokenRows cached(const fs::path& folder) const {
    const auto before = states();
    const std::string own_key = key();
    return data::cached_rows(folder, own_key, [&](const data::TokenWriter::Sink& sink) {
      write(sink, own_key);
      // What is kept under the hash of one file must not be another's rows.
      const auto after = states();
      for (std::size_t i = 0; i < files_.size(); ++i) {
        if (before[i] != after[i]) throw_input("data", "{}: was changed while it was read", files_[i].string());
      }
    });
  }

  // Size and time of the last change of each file.
  std::vector<std::pair<std::uintmax_t, fs::file_time_type>> states() const {
    std::vector<std::pair<std::uintmax_t, fs::file_time_type>> result;
    for (const fs::path& file : files_) {
      std::error_code failure;
      result.emplace_back(fs::file_size(file, failure), fs::last_write_time(file, failure));
    }
    return result;
  }

  // A hash over everything that the tokens depend on.
  std::string key() const {
    const config::DataConfig& data = config_.data;
    std::string text = fmt::format("tokens {}, rrhf {}\n", reading_version, RRHF_VERSION);
    for (const fs::path& file : files_) text += "data " + hash_with_bar(file) + "\n";
    for (const fs::path& file : text::tokenizer_files(model_folder_)) {
      text += fmt::format("tokenizer {} {}\n", file.filename().string(), sha256_of_file(file));
    }
    text += fmt::format("{} {} {} {} {} {} {}\n", name_of(data.format), name_of(data.encoding), name_of(data.bos_token),
                        name_of(data.special_tokens), data.max_length, name_of(data.responses), data.stop_response);
    // A file's words, or the name of a template of ours.
    text += template_.name() + "\n" + template_.apply("{query}");
    return sha256_of(text);
  }

  void write(const data::TokenWriter::Sink& sink, std::string_view key) const {
    data::TokenWriter writer(sink, key, tokenizer_.size());
    const data::RowChecks checks{.format = config_.data.format,
                                 .responses = config_.data.responses,
                                 .prompt_template = &template_,
                                 .stop_responses = config_.data.stop_response};
    RowBatches batches(encoder_, writer);
    Progress progress;
    const data::RowFacts facts = data::visit_rows(
        files_, checks, [&](const data::RankedExample& row) { batches.add(row); },
        [&](double share) { progress.update([&] { return fmt::format("tokenizing     {}", bar(share)); }); });
    batches.flush();
    writer.finish(facts);
  }

  std::vector<fs::path> files_;
  const fs::path& model_folder_;
  const text::Tokenizer& tokenizer_;
  const config::RunConfig& config_;
  text::PromptTemplate template_;
  data::RowEncoder encoder_;
};

// One line: a set may hold thousands of ties, and rrhf data validate lists them. Without a ranking loss nothing is said
// of missing pairs.
void log_warnings(const data::RowFacts& facts, const std::vector<fs::path>& files, bool ranks) {
  data::RowFacts::Notes first = facts.notes;
  if (const auto& of_pairs = facts.pair_notes; ranks && of_pairs.count > 0) {
    const std::int64_t both = first.count + of_pairs.count;
    const auto place = [](const auto& notes) { return std::pair(notes.file, notes.where.row); };
    if (first.count == 0 || place(of_pairs) < place(first)) first = of_pairs;
    first.count = both;
  }
  if (first.count == 0) return;
  first.where.file = files[first.file].string();
  if (first.count == 1) return warn("{}: {}", first.where.text(), first.message);
  warn("{} notes on the data, the first: {}: {} (rrhf data validate lists all)", with_commas(first.count),
       first.where.text(), first.message);
}

}  // namespace

data::RowLocation TokenizedFiles::where(std::int64_t row) const {
  data::RowLocation where = rows.where(row);
  const auto& facts = rows.facts().files;
  std::int64_t end = 0;
  for (std::size_t i = 0; i < files.size(); ++i) {
    end += facts[i].rows;
    if (row >= end) continue;
    where.file = files[i].string();
    break;
  }
  return where;
}

std::shared_ptr<const TokenizedFiles> tokenize_files(const std::vector<std::string>& files,
                                                     const fs::path& model_folder, const text::Tokenizer& tokenizer,
                                                     const config::RunConfig& config) {
  auto result = std::make_shared<const TokenizedFiles>(FileTokenizer(files, model_folder, tokenizer, config).run());
  const bool ranks = config.objective.rank_loss != "none";
  if (ranks) data::require_pairs(result->rows.facts(), result->files, config.data.responses);
  log_warnings(result->rows.facts(), result->files, ranks);
  return result;
}

std::shared_ptr<const TokenizedFiles> tokenized_in_memory(std::int64_t vocabulary,
                                                          const std::function<void(data::TokenWriter&)>& write) {
  std::string bytes;
  data::TokenWriter writer([&](std::string_view piece) { bytes += piece; }, "", vocabulary);
  write(writer);
  writer.finish({.files = {{.rows = writer.rows(), .pairs = true}}});
  return std::make_shared<const TokenizedFiles>(TokenizedFiles{data::TokenRows::in_memory(std::move(bytes)), {}});
}

}  // namespace rrhf::train
