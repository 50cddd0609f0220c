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
  for (const char* name : instruction_sets) {
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

// Weights (columns, depth) as panels.
Buffer packed(const Products& products, const std::vector<float>& weights, int columns, int depth) {
  Buffer panels(products.packed_floats(columns, depth));
  products.pack(weights.data(), columns, columns, depth, panels.data());
  return panels;
}

// All panels of a product of so many rows, in two parts where it can be: first all panels at once,
// then one after the other.
void multiply(const Products& products, Product product, const Rounding& rounding, int rows) {
  Buffer prepared(products.prepare == nullptr
                      ? 0
                      : products.prepared_floats(rows, product.rows.segments * product.rows.run));
  if (products.prepare != nullptr) {
    products.prepare(product.rows, rounding, 0, rows, prepared.data());
    product.prepared = prepared.data();
  }
  const int middle = rows / 2 / products.row_multiple * products.row_multiple;
  const int panels = (product.columns + products.panel_columns - 1) / products.panel_columns;
  products.multiply(product, 0, middle, 0, panels);
  for (int panel = 0; panel < panels; ++panel) {
    products.multiply(product, middle, rows, panel, panel + 1);
  }
}

// Products of floats, and whose they are.
struct Run {
  const Kernels* kernels;
  const Products* products;
};

std::vector<Run> runs() {
  std::vector<Run> found;
  for (const Kernels* kernels : runnable()) {
    found.push_back({kernels, &kernels->floats});
    found.push_back({kernels, &kernels->deep_floats});
  }
  return found;
}

double after(After what, double value, double old) {
  if (what == After::hard_swish) return hard_swish(value);
  return what == After::add ? value + old : value;
}

}  // namespace

TEST_CASE("there are kernels for every CPU, and the best comes first") {
  REQUIRE(find_kernels("portable") != nullptr);
  CHECK(find_kernels("") == runnable().front());
  CHECK(find_kernels("mmx") == nullptr);
}

TEST_CASE("a product is that of the numbers, whatever its size") {
  for (const Run& run_of : runs()) {
    const Kernels* const kernels = run_of.kernels;
    const Products& products = *run_of.products;
    for (const After what : {After::nothing, After::hard_swish, After::add}) {
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
          const Buffer panels = packed(products, weights, columns, depth);
          multiply(products,
                   {{source.data(), stride, segments, segment_stride, run},
                    nullptr,
                    panels.data(),
                    {bias.data(), nullptr, nullptr},
                    columns,
                    what,
                    {result.data(), columns + 3}},
                   {}, rows);
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
                          static_cast<double>(weights[at(column, depth, k)]);
              }
              worst = std::max(worst, std::abs(found - after(what, wanted, old)));
            }
          }
          CHECK(worst < 5e-6);
        }
      }
    }
  }
}

TEST_CASE("products of long rows are as exact as float32") {
  for (const Run& run_of : runs()) {
    const Kernels* const kernels = run_of.kernels;
    const Products& products = *run_of.products;
    // More rows and more depth than are worked on at once.
    constexpr int rows = 600, depth = 1536, columns = 48;
    CAPTURE(std::string(kernels->name));
    Numbers numbers;
    std::vector<float> source(at(rows, depth, 0)), weights(at(columns, depth, 0));
    const std::vector<float> bias(columns);
    numbers.fill(source.data(), source.size());
    numbers.fill(weights.data(), weights.size());
    std::vector<float> result(at(rows, columns, 0));
    const Buffer panels = packed(products, weights, columns, depth);
    multiply(products,
             {{source.data(), depth, 1, 0, depth},
              nullptr,
              panels.data(),
              {bias.data(), nullptr, nullptr},
              columns,
              After::nothing,
              {result.data(), columns}},
             {}, rows);
    double error = 0, size = 0;
    for (int row = 0; row < rows; row += 7) {
      for (int column = 0; column < columns; ++column) {
        double wanted = 0;
        for (int k = 0; k < depth; ++k) {
          wanted += static_cast<double>(source[at(row, depth, k)]) *
                    static_cast<double>(weights[at(column, depth, k)]);
        }
        error += std::pow(static_cast<double>(result[at(row, columns, column)]) - wanted, 2);
        size += wanted * wanted;
      }
    }
    CHECK(std::sqrt(error / size) < 2e-6);
  }
}

// One product of a row, and weights of one where they count.
std::vector<float> product_of(const Products& products, const std::vector<float>& row,
                              const std::vector<float>& weights, int columns) {
  const int depth = static_cast<int>(row.size());
  const Buffer panels = packed(products, weights, columns, depth);
  const std::vector<float> bias(static_cast<std::size_t>(columns));
  std::vector<float> result(static_cast<std::size_t>(columns));
  multiply(products,
           {{row.data(), depth, 1, 0, depth},
            nullptr,
            panels.data(),
            {bias.data(), nullptr, nullptr},
            columns,
            After::nothing,
            {result.data(), columns}},
           {}, 1);
  return result;
}

