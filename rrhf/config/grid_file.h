// A grid file as it was written, its shape checked and nothing resolved: the first half of config/grid.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "rrhf/config/run_config.h"
#include "rrhf/core/json.h"

namespace rrhf::config {

/// Combinations that a grid may have.
inline constexpr std::size_t most_runs = 1000;

struct GridFile {
  std::string where;   ///< its path, for messages
  std::string config;  ///< path of a config file; "" with `preset` or `settings`
  std::string preset;
  Json settings = Json::object();                       ///< a config that stands in the grid file itself
  Json set = Json::object(), measure = Json::object();  ///< values by key path
  Json vary = Json::object();                           ///< arrays of values by key path, none empty
  Json runs = Json::object();                           ///< objects like `set` by name
  std::vector<std::int64_t> seeds;
  std::string output;  ///< runs/NAME of the file where it says nothing
};

/// Throws InputError with all mistakes, a line each.
GridFile read_grid_file(const std::filesystem::path& path);

/// The values of an object as they are given by --set; `where` as for Override.
std::vector<Override> overrides_of(const Json& values, const std::string& where);

}  // namespace rrhf::config
