// The kernels of every instruction set that this CPU has, against sums in double.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include "buffer.hpp"
#include "kernels.hpp"

using namespace levit::native;

namespace {

std::vector<const Kernels*> runnable() {
  std::vector<const Kernels*> found;
  for (const char* name : {"avx512", "avx2", "portable"}) {
    if (const Kernels* kernels = find_kernels(name)) found.push_back(kernels);
  }
  return found;
}

// Values around zero, the same in every run.
class Numbers {
 public:
  void fill(float* to, std::size_t count) {
    std::generate_n(to, count, [this] { return spread_(generator_); });
  }

 private:
  std::mt19937 generator_{7};
  std::uniform_real_distribution<float> spread_{-1, 1};
};

std::size_t at(int row, int width, int column) {
  return static_cast<std::size_t>(row) * static_cast<std::size_t>(width) +
         static_cast<std::size_t>(column);
}

double hard_swish(double x) { return x * std::min(std::max(x / 6 + 0.5, 0.0), 1.0); }

// (depth, columns) as panels.
Buffer panels_of(const Kernels& kernels, const std::vector<float>& weights, int depth,
                 int columns) {
  Buffer panels(at(depth, columns, 0));
  for (int k = 0; k < depth; ++k) {
    for (int column = 0; column < columns; ++column) {
      const int first = column / kernels.panel_columns * kernels.panel_columns;
      const int wide = std::min(kernels.panel_columns, columns - first);
      panels.data()[at(first, depth, 0) + at(k, wide, column - first)] =
          weights[at(k, columns, column)];
    }
  }
  return panels;
}

}  // namespace

TEST_CASE("there are kernels for every CPU, and the best comes first") {
  REQUIRE(find_kernels("portable") != nullptr);
  CHECK(find_kernels("") == runnable().front());
  CHECK(find_kernels("mmx") == nullptr);
}

TEST_CASE("a product is that of the numbers, whatever its size") {
  for (const Kernels* kernels : runnable()) {
    for (const After after : {After::nothing, After::hard_swish, After::add}) {
      for (int rows = 1; rows <= 2 * kernels->tile_rows + 1; ++rows) {
        for (const int columns : {16, 32, 48, 80}) {
          CAPTURE(std::string(kernels->name));
          CAPTURE(rows);
          CAPTURE(columns);
          // Rows of three segments, as a convolution reads them, with something else between.
          constexpr int segments = 3, run = 5, segment_stride = 23, stride = 7, depth = 15;
          Numbers numbers;
          std::vector<float> source(
              static_cast<std::size_t>(segments * segment_stride + rows * stride));
          std::vector<float> weights(at(depth, columns, 0)),
              bias(static_cast<std::size_t>(columns));
          std::vector<float> result(at(rows, columns + 3, 0));
          for (auto* values : {&source, &weights, &bias, &result}) {
            numbers.fill(values->data(), values->size());
          }
          const std::vector<float> before = result;
          const Buffer panels = panels_of(*kernels, weights, depth, columns);
          const Product product{{source.data(), stride, segments, segment_stride, run},
                                panels.data(),
                                bias.data(),
                                columns,
                                after,
                                {result.data(), columns + 3}};
          for (int panel = 0; panel * kernels->panel_columns < columns; ++panel) {
            kernels->multiply(product, 0, rows / 2, panel);
            kernels->multiply(product, rows / 2, rows, panel);
          }
          double worst = 0;
          for (int row = 0; row < rows; ++row) {
            for (int column = 0; column < columns + 3; ++column) {
              const double found = result[at(row, columns + 3, column)];
              const double old = before[at(row, columns + 3, column)];
              if (column >= columns) {
                CHECK(found == old);  // nothing beyond its columns is written
                continue;
              }
              double wanted = bias[static_cast<std::size_t>(column)];
              for (int k = 0; k < depth; ++k) {
                const int place = row * stride + k / run * segment_stride + k % run;
                wanted += static_cast<double>(source[static_cast<std::size_t>(place)]) *
                          static_cast<double>(weights[at(k, columns, column)]);
              }
              if (after == After::hard_swish) wanted = hard_swish(wanted);
              if (after == After::add) wanted += old;
              worst = std::max(worst, std::abs(found - wanted));
            }
          }
          CHECK(worst < 5e-6);
        }
      }
    }
  }
}

TEST_CASE("attention is softmax in double, whatever the number of keys") {
  for (const Kernels* kernels : runnable()) {
    for (const int keys : {1, 4, 16, 49, 196}) {
      for (const int value_width : {32, 64, 128}) {
        CAPTURE(std::string(kernels->name));
        CAPTURE(keys);
        CAPTURE(value_width);
        constexpr int key_width = 16, queries = 15;
        const int row = 2 * key_width + value_width + 5, wide = padded(keys);
        Numbers numbers;
        std::vector<float> heads(at(std::max(keys, queries), row, 0));
        std::vector<float> bias(at(queries, wide, 0), -1e30F), result(at(queries, value_width, 0));
        numbers.fill(heads.data(), heads.size());
        // Scores far apart: some shares are next to nothing.
        for (float& value : heads) value *= 3;
        for (int query = 0; query < queries; ++query) {
          numbers.fill(bias.data() + at(query, wide, 0), static_cast<std::size_t>(keys));
        }
        Buffer scratch(kernels->attention_scratch(keys, key_width));
        AttentionHead head{};
        head.queries = heads.data();
        head.query_stride = head.key_stride = row;
        head.keys = heads.data() + key_width;
        head.values = heads.data() + 2 * key_width;
        head.key_count = keys;
        head.key_width = key_width;
        head.value_width = value_width;
        head.bias = bias.data();
        head.result = {result.data(), value_width};
        kernels->attend(head, 0, 4, scratch.data());
        kernels->attend(head, 4, queries, scratch.data());
        double worst = 0;
        for (int query = 0; query < queries; ++query) {
          std::vector<double> shares(static_cast<std::size_t>(keys));
          double most = -1e30, total = 0;
          for (int key = 0; key < keys; ++key) {
            double& share = shares[static_cast<std::size_t>(key)];
            share = bias[at(query, wide, key)];
            for (int k = 0; k < key_width; ++k) {
              share += static_cast<double>(heads[at(query, row, k)]) *
                       static_cast<double>(heads[at(key, row, key_width + k)]);
            }
            most = std::max(most, share);
          }
          for (double& share : shares) total += share = std::exp(share - most);
          for (int column = 0; column < value_width; ++column) {
            double wanted = 0;
            for (int key = 0; key < keys; ++key) {
              wanted += shares[static_cast<std::size_t>(key)] / total *
                        static_cast<double>(heads[at(key, row, 2 * key_width + column)]);
            }
            const double found = result[at(query, value_width, column)];
            worst = std::max(worst, std::abs(found - hard_swish(wanted)));
          }
        }
        CHECK(worst < 2e-5);
      }
    }
  }
}
