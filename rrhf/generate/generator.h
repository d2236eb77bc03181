// Answers to many prompts at once.
//
// Sequences are decoded together, one token each a step, without padding; where one ends, the next prompt takes its
// place. A prompt is computed once for all its answers.
//
// An answer depends on the model, the options, its prompt and its row number alone. On the CPU in float32 and float64
// that holds to the last bit: every sum in the model is taken in an order that neither the other sequences nor the
// number of threads changes. In bfloat16 and on a GPU random draws are as independent, but a library's products round
// differently with the number of rows, so a tie within rounding may fall differently in other company.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/core/decoding_options.h"
#include "rrhf/generate/prompt.h"
#include "rrhf/model/llama.h"
#include "rrhf/text/tokenizer.h"

namespace rrhf::generate {

/// Why an answer ended.
enum class Ending : std::uint8_t { eos, stop, length, cancelled };

/// "eos", "stop", "length" or "cancelled".
std::string_view name_of(Ending ending);

struct Answer {
  std::vector<std::int32_t> tokens;  ///< new ids without the EOS; with Ending::stop, up to the one that completed it
  std::string text;                  ///< without special tokens, and without the stop string and what follows it
  Ending ending = Ending::eos;
  double logprob = 0;  ///< summed log-probs under the model itself (temperature 1, nothing filtered), EOS included
  double score = 0;    ///< beam methods: what hypotheses are ordered by; logprob otherwise

  /// The model said EOS before any other token.
  bool empty_by_eos() const noexcept { return tokens.empty() && ending == Ending::eos; }
};

struct Request {
  std::vector<std::int32_t> prompt;  ///< of prompt_ids()
  std::uint64_t row = 0;             ///< keys the random streams; with a data file, the row's number in it
};

/// A token that was just decided, of a method other than the beam ones.
struct NewToken {
  std::size_t request = 0;  ///< index in the span given to generate()
  std::int64_t answer = 0;  ///< which of its answers
  std::int32_t id = 0;      ///< of the EOS too
  bool last = false;        ///< the answer has ended with it
  /// Text that is now certain to be part of the answer; "" while it may be the beginning of a stop string or of a
  /// character, or was a special token. All of an answer's pieces together are its text, unless it was cancelled.
  /// Valid during the call.
  std::string_view text;
};

/// All may be empty. Called on the thread of generate(), between steps; an exception ends the run and leaves it.
struct Callbacks {
  /// False ends this answer as cancelled. Not called with the beam methods.
  std::function<bool(const NewToken&)> token;

  /// All answers of a request, the best first with the beam methods, in the samples' order otherwise. Requests finish
  /// in an order of their own.
  std::function<void(std::size_t request, std::vector<Answer> answers)> finished;

  /// Asked between steps; true ends the run: unfinished requests are dropped.
  std::function<bool()> stop;

  /// Told between steps what is done so far; new_tokens counts those of unfinished requests too.
  std::function<void(const struct Totals&)> progress;
};

/// What a run did.
struct Totals {
  std::int64_t requests = 0;  ///< finished
  std::int64_t answers = 0;
  std::int64_t empty_by_eos = 0;
  std::int64_t prompt_tokens = 0;
  std::int64_t new_tokens = 0;  ///< decided for sequences that were decoded, EOS and abandoned hypotheses included
};

struct Resources {
  std::int64_t sequences = 32;         ///< decoded at once; a prompt is begun as long as fewer are under way
  std::int64_t prefill_tokens = 1024;  ///< of prompts computed together, more only for one longer prompt
};

/// Keeps references to the model and the tokenizer, which must live as long. Not thread-safe.
class Generator {
 public:
  /// Throws InputError for options that check_decoding() refuses, and for a tokenizer with more ids than the model has
  /// rows.
  Generator(const model::Llama& llama, const text::Tokenizer& tokenizer, Beginning beginning, DecodingOptions options,
            Resources resources = {});

  /// Answers all requests. Throws InputError before any work, with every such request's row and numbers, when a
  /// prompt is empty, leaves no place for a new token in the model's positions, or holds ids beyond the vocabulary.
  Totals generate(std::span<const Request> requests, const Callbacks& callbacks) const;

  /// The same, all answers in the requests' order.
  std::vector<std::vector<Answer>> generate(std::span<const Request> requests) const;

 private:
  void check_prompts(std::span<const Request> requests) const;

  const model::Llama& llama_;
  const text::Tokenizer& tokenizer_;
  Beginning beginning_;
  DecodingOptions options_;
  Resources resources_;
};

}  // namespace rrhf::generate
