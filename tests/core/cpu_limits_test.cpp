#include "core/cpu_limits.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace lamina::core {
namespace {

namespace fs = std::filesystem;

/// A folder of control groups.
class ControlGroups : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "lamina-groups-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    mount_ = name;
  }
  void TearDown() override { fs::remove_all(mount_); }
  void write(const std::string& path, std::string_view text) const {
    fs::create_directories((mount_ / path).parent_path());
    std::ofstream(mount_ / path) << text;
  }
  double quota(std::string_view membership) const { return control_group_quota(mount_, membership); }

  fs::path mount_;
};

TEST_F(ControlGroups, NoFilesAndMaxAreNoLimit) {
  EXPECT_EQ(quota(""), 0);
  EXPECT_EQ(quota("0::/\n"), 0);
  write("cpu.max", "max 100000\n");
  EXPECT_EQ(quota("0::/\n"), 0);
}

TEST_F(ControlGroups, TheStrictestFolderCounts) {
  write("a/cpu.max", "150000 100000\n");
  write("a/b/cpu.max", "max 100000\n");
  write("a/b/c/cpu.max", "400000 100000\n");
  EXPECT_EQ(quota("0::/a/b/c\n"), 1.5);
  EXPECT_EQ(quota("0::/a/b\n"), 1.5);
  EXPECT_EQ(quota("0::/\n"), 0);
  write("a/b/c/cpu.max", "50000 100000\n");
  EXPECT_EQ(quota("0::/a/b/c\n"), 0.5);
}

TEST_F(ControlGroups, APathOfAnotherViewLeavesTheMount) {
  write("cpu.max", "200000 100000\n");
  EXPECT_EQ(quota("0::/../../system.slice/x\n"), 2);
  EXPECT_EQ(quota("0::/not/here\n"), 2);
}

TEST_F(ControlGroups, VersionOneInAFolderOfItsOwn) {
  write("cpu/docker/x/cpu.cfs_quota_us", "300000\n");
  write("cpu/docker/x/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(quota("5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n"), 3);
  EXPECT_EQ(quota("5:cpuset:/docker/x\n"), 0);
  write("cpu/docker/x/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(quota("4:cpu,cpuacct:/docker/x\n"), 0);
}

TEST_F(ControlGroups, VersionOneUnderTheJointName) {
  write("cpu,cpuacct/cpu.cfs_quota_us", "250000\n");
  write("cpu,cpuacct/cpu.cfs_period_us", "50000\n");
  EXPECT_EQ(quota("4:cpu,cpuacct:/seen/from/the/host\n"), 5);
}

TEST_F(ControlGroups, OddLinesAreNotLimits) {
  write("cpu.max", "nonsense\n");
  EXPECT_EQ(quota("no colons\n:\n::\n0::\n"), 0);
  write("cpu.max", "100000 0\n");
  EXPECT_EQ(quota("0::/"), 0);
}

TEST(CpuLimits, ThreadsStayWithinThem) {
  const CpuLimits limits = cpu_limits();
  EXPECT_GE(limits.affinity, 1);
  EXPECT_LE(limits.affinity, limits.online);
  EXPECT_LE(limits.cores, limits.affinity);
  EXPECT_GE(default_threads(), 1);
  EXPECT_LE(default_threads(), limits.affinity);
  if (limits.quota >= 1) {
    EXPECT_LE(default_threads(), limits.quota);
  }
}

}  // namespace
}  // namespace lamina::core
