#include "run/stop.h"

#include <gtest/gtest.h>

#include <random>

namespace lamina::run {
namespace {

StopMatcher matcher(std::vector<std::string> stops) {
  auto result = StopMatcher::create(std::move(stops));
  EXPECT_TRUE(result);
  return result ? std::move(*result) : StopMatcher{};
}

TEST(StopMatcher, WithoutStopsEverythingPasses) {
  StopMatcher stop = matcher({});
  EXPECT_EQ(stop.push("abc").text, "abc");
  EXPECT_EQ(stop.finish(), "");
}

TEST(StopMatcher, FindsAStopAcrossPieces) {
  StopMatcher stop = matcher({"</end>"});
  EXPECT_EQ(stop.push("text <").text, "text ");
  EXPECT_EQ(stop.push("/e").text, "");
  const auto output = stop.push("nd> more");
  EXPECT_EQ(output.text, "");
  EXPECT_TRUE(output.stopped);
  EXPECT_EQ(stop.matched(), 0);
  EXPECT_EQ(stop.push("more").text, "");
  EXPECT_TRUE(stop.push("more").stopped);
  EXPECT_EQ(stop.finish(), "");
}

TEST(StopMatcher, HoldsBackOnlyWhatCanStillMatch) {
  StopMatcher stop = matcher({"aab", "xyz"});
  EXPECT_EQ(stop.push("a").text, "");
  EXPECT_EQ(stop.push("a").text, "");
  EXPECT_EQ(stop.push("a").text, "a");
  EXPECT_EQ(stop.push("c").text, "aac");
  EXPECT_EQ(stop.push("xy").text, "");
  EXPECT_EQ(stop.finish(), "xy");
  EXPECT_EQ(stop.push("z").text, "z");
}

TEST(StopMatcher, EndsWhereAStopIsFirstCompleteAndCutsTheLongest) {
  StopMatcher stop = matcher({"abcd", "bc", "abc"});
  const auto output = stop.push("xabcd");
  EXPECT_EQ(output.text, "x");
  EXPECT_EQ(stop.matched(), 2);
  stop.reset();
  EXPECT_EQ(stop.matched(), -1);
  EXPECT_EQ(stop.push("yybc").text, "yy");
  EXPECT_EQ(stop.matched(), 1);
}

TEST(StopMatcher, RefusesEmptyAndHugeStops) {
  EXPECT_FALSE(StopMatcher::create({"a", ""}));
  EXPECT_FALSE(StopMatcher::create({std::string(StopMatcher::kMaxStopBytes + 1, 'a')}));
  EXPECT_TRUE(StopMatcher::create({std::string(StopMatcher::kMaxStopBytes, 'a')}));
  EXPECT_FALSE(StopMatcher::create(std::vector<std::string>(StopMatcher::kMaxStops + 1, "a")));
}

/// The text up to the first completed stop string, by trying every end.
std::string plain_cut(const std::string& text, const std::vector<std::string>& stops, bool& stopped) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops) {
      if (std::string_view(text).substr(0, end).ends_with(stop)) longest = std::max(longest, stop.size());
    }
    stopped = longest > 0;
    if (stopped) return text.substr(0, end - longest);
  }
  stopped = false;
  return text;
}

TEST(StopMatcher, AgreesWithThePlainSearchHoweverTheTextIsCut) {
  std::mt19937 random(7);
  const auto letters = [&](size_t length) {
    std::string text;
    while (text.size() < length) text += static_cast<char>('a' + random() % 2);
    return text;
  };
  int stops_seen = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stops;
    for (uint32_t count = random() % 4; count > 0; --count) stops.push_back(letters(1 + random() % 9));
    const std::string text = letters(random() % 40);
    bool stopped = false;
    const std::string expected = plain_cut(text, stops, stopped);
    StopMatcher stop = matcher(stops);
    std::string got;
    bool got_stopped = false;
    for (size_t at = 0; at < text.size();) {
      const size_t size = 1 + random() % 5;
      const auto output = stop.push(std::string_view(text).substr(at, size));
      got += output.text;
      got_stopped = output.stopped;
      at += size;
      ASSERT_EQ(expected.substr(0, got.size()), got) << "handed out too early";
    }
    got += stop.finish();
    ASSERT_EQ(got, expected);
    ASSERT_EQ(got_stopped, stopped);
    stops_seen += stopped ? 1 : 0;
  }
  EXPECT_GT(stops_seen, 5000);
  EXPECT_LT(stops_seen, 19000);
}

}  // namespace
}  // namespace lamina::run
