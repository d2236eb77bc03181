// SentencePiece behind a wall: its header is seen by sentencepiece_model.cpp alone.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace rrhf::text {

/// One loaded tokenizer.model. Const calls are safe from several threads.
class SentencePieceModel {
 public:
  enum class DummyPrefix {
    as_trained,  ///< LLaMA's models put a space before every text
    none,        ///< no such space
  };

  /// `bytes` are the file's content, `where` names it in messages. Throws InputError when it is no such model.
  SentencePieceModel(std::string bytes, std::string_view where, DummyPrefix prefix = DummyPrefix::as_trained);
  ~SentencePieceModel();
  SentencePieceModel(SentencePieceModel&&) noexcept;
  SentencePieceModel& operator=(SentencePieceModel&&) noexcept;

  /// A text, valid UTF-8, as pieces or as their ids. Throws Error when the library fails.
  std::vector<std::string> pieces(std::string_view text) const;
  std::vector<std::int32_t> ids(std::string_view text) const;

  /// The text of pieces; byte pieces that are not UTF-8 together give U+FFFD. Throws Error when the library fails.
  std::string decode(const std::vector<std::string>& pieces) const;

  std::int32_t size() const noexcept;
  /// 0 <= id < size().
  const std::string& piece(std::int32_t id) const;
  /// The unknown token's id for what is no piece.
  std::int32_t id_of(std::string_view piece) const;

  /// -1 where the model defines none.
  std::int32_t bos_id() const noexcept;
  std::int32_t eos_id() const noexcept;
  std::int32_t unk_id() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The bytes of the folder's tokenizer.model. Throws InputError that says why there are none, and where they come from.
std::string read_sentencepiece_model(const std::filesystem::path& folder);

}  // namespace rrhf::text
