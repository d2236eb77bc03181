// Everything about a model folder that can be said without computing with it. Results go to stdout.
#include <ATen/core/Tensor.h>

#include <iostream>
#include <map>

#include "rrhf/checkpoint/delta_manifest.h"
#include "rrhf/checkpoint/folder_files.h"
#include "rrhf/checkpoint/hf_folder.h"
#include "rrhf/checkpoint/shape_text.h"
#include "rrhf/checkpoint/tensor_match.h"
#include "rrhf/checkpoint/walk.h"
#include "rrhf/cli/command.h"
#include "rrhf/cli/model_verbs.h"
#include "rrhf/cli/verbs.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"
#include "rrhf/core/stop.h"
#include "rrhf/text/tokenizer.h"

namespace rrhf::cli {
namespace {

using checkpoint::TensorInfo;

// "model.layers.17.mlp.up_proj.weight" -> "model.layers.*.mlp.up_proj.weight".
std::string without_layer(const std::string& name) {
  constexpr std::string_view prefix = "model.layers.";
  if (!name.starts_with(prefix)) return name;
  const std::size_t dot = name.find('.', prefix.size());
  return dot == std::string::npos ? name : std::string(prefix) + "*" + name.substr(dot);
}

void print_shape(const model::LlamaConfig& config) {
  fmt::print("shape       {} layers of {}, {} heads of {} ({} key/value), intermediate {}, {} positions\n",
             config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.head_dim,
             config.num_key_value_heads, config.intermediate_size, config.max_position_embeddings);
}

// Tensors that differ in nothing but their layer are one line.
void print_tensors(const std::vector<const TensorInfo*>& tensors) {
  std::vector<std::string> order;
  std::map<std::string, int> count;
  for (const TensorInfo* info : tensors) {
    const std::string line =
        fmt::format("  {:<52} {:<16} {}", without_layer(info->name), checkpoint::shape_text(info->shape),
                    name_of(checkpoint::dtype_choice(info->dtype)));
    if (count[line]++ == 0) order.push_back(line);
  }
  fmt::print("tensors\n");
  for (const std::string& line : order) {
    fmt::print("{}{}\n", line, count[line] > 1 ? fmt::format("  x {}", count[line]) : "");
  }
}

// Bytes of weights, gradients and AdamW's two moments while training, with float32 masters for bfloat16.
void print_memory(const model::LlamaConfig& config, std::int64_t bytes) {
  constexpr std::int64_t with_float32 = 4 + 4 + 8, with_bfloat16 = 2 + 4 + 4 + 8;
  const std::int64_t parameters = config.parameter_count();
  fmt::print(
      "memory      {} to run as it is; to train {} with float32, {} with bfloat16 (weights, gradients, AdamW; "
      "activations come on top)\n",
      bytes_text(bytes), bytes_text(with_float32 * parameters), bytes_text(with_bfloat16 * parameters));
}

void print_id_mismatch(const char* name, const std::optional<std::int64_t>& in_config, std::int64_t in_tokenizer) {
  if (!in_config || *in_config == in_tokenizer) return;
  fmt::print("            note: {} is {} in config.json, {} in the tokenizer, which this program goes by\n", name,
             *in_config, in_tokenizer);
}

void print_vocabulary(const std::filesystem::path& folder, const model::LlamaConfig& config) {
  if (!has_file(folder / "tokenizer.model")) {
    fmt::print("vocabulary  {} rows; no tokenizer.model in the folder\n", config.vocab_size);
    return;
  }
  const auto tokenizer = text::Tokenizer::load(folder);
  const auto named = [&](std::int32_t id) { return fmt::format("{} {}", id, tokenizer.piece(id)); };
  fmt::print("vocabulary  {} rows, {} ids in the tokenizer: {}\n", config.vocab_size, tokenizer.size(),
             tokenizer.size() == config.vocab_size ? "they fit"
             : tokenizer.size() < config.vocab_size
                 ? fmt::format("they fit, {} rows are unused", config.vocab_size - tokenizer.size())
                 : "TOO FEW ROWS: another model's tokenizer, or rrhf model resize");
  fmt::print("            bos {}   eos {}   unk {}   pad {}\n", named(tokenizer.bos_id()), named(tokenizer.eos_id()),
             named(tokenizer.unk_id()),
             tokenizer.pad_id() ? named(*tokenizer.pad_id()) : "none (rrhf model resize --add-pad gives one)");
  print_id_mismatch("bos_token_id", config.bos_token_id, tokenizer.bos_id());
  print_id_mismatch("eos_token_id", config.eos_token_id, tokenizer.eos_id());
  if (tokenizer.pad_id()) print_id_mismatch("pad_token_id", config.pad_token_id, *tokenizer.pad_id());
}

void print_hashes(const std::vector<std::filesystem::path>& files) {
  FileHashing hashing(files);
  const StopSignals signals;
  checkpoint::wait_for({&hashing});
  fmt::print("sha256\n");
  for (const FileHash& file : hashing.wait())
    fmt::print("  {}  {}  {}\n", file.sha256, file.name, with_commas(file.bytes));
}

}  // namespace

void model_info(int argc, const char* const* argv) {
  cxxopts::Options options("rrhf model info", "What a model folder holds, and what it takes to run and to train it.");
  options.add_options()("model", "Model folder", cxxopts::value<std::string>(), "DIR")(
      "hashes", "Print the SHA-256 of each file of weights");
  options.parse_positional({"model"});
  options.positional_help("DIR");
  const auto arguments = parse(options, argc, argv);
  if (!arguments) return;
  const std::filesystem::path folder = required(*arguments, "model", "model info", "DIR");
  const model::LlamaConfig config = checkpoint::load_config_of_any(folder);
  const bool is_delta = checkpoint::is_delta_folder(folder);
  const checkpoint::TensorSource source(folder);
  const std::vector<const TensorInfo*> tensors = checkpoint::match_tensors(source, config);
  std::int64_t bytes = 0;
  for (const TensorInfo* info : tensors) bytes += info->bytes();
  checkpoint::warn_of_untied_head(source, config);
  if (!is_delta) checkpoint::warn_of_a_likely_delta(source);

  fmt::print("{}   LLaMA with {} parameters in {} tensors and {} file{}\n", folder.string(),
             with_commas(config.parameter_count()), tensors.size(), source.files().size(),
             source.files().size() == 1 ? "" : "s");
  if (is_delta) {
    fmt::print("delta       no model, but a model's difference from its base ({}); rrhf delta apply adds them\n",
               checkpoint::delta_manifest_file);
  }
  print_shape(config);
  print_vocabulary(folder, config);
  if (const auto note = checkpoint::load_encoding_note(folder)) {
    fmt::print("trained     with the {} encoding, BOS: {} (rrhf.json)\n", name_of(note->encoding),
               name_of(note->bos_token));
  }
  print_memory(config, bytes);
  print_tensors(tensors);
  std::fflush(stdout);
  if (arguments->count("hashes") > 0) print_hashes(source.files());
}

}  // namespace rrhf::cli
