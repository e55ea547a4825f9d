#include "lamina/stats_table.h"

#include <fmt/format.h>

#include "lamina/table.h"

namespace lamina::app {

namespace {

double mean(double sum, int64_t rows) {
  return rows > 0 ? sum / static_cast<double>(rows) : 0;
}

}  // namespace

nlohmann::ordered_json parts_json(const stats::Statistics& statistics) {
  nlohmann::ordered_json parts = nlohmann::ordered_json::array();
  for (const stats::PartStats& part : statistics.parts) {
    parts.push_back({{"layer", part.layer},
                     {"part", part.role},
                     {"cosine", mean(part.cosine, part.rows)},
                     {"contribution", mean(part.contribution, part.rows)},
                     {"length_before", mean(part.length_before, part.rows)},
                     {"length_after", mean(part.length_after, part.rows)}});
    if (part.voids >= 0) parts.back()["void"] = mean(static_cast<double>(part.voids), part.rows);
  }
  return parts;
}

std::string parts_text(const stats::Statistics& statistics) {
  Table table({">LAYER", "PART", ">COSINE", ">ADDS", ">LENGTH BEFORE", ">AFTER", ">VOID"});
  for (const stats::PartStats& part : statistics.parts) {
    table.add({std::to_string(part.layer), part.role, fmt::format("{:.4f}", mean(part.cosine, part.rows)),
               fmt::format("{:.3f}", mean(part.contribution, part.rows)),
               fmt::format("{:.2f}", mean(part.length_before, part.rows)),
               fmt::format("{:.2f}", mean(part.length_after, part.rows)),
               part.voids < 0 ? "" : fmt::format("{:.2f}", mean(static_cast<double>(part.voids), part.rows))});
  }
  return table.text();
}

}  // namespace lamina::app
