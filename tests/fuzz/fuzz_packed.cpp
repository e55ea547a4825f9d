// Files of packed weights: the input itself, or what a small model's weights became with some bytes of header and table
// overwritten; with its own checksums, or with those made anew, so that what lies behind them is read too.
#include <fuzzer/FuzzedDataProvider.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/checksum.h"
#include "core/memory.h"
#include "format/packed_file.h"
#include "models/model.h"
#include "support/source_dir.h"

namespace {

using namespace lamina;
namespace fs = std::filesystem;

/// Numbers of the header, as packed_file.h lays it out.
enum Field : size_t { kFileBytes = 2, kTableOffset = 3, kTableChecksum = 4, kHeaderChecksum = 7, kFields = 8 };

/// A file of this process that is gone when it ends.
fs::path work_file(const char* name) {
  static const fs::path folder = [] {
    const fs::path path = fs::temp_directory_path() / ("lamina-fuzz-packed-" + std::to_string(getpid()));
    fs::create_directories(path);
    return path;
  }();
  static const int registered = std::atexit([] { fs::remove_all(folder); });
  (void)registered;
  return folder / name;
}

struct Seed {
  core::ThreadPool pool{1};
  std::unique_ptr<models::Model> model;
  std::string bytes;  ///< of its packed file
};

Seed& seed() {
  static const std::unique_ptr<Seed> made = [] {
    auto out = std::make_unique<Seed>();
    out->model = models::Model::build(source_dir() / "tests/golden/models/gqa/model.gguf", {.exact = false}).value();
    const fs::path path = work_file("seed");
    if (!out->model->save_packed(path, out->pool, {})) std::abort();
    std::ifstream file(path, std::ios::binary);
    out->bytes.assign(std::istreambuf_iterator<char>(file), {});
    return out;
  }();
  return *made;
}

using Header = std::array<uint64_t, kFields>;

void edit(std::string& bytes, FuzzedDataProvider& input) {
  Header header;
  std::memcpy(header.data(), bytes.data(), sizeof(header));
  const size_t table = header[kTableOffset];
  for (int edits = input.ConsumeIntegralInRange(0, 6); edits > 0; --edits) {
    const size_t at = input.ConsumeBool() ? input.ConsumeIntegralInRange<size_t>(0, sizeof(header) - 1)
                                          : input.ConsumeIntegralInRange<size_t>(table, bytes.size() - 1);
    const std::string with = input.ConsumeRandomLengthString(8);
    bytes.replace(at, std::min(with.size(), bytes.size() - at), with.substr(0, bytes.size() - at));
  }
}

void repair(std::string& bytes) {
  Header header;
  if (bytes.size() < sizeof(header)) return;
  std::memcpy(header.data(), bytes.data(), sizeof(header));
  header[kFileBytes] = bytes.size();
  if (header[kTableOffset] <= bytes.size())
    header[kTableChecksum] = core::checksum(std::as_bytes(std::span(bytes)).subspan(header[kTableOffset]));
  header[kHeaderChecksum] = core::checksum(std::as_bytes(std::span(header)).first(kHeaderChecksum * sizeof(uint64_t)));
  std::memcpy(bytes.data(), header.data(), sizeof(header));
}

void read(const std::string& bytes) {
  static const fs::path path = work_file("fuzzed");
  std::ofstream(path, std::ios::binary) << bytes;
  auto packed = format::PackedFile::open(path);
  if (!packed) return;
  const std::byte* begin = packed->pieces().empty() ? nullptr : packed->pieces().front().bytes.data();
  for (const format::PackedPiece& piece : packed->pieces()) {
    const auto address = reinterpret_cast<uintptr_t>(piece.bytes.data());
    if (address % core::kAlignment != 0 || piece.bytes.size() > bytes.size()) std::abort();
    if (static_cast<size_t>(std::abs(piece.bytes.data() - begin)) > bytes.size()) std::abort();
  }
  const bool whole = packed->verify(seed().pool).has_value();
  models::Model& model = *seed().model;
  if (!model.load_packed(std::move(*packed))) {
    // What nobody changed must be taken.
    if (whole && bytes == seed().bytes) std::abort();
    return;
  }
  for (const auto& linear : model.weights().linears())
    (void)core::checksum({linear->packed(), static_cast<size_t>(linear->bytes())});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider input(data, size);
  const bool own_checksums = input.ConsumeBool();
  std::string bytes;
  if (input.ConsumeBool()) {
    bytes = input.ConsumeRemainingBytesAsString();
  } else {
    bytes = seed().bytes;
    edit(bytes, input);
  }
  if (!own_checksums) repair(bytes);
  read(bytes);
  return 0;
}
