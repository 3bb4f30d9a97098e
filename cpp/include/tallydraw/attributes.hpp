// What compilers are told of a function; no effect on any result.
//   TALLYDRAW_APART  compiled on its own, so that registers, and vectors, are its own affair
//   TALLYDRAW_RARE   seldom called: kept out of the way of its caller
#pragma once

#if defined(_MSC_VER)
#define TALLYDRAW_APART __declspec(noinline)
#define TALLYDRAW_RARE __declspec(noinline)
#elif defined(__GNUC__)
#define TALLYDRAW_APART __attribute__((noinline))
#define TALLYDRAW_RARE __attribute__((noinline, cold))
#else
#define TALLYDRAW_APART
#define TALLYDRAW_RARE
#endif
