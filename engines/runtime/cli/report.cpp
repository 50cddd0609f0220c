#include "report.hpp"

#include "json_writer.hpp"
#include "table.hpp"
#include "text.hpp"

namespace levit_run {
namespace {

std::string image_table(const ClassifiedImage& image) {
  std::vector<std::vector<std::string>> rows;
  for (const Ranked& guess : image.top) {
    rows.push_back({std::to_string(rows.size() + 1), printable(guess.name),
                    std::to_string(guess.class_index), fixed(100 * guess.probability, 2) + " %"});
  }
  return draw_table(printable(image.file),
                    {{"rank"}, {"class name", false}, {"class"}, {"probability"}}, rows);
}

std::vector<std::pair<const char*, double>> stages_of(const levit_timings& timings) {
  return {{"decode", timings.decode_ms},
          {"resize", timings.resize_ms},
          {"normalize", timings.normalize_ms},
          {"inference", timings.inference_ms},
          {"rank", timings.rank_ms}};
}

std::string benchmark_table(const BenchmarkResult& result) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& [name, value] : result.percentiles_ms) rows.push_back({name, fixed(value, 3)});
  rows.push_back({"mean", fixed(result.mean_ms, 3)});
  for (const auto& [name, value] : stages_of(result.mean_stages))
    rows.push_back({name + std::string(", mean"), fixed(value, 3)});
  return draw_table("encoded image to classes: " + std::to_string(result.calls) + " calls in " +
                        fixed(result.seconds, 1) + " s",
                    {{"", false}, {"ms"}}, rows);
}

void write_image(JsonWriter& json, const ClassifiedImage& image) {
  json.begin_object();
  json.key("file");
  json.value(image.file);
  json.key("top");
  json.begin_list();
  std::uint64_t rank = 0;
  for (const Ranked& guess : image.top) {
    json.begin_object();
    json.key("rank");
    json.value(++rank);
    json.key("class");
    json.value(std::uint64_t{guess.class_index});
    json.key("name");
    json.value(guess.name);
    json.key("probability");
    json.value(guess.probability);
    json.end_object();
  }
  json.end_list();
  json.end_object();
}

void write_benchmark(JsonWriter& json, const BenchmarkResult& result) {
  json.key("benchmark");
  json.begin_object();
  json.key("calls");
  json.value(std::uint64_t{result.calls});
  json.key("seconds");
  json.value(result.seconds);
  json.key("mean_ms");
  json.value(result.mean_ms);
  json.key("percentiles_ms");
  json.begin_object();
  for (const auto& [name, value] : result.percentiles_ms) {
    json.key(name);
    json.value(value);
  }
  json.end_object();
  json.key("mean_stages_ms");
  json.begin_object();
  for (const auto& [name, value] : stages_of(result.mean_stages)) {
    json.key(name);
    json.value(value);
  }
  json.end_object();
  json.end_object();
}

}  // namespace

std::string as_tables(const Report& report) {
  std::string text;
  if (report.self_test_share) {
    text += "self-test: " + std::to_string(report.golden_images) +
            " golden images reproduced, largest error " + fixed(100 * *report.self_test_share, 1) +
            " % of what rounding allows\n";
  }
  for (const ClassifiedImage& image : report.images) text += image_table(image);
  if (report.benchmark) text += benchmark_table(*report.benchmark);
  return text + "engine " + report.engine + ", device " + report.device + ", threads " +
         std::to_string(report.threads) + "\n";
}

std::string as_json(const Report& report) {
  JsonWriter json;
  json.begin_object();
  json.key("bundle");
  json.value(report.bundle);
  json.key("engine");
  json.value(report.engine);
  json.key("device");
  json.value(report.device);
  json.key("threads");
  json.value(std::uint64_t{report.threads});
  json.key("images");
  json.begin_list();
  for (const ClassifiedImage& image : report.images) write_image(json, image);
  json.end_list();
  if (report.self_test_share) {
    json.key("self_test");
    json.begin_object();
    json.key("golden_images");
    json.value(std::uint64_t{report.golden_images});
    json.key("largest_share_of_tolerance");
    json.value(*report.self_test_share);
    json.end_object();
  }
  if (report.benchmark) write_benchmark(json, *report.benchmark);
  json.end_object();
  return json.text() + "\n";
}

}  // namespace levit_run
