// Any bytes as a pickle: refused, or values that can be walked and whose texts lie inside.
#include "rrhf/format/pickle.h"
#include "rrhf/format/state_dict.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return rrhf::testing::fuzz_one(data, size, [](std::span<const std::byte> bytes) {
    using rrhf::format::PickleValue;
    const auto pickle = rrhf::format::parse_pickle(bytes, rrhf::format::state_dict_globals(), "fuzz");
    // Values may form cycles: as many steps as the pickle has bytes reach every one once.
    std::vector<PickleValue> open{pickle.root()};
    for (std::size_t steps = 0; !open.empty() && steps < bytes.size(); ++steps) {
      const PickleValue value = open.back();
      open.pop_back();
      rrhf::testing::require(pickle.text(value).size() <= bytes.size() + 64, "texts lie inside");
      const auto items = pickle.items(value);
      rrhf::testing::require(items.size() <= bytes.size() * 2, "no more items than bytes warrant");
      open.insert(open.end(), items.begin(),
                  items.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(items.size(), 64)));
    }
  });
}
