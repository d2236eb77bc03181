#include "rrhf/train/evaluate.h"

#include <ostream>
#include <utility>

#include "rrhf/core/file.h"
#include "rrhf/core/log.h"

namespace rrhf::train {

std::optional<Evaluation> evaluate(const Pass& pass, const EncodedSet& set, const QueryVisitor& visit) {
  Progress progress;
  Evaluation evaluation;
  const bool complete = pass.evaluate(set.pointers(), [&](const auto& query, const auto& loss, auto logprobs_K) {
    evaluation.all.add(query, loss, logprobs_K);
    if (!query.group.empty()) evaluation.groups[query.group].add(query, loss, logprobs_K);
    if (visit) visit(query, loss, logprobs_K);
    const double share = static_cast<double>(evaluation.all.queries) / static_cast<double>(set.queries.size());
    progress.update([&] { return fmt::format("evaluating     {}", bar(share)); });
  });
  return complete ? std::optional(std::move(evaluation)) : std::nullopt;
}

PerResponseTable::PerResponseTable(const EncodedSet& set) {
  for (const SkippedRow& row : set.skipped) lines_[row.index] = {{"index", row.index}, {"skipped", row.why}};
}

void PerResponseTable::add(const data::EncodedQuery& query, const objective::QueryLoss& loss,
                           std::span<const double> logprobs_K) {
  Json responses = Json::array();
  for (std::size_t i = 0; i < query.responses.size(); ++i) {
    responses.push_back(
        {{"tokens", query.responses[i].size()}, {"logprob", logprobs_K[i]}, {"score", loss.scores_K[i]}});
  }
  lines_[query.index] = {{"index", query.index},      {"prompt_tokens", query.prompt.size()},
                         {"responses", responses},    {"rank_loss", loss.rank_loss},
                         {"sft_loss", loss.sft_loss}, {"loss", loss.loss}};
}

void PerResponseTable::write(const std::filesystem::path& path) const {
  write_file_atomically(path, [&](std::ostream& out) {
    for (const auto& [index, line] : lines_) out << dump_json(line) << '\n';
  });
}

}  // namespace rrhf::train
