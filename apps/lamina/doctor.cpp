#include <memory>
#include <optional>
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
#include "kernels/quadratic.h"
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
  std::vector<Isa> stronger;  ///< built, and not chosen
};

/// What some threads read together.
struct Bandwidth {
  int threads = 1;
  double bytes = 0;  ///< per second
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
  std::vector<Bandwidth> bandwidth;
};

template <typename Rows>
void add_operation(const char* name, Rows rows, Report& report) {
  Kernel kernel{
      .operation = name, .codec = {}, .activations = {}, .isa = kernels::strongest_row(rows).isa, .stronger = {}};
  for (const auto* row : rows) {
    report.built.insert(row->isa);
    if (row->isa > kernel.isa) kernel.stronger.push_back(row->isa);
  }
  report.kernels.push_back(std::move(kernel));
}

const char* form_name(kernels::InputForm form) {
  switch (form) {
    case kernels::InputForm::kFloat:
      return "float32";
    case kernels::InputForm::kInt8Block:
      return "int8, a scale per 32";
    case kernels::InputForm::kInt8Super:
      return "int8, a scale per 256";
    case kernels::InputForm::kBf16:
      return "bfloat16";
    case kernels::InputForm::kLargest:
      return "float32, the largest";
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
    Kernel kernel{.operation = "linear",
                  .codec = std::string(codec.format.name),
                  .activations = form,
                  .isa = layout->variant->isa,
                  .stronger = {}};
    for (const kernels::LinearVariant& variant : kernels::linear_variants()) {
      if (variant.codec == layout->variant->codec && variant.isa > kernel.isa) kernel.stronger.push_back(variant.isa);
    }
    report.kernels.push_back(std::move(kernel));
  }
}

Result<run::MachinePeaks> peaks_of(int threads) {
  core::ThreadPool pool(threads);
  LAMINA_ASSIGN(run::ReadMeter meter, run::ReadMeter::create(pool));
  return run::measure_peaks(pool, meter);
}

/// The limits of one thread and of all, and what 1, 2, 4, ... threads read.
Status measure(Report& report) {
  LAMINA_ASSIGN(report.one, peaks_of(1));
  report.all = report.one;
  report.bandwidth.push_back({1, report.one.read_bytes});
  for (int threads = 2; threads < report.threads; threads *= 2) {
    core::ThreadPool some(threads);
    LAMINA_ASSIGN(run::ReadMeter meter, run::ReadMeter::create(some));
    report.bandwidth.push_back({threads, meter.best()});
  }
  if (report.threads == 1) return {};
  LAMINA_ASSIGN(report.all, peaks_of(report.threads));
  report.bandwidth.push_back({report.threads, report.all.read_bytes});
  return {};
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
  add_operation("quadratic", kernels::quadratic_variants(), report);
  add_operation("rope", kernels::rope_variants(), report);
  add_operation("softmax", kernels::softmax_variants(), report);
  report.caches = run::cache_sizes();
  report.huge_pages = run::huge_pages();
  report.available = core::available_bytes();
  LAMINA_CHECK_OK(measure(report));
  return report;
}

ordered_json peaks_json(const run::MachinePeaks& peaks) {
  ordered_json out{{"read_bytes_per_second", peaks.read_bytes},
                   {"float32_per_second", peaks.float32},
                   {"bfloat16_per_second", nullptr},
                   {"int8_per_second", peaks.int8}};
  if (peaks.bfloat16) out["bfloat16_per_second"] = *peaks.bfloat16;
  const auto add_tiles = [&](const std::string& name, const std::optional<run::MachinePeaks::Tiles>& tiles) {
    out[name + "_tiles_per_second"] = nullptr;
    if (tiles)
      out[name + "_tiles_per_second"] = ordered_json{{"registers", tiles->registers}, {"first_cache", tiles->cached}};
  };
  add_tiles("bfloat16", peaks.bfloat16_tiles);
  add_tiles("int8", peaks.int8_tiles);
  return out;
}

/// Why no kernels of `isa` run; empty if some may.
std::string isa_reason(const Report& report, Isa isa) {
  const std::string gap = core::isa_gap(isa);
  if (!gap.empty()) return gap;
  return report.built.contains(isa) ? "" : "this build has no kernels for it";
}

ordered_json to_json(const Report& report) {
  ordered_json out{{"cpu", core::cpu_name()},
                   {"threads", report.threads},
                   {"cpus", {{"online", report.limits.online}, {"affinity", report.limits.affinity}}}};
  if (report.limits.cores > 0) out["cpus"]["cores"] = report.limits.cores;
  if (report.limits.quota > 0) out["cpus"]["quota"] = report.limits.quota;
  out["isas"] = ordered_json::array();
  for (const Isa isa : core::all_isas()) {
    out["isas"].push_back({{"name", core::isa_name(isa)},
                           {"machine", core::cpu_has(isa)},
                           {"build", report.built.contains(isa)},
                           {"used", core::isa_allowed(isa) && report.built.contains(isa)},
                           {"reason", isa_reason(report, isa)}});
  }
  out["kernels"] = ordered_json::array();
  for (const Kernel& kernel : report.kernels) {
    ordered_json row{{"operation", kernel.operation}, {"isa", core::isa_name(kernel.isa)}};
    if (!kernel.codec.empty()) row.update({{"codec", kernel.codec}, {"activations", kernel.activations}});
    row["stronger"] = ordered_json::array();
    for (const Isa isa : kernel.stronger)
      row["stronger"].push_back({{"isa", core::isa_name(isa)}, {"reason", isa_reason(report, isa)}});
    out["kernels"].push_back(std::move(row));
  }
  out["memory"] = {{"available", report.available}, {"huge_pages", report.huge_pages}};
  out["caches"] = {{"l1", report.caches.l1}, {"l2", report.caches.l2}, {"l3", report.caches.l3}};
  out["peaks"] = {{"one_thread", peaks_json(report.one)}, {"all_threads", peaks_json(report.all)}};
  out["bandwidth"] = ordered_json::array();
  for (const Bandwidth& some : report.bandwidth)
    out["bandwidth"].push_back({{"threads", some.threads}, {"read_bytes_per_second", some.bytes}});
  return out;
}

