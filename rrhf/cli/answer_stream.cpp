#include "rrhf/cli/answer_stream.h"

#include <fmt/format.h>

#include <cstdio>
#include <span>

namespace rrhf::cli {

ShownAnswer show_answer(const generate::Generator& generator, const generate::Request& request,
                        const std::function<bool()>& stop) {
  ShownAnswer shown;
  const auto show = [&](std::string_view text) {
    if (text.empty()) return;
    fmt::print("{}", text);
    std::fflush(stdout);
    shown.text += text;
  };
  bool streamed = false;
  const auto on_token = [&](const generate::NewToken& token) {
    streamed = true;
    show(token.text);
    return !stop();
  };
  const auto on_finished = [&](std::size_t, const std::vector<generate::Answer>& answers) {
    const generate::Answer& answer = answers.front();
    if (!streamed) show(answer.text);
    shown.tokens = answer.tokens;
    shown.ending = answer.ending;
    shown.empty_by_eos = answer.empty_by_eos();
  };
  // Before the first token, and with the beam methods, only the run as a whole can be stopped.
  const auto stop_run = [&] { return !streamed && stop(); };
  generator.generate(std::span(&request, 1), {.token = on_token, .finished = on_finished, .stop = stop_run});
  return shown;
}

}  // namespace rrhf::cli
