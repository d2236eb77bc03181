// The one binary: finds the subcommand, runs it, and turns what it throws into a message and an exit code.

#include <c10/util/Exception.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <initializer_list>
#include <iostream>
#include <new>
#include <string_view>

#include "rrhf/cli/ablate_command.h"
#include "rrhf/cli/command.h"
#include "rrhf/cli/data_command.h"
#include "rrhf/cli/delta_command.h"
#include "rrhf/cli/eval_command.h"
#include "rrhf/cli/generate_command.h"
#include "rrhf/cli/iterate_command.h"
#include "rrhf/cli/model_command.h"
#include "rrhf/cli/report_command.h"
#include "rrhf/cli/sample_command.h"
#include "rrhf/cli/score_command.h"
#include "rrhf/cli/train_command.h"
#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/core/nearest.h"
#include "rrhf/core/with_cuda.h"
#include "rrhf/model/products.h"

namespace rrhf::cli {

constexpr std::array commands{
    Command{"train", "fine-tune a LLaMA on ranked responses", train_command},
    Command{"eval", "ranking accuracy, margin, perplexity and losses of a model", eval_command},
    Command{"generate", "answer a prompt, a file of prompts, or a person at the terminal", generate_command},
    Command{"sample", "add a model's responses to the rows of a data file", sample_command},
    Command{"score", "give responses rewards: a reward model, rules, another program's scores, log-probs",
            score_command},
    Command{"iterate", "sample, score, train and evaluate, round after round", iterate_command},
    Command{"ablate", "train the runs of a grid and measure all models alike", ablate_command},
    Command{"data", "validate, inspect, convert or measure a data file", data_command},
    Command{"model", "make, look at, convert, merge or resize a model folder", model_command},
    Command{"delta", "make a delta, or recover a model from one", delta_command},
    Command{"report", "compare runs: a table and a page with curves", report_command},
};

}  // namespace rrhf::cli

namespace {

std::string help() {
  std::string text =
      fmt::format("rrhf {}: RRHF fine-tuning of LLaMA models\n\nusage: rrhf COMMAND ...\n\n", RRHF_VERSION);
  for (const auto& command : rrhf::cli::commands) text += fmt::format("  {:<9} {}\n", command.name, command.summary);
  return text + "\nrrhf COMMAND --help says more. The README shows a run from data to model.";
}

// "; nearest: train" for "trian".
std::string meant_instead(std::string_view name) {
  std::array<std::string_view, rrhf::cli::commands.size()> names;
  std::ranges::transform(rrhf::cli::commands, names.begin(), &rrhf::cli::Command::name);
  const std::string_view nearest = rrhf::nearest_word(name, names);
  return rrhf::edit_distance(name, nearest) <= 2 ? fmt::format("; nearest: {}", nearest) : "";
}

int run(int argc, const char* const* argv) {
  const std::string_view name = argc > 1 ? argv[1] : "";
  if (name == "--help" || name == "-h" || name == "help") {
    fmt::print("{}\n", help());
    return 0;
  }
  if (name == "--version") {
    fmt::print("rrhf {}\n", RRHF_VERSION);
    return 0;
  }
  for (const auto& command : rrhf::cli::commands) {
    if (name != command.name) continue;
    command.run(argc - 1, argv + 1);
    return 0;
  }
  if (!name.empty()) rrhf::log("[usage] {} is not a command{}\n", name, meant_instead(name));
  rrhf::log_line(help());
  return 2;
}

// Sets a variable unless the user has said something of the matter, by one of its names. True when it was set.
bool set_unless(const char* name, const char* value, std::initializer_list<const char*> said_by) {
  if (std::ranges::any_of(said_by, [](const char* said) { return std::getenv(said) != nullptr; })) return false;
  ::setenv(name, value, 0);
  return true;
}

// Settings that libraries read before main(), so the program starts once more with them.
// Waiting OpenMP threads spin for milliseconds by default: two runs side by side then slow each other down by half and
// more, while a run alone gains nothing. On a GPU LibTorch's allocator keeps blocks that fit no later size unless its
// segments can grow.
void start_with_settings(char** argv) {
  bool changed = set_unless("GOMP_SPINCOUNT", "1000", {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"});
  if (rrhf::with_cuda) {
    changed |= set_unless("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True",
                          {"PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"});
  }
  if (!changed) return;
  // By its own path, so that it keeps its name; where that fails, the run goes on as it is.
  std::error_code failure;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", failure);
  if (!failure) ::execv(program.c_str(), argv);
}

// Who reads the output may leave, and a disk quota may be reached: neither ends the process by a signal, so that a run
// can still save, remove what is half-written and say why. Where a standard stream is closed, no file takes its number.
void outlive_lost_outputs() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) < 0) ::open("/dev/null", O_RDONLY);  // writing to it fails, as to a closed one
  }
}

[[noreturn]] void throw_lost_results(int error) {
  if (error == EPIPE) throw rrhf::SaidAlready(1);  // the reader has left, as `head` does
  rrhf::throw_error("output", "results could not be written to stdout{}{}", error != 0 ? ": " : "",
                    error != 0 ? std::strerror(error) : "");
}

// Results that never reached stdout (a full disk) are a failure like any other.
int run_and_write(int argc, const char* const* argv) {
  try {
    const int code = run(argc, argv);
    errno = 0;
    std::cout.flush();
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0 || !std::cout) throw_lost_results(errno);
    return code;
  } catch (const std::system_error& failure) {
    if (std::ferror(stdout) == 0) throw;
    throw_lost_results(failure.code().value());
  }
}

// A path that can't be looked at or written is wrong input; a disk that fails or is full is not.
int exit_code_of(const std::filesystem::filesystem_error& failure) {
  return failure.code() == std::errc::no_space_on_device || failure.code() == std::errc::io_error ? 1 : 2;
}

bool computes(std::string_view command) {
  constexpr std::array computing{"train", "eval", "generate", "sample", "score", "iterate"};
  return std::ranges::find(computing, command) != computing.end();
}

}  // namespace

int main(int argc, char** argv) {
  outlive_lost_outputs();
  rrhf::model::keep_few_kernels();
  if (argc > 1 && computes(argv[1])) start_with_settings(argv);
  try {
    return run_and_write(argc, argv);
  } catch (const rrhf::SaidAlready& failure) {
    return failure.exit_code();
  } catch (const rrhf::Error& failure) {
    rrhf::log_failure(failure.what());
    return failure.exit_code();
  } catch (const c10::Error& failure) {
    rrhf::log_failure(std::string("[torch] ") + failure.what_without_backtrace());
  } catch (const std::filesystem::filesystem_error& failure) {
    rrhf::log_failure(fmt::format("[file] {}: {}", failure.path1().string(), failure.code().message()));
    return exit_code_of(failure);
  } catch (const std::bad_alloc&) {
    rrhf::log_failure("[memory] there is not enough memory (ulimit -v and batch systems set limits of their own)");
  } catch (const std::exception& failure) {
    rrhf::log_failure(std::string("[internal] ") + failure.what());
  }
  return 1;
}
