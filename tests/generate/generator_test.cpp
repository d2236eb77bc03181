#include "rrhf/generate/generator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "rrhf/core/error.h"
#include "tests/emulated/gpu.h"
#include "tests/generate/support.h"

namespace rrhf::generate {
namespace {

using testing::chain_llama;
using testing::random_llama;
using testing::request;
using testing::tokenizer;
using Ids = std::vector<std::int32_t>;

std::vector<Request> some_requests() {
  return {request("Once upon a time", 3), request("The", 4), request("a cat sat on a mat and", 9), request("", 11),
          request("Tom", 2)};
}

std::vector<std::vector<Answer>> answers_of(const model::Llama& llama, const std::vector<Request>& requests,
                                            DecodingOptions options, Resources resources = {},
                                            Beginning beginning = {}) {
  return Generator(llama, tokenizer(), beginning, std::move(options), resources).generate(requests);
}

void expect_same(const Answer& a, const Answer& b) {
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.text, b.text);
  EXPECT_EQ(a.ending, b.ending);
  EXPECT_EQ(a.logprob, b.logprob);  // to the last bit
}

TEST(Generator, AnAnswerIsTheSameInAnyCompany) {
  const auto requests = some_requests();
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const model::Llama llama = random_llama(dtype);
    for (const DecodingMethod method :
         {DecodingMethod::greedy, DecodingMethod::top_p, DecodingMethod::beam, DecodingMethod::diverse_beam}) {
      DecodingOptions options{.method = method, .max_new_tokens = 30, .beams = 4, .groups = 2};
      if (method != DecodingMethod::greedy) options.answers = 3;
      const auto together = answers_of(llama, requests, options);
      const auto crowded = answers_of(llama, requests, options, {.sequences = 2, .prefill_tokens = 4});
      for (std::size_t i = 0; i < requests.size(); ++i) {
        const auto alone = answers_of(llama, {requests[i]}, options);
        ASSERT_EQ(alone.front().size(), static_cast<std::size_t>(options.answers));
        for (std::size_t s = 0; s < alone.front().size(); ++s) {
          expect_same(together[i][s], alone.front()[s]);
          expect_same(crowded[i][s], alone.front()[s]);
        }
      }
    }
  }
}

TEST(Generator, ASampleHasAStreamOfItsOwn) {
  const model::Llama llama = random_llama();
  const DecodingOptions two{.method = DecodingMethod::top_p, .answers = 2, .max_new_tokens = 20};
  DecodingOptions four = two, other_seed = two;
  four.answers = 4;
  other_seed.seed = 43;
  const std::vector<Request> here{request("The", 7)}, elsewhere{request("The", 8)};
  const auto a = answers_of(llama, here, two).front(), b = answers_of(llama, here, four).front();
  expect_same(a[0], b[0]);
  expect_same(a[1], b[1]);
  // Another sample, row or seed is another answer: twenty tokens of hundreds are not drawn alike by chance.
  const std::set<Ids> all{b[0].tokens,
                          b[1].tokens,
                          b[2].tokens,
                          b[3].tokens,
                          answers_of(llama, elsewhere, two).front()[0].tokens,
                          answers_of(llama, here, other_seed).front()[0].tokens};
  EXPECT_EQ(all.size(), 6u);
}

class GeneratorOn : public ::testing::TestWithParam<at::Device> {};

INSTANTIATE_TEST_SUITE_P(Devices, GeneratorOn, ::testing::Values(at::Device(at::kCPU), emulated::gpu()));

