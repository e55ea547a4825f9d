#include "compress/bits.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <optional>
#include <tuple>

#include "codec/encode.h"
#include "codec/fallback.h"
#include "compress/knapsack.h"
#include "compress/output_error.h"
#include "recipe/plan.h"
#include "recipe/technique.h"

namespace lamina::compress {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

/// Formats that are weighed against each other, by their bits.
constexpr std::array<std::string_view, 13> kLadder{"cb2",  "q2_k", "q3_k", "mxfp4", "iq4_xs", "iq4_nl", "q4_k",
                                                   "q4_1", "q5_0", "q5_k", "q5_1",  "q6_k",   "q8_0"};
/// Rows of each tensor on which errors are measured.
constexpr int64_t kSampleRows = 96;

enum class Order { kMeasured, kLim, kZscore, kExperts };

struct Options {
  double average = 0;  ///< bits of a number; 0: what the target leaves
  Order order = Order::kMeasured;
  std::vector<const codec::Codec*> ladder{};
};

/// A tensor that is given a format.
struct Item {
  const OutputTensor* tensor = nullptr;
  double weight = 1;                          ///< of its relative error
  std::vector<const codec::Codec*> codecs{};  ///< what each format of the ladder becomes for its rows
  std::vector<Choice> choices{};              ///< of each format of the ladder
};

std::unexpected<core::Error> refuse(const recipe::Step& step, std::string message) {
  return fail(ErrorCode::kInvalid, recipe::error_place(step.position), "{}", message);
}

Result<Options> read_options(const recipe::Step& step) {
  const recipe::Technique& technique = *recipe::find_technique(recipe::Place::kWeights, "bits");
  Options options;
  const auto word = [&](std::string_view name, std::string_view fallback) {
    const recipe::Argument* found = recipe::find_argument(technique, step, name);
    return found == nullptr ? std::string(fallback) : found->value.text;
  };
  if (const recipe::Argument* average = recipe::find_argument(technique, step, "avg"); average != nullptr) {
    const recipe::Value& value = average->value;
    options.average = value.kind == recipe::Value::Kind::kInteger ? static_cast<double>(value.integer) : value.number;
  }
  const std::string order = word("order", "measured");
  options.order = order == "lim"       ? Order::kLim
                  : order == "zscore"  ? Order::kZscore
                  : order == "experts" ? Order::kExperts
                                       : Order::kMeasured;
  const auto low = std::ranges::find(kLadder, word("low", "q2_k"));
  const auto high = std::ranges::find(kLadder, word("high", kLadder.back()));
  if (low == kLadder.end() || high == kLadder.end() || low > high)
    return refuse(step, "bits: low and high are two formats of its list, the smaller first");
  for (auto at = low; at <= high; ++at) options.ladder.push_back(codec::find_codec(*at));
  return options;
}

bool selects(const recipe::Where& where, int layer, std::string_view role, std::string_view key, int layers) {
  if (key == "router" || !recipe::selects(where, layer, layers)) return false;
  return where.part.empty() || where.part == role || where.part == key;
}

double mean(double sum, int64_t rows) {
  return rows > 0 ? sum / static_cast<double>(rows) : 0;
}

const stats::PartStats* find_part(const stats::Statistics* statistics, int layer, std::string_view role) {
  if (statistics == nullptr) return nullptr;
  const auto found = std::ranges::find_if(
      statistics->parts, [&](const stats::PartStats& part) { return part.layer == layer && part.role == role; });
  return found == statistics->parts.end() || found->rows == 0 ? nullptr : &*found;
}

/// What a relative error of a tensor's outputs costs: it disturbs what its part adds to the stream by that share, and
/// the stream by what the part adds beside it; the layer's sensitivity turns that into a divergence.
double weight_of(const stats::Statistics* statistics, const OutputTensor& tensor) {
  const stats::PartStats* layer = find_part(statistics, tensor.layer, "layer");
  const stats::PartStats* part = find_part(statistics, tensor.layer, tensor.role);
  if (layer == nullptr || part == nullptr || layer->disturbed_rows == 0) return 1;
  const double after = mean(layer->length_after, layer->rows);
  const double share =
      after > 0 ? mean(part->contribution, part->rows) * mean(part->length_before, part->rows) / after : 0;
  return mean(layer->sensitivity, layer->disturbed_rows) * share * share;
}

/// What is measured of an item's rows, and a thread's memory for one of them.
struct RowErrors {
  std::vector<double> whole{};   ///< by row: the mean squared output
  std::vector<double> errors{};  ///< [rows, codecs]
  std::vector<char> faults{};    ///< by row
};
struct RowBuffers {
  std::vector<float> numbers{};
  std::vector<float> decoded{};
  std::vector<std::byte> bytes{};
  std::vector<double> differences{};  ///< [codecs and the row itself, inputs]
  std::vector<double> costs{};
};

/// Stores the row of `sample` in every format of the item. A format that a smaller one has stood for already, or that
/// the tensor has, so that it is copied, costs nothing more.
void measure_row(const Item& item, const TensorRows& rows, int64_t row, size_t sample, RowBuffers& buffers,
                 RowErrors& out) {
  const auto inputs = static_cast<size_t>(item.tensor->inputs);
  const size_t ways = item.codecs.size();
  buffers.numbers.resize(inputs);
  buffers.decoded.resize(inputs);
  buffers.differences.assign((ways + 1) * inputs, 0.0);
  buffers.costs.resize(ways + 1);
  rows.numbers(row, buffers.numbers.data());
  for (size_t c = 0; c < ways; ++c) {
    const codec::Codec& codec = *item.codecs[c];
    if (copies_as(*item.tensor, codec) || (c > 0 && item.codecs[c - 1] == &codec)) continue;
    buffers.bytes.resize(static_cast<size_t>(codec.format.row_bytes(item.tensor->inputs)));
    double ignored = 0;
    const codec::RowFault fault =
        codec::encode_row(codec, buffers.numbers.data(), item.tensor->inputs, buffers.bytes.data(),
                          buffers.decoded.data(), ignored, rows.importance(row));
    if (fault.kind != codec::RowFault::Kind::kNone) out.faults[sample] = 1;
    double* difference = buffers.differences.data() + c * inputs;
    for (size_t i = 0; i < inputs; ++i) difference[i] = double{buffers.numbers[i] - buffers.decoded[i]};
  }
  std::ranges::copy(buffers.numbers, buffers.differences.end() - std::ssize(buffers.numbers));
  output_errors(buffers.differences, rows.gram(row), rows.importance(row), buffers.costs);
  out.whole[sample] = buffers.costs.back();
  for (size_t c = 0; c < ways; ++c) {
    double& error = out.errors[sample * ways + c];
    const bool known = c > 0 && item.codecs[c - 1] == item.codecs[c];
    error = known ? out.errors[sample * ways + c - 1] : buffers.costs[c];
  }
}

/// Fills the relative errors of all choices.
Status measure(Item& item, const BitsInput& input) {
  const TensorRows rows(*item.tensor, input.importance);
  const int64_t count = std::min(kSampleRows, rows.count());
  const size_t ways = item.codecs.size();
  RowErrors found{.whole = std::vector<double>(static_cast<size_t>(count)),
                  .errors = std::vector<double>(static_cast<size_t>(count) * ways),
                  .faults = std::vector<char>(static_cast<size_t>(count))};
  input.pool.run([&](int index, int threads) {
    RowBuffers buffers;
    for (int64_t s = index; s < count; s += threads)
      measure_row(item, rows, s * rows.count() / count, static_cast<size_t>(s), buffers, found);
  });
  if (std::ranges::find(found.faults, 1) != found.faults.end())
    return fail(ErrorCode::kInvalid, item.tensor->name, "has numbers that are not finite, or too large for a format");
  const double all = std::accumulate(found.whole.begin(), found.whole.end(), 0.0);
  for (size_t c = 0; c < ways; ++c) {
    double sum = 0;
    for (size_t s = 0; s < found.whole.size(); ++s) sum += found.errors[s * ways + c];
    item.choices[c].error = all > 0 ? item.weight * sum / all : 0;
  }
  return {};
}

/// One format for all items.
Selection uniform(std::span<const std::vector<Choice>> items, size_t level) {
  Selection out;
  for (const std::vector<Choice>& choices : items) {
    out.chosen.push_back(level);
    out.bytes += choices[level].bytes;
    out.error += choices[level].error;
  }
  return out;
}

/// Layers of `items`, the most important first.
Result<std::vector<int>> ranked_layers(std::span<const Item> items, Order order, const BitsInput& input,
                                       const recipe::Step& step) {
  std::map<int, double> scores;
  struct Sums {
    double count = 0;
    double sum = 0;
    double square = 0;
  };
  std::map<int, Sums> sums;
  const auto each_number = [&](const auto& use) {
    for (const Item& item : items) {
      const TensorRows rows(*item.tensor, input.importance);
      std::vector<float> numbers(static_cast<size_t>(item.tensor->inputs));
      for (int64_t row = 0; row < rows.count(); ++row) {
        rows.numbers(row, numbers.data());
        for (const float number : numbers) use(item.tensor->layer, double{number});
      }
    }
  };
  if (order == Order::kLim) {
    for (const Item& item : items) {
      const stats::PartStats* part = find_part(input.statistics, item.tensor->layer, "layer");
      if (part == nullptr)
        return refuse(step,
                      "bits(order=lim) ranks layers by statistics; make them with `lamina stats` and give them by "
                      "--stats");
      scores[item.tensor->layer] = -mean(part->cosine, part->rows);
    }
  } else {
    each_number([&](int layer, double number) {
      Sums& of = sums[layer];
      of.count += 1;
      of.sum += number;
      of.square += number * number;
    });
    each_number([&](int layer, double number) {
      const Sums& of = sums[layer];
      const double middle = of.sum / of.count;
      const double deviation = std::sqrt(std::max(of.square / of.count - middle * middle, 0.0));
      scores[layer] += deviation > 0 && (number - middle) / deviation > 1 ? 1 / of.count : 0;
    });
  }
  std::vector<int> layers;
  for (const auto& [layer, score] : scores) layers.push_back(layer);
  std::ranges::sort(layers, {}, [&](int layer) { return std::pair(-scores[layer], layer); });
  return layers;
}

/// Items that are given more bits together.
using Group = std::vector<size_t>;

Result<std::vector<Group>> layer_groups(std::span<const Item> items, Order order, const BitsInput& input,
                                        const recipe::Step& step) {
  LAMINA_ASSIGN(const std::vector<int> layers, ranked_layers(items, order, input, step));
  std::vector<Group> groups;
  for (const int layer : layers) {
    Group& group = groups.emplace_back();
    for (size_t i = 0; i < items.size(); ++i) {
      if (items[i].tensor->layer == layer) group.push_back(i);
    }
  }
  return groups;
}

/// One by one: attention, then what most tokens go through, the last matrix of an MLP before the first two, early
/// layers before late ones. Li et al. 2024, QuantMoE-Bench (arXiv 2406.08155).
Result<std::vector<Group>> expert_groups(std::span<const Item> items, const BitsInput& input,
                                         const recipe::Step& step) {
  std::vector<double> shares;
  for (const Item& item : items) {
    const stats::MatrixStats* found = input.statistics == nullptr ? nullptr : input.statistics->find(item.tensor->name);
    if (found == nullptr) {
      return refuse(step,
                    fmt::format("bits(order=experts) goes by how many tokens each matrix read, and nothing is known "
                                "of tensor {}: statistics of `lamina stats` by --stats, and an output of the "
                                "model's own container, expected",
                                item.tensor->name));
    }
    const auto reads = static_cast<double>(std::accumulate(found->rows.begin(), found->rows.end(), int64_t{0}));
    shares.push_back(reads / static_cast<double>(found->matrices()));
  }
  std::vector<Group> groups;
  for (size_t i = 0; i < items.size(); ++i) groups.push_back({i});
  std::ranges::sort(groups, {}, [&](const Group& group) {
    const OutputTensor& tensor = *items[group.front()].tensor;
    return std::tuple(tensor.role != "attn", -shares[group.front()], tensor.key != "down", tensor.layer, group.front());
  });
  return groups;
}

/// The largest format for all that fits, and the next one for as many of the first groups as still fit.
Selection by_order(std::span<const std::vector<Choice>> choices, std::span<const Group> groups, int64_t budget) {
  size_t level = 0;
  const size_t levels = choices.front().size();
  while (level + 1 < levels && uniform(choices, level + 1).bytes <= budget) ++level;
  Selection out = uniform(choices, level);
  if (level + 1 == levels) return out;
  for (const Group& group : groups) {
    Selection more = out;
    for (const size_t i : group) {
      more.bytes += choices[i][level + 1].bytes - choices[i][level].bytes;
      more.error += choices[i][level + 1].error - choices[i][level].error;
      more.chosen[i] = level + 1;
    }
    if (more.bytes > budget) break;
    out = std::move(more);
  }
  return out;
}

/// One clause on its way.
class Chooser {
 public:
  Chooser(const BitsInput& input, const recipe::Clause& clause, const recipe::Step& step)
      : input_(input), clause_(clause), step_(step) {}

