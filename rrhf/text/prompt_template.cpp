#include "rrhf/text/prompt_template.h"

#include <filesystem>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/unicode.h"

namespace rrhf::text {
namespace {

constexpr std::string_view slot = "{query}";

// The Alpaca prompt (Taori et al. 2023): with an input and without one.
std::string alpaca_prompt(std::string_view instruction, std::string_view input) {
  std::string prompt = "Below is an instruction that describes a task";
  if (!input.empty()) prompt += ", paired with an input that provides further context";
  prompt += ". Write a response that appropriately completes the request.\n\n### Instruction:\n";
  prompt += instruction;
  if (!input.empty()) {
    prompt += "\n\n### Input:\n";
    prompt += input;
  }
  return prompt + "\n\n### Response:";
}

std::string read_template(const std::string& path) {
  std::error_code failure;
  if (!std::filesystem::exists(path, failure)) {
    throw_input("template", "{}: neither a template (none, alpaca, alpaca-split) nor a text file that is there", path);
  }
  require_regular_file(path);
  std::string text = read_file(path);
  if (const std::size_t bad = find_invalid_utf8(text); bad != std::string_view::npos) {
    throw_input("template", "{}: not valid UTF-8 (byte {})", path, bad);
  }
  if (text.starts_with("\xef\xbb\xbf")) text.erase(0, 3);
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  if (text.find(slot) == std::string::npos) {
    throw_input("template", "{}: has no {} in it, the place where the query goes", path, slot);
  }
  return text;
}

}  // namespace

PromptTemplate PromptTemplate::named(std::string_view name_or_path) {
  PromptTemplate result;
  result.name_ = name_or_path;
  if (result.name_ == "none") {
    result.kind_ = Kind::none;
  } else if (result.name_ == "alpaca") {
    result.kind_ = Kind::alpaca;
  } else if (result.name_ == "alpaca-split") {
    result.kind_ = Kind::alpaca_split;
  } else {
    result.kind_ = Kind::file;
    result.file_text_ = read_template(result.name_);
  }
  return result;
}

std::string PromptTemplate::apply(std::string_view query) const {
  switch (kind_) {
    case Kind::none:
      return std::string(query);
    case Kind::alpaca:
      return alpaca_prompt(query, "");
    case Kind::alpaca_split: {
      const std::size_t newline = query.find('\n');
      return alpaca_prompt(query.substr(0, newline),
                           newline == std::string_view::npos ? "" : query.substr(newline + 1));
    }
    case Kind::file:
      break;
  }
  // Not replaced in place: a query may hold "{query}" itself.
  std::string prompt;
  std::string_view rest = file_text_;
  for (std::size_t at = rest.find(slot); at != std::string_view::npos; at = rest.find(slot)) {
    prompt += rest.substr(0, at);
    prompt += query;
    rest.remove_prefix(at + slot.size());
  }
  return prompt += rest;
}

bool PromptTemplate::would_wrap_twice(std::string_view query) const {
  return (kind_ == Kind::alpaca || kind_ == Kind::alpaca_split) && carries_alpaca_template(query);
}

bool carries_alpaca_template(std::string_view text) {
  const std::size_t instruction = text.find("### Instruction:");
  return instruction != std::string_view::npos && text.find("### Response:", instruction) != std::string_view::npos;
}

}  // namespace rrhf::text
