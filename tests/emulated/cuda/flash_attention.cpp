// Attention of sequences laid end to end, as LibTorch's flash attention computes it on a GPU, by plain products in
// float64: causal, a sequence's last query on a line with its last key, query heads sharing keys in groups.
#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <string_view>
#include <vector>

#include "tests/emulated/machine.h"

namespace rrhf::emulated {
namespace {

// A call's arguments by their names: releases of LibTorch differ in how many there are.
class Named {
 public:
  Named(const c10::OperatorHandle& operation, const torch::jit::Stack& stack) {
    const auto& arguments = operation.schema().arguments();
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      values_.emplace_back(arguments[i].name(), stack[stack.size() - arguments.size() + i]);
    }
  }

  const c10::IValue& operator[](std::string_view name) const {
    for (const auto& [own, value] : values_) {
      if (own == name) return value;
    }
    TORCH_CHECK(false, "flash attention has no argument ", name);
  }

  // A tensor of the GPU as the CPU sees it.
  at::Tensor tensor(std::string_view name) {
    const at::Tensor there = (*this)[name].toTensor();
    TORCH_CHECK(there.device().type() == device_type && there.stride(-1) == 1, name,
                " is not as flash attention takes it");
    read_.push_back(there);
    return at::from_blob(there.mutable_data_ptr(), there.sizes(), there.strides(), there.options().device(at::kCPU));
  }

  const std::vector<at::Tensor>& read() const { return read_; }

 private:
  std::vector<std::pair<std::string, c10::IValue>> values_;
  std::vector<at::Tensor> read_;
};

struct Sequences {
  Sequences(Named& call, std::string_view queries, std::string_view keys)
      : query_begin(call.tensor(queries)), key_begin(call.tensor(keys)) {
    TORCH_CHECK(query_begin.scalar_type() == at::kInt && key_begin.scalar_type() == at::kInt);
    TORCH_CHECK(call["is_causal"].toBool() && call["dropout_p"].toDouble() == 0);
    for (std::int64_t i = 0; i < count(); ++i) {
      TORCH_CHECK(size(query_begin, i) <= call["max_q"].toInt() && size(key_begin, i) <= call["max_k"].toInt());
    }
  }

  std::int64_t count() const { return query_begin.size(0) - 1; }
  static std::int64_t begin(const at::Tensor& of, std::int64_t i) { return of[i].item<std::int64_t>(); }
  static std::int64_t size(const at::Tensor& of, std::int64_t i) { return begin(of, i + 1) - begin(of, i); }

  at::Tensor queries(const at::Tensor& x, std::int64_t i) const { return part(x, query_begin, i); }
  at::Tensor keys(const at::Tensor& x, std::int64_t i) const { return part(x, key_begin, i); }

  at::Tensor query_begin, key_begin;

