// The only door to pybind11: included first by every binding. Arrays arrive checked by the Python layer above both
// backends; here they only become raw views. A wrong dtype is a TypeError (noconvert), never a copy.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "tallydraw/kernels.hpp"

namespace tallydraw {

namespace py = pybind11;

/// The GIL is released while this lives. Where the interpreter has ended meanwhile, Python before 3.14 ends the daemon
/// thread that asks for the GIL by unwinding it, which no destructor survives: the thread then waits for the end of the
/// process, as later versions have it.
class without_gil {
 public:
  without_gil() : state_(PyEval_SaveThread()) {}
  without_gil(const without_gil&) = delete;
  without_gil& operator=(const without_gil&) = delete;
  ~without_gil() {
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {
      for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
    }
  }

 private:
  PyThreadState* state_;
};

/// C-contiguous arrays of one type: what Python prepared itself.
template <class T>
using array = py::array_t<T, py::array::c_style>;
template <class T>
using optional_array = std::optional<array<T>>;

/// Counts as float64, or else as int64; the other one is null.
inline std::pair<const double*, const index*> as_counts(const py::array& counts) {
  if (py::isinstance<array<double>>(counts)) return {static_cast<const double*>(counts.data()), nullptr};
  if (py::isinstance<array<index>>(counts)) return {nullptr, static_cast<const index*>(counts.data())};
  throw py::type_error("counts must be a C-contiguous array of float64 or int64");
}

/// Users' codes keep their dtype and strides.
inline codes_view as_codes(const py::array& x) {
  codes_view view{};
  view.data = x.data();
  const char kind = x.dtype().kind();
  const auto size = x.dtype().itemsize();
  if (kind == 'u' || kind == 'b')
    view.type = size == 1 ? code_type::u8 : size == 2 ? code_type::u16 : size == 4 ? code_type::u32 : code_type::u64;
  else if (kind == 'i')
    view.type = size == 1 ? code_type::i8 : size == 2 ? code_type::i16 : size == 4 ? code_type::i32 : code_type::i64;
  else
    throw py::type_error("codes must have an integer dtype");
  if (x.ndim() != 1 && x.ndim() != 2) throw py::value_error("codes must be 1-D or 2-D");
  view.n = x.shape(0);
  view.row_stride = x.strides(0);
  view.d = x.ndim() == 2 ? x.shape(1) : 1;
  view.column_stride = x.ndim() == 2 ? x.strides(1) : 0;
  return view;
}

/// missing=None means that only negative codes are missing.
inline code_rules as_rules(std::optional<index> missing, bool unseen_is_missing) {
  return {missing.value_or(-1), missing.has_value(), unseen_is_missing};
}

/// The data of an array of exactly this type: what was converted would not outlive the call.
template <class T>
inline const T* data_of(const py::handle& x) {
  if (!py::isinstance<array<T>>(x)) throw py::type_error("an array of another dtype or layout than the contract says");
  return static_cast<const T*>(py::reinterpret_borrow<py::array>(x).data());
}

/// The tuple tallydraw._structure.Structure; its arrays must outlive the view.
inline structure_view as_structure(const py::tuple& s) {
  const auto part = [&](int i) { return data_of<index>(s[static_cast<std::size_t>(i)]); };
  structure_view view{};
  view.n_classes = py::cast<index>(s[0]);
  view.d = py::cast<py::array>(s[1]).shape(0);
  view.n_categories = part(1);
  view.n_contexts = part(2);
  view.offsets = part(3);
  view.context_begin = part(4);
  view.context = part(5);
  view.order = part(6);
  return view;
}

/// A writable C-contiguous unsigned array.
inline outcomes_view as_outcomes(py::array& out) {
  if (out.dtype().kind() != 'u' || !(out.flags() & py::array::c_style))
    throw py::type_error("outcomes must be a C-contiguous unsigned array");
  const auto size = out.dtype().itemsize();
  return {out.mutable_data(), size == 1   ? outcome_type::u8
                              : size == 2 ? outcome_type::u16
                              : size == 4 ? outcome_type::u32
                                          : outcome_type::u64};
}

/// The tuple tallydraw._levels.Levels, to draw outcomes like `out` from; its arrays must outlive the view.
inline levels_view as_levels(const py::tuple& l, const outcomes_view& out) {
  levels_view view{};
  view.level = data_of<std::uint64_t>(l[0]);
  view.high = data_of<std::uint32_t>(l[1]);
  view.guide = out.type == outcome_type::u8 ? static_cast<const void*>(data_of<std::uint8_t>(l[2]))
                                            : data_of<std::uint32_t>(l[2]);
  view.guide_offsets = data_of<index>(l[3]);
  view.guide_bits = data_of<index>(l[4]);
  return view;
}

/// The tuple tallydraw._totals.Totals, or None; its arrays must outlive the view.
inline totals_view as_totals(const std::optional<py::tuple>& t) {
  if (!t) return {nullptr, nullptr, nullptr, nullptr};
  return {data_of<double>((*t)[0]), data_of<index>((*t)[1]), data_of<index>((*t)[2]), data_of<index>((*t)[3])};
}

/// Memory that a kernel is lent, not initialised, so that what is not touched costs nothing. It begins where a cache line
/// does, so that what is a thread's own stays on lines of its own.
class scratch_words {
 public:
  explicit scratch_words(index words) : room_(new std::uint64_t[static_cast<std::size_t>(words) + 7]) {}
  std::uint64_t* get() const {
    return room_.get() + (64 - reinterpret_cast<std::uintptr_t>(room_.get()) % 64) % 64 / sizeof(std::uint64_t);
  }

 private:
  std::unique_ptr<std::uint64_t[]> room_;
};

template <class T>
inline const T* data_or_null(const optional_array<T>& x) {
  return x ? x->data() : nullptr;
}

// Called by module.cpp.
void bind_backend(py::module_& m);
void bind_elementary(py::module_& m);
void bind_sample(py::module_& m);
void bind_count(py::module_& m);
void bind_log_prob(py::module_& m);
void bind_information(py::module_& m);

}  // namespace tallydraw
