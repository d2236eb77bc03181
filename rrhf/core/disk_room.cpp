#include "rrhf/core/disk_room.h"

#include <unistd.h>

#include "rrhf/core/error.h"
#include "rrhf/core/log.h"

namespace rrhf {
namespace fs = std::filesystem;

void require_room(const fs::path& folder, std::int64_t bytes) {
  std::error_code failure;
  const fs::space_info space = fs::space(folder, failure);
  if (failure || space.capacity == 0) return;
  const std::uintmax_t left = ::geteuid() == 0 ? space.free : space.available;  // some blocks are kept for root
  if (bytes <= 0 || static_cast<std::uintmax_t>(bytes) <= left) return;
  throw_error("file", "{}: {} bytes are to be written there, its disk has {} left", folder.parent_path().string(),
              with_commas(bytes), with_commas(static_cast<long long>(left)));
}

}  // namespace rrhf
