// What a person types at a terminal: lines, Ctrl-C, Ctrl-D.
#pragma once

#include <signal.h>

#include <cstddef>
#include <string>
#include <string_view>

namespace rrhf::cli {

/// While one lives, Ctrl-C sets a flag instead of ending the process; the handling before comes back with the
/// destructor. At most one at a time.
class ChatInput {
 public:
  enum class Kind {
    line,
    too_long,  ///< a line that the terminal may have cut: it passes on `longest_line` bytes and drops the rest unsaid
    interrupt,
    end
  };
  static constexpr std::size_t longest_line = 4095;
  struct Typed {
    Kind kind = Kind::end;
    std::string text;  ///< of a line, without its end
  };

  ChatInput();
  ~ChatInput();
  ChatInput(const ChatInput&) = delete;
  ChatInput& operator=(const ChatInput&) = delete;

  /// Shows the prompt on stderr and waits for a line. Ctrl-C drops what was typed of it.
  Typed read(std::string_view prompt);

  /// True once Ctrl-C came since the last read() or forget(). Safe from any thread.
  static bool interrupted() noexcept;
  static void forget() noexcept;

 private:
  struct sigaction before_ {};
  std::string rest_;  // typed beyond the last line that was given
};

}  // namespace rrhf::cli
