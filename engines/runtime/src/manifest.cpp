#include "manifest.hpp"

#include <algorithm>
#include <string_view>

#include "error.hpp"
#include "json.hpp"
#include "manifest_fields.hpp"
#include "manifest_network.hpp"
#include "preprocess_contract.hpp"
#include "text.hpp"

namespace levit {
namespace {

constexpr std::int64_t schema_version = 1;
constexpr std::string_view engines_folder = "engines/";

bool is_word(char character) {
  return (character >= 'A' && character <= 'Z') || (character >= 'a' && character <= 'z') ||
         (character >= '0' && character <= '9') || character == '_';
}

// Components of letters, digits, and _ . - that begin with neither dot nor dash, joined by single
// slashes: names are joined to the folder of the bundle, so no absolute path, no "..", no drive, no
// backslash.
bool is_member_name(std::string_view name) {
  bool at_start = true;
  for (const char character : name) {
    if (at_start
            ? !is_word(character)
            : !is_word(character) && character != '.' && character != '-' && character != '/') {
      return false;
    }
    at_start = character == '/';
  }
  return !at_start && name != "manifest.json";
}

bool is_sha256(std::string_view digest) {
  const auto is_digit = [](char character) {
    return (character >= '0' && character <= '9') || (character >= 'a' && character <= 'f');
  };
  return digest.size() == 64 && std::all_of(digest.begin(), digest.end(), is_digit);
}

std::map<std::string, Member> read_members(const JsonValue& document) {
  std::map<std::string, Member> members;
  for (const JsonMember& entry : *document.object()) {
    if (!is_member_name(entry.key))
      refuse_manifest(quoted(entry.key) + " is not a member name that a bundle may have");
    const std::string place = "member " + quoted(entry.key) + ": ";
    if (entry.value.object() == nullptr)
      refuse_manifest("member " + quoted(entry.key) + " must be an object");
    const std::int64_t size = integer_field(entry.value, "size_bytes", place);
    const std::string& digest = text_field(entry.value, "sha256", place);
    if (size < 0 || static_cast<std::uint64_t>(size) > max_member_bytes) {
      refuse_manifest(place + "size " + std::to_string(size) + ", allowed is 0 to " +
                      std::to_string(max_member_bytes));
    }
    if (!is_sha256(digest)) refuse_manifest(place + "no valid sha256");
    members.emplace(entry.key, Member{static_cast<std::uint64_t>(size), digest});
  }
  return members;
}

Tensor read_tensor(const JsonValue& document) {
  if (document.object() == nullptr) refuse_manifest("every input and output must be an object");
  Tensor tensor;
  for (const JsonValue& side : list_field(document, "shape")) {
    const JsonInteger* const length = side.integer();
    if (side.string() == nullptr && (length == nullptr || !length->fits || length->value < 1)) {
      refuse_manifest("field 'shape' must hold positive numbers or axis names");
    }
    tensor.shape.push_back(length == nullptr ? -1 : length->value);
  }
  tensor.name = text_field(document, "name");
  tensor.dtype = text_field(document, "dtype");
  text_field(document, "layout");
  return tensor;
}

void read_batch_sizes(const JsonValue& document, Manifest& manifest) {
  const std::int64_t minimum = integer_field(document, "minimum");
  const std::int64_t maximum = integer_field(document, "maximum");
  constexpr std::int64_t largest = 1 << 30;  // of an int
  if (minimum < 1 || maximum < minimum || maximum > largest) {
    refuse_manifest("batch sizes " + std::to_string(minimum) + " to " + std::to_string(maximum) +
                    ": needed is 1 <= minimum <= maximum");
  }
  const JsonValue::Array& verified = list_field(document, "verified");
  const auto allowed = [&](const JsonValue& size) {
    const JsonInteger* const number = size.integer();
    return number != nullptr && number->fits && number->value >= minimum &&
           number->value <= maximum;
  };
  if (verified.empty() || !std::all_of(verified.begin(), verified.end(), allowed)) {
    refuse_manifest("field 'verified' must hold sizes from " + std::to_string(minimum) + " to " +
                    std::to_string(maximum));
  }
  for (const JsonValue& size : verified)
    manifest.batch_verified.push_back(static_cast<int>(size.integer()->value));
  manifest.batch_minimum = static_cast<int>(minimum);
  manifest.batch_maximum = static_cast<int>(maximum);
}

std::vector<double> read_tolerances(const JsonValue::Array& values) {
  std::vector<double> tolerances;
  for (const JsonValue& value : values) {
    double number = -1.0;
    if (!is_number(value, number) || !(number >= 0.0)) {
      refuse_manifest("field 'golden_tolerance' must hold finite numbers that are not negative");
    }
    tolerances.push_back(number);
  }
  return tolerances;
}

Profile read_profile(const JsonValue& document, const std::string& place) {
  if (document.object() == nullptr || document.object()->size() != 3) {
    refuse_manifest(place + "field 'profile' must hold minimum, optimum, maximum");
  }
  const std::int64_t minimum = integer_field(document, "minimum", place);
  const std::int64_t optimum = integer_field(document, "optimum", place);
  const std::int64_t maximum = integer_field(document, "maximum", place);
  if (minimum < 1 || optimum < minimum || maximum < optimum) {
    refuse_manifest(place + "field 'profile' must have 1 <= minimum <= optimum <= maximum");
  }
  return {minimum, maximum};
}

EngineEntry read_engine(const JsonValue& document, const std::string& place) {
  if (document.object() == nullptr) refuse_manifest(place + "must be an object");
  EngineEntry engine;
  for (const JsonValue& file : list_field(document, "files", place)) {
    if (file.string() == nullptr) refuse_manifest(place + "field 'files' must hold member names");
    engine.files.push_back(*file.string());
  }
  if (engine.files.empty()) refuse_manifest(place + "field 'files' must hold member names");
  double seconds = -1.0;
  if (!is_number(any_field(document, "build_seconds", place), seconds) ||
      !(seconds >= 0.0 && seconds < 1e9)) {
    refuse_manifest(place + "field 'build_seconds' must be a number that is not negative");
  }
  engine.model_sha256 = text_field(document, "model_sha256", place);
  text_field(document, "verified", place);
  object_field(document, "network", place);
  engine.libraries = texts_field(document, "libraries", place);
  engine.requirements = texts_field(document, "requirements", place);
  engine.profile = read_profile(any_field(document, "profile", place), place);
  texts_field(document, "options", place);
  texts_field(document, "machine", place);
  return engine;
}

std::map<std::string, EngineEntry> read_engines(const JsonValue& document,
                                                const std::map<std::string, Member>& members) {
  std::map<std::string, EngineEntry> engines;
  std::map<std::string, std::string> owners;
  for (const JsonMember& entry : *document.object()) {
    const std::string name = "engine " + quoted(entry.key);
    EngineEntry engine = read_engine(entry.value, name + ": ");
    for (const std::string& file : engine.files) {
      if (members.count(file) == 0)
        refuse_manifest(name + " names " + quoted(file) + ", which is not a member");
      if (file.compare(0, engines_folder.size(), engines_folder) != 0) {
        refuse_manifest(name + " names " + quoted(file) + ", which is not below engines/");
      }
      const auto [owner, is_new] = owners.emplace(file, entry.key);
      if (!is_new && owner->second != entry.key) {
        refuse_manifest("engines " + quoted(owner->second) + " and " + quoted(entry.key) +
                        " both name " + quoted(file));
      }
    }
    engines.emplace(entry.key, std::move(engine));
  }
  return engines;
}

void require_schema_version(const JsonValue& document) {
  const JsonValue& version = any_field(document, "schema_version");
  const JsonInteger* const number = version.integer();
  if (number == nullptr)
    refuse_manifest(std::string("field 'schema_version' must be int, got ") + version.kind());
  if (!number->fits || number->value != schema_version) {
    const std::string shown = number->fits ? std::to_string(number->value) : "of many digits";
    refuse_manifest("schema version " + shown + " is unknown, this runtime reads " +
                    std::to_string(schema_version) +
                    ": use the levit runtime that belongs to the bundle, or export it again");
  }
}

// Buffers are made from the preprocessing, the classes and the batch sizes: what the graph takes
// and gives must be the same, or it would read and write beyond them.
void require_agreement(const Manifest& manifest, const std::string& layout) {
  const std::int64_t side = manifest.preprocessing.image_size;
  const Tensor& input = manifest.input;
  using Shape = std::vector<std::int64_t>;
  Shape image;
  if (input.dtype == "float32" && layout == "NCHW") image = {3, side, side};
  if (input.dtype == "uint8" && layout == "NHWC") image = {side, side, 3};
  if (image.empty() || input.shape.size() != 4 ||
      !std::equal(image.begin(), image.end(), input.shape.begin() + 1)) {
    refuse_manifest("input must be float32 NCHW or uint8 NHWC, three channels of " +
                    std::to_string(side) + " by " + std::to_string(side) + " pixels");
  }
  constexpr std::int64_t most_bytes = std::int64_t{1} << 30;
  if (manifest.batch_minimum > most_bytes / (side * side * 3 * 4)) {
    refuse_manifest("the smallest batch of " + std::to_string(manifest.batch_minimum) +
                    " images takes more than 1 GiB");
  }
  const std::int64_t batch = input.shape.front();
  if (batch > 0 && (manifest.batch_minimum != batch || manifest.batch_maximum != batch)) {
    refuse_manifest("batch sizes " + std::to_string(manifest.batch_minimum) + " to " +
                    std::to_string(manifest.batch_maximum) + ", but the graph takes " +
                    std::to_string(batch));
  }
  const auto is_logits = [](const Tensor& output) { return output.name == "logits"; };
  const auto logits = std::find_if(manifest.outputs.begin(), manifest.outputs.end(), is_logits);
  if (std::count_if(manifest.outputs.begin(), manifest.outputs.end(), is_logits) != 1 ||
      logits->dtype != "float32" || logits->shape != Shape{batch, manifest.num_classes}) {
    refuse_manifest("exactly one output must be 'logits', float32 of the batch and " +
                    std::to_string(manifest.num_classes) + " classes");
  }
}

}  // namespace

Manifest parse_manifest(const std::string& text) {
  if (text.size() > max_manifest_bytes)
    refuse_manifest("larger than " + std::to_string(max_manifest_bytes) + " bytes");
  JsonValue document;
  try {
    document = parse_json(text);
  } catch (const Error& error) {
    refuse_manifest(error.what());
  }
  if (document.object() == nullptr) refuse_manifest("must be an object");
  require_schema_version(document);
  const NetworkFields network = read_network(object_field(document, "network"));
  Manifest manifest;
  manifest.arch = network.arch;
  manifest.architecture = network.architecture;
  manifest.num_classes = network.num_classes;
  manifest.preprocessing = read_preprocessing(object_field(document, "preprocessing"));
  if (manifest.preprocessing.image_size != network.image_size) {
    refuse_manifest("preprocessing makes " + std::to_string(manifest.preprocessing.image_size) +
                    " pixels, the network takes " + std::to_string(network.image_size));
  }
  manifest.members = read_members(object_field(document, "members"));
  manifest.name = text_field(document, "name");
  manifest.precision = text_field(document, "precision");
  manifest.target = text_field(document, "target");
  for (const char* const record : {"weights", "graph", "parity"}) object_field(document, record);
  const JsonValue* const origin = document.find("weights")->find("origin");
  if (origin != nullptr && origin->string() != nullptr) manifest.weights_origin = *origin->string();
  manifest.names_form = document.find("graph")->find("form") != nullptr;
  texts_field(document, "versions");
  manifest.input = read_tensor(object_field(document, "input"));
  for (const JsonValue& output : list_field(document, "outputs"))
    manifest.outputs.push_back(read_tensor(output));
  read_batch_sizes(object_field(document, "batch_sizes"), manifest);
  require_agreement(manifest, text_field(object_field(document, "input"), "layout"));
  manifest.golden_tolerance = read_tolerances(list_field(document, "golden_tolerance"));
  manifest.engines = read_engines(object_field(document, "engines"), manifest.members);
  return manifest;
}

}  // namespace levit
