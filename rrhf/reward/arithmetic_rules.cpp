// The rule that evaluates what a query asks for and looks for the number in the response.
#include <array>
#include <cmath>
#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/reward/numbers.h"
#include "rrhf/reward/rule_reader.h"

namespace rrhf::reward {
namespace {

// Worth of a number that is off by at most `within`.
struct Near {
  double within = 0;
  double value = 0;
};

class ArithmeticRule final : public Rule {
 public:
  ArithmeticRule(ListPtr expression, ListPtr answer, double tolerance, std::optional<Near> near)
      : expression_(std::move(expression)), answer_(std::move(answer)), tolerance_(tolerance), near_(near) {}

  double value(const Subject& subject) const override {
    const auto expected = expected_number(subject);
    const auto given = given_number(subject);
    if (!expected || !given) return 0;
    const double off = std::abs(*given - *expected);
    const double rounding = tolerance_ * std::max(1.0, std::abs(*expected));
    if (off <= rounding) return 1;
    return near_ && off <= near_->within + rounding ? near_->value : 0;
  }

 private:
  std::optional<double> expected_number(const Subject& subject) const {
    if (expression_ == nullptr) return expression_in(subject.query);
    const auto items = expression_->items(subject);
    return items && items->size() == 1 && items->front() ? expression_in(*items->front()) : std::nullopt;
  }

  std::optional<double> given_number(const Subject& subject) const {
    if (answer_ == nullptr) return last_number(subject.response);
    const auto items = answer_->items(subject);
    return items && items->size() == 1 && items->front() ? number_in(*items->front()) : std::nullopt;
  }

  ListPtr expression_, answer_;  // null: looked for in the whole text
  double tolerance_;
  std::optional<Near> near_;
};

RulePtr read_arithmetic(RuleObject& object) {
  const auto optional_list = [&](std::string_view key) { return object.has(key) ? object.list(key) : nullptr; };
  ListPtr expression = optional_list("expression"), answer = optional_list("answer");
  std::optional<Near> near;
  if (auto part = object.object("near")) {
    near = Near{part->number("within"), part->number("value")};
    part->finish("near");
  }
  return std::make_shared<ArithmeticRule>(std::move(expression), std::move(answer), object.number("tolerance", 1e-9),
                                          near);
}

constexpr std::array arithmetic_kinds{RuleKind{"arithmetic", read_arithmetic}};

}  // namespace

std::span<const RuleKind> arithmetic_rules() { return arithmetic_kinds; }

}  // namespace rrhf::reward
