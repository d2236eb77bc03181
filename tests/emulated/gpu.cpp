#include "tests/emulated/gpu.h"

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "tests/emulated/machine.h"

namespace rrhf::emulated {
namespace {

struct Allocator final : c10::Allocator {
  c10::DataPtr allocate(std::size_t size) override {
    return Machine::instance().allocate(std::max<std::size_t>(size, 1));
  }
  void copy_data(void* to, const void* from, std::size_t size) const override { std::memcpy(to, from, size); }
};

// Streams are agents, events points in time.
class Guard final : public c10::impl::DeviceGuardImplInterface {
 public:
  at::DeviceType type() const override { return device_type; }
  at::Device exchangeDevice(at::Device) const override { return getDevice(); }
  at::Device getDevice() const override { return {device_type, 0}; }
  void setDevice(at::Device) const override {}
  void uncheckedSetDevice(at::Device) const noexcept override {}
  at::DeviceIndex deviceCount() const noexcept override { return 1; }

  c10::Stream getStream(at::Device) const override { return stream(Machine::current_stream()); }
  c10::Stream getDefaultStream(at::Device) const override { return stream(default_stream); }
  c10::Stream getStreamFromGlobalPool(at::Device, bool) const override {
    return stream(Machine::instance().pooled_stream());
  }
  c10::Stream exchangeStream(c10::Stream to) const override {
    return stream(std::exchange(Machine::current_stream(), static_cast<Agent>(to.id())));
  }

  void destroyEvent(void* event, at::DeviceIndex) const noexcept override { delete static_cast<Time*>(event); }
  void record(void** event, const c10::Stream& on, at::DeviceIndex, c10::EventFlag) const override {
    delete static_cast<Time*>(*event);
    *event = new Time(Machine::instance().now(static_cast<Agent>(on.id())));
  }
  void block(void* event, const c10::Stream& on) const override {
    if (event != nullptr) Machine::instance().wait(static_cast<Agent>(on.id()), *static_cast<Time*>(event));
  }
  bool queryEvent(void* event) const override {
    return event == nullptr || Machine::instance().passed(*static_cast<Time*>(event));
  }
  void synchronizeEvent(void* event) const override {
    if (event != nullptr) Machine::instance().wait(host_agent, *static_cast<Time*>(event));
  }

 private:
  static c10::Stream stream(Agent agent) {
    return c10::Stream(c10::Stream::UNSAFE, at::Device(device_type, 0), static_cast<c10::StreamId>(agent));
  }
};

Allocator allocator;
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

bool is_emulated(const at::Tensor& tensor) { return tensor.defined() && tensor.device().type() == device_type; }

void host_waits() {
  Machine& machine = Machine::instance();
  machine.wait(host_agent, machine.now(Machine::current_stream()));
}

// The same memory as a tensor of the CPU.
at::Tensor on_cpu(const at::Tensor& tensor) {
  return at::from_blob(tensor.mutable_data_ptr(), tensor.sizes(), tensor.strides(), tensor.options().device(at::kCPU));
}

at::Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                 std::optional<at::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  const auto type = dtype.value_or(at::typeMetaToScalarType(at::get_default_dtype()));
  return at::detail::empty_generic(size, &allocator, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), type, format);
}

at::Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride, std::optional<at::ScalarType> dtype,
                         std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  const auto type = dtype.value_or(at::typeMetaToScalarType(at::get_default_dtype()));
  return at::detail::empty_strided_generic(size, stride, &allocator, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                           type);
}

// The result of an operation: computed on the CPU, in memory of the device.
at::Tensor taken_over(const at::Tensor& result) {
  const at::Tensor own = empty_strided(result.sizes(), result.strides(), result.scalar_type(), {}, {}, {});
  on_cpu(own).copy_(result);
  return own;
}

at::Tensor& copy(at::Tensor& to, const at::Tensor& from, bool non_blocking) {
  Machine::instance().operate(Machine::current_stream(), "copy_", {from}, {to});
  at::Tensor there = is_emulated(to) ? on_cpu(to) : to;
  there.copy_(is_emulated(from) ? on_cpu(from) : from);
  const bool crosses = is_emulated(to) != is_emulated(from);
  if (crosses && !non_blocking) host_waits();
  return to;
}

// Products of narrow matrices into wide ones, which the CPU's kernels lack.
at::Tensor& wide_mm(const at::Tensor& a, const at::Tensor& b, at::ScalarType type, at::Tensor& out) {
  Machine::instance().operate(Machine::current_stream(), "aten::mm.dtype_out", {a, b}, {out});
  on_cpu(out).copy_(on_cpu(a).to(type).mm(on_cpu(b).to(type)));
  return out;
}

at::Tensor& wide_addmm(const at::Tensor& to, const at::Tensor& a, const at::Tensor& b, at::ScalarType type,
                       const at::Scalar& beta, const at::Scalar& alpha, at::Tensor& out) {
  Machine::instance().operate(Machine::current_stream(), "aten::addmm.dtype_out", {to, a, b}, {out});
  on_cpu(out).copy_(on_cpu(to).addmm(on_cpu(a).to(type), on_cpu(b).to(type), beta, alpha));
  return out;
}

void record_stream(at::Tensor& tensor, c10::Stream stream) {
  Machine::instance().record_stream(tensor, static_cast<Agent>(stream.id()));
}

