// One answer, shown on stdout as it comes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "rrhf/generate/generator.h"

namespace rrhf::cli {

struct ShownAnswer {
  std::string text;  ///< what was shown; of a cancelled one, what came before
  std::vector<std::int32_t> tokens;
  generate::Ending ending = generate::Ending::cancelled;
  bool empty_by_eos = false;
};

/// Answers one prompt. Text goes to stdout piece by piece, whole characters only; the beam methods, which decide at the
/// end, show theirs at once. `stop` is asked between tokens: true ends the answer as cancelled.
/// Throws as Generator::generate().
ShownAnswer show_answer(const generate::Generator& generator, const generate::Request& request,
                        const std::function<bool()>& stop);

}  // namespace rrhf::cli
