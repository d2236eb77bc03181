// What a run began from beside its settings, by hash, so that a resumed one can tell whether it is the same still.
#pragma once

#include <filesystem>
#include <string>

#include "rrhf/core/json.h"

namespace rrhf::workflow {

class Sources {
 public:
  /// The file's hash, as "WHAT PATH", which it returns. What has been added is not read again. Throws InputError where
  /// it can't be read.
  std::string add_file(const std::string& what, const std::filesystem::path& file);

  /// The same for a model's folder: a hash of train::folder_fingerprint().
  std::string add_folder(const std::string& what, const std::filesystem::path& folder);

  /// What a prompt template makes of "{query}", and not its name alone, as "WHAT".
  std::string add_template(const std::string& what, const std::string& name);

  const Json& json() const noexcept { return json_; }

 private:
  Json json_ = Json::object();
};

}  // namespace rrhf::workflow
