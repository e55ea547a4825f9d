#include "lamina/frames.h"

#include <fmt/ranges.h>

#include "format/npy.h"

namespace lamina::app {

using core::ErrorCode;
using core::fail;
using core::Result;

bool reads_frames(const models::Model& model) {
  return model.encoder() != nullptr && model.encoder()->embedding().features() > 0;
}

Result<std::vector<float>> read_frames(const std::string& path, const models::Model& model) {
  if (!reads_frames(model)) return fail(ErrorCode::kInvalid, "--mel", "the model reads tokens; a text expected");
  LAMINA_ASSIGN(const format::NpyFile file, format::NpyFile::open(path));
  std::vector<int64_t> shape(file.shape().begin(), file.shape().end());
  if (shape.size() == 3 && shape[0] == 1) shape.erase(shape.begin());
  const int64_t features = model.encoder()->embedding().features();
  if (shape.size() != 2 || shape[0] != features || shape[1] < 1) {
    return fail(ErrorCode::kInvalid, path, "an array of shape [{}]; [{}, frames] expected",
                fmt::join(file.shape(), ", "), features);
  }
  const float* first = file.row(0).data();
  return std::vector<float>(first, first + shape[0] * shape[1]);
}

}  // namespace lamina::app
