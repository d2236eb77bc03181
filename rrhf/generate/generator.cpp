#include "rrhf/generate/generator.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "rrhf/core/error.h"
#include "rrhf/generate/search.h"
#include "rrhf/model/decoder.h"

namespace rrhf::generate {
namespace {

// Memory for keys and values that is set aside before the first step; more comes as it is needed.
constexpr std::int64_t reserved_bytes = std::int64_t{1} << 30;

// A request under way and its sequences, one for each branch.
struct Active {
  std::size_t request = 0;
  std::unique_ptr<Search> search;
  std::vector<model::CachedSequence> sequences;
  std::vector<std::int32_t> tokens;  // to be fed next, one a sequence
};

// The parents' sequences for the branches: copied, but moved where a parent is needed for the last time.
std::vector<model::CachedSequence> follow(std::vector<model::CachedSequence> parents,
                                          std::span<const Branch> branches) {
  std::vector<std::size_t> uses(parents.size(), 0);
  for (const Branch& branch : branches) ++uses[static_cast<std::size_t>(branch.parent)];
  std::vector<model::CachedSequence> next;
  next.reserve(branches.size());
  for (const Branch& branch : branches) {
    const auto parent = static_cast<std::size_t>(branch.parent);
    if (--uses[parent] == 0) {
      next.push_back(std::move(parents[parent]));
    } else {
      next.push_back(parents[parent]);
    }
  }
  return next;
}

class Run {
 public:
  Run(const model::Llama& llama, const SearchContext& context, const Beginning& beginning, const Resources& resources,
      std::span<const Request> requests, const Callbacks& callbacks)
      : context_(context),
        beginning_(beginning),
        resources_(resources),
        requests_(requests),
        callbacks_(callbacks),
        context_length_(model::context_length(llama.config())),
        decoder_(llama) {
    reserve(llama);
  }

  Totals work() {
    while (!stop_asked() && (next_ < requests_.size() || !active_.empty())) {
      if (next_ < requests_.size() && rows() < resources_.sequences) {
        begin_some();
      } else {
        step();
      }
      if (callbacks_.progress) callbacks_.progress(so_far());
    }
    return totals_;
  }

 private:
  Totals so_far() const {
    Totals totals = totals_;
    for (const Active& active : active_) totals.new_tokens += active.search->new_tokens();
    return totals;
  }

  bool stop_asked() const { return callbacks_.stop && callbacks_.stop(); }

  std::int64_t rows() const {
    std::int64_t sum = 0;
    for (const Active& active : active_) sum += std::ssize(active.sequences);
    return sum;
  }

  std::vector<std::int32_t> fed(const Request& request) const {
    std::vector<std::int32_t> ids = request.prompt;
    if (beginning_.bos_before_answer) ids.push_back(beginning_.bos);
    return ids;
  }

  std::int64_t width() const { return sequences_of(context_.options); }

  void reserve(const model::Llama& llama) {
    const model::LlamaConfig& config = llama.config();
    std::int64_t longest = 0;
    for (const Request& request : requests_) longest = std::max(longest, std::ssize(request.prompt));
    const std::int64_t length = std::min(longest + 1 + context_.options.max_new_tokens, context_length_);
    const std::int64_t at_once = std::min(resources_.sequences, std::ssize(requests_) * width());
    const std::int64_t pages = (at_once + width()) * (length / model::KvCache::page_size + 2);
    const std::int64_t page_bytes = 2 * model::KvCache::page_size * config.num_hidden_layers *
                                    config.num_key_value_heads * config.head_dim *
                                    static_cast<std::int64_t>(c10::elementSize(llama.dtype()));
    decoder_.cache().reserve(std::min(pages, reserved_bytes / page_bytes));
  }

  // Computes the next prompts, as many as have a place and fit the budget, at least one.
  void begin_some() {
    std::vector<std::vector<std::int32_t>> prompts;
    std::vector<Active> begun;
    std::int64_t tokens = 0, free = resources_.sequences - rows();
    for (; next_ < requests_.size() && free > 0; ++next_, free -= width()) {
      std::vector<std::int32_t> ids = fed(requests_[next_]);
      if (!prompts.empty() && tokens + std::ssize(ids) > resources_.prefill_tokens) break;
      tokens += std::ssize(ids);
      prompts.push_back(std::move(ids));
      const std::int64_t room = context_length_ - std::ssize(prompts.back());
      const SearchPrompt prompt{prompts.back(), requests_[next_].row, std::min(context_.options.max_new_tokens, room)};
      begun.push_back({.request = next_, .search = make_search(context_, prompt), .sequences = {}, .tokens = {}});
    }
    totals_.prompt_tokens += tokens;
    const std::vector<std::span<const std::int32_t>> spans(prompts.begin(), prompts.end());
    auto [logits_NV, sequences] = decoder_.prefill(spans);
    for (std::size_t i = 0; i < begun.size(); ++i) begun[i].sequences.push_back(std::move(sequences[i]));
    go_on(begun, logits_NV);
    std::move(begun.begin(), begun.end(), std::back_inserter(active_));
    drop_finished();
  }

  void step() {
    std::vector<model::CachedSequence*> sequences;
    std::vector<std::int32_t> tokens;
    for (Active& active : active_) {
      for (model::CachedSequence& sequence : active.sequences) sequences.push_back(&sequence);
      tokens.insert(tokens.end(), active.tokens.begin(), active.tokens.end());
    }
    go_on(active_, decoder_.step(sequences, tokens));
    drop_finished();
  }

