#include <algorithm>

#include "rrhf/checkpoint/convert.h"
#include "rrhf/checkpoint/hf_folder.h"
#include "rrhf/cli/command.h"
#include "rrhf/cli/model_verbs.h"
#include "rrhf/cli/verbs.h"
#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/core/stop.h"
#include "rrhf/text/pad_token.h"

namespace rrhf::cli {
namespace {

std::string pad_text(std::int64_t pad, std::int64_t rows_before) {
  if (pad >= rows_before) return "; the tokenizer has [PAD]";
  return fmt::format("; the tokenizer has [PAD], id {}, whose row was there before and is kept as it is", pad);
}

void log_result(const checkpoint::ResizeModel& settings, std::int64_t rows_before, std::int64_t pad) {
  const std::int64_t more = settings.rows - rows_before;
  std::string what = fmt::format("{} rows of vocabulary as before", settings.rows);
  if (more > 0)
    what = fmt::format("{} rows, {} new ({})", settings.rows, more,
                       settings.fill == RowFill::mean ? "the mean of the old ones" : "zero");
  if (more < 0) what = fmt::format("{} rows, the last {} left out", settings.rows, -more);
  log("made {}: {}{}", settings.out.string(), what, settings.add_pad ? pad_text(pad, rows_before) : "");
}

}  // namespace

void model_resize(int argc, const char* const* argv) {
  cxxopts::Options options("rrhf model resize",
                           "Give both embeddings of a model another number of rows, and the tokenizer a [PAD] token. "
                           "Training never changes the vocabulary; this does.");
  options.add_options()("from", "Model folder to read", cxxopts::value<std::string>(), "DIR")(
      "out", "Folder to make", cxxopts::value<std::string>(), "DIR")(
      "vocab", "Rows of vocabulary; not fewer than the tokenizer has ids", cxxopts::value<std::string>(), "N")(
      "add-pad",
      "Declare [PAD] as padding token, with a new row for it, as the released runs do; where the model has rows to "
      "spare, the first of them becomes [PAD]'s as it is")(
      "fill", "What new rows hold: mean (of the old rows, as in the released runs) or zero",
      cxxopts::value<std::string>()->default_value("mean"),
      "F")("shard-size", "Largest file of tensors", cxxopts::value<std::string>()->default_value("5GB"), "SIZE");
  options.parse_positional({"from"});
  options.positional_help("DIR");
  const auto arguments = parse(options, argc, argv);
  if (!arguments) return;
  const bool add_pad = arguments->count("add-pad") > 0, vocab = arguments->count("vocab") > 0;
  if (!add_pad && !vocab) throw_input("usage", "model resize needs --vocab N or --add-pad");
  const auto fill = choice_named<RowFill>((*arguments)["fill"].as<std::string>());
  if (!fill) throw_input("usage", "--fill must be one of {}", choice_list<RowFill>());

  checkpoint::ResizeModel settings{.from = required(*arguments, "from", "model resize", "DIR"),
                                   .out = required(*arguments, "out", "model resize"),
                                   .rows = 0,
                                   .fill = *fill,
                                   .add_pad = add_pad,
                                   .shard_bytes = parse_bytes((*arguments)["shard-size"].as<std::string>())};
  const std::int64_t before = checkpoint::load_config(settings.from).vocab_size;
  const std::int64_t for_pad = add_pad ? std::int64_t{text::next_pad_id(settings.from)} + 1 : 1;
  settings.rows = vocab ? number_of(*arguments, "vocab", before, 1) : std::max(before, for_pad);
  if (settings.rows < for_pad) {
    throw_input("usage", "--vocab {}: {} rows are needed{}", settings.rows, for_pad, add_pad ? " with [PAD]" : "");
  }
  const StopSignals signals;
  checkpoint::resize_model(settings);
  log_result(settings, before, for_pad - 1);
}

}  // namespace rrhf::cli
