#include "rrhf/config/options.h"

#include <algorithm>
#include <iterator>

// A table a section: key, value, help, other names; those of how a run goes in train_options.cpp, those of `sample` and
// `iterate` in iterate_options.cpp. To add a setting: its field and default in run_config.h, its line in such a table.

namespace rrhf::config {
namespace {

using Options = std::vector<Option>;

Options general_options(RunConfig& c) {
  return {
      {"recipe", choice(c.recipe),
       "Sets the keys marked *by recipe* together: `default` is what we advise, `paper` the paper's equations, "
       "`released` "
       "the authors' code with all it does. A key given explicitly wins; mixing one into `paper` or `released` is "
       "warned of."},
      {"device", choice(c.device), "Where the model runs. `auto` takes the GPU when there is one.",
       "use_cpu no_cuda gpu"},
      {"output", text(c.output, Empty::allowed),
       "The folder a run writes: `config.json`, `metrics.jsonl`, `model/`, `checkpoints/`, `report.html`, with "
       "`lora.rank` `adapter/`. It must be "
       "missing "
       "or empty, unless the run is resumed. Not given: `runs/NAME` for a config called `NAME.json`.",
       "output_dir out"},
  };
}

Options model_options(ModelConfig& c) {
  return {
      {"model.path", text(c.path, Empty::allowed),
       "The model to start from: a Hugging Face folder with `config.json`, safetensors or PyTorch weights and a "
       "SentencePiece `tokenizer.model`. Training never changes its vocabulary.",
       "model_name_or_path name"},
      {"model.dtype", choice(c.dtype, {Dtype::float16}),
       "The precision computed in. With `bfloat16` the trainer keeps float32 copies of the weights it trains. "
       "`float64` is for checking numbers.",
       "bf16 fp16 torch_dtype precision"},
      {"model.random_init", flag(c.random_init),
       "Start from random weights: only `config.json` and the tokenizer of `model.path` are read.", "from_scratch"},
  };
}

Options lora_options(LoraOptions& c) {
  return {
      {"lora.rank", integer_or(c.rank, 1, "none", 1'000'000),
       "Train adapters of this rank beside the weights, which stay as they are (docs/lora.md). `none`: train all "
       "weights. Adapters want a larger `optimizer.learning_rate`: five to ten times as large is a start.",
       "r lora_r peft use_lora use_peft lora"},
      {"lora.alpha", number(c.alpha, {.above = 0, .most = 1e9}), "What an adapter adds counts alpha / rank times.",
       "lora_alpha"},
      {"lora.modules", choices(c.modules), "The projections of each layer that get an adapter.",
       "target_modules lora_target_modules"},
  };
}

Options data_options(DataConfig& c) {
  return {
      {"data.train", paths(c.train),
       "The ranked rows to train on: a file or a list of files, plain or .gz. A relative path counts from the working "
       "directory, not from the config.",
       "data_path train_file dataset path"},
      {"data.eval", paths(c.eval), "The ranked rows to evaluate on, given in the same way.",
       "eval_file validation_file test"},
      {"data.eval_fraction", number(c.eval_fraction, {.least = 0, .below = 1}),
       "The share of the training rows held out for evaluation, drawn with `train.seed`. While training they are "
       "evaluated beside those of `data.eval`; `rrhf eval` takes `data.eval` alone where there are both.",
       "test_size validation_split"},
      {"data.format", choice(c.format),
       "The layout of the files (docs/data.md). `auto` finds it by looking at the content, for each file."},
      {"data.template", text(c.template_name, Empty::refused),
       "What stands around a query. `none`: the query is the prompt. `alpaca`: the query is the Alpaca instruction. "
       "`alpaca-split`: up to its first line break it is the instruction, the rest is the input. Anything else is the "
       "path of "
       "a text file with `{query}` in it.",
       "prompt prompt_template train_alpaca_prompt"},
      {"data.encoding", choice(c.encoding),
       "How tokens are laid out. `plain`: prompt `[BOS query]`, response `[response EOS]`. `released`: the response "
       "has a BOS "
       "of its own, which is learned too, as in the authors' code."},
      {"data.bos_token", choice(c.bos_token),
       "Which token stands for BOS. `model`: the model's own. `eos`: the end-of-sequence token, which the authors' "
       "code used "
       "whenever the path of the model contained \"llama\"."},
      {"data.special_tokens", choice(c.special_tokens),
       "What a special token spelled out in a text, such as `</s>`, becomes. `parse`: that token, as in Hugging Face's "
       "slow "
       "LLaMA tokenizer. `plain`: ordinary text."},
      {"data.max_length", integer(c.max_length, 2),
       "The most tokens of a prompt with one of its responses. The prompt is cut on the right to this length, then "
       "each "
       "response on the right to the room left. A response that is cut has no EOS.",
       "model_max_length max_seq_length cutoff_len"},
      {"data.responses", choice(c.responses),
       "Which responses of a row are used: `all`, the last two (`provided`), or all but the last two (`sampled`): HH "
       "rows "
       "made by the authors' code end with the two that people ranked.",
       "only_use_provide only_use_sample"},
      {"data.stop_response", flag(c.stop_response),
       "End each response where the next turn of a dialogue begins (`\\n\\nHuman:`, `\\n\\nAssistant:`)."},
      {"data.shuffle", flag(c.shuffle),
       "Draw a new order of the training rows each epoch; `false` keeps the order of the files."},
      {"data.cache", text(c.cache, Empty::refused),
       "Where rows are kept as tokens, so that the next run with the same files, tokenizer and data settings maps them "
       "instead of tokenizing again (docs/data.md): a folder. `auto`: `$XDG_CACHE_HOME/rrhf/tokens` or "
       "`~/.cache/rrhf/tokens`, for files of 16 MiB or more together. `off`: nowhere; tokens stay in memory.",
       "cache_dir dataset_cache_dir tokenized_path"},
  };
}

Options objective_options(ObjectiveConfig& c, const std::vector<std::string>& rank_losses) {
  return {
      {"objective.rank_loss", word(c.rank_loss, rank_losses),
       "The ranking loss (docs/losses.md). `none` leaves plain fine-tuning on the best response of each row.",
       "loss loss_type"},
      {"objective.rank_weight", number(c.rank_weight, {.least = 0}),
       "What the ranking loss counts in the total. The logged `rank_loss` is without it.", "rrhf_weight"},
      {"objective.sft_weight", number(c.sft_weight, {.least = 0}),
       "What the fine-tuning loss on the best response counts in the total. The logged `sft_loss` is without it."},
      {"objective.normalization", choice(c.normalization),
       "What the log-probability of a response is divided by to make its score. `response`: its own number of tokens. "
       "`padded`: the longest prompt with response of the row, as in the authors' code. `none`: nothing."},
      {"objective.length_penalty", number(c.length_penalty),
       "The power of that length: 1 gives the mean per token, 0 the sum."},
      {"objective.sft_reduction", choice(c.sft_reduction),
       "How the best response's token losses are put together: their `mean`, their `sum` (the paper), or the sum "
       "divided by the "
       "`padded` length (the authors' code)."},
  };
}

Options optimizer_options(OptimizerConfig& c) {
  return {
      {"optimizer.name", word(c.name, {"adamw"}), "The optimizer.", "optim"},
      {"optimizer.learning_rate", number(c.learning_rate, {.least = 0}), "The highest learning rate of the schedule.",
       "lr"},
      {"optimizer.betas", number_pair(c.betas, {.least = 0, .below = 1}),
       "How slowly Adam's means of the gradient and of its square change.", "adam_beta1 adam_beta2 adam_betas"},
      {"optimizer.epsilon", number(c.epsilon, {.above = 0}), "Added to Adam's denominator.", "eps adam_epsilon"},
      {"optimizer.weight_decay", number(c.weight_decay, {.least = 0}),
       "The share of each weight, times the learning rate, taken off at a step."},
      {"optimizer.max_grad_norm", number(c.max_grad_norm, {.least = 0}),
       "A gradient with a larger norm, taken over all weights, is scaled down to it; 0 leaves gradients alone.",
       "clip grad_clip clipping gradient_clipping"},
      {"optimizer.masters", choice(c.masters),
       "With `model.dtype` bfloat16: weights are kept in float32 beside those computed with, or, with `none`, in "
       "bfloat16 "
       "alone, and rounded at random (up or down, right on average): 4 bytes a weight less.",
       "master_weights"},
      {"optimizer.moments", choice(c.moments),
       "How Adam's two means are kept: `float32` takes 8 bytes a weight, `bfloat16` 4, `8bit` 2. The narrow ones are "
       "rounded at random (docs/cuda.md).",
       "optimizer_state optim_bits adam_8bit adamw_8bit"},
      {"optimizer.place", choice(c.place),
       "Where gradients, masters and moments are kept when one process trains on a GPU: with `host` in the machine's "
       "own "
       "memory, where the update is computed too; the GPU then holds weights, activations and a few layers' gradients.",
       "cpu_offload offload"},
      {"optimizer.update", choice(c.update),
       "When weights are updated: at the end of a `step`, or, with `layer`, in its backward pass, each layer's weights "
       "as soon as their gradients are there, which then are not kept. For one process, steps of one pack, "
       "`optimizer.max_grad_norm` 0 and `optimizer.place` device.",
       "optimizer_in_backward lomo"},
  };
}

Options score_options(ScoreConfig& c) {
  return {
      {"score.rule", text(c.rule, Empty::allowed),
       "The rule file that gives the rewards in `rrhf iterate` (docs/rewards.md).", "rules"},
      {"score.reward_model", text(c.reward_model, Empty::allowed),
       "The reward model that gives them: a LlamaForSequenceClassification folder. One of the two is needed there.",
       "rm reward_model_path"},
      {"score.template", text(c.template_name, Empty::refused),
       "What stands around a query when a reward model reads it: the words of `data.template`, which is for the model "
       "that is trained."},
      {"score.joining", choice(c.joining),
       "`together`: prompt and response are tokenized as one text. `apart`: each by itself, as `data.encoding: plain` "
       "does."},
      {"score.join", text(c.join, Empty::allowed), "What stands between the prompt and the response, such as a space.",
       "separator"},
      {"score.eos", flag(c.eos), "The sequence ends with the end-of-sequence token, and the reward is read there."},
      {"score.max_length", integer_or(c.max_length, 3, "positions"),
       "The most tokens a reward model reads. A longer sequence keeps its BOS and its end. `positions`: as many as the "
       "reward model was made for."},
  };
}

void append(Options& all, Options more) {
  all.insert(all.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

}  // namespace

std::vector<Option> options_of(RunConfig& config, const std::vector<std::string>& rank_losses) {
  Options all = general_options(config);
  append(all, model_options(config.model));
  append(all, lora_options(config.lora));
  append(all, data_options(config.data));
  append(all, objective_options(config.objective, rank_losses));
  append(all, optimizer_options(config.optimizer));
  append(all, schedule_options(config.schedule));
  append(all, train_options(config.train));
  append(all, checkpoint_options(config.checkpoint));
  append(all, eval_options(config.eval));
  append(all, parallel_options(config.parallel));
  append(all, sample_options(config.sample));
  append(all, score_options(config.score));
  append(all, iterate_options(config.iterate));
  return all;
}

const std::vector<Section>& sections() {
  static const std::vector<Section> all{
      {"model", "The model to start from."},
      {"lora", "Adapters that are trained instead of the weights (LoRA, Hu et al. 2021)."},
      {"data", "The rows, and how they become tokens."},
      {"objective", "What is minimized: rank_weight × rank loss + sft_weight × SFT loss (docs/losses.md)."},
      {"optimizer", "How weights follow gradients."},
      {"schedule", "The learning rate over the run."},
      {"train", "How long, in what order, how much at once."},
      {"checkpoint", "What is saved."},
      {"eval", "When the model is evaluated while it trains."},
      {"parallel", "How several processes share the work."},
      {"sample",
       "How `rrhf iterate` samples responses: the flags of `rrhf sample` (docs/generate.md), with the same defaults. "
       "The "
       "template "
       "is `data.template`, the precision `model.dtype`."},
      {"score",
       "Where `rrhf iterate` takes rewards from, and how a reward model reads rows, there and in `rrhf score` "
       "(docs/rewards.md)."},
      {"iterate", "The rounds of `rrhf iterate` (docs/iterate.md)."},
  };
  return all;
}

bool is_section(std::string_view name) {
  return std::ranges::any_of(sections(), [name](const Section& section) { return section.name == name; });
}

std::string_view section_of(std::string_view key) {
  const auto dot = key.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : key.substr(0, dot);
}

std::string_view last_part(std::string_view key) { return key.substr(key.rfind('.') + 1); }

}  // namespace rrhf::config
