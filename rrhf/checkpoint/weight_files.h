// Which files of a model folder hold its tensors, before any of them is opened.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace rrhf::checkpoint {

struct WeightFiles {
  std::vector<std::filesystem::path> files;     ///< sorted by name; all exist
  std::filesystem::path index;                  ///< the index that names them; empty without one
  std::map<std::string, std::string> shard_of;  ///< what the index says: tensor -> name of a file in the folder
};

/// The first of these that the folder holds: model.safetensors, model.safetensors.index.json, pytorch_model.bin,
/// pytorch_model.bin.index.json, every *.safetensors, every *.bin (training_args.bin aside, which the trainer of
/// transformers leaves there). The order is that of transformers, for folders that hold several. A path to a file is
/// that file. Throws InputError when there is nothing of these, an index is broken, names a file outside the folder, or
/// names files that are not there (all of them together).
WeightFiles find_weight_files(const std::filesystem::path& path);

}  // namespace rrhf::checkpoint
