#include "rrhf/checkpoint/adapter.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "rrhf/checkpoint/finite.h"
#include "rrhf/checkpoint/folder_files.h"
#include "rrhf/checkpoint/rewriter.h"
#include "rrhf/checkpoint/shape_text.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/staged_folder.h"
#include "rrhf/format/name_list.h"

namespace rrhf::checkpoint {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view name_prefix = "base_model.model.", a_suffix = ".lora_A.weight", b_suffix = ".lora_B.weight";

fs::path tensor_file(const fs::path& folder) {
  for (const char* name : {"adapter_model.safetensors", "adapter_model.bin"}) {
    if (has_file(folder / name)) return folder / name;
  }
  throw_input("adapter", "{}: has {} but neither adapter_model.safetensors nor adapter_model.bin", folder.string(),
              adapter_config_file);
}

// A member that is there and is not null, false, 0 or empty.
bool is_set(const Json& json, const char* key) {
  const auto value = json.find(key);
  if (value == json.end() || value->is_null()) return false;
  if (value->is_boolean()) return value->get<bool>();
  if (value->is_string()) return !value->get<std::string>().empty();
  return value->is_structured() ? !value->empty() : true;
}

// The weight that a tensor of an adapter belongs to, if its name ends so.
std::optional<std::string> weight_of(std::string_view name, std::string_view suffix) {
  if (!name.starts_with(name_prefix) || !name.ends_with(suffix)) return std::nullopt;
  name.remove_prefix(name_prefix.size());
  name.remove_suffix(suffix.size());
  return std::string(name) + ".weight";
}

at::ScalarType wide_type(at::ScalarType type) { return type == at::kDouble ? at::kDouble : at::kFloat; }

}  // namespace

bool is_adapter_folder(const fs::path& folder) { return has_file(folder / adapter_config_file); }

double AdapterConfig::scale(std::int64_t rank) const {
  const auto r = static_cast<double>(rank);
  return alpha / (rank_stabilized ? std::sqrt(r) : r);
}

AdapterConfig load_adapter_config(const fs::path& folder) {
  const fs::path path = folder / adapter_config_file;
  if (!is_folder(folder)) throw_input("adapter", "{}: no such folder", folder.string());
  if (!has_file(path)) throw_input("adapter", "{}: holds no {}", folder.string(), adapter_config_file);
  require_regular_file(path);
  const Json json = parse_json(read_file(path), "adapter", path.string());
  if (!json.is_object()) throw_input("adapter", "{}: is no object {{...}}", path.string());
  if (json.value("peft_type", Json()) != "LORA") {
    throw_input("adapter", "{}: peft_type is {}; only LORA is read here", path.string(),
                dump_json(json.value("peft_type", Json())));
  }
  for (const char* key : {"use_dora", "alpha_pattern", "use_qalora", "lora_bias"}) {
    if (is_set(json, key)) {
      throw_input("adapter",
                  "{}: {} is set; only plain LoRA is read here; PEFT's merge_and_unload() makes a model of all kinds",
                  path.string(), key);
    }
  }
  const Json alpha = json.value("lora_alpha", Json()), base = json.value("base_model_name_or_path", Json());
  if (!alpha.is_number() || !std::isfinite(alpha.get<double>())) {
    throw_input("adapter", "{}: needs lora_alpha, a number; found {}", path.string(), dump_json(alpha));
  }
  return {.base = base.is_string() ? base.get<std::string>() : "",
          .alpha = alpha.get<double>(),
          .rank_stabilized = is_set(json, "use_rslora")};
}

Adapter::Adapter(const fs::path& folder) : folder_(folder), config_(load_adapter_config(folder)) {
  const TensorSource source(tensor_file(folder));
  std::vector<std::string> odd;
  for (const TensorInfo& info : source.tensors()) {
    const auto a = weight_of(info.name, a_suffix), b = weight_of(info.name, b_suffix);
    if ((!a && !b) || info.shape.size() != 2) {
      odd.push_back(fmt::format("{} {}", info.name, shape_text(info.shape)));
      continue;
    }
    const at::Tensor values = source.tensor(info).to(wide_type(info.dtype), /*non_blocking=*/false, /*copy=*/true);
    if (count_not_finite(values) > 0) {
      throw_input("adapter", "{}: {} holds numbers that are not finite", source.path().string(), info.name);
    }
    (a ? matrices_[*a].a_RI : matrices_[*b].b_OR) = values;
  }
  if (!odd.empty()) {
    throw_input("adapter",
                "{}: holds what is no part of a plain LoRA: {}; PEFT's merge_and_unload() makes a model of all kinds",
                source.path().string(), format::name_list(odd));
  }
  for (auto& [weight, pair] : matrices_) {
    if (!pair.a_RI.defined() || !pair.b_OR.defined() || pair.a_RI.size(0) != pair.b_OR.size(1))
      odd.push_back(weight);
    else
      pair.scale = config_.scale(pair.a_RI.size(0));
  }
  if (!odd.empty()) {
    throw_input("adapter", "{}: needs a lora_A [r, in] and a lora_B [out, r] with one r for each of {}",
                source.path().string(), format::name_list(odd));
  }
  if (matrices_.empty()) throw_input("adapter", "{}: holds no tensors", source.path().string());
}

