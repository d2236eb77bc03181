#include "rrhf/train/evaluate.h"

#include <ostream>

#include "rrhf/checkpoint/hf_folder.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"

namespace rrhf::train {

model::Llama load_llama(const config::RunConfig& config, const ModelFolder& folder, at::Device device) {
  const at::ScalarType dtype = model::scalar_type(config.model.dtype);
  if (!config.model.random_init) {
    return {folder.config, checkpoint::load_weights(folder.path, folder.config, dtype, device)};
  }
  model::Weights weights = model::empty_weights(folder.config, at::TensorOptions().dtype(dtype).device(device));
  model::initialize(weights, folder.config, static_cast<std::uint64_t>(config.train.seed));
  return {folder.config, std::move(weights)};
}

std::optional<Evaluation> evaluate(const Pass& pass, const EncodedSet& set, const QueryVisitor& visit) {
  Progress progress;
  const auto by_query = pass.evaluate(
      set, visit, [&](double share) { progress.update([&] { return fmt::format("evaluating     {}", bar(share)); }); });
  if (!by_query) return std::nullopt;
  Evaluation evaluation{.all = sum_of(*by_query), .groups = {}};
  for (std::int64_t i = 0; i < set.size(); ++i) {
    const std::string group = set.group(i);
    if (!group.empty()) evaluation.groups[group] += (*by_query)[static_cast<std::size_t>(i)];
  }
  return evaluation;
}

PerResponseTable::PerResponseTable(const EncodedSet& set) {
  for (const SkippedRow& row : set.skipped()) lines_[row.index] = {{"index", row.index}, {"skipped", row.why}};
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
