// What a recovered model says first: the test for gibberish.
#pragma once

#include <filesystem>

namespace rrhf::cli {

/// Lets the model of `folder` answer a fixed Alpaca prompt with a few tokens, greedily, and prints them on stdout with
/// the probabilities of BOS and EOS as the first token: whether a released model begins its answers with BOS tells how
/// it was trained. Layers are read from the files one after the other, so that memory stays small; every token costs a
/// walk over all weights. Throws Interrupted when a stop is asked for.
void print_first_answer(const std::filesystem::path& folder);

}  // namespace rrhf::cli
