// Rules made of rules: sum, product, min, max, not, if, case, round, constant.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <functional>
#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/reward/rule_reader.h"

namespace rrhf::reward {
namespace {

class SumRule final : public Rule {
 public:
  SumRule(std::vector<RulePtr> of, std::vector<double> weights) : of_(std::move(of)), weights_(std::move(weights)) {}

  double value(const Subject& subject) const override {
    double sum = 0;
    for (std::size_t i = 0; i < of_.size(); ++i) sum += weights_[i] * of_[i]->value(subject);
    return sum;
  }

 private:
  std::vector<RulePtr> of_;
  std::vector<double> weights_;
};

RulePtr read_sum(RuleObject& object) {
  std::vector<RulePtr> of = object.rules("of");
  std::vector<double> weights = object.numbers("weights");
  if (!object.has("weights")) weights.assign(of.size(), 1.0);
  if (weights.size() != of.size()) {
    object.mistake(fmt::format("\"weights\" has {} numbers for {} rules; each needs one", weights.size(), of.size()));
    weights.resize(of.size());
  }
  return std::make_shared<SumRule>(std::move(of), std::move(weights));
}

// All rules put together two by two: product, min, max.
class FoldRule final : public Rule {
 public:
  using Together = double (*)(double, double);
  FoldRule(std::vector<RulePtr> of, Together together) : of_(std::move(of)), together_(together) {}

  double value(const Subject& subject) const override {
    double result = of_.front()->value(subject);
    for (std::size_t i = 1; i < of_.size(); ++i) result = together_(result, of_[i]->value(subject));
    return result;
  }

 private:
  std::vector<RulePtr> of_;
  Together together_;
};

RulePtr read_fold(RuleObject& object, FoldRule::Together together) {
  std::vector<RulePtr> of = object.rules("of");
  if (of.empty()) return constant_rule(0);  // noted already
  return std::make_shared<FoldRule>(std::move(of), together);
}

RulePtr read_product(RuleObject& object) {
  return read_fold(object, [](double a, double b) { return a * b; });
}
RulePtr read_min(RuleObject& object) {
  return read_fold(object, [](double a, double b) { return std::min(a, b); });
}
RulePtr read_max(RuleObject& object) {
  return read_fold(object, [](double a, double b) { return std::max(a, b); });
}

class NotRule final : public Rule {
 public:
  explicit NotRule(RulePtr of) : of_(std::move(of)) {}
  double value(const Subject& subject) const override { return 1 - of_->value(subject); }

 private:
  RulePtr of_;
};

RulePtr read_not(RuleObject& object) { return std::make_shared<NotRule>(object.rule("of")); }

// The first branch whose condition holds. Branches that are not taken are not computed.
class CaseRule final : public Rule {
 public:
  struct Branch {
    RulePtr when, then;
  };
  CaseRule(std::vector<Branch> branches, RulePtr otherwise)
      : branches_(std::move(branches)), otherwise_(std::move(otherwise)) {}

  double value(const Subject& subject) const override {
    for (const Branch& branch : branches_) {
      if (branch.when->holds(subject)) return branch.then->value(subject);
    }
    return otherwise_->value(subject);
  }

 private:
  std::vector<Branch> branches_;
  RulePtr otherwise_;
};

RulePtr read_if(RuleObject& object) {
  std::vector<CaseRule::Branch> branches{{object.rule("if"), object.rule("then")}};
  return std::make_shared<CaseRule>(std::move(branches), object.rule_or("else", 0));
}

RulePtr read_case(RuleObject& object) {
  std::vector<CaseRule::Branch> branches;
  for (RuleObject& branch : object.objects("of")) {
    branches.push_back({branch.rule("when"), branch.rule("then")});
    branch.finish("a branch of case");
  }
  return std::make_shared<CaseRule>(std::move(branches), object.rule_or("else", 0));
}

// To so many decimals, by the decimal spelling, as Python's round() does.
class RoundRule final : public Rule {
 public:
  RoundRule(RulePtr of, std::int64_t digits) : of_(std::move(of)), digits_(static_cast<int>(digits)) {}
  double value(const Subject& subject) const override {
    return std::strtod(fmt::format("{:.{}f}", of_->value(subject), digits_).c_str(), nullptr);
  }

 private:
  RulePtr of_;
  int digits_;
};

RulePtr read_round(RuleObject& object) {
  RulePtr of = object.rule("of");
  return std::make_shared<RoundRule>(std::move(of), std::min<std::int64_t>(15, object.whole("digits", 3, 0)));
}

RulePtr read_constant(RuleObject& object) { return constant_rule(object.number("value")); }

constexpr std::array combining_kinds{
    RuleKind{"sum", read_sum},   RuleKind{"product", read_product}, RuleKind{"min", read_min},
    RuleKind{"max", read_max},   RuleKind{"not", read_not},         RuleKind{"if", read_if},
    RuleKind{"case", read_case}, RuleKind{"round", read_round},     RuleKind{"constant", read_constant}};

}  // namespace

std::span<const RuleKind> combining_rules() { return combining_kinds; }

}  // namespace rrhf::reward