  Status prepare();
  double average() const { return options_.average; }
  /// The budget that the average is, in bytes.
  int64_t average_budget() const;
  bool has(const OutputTensor& tensor) const {
    return std::ranges::find(items_, &tensor, &Item::tensor) != items_.end();
  }
  Status choose(int64_t budget, BitsReport& report);
  void fill(std::map<std::string, const codec::Codec*>& out) const;

 private:
  std::string measure_text() const;
  void describe(const Selection& best, BitsReport& report) const;

  const BitsInput& input_;
  const recipe::Clause& clause_;
  const recipe::Step& step_;
  Options options_;
  std::vector<Item> items_;
  Selection chosen_;
};

Status Chooser::prepare() {
  LAMINA_ASSIGN(options_, read_options(step_));
  for (const OutputTensor& tensor : input_.tensors) {
    if (!tensor.matrix || tensor.half != OutputTensor::Half::kWhole) continue;
    if (!selects(clause_.where, tensor.layer, tensor.role, tensor.key, input_.layers)) continue;
    Item item{.tensor = &tensor, .weight = weight_of(input_.statistics, tensor)};
    for (const codec::Codec* wanted : options_.ladder) {
      LAMINA_ASSIGN(const codec::RowCodec fits, codec::codec_for_rows(*wanted, tensor.inputs));
      const int64_t rows = tensor.shape.elements() / tensor.inputs;
      item.codecs.push_back(fits.codec);
      item.choices.push_back({.bytes = rows * fits.codec->format.row_bytes(tensor.inputs), .error = 0});
    }
    items_.push_back(std::move(item));
  }
  if (items_.empty())
    return refuse(step_, fmt::format("{} selects no matrix of this model", recipe::print(clause_.where)));
  for (Item& item : items_) LAMINA_CHECK_OK(measure(item, input_));
  return {};
}

int64_t Chooser::average_budget() const {
  double numbers = 0;
  for (const Item& item : items_) numbers += static_cast<double>(item.tensor->shape.elements());
  return static_cast<int64_t>(options_.average * numbers / 8);
}

std::string Chooser::measure_text() const {
  const bool sensitive = std::ranges::any_of(items_, [this](const Item& item) {
    const stats::PartStats* layer = find_part(input_.statistics, item.tensor->layer, "layer");
    return layer != nullptr && layer->disturbed_rows > 0;
  });
  const std::string_view of = input_.importance.has_grams() ? "outputs"
                              : input_.importance.empty()   ? "weights"
                                                            : "weights by the squares of their inputs";
  if (sensitive) return fmt::format("estimated divergence in nats, by relative squared errors of {}", of);
  return fmt::format("sum of relative squared errors of {}", of);
}

Status Chooser::choose(int64_t budget, BitsReport& report) {
  std::vector<std::vector<Choice>> choices;
  for (const Item& item : items_) choices.push_back(item.choices);
  const int64_t least = least_bytes(choices);
  report.clause = fmt::format("{}:{}", recipe::print(clause_.where), recipe::print(step_));
  report.measure = measure_text();
  report.budget = budget;
  if (least > budget) {
    const int64_t others = input_.target_bytes > 0 && options_.average == 0 ? input_.target_bytes - budget : 0;
    return refuse(step_, fmt::format("bits: {} bytes for these matrices, and they take at least {}{}",
                                     std::max<int64_t>(budget, 0), least,
                                     others > 0 ? fmt::format("; all tensors together at least {}", least + others)
                                                : std::string()));
  }
  std::optional<Selection> plain;
  size_t plain_level = 0;
  for (size_t level = 0; level < options_.ladder.size(); ++level) {
    Selection all = uniform(choices, level);
    if (all.bytes > budget || (plain && plain->error <= all.error)) continue;
    plain = std::move(all);
    plain_level = level;
  }
  if (options_.order == Order::kMeasured) {
    chosen_ = *choose_within(choices, budget);
    report.bound = chosen_.bound;
  } else {
    LAMINA_ASSIGN(const std::vector<Group> groups, options_.order == Order::kExperts
                                                       ? expert_groups(items_, input_, step_)
                                                       : layer_groups(items_, options_.order, input_, step_));
    if (!plain) return refuse(step_, "bits: no format for all layers fits, from which an order could go up");
    chosen_ = by_order(choices, groups, budget);
  }
  if (plain) {
    report.plain = options_.ladder[plain_level]->format.name;
    report.plain_bytes = plain->bytes;
    report.plain_error = plain->error;
    report.plain_won = plain->error < chosen_.error;
    if (report.plain_won) chosen_ = *plain;
  }
  report.bytes = chosen_.bytes;
  report.error = chosen_.error;
  for (size_t i = 0; i < items_.size(); ++i) {
    const size_t level = chosen_.chosen[i];
    report.rows.push_back({.tensor = items_[i].tensor->name,
                           .codec = std::string(items_[i].codecs[level]->format.name),
                           .bytes = items_[i].choices[level].bytes,
                           .error = items_[i].choices[level].error,
                           .plain_error = plain ? items_[i].choices[plain_level].error : 0});
  }
  return {};
}

void Chooser::fill(std::map<std::string, const codec::Codec*>& out) const {
  for (size_t i = 0; i < items_.size(); ++i) out[items_[i].tensor->name] = items_[i].codecs[chosen_.chosen[i]];
}

}  // namespace

