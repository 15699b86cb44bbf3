# Read by ctest ahead of the tests. Threads that wait give way: by default those of OpenMP and OpenBLAS spin for a while,
# which costs tests that run side by side, each with a thread a core, ten times what they compute.
set(ENV{OMP_WAIT_POLICY} passive)
