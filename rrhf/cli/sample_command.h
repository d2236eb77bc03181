// `rrhf sample`: a model's responses, added to the rows of a data file.
#pragma once

namespace rrhf::cli {

void sample_command(int argc, const char* const* argv);

}  // namespace rrhf::cli