Result<std::map<std::string, const codec::Codec*>> choose_bits(const BitsInput& input,
                                                               std::vector<BitsReport>& reports) {
  std::map<std::string, const codec::Codec*> out;
  std::optional<Chooser> rest;  // the clause that takes what the target leaves
  int64_t others = 0;
  for (const OutputTensor& tensor : input.tensors) others += tensor.shape.bytes();
  for (const recipe::Clause& clause : input.recipe.clauses) {
    for (const recipe::Step& step : clause.steps) {
      if (clause.where.place != recipe::Place::kWeights || step.technique != "bits") continue;
      Chooser chooser(input, clause, step);
      LAMINA_CHECK_OK(chooser.prepare());
      for (const OutputTensor& tensor : input.tensors) others -= chooser.has(tensor) ? tensor.shape.bytes() : 0;
      if (chooser.average() == 0) {
        if (input.target_bytes == 0)
          return refuse(step, "bits needs a budget: bits(avg=4.5), or --target-bytes for all tensors together");
        if (rest) return refuse(step, "one bits without avg takes what the target leaves; give this one an average");
        rest.emplace(chooser);
        continue;
      }
      BitsReport& report = reports.emplace_back();
      LAMINA_CHECK_OK(chooser.choose(chooser.average_budget(), report));
      chooser.fill(out);
      others += report.bytes;
    }
  }
  if (input.target_bytes > 0 && !rest) {
    return fail(ErrorCode::kInvalid, "--target-bytes",
                "nothing in the recipe can be made to fit; L*:bits gives matrices of layers the formats that fit");
  }
  if (rest) {
    LAMINA_CHECK_OK(rest->choose(input.target_bytes - others, reports.emplace_back()));
    rest->fill(out);
  }
  return out;
}

bool bits_selects(const recipe::Recipe& recipe, int layers, const layers::WeightPlace& place) {
  return std::ranges::any_of(recipe.clauses, [&](const recipe::Clause& clause) {
    return clause.where.place == recipe::Place::kWeights &&
           std::ranges::find(clause.steps, "bits", &recipe::Step::technique) != clause.steps.end() &&
           selects(clause.where, place.layer, place.role, place.key, layers);
  });
}

}  // namespace lamina::compress
