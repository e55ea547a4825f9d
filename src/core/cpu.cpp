#include "core/cpu.h"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>

#if defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace lamina::core {

namespace {

constexpr std::array kIsas{Isa::kScalar,     Isa::kAvx2,       Isa::kAvx2Vnni, Isa::kAvx512,
                           Isa::kAvx512Vnni, Isa::kAvx512Bf16, Isa::kAmxInt8,  Isa::kAmxBf16};
constexpr std::array<std::string_view, kIsas.size()> kNames{"scalar",      "avx2",        "avx2-vnni", "avx512",
                                                            "avx512-vnni", "avx512-bf16", "amx-int8",  "amx-bf16"};

#if defined(__x86_64__)
/// Flags of /proc/cpuinfo, which also says what the kernel saves.
std::string cpu_flags() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with("flags")) return line + " ";
  }
  return {};
}

/// Those of `wanted` that the processor (or its kernel) lacks, in words; empty if none.
std::string lacking(std::initializer_list<std::string_view> wanted) {
  static const std::string flags = cpu_flags();
  std::string missing;
  for (const auto flag : wanted) {
    if (flags.find(" " + std::string(flag) + " ") != std::string::npos) continue;
    missing += (missing.empty() ? "" : ", ") + std::string(flag);
  }
  return missing.empty() ? missing : "the processor lacks " + missing;
}

/// Asks the kernel for the tile registers (XTILEDATA), which hold for the whole process. Returns why it refused.
std::string request_tiles() {
  constexpr int kRequest = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;
  if (syscall(SYS_arch_prctl, kRequest, kTileData) == 0) return {};
  return std::string("the system refuses tile registers: ") + std::strerror(errno);
}

/// Why kernels of `isa` cannot run here; empty if they can.
std::string detect(Isa isa) {
  const auto first = [](std::string below, const auto& then) { return below.empty() ? then() : std::move(below); };
  switch (isa) {
    case Isa::kScalar:
      return {};
    case Isa::kAvx2:
      return lacking({"avx2", "fma", "f16c", "bmi2"});
    case Isa::kAvx2Vnni:
      return lacking({"avx2", "fma", "f16c", "bmi2", "avx_vnni"});
    case Isa::kAvx512:
      return first(detect(Isa::kAvx2), [] { return lacking({"avx512f", "avx512bw", "avx512dq", "avx512vl"}); });
    case Isa::kAvx512Vnni:
      return first(detect(Isa::kAvx512), [] { return lacking({"avx512_vnni"}); });
    case Isa::kAvx512Bf16:
      return first(detect(Isa::kAvx512Vnni), [] { return lacking({"avx512_bf16"}); });
    case Isa::kAmxInt8:
      return first(first(detect(Isa::kAvx512Vnni), [] { return lacking({"amx_tile", "amx_int8"}); }), request_tiles);
    case Isa::kAmxBf16:
      return first(detect(Isa::kAmxInt8), [] { return lacking({"avx512_bf16", "amx_bf16"}); });
  }
  return {};
}
#else
std::string detect(Isa isa) {
  return isa == Isa::kScalar ? "" : "another kind of processor";
}
#endif

/// The ISA named by LAMINA_ISA, or the strongest one if it is unset.
Result<Isa> forced_isa() {
  const char* name = std::getenv("LAMINA_ISA");
  if (name == nullptr || *name == '\0') return kIsas.back();
  std::string known;
  for (size_t i = 0; i < kIsas.size(); ++i) {
    if (kNames[i] == name) return kIsas[i];
    known += (known.empty() ? "" : ", ") + std::string(kNames[i]);
  }
  return fail(ErrorCode::kInvalid, "LAMINA_ISA", "\"{}\" is unknown; one of {} expected", name, known);
}

}  // namespace

std::string_view isa_name(Isa isa) {
  return kNames[static_cast<size_t>(isa)];
}

std::span<const Isa> all_isas() {
  return kIsas;
}

namespace {

const std::string& gap(Isa isa) {
  static const auto table = [] {
    std::array<std::string, kIsas.size()> gaps;
    for (size_t i = 0; i < kIsas.size(); ++i) gaps[i] = detect(kIsas[i]);
    return gaps;
  }();
  return table[static_cast<size_t>(isa)];
}

/// Whether LAMINA_ISA lets kernels of `isa` run.
bool within_limit(Isa isa) {
  static const Isa limit = forced_isa().value_or(Isa::kScalar);
  return isa <= limit && !(limit == Isa::kAvx512 && isa == Isa::kAvx2Vnni);
}

}  // namespace

bool cpu_has(Isa isa) {
  return gap(isa).empty();
}

bool isa_allowed(Isa isa) {
  return within_limit(isa) && cpu_has(isa);
}

std::string isa_gap(Isa isa) {
  if (!cpu_has(isa)) return gap(isa);
  return within_limit(isa) ? "" : "LAMINA_ISA leaves it out";
}

Status check_forced_isa() {
  LAMINA_ASSIGN(const Isa isa, forced_isa());
  if (std::getenv("LAMINA_ISA") != nullptr && *std::getenv("LAMINA_ISA") != '\0' && !cpu_has(isa)) {
    return fail(ErrorCode::kUnsupported, "LAMINA_ISA", "{} cannot run here: {}; see `lamina doctor`", isa_name(isa),
                gap(isa));
  }
  return {};
}

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

}  // namespace lamina::core
