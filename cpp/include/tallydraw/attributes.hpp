// What compilers are told of a function; no effect on any result.
//   TALLYDRAW_APART  compiled on its own, so that registers, and vectors, are its own affair
//   TALLYDRAW_INTO   compiled into its callers, where a call costs more than the work of a few draws
//   TALLYDRAW_RARE   seldom called: kept out of the way of its caller
#pragma once

#if defined(_MSC_VER)
#define TALLYDRAW_APART __declspec(noinline)
#define TALLYDRAW_INTO __forceinline
#define TALLYDRAW_RARE __declspec(noinline)
#elif defined(__GNUC__)
#define TALLYDRAW_APART __attribute__((noinline))
#define TALLYDRAW_INTO __attribute__((always_inline)) inline
#define TALLYDRAW_RARE __attribute__((noinline, cold))
#else
#define TALLYDRAW_APART
#define TALLYDRAW_INTO inline
#define TALLYDRAW_RARE
#endif