TEST_CASE("rows of any size are multiplied, and what is no number stays none") {
  constexpr int depth = 192, columns = 16;
  for (const Run& run_of : runs()) {
    CAPTURE(std::string(run_of.kernels->name));
    Numbers numbers;
    std::vector<float> row(depth), weights(at(columns, depth, 0));
    numbers.fill(row.data(), row.size());
    numbers.fill(weights.data(), weights.size());
    const std::vector<float> plain = product_of(*run_of.products, row, weights, columns);
    for (const float factor : {0x1p-60F, 0x1p60F}) {
      std::vector<float> scaled = row;
      for (float& value : scaled) value *= factor;
      const std::vector<float> result = product_of(*run_of.products, scaled, weights, columns);
      for (int column = 0; column < columns; ++column) {
        CHECK(result[static_cast<std::size_t>(column)] / factor ==
              doctest::Approx(plain[static_cast<std::size_t>(column)]).epsilon(1e-5));
      }
    }
    for (const float value :
         product_of(*run_of.products, std::vector<float>(depth), weights, columns))
      CHECK(value == 0);
    for (const float no_number : {std::nanf(""), INFINITY}) {
      row[depth / 2] = no_number;
      for (const float value : product_of(*run_of.products, row, weights, columns))
        CHECK_FALSE(std::isfinite(value));
    }
  }
}

TEST_CASE("one large number in a row leaves the others as exact as it is large") {
  constexpr int depth = 256, columns = 16;
  for (const Run& run_of : runs()) {
    CAPTURE(std::string(run_of.kernels->name));
    Numbers numbers;
    std::vector<float> row(depth), weights(at(columns, depth, 0));
    numbers.fill(row.data(), row.size());
    numbers.fill(weights.data(), weights.size());
    row[100] = 1000;
    for (int column = 0; column < columns; ++column) weights[at(column, depth, 100)] = 0;
    const std::vector<float> result = product_of(*run_of.products, row, weights, columns);
    for (int column = 0; column < columns; ++column) {
      double wanted = 0;
      for (int k = 0; k < depth; ++k) {
        wanted += static_cast<double>(row[static_cast<std::size_t>(k)]) *
                  static_cast<double>(weights[at(column, depth, k)]);
      }
      // Of 1000, one in 2^23 for every number, which go both ways.
      CHECK(std::abs(result[static_cast<std::size_t>(column)] - wanted) < 1000 * 0x1p-23 * 16);
    }
  }
}

TEST_CASE("a product of bytes is that of whole numbers, to the last one") {
  for (const Kernels* kernels : runnable()) {
    for (const After what : {After::nothing, After::hard_swish, After::add}) {
      for (const int depth : {16, 48, 80, 336, 1280}) {
        for (const int rows : {1, 4, 7, 10, 13, 16, 19, 22, 25, 90}) {
          constexpr int columns = 80, stride = 1300;
          CAPTURE(std::string(kernels->name));
          CAPTURE(rows);
          CAPTURE(depth);
          Numbers numbers;
          std::vector<float> source(at(rows, stride, 0)), weights(at(columns, depth, 0));
          std::vector<float> bias(columns), scales(columns), corrections(columns);
          std::vector<float> result(at(rows, columns, 0));
          for (auto* values : {&source, &weights, &bias, &scales, &result}) {
            numbers.fill(values->data(), values->size());
          }
          // Some values are beyond what a byte holds, and some half way between two.
          const Rounding rounding{150, 101};
          for (std::size_t i = 0; i < source.size(); i += 5) source[i] = 0.5F / 150;
          for (float& weight : weights) weight = std::nearbyint(weight * 64);
          for (int column = 0; column < columns; ++column) {
            float sum = 0;
            for (int k = 0; k < depth; ++k) sum += weights[at(column, depth, k)];
            corrections[static_cast<std::size_t>(column)] = sum * rounding.offset;
          }
          const std::vector<float> before = result;
          const Buffer panels = packed(kernels->bytes, weights, columns, depth);
          multiply(kernels->bytes,
                   {{source.data(), stride, 1, 0, depth},
                    nullptr,
                    panels.data(),
                    {bias.data(), scales.data(), corrections.data()},
                    columns,
                    what,
                    {result.data(), columns}},
                   rounding, rows);
          double worst = 0;
          for (int row = 0; row < rows; ++row) {
            for (int column = 0; column < columns; ++column) {
              const auto place = static_cast<std::size_t>(column);
              double sum = 0;
              for (int k = 0; k < depth; ++k) {
                const float steps = std::nearbyint(source[at(row, stride, k)] * rounding.steps);
                sum += static_cast<double>(std::min(std::max(steps, -101.0F), 154.0F) *
                                           weights[at(column, depth, k)]);
              }
              const double wanted =
                  sum * static_cast<double>(scales[place]) + static_cast<double>(bias[place]);
              const double old = before[at(row, columns, column)];
              const double found = result[at(row, columns, column)];
              worst = std::max(worst,
                               std::abs(found - after(what, wanted, old)) / (1 + std::abs(wanted)));
            }
          }
          CHECK(worst < 1e-6);
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
