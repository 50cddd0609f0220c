/* The C interface from C: that the header is C, and that every function bears nothing, nonsense and
 * other sizes. */
#include <levit/levit.h>
#include <stdio.h>
#include <string.h>

static int failures = 0;

static void check(int holds, const char* what, int line) {
  if (!holds) {
    printf("test_c.c:%d: %s (last error: %s)\n", line, what, levit_last_error());
    ++failures;
  }
}

#define CHECK(condition) check((condition) != 0, #condition, __LINE__)

static int said(const char* part) { return strstr(levit_last_error(), part) != NULL; }

static void test_versions(void) {
  CHECK(levit_abi_version() == LEVIT_ABI_VERSION);
  CHECK(strlen(levit_version()) >= 5);
  CHECK(strcmp(levit_last_error(), "") == 0);
}

static void test_options(void) {
  levit_options options;
  memset(&options, 0xFF, sizeof options);
  levit_options_init(&options, sizeof options);
  CHECK(options.struct_size == sizeof options);
  CHECK(options.provider == LEVIT_PROVIDER_FASTEST);
  CHECK(options.threads == 1);
  CHECK(options.self_test == 1);
  CHECK(options.use_built_graph == 1);
  CHECK(options.onnxruntime_library == NULL);

  /* A program of tomorrow, with a struct that grew. */
  struct {
    levit_options known;
    uint64_t added;
  } larger;
  memset(&larger, 0xFF, sizeof larger);
  levit_options_init(&larger.known, sizeof larger);
  CHECK(larger.known.struct_size == sizeof larger);
  CHECK(larger.added == 0);
  levit_options_init(NULL, sizeof options);
}

static void test_open(void) {
  levit_classifier* classifier = (levit_classifier*)&failures;
  CHECK(levit_open("no such folder", NULL, &classifier) == LEVIT_INPUT);
  CHECK(classifier == NULL);
  CHECK(said("no such folder"));
  CHECK(levit_open(NULL, NULL, &classifier) == LEVIT_ARGUMENT);
  CHECK(levit_open("", NULL, &classifier) == LEVIT_ARGUMENT);
  CHECK(levit_open("bundle", NULL, NULL) == LEVIT_ARGUMENT);
}

static void test_options_that_are_refused(void) {
  levit_classifier* classifier = NULL;
  levit_options options;
  levit_options_init(&options, sizeof options);
  options.struct_size = 8;
  CHECK(levit_open("bundle", &options, &classifier) == LEVIT_ARGUMENT);
  CHECK(said("struct_size"));
  levit_options_init(&options, sizeof options);
  options.threads = 0;
  CHECK(levit_open("bundle", &options, &classifier) == LEVIT_ARGUMENT);
  CHECK(said("threads"));

  struct {
    levit_options known;
    uint64_t added;
  } larger;
  levit_options_init(&larger.known, sizeof larger);
  larger.added = 1;
  CHECK(levit_open("bundle", &larger.known, &classifier) == LEVIT_ARGUMENT);
  CHECK(said("does not know"));
  larger.added = 0;
  CHECK(levit_open("bundle", &larger.known, &classifier) == LEVIT_INPUT);
}

static void test_null_classifier(void) {
  levit_info info;
  levit_result result;
  levit_encoded image = {NULL, 0};
  uint8_t pixel = 0;
  info.struct_size = sizeof info;
  memset(&result, 0, sizeof result);
  result.struct_size = sizeof result;
  CHECK(levit_get_info(NULL, &info) == LEVIT_ARGUMENT);
  CHECK(levit_label(NULL, 0) == NULL);
  CHECK(levit_self_test(NULL, NULL, NULL) == LEVIT_ARGUMENT);
  CHECK(levit_run_encoded(NULL, &image, 1, &result) == LEVIT_ARGUMENT);
  CHECK(levit_run_pixels(NULL, NULL, 1, &result) == LEVIT_ARGUMENT);
  CHECK(levit_run_tensor(NULL, NULL, 0, 1, &result) == LEVIT_ARGUMENT);
  CHECK(levit_preprocess_encoded(NULL, &image, &pixel, 1) == LEVIT_ARGUMENT);
  CHECK(levit_preprocess_pixels(NULL, NULL, &pixel, 1) == LEVIT_ARGUMENT);
  levit_close(NULL);
}

int main(void) {
  test_versions();
  test_options();
  test_open();
  test_options_that_are_refused();
  test_null_classifier();
  printf("%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
