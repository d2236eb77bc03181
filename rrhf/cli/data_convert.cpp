// Any known layout -> RRHF JSON lines. The file is read twice: nothing is written unless every row is good.
#include <functional>
#include <iostream>

#include "rrhf/cli/data_options.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/data/layout.h"

namespace rrhf::cli {
namespace {

void for_each_row(const DataArguments& arguments, const std::function<void(const data::ReadRow&)>& use) {
  for (const auto& path : arguments.files) {
    data::RowReader reader(path, arguments.config.data.format);
    ReadingBar bar(path);
    while (const auto row = reader.next()) {
      use(*row);
      bar.update(reader);
    }
  }
}

// Before anything is read: the file may be written, and into a folder that takes it.
void require_free_place(const std::filesystem::path& out, bool force) {
  if (!force && path_exists(out)) {
    throw_input("data", "{}: is there already; --force overwrites it", out.string());
  }
  if (out.extension() == ".gz") {
    throw_input("data", "{}: lines are written as they are, not compressed; choose a name without .gz", out.string());
  }
  require_writable_file(out);
}

void require_good_rows(const DataArguments& arguments) {
  std::vector<data::Problem> errors;
  for_each_row(arguments, [&](const data::ReadRow& row) {
    for (const data::Problem& problem : row.problems) {
      if (problem.severity == data::Severity::error) errors.push_back(problem);
    }
  });
  data::require_no_errors(errors);
}

}  // namespace

void run_convert(const DataArguments& arguments) {
  if (!arguments.out.empty()) require_free_place(arguments.out, arguments.force);
  require_good_rows(arguments);
  std::int64_t rows = 0;
  const auto write = [&](std::ostream& out) {
    for_each_row(arguments, [&](const data::ReadRow& row) {
      if (!row.example) return;
      out << dump_json(data::rrhf_row(*row.example)) << '\n';
      ++rows;
    });
  };
  if (arguments.out.empty()) {
    write(std::cout);
    std::cout.flush();
    if (!std::cout) throw_error("data", "the lines could not be written to stdout");
    return;
  }
  write_file_atomically(arguments.out, write);
  fmt::print("{}: {} rows\n", arguments.out, with_commas(rows));
}

}  // namespace rrhf::cli
