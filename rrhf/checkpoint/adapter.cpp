#include "rrhf/checkpoint/adapter.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "rrhf/checkpoint/finite.h"
#include "rrhf/checkpoint/folder_files.h"
#include "rrhf/checkpoint/shape_text.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/staged_folder.h"
#include "rrhf/format/name_list.h"

namespace rrhf::checkpoint {
namespace fs = std::filesystem;
namespace {

constexpr double largest_alpha = 1e9;
constexpr std::string_view name_prefix = "base_model.model.", a_suffix = ".lora_A.weight", b_suffix = ".lora_B.weight",
                           kept_suffix = ".base_layer.weight";

fs::path tensor_file(const fs::path& folder) {
  for (const char* name : {"adapter_model.safetensors", "adapter_model.bin"}) {
    if (has_file(folder / name)) return folder / name;
  }
  throw_input("adapter", "{}: holds neither adapter_model.safetensors nor adapter_model.bin", folder.string());
}

// Whether a member says anything: not null, false, 0 or empty.
bool is_set(const Json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_string()) return !value.get<std::string>().empty();
  return (value.is_number() && value != 0) || (value.is_structured() && !value.empty());
}

// Keys of adapter_config.json that leave the meaning of A and B alone, or show in the tensors.
constexpr std::string_view known_keys =
    " task_type peft_type auto_mapping peft_version base_model_name_or_path revision inference_mode r target_modules "
    "exclude_modules lora_alpha lora_dropout fan_in_fan_out bias use_rslora rank_pattern layers_pattern "
    "layers_to_transform init_lora_weights modules_to_save eva_config megatron_core megatron_config runtime_config "
    "qalora_group_size trainable_token_indices ensure_weight_tying ";
// Words of init_lora_weights that change A and B alone; the others change the base too.
constexpr std::string_view known_beginnings = " gaussian orthogonal eva ";

void require_nothing_else(const fs::path& path, std::string_view has, const std::vector<std::string>& odd) {
  if (odd.empty()) return;
  throw_input("adapter",
              "{}: {} what is no part of a plain LoRA: {}; PEFT's merge_and_unload() makes a model of other kinds that "
              "have one",
              path.string(), has, format::name_list(odd));
}

void require_plain(const Json& json, const fs::path& path) {
  const auto is_known = [](std::string_view words, const std::string& word) {
    return words.find(" " + word + " ") != std::string_view::npos;
  };
  std::vector<std::string> odd;
  for (const auto& [key, value] : json.items()) {
    if (is_set(value) && !is_known(known_keys, key)) odd.push_back(key);
  }
  const Json beginning = json.value("init_lora_weights", Json());
  if (is_set(beginning) && !beginning.is_boolean() &&
      !(beginning.is_string() && is_known(known_beginnings, beginning.get<std::string>()))) {
    odd.push_back("init_lora_weights " + dump_json(beginning));
  }
  require_nothing_else(path, "sets", odd);
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
  if (!is_folder(folder))
    throw_input("adapter", "{}: no such folder; an adapter is a folder with {}", folder.string(), adapter_config_file);
  if (!has_file(path)) throw_input("adapter", "{}: holds no {}", folder.string(), adapter_config_file);
  require_regular_file(path);
  const Json json = parse_json(read_file(path), "adapter", path.string());
  if (!json.is_object()) throw_input("adapter", "{}: is no object {{...}}", path.string());
  if (json.value("peft_type", Json()) != "LORA") {
    throw_input("adapter", "{}: peft_type is {}; only LORA is read here", path.string(),
                dump_json(json.value("peft_type", Json())));
  }
  require_plain(json, path);
  const Json alpha = json.value("lora_alpha", Json()), base = json.value("base_model_name_or_path", Json());
  if (!alpha.is_number() || !(std::abs(alpha.get<double>()) <= largest_alpha)) {
    throw_input("adapter", "{}: needs lora_alpha, a number of at most {:g} either way; found {}", path.string(),
                largest_alpha, dump_json(alpha));
  }
  return {.base = base.is_string() ? base.get<std::string>() : "",
          .alpha = alpha.get<double>(),
          .rank_stabilized = is_set(json.value("use_rslora", Json()))};
}

Adapter::Adapter(const fs::path& folder) : folder_(folder), config_(load_adapter_config(folder)) {
  const TensorSource source(tensor_file(folder));
  std::vector<std::string> odd;
  for (const TensorInfo& info : source.tensors()) {
    const auto a = weight_of(info.name, a_suffix), b = weight_of(info.name, b_suffix);
    if (const auto kept = weight_of(info.name, kept_suffix)) {
      kept_[*kept] = source.tensor(info).clone();
      continue;
    }
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
  require_nothing_else(source.path(), "holds", odd);
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

void Adapter::require_fitting(const Rewriter& base) const {
  std::vector<std::string> odd;
  for (const auto& [weight, pair] : matrices_) {
    const std::vector<std::int64_t> shape{pair.b_OR.size(0), pair.a_RI.size(1)};
    const TensorInfo* info = base.find(weight);
    if (info == nullptr) {
      odd.push_back(weight + " (no weight of the base)");
    } else if (info->shape != shape) {
      odd.push_back(fmt::format("{} (adapter {}, base {})", weight, shape_text(shape), shape_text(info->shape)));
    }
  }
  for (const auto& [weight, values] : kept_) {
    const TensorInfo* info = base.find(weight);
    if (info == nullptr || at::IntArrayRef(info->shape) != values.sizes() ||
        !at::equal(base.tensor(*info).to(values.scalar_type()), values)) {
      odd.push_back(weight + " (the adapter holds other values for it)");
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

Merged write_merged(const MergeAdapter& settings, Stops stops, const Writers& writers) {
  const Adapter adapter(settings.adapter);
  const fs::path base = settings.base.empty() ? fs::path(adapter.config().base) : settings.base;
  if (settings.base.empty() && !is_folder(base)) {
    throw_input("adapter", "{}: names {} as its base, which is no folder here; say --base DIR",
                settings.adapter.string(), base.empty() ? "nothing" : base.string());
  }
  const Rewriter rewriter(base);
  adapter.require_fitting(rewriter);
  const auto add = [&](const TensorInfo& info, std::int64_t first, const at::Tensor& block_RI) {
    const Adapter::Matrices* pair = adapter.find(info.name);
    if (pair == nullptr) return block_RI;
    const at::ScalarType wide = std::max(wide_type(info.dtype), wide_type(pair->a_RI.scalar_type()));
    const at::Tensor rows_BR = pair->b_OR.narrow(0, first, block_RI.size(0)).to(wide);
    const at::Tensor sum_RI = at::addmm(block_RI.to(wide), rows_BR, pair->a_RI.to(wide), 1, pair->scale);
    if (count_not_finite(sum_RI) > count_not_finite(block_RI)) {
      throw_input("adapter", "{}: with it {} is not finite", settings.adapter.string(), info.name);
    }
    return sum_RI;
  };
  rewriter.write(
      settings.out,
      {.what = "merging", .dtype = settings.dtype, .shard_bytes = settings.shard_bytes, .stops = stops, .change = add},
      writers);
  if (writers.rank() == 0) {
    rewriter.carried().write(settings.out);
    if (const auto note = load_encoding_note(settings.adapter)) {  // which goes before the base's
      fs::remove(settings.out / encoding_note_file);
      if (note->encoding == Encoding::released) write_encoding_note(settings.out, note);
    }
    write_configs(settings.out, rewriter.config(), settings.dtype.value_or(rewriter.dtype()));
  }
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
