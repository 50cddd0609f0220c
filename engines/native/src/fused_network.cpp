#include "fused_network.hpp"

#include <algorithm>
#include <cstring>

namespace levit::native {
namespace {

constexpr int channels = 3, patch = 16, stages = 3, stride = 2, rim = 1, bytes = 256;
constexpr int value_ratio = 2, shrinking_value_ratio = 4, mlp_ratio = 2;
constexpr std::array<int, 4> stem_divisors{8, 4, 2, 1};
// More images at once only need more memory: their activations no longer fit into the caches.
constexpr int most_at_once = 8;
constexpr int stem_pieces = 24;
constexpr std::size_t cached_floats = 1 << 17;
constexpr int largest_image = 768, largest_width = 4096, most_layers = 64;

// The size of `count` square maps.
std::size_t area(int count, int side, int width) {
  return static_cast<std::size_t>(count) * static_cast<std::size_t>(side) *
         static_cast<std::size_t>(side) * static_cast<std::size_t>(width);
}

// How far rows of `width` are from each other: were that a multiple of 4096 bytes, the rows of a
// tile would all compete for the same few lines of the first cache.
constexpr int spaced(int width) { return width + column_multiple; }

Rows plain(const float* first, int width) { return {first, spaced(width), 1, 0, width}; }

// The exponent of what is not finite is all ones, to which one more carries into the sign.
bool all_finite(const float* values, int count) {
  constexpr std::uint32_t exponent = 0x7f800000, one = 0x00800000;
  std::uint32_t carried = 0;
  for (int i = 0; i < count; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, values + i, sizeof bits);
    carried |= (bits & exponent) + one;
  }
  return carried >> 31 == 0;
}

void require(bool holds, const char* message) {
  if (!holds) throw ConfigurationError(message);
}

void check(const levit_native_options& options) {
  require(options.image_size >= patch && options.image_size <= largest_image &&
              options.image_size % patch == 0,
          "image_size is not a multiple of 16 from 16 to 768");
  require(options.classes >= 1 && options.classes <= 1 << 20, "classes is not from 1 to 1048576");
  require(options.threads >= 1 && options.threads <= 1024, "threads is not from 1 to 1024");
  require(options.key_width >= 1 && options.key_width <= largest_width,
          "key_width is out of range");
  for (int stage = 0; stage < stages; ++stage) {
    require(options.widths[stage] >= patch && options.widths[stage] <= largest_width &&
                options.widths[stage] % column_multiple == 0,
            "a width is not a multiple of 16 from 16 to 4096");
    require(options.heads[stage] >= 1 && options.heads[stage] <= largest_width / options.key_width,
            "heads is out of range");
    require(options.depths[stage] >= 0 && options.depths[stage] <= most_layers,
            "depths is out of range");
  }
  // A head's queries, keys and values begin where a vector may.
  require(options.key_width % column_multiple == 0, "key_width is not a multiple of 16");
}

}  // namespace

Network::Network(const Kernels& kernels, const levit_native_options& options,
                 Parameters& parameters)
    : kernels_(kernels),
      image_size_((check(options), options.image_size)),
      key_width_(options.key_width),
      classes_(options.classes),
      workspaces_(options.threads) {
  int inputs = channels;
  for (const int divisor : stem_divisors) {
    const int outputs = options.widths[0] / divisor;
    pixel_widths_.push_back(stem_.empty() ? channels : stem_.back().columns());
    const int side = image_size_ >> (stem_.size() + 1);
    stem_.push_back(make_convolution(kernels_, arena_, side * side, outputs, inputs,
                                     pixel_widths_.back(), parameters));
    inputs = outputs;
  }
  add_blocks(options, parameters);
  head_ = make_linear(kernels_, arena_, 1, classes_, options.widths[stages - 1], parameters);
  parameters.require_end();
}

