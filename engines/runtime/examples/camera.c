/* How a device classifies frames from a camera: memory is made once, and each frame allocates
 * nothing of ours.
 *
 *     cc camera.c $(pkg-config --cflags --libs levit) -o camera && ./camera levit-128S-fp32
 */
#include <levit/levit.h>
#include <stdio.h>
#include <stdlib.h>

enum { WIDTH = 640, HEIGHT = 480, FRAMES = 10 };

/* Stands for the driver of a camera: blue, green, red, as OpenCV and V4L2 have it. */
static void next_frame(uint8_t* pixels, int number) {
  for (int place = 0; place < WIDTH * HEIGHT * 3; ++place)
    pixels[place] = (uint8_t)(place / 7 + 20 * number);
}

int main(int count, char** words) {
  if (count != 2) return LEVIT_ARGUMENT;
  levit_options options;
  levit_options_init(&options, sizeof options);
  levit_classifier* classifier;
  const levit_status opened = levit_open(words[1], &options, &classifier);
  if (opened != LEVIT_OK) {
    fprintf(stderr, "%s\n", levit_last_error());
    return opened;
  }

  uint8_t* pixels = malloc(WIDTH * HEIGHT * 3);
  if (pixels == NULL) return LEVIT_MEMORY;
  const levit_pixels frame = {pixels, WIDTH, HEIGHT, WIDTH * 3, 1};
  levit_guess best;
  levit_result result = {0};
  result.struct_size = sizeof result;
  result.top_k = 1;
  result.guesses = &best;

  levit_status status = LEVIT_OK;
  for (int number = 0; number < FRAMES && status == LEVIT_OK; ++number) {
    next_frame(pixels, number);
    status = levit_run_pixels(classifier, &frame, 1, &result);
    if (status == LEVIT_OK) {
      printf("%s %.1f %% in %.1f ms\n", levit_label(classifier, best.class_index),
             100 * best.probability,
             result.timings.resize_ms + result.timings.normalize_ms + result.timings.inference_ms);
    }
  }
  if (status != LEVIT_OK) fprintf(stderr, "%s\n", levit_last_error());
  free(pixels);
  levit_close(classifier);
  return status;
}
