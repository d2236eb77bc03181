// The units that a model's weights are held, moved and counted in, and how a pass asks for them.
//
// Unit 0 is the embedding (with a tied head also the final norm), units 1 to L are the decoder layers, and without a
// tied head the last unit is the final norm and the head. A pass forward uses them in that order, a pass backward in
// the reverse; with a tied head unit 0 stands at both ends.
//
// Parameters and Gradients are the seam between the passes and whoever keeps the tensors. Here all of them are in
// memory for good. A keeper that gathers them from other processes, keeps them elsewhere or uses them up overrides
// need() and done().
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "rrhf/core/part_times.h"
#include "rrhf/model/llama_config.h"
#include "rrhf/model/weights.h"

namespace rrhf::model {

class Units {
 public:
  explicit Units(const LlamaConfig& config);

  std::size_t layers() const noexcept { return layers_; }
  std::size_t count() const noexcept { return layers_ + (tied_ ? 1 : 2); }
  static constexpr std::size_t embedding() noexcept { return 0; }
  static constexpr std::size_t layer(std::size_t i) noexcept { return i + 1; }
  std::size_t head() const noexcept { return tied_ ? 0 : layers_ + 1; }  ///< also the final norm's

  /// The layer's unit after layer i, or the head's.
  std::size_t after_layer(std::size_t i) const noexcept { return i + 1 == layers_ ? head() : layer(i + 1); }

  /// The tensors of a unit, as numbers in Weights::tensors(), ascending. The first of unit 0 is the embedding.
  std::vector<std::size_t> tensors(std::size_t unit) const;

 private:
  std::size_t layers_;
  bool tied_;
};

/// The weights of a model.
class Parameters {
 public:
  /// Weights that are in memory.
  explicit Parameters(Weights weights);
  virtual ~Parameters() = default;
  Parameters(const Parameters&) = delete;
  Parameters& operator=(const Parameters&) = delete;

  /// Those in memory now: all, or those of the unit in use.
  const Weights& weights() const noexcept { return weights_; }
  /// The dtype and device of all weights.
  const at::TensorOptions& options() const noexcept { return options_; }

  /// Returns once the tensors of the unit can be read, which they can until need() is called for another unit. `next`
  /// is the unit that will be needed next, if the pass goes on.
  virtual void need(std::size_t unit, std::optional<std::size_t> next) {}

 protected:
  explicit Parameters(at::TensorOptions options) : options_(options) {}
  Weights weights_;

 private:
  at::TensorOptions options_;
};

/// Where a backward pass adds the gradients of the weights.
class Gradients {
 public:
  /// Gradients that are in memory.
  explicit Gradients(Weights weights) : weights_(std::move(weights)) {}
  virtual ~Gradients() = default;
  Gradients(const Gradients&) = delete;
  Gradients& operator=(const Gradients&) = delete;

  Weights& weights() noexcept { return weights_; }

  /// The tensors of the unit can be added to, until done() is called for it.
  virtual void need(std::size_t unit) {}
  /// The pass adds nothing more to the unit.
  virtual void done(std::size_t unit) {}

  /// The next pass is the last to add to them.
  virtual void begin_last_pass() {}
  /// Returns once they are complete.
  virtual void finish() {}

  /// What done() spends its time on.
  virtual Part part() const noexcept { return Part::communication; }

 protected:
  Gradients() = default;
  Weights weights_;
};

}  // namespace rrhf::model
