#include "core/cpu_limits.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <thread>

namespace lamina::core {

namespace {

namespace fs = std::filesystem;

/// The less of two quotas, of which 0 is none.
double stricter(double a, double b) {
  return a == 0 ? b : b == 0 ? a : std::min(a, b);
}

/// The quota that files of one folder set. The word "max" and the number -1 mean none.
double folder_quota(const fs::path& folder) {
  double quota = 0;
  double period = 0;
  std::ifstream both(folder / "cpu.max");
  if (both >> quota >> period && quota > 0 && period > 0) return quota / period;
  std::ifstream first(folder / "cpu.cfs_quota_us");
  std::ifstream second(folder / "cpu.cfs_period_us");
  if (first >> quota && second >> period && quota > 0 && period > 0) return quota / period;
  return 0;
}

/// The strictest quota of `path` below `mount` and of the folders above it. A path that leads out of the mount, or is
/// not there, belongs to another view of the groups: then the mount's own files count.
double path_quota(const fs::path& mount, std::string_view path) {
  double quota = folder_quota(mount);
  fs::path folder = mount;
  for (const fs::path& step : fs::path(path).relative_path()) {
    if (step == "..") break;
    folder /= step;
    quota = stricter(quota, folder_quota(folder));
  }
  return quota;
}

std::string read_text(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Cores that the CPUs of `set` belong to: those with the same siblings share one.
int count_cores(const cpu_set_t& set) {
  std::set<std::string> siblings;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set)) continue;
    const fs::path topology = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology";
    const std::string list = read_text(topology / "thread_siblings_list");
    if (list.empty()) return 0;
    siblings.insert(list);
  }
  return static_cast<int>(siblings.size());
}

}  // namespace

double control_group_quota(const fs::path& mount, std::string_view membership) {
  double quota = folder_quota(mount);
  while (!membership.empty()) {
    const std::string_view line = membership.substr(0, membership.find('\n'));
    membership.remove_prefix(std::min(line.size() + 1, membership.size()));
    const size_t first = line.find(':');
    const size_t second = first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos) continue;
    const std::string controllers(line.substr(first + 1, second - first - 1));
    const std::string_view path = line.substr(second + 1);
    if (controllers.empty()) {
      quota = stricter(quota, path_quota(mount, path));
    } else if (("," + controllers + ",").find(",cpu,") != std::string::npos) {
      const bool joint = fs::is_directory(mount / controllers);
      quota = stricter(quota, path_quota(mount / (joint ? controllers : "cpu"), path));
    }
  }
  return quota;
}

CpuLimits cpu_limits() {
  CpuLimits limits{.online = std::max(1, static_cast<int>(std::thread::hardware_concurrency()))};
  if (const long online = sysconf(_SC_NPROCESSORS_ONLN); online > 0) limits.online = static_cast<int>(online);
  cpu_set_t set;
  CPU_ZERO(&set);
  const bool known = sched_getaffinity(0, sizeof set, &set) == 0;
  limits.affinity = known ? CPU_COUNT(&set) : limits.online;
  if (known) limits.cores = count_cores(set);
  limits.quota = control_group_quota("/sys/fs/cgroup", read_text("/proc/self/cgroup"));
  return limits;
}

int default_threads() {
  const CpuLimits limits = cpu_limits();
  const int granted = limits.quota > 0 ? std::min(limits.affinity, static_cast<int>(limits.quota)) : limits.affinity;
  return std::max(granted, 1);
}

}  // namespace lamina::core
