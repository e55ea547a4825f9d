#include "layers/relative_bias.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "support/source_dir.h"

namespace lamina::layers {
namespace {

TEST(RelativeBias, BucketsAreThoseOfTheReference) {
  std::ifstream file(source_dir() / "tests/golden/layers/relative_buckets.json");
  const nlohmann::json rows = nlohmann::json::parse(file);
  ASSERT_GE(rows.size(), 7U);
  for (const nlohmann::json& row : rows) {
    const int64_t buckets = row["buckets"];
    const int64_t reach = row["distance"];
    const bool both = row["bidirectional"];
    SCOPED_TRACE(testing::Message() << buckets << " buckets, distance " << reach << ", both sides " << both);
    int64_t distance = -reach - 5;
    for (const int64_t expected : row["bucket_of"]) {
      EXPECT_EQ(relative_bucket(distance, buckets, reach, both), expected) << distance;
      ++distance;
    }
    // The table of the kernel ends at the reach: all distances beyond share a bucket.
    EXPECT_EQ(relative_bucket(-1000000, buckets, reach, both), relative_bucket(-reach, buckets, reach, both));
    EXPECT_EQ(relative_bucket(1000000, buckets, reach, both), relative_bucket(reach, buckets, reach, both));
  }
}

}  // namespace
}  // namespace lamina::layers
