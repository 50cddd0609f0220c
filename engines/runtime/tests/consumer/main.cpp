// consumer BUNDLE IMAGE: the best class of an image.
#include <iostream>
#include <levit/levit.hpp>

int main(int count, char** words) {
  if (count != 3) return 2;
  try {
    const levit::Classifier classifier(words[1]);
    const levit::Result result = classifier.classify_file(words[2], 1);
    std::cout << classifier.label(result.guesses.front().class_index) << '\n';
    return 0;
  } catch (const levit::Exception& error) {
    std::cerr << error.what() << '\n';
    return error.status();
  }
}
