// levit-run: the best classes of images, from a bundle alone, without Python.

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <levit/levit.hpp>
#include <new>
#include <string>
#include <vector>

#include "arguments.hpp"
#include "benchmark.hpp"
#include "failure.hpp"
#include "images.hpp"
#include "report.hpp"
#include "text.hpp"

namespace levit_run {
namespace {

constexpr const char* program = "levit-run";
constexpr std::size_t smallest_group = 16;  // files that are in memory at once

void print_line(const std::string& text) { std::fprintf(stderr, "%s\n", printable(text).c_str()); }

ExitCode exit_code_of(levit_status status) {
  switch (status) {
    case LEVIT_ARGUMENT:
      return ExitCode::usage;
    case LEVIT_INPUT:
      return ExitCode::bad_input;
    case LEVIT_ENVIRONMENT:
    case LEVIT_MEMORY:
      return ExitCode::environment;
    default:
      return ExitCode::check_failed;
  }
}

levit_provider provider_of(const std::string& name) {
  if (name == "cpu") return LEVIT_PROVIDER_CPU;
  if (name == "cuda") return LEVIT_PROVIDER_CUDA;
  if (name == "tensorrt-plan") return LEVIT_PROVIDER_TENSORRT_PLAN;
  if (name == "native") return LEVIT_PROVIDER_NATIVE;
  return name == "tensorrt" ? LEVIT_PROVIDER_TENSORRT : LEVIT_PROVIDER_FASTEST;
}

// What levit-classify calls the engine that runs the network.
std::string engine_of(const levit_info& info) {
  const std::string provider = info.provider;
  if (provider == "CUDAExecutionProvider") return "onnxruntime-cuda";
  if (provider == "TensorrtExecutionProvider") return "onnxruntime-tensorrt";
  if (provider == "TensorRT") return "tensorrt";
  return provider == "native" ? provider : "onnxruntime";
}

levit::Classifier open(const Arguments& arguments) {
  levit::Options options;
  options.provider = provider_of(arguments.provider);
  options.threads = arguments.threads;
  // An explicit self-test is the larger one, so that the one of opening would only repeat a part of
  // it.
  options.self_test = arguments.self_test || arguments.skip_self_test ? 0 : 1;
  if (!arguments.onnxruntime.empty()) options.onnxruntime_library = arguments.onnxruntime.c_str();
  return levit::Classifier(arguments.bundle, options);
}

bool is_on_cpu(const std::string& engine) { return engine == "onnxruntime" || engine == "native"; }

// Runs `call`, and names the image at fault, one of `images`, when it fails.
template <typename Call>
auto naming_images(const std::vector<NamedImage>& images, Call&& call) {
  try {
    return call();
  } catch (const levit::Exception& error) {
    if (error.image() >= images.size()) throw;
    throw Failure(exit_code_of(error.status()),
                  printable(images[error.image()].name) + ": " + error.what());
  }
}

std::vector<levit_encoded> encoded(const std::vector<NamedImage>& images) {
  std::vector<levit_encoded> views;
  for (const NamedImage& image : images)
    views.push_back({image.content.data(), image.content.size()});
  return views;
}

void classify(const levit::Classifier& classifier, const std::vector<NamedImage>& images,
              std::uint32_t top_k, Report& report) {
  const levit::Result result =
      naming_images(images, [&] { return classifier.classify(encoded(images), top_k); });
  const std::size_t each = result.guesses.size() / images.size();
  for (std::size_t index = 0; index < images.size(); ++index) {
    ClassifiedImage classified{images[index].name, {}};
    for (std::size_t rank = 0; rank < each; ++rank) {
      const levit::Guess& guess = result.guesses[index * each + rank];
      classified.top.push_back(
          {guess.class_index, classifier.label(guess.class_index), guess.probability});
    }
    report.images.push_back(std::move(classified));
  }
}

void classify_all(const levit::Classifier& classifier, const std::vector<std::string>& names,
                  std::uint32_t top_k, Report& report) {
  const std::size_t group = std::max<std::size_t>(smallest_group, classifier.info().batch_minimum);
  for (std::size_t first = 0; first < names.size(); first += group) {
    std::vector<NamedImage> images;
    for (std::size_t index = first; index < std::min(first + group, names.size()); ++index) {
      images.push_back(read_image(names[index]));
    }
    classify(classifier, images, top_k, report);
  }
}

void measure(const levit::Classifier& classifier, const std::vector<std::string>& names,
             const Arguments& arguments, Report& report) {
  std::vector<NamedImage> images;
  for (const std::string& name : names) images.push_back(read_image(name));
  classify(classifier, images, arguments.top_k, report);
  report.benchmark = naming_images(images, [&] {
    return run_benchmark(classifier, images, arguments.top_k, arguments.benchmark_seconds);
  });
}

Report make_report(const Arguments& arguments) {
  const levit::Classifier classifier = open(arguments);
  const levit_info info = classifier.info();
  Report report;
  report.bundle = arguments.bundle;
  report.engine = engine_of(info);
  report.device = is_on_cpu(report.engine) ? "cpu" : "cuda:0";
  report.threads = arguments.threads;
  if (*info.note != '\0') print_line(std::string("note: ") + info.note);
  if (arguments.self_test) {
    report.self_test_share = classifier.self_test(&report.golden_images);
  }
  const std::vector<std::string> names = expand_folders(arguments.images);
  if (arguments.benchmark_seconds > 0) {
    measure(classifier, names, arguments, report);
  } else {
    classify_all(classifier, names, arguments.top_k, report);
  }
  if (info.weights_origin == std::string("untrained")) {
    print_line(std::string(program) + ": " + arguments.bundle +
               ": untrained weights, the probabilities mean nothing");
  }
  return report;
}

void print(const std::string& text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (!written || std::fflush(stdout) != 0) {
    throw Failure(ExitCode::environment, std::string("standard output: ") + std::strerror(errno));
  }
}

void run(const Arguments& arguments) {
  if (arguments.help) return print(help_text);
  if (arguments.version) return print(std::string(program) + " " + levit_version() + "\n");
  const Report report = make_report(arguments);
  print(arguments.json ? as_json(report) : as_tables(report));
}

int fail(ExitCode code, const std::string& message) {
  print_line(std::string(program) + ": error: " + message);
  return static_cast<int>(code);
}

}  // namespace
}  // namespace levit_run

int main(int count, char** words) {
  using levit_run::ExitCode;
  try {
    levit_run::run(levit_run::parse_arguments({words + std::min(count, 1), words + count}));
    return 0;
  } catch (const levit_run::Failure& failure) {
    return levit_run::fail(failure.code(), failure.what());
  } catch (const levit::Exception& error) {
    return levit_run::fail(levit_run::exit_code_of(error.status()), error.what());
  } catch (const std::bad_alloc&) {
    return levit_run::fail(ExitCode::environment, "not enough memory");
  } catch (const std::exception& error) {
    return levit_run::fail(ExitCode::check_failed, error.what());
  }
}
