// The one family of exceptions.
//
// A message names the operation, what was required, what was found, and where (file:line, key path, tensor name):
//     [data] quickstart.jsonl:17: "scores" has 4 numbers for 5 responses; every response needs one
// What a function throws is said at its declaration; nothing else leaves a room.
#pragma once

#include <fmt/format.h>

#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace rrhf {

/// A run that failed: the program exits with 1.
class Error : public std::runtime_error {
 public:
  /// `operation` is the word in brackets, in most cases the room; `message` is one or a few lines without a final
  /// newline.
  Error(std::string_view operation, std::string_view message);

  /// The code the program exits with when nothing handles this error.
  virtual int exit_code() const noexcept { return 1; }
};

/// What the user gave is wrong (arguments, config, data, a model folder): the program exits with 2.
class InputError : public Error {
 public:
  using Error::Error;
  int exit_code() const noexcept override { return 2; }
};

/// Mistakes that are looked for one after the other and said together, each with its own operation.
class InputErrors {
 public:
  /// What has been said is not said again.
  void add(const InputError& error);
  /// Runs `check` and adds the InputError it throws, if any; another exception goes on. False when it threw one.
  template <class Check>
  bool collect(Check&& check) {
    try {
      std::forward<Check>(check)();
      return true;
    } catch (const InputError& error) {
      add(error);
      return false;
    }
  }
  bool any() const noexcept { return !text_.empty(); }
  /// Throws InputError when there are any.
  void require_none() const;

 private:
  std::string text_;
  std::set<std::string> said_;
};

/// The run was asked to stop (Ctrl-C, SIGTERM) and has saved what it could: the program exits with 1.
class Interrupted : public Error {
 public:
  using Error::Error;
};

/// The command failed and has said why: nothing more is to be printed.
class SaidAlready : public Error {
 public:
  explicit SaidAlready(int exit_code) : Error("run", "failed"), exit_code_(exit_code) {}
  int exit_code() const noexcept override { return exit_code_; }

 private:
  int exit_code_;
};

/// Throws InputError with a formatted message.
template <class... Args>
[[noreturn]] void throw_input(std::string_view operation, fmt::format_string<Args...> format, Args&&... args) {
  throw InputError(operation, fmt::format(format, std::forward<Args>(args)...));
}

/// Throws Error with a formatted message.
template <class... Args>
[[noreturn]] void throw_error(std::string_view operation, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(operation, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace rrhf
