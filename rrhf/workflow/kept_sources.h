// What the models of an ablation were made of, kept in its sources.json: they can be compared only if that has not
// changed.
#pragma once

#include <filesystem>

#include "rrhf/core/json.h"
#include "rrhf/workflow/ablated_model.h"
#include "rrhf/workflow/sources.h"

namespace rrhf::workflow {

class KeptSources {
 public:
  /// Reads the file; there may be none yet. Throws InputError for one that holds something else.
  explicit KeptSources(std::filesystem::path file);

  /// What the model is made of, or was. Throws InputError where that is something else than is kept, and for a trained
  /// model of which nothing is.
  Json require_same(const AblatedModel& model, Sources& known) const;

  /// From now on this holds, for the work on the model begins: the same, read again, and written into the file.
  void keep(const AblatedModel& model);

 private:
  std::filesystem::path file_;
  Json json_ = Json::object();
};

}  // namespace rrhf::workflow