TEST_P(GeneratorOn, LogprobsAreThoseOfTheModel) {
  const model::Llama llama = random_llama(at::kDouble, GetParam());
  const auto requests = some_requests();
  const auto all = answers_of(llama, requests,
                              {.method = DecodingMethod::top_p,
                               .answers = 2,
                               .max_new_tokens = 12,
                               .temperature = 2,
                               .top_k = 50,
                               .repetition_penalty = 1.4});
  for (std::size_t i = 0; i < requests.size(); ++i) {
    for (const Answer& answer : all[i]) {
      Ids labels = answer.tokens;
      if (answer.ending == Ending::eos) labels.push_back(tokenizer().eos_id());
      const auto pack = model::make_pack(std::vector<model::PackInput>{{requests[i].prompt, {labels}}}, llama.device());
      const double expected = llama.forward(pack).front();
      EXPECT_NEAR(answer.logprob, expected, 1e-10 * std::abs(expected));
    }
  }
}

TEST(Generator, BeamsOfAGpuAreThoseOfTheCpu) {
  const DecodingOptions options{.method = DecodingMethod::diverse_beam, .answers = 4, .max_new_tokens = 12};
  const auto here = answers_of(random_llama(at::kDouble), some_requests(), options);
  const auto there = answers_of(random_llama(at::kDouble, emulated::gpu()), some_requests(), options);
  ASSERT_EQ(here.size(), some_requests().size());
  for (std::size_t i = 0; i < here.size(); ++i) {
    ASSERT_EQ(here[i].size(), 4u);
    ASSERT_EQ(there[i].size(), 4u);
    for (std::size_t answer = 0; answer < 4; ++answer) {
      EXPECT_EQ(there[i][answer].tokens, here[i][answer].tokens);
      EXPECT_NEAR(there[i][answer].score, here[i][answer].score, 1e-10);
    }
  }
}

// 300 -> 301 -> 302 -> EOS.
const std::vector<std::pair<std::int32_t, std::int32_t>> chain{{1, 300}, {300, 301}, {301, 302}, {302, 2}};

TEST(Generator, EndsAtEos) {
  const auto answer = answers_of(chain_llama(chain), {{{1}, 0}}, {}).front().front();
  EXPECT_EQ(answer.tokens, (Ids{300, 301, 302}));
  EXPECT_EQ(answer.ending, Ending::eos);
  EXPECT_EQ(answer.text, tokenizer().decode(Ids{300, 301, 302}));
  EXPECT_FALSE(answer.empty_by_eos());
}

TEST(Generator, EndsAtTheLimitsOfOptionsAndModel) {
  const model::Llama llama = chain_llama({{1, 300}, {300, 301}, {301, 300}});
  auto answer = answers_of(llama, {{{1}, 0}}, {.max_new_tokens = 5}).front().front();
  EXPECT_EQ(answer.tokens, (Ids{300, 301, 300, 301, 300}));
  EXPECT_EQ(answer.ending, Ending::length);
  answer = answers_of(llama, {{Ids(61, 1), 0}}, {.max_new_tokens = 50}).front().front();
  EXPECT_EQ(answer.tokens, (Ids{300, 301, 300})) << "64 positions, 61 of them the prompt's";
  EXPECT_EQ(answer.ending, Ending::length);
}

TEST(Generator, EndsAtAStopString) {
  const std::string word = tokenizer().decode(Ids{300, 301, 302}).substr(tokenizer().decode(Ids{300}).size());
  const auto answer = answers_of(chain_llama(chain), {{{1}, 0}}, {.stop = {word}}).front().front();
  EXPECT_EQ(answer.ending, Ending::stop);
  EXPECT_EQ(answer.text, tokenizer().decode(Ids{300}));
  EXPECT_EQ(answer.tokens, (Ids{300, 301, 302}));
}

TEST(Generator, AnAnswerThatBeginsWithEosIsCounted) {
  const model::Llama llama = chain_llama({{1, 2}, {300, 301}, {301, 2}});
  const std::vector<Request> requests{{{1}, 0}, {{300}, 1}, {{1}, 2}};
  const Totals totals = Generator(llama, tokenizer(), {}, {}).generate(requests, {});
  EXPECT_EQ(totals.requests, 3);
  EXPECT_EQ(totals.answers, 3);
  EXPECT_EQ(totals.empty_by_eos, 2);
  EXPECT_EQ(totals.prompt_tokens, 3);
  EXPECT_EQ(totals.new_tokens, 4);  // EOS, 301 EOS, EOS
}

