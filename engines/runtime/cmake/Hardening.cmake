# levit_hardening: makes a mistake in reading somebody's image harder to exploit. For what is shipped, not for tests.
include(CheckPIESupported)
check_pie_supported(LANGUAGES CXX)  # or POSITION_INDEPENDENT_CODE does not reach the linking of programs

add_library(levit_hardening INTERFACE)
target_compile_options(levit_hardening INTERFACE -fstack-protector-strong)
target_link_options(levit_hardening INTERFACE -Wl,-z,relro,-z,now)

# Level 3 warns where the compiler only knows 2. Without optimisation there is no such check, and the sanitizers have
# better ones, which it would hide. Distributions' compilers set a level of their own: hence -U.
set(_fortify 3)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 12)
  set(_fortify 2)
endif()
if(NOT LEVIT_SANITIZE)
  target_compile_options(levit_hardening
                         INTERFACE $<$<NOT:$<CONFIG:Debug,>>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=${_fortify}>)
endif()
