#include "core/cpu.h"

#include <array>
#include <cstdlib>
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

bool has_flags(std::initializer_list<std::string_view> wanted) {
  static const std::string flags = cpu_flags();
  for (const auto flag : wanted) {
    if (flags.find(" " + std::string(flag) + " ") == std::string::npos) return false;
  }
  return true;
}

/// Asks the kernel for the tile registers (ARCH_REQ_XCOMP_PERM of XTILEDATA); must come before threads start.
bool request_tiles() {
  constexpr int kRequest = 0x1023;
  constexpr int kTileData = 18;
  static const bool granted = syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
  return granted;
}

bool detect(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return true;
    case Isa::kAvx2:
      return has_flags({"avx2", "fma", "f16c", "bmi2"});
    case Isa::kAvx2Vnni:
      return detect(Isa::kAvx2) && has_flags({"avx_vnni"});
    case Isa::kAvx512:
      return detect(Isa::kAvx2) && has_flags({"avx512f", "avx512bw", "avx512dq", "avx512vl"});
    case Isa::kAvx512Vnni:
      return detect(Isa::kAvx512) && has_flags({"avx512_vnni"});
    case Isa::kAvx512Bf16:
      return detect(Isa::kAvx512Vnni) && has_flags({"avx512_bf16"});
    case Isa::kAmxInt8:
      return detect(Isa::kAvx512Vnni) && has_flags({"amx_tile", "amx_int8"}) && request_tiles();
    case Isa::kAmxBf16:
      return detect(Isa::kAmxInt8) && has_flags({"amx_bf16"});
  }
  return false;
}
#else
bool detect(Isa isa) {
  return isa == Isa::kScalar;
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

bool cpu_has(Isa isa) {
  static const auto table = [] {
    std::array<bool, kIsas.size()> has{};
    for (size_t i = 0; i < kIsas.size(); ++i) has[i] = detect(kIsas[i]);
    return has;
  }();
  return table[static_cast<size_t>(isa)];
}

bool isa_allowed(Isa isa) {
  static const Isa limit = forced_isa().value_or(Isa::kScalar);
  if (limit == Isa::kAvx512 && isa == Isa::kAvx2Vnni) return false;
  return isa <= limit && cpu_has(isa);
}

Status check_forced_isa() {
  LAMINA_ASSIGN(const Isa isa, forced_isa());
  if (std::getenv("LAMINA_ISA") != nullptr && *std::getenv("LAMINA_ISA") != '\0' && !cpu_has(isa)) {
    return fail(ErrorCode::kUnsupported, "LAMINA_ISA", "this machine lacks {}; see `lamina doctor`", isa_name(isa));
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