void Network::add_blocks(const levit_native_options& options, Parameters& parameters) {
  int side = image_size_ / patch;
  for (int stage = 0; stage < stages; ++stage) {
    const int width = options.widths[stage];
    if (stage > 0) {
      const int before = options.widths[stage - 1];
      require(before % key_width_ == 0, "a width is not a multiple of key_width");
      add_mlp(make_attention(before, width, before / key_width_, shrinking_value_ratio, side, true,
                             parameters),
              width, parameters);
      side = (side + 1) / stride;
    }
    for (int block = 0; block < options.depths[stage]; ++block) {
      add_mlp(
          make_attention(width, width, options.heads[stage], value_ratio, side, false, parameters),
          width, parameters);
    }
  }
}

Network::Attention Network::make_attention(int width, int outputs, int heads, int value_ratio_,
                                           int side, bool shrinks, Parameters& parameters) {
  Attention made{};
  made.heads = heads;
  made.key_width = key_width_;
  made.value_width = value_ratio_ * key_width_;
  made.key_side = side;
  made.query_side = shrinks ? (side + 1) / stride : side;
  made.bias = make_attention_bias(arena_, heads, made.queries(), made.keys(), parameters);
  if (shrinks) {
    made.rest = make_linear(kernels_, arena_, made.keys(), heads * (key_width_ + made.value_width),
                            width, parameters);
    made.query =
        make_linear(kernels_, arena_, made.queries(), heads * key_width_, width, parameters);
  } else {
    made.rest = make_linear(kernels_, arena_, made.keys(),
                            heads * (2 * key_width_ + made.value_width), width, parameters);
  }
  made.projection =
      make_linear(kernels_, arena_, made.queries(), outputs, heads * made.value_width, parameters);
  return made;
}

void Network::add_mlp(Attention attention, int width, Parameters& parameters) {
  Linear expand =
      make_linear(kernels_, arena_, attention.queries(), mlp_ratio * width, width, parameters);
  Linear contract =
      make_linear(kernels_, arena_, attention.queries(), width, mlp_ratio * width, parameters);
  blocks_.push_back({std::move(attention), std::move(expand), std::move(contract)});
}

void Network::reserve(Workspace& work, int batch) const {
  if (batch <= work.reserved) return;
  work.reserved = 0;
  work.arena.clear();
  const auto images = static_cast<std::size_t>(batch);
  work.feature_maps.clear();
  for (std::size_t layer = 0; layer < stem_.size(); ++layer) {
    work.feature_maps.push_back(
        work.arena.take(images * area(1, (image_size_ >> layer) + 2 * rim, pixel_widths_[layer])));
  }
  std::size_t tokens = area(1, image_size_ / patch, spaced(stem_.back().columns()));
  std::size_t picked = 0, queries = 0, heads = 0, mixed = 0, hidden = 0, scratch = 0;
  std::size_t prepared = head_.prepared_floats(batch);
  for (std::size_t layer = 0; layer < stem_.size(); ++layer) {
    const int side = image_size_ >> (layer + 1), groups = stem_groups(work, layer);
    scratch = std::max(scratch, static_cast<std::size_t>((side + groups - 1) / groups) *
                                    stem_[layer].prepared_floats(side));
  }
  for (const Block& block : blocks_) {
    const Attention& attention = block.attention;
    tokens =
        std::max(tokens, area(1, attention.query_side, spaced(attention.projection.columns())));
    hidden = std::max(hidden, area(1, attention.query_side, spaced(block.expand.columns())));
    heads = std::max(heads, area(1, attention.key_side, spaced(attention.rest.columns())));
    mixed = std::max(
        mixed, area(1, attention.query_side, spaced(attention.heads * attention.value_width)));
    if (attention.shrinks()) {
      picked = std::max(picked, area(1, attention.query_side, spaced(attention.query.depth())));
      queries = std::max(queries, area(1, attention.query_side, spaced(attention.query.columns())));
    }
    scratch = std::max(scratch, kernels_.attention_scratch(attention.keys(), attention.key_width));
    const int queries_at_once = batch * attention.queries();
    prepared = std::max({prepared, attention.rest.prepared_floats(batch * attention.keys()),
                         attention.projection.prepared_floats(queries_at_once),
                         block.expand.prepared_floats(queries_at_once),
                         block.contract.prepared_floats(queries_at_once)});
    if (attention.shrinks())
      prepared = std::max(prepared, attention.query.prepared_floats(queries_at_once));
  }
  work.tokens = work.arena.take(images * tokens);
  work.picked = work.arena.take(images * picked);
  work.queries = work.arena.take(images * queries);
  work.heads = work.arena.take(images * heads);
  work.mixed = work.arena.take(images * mixed);
  work.prepared = work.arena.take(prepared);
  work.hidden = work.arena.take(images * hidden);
  work.mean = work.arena.take(images * static_cast<std::size_t>(spaced(head_.depth())));
  work.logits = work.arena.take(images * static_cast<std::size_t>(head_.columns()));
  work.scratch.clear();
  for (int thread = 0; thread < work.pool.threads(); ++thread)
    work.scratch.push_back(work.arena.take(scratch));
  work.reserved = batch;
}

