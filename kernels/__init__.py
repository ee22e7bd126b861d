"""Pure numba and numpy functions over arrays: values in, out-arrays and a status back."""
