#include "rrhf/distributed/rank_output.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"

namespace rrhf::distributed {
namespace fs = std::filesystem;

fs::path log_file(const fs::path& output, int rank) { return output / "logs" / fmt::format("rank-{}.log", rank); }

RankOutput::RankOutput(const Meeting& meeting, const fs::path& output) : meeting_(meeting) {
  const int rank = meeting.place.rank;
  if (rank == 0 || meeting.supervised || output.empty()) return;
  const fs::path path = log_file(output, rank);
  make_writable_folder(path.parent_path());
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (file < 0) throw_input("output", "{}: can't be written: {}", path.string(), std::strerror(errno));
  std::fflush(nullptr);
  terminal_ = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
  ::dup2(file, STDOUT_FILENO);
  ::dup2(file, STDERR_FILENO);
  ::close(file);
}

RankOutput::~RankOutput() {
  // What is printed from here on, up to the program's last message, belongs to the log as well: nothing is put back.
  if (terminal_ >= 0) ::close(terminal_);
}

void RankOutput::speak(const Verdict& verdict, bool stands_in) const {
  const std::string line = "[distributed] " + verdict.text;
  if (!meeting_.supervised || meeting_.place.rank != 0) log_line(line);
  if (terminal_ < 0 || !stands_in) return;
  const std::string text = line + "\n";
  [[maybe_unused]] const auto written = ::write(terminal_, text.data(), text.size());
}

}  // namespace rrhf::distributed