template <class Read>
void Network::run_all(std::size_t batch, float* logits, const Read& read) const {
  if (batch == 0) return;
  const Workspaces::Lease lease(workspaces_);
  Workspace& work = *lease;
  reserve(work, static_cast<int>(std::min<std::size_t>(batch, most_at_once)));
  work.is_finite = true;
  work.pool.begin();
  // As even as can be: a last part of one image would waste what the others gain.
  const std::size_t parts = (batch + most_at_once - 1) / most_at_once;
  for (std::size_t part = 0; part < parts; ++part) {
    const std::size_t first = batch * part / parts;
    const int count = static_cast<int>(batch * (part + 1) / parts - first);
    read(work, first, count);
    if (!work.is_finite) {
      work.pool.end();
      throw NotFiniteError();
    }
    run_stem(work, count);
    run_blocks(work, count);
    run_head(work, count, logits + first * static_cast<std::size_t>(classes_));
  }
  work.pool.end();
}

void Network::run(const float* images, std::size_t batch, float* logits) const {
  run_all(batch, logits, [&](Workspace& work, std::size_t first, int count) {
    copy_images(work, images + first * area(1, image_size_, channels), count);
  });
}

void Network::run(const Pixels& pixels, std::size_t batch, float* logits) const {
  run_all(batch, logits, [&](Workspace& work, std::size_t first, int count) {
    copy_pixels(work, {pixels.first + first * area(1, image_size_, channels), pixels.normalized},
                count);
  });
}

void Network::copy_images(Workspace& work, const float* images, int batch) const {
  const int side = image_size_, wide = side + 2 * rim;
  work.pool.run(batch * side, [&](int piece, int) {
    const int image = piece / side, y = piece % side;
    const float* red = images + area(image, side, channels) + static_cast<std::size_t>(y * side);
    const float* green = red + area(1, side, 1);
    const float* blue = green + area(1, side, 1);
    for (const float* const channel : {red, green, blue}) {
      if (!all_finite(channel, side)) work.is_finite = false;
    }
    float* to =
        work.feature_maps[0] + area(image, wide, channels) + ((y + rim) * wide + rim) * channels;
    for (int x = 0; x < side; ++x, to += channels) {
      to[0] = red[x];
      to[1] = green[x];
      to[2] = blue[x];
    }
  });
}

void Network::copy_pixels(Workspace& work, const Pixels& pixels, int batch) const {
  const int side = image_size_, wide = side + 2 * rim;
  work.pool.run(batch * side, [&](int piece, int) {
    const int image = piece / side, y = piece % side;
    const std::uint8_t* from = pixels.first + area(image, side, channels) + y * side * channels;
    float* to =
        work.feature_maps[0] + area(image, wide, channels) + ((y + rim) * wide + rim) * channels;
    for (int x = 0; x < side; ++x, to += channels, from += channels) {
      for (int channel = 0; channel < channels; ++channel) {
        to[channel] = pixels.normalized[channel * bytes + from[channel]];
      }
    }
  });
}

void Network::run_stem(Workspace& work, int batch) const {
  for (std::size_t layer = 0; layer < stem_.size(); ++layer) {
    if (stem_[layer].products().prepare == nullptr) {
      convolve(work, layer, batch);
    } else {
      prepare_and_convolve(work, layer, batch);
    }
  }
}