std::string threads_text(const Report& report) {
  const core::CpuLimits& limits = report.limits;
  std::string text = fmt::format("{} ({} CPUs online, {} allowed", report.threads, limits.online, limits.affinity);
  if (limits.cores > 0) text += fmt::format(" on {} cores", limits.cores);
  return text + (limits.quota > 0 ? fmt::format(", quota of {:.2g})", limits.quota) : ", no quota)");
}

/// Whether the threads have cores of their own, whatever the system says: products of floats tell it.
std::string scaling_text(const Report& report) {
  constexpr double kShared = 0.65;  // of what separate cores would do together; hyper-threads of a core do half
  const double ratio = report.all.float32 / report.one.float32;
  const bool shared = ratio < kShared * report.threads;
  return fmt::format("{} threads do {:.2f} times the float32 work of one{}", report.threads, ratio,
                     shared ? ": they share cores, or other work takes them" : "");
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
               group.first.isa == kernel.isa && group.first.stronger == kernel.stronger;
      };
      if (const auto found = std::ranges::find_if(groups, same); found != groups.end()) {
        found->second += ", " + kernel.codec;
        continue;
      }
    }
    groups.emplace_back(kernel, kernel.codec);
  }
  const auto names = [](const std::vector<Isa>& isas) {
    std::string text;
    for (const Isa isa : isas) text += (text.empty() ? "" : ", ") + std::string(core::isa_name(isa));
    return text;
  };
  Table table({"OPERATION", "KERNEL", "STRONGER, NOT USED", "ACTIVATIONS", "WEIGHTS"});
  for (const auto& [kernel, codecs] : groups) {
    table.add({kernel.operation, std::string(core::isa_name(kernel.isa)), names(kernel.stronger), kernel.activations,
               codecs});
  }
  fmt::print("{}", table.text());
}

void print_peaks(const Report& report) {
  Table table({"MEASURED", ">1 THREAD", fmt::format(">{} THREADS", report.threads)});
  const auto row = [&](const char* name, double one, double all, const char* unit) {
    table.add({name, fmt::format("{:.1f} {}", one / 1e9, unit), fmt::format("{:.1f} {}", all / 1e9, unit)});
  };
  const run::MachinePeaks& one = report.one;
  const run::MachinePeaks& all = report.all;
  row("memory reading", one.read_bytes, all.read_bytes, "GB/s");
  row("float32 operations", one.float32, all.float32, "G/s");
  if (one.bfloat16) row("bfloat16 operations", *one.bfloat16, all.bfloat16.value_or(0), "G/s");
  row("int8 operations", one.int8, all.int8, "G/s");
  const auto tiles = [&](const char* name, const auto& mine, const auto& ours) {
    if (!mine || !ours) return;
    row(fmt::format("{} operations, tile registers", name).c_str(), mine->registers, ours->registers, "G/s");
    row(fmt::format("{} operations, tiles from L1", name).c_str(), mine->cached, ours->cached, "G/s");
  };
  tiles("bfloat16", one.bfloat16_tiles, all.bfloat16_tiles);
  tiles("int8", one.int8_tiles, all.int8_tiles);
  fmt::print("\n{}", table.text());
  if (report.bandwidth.size() > 2) {
    fmt::print("memory reading by threads:");
    for (const Bandwidth& some : report.bandwidth) fmt::print(" {}: {:.1f} GB/s", some.threads, some.bytes / 1e9);
    fmt::print("\n");
  }
  fmt::print("Other work on this machine lowers what is measured.\n");
}

void print_report(const Report& report) {
  fmt::print("{}\n", facts_text({{"CPU", core::cpu_name()},
                                 {"Threads", threads_text(report)},
                                 {"Scaling", scaling_text(report)},
                                 {"Caches", cache_text(report.caches)},
                                 {"Memory free", size_text(report.available)},
                                 {"Huge pages", report.huge_pages}}));
  Table isas({"INSTRUCTIONS", "MACHINE", "BUILD", "USED", "WHY NOT"});
  for (const Isa isa : core::all_isas()) {
    const bool built = report.built.contains(isa);
    const auto word = [](bool yes) { return yes ? "yes" : "no"; };
    isas.add({std::string(core::isa_name(isa)), word(core::cpu_has(isa)), word(built),
              word(core::isa_allowed(isa) && built), isa_reason(report, isa)});
  }
  fmt::print("{}\n", isas.text());
  print_kernels(report);
  print_peaks(report);
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
