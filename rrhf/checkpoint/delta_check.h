// The files a delta names, held against those that are there: small ones and the sizes of the others before the work,
// contents after it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "rrhf/checkpoint/delta.h"
#include "rrhf/checkpoint/delta_manifest.h"
#include "rrhf/core/sha256.h"

namespace rrhf::checkpoint {

/// Every check throws InputError, naming the files, for a delta that is not as its manifest says, and for a base other
/// than the one it names unless any_base was said; a base whose small files alone differ is warned of. A delta without
/// a manifest passes them all.
class DeltaCheck {
 public:
  /// Keeps a reference to `settings`. Throws InputError when a small file can't be read.
  DeltaCheck(const ApplyDelta& settings, std::optional<DeltaManifest> manifest);

  const std::vector<FileHash>& small_of_base() const noexcept { return small_of_base_; }
  const std::vector<FileHash>& small_of_delta() const noexcept { return small_of_delta_; }

  /// Given the files of weights: what can be said before they are read.
  void before_work(const std::vector<std::filesystem::path>& base, const std::vector<std::filesystem::path>& delta);

  /// While the sums are being taken, as soon as the base is hashed: a wrong one is not worth waiting for.
  void base_so_far(FileHashing& base);

  BaseCheck contents(const std::vector<FileHash>& base, const std::vector<FileHash>& delta) const;

 private:
  void small_files();
  [[noreturn]] void refuse_base(const std::vector<FileHash>& found) const;
  [[noreturn]] void refuse_delta(const std::string& why) const;

  const ApplyDelta& settings_;
  const std::optional<DeltaManifest> manifest_;
  const std::vector<FileHash> small_of_base_, small_of_delta_;
  bool base_seen_ = false, other_small_files_ = false;
};

}  // namespace rrhf::checkpoint
