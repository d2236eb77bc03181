// rrhf-delta.json: what a delta was made from, or a recovered model came from, by content.
//
//   {"what": "delta", "made_by": "rrhf 0.1.0", "dtype": "float16", "target_dtype": "float16",
//    "other_dtypes": {"model.norm.weight": "float32"}, "base_rows": 32000, "pad_row": "zero",
//    "base":   [{"name": "model-00001-of-00002.safetensors", "bytes": 9976576392, "sha256": "..."}, ...],
//    "target": [...], "files": [...], "small_files": {"base": [...], "target": [...], "files": [...]},
//    "rounding": {...}}
//
// "files" are the files of weights beside it. "small_files" are config.json, the tokenizer's and the like, by name; old
// manifests have none. "dtype" is that of the delta's embedding, for people: each tensor is summed in the
// dtype it has there. "base_rows" are the base's rows of vocabulary that the delta was taken over: its further rows
// were taken over what "pad_row" says. A recovered model's says "what": "recovered" and has "delta" for "target".
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/core/choices.h"
#include "rrhf/core/json.h"
#include "rrhf/core/sha256.h"

namespace rrhf::checkpoint {

inline constexpr std::string_view delta_manifest_file = "rrhf-delta.json";

/// What a delta says of itself.
struct DeltaManifest {
  Dtype target_dtype = Dtype::float16;                     ///< what the sums are stored in
  std::map<std::string, Dtype, std::less<>> other_dtypes;  ///< where that is another: tensors of the target by name
  RowFill pad_row = RowFill::zero;
  std::optional<std::int64_t> base_rows;  ///< rows of vocabulary that it counts on in a base; absent in old ones
  std::vector<FileHash> base;             ///< the files it was made from
  std::vector<FileHash> files;            ///< its own
  std::vector<FileHash> small_of_base;    ///< beside those: config.json and so on; empty in old ones
  std::vector<FileHash> small_files;      ///< the same of its own

  /// What the sum of the tensor of this name is stored in.
  Dtype dtype_of_target(std::string_view tensor) const;
};

/// The manifest of a delta's folder, or nothing when there is none: the released deltas have none.
/// Throws InputError when it is broken, or when the folder holds a recovered model.
std::optional<DeltaManifest> read_delta_manifest(const std::filesystem::path& folder);

/// Whether a folder holds a delta, by its manifest: the released ones, which have none, look like models.
/// Throws InputError when there is a manifest that can't be read.
bool is_delta_folder(const std::filesystem::path& folder);

/// "base", "files" and so on.
Json to_json(const std::vector<FileHash>& files);

/// True when both hold the same contents, under whatever names and in whatever order.
bool same_contents(std::vector<FileHash> a, std::vector<FileHash> b);

/// The same by size alone: what can be said before anything is read.
bool same_sizes(const std::vector<FileHash>& a, const std::vector<FileHash>& b);

/// How files differ from those of the same names that a manifest names: "config.json is missing", one a line, indented;
/// "" where all are there as named. Files that it doesn't name may be there too.
std::string differences(const std::vector<FileHash>& found, const std::vector<FileHash>& named);

/// "a.bin (9.98GB, sha256 0123abcd...), b.bin (3.5GB)", for messages: hashes where they are known.
std::string file_list(const std::vector<FileHash>& files);

}  // namespace rrhf::checkpoint
