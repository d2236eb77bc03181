// From the pickle of a state dict to its tensors. Private to this room: parse_torch_archive() is the way in.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "rrhf/format/pickle.h"
#include "rrhf/format/torch_archive.h"

namespace rrhf::format {

/// The globals that the pickle of a state dict may mention.
std::span<const std::string_view> state_dict_globals();

/// Finds the tensors that a pickle describes and their storages in `zip`, whose members begin with `prefix` ("NAME/").
class StateDictReader {
 public:
  /// `memory`: bytes that the descriptions of tensors may take.
  StateDictReader(const Pickle& pickle, const ZipArchive& zip, std::string_view prefix, std::string_view where,
                  std::size_t memory)
      : pickle_(pickle), zip_(zip), prefix_(prefix), where_(where), memory_left_(memory) {}

  /// The tensors and their storages. Throws as parse_torch_archive() says.
  TorchArchive read();

 private:
  struct Storage {
    std::size_t index = 0;
    std::string_view dtype;
    std::int64_t numel = 0;
  };

  void require_state_dict() const;
  TorchEntry tensor(std::string_view name, PickleValue value);
  Storage storage(const TorchEntry& entry, const PickleValue& value);
  std::size_t storage_index(const TorchEntry& entry, std::string_view key);
  std::vector<std::int64_t> extents(const TorchEntry& entry, const PickleValue& value, std::string_view what) const;
  void charge(const TorchEntry& entry);
  void require_inside(const TorchEntry& entry, std::int64_t numel) const;
  bool is_call_of(const PickleValue& value, std::string_view global) const;
  [[noreturn]] void refuse(const TorchEntry& entry, std::string_view why) const;

  const Pickle& pickle_;
  const ZipArchive& zip_;
  std::string_view prefix_;
  std::string_view where_;
  std::size_t memory_left_;
  TorchArchive archive_;
  std::map<std::string, std::size_t, std::less<>> storage_of_;  // key -> index into archive_.storages
};

}  // namespace rrhf::format
