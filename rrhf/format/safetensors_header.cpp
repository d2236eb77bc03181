#include "rrhf/format/safetensors_header.h"

#include <array>
#include <unordered_set>

#include "rrhf/core/error.h"
#include "rrhf/core/json.h"
#include "rrhf/format/bytes.h"

namespace rrhf::format {
namespace {

// Called by the JSON parser for every token. Levels: 1 the names, 2 a tensor's keys, 3 the numbers of an array.
class HeaderHandler : public nlohmann::json_sax<Json> {
 public:
  explicit HeaderHandler(std::string_view where) : where_(where) {}

  SafetensorsHeader take() { return std::move(header_); }

  bool null() override { return scalar(); }
  bool boolean(bool /*value*/) override { return scalar(); }
  bool number_integer(number_integer_t /*value*/) override { return scalar(); }
  bool number_float(number_float_t /*value*/, const string_t& /*text*/) override { return scalar(); }
  bool binary(binary_t& /*value*/) override { return scalar(); }

  bool number_unsigned(number_unsigned_t value) override {
    if (level_ != 3 || numbers_ == nullptr) return scalar();
    if (numbers_->size() == most_numbers)
      refuse(claim().name, "has more numbers in its shape or offsets than a tensor can");
    numbers_->push_back(value);
    return true;
  }

  bool string(string_t& value) override {
    if (level_ == 2 && in_metadata_) {
      if (header_.metadata.size() == most_metadata)
        refuse(metadata_key, fmt::format("has more than {} entries", most_metadata));
      header_.metadata[key_] = value;
    } else if (level_ == 2 && field_ == Field::dtype) {
      claim().dtype = value;
    } else {
      return scalar();
    }
    return true;
  }

  bool key(string_t& value) override {
    if (level_ == 1) {
      if (!names_.insert(value).second) refuse(value, "stands there twice");
      key_ = value;
    } else if (level_ == 2 && in_metadata_) {
      if (header_.metadata.contains(value)) refuse(metadata_key, "repeats a key");
      key_ = value;
    } else if (level_ == 2) {
      begin_field(value);
    }
    return true;
  }

  bool start_object(std::size_t /*size*/) override {
    if (level_ == 1) {
      in_metadata_ = key_ == metadata_key;
      seen_ = 0;
      if (!in_metadata_) header_.tensors.push_back({.name = key_, .dtype = {}, .shape = {}, .offsets = {}});
    } else if (level_ != 0) {
      wrong_type_unless_unknown();
    }
    return descend();
  }

  bool end_object() override {
    if (--level_ == 1 && !in_metadata_ && seen_ != all_seen) {
      refuse(claim().name, "needs dtype, shape and data_offsets");
    }
    return true;
  }

  bool start_array(std::size_t /*size*/) override {
    numbers_ = nullptr;
    if (level_ == 0) refuse_root();
    if (level_ == 2 && field_ == Field::shape) {
      numbers_ = &claim().shape;
    } else if (level_ == 2 && field_ == Field::offsets) {
      numbers_ = &claim().offsets;
    } else {
      wrong_type_unless_unknown();
    }
    return descend();
  }

  bool end_array() override {
    --level_;
    numbers_ = nullptr;
    return true;
  }

  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& /*failure*/) override {
    throw_input("safetensors", "{}: the header is not JSON at byte {}: not a safetensors file, or damaged", where_,
                position);
  }

 private:
  enum class Field { unknown, dtype, shape, offsets };
  static constexpr const char* metadata_key = "__metadata__";
  static constexpr unsigned all_seen = 0b111;
  static constexpr std::size_t most_numbers = 64, most_metadata = 10'000;

  SafetensorsClaim& claim() { return header_.tensors.back(); }

  void begin_field(const std::string& key) {
    constexpr std::array names{std::pair{"dtype", Field::dtype}, std::pair{"shape", Field::shape},
                               std::pair{"data_offsets", Field::offsets}};
    field_ = Field::unknown;
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (key != names[i].first) continue;
      field_ = names[i].second;
      if ((seen_ & 1u << i) != 0) refuse(claim().name, "repeats a key");
      seen_ |= 1u << i;
    }
  }

  bool descend() {
    constexpr int deepest = 16;
    if (++level_ > deepest) throw_input("safetensors", "{}: the header is nested deeper than {}", where_, deepest);
    return true;
  }

  // A value that no field asked for.
  bool scalar() {
    if (level_ == 0) refuse_root();
    if (level_ == 3 && numbers_ != nullptr) {
      refuse(claim().name, field_ == Field::shape ? "an extent of the shape must be a whole number from 0"
                                                  : "a data offset must be a whole number from 0");
    }
    wrong_type_unless_unknown();
    return true;
  }

  void wrong_type_unless_unknown() const {
    if (level_ == 1) refuse(key_, "needs dtype, shape and data_offsets");
    if (in_metadata_) refuse(metadata_key, "must map names to texts");
    if (field_ != Field::unknown)
      refuse(header_.tensors.back().name, "dtype, shape or data_offsets has the wrong type");
  }

  [[noreturn]] void refuse(std::string_view name, std::string_view why) const {
    throw_input("safetensors", "{}: {}: {}", where_, shown(name), why);
  }
  [[noreturn]] void refuse_root() const { throw_input("safetensors", "{}: the header is not an object", where_); }

  std::string_view where_;
  SafetensorsHeader header_;
  std::unordered_set<std::string> names_;
  std::string key_;  // the last name, or the last key of the metadata
  int level_ = 0;    // open objects and arrays
  bool in_metadata_ = false;
  unsigned seen_ = 0;  // fields of this tensor
  Field field_ = Field::unknown;
  std::vector<std::uint64_t>* numbers_ = nullptr;  // where the numbers of the array at hand go; null outside of it
};

}  // namespace

SafetensorsHeader read_safetensors_header(std::string_view text, std::string_view where) {
  // The library takes a NUL for the end of the text and passes over a byte order mark; the format knows neither.
  if (const std::size_t nul = text.find('\0'); nul != text.npos) {
    throw_input("safetensors", "{}: the header is not JSON at byte {}, a NUL: not a safetensors file, or damaged",
                where, nul + 1);
  }
  if (!text.starts_with('{')) {
    throw_input("safetensors",
                "{}: the header is not an object, which begins with a brace: not a safetensors file, or "
                "damaged",
                where);
  }
  HeaderHandler handler(where);
  Json::sax_parse(text.begin(), text.end(), &handler);
  return handler.take();
}

}  // namespace rrhf::format
