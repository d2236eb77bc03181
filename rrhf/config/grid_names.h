// Names of a grid's runs.
#pragma once

#include <cstddef>
#include <string>

#include "rrhf/core/json.h"

namespace rrhf::config {

/// Bytes of a run's name, which is a folder's.
inline constexpr std::size_t longest_run_name = 100;

/// "rank_weight=10,recipe=paper": names a combination of settings by the last parts of their keys, or by whole keys
/// where two end alike. Letters, digits and ".+-_=," alone. A long one ends as name_with_hash() does.
std::string combination_name(const Json& changes);

/// A name that does not tell its changes apart, cut where it is long, and a hash of them.
std::string name_with_hash(const std::string& name, const Json& changes);

}  // namespace rrhf::config
