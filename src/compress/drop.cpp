#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "compress/choose_parts.h"
#include "compress/pass.h"
#include "compress/take_out.h"
#include "run/route_cost.h"

namespace lamina::compress {

using core::Result;
using core::Status;
using Parts = std::vector<std::set<std::string>>;

namespace {

/// What can be dropped by itself: a layer, or one part of it.
struct Unit {
  int layer = 0;       ///< of the model so far
  std::string role{};  ///< of the part; empty: all of the layer
  double score = 0;    ///< how much it changes the stream
  bool dropped = false;
};

/// The roles of a layer that a part of a selector names; those that have them.
std::vector<std::string> roles_of(const layers::Layer& layer, std::string_view part) {
  std::vector<std::string> roles;
  for (const layers::Layer::Part& one : layer.parts) {
    const bool named = part.empty() || (part == "attn" ? run::mixes_tokens(one.role) : part == one.role);
    if (named) roles.push_back(one.role);
  }
  return roles;
}

Result<std::vector<Unit>> list_units(const PassUse& use, const ModelEdit& edit) {
  const bool layers = use.clause.where.part.empty() && use.word("units") == "layers";
  std::vector<Unit> units;
  for (const int layer : use.layers(edit)) {
    const std::vector<std::string> roles =
        roles_of(edit.model().layers()[static_cast<size_t>(layer)], use.clause.where.part);
    if (layers) {
      units.push_back({.layer = layer});
      continue;
    }
    for (const std::string& role : roles) units.push_back({.layer = layer, .role = role});
  }
  if (units.empty()) return use.refuse("removes nothing; name layers that have this part");
  return units;
}

double score_of(const stats::PartStats& part, const std::string& by) {
  const auto rows = static_cast<double>(part.rows);
  if (by == "contribution") return part.contribution / rows;
  if (by == "length") return std::abs(part.length_after - part.length_before) / rows;
  if (by == "void") return 1 - static_cast<double>(part.voids) / rows;
  return 1 - part.cosine / rows;
}

Status set_scores(const PassUse& use, const ModelEdit& edit, std::vector<Unit>& units) {
  const stats::Statistics* statistics = edit.statistics();
  if (statistics == nullptr)
    return use.refuse("chooses by what calibration text showed; --stats with a file of `lamina stats` expected");
  for (Unit& unit : units) {
    const std::string role = unit.role.empty() ? "layer" : unit.role;
    const int layer = edit.origin(unit.layer);
    const auto found = std::ranges::find_if(statistics->parts, [&](const stats::PartStats& part) {
      return part.layer == layer && part.role == role && part.rows > 0;
    });
    if (found == statistics->parts.end()) {
      return use.refuse(
          fmt::format("the statistics say nothing of layer {}, {}; a file of `lamina stats` without a "
                      "recipe expected, not an importance matrix",
                      layer, role));
    }
    if (use.word("by") == "void" && found->voids < 0)
      return use.refuse("the statistics do not count voids; `lamina stats` of this version makes such as do");
    unit.score = score_of(*found, use.word("by"));
  }
  return {};
}

/// Marks the `count` units of the lowest scores, or of the run of neighbours with the lowest sum.
void choose(std::vector<Unit>& units, size_t count, bool run) {
  std::vector<size_t> order(units.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (!run) {
    std::ranges::sort(order, {}, [&](size_t i) { return std::pair(units[i].score, i); });
    for (size_t i = 0; i < count; ++i) units[order[i]].dropped = true;
    return;
  }
  const auto sum_from = [&](size_t first) {
    double sum = 0;
    for (size_t i = first; i < first + count; ++i) sum += units[i].score;
    return sum;
  };
  order.resize(units.size() - count + 1);
  const size_t best = *std::ranges::min_element(order, {}, sum_from);
  for (size_t i = best; i < best + count; ++i) units[i].dropped = true;
}

/// "attn of layers 3, 7"
std::string names_of(const std::vector<Unit>& units, const ModelEdit& edit) {
  std::map<std::string, std::string> by_role;
  for (const Unit& unit : units) {
    if (!unit.dropped) continue;
    std::string& list = by_role[unit.role];
    list += (list.empty() ? "" : ", ") + std::to_string(edit.origin(unit.layer));
  }
  std::string text;
  for (const auto& [role, list] : by_role)
    text += fmt::format("{}{}layers {}", text.empty() ? "" : "; ", role.empty() ? "" : role + " of ", list);
  return text;
}

void note_scores(const PassUse& use, const ModelEdit& edit, const std::vector<Unit>& units, PassReport& report) {
  report.details["by"] = use.word("by");
  report.details["order"] = use.word("order");
  for (const Unit& unit : units) {
    report.details["scores"].push_back({{"layer", edit.origin(unit.layer)},
                                        {"part", unit.role.empty() ? "layer" : unit.role},
                                        {"score", unit.score},
                                        {"dropped", unit.dropped}});
  }
}

Status choose_by_scores(const PassUse& use, const ModelEdit& edit, size_t count, std::vector<Unit>& units) {
  if (count > units.size())
    return use.refuse(fmt::format("{} to be dropped of {}; at most as many expected", count, units.size()));
  const bool run = use.word("order") == "run";
  const bool mixed = std::ranges::any_of(units, [&](const Unit& unit) { return unit.role != units.front().role; });
  if (run && mixed) return use.refuse("order=run needs units of one kind");
  LAMINA_CHECK_OK(set_scores(use, edit, units));
  choose(units, count, run);
  return {};
}

}  // namespace

Result<ChosenParts> choose_parts(const PassUse& use, const ModelEdit& edit, PassReport& report) {
  LAMINA_ASSIGN(std::vector<Unit> units, list_units(use, edit));
  const auto count = static_cast<size_t>(use.integer("count"));
  if (count > 0) {
    LAMINA_CHECK_OK(choose_by_scores(use, edit, count, units));
    note_scores(use, edit, units, report);
  } else {
    for (Unit& unit : units) unit.dropped = true;
  }
  ChosenParts chosen{.parts = Parts(edit.model().layers().size()), .names = names_of(units, edit)};
  for (const Unit& unit : units) {
    const auto layer = static_cast<size_t>(unit.layer);
    if (!unit.dropped) continue;
    for (const std::string& role : roles_of(edit.model().layers()[layer], ""))
      if (unit.role.empty() || unit.role == role) chosen.parts[layer].insert(role);
  }
  return chosen;
}

/// He et al. 2024 (arXiv 2406.15786): what changes the direction of the stream least is not needed. A run of layers is
/// Gromov et al. 2024 (arXiv 2403.17887), by the sum of its layers' scores.
Status drop_pass(const PassUse& use, ModelEdit& edit, PassReport& report) {
  LAMINA_ASSIGN(const ChosenParts chosen, choose_parts(use, edit, report));
  report.summary = "dropped " + chosen.names;
  return take_out(edit, chosen.parts, report.notes);
}

}  // namespace lamina::compress
