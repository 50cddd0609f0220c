/* A LeViT computed by kernels of our own on the CPU, in float32.
 *
 * Functions return 0, or write what went wrong to `message` (never longer than `message_size`) and
 * return another value. A network may be used by several threads: calls of a network with one
 * thread run at the same time, those of others take turns. */
#ifndef LEVIT_NATIVE_H
#define LEVIT_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LEVIT_NATIVE_VERSION 3
#define LEVIT_NATIVE_NOT_FINITE 2
#define LEVIT_NATIVE_API __attribute__((visibility("default")))

typedef struct levit_native_network levit_native_network;

typedef struct levit_native_options {
  int32_t image_size; /* side of an image in pixels, a multiple of 16 */
  int32_t classes;
  int32_t
      key_width; /* of a head; values are twice as wide, four times in a downsampling attention */
  int32_t widths[3]; /* channels of each stage */
  int32_t heads[3];
  int32_t depths[3];
  int32_t threads; /* that one call may use, at least 1 */
  const char*
      instruction_set; /* "avx512", "avx2", "portable"; "" for the best that this CPU runs */
} levit_native_options;

/* Quantised weights are whole numbers from -64 to 64, with a scale for each output; the layer
 * rounds what goes into it to bytes, round(value / input_scale) + input_offset. */
typedef struct levit_native_parameter {
  const float* values;
  size_t count;
  const float* scales; /* of quantised weights of a linear layer, else null */
  float input_scale;
  int32_t input_offset;
} levit_native_parameter;

/* 1 where this CPU runs the kernels of `instruction_set`, else 0. */
LEVIT_NATIVE_API int32_t levit_native_supports(const char* instruction_set);

/* LEVIT_NATIVE_VERSION of the library. */
LEVIT_NATIVE_API int32_t levit_native_version(void);

/* `parameters` are those of the fused network, in the order of the forward pass, as PyTorch has
 * them: the weight and the bias of each layer, before those of an attention its bias (heads,
 * queries, keys). They are copied. */
LEVIT_NATIVE_API int32_t levit_native_create(const levit_native_options* options,
                                             const levit_native_parameter* parameters,
                                             size_t parameter_count, levit_native_network** network,
                                             char* message, size_t message_size);

LEVIT_NATIVE_API void levit_native_destroy(levit_native_network* network);

/* The instruction set that `network` uses. */
LEVIT_NATIVE_API const char* levit_native_instruction_set(const levit_native_network* network);

/* Logits (batch, classes) of normalised images (batch, 3, side, side). LEVIT_NATIVE_NOT_FINITE
 * where they hold NaN or infinity. */
LEVIT_NATIVE_API int32_t levit_native_run(levit_native_network* network, const float* images,
                                          size_t batch, float* logits, char* message,
                                          size_t message_size);

/* The same of RGB pixels (batch, side, side, 3); `normalized` (3, 256) has the value of every byte
 * in each channel. */
LEVIT_NATIVE_API int32_t levit_native_run_pixels(levit_native_network* network,
                                                 const uint8_t* pixels, const float* normalized,
                                                 size_t batch, float* logits, char* message,
                                                 size_t message_size);

#ifdef __cplusplus
}
#endif

#endif /* LEVIT_NATIVE_H */
