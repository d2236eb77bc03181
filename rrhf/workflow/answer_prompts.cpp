#include "rrhf/workflow/answer_prompts.h"

#include <array>

#include "rrhf/core/sha256.h"

namespace rrhf::workflow {

AnswerCounts answer_prompts(const AnswerTask& task) {
  require_free_place(task.out, task.existing, std::array{task.prompts});
  const std::vector<data::Query> queries = data::read_queries(task.prompts);
  Answerer answerer(task.answers);
  const Prompts prompts = answerer.prompts(queries);
  Json identity = answerer.identity();
  identity["prompts"] = std::filesystem::absolute(task.prompts).lexically_normal().string();
  identity["prompts-sha256"] = sha256_of_file(task.prompts);
  PartLines lines(task.out, identity, queries.size(), task.existing);
  const auto line_of = [&](std::size_t row, const std::vector<generate::Answer>& answers) {
    Json json;
    json["query"] = queries[row].text;
    json["response"] = answers.front().text;
    json["tokens"] = answers.front().tokens;
    return json;
  };
  return answer_rows(answerer, prompts, lines, line_of, "generate");
}

}  // namespace rrhf::workflow
