// The Trainer's model: where it comes from, and where it is saved.
#include <ATen/ATen.h>

#include <cmath>

#include "rrhf/checkpoint/adapter.h"
#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/core/random.h"
#include "rrhf/train/rank_writers.h"
#include "rrhf/train/trainer.h"

namespace rrhf::train {
namespace {

// Of the random streams drawn from train.seed; 1 is inputs.cpp's, 2 step_order.cpp's.
constexpr std::uint64_t rounding_stream = 3;

optim::AdamWOptions adamw_options(const config::RunConfig& config, const Groups& groups, bool on_host) {
  return {.betas = config.optimizer.betas,
          .epsilon = config.optimizer.epsilon,
          .weight_decay = config.optimizer.weight_decay,
          .masters = config.optimizer.masters,
          .moments = config.optimizer.moments,
          .seed = RandomStream(static_cast<std::uint64_t>(config.train.seed), {rounding_stream}).next(),
          .on_host = on_host,
          .rank = groups.shards.rank()};
}

// What gradients are summed in, where the config says it.
std::optional<at::ScalarType> gradient_type(const config::RunConfig& config) {
  if (config.model.dtype != Dtype::bfloat16) return std::nullopt;
  return model::scalar_type(config.train.gradients);
}

}  // namespace

void Trainer::load_model(at::Device device) {
  const bool on_host = state_on_host(config_, device.is_cpu(), world_->size());
  const auto options = at::TensorOptions().dtype(model::scalar_type(config_.model.dtype)).device(device);
  const Groups& trained_groups = replicas_ ? *replicas_ : groups_;
  std::optional<AdapterForm> adapters;
  if (config_.lora.rank) adapters = {model::LoraLayout(folder_->config, config_.lora), &trained_groups};
  model_ =
      std::make_unique<TrainedModel>(folder_->config, options, adamw_options(config_, trained_groups, on_host), groups_,
                                     GradientForm{gradient_type(config_), config_.optimizer.update}, adapters);
  if (adapters) {
    model_->load(folder_->path);
    model_->initialize_adapters(static_cast<std::uint64_t>(config_.train.seed));
    if (resumed_from_) resume_model();
  } else if (resumed_from_) {
    resume_model();
  } else if (config_.model.random_init) {
    model_->initialize(static_cast<std::uint64_t>(config_.train.seed));
  } else {
    model_->load(folder_->path);
  }
  const std::string from = (resumed_from_ ? *resumed_from_ : folder_->path).string();
  if (world_->any(!std::isfinite(model_->largest_weight()))) {
    throw_input("model", "{}: holds weights that are not finite numbers", from);
  }
  if (!fits_saved_dtype()) {
    throw_input("model", "{}: holds weights beyond float16's 65504; set checkpoint.dtype to bfloat16 or float32", from);
  }
}

bool Trainer::fits_saved_dtype() const {
  constexpr double largest_half = 65504;
  return config_.checkpoint.dtype != Dtype::float16 || !world_->any(model_->largest_weight() > largest_half);
}

void Trainer::resume_model() {
  checkpoint::TrainingFacts facts;
  try {
    facts = model_->resume(*resumed_from_);
  } catch (const InputError& broken) {
    const auto older = checkpoint::checkpoint_before(*resumed_from_);
    if (!older) throw;
    throw_input("resume", "{} can't be read; remove it to go on from {}, the one before it\n  {}",
                resumed_from_->string(), older->filename().string(), broken.what());
  }
  if (facts.data_fingerprint != data_fingerprint_) {
    const bool same_training =
        facts.data_fingerprint.starts_with(data_fingerprint_.substr(0, data_fingerprint_.find('+')));
    throw_input("resume", "{}: was {}", resumed_from_->string(),
                same_training ? "evaluated on other data than data.eval and data.eval_fraction give now"
                              : "trained on other data than data.train holds now");
  }
  first_step_ = facts.step;
  saved_step_ = facts.step;
}

checkpoint::SaveOptions Trainer::save_options(Dtype dtype) const {
  checkpoint::SaveOptions options{.dtype = dtype, .made_from = folder_->path, .encoding_note = {}};
  if (config_.data.encoding == Encoding::released) {
    options.encoding_note = checkpoint::EncodingNote{config_.data.encoding, config_.data.bos_token};
  }
  return options;
}

// What is trained in full precision.
Dtype Trainer::trained_dtype() const { return config_.model.dtype == Dtype::float64 ? Dtype::float64 : Dtype::float32; }

void Trainer::save_checkpoint(std::int64_t steps_done) {
  checkpoint::save_checkpoint(output_.path(), model_->tensors(), save_options(trained_dtype()),
                              {.step = steps_done, .data_fingerprint = data_fingerprint_}, config_.checkpoint.keep,
                              RankWriters(*world_));
  saved_step_ = steps_done;
}

std::filesystem::path Trainer::adapter_folder() const { return output_.path() / "adapter"; }

void Trainer::save_adapters() {
  const RankWriters writers(*world_);
  const checkpoint::TrainingTensors tensors = model_->tensors();
  const auto element = static_cast<std::int64_t>(at::elementSize(model::scalar_type(trained_dtype())));
  checkpoint::JointFolder folder(adapter_folder(), tensors.set.parameters() * element, writers);
  checkpoint::save_adapter(folder.path(), tensors.masters, tensors.set, save_options(trained_dtype()), writers);
  folder.publish();
  log("saved    {}", adapter_folder().string());
}

// Whatever becomes of it, the adapters are there: a resumed run makes the model of them.
void Trainer::save_merged_model() {
  const RankWriters writers(*world_);
  checkpoint::JointFolder folder(output_.path() / "model",
                                 checkpoint::model_bytes(folder_->config, config_.checkpoint.dtype), writers);
  try {
    if (world_->rank() == 0) FrozenBase(folder_->path, output_.path()).require_same();
    checkpoint::write_merged(
        {.adapter = adapter_folder(), .base = folder_->path, .out = folder.path(), .dtype = config_.checkpoint.dtype},
        checkpoint::Stops::ignored, writers);
  } catch (const InputError& refused) {
    throw_error(
        "train",
        "the adapters are saved, the model that they make is not; --resume makes it once this is mended, or with "
        "another checkpoint.dtype\n  {}",
        refused.what());
  }
  folder.publish();
  log("saved    {}", (output_.path() / "model").string());
}

void Trainer::save_final_model() {
  if (config_.lora.rank) {
    save_adapters();
    return save_merged_model();
  }
  if (!fits_saved_dtype()) {
    save_checkpoint(plan_->steps());
    throw_error("train",
                "the trained weights are beyond float16's 65504, so the model is not saved in it; they are kept in a "
                "checkpoint, and --resume with checkpoint.dtype bfloat16 or float32 saves them");
  }
  const RankWriters writers(*world_);
  const checkpoint::TrainingTensors tensors = model_->tensors();
  checkpoint::JointFolder folder(output_.path() / "model",
                                 checkpoint::model_bytes(folder_->config, config_.checkpoint.dtype), writers);
  checkpoint::save_model(folder.path(), tensors.masters, folder_->config, save_options(config_.checkpoint.dtype),
                         writers);
  folder.publish();
  log("saved    {}", (output_.path() / "model").string());
}

}  // namespace rrhf::train
