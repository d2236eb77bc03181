#include "rrhf/train/frozen_base.h"

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/json.h"
#include "rrhf/core/sha256.h"
#include "rrhf/train/same_run.h"

namespace rrhf::train {

FrozenBase::FrozenBase(std::filesystem::path model, const std::filesystem::path& output)
    : model_(std::move(model)), file_(output / "base.json"), fingerprint_(sha256_of(folder_fingerprint(model_))) {}

void FrozenBase::require_same() const {
  if (!has_file(file_)) return;
  const Json then = parse_json(read_file(file_), "train", file_.string());
  if (then.is_object() && then.value("fingerprint", Json()) == fingerprint_) return;
  throw_input("train",
              "{}: holds other files than when the adapters in {} began to be trained beside it; put those back, or "
              "train anew in another folder",
              model_.string(), file_.parent_path().string());
}

void FrozenBase::record() const {
  if (has_file(file_)) return;
  write_file_atomically(file_, dump_json({{"path", model_.string()}, {"fingerprint", fingerprint_}}, 2) + "\n");
}

}  // namespace rrhf::train
