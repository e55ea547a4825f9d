#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/thread_pool.h"
#include "format/model_files.h"
#include "format/packed_file.h"
#include "layers/input_shares.h"
#include "layers/linear.h"
#include "layers/record.h"
#include "layers/weight_codecs.h"

namespace lamina::layers {

/// Told how many of the bytes to pack are done; returning false cancels.
using Progress = std::function<bool(int64_t done, int64_t total)>;

/// Finds the tensors of one model by name, checks their shapes, and packs the matrices once all are known.
class Weights {
 public:
  Weights(const format::ModelFiles& files, bool exact) : files_(files), exact_(exact) {}
  /// Matrices are stored in these formats instead of the file's own.
  void set_codecs(WeightCodecs codecs) { codecs_ = std::move(codecs); }
  /// Of some matrices only a share of each row's inputs takes part.
  void set_shares(InputShares shares) { shares_ = std::move(shares); }
  const InputShares& shares() const { return shares_; }
  /// What is asked for from now on belongs to that layer (-1: none) and role.
  void enter(int layer, std::string role) {
    layer_ = layer;
    role_ = std::move(role);
  }

  /// Files of one family spell names in several ways: names that match a rule's pattern, such as "bert.*" or "*.gamma",
  /// are known by its replacement, where * stands for the same text. kInvalid: a side without exactly one *.
  core::Status rename(const std::vector<std::pair<std::string, std::string>>& rules);
  /// The name by which a tensor of the file is known.
  std::string known_name(std::string_view file_name) const;

  /// The name in the file of the tensor that is known by `name`.
  const std::string& file_name(const std::string& name) const;
  bool has(const std::string& name) const { return files_.find(file_name(name)) != nullptr; }
  /// The tensor of exactly this shape (outermost dimension first), or an error that names it and both shapes.
  core::Result<core::TensorView> view(const std::string& name, const std::vector<int64_t>& shape);
  /// The two-dimensional tensor with that many columns and any number of rows.
  core::Result<core::TensorView> table(const std::string& name, int64_t columns);
  /// The numbers of a tensor of exactly this shape, as float32.
  core::Result<std::vector<float>> numbers(const std::string& name, const std::vector<int64_t>& shape);
  /// The same for the table of tokens, in the format that the recipe gives it: then pack() fills its memory.
  core::Result<core::TensorView> token_table(const std::string& name, int64_t columns);
  /// A vector of `count` numbers, or a matrix with that one row, as float32.
  core::Result<std::vector<float>> vector(const std::string& name, int64_t count);
  /// An array of that shape as float32; in the file dimensions of 1 may be there or not, or all numbers be in one row.
  core::Result<std::vector<float>> array(const std::string& name, const std::vector<int64_t>& shape);
  /// The matrix [outputs, inputs]; the same name gives the same object. Packed by pack().
  /// A bias is used when the file has it.
  core::Result<std::shared_ptr<const Linear>> matrix(const std::string& name, int64_t outputs, int64_t inputs,
                                                     const std::optional<std::string>& bias = {});
  /// As matrix(), from a record {weight, bias?, rows?: {begin?, of, group?, stride?}, input_first?, otherwise?}: `rows`
  /// picks the matrix out of a larger tensor (RowPick), and its bias likewise; `otherwise` is the record, of the same
  /// form, that counts when the file lacks the tensor. Where the file has two factors (kFactorIn) under the name, or
  /// under that in `factors`, their product stands for the matrix, or is added to it.
  core::Result<std::shared_ptr<const Linear>> linear(Record record, int64_t outputs, int64_t inputs);
  /// As matrix(), of the rows that `rows` picks from a tensor of that shape.
  core::Result<std::shared_ptr<const Linear>> picked(const std::string& name, const std::vector<int64_t>& shape,
                                                     const RowPick& rows, int64_t outputs) {
    return planned({.name = name, .inputs = rows.input_first ? shape[0] : shape[1], .rows = rows, .outputs = outputs});
  }
  /// The matrix [outputs, inputs * width] of a convolution's tensor [outputs, inputs, width].
  core::Result<std::shared_ptr<const Linear>> convolution(const std::string& name, const std::array<int64_t, 3>& shape,
                                                          const std::optional<std::string>& bias);
  /// Matrix `index` of `count`, from a record as linear() reads it: the tensor in whose name "{expert}" stands for the
  /// index, or that part of a stack [count, ...] when the name has none. A stack may have `scales`, a second tensor of
  /// MXFP4 exponents: then `weight` is bytes [count, outputs, inputs / 32, 16].
  core::Result<std::shared_ptr<const Linear>> expert(Record record, int64_t index, int64_t count, int64_t outputs,
                                                     int64_t inputs);