TEST(Generator, FeedsTheBosBeforeAnAnswer) {
  // As the released code trains it: BOS is 2 like EOS, and the model says it after every prompt.
  const model::Llama llama = chain_llama({{300, 2}, {2, 301}, {301, 302}, {302, 303}, {303, 2}});
  const std::vector<Request> requests{{{2, 300}, 0}};
  EXPECT_TRUE(answers_of(llama, requests, {}).front().front().empty_by_eos());
  const auto fed = answers_of(llama, requests, {}, {}, {.bos = 2, .bos_before_answer = true}).front().front();
  EXPECT_EQ(fed.tokens, (Ids{301, 302, 303}));
}

TEST(Generator, TellsOfEachTokenAndMayBeStopped) {
  const model::Llama llama = random_llama();
  const auto requests = some_requests();
  const DecodingOptions options{.method = DecodingMethod::top_p, .answers = 2, .max_new_tokens = 25};
  std::vector<std::vector<Ids>> told(requests.size(), std::vector<Ids>(2));
  std::vector<std::vector<std::string>> texts(requests.size(), std::vector<std::string>(2));
  std::vector<std::vector<Answer>> finished(requests.size());
  Callbacks callbacks;
  callbacks.token = [&](const NewToken& token) {
    const auto answer = static_cast<std::size_t>(token.answer);
    if (token.id != tokenizer().eos_id()) told[token.request][answer].push_back(token.id);
    texts[token.request][answer] += token.text;
    return token.request != 2 || told[2][answer].size() < 4;
  };
  callbacks.finished = [&](std::size_t request, std::vector<Answer> answers) {
    finished[request] = std::move(answers);
  };
  Generator(llama, tokenizer(), {}, options).generate(requests, callbacks);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    for (std::size_t s = 0; s < 2; ++s) {
      EXPECT_EQ(told[i][s], finished[i][s].tokens);
      if (finished[i][s].ending == Ending::cancelled) {
        EXPECT_EQ(i, 2u);
        EXPECT_EQ(told[i][s].size(), 4u);
      } else {
        EXPECT_EQ(texts[i][s], finished[i][s].text);
      }
    }
  }
  EXPECT_EQ(finished[2][0].ending, Ending::cancelled);
}

TEST(Generator, StopsBetweenSteps) {
  const model::Llama llama = random_llama();
  int asked = 0, finished = 0;
  Callbacks callbacks;
  callbacks.stop = [&] { return ++asked > 6; };
  callbacks.finished = [&](std::size_t, std::vector<Answer>) { ++finished; };
  const Totals totals =
      Generator(llama, tokenizer(), {}, {.max_new_tokens = 4}, {.sequences = 1}).generate(some_requests(), callbacks);
  EXPECT_GE(finished, 1);
  EXPECT_LT(finished, 5);
  EXPECT_EQ(totals.requests, finished);
}

TEST(PromptIds, BeginWithBosAndKeepTheEnd) {
  const Ids all = tokenizer().encode("Once upon a time");
  const Ids whole = prompt_ids(tokenizer(), {.bos = 2}, "Once upon a time");
  EXPECT_EQ(whole.front(), 2);
  EXPECT_EQ(Ids(whole.begin() + 1, whole.end()), all);
  const Ids plain = prompt_ids(tokenizer(), {.special = text::SpecialHandling::plain}, "a</s>");
  EXPECT_EQ(std::ranges::count(plain, tokenizer().eos_id()), 0);
  EXPECT_EQ(std::ranges::count(prompt_ids(tokenizer(), {}, "a</s>"), tokenizer().eos_id()), 1);
  const Ids cut = prompt_ids(tokenizer(), {}, "Once upon a time", 3);
  EXPECT_EQ(cut, (Ids{1, all[all.size() - 2], all.back()}));
  EXPECT_THROW(prompt_ids(tokenizer(), {}, "a", 0), InputError);
}

