#include <algorithm>
#include <utility>

#include "rrhf/config/decoding_settings.h"
#include "rrhf/config/options.h"

namespace rrhf::config {
namespace {

Value value_of(DecodingMethod& field, std::string_view) { return choice(field); }
// top-k alone may be 0 (all).
Value value_of(std::int64_t& field, std::string_view name) { return integer(field, name == "top-k" ? 0 : 1); }
Value value_of(double& field, std::string_view) { return number(field); }
Value value_of(std::uint64_t& field, std::string_view) { return natural(field); }

// The flag --max-new-tokens is the setting sample.max_new_tokens.
std::string key_of(const DecodingSetting& setting) {
  std::string name(setting.name);
  std::ranges::replace(name, '-', '_');
  return "sample." + name;
}

std::vector<std::string> preset_words() {
  std::vector<std::string> words{"none"};
  for (const SamplingPreset& preset : sampling_presets()) words.emplace_back(preset.name);
  return words;
}

std::string preset_help() {
  std::string help = "A way of sampling of the RRHF paper, which sets the keys below; one given explicitly wins.";
  for (const SamplingPreset& preset : sampling_presets())
    help += " `" + std::string(preset.name) + "`: " + std::string(preset.help) + ".";
  return help + " `none`: as `dp`, but prompts are read whole.";
}

}  // namespace

std::vector<Option> sample_options(SampleConfig& c) {
  std::vector<Option> all{
      {"sample.preset", word(c.preset, preset_words()), preset_help()},
      {"sample.responses", integer(c.decoding.answers, 1), "How many responses are sampled for a query in a round.",
       "k num_return_sequences"},
  };
  for (const DecodingSetting& setting : decoding_settings()) {
    all.push_back({key_of(setting),
                   std::visit([&](auto field) { return value_of(c.decoding.*field, setting.name); }, setting.field),
                   std::string(setting.help) + "."});
  }
  all.insert(all.end(),
             {{"sample.stop", texts(c.decoding.stop),
               "A response ends before the first of these texts. Not given: the Alpaca templates stop at `</s>` and "
               "`### Response:`, others nowhere."},
              {"sample.max_prompt_tokens", integer_or(c.max_prompt_tokens, 2, "none"),
               "Of longer prompts the last so many tokens are kept, the BOS counted. Not given: all."},
              {"sample.unique", flag(c.unique), "Leave out a response that its row has already."},
              {"sample.batch", integer(c.batch, 1),
               "Responses decoded at once. It decides memory and speed, never the result."}});
  return all;
}

std::vector<Option> iterate_options(IterateConfig& c) {
  return {
      {"iterate.rounds", integer(c.rounds, 1, 999),
       "How often to sample, score, train and evaluate. A finished run goes on with `--resume` and a larger number.",
       "n iterations"},
      {"iterate.queries", text(c.queries, Empty::allowed),
       "The queries to sample for: rows in any layout, rows of `query` alone, or a `.txt` file with a query a line. "
       "Not "
       "given: the rows of `data.train`.",
       "prompts"},
      {"iterate.keep", choice(c.keep),
       "What a round trains on beside its own samples: `none`; the responses that the queries' rows came with "
       "(`provided`); `all`: these, and the samples of all rounds before. They are scored again with the samples."},
      {"iterate.eval_queries", text(c.eval_queries, Empty::allowed),
       "Held-out queries, given in the same way, whose answers are scored after each round. Not given: those of "
       "`data.eval`.",
       "test_queries eval_prompts"},
  };
}

}  // namespace rrhf::config
