#include "rrhf/cli/first_answer.h"

#include <ATen/ATen.h>

#include "rrhf/checkpoint/hf_folder.h"
#include "rrhf/checkpoint/streamed_llama.h"
#include "rrhf/checkpoint/walk.h"
#include "rrhf/core/json.h"
#include "rrhf/text/prompt_template.h"
#include "rrhf/text/tokenizer.h"

namespace rrhf::cli {
namespace {

constexpr std::string_view question = "List three ways to save water at home.";
constexpr int new_tokens = 12;
// A model that knows its language is surer of its first token than this.
constexpr double least_sure = 0.01;

using Ids = std::vector<std::int32_t>;

// The beginning of a sequence as the model was trained on it.
struct Beginning {
  Ids prompt;
  std::int32_t bos = 0;
  bool bos_before_answer = false;  // the released encoding
};

Beginning beginning(const std::filesystem::path& folder, const text::Tokenizer& tokenizer) {
  const auto note = checkpoint::load_encoding_note(folder);
  Beginning result;
  result.bos = note && note->bos_token == BosToken::eos ? tokenizer.eos_id() : tokenizer.bos_id();
  result.bos_before_answer = note && note->encoding == Encoding::released;
  result.prompt = {result.bos};
  const Ids text = tokenizer.encode(text::PromptTemplate::named("alpaca").apply(question));
  result.prompt.insert(result.prompt.end(), text.begin(), text.end());
  return result;
}

void print_first_token(const at::Tensor& logits_V, const text::Tokenizer& tokenizer, const Beginning& begin) {
  if (!at::isfinite(logits_V).all().item<bool>()) {
    fmt::print("first     NOT A NUMBER: the weights are broken, or base and delta are not of one model\n");
    return;
  }
  const at::Tensor p_V = at::softmax(logits_V, 0, at::kDouble);
  const auto p = [&](std::int64_t id) { return p_V[id].item<double>(); };
  const auto top = p_V.argmax().item<std::int64_t>();
  fmt::print("first     P(BOS) {:.4f}   P(EOS) {:.4f}   most likely {} with {:.4f}\n", p(begin.bos),
             p(tokenizer.eos_id()), dump_json(tokenizer.piece(static_cast<std::int32_t>(top))), p(top));
  if (p(begin.bos) > 0.5) {
    fmt::print("          it begins answers with BOS, as the released training code teaches: decoding must feed one\n");
  }
  if (p(top) < least_sure) {
    fmt::print("          no token is likely: this looks like noise; a wrong base gives such a model\n");
  }
}

}  // namespace

void print_first_answer(const std::filesystem::path& folder) {
  const checkpoint::StreamedLlama llama(folder);
  const auto tokenizer = text::Tokenizer::load(folder);
  const Beginning begin = beginning(folder, tokenizer);
  checkpoint::WalkProgress progress(fmt::format("answering, {} walks over the weights", new_tokens),
                                    new_tokens * llama.bytes(),
                                    "the model is complete, only its answer to a prompt is missing");
  const auto advance = [&](std::int64_t bytes) { progress.advance(bytes); };

  Ids ids = begin.prompt;
  fmt::print("prompt    {} (Alpaca template)\n", question);
  for (int step = 0; step < new_tokens; ++step) {
    const at::Tensor logits_V = llama.next_logits(ids, advance);
    if (step == 0) print_first_token(logits_V, tokenizer, begin);
    if (step == 0 && begin.bos_before_answer) {
      ids.push_back(begin.bos);
      continue;
    }
    const auto next = static_cast<std::int32_t>(logits_V.argmax().item<std::int64_t>());
    // EOS ends an answer, but one in the first place may stand for the BOS that the released code taught.
    if (next == tokenizer.eos_id() && step > 0) break;
    ids.push_back(next);
  }
  const std::string answer = tokenizer.decode(std::span(ids).subspan(begin.prompt.size()));
  fmt::print("answer    {}\n", answer.empty() ? "(empty)" : dump_json(answer));
}

}  // namespace rrhf::cli
