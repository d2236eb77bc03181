// Whether a disk has room, asked before long writing begins.
#pragma once

#include <cstdint>
#include <filesystem>

namespace rrhf {

/// Throws Error, with both figures, when the file system of `folder` has not `bytes` left for this user. File systems
/// that can't tell, and quotas, are found out by writing. The folder exists.
void require_room(const std::filesystem::path& folder, std::int64_t bytes);

}  // namespace rrhf
