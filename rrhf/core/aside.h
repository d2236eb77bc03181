// What files and folders have in common that are built under another name and renamed.
#pragma once

#include <filesystem>
#include <string_view>

namespace rrhf {

/// `.NAME.TAG-PID` beside `path`: a name that no other process of ours uses.
std::filesystem::path aside(const std::filesystem::path& path, std::string_view tag);

/// Returns once what was written is on the disk. `flags` open the file or folder. Throws Error when that fails.
void sync_to_disk(const std::filesystem::path& path, int flags);

}  // namespace rrhf