void Adapter::require_fitting(const TensorSource& base) const {
  std::vector<std::string> odd;
  for (const auto& [weight, pair] : matrices_) {
    const std::vector<std::int64_t> shape{pair.b_OR.size(0), pair.a_RI.size(1)};
    const TensorInfo* info = base.find(weight);
    if (info == nullptr) {
      odd.push_back(weight + " (not in the base)");
    } else if (info->shape != shape) {
      odd.push_back(fmt::format("{} (adapter {}, base {})", weight, shape_text(shape), shape_text(info->shape)));
    }
  }
  if (odd.empty()) return;
  throw_input("adapter", "{}: does not fit {}: {}", folder_.string(), base.path().string(), format::name_list(odd));
}

const Adapter::Matrices* Adapter::find(const std::string& weight) const {
  const auto found = matrices_.find(weight);
  return found == matrices_.end() ? nullptr : &found->second;
}

AdapterReader::AdapterReader(const fs::path& folder, const model::TensorSet& set)
    : source_(tensor_file(folder)), set_(set) {
  for (std::size_t i = 0; i < set.size(); ++i) {
    for (const auto& part : set.named_parts(i, at::empty(set.shapes()[i], at::kMeta))) {
      const TensorInfo* info = source_.find(part.name);
      if (info != nullptr && at::IntArrayRef(info->shape) == part.view.sizes()) continue;
      throw_input("adapter", "{}: {} is missing or has another shape than {}: it is another run's adapter",
                  source_.path().string(), part.name, shape_text(part.view.sizes().vec()));
    }
  }
}

void AdapterReader::read(std::size_t tensor, const at::Tensor& values) const {
  for (const auto& part : set_.named_parts(tensor, values.view(set_.shapes()[tensor]))) {
    part.view.copy_(source_.tensor(*source_.find(part.name)));
  }
}

void save_adapter(const fs::path& folder, const TensorUnits& adapters, const model::TensorSet& set,
                  const SaveOptions& options, const Writers& writers) {
  if (writers.rank() > 0) return;
  const model::LoraLayout& layout = *set.adapters();
  Json modules = Json::array();
  for (const model::LayerProduct product : model::layer_products) {
    for (const auto& block : layout.blocks(product)) modules.push_back(name_of(block.projection));
  }
  // PEFT's own words; what is not here has its default there.
  write_json(folder / adapter_config_file, {{"peft_type", "LORA"},
                                            {"task_type", "CAUSAL_LM"},
                                            {"base_model_name_or_path", fs::absolute(options.made_from).string()},
                                            {"r", layout.rank()},
                                            {"lora_alpha", layout.alpha()},
                                            {"lora_dropout", 0.0},
                                            {"bias", "none"},
                                            {"fan_in_fan_out", false},
                                            {"inference_mode", true},
                                            {"target_modules", modules}});
  write_encoding_note(folder, options.encoding_note.value_or(EncodingNote{}));
  write_batches(folder, "adapter_model", named_batches(adapters, set, model::scalar_type(options.dtype)),
                std::numeric_limits<std::int64_t>::max(), Writers());
}

Merged write_merged(const MergeAdapter& settings, Stops stops) {
  const Adapter adapter(settings.adapter);
  const fs::path base = settings.base.empty() ? fs::path(adapter.config().base) : settings.base;
  if (settings.base.empty() && !is_folder(base)) {
    throw_input("adapter", "{}: names {} as its base, which is no folder here; say --base DIR",
                settings.adapter.string(), base.empty() ? "nothing" : base.string());
  }
  const Rewriter rewriter(base);
  adapter.require_fitting(rewriter.source());
  std::size_t met = 0;
  const auto add = [&](const TensorInfo& info, std::int64_t first, const at::Tensor& block_RI) {
    const Adapter::Matrices* pair = adapter.find(info.name);
    if (pair == nullptr) return block_RI;
    if (first == 0) ++met;
    const at::ScalarType wide = std::max(wide_type(info.dtype), wide_type(pair->a_RI.scalar_type()));
    const at::Tensor rows_BR = pair->b_OR.narrow(0, first, block_RI.size(0)).to(wide);
    return at::addmm(block_RI.to(wide), rows_BR, pair->a_RI.to(wide), 1, pair->scale);
  };
  rewriter.write(
      settings.out,
      {.what = "merging", .dtype = settings.dtype, .shard_bytes = settings.shard_bytes, .stops = stops, .change = add});
  if (met < adapter.size()) {
    throw_input("adapter", "{}: stands beside a head that is no part of {}, whose config ties it to the embedding",
                settings.adapter.string(), base.string());
  }
  rewriter.carried().write(settings.out);
  if (const auto note = load_encoding_note(settings.adapter)) {  // which goes before the base's
    fs::remove(settings.out / encoding_note_file);
    if (note->encoding == Encoding::released) write_encoding_note(settings.out, note);
  }
  write_configs(settings.out, rewriter.config(), settings.dtype.value_or(rewriter.dtype()));
  return {.base = base, .matrices = adapter.size(), .parameters = rewriter.config().parameter_count()};
}

Merged merge_adapter(const MergeAdapter& settings) {
  StagedFolder folder(settings.out);
  MergeAdapter aside = settings;
  aside.out = folder.path();
  Merged merged = write_merged(aside, Stops::heeded);
  folder.publish();
  return merged;
}

}  // namespace rrhf::checkpoint
