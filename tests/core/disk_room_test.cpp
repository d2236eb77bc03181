#include "rrhf/core/disk_room.h"

#include "tests/core/support.h"

namespace rrhf {
namespace {

using testing::error_of;
using testing::holds;
using testing::TemporaryFolder;

TEST(RequireRoom, NamesWhatIsNeededAndWhatIsLeft) {
  const TemporaryFolder folder;
  require_room(folder.path(), 0);
  require_room(folder.path(), 1);
  const std::string message = error_of<Error>([&] { require_room(folder.path(), std::int64_t{1} << 60); });
  EXPECT_TRUE(holds(message, folder.path().parent_path().string() + ": 1,152,921,504,606,846,976 bytes are to be"));
  const auto space = std::filesystem::space(folder.path());
  ASSERT_GT(space.free, 0u);
  EXPECT_TRUE(holds(message, " left"));
}

TEST(RequireRoom, AsksNothingOfWhatCannotTell) {
  require_room("/proc", std::int64_t{1} << 60);  // no blocks at all
  require_room("/absent", std::int64_t{1} << 60);
}

}  // namespace
}  // namespace rrhf