  /// Every matrix that was asked for, in order.
  const std::vector<std::shared_ptr<Linear>>& linears() const { return linears_; }
  /// Bytes that pack() will take.
  int64_t packed_bytes() const;
  /// Packs every matrix that was asked for and gives the file's pages back to the system.
  core::Status pack(core::ThreadPool& pool, const Progress& progress);
  /// Instead of pack(): uses the bytes that save() wrote. kInvalid, and nothing has changed, when they were made from
  /// other or changed files, with another recipe, or where matrices are laid out otherwise.
  core::Status adopt(format::PackedFile packed);
  /// The tables and matrices that pack() gives another number format than the file's or lays out for a share of their
  /// inputs, a line each.
  std::string recoded() const;
  /// Packs every matrix into a file that adopt() takes; keeps none of them in memory.
  core::Status save(const std::filesystem::path& path, core::ThreadPool& pool, const Progress& progress);
  /// The file's tensor as a list should show it: where two make one matrix, the first is that matrix and the second,
  /// its scales, has no numbers of its own.
  core::TensorView listed(const format::NamedTensor& tensor) const;
  /// What the recipe asked for and could not be done as it says; one sentence each.
  const std::vector<std::string>& notes() const { return notes_; }
  /// Names, as the file spells them, that were asked for.
  const std::set<std::string>& used() const { return used_; }
  /// Names that were asked for the first time since the last call, in order.
  std::vector<std::string> take_new_names() { return std::exchange(new_names_, {}); }

 private:
  /// A matrix to be made: where its rows are, and the shape that the tensor must have.
  struct Wanted {
    std::string name;
    int64_t inputs = 0;
    RowPick rows;
    int64_t outputs = 0;
    std::optional<std::string> bias{};
    std::optional<std::string> scales{};  ///< a tensor of MXFP4 exponents
    int64_t index = 0;                    ///< of the matrix in a stack
    int64_t count = 0;                    ///< matrices of the stack; 0: the tensor is the matrix
    int64_t width = 0;                    ///< of a convolution, whose inputs lie in two dimensions; 0: none
    std::string key{};                    ///< of its record
    bool factor = false;                  ///< one of two, which read all of their inputs

    /// Shape of the tensor: that of a matrix, after the size of the stack if there is one.
    std::vector<int64_t> shape() const;
  };
  /// A table that pack() stores in another format.
  struct Table {
    std::string name;
    core::TensorView source;
    const codec::Codec* codec = nullptr;
    core::AlignedBuffer memory;
  };
  /// Told what each table and matrix became, in the order of packed_keys().
  using Packed = std::function<core::Status(std::span<const std::byte> bytes)>;
  /// Gives so many zeros for a matrix.
  using Memory = std::function<core::Result<std::byte*>(size_t bytes)>;
  core::Status pack_each(core::ThreadPool& pool, const Progress& progress, const Memory& memory, const Packed& packed);
  std::vector<size_t> pack_order() const;
  /// What each table and then, in pack_order(), each matrix is packed from and to.
  std::vector<std::string> packed_keys() const;
  core::Result<const codec::Codec*> codec_for(std::string_view key, const std::string& name, int64_t columns);
  double share_for(const Wanted& wanted);
  core::Result<Wanted> read_wanted(Record& record, int64_t outputs, int64_t inputs) const;
  core::Result<std::shared_ptr<Linear>> find_or_plan(const Wanted& wanted);
  core::Result<std::shared_ptr<const Linear>> planned(const Wanted& wanted);
  core::Result<std::shared_ptr<const Linear>> factored_matrix(const Wanted& wanted, const std::string& name);
  core::Result<MatrixSource> source(const Wanted& wanted);
  core::Result<MatrixSource> joined_source(const Wanted& wanted);
  core::Result<std::vector<float>> bias(const Wanted& wanted);
  core::Result<core::TensorView> check_shape(const std::string& name, const core::TensorView& tensor,
                                             const std::vector<int64_t>& shape);

  const format::ModelFiles& files_;
  bool exact_ = false;
  WeightCodecs codecs_;
  InputShares shares_;
  int layer_ = -1;
  std::string role_;
  std::vector<std::string> notes_;
  std::vector<Table> tables_;
  std::vector<std::shared_ptr<Linear>> linears_;
  /// Of linears_, by name, place in a stack, rows and share of inputs.
  std::map<std::tuple<std::string, int64_t, RowPick, double>, size_t> index_;
  std::set<std::string> used_;
  std::vector<std::string> new_names_;
  std::vector<std::pair<std::string, std::string>> rules_;
  std::map<std::string, std::string> file_names_;                ///< of renamed tensors, by known name
  std::map<std::string, core::TensorView, std::less<>> joined_;  ///< what listed() shows instead, by the file's name
  core::AlignedBuffer memory_;                                   ///< of all matrices, what pack() filled
  std::optional<format::PackedFile> packed_;                     ///< what adopt() took
};

}  // namespace lamina::layers
