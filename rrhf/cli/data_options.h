// What the four `rrhf data` subcommands share: their arguments, and the settings, template and tokenizer these name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/config/run_config.h"
#include "rrhf/core/log.h"
#include "rrhf/data/encode.h"
#include "rrhf/data/reader.h"
#include "rrhf/text/prompt_template.h"
#include "rrhf/text/tokenizer.h"

namespace rrhf::cli {

struct DataArguments {
  std::vector<std::filesystem::path> files;
  config::RunConfig config;  ///< the defaults where no config is given
  std::optional<std::int64_t> row;
  std::string out;
  bool force = false;
  bool all_tokens = false;
};

/// Reads the flags of a subcommand; argv[0] is its name. Without files, the data files of the config are taken.
/// Returns nothing when help was asked for and printed. Throws InputError for arguments that make no sense.
std::optional<DataArguments> parse_data_arguments(int argc, const char* const* argv, std::string_view summary);

/// Template and, when a model is named, tokenizer and encoder as `rrhf train` would use them. Not movable: the encoder
/// refers to the other two.
class DataEncoding {
 public:
  explicit DataEncoding(const config::RunConfig& config);
  DataEncoding(const DataEncoding&) = delete;
  DataEncoding& operator=(const DataEncoding&) = delete;

  const text::PromptTemplate& prompt_template() const noexcept { return template_; }

  /// Null without a model: then nothing can be said in tokens.
  const text::Tokenizer* tokenizer() const noexcept { return tokenizer_ ? &*tokenizer_ : nullptr; }
  const data::RowEncoder* encoder() const noexcept { return encoder_ ? &*encoder_ : nullptr; }

 private:
  text::PromptTemplate template_;
  std::optional<text::Tokenizer> tokenizer_;
  std::optional<data::RowEncoder> encoder_;
};

/// One line that says what is left out when there is no tokenizer.
inline constexpr std::string_view no_tokenizer_note =
    "lengths in tokens are left out: name a model folder with --model DIR, or a config with model.path";

/// The bar of one file being read, on stderr.
class ReadingBar {
 public:
  explicit ReadingBar(std::filesystem::path file) : file_(std::move(file)) {}
  void update(const data::RowReader& reader);

 private:
  std::filesystem::path file_;
  Progress progress_;
};

void run_validate(const DataArguments& arguments);
void run_inspect(const DataArguments& arguments);
void run_convert(const DataArguments& arguments);
void run_stats(const DataArguments& arguments);

}  // namespace rrhf::cli
