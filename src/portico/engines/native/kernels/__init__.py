"""Products and attention of decoders on x86 CPUs, compiled when the package is installed.

A whole forward pass is one call, so that between two products there is no more than there has to be. Where there was no
compiler, or the processor has no AVX2, PyTorch's operations do the same more slowly.
"""
