#include "compress/gptq.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>
#include <tuple>
#include <utility>

#include "codec/grid.h"
#include "core/wide.h"

namespace lamina::compress {

using core::ErrorCode;
using core::fail;
using core::Result;

namespace {

/// Columns that are eliminated together.
constexpr int64_t kPanel = 64;
/// Rows that are rounded side by side, one a lane.
constexpr int kRows = 16;
/// Places that are made up together for what was left before them.
constexpr int64_t kPlaces = 32;

/// The order of rounding.
std::vector<int32_t> order_of(const stats::Gram& gram, int64_t block, GptqOptions::Order kind) {
  std::vector<int32_t> order(static_cast<size_t>(gram.inputs()));
  std::iota(order.begin(), order.end(), 0);
  if (kind == GptqOptions::Order::kNone) return order;
  const auto size = [&](int32_t input) { return gram.at(input, input); };
  if (kind == GptqOptions::Order::kAct) {
    std::ranges::sort(order, {}, [&](int32_t input) { return std::pair(-size(input), input); });
    return order;
  }
  std::vector<double> largest(static_cast<size_t>(gram.inputs() / block));
  for (const int32_t input : order) {
    double& of_block = largest[static_cast<size_t>(input / block)];
    of_block = std::max(of_block, size(input));
  }
  std::ranges::sort(order, {}, [&](int32_t input) {
    const int64_t of = input / block;
    return std::tuple(-largest[static_cast<size_t>(of)], of, -size(input), input);
  });
  return order;
}

/// Takes from each out[r], for r below kSide, the sum of products of a and row r of b (rows are `stride` numbers
/// apart), each sum in four lanes.
template <int kSide>
[[gnu::always_inline]] inline void take_dots(const double* a, const double* b, int64_t stride, int64_t count,
                                             double* out) {
  using Lanes [[gnu::vector_size(4 * sizeof(double))]] = double;
  Lanes lanes[kSide] = {};
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    Lanes of_a;
    std::memcpy(&of_a, a + i, sizeof(of_a));
    for (int r = 0; r < kSide; ++r) {
      Lanes of_b;
      std::memcpy(&of_b, b + r * stride + i, sizeof(of_b));
      lanes[r] += of_a * of_b;
    }
  }
  for (int r = 0; r < kSide; ++r) {
    double sum = (lanes[r][0] + lanes[r][1]) + (lanes[r][2] + lanes[r][3]);
    for (int64_t j = i; j < count; ++j) sum += a[j] * b[r * stride + j];
    out[r] -= sum;
  }
}

/// Replaces the lower triangle of `a` [n, n] by M with M M^T = a, panel by panel on all threads. False where a pivot is
/// not positive.
bool factorize(std::vector<double>& a, int64_t n, core::ThreadPool& pool) {
  const auto row = [&](int64_t i) { return a.data() + i * n; };
  for (int64_t begin = 0; begin < n; begin += kPanel) {
    const int64_t end = std::min(begin + kPanel, n);
    for (int64_t j = begin; j < end; ++j) {
      double pivot = row(j)[j];
      take_dots<1>(row(j) + begin, row(j) + begin, n, j - begin, &pivot);
      if (!(pivot > 0) || !std::isfinite(pivot)) return false;
      row(j)[j] = std::sqrt(pivot);
      for (int64_t i = j + 1; i < end; ++i) {
        take_dots<1>(row(i) + begin, row(j) + begin, n, j - begin, row(i) + j);
        row(i)[j] /= row(j)[j];
      }
    }
    pool.run([&](int index, int threads) {
      const core::Range range = core::split_range(n - end, 1, index, threads);
      for (int64_t i = end + range.begin; i < end + range.end; ++i) {
        for (int64_t j = begin; j < end; ++j) {
          take_dots<1>(row(i) + begin, row(j) + begin, n, j - begin, row(i) + j);
          row(i)[j] /= row(j)[j];
        }
      }
    });
    pool.run([&](int index, int threads) {
      // Later rows are longer: threads take them by turns.
      core::with_wide_vectors([&] {
        for (int64_t i = end + index; i < n; i += threads) {
          int64_t j = end;
          for (; j + 4 <= i + 1; j += 4) take_dots<4>(row(i) + begin, row(j) + begin, n, end - begin, row(i) + j);
          for (; j <= i; ++j) take_dots<1>(row(i) + begin, row(j) + begin, n, end - begin, row(i) + j);
        }
      });
    });
  }
  return true;
}

}  // namespace

