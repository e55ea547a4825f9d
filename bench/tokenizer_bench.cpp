#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "models/vocabulary.h"

// tokenizer_bench MODEL FILE [ROUNDS]: FILE holds texts that end at zero bytes. Prints one JSON object: milliseconds to
// make the tokenizer and to encode all texts on one thread, for each round; with ROUNDS 0 the ids, one array per line.
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

std::vector<std::string_view> split(const std::string& all) {
  std::vector<std::string_view> out;
  for (size_t begin = 0; begin < all.size();) {
    const size_t end = std::min(all.find('\0', begin), all.size());
    out.push_back(std::string_view(all).substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "tokenizer_bench MODEL FILE [ROUNDS]\n");
    return 2;
  }
  std::ifstream file(argv[2], std::ios::binary);
  const std::string all((std::istreambuf_iterator<char>(file)), {});
  const std::vector<std::string_view> texts = split(all);
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 1;
  std::vector<double> load;
  std::vector<double> encode;
  size_t tokens = 0;
  for (int round = 0; round < std::max(rounds, 1); ++round) {
    const auto start = Clock::now();
    const auto tokenizer = lamina::models::load_tokenizer(argv[1]);
    load.push_back(milliseconds_since(start));
    if (!tokenizer) {
      fmt::print(stderr, "{}\n", tokenizer.error().text());
      return 1;
    }
    tokens = 0;
    const auto begin = Clock::now();
    for (const std::string_view text : texts) {
      const auto ids = tokenizer->encode(text, {.add_special = false, .parse_special = true});
      if (!ids) {
        fmt::print(stderr, "{}\n", ids.error().text());
        return 1;
      }
      tokens += ids->size();
      if (rounds == 0) fmt::print("[{}]\n", fmt::join(*ids, ","));
    }
    encode.push_back(milliseconds_since(begin));
  }
  if (rounds != 0) {
    fmt::print("{{\"bytes\":{},\"tokens\":{},\"load_ms\":[{:.3f}],\"encode_ms\":[{:.3f}]}}\n",
               all.size() - texts.size(), tokens, fmt::join(load, ","), fmt::join(encode, ","));
  }
  return 0;
}
