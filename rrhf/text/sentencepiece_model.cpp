#include "rrhf/text/sentencepiece_model.h"

#include <sentencepiece_processor.h>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"

namespace rrhf::text {
namespace fs = std::filesystem;

struct SentencePieceModel::State {
  sentencepiece::SentencePieceProcessor processor;

  template <class Result>
  Result encode(std::string_view text) const {
    Result result;
    if (const auto status = processor.Encode(text, &result); !status.ok()) {
      throw_error("tokenizer", "SentencePiece failed on a text of {} bytes: {}", text.size(), status.message());
    }
    return result;
  }
};

SentencePieceModel::SentencePieceModel(std::string bytes, std::string_view where, DummyPrefix prefix)
    : state_(std::make_unique<State>()) {
  const std::size_t size = bytes.size();
  if (prefix == DummyPrefix::none) {
    // A protocol buffer's fields may come in parts: this part says normalizer_spec.add_dummy_prefix = false.
    bytes += std::string_view("\x1a\x02\x18\x00", 4);
  }
  if (!state_->processor.LoadFromSerializedProto(bytes).ok() || state_->processor.GetPieceSize() <= 0) {
    throw_input("tokenizer", "{}: not a SentencePiece model ({} bytes): broken, cut short, or another kind of file",
                where, size);
  }
}

SentencePieceModel::~SentencePieceModel() = default;
SentencePieceModel::SentencePieceModel(SentencePieceModel&&) noexcept = default;
SentencePieceModel& SentencePieceModel::operator=(SentencePieceModel&&) noexcept = default;

std::vector<std::string> SentencePieceModel::pieces(std::string_view text) const {
  return state_->encode<std::vector<std::string>>(text);
}

std::vector<std::int32_t> SentencePieceModel::ids(std::string_view text) const {
  return state_->encode<std::vector<int>>(text);
}

std::string SentencePieceModel::decode(const std::vector<std::string>& pieces) const {
  std::string text;
  if (const auto status = state_->processor.Decode(pieces, &text); !status.ok()) {
    throw_error("tokenizer", "SentencePiece failed to decode {} pieces: {}", pieces.size(), status.message());
  }
  return text;
}

std::int32_t SentencePieceModel::size() const noexcept { return state_->processor.GetPieceSize(); }
const std::string& SentencePieceModel::piece(std::int32_t id) const { return state_->processor.IdToPiece(id); }
std::int32_t SentencePieceModel::id_of(std::string_view piece) const { return state_->processor.PieceToId(piece); }
std::int32_t SentencePieceModel::bos_id() const noexcept { return state_->processor.bos_id(); }
std::int32_t SentencePieceModel::eos_id() const noexcept { return state_->processor.eos_id(); }
std::int32_t SentencePieceModel::unk_id() const noexcept { return state_->processor.unk_id(); }

std::string read_sentencepiece_model(const fs::path& folder) {
  constexpr std::string_view advice = "it comes with the original checkpoint (LLaMA's own download, or the base model)";
  std::error_code failure;
  if (!fs::is_directory(folder, failure)) {
    throw_input("tokenizer", "{}: no such folder; a model folder with a tokenizer.model is needed", folder.string());
  }
  const fs::path path = folder / "tokenizer.model";
  if (!has_file(path)) {
    if (fs::exists(folder / "tokenizer.json", failure)) {
      throw_input("tokenizer", "{}: has only the fast tokenizer.json; SentencePiece's tokenizer.model is needed: {}",
                  folder.string(), advice);
    }
    throw_input("tokenizer", "{}: has no tokenizer.model: {}", folder.string(), advice);
  }
  std::string bytes = read_file(path);
  if (bytes.starts_with("version https://git-lfs")) {
    throw_input("tokenizer",
                "{}: is a Git LFS pointer, not the model; `git lfs pull` where it came from fetches the model",
                path.string());
  }
  return bytes;
}

}  // namespace rrhf::text