Result<GptqFactor> GptqFactor::make(const stats::Gram& gram, int64_t block, const GptqOptions& options,
                                    core::ThreadPool& pool) {
  const int64_t n = gram.inputs();
  GptqFactor made;
  made.order_ = order_of(gram, block, options.order);
  const std::span<const double> sums = gram.sums();
  const double rows = static_cast<double>(std::max<int64_t>(gram.rows(), 1));
  double mean = 0;
  made.weights_.resize(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    const double square = gram.at(i, i) / rows;
    made.weights_[static_cast<size_t>(i)] = static_cast<float>(square);
    mean += square / static_cast<double>(n);
  }
  made.damping_ = options.damp * mean;
  // Backwards, so that the lower triangle of its factor is the upper one of H's.
  std::vector<double> turned(static_cast<size_t>(n * n));
  const auto place = [&](int64_t p) { return int64_t{made.order_[static_cast<size_t>(n - 1 - p)]}; };
  pool.run([&](int index, int threads) {
    for (int64_t p = index; p < n; p += threads) {
      const int64_t i = place(p);
      for (int64_t q = 0; q <= p; ++q) {
        const int64_t j = place(q);
        const int64_t at = i >= j ? stats::triangle_row(i) + j : stats::triangle_row(j) + i;
        turned[static_cast<size_t>(p * n + q)] = sums[static_cast<size_t>(at)] / rows;
      }
      turned[static_cast<size_t>(p * n + p)] += made.damping_;
    }
  });
  if (!factorize(turned, n, pool)) {
    return fail(ErrorCode::kInvalid, "gptq", "the Gram matrix of {} inputs is not positive with damp={}; more expected",
                n, options.damp);
  }
  made.factor_.resize(static_cast<size_t>(n * (n - 1) / 2));
  made.losses_.resize(static_cast<size_t>(n));
  pool.run([&](int index, int threads) {
    for (int64_t j = index; j < n; j += threads) {
      const int64_t q = n - 1 - j;
      const double pivot = turned[static_cast<size_t>(q * n + q)];
      made.losses_[static_cast<size_t>(j)] = pivot * pivot;
      float* out = made.factor_.data() + j * (j - 1) / 2;
      for (int64_t i = 0; i < j; ++i)
        out[i] = static_cast<float>(turned[static_cast<size_t>((n - 1 - i) * n + q)] / pivot);
    }
  });
  return made;
}

namespace {

/// Up to kRows rows on their way, one a lane.
class Bundle {
 public:
  Bundle(const GptqFactor& factor, const codec::Codec& codec)
      : factor_(factor),
        codec_(codec),
        grid_(*codec::find_grid(codec)),
        inputs_(factor.inputs()),
        block_(codec.format.block_elements),
        places_(static_cast<size_t>(inputs_)),
        wanted_(static_cast<size_t>(inputs_ * kRows)),
        original_(wanted_.size()),
        left_(wanted_.size()),
        codes_(wanted_.size()),
        done_(places_.size()),
        weights_(factor.weights().begin(), factor.weights().end()),
        row_(places_.size()),
        blocks_(static_cast<size_t>(inputs_ / block_)) {
    for (int64_t p = 0; p < inputs_; ++p) places_[static_cast<size_t>(factor.order()[static_cast<size_t>(p)])] = p;
    // As everywhere, an input that was never seen is not worthless.
    const double sum = std::accumulate(weights_.begin(), weights_.end(), 0.0);
    const auto least = static_cast<float>(codec::kLeastShare * sum / static_cast<double>(inputs_));
    for (float& weight : weights_) weight = std::max(weight, least);
  }

  /// Encodes rows [first, first + count) of `rows`.
  GptqFault encode(const GptqRows& rows, int64_t first, int count);

 private:
  struct Scales {
    bool known = false;
    int group = 1;
    std::array<float, codec::BlockScales::kMostGroups * kRows> scales{};  ///< [groups, lanes]
    std::array<float, codec::BlockScales::kMostGroups * kRows> offsets{};
    std::array<float, codec::BlockScales::kMostValues * kRows> book{};  ///< [values, lanes]
  };
  float* lanes(std::vector<float>& all, int64_t place) { return all.data() + place * kRows; }
  void catch_up(int64_t place, int64_t now);
  void catch_up(const int64_t* places, size_t count, int64_t now);
  void begin_block(int64_t block, int64_t now, int count, std::byte* out);
  void round(int64_t place);
  GptqFault finish(const GptqRows& rows, int64_t first, int count, std::byte* out);

