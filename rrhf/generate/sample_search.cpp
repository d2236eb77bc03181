// Greedy decoding and sampling: answers that share a prompt and nothing else.
#include <ATen/ATen.h>

#include <optional>

#include "rrhf/core/random.h"
#include "rrhf/generate/answer_text.h"
#include "rrhf/generate/sampler.h"
#include "rrhf/generate/search.h"

namespace rrhf::generate {
namespace {

// One answer under way.
struct Sample {
  RandomStream stream;
  AnswerText text;
  std::int64_t row = 0;  // its row of the next logits
  std::int32_t next = 0;
  Answer answer;
  bool ended = false;
};

class SampleSearch final : public Search {
 public:
  SampleSearch(const SearchContext& context, const SearchPrompt& prompt)
      : context_(context),
        options_(context.options),
        seen_(prompt.ids.begin(), prompt.ids.end()),
        most_new_(prompt.most_new) {
    for (std::int64_t s = 0; s < options_.answers; ++s) {
      samples_.push_back({.stream = RandomStream(options_.seed, {prompt.row, static_cast<std::uint64_t>(s)}),
                          .text = AnswerText(context.tokenizer, options_.stop)});
    }
  }

  void decide(const at::Tensor& logits_RV) override {
    logits_RV.scalar_type() == at::kFloat ? decide_as<float>(logits_RV) : decide_as<double>(logits_RV);
  }

  std::vector<Branch> go_on(const TellToken& tell) override {
    std::vector<Branch> branches;
    for (std::size_t i = 0; i < samples_.size(); ++i) {
      Sample& sample = samples_[i];
      if (sample.ended) continue;
      take(sample, static_cast<std::int64_t>(i), tell);
      if (sample.ended) continue;
      branches.push_back({sample.row, sample.next});
      sample.row = std::ssize(branches) - 1;
    }
    return branches;
  }

  std::vector<Answer> answers() override {
    std::vector<Answer> result;
    for (Sample& sample : samples_) {
      Answer& answer = sample.answer;
      const bool cut = answer.ending == Ending::stop;
      answer.text = cut ? std::string(sample.text.text()) : context_.tokenizer.decode(answer.tokens);
      answer.score = answer.logprob;
      result.push_back(std::move(answer));
    }
    return result;
  }

  std::int64_t new_tokens() const override { return new_tokens_; }

 private:
  template <class T>
  void decide_as(const at::Tensor& logits_RV) {
    const std::int64_t width = logits_RV.size(1);
    for (Sample& sample : samples_) {
      if (sample.ended) continue;
      const std::span row(logits_RV.const_data_ptr<T>() + sample.row * logits_RV.stride(0),
                          static_cast<std::size_t>(width));
      const double normalizer = log_normalizer(row);  // first: it refuses rows that nothing can be chosen from
      sample.next = choose<T>(sample, row);
      sample.answer.logprob += static_cast<double>(row[static_cast<std::size_t>(sample.next)]) - normalizer;
    }
  }

  template <class T>
  std::int32_t choose(Sample& sample, std::span<const T> row) const {
    std::vector<T> penalized;
    if (options_.repetition_penalty != 1) {
      penalized.assign(row.begin(), row.end());
      std::vector<std::int32_t> seen = seen_;
      seen.insert(seen.end(), sample.answer.tokens.begin(), sample.answer.tokens.end());
      penalize_repetition<T>(penalized, seen, options_.repetition_penalty);
      row = penalized;
    }
    if (options_.method == DecodingMethod::greedy) return likeliest(row);
    return draw(candidates(row, options_), sample.stream);
  }

  // Takes the sample's next token into its answer and tells of it.
  void take(Sample& sample, std::int64_t number, const TellToken& tell) {
    ++new_tokens_;
    Answer& answer = sample.answer;
    std::string text;
    if (sample.next == context_.tokenizer.eos_id()) {
      end(sample, Ending::eos);
    } else {
      answer.tokens.push_back(sample.next);
      if (tell || !options_.stop.empty()) text = sample.text.add(sample.next);
      if (sample.text.stopped()) {
        end(sample, Ending::stop);
      } else if (std::ssize(answer.tokens) == most_new_) {
        end(sample, Ending::length);
      }
    }
    if (!tell) return;
    if (sample.ended) text += sample.text.finish();
    const bool wanted = tell({.answer = number, .id = sample.next, .last = sample.ended, .text = text});
    if (!wanted && !sample.ended) end(sample, Ending::cancelled);
  }

  static void end(Sample& sample, Ending ending) {
    sample.ended = true;
    sample.answer.ending = ending;
  }

  const SearchContext& context_;
  const DecodingOptions& options_;
  std::vector<std::int32_t> seen_;  // the prompt
  std::int64_t most_new_;
  std::vector<Sample> samples_;
  std::int64_t new_tokens_ = 0;
};

}  // namespace

std::unique_ptr<Search> make_sample_search(const SearchContext& context, const SearchPrompt& prompt) {
  return std::make_unique<SampleSearch>(context, prompt);
}

}  // namespace rrhf::generate
