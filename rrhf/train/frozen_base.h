// The weights that a run's adapters stand beside. No checkpoint holds them, so they must be the same when the run goes
// on and when the model is made of both.
#pragma once

#include <filesystem>
#include <string>

namespace rrhf::train {

/// The fingerprint of a model folder's files, beside the one in output/base.json of when the run began.
class FrozenBase {
 public:
  /// Takes it (train::folder_fingerprint(), which looks at samples of large files). Throws InputError when they can't
  /// be read.
  FrozenBase(std::filesystem::path model, const std::filesystem::path& output);

  /// Throws InputError where base.json tells of other files; without one nothing is known.
  void require_same() const;

  /// Writes base.json where there is none: for one rank. Throws Error when it can't be written.
  void record() const;

 private:
  std::filesystem::path model_, file_;
  std::string fingerprint_;
};

}  // namespace rrhf::train
