#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "codec/codec.h"
#include "compress/gptq.h"
#include "compress/importance.h"
#include "compress/tensor_map.h"
#include "core/result.h"
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "format/model_files.h"
#include "format/tensor_source.h"

namespace lamina::compress {

/// What became of one tensor.
struct TensorReport {
  std::string name{};
  std::string before{};  ///< codec in the source
  std::string after{};
  int64_t bytes_before = 0;
  int64_t bytes = 0;
  double rmse = 0;         ///< root of the mean squared difference; 0 when the numbers are the same
  bool gptq = false;       ///< at least one of its matrices was rounded so
  double output_rmse = 0;  ///< with gptq: root of the mean squared difference of its outputs on the calibration text
  std::string note{};      ///< why it is not what the recipe says; empty otherwise
};

/// A tensor to be written: rows gathered from tensors of the source, in another format perhaps.
struct OutputTensor {
  /// What a number becomes.
  enum class Change { kNone, kLogarithm, kPower };  ///< log(-x), -exp(x)
  struct Source {
    core::TensorView view{};            ///< of the file; a vector counts as a matrix of one column
    const std::byte* scales = nullptr;  ///< exponents of MXFP4 whose pairs of numbers the view has
    bool input_first = false;           ///< rows of the matrix are columns here
    float offset = 0;                   ///< added to each number
    Change change = Change::kNone;

    /// The codec of the numbers.
    const codec::Codec& codec() const;
  };
  struct Row {
    int32_t source = -1;
    int64_t row = 0;
  };
  /// MXFP4 in two tensors of bytes: the pairs of numbers, or the exponents.
  enum class Half { kWhole, kPairs, kExponents };

  std::string name{};
  core::TensorView shape{};  ///< format, rank and shape; no data
  int64_t inputs = 1;        ///< numbers in a row of the matrix
  std::vector<Source> sources{};
  std::vector<Row> rows{};   ///< of the matrix, in order; empty: the first source as it lies in the file
  bool input_first = false;  ///< each matrix is stored [inputs, rows]
  int64_t matrices = 1;      ///< that the tensor stacks
  Half half = Half::kWhole;
  std::vector<float> literal{};
  std::string note{};
  std::optional<GptqOptions> gptq{};  ///< rounding that makes up for its errors, where Gram matrices are known
  bool matrix = false;
  int layer = -1;
  std::string role{};
  std::string key{};

  /// The format of rows before they are halved.
  const codec::Codec& codec() const;
};

/// The format that a matrix is to have, or null to leave it; an error where pieces of one tensor disagree is the
/// caller's.
using ChooseCodec = std::function<const codec::Codec*(const Piece&)>;

/// Puts the pieces together, each tensor of the target once, in the order of the pieces. Norms and biases become f32 in
/// GGUF, as its readers expect; in a folder they get the 16 bits of its matrices where these hold all their numbers.
/// Matrices in blocks are stored with their outputs first whatever the family does. kUnsupported: rows that nothing
/// fills, formats that the container cannot hold.
core::Result<std::vector<OutputTensor>> assemble(const models::Model& model, std::span<const Piece> pieces,
                                                 format::Container container, const ChooseCodec& choose);

/// Every tensor of the source as it is, but for the codecs that `choose` names.
core::Result<std::vector<OutputTensor>> keep_names(const models::Model& model, std::span<const Piece> pieces,
                                                   const ChooseCodec& choose);

/// Whether a tensor that is given that codec is copied as it is stored, so that it loses nothing.
bool copies_as(const OutputTensor& tensor, const codec::Codec& codec);

/// Whether every number of the tensor stays what it is in that codec.
bool holds_exactly(const OutputTensor& tensor, const codec::Codec& codec);

/// Rows of a tensor as numbers, and what is known of their inputs; from any thread.
class TensorRows {
 public:
  TensorRows(const OutputTensor& tensor, const Importance& importance);
  ~TensorRows();
  TensorRows(const TensorRows&) = delete;
  TensorRows& operator=(const TensorRows&) = delete;

  int64_t count() const;
  void numbers(int64_t row, float* out) const;
  /// Null where nothing is known.
  const float* importance(int64_t row) const;
  const stats::Gram* gram(int64_t row) const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

/// What tensors are made with. Matrices whose importance is known are searched with it.
struct MakeContext {
  const format::ModelFiles& files;
  core::ThreadPool& pool;
  const Importance& importance;
};

/// Gives the tensor's bytes to `put`, a few megabytes at a time, made on all threads, and gives the file's pages back.
/// kInvalid: a number that is not finite, or too large for the format, with tensor and row.
core::Status make_tensor(const OutputTensor& tensor, const MakeContext& context, const format::PutBytes& put,
                         TensorReport& report);

}  // namespace lamina::compress
