#include "rrhf/core/aside.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "rrhf/core/descriptor.h"
#include "rrhf/core/error.h"

namespace rrhf {
namespace fs = std::filesystem;

fs::path aside(const fs::path& path, std::string_view tag) {
  return path.parent_path() / fmt::format(".{}.{}-{}", path.filename().string(), tag, ::getpid());
}

void sync_to_disk(const fs::path& path, int flags) {
  const Descriptor file(path, flags);
  if (file.get() < 0 || ::fsync(file.get()) != 0) {
    throw_error("file", "{}: could not be written to disk: {}", path.string(), std::strerror(errno));
  }
}

}  // namespace rrhf
