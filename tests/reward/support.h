// Rules, rows and files for the tests of rrhf/reward.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/json.h"
#include "rrhf/reward/row.h"
#include "rrhf/reward/rule_file.h"
#include "tests/core/support.h"

namespace rrhf::reward::testing {

using ScratchFolder = rrhf::testing::TemporaryFolder;

inline Row make_row(std::string query, std::vector<std::string> responses) {
  Row row;
  row.where = {.file = "data.jsonl", .row = 0, .line = 1, .byte = 0};
  row.json = {{"query", query}, {"responses", responses}};
  row.query = std::move(query);
  row.responses = std::move(responses);
  row.before.resize(row.responses.size());
  return row;
}

/// The value of a rule, given as JSON, for one response; `fields` are further keys of the row.
inline double value(std::string_view rule, std::string response, std::string query = "", Json fields = Json::object()) {
  Row row = make_row(std::move(query), {std::move(response)});
  row.json.update(fields);
  return RuleFile::parse(rule, "rule.json").score(row).at(0);
}

/// The message of the InputError that `action` throws, or "" when it throws none.
template <class Action>
std::string input_error(Action action) {
  try {
    action();
  } catch (const InputError& failure) {
    return failure.what();
  }
  return "";
}

/// The message that a rule file is refused with.
inline std::string refusal(std::string_view rule) {
  return input_error([&] { RuleFile::parse(rule, "rule.json"); });
}

}  // namespace rrhf::reward::testing