Network::Convolution Network::convolution(const Workspace& work, std::size_t layer) const {
  const bool is_last = layer + 1 == stem_.size();
  const int result_rim = is_last ? 0 : rim, side = image_size_ >> (layer + 1);
  const int result_pixel = is_last ? spaced(stem_[layer].columns()) : stem_[layer].columns();
  return {work.feature_maps[layer],
          (image_size_ >> layer) + 2 * rim,
          pixel_widths_[layer],
          is_last ? work.tokens : work.feature_maps[layer + 1],
          side,
          result_rim,
          result_pixel,
          is_last ? After::nothing : After::hard_swish};
}

Rows Network::Convolution::rows(int image, int y) const {
  const int line = wide * pixel;
  return {maps + area(image, wide, pixel) + area(1, 1, stride * y * line), stride * pixel, 3, line,
          3 * pixel};
}

Grid Network::Convolution::result(int image, int y) const {
  const int result_wide = side + 2 * result_rim;
  return {results + area(image, result_wide, result_pixel) +
              area(1, 1, ((y + result_rim) * result_wide + result_rim) * result_pixel),
          result_pixel};
}

void Network::convolve(Workspace& work, std::size_t layer, int batch) const {
  const Linear& weights = stem_[layer];
  const Convolution at = convolution(work, layer);
  // As many rows of pixels as there may be for one panel of weights, which then stays in a cache.
  const int groups = std::min(at.side, stem_pieces / weights.panels() + 1);
  work.pool.run(batch * weights.panels() * groups, [&](int piece, int) {
    const int group = piece % groups, panel = piece / groups % weights.panels();
    const int image = piece / groups / weights.panels();
    for (int y = at.side * group / groups; y < at.side * (group + 1) / groups; ++y) {
      weights.products().multiply(
          weights.product(at.rows(image, y), nullptr, at.after, at.result(image, y)), 0, at.side,
          panel, panel + 1);
    }
  });
}

// A piece prepares its rows for all panels.
void Network::prepare_and_convolve(Workspace& work, std::size_t layer, int batch) const {
  const Linear& weights = stem_[layer];
  const Convolution at = convolution(work, layer);
  const std::size_t line = weights.prepared_floats(at.side);
  const int groups = stem_groups(work, layer);
  work.pool.run(batch * groups, [&](int piece, int thread) {
    const int group = piece % groups, image = piece / groups;
    const int first = at.side * group / groups, end = at.side * (group + 1) / groups;
    float* const prepared = work.scratch[static_cast<std::size_t>(thread)];
    const auto prepared_line = [&](int y) {
      return prepared + static_cast<std::size_t>(y - first) * line;
    };
    for (int y = first; y < end; ++y) {
      weights.products().prepare(at.rows(image, y), weights.rounding(), 0, at.side,
                                 prepared_line(y));
    }
    for (int panel = 0; panel < weights.panels(); ++panel) {
      for (int y = first; y < end; ++y) {
        weights.products().multiply(
            weights.product(at.rows(image, y), prepared_line(y), at.after, at.result(image, y)), 0,
            at.side, panel, panel + 1);
      }
    }
  });
}

// Of the rows of pixels: pieces for every thread, and few enough to stay in the second cache.
int Network::stem_groups(const Workspace& work, std::size_t layer) const {
  const int side = image_size_ >> (layer + 1);
  const std::size_t line = stem_[layer].prepared_floats(side);
  const int cached = static_cast<int>(static_cast<std::size_t>(side) * line / cached_floats) + 1;
  return std::min(side, std::max(cached, 2 * work.pool.threads()));
}

// The tokens at even rows and columns, side by side.
void Network::pick_queries(Workspace& work, const Attention& attention, int width,
                           int batch) const {
  const int side = attention.query_side, step = spaced(width);
  work.pool.run(batch * side, [&](int piece, int) {
    const int image = piece / side, y = piece % side;
    const float* from = work.tokens + area(image, attention.key_side, step) +
                        static_cast<std::size_t>(stride * y * attention.key_side * step);
    float* to = work.picked + area(image, side, step) + static_cast<std::size_t>(y * side * step);
    for (int x = 0; x < side; ++x) std::copy_n(from + stride * x * step, width, to + x * step);
  });
}

