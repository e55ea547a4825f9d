#include "run/router.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "codec/codec.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "format/safetensors_writer.h"

namespace lamina::run {

using core::ErrorCode;
using core::fail;
using core::Result;
using core::Status;

namespace {

constexpr std::string_view kKey = "lamina.router";
constexpr std::string_view kWeights = "weights";
constexpr std::string_view kOffsets = "offsets";

/// A tensor of the file as numbers of T; empty unless it has that format and shape.
template <typename T>
std::vector<T> read_numbers(const format::Safetensors& file, std::string_view name, std::string_view format,
                            std::span<const int64_t> shape) {
  const core::TensorView* view = file.find_tensor(name);
  if (view == nullptr || view->format != &codec::find_codec(format)->format || view->rank != std::ssize(shape) ||
      !std::ranges::equal(shape, std::span(view->shape).first(shape.size())))
    return {};
  std::vector<T> out(static_cast<size_t>(view->elements()));
  std::memcpy(out.data(), view->data, out.size() * sizeof(T));
  const bool finite = std::ranges::all_of(out, [](T value) { return std::isfinite(value); });
  return finite ? out : std::vector<T>();
}

/// 1 / the root mean square of a row; 0 of a row of zeros.
double inverse_length(const float* row, int64_t hidden) {
  double square = 0;
  for (int64_t i = 0; i < hidden; ++i) square += double{row[i]} * double{row[i]};
  return square > 0 ? std::sqrt(static_cast<double>(hidden) / square) : 0;
}

}  // namespace

std::string_view router_kind_name(Router::Kind kind) {
  return kind == Router::Kind::kSkip ? "first" : "drllm";
}

int Router::count(std::span<const double> values) const {
  if (kind == Kind::kSkip) return values[0] < threshold ? 0 : 1;
  const bool twice = values[2] > values[0];
  return std::max(values[0], values[2]) > values[1] + threshold ? (twice ? 2 : 0) : 1;
}

WindowRange window_range(int64_t length, int64_t windows, int64_t window) {
  const int64_t begin = window * length / windows;
  return {.begin = begin, .end = std::max(begin + 1, (window + 1) * length / windows)};
}

void add_direction(const float* row, int64_t hidden, double scale, double* sums) {
  const double factor = scale * inverse_length(row, hidden);
  for (int64_t i = 0; i < hidden; ++i) sums[i] += factor * double{row[i]};
}

Status save(const Router& router, const std::filesystem::path& path) {
  const nlohmann::ordered_json head{{"kind", router_kind_name(router.kind)},
                                    {"model", router.model},
                                    {"threshold", router.threshold},
                                    {"layers", router.layers}};
  const auto count = static_cast<int64_t>(router.layers.size());
  format::SafetensorsWriter writer;
  writer.set_metadata(kKey, head.dump());
  LAMINA_CHECK_OK(writer.add_tensor(kWeights, {.format = &codec::find_codec("f32")->format,
                                               .rank = 4,
                                               .shape = {count, router.outputs(), router.windows, router.hidden},
                                               .data = reinterpret_cast<const std::byte*>(router.weights.data())}));
  LAMINA_CHECK_OK(writer.add_tensor(kOffsets, {.format = &codec::find_codec("f64")->format,
                                               .rank = 2,
                                               .shape = {count, router.outputs(), 1, 1},
                                               .data = reinterpret_cast<const std::byte*>(router.offsets.data())}));
  return writer.write(path);
}

Result<Router> load_router(const std::filesystem::path& path) {
  const std::string place = path.string();
  LAMINA_ASSIGN(const format::Safetensors file, format::Safetensors::open(path));
  const auto entry = file.metadata().find(std::string(kKey));
  if (entry == file.metadata().end())
    return fail(ErrorCode::kCorrupt, place, "no entry {} in its metadata; a file of `lamina route-fit` expected", kKey);
  LAMINA_ASSIGN(const nlohmann::json head, format::parse_json(entry->second, place));
  Router router;
  try {
    const auto kind = head.at("kind").get<std::string>();
    if (kind == router_kind_name(Router::Kind::kRepeat)) router.kind = Router::Kind::kRepeat;
    if (kind != router_kind_name(router.kind))
      return fail(ErrorCode::kCorrupt, place, "{}: kind \"{}\"; first or drllm expected", kKey, kind);
    router.model = head.at("model").get<std::string>();
    router.threshold = head.at("threshold").get<double>();
    router.layers = head.at("layers").get<std::vector<int>>();
  } catch (const nlohmann::json::exception& error) {
    return fail(ErrorCode::kCorrupt, place, "{}: {}", kKey, error.what());
  }
  const bool rising = std::ranges::adjacent_find(router.layers, std::greater_equal()) == router.layers.end();
  if (router.layers.empty() || !rising || router.layers.front() < 0)
    return fail(ErrorCode::kCorrupt, place, "{}: its layers are not a rising list of at least one", kKey);
  const core::TensorView* weights = file.find_tensor(kWeights);
  const auto count = static_cast<int64_t>(router.layers.size());
  if (weights != nullptr && weights->rank == 4) {
    router.windows = weights->shape[2];
    router.hidden = weights->shape[3];
  }
  router.weights =
      read_numbers<float>(file, kWeights, "f32", std::array{count, router.outputs(), router.windows, router.hidden});
  router.offsets = read_numbers<double>(file, kOffsets, "f64", std::array{count, router.outputs()});
  if (router.weights.empty() || router.offsets.empty()) {
    return fail(ErrorCode::kCorrupt, place,
                "{} and {} are missing or not finite numbers, f32 [{}, {}, windows, width] and f64 [{}, {}]", kWeights,
                kOffsets, count, router.outputs(), count, router.outputs());
  }
  return router;
}

std::vector<recipe::Visit> spare_visits(const Router& router, std::span<const recipe::Visit> route) {
  std::vector<recipe::Visit> spare;
  if (router.kind != Router::Kind::kRepeat) return spare;
  for (const recipe::Visit& visit : route) {
    if (std::ranges::find(router.layers, visit.layer) != router.layers.end()) spare.push_back(visit);
  }
  return spare;
}

Result<RouterReader> RouterReader::create(const Router& router, const Runner& runner) {
  const models::Model& model = runner.model();
  if (router.hidden != model.hidden() || model.encoder() != nullptr) {
    return fail(ErrorCode::kUnsupported, "router", "it is for decoders of width {}; the model's is {}{}", router.hidden,
                model.hidden(), model.encoder() != nullptr ? ", with an encoder" : "");
  }
  RouterReader reader(router);
  const std::vector<recipe::Visit>& route = runner.options().plan.route;
  reader.reads_.assign(route.size() + 1, -1);
  for (size_t n = 0; n < router.layers.size(); ++n) {
    const int layer = router.layers[n];
    const auto visit = std::ranges::find(route, layer, &recipe::Visit::layer);
    if (visit == route.end() || std::ranges::count(route, layer, &recipe::Visit::layer) > 1 ||
        std::ranges::any_of(route, &recipe::Visit::beside)) {
      return fail(ErrorCode::kUnsupported, "router",
                  "it decides on layer {}; a route that visits it once, with no layers side by side, expected", layer);
    }
    reader.reads_[static_cast<size_t>(visit - route.begin())] = static_cast<int>(n);
  }
  // The longest route that may be decided on has a place.
  std::vector<recipe::Visit> longest = route;
  std::ranges::copy(spare_visits(router, route), std::back_inserter(longest));
  LAMINA_CHECK_OK(runner.plan_route(std::move(longest)));
  return reader;
}

void RouterReader::begin(cache::SequenceId sequence, int64_t length) {
  sums_[sequence.index] = {.length = length, .rows = 0, .values = router_->offsets};
}

/// Adds what a layer's functions make of a row, of each window in which it is, by the window's rows.
void RouterReader::add(int64_t layer, int64_t position, const float* row, Sums& sums) const {
  const Router& router = *router_;
  const double inverse = inverse_length(row, router.hidden);
  for (int64_t window = 0; window < router.windows; ++window) {
    const WindowRange range = window_range(sums.length, router.windows, window);
    if (position < range.begin || position >= range.end) continue;
    for (int64_t output = layer * router.outputs(); output < (layer + 1) * router.outputs(); ++output) {
      const float* weights = router.weights.data() + (output * router.windows + window) * router.hidden;
      double product = 0;
      for (int64_t i = 0; i < router.hidden; ++i) product += double{weights[i]} * double{row[i]};
      sums.values[static_cast<size_t>(output)] += product * inverse / static_cast<double>(range.end - range.begin);
    }
  }
}

void RouterReader::at_border(const Border& border, float* stream) {
  const int layer = reads_[static_cast<size_t>(int64_t{border.visit} + 1)];
  if (layer < 0) return;
  for (const layers::RowGroup& group : border.groups) {
    const auto found = sums_.find(group.sequence.index);
    if (found == sums_.end()) continue;
    Sums& sums = found->second;
    const int64_t rows = std::clamp<int64_t>(sums.length - group.first_position, 0, group.rows);
    for (int64_t r = 0; r < rows; ++r)
      add(layer, group.first_position + r, stream + (group.first_row + r) * border.hidden, sums);
    // The router's first layer counts the rows, which all layers see alike.
    if (layer == 0) sums.rows += rows;
  }
}

Result<Route> RouterReader::decide(const Runner& runner, cache::SequenceId sequence) {
  const auto found = sums_.find(sequence.index);
  if (found == sums_.end() || found->second.rows != found->second.length) {
    return fail(ErrorCode::kInvalid, "router", "it has read {} of a prompt's {} tokens; all expected",
                found == sums_.end() ? 0 : found->second.rows, found == sums_.end() ? 0 : found->second.length);
  }
  const auto outputs = static_cast<size_t>(router_->outputs());
  std::vector<recipe::Visit> visits;
  for (const recipe::Visit& visit : runner.options().plan.route) {
    const auto layer = std::ranges::find(router_->layers, visit.layer);
    const auto index = static_cast<size_t>(layer - router_->layers.begin());
    const int count = layer == router_->layers.end()
                          ? 1
                          : router_->count(std::span(found->second.values).subspan(index * outputs, outputs));
    visits.insert(visits.end(), static_cast<size_t>(count), visit);
  }
  sums_.erase(found);
  if (visits.empty()) return fail(ErrorCode::kInvalid, "router", "it leaves out every layer; at least one must run");
  return runner.plan_route(std::move(visits));
}

}  // namespace lamina::run