  // Lets each search decide on its rows of the logits, then feeds what it wants to go on with.
  void go_on(std::vector<Active>& searching, const at::Tensor& logits_device) {
    const at::Tensor logits_NV = logits_device.cpu();
    std::vector<std::int64_t> first{0};
    for (const Active& active : searching) first.push_back(first.back() + std::ssize(active.sequences));
    at::parallel_for(0, std::ssize(searching), 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const auto at = static_cast<std::size_t>(i);
        searching[at].search->decide(logits_NV.narrow(0, first[at], first[at + 1] - first[at]));
      }
    });
    for (Active& active : searching) {
      const std::vector<Branch> branches = active.search->go_on(teller(active.request));
      active.sequences = follow(std::move(active.sequences), branches);
      active.tokens.clear();
      for (const Branch& branch : branches) active.tokens.push_back(branch.token);
    }
  }

  TellToken teller(std::size_t request) const {
    if (!callbacks_.token) return {};
    return [this, request](const NewToken& token) {
      NewToken told = token;
      told.request = request;
      return callbacks_.token(told);
    };
  }

  void drop_finished() {
    for (Active& active : active_) {
      if (!active.sequences.empty()) continue;
      std::vector<Answer> answers = active.search->answers();
      ++totals_.requests;
      totals_.answers += std::ssize(answers);
      totals_.new_tokens += active.search->new_tokens();
      totals_.empty_by_eos +=
          std::count_if(answers.begin(), answers.end(), [](const Answer& a) { return a.empty_by_eos(); });
      if (callbacks_.finished) callbacks_.finished(active.request, std::move(answers));
    }
    std::erase_if(active_, [](const Active& active) { return active.sequences.empty(); });
  }

  const SearchContext& context_;
  const Beginning& beginning_;
  const Resources& resources_;
  std::span<const Request> requests_;
  const Callbacks& callbacks_;
  std::int64_t context_length_;
  model::Decoder decoder_;
  std::vector<Active> active_;  // after the decoder: its sequences lie in the decoder's cache
  std::size_t next_ = 0;
  Totals totals_;
};

}  // namespace

std::string_view name_of(Ending ending) {
  switch (ending) {
    case Ending::eos:
      return "eos";
    case Ending::stop:
      return "stop";
    case Ending::length:
      return "length";
    case Ending::cancelled:
      return "cancelled";
  }
  return "?";
}

std::unique_ptr<Search> make_search(const SearchContext& context, const SearchPrompt& prompt) {
  const DecodingMethod method = context.options.method;
  const bool samples = method == DecodingMethod::greedy || method == DecodingMethod::top_p;
  return samples ? make_sample_search(context, prompt) : make_beam_search(context, prompt);
}

Generator::Generator(const model::Llama& llama, const text::Tokenizer& tokenizer, Beginning beginning,
                     DecodingOptions options, Resources resources)
    : llama_(llama), tokenizer_(tokenizer), beginning_(beginning), options_(std::move(options)), resources_(resources) {
  check_decoding(options_);
  if (tokenizer.size() > llama.config().vocab_size) {
    throw_input("generate", "the tokenizer has {} ids, the model {} rows; it needs a row for each", tokenizer.size(),
                llama.config().vocab_size);
  }
  if (resources.sequences < 1 || resources.prefill_tokens < 1) {
    throw_input("generate", "{} sequences at once and {} prefill tokens: each must be 1 or more", resources.sequences,
                resources.prefill_tokens);
  }
}

void Generator::check_prompts(std::span<const Request> requests) const {
  constexpr std::int64_t most_named = 20;
  const std::int64_t context = model::context_length(llama_.config());
  const std::int64_t own = beginning_.bos_before_answer ? 1 : 0;
  std::string mistakes;
  std::int64_t count = 0;
  const auto add = [&](const Request& request, const std::string& what) {
    if (++count <= most_named) mistakes += fmt::format("{}row {}: {}", mistakes.empty() ? "" : "\n", request.row, what);
  };
  for (const Request& request : requests) {
    const std::int64_t size = std::ssize(request.prompt) + own;
    if (request.prompt.empty()) {
      add(request, "the prompt has no token");
    } else if (size >= context) {
      add(request, fmt::format("a prompt of {} tokens leaves no place for an answer in the model's {} positions", size,
                               context));
    } else if (const auto bad = std::find_if(request.prompt.begin(), request.prompt.end(),
                                             [&](auto id) { return id < 0 || id >= llama_.config().vocab_size; });
               bad != request.prompt.end()) {
      add(request, fmt::format("token {} is beyond the model's vocabulary of {}", *bad, llama_.config().vocab_size));
    }
  }
  if (count > most_named) mistakes += fmt::format("\n... and {} more", count - most_named);
  if (count > 0) throw InputError("generate", mistakes);
}

Totals Generator::generate(std::span<const Request> requests, const Callbacks& callbacks) const {
  check_prompts(requests);
  if (requests.empty()) return {};
  const SearchContext context{tokenizer_, options_};
  return Run(llama_, context, beginning_, resources_, requests, callbacks).work();
}

std::vector<std::vector<Answer>> Generator::generate(std::span<const Request> requests) const {
  std::vector<std::vector<Answer>> all(requests.size());
  generate(requests,
           {.token = {},
            .finished = [&](std::size_t request, std::vector<Answer> answers) { all[request] = std::move(answers); },
            .stop = {},
            .progress = {}});
  return all;
}

}  // namespace rrhf::generate
