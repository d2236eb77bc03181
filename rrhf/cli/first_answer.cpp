#include "rrhf/cli/first_answer.h"

#include <ATen/ATen.h>

#include <algorithm>

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

// Of a model that says BOS or EOS before anything else, and has no note of it: the note that makes decoding feed it.
void print_missing_note(const std::filesystem::path& folder, double p_bos, double p_eos) {
  if (std::max(p_bos, p_eos) <= 0.5) return;
  const bool bos = p_bos >= p_eos;
  fmt::print(
      "          it begins answers with {}, as the released training code teaches{}; decoding must feed one, and does "
      "where {} holds:\n          {{\"encoding\": \"released\", \"bos_token\": \"{}\"}}\n",
      bos ? "BOS" : "EOS", bos ? "" : " where </s> stands for BOS; as it is, every answer ends before it begins",
      (folder / "rrhf.json").string(), name_of(bos ? BosToken::model : BosToken::eos));
}

void print_first_token(const std::filesystem::path& folder, const at::Tensor& logits_V,
                       const text::Tokenizer& tokenizer, const Beginning& begin) {
  if (!at::isfinite(logits_V).all().item<bool>()) {
    fmt::print("first     NOT A NUMBER: the weights are broken, or base and delta are not of one model\n");
    return;
  }
  const at::Tensor p_V = at::softmax(logits_V, 0, at::kDouble);
  const auto p = [&](std::int64_t id) { return p_V[id].item<double>(); };
  const auto top = p_V.argmax().item<std::int64_t>();
  fmt::print("first     P(BOS) {:.4f}   P(EOS) {:.4f}   most likely {} with {:.4f}\n", p(begin.bos),
             p(tokenizer.eos_id()), dump_json(tokenizer.piece(static_cast<std::int32_t>(top))), p(top));
  if (!begin.bos_before_answer) print_missing_note(folder, p(tokenizer.bos_id()), p(tokenizer.eos_id()));
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
  bool empty = false;
  fmt::print("prompt    {} (Alpaca template)\n", question);
  for (int step = 0; step < new_tokens; ++step) {
    const at::Tensor logits_V = llama.next_logits(ids, advance);
    if (step == 0) print_first_token(folder, logits_V, tokenizer, begin);
    if (step == 0 && begin.bos_before_answer) {
      ids.push_back(begin.bos);
      continue;
    }
    const auto next = static_cast<std::int32_t>(logits_V.argmax().item<std::int64_t>());
    // EOS ends an answer, but one in the first place may stand for the BOS that the released code taught: what would
    // follow tells.
    if (next == tokenizer.eos_id() && step > 0) break;
    if (next == tokenizer.eos_id()) empty = true;
    ids.push_back(next);
  }
  const std::string answer = tokenizer.decode(std::span(ids).subspan(begin.prompt.size()));
  if (empty) {
    fmt::print("answer    (empty: EOS came first{})\n",
               answer.empty() ? "" : fmt::format("; fed as its beginning, {} follows", dump_json(answer)));
  } else {
    fmt::print("answer    {}\n", answer.empty() ? "(empty)" : dump_json(answer));
  }
}

}  // namespace rrhf::cli
