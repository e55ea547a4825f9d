#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <numeric>

#include "lamina/comparison.h"

namespace lamina::app {

using core::ErrorCode;
using core::fail;
using core::Result;
using Json = nlohmann::ordered_json;

namespace {

constexpr double kPanelWidth = 560;
constexpr double kHeight = 420;
constexpr double kLeft = 70;
constexpr double kRight = 130;  ///< labels stand beside their points
constexpr double kTop = 36;
constexpr double kBottom = 56;

std::string escape(const std::string& text) {
  std::string out;
  for (const char letter : text) {
    switch (letter) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += letter;
    }
  }
  return out;
}

/// Round numbers from 0 or below `low` to above `high`, about five of them.
std::vector<double> ticks(double low, double high) {
  const double rough = (high - low) / 5;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = power;
  for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
    step = factor * power;
    if (step >= rough) break;
  }
  std::vector<double> out;
  for (double value = std::ceil(low / step) * step; value <= high + step * 1e-9; value += step) out.push_back(value);
  return out;
}

/// One axis: values to places along it.
struct Axis {
  std::string title;
  double low = 0;
  double high = 1;
  bool root = false;  ///< places go by square roots, so that small values stand apart

  double place(double value) const {
    const double share = std::clamp((value - low) / (high - low), 0.0, 1.0);
    return root ? std::sqrt(share) : share;
  }
};

Axis axis_of(std::string title, const std::vector<double>& values, bool root) {
  const auto [least, most] = std::ranges::minmax(values);
  if (root) return {std::move(title), 0, most > 0 ? most * 1.1 : 1, true};
  const double room = most > least ? (most - least) * 0.08 : std::max(std::abs(most) * 0.05, 1e-9);
  return {std::move(title), least - room, most + room, false};
}

struct Panel {
  Axis x;
  Axis y;
  std::vector<PlotPoint> points;
  std::vector<std::string> labels;
};

std::string draw_axes(const Panel& panel, double left, double right, double bottom) {
  std::string out;
  const auto x_of = [&](double value) { return left + panel.x.place(value) * (right - left); };
  const auto y_of = [&](double value) { return bottom - panel.y.place(value) * (bottom - kTop); };
  for (const double tick : ticks(panel.x.low, panel.x.high)) {
    out += fmt::format(
        "<path class=\"grid\" d=\"M{0:.1f} {1:.1f}V{2:.1f}\"/><text class=\"tick\" x=\"{0:.1f}\" y=\"{3:.1f}\" "
        "text-anchor=\"middle\">{4:.4g}</text>\n",
        x_of(tick), kTop, bottom, bottom + 16, tick);
  }
  for (const double tick : ticks(panel.y.low, panel.y.high)) {
    out += fmt::format(
        "<path class=\"grid\" d=\"M{0:.1f} {1:.1f}H{2:.1f}\"/><text class=\"tick\" x=\"{3:.1f}\" y=\"{4:.1f}\" "
        "text-anchor=\"end\">{5:.4g}</text>\n",
        left, y_of(tick), right, left - 6, y_of(tick) + 4, tick);
  }
  out += fmt::format("<text class=\"title\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n",
                     (left + right) / 2, bottom + 38, escape(panel.x.title));
  out += fmt::format("<text class=\"title\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", left, kTop - 14,
                     escape(panel.y.title));
  return out;
}

std::string draw(const Panel& panel, double offset) {
  const double left = offset + kLeft;
  const double right = offset + kPanelWidth - kRight;
  const double bottom = kHeight - kBottom;
  std::string out = draw_axes(panel, left, right, bottom);
  const auto x_of = [&](size_t i) { return left + panel.x.place(panel.points[i].x) * (right - left); };
  const auto y_of = [&](size_t i) { return bottom - panel.y.place(panel.points[i].y) * (bottom - kTop); };
  const std::vector<size_t> front = pareto_front(panel.points);
  std::string line;
  for (const size_t i : front) line += fmt::format("{}{:.1f} {:.1f}", line.empty() ? "M" : "L", x_of(i), y_of(i));
  out += fmt::format("<path class=\"front\" d=\"{}\"/>\n", line);
  for (size_t i = 0; i < panel.points.size(); ++i) {
    const bool best = std::ranges::find(front, i) != front.end();
    out += fmt::format(
        "<circle class=\"{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\"><title>{}: {:.5g}, {:.5g}</title></circle>\n",
        best ? "best" : "other", x_of(i), y_of(i), escape(panel.labels[i]), panel.points[i].x, panel.points[i].y);
    out += fmt::format("<text class=\"label\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", x_of(i) + 7, y_of(i) - 5,
                       escape(panel.labels[i]));
  }
  return out;
}

