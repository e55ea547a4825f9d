#pragma once

#include <filesystem>
#include <string_view>

namespace lamina::core {

/// What the system lets this process use.
struct CpuLimits {
  int online = 1;    ///< CPUs that the system runs on
  int affinity = 1;  ///< of those, the ones this process may run on
  int cores =
      0;  ///< cores that those belong to, as the system tells it: fewer when some are hyper-threads of one; 0: unknown
  double quota = 0;  ///< CPUs' worth of time that control groups grant; 0: no limit
};
CpuLimits cpu_limits();

/// CPUs that this process may use: affinity and quota, at least 1.
int default_threads();

/// CPUs' worth of time that control groups grant: the least of a process's own group and of all above it; 0: no limit.
/// `mount` is where control groups lie, `membership` what /proc/self/cgroup says. Version 2 (cpu.max) and version 1
/// (cpu.cfs_quota_us over cpu.cfs_period_us).
double control_group_quota(const std::filesystem::path& mount, std::string_view membership);

}  // namespace lamina::core
