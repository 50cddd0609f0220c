#include "arguments.hpp"

#include <cerrno>
#include <cmath>
#include <cstdlib>

#include "failure.hpp"

namespace levit_run {
namespace {

constexpr double longest_benchmark_seconds = 86400;

Failure usage(const std::string& message) {
  return {ExitCode::usage, message + " (levit-run --help shows how)"};
}

std::uint32_t positive_number(const std::string& option, const std::string& text) {
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  const unsigned long value = digits && text.size() <= 9 ? std::stoul(text) : 0;
  if (value < 1)
    throw usage("argument " + option + ": '" + text + "' is not a whole number of at least 1");
  return static_cast<std::uint32_t>(value);
}

double positive_seconds(const std::string& option, const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !(value > 0 && value <= longest_benchmark_seconds)) {
    throw usage("argument " + option + ": '" + text + "' is not a number of seconds above 0");
  }
  return value;
}

std::string provider(const std::string& option, const std::string& text) {
  for (const char* known : {"cpu", "native", "cuda", "tensorrt", "tensorrt-plan"}) {
    if (text == known) return text;
  }
  throw usage("argument " + option + ": invalid choice: '" + text +
              "' (choose from cpu, native, cuda, tensorrt, tensorrt-plan)");
}

// Goes through the words one by one.
class Parser {
 public:
  explicit Parser(const std::vector<std::string>& words) : words_(words) {}

  Arguments parse() {
    for (; place_ < words_.size(); ++place_) {
      const std::string& word = words_[place_];
      if (only_names_ || word == "-" || word.rfind('-', 0) != 0) {
        names_.push_back(word);
      } else if (word == "--") {
        only_names_ = true;
      } else if (!flag(word)) {
        option(word);
      }
    }
    if (!arguments_.help && !arguments_.version) finish();
    return arguments_;
  }

 private:
  bool flag(const std::string& word) {
    if (word == "--json") return arguments_.json = true;
    if (word == "--self-test") return arguments_.self_test = true;
    if (word == "--no-self-test") return arguments_.skip_self_test = true;
    if (word == "--help" || word == "-h") return arguments_.help = true;
    if (word == "--version") return arguments_.version = true;
    return false;
  }

  void option(const std::string& word) {
    const std::size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    if (name == "--top-k") {
      arguments_.top_k = positive_number(name, value(name, word, equals));
    } else if (name == "--threads") {
      arguments_.threads = positive_number(name, value(name, word, equals));
    } else if (name == "--provider") {
      arguments_.provider = provider(name, value(name, word, equals));
    } else if (name == "--onnxruntime") {
      arguments_.onnxruntime = value(name, word, equals);
    } else if (name == "--benchmark") {
      arguments_.benchmark_seconds = positive_seconds(name, value(name, word, equals));
    } else {
      throw usage("unrecognized arguments: " + word);
    }
  }

  std::string value(const std::string& name, const std::string& word, std::size_t equals) {
    if (equals != std::string::npos) return word.substr(equals + 1);
    if (place_ + 1 >= words_.size()) throw usage("argument " + name + ": expected one argument");
    return words_[++place_];
  }

  void finish() {
    if (names_.empty()) throw usage("the following arguments are required: BUNDLE, IMAGE");
    arguments_.bundle = names_.front();
    arguments_.images.assign(names_.begin() + 1, names_.end());
    if (arguments_.self_test && arguments_.skip_self_test) {
      throw usage("--self-test and --no-self-test contradict each other");
    }
    if (arguments_.images.empty() && (!arguments_.self_test || arguments_.benchmark_seconds > 0)) {
      throw usage("the following arguments are required: IMAGE");
    }
  }

  const std::vector<std::string>& words_;
  std::size_t place_ = 0;
  bool only_names_ = false;
  std::vector<std::string> names_;
  Arguments arguments_;
};

}  // namespace

const char* const help_text =
    R"(usage: levit-run BUNDLE IMAGE... [options]

Print the most probable classes of images, from a bundle that levit-export wrote, once the network has reproduced the
golden images of the bundle on this machine.

  BUNDLE               the bundle's folder
  IMAGE                JPEG or PNG files, folders of them, or - for one on standard input

options:
  --top-k K            classes per image (default: 5)
  --threads N          that the providers cpu and native keep busy (default: 1)
  --provider NAME      cpu, cuda or tensorrt, in ONNX Runtime; native, kernels of our own for the CPU, for fp32 bundles
                       and int8 ones for CPUs, without ONNX Runtime; or tensorrt-plan, the plan that levit-build put into
                       the bundle, in TensorRT itself. A provider runs the whole network, or levit-run ends with an error.
                       Default: native where it takes the bundle and the CPU has AVX-512 or AMX, or where there is no ONNX
                       Runtime; else cpu
  --onnxruntime FILE   library of ONNX Runtime, to run on it (default: LEVIT_ONNXRUNTIME, else the folder of liblevit.so,
                       else what the system's loader finds)
  --json               print one JSON document and nothing else
  --self-test          replay the golden images at every batch size that the bundle verified, and print what was found;
                       needs no IMAGE
  --no-self-test       start without replaying the golden images
  --benchmark SECONDS  measure the time from the encoded image to its classes, one image after the other
  --version            print the version and exit
  -h, --help           print this and exit

exit codes: 0 done, 1 a check failed, 2 usage, 3 an input is bad, 4 the environment lacks something

example:
  levit-run levit-384-fp32 photo.jpg --top-k 3
)";

Arguments parse_arguments(const std::vector<std::string>& words) { return Parser(words).parse(); }

}  // namespace levit_run
