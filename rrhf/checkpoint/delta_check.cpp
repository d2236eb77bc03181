#include "rrhf/checkpoint/delta_check.h"

#include <utility>

#include "rrhf/checkpoint/folder_files.h"
#include "rrhf/core/error.h"
#include "rrhf/core/log.h"

namespace rrhf::checkpoint {
namespace fs = std::filesystem;
namespace {

std::string here_and_there(const std::vector<FileHash>& found, const std::vector<FileHash>& named) {
  return fmt::format("\n  here: {}\n  there: {}", file_list(found), file_list(named));
}

}  // namespace

DeltaCheck::DeltaCheck(const ApplyDelta& settings, std::optional<DeltaManifest> manifest)
    : settings_(settings),
      manifest_(std::move(manifest)),
      small_of_base_(hash_small_files(settings.base)),
      small_of_delta_(hash_small_files(settings.delta)) {}

void DeltaCheck::before_work(const std::vector<fs::path>& base, const std::vector<fs::path>& delta) {
  if (!manifest_) return;
  const std::vector<FileHash> base_sizes = file_sizes(base), delta_sizes = file_sizes(delta);
  if (!same_sizes(delta_sizes, manifest_->files)) refuse_delta(here_and_there(delta_sizes, manifest_->files));
  if (!settings_.any_base && !same_sizes(base_sizes, manifest_->base)) {
    refuse_base(base_sizes);
  }
  small_files();
}

void DeltaCheck::small_files() {
  if (const std::string other = differences(small_of_delta_, manifest_->small_files); !other.empty()) {
    refuse_delta(other);
  }
  // No sum hangs on them: a base that was downloaded later may have been described anew.
  const std::string other = differences(small_of_base_, manifest_->small_of_base);
  other_small_files_ = !other.empty();
  if (other_small_files_) warn("base {}: beside its weights it is not what it was:{}", settings_.base.string(), other);
}

void DeltaCheck::base_so_far(FileHashing& base) {
  if (!manifest_ || settings_.any_base || base_seen_ || !base.finished()) return;
  base_seen_ = true;
  if (same_contents(base.wait(), manifest_->base)) return;
  refuse_base(base.wait());
}

BaseCheck DeltaCheck::contents(const std::vector<FileHash>& base, const std::vector<FileHash>& delta) const {
  if (!manifest_) return BaseCheck::unverified;
  if (!same_contents(delta, manifest_->files)) refuse_delta(here_and_there(delta, manifest_->files));
  if (same_contents(base, manifest_->base)) return other_small_files_ ? BaseCheck::weights : BaseCheck::verified;
  if (!settings_.any_base) refuse_base(base);
  return BaseCheck::other;
}

void DeltaCheck::refuse_base(const std::vector<FileHash>& found) const {
  throw_input(
      "delta",
      "base {} is not the one this delta was made from:{}\nThe same weights in other files (.bin for safetensors, "
      "other shards) are as good: --any-base takes them",
      settings_.base.string(), here_and_there(found, manifest_->base));
}

void DeltaCheck::refuse_delta(const std::string& why) const {
  throw_input("delta", "delta {}: its files are not those that its {} names; an incomplete or changed copy?{}",
              settings_.delta.string(), delta_manifest_file, why);
}

}  // namespace rrhf::checkpoint