 private:
  static at::Tensor part(const at::Tensor& x, const at::Tensor& of, std::int64_t i) {
    return x.narrow(0, begin(of, i), size(of, i));
  }
};

// [rows, heads, width] as [query heads, rows, width] in float64.
at::Tensor by_head(const at::Tensor& x, std::int64_t query_heads) {
  return x.to(at::kDouble).transpose(0, 1).repeat_interleave(query_heads / x.size(1), 0);
}

at::Tensor scores_of(const at::Tensor& q_NRH, const at::Tensor& k_NCH, double scale) {
  const std::int64_t rows = q_NRH.size(1), columns = k_NCH.size(1);
  const at::Tensor hidden = at::ones({rows, columns}, at::kBool).triu(columns - rows + 1);
  return (q_NRH.matmul(k_NCH.transpose(1, 2)) * scale).masked_fill(hidden, -INFINITY);
}

at::Tensor on_gpu(const at::Tensor& x, const at::Tensor& like) {
  return x.to(like.scalar_type()).contiguous().to(at::Device(device_type, 0));
}

void note(const char* operation, const Named& call, const std::vector<at::Tensor>& made) {
  Machine::instance().operate(Machine::current_stream(), operation, call.read(), made);
}

void forward(const c10::OperatorHandle& operation, torch::jit::Stack* stack) {
  Named call(operation, *stack);
  const at::Tensor q = call.tensor("query"), k = call.tensor("key"), v = call.tensor("value");
  const Sequences sequences(call, "cum_seq_q", "cum_seq_k");
  const double scale = call["scale"].toDouble();
  const std::int64_t heads = q.size(1);
  const at::Tensor out = at::zeros(q.sizes(), at::kDouble), normalizer = at::zeros({heads, q.size(0)}, at::kDouble);
  for (std::int64_t i = 0; i < sequences.count(); ++i) {
    const at::Tensor keys = by_head(sequences.keys(k, i), heads), values = by_head(sequences.keys(v, i), heads);
    const at::Tensor scores = scores_of(by_head(sequences.queries(q, i), heads), keys, scale);
    sequences.queries(out, i).copy_(at::softmax(scores, -1).matmul(values).transpose(0, 1));
    sequences.queries(normalizer.t(), i).copy_(at::logsumexp(scores, -1).t());
  }
  const at::Tensor none = at::empty({0}, q.options().device(at::Device(device_type, 0)));
  const at::Tensor made = on_gpu(out, q), normalizers = on_gpu(normalizer, at::empty({0}, at::kFloat));
  note("flash attention", call, {made, normalizers});
  torch::jit::drop(*stack, operation.schema().arguments().size());
  torch::jit::push(*stack, made, normalizers, none, none, none);
}

void backward(const c10::OperatorHandle& operation, torch::jit::Stack* stack) {
  Named call(operation, *stack);
  const at::Tensor dout = call.tensor("grad_out"), out = call.tensor("out"), normalizer = call.tensor("logsumexp");
  const at::Tensor q = call.tensor("query"), k = call.tensor("key"), v = call.tensor("value");
  const Sequences sequences(call, "cum_seq_q", "cum_seq_k");
  const double scale = call["scale"].toDouble();
  const std::int64_t heads = q.size(1), kv_heads = k.size(1), group = heads / kv_heads;
  const at::Tensor dq = at::zeros(q.sizes(), at::kDouble), dk = at::zeros(k.sizes(), at::kDouble),
                   dv = at::zeros(v.sizes(), at::kDouble);
  const auto add_up = [&](const at::Tensor& of_heads) {
    return of_heads.unflatten(0, {kv_heads, group}).sum(1).transpose(0, 1);
  };
  for (std::int64_t i = 0; i < sequences.count(); ++i) {
    const at::Tensor queries = by_head(sequences.queries(q, i), heads), keys = by_head(sequences.keys(k, i), heads);
    const at::Tensor values = by_head(sequences.keys(v, i), heads), slopes = by_head(sequences.queries(dout, i), heads);
    const at::Tensor outs = by_head(sequences.queries(out, i), heads);
    const at::Tensor normalizers = sequences.queries(normalizer.t(), i).t().to(at::kDouble).unsqueeze(-1);
    const at::Tensor shares = at::exp(scores_of(queries, keys, scale) - normalizers);
    const at::Tensor along = (slopes * outs).sum(-1, /*keepdim=*/true);
    const at::Tensor ds = shares * (slopes.matmul(values.transpose(1, 2)) - along) * scale;
    sequences.queries(dq, i).copy_(ds.matmul(keys).transpose(0, 1));
    sequences.keys(dk, i).copy_(add_up(ds.transpose(1, 2).matmul(queries)));
    sequences.keys(dv, i).copy_(add_up(shares.transpose(1, 2).matmul(slopes)));
  }
  const at::Tensor made_q = on_gpu(dq, q), made_k = on_gpu(dk, k), made_v = on_gpu(dv, v);
  note("flash attention's backward pass", call, {made_q, made_k, made_v});
  torch::jit::drop(*stack, operation.schema().arguments().size());
  torch::jit::push(*stack, made_q, made_k, made_v);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("_flash_attention_forward", torch::CppFunction::makeFromBoxedFunction<&forward>());
  library.impl("_flash_attention_backward", torch::CppFunction::makeFromBoxedFunction<&backward>());
}

}  // namespace
}  // namespace rrhf::emulated
