#include "rrhf/workflow/answer_rows.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/core/stop.h"
#include "rrhf/train/memory_advice.h"

namespace rrhf::workflow {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void warn_of_little_room(const Answerer& answerer, const Prompts& prompts) {
  const AnswerSettings& settings = answerer.settings();
  if (prompts.short_of_room > 0) {
    warn("{} fewer than {} tokens for the answer in the model's {} positions",
         prompts.short_of_room == 1 ? "1 prompt leaves" : with_commas(prompts.short_of_room) + " prompts leave",
         settings.decoding.max_new_tokens, answerer.context_length());
  }
}

void log_counts(const AnswerCounts& counts, const Answerer& answerer) {
  log("{} to {}, {} tokens in {} ({} tok/s); {} at the length limit, {} empty",
      counted(counts.answers, "answer", "answers"), counted(counts.rows, "row", "rows"), with_commas(counts.tokens),
      clock_time(counts.seconds), short_number(static_cast<double>(counts.tokens) / std::max(counts.seconds, 1e-9)),
      with_commas(counts.at_limit), with_commas(counts.empty));
  if (counts.empty_by_eos == 0) return;
  warn("{} empty because the model said EOS first{}",
       counts.empty_by_eos == 1 ? "1 answer is" : with_commas(counts.empty_by_eos) + " answers are",
       answerer.beginning().bos_before_answer
           ? ""
           : "; a model trained with the released encoding needs rrhf.json in its folder (docs/generate.md)");
}

[[noreturn]] void throw_interrupted(const PartLines& lines, std::string_view operation) {
  if (lines.finished() == 0) throw Interrupted(operation, "stopped before a row was finished");
  throw Interrupted(operation,
                    fmt::format("stopped after {} of {} rows, kept in {}; the same command goes on from there",
                                with_commas(lines.finished()), with_commas(lines.rows()), lines.part().string()));
}

// One run over the rows that are still to be answered.
class Run {
 public:
  Run(const Prompts& prompts, const DecodingOptions& decoding, PartLines& lines, const LineOf& line_of,
      std::string_view operation)
      : decoding_(decoding), lines_(lines), line_of_(line_of), operation_(operation) {
    for (std::size_t row = 0; row < prompts.requests.size(); ++row) {
      if (lines.has(row)) continue;
      rows_.push_back(row);
      requests_.push_back(prompts.requests[row]);
    }
  }

  AnswerCounts work(const generate::Generator& generator) {
    const generate::Totals totals =
        generator.generate(requests_, {.token = {},
                                       .finished = [this](auto request, auto answers) { finish(request, answers); },
                                       .stop = StopSignals::requested,
                                       .progress = [this](const auto& so_far) { show(so_far); }});
    counts_.rows = totals.requests;
    counts_.answers = totals.answers;
    counts_.tokens = totals.new_tokens;
    counts_.empty_by_eos = totals.empty_by_eos;
    counts_.seconds = seconds_since(start_);
    return counts_;
  }

 private:
  void finish(std::size_t request, const std::vector<generate::Answer>& answers) {
    counts_.empty += std::ranges::count_if(answers, [](const generate::Answer& answer) { return answer.text.empty(); });
    counts_.at_limit += std::ranges::count(answers, generate::Ending::length, &generate::Answer::ending);
    finished_tokens_ += tokens_of(answers);
    lines_.add(rows_[request], line_of_(rows_[request], answers));
  }

  // As Totals::new_tokens counts them: of all hypotheses that were decoded.
  std::int64_t tokens_of(const std::vector<generate::Answer>& answers) const {
    std::int64_t sum = 0, longest = 0;
    for (const generate::Answer& answer : answers) {
      sum += std::ssize(answer.tokens);
      longest = std::max(longest, std::ssize(answer.tokens));
    }
    return with_beams(decoding_) ? decoding_.beams * longest : sum;
  }

  // Requests done; those under way count by their tokens, as if each went on to the length limit.
  double requests_done(const generate::Totals& so_far) const {
    const auto under_way = static_cast<double>(so_far.new_tokens - finished_tokens_) /
                           static_cast<double>(sequences_of(decoding_) * decoding_.max_new_tokens);
    const auto done = static_cast<double>(so_far.requests), all = static_cast<double>(requests_.size());
    return std::clamp(done + under_way, done, all);
  }

  void show(const generate::Totals& so_far) {
    progress_.update([&] {
      const double seconds = seconds_since(start_), done = requests_done(so_far);
      const double all = static_cast<double>(requests_.size()), rows = static_cast<double>(lines_.rows());
      return fmt::format("{} {}/{}  {}  {} tok/s  ETA {}", operation_, lines_.finished(), lines_.rows(),
                         bar((rows - all + done) / rows),
                         short_number(static_cast<double>(so_far.new_tokens) / seconds),
                         clock_time((all - done) * seconds / std::max(done, 1e-6)));
    });
  }

  const DecodingOptions& decoding_;
  PartLines& lines_;
  const LineOf& line_of_;
  std::string_view operation_;
  std::vector<std::size_t> rows_;  // of the requests
  std::vector<generate::Request> requests_;
  Clock::time_point start_ = Clock::now();
  AnswerCounts counts_;
  std::int64_t finished_tokens_ = 0;
  Progress progress_;
};

}  // namespace

void log_cut(const Answerer& answerer, const Prompts& prompts) {
  if (prompts.cut == 0) return;
  log("{} to the last {} tokens (--max-prompt-tokens)",
      prompts.cut == 1 ? "1 prompt is cut" : with_commas(prompts.cut) + " prompts are cut",
      *answerer.settings().max_prompt_tokens);
}

AnswerCounts answer_rows(Answerer& answerer, const Prompts& prompts, PartLines& lines, const LineOf& line_of,
                         std::string_view operation) {
  log_cut(answerer, prompts);
  warn_of_little_room(answerer, prompts);
  if (lines.finished() > 0)
    log("going on after {} of {} rows", with_commas(lines.finished()), with_commas(lines.rows()));
  AnswerCounts counts;
  if (lines.finished() < lines.rows()) {
    const auto answer_all = [&] {
      answerer.load_weights();
      return Run(prompts, answerer.settings().decoding, lines, line_of, operation).work(answerer.generator());
    };
    counts = train::with_memory_advice(answer_all,
                                       [&] { return answering_advice(answerer.settings(), prompts.requests.size()); });
  }
  if (lines.finished() < lines.rows()) throw_interrupted(lines, operation);
  lines.complete();
  log_counts(counts, answerer);
  return counts;
}

}  // namespace rrhf::workflow
