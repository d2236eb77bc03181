// What long work on a file has finished so far, kept beside its output so that a second run goes on after a failure.
//
// OUT.part is JSON lines: what is being computed first, then {"row": N, "result": ...} for each finished row.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "rrhf/core/held_file.h"
#include "rrhf/core/json.h"

namespace rrhf {

/// The keys in which two objects differ, a line each: "\n  seed: 1 then, 2 now". Empty where there is none.
std::string differing_keys(const Json& then, const Json& now);

class PartFile {
 public:
  /// Opens or creates `OUT.part`. `identity`, an object, says what is computed from what: a file of another identity is
  /// refused with the keys that differ, unless `restart` drops it. A torn last line is dropped.
  /// `operation` is the word in brackets of messages.
  /// Throws InputError for another identity and while another run has the file open, Error when it can't be written.
  PartFile(std::string operation, const std::filesystem::path& out, const Json& identity, bool restart);

  /// The results of the finished rows, from row 0 on.
  const std::vector<Json>& finished() const noexcept { return finished_; }

  /// Adds the rows that follow, and has handed them to the system when it returns. Throws Error when the disk is full.
  void add(std::vector<Json> results);

  /// Removes the file: its output is complete.
  void remove();

 private:
  void read(const Json& identity);
  void require_same(const Json& then, const Json& now) const;

  std::string operation_;
  HeldFile file_;
  std::vector<Json> finished_;
};

}  // namespace rrhf
