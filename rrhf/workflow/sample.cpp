#include "rrhf/workflow/sample.h"

#include <algorithm>
#include <array>

#include "rrhf/core/log.h"
#include "rrhf/core/sha256.h"

namespace rrhf::workflow {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> texts_of(const std::vector<generate::Answer>& answers) {
  std::vector<std::string> texts;
  for (const generate::Answer& answer : answers) texts.push_back(answer.text);
  return texts;
}

// Those that neither the row nor an earlier of them holds.
std::vector<std::string> new_ones(const std::vector<std::string>& texts, const data::OpenRow& row) {
  std::vector<std::string> kept;
  for (const std::string& text : texts) {
    const bool known = std::ranges::count(row.responses, text) + std::ranges::count(kept, text) > 0;
    if (!known) kept.push_back(text);
  }
  return kept;
}

Json identity_of(const Answerer& answerer, const SampleTask& task, const std::string& writer) {
  Json identity = answerer.identity();
  identity["data"] = fs::absolute(task.data).lexically_normal().string();
  identity["data-sha256"] = sha256_of_file(task.data);
  identity["format"] = name_of(task.format);
  identity["writer"] = writer;
  identity["place"] = task.place == data::Place::first ? "first" : "last";
  identity["unique"] = task.unique;
  return identity;
}

}  // namespace

std::string default_writer(const AnswerSettings& settings) {
  const fs::path folder = fs::absolute(settings.model / "").lexically_normal().parent_path();
  const bool of_run = folder.filename() == "model" && folder.parent_path().has_filename();
  const fs::path name = of_run ? folder.parent_path().filename() / folder.filename() : folder.filename();
  return fmt::format("{} {}", name.string(), name_of(settings.decoding.method));
}

SampleCounts sample(const SampleTask& task) {
  require_free_place(task.out, task.existing, std::array{task.data});
  const std::vector<data::OpenRow> rows = data::read_open_rows(task.data, task.format);
  Answerer answerer(task.answers);
  const Prompts prompts = answerer.prompts(data::queries_of(rows));
  const std::string writer = task.writer.empty() ? default_writer(task.answers) : task.writer;
  PartLines lines(task.out, identity_of(answerer, task, writer), rows.size(), task.existing);
  SampleCounts counts;
  const auto line_of = [&](std::size_t row, const std::vector<generate::Answer>& answers) {
    std::vector<std::string> texts = texts_of(answers);
    if (task.unique) texts = new_ones(texts, rows[row]);
    counts.dropped += std::ssize(answers) - std::ssize(texts);
    return data::with_responses(rows[row], texts, writer, task.place);
  };
  counts.answers = answer_rows(answerer, prompts, lines, line_of, "sample");
  if (counts.dropped > 0) log("{} responses left out that their row had already", with_commas(counts.dropped));
  return counts;
}

}  // namespace rrhf::workflow