  const GptqFactor& factor_;
  const codec::Codec& codec_;
  const codec::Grid& grid_;
  int64_t inputs_;
  int64_t block_;
  std::vector<int64_t> places_;  ///< of each input, when it is rounded
  std::vector<float> wanted_;    ///< [places, lanes]: the numbers, made up for what came before
  std::vector<float> original_;  ///< [places, lanes]
  std::vector<float> left_;      ///< [places, lanes]: original less rounded
  std::vector<uint8_t> codes_;   ///< [inputs, lanes]
  std::vector<int64_t> done_;    ///< places before this one are made up for
  std::vector<float> weights_;
  std::vector<int64_t> open_;  ///< places that are made up next
  std::vector<float> row_;
  std::vector<Scales> blocks_;
};

/// Adds left[i] * factors[k][i] to each sums[k], for i from `begin` to `end`.
template <size_t kSide>
void add_left(const float* left, const float* const* factors, int64_t begin, int64_t end, float (*sums)[kRows]) {
  using Row [[gnu::vector_size(kRows * sizeof(float))]] = float;
  core::with_wide_vectors([=] {
    Row totals[kSide];
    std::memcpy(totals, sums, sizeof(totals));
    for (int64_t i = begin; i < end; ++i) {
      Row row;
      std::memcpy(&row, left + i * kRows, sizeof(row));
      for (size_t k = 0; k < kSide; ++k) totals[k] += row * factors[k][i];
    }
    std::memcpy(sums, totals, sizeof(totals));
  });
}

/// Makes the numbers at `place` up for what is left at places before `now`.
void Bundle::catch_up(int64_t place, int64_t now) {
  const float* factors = factor_.row(place);
  float sums[1][kRows];
  std::copy_n(lanes(wanted_, place), kRows, sums[0]);
  add_left<1>(left_.data(), &factors, done_[static_cast<size_t>(place)], now, sums);
  std::copy_n(sums[0], kRows, lanes(wanted_, place));
  done_[static_cast<size_t>(place)] = now;
}

/// The same for places that lie in any order, four at a time, so that what is left is read once for them.
void Bundle::catch_up(const int64_t* places, size_t count, int64_t now) {
  constexpr size_t kSide = 4;
  size_t at = 0;
  for (; at + kSide <= count; at += kSide) {
    int64_t begin = 0;
    for (size_t k = 0; k < kSide; ++k) begin = std::max(begin, done_[static_cast<size_t>(places[at + k])]);
    const float* factors[kSide];
    float sums[kSide][kRows];
    for (size_t k = 0; k < kSide; ++k) {
      const int64_t place = places[at + k];
      catch_up(place, begin);
      factors[k] = factor_.row(place);
      std::copy_n(lanes(wanted_, place), kRows, sums[k]);
      done_[static_cast<size_t>(place)] = now;
    }
    add_left<kSide>(left_.data(), factors, begin, now, sums);
    for (size_t k = 0; k < kSide; ++k) std::copy_n(sums[k], kRows, lanes(wanted_, places[at + k]));
  }
  for (; at < count; ++at) catch_up(places[at], now);
}

/// Chooses the block's scales for its numbers as they stand.
void Bundle::begin_block(int64_t block, int64_t now, int count, std::byte* out) {
  const int64_t first = block * block_;
  Scales& chosen = blocks_[static_cast<size_t>(block)];
  chosen = {.known = true};
  open_.clear();
  for (int64_t i = first; i < first + block_; ++i) {
    const int64_t place = places_[static_cast<size_t>(i)];
    if (place >= now) open_.push_back(place);
  }
  std::ranges::sort(open_);  // those that were made up lately stand together
  catch_up(open_.data(), open_.size(), now);
  for (int r = 0; r < count; ++r) {
    for (int64_t i = 0; i < block_; ++i)
      row_[static_cast<size_t>(i)] = lanes(wanted_, places_[static_cast<size_t>(first + i)])[r];
    std::byte* bytes = out + r * codec_.format.row_bytes(inputs_) + block * codec_.format.block_bytes;
    if (codec_.encode_weighted != nullptr) {
      codec_.encode_weighted(row_.data(), weights_.data() + first, block_, bytes);
    } else {
      codec_.encode(row_.data(), block_, bytes);
    }
    codec::BlockScales scales;
    grid_.scales(bytes, scales);
    chosen.group = scales.group;
    for (int64_t g = 0; g < block_ / scales.group; ++g) {
      chosen.scales[static_cast<size_t>(g * kRows + r)] = scales.scales[static_cast<size_t>(g)];
      chosen.offsets[static_cast<size_t>(g * kRows + r)] = scales.offsets[static_cast<size_t>(g)];
    }
    for (size_t k = 0; k < scales.book.size(); ++k) chosen.book[k * kRows + static_cast<size_t>(r)] = scales.book[k];
  }
}

void Bundle::round(int64_t place) {
  const int64_t input = factor_.order()[static_cast<size_t>(place)];
  const Scales& scales = blocks_[static_cast<size_t>(input / block_)];
  const int64_t group = input % block_ / scales.group;
  float rounded[kRows];
  grid_.round({.count = kRows,
               .wanted = lanes(wanted_, place),
               .scales = scales.scales.data() + group * kRows,
               .offsets = scales.offsets.data() + group * kRows,
               .book = scales.book.data()},
              codes_.data() + input * kRows, rounded);
  for (int r = 0; r < kRows; ++r) lanes(left_, place)[r] = lanes(original_, place)[r] - rounded[r];
}

GptqFault Bundle::encode(const GptqRows& rows, int64_t first, int count) {
  std::ranges::fill(done_, 0);
  std::ranges::fill(original_, 0.0f);
  for (Scales& block : blocks_) block.known = false;
  for (int r = 0; r < count; ++r) {
    rows.read(first + r, row_.data());
    for (int64_t i = 0; i < inputs_; ++i) {
      const float number = row_[static_cast<size_t>(i)];
      if (!std::isfinite(number)) return {first + r, {codec::RowFault::Kind::kNotFinite, i, number}};
      lanes(original_, places_[static_cast<size_t>(i)])[r] = number;
    }
  }
  wanted_ = original_;
  std::byte* out = rows.out + first * codec_.format.row_bytes(inputs_);
  for (int64_t place = 0; place < inputs_; ++place) {
    const int64_t block = factor_.order()[static_cast<size_t>(place)] / block_;
    if (!blocks_[static_cast<size_t>(block)].known) begin_block(block, place, count, out);
    if (place % kPlaces == 0) {
      open_.resize(static_cast<size_t>(std::min(kPlaces, inputs_ - place)));
      std::iota(open_.begin(), open_.end(), place);
      catch_up(open_.data(), open_.size(), place);
    }
    catch_up(place, place);
    round(place);
  }
  return finish(rows, first, count, out);
}

/// Puts the codes into the blocks and measures.
GptqFault Bundle::finish(const GptqRows& rows, int64_t first, int count, std::byte* out) {
  std::vector<uint8_t> codes(static_cast<size_t>(block_));
  for (int r = 0; r < count; ++r) {
    std::byte* row = out + r * codec_.format.row_bytes(inputs_);
    for (int64_t block = 0; block < inputs_ / block_; ++block) {
      for (int64_t i = 0; i < block_; ++i)
        codes[static_cast<size_t>(i)] = codes_[static_cast<size_t>((block * block_ + i) * kRows + r)];
      grid_.set_codes(row + block * codec_.format.block_bytes, codes.data());
    }
    codec_.decode(row, inputs_, row_.data());
    double error = 0;
    double loss = 0;
    for (int64_t i = 0; i < inputs_; ++i) {
      const int64_t place = places_[static_cast<size_t>(i)];
      const float original = lanes(original_, place)[r];
      const float rounded = row_[static_cast<size_t>(i)];
      if (!std::isfinite(rounded)) return {first + r, {codec::RowFault::Kind::kTooLarge, i, original}};
      error += (double{original} - double{rounded}) * (double{original} - double{rounded});
      const double off = double{lanes(wanted_, place)[r]} - double{rounded};
      loss += factor_.losses()[static_cast<size_t>(place)] * off * off;
    }
    rows.errors[first + r] = error;
    rows.losses[first + r] = std::max(loss - factor_.damping() * error, 0.0);
  }
  return {};
}

}  // namespace

GptqFault gptq_round(const GptqFactor& factor, const codec::Codec& codec, core::ThreadPool& pool,
                     const GptqRows& rows) {
  std::vector<GptqFault> faults(static_cast<size_t>(pool.threads()));
  const int64_t bundles = (rows.count + kRows - 1) / kRows;
  pool.run([&](int index, int threads) {
    const core::Range range = core::split_range(bundles, 1, index, threads);
    if (range.begin >= range.end) return;
    Bundle bundle(factor, codec);
    GptqFault& fault = faults[static_cast<size_t>(index)];
    for (int64_t i = range.begin; i < range.end && fault.row < 0; ++i) {
      const int64_t first = i * kRows;
      fault = bundle.encode(rows, first, static_cast<int>(std::min<int64_t>(kRows, rows.count - first)));
    }
  });
  // Threads have ascending rows.
  const auto lowest = std::ranges::find_if(faults, [](const GptqFault& fault) { return fault.row >= 0; });
  return lowest == faults.end() ? GptqFault{} : *lowest;
}

}  // namespace lamina::compress
