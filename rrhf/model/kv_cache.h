// Keys and values of sequences that are being decoded, in pages that sequences share.
//
// A page holds `page_size` positions of all layers. A sequence is a list of pages; a copy of it shares them, and only
// the page that both go on writing to is copied, once one of them does. So a prompt's keys and values exist once for
// all its samples, and beams that part share what came before.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "rrhf/model/llama_config.h"

namespace rrhf::model {

/// Not thread-safe. Must outlive its sequences and stay where it is.
class KvCache {
 public:
  static constexpr std::int64_t page_size = 16;

  /// `zeroed`: places that were never written hold zeros, for readers that multiply them by 0.
  KvCache(const LlamaConfig& config, at::TensorOptions options, bool zeroed = true);
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  /// Makes room for so many pages in all, so that decoding need not.
  void reserve(std::int64_t pages);

  /// P: pages, L: layers, K: key/value heads, H: head_dim, S: page_size. Keys lie position by position for one
  /// dimension after the other, so that a page's scores are sums over registers of positions.
  /// Memory moves when pages are added.
  const at::Tensor& keys_PLKHS() const noexcept { return keys_PLKHS_; }
  const at::Tensor& values_PLKSH() const noexcept { return values_PLKSH_; }

  std::int64_t pages_in_use() const noexcept;

 private:
  friend class CachedSequence;
  std::int32_t take();
  void share(std::int32_t page) { ++owners_[static_cast<std::size_t>(page)]; }
  void release(std::int32_t page) noexcept;
  bool shared(std::int32_t page) const { return owners_[static_cast<std::size_t>(page)] > 1; }
  void copy_page(std::int32_t from, std::int32_t to);
  at::Tensor grown(const at::Tensor& old, std::int64_t pages) const;

  bool zeroed_;
  at::Tensor keys_PLKHS_, values_PLKSH_;
  std::vector<std::int32_t> owners_;  // of each page
  std::vector<std::int32_t> free_;    // with room for all, so that release() need not allocate
};

/// One sequence's places in a KvCache. Copying shares, destroying gives back.
class CachedSequence {
 public:
  explicit CachedSequence(KvCache& cache) : cache_(&cache) {}
  CachedSequence(const CachedSequence& other);
  CachedSequence(CachedSequence&& other) noexcept;
  CachedSequence& operator=(CachedSequence other) noexcept;
  ~CachedSequence();

  std::int64_t length() const noexcept { return length_; }
  std::span<const std::int32_t> pages() const noexcept { return pages_; }

  /// Adds `count` positions, to be written next; nobody else sees them.
  void extend(std::int64_t count);

 private:
  KvCache* cache_;
  std::vector<std::int32_t> pages_;
  std::int64_t length_ = 0;
};

}  // namespace rrhf::model
