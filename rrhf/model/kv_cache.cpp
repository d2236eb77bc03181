#include "rrhf/model/kv_cache.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

namespace rrhf::model {
KvCache::KvCache(const LlamaConfig& config, at::TensorOptions options, bool zeroed) : zeroed_(zeroed) {
  const std::int64_t layers = config.num_hidden_layers, kv = config.num_key_value_heads, h = config.head_dim;
  keys_PLKHS_ = at::empty({0, layers, kv, h, page_size}, options);
  values_PLKSH_ = at::empty({0, layers, kv, page_size, h}, options);
}

at::Tensor KvCache::grown(const at::Tensor& old, std::int64_t pages) const {
  std::vector<std::int64_t> shape = old.sizes().vec();
  shape.front() = pages;
  at::Tensor result = zeroed_ ? at::zeros(shape, old.options()) : at::empty(shape, old.options());
  result.narrow(0, 0, old.size(0)).copy_(old);
  return result;
}

void KvCache::reserve(std::int64_t pages) {
  const std::int64_t old = std::ssize(owners_);
  if (pages <= old) return;
  keys_PLKHS_ = grown(keys_PLKHS_, pages);
  values_PLKSH_ = grown(values_PLKSH_, pages);
  owners_.resize(static_cast<std::size_t>(pages), 0);
  free_.reserve(static_cast<std::size_t>(pages));
  for (std::int64_t page = pages; page-- > old;) free_.push_back(static_cast<std::int32_t>(page));
}

std::int64_t KvCache::pages_in_use() const noexcept { return std::ssize(owners_) - std::ssize(free_); }

std::int32_t KvCache::take() {
  if (free_.empty()) reserve(std::max<std::int64_t>(16, 2 * std::ssize(owners_)));
  const std::int32_t page = free_.back();
  free_.pop_back();
  owners_[static_cast<std::size_t>(page)] = 1;
  return page;
}

void KvCache::release(std::int32_t page) noexcept {
  if (--owners_[static_cast<std::size_t>(page)] == 0) free_.push_back(page);
}

void KvCache::copy_page(std::int32_t from, std::int32_t to) {
  keys_PLKHS_[to].copy_(keys_PLKHS_[from]);
  values_PLKSH_[to].copy_(values_PLKSH_[from]);
}

CachedSequence::CachedSequence(const CachedSequence& other)
    : cache_(other.cache_), pages_(other.pages_), length_(other.length_) {
  for (const std::int32_t page : pages_) cache_->share(page);
}

CachedSequence::CachedSequence(CachedSequence&& other) noexcept
    : cache_(other.cache_), pages_(std::exchange(other.pages_, {})), length_(std::exchange(other.length_, 0)) {}

CachedSequence& CachedSequence::operator=(CachedSequence other) noexcept {
  std::swap(cache_, other.cache_);
  std::swap(pages_, other.pages_);
  std::swap(length_, other.length_);
  return *this;
}

CachedSequence::~CachedSequence() {
  for (const std::int32_t page : pages_) cache_->release(page);
}

void CachedSequence::extend(std::int64_t count) {
  const bool writes_last = count > 0 && length_ % KvCache::page_size != 0;
  if (writes_last && cache_->shared(pages_.back())) {
    const std::int32_t own = cache_->take();
    cache_->copy_page(pages_.back(), own);
    cache_->release(std::exchange(pages_.back(), own));
  }
  length_ += count;
  while (std::ssize(pages_) * KvCache::page_size < length_) pages_.push_back(cache_->take());
}

}  // namespace rrhf::model
