#include "rrhf/checkpoint/delta_manifest.h"

#include <algorithm>
#include <limits>
#include <string>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"
#include "rrhf/format/bytes.h"
#include "rrhf/format/name_list.h"

namespace rrhf::checkpoint {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t digits_of_sha256 = 64;

[[noreturn]] void broken(const fs::path& path, std::string_view what) {
  throw_input("delta", "{}: {}; without this file the delta is applied unverified", path.string(), what);
}

std::string word_at(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

std::optional<Json> manifest_in(const fs::path& folder) {
  const fs::path path = folder / delta_manifest_file;
  if (!has_file(path)) return std::nullopt;
  Json json = parse_json(read_file(path), "delta", path.string());
  if (!json.is_object()) broken(path, "is not an object");
  return json;
}

template <class E>
E choice_at(const Json& json, const char* key, const fs::path& path) {
  const auto value = choice_named<E>(word_at(json, key));
  if (!value) broken(path, fmt::format("\"{}\" must be {}", key, choice_list<E>()));
  return *value;
}

std::map<std::string, Dtype, std::less<>> other_dtypes(const Json& json, const fs::path& path) {
  std::map<std::string, Dtype, std::less<>> dtypes;
  const auto object = json.find("other_dtypes");
  if (object == json.end()) return dtypes;
  if (!object->is_object()) broken(path, "\"other_dtypes\" must be an object");
  for (const auto& [tensor, word] : object->items()) {
    const auto dtype = word.is_string() ? choice_named<Dtype>(word.get<std::string>()) : std::nullopt;
    if (!dtype)
      broken(path, fmt::format("\"other_dtypes\": {} must be {}", format::shown(tensor), choice_list<Dtype>()));
    dtypes[tensor] = *dtype;
  }
  return dtypes;
}

// Whole and from `least` to what a signed number holds.
bool is_size(const Json& number, std::int64_t least) {
  return number.is_number_unsigned() && number.get<std::uint64_t>() <= std::numeric_limits<std::int64_t>::max() &&
         number.get<std::int64_t>() >= least;
}

std::optional<std::int64_t> base_rows_at(const Json& json, const fs::path& path) {
  const auto rows = json.find("base_rows");
  if (rows == json.end()) return std::nullopt;
  if (!is_size(*rows, 1)) broken(path, "\"base_rows\" must be a whole number from 1");
  return rows->get<std::int64_t>();
}

std::vector<FileHash> listed_files(const Json& list, const char* key, const fs::path& path) {
  std::vector<FileHash> files;
  for (const Json& file : list) {
    const bool whole = file.is_object() && is_size(file.value("bytes", Json()), 0) &&
                       word_at(file, "sha256").size() == digits_of_sha256 && !word_at(file, "name").empty();
    if (!whole) broken(path, fmt::format("a file of \"{}\" lacks its name, bytes or sha256", key));
    files.push_back({word_at(file, "name"), file["bytes"].get<std::int64_t>(), word_at(file, "sha256")});
  }
  return files;
}

std::vector<FileHash> files_at(const Json& json, const char* key, const fs::path& path) {
  const auto list = json.find(key);
  if (list == json.end() || !list->is_array() || list->empty()) broken(path, fmt::format("\"{}\" lists no file", key));
  return listed_files(*list, key, path);
}

std::vector<FileHash> small_files_at(const Json& json, const char* side, const fs::path& path) {
  const auto sides = json.find("small_files");
  if (sides == json.end()) return {};
  const Json list = sides->is_object() ? sides->value(side, Json()) : Json();
  if (!list.is_array()) broken(path, fmt::format("\"small_files\" lists no files of \"{}\"", side));
  return listed_files(list, "small_files", path);
}

// As many digits as tell two files apart by eye.
std::string first_digits(const FileHash& file) { return file.sha256.substr(0, 8) + "..."; }

}  // namespace

bool is_delta_folder(const fs::path& folder) {
  const auto json = manifest_in(folder);
  return json && word_at(*json, "what") == "delta";
}

std::optional<DeltaManifest> read_delta_manifest(const fs::path& folder) {
  const auto found = manifest_in(folder);
  if (!found) return std::nullopt;
  const fs::path path = folder / delta_manifest_file;
  const Json& json = *found;
  if (word_at(json, "what") == "recovered") {
    throw_input("delta", "{}: holds a recovered model, not a delta", folder.string());
  }
  if (word_at(json, "what") != "delta") broken(path, "\"what\" must be delta");
  return DeltaManifest{.target_dtype = choice_at<Dtype>(json, "target_dtype", path),
                       .other_dtypes = other_dtypes(json, path),
                       .pad_row = choice_at<RowFill>(json, "pad_row", path),
                       .base_rows = base_rows_at(json, path),
                       .base = files_at(json, "base", path),
                       .files = files_at(json, "files", path),
                       .small_of_base = small_files_at(json, "base", path),
                       .small_files = small_files_at(json, "files", path)};
}

Dtype DeltaManifest::dtype_of_target(std::string_view tensor) const {
  const auto other = other_dtypes.find(tensor);
  return other == other_dtypes.end() ? target_dtype : other->second;
}

Json to_json(const std::vector<FileHash>& files) {
  Json list = Json::array();
  for (const FileHash& file : files) {
    list.push_back({{"name", file.name}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  }
  return list;
}

bool same_contents(std::vector<FileHash> a, std::vector<FileHash> b) {
  std::ranges::sort(a, {}, &FileHash::sha256);
  std::ranges::sort(b, {}, &FileHash::sha256);
  return std::ranges::equal(a, b, {}, &FileHash::sha256, &FileHash::sha256);
}

bool same_sizes(const std::vector<FileHash>& a, const std::vector<FileHash>& b) {
  const auto sizes = [](const std::vector<FileHash>& files) {
    std::vector<std::int64_t> bytes;
    for (const FileHash& file : files) bytes.push_back(file.bytes);
    std::ranges::sort(bytes);
    return bytes;
  };
  return sizes(a) == sizes(b);
}

std::string differences(const std::vector<FileHash>& found, const std::vector<FileHash>& named) {
  std::string text;
  for (const FileHash& file : named) {
    const auto here = std::ranges::find(found, file.name, &FileHash::name);
    if (here == found.end()) {
      text += fmt::format("\n  {} is missing", format::shown(file.name));
    } else if (here->sha256 != file.sha256) {
      text += fmt::format("\n  {} is another: sha256 {} here, {} there", file.name, first_digits(*here),
                          first_digits(file));
    }
  }
  return text;
}

std::string file_list(const std::vector<FileHash>& files) {
  std::vector<std::string> names;
  for (const FileHash& file : files) {
    names.push_back(fmt::format("{} ({}B{})", file.name, short_number(static_cast<double>(file.bytes)),
                                file.sha256.empty() ? "" : ", sha256 " + first_digits(file)));
  }
  return format::name_list(names);
}

}  // namespace rrhf::checkpoint
