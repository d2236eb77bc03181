#include "rrhf/config/options.h"

// How a run goes: its schedule, its steps, what it saves, when it evaluates, how processes share it.

namespace rrhf::config {

std::vector<Option> schedule_options(ScheduleConfig& c) {
  return {
      {"schedule.name", choice(c.name), "How the learning rate falls to 0 after the warmup, or that it stays.",
       "lr_scheduler_type scheduler"},
      {"schedule.warmup_ratio", number(c.warmup_ratio, {.least = 0, .most = 1}),
       "The share of all steps, rounded up, in which the learning rate rises from 0.", "warmup warmup_steps"},
  };
}

std::vector<Option> train_options(TrainConfig& c) {
  return {
      {"train.epochs", integer(c.epochs, 1, 1'000'000'000), "How often every row is used.",
       "num_train_epochs num_epochs"},
      {"train.max_steps", integer_or(c.max_steps, 1, "none", 1'000'000'000'000),
       "Stop after this many steps; the schedule then ends there too.", "steps"},
      {"train.queries_per_step", integer(c.queries_per_step, 1, 1'000'000'000),
       "How many queries, each with all its responses, an update of the weights is the mean over, on all devices "
       "together.",
       "batch_size train_batch_size per_device_train_batch_size gradient_accumulation_steps"},
      {"train.tokens_per_pack", integer_or(c.tokens_per_pack, 1, "auto", 1'000'000'000),
       "How many tokens are computed at once. It decides memory and speed, never the result; a query that is longer is "
       "computed "
       "alone. `auto` is 1024, on a GPU 4096."},
      {"train.seed", integer(c.seed, 0),
       "Fixes the order of rows, the rows held out and random weights: two runs with one seed write the same bytes.",
       "random_seed"},
      {"train.order", choice(c.order),
       "How the order of an epoch is drawn. `released` draws the same as the authors' code on 8 devices, which repeats "
       "a few "
       "rows to fill up the last round."},
      {"train.epoch_end", choice(c.epoch_end),
       "What happens to the queries left over at the end of an epoch: a smaller `step`, or they `carry` over into the "
       "next epoch."},
      {"train.recompute", choice(c.recompute),
       "What is computed again in the backward pass instead of being kept for it. `mlp`: the widest matrices, the "
       "MLP's "
       "gate and up; half the memory of activations, a seventh more work. `layer`: everything but each layer's input; "
       "the "
       "least memory, a quarter more work. The result is the same.",
       "gradient_checkpointing activation_checkpointing"},
      {"train.layer_inputs", choice(c.layer_inputs),
       "With `train.recompute` layer on a GPU: where the layers' inputs wait for the backward pass. `host`: in the "
       "machine's own memory.",
       "activation_offload offload_activations"},
      {"train.gradients", choice(c.gradients, {Dtype::float64, Dtype::float16}),
       "With `model.dtype` bfloat16: what the gradients of a step are added up in. bfloat16 takes 2 bytes a weight "
       "instead "
       "of 4, and rounds at least once a pack.",
       "gradient_dtype grad_dtype"},
      {"train.deterministic", flag(c.deterministic),
       "Two runs with one seed write the same bytes. On a GPU `false` lets the gradients of attention be added up in "
       "whatever order they come, which is a little faster; on a CPU it changes nothing."},
  };
}

std::vector<Option> checkpoint_options(CheckpointConfig& c) {
  return {
      {"checkpoint.every_steps", integer_or(c.every_steps, 1, "none"),
       "Save the state of the training every so many steps, to go on from with `--resume`.", "save_steps"},
      {"checkpoint.keep", integer(c.keep, 1), "How many of these stay; older ones are removed.", "save_total_limit"},
      {"checkpoint.dtype", choice(c.dtype), "The precision the final model is written in.", "save_dtype"},
  };
}

std::vector<Option> eval_options(EvalConfig& c) {
  return {
      {"eval.every_steps", integer_or(c.every_steps, 1, "none"),
       "Evaluate every so many steps, beside the evaluations at the start and at the end.", "eval_steps"},
  };
}

std::vector<Option> parallel_options(ParallelConfig& c) {
  return {
      {"parallel.mode", choice(c.mode),
       "How several processes hold the model (docs/distributed.md). `replicated`: each all of it. `sharded`: each a "
       "part "
       "of the weights, gradients and optimizer state.",
       "fsdp deepspeed zero_stage sharding"},
      {"parallel.shard_size", integer_or(c.shard_size, 1, "none"),
       "With `sharded`: cut the model among groups of so many neighbouring processes, which the groups hold alike; "
       "best "
       "the processes of a machine. Not given, or more than there are: among all.",
       "group_size"},
      {"parallel.backend", choice(c.backend),
       "What carries numbers between processes (docs/distributed.md): `nccl` between GPUs, `gloo` between CPUs; `auto` "
       "takes the one for the device.",
       "ddp_backend dist_backend"},
      {"parallel.timeout_s", integer(c.timeout_s, 10),
       "After how many seconds without a sign of life, or of waiting for it, a process is given up and the run ends.",
       "ddp_timeout timeout nccl_timeout"},
  };
}

}  // namespace rrhf::config
