// generate_probe MODEL_DIR REQUESTS.json OUT.jsonl
//
// Decodes with the generator and writes what it did, for the parity tests: a line for each request,
// {"answers": [{"tokens", "text", "ending", "logprob", "score"}]}. REQUESTS.json holds {"options": {...}, "prompts":
// [[ids]...]}; options are the fields of DecodingOptions, with "dtype", "sequences", "prefill_tokens" and
// "bos_before_answer" beside them. Prints the seconds that decoding took.

#include <ATen/ATen.h>

#include <chrono>
#include <cstdio>
#include <fstream>

#include "rrhf/checkpoint/hf_folder.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/json.h"
#include "rrhf/generate/generator.h"

namespace {

using namespace rrhf;

DecodingOptions options_of(const Json& json) {
  DecodingOptions options;
  options.method = choice_named<DecodingMethod>(json.value("method", std::string("greedy"))).value();
  options.answers = json.value("answers", options.answers);
  options.max_new_tokens = json.value("max_new_tokens", options.max_new_tokens);
  options.temperature = json.value("temperature", options.temperature);
  options.top_k = json.value("top_k", options.top_k);
  options.top_p = json.value("top_p", options.top_p);
  options.beams = json.value("beams", options.beams);
  options.groups = json.value("groups", options.groups);
  options.diversity = json.value("diversity", options.diversity);
  options.length_penalty = json.value("length_penalty", options.length_penalty);
  options.repetition_penalty = json.value("repetition_penalty", options.repetition_penalty);
  options.seed = json.value("seed", options.seed);
  options.stop = json.value("stop", options.stop);
  return options;
}

Json to_json(const std::vector<generate::Answer>& answers) {
  Json list = Json::array();
  for (const generate::Answer& answer : answers) {
    list.push_back({{"tokens", answer.tokens},
                    {"text", answer.text},
                    {"ending", generate::name_of(answer.ending)},
                    {"logprob", answer.logprob},
                    {"score", answer.score}});
  }
  return {{"answers", list}};
}

void decode(const std::string& folder, const Json& json, const std::string& out) {
  const model::LlamaConfig config = checkpoint::load_config(folder);
  const auto dtype = model::scalar_type(choice_named<Dtype>(json.value("dtype", std::string("float32"))).value());
  const model::Llama llama(config, checkpoint::load_weights(folder, config, dtype, at::kCPU));
  const auto tokenizer = text::Tokenizer::load(folder);
  std::vector<generate::Request> requests;
  for (const Json& prompt : json.at("prompts")) {
    requests.push_back({prompt.get<std::vector<std::int32_t>>(), static_cast<std::uint64_t>(requests.size())});
  }
  const generate::Beginning beginning{tokenizer.bos_id(), json.value("bos_before_answer", false)};
  const generate::Resources resources{json.value("sequences", std::int64_t{32}),
                                      json.value("prefill_tokens", std::int64_t{1024})};
  const generate::Generator generator(llama, tokenizer, beginning, options_of(json.at("options")), resources);
  const auto begin = std::chrono::steady_clock::now();
  const auto all = generator.generate(requests);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  std::printf("%.6f\n", seconds.count());
  std::ofstream lines(out);
  for (const auto& answers : all) lines << dump_json(to_json(answers)) << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  try {
    const Json json = parse_json(read_file(argv[2]), "probe", argv[2]);
    decode(argv[1], json, argv[3]);
    return 0;
  } catch (const Error& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return failure.exit_code();
  }
}
