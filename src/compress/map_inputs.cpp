#include "compress/map_inputs.h"

#include <algorithm>
#include <set>
#include <utility>

#include "codec/codec.h"

namespace lamina::compress {

using core::Status;

namespace {

void rotate_runs(const Rotation* rotation, double* numbers, int64_t count) {
  if (rotation == nullptr) return;
  for (int64_t i = 0; i < count; i += rotation->size()) rotation->apply(numbers + i);
}

/// Rows of numbers, one after another.
void change_rows(std::span<float> numbers, int64_t columns, const InputMap& map, core::ThreadPool& pool) {
  const int64_t rows = std::ssize(numbers) / columns;
  pool.run([&](int index, int threads) {
    const core::Range range = core::split_range(rows, 1, index, threads);
    std::vector<double> row(static_cast<size_t>(columns));
    for (int64_t r = range.begin; r < range.end; ++r) {
      float* own = numbers.data() + r * columns;
      for (int64_t i = 0; i < columns; ++i) row[static_cast<size_t>(i)] = double{own[i]} * map.divisor(i);
      rotate_runs(map.rotation, row.data(), columns);
      for (int64_t i = 0; i < columns; ++i) own[i] = static_cast<float>(row[static_cast<size_t>(i)]);
    }
  });
}

/// The sum of products of inputs i and j once they are divided. An input that was always 0 is taken to be as large as
/// those of a normed stream are on average.
double divided(const InputMap& map, const stats::Gram& gram, double sum, int64_t i, int64_t j) {
  const double by = map.divisor(i) * map.divisor(j);
  if (by == 0) return i == j ? static_cast<double>(gram.rows()) : 0;
  return sum / by;
}

/// R D G D R^T, on a whole square: rows are rotated, then columns.
void map_gram(const InputMap& map, stats::Gram& gram, core::ThreadPool& pool) {
  const int64_t n = gram.inputs();
  const std::span<double> sums = gram.change();
  if (map.rotation == nullptr) {
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        double& sum = sums[static_cast<size_t>(stats::triangle_row(i) + j)];
        sum = divided(map, gram, sum, i, j);
      }
    }
    return;
  }
  std::vector<double> square(static_cast<size_t>(n * n));
  std::vector<double> turned(static_cast<size_t>(n * n));
  pool.run([&](int index, int threads) {
    const core::Range range = core::split_range(n, 1, index, threads);
    for (int64_t i = range.begin; i < range.end; ++i) {
      double* row = square.data() + i * n;
      for (int64_t j = 0; j < n; ++j) row[j] = divided(map, gram, gram.at(i, j), i, j);
      rotate_runs(map.rotation, row, n);
    }
  });
  pool.run([&](int index, int threads) {
    const core::Range range = core::split_range(n, 1, index, threads);
    for (int64_t i = range.begin; i < range.end; ++i) {
      double* row = turned.data() + i * n;
      for (int64_t j = 0; j < n; ++j) row[j] = square[static_cast<size_t>(j * n + i)];
      rotate_runs(map.rotation, row, n);
    }
  });
  for (int64_t i = 0; i < n; ++i) std::copy_n(turned.data() + i * n, i + 1, sums.data() + stats::triangle_row(i));
}

void map_squares(const InputMap& map, double* squares, int64_t inputs, int64_t rows) {
  for (int64_t i = 0; i < inputs; ++i) {
    const double by = map.divisor(i);
    squares[i] = by == 0 ? static_cast<double>(rows) : squares[i] / (by * by);
  }
  if (map.rotation == nullptr) return;
  for (int64_t i = 0; i < inputs; i += map.rotation->size()) map.rotation->spread(squares + i);
}

class StatisticsMap {
 public:
  StatisticsMap(ModelEdit& edit, const InputMap& map) : edit_(edit), map_(map) {}

  /// What that piece reads, unless another reader of it was met before.
  void add(const Piece& piece) {
    stats::Statistics* statistics = edit_.statistics();
    if (statistics == nullptr || !piece.matrix) return;
    const std::string& name = edit_.model().weights().file_name(piece.from.tensor);
    const auto found = std::ranges::find(statistics->matrices, name, &stats::MatrixStats::tensor);
    const int64_t index = piece.from.index;
    if (found == statistics->matrices.end() || found->inputs != piece.inputs || index >= found->matrices()) return;
    if (!squares_.emplace(&*found, index).second) return;
    double* squares = found->squares.data() + index * found->inputs;
    const auto own = static_cast<size_t>(index);
    const int gram = own < found->grams.size() ? found->grams[own] : -1;
    if (gram < 0) return map_squares(map_, squares, found->inputs, found->rows[own]);
    stats::Gram& products = statistics->grams[static_cast<size_t>(gram)];
    if (grams_.insert(gram).second) map_gram(map_, products, edit_.pool());
    for (int64_t i = 0; i < found->inputs; ++i) squares[i] = products.at(i, i);
  }

 private:
  ModelEdit& edit_;
  const InputMap& map_;
  std::set<std::pair<const stats::MatrixStats*, int64_t>> squares_;
  std::set<int> grams_;
};

}  // namespace

Status map_inputs(ModelEdit& edit, std::span<const Piece* const> readers, const InputMap& map) {
  StatisticsMap statistics(edit, map);
  for (const Piece* reader : readers) {
    LAMINA_ASSIGN(Matrix matrix, edit.read(*reader));
    change_rows(matrix.numbers, reader->inputs > 0 ? reader->inputs : reader->outputs, map, edit.pool());
    LAMINA_CHECK_OK(edit.write(*reader, matrix));
    // The last bits of a score decide which experts are chosen, and routers are small.
    if (reader->key == "router") edit.keep_as(*reader, *codec::find_codec("f32"));
    statistics.add(*reader);
  }
  return {};
}

Status rotate_outputs(ModelEdit& edit, const Piece& piece, const Rotation& rotation) {
  LAMINA_ASSIGN(Matrix matrix, edit.read(piece));
  edit.pool().run([&](int index, int threads) {
    const core::Range range = core::split_range(matrix.inputs, 1, index, threads);
    std::vector<double> column(static_cast<size_t>(matrix.outputs));
    for (int64_t i = range.begin; i < range.end; ++i) {
      for (int64_t o = 0; o < matrix.outputs; ++o) column[static_cast<size_t>(o)] = double{matrix.row(o)[i]};
      rotate_runs(&rotation, column.data(), matrix.outputs);
      for (int64_t o = 0; o < matrix.outputs; ++o)
        matrix.row(o)[i] = static_cast<float>(column[static_cast<size_t>(o)]);
    }
  });
  return edit.write(piece, matrix);
}

void rotate_rows(Matrix& matrix, std::span<const double> factors, const Rotation& rotation, core::ThreadPool& pool) {
  change_rows(matrix.numbers, matrix.inputs, {.divisors = {factors.begin(), factors.end()}, .rotation = &rotation},
              pool);
}

}  // namespace lamina::compress
