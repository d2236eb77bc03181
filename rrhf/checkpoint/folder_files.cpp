#include "rrhf/checkpoint/folder_files.h"

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/model/weights.h"
#include "rrhf/text/tokenizer.h"

namespace rrhf::checkpoint {
namespace fs = std::filesystem;

void write_json(const fs::path& path, const Json& json) { write_file_atomically(path, dump_json(json, 2) + "\n"); }

Dtype dtype_choice(at::ScalarType dtype) {
  for (const auto& [name, choice] : Choices<Dtype>::names) {
    if (model::scalar_type(choice) == dtype) return choice;
  }
  throw_error("checkpoint", "tensors of type {} have no place in a checkpoint", at::toString(dtype));
}

void write_config(const fs::path& folder, const model::LlamaConfig& config, Dtype dtype) {
  Json json = model::to_json(config);
  json["torch_dtype"] = name_of(dtype);
  json.erase("dtype");  // transformers 5's word for the same; two words could disagree
  write_json(folder / "config.json", json);
}

void carry_over(const fs::path& from, const fs::path& to) {
  std::vector<fs::path> files = text::tokenizer_files(from);
  for (const char* name : {"generation_config.json", "rrhf.json"}) {
    if (path_exists(from / name)) files.push_back(from / name);
  }
  // Content alone: a read-only source must not give files that can't be changed.
  for (const fs::path& file : files) write_file_atomically(to / file.filename(), read_file(file));
}

}  // namespace rrhf::checkpoint
