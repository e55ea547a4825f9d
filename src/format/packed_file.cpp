#include "format/packed_file.h"

#include <algorithm>
#include <atomic>

#include "core/checksum.h"
#include "format/checked.h"

namespace lamina::format {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

constexpr uint64_t kMagic = 0x4b50414e494d414c;  // "LAMINAPK"
constexpr uint64_t kVersion = 1;

/// The first bytes of the file, as they lie.
struct Header {
  uint64_t magic = kMagic;
  uint64_t version = kVersion;
  uint64_t file_bytes = 0;
  uint64_t table_offset = 0;
  uint64_t table_checksum = 0;
  uint64_t source_checksum = 0;
  uint64_t unused = 0;
  uint64_t checksum = 0;  ///< of all before
};
static_assert(sizeof(Header) == core::kAlignment);

uint64_t checksum_of(const Header& header) {
  return core::checksum(std::as_bytes(std::span(&header, 1)).first(offsetof(Header, checksum)));
}

void append(std::vector<std::byte>& table, std::span<const std::byte> bytes) {
  table.insert(table.end(), bytes.begin(), bytes.end());
}
void append(std::vector<std::byte>& table, uint64_t number) {
  append(table, std::as_bytes(std::span(&number, 1)));
}
void append(std::vector<std::byte>& table, std::string_view text) {
  append(table, text.size());
  append(table, std::as_bytes(std::span(text)));
}

bool read_text(ByteReader& reader, std::string_view& text) {
  uint64_t size = 0;
  std::span<const std::byte> bytes;
  if (!reader.read(size) || !reader.take(size, bytes)) return false;
  text = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  return true;
}

}  // namespace

Result<PackedFile> PackedFile::open(const std::filesystem::path& path) {
  PackedFile packed;
  packed.path_ = path;
  LAMINA_ASSIGN(packed.file_, core::MappedFile::open(path));
  const std::span<const std::byte> bytes = packed.file_.bytes();
  Header header;
  ByteReader reader(bytes);
  if (!reader.read(header) || header.magic != kMagic) {
    return fail(ErrorCode::kCorrupt, path.string(), "is not a file of packed weights");
  }
  if (header.version != kVersion) {
    return fail(ErrorCode::kCorrupt, path.string(), "is of version {}; {} expected", header.version, kVersion);
  }
  if (header.checksum != checksum_of(header)) {
    return fail(ErrorCode::kCorrupt, path.string(), "its header is damaged");
  }
  if (header.file_bytes != bytes.size()) {
    return fail(ErrorCode::kCorrupt, path.string(), "has {} bytes; {} expected", bytes.size(), header.file_bytes);
  }
  if (header.table_offset < sizeof(Header) || header.table_offset > bytes.size() ||
      core::checksum(bytes.subspan(header.table_offset)) != header.table_checksum) {
    return fail(ErrorCode::kCorrupt, path.string(), "its table is damaged");
  }
  packed.source_checksum_ = header.source_checksum;
  LAMINA_CHECK_OK(packed.read_table(bytes.subspan(header.table_offset), header.table_offset));
  return packed;
}

/// `begin`: where the table begins, and the pieces end.
Status PackedFile::read_table(std::span<const std::byte> table, uint64_t begin) {
  const auto damaged = [this] { return fail(ErrorCode::kCorrupt, path_.string(), "its table contradicts itself"); };
  ByteReader reader(table);
  if (!read_text(reader, stamp_)) return damaged();
  while (reader.left() > 0) {
    PackedPiece piece;
    uint64_t offset = 0;
    uint64_t size = 0;
    const bool whole =
        read_text(reader, piece.key) && reader.read(offset) && reader.read(size) && reader.read(piece.checksum);
    if (!whole || offset < sizeof(Header) || offset % core::kAlignment != 0 || offset > begin ||
        size > begin - offset) {
      return damaged();
    }
    piece.bytes = file_.bytes().subspan(offset, size);
    pieces_.push_back(piece);
  }
  return {};
}

Status PackedFile::verify(core::ThreadPool& pool) const {
  std::atomic<size_t> next = 0;
  std::atomic<size_t> wrong = pieces_.size();
  pool.run([&](int, int) {
    for (size_t i = next++; i < pieces_.size(); i = next++) {
      if (core::checksum(pieces_[i].bytes) == pieces_[i].checksum) continue;
      size_t first = wrong;
      while (i < first && !wrong.compare_exchange_weak(first, i)) {
      }
    }
  });
  if (wrong == pieces_.size()) return {};
  return fail(ErrorCode::kCorrupt, path_.string(), "{} is damaged", excerpt(pieces_[wrong].key));
}

Result<PackedWriter> PackedWriter::create(const std::filesystem::path& path) {
  LAMINA_ASSIGN(OutputFile out, OutputFile::create(path));
  const Header empty;
  LAMINA_CHECK_OK(out.write(std::as_bytes(std::span(&empty, 1))));
  return PackedWriter(std::move(out));
}

Status PackedWriter::add(std::string key, std::span<const std::byte> bytes) {
  LAMINA_CHECK_OK(out_.pad(core::kAlignment));
  entries_.push_back(
      {.key = std::move(key), .offset = out_.position(), .size = bytes.size(), .checksum = core::checksum(bytes)});
  return out_.write(bytes);
}

Status PackedWriter::commit(std::string_view stamp, uint64_t source_checksum) {
  LAMINA_CHECK_OK(out_.pad(core::kAlignment));
  Header header;
  header.table_offset = out_.position();
  header.source_checksum = source_checksum;
  std::vector<std::byte> table;
  append(table, stamp);
  for (const Entry& entry : entries_) {
    append(table, entry.key);
    append(table, entry.offset);
    append(table, entry.size);
    append(table, entry.checksum);
  }
  header.table_checksum = core::checksum(table);
  header.file_bytes = header.table_offset + table.size();
  header.checksum = checksum_of(header);
  LAMINA_CHECK_OK(out_.write(table));
  LAMINA_CHECK_OK(out_.overwrite(0, std::as_bytes(std::span(&header, 1))));
  return out_.commit();
}

}  // namespace lamina::format
