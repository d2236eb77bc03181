// Which files of a model folder hold its tensors, before any of them is opened. Needs the folder, not the files'
// format; it stands here so that its tests run under the sanitizers, which the rooms on LibTorch do not.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace rrhf::format {

struct WeightFiles {
  std::vector<std::filesystem::path> files;     ///< sorted by name; regular files, links to them followed
  std::filesystem::path index;                  ///< the index that names them; empty without one
  std::map<std::string, std::string> shard_of;  ///< what the index says: tensor -> name of a file in the folder
};

/// The first of these that the folder holds: model.safetensors, model.safetensors.index.json, pytorch_model.bin,
/// pytorch_model.bin.index.json, every *.safetensors, every *.bin (training_args.bin aside, which the trainer of
/// transformers leaves there). The order is that of transformers, for folders that hold several, and as there only
/// regular files count. A path to a file is that file. Throws InputError when there is nothing of these (saying what
/// stands under their names instead, or that the folder is in Meta's layout), an index is broken, names a file outside
/// the folder, or names files that are not there or no regular ones (all of them together).
WeightFiles find_weight_files(const std::filesystem::path& path);

/// Throws InputError when the folder holds a LLaMA as Meta gave it out (params.json, consolidated.NN.pth), with the way
/// to Hugging Face's layout. For folders that lack a file of the latter.
void refuse_meta_layout(const std::filesystem::path& folder);

}  // namespace rrhf::format