/// The label that tells a row from the others: what differs.
std::vector<std::string> labels_of(const std::vector<const Json*>& rows) {
  const auto model = [](const Json* row) { return std::filesystem::path(row->value("model", "")).filename().string(); };
  const bool one_model = std::ranges::all_of(rows, [&](const Json* row) { return model(row) == model(rows.front()); });
  std::vector<std::string> labels;
  for (const Json* row : rows) {
    const std::string recipe = row->value("recipe", "");
    if (one_model) {
      labels.push_back(recipe.empty() ? "as it is" : recipe);
    } else {
      labels.push_back(recipe.empty() ? model(row) : fmt::format("{} {}", model(row), recipe));
    }
  }
  return labels;
}

/// The panel of the rows that have both figures.
Panel make_panel(const std::vector<ComparisonRow>& rows, const std::string& quality, const std::string& quality_title,
                 const std::string& x_title, const std::function<double(const Json&)>& x) {
  Panel panel;
  std::vector<const Json*> kept;
  std::vector<double> xs;
  std::vector<double> ys;
  for (const Json& row : rows) {
    const double cost = x(row);
    if (!std::isfinite(cost) || !row.contains(quality)) continue;
    kept.push_back(&row);
    xs.push_back(cost);
    ys.push_back(row[quality].get<double>());
    panel.points.push_back({cost, ys.back()});
  }
  if (kept.size() < 2) return {};
  panel.labels = labels_of(kept);
  panel.x = axis_of(x_title, xs, false);
  panel.y = axis_of(quality_title, ys, quality == "kl_mean");
  return panel;
}

double number(const Json& row, const char* key) {
  return row.contains(key) ? row.at(key).get<double>() : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

std::vector<size_t> pareto_front(const std::vector<PlotPoint>& points) {
  std::vector<size_t> order(points.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    if (points[a].x != points[b].x) return points[a].x < points[b].x;
    return points[a].y != points[b].y ? points[a].y < points[b].y : a < b;
  });
  std::vector<size_t> front;
  double best = std::numeric_limits<double>::infinity();
  for (const size_t i : order) {
    const bool twin = !front.empty() && points[front.back()].x == points[i].x && points[front.back()].y == points[i].y;
    if (points[i].y >= best && !twin) continue;
    front.push_back(i);
    best = points[i].y;
  }
  return front;
}

Result<std::string> comparison_plot(const std::vector<ComparisonRow>& rows) {
  const bool diverges =
      std::ranges::all_of(rows, [](const Json& row) { return row.contains("kl_mean") || !row.contains("ppl"); });
  const std::string quality = diverges ? "kl_mean" : "ppl";
  const std::string title = diverges ? "KL to the reference, nats per token (square-root scale)" : "perplexity";
  std::vector<Panel> panels{make_panel(rows, quality, title, "MB of weights that a token reads",
                                       [](const Json& row) { return number(row, "bytes_per_token") / 1e6; }),
                            make_panel(rows, quality, title, "ms to generate a token",
                                       [](const Json& row) { return 1e3 / number(row, "write_tps"); })};
  std::erase_if(panels, [](const Panel& panel) { return panel.points.empty(); });
  if (panels.empty()) {
    return fail(ErrorCode::kInvalid, "plot",
                "fewer than two rows have a quality (a text) and a cost (bytes or speed); at least two expected");
  }
  std::string body;
  for (size_t i = 0; i < panels.size(); ++i) body += draw(panels[i], static_cast<double>(i) * kPanelWidth);
  const double width = static_cast<double>(panels.size()) * kPanelWidth;
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
      "font-family=\"sans-serif\" font-size=\"11\">\n"
      "<style>.grid{{stroke:#ddd}}.tick{{fill:#666}}.title{{fill:#222;font-size:12px}}.label{{fill:#333;font-size:10px}"
      "}"
      ".front{{fill:none;stroke:#1769aa;stroke-width:1.5}}.best{{fill:#1769aa}}.other{{fill:#b0b0b0}}</style>\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{2}</svg>\n",
      width, kHeight, body);
}

}  // namespace lamina::app
