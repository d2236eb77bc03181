// Tokenizes for test_tokenizer.py: a JSON object a line on stdin, one on stdout for each.
//   {"folder": DIR, "text": T, "special": "parse"|"parse_strip"|"plain"} -> {"ids": [...], "decoded": ...,
//   "decoded_all": ...}
//   {"folder": DIR, "ids": [...]}                                        -> the same, for the ids given
//   {"folder": DIR}                                                      -> {"bos", "eos", "unk", "pad", "size"}
// What the library throws becomes {"error": ...}.
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "rrhf/core/error.h"
#include "rrhf/core/json.h"
#include "rrhf/text/tokenizer.h"

namespace {

using rrhf::Json;
using rrhf::text::SpecialHandling;
using rrhf::text::Tokenizer;

SpecialHandling handling(const Json& request) {
  const std::string word = request.value("special", "parse");
  if (word == "plain") return SpecialHandling::plain;
  return word == "parse_strip" ? SpecialHandling::parse_strip : SpecialHandling::parse;
}

Json facts(const Tokenizer& tokenizer) {
  Json answer = {{"bos", tokenizer.bos_id()}, {"eos", tokenizer.eos_id()}, {"unk", tokenizer.unk_id()}};
  answer["pad"] = tokenizer.pad_id() ? Json(*tokenizer.pad_id()) : Json(nullptr);
  answer["size"] = tokenizer.size();
  return answer;
}

Json answer(const Json& request, std::map<std::string, Tokenizer>& loaded) {
  const auto folder = request.at("folder").get<std::string>();
  auto found = loaded.find(folder);
  if (found == loaded.end()) found = loaded.emplace(folder, Tokenizer::load(folder)).first;
  const Tokenizer& tokenizer = found->second;
  if (!request.contains("text") && !request.contains("ids")) return facts(tokenizer);
  const auto ids = request.contains("ids") ? request.at("ids").get<std::vector<std::int32_t>>()
                                           : tokenizer.encode(request.at("text").get<std::string>(), handling(request));
  return {{"ids", ids}, {"decoded", tokenizer.decode(ids, true)}, {"decoded_all", tokenizer.decode(ids, false)}};
}

}  // namespace

int main() {
  std::map<std::string, Tokenizer> loaded;
  for (std::string line; std::getline(std::cin, line);) {
    Json result;
    try {
      result = answer(rrhf::parse_json(line, "probe", "stdin"), loaded);
    } catch (const rrhf::Error& failure) {
      result = {{"error", failure.what()}};
    }
    std::cout << rrhf::dump_json(result) << '\n';
  }
  return 0;
}