void Network::attend(Workspace& work, const Attention& attention, int batch) const {
  const int head_width = attention.head_width(), row = spaced(attention.heads * head_width);
  const int result_row = spaced(attention.heads * attention.value_width),
            queries = attention.queries();
  const int query_row = attention.shrinks() ? spaced(attention.query.columns()) : row;
  int parts = 1;  // of the queries: heads alone may be too few to share
  while (work.pool.threads() > 1 && batch * attention.heads * parts < 4 * work.pool.threads() &&
         queries / (parts + 1) >= kernels_.tile_rows) {
    ++parts;
  }
  work.pool.run(batch * attention.heads * parts, [&](int piece, int thread) {
    const int part = piece % parts, number = piece / parts % attention.heads,
              image = piece / parts / attention.heads;
    const float* first = work.heads + area(image, attention.key_side, row) + number * head_width;
    AttentionHead head{};
    head.query_stride = query_row;
    if (attention.shrinks()) {
      head.queries = work.queries + area(image, attention.query_side, query_row) +
                     number * attention.key_width;
      head.keys = first;
    } else {
      head.queries = first;
      head.keys = first + attention.key_width;
    }
    head.values = head.keys + attention.key_width;
    head.key_stride = row;
    head.key_count = attention.keys();
    head.key_width = attention.key_width;
    head.value_width = attention.value_width;
    head.bias = attention.bias + static_cast<std::size_t>(number) *
                                     static_cast<std::size_t>(queries) *
                                     static_cast<std::size_t>(padded(attention.keys()));
    head.result = {
        work.mixed + area(image, attention.query_side, result_row) + number * attention.value_width,
        result_row};
    kernels_.attend(head, queries * part / parts, queries * (part + 1) / parts,
                    work.scratch[static_cast<std::size_t>(thread)]);
  });
}

void Network::run_blocks(Workspace& work, int batch) const {
  int width = stem_.back().columns();
  for (const Block& block : blocks_) {
    const Attention& attention = block.attention;
    const int queries = batch * attention.queries(), keys = batch * attention.keys();
    multiply(work.pool, kernels_, attention.rest, plain(work.tokens, width), keys, After::nothing,
             {work.heads, spaced(attention.rest.columns())}, work.prepared);
    if (attention.shrinks()) {
      pick_queries(work, attention, width, batch);
      multiply(work.pool, kernels_, attention.query, plain(work.picked, width), queries,
               After::nothing, {work.queries, spaced(attention.query.columns())}, work.prepared);
    }
    attend(work, attention, batch);
    width = attention.projection.columns();
    // In place: each value of the residual is read where its sum is written.
    const Grid tokens{work.tokens, spaced(width)};
    multiply(work.pool, kernels_, attention.projection,
             plain(work.mixed, attention.heads * attention.value_width), queries,
             attention.shrinks() ? After::nothing : After::add, tokens, work.prepared);
    multiply(work.pool, kernels_, block.expand, plain(work.tokens, width), queries,
             After::hard_swish, {work.hidden, spaced(block.expand.columns())}, work.prepared);
    multiply(work.pool, kernels_, block.contract, plain(work.hidden, block.expand.columns()),
             queries, After::add, tokens, work.prepared);
  }
}

void Network::run_head(Workspace& work, int batch, float* logits) const {
  const int width = head_.depth(), step = spaced(width);
  const int count = blocks_.back().attention.queries();
  std::fill_n(work.mean, batch * step, 0.0F);
  for (int image = 0; image < batch; ++image) {
    float* mean = work.mean + image * step;
    const float* token =
        work.tokens + static_cast<std::size_t>(image * count) * static_cast<std::size_t>(step);
    for (int number = 0; number < count; ++number, token += step) {
      for (int channel = 0; channel < width; ++channel) mean[channel] += token[channel];
    }
    for (int channel = 0; channel < width; ++channel) mean[channel] /= static_cast<float>(count);
  }
  multiply(work.pool, kernels_, head_, plain(work.mean, width), batch, After::nothing,
           {work.logits, head_.columns()}, work.prepared);
  for (int image = 0; image < batch; ++image) {
    std::copy_n(work.logits + image * head_.columns(), classes_, logits + image * classes_);
  }
}

}  // namespace levit::native