void expect_refused(const DecodingOptions& options, std::initializer_list<const char*> words) {
  try {
    check_decoding(options);
    ADD_FAILURE() << "not refused: " << *words.begin();
  } catch (const InputError& error) {
    for (const char* word : words)
      EXPECT_NE(std::string_view(error.what()).find(word), std::string::npos) << error.what();
  }
}

TEST(DecodingOptions, AreRefusedWithTheirNumbers) {
  check_decoding({});
  expect_refused({.temperature = 0}, {"temperature is 0"});
  expect_refused({.temperature = std::nan("")}, {"temperature is nan"});
  expect_refused({.top_p = 1.5}, {"top_p is 1.5"});
  expect_refused({.top_p = 0}, {"top_p is 0"});
  expect_refused({.top_k = -3}, {"top_k is -3"});
  expect_refused({.answers = 0}, {"answers is 0"});
  expect_refused({.max_new_tokens = 0}, {"max_new_tokens is 0"});
  expect_refused({.repetition_penalty = -1}, {"repetition_penalty is -1"});
  expect_refused({.temperature = 1e-40, .repetition_penalty = 1e-300},
                 {"temperature is 1e-40", "repetition_penalty is 1e-300"});
  expect_refused({.stop = {"a", ""}}, {"a stop string is empty"});
  expect_refused({.method = DecodingMethod::greedy, .answers = 3}, {"greedy", "not 3"});
  expect_refused({.method = DecodingMethod::beam, .answers = 5, .beams = 4}, {"5 answers", "4 beams"});
  expect_refused({.method = DecodingMethod::beam, .beams = 0}, {"beams is 0"});
  expect_refused({.method = DecodingMethod::beam, .length_penalty = INFINITY}, {"length_penalty is inf"});
  expect_refused({.method = DecodingMethod::diverse_beam, .beams = 4, .groups = 3}, {"4 beams", "3 groups"});
  expect_refused({.method = DecodingMethod::diverse_beam, .beams = 4, .groups = 0}, {"groups is 0"});
  expect_refused({.method = DecodingMethod::diverse_beam, .diversity = -0.5}, {"diversity is -0.5"});
  expect_refused({.temperature = -1, .top_k = -1}, {"temperature is -1", "top_k is -1"});
}

TEST(Generator, RefusesPromptsItCannotAnswer) {
  const model::Llama llama = random_llama();
  const Generator generator(llama, tokenizer(), {.bos = 1, .bos_before_answer = true}, {});
  const auto refused = [&](const std::vector<Request>& requests, std::initializer_list<const char*> words) {
    try {
      generator.generate(requests);
      ADD_FAILURE() << "not refused: " << *words.begin();
    } catch (const InputError& error) {
      for (const char* word : words)
        EXPECT_NE(std::string_view(error.what()).find(word), std::string::npos) << error.what();
    }
  };
  EXPECT_EQ(generator.generate(std::vector<Request>{{Ids(62, 300), 0}}).front().front().tokens.size(), 1u);
  refused({{Ids(63, 300), 5}}, {"row 5", "64 tokens", "64 positions"});
  refused({{{1}, 0}, {{}, 8}, {{1, 640}, 9}}, {"row 8: the prompt has no token", "row 9", "640"});
  EXPECT_TRUE(generator.generate(std::vector<Request>{}).empty());
}

TEST(Generator, RefusesATokenizerBeyondTheModel) {
  model::LlamaConfig config = testing::small_config();
  config.vocab_size = 500;
  const model::Llama llama(config, model::empty_weights(config, at::TensorOptions().dtype(at::kFloat)));
  EXPECT_THROW(Generator(llama, tokenizer(), {}, {}), InputError);
  EXPECT_THROW(Generator(random_llama(), tokenizer(), {}, {}, {.sequences = 0}), InputError);
}

}  // namespace
}  // namespace rrhf::generate
