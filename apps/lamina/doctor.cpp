#include <memory>
#include <set>
#include <string>
#include <vector>

#include "codec/codec.h"
#include "core/cpu.h"
#include "core/memory.h"
#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "kernels/peak.h"
#include "kernels/recurrence.h"
#include "kernels/rope.h"
#include "kernels/softmax.h"
#include "kernels/variant.h"
#include "lamina/cli.h"
#include "lamina/commands.h"
#include "lamina/store.h"
#include "lamina/table.h"
#include "run/machine.h"

namespace lamina::app {

namespace {

using core::Isa;
using core::Result;
using core::Status;
using nlohmann::ordered_json;

/// What runs an operation here. `codec` is empty where weights play no part.
struct Kernel {
  std::string operation;
  std::string codec;
  std::string activations;
  Isa isa = Isa::kScalar;
};

/// Everything that doctor tells.
struct Report {
  core::CpuLimits limits;
  int threads = 1;
  std::set<Isa> built;
  std::vector<Kernel> kernels;
  run::CacheSizes caches;
  std::string huge_pages;
  int64_t available = 0;
  run::MachinePeaks one;
  run::MachinePeaks all;
};

template <typename Rows>
void add_operation(const char* name, Rows rows, Report& report) {
  for (const auto* row : rows) report.built.insert(row->isa);
  report.kernels.push_back(
      {.operation = name, .codec = {}, .activations = {}, .isa = kernels::strongest_row(rows).isa});
}

const char* form_name(kernels::InputForm form) {
  switch (form) {
    case kernels::InputForm::kFloat:
      return "float32";
    case kernels::InputForm::kInt8Block:
      return "int8, a scale per 32";
    case kernels::InputForm::kInt8Super:
      return "int8, a scale per 256";
  }
  return "";
}

void add_products(Report& report) {
  for (const kernels::LinearVariant& variant : kernels::linear_variants()) report.built.insert(variant.isa);
  for (const codec::Codec& codec : codec::codecs()) {
    const auto layout = kernels::weight_layout(codec, kernels::kPanel, 256);
    if (!layout) continue;
    const std::string form =
        layout->format == nullptr ? "float32, weights decoded at use" : form_name(layout->activation);
    report.kernels.push_back({.operation = "linear",
                              .codec = std::string(codec.format.name),
                              .activations = form,
                              .isa = layout->variant->isa});
  }
}

Result<Report> examine() {
  Report report;
  report.limits = core::cpu_limits();
  report.threads = core::default_threads();
  report.built.insert(Isa::kScalar);
  add_products(report);
  add_operation("attention", kernels::attention_variants(), report);
  add_operation("norm", kernels::norm_variants(), report);
  add_operation("activation", kernels::activation_variants(), report);
  add_operation("recurrence", kernels::recurrence_variants(), report);
  add_operation("rope", kernels::rope_variants(), report);
  add_operation("softmax", kernels::softmax_variants(), report);
  report.caches = run::cache_sizes();
  report.huge_pages = run::huge_pages();
  report.available = core::available_bytes();
  core::ThreadPool one(1);
  LAMINA_ASSIGN(report.one, run::measure_peaks(one));
  report.all = report.one;
  if (report.threads > 1) {
    core::ThreadPool all(report.threads);
    LAMINA_ASSIGN(report.all, run::measure_peaks(all));
  }
  return report;
}

ordered_json to_json(const Report& report) {
  ordered_json out{{"cpu", core::cpu_name()},
                   {"threads", report.threads},
                   {"cpus", {{"online", report.limits.online}, {"affinity", report.limits.affinity}}}};
  if (report.limits.quota > 0) out["cpus"]["quota"] = report.limits.quota;
  out["isas"] = ordered_json::array();
  for (const Isa isa : core::all_isas()) {
    out["isas"].push_back({{"name", core::isa_name(isa)},
                           {"machine", core::cpu_has(isa)},
                           {"build", report.built.contains(isa)},
                           {"used", core::isa_allowed(isa) && report.built.contains(isa)}});
  }
  out["kernels"] = ordered_json::array();
  for (const Kernel& kernel : report.kernels) {
    ordered_json row{{"operation", kernel.operation}, {"isa", core::isa_name(kernel.isa)}};
    if (!kernel.codec.empty()) row.update({{"codec", kernel.codec}, {"activations", kernel.activations}});
    out["kernels"].push_back(std::move(row));
  }
  out["memory"] = {{"available", report.available}, {"huge_pages", report.huge_pages}};
  out["caches"] = {{"l1", report.caches.l1}, {"l2", report.caches.l2}, {"l3", report.caches.l3}};
  const auto peaks = [](const run::MachinePeaks& p) {
    return ordered_json{
        {"read_bytes_per_second", p.read_bytes}, {"float32_per_second", p.float32}, {"int8_per_second", p.int8}};
  };
  out["peaks"] = {{"one_thread", peaks(report.one)}, {"all_threads", peaks(report.all)}};
  return out;
}

std::string threads_text(const Report& report) {
  std::string text =
      fmt::format("{} ({} CPUs online, {} allowed", report.threads, report.limits.online, report.limits.affinity);
  return text + (report.limits.quota > 0 ? fmt::format(", quota of {:.2g})", report.limits.quota) : ", no quota)");
}

std::string cache_text(const run::CacheSizes& caches) {
  const auto size = [](int64_t bytes) {
    return bytes == 0 ? std::string("unknown") : fmt::format("{} KiB", bytes >> 10);
  };
  return fmt::format("L1 {}, L2 {}, L3 {}", size(caches.l1), size(caches.l2), size(caches.l3));
}

/// Codecs that run alike stand in one row.
void print_kernels(const Report& report) {
  std::vector<std::pair<Kernel, std::string>> groups;
  for (const Kernel& kernel : report.kernels) {
    if (!groups.empty() && !kernel.codec.empty()) {
      const auto same = [&](const auto& group) {
        return group.first.operation == kernel.operation && group.first.activations == kernel.activations &&
               group.first.isa == kernel.isa;
      };
      if (const auto found = std::ranges::find_if(groups, same); found != groups.end()) {
        found->second += ", " + kernel.codec;
        continue;
      }
    }
    groups.emplace_back(kernel, kernel.codec);
  }
  Table table({"OPERATION", "KERNEL", "ACTIVATIONS", "WEIGHTS"});
  for (const auto& [kernel, codecs] : groups)
    table.add({kernel.operation, std::string(core::isa_name(kernel.isa)), kernel.activations, codecs});
  fmt::print("{}", table.text());
}

void print_report(const Report& report) {
  fmt::print("{}\n", facts_text({{"CPU", core::cpu_name()},
                                 {"Threads", threads_text(report)},
                                 {"Caches", cache_text(report.caches)},
                                 {"Memory free", size_text(report.available)},
                                 {"Huge pages", report.huge_pages}}));
  Table isas({"INSTRUCTIONS", "MACHINE", "BUILD", "USED"});
  for (const Isa isa : core::all_isas()) {
    const bool built = report.built.contains(isa);
    const auto word = [](bool yes) { return yes ? "yes" : "no"; };
    isas.add({std::string(core::isa_name(isa)), word(core::cpu_has(isa)), word(built),
              word(core::isa_allowed(isa) && built)});
  }
  fmt::print("{}\n", isas.text());
  print_kernels(report);
  Table peaks({"MEASURED", ">1 THREAD", fmt::format(">{} THREADS", report.threads)});
  const auto row = [&](const char* name, double one, double all, double unit, const char* unit_name) {
    peaks.add({name, fmt::format("{:.1f} {}", one / unit, unit_name), fmt::format("{:.1f} {}", all / unit, unit_name)});
  };
  row("memory reading", report.one.read_bytes, report.all.read_bytes, 1e9, "GB/s");
  row("float32 operations", report.one.float32, report.all.float32, 1e9, "G/s");
  row("int8 operations", report.one.int8, report.all.int8, 1e9, "G/s");
  fmt::print("\n{}Other work on this machine lowers what is measured.\n", peaks.text());
}

Status run_doctor(bool json) {
  LAMINA_ASSIGN(const Report report, examine());
  if (json) {
    print_json(to_json(report));
  } else {
    print_report(report);
  }
  return {};
}

}  // namespace

void add_doctor(CLI::App& app, int& exit_status) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command =
      add_command(app, "doctor", "show this machine: threads, instructions, kernels, memory, speed limits",
                  "  lamina doctor\n"
                  "  LAMINA_ISA=avx2 lamina doctor              (what runs without stronger instructions)\n"
                  "  lamina doctor --json");
  add_json_option(*command, *json);
  command->callback([json, &exit_status] { exit_status = exit_status_of(run_doctor(*json)); });
}

}  // namespace lamina::app
