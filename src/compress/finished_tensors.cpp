#include "compress/finished_tensors.h"

#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace lamina::compress {

namespace fs = std::filesystem;
using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;
using nlohmann::json;

namespace {

constexpr const char* kPlanFile = "plan.json";
constexpr size_t kPieceBytes = size_t{1} << 20;

Status write_file(const fs::path& path, const std::string& text) {
  LAMINA_ASSIGN(format::OutputFile file, format::OutputFile::create(path));
  LAMINA_CHECK_OK(file.write(text));
  return file.commit();
}

json to_json(const TensorReport& report) {
  return {{"before", report.before}, {"after", report.after},
          {"rmse", report.rmse},     {"bytes_before", report.bytes_before},
          {"gptq", report.gptq},     {"output_rmse", report.output_rmse},
          {"note", report.note}};
}

TensorReport report_of(const json& kept, const OutputTensor& tensor) {
  return {.name = tensor.name,
          .before = kept.value("before", ""),
          .after = kept.value("after", ""),
          .bytes_before = kept.value("bytes_before", int64_t{0}),
          .bytes = tensor.shape.bytes(),
          .rmse = kept.value("rmse", 0.0),
          .gptq = kept.value("gptq", false),
          .output_rmse = kept.value("output_rmse", 0.0),
          .note = kept.value("note", "")};
}

/// Bytes of a tensor, and after them its report.
Status give_kept(const fs::path& path, const OutputTensor& tensor, const format::PutBytes& put, TensorReport& report) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> piece(kPieceBytes);
  for (int64_t left = tensor.shape.bytes(); left > 0;) {
    const auto wanted = std::min<int64_t>(left, kPieceBytes);
    if (!file.read(piece.data(), wanted)) return fail(ErrorCode::kIo, path.string(), "ends {} bytes too early", left);
    LAMINA_CHECK_OK(put(std::as_bytes(std::span(piece).first(static_cast<size_t>(wanted)))));
    left -= wanted;
  }
  const json kept = json::parse(file, nullptr, false);
  if (!kept.is_object()) return fail(ErrorCode::kInvalid, path.string(), "lacks the report at its end");
  report = report_of(kept, tensor);
  return {};
}

}  // namespace

Result<FinishedTensors> FinishedTensors::open(const fs::path& folder, uint64_t plan) {
  std::error_code code;
  const fs::path path = folder / kPlanFile;
  if (!fs::exists(folder, code)) {
    if (!fs::create_directories(folder, code))
      return fail(ErrorCode::kIo, folder.string(), "cannot be made: {}", code.message());
    LAMINA_CHECK_OK(write_file(path, json{{"plan", plan}}.dump() + "\n"));
    return FinishedTensors(folder);
  }
  std::ifstream file(path);
  const json kept = json::parse(file, nullptr, false);
  if (!kept.is_object() || !kept.contains("plan"))
    return fail(ErrorCode::kInvalid, folder.string(), "has no {}, so it is not of a run that was broken off",
                kPlanFile);
  if (kept["plan"] != plan) {
    return fail(ErrorCode::kInvalid, folder.string(),
                "keeps tensors of another model, recipe or statistics; go on with those, or remove the folder");
  }
  return FinishedTensors(folder);
}

fs::path FinishedTensors::path_of(size_t index) const {
  return folder_ / fmt::format("{:06}.tensor", index);
}

Status FinishedTensors::give(size_t index, const OutputTensor& tensor, const format::TensorSource& make,
                             const format::PutBytes& put, TensorReport& report) const {
  const fs::path path = path_of(index);
  std::error_code code;
  if (fs::exists(path, code)) return give_kept(path, tensor, put, report);
  LAMINA_ASSIGN(format::OutputFile file, format::OutputFile::create(path));
  LAMINA_CHECK_OK(make([&](std::span<const std::byte> bytes) -> Status {
    LAMINA_CHECK_OK(file.write(bytes));
    return put(bytes);
  }));
  LAMINA_CHECK_OK(file.write(to_json(report).dump()));
  return file.commit();
}

Status FinishedTensors::remove() const {
  std::error_code code;
  fs::remove_all(folder_, code);
  if (code) return fail(ErrorCode::kIo, folder_.string(), "cannot be removed: {}", code.message());
  return {};
}

}  // namespace lamina::compress
