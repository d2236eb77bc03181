#include "rrhf/model/config_fields.h"

#include <algorithm>
#include <array>

namespace rrhf::model {
namespace {

// Fields that change nothing in training or log-probs here: bookkeeping, generation defaults, dropout that LLaMA has at
// 0.
constexpr std::array harmless_fields{"_name_or_path",
                                     "architectures",
                                     "torch_dtype",
                                     "dtype",
                                     "transformers_version",
                                     "use_cache",
                                     "model_type",
                                     "initializer_range",
                                     "return_dict",
                                     "output_hidden_states",
                                     "output_attentions",
                                     "torchscript",
                                     "id2label",
                                     "label2id",
                                     "num_labels",
                                     "problem_type",
                                     "finetuning_task",
                                     "task_specific_params",
                                     "tokenizer_class",
                                     "prefix",
                                     "sep_token_id",
                                     "decoder_start_token_id",
                                     "is_decoder",
                                     "is_encoder_decoder",
                                     "add_cross_attention",
                                     "cross_attention_hidden_size",
                                     "chunk_size_feed_forward",
                                     "max_length",
                                     "min_length",
                                     "do_sample",
                                     "early_stopping",
                                     "num_beams",
                                     "num_beam_groups",
                                     "diversity_penalty",
                                     "temperature",
                                     "top_k",
                                     "top_p",
                                     "typical_p",
                                     "repetition_penalty",
                                     "length_penalty",
                                     "no_repeat_ngram_size",
                                     "encoder_no_repeat_ngram_size",
                                     "bad_words_ids",
                                     "num_return_sequences",
                                     "output_scores",
                                     "return_dict_in_generate",
                                     "forced_bos_token_id",
                                     "forced_eos_token_id",
                                     "remove_invalid_values",
                                     "exponential_decay_length_penalty",
                                     "suppress_tokens",
                                     "begin_suppress_tokens",
                                     "tf_legacy_loss",
                                     "use_bfloat16",
                                     "pruned_heads",
                                     "unk_token_id",
                                     "max_sequence_length",
                                     "layer_types",
                                     "pretraining_tp",  // how products were cut up, not what they are
                                     "_attn_implementation_autoset"};

// Fields the struct holds or that are checked below by value.
constexpr std::array understood_fields{"vocab_size",
                                       "hidden_size",
                                       "intermediate_size",
                                       "num_hidden_layers",
                                       "num_attention_heads",
                                       "num_key_value_heads",
                                       "head_dim",
                                       "max_position_embeddings",
                                       "rms_norm_eps",
                                       "rope_theta",
                                       "rope_scaling",
                                       "rope_parameters",
                                       "tie_word_embeddings",
                                       "bos_token_id",
                                       "eos_token_id",
                                       "pad_token_id",
                                       "hidden_act",
                                       "attention_bias",
                                       "mlp_bias",
                                       "attention_dropout",
                                       "hidden_dropout",
                                       "embd_pdrop",
                                       "quantization_config",
                                       "sliding_window",
                                       "use_sliding_window",
                                       "partial_rotary_factor",
                                       "tie_encoder_decoder"};

template <std::size_t N>
bool contains(const std::array<const char*, N>& names, std::string_view name) {
  return std::ranges::any_of(names, [&](std::string_view known) { return known == name; });
}

}  // namespace

bool is_known_config_field(std::string_view name) {
  return contains(harmless_fields, name) || contains(understood_fields, name);
}

}  // namespace rrhf::model
