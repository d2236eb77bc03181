// Beam searches worked out by hand over a few tokens. EOS is 2; 3 and 4 are words.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "rrhf/generate/search.h"
#include "tests/generate/support.h"

namespace rrhf::generate {
namespace {

using testing::tokenizer;
using Ids = std::vector<std::int32_t>;

// P(EOS), P(3), P(4) after each answer so far; what is not named has next to nothing.
using World = std::map<Ids, std::array<double, 3>>;

at::Tensor logits_of(const std::array<double, 3>& p) {
  at::Tensor row = at::full({5}, -60.0, at::TensorOptions().dtype(at::kDouble));
  for (std::int64_t i = 0; i < 3; ++i) row[2 + i] = std::log(p[static_cast<std::size_t>(i)]);
  return row;
}

// Runs a search to its end in the world.
std::vector<Answer> search(const World& world, const DecodingOptions& options, std::int64_t most_new = 9) {
  const SearchContext context{tokenizer(), options};
  const Ids prompt{1, 3};
  const auto search = make_search(context, {prompt, 0, most_new});
  std::vector<Ids> rows{{}};
  while (!rows.empty()) {
    std::vector<at::Tensor> logits;
    for (const Ids& row : rows) {
      const auto found = world.find(row);
      logits.push_back(logits_of(found == world.end() ? std::array{0.98, 0.01, 0.01} : found->second));
    }
    search->decide(at::stack(logits));
    std::vector<Ids> next;
    for (const Branch& branch : search->go_on({})) {
      next.push_back(rows[static_cast<std::size_t>(branch.parent)]);
      next.back().push_back(branch.token);
    }
    rows = std::move(next);
  }
  return search->answers();
}

void expect_answer(const Answer& answer, Ids tokens, double probability, double score, Ending ending = Ending::eos) {
  EXPECT_EQ(answer.tokens, tokens);
  EXPECT_NEAR(answer.logprob, std::log(probability), 1e-9);
  EXPECT_NEAR(answer.score, score, 1e-9);
  EXPECT_EQ(answer.ending, ending);
}

const World two_ways{{{}, {0.1, 0.5, 0.4}}, {{3}, {0.4, 0.31, 0.29}}, {{4}, {0.9, 0.06, 0.04}}};

TEST(Beam, FindsWhatGreedyPassesBy) {
  // Step 1: 3 (0.5) and 4 (0.4); the EOS is third, beyond the beams: not counted.
  // Step 2: [4 EOS] 0.36 and [3 EOS] 0.2 are first and second: finished, log/2. On go [3 3] 0.155 and [3 4] 0.145.
  //         The worst finished, log(0.2)/2 = -0.80, is not better than log(0.36)/2: on it goes.
  // Step 3: [3 3 EOS] 0.155 * 0.98 = 0.1519, log/3 = -0.628: takes the place of [3 EOS]. [3 4 EOS] 0.1421, log/3 =
  //         -0.650, is no better than the worst kept, -0.628, which equals what the best sum could give: done.
  const auto answers = search(two_ways, {.method = DecodingMethod::beam, .answers = 2, .beams = 2});
  ASSERT_EQ(answers.size(), 2u);
  expect_answer(answers[0], {4}, 0.36, std::log(0.36) / 2);
  expect_answer(answers[1], {3, 3}, 0.1519, std::log(0.1519) / 3);
  const auto greedy = search(two_ways, {});
  ASSERT_EQ(greedy.size(), 1u);
  expect_answer(greedy[0], {3}, 0.2, std::log(0.2));
}

TEST(Beam, WithoutLengthPenaltyShorterOnesStay) {
  // Sums alone: 0.36 and 0.2 finish at step 2. log(0.2) is not above log(0.36); at step 3 nothing above 0.2 is left.
  const auto answers =
      search(two_ways, {.method = DecodingMethod::beam, .answers = 2, .beams = 2, .length_penalty = 0});
  ASSERT_EQ(answers.size(), 2u);
  expect_answer(answers[0], {4}, 0.36, std::log(0.36));
  expect_answer(answers[1], {3}, 0.2, std::log(0.2));
}

TEST(Beam, AtTheLimitWhatIsUnderWayCountsAsItIs) {
  // Cut after one token: 3 and 4, of length 1.
  const auto answers = search(two_ways, {.method = DecodingMethod::beam, .answers = 2, .beams = 2}, 1);
  ASSERT_EQ(answers.size(), 2u);
  expect_answer(answers[0], {3}, 0.5, std::log(0.5), Ending::length);
  expect_answer(answers[1], {4}, 0.4, std::log(0.4), Ending::length);
}

TEST(DiverseBeam, LaterGroupsPayForWhatEarlierOnesChose) {
  // One beam a group. Step 1: the first takes 3; for the second 3 costs log(0.5) - 1 = -1.69, so it takes 4 (-0.92).
  // Step 2: [3 EOS] 0.2 finishes, and nothing better can come: the first group is done. It would have gone on with 3,
  // so that is what the second pays for; its EOS costs nothing: [4 EOS] 0.36.
  const auto answers =
      search(two_ways, {.method = DecodingMethod::diverse_beam, .answers = 2, .beams = 2, .groups = 2, .diversity = 1});
  ASSERT_EQ(answers.size(), 2u);
  expect_answer(answers[0], {4}, 0.36, std::log(0.36) / 2);
  expect_answer(answers[1], {3}, 0.2, std::log(0.2) / 2);
}

TEST(DiverseBeam, WithoutDiversityAllGroupsSayTheSame) {
  const auto answers =
      search(two_ways, {.method = DecodingMethod::diverse_beam, .answers = 2, .beams = 2, .groups = 2, .diversity = 0});
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(answers[0].tokens, answers[1].tokens);
}

TEST(DiverseBeam, AGroupThatHasEndedGoesOnChoosingThePadding) {
  // Step 1: 3 and 4. Step 2: [3 EOS] 0.45 ends the first group, which would have gone on with 3; the second can't
  // afford 3 and takes 4. From step 3 on the first chooses the padding token, EOS where there is none, so the second
  // can't afford the EOS any more: 3 (0.2), then 3 (0.01, the first of two).
  const World world{{{}, {0.1, 0.5, 0.4}}, {{3}, {0.9, 0.06, 0.04}}, {{4}, {0.2, 0.5, 0.3}}, {{4, 4}, {0.7, 0.2, 0.1}}};
  const auto answers =
      search(world, {.method = DecodingMethod::diverse_beam, .answers = 2, .beams = 2, .groups = 2, .diversity = 9}, 4);
  ASSERT_EQ(answers.size(), 2u);
  expect_answer(answers[0], {3}, 0.45, std::log(0.45) / 2);
  expect_answer(answers[1], {4, 4, 3, 3}, 0.00024, std::log(0.00024) / 4, Ending::length);
}

TEST(Beam, AStopStringEndsAnAnswerAsEosDoes) {
  const std::string word = tokenizer().decode(Ids{300});
  ASSERT_FALSE(word.empty());
  const DecodingOptions options{.method = DecodingMethod::beam, .answers = 1, .beams = 2, .stop = {word}};
  const SearchContext context{tokenizer(), options};
  const Ids prompt{1};
  const auto search = make_search(context, {prompt, 0, 9});
  at::Tensor logits = at::full({1, 640}, -9.0, at::TensorOptions().dtype(at::kFloat));
  logits[0][300] = 9;
  logits[0][301] = 3;
  search->decide(logits);
  std::vector<Branch> branches = search->go_on({});
  ASSERT_EQ(branches.size(), 2u) << "two beams go on without it";
  EXPECT_NE(branches[0].token, 300);
  logits = at::full({2, 640}, 0.0, at::TensorOptions().dtype(at::kFloat));
  logits.select(1, 2).fill_(20);  // EOS
  search->decide(logits);
  EXPECT_TRUE(search->go_on({}).empty());
  const auto answers = search->answers();
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].ending, Ending::stop);
  EXPECT_EQ(answers[0].text, "");
  EXPECT_EQ(answers[0].tokens, Ids{300});
}

}  // namespace
}  // namespace rrhf::generate