// One call of an operation: its tensors exchanged for the CPU's, and back.
class Call {
 public:
  Call(const c10::OperatorHandle& operation, torch::jit::Stack& stack) : operation_(operation), stack_(stack) {
    const auto& arguments = operation.schema().arguments();
    const std::size_t begin = stack.size() - arguments.size();
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      const bool writes = arguments[i].alias_info() != nullptr && arguments[i].alias_info()->isWrite();
      stack[begin + i] = exchanged(stack[begin + i], writes);
    }
  }

  void run() {
    const std::string name = c10::toString(operation_.operator_name());
    Machine::instance().operate(Machine::current_stream(), name, read_, written_);
    operation_.callBoxed(&stack_);
    std::vector<at::Tensor> made = resized();
    bool host_is_told = false;
    for (std::size_t i = stack_.size() - operation_.schema().returns().size(); i < stack_.size(); ++i) {
      if (!stack_[i].isTensor()) {
        TORCH_CHECK(!stack_[i].isTensorList(), "the emulated GPU has no ", name, ", which returns a list");
        host_is_told = true;
        continue;
      }
      const at::Tensor result = stack_[i].toTensor();
      if (!result.defined()) continue;
      const auto same =
          std::find_if(pairs_.begin(), pairs_.end(), [&](const auto& pair) { return pair.second.is_same(result); });
      if (same != pairs_.end()) {
        stack_[i] = same->first;
        continue;
      }
      for (const auto& pair : pairs_) {
        TORCH_CHECK(!pair.second.storage().is_alias_of(result.storage()), "the emulated GPU has no ", name,
                    ", which returns a view");
      }
      made.push_back(taken_over(result));
      stack_[i] = made.back();
    }
    // New memory may have been another's before.
    if (!made.empty()) Machine::instance().write_made(Machine::current_stream(), name, made);
    if (host_is_told) host_waits();
  }

 private:
  c10::IValue exchanged(const c10::IValue& value, bool writes) {
    if (value.isTensor()) return exchanged(value.toTensor(), writes);
    if (value.isTensorList()) {
      std::vector<at::Tensor> own;
      for (const at::Tensor& tensor : value.toTensorVector()) own.push_back(exchanged(tensor, writes));
      return own;
    }
    if (value.isList()) {  // of tensors that may be missing, as indices are
      c10::List<std::optional<at::Tensor>> own;
      for (const c10::IValue& item : value.toListRef()) {
        if (!item.isNone() && !item.isTensor()) return value;
        own.push_back(item.isNone() ? std::optional<at::Tensor>() : exchanged(item.toTensor(), writes));
      }
      return own.empty() ? value : c10::IValue(own);
    }
    if (value.isDevice() && value.toDevice().type() == device_type) return at::Device(at::kCPU);
    return value;
  }

  at::Tensor exchanged(const at::Tensor& tensor, bool writes) {
    if (!is_emulated(tensor)) {
      TORCH_CHECK(!tensor.defined() || tensor.dim() == 0, operation_.schema().name(),
                  " of the emulated GPU was given a tensor of the host");
      return tensor;
    }
    (writes ? written_ : read_).push_back(tensor);
    const bool to_be_sized = writes && tensor.numel() == 0;
    const at::Tensor same = to_be_sized ? at::empty({0}, tensor.options().device(at::kCPU)) : on_cpu(tensor);
    return pairs_.emplace_back(tensor, same).second;
  }

  // Those that came without elements, to be given as many as the result has.
  std::vector<at::Tensor> resized() const {
    std::vector<at::Tensor> made;
    for (const auto& [there, here] : pairs_) {
      if (there.numel() > 0 || here.numel() == 0) continue;
      const at::Tensor own = taken_over(here);
      there.unsafeGetTensorImpl()->set_storage_keep_dtype(own.storage());
      there.unsafeGetTensorImpl()->set_sizes_and_strides(own.sizes(), own.strides(), 0);
      made.push_back(there);
    }
    return made;
  }

  const c10::OperatorHandle& operation_;
  torch::jit::Stack& stack_;
  std::vector<at::Tensor> read_, written_;
  std::vector<std::pair<at::Tensor, at::Tensor>> pairs_;  // the device's and the CPU's
};

void any_operation(const c10::OperatorHandle& operation, c10::DispatchKeySet, torch::jit::Stack* stack) {
  const at::AutoDispatchBelowADInplaceOrView below;
  Call(operation, *stack).run();
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&any_operation>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", &empty);
  library.impl("empty_strided", &empty_strided);
  library.impl("copy_", &copy);
  library.impl("mm.dtype_out", &wide_mm);
  library.impl("addmm.dtype_out", &wide_addmm);
  library.impl("record_stream", &record_stream);
  library.impl("view", &at::native::view);
  library.impl("as_strided", &at::native::as_strided_tensorimpl);
  library.impl("_reshape_alias", &at::native::_reshape_alias);
}

}  // namespace

at::Device gpu() { return {device_type, 0}; }

std::vector<std::string> races() { return Machine::instance().take_races(); }

void host_reads(const at::Tensor& tensor) { Machine::instance().operate(host_agent, "reading", {tensor}, {}); }

void host_writes(const at::Tensor& tensor) { Machine::instance().operate(host_agent, "writing", {}, {tensor}); }

std::int64_t take_peak() { return Machine::instance().take_peak(); }

std::map<std::string, std::int64_t> take_operations() { return Machine::instance().take_operations(); }

}  // namespace rrhf::emulated
