#include "rrhf/workflow/sources.h"

#include <span>

#include "rrhf/core/sha256.h"
#include "rrhf/text/prompt_template.h"
#include "rrhf/train/same_run.h"

namespace rrhf::workflow {

std::string Sources::add_file(const std::string& what, const std::filesystem::path& file) {
  std::string key = what + " " + file.string();
  if (!json_.contains(key)) json_[key] = sha256_of_file(file);
  return key;
}

std::string Sources::add_folder(const std::string& what, const std::filesystem::path& folder) {
  std::string key = what + " " + folder.string();
  if (json_.contains(key)) return key;
  json_[key] = sha256_of(train::folder_fingerprint(folder));
  return key;
}

std::string Sources::add_template(const std::string& what, const std::string& name) {
  json_[what] = text::PromptTemplate::named(name).apply("{query}");
  return what;
}

}  // namespace rrhf::workflow
