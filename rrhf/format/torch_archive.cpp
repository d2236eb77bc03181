#include "rrhf/format/torch_archive.h"

#include <algorithm>

#include "rrhf/core/error.h"
#include "rrhf/core/unicode.h"
#include "rrhf/format/bytes.h"
#include "rrhf/format/pickle.h"
#include "rrhf/format/state_dict.h"

namespace rrhf::format {
namespace {

using Bytes = std::span<const std::byte>;

// What PyTorch wrote before 1.6: a pickle that begins with a magic number, and before 0.1.10 a tar.
bool is_bare_pickle(std::string_view text) {
  return text.size() >= 2 && text[0] == '\x80' && text[1] >= 1 && text[1] <= 5;
}
bool is_tar(std::string_view text) { return text.size() >= 262 && text.substr(257, 5) == "ustar"; }

void refuse_legacy(Bytes bytes, std::string_view where) {
  refuse_other_files(bytes, "torch", where);
  const std::string_view text = text_of(bytes.first(std::min<std::size_t>(bytes.size(), 512)));
  if (is_bare_pickle(text) || is_tar(text)) {
    throw_input("torch",
                "{}: is a {} as PyTorch before 1.6 wrote it; a newer PyTorch reads it and writes the format read here: "
                "python -c \"import sys, torch; f = sys.argv[1]; torch.save(torch.load(f, map_location='cpu', "
                "weights_only=True), f)\" {} (weights_only: without it, a file from elsewhere may run any program)",
                where, is_tar(text) ? "tar" : "bare pickle", shell_word(where));
  }
  if (!text.starts_with("PK")) {
    throw_input("torch", "{}: is no zip archive, as torch.save writes them{}", where,
                text.size() > 8 && text[8] == '{' ? "; it looks like safetensors: name it *.safetensors" : "");
  }
}

// The "NAME/" that all members begin with.
std::string_view archive_prefix(const ZipArchive& zip, std::string_view where) {
  std::string_view prefix;
  for (const ZipMember& member : zip.members()) {
    const std::size_t slash = member.name.find('/');
    if (slash == member.name.npos || member.name.substr(slash + 1) != "data.pkl") continue;
    if (!prefix.empty()) throw_input("torch", "{}: holds two state dicts", where);
    prefix = member.name.substr(0, slash + 1);
  }
  if (prefix.empty())
    throw_input("torch", "{}: is a zip archive without a data.pkl: torch.save did not write it", where);
  return prefix;
}

void require_little_endian(const ZipArchive& zip, std::string_view prefix, std::string_view where) {
  const ZipMember* member = zip.find(fmt::format("{}byteorder", prefix));
  if (member == nullptr) return;  // before PyTorch 2.1 there was none, nor big-endian machines worth the name
  if (const std::string_view order = text_of(member->data); order != "little") {
    throw_input("torch", "{}: its byte order is \"{}\"; little is read. Save it again on a little-endian machine",
                where, shown(order));
  }
}

}  // namespace

TorchArchive parse_torch_archive(Bytes bytes, std::string_view where) {
  refuse_legacy(bytes, where);
  const ZipArchive zip(bytes, where);
  const std::string_view prefix = archive_prefix(zip, where);
  require_little_endian(zip, prefix, where);
  const ZipMember& data = *zip.find(fmt::format("{}data.pkl", prefix));
  const bool has_checksums = std::ranges::any_of(zip.members(), [](const ZipMember& m) { return m.crc32 != 0; });
  if (has_checksums) verify_member(data, where);
  const std::size_t memory = least_pickle_memory + bytes.size();
  const std::string name = fmt::format("{}: {}", where, shown(data.name));
  const Pickle pickle = parse_pickle(data.data, state_dict_globals(), name, memory);
  TorchArchive archive = StateDictReader(pickle, zip, prefix, where, memory).read();
  archive.has_checksums = has_checksums;
  return archive;
}

}  // namespace rrhf::format
