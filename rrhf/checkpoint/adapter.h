// LoRA adapters as PEFT keeps them: a folder with adapter_config.json and adapter_model.safetensors or .bin, whose
// tensors are named base_model.model.NAME.lora_A.weight [r, in] and .lora_B.weight [out, r] for a weight NAME.weight
// [out, in].
//
// Adapted, NAME.weight is W + scale * B A; scale is lora_alpha / r, or lora_alpha / sqrt(r) where use_rslora is set.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "rrhf/checkpoint/hf_folder.h"
#include "rrhf/checkpoint/rewriter.h"
#include "rrhf/checkpoint/tensor_source.h"
#include "rrhf/checkpoint/walk.h"
#include "rrhf/core/choices.h"
#include "rrhf/model/tensor_set.h"

namespace rrhf::checkpoint {

inline constexpr const char* adapter_config_file = "adapter_config.json";

bool is_adapter_folder(const std::filesystem::path& folder);

/// What an adapter's config says that decides what its tensors mean.
struct AdapterConfig {
  std::string base;  ///< base_model_name_or_path as it stands there: a folder, or a name on a hub; may be empty
  double alpha = 0;
  bool rank_stabilized = false;  ///< use_rslora

  double scale(std::int64_t rank) const;
};

/// Throws InputError where the folder holds no adapter, or one that is no plain LoRA: another peft_type, a key
/// that is set and not known to leave the meaning of A and B alone, an initialization that changed the base.
AdapterConfig load_adapter_config(const std::filesystem::path& folder);

/// An adapter's matrices by the weights they stand beside, in memory, in float32 or wider.
class Adapter {
 public:
  struct Matrices {
    at::Tensor a_RI, b_OR;
    double scale = 1;
  };

  /// Throws InputError as load_adapter_config() does, where the tensor file is missing or empty, and naming all tensors
  /// that are no part of a plain LoRA, or all weights whose A and B do not make a pair, or the first tensor that holds
  /// a number that is not finite.
  explicit Adapter(const std::filesystem::path& folder);

  const AdapterConfig& config() const noexcept { return config_; }
  std::size_t size() const noexcept { return matrices_.size(); }

  /// Throws InputError naming all weights that the base has not, of another shape than the adapter's, or other than
  /// those that the adapter keeps a copy of.
  void require_fitting(const Rewriter& base) const;

  /// The matrices beside a weight, by its name in the base, on the CPU; null where there are none. Owned by this.
  const Matrices* find(const std::string& weight) const;

 private:
  std::filesystem::path folder_;
  AdapterConfig config_;
  std::map<std::string, Matrices> matrices_;  // by the weight's name
  std::map<std::string, at::Tensor> kept_;    // the weight itself, which PEFT keeps beside an adapter of the head
};

/// The tensors of an adapter that has those of a set. Others, and the adapter's config, are not looked at.
class AdapterReader {
 public:
  /// Throws InputError naming the first tensor that is missing or has another shape.
  AdapterReader(const std::filesystem::path& folder, const model::TensorSet& set);

  /// Copies tensor number `tensor` of the set into the flat `values`, converted to its dtype.
  void read(std::size_t tensor, const at::Tensor& values) const;

 private:
  TensorSource source_;
  model::TensorSet set_;
};

/// Writes an adapter, a set of adapters, into a folder under construction: process 0 of the writers alone, as one file,
/// so that asking for its tensors must take no other process. `options`: the dtype, made_from as the base, whose
/// absolute path is written, and the encoding note, which is written for the plain encoding too: the base may have
/// another. Throws Error when a file can't be written.
void save_adapter(const std::filesystem::path& folder, const TensorUnits& adapters, const model::TensorSet& set,
                  const SaveOptions& options, const Writers& writers = {});

struct MergeAdapter {
  std::filesystem::path adapter;
  std::filesystem::path base;  ///< empty: the one that the adapter names
  std::filesystem::path out;
  std::optional<Dtype> dtype;  ///< kept as it is in the base where none is named
  std::int64_t shard_bytes = default_shard_bytes;
};

struct Merged {
  std::filesystem::path base;
  std::size_t matrices = 0;  ///< weights with an adapter
  std::int64_t parameters = 0;
};

/// The base with the adapter's products added to its weights, each sum taken in float32 (float64 where one side is) and
/// rounded once, with the base's config, tokenizer and generation config; what the adapter's rrhf.json says, if it has
/// one, goes before the base's. Throws InputError where the adapter names a base that is no folder here, does not fit
/// it, a sum is not finite where the base's weight was, or `out` is not free; as Rewriter does, Interrupted too.
Merged merge_adapter(const MergeAdapter& settings);

/// The same into a folder under construction, `out`; of several writers each its share.
Merged write_merged(const MergeAdapter& settings, Stops stops, const Writers& writers = {});

}  // namespace rrhf::checkpoint
