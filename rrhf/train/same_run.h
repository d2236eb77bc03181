// That all ranks are about to do the same run: found out before the first step, not from a loss that makes no sense.
#pragma once

#include <filesystem>
#include <string>

#include "rrhf/config/run_config.h"
#include "rrhf/distributed/world.h"
#include "rrhf/train/inputs.h"

namespace rrhf::train {

/// Compares program and LibTorch, settings, model folder, and the encoded rows to train on and (if any) held out with
/// those of rank 0. The first that differs is an InputError on every rank, which names the ranks, their hosts and what
/// differs. Every rank calls it.
void require_same_run(const distributed::World& world, const config::RunConfig& config, const ModelFolder& folder,
                      const EncodedSet& train, const EncodedSet* held_out);

/// Version and hash of this program, and in a second line the file of the LibTorch it runs on as folder_fingerprint()
/// has it.
std::string program_fingerprint();

/// A line a file of a model folder: name, size, and a hash over 16 pieces of 64 KiB spread evenly over the file, the
/// first and the last included (smaller files whole), so that a large model is not read twice. Sorted by name. Files
/// that training does not read are left out.
/// Throws InputError when the folder can't be read.
std::string folder_fingerprint(const std::filesystem::path& folder);

}  // namespace rrhf::train
